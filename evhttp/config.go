// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"crypto/tls"
	"log"
	"net/http"
	"time"

	"github.com/evchan/evchan"
)

// A Config sets up a Server. A nil Config and zero values mean the defaults, which are safe on
// the Internet. New and Listen copy it.
//
// # Memory
//
// A connection holds at most
//
//	2 MaxInput of its stream + 6 MaxHead + 2 MaxBody + 1.5 MaxOutput + the longest reply
//
// bytes, and only while a request is under way. (Input may lie in chunks that are half full; a head
// of very many fields needs as much again for their positions.) With Streaming or Handler, count
// 128 KiB in place of 2 MaxBody. What a program keeps of messages that it has received counts on
// top of that. An idle connection holds no buffer.
type Config struct {
	// Handler, if it is not nil, answers all requests, on goroutines of the server's pool as
	// [Request.Go] does it. Then no message is sent but [Drained]. With a Handler the bodies
	// are streamed, and MaxBody is no limit unless it is set.
	Handler http.Handler

	// Streaming has each Request sent as soon as its head is there, with what has come of
	// its body. [Body] follows for the rest. If it is false, the Request is sent when the
	// whole body is there.
	Streaming bool

	// Methods are the methods that are allowed; nil means all. A request with another one is
	// answered with 405 and the field Allow.
	Methods []string

	// MaxHead is the length of the longest head of a request, in bytes; 0 means 16 KiB; 65,535
	// is the most. A longer one is answered with 431, or 414 if the request line alone is
	// longer.
	MaxHead int

	// MaxBody is the length of the longest body of a request, in bytes; 0 means 1 MiB, or no
	// limit with Streaming or Handler; if negative, there is no limit. A longer one is
	// answered with 413.
	MaxBody int64

	// MaxOutput is how many bytes of a connection's replies may be unsent; 0 means 256 KiB.
	// Above that, no further request of the connection is taken, and [Request.Write] returns
	// evchan.ErrFull or, on a goroutine of Go, waits. A reply that is sent as a whole is taken
	// whole.
	MaxOutput int

	// MaxConns is how many connections there may be; further ones are answered with 503 and
	// closed. 0 means that there is no limit. ListenConfig.MaxStreams of the listener has
	// clients wait instead.
	MaxConns int

	// OnAccept is called with each new connection before it is served; nil means that nothing
	// is. It may set the stream's rate limit, for example. If it returns false, the connection
	// is closed without a word. It is called by the goroutine that delivers, and must not wait.
	OnAccept func(*evchan.Stream) bool

	// MaxRequests is how many requests a connection may make before it is closed; 0 means any
	// number. 65,535 is the most.
	MaxRequests int

	// HeadTimeout is how long a client may take for the head of a request, from its first
	// byte on, and how long a new connection may be silent; 0 means 10 seconds. The client
	// gets 408. Here and below, a negative time means no limit.
	HeadTimeout time.Duration

	// BodyTimeout is how long nothing of a body may come; 0 means 30 seconds. The client gets
	// 408.
	BodyTimeout time.Duration

	// WriteTimeout is how long a client may take nothing of a reply; 0 means 30 seconds. The
	// connection is reset then.
	WriteTimeout time.Duration

	// IdleTimeout is how long a connection may wait for its next request, after the last
	// reply; 0 means 2 minutes. The connection is closed when an eighth more has passed, at
	// the latest. There is no limit for the time that the program takes for its reply.
	IdleTimeout time.Duration

	// CancelOnEOF has a client that has finished sending count as one that has left, as in
	// net/http: [Request.Context] ends. The reply is sent all the same. If it is false, only
	// a connection that has failed ends the Context, so that clients such as netcat, which
	// finish sending first, are answered as well.
	CancelOnEOF bool

	// ContentType is the Content-Type of replies that have a body and set none;
	// "" means "text/plain; charset=utf-8".
	ContentType string

	// ErrorPage returns the page of an error that the server itself, or [Request.Error],
	// answers with; nil means a line of text. It is called on any goroutine, and must not call
	// methods of a Request.
	ErrorPage func(status int) (contentType string, page []byte)

	// ErrorLog is where panics in handlers are written, as in http.Server; nil means the
	// standard logger of package log.
	ErrorLog *log.Logger

	// MaxWorkers is how many goroutines of the pool run at once; 0 means 4096. Further
	// requests wait. Each connection has at most one request under way. A handler that has
	// called Hijack does not count any more; one that waits, for long polling or events, does.
	MaxWorkers int

	// MaxWaiting is how many requests may wait for a goroutine of the pool; further ones are
	// answered with 503. 0 means any number.
	MaxWaiting int

	// TLSState returns what TLS has agreed on for a connection, for http.Request.TLS:
	// evtls.State, for example. nil means that no connection is encrypted.
	TLSState func(*evchan.Stream) (tls.ConnectionState, bool)

	// HTTP2, if it is not nil, serves the connections for which TLS has agreed on "h2". That
	// must be one of NextProtos in the configuration of TLS, TLSState must be set, and
	// evtls.Options.Stream must have Paused: evchan.Read, so that nothing is read before it is
	// known who reads it. Drain calls its Shutdown.
	HTTP2 *http.Server

	// Listen has the settings of listeners and streams: TLS by ListenConfig.Over, for
	// example. nil means the defaults. Layer, MaxOutput, ReadIdle and WriteIdle are set by the
	// server. MaxInput is 64 KiB if it is not set.
	Listen *evchan.ListenConfig
}

// withDefaults returns a copy of c, which may be nil, with its defaults.
func (c *Config) withDefaults() Config {
	var conf Config
	if c != nil {
		conf = *c
	}
	conf.MaxHead = min(or(conf.MaxHead, 16<<10), maxHead)
	if conf.MaxBody == 0 && (conf.Streaming || conf.Handler != nil) {
		conf.MaxBody = -1
	}
	conf.MaxBody = or(conf.MaxBody, 1<<20)
	conf.MaxOutput = min(max(or(conf.MaxOutput, 256<<10), 1), 1<<30)
	conf.HeadTimeout = or(conf.HeadTimeout, 10*time.Second)
	conf.BodyTimeout = or(conf.BodyTimeout, 30*time.Second)
	conf.WriteTimeout = or(conf.WriteTimeout, 30*time.Second)
	conf.IdleTimeout = or(conf.IdleTimeout, 2*time.Minute)
	conf.MaxRequests = min(conf.MaxRequests, 1<<16-1)
	conf.ContentType = or(conf.ContentType, "text/plain; charset=utf-8")
	conf.MaxWorkers = or(conf.MaxWorkers, 4096)
	return conf
}

// or returns v or, if that is zero, other.
func or[T comparable](v, other T) T {
	var zero T
	if v == zero {
		return other
	}
	return v
}

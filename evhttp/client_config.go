// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"time"

	"github.com/evchan/evchan"
)

// A ClientConfig sets up a Client. A nil ClientConfig and zero values mean the defaults. NewClient
// copies it. Its functions and its Jar may be called on any goroutine. They must not wait, and must
// not call methods of the client and its calls.
type ClientConfig struct {
	// MaxConns is how many connections to one host there may be at once; 0 means 256; if
	// negative, there is no limit. Further calls wait for one.
	MaxConns int

	// MaxIdle is how many connections to one host are kept that have no call; 0 means MaxConns;
	// if negative, none.
	MaxIdle int

	// MaxWaiting is how many calls to one host may wait for a connection; 0 means any number.
	// Further ones fail with evchan.ErrFull.
	MaxWaiting int

	// MaxHead is the length of the longest head of a response, in bytes; 0 means 32 KiB; 65,535
	// is the most.
	MaxHead int

	// MaxBody is the length of the longest body of a response that arrives whole, in bytes; 0
	// means 8 MiB; if negative, there is no limit. It counts the bytes that arrive, and those
	// that gzip makes of them. Call.MaxBody replaces it. A call with Streaming has no limit.
	MaxBody int64

	// MaxOutput is how many bytes of a request's body may be unsent; 0 means 256 KiB. Above
	// that, Call.Write returns evchan.ErrFull.
	MaxOutput int

	// Here and below, a negative time means no limit.

	// QueueTimeout is how long a call may wait for a connection that another call has; 0 means
	// no limit.
	QueueTimeout time.Duration

	// ConnectTimeout is how long it may take to connect, with the look-up of the name, a proxy's
	// answer and the handshake of TLS; 0 means 45 seconds.
	ConnectTimeout time.Duration

	// WriteTimeout is how long the server may take nothing of a request; 0 means 50 seconds.
	WriteTimeout time.Duration

	// HeadTimeout is how long the head of a response may take, from when the request was sent;
	// 0 means 50 seconds.
	HeadTimeout time.Duration

	// BodyTimeout is how long nothing of a body may come while the program wants it; 0 means 50
	// seconds.
	BodyTimeout time.Duration

	// IdleTimeout is how long a connection without a call is kept; 0 means 90 seconds.
	IdleTimeout time.Duration

	// ContinueTimeout is how long the body of a request with the field Expect: 100-continue waits
	// for a response 100; 0 means 1 second.
	ContinueTimeout time.Duration

	// Retries is how often a connection that could not be made is tried again; 0 means never.
	// RetryDelay is the time before the first retry, and doubles with each; 0 means 2 seconds.
	Retries    int
	RetryDelay time.Duration

	// Redirects is how many redirects a call follows; 0 means that it follows none, and gets the
	// response 3xx itself. The rules are those of http.Client. Behind the last one, the response
	// 3xx comes.
	Redirects int

	// Jar has the cookies; nil means that there are none but those of the request.
	Jar http.CookieJar

	// NoGzip has the client not ask for gzip. If it is false, it does so for calls without
	// Streaming whose request has neither Accept-Encoding nor Range, and decodes the body.
	NoGzip bool

	// UserAgent is the field User-Agent of requests that have none; "" means "evhttp".
	UserAgent string

	// Proxy returns the proxy for a request, as in http.Transport; nil, and a nil URL, mean none.
	// http.ProxyFromEnvironment does what HTTP_PROXY, HTTPS_PROXY and NO_PROXY say. The schemes are
	// http and https. Requests for https go through a tunnel of CONNECT.
	Proxy func(*http.Request) (*url.URL, error)

	// Address says which address is dialled for one such as "example.org:80"; nil means network
	// "tcp" and that address. With it a client uses a Unix socket, one family of addresses
	// ("tcp4"), or the network "memory".
	Address func(hostport string) (network, address string)

	// TLS is the configuration for https; nil means the zero one. ServerName is set to the host of
	// the URL if it is empty. NextProtos is not used: this client speaks HTTP/1.1.
	TLS *tls.Config

	// Dial has the settings of connections: LocalAddr, Names and Control, for example. nil means
	// the defaults. Timeout, Layer, Over, WriteIdle and MaxOutput are set by the client. MaxInput
	// is 64 KiB if it is not set.
	Dial *evchan.DialConfig
}

// withDefaults returns a copy of c, which may be nil, with its defaults.
func (c *ClientConfig) withDefaults() ClientConfig {
	var conf ClientConfig
	if c != nil {
		conf = *c
	}
	conf.MaxConns = or(conf.MaxConns, 256)
	if conf.MaxConns < 0 {
		conf.MaxConns = 1<<31 - 1
	}
	conf.MaxIdle = max(or(conf.MaxIdle, conf.MaxConns), 0)
	conf.MaxHead = min(or(conf.MaxHead, 32<<10), maxHead)
	conf.MaxBody = or(conf.MaxBody, 8<<20)
	conf.MaxOutput = max(or(conf.MaxOutput, 256<<10), 1)
	conf.ConnectTimeout = or(conf.ConnectTimeout, 45*time.Second)
	conf.WriteTimeout = or(conf.WriteTimeout, 50*time.Second)
	conf.HeadTimeout = or(conf.HeadTimeout, 50*time.Second)
	conf.BodyTimeout = or(conf.BodyTimeout, 50*time.Second)
	conf.IdleTimeout = or(conf.IdleTimeout, 90*time.Second)
	conf.ContinueTimeout = or(conf.ContinueTimeout, time.Second)
	conf.RetryDelay = or(conf.RetryDelay, 2*time.Second)
	conf.UserAgent = or(conf.UserAgent, "evhttp")
	dial := evchan.DialConfig{}
	if conf.Dial != nil {
		dial = *conf.Dial
	}
	dial.Timeout = -1 // the client's own timer bounds more than that
	dial.MaxInput = or(dial.MaxInput, 64<<10)
	dial.MaxOutput = -1 // Call.write looks at Queued: a chunk must be taken whole
	dial.WriteIdle = max(conf.WriteTimeout, 0)
	conf.Dial = &dial
	if conf.TLS == nil {
		conf.TLS = &tls.Config{}
	}
	return conf
}

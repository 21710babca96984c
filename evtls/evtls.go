// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtls

import (
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/evchan/evchan"
)

// Options has the settings of TLS streams that are no concern of crypto/tls. A nil Options and
// zero values mean the defaults. It must not be copied or changed once it was used.
type Options struct {
	// HandshakeTimeout is how long a handshake may take, from the moment at which the stream
	// below is connected; 0 means 10 seconds; if negative, there is no limit. When it has
	// passed, the stream ends: errors.Is(Err(), os.ErrDeadlineExceeded).
	HandshakeTimeout time.Duration

	// Pending is how many handshakes with this Options may be under way at once, of servers and
	// of clients, each by themselves; 0 means 1,024 of all in the process whose Pending is 0; if
	// negative, there is no limit. The others wait for their turn; their HandshakeTimeout goes
	// on. For a server, a client that has not sent a complete record yet does not count.
	Pending int

	// Stream has the settings of the TLS stream; nil means the defaults.
	Stream *evchan.StreamConfig

	// Failed gets a [HandshakeFailed] for each stream that ends before its handshake is over;
	// nil means that nothing does. It is the way to hear of a listener's streams with Over,
	// which nothing else tells of if they fail: to count or log them. What finds the mailbox
	// full is dropped, so give it a limit: everybody can make a handshake fail.
	Failed *evchan.Mailbox

	servers, clients turns
}

const (
	defaultHandshakeTimeout = 10 * time.Second
	defaultPending          = 1024
)

// defaults is what a nil Options means.
var defaults Options

// Server puts the server side of TLS on s, and returns the stream on top. The configuration must
// not be changed afterwards, as for tls.Server. It needs a certificate, by Certificates,
// GetCertificate or GetConfigForClient.
//
// Server returns the errors of Stream.Filter.
func Server(s *evchan.Stream, config *tls.Config, opts *Options) (*evchan.Stream, error) {
	if config == nil || len(config.Certificates) == 0 && config.GetCertificate == nil && config.GetConfigForClient == nil {
		return nil, errors.New("evtls: a server needs a certificate: Certificates, GetCertificate or GetConfigForClient")
	}
	return put(s, config, opts, false)
}

// Client puts the client side of TLS on s, and returns the stream on top. s may be a stream that
// is still being connected. The configuration must not be changed afterwards, as for tls.Client.
// It needs a ServerName, unless InsecureSkipVerify is set, and must not allow renegotiation.
//
// Client returns the errors of Stream.Filter.
func Client(s *evchan.Stream, config *tls.Config, opts *Options) (*evchan.Stream, error) {
	switch {
	case config == nil || config.ServerName == "" && !config.InsecureSkipVerify:
		return nil, errors.New("evtls: a client needs a ServerName, or InsecureSkipVerify")
	case config.Renegotiation != tls.RenegotiateNever:
		// crypto/tls would make the handshake within Read, which cannot be interrupted.
		return nil, errors.New("evtls: renegotiation is not supported")
	}
	return put(s, config, opts, true)
}

// Over returns a function for the field Over of evchan.ListenConfig and evchan.DialConfig. For
// streams that a listener has accepted, it calls [Server], and for others [Client].
func Over(config *tls.Config, opts *Options) func(*evchan.Stream) (*evchan.Stream, error) {
	return func(s *evchan.Stream) (*evchan.Stream, error) {
		if s.Listener() != nil {
			return Server(s, config, opts)
		}
		return Client(s, config, opts)
	}
}

// Dial connects to a TLS server, as Loop.Dial does, and returns a stream that sends Connected
// when the handshake is over. If config has no ServerName, the host in address is taken. A nil
// config means the zero one. If conf has a field Over, TLS comes on top of the stream that this
// returns.
func Dial(l *evchan.Loop, network, address string, conf *evchan.DialConfig, config *tls.Config) (*evchan.Stream, error) {
	if config == nil {
		config = new(tls.Config)
	}
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			host = address // of a unix socket, for example: Loop.Dial knows better
		}
		config = config.Clone()
		config.ServerName = host
	}
	var c evchan.DialConfig
	if conf != nil {
		c = *conf
	}
	lower := c.Over
	c.Over = func(s *evchan.Stream) (up *evchan.Stream, err error) {
		if lower != nil {
			if s, err = lower(s); err != nil {
				return nil, err
			}
		}
		return Client(s, config, nil)
	}
	return l.Dial(network, address, &c)
}

// State returns what s and its peer have agreed on, and whether the handshake is over. It finds
// TLS below other filters as well. It may be called from any goroutine, also after the end of s.
func State(s *evchan.Stream) (tls.ConnectionState, bool) {
	for ; s != nil; s = s.Under() {
		if f, ok := s.By().(*filter); ok {
			return f.state()
		}
	}
	return tls.ConnectionState{}, false
}

func put(s *evchan.Stream, config *tls.Config, opts *Options, client bool) (*evchan.Stream, error) {
	if s == nil {
		return nil, errors.New("evtls: TLS on a nil stream")
	}
	if opts == nil {
		opts = &defaults
	}
	f := newFilter(s, config, opts, client)
	f.reluctant.Store((s.Paused()&evchan.Read != 0) || opts.Stream != nil && opts.Stream.Paused&evchan.Read != 0)
	up, err := s.Filter(f, opts.Stream)
	if err != nil {
		return nil, err
	}
	f.upper.Store(up)
	if f.asking.Load() {
		up.Again() // a handshake has asked for it when there was no stream yet
	}
	return up, nil
}

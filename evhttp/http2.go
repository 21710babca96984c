// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"context"
	"io"
	"net"

	"github.com/evchan/evchan"
)

// The server speaks HTTP/1.1. If TLS has agreed on HTTP/2, net/http can have the connection.

// handOver gives s to Config.HTTP2 if TLS has agreed on h2, and reports whether it has.
func (srv *Server) handOver(s *evchan.Stream) bool {
	if srv.conf.HTTP2 == nil || srv.conf.TLSState == nil {
		return false
	}
	if state, ok := srv.conf.TLSState(s); !ok || state.NegotiatedProtocol != "h2" {
		s.Resume(evchan.Read) // see Config.HTTP2
		return false
	}
	nc, err := s.NetConn()
	if err != nil {
		srv.logf("evhttp: %v: HTTP/2: %v", s.RemoteAddr(), err)
		s.Abort()
		return true
	}
	go srv.conf.HTTP2.Serve(&oneConn{conn: nc})
	return true
}

// A oneConn is a listener that accepts one connection. http.Server.Serve then returns, and goes on
// serving the connection.
type oneConn struct{ conn net.Conn }

func (l *oneConn) Accept() (net.Conn, error) {
	c := l.conn
	if c == nil {
		return nil, io.EOF
	}
	l.conn = nil
	return c, nil
}

func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return oneAddr{} }

type oneAddr struct{}

func (oneAddr) Network() string { return "tcp" }
func (oneAddr) String() string  { return "a connection of evhttp" }

// drainHTTP2 ends Config.HTTP2 gracefully, and then calls done.
func (srv *Server) drainHTTP2(done func()) {
	go func() {
		defer done()
		srv.conf.HTTP2.Shutdown(context.Background())
	}()
}

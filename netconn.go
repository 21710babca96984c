// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
)

// NetConn turns the stream into a net.Conn, which needs no loop: it blocks, has
// deadlines, and can be given to crypto/tls or net/http. Input that was not consumed
// comes first from the net.Conn. The stream is closed, without the peer noticing, and
// sends no more messages.
//
// What the net.Conn is depends on the stream:
//   - A TCP or Unix socket: a *net.TCPConn or *net.UnixConn; if input was left, a type
//     that embeds one.
//   - An end of a Pipe: a net.Conn in memory. The other end stays what it is.
//   - A stream that Filter has made: a net.Conn that calls the filter, on the net.Conn
//     of the stream below. Its Close takes at most 5 seconds to send what Encode
//     appends at the end.
//
// All of them have CloseWrite.
//
// NetConn fails, and leaves the stream as it was, with
//   - ErrWouldBlock before Connected, and while output is unsent: Drained tells when to
//     try again;
//   - ErrUnsupported if the descriptor is not a TCP or Unix socket;
//   - Err, or ErrClosed if that is nil, after the end.
//
// Like Read, NetConn may be called only by the goroutine that has received the stream's
// most recent message. A Filter must not call it.
func (s *Stream) NetConn() (net.Conn, error) {
	var filters []*filtering // from s downwards
	bottom := s
	for x := s.filtering(); x != nil; x = bottom.filtering() {
		x.working.Lock()
		defer x.retire() // work, or another goroutine, may have finished x
		defer x.working.Unlock()
		x.work() // sends what can be sent
		filters = append(filters, x)
		bottom = x.lower
	}
	for _, x := range filters {
		x.upper.mu.Lock()
		defer x.upper.unlock()
	}
	bottom.mu.Lock()
	defer bottom.unlock()
	if err := s.ended(); err != nil {
		return nil, err
	}
	if s.filtered {
		return nil, errors.New("evchan: the stream is under a filter: call NetConn on the one on top")
	}
	if slices.ContainsFunc(filters, (*filtering).unsent) {
		for _, x := range filters { // each hears from the one below
			x.oweDrained()
		}
		return nil, ErrWouldBlock
	}
	conn, err := bottom.netConn()
	if err != nil {
		return nil, err
	}
	for _, x := range slices.Backward(filters) {
		conn = x.netConn(conn)
	}
	return conn, nil
}

// netConn is NetConn of a stream that Filter has not made. Caller holds s.mu.
func (s *Stream) netConn() (conn net.Conn, err error) {
	fin := s.state&(stateFin|stateFinSent) == stateFin // CloseWrite was called while it was paused
	switch t := s.transport().(type) {
	case nil: // it has ended, and a filter on it has yet to hear of it
		return nil, s.ended()
	case *dialing:
		return nil, ErrWouldBlock
	case *sock:
		switch {
		case s.out.n > 0:
			return nil, ErrWouldBlock
		case t.plain:
			return nil, fmt.Errorf("evchan: net.Conn of a descriptor that is not a socket: %w", ErrUnsupported)
		}
		if conn, err = t.netConn(); err != nil {
			return nil, s.opError("netconn", err)
		}
		if fin {
			t.closeWrite()
		}
		rest := s.detach()
		t.close(false) // conn has a descriptor of its own
		if rest.n > 0 {
			conn = withEarly(conn, rest)
		}
	case *pipeEnd:
		if s.out.n > 0 {
			return nil, ErrWouldBlock
		}
		if fin {
			t.closeWrite()
		}
		conn = newPipeConn(t, s.detach())
	}
	return conn, nil
}

// detach ends s without closing its transport, and returns the input that was not
// consumed. Caller holds s.mu.
func (s *Stream) detach() *Buffer {
	s.state |= stateClosed | stateFin
	s.hush()
	rest := &Buffer{flags: lean}
	if in := s.in; in != nil {
		in.stream = nil
		rest.splice(in)
	}
	rest.chain.splice(&s.inbox)
	s.held.Store(0)
	s.retreat()
	return rest
}

// ended returns Err, or ErrClosed if that is nil, once s was closed or has ended. Before,
// it returns nil. Caller holds s.mu.
func (s *Stream) ended() error {
	switch {
	case s.why() != nil:
		return s.why()
	case s.state&stateClosed != 0, s.gone():
		return ErrClosed
	}
	return nil
}

// filtering returns the transport of s if Filter has made s, otherwise nil.
func (s *Stream) filtering() *filtering {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, _ := s.transport().(*filtering)
	return x
}

// withEarly returns a net.Conn that reads rest first, then from conn.
func withEarly(conn net.Conn, rest *Buffer) net.Conn {
	switch c := conn.(type) {
	case *net.TCPConn:
		return &tcpConn{TCPConn: c, early: early{rest: rest}}
	case *net.UnixConn:
		return &unixConn{UnixConn: c, early: early{rest: rest}}
	}
	panic("evchan: BUG: a socket's net.Conn is something else")
}

// A tcpConn is a *net.TCPConn with input that was read before.
type tcpConn struct {
	*net.TCPConn
	early early
}

func (c *tcpConn) Read(p []byte) (int, error)         { return c.early.read(c.TCPConn, p) }
func (c *tcpConn) WriteTo(w io.Writer) (int64, error) { return c.early.writeTo(c.TCPConn, w) }

// A unixConn is a *net.UnixConn with input that was read before.
type unixConn struct {
	*net.UnixConn
	early early
}

func (c *unixConn) Read(p []byte) (int, error)         { return c.early.read(c.UnixConn, p) }
func (c *unixConn) WriteTo(w io.Writer) (int64, error) { return c.early.writeTo(c.UnixConn, w) }

// early is input that was read from a connection before.
type early struct {
	mu   sync.Mutex // guards the following
	rest *Buffer    // what was not read again yet
}

func (e *early) read(c net.Conn, p []byte) (int, error) {
	e.mu.Lock()
	if e.rest.n == 0 || len(p) == 0 {
		e.mu.Unlock()
		return c.Read(p)
	}
	defer e.mu.Unlock()
	return e.rest.Read(p)
}

func (e *early) writeTo(c net.Conn, w io.Writer) (int64, error) {
	e.mu.Lock()
	n, err := e.rest.WriteTo(w)
	e.mu.Unlock()
	if err != nil {
		return n, err
	}
	m, err := io.Copy(w, c)
	return n + m, err
}

// NetListener turns the listener into a net.Listener, which needs no loop; an
// http.Server can take it. The Listener is closed. Its socket stays open, with the
// connections in its backlog. Closing the net.Listener removes the file of a unix
// socket.
//
// Streams that were accepted before still belong to the loop; listen with Paused if
// there must be none. MaxStreams and the other settings of ListenConfig for streams do
// not hold for connections that the net.Listener accepts. After Close, NetListener
// returns ErrClosed.
func (ln *Listener) NetListener() (net.Listener, error) {
	f, err := ln.File()
	if err != nil {
		return nil, err
	}
	defer f.Close() // FileListener takes a duplicate
	nl, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	ln.mu.Lock()
	if u, ok := nl.(interface{ SetUnlinkOnClose(bool) }); ok && ln.path != "" {
		u.SetUnlinkOnClose(true)
		ln.path = ""
	}
	ln.mu.Unlock()
	ln.Close()
	return nl, nil
}

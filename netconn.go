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

// NetConn turns the stream into a net.Conn of package net, which needs no loop:
// it blocks, has deadlines, and can be given to crypto/tls or net/http. The stream
// is closed by that, without the peer noticing, and sends no more messages. Input
// that was not consumed comes first from the net.Conn.
//
// For a TCP or Unix socket it is a *net.TCPConn or *net.UnixConn if all input was
// consumed, otherwise it has one inside. For a Pipe's end, whose other end stays what
// it is, it lives in memory. For a stream that Filter has made it uses the filter on the net.Conn of the stream under it; its Close has
// 5 seconds to send what Encode says at the end. All of them have CloseWrite.
//
// Like Read, NetConn belongs to the goroutine that has received the stream's most
// recent message. It must not be called by a Filter. It returns ErrWouldBlock before
// Connected, and while output is unsent (Drained tells when it is not any more),
// ErrUnsupported for a stream of a descriptor that is not a TCP or Unix socket's, and
// ErrClosed, or Err, after the end; then the stream is as it was.
func (s *Stream) NetConn() (net.Conn, error) {
	var filters []*filtering // from s downwards
	bottom := s
	for x := s.filtering(); x != nil; x = bottom.filtering() {
		x.working.Lock()
		defer x.retire() // if that came to be due meanwhile
		defer x.working.Unlock()
		x.work() // sends what is to be sent
		filters = append(filters, x)
		bottom = x.lower
	}
	for _, x := range filters {
		x.upper.mu.Lock()
		defer x.upper.unlock()
	}
	bottom.mu.Lock()
	defer bottom.unlock()
	switch {
	case s.life.closed():
		return nil, ErrClosed
	case s.why() != nil:
		return nil, s.why()
	case s.gone():
		return nil, ErrClosed
	case s.filtered:
		return nil, errors.New("evchan: the stream is under a filter: call NetConn on the one on top")
	}
	if slices.ContainsFunc(filters, (*filtering).unsent) {
		for _, x := range filters { // each is told by the one below
			x.owe()
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

// netConn is NetConn of a stream that lies on no other. mu is held.
func (s *Stream) netConn() (conn net.Conn, err error) {
	fin := s.out.fin == finQueued // CloseWrite was called while it was paused
	switch t := s.transport().(type) {
	case nil:
		return nil, ErrClosed
	case *dialing:
		return nil, ErrWouldBlock
	case *sock:
		switch {
		case s.out.queue.n > 0:
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
		if s.out.queue.n > 0 {
			return nil, ErrWouldBlock
		}
		if fin {
			t.closeWrite()
		}
		conn = newPipeConn(t, s.detach())
	}
	return conn, nil
}

// detach ends s but for its transport, and returns the input that was not
// consumed. mu is held.
func (s *Stream) detach() *Buffer {
	s.silence()
	rest := &Buffer{flags: bufNoSpare}
	if taken := s.in.taken; taken != nil {
		taken.stream = nil
		rest.splice(taken)
	}
	rest.chain.splice(&s.in.unread)
	s.in.held.Store(0)
	s.unwatch()
	s.finish(0)
	return rest
}

// filtering returns the transport of s if that is a filter, else nil.
func (s *Stream) filtering() *filtering {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, _ := s.transport().(*filtering)
	return x
}

// withEarly returns conn with rest as the first that it reads.
func withEarly(conn net.Conn, rest *Buffer) net.Conn {
	switch c := conn.(type) {
	case *net.TCPConn:
		return &tcpConn{TCPConn: c, early: early{rest: rest}}
	case *net.UnixConn:
		return &unixConn{UnixConn: c, early: early{rest: rest}}
	}
	panic("evchan: BUG: a socket's net.Conn is something else")
}

// A tcpConn is a connection of which some input was read already.
type tcpConn struct {
	*net.TCPConn
	early early
}

func (c *tcpConn) Read(p []byte) (int, error)         { return c.early.read(c.TCPConn, p) }
func (c *tcpConn) WriteTo(w io.Writer) (int64, error) { return c.early.writeTo(c.TCPConn, w) }

// A unixConn is a connection of which some input was read already.
type unixConn struct {
	*net.UnixConn
	early early
}

func (c *unixConn) Read(p []byte) (int, error)         { return c.early.read(c.UnixConn, p) }
func (c *unixConn) WriteTo(w io.Writer) (int64, error) { return c.early.writeTo(c.UnixConn, w) }

// early is input that comes before what a connection has.
type early struct {
	mu   sync.Mutex // guards following
	rest *Buffer    // empty once it was read
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

// NetListener turns the listener into a net.Listener of package net, which needs
// no loop; a net/http server can take it. The Listener is closed by that, while
// the socket lives on with the connections that wait in its backlog. Streams that were
// accepted before stay the loop's: to have none, Listen with Paused. What ListenConfig
// says of streams, MaxStreams and the time limits, does not hold for what the
// net.Listener accepts. The net.Listener removes the file of a unix socket
// when it is closed. It returns ErrClosed after Close.
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

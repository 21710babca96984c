// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"fmt"
	"io"
	"net"
	"sync"
)

// NetConn turns the stream into a net.Conn of package net, which needs no loop:
// it blocks, has deadlines, and can be given to crypto/tls or net/http. The stream
// is closed by that, without the peer noticing, and sends no more messages. Input
// that was not consumed comes first from the net.Conn; if there is none, it is a
// *net.TCPConn or *net.UnixConn itself, otherwise it has one inside.
//
// Like Read, NetConn belongs to the goroutine that has received the stream's last
// message. It returns ErrWouldBlock while output is unsent (Drained tells when it
// is not any more), ErrUnsupported for a stream that is not a TCP or Unix
// socket's, and ErrClosed, or Err, after the end; then the stream is as it was.
func (s *Stream) NetConn() (net.Conn, error) {
	s.mu.Lock()
	defer s.unlock()
	switch {
	case s.state&stateClosed != 0:
		return nil, ErrClosed
	case s.err != nil:
		return nil, s.err
	case s.transport == nil:
		return nil, ErrClosed
	case s.out.n > 0 || s.connecting():
		return nil, ErrWouldBlock
	case s.transport != &s.sock || s.sock.plain:
		return nil, fmt.Errorf("evchan: net.Conn of a descriptor that is not a socket: %w", ErrUnsupported)
	}
	conn, err := s.sock.netConn()
	if err != nil {
		return nil, s.opError("netconn", err)
	}
	s.state |= stateClosed | stateFin
	s.hush()
	s.in.splice(&s.inbox)
	rest := new(Buffer)
	s.in.stream = nil
	rest.splice(&s.in)
	s.held.Store(0)
	s.release(false) // conn has a descriptor of its own
	if rest.n == 0 {
		return conn, nil
	}
	switch conn := conn.(type) {
	case *net.TCPConn:
		return &tcpConn{TCPConn: conn, early: early{rest: rest}}, nil
	case *net.UnixConn:
		return &unixConn{UnixConn: conn, early: early{rest: rest}}, nil
	}
	return nil, ErrUnsupported
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
// the socket lives on with the connections that wait in its backlog; streams
// that were accepted stay. The net.Listener removes the file of a unix socket
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

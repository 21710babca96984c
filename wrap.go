// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// Wrap takes over conn, which must be a *net.TCPConn or a *net.UnixConn of
// type "unix", and returns it as a stream, which is reading already and sends no
// first message. The net.Conn is dead afterwards: all its methods fail. Close the
// stream to close the connection.
//
// If Wrap returns an error, conn is as it was. A tls.Conn, or another
// net.Conn without a descriptor of its own, gives ErrUnsupported.
func (l *Loop) Wrap(conn net.Conn) (*Stream, error) {
	if conn == nil {
		return nil, errors.New("evchan: Wrap of nil")
	}
	if l.isClosed() {
		return nil, ErrClosed
	}
	var raw syscall.Conn
	switch c := conn.(type) {
	case *net.TCPConn:
		if c == nil || c.LocalAddr() == nil {
			return nil, errors.New("evchan: Wrap of a *net.TCPConn that is nil or zero")
		}
		raw = c
	case *net.UnixConn:
		if c == nil || c.LocalAddr() == nil {
			return nil, errors.New("evchan: Wrap of a *net.UnixConn that is nil or zero")
		}
		if c.LocalAddr().Network() == "unix" {
			raw = c
		}
	}
	if raw == nil {
		return nil, fmt.Errorf("evchan: Wrap of a %T: %w", conn, ErrUnsupported)
	}
	local, remote := conn.LocalAddr(), conn.RemoteAddr()
	fd, err := takeFD(raw)
	if err != nil {
		return nil, &net.OpError{Op: "wrap", Net: local.Network(), Source: local, Addr: remote, Err: err}
	}
	s := l.newStream(fd)
	x := s.more()
	x.local, x.remote = local, remote
	s.expectShortReads(local.Network())
	if err := s.open(0, true); err != nil {
		return nil, err
	}
	conn.Close()
	return s, nil
}

// WrapFD takes over fd, a stream's descriptor of any kind: a stream socket, an end
// of a pipe, a terminal, an eventfd. It makes it non-blocking, and closes it when
// the stream is closed. The stream is reading already, if fd can be read from,
// and sends no first message.
//
// A descriptor that is not a socket has no half-close (see CloseWrite), and
// closing it waits for the output only.
//
// If WrapFD returns an error, fd is still the caller's, though perhaps
// non-blocking now. What the method cannot watch (a file on disk, with epoll), and
// sockets that are no streams, give an error, and so does a descriptor with an armed
// Watch, and one that a stream, listener or packet connection of the loop has already.
// Of another loop's this one knows nothing: two streams with one descriptor take bytes
// from each other, and the first that is closed closes it for both.
func (l *Loop) WrapFD(fd uintptr) (*Stream, error) {
	if l.isClosed() {
		return nil, ErrClosed
	}
	l.lock()
	watched, taken := l.watched[sysFD(fd)] != nil, l.taken.has(sysFD(fd))
	l.unlock()
	switch {
	case taken:
		return nil, errTaken("wrap", sysFD(fd))
	case watched:
		return nil, fmt.Errorf("evchan: wrap descriptor %d: it is being watched: disarm its Watch first", int(fd))
	}
	s, err := l.wrapFD(sysFD(fd))
	if err != nil && err != ErrClosed {
		err = fmt.Errorf("evchan: wrap descriptor %d: %w", int(fd), err)
	}
	return s, err
}

// WrapFile returns a stream on a duplicate of f's descriptor, as net.FileConn
// does. f stays the caller's, but is non-blocking from then on. For the rest see
// WrapFD.
func (l *Loop) WrapFile(f *os.File) (*Stream, error) {
	if f == nil {
		return nil, errors.New("evchan: WrapFile of nil")
	}
	if l.isClosed() {
		return nil, ErrClosed
	}
	fd, err := takeFD(f)
	if err == nil {
		var s *Stream
		if s, err = l.wrapFD(fd); err == nil {
			return s, nil
		}
		closeFD(fd)
	}
	if err != ErrClosed {
		err = fmt.Errorf("evchan: wrap %s: %w", f.Name(), err)
	}
	return nil, err
}

func (l *Loop) wrapFD(fd sysFD) (*Stream, error) {
	plain, readable, err := inspectFD(fd)
	if err != nil {
		return nil, err
	}
	s := l.newStream(fd)
	s.sock.plain = plain
	if !plain {
		x := s.more()
		x.local, x.remote = socketAddrs(fd)
		if x.local != nil {
			s.expectShortReads(x.local.Network())
		}
	}
	if !readable {
		s.in.eof = true
	}
	if err := s.open(0, false); err != nil {
		return nil, err
	}
	return s, nil
}

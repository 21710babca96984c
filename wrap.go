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

// Wrap makes a stream of conn, a *net.TCPConn or a *net.UnixConn of the network "unix". The
// stream reads from then on; it sends no first message. Wrap takes conn over: conn is
// closed, and the socket lives on in the stream. It also takes what NetConn has made of a
// socket with unread input, which comes after the input of conf.
//
// If Wrap returns an error, conn is as it was. The error is ErrUnsupported for other types,
// such as *tls.Conn. SO_LINGER is turned off (here, in WrapFD and in WrapFile), because
// closing would wait with it; to reset the connection, call Abort.
func (l *Loop) Wrap(conn net.Conn, conf *StreamConfig) (*Stream, error) {
	if conn == nil {
		return nil, errors.New("evchan: Wrap of nil")
	}
	if l.isClosed() {
		return nil, ErrClosed
	}
	u, err := l.setup(conf)
	if err != nil {
		return nil, err
	}
	conn, e := withoutEarly(conn)
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
		return nil, fmt.Errorf("evchan: Wrap of a %T, which is no *net.TCPConn and no *net.UnixConn of the network unix: %w", conn, ErrUnsupported)
	}
	local, remote := conn.LocalAddr(), conn.RemoteAddr()
	if e != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		remote, u.rest = e.remoteAddr(), e.rest
	}
	fd, err := takeFD(raw)
	if err != nil {
		return nil, &net.OpError{Op: "wrap", Net: local.Network(), Source: local, Addr: remote, Err: err}
	}
	s := l.newStream(fd)
	x := s.more()
	x.local, x.remote = local, remote
	s.expectShortReads(local.Network())
	restore := resetLinger(fd)
	if err := s.open(u, 0, false); err != nil {
		restore()
		closeFD(fd)
		if e != nil {
			var input chain
			input.moveN(&s.in.unread, len(u.Input))
			e.rest.chain.splice(&s.in.unread)
		}
		return nil, err
	}
	conn.Close()
	return s, nil
}

// WrapFD makes a stream of the descriptor fd: a stream socket, one end of a pipe, a
// terminal, an eventfd. The stream owns fd: it makes fd non-blocking, and closes fd when
// it is closed. It reads from then on, if fd can be read; it sends no first message.
//
// A descriptor that is not a socket has no half-close (see CloseWrite), and to close it
// waits for the output only.
//
// If WrapFD returns an error, fd is still the caller's, though perhaps non-blocking now. It
// returns an error for
//
//   - what the loop's method cannot watch, such as a file on disk or /dev/null with epoll
//     (ErrUnsupported);
//   - a socket that is not a stream socket, or that listens (ErrUnsupported);
//   - a descriptor with an armed Watch;
//   - a descriptor that a stream, listener or packet connection of this loop has.
//
// It cannot know the descriptors of other loops: two streams with one descriptor take
// bytes from each other, and the first to be closed closes it for both.
func (l *Loop) WrapFD(fd uintptr, conf *StreamConfig) (*Stream, error) {
	if l.isClosed() {
		return nil, ErrClosed
	}
	if !isFD(fd) {
		return nil, fmt.Errorf("evchan: wrap descriptor %d: %w", int(fd), eBADF)
	}
	watched := l.hasArmedWatch(sysFD(fd))
	l.lock()
	taken := l.taken.has(sysFD(fd))
	l.unlock()
	switch {
	case taken:
		return nil, errTaken("wrap", sysFD(fd))
	case watched:
		return nil, fmt.Errorf("evchan: wrap descriptor %d: it is being watched: disarm its Watch first", int(fd))
	}
	u, err := l.setup(conf)
	if err != nil {
		return nil, err
	}
	s, err := l.wrapFD(sysFD(fd), u)
	if err != nil && err != ErrClosed {
		err = fmt.Errorf("evchan: wrap descriptor %d: %w", int(fd), err)
	}
	return s, err
}

// WrapFile makes a stream of a duplicate of f's descriptor, as net.FileConn does. f stays
// the caller's, but is non-blocking from then on. For the rest see WrapFD.
func (l *Loop) WrapFile(f *os.File, conf *StreamConfig) (*Stream, error) {
	if f == nil {
		return nil, errors.New("evchan: WrapFile of nil")
	}
	if l.isClosed() {
		return nil, ErrClosed
	}
	u, err := l.setup(conf)
	if err != nil {
		return nil, err
	}
	fd, err := takeFD(f)
	if err == nil {
		var s *Stream
		if s, err = l.wrapFD(fd, u); err == nil {
			return s, nil
		}
		closeFD(fd)
	}
	if err != ErrClosed {
		err = fmt.Errorf("evchan: wrap %s: %w", f.Name(), err)
	}
	return nil, err
}

var errListening = fmt.Errorf("it is a listening socket, for net.FileListener and WrapListener: %w", ErrUnsupported)

// watchError returns the error with which the poller has refused a descriptor. To a program
// it makes no difference which method says that it cannot watch such a file, and how.
func (l *Loop) watchError(err error) error {
	if err == syscall.EPERM {
		return fmt.Errorf("%s cannot watch it (%w): %w", l.Method(), err, ErrUnsupported)
	}
	return os.NewSyscallError(l.Method(), err)
}

// wrapFD is WrapFD with words of its own for errors.
func (l *Loop) wrapFD(fd sysFD, u *streamSetup) (*Stream, error) {
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
	restore := func() {}
	if !plain {
		restore = resetLinger(fd)
	}
	if err := s.open(u, 0, false); err != nil {
		restore()
		return nil, err
	}
	return s, nil
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"fmt"
	"net"
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
		raw = c
	case *net.UnixConn:
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
	if err := s.open(0); err != nil {
		return nil, err
	}
	conn.Close()
	return s, nil
}

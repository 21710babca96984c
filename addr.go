// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"net"
	"net/netip"
	"os"
	"syscall"
)

// LocalAddr returns the address of the stream's near end, as package net gives
// it; nil if it has none.
func (s *Stream) LocalAddr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.extra != nil && s.extra.under != nil {
		return s.extra.under.LocalAddr()
	}
	if s.extra != nil && s.extra.local != nil {
		return s.extra.local
	}
	if s.transport != nil {
		if a := s.sock.localAddr(); a != nil {
			return a
		}
	}
	if s.listener != nil {
		return s.listener.Addr()
	}
	return nil
}

// RemoteAddr returns the address of the stream's far end, as package net gives
// it; nil if it has none. It is still there after the end.
func (s *Stream) RemoteAddr() net.Addr {
	if s.remote.IsValid() {
		return net.TCPAddrFromAddrPort(s.remote)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.remoteAddr()
}

// remoteAddr is RemoteAddr with mu held.
func (s *Stream) remoteAddr() net.Addr {
	switch {
	case s.remote.IsValid():
		return net.TCPAddrFromAddrPort(s.remote)
	case s.extra != nil && s.extra.under != nil:
		return s.extra.under.RemoteAddr()
	case s.extra != nil && s.extra.remote != nil:
		return s.extra.remote
	case s.listener != nil && s.listener.addr.Network() == "unix":
		return &net.UnixAddr{Net: "unix"} // package net gives an unnamed peer so
	}
	return nil
}

// opError returns err, which the operation op has met with, as package net
// would return it. mu is held.
func (s *Stream) opError(op string, err error) error {
	switch e := err.(type) {
	case *net.OpError:
		return e // it comes from the stream below
	case syscall.Errno:
		err = os.NewSyscallError(op, portable(e))
	}
	e := &net.OpError{Op: op, Net: "fd", Addr: s.remoteAddr(), Err: err}
	if e.Addr != nil {
		e.Net = e.Addr.Network()
	}
	if s.listener != nil {
		e.Source = s.listener.addr
	} else if s.extra != nil {
		e.Source = s.extra.local
	}
	return e
}

// addrString returns what a calls itself, "-" for nil.
func addrString(a net.Addr) string {
	if a == nil {
		return "-"
	}
	return a.String()
}

// addrPort4 returns an IPv4 address and port.
func addrPort4(ip [4]byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4(ip), port)
}

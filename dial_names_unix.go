// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"net"
	"net/netip"
	"os"
	"syscall"
)

// A dialAttempt is a socket that is being connected to an address.
type dialAttempt struct {
	r  *dialRace
	to netip.AddrPort
	fd sysFD // closed by end, unless the stream takes it

	over bool // end was called; the mu of the stream guards it

	reg registration
}

var _ pollable = (*dialAttempt)(nil)

// begin has the kernel connect a new socket, and the loop watch it. The caller holds the mu of
// the stream.
func (a *dialAttempt) begin(l *Loop) error {
	fd, err := connectSocket(a.r, a.to)
	if err != nil {
		return err
	}
	a.fd = fd
	l.lock()
	if l.closed {
		l.unlock()
		closeFD(fd)
		return ErrClosed
	}
	tok := l.register(a, fd)
	l.unlock()
	if err := l.poller.add(fd, tok, Write|Edge); err != nil {
		a.end(true)
		return os.NewSyscallError(l.Method(), err)
	}
	return nil
}

// end stops watching the socket, and closes it if closes is true. The caller holds the mu of
// the stream.
func (a *dialAttempt) end(closes bool) {
	if a.over {
		return
	}
	a.over = true
	l := a.r.s.Loop()
	l.lock()
	l.unassign(a)
	if !l.closed {
		l.unregister(a, a.fd)
	}
	l.unlock()
	l.poller.remove(a.fd)
	if closes {
		closeFD(a.fd)
	}
}

func (a *dialAttempt) registration() *registration { return &a.reg }

// ready is called when the poller reports that the socket is connected, or that it has failed.
func (a *dialAttempt) ready(What) { a.r.s.Loop().assign(a) }

// task looks which of the two it is.
func (a *dialAttempt) task() {
	s := a.r.s
	s.mu.Lock()
	defer s.unlockInTurn()
	if a.over {
		return
	}
	n, err := syscall.GetsockoptInt(a.fd, syscall.SOL_SOCKET, syscall.SO_ERROR)
	if err == nil && n != 0 {
		err = syscall.Errno(n)
	}
	if err == nil {
		if _, e := syscall.Getpeername(a.fd); e == syscall.ENOTCONN { // neither: a spurious report
			l := s.lockLoop()
			tok := l.token(a)
			l.unlock()
			l.poller.arm(a.fd, tok, Write|Edge)
			return
		}
	}
	a.r.ended(a, os.NewSyscallError("connect", err))
}

// connectSocket returns a new socket that is being connected.
func connectSocket(r *dialRace, to netip.AddrPort) (sysFD, error) {
	family, network := syscall.AF_INET, "tcp4"
	if to.Addr().Is6() {
		family, network = syscall.AF_INET6, "tcp6"
	}
	syscall.ForkLock.RLock() // a process that is started meanwhile must not inherit the socket
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return noFD, os.NewSyscallError("socket", err)
	}
	if err := setUpConnect(r, fd, family, network, to); err != nil {
		closeFD(fd)
		return noFD, err
	}
	return fd, nil
}

// setUpConnect sets the options of fd, and begins to connect it.
func setUpConnect(r *dialRace, fd sysFD, family int, network string, to netip.AddrPort) error {
	d := &r.d.dialer
	if err := syscall.SetNonblock(fd, true); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	if !r.d.delay {
		if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if d.KeepAliveConfig.Enable {
		if err := setKeepAlive(fd, d.KeepAliveConfig); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if d.Control != nil {
		if err := d.Control(network, to.String(), dialRawConn(fd)); err != nil {
			return err
		}
	}
	if local, ok := d.LocalAddr.(*net.TCPAddr); ok {
		ap := local.AddrPort()
		if !ap.Addr().IsValid() {
			ap = netip.AddrPortFrom(netip.IPv4Unspecified(), ap.Port())
			if family == syscall.AF_INET6 {
				ap = netip.AddrPortFrom(netip.IPv6Unspecified(), ap.Port())
			}
		}
		sa, err := sockaddrOf(ap)
		if err != nil {
			return err
		}
		if err := syscall.Bind(fd, sa); err != nil {
			return os.NewSyscallError("bind", err)
		}
	}
	sa, err := sockaddrOf(to)
	if err != nil {
		return err
	}
	switch err := syscall.Connect(fd, sa); err {
	case nil, syscall.EINPROGRESS, syscall.EALREADY, syscall.EINTR, syscall.EISCONN:
		return nil // the poller reports the outcome, also if it is there already
	default:
		return os.NewSyscallError("connect", err)
	}
}

// sockaddrOf returns a in the form of package syscall.
func sockaddrOf(a netip.AddrPort) (syscall.Sockaddr, error) {
	ip := a.Addr().Unmap()
	if ip.Is4() {
		return &syscall.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}, nil
	}
	sa := &syscall.SockaddrInet6{Port: int(a.Port()), Addr: ip.As16()}
	if zone := ip.Zone(); zone != "" {
		index, ok := zones.index(zone)
		if !ok {
			return nil, &net.AddrError{Err: "no such interface", Addr: ip.String()}
		}
		sa.ZoneId = uint32(index)
	}
	return sa, nil
}

// A dialRawConn is what DialConfig.Control gets.
type dialRawConn sysFD

func (c dialRawConn) Control(f func(fd uintptr)) error { f(uintptr(c)); return nil }
func (dialRawConn) Read(func(fd uintptr) bool) error   { return ErrUnsupported }
func (dialRawConn) Write(func(fd uintptr) bool) error  { return ErrUnsupported }

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix && !linux

package evchan

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// sysAccept accepts a connection as a non-blocking socket.
func sysAccept(fd sysFD) (sysFD, peerAddr, error) {
	// A process that is started between the two calls would inherit the socket.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	nfd, sa, err := unix.Accept(fd)
	if err != nil {
		return noFD, peerAddr{}, err
	}
	unix.CloseOnExec(nfd)
	if err := unix.SetNonblock(nfd, true); err != nil {
		unix.Close(nfd)
		return noFD, peerAddr{}, err
	}
	return nfd, remoteOf(sa), nil
}

// remoteOf returns the address of an accepted connection's peer; none if it is
// not an IP address.
func remoteOf(sa unix.Sockaddr) (a peerAddr) {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		a.port, a.size = uint16(sa.Port), 4
		copy(a.ip[:], sa.Addr[:])
	case *unix.SockaddrInet6:
		a.ip, a.zone, a.port, a.size = sa.Addr, sa.ZoneId, uint16(sa.Port), 16
	}
	return a
}

// setKeepAlive has the kernel ask an idle peer whether it is still there, at
// the system's own times.
func setKeepAlive(fd sysFD, seconds int) error {
	return syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1)
}

// setDeferAccept does nothing: the option is Linux's.
func setDeferAccept(sysFD, int) error { return nil }

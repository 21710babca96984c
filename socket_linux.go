// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sysAccept accepts a connection as a non-blocking socket.
func sysAccept(fd sysFD) (sysFD, peerAddr, error) {
	var sa unix.RawSockaddrInet6 // the longest that matters
	size := uint32(unix.SizeofSockaddrInet6)
	n, _, e := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if e != 0 {
		return noFD, peerAddr{}, e
	}
	return sysFD(n), peerOf((*unix.RawSockaddr)(unsafe.Pointer(&sa)), size), nil
}

// peerOf returns sa, of which there are size bytes; none if it is not an IP
// address.
func peerOf(sa *unix.RawSockaddr, size uint32) (a peerAddr) {
	switch {
	case size >= unix.SizeofSockaddrInet4 && sa.Family == unix.AF_INET:
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		a.port, a.size = ntohs(sa.Port), 4
		copy(a.ip[:], sa.Addr[:])
	case size >= unix.SizeofSockaddrInet6 && sa.Family == unix.AF_INET6:
		sa := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		a.ip, a.zone, a.port, a.size = sa.Addr, sa.Scope_id, ntohs(sa.Port), 16
	}
	return a
}

// setKeepAlive has the kernel ask an idle peer every so many seconds, and give
// up after 9 questions without an answer, as package net does.
func setKeepAlive(fd sysFD, seconds int) error {
	for _, o := range [...]struct{ level, name, value int }{
		{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, seconds},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, seconds},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 9},
	} {
		if err := syscall.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return err
		}
	}
	return nil
}

func setDeferAccept(fd sysFD, seconds int) error {
	return syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_DEFER_ACCEPT, seconds)
}

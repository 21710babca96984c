// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"
)

// sysListenPacket returns a socket on the address, and what address that is.
func sysListenPacket(network, address string) (fd sysFD, local net.Addr, err error) {
	var nc net.ListenConfig
	pc, err := nc.ListenPacket(context.Background(), network, address)
	if err != nil {
		return noFD, nil, err
	}
	defer pc.Close()
	local = pc.LocalAddr()
	if fd, err = takeFD(pc.(syscall.Conn)); err != nil {
		return noFD, nil, &net.OpError{Op: "listen", Net: network, Source: local, Err: err}
	}
	return fd, local, nil
}

// sysPacketFamily tells whether the datagram socket fd is of the family AF_INET6,
// and whether it is for IPv6 alone.
func sysPacketFamily(fd sysFD) (six, only bool, err error) {
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		return false, false, os.NewSyscallError("getsockname", err)
	}
	switch sa.(type) {
	case *syscall.SockaddrInet4, *syscall.SockaddrUnix:
		return false, false, nil
	case *syscall.SockaddrInet6:
		n, err := syscall.GetsockoptInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_V6ONLY)
		return true, n != 0, os.NewSyscallError("getsockopt", err)
	}
	return false, false, fmt.Errorf("socket of an unknown family: %w", ErrUnsupported)
}

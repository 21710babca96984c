// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix && !linux

package evchan

import (
	"golang.org/x/sys/unix"
)

// sysRecvFrom reads one datagram of any kind, and tells whether p was too small.
func sysRecvFrom(fd sysFD, p []byte) (n int, from packetAddr, cut bool, err error) {
	for {
		n, _, flags, sa, err := unix.Recvmsg(fd, p, nil, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, from, false, err
		}
		switch sa := sa.(type) {
		case *unix.SockaddrInet4, *unix.SockaddrInet6:
			from.ip = remoteOf(sa).addrPort()
		case *unix.SockaddrUnix:
			from.name = sa.Name
		}
		return n, from, flags&unix.MSG_TRUNC != 0, nil
	}
}

// sysPeek returns nil if there is a datagram to be read.
func sysPeek(fd sysFD) error {
	var p [1]byte
	for {
		_, _, _, _, err := unix.Recvmsg(fd, p[:], nil, unix.MSG_PEEK)
		if err != unix.EINTR {
			return err
		}
	}
}

// sysSendTo sends one datagram.
func sysSendTo(fd sysFD, p []byte, to *packetAddr) error {
	var sa unix.Sockaddr
	switch {
	case to.ip.Addr().Is4():
		sa = &unix.SockaddrInet4{Port: int(to.ip.Port()), Addr: to.ip.Addr().As4()}
	case to.ip.IsValid():
		sa = &unix.SockaddrInet6{Port: int(to.ip.Port()), ZoneId: to.zone, Addr: to.ip.Addr().As16()}
	case to.name != "":
		sa = &unix.SockaddrUnix{Name: to.name}
	}
	for {
		err := error(nil)
		if sa != nil {
			err = unix.Sendto(fd, p, 0, sa)
		} else {
			_, err = unix.SendmsgN(fd, p, nil, nil, 0)
		}
		if err != unix.EINTR {
			return err
		}
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// sysListenPacket returns a socket on the address, and the address that it has got.
// It does not use package net, whose sockets belong to the runtime's completion port.
func sysListenPacket(network, address string, conf *PacketConfig) (fd sysFD, local net.Addr, err error) {
	if network == "unixgram" {
		return noFD, nil, &net.OpError{Op: "listen", Net: network, Err: ErrUnsupported}
	}
	a, err := net.ResolveUDPAddr(network, address)
	if err != nil {
		return noFD, nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	if network == "udp" && (a.IP == nil || a.IP.IsUnspecified()) {
		// For both families, if there is IPv6, as in package net.
		any := &net.UDPAddr{Port: a.Port}
		fd, local, err = bindPacket("udp6", any, conf, false)
		switch {
		case err == nil:
			return fd, local, nil
		case errors.Is(err, windows.WSAEADDRINUSE), errors.Is(err, windows.WSAEACCES):
			// The port may still be free for IPv4, but one family is not enough.
			return noFD, nil, &net.OpError{Op: "listen", Net: network, Source: a, Err: portable(err)}
		case a.IP.To4() != nil || a.IP == nil:
			network, a = "udp4", any
		}
	}
	if fd, local, err = bindPacket(network, a, conf, true); err != nil {
		return noFD, nil, &net.OpError{Op: "listen", Net: network, Source: a, Err: portable(err)}
	}
	return fd, local, nil
}

// bindPacket returns a socket that is bound to a, and its address. With ipv6Only, a
// socket of IPv6 cannot reach IPv4.
func bindPacket(network string, a *net.UDPAddr, conf *PacketConfig, ipv6Only bool) (fd sysFD, local net.Addr, err error) {
	var sa windows.Sockaddr
	family := int32(windows.AF_INET)
	if ip := a.IP.To4(); network != "udp6" && (ip != nil || a.IP == nil) {
		sa4 := &windows.SockaddrInet4{Port: a.Port}
		copy(sa4.Addr[:], ip)
		sa = sa4
	} else {
		family = windows.AF_INET6
		sa6 := &windows.SockaddrInet6{Port: a.Port}
		copy(sa6.Addr[:], a.IP.To16())
		if a.Zone != "" {
			index, _ := zones.index(a.Zone)
			sa6.ZoneId = uint32(index)
		}
		sa = sa6
	}
	s, err := windows.WSASocket(family, windows.SOCK_DGRAM, windows.IPPROTO_UDP, nil, 0,
		windows.WSA_FLAG_OVERLAPPED|windows.WSA_FLAG_NO_HANDLE_INHERIT)
	if err != nil {
		return noFD, nil, sysError("WSASocket", err)
	}
	defer func() {
		if err != nil {
			windows.Closesocket(s)
		}
	}()
	if family == windows.AF_INET6 {
		v := 0
		if ipv6Only {
			v = 1
		}
		if err := windows.SetsockoptInt(s, windows.IPPROTO_IPV6, windows.IPV6_V6ONLY, v); err != nil {
			return noFD, nil, sysError("setsockopt", err)
		}
	}
	// That an earlier datagram could not be delivered must not make a later call
	// fail. Where the system refuses these options, recvFrom ignores the errors.
	const (
		sioUDPConnReset = 0x9800000c // no socket listens at the destination
		sioUDPNetReset  = 0x9800000f // the destination was not reached
	)
	for _, code := range [...]uint32{sioUDPConnReset, sioUDPNetReset} {
		var off, n uint32
		windows.WSAIoctl(s, code, (*byte)(unsafe.Pointer(&off)), uint32(unsafe.Sizeof(off)), nil, 0, &n, nil, 0)
	}
	if family == windows.AF_INET6 {
		network = "udp6"
	} else {
		network = "udp4"
	}
	if err := conf.control(network, a.String(), unboundSocket(s)); err != nil {
		return noFD, nil, err
	}
	if err := windows.Bind(s, sa); err != nil {
		return noFD, nil, sysError("bind", err)
	}
	if err := setNonblock(sysFD(s)); err != nil {
		return noFD, nil, sysError("ioctlsocket", err)
	}
	bound, err := windows.Getsockname(s)
	if err != nil {
		return noFD, nil, sysError("getsockname", err)
	}
	switch b := bound.(type) {
	case *windows.SockaddrInet4:
		return sysFD(s), net.UDPAddrFromAddrPort(addrPort(netip.AddrFrom4(b.Addr), 0, uint16(b.Port))), nil
	case *windows.SockaddrInet6:
		at := netip.AddrPortFrom(netip.AddrFrom16(b.Addr), uint16(b.Port))
		return sysFD(s), &net.UDPAddr{IP: at.Addr().AsSlice(), Port: int(at.Port()), Zone: a.Zone}, nil
	}
	return noFD, nil, ErrUnsupported
}

// An unboundSocket is what Control is given: only its method Control works.
type unboundSocket sysFD

func (s unboundSocket) Control(f func(fd uintptr)) error {
	f(uintptr(s))
	return nil
}

func (unboundSocket) Read(func(fd uintptr) bool) error  { return ErrUnsupported }
func (unboundSocket) Write(func(fd uintptr) bool) error { return ErrUnsupported }

func setBroadcast(fd sysFD, on bool) error {
	v := 0
	if on {
		v = 1
	}
	return windows.SetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_BROADCAST, v)
}

func setReadBuffer(fd sysFD, bytes int) error {
	return windows.SetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_RCVBUF, bytes)
}

func setWriteBuffer(fd sysFD, bytes int) error {
	return windows.SetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_SNDBUF, bytes)
}

// sysPacketFamily reports whether the datagram socket fd is of the family AF_INET6,
// and whether it then cannot reach IPv4.
func sysPacketFamily(fd sysFD) (ipv6, ipv6Only bool, err error) {
	sa, err := windows.Getsockname(windows.Handle(fd))
	if err != nil {
		return false, false, sysError("getsockname", err)
	}
	if _, ipv6 = sa.(*windows.SockaddrInet6); !ipv6 {
		return false, false, nil
	}
	n, err := windows.GetsockoptInt(windows.Handle(fd), windows.IPPROTO_IPV6, windows.IPV6_V6ONLY)
	if err != nil {
		return false, false, sysError("getsockopt", err)
	}
	return true, n != 0, nil
}

// sysTellDestination fails: it would take an extension of the system's calls.
func sysTellDestination(sysFD, bool) error { return ErrUnsupported }

// sysRecvFrom reads one datagram; cut says that p was too small. at is none.
func sysRecvFrom(fd sysFD, p []byte, _ bool) (n int, from packetAddr, at peerAddr, cut bool, err error) {
	var sa windows.RawSockaddrAny
	got, err := recvFrom(fd, p, 0, &sa)
	if err == windows.WSAEMSGSIZE {
		got, cut, err = len(p), true, nil
	}
	if err != nil {
		return 0, from, at, false, err
	}
	from.ip = peerOf(&sa).addrPort()
	return got, from, at, cut, nil
}

// recvFrom is WSARecvFrom, without the errors of datagrams that were sent earlier.
func recvFrom(fd sysFD, p []byte, flags uint32, sa *windows.RawSockaddrAny) (int, error) {
	v := windows.WSABuf{Len: wsaLen(p), Buf: unsafe.SliceData(p)}
	for {
		var n uint32
		f, size := flags, int32(unsafe.Sizeof(*sa))
		err := windows.WSARecvFrom(windows.Handle(fd), &v, 1, &n, &f, sa, &size, nil, nil)
		if err == windows.WSAECONNRESET || err == windows.WSAENETRESET {
			continue
		}
		if e, ok := err.(syscall.Errno); ok {
			return 0, wsaError(e)
		}
		return int(n), err
	}
}

// sysPeek returns nil if a datagram waits to be read.
func sysPeek(fd sysFD) error {
	var p [1]byte
	var sa windows.RawSockaddrAny
	_, err := recvFrom(fd, p[:], windows.MSG_PEEK, &sa)
	if err == windows.WSAEMSGSIZE {
		return nil
	}
	return err
}

// sysSendTo sends one datagram.
func sysSendTo(fd sysFD, p []byte, to *packetAddr) error {
	if to.source.IsValid() {
		return ErrUnsupported
	}
	var sa windows.Sockaddr
	switch {
	case to.ip.Addr().Is4():
		sa = &windows.SockaddrInet4{Port: int(to.ip.Port()), Addr: to.ip.Addr().As4()}
	case to.ip.IsValid():
		sa = &windows.SockaddrInet6{Port: int(to.ip.Port()), ZoneId: to.zone, Addr: to.ip.Addr().As16()}
	}
	v := windows.WSABuf{Len: wsaLen(p), Buf: unsafe.SliceData(p)}
	var err error
	if sa != nil {
		var n uint32
		err = windows.WSASendto(windows.Handle(fd), &v, 1, &n, 0, sa, nil, nil)
	} else {
		_, err = sendVector(fd, &v, 1)
	}
	if e, ok := err.(syscall.Errno); ok {
		err = wsaError(e)
	}
	return err
}

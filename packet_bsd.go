// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build darwin || freebsd || openbsd

package evchan

import (
	"net/netip"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sysTellDestination has the kernel tell the destination of each datagram of a UDP
// socket.
func sysTellDestination(fd sysFD, ipv6 bool) error {
	if ipv6 {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVDSTADDR, 1)
}

// destinationOf returns the destination of a datagram, which is in its control messages;
// none if it is not there.
func destinationOf(ctl []byte) (a peerAddr) {
	for len(ctl) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(ctl)
		switch {
		case err != nil:
			return a
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_RECVDSTADDR && len(data) >= 4:
			a.size = 4
			copy(a.ip[:], data[:4])
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			info := (*unix.Inet6Pktinfo)(unsafe.Pointer(unsafe.SliceData(data)))
			a.size, a.ip = 16, info.Addr
			if hasZone(netip.AddrFrom16(info.Addr)) {
				a.zone = info.Ifindex
			}
		}
		ctl = rest
	}
	return a
}

// sourceControl returns the control message that says where a datagram comes from. IPv4
// has a message of its own also on sockets of both families: macOS and earlier FreeBSD do
// not take that of IPv6 for it.
func sourceControl(to *packetAddr) []byte {
	from := to.source.Unmap()
	if !from.Is4() {
		ctl, data := newControl(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
		*(*unix.Inet6Pktinfo)(unsafe.Pointer(unsafe.SliceData(data))) = unix.Inet6Pktinfo{Addr: from.As16(), Ifindex: to.sourceZone}
		return ctl
	}
	ip := from.As4()
	switch runtime.GOOS {
	case "freebsd", "openbsd":
		ctl, data := newControl(unix.IPPROTO_IP, unix.IP_RECVDSTADDR, len(ip)) // for which IP_SENDSRCADDR is a name
		copy(data, ip[:])
		return ctl
	}
	const ipPktinfo = 26                                    // IP_PKTINFO of macOS
	ctl, data := newControl(unix.IPPROTO_IP, ipPktinfo, 12) // struct in_pktinfo: interface, source, destination
	copy(data[4:], ip[:])
	return ctl
}

// newControl returns a control message with data of that size, and the data.
func newControl(level, kind int32, size int) (ctl, data []byte) {
	ctl = make([]byte, unix.CmsgSpace(size))
	h := (*unix.Cmsghdr)(unsafe.Pointer(unsafe.SliceData(ctl)))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(size))
	return ctl, ctl[unix.CmsgLen(0):][:size]
}

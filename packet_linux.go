// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// packetBatches says that one system call can receive several datagrams here.
const packetBatches = true

// maxPacketBatch is how many datagrams one system call receives or sends. With 64,
// receiving is hardly faster and needs four times the memory.
const maxPacketBatch = 16

// packetSlot is the room for one datagram, of which UDP allows at most 65,527
// bytes. It is no power of two, so that the beginnings of the slots do not compete
// for the same few lines of the processor's caches.
const packetSlot = 64<<10 + 64

// None of the system calls in this file blocks, so they are raw, as in sys_linux.go.

// An mmsghdr is struct mmsghdr (recvmmsg(2)).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// A packetInput is where recvmmsg puts datagrams, with a slot of 64 KiB for each. It
// is used during one fetch only: what was received moves to a packetBatch, which
// has only as much memory as that needs.
type packetInput struct {
	hdrs  [maxPacketBatch]mmsghdr
	iovs  [maxPacketBatch]unix.Iovec
	names [maxPacketBatch]unix.RawSockaddrInet6 // large enough for RawSockaddrInet4
	ctls  [maxPacketBatch]packetControl
	buf   []byte // a slot for each
}

// A packetControl is the room for the control messages of a received datagram. One is
// ours. The program may have asked the kernel for others, such as timestamps.
type packetControl [256 / 8]uint64 // which are aligned

var packetInputPool sync.Pool // of *packetInput

func newPacketInput() *packetInput {
	if in, ok := packetInputPool.Get().(*packetInput); ok {
		return in
	}
	in := &packetInput{buf: make([]byte, maxPacketBatch*packetSlot)}
	for i := range in.hdrs {
		in.iovs[i].Base = &in.buf[i*packetSlot]
		in.iovs[i].SetLen(packetSlot)
		h := &in.hdrs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&in.names[i]))
		h.Namelen = unix.SizeofSockaddrInet6
		h.Iov = &in.iovs[i]
		h.SetIovlen(1)
	}
	return in
}

// receive takes datagrams from fd, with their control messages if ctls is set, and
// returns how many. If these are fewer than
// maxPacketBatch, err is the reason, most often EAGAIN.
//
// A system call that returns fewer datagrams than asked for does not prove that the
// socket is empty: any error ends it early, and it does not report the error if it
// has received some datagrams (recvmmsg(2)). So it is called until there is an error.
func (in *packetInput) receive(fd sysFD, ctls bool) (n int, err error) {
	for i := range in.hdrs {
		h := &in.hdrs[i].hdr
		h.Control = nil
		h.SetControllen(0)
		if ctls {
			h.Control = (*byte)(unsafe.Pointer(&in.ctls[i]))
			h.SetControllen(len(packetControl{}) * 8)
		}
	}
	for n < maxPacketBatch && err == nil {
		r, _, e := syscall.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&in.hdrs[n])), uintptr(maxPacketBatch-n),
			dontWait, 0, 0)
		switch e {
		case 0:
			n += int(r)
		case syscall.EINTR:
		default:
			err = e
		}
	}
	return n, err
}

// A packetBatch holds UDP datagrams that were taken from the kernel and not read.
type packetBatch struct {
	n, at int                      // the unread ones have the indexes from at to at+n-1
	from  [maxPacketBatch]peerAddr // their senders
	to    [maxPacketBatch]peerAddr // where they were sent to, if the kernel has told; port is 0
	end   [maxPacketBatch]int      // where each ends in data.buf; it begins where the one before ends
	data  *chunk
}

var packetBatchPool sync.Pool // of *packetBatch

// receiveBatch takes datagrams from fd, and returns them, nil if there are none. If
// there are fewer than maxPacketBatch, err is the reason, most often EAGAIN. told says
// that the kernel tells destinations (see sysTellDestination).
func receiveBatch(fd sysFD, told bool) (*packetBatch, error) {
	in := newPacketInput()
	defer packetInputPool.Put(in)
	n, err := in.receive(fd, told)
	if n == 0 {
		return nil, err
	}
	b, ok := packetBatchPool.Get().(*packetBatch)
	if !ok {
		b = new(packetBatch)
	}
	b.n, b.at = n, 0
	total := 0
	for i := range n {
		h := &in.hdrs[i]
		b.from[i] = peerOf((*unix.RawSockaddr)(unsafe.Pointer(&in.names[i])), h.hdr.Namelen)
		h.hdr.Namelen = unix.SizeofSockaddrInet6 // the kernel has changed it from the room to the size
		if b.to[i] = (peerAddr{}); told {
			b.to[i] = destinationOf(&in.ctls[i], int(h.hdr.Controllen))
		}
		total += int(h.len)
		b.end[i] = total
	}
	b.data = newChunkSize(total)
	for i := range n {
		b.data.w += copy(b.data.buf[b.data.w:], in.buf[i*packetSlot:][:in.hdrs[i].len])
	}
	return b, err
}

// size returns how many bytes the datagrams of b have, the read ones included.
func (b *packetBatch) size() int { return b.data.w }

// next takes one datagram out of b, which is not empty, and returns it with its sender
// and its destination. The bytes stay valid until b is freed.
func (b *packetBatch) next() (p []byte, from netip.AddrPort, to peerAddr) {
	i := b.at
	b.at++
	b.n--
	p = b.data.buf[b.data.r:b.end[i]]
	b.data.r = b.end[i]
	return p, b.from[i].addrPort(), b.to[i]
}

// free recycles b; it drops unread datagrams.
func (b *packetBatch) free() {
	b.data.put()
	b.data = nil
	packetBatchPool.Put(b)
}

// sysTellDestination has the kernel tell the destination of each datagram of a UDP
// socket.
func sysTellDestination(fd sysFD, ipv6 bool) error {
	if ipv6 { // which covers IPv4 as well
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
}

// destinationOf returns the destination of a datagram, which is in the first size bytes
// of its control messages; none if it is not there.
func destinationOf(ctl *packetControl, size int) (a peerAddr) {
	for b := unsafe.Slice((*byte)(unsafe.Pointer(ctl)), len(ctl)*8)[:size]; len(b) >= unix.SizeofCmsghdr; {
		h, data, rest, err := unix.ParseOneSocketControlMessage(b)
		switch {
		case err != nil:
			return a
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			info := (*unix.Inet4Pktinfo)(unsafe.Pointer(unsafe.SliceData(data)))
			a.size = 4
			copy(a.ip[:], info.Addr[:])
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			info := (*unix.Inet6Pktinfo)(unsafe.Pointer(unsafe.SliceData(data)))
			a.size, a.ip = 16, info.Addr
			if hasZone(netip.AddrFrom16(info.Addr)) {
				a.zone = info.Ifindex
			}
		}
		b = rest
	}
	return a
}

// sysRecvFrom reads one datagram of any network; cut says that p was too small. at is
// its destination if the kernel tells it and told is set.
func sysRecvFrom(fd sysFD, p []byte, told bool) (n int, from packetAddr, at peerAddr, cut bool, err error) {
	if told {
		return recvMsg(fd, p)
	}
	var sa unix.RawSockaddrAny
	for {
		size := uint32(unsafe.Sizeof(sa))
		r, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
			dontWait|unix.MSG_TRUNC, uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)))
		if e == 0 {
			if from.ip = peerOf((*unix.RawSockaddr)(unsafe.Pointer(&sa)), size).addrPort(); !from.ip.IsValid() {
				from.name = sockaddrName(&sa, size)
			}
			return min(int(r), len(p)), from, at, int(r) > len(p), nil
		}
		if e != syscall.EINTR {
			return 0, from, at, false, e
		}
	}
}

// recvMsg is sysRecvFrom for UDP with the destination.
func recvMsg(fd sysFD, p []byte) (n int, from packetAddr, at peerAddr, cut bool, err error) {
	var sa unix.RawSockaddrInet6
	var ctl packetControl
	iov := unix.Iovec{Base: unsafe.SliceData(p)}
	iov.SetLen(len(p))
	for {
		h := unix.Msghdr{Name: (*byte)(unsafe.Pointer(&sa)), Namelen: unix.SizeofSockaddrInet6, Iov: &iov, Control: (*byte)(unsafe.Pointer(&ctl))}
		h.SetIovlen(1)
		h.SetControllen(len(ctl) * 8)
		r, _, e := syscall.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&h)), dontWait|unix.MSG_TRUNC)
		if e == 0 {
			from.ip = peerOf((*unix.RawSockaddr)(unsafe.Pointer(&sa)), h.Namelen).addrPort()
			return min(int(r), len(p)), from, destinationOf(&ctl, int(h.Controllen)), int(r) > len(p), nil
		}
		if e != syscall.EINTR {
			return 0, from, at, false, e
		}
	}
}

// sysPeek returns nil if a datagram waits to be read.
func sysPeek(fd sysFD) error {
	for {
		_, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), 0, 0, dontWait|unix.MSG_PEEK, 0, 0)
		if e == 0 {
			return nil
		}
		if e != syscall.EINTR {
			return e
		}
	}
}

// sysSendTo sends one datagram.
func sysSendTo(fd sysFD, p []byte, to *packetAddr) error {
	if to.source.IsValid() {
		b := newPacketOutput()
		defer b.free()
		b.add(p, *to)
		_, err := b.send(fd)
		return err
	}
	var sa unix.RawSockaddrAny
	size, err := putSockaddr(&sa, to)
	if err != nil {
		return err
	}
	name := unsafe.Pointer(&sa)
	if size == 0 {
		name = nil
	}
	for {
		_, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
			dontWait|unix.MSG_NOSIGNAL, uintptr(name), uintptr(size))
		if e == 0 {
			return nil
		}
		if e != syscall.EINTR {
			return e
		}
	}
}

// A packetOutput holds datagrams that one system call sends.
type packetOutput struct {
	n     int
	data  [maxPacketBatch][]byte
	to    [maxPacketBatch]packetAddr
	hdrs  [maxPacketBatch]mmsghdr
	iovs  [maxPacketBatch]unix.Iovec
	names [maxPacketBatch]unix.RawSockaddrAny
	ctls  [maxPacketBatch]sourceControl
}

// A sourceControl is the control message that says where a datagram comes from.
type sourceControl [(unix.SizeofCmsghdr + unix.SizeofInet6Pktinfo + 7) / 8]uint64 // which are aligned

// put writes the message for to, and returns its size.
func (c *sourceControl) put(to *packetAddr) int {
	h := (*unix.Cmsghdr)(unsafe.Pointer(c))
	data := unsafe.Add(unsafe.Pointer(c), unix.CmsgLen(0))
	size := unix.SizeofInet4Pktinfo
	if to.source.Is4() {
		h.Level, h.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		*(*unix.Inet4Pktinfo)(data) = unix.Inet4Pktinfo{Spec_dst: to.source.As4()}
	} else {
		h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
		*(*unix.Inet6Pktinfo)(data) = unix.Inet6Pktinfo{Addr: to.source.As16(), Ifindex: to.sourceZone}
		size = unix.SizeofInet6Pktinfo
	}
	h.SetLen(unix.CmsgLen(size))
	return unix.CmsgSpace(size)
}

// send sends datagrams of b, in their order, and returns how many. It returns an
// error only if it sent none; the error is about the first.
func (b *packetOutput) send(fd sysFD) (int, error) {
	count := 0
	for i, p := range b.data[:b.n] {
		size, err := putSockaddr(&b.names[i], &b.to[i])
		if err != nil {
			if i == 0 {
				return 0, err
			}
			break
		}
		b.iovs[i].Base = unsafe.SliceData(p)
		b.iovs[i].SetLen(len(p))
		h := &b.hdrs[i].hdr
		*h = unix.Msghdr{Iov: &b.iovs[i]}
		h.SetIovlen(1)
		if size > 0 {
			h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
			h.Namelen = size
		}
		if b.to[i].source.IsValid() {
			h.Control = (*byte)(unsafe.Pointer(&b.ctls[i]))
			h.SetControllen(b.ctls[i].put(&b.to[i]))
		}
		count++
	}
	defer clear(b.iovs[:count]) // so that the pool does not keep the caller's data alive
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.hdrs)), uintptr(count),
			dontWait|unix.MSG_NOSIGNAL, 0, 0)
		if e == 0 {
			return int(n), nil
		}
		if e != syscall.EINTR {
			return 0, e
		}
	}
}

// unixPath is the offset of the name in a sockaddr_un.
const unixPath = unsafe.Offsetof(unix.RawSockaddrUnix{}.Path)

// sockaddrName returns the name of the Unix socket in sa, which has size bytes; ""
// if it has none. An abstract name begins with @.
func sockaddrName(sa *unix.RawSockaddrAny, size uint32) string {
	if sa.Addr.Family != unix.AF_UNIX || uintptr(size) <= unixPath {
		return ""
	}
	// The size counts the final NUL also where there was no room for it (unix(7)).
	n := min(uintptr(size)-unixPath, uintptr(len(unix.RawSockaddrUnix{}.Path)))
	path := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(sa), unixPath)), n)
	if path[0] == 0 {
		return "@" + string(path[1:])
	}
	for i, c := range path {
		if c == 0 {
			return string(path[:i])
		}
	}
	return string(path)
}

// putSockaddr writes to into sa, and returns its size; 0 if to is the zero value.
func putSockaddr(sa *unix.RawSockaddrAny, to *packetAddr) (uint32, error) {
	switch {
	case to.ip.Addr().Is4():
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		*sa = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: ntohs(to.ip.Port()), Addr: to.ip.Addr().As4()}
		return unix.SizeofSockaddrInet4, nil
	case to.ip.IsValid():
		sa := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		*sa = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: ntohs(to.ip.Port()), Scope_id: to.zone, Addr: to.ip.Addr().As16()}
		return unix.SizeofSockaddrInet6, nil
	case to.name != "":
		*sa = unix.RawSockaddrAny{}
		sa.Addr.Family = unix.AF_UNIX
		path := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(sa), unixPath)), len(unix.RawSockaddrUnix{}.Path))
		n := copy(path, to.name)
		switch {
		case n < len(to.name):
			return 0, syscall.EINVAL
		case path[0] == '@':
			path[0] = 0
		case n < len(path):
			n++ // the final NUL; the longest path has none
		}
		return uint32(unixPath) + uint32(n), nil
	}
	return 0, nil
}

// ntohs converts n from the network's byte order to the machine's, or back.
func ntohs(n uint16) uint16 {
	var p [2]byte
	binary.BigEndian.PutUint16(p[:], n)
	return binary.NativeEndian.Uint16(p[:])
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// System calls that golang.org/x/sys/windows lacks, or that allocate there.
var (
	modws2_32 = windows.NewLazySystemDLL("ws2_32.dll")

	procWSARecv     = modws2_32.NewProc("WSARecv")
	procWSASend     = modws2_32.NewProc("WSASend")
	procAccept      = modws2_32.NewProc("accept")
	procIoctlsocket = modws2_32.NewProc("ioctlsocket")
)

// The calls in this file that read from or write to a socket never block: the socket is
// non-blocking and the calls are not overlapped. For the same reason a completion port
// to which the socket may belong gets no packets of them.

// wsaError returns errno, with EAGAIN instead of WSAEWOULDBLOCK, as the rest of the
// package expects.
func wsaError(errno syscall.Errno) error {
	if errno == windows.WSAEWOULDBLOCK {
		return syscall.EAGAIN
	}
	return errno
}

// sysRead is sysRecv: all descriptors are sockets.
func sysRead(fd sysFD, p []byte) (int, error) { return sysRecv(fd, p) }

// wsaLen returns how much of p one call is given.
func wsaLen(p []byte) uint32 { return uint32(min(len(p), 1<<30)) }

func recvVector(fd sysFD, v *windows.WSABuf, count uintptr, flags uint32) (int, error) {
	var n uint32
	r, _, errno := syscall.SyscallN(procWSARecv.Addr(), uintptr(fd),
		uintptr(unsafe.Pointer(v)), count,
		uintptr(unsafe.Pointer(&n)), uintptr(unsafe.Pointer(&flags)), 0, 0)
	if r != 0 {
		return 0, wsaError(errno)
	}
	return int(n), nil
}

// maxSend is the most that one call sends. The system copies all that it is given,
// however much that is, to memory that is scarce: it may fail (WSAENOBUFS) or exceed the
// size of the send buffer. Arbitrary.
const maxSend = 1 << 20

func sendVector(fd sysFD, v *windows.WSABuf, count uintptr) (int, error) {
	var n uint32
	r, _, errno := syscall.SyscallN(procWSASend.Addr(), uintptr(fd),
		uintptr(unsafe.Pointer(v)), count,
		uintptr(unsafe.Pointer(&n)), 0, 0, 0)
	if r != 0 {
		return 0, wsaError(errno)
	}
	return int(n), nil
}

// sysWrite is sysSend: all descriptors are sockets.
func sysWrite(fd sysFD, p []byte) (int, error) { return sysSend(fd, p) }

// sysWriteChain writes c and the chunks that follow it, up to the first file, to the
// socket fd once.
func sysWriteChain(fd sysFD, c *chunk, limit int, _ bool) (int, error) {
	var v [maxVector]windows.WSABuf
	count := 0
	for room := min(maxSend, limit); c != nil && count < maxVector && room > 0 && !c.isFile(); c = c.next {
		p := c.buf[c.r : c.r+min(c.size(), room)]
		v[count] = windows.WSABuf{Len: uint32(len(p)), Buf: &p[0]}
		count++
		room -= len(p)
	}
	return sendVector(fd, &v[0], uintptr(count))
}

// sysSendFile is not supported: TransmitFile does not stop when the socket takes no more.
func sysSendFile(sysFD, *os.File, int64, int) (int, error) { return 0, ErrUnsupported }

// sysRecv reads once from the socket fd to p, which is not empty.
func sysRecv(fd sysFD, p []byte) (int, error) {
	v := windows.WSABuf{Len: wsaLen(p), Buf: &p[0]}
	return recvVector(fd, &v, 1, 0)
}

// sysSend writes p, which is not empty, or the beginning of it, to the socket fd once.
func sysSend(fd sysFD, p []byte) (int, error) {
	v := windows.WSABuf{Len: uint32(min(len(p), maxSend)), Buf: &p[0]}
	return sendVector(fd, &v, 1)
}

// peekByte reads a byte from the socket fd without taking it.
func peekByte(fd sysFD) (int, error) {
	var b byte
	v := windows.WSABuf{Len: 1, Buf: &b}
	return recvVector(fd, &v, 1, windows.MSG_PEEK)
}

// sysAccept accepts a connection and returns its non-blocking socket.
func sysAccept(fd sysFD) (nfd sysFD, peer peerAddr, err error) {
	// Without the lock, a process started between the calls could inherit the socket.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	var sa windows.RawSockaddrAny
	n := int32(unsafe.Sizeof(sa))
	nfd, _, errno := syscall.SyscallN(procAccept.Addr(), uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&n)))
	if nfd == noFD {
		return noFD, peer, wsaError(errno)
	}
	windows.CloseOnExec(windows.Handle(nfd))
	if err := setNonblock(nfd); err != nil {
		windows.Closesocket(windows.Handle(nfd))
		return noFD, peer, err
	}
	return nfd, peerOf(&sa), nil
}

// setNonblock makes calls on the socket fd that are not overlapped return at once.
func setNonblock(fd sysFD) error {
	const fionbio = 0x8004667e
	on := uint32(1)
	if r, _, errno := syscall.SyscallN(procIoctlsocket.Addr(), uintptr(fd), fionbio, uintptr(unsafe.Pointer(&on))); r != 0 {
		return errno
	}
	return nil
}

// A winsockError is an error number of Winsock, such as WSAECONNRESET. To errors.Is it is
// also the error that package syscall has for the same on every system, such as
// ECONNRESET.
type winsockError struct {
	syscall.Errno
	same syscall.Errno // of portableErrnos
}

func (e winsockError) Is(target error) bool { return target == e.same || e.same.Is(target) }

func (e winsockError) Unwrap() error { return e.Errno }

func (e winsockError) Timeout() bool { return e.same.Timeout() }

func (e winsockError) Temporary() bool { return e.same.Temporary() }

// portableErrnos has, for the errors of Winsock that programs test for, the errors that
// package syscall has for the same.
var portableErrnos = map[syscall.Errno]syscall.Errno{
	windows.WSAEACCES:        syscall.EACCES,
	windows.WSAEINVAL:        syscall.EINVAL,
	windows.WSAEMFILE:        syscall.EMFILE,
	windows.WSAENOTSOCK:      syscall.ENOTSOCK,
	windows.WSAEMSGSIZE:      syscall.EMSGSIZE,
	windows.WSAEOPNOTSUPP:    syscall.EOPNOTSUPP,
	windows.WSAEAFNOSUPPORT:  syscall.EAFNOSUPPORT,
	windows.WSAEADDRINUSE:    syscall.EADDRINUSE,
	windows.WSAEADDRNOTAVAIL: syscall.EADDRNOTAVAIL,
	windows.WSAENETDOWN:      syscall.ENETDOWN,
	windows.WSAENETUNREACH:   syscall.ENETUNREACH,
	windows.WSAENETRESET:     syscall.ENETRESET,
	windows.WSAECONNABORTED:  syscall.ECONNABORTED,
	windows.WSAECONNRESET:    syscall.ECONNRESET,
	windows.WSAENOBUFS:       syscall.ENOBUFS,
	windows.WSAENOTCONN:      syscall.ENOTCONN,
	windows.WSAESHUTDOWN:     syscall.EPIPE,
	windows.WSAETIMEDOUT:     syscall.ETIMEDOUT,
	windows.WSAECONNREFUSED:  syscall.ECONNREFUSED,
	windows.WSAEHOSTDOWN:     syscall.EHOSTDOWN,
	windows.WSAEHOSTUNREACH:  syscall.EHOSTUNREACH,
}

// portable returns err with the Winsock error in it, if there is one, replaced by a
// winsockError. err may be an error of package net.
func portable(err error) error {
	switch e := err.(type) {
	case syscall.Errno:
		if n, ok := portableErrnos[e]; ok {
			return winsockError{e, n}
		}
	case *os.SyscallError:
		return os.NewSyscallError(e.Syscall, portable(e.Err))
	case *net.OpError:
		c := *e
		c.Err = portable(e.Err)
		return &c
	}
	return err
}

// A sysFD is a descriptor in the form that the system's calls take.
type sysFD = uintptr

// noFD is never a valid descriptor.
const noFD = ^sysFD(0)

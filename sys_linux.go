// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A descriptor is made non-blocking when a stream or listener gets it, but another holder of
// the same open file, a child process for example, may make it blocking again at any time.
// So no call in this file relies on that:
//
//   - Sockets are read and written with MSG_DONTWAIT. These calls never block, so the
//     scheduler need not know of them: during a raw call the runtime's monitor does not take
//     the processor away.
//   - What has no such flag (pipes, terminals, accept, sendfile) first looks whether the
//     descriptor may block, see mayBlock. The call itself is one that the scheduler knows
//     of, so that nothing but the loop waits if the other holder was faster.

// mayBlock reports whether calls on fd may block now.
func mayBlock(fd sysFD) bool {
	flags, _, e := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFL, 0)
	return e == 0 && flags&syscall.O_NONBLOCK == 0
}

// sysRead reads once from fd, which is not a socket, to p, which is not empty.
func sysRead(fd sysFD, p []byte) (int, error) {
	if mayBlock(fd) && pollNow(fd, unix.POLLIN) == 0 {
		return 0, syscall.EAGAIN
	}
	for {
		n, _, e := syscall.Syscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
		switch {
		case e == 0 && n > 0:
			return int(n), nil
		case e != syscall.EINTR:
			return 0, plainEnd(fd, e)
		}
	}
}

// sysWrite writes p, which is not empty, or the beginning of it, to fd, which is not a
// socket, once.
func sysWrite(fd sysFD, p []byte) (int, error) {
	if mayBlock(fd) {
		if pollNow(fd, unix.POLLOUT) == 0 {
			return 0, syscall.EAGAIN
		}
		p = p[:min(len(p), pollWrites)]
	}
	for {
		n, _, e := syscall.Syscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
		if e == 0 {
			return int(n), nil
		}
		if e != syscall.EINTR {
			return 0, e
		}
	}
}

// sysWriteChain writes c and the chunks that follow it, up to the first file, to fd once.
func sysWriteChain(fd sysFD, c *chunk, limit int, socket bool) (int, error) {
	if !socket && mayBlock(fd) {
		return sysWrite(fd, c.buf[c.r:c.r+min(c.size(), limit)])
	}
	var v [maxVector]unix.Iovec
	count := 0
	for ; c != nil && count < maxVector && limit > 0 && !c.isFile(); c = c.next {
		n := min(c.size(), limit)
		v[count].Base = &c.buf[c.r]
		v[count].SetLen(n)
		count++
		limit -= n
	}
	for {
		var n uintptr
		var e syscall.Errno
		if socket {
			m := unix.Msghdr{Iov: &v[0]}
			m.SetIovlen(count)
			n, _, e = syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&m)), sendFlags)
		} else {
			n, _, e = syscall.Syscall(syscall.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&v)), uintptr(count))
		}
		if e == 0 {
			return int(n), nil
		}
		if e != syscall.EINTR {
			return 0, e
		}
	}
}

// maxSendFile is the most that one call sends: arbitrary, but below the limit of the
// kernel.
const maxSendFile = 1 << 30

// sysSendFile sends up to n bytes of f that begin at off to fd once. It may wait
// for the disk, so it is no raw call.
func sysSendFile(fd sysFD, f *os.File, off int64, n int) (sent int, err error) {
	if mayBlock(fd) {
		return 0, ErrUnsupported // the caller reads the file, and writes what it has read
	}
	rc, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	n = min(n, maxSendFile)
	if e := rc.Control(func(in uintptr) {
		for {
			sent, err = syscall.Sendfile(fd, int(in), &off, n)
			if err != syscall.EINTR {
				return
			}
		}
	}); e != nil {
		return 0, &os.PathError{Op: "read", Path: f.Name(), Err: os.ErrClosed}
	}
	return max(sent, 0), err
}

// sendFlags are those of every send to a stream socket.
const sendFlags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL

// tryRecv reads once from the socket fd to p, which is not empty. It returns the number
// of bytes, to be converted to int: -1 if it failed, with the error in e. It costs less
// than a read, which goes through the file system's layer. It is just small enough to be
// inlined: see Stream.ordinary.
func tryRecv(fd sysFD, p []byte) (n uintptr, e sysErrno) {
	n, _, e = syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
	return
}

// trySend writes p once to the socket fd, with results like tryRecv.
func trySend(fd sysFD, p []byte) (n uintptr, e sysErrno) {
	n, _, e = syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), sendFlags, 0, 0)
	return
}

// sysRecv reads once from the socket fd to p, which is not empty.
func sysRecv(fd sysFD, p []byte) (int, error) {
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
		if e == 0 {
			return int(n), nil
		}
		if e != syscall.EINTR {
			return 0, e
		}
	}
}

// sysSend writes p, which is not empty, to the socket fd once. It costs less
// than sysWrite.
func sysSend(fd sysFD, p []byte) (int, error) {
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), sendFlags, 0, 0)
		if e == 0 {
			return int(n), nil
		}
		if e != syscall.EINTR {
			return 0, e
		}
	}
}

// sysUnread reports whether the socket fd has something to read although a read has
// returned EAGAIN, which it does before an urgent byte.
func sysUnread(fd sysFD) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, 0)
		if err != unix.EINTR {
			return n > 0 && p[0].Revents&unix.POLLIN != 0
		}
	}
}

// sysAccept accepts a connection and returns its non-blocking socket.
func sysAccept(fd sysFD) (sysFD, peerAddr, error) {
	if mayBlock(fd) && pollNow(fd, unix.POLLIN) == 0 {
		return noFD, peerAddr{}, syscall.EAGAIN
	}
	var sa unix.RawSockaddrInet6 // the longest that matters
	size := uint32(unix.SizeofSockaddrInet6)
	n, _, e := syscall.Syscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if e != 0 {
		return noFD, peerAddr{}, e
	}
	return sysFD(n), peerOf((*unix.RawSockaddr)(unsafe.Pointer(&sa)), size), nil
}

// peerOf returns the address in the first size bytes of sa; none if it is not an IP
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

// keepAliveInherited says that the keep-alive of accepted sockets can be set at the listening
// one.
const keepAliveInherited = true

func setDeferAccept(fd sysFD, seconds int) error {
	return syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_DEFER_ACCEPT, seconds)
}

// wakeMonitor makes an ordinary system call, one that the scheduler knows of.
func wakeMonitor() { syscall.Syscall(syscall.SYS_GETPID, 0, 0, 0) }

const (
	pollEarlyClose = FeatureEarlyClose
	pollRDHUP      = unix.POLLRDHUP
)

// pollFDs is poll(2) with a limit as in poller.wait, here to the nanosecond.
func pollFDs(fds []unix.PollFd, d time.Duration) (int, error) {
	if d < 0 {
		return unix.Ppoll(fds, nil, nil)
	}
	d = min(d, 1<<30*time.Second) // what every platform's timespec can hold
	ts := unix.NsecToTimespec(int64(d))
	return unix.Ppoll(fds, &ts, nil)
}

// sysUnacked returns how many bytes that were written to the socket fd its peer's system has
// not acknowledged: SIOCOUTQ, see tcp(7). -1: it cannot be told.
func sysUnacked(fd sysFD) int {
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return -1
	}
	return n
}

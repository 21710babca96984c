// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix && !linux

package evchan

import (
	"math"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A descriptor is made non-blocking when a stream or listener gets it, but another holder of
// the same open file, a child process for example, may make it blocking again at any time.
// So sockets are read and written with MSG_DONTWAIT, and what has no such flag (pipes,
// terminals, accept, sendfile) first looks whether the descriptor may block.

// mayBlock reports whether calls on fd may block now.
func mayBlock(fd sysFD) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_NONBLOCK == 0
}

// maxWrite is the most that one call writes: macOS and FreeBSD fail with EINVAL above 2 GiB.
// Arbitrary.
const maxWrite = 1 << 30

// sysRead reads once from fd, which is not a socket, to p, which is not empty.
func sysRead(fd sysFD, p []byte) (int, error) {
	if mayBlock(fd) && pollNow(fd, unix.POLLIN) == 0 {
		return 0, unix.EAGAIN
	}
	for {
		n, err := unix.Read(fd, p[:min(len(p), maxWrite)])
		switch e, _ := err.(syscall.Errno); {
		case n > 0:
			return n, nil
		case e != unix.EINTR:
			return 0, plainEnd(fd, e)
		}
	}
}

// sysWrite writes p, which is not empty, or the beginning of it, to fd, which is not a
// socket, once.
func sysWrite(fd sysFD, p []byte) (int, error) {
	limit := maxWrite
	if mayBlock(fd) {
		if pollNow(fd, unix.POLLOUT) == 0 {
			return 0, unix.EAGAIN
		}
		limit = pollWrites
	}
	for {
		n, err := unix.Write(fd, p[:min(len(p), limit)])
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// sysRecv reads once from the socket fd to p, which is not empty.
func sysRecv(fd sysFD, p []byte) (int, error) {
	for {
		n, _, err := unix.Recvfrom(fd, p[:min(len(p), maxWrite)], dontWait)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// sysSend writes p, which is not empty, or the beginning of it, to the socket fd once.
func sysSend(fd sysFD, p []byte) (int, error) {
	for {
		n, err := unix.SendmsgN(fd, p[:min(len(p), maxWrite)], nil, nil, dontWait)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// sysAccept accepts a connection and returns its non-blocking socket.
func sysAccept(fd sysFD) (sysFD, peerAddr, error) {
	if mayBlock(fd) && pollNow(fd, unix.POLLIN) == 0 {
		return noFD, peerAddr{}, unix.EAGAIN
	}
	// Without the lock, a process started between the two calls would inherit the socket.
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

// keepAliveInherited says that the keep-alive of accepted sockets cannot be set at the
// listening one: macOS does not inherit the times, and is reported to end a listener that
// has been idle.
const keepAliveInherited = false

// setDeferAccept does nothing: the option is Linux's.
func setDeferAccept(sysFD, int) error { return nil }

// sysRecvFrom reads one datagram of any network; cut says that p was too small. at is
// its destination if the kernel tells it and told is set.
func sysRecvFrom(fd sysFD, p []byte, told bool) (n int, from packetAddr, at peerAddr, cut bool, err error) {
	var ctl []byte
	if told {
		ctl = make([]byte, 256) // more than ours may be in it, such as timestamps
	}
	for {
		n, size, flags, sa, err := unix.Recvmsg(fd, p, ctl, dontWait)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, from, at, false, err
		}
		at = destinationOf(ctl[:size])
		switch sa := sa.(type) {
		case *unix.SockaddrInet4, *unix.SockaddrInet6:
			from.ip = remoteOf(sa).addrPort()
		case *unix.SockaddrUnix:
			from.name = sa.Name
		}
		return n, from, at, flags&unix.MSG_TRUNC != 0, nil
	}
}

// sysPeek returns nil if a datagram waits to be read.
func sysPeek(fd sysFD) error {
	var p [1]byte
	for {
		_, _, _, _, err := unix.Recvmsg(fd, p[:], nil, unix.MSG_PEEK|dontWait)
		if err != unix.EINTR {
			return err
		}
	}
}

// sysSendTo sends one datagram.
func sysSendTo(fd sysFD, p []byte, to *packetAddr) error {
	var ctl []byte
	if to.source.IsValid() {
		if ctl = sourceControl(to); ctl == nil {
			return ErrUnsupported
		}
	}
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
		if sa != nil && ctl == nil {
			err = unix.Sendto(fd, p, dontWait, sa)
		} else {
			_, err = unix.SendmsgN(fd, p, ctl, sa, dontWait)
		}
		if err != unix.EINTR {
			return err
		}
	}
}

// poll(2) has no early close in POSIX. So EarlyClose comes with a hangup only.
const (
	pollEarlyClose = 0
	pollRDHUP      = 0
)

// pollFDs is poll(2) with a limit as in poller.wait, here rounded up to a millisecond:
// a wait that ends a little early would make the loop turn again for nothing.
func pollFDs(fds []unix.PollFd, d time.Duration) (int, error) {
	if d < 0 {
		return unix.Poll(fds, -1)
	}
	ms := d / time.Millisecond
	if d%time.Millisecond != 0 {
		ms++
	}
	return unix.Poll(fds, int(min(ms, math.MaxInt32)))
}

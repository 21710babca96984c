// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A sock is the transport of a stream that has a descriptor: most often a socket.
type sock struct {
	fd         sysFD
	plain      bool // not a socket: a pipe, a terminal, an eventfd
	class      int8 // of the chunk that the next read is expected to fill
	shortReads bool // a read may give less than there is; never changes once there is a socket

	lent      bool  // close has left closing fd to the last of the borrowers
	borrowers int32 // running Controls of SyscallConn
}

var _ transport = (*sock)(nil)

func (k *sock) write(p []byte) (n int, err error) {
	if k.plain {
		return sysWrite(k.fd, p)
	}
	return sysSend(k.fd, p)
}

func (k *sock) halfCloses() bool { return !k.plain }

func (k *sock) closeWrite() error {
	if k.plain {
		return nil // to close it is the only way to tell the peer
	}
	return syscall.Shutdown(k.fd, syscall.SHUT_WR)
}

func (k *sock) failure() error {
	if k.plain {
		// A pipe without a reader reports an error, one without a writer does not
		// (poll(2)).
		if pollNow(k.fd, 0)&unix.POLLERR != 0 {
			return syscall.EPIPE
		}
		return nil
	}
	n, err := syscall.GetsockoptInt(k.fd, syscall.SOL_SOCKET, syscall.SO_ERROR)
	if err == nil && n != 0 {
		err = syscall.Errno(n)
	}
	return err
}

func (k *sock) close(reset bool) {
	if reset && !k.plain {
		// Closing with a linger time of 0 resets the connection (socket(7)).
		syscall.SetsockoptLinger(k.fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
	}
	k.letGo()
}

func (k *sock) localAddr() net.Addr {
	sa, err := syscall.Getsockname(k.fd)
	if err != nil {
		return nil
	}
	return netAddr(sa)
}

// pollNow returns which of the conditions in events are true of fd now, or 0; hangup and
// error are among them. It does not wait.
func pollNow(fd sysFD, events pollBits) pollBits {
	p := []unix.PollFd{{Fd: int32(fd), Events: events}}
	for {
		if _, err := unix.Poll(p, 0); err != unix.EINTR {
			return p[0].Revents
		}
	}
}

// plainEnd returns what it means that a read of fd, which is not a socket, has given no
// bytes, but e: nil is an end of input.
//
//   - A FIFO that no writer has opened yet gives 0 bytes, as one whose writers have closed it.
//     Only the latter has a hangup.
//   - A terminal whose other side is closed gives EIO on Linux, and an end elsewhere.
func plainEnd(fd sysFD, e syscall.Errno) error {
	switch e {
	case 0:
		var st unix.Stat_t
		if pollNow(fd, unix.POLLIN) == 0 && unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
			return syscall.EAGAIN
		}
		return nil
	case syscall.EIO:
		if pollNow(fd, unix.POLLIN)&unix.POLLHUP != 0 {
			return nil
		}
	}
	return e
}

// sysCheckFile returns why fd cannot be read at an offset, if that is so: reading no bytes
// fails for the same reasons.
func sysCheckFile(fd uintptr) error {
	_, err := syscall.Pread(int(fd), nil, 0)
	if err == syscall.ESPIPE {
		err = fmt.Errorf("%w: %w", err, ErrUnsupported)
	}
	return err
}

// pollWrites is how much can be written to a pipe that poll says has room, without blocking:
// at least PIPE_BUF, of which POSIX guarantees 512 bytes.
const pollWrites = 512

// netAddr returns sa in the form of package net.
func netAddr(sa syscall.Sockaddr) net.Addr {
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		return net.TCPAddrFromAddrPort(addrPort(netip.AddrFrom4(sa.Addr), 0, uint16(sa.Port)))
	case *syscall.SockaddrInet6:
		return net.TCPAddrFromAddrPort(addrPort(netip.AddrFrom16(sa.Addr), sa.ZoneId, uint16(sa.Port)))
	case *syscall.SockaddrUnix:
		return &net.UnixAddr{Name: sa.Name, Net: "unix"}
	}
	return nil
}

// accept accepts one connection. An error is a bare syscall.Errno. Caller holds ln.mu.
func (ln *Listener) accept(l *Loop) (*Stream, error) {
	for {
		fd, peer, err := sysAccept(ln.fd)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !keepAliveInherited {
			ln.acceptOptions(fd)
		}
		s := l.newStream(fd)
		s.remote = peer
		ln.configure(s)
		return s, nil
	}
}

// transient reports whether accepting failed for one connection only (accept(2)).
func transient(err error) bool {
	switch err {
	case syscall.ECONNABORTED, syscall.EPROTO, syscall.ENETDOWN, syscall.ENETUNREACH,
		syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.ENOPROTOOPT, syscall.EPERM:
		return true
	}
	return false
}

// setOptions sets the options that accepted sockets inherit from the listening socket; of one
// that was wrapped, those that the configuration names.
func (ln *Listener) setOptions() error {
	c := &ln.conf
	if c.Backlog > 0 {
		if err := syscall.Listen(ln.fd, min(c.Backlog, math.MaxInt32)); err != nil {
			return os.NewSyscallError("listen", err)
		}
	}
	if ln.addr.Network() == "unix" {
		return nil
	}
	if !c.Delay && !ln.wrapped {
		if err := syscall.SetsockoptInt(ln.fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if k, set := c.keepsAlive(ln.wrapped); set && keepAliveInherited {
		if err := setKeepAlive(ln.fd, k); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if c.DeferAccept > 0 {
		return os.NewSyscallError("setsockopt", setDeferAccept(ln.fd, toSeconds(c.DeferAccept)))
	}
	return nil
}

// acceptOptions sets the options that an accepted socket does not inherit. Errors are
// ignored: the connection has failed then, and the next read returns that.
func (ln *Listener) acceptOptions(fd sysFD) {
	if k, set := ln.conf.keepsAlive(ln.wrapped); set && ln.addr.Network() != "unix" {
		setKeepAlive(fd, k)
	}
}

// netConn returns a net.Conn on a duplicate of the socket.
func (k *sock) netConn() (net.Conn, error) {
	fd, err := dupFD(k.fd)
	if err != nil {
		return nil, err
	}
	defer k.keepOptions()()
	f := os.NewFile(uintptr(fd), "stream")
	defer f.Close() // FileConn takes a duplicate
	return net.FileConn(f)
}

func sysGetOption(fd sysFD, o sockOption) (int, error) {
	return syscall.GetsockoptInt(fd, o.level, o.name)
}

func sysSetOption(fd sysFD, o sockOption, value int) error {
	return syscall.SetsockoptInt(fd, o.level, o.name, value)
}

// inspectFD makes fd non-blocking. It returns whether fd is plain, that is, no socket, and
// whether it can be read.
func inspectFD(fd sysFD) (plain, readable bool, err error) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return false, false, os.NewSyscallError("fcntl", err)
	}
	kind, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TYPE)
	switch {
	case err == syscall.ENOTSOCK:
		plain = true
	case err != nil:
		return false, false, os.NewSyscallError("getsockopt", err)
	case kind != syscall.SOCK_STREAM:
		return false, false, fmt.Errorf("a socket of type %d has no stream: %w", kind, ErrUnsupported)
	}
	if n, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN); !plain && err == nil && n != 0 {
		return false, false, errListening
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		return false, false, os.NewSyscallError("fcntl", err)
	}
	return plain, flags&unix.O_ACCMODE != unix.O_WRONLY, nil
}

// resetLinger turns SO_LINGER of the socket fd off: with it close(2), and so the loop, would
// wait for the peer. restore puts back what was set.
func resetLinger(fd sysFD) (restore func()) {
	old, err := unix.GetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER)
	if err != nil || old.Onoff == 0 {
		return func() {}
	}
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{})
	return func() { unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, old) }
}

// socketAddrs returns the two addresses of the socket fd; nil for one that it does not have.
func socketAddrs(fd sysFD) (local, remote net.Addr) {
	if sa, err := syscall.Getsockname(fd); err == nil {
		local = netAddr(sa)
	}
	if sa, err := syscall.Getpeername(fd); err == nil {
		remote = netAddr(sa)
	}
	return local, remote
}

// takeFD returns a duplicate of c's descriptor. The socket lives on when c is closed.
func takeFD(c syscall.Conn) (sysFD, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return noFD, err
	}
	dup := noFD
	var dupErr error
	if err := raw.Control(func(fd uintptr) { dup, dupErr = dupFD(sysFD(fd)) }); err != nil {
		return noFD, err
	}
	return dup, dupErr
}

// dupFD returns a duplicate of fd that exec closes.
func dupFD(fd sysFD) (sysFD, error) {
	dup, err := sysDup(fd, 0)
	if err != nil {
		return noFD, os.NewSyscallError("fcntl", err)
	}
	return dup, nil
}

func closeFD(fd sysFD) { syscall.Close(fd) }

// A sysFD is a descriptor in the form that the system calls take.
type sysFD = int

// noFD is never a valid descriptor.
const noFD sysFD = -1

// portable returns err with the error numbers that programs for every system test for.
func portable(err error) error { return err }

// hangupIsReset says that an end of input that comes with a hangup is a reset.
const hangupIsReset = false

// sysListenPacket returns a socket on the address, and the address that it has got.
func sysListenPacket(network, address string, conf *PacketConfig) (fd sysFD, local net.Addr, err error) {
	nc := net.ListenConfig{Control: conf.control}
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

func setBroadcast(fd sysFD, on bool) error {
	v := 0
	if on {
		v = 1
	}
	return syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_BROADCAST, v)
}

func setReadBuffer(fd sysFD, bytes int) error {
	return syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, bytes)
}

func setWriteBuffer(fd sysFD, bytes int) error {
	return syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_SNDBUF, bytes)
}

// sysPacketFamily reports whether the datagram socket fd is of the family AF_INET6,
// and whether it then cannot reach IPv4.
func sysPacketFamily(fd sysFD) (ipv6, ipv6Only bool, err error) {
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

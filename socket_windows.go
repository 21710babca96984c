// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// A sock is the transport of a stream that has a socket. Streams of other descriptors do
// not exist on Windows.
//
// A socket that package net has made belongs to the runtime's completion port as long as it
// lives. That does no harm: only overlapped operations leave a packet there, and the
// operations here are not overlapped.
type sock struct {
	fd         sysFD
	plain      bool // never set
	class      int8 // of the chunk that the next read is expected to fill
	shortReads bool // a read may give less than there is; never changes once there is a socket

	lent      bool  // close has left closing fd to the last of the borrowers
	borrowers int32 // running Controls of SyscallConn
}

var _ transport = (*sock)(nil)

// hangupIsReset says that an end of input that comes with a hangup is a reset. On Windows a
// read fails after a reset; on Wine, which has taken the error from the socket before, it
// returns an end of input.
const hangupIsReset = true

func (k *sock) write(p []byte) (n int, err error) { return sysSend(k.fd, p) }

func (k *sock) halfCloses() bool { return true }

func (k *sock) closeWrite() error {
	err := windows.Shutdown(windows.Handle(k.fd), windows.SHUT_WR)
	if err == windows.WSAENOTCONN {
		err = syscall.ENOTCONN
	}
	return err
}

// failure is called after a hangup, so there is a failure. SO_ERROR has that of a
// connection attempt, but not a reset; on Wine, no call has the reset.
func (k *sock) failure() error {
	n, err := windows.GetsockoptInt(windows.Handle(k.fd), windows.SOL_SOCKET, soError)
	if err == nil && n != 0 {
		err = syscall.Errno(n)
	}
	if err != nil {
		return err
	}
	if _, err := peekByte(k.fd); err != nil && err != syscall.EAGAIN {
		return err
	}
	return windows.WSAECONNRESET
}

func (k *sock) close(reset bool) {
	if reset {
		// Closing with a linger time of 0 resets the connection.
		linger := windows.Linger{Onoff: 1}
		windows.SetsockoptLinger(windows.Handle(k.fd), windows.SOL_SOCKET, windows.SO_LINGER, &linger)
	}
	k.letGo()
}

func (k *sock) localAddr() net.Addr {
	sa, err := syscall.Getsockname(syscall.Handle(k.fd))
	if err != nil {
		return nil
	}
	return netAddr(sa)
}

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

// peerOf returns sa, or no address if it is not an IP address.
func peerOf(sa *windows.RawSockaddrAny) (a peerAddr) {
	switch sa.Addr.Family {
	case windows.AF_INET:
		sa := (*windows.RawSockaddrInet4)(unsafe.Pointer(sa))
		a.port, a.size = windows.Ntohs(sa.Port), 4
		copy(a.ip[:], sa.Addr[:])
	case windows.AF_INET6:
		sa := (*windows.RawSockaddrInet6)(unsafe.Pointer(sa))
		a.ip, a.zone, a.port, a.size = sa.Addr, sa.Scope_id, windows.Ntohs(sa.Port), 16
	}
	return a
}

// accept accepts one connection. An error is a bare syscall.Errno. Caller holds ln.mu.
func (ln *Listener) accept(l *Loop) (*Stream, error) {
	fd, peer, err := sysAccept(ln.fd)
	if err != nil {
		return nil, err
	}
	ln.acceptOptions(fd)
	s := l.newStream(fd)
	s.remote = peer
	ln.configure(s)
	return s, nil
}

// transient reports whether accepting failed for one connection only.
func transient(err error) bool {
	switch err {
	case windows.WSAECONNRESET, windows.WSAECONNABORTED, windows.WSAENETDOWN, windows.WSAENETRESET, windows.WSAENOTCONN,
		windows.WSAENETUNREACH, windows.WSAEHOSTDOWN, windows.WSAEHOSTUNREACH:
		return true
	}
	return false
}

// setOptions sets nothing: acceptOptions does it for each accepted socket, and the backlog
// of a listening socket cannot be changed. It is called when nobody else uses the socket.
func (ln *Listener) setOptions() error {
	disown(ln.fd) // so that package net can take the duplicate that File makes
	return nil
}

// acceptOptions sets the options of an accepted socket: it is not documented which of them
// it inherits from the listening socket. Errors are ignored: the connection has failed
// then, and the next read returns that.
func (ln *Listener) acceptOptions(fd sysFD) {
	if ln.addr.Network() == "unix" {
		return
	}
	if !ln.conf.Delay && !ln.wrapped {
		windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_TCP, windows.TCP_NODELAY, 1)
	}
	if k, set := ln.conf.keepsAlive(ln.wrapped); set {
		setKeepAlive(fd, k)
	}
}

// setKeepAlive has the kernel probe an idle peer as c says, or not at all. The system takes
// both times or none, so a negative one is the system's default. Windows has had the count
// since version 10.
func setKeepAlive(fd sysFD, c net.KeepAliveConfig) {
	if !c.Enable {
		windows.SetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_KEEPALIVE, 0)
		return
	}
	if c.Idle < 0 {
		c.Idle = 2 * time.Hour
	}
	if c.Interval < 0 {
		c.Interval = time.Second
	}
	ka := windows.TCPKeepalive{OnOff: 1, Time: uint32(c.Idle.Milliseconds()), Interval: uint32(c.Interval.Milliseconds())}
	var n uint32
	windows.WSAIoctl(windows.Handle(fd), windows.SIO_KEEPALIVE_VALS,
		(*byte)(unsafe.Pointer(&ka)), uint32(unsafe.Sizeof(ka)), nil, 0, &n, nil, 0)
	if c.Count > 0 {
		windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_TCP, windows.TCP_KEEPCNT, c.Count)
	}
}

// setReusePort fails: the system has only SO_REUSEADDR, which lets any process steal the
// address.
func setReusePort(sysFD) error { return ErrUnsupported }

// netConn returns a net.Conn on a duplicate of the socket.
func (k *sock) netConn() (net.Conn, error) {
	disown(k.fd)
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
	return windows.GetsockoptInt(windows.Handle(fd), o.level, o.name)
}

func sysSetOption(fd sysFD, o sockOption, value int) error {
	return windows.SetsockoptInt(windows.Handle(fd), o.level, o.name, value)
}

// disown takes the socket fd from the completion port that it may belong to, so that
// another port can have it. Wine 8 cannot do that.
func disown(fd sysFD) {
	const fileReplaceCompletionInformation = 61
	var info struct{ port, key uintptr } // none
	var iosb windows.IO_STATUS_BLOCK
	windows.NtSetInformationFile(windows.Handle(fd), &iosb,
		(*byte)(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)), fileReplaceCompletionInformation)
}

// inspectFD makes fd non-blocking. It must be a stream socket.
func inspectFD(fd sysFD) (plain, readable bool, err error) {
	kind, err := windows.GetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, soType)
	switch {
	case err != nil:
		return false, false, sysError("getsockopt", notSocket(fd, err))
	case kind != windows.SOCK_STREAM:
		return false, false, fmt.Errorf("a socket of type %d has no stream: %w", kind, ErrUnsupported)
	}
	const soAcceptConn = 2
	if n, err := windows.GetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, soAcceptConn); err == nil && n != 0 {
		return false, false, errListening
	}
	if err := setNonblock(fd); err != nil {
		return false, false, os.NewSyscallError("ioctlsocket", err)
	}
	return false, true, nil
}

// sysError is os.NewSyscallError, but returns ErrUnsupported, which is not the system's, as
// it is.
func sysError(call string, err error) error {
	if err == ErrUnsupported {
		return err
	}
	return os.NewSyscallError(call, err)
}

// resetLinger turns SO_LINGER of the socket fd off: with it closesocket would wait for the
// peer, or fail. What was set is not put back: x/sys cannot ask for it.
func resetLinger(fd sysFD) (restore func()) {
	windows.SetsockoptLinger(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_LINGER, &windows.Linger{})
	return func() {}
}

// sysCheckFile returns why fd cannot be read at an offset, if that is so.
func sysCheckFile(fd uintptr) error {
	kind, err := windows.GetFileType(windows.Handle(fd))
	if err == nil && kind != windows.FILE_TYPE_DISK {
		err = ErrUnsupported
	}
	return err
}

// socketAddrs returns the two addresses of the socket fd; nil for one that it does not have.
func socketAddrs(fd sysFD) (local, remote net.Addr) {
	if sa, err := syscall.Getsockname(syscall.Handle(fd)); err == nil {
		local = netAddr(sa)
	}
	if sa, err := syscall.Getpeername(syscall.Handle(fd)); err == nil {
		remote = netAddr(sa)
	}
	return local, remote
}

// takeFD returns a duplicate of c's socket. The socket lives on when c is closed. It is
// non-blocking, through c as well, which does not matter to package net.
func takeFD(c syscall.Conn) (sysFD, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return noFD, err
	}
	dup := noFD
	var dupErr error
	if err := raw.Control(func(fd uintptr) { dup, dupErr = dupFD(fd) }); err != nil {
		return noFD, err
	}
	if dupErr != nil {
		return noFD, dupErr
	}
	if err := setNonblock(dup); err != nil {
		closeFD(dup)
		return noFD, os.NewSyscallError("ioctlsocket", err)
	}
	return dup, nil
}

// dupFD returns another handle of the socket fd that no child process inherits.
func dupFD(fd sysFD) (sysFD, error) {
	var info windows.WSAProtocolInfo
	err := windows.WSADuplicateSocket(windows.Handle(fd), uint32(os.Getpid()), &info)
	if err != nil {
		return noFD, sysError("WSADuplicateSocket", notSocket(fd, err))
	}
	const fromInfo = -1
	h, err := windows.WSASocket(fromInfo, fromInfo, fromInfo, &info, 0,
		windows.WSA_FLAG_OVERLAPPED|windows.WSA_FLAG_NO_HANDLE_INHERIT)
	if err != nil {
		return noFD, os.NewSyscallError("WSASocket", err)
	}
	return sysFD(h), nil
}

func closeFD(fd sysFD) { windows.Closesocket(windows.Handle(fd)) }

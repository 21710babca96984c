// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/windows"
)

// testRoom returns how many sockets can be open. The system's limit is memory, but
// Wine's is the host's on descriptors of a process.
func testRoom() int {
	if onWine() {
		return 20000
	}
	return 1 << 20
}

// A sysNet makes connected TCP sockets. Its close resets the connection: to close it
// properly is no hangup.
type sysNet struct {
	mu   sync.Mutex
	open map[sysFD]bool // guarded by mu; not closed by the test so far
}

func newTestNet() testNet { return &sysNet{open: make(map[sysFD]bool)} }

func (n *sysNet) pair(t testing.TB) (a, b sysFD) {
	t.Helper()
	a, b = tcpPair(t)
	for _, fd := range []sysFD{a, b} {
		n.mu.Lock()
		n.open[fd] = true
		n.mu.Unlock()
		t.Cleanup(func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			if n.open[fd] {
				delete(n.open, fd)
				resetSocket(fd)
			}
		})
	}
	return a, b
}

// tcpPair returns two non-blocking sockets that are connected with each other.
func tcpPair(t testing.TB) (a, b sysFD) {
	t.Helper()
	ln := newTestSocket(t)
	defer windows.Closesocket(ln)
	must(t, windows.Bind(ln, &windows.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(t, windows.Listen(ln, 1))
	sa, err := windows.Getsockname(ln)
	must(t, err)
	c := newTestSocket(t)
	must(t, windows.Connect(c, sa))
	far, _, errno := syscall.SyscallN(procAccept.Addr(), uintptr(ln), 0, 0)
	if far == noFD {
		t.Fatal(errno)
	}
	for _, fd := range []sysFD{sysFD(c), far} {
		must(t, setNonblock(fd))
		must(t, windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_TCP, windows.TCP_NODELAY, 1))
	}
	return sysFD(c), far
}

func newTestSocket(t testing.TB) windows.Handle {
	t.Helper()
	s, err := windows.WSASocket(windows.AF_INET, windows.SOCK_STREAM, windows.IPPROTO_TCP, nil, 0,
		windows.WSA_FLAG_OVERLAPPED|windows.WSA_FLAG_NO_HANDLE_INHERIT)
	must(t, err)
	return s
}

func resetSocket(fd sysFD) error {
	linger := windows.Linger{Onoff: 1}
	windows.SetsockoptLinger(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_LINGER, &linger)
	return windows.Closesocket(windows.Handle(fd))
}

func (n *sysNet) write(t testing.TB, fd sysFD) {
	t.Helper()
	_, err := sysSend(fd, []byte("x"))
	must(t, err)
}

func (n *sysNet) fill(t testing.TB, fd sysFD) {
	t.Helper()
	buf := make([]byte, 64<<10)
	for len(buf) > 0 {
		_, err := sysSend(fd, buf)
		switch err {
		case nil:
		case syscall.EAGAIN, windows.WSAENOBUFS:
			buf = buf[:len(buf)/2] // A smaller piece might still fit.
		default:
			t.Fatal(err)
		}
	}
}

func (n *sysNet) drain(t testing.TB, fd sysFD) {
	t.Helper()
	buf := make([]byte, 64<<10)
	for {
		switch k, err := sysRecv(fd, buf); {
		case err == syscall.EAGAIN, err == nil && k == 0:
			return
		case err != nil:
			t.Fatal(err)
		}
	}
}

func (n *sysNet) shutdown(t testing.TB, fd sysFD) {
	t.Helper()
	must(t, windows.Shutdown(windows.Handle(fd), windows.SHUT_WR))
}

func (n *sysNet) close(t testing.TB, fd sysFD) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.open, fd)
	must(t, resetSocket(fd))
}

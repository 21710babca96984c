// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/windows"
)

// networks are those of streams that the system has: Windows has had unix since
// version 1803 of Windows 10, Wine 8 has not.
var networks = func() []string {
	dir, err := os.MkdirTemp("", "evchan")
	if err != nil {
		return []string{"tcp"}
	}
	defer os.Remove(dir)
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		return []string{"tcp"}
	}
	ln.Close()
	return []string{"tcp", "unix"}
}()

// onWine reports whether this is not Windows but Wine, which lacks a few things.
var onWine = sync.OnceValue(func() bool { return modntdll.NewProc("wine_get_version").Find() == nil })

// tempDir returns a directory that is removed when the test ends. On Wine
// TempDir fails if there are files in it, since os.RemoveAll does.
func tempDir(t testing.TB) string {
	if !onWine() {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("", "evchan")
	must(t, err)
	t.Cleanup(func() {
		names, _ := filepath.Glob(filepath.Join(dir, "*"))
		for _, name := range append(names, dir) {
			if err := os.Remove(name); err != nil {
				t.Error(err)
			}
		}
	})
	return dir
}

// newPair returns two connected non-blocking sockets. fdClose resets the connection: to
// close it properly is no hangup.
func newPair(t testing.TB) (a, b sysFD)       { return tcpPair(t) }
func fdClose(fd sysFD) error                  { return resetSocket(fd) }
func fdWrite(fd sysFD, p []byte) (int, error) { return sysSend(fd, p) }
func fdRead(fd sysFD, p []byte) (int, error)  { return sysRecv(fd, p) }
func fdShutdown(fd sysFD) error               { return windows.Shutdown(windows.Handle(fd), windows.SHUT_WR) }

// anyDescriptor returns a socket on which nothing happens.
func anyDescriptor(t *testing.T) uintptr {
	t.Helper()
	a, _ := socketPair(t)
	return a
}

// plainFDs returns nothing: only sockets can be streams.
func plainFDs(*testing.T) []uintptr { return nil }

// errNoFD is what reading and writing gives for a number that is no socket.
const errNoFD = windows.WSAENOTSOCK

// errNoBuffers is what writing gives when the system is short of memory.
const errNoBuffers = windows.WSAENOBUFS

// errNotWatched is what watching gives for what is no socket.
var errNotWatched = ErrUnsupported

// needReset skips a test in which package net has to see a reset.
func needReset(t *testing.T) {
	if onWine() {
		t.Skip("Wine gives package net an end of input instead; see TestAbortIsReset")
	}
}

// needNetConn skips a test that gives a socket back to package net.
func needNetConn(t *testing.T) {
	if onWine() {
		t.Skip("Wine cannot take a socket from its completion port (FileReplaceCompletionInformation)")
	}
}

// needNetUDP skips a test in which package net makes a UDP socket.
func needNetUDP(t *testing.T) {
	if onWine() {
		t.Skip("Wine refuses an option that package net sets on UDP sockets (SIO_UDP_NETRESET)")
	}
}

// arrived waits until n bytes can be read from fd.
func arrived(t testing.TB, fd sysFD, n int) {
	t.Helper()
	p := make([]byte, n)
	v := windows.WSABuf{Len: uint32(n), Buf: &p[0]}
	for until := time.Now().Add(testPatience); ; runtime.Gosched() {
		if got, err := recvVector(fd, &v, 1, windows.MSG_PEEK); got == n || err != nil && err != syscall.EAGAIN {
			must(t, err)
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%d bytes have not arrived", n)
		}
	}
}

const userSignal = syscall.SIGINT

var badSignals = []os.Signal{nil, syscall.Signal(0), syscall.Signal(1000), syscall.SIGKILL}

// raiseSignal presses Ctrl-C. As that goes to all processes that share the console,
// it is done only if somebody says that there are none but this one.
func raiseSignal() error {
	if os.Getenv("EVCHAN_OWN_CONSOLE") == "" {
		return fmt.Errorf("Ctrl-C goes to the whole console (EVCHAN_OWN_CONSOLE is not set): %w", ErrUnsupported)
	}
	return windows.GenerateConsoleCtrlEvent(windows.CTRL_C_EVENT, 0)
}

// testRoom returns how many sockets can be open. The system's limit is memory, but
// Wine's is the host's on descriptors of a process.
func testRoom() int {
	if onWine() {
		return 20000
	}
	return 1 << 20
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

func addPackets(*exactTest, *Loop) {}

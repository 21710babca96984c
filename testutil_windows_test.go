// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
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

// socketPair returns two connected non-blocking sockets, closed at the end of the
// test.
func socketPair(t testing.TB) (a, b sysFD) {
	t.Helper()
	a, b = tcpPair(t)
	t.Cleanup(func() {
		resetSocket(a)
		resetSocket(b)
	})
	return a, b
}

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

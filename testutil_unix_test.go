// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"os"
	"syscall"
	"testing"
)

// networks are those of streams that the system has.
var networks = []string{"tcp", "unix"}

// tempDir returns a directory that is removed when the test ends.
func tempDir(t testing.TB) string { return t.TempDir() }

// socketPair returns two connected non-blocking sockets, closed at the end of the
// test.
func socketPair(t testing.TB) (a, b sysFD) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if err := syscall.SetNonblock(fd, true); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { syscall.Close(fd) })
	}
	return fds[0], fds[1]
}

func fdWrite(fd sysFD, p []byte) (int, error) { return syscall.Write(fd, p) }
func fdRead(fd sysFD, p []byte) (int, error)  { return syscall.Read(fd, p) }
func fdShutdown(fd sysFD) error               { return syscall.Shutdown(fd, syscall.SHUT_WR) }

// anyDescriptor returns the descriptor of a pipe in which nothing happens.
func anyDescriptor(t *testing.T) uintptr {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r.Fd()
}

// plainFDs returns descriptors that are streams, but no sockets, and nobody else's.
func plainFDs(t *testing.T) []uintptr {
	r, w := pipeFDs(t)
	return []uintptr{r, w}
}

// errNoFD is what reading and writing gives for a number that is no descriptor.
const errNoFD = syscall.EBADF

// errNotWatched is what watching gives for what the best method cannot watch.
const errNotWatched = syscall.EPERM

// needReset and needNetConn skip a test where the system cannot do it.
func needReset(*testing.T)   {}
func needNetConn(*testing.T) {}

// arrived waits until n bytes can be read from fd: at once, once they were sent.
func arrived(t testing.TB, fd sysFD, n int) {}

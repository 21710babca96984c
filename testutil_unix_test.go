// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// networks are those of streams that the system has.
var networks = []string{"tcp", "unix"}

// tempDir returns a directory that is removed when the test ends.
func tempDir(t testing.TB) string { return t.TempDir() }

// newPair returns two connected non-blocking sockets.
func newPair(t testing.TB) (a, b sysFD) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	must(t, err)
	for _, fd := range fds {
		syscall.CloseOnExec(fd)
		must(t, syscall.SetNonblock(fd, true))
	}
	return fds[0], fds[1]
}

func fdClose(fd sysFD) error                  { return syscall.Close(fd) }
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

// errNoBuffers is what writing gives when the kernel is short of memory.
const errNoBuffers = syscall.ENOBUFS

// errNotWatched is what watching gives for what the best method cannot watch.
const errNotWatched = syscall.EPERM

// needReset and needNetConn skip a test where the system cannot do it.
func needReset(*testing.T)   {}
func needNetConn(*testing.T) {}
func needNetUDP(*testing.T)  {}

// arrived waits until n bytes can be read from fd: at once, once they were sent.
func arrived(t testing.TB, fd sysFD, n int) {}

const userSignal = syscall.SIGUSR1

var badSignals = []os.Signal{nil, syscall.Signal(0), syscall.Signal(-1), syscall.Signal(1000), syscall.SIGKILL, syscall.SIGSTOP}

func raiseSignal() error { return syscall.Kill(syscall.Getpid(), userSignal) }

// testRoom returns how many descriptors can be open. (Package os has raised
// the limit as far as it goes.)
func testRoom() int {
	var lim syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim) != nil {
		return 0
	}
	return int(min(uint64(lim.Cur), 1<<20))
}

// eachMethod runs f for every method that works on real descriptors.
func eachMethod(t *testing.T, f func(*testing.T, poller, *sysNet)) {
	for _, m := range kernelMethods() {
		t.Run(m.name, func(t *testing.T) {
			n := newTestNet()
			p, _ := openTestMethod(m, n)(t)
			f(t, p, n.(*sysNet))
		})
	}
}

// dupTo makes want another name of fd.
func dupTo(t *testing.T, fd, want sysFD) {
	t.Helper()
	got, err := sysDup(fd, want)
	must(t, err)
	if got != want {
		unix.Close(got)
		t.Fatalf("descriptor %d is taken", want)
	}
}

// pipeFDs returns both ends of a pipe, as descriptors that nobody else owns.
func pipeFDs(t *testing.T) (r, w uintptr) {
	t.Helper()
	var p [2]int
	if err := syscall.Pipe(p[:]); err != nil {
		t.Fatal(err)
	}
	return uintptr(p[0]), uintptr(p[1])
}

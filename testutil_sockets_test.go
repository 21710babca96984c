// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evchan

import (
	"sync"
	"testing"
)

// socketPair returns two connected non-blocking sockets, closed at the end of the
// test.
func socketPair(t testing.TB) (a, b sysFD) {
	t.Helper()
	a, b = newPair(t)
	t.Cleanup(func() {
		fdClose(a)
		fdClose(b)
	})
	return a, b
}

// A sysNet makes connected sockets.
type sysNet struct {
	mu   sync.Mutex
	open map[sysFD]bool // guarded by mu; not closed by the test so far
}

func newTestNet() testNet { return &sysNet{open: make(map[sysFD]bool)} }

func (n *sysNet) pair(t testing.TB) (a, b sysFD) {
	t.Helper()
	a, b = newPair(t)
	for _, fd := range []sysFD{a, b} {
		n.mu.Lock()
		n.open[fd] = true
		n.mu.Unlock()
		t.Cleanup(func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			if n.open[fd] {
				delete(n.open, fd)
				fdClose(fd)
			}
		})
	}
	return a, b
}

func (n *sysNet) write(t testing.TB, fd sysFD) {
	t.Helper()
	_, err := fdWrite(fd, []byte("x"))
	must(t, err)
}

func (n *sysNet) fill(t testing.TB, fd sysFD) {
	t.Helper()
	buf := make([]byte, 64<<10)
	for len(buf) > 0 {
		_, err := fdWrite(fd, buf)
		switch err {
		case nil, eINTR:
		case eAGAIN, errNoBuffers:
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
		switch k, err := fdRead(fd, buf); {
		case err == eAGAIN, err == nil && k == 0:
			return
		case err != nil && err != eINTR:
			t.Fatal(err)
		}
	}
}

func (n *sysNet) shutdown(t testing.TB, fd sysFD) {
	t.Helper()
	must(t, fdShutdown(fd))
}

func (n *sysNet) close(t testing.TB, fd sysFD) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.open, fd)
	must(t, fdClose(fd))
}

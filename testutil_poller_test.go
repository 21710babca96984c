// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"context"
	"testing"
	"time"

	"github.com/evchan/evchan/internal/seam"
	"github.com/evchan/evchan/internal/simnet"
)

// A fakePoller is a poller made of channels, for tests inside a synctest bubble: a goroutine in
// its wait is durably blocked. simnet has what does the work, and kernelPoller makes a poller of
// that.
//
// Its descriptors are made by open; tests say what they are ready for.
type fakePoller struct {
	poller
	p *simnet.Poller
}

func newFakePoller() *fakePoller {
	p := simnet.NewPoller()
	return &fakePoller{&kernelPoller{kernel: fakeKernel{p}}, p}
}

// A fakeKernel is a simnet.Poller without sockets.
type fakeKernel struct{ *simnet.Poller }

func (fakeKernel) Edge() bool { return true }

func (fakeKernel) Listen(string, string) (seam.Listener, error) { return nil, ErrUnsupported }

func (fakeKernel) Dial(context.Context, string, string) (seam.Conn, error) {
	return nil, ErrUnsupported
}

func (p *fakePoller) name() string { return "fake" }

// open returns a new descriptor that is ready for nothing.
func (p *fakePoller) open() sysFD { return sysFD(p.p.Open()) }

// shut closes fd, which ends its registration.
func (p *fakePoller) shut(fd sysFD) { p.p.Shut(int(fd)) }

// raise makes fd ready for the conditions in w, and news of them even if it
// was ready before. Hangup brings all conditions with it.
func (p *fakePoller) raise(fd sysFD, w What) { p.p.Raise(int(fd), seam.What(w)) }

// lower makes fd ready for the conditions in w no more.
func (p *fakePoller) lower(fd sysFD, w What) { p.p.Lower(int(fd), seam.What(w)) }

func (p *fakePoller) removeIf(fd sysFD, tok token) error {
	if !p.p.Registered(int(fd), seam.Token{Slot: tok.slot, Gen: tok.gen}) {
		return simnet.ErrUnknown
	}
	return p.remove(fd)
}

// A fakeNet makes connected pairs of a fakePoller's descriptors.
type fakeNet struct {
	p    *fakePoller
	peer map[sysFD]sysFD
	full map[sysFD]bool // cannot be written to until its peer has read
	eof  map[sysFD]bool // readable for ever
}

func newFakeNet(p *fakePoller) *fakeNet {
	return &fakeNet{p, make(map[sysFD]sysFD), make(map[sysFD]bool), make(map[sysFD]bool)}
}

func (n *fakeNet) pair(t testing.TB) (a, b sysFD) {
	a, b = n.p.open(), n.p.open()
	n.peer[a], n.peer[b] = b, a
	n.p.raise(a, Write)
	n.p.raise(b, Write)
	return a, b
}

func (n *fakeNet) write(t testing.TB, fd sysFD) { n.p.raise(n.peer[fd], Read) }

func (n *fakeNet) fill(t testing.TB, fd sysFD) {
	n.full[fd] = true
	n.p.lower(fd, Write)
	n.p.raise(n.peer[fd], Read)
}

func (n *fakeNet) drain(t testing.TB, fd sysFD) {
	if !n.eof[fd] {
		n.p.lower(fd, Read)
	}
	if peer := n.peer[fd]; n.full[peer] {
		n.full[peer] = false
		n.p.raise(peer, Write)
	}
}

func (n *fakeNet) shutdown(t testing.TB, fd sysFD) {
	n.eof[n.peer[fd]] = true
	n.p.raise(n.peer[fd], Read|EarlyClose)
}

func (n *fakeNet) close(t testing.TB, fd sysFD) {
	n.eof[n.peer[fd]] = true
	n.p.raise(n.peer[fd], Read|Write|EarlyClose|hangup)
	n.p.shut(fd)
}

// A failingPoller fails on demand, as kernels do that are short of memory.
type failingPoller struct {
	poller
	wakes chan error // what waits fail with; empty: they do not
	adds  error      // what add fails with; nil: it does not
}

func (p *failingPoller) wait(dst []ready, d time.Duration) ([]ready, error) {
	select {
	case err := <-p.wakes:
		return dst, err
	default:
	}
	return p.poller.wait(dst, d)
}

func (p *failingPoller) add(fd sysFD, tok token, i What) error {
	if p.adds != nil {
		return p.adds
	}
	return p.poller.add(fd, tok, i)
}

// A testNet makes connected pairs of descriptors that a poller understands.
type testNet interface {
	pair(t testing.TB) (a, b sysFD)  // closed when the test ends
	write(t testing.TB, fd sysFD)    // sends a little to the other end
	fill(t testing.TB, fd sysFD)     // sends until it would block
	drain(t testing.TB, fd sysFD)    // reads until it would block or there is no more
	shutdown(t testing.TB, fd sysFD) // sends no more
	close(t testing.TB, fd sysFD)
}

// An openTestPoller makes a poller and what goes with it, closed with the test.
type openTestPoller func(t testing.TB) (poller, testNet)

func openTestFake(t testing.TB) (poller, testNet) {
	p := newFakePoller()
	t.Cleanup(func() { p.close() })
	return p, newFakeNet(p)
}

func openTestMethod(m method, n testNet) openTestPoller {
	return func(t testing.TB) (poller, testNet) {
		t.Helper()
		p, err := m.open()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.close() })
		return p, n
	}
}

// testToken returns a token for tests, with a generation that is easy to see.
func testToken(slot int) token { return token{uint32(slot), uint32(slot) + 1<<31} }

// expectReady waits until everything in want has been reported, in whatever
// portions. What is not in want must not be reported, but errorOnly may.
func expectReady(t testing.TB, p poller, want ...ready) {
	t.Helper()
	var got []ready
	left := make(map[token]What, len(want))
	asked := make(map[token]What, len(want))
	for _, r := range want {
		left[r.tok] |= r.what
		asked[r.tok] |= r.what
	}
	for start := time.Now(); len(left) > 0; {
		if time.Since(start) > testPatience {
			t.Fatalf("not reported: %v", left)
		}
		var err error
		got, err = p.wait(got[:0], testPatience)
		must(t, err)
		for _, r := range got {
			if r.what&hangup != 0 {
				r.what &^= errorOnly
			}
			if r.what == 0 || r.what&^asked[r.tok] != 0 {
				t.Fatalf("got %v, want %v", got, want)
			}
			if left[r.tok] &^= r.what; left[r.tok] == 0 {
				delete(left, r.tok)
			}
		}
	}
}

// expectNone checks that there is nothing to report now.
func expectNone(t testing.TB, p poller) {
	t.Helper()
	got, err := p.wait(nil, 0)
	must(t, err)
	if len(got) > 0 {
		t.Fatalf("got %v, want nothing", got)
	}
}

// expectBlocks checks that a wait with nothing to report lasts as long as it
// should, allowing for early returns but not for a string of them.
func expectBlocks(t testing.TB, p poller) {
	t.Helper()
	const d = 5 * time.Millisecond
	for range 3 {
		start := time.Now()
		got, err := p.wait(nil, d)
		must(t, err)
		if len(got) > 0 {
			t.Fatalf("got %v, want nothing", got)
		}
		if time.Since(start) >= d {
			return
		}
	}
	t.Fatal("does not block")
}

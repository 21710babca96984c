// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestPollerDup(t *testing.T) {
	eachMethod(t, func(t *testing.T, p poller, n *sysNet) {
		a, b := n.pair(t)
		d, err := sysDup(a, 100)
		must(t, err)
		t.Cleanup(func() { unix.Close(d) })
		must(t, p.add(a, testToken(1), Read))
		must(t, p.add(d, testToken(2), Read))
		n.write(t, b)
		expectReady(t, p, ready{testToken(1), Read}, ready{testToken(2), Read})

		must(t, p.remove(d))
		must(t, unix.Close(d))
		dupTo(t, a, d)
		must(t, p.add(d, testToken(3), Write))
		expectReady(t, p, ready{testToken(1), Read}, ready{testToken(3), Write})

		// Closed without remove: epoll keeps the registration.
		must(t, unix.Close(d))
		dupTo(t, a, d)
		must(t, p.add(d, testToken(4), Read|Write))
		expectReady(t, p, ready{testToken(1), Read}, ready{testToken(4), Read | Write})
	})
}

func TestPollerClosedWhileWatched(t *testing.T) {
	eachMethod(t, func(t *testing.T, p poller, n *sysNet) {
		for k, i := range []What{Read, Read | Write | Edge, 0} {
			a, _ := n.pair(t)
			tok := testToken(k)
			must(t, p.add(a, tok, i))
			_, err := p.wait(nil, 0) // Whatever there is now.
			must(t, err)
			n.close(t, a)
			if p.name() == "poll" {
				expectReady(t, p, ready{tok, i&whatPolled | hangup})
			}
			expectNone(t, p)
			expectBlocks(t, p)
			if p.name() == "poll" {
				must(t, p.arm(a, tok, i))
				expectReady(t, p, ready{tok, i&whatPolled | hangup})
				expectNone(t, p)
				must(t, p.remove(a))
			}
		}
	})
}

func TestPollerAnyFD(t *testing.T) {
	eachMethod(t, func(t *testing.T, p poller, n *sysNet) {
		f, err := os.Create(filepath.Join(t.TempDir(), "file"))
		must(t, err)
		defer f.Close()
		err = p.add(sysFD(f.Fd()), testToken(1), Read|Write)
		if p.features()&FeatureAnyFD == 0 {
			if !errors.Is(err, unix.EPERM) {
				t.Errorf("got %v, want EPERM", err)
			}
			return
		}
		must(t, err)
		expectReady(t, p, ready{testToken(1), Read | Write})
	})
}

// watchedPipes returns two pipes, of which r[0] and w[1] are closed with the test.
func watchedPipes(t *testing.T) (r, w [2]sysFD) {
	t.Helper()
	must(t, openPipe(&r))
	must(t, openPipe(&w))
	t.Cleanup(func() {
		unix.Close(r[0])
		unix.Close(w[1])
	})
	return r, w
}

// TestPollerPipe checks that a hangup brings what was asked for, no more: a
// pipe does not say that it can be read when its writer is gone.
func TestPollerPipe(t *testing.T) {
	for _, mode := range []What{0, Edge} {
		eachMethod(t, func(t *testing.T, p poller, n *sysNet) {
			r, w := watchedPipes(t)
			must(t, p.add(r[0], testToken(1), Read|mode))
			expectNone(t, p)
			must(t, unix.Close(r[1]))
			expectReady(t, p, ready{testToken(1), Read | hangup})
			must(t, p.remove(r[0]))
			n.fill(t, w[1])
			must(t, p.add(w[1], testToken(2), Write|mode))
			expectNone(t, p)
			must(t, unix.Close(w[0]))
			expectReady(t, p, ready{testToken(2), Write | hangup})
		})
	}
}

// TestPollerClosedPipe registers pipes whose other end is closed already.
func TestPollerClosedPipe(t *testing.T) {
	for _, mode := range []What{0, Edge} {
		eachMethod(t, func(t *testing.T, p poller, n *sysNet) {
			r, w := watchedPipes(t)
			n.write(t, r[1])
			must(t, unix.Close(r[1]))
			must(t, p.add(r[0], testToken(1), Read|Write|mode))
			expectReady(t, p, ready{testToken(1), Read | Write | hangup})
			must(t, p.remove(r[0]))
			must(t, unix.Close(w[0]))
			must(t, p.add(w[1], testToken(2), Write|mode))
			expectReady(t, p, ready{testToken(2), Write | hangup})
			must(t, p.arm(w[1], testToken(3), mode))
			expectReady(t, p, ready{testToken(3), hangup})
			expectNone(t, p)
		})
	}
}

// TestPollerNamedPipe has a second writer after the first.
func TestPollerNamedPipe(t *testing.T) {
	eachMethod(t, func(t *testing.T, p poller, n *sysNet) {
		path := filepath.Join(t.TempDir(), "pipe")
		must(t, unix.Mkfifo(path, 0o600))
		r, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		must(t, err)
		defer unix.Close(r)
		must(t, p.add(r, testToken(1), Read))
		for range 3 {
			w, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
			must(t, err)
			n.write(t, w)
			expectReady(t, p, ready{testToken(1), Read})
			n.drain(t, r)
			expectNone(t, p)
			must(t, unix.Close(w))
			expectReady(t, p, ready{testToken(1), Read | hangup})
		}
	})
}

// TestPollerHalfCloses checks that only both ends together are a hangup.
func TestPollerHalfCloses(t *testing.T) {
	eachMethod(t, func(t *testing.T, p poller, n *sysNet) {
		for k, i := range []What{Read, Write, Read | Write, Read | Edge, Write | Edge, 0} {
			for j, own := range []bool{true, false} {
				a, b := n.pair(t)
				tok := testToken(2*k + j)
				must(t, p.add(a, tok, i))
				ends := []sysFD{a, b}
				if !own {
					ends = []sysFD{b, a}
				}
				n.shutdown(t, ends[0])
				for range 3 {
					got, err := p.wait(nil, 0)
					must(t, err)
					for _, r := range got {
						if r.what&^(i&whatPolled) != 0 {
							t.Errorf("%v: got %v after one end", i, got)
						}
					}
				}
				n.shutdown(t, ends[1])
				expectReady(t, p, ready{tok, i&whatPolled | hangup})
				must(t, p.remove(a))
			}
		}
	})
}

// TestPollerLetsGo checks that a descriptor that is removed and closed while
// another goroutine waits is really closed.
func TestPollerLetsGo(t *testing.T) {
	eachMethod(t, func(t *testing.T, p poller, n *sysNet) {
		for range 50 {
			a, b := n.pair(t)
			must(t, p.add(a, testToken(1), Read))
			var wg sync.WaitGroup
			stop := make(chan struct{})
			wg.Go(func() {
				for {
					if _, err := p.wait(nil, -1); err != nil {
						t.Error(err)
						return
					}
					select {
					case <-stop:
						return
					default:
					}
				}
			})
			yield()
			must(t, p.remove(a))
			n.close(t, a)
			fds := []unix.PollFd{{Fd: int32(b), Events: unix.POLLIN}}
			if _, err := pollFDs(fds, testPatience); err != nil && err != unix.EINTR || fds[0].Revents == 0 && err == nil {
				t.Errorf("the peer sees nothing: %v", err)
			}
			close(stop)
			must(t, p.wake())
			wg.Wait()
		}
	})
}

// TestPollerWaitsAllocateNothing covers what a loop in its steady state does.
func TestPollerWaitsAllocateNothing(t *testing.T) {
	eachMethod(t, func(t *testing.T, p poller, n *sysNet) {
		a, b := n.pair(t)
		got, buf := make([]ready, 0, 10), make([]byte, 1)
		wait := func(d time.Duration) {
			var err error
			got, err = p.wait(got[:0], d)
			must(t, err)
		}
		must(t, p.add(a, testToken(1), Read))
		for name, f := range map[string]func(){
			"poll":  func() { wait(0) },
			"alarm": func() { wait(10 * time.Microsecond) },
			"wake":  func() { p.wake(); wait(-1) },
			"ready": func() { unix.Write(b, buf); wait(-1); unix.Read(a, buf) },
			"arm":   func() { p.arm(a, testToken(1), Read); wait(0) },
		} {
			if avg := testing.AllocsPerRun(100, f); avg != 0 {
				t.Errorf("%s: %v allocations", name, avg)
			}
		}
	})
}

// TestPollSetDropsStaleResults replaces registrations while the system call
// has a copy of the old ones.
func TestPollSetDropsStaleResults(t *testing.T) {
	pp, err := openPollSet()
	must(t, err)
	defer pp.close()
	p := pp.(*pollSet)
	a, _ := newTestNet().pair(t)
	must(t, p.add(a, token{1, 1}, Write))
	_, err = p.wait(nil, 0) // Makes the copy and its results.
	must(t, err)
	result := p.fds[0]
	report := func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		_, ok := p.reportLocked(&result, token{1, 1})
		return ok
	}
	if !report() {
		t.Error("a result was dropped")
	}
	must(t, p.arm(a, token{1, 1}, Read))
	if report() {
		t.Error("a condition not asked for was reported")
	}
	must(t, p.remove(a))
	if report() {
		t.Error("a result was reported after remove")
	}
	must(t, p.add(a, token{1, 2}, Write))
	if report() {
		t.Error("a result was reported to the next registration")
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// A knowingPoller is a fakePoller that takes descriptors which it has not made.
type knowingPoller struct{ *fakePoller }

func (p knowingPoller) add(fd sysFD, tok token, i What) error {
	p.p.Know(int(fd))
	return p.fakePoller.add(fd, tok, i)
}

// TestWorldOfAccept has a listener fail for an hour, and tells when it tries again:
// after 5 ms, which double up to a second, until it works. Its socket is real, and it
// fails because it is given a descriptor that is none.
func TestWorldOfAccept(t *testing.T) {
	needSockets(t)
	conf, err := (&Config{IgnoreEnv: true}).complete()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		p := knowingPoller{newFakePoller()}
		l := newLoop(conf, p)
		defer l.Close()
		ln, err := l.Listen("tcp", "127.0.0.1:0", nil)
		if err != nil {
			t.Fatal(err)
		}
		ln.mu.Lock()
		good := ln.fd
		ln.mu.Unlock()
		exchange := func(fd sysFD) {
			ln.mu.Lock()
			ln.fd = fd
			ln.mu.Unlock()
		}
		defer exchange(good)
		next := func() time.Duration {
			l.mu.Lock()
			defer l.mu.Unlock()
			if !ln.retry.running() {
				return 0
			}
			return time.Duration(ln.retry.when)
		}
		l.Poll(0)
		for _, lasts := range []time.Duration{0, 1, 35 * time.Millisecond, time.Minute, time.Hour} {
			exchange(1 << 30)
			began := time.Now()
			p.raise(good, Read)
			wait(t, l, AcceptFailed{ln}, 0)
			clock := time.Duration(l.clock())
			tries, delay := 1, minAcceptDelay
			for ; time.Since(began)+delay <= lasts; delay = min(2*delay, maxAcceptDelay) {
				if got := next(); got != clock+delay {
					t.Fatalf("try %d is followed by another after %v; want %v", tries, got-clock, delay)
				}
				// The message was received; there is no other.
				if ev, ok := l.Poll(delay); ok {
					t.Fatalf("unexpected %v", ev)
				}
				clock += delay
				tries++
			}
			if ln.Err() == nil {
				t.Error("Err is nil")
			}
			// A client comes while it does not try, and it works again.
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			exchange(good)
			until := next() - time.Duration(l.clock())
			ev, ok := l.Poll(time.Hour)
			a, is := ev.(Accepted)
			if !ok || !is || time.Duration(l.clock()) != clock+delay || until != delay {
				t.Fatalf("%v after %d tries and %v more; want %v", ev, tries, time.Duration(l.clock())-clock, delay)
			}
			if ln.Err() != nil || next() != 0 {
				t.Errorf("it works again, but Err is %v, and the next try at %v", ln.Err(), next())
			}
			t.Logf("%d tries in %v", tries, lasts)
			a.Stream.Abort()
			c.Close()
			l.Poll(time.Minute)
		}
		// Resume tries at once, with the least delay after it.
		exchange(1 << 30)
		p.raise(good, Read)
		wait(t, l, AcceptFailed{ln}, 0)
		l.Poll(10 * time.Second)
		ln.Pause()
		l.Poll(time.Hour)
		ln.Resume()
		l.Poll(0)
		if got := next() - time.Duration(l.clock()); got != minAcceptDelay {
			t.Errorf("after Resume it tries again after %v", got)
		}
		exchange(good)
		ln.Close()
		empty(t, l)
	})
}

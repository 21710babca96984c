// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evchan

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evchan/evchan/internal/simnet"
)

// TestFaultsFound has what TestFaults has found, step by step.
func TestFaultsFound(t *testing.T) {
	for name, test := range map[string]func(*testing.T, *faultRun){
		"CloseDoesNotSpin":   func(t *testing.T, x *faultRun) { testCloseDoesNotSpin(t, x, false) },
		"PlainCloseNoSpin":   func(t *testing.T, x *faultRun) { testCloseDoesNotSpin(t, x, true) },
		"RefusedAndConsumed": testRefusedAndConsumed,
		"CloseSeesReset":     testCloseSeesReset,
		"RateTimerEnds":      testRateTimerEnds,
		"LateReportComes":    testLateReportComes,
	} {
		for _, oneShot := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", name, oneShot), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := simnet.New(1, simnet.Rates{})
					n.Budget = 0
					n.OneShot = oneShot
					n.Note = t.Logf
					c, err := (&Config{IgnoreEnv: true, MaxOutput: 100, Linger: time.Hour}).complete()
					if err != nil {
						t.Fatal(err)
					}
					l := newLoop(c, &kernelPoller{kernel: n.Kernel()})
					n.Streams = l.Dump
					defer l.Close()
					test(t, &faultRun{n: n, l: l, r: n.R})
					if n.Failure != "" {
						t.Errorf("%s\n%s", n.Failure, n.Dump)
					}
				})
			})
		}
	}
}

// still returns a stream whose peer does nothing by itself.
func (x *faultRun) still(plain bool) (*Stream, *faultConn) {
	e := x.connect(new(faultGroup), nil, new(faultLane), new(faultLane), plain)
	e.c.until = time.Now().Add(1000 * time.Hour)
	e.c.OutRoom = 10
	e.c.resetAt, e.c.closeAt = -1, -1
	x.l.Poll(0) // Accepted
	return e.s, e.c
}

// comes has p arrive, and the end.
func (c *faultConn) comes(p string, end bool) {
	c.n.Mu.Lock()
	defer c.n.Mu.Unlock()
	c.Arrive(p, end)
}

// resets has the peer reset.
func (c *faultConn) resets() {
	c.n.Mu.Lock()
	defer c.n.Mu.Unlock()
	c.Reset(false)
}

// hears polls until there is no message within a minute, and returns the kinds of
// those that came.
func (x *faultRun) hears() (got []Event) {
	for {
		ev, ok := x.l.Poll(time.Minute)
		if !ok {
			return got
		}
		got = append(got, ev)
	}
}

// A closing stream that has read to the end, and waits for its peer to take what
// is unsent, does not ask for what there is to be read again and again. Nor does one
// that cannot half-close, which does not read while it closes.
func testCloseDoesNotSpin(t *testing.T, x *faultRun, plain bool) {
	s, c := x.still(plain)
	s.Write(make([]byte, 100))
	s.Close()
	c.comes("more", !plain)
	x.hears()
	if x.n.Waits > 20 {
		t.Errorf("%d waits", x.n.Waits)
	}
	s.Abort()
}

// Input that another stream has refused, and that was consumed in another way,
// holds back no EOF.
func testRefusedAndConsumed(t *testing.T, x *faultRun) {
	src, c := x.still(false)
	dst, _ := x.still(false)
	dst.Write(make([]byte, 200))
	c.comes("abc", false)
	if ev, _ := x.l.Poll(0); ev != Event(Readable{src}) {
		t.Fatalf("received %v", ev)
	}
	if _, err := src.WriteTo(dst); err != ErrFull {
		t.Fatalf("WriteTo: %v", err)
	}
	src.Input().Discard(3)
	c.comes("de", true)
	if got := x.hears(); !slices.Equal(got, []Event{Readable{src}, EOF{src}}) {
		t.Errorf("received %v", got)
	}
	src.Abort()
	dst.Abort()
}

// A closing stream whose peer has finished, and that waits for its rate, is
// released when the peer resets.
func testCloseSeesReset(t *testing.T, x *faultRun) {
	s, c := x.still(false)
	c.comes("", true)
	if got := x.hears(); !slices.Equal(got, []Event{EOF{s}}) {
		t.Fatalf("received %v", got)
	}
	s.SetRateLimit(&RateLimit{WriteRate: 1, WriteBurst: 1, Tick: time.Second})
	s.Write(make([]byte, 1000))
	s.Close()
	x.l.Poll(0)
	began := time.Now()
	c.resets()
	for !c.Closed && time.Since(began) < time.Minute && x.n.Failure == "" {
		x.l.Poll(time.Millisecond)
	}
	if d := time.Since(began); d > 10*time.Millisecond {
		t.Errorf("it has taken %v", d)
	}
	s.Abort()
}

// A rate limit's timer does not outlive those who wait for it.
func testRateTimerEnds(t *testing.T, x *faultRun) {
	limit := RateLimit{ReadRate: 1, ReadBurst: 1, WriteRate: 1, WriteBurst: 1, Tick: time.Second}
	group, _ := x.l.RateGroup(limit)
	for _, set := range []func(*Stream){func(s *Stream) { s.SetRateLimit(&limit) }, func(s *Stream) { s.SetRateGroup(group) }} {
		for _, end := range []func(*Stream){
			func(s *Stream) { s.Abort() },
			func(s *Stream) { s.Close() },
			func(s *Stream) { s.SetRateLimit(nil); s.SetRateGroup(nil); s.Pause(Read) },
		} {
			s, c := x.still(false)
			set(s)
			c.comes("much", false)
			x.l.Poll(0)
			x.l.Poll(0)
			x.l.Poll(0)
			end(s)
			x.l.mu.Lock()
			if s.extra.linger.running() {
				x.l.timers.stop(&s.extra.linger)
			}
			if _, ok := x.l.timers.next(); ok {
				t.Error("a timer runs")
			}
			x.l.mu.Unlock()
			s.Abort()
		}
	}
}

// A report that comes late ends a wait that has nothing else to wait for. (This is about
// the tests' own network: a report of what another goroutine has armed was forgotten.)
func testLateReportComes(t *testing.T, x *faultRun) {
	s, c := x.still(false)
	x.hears()
	x.n.Rates[simnet.Late] = 1
	c.comes("a", false)
	<-x.n.P.Changec // that something has changed would end the wait
	if ev, _ := x.l.Poll(-1); ev != Event(Readable{s}) {
		t.Errorf("received %v", ev)
	}
	s.Abort()
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// A taker has pipes that always have more to carry than they may, and counts what
// comes out of them.
type taker struct {
	t        *testing.T
	loop     *Loop
	from, to []*Stream
	got      []int
	sum      int
}

// newTaker returns a taker of n pipes.
func newTaker(t *testing.T, l *Loop, n int) *taker {
	k := &taker{t: t, loop: l, got: make([]int, n)}
	for i := range n {
		a, b := l.Pipe()
		b.Data = i
		a.SetWriteMarks(32<<10, 0)
		k.from, k.to = append(k.from, a), append(k.to, b)
	}
	return k
}

// begin gives them something to carry.
func (k *taker) begin() {
	for _, a := range k.from {
		k.write(a)
	}
}

func (k *taker) write(a *Stream) {
	for a.Queued() < 64<<10 {
		if _, err := a.Write(make([]byte, 16<<10)); err != nil {
			k.t.Fatal(err)
		}
	}
}

// until takes what comes up to the time d after the loop was made, what comes at
// that moment included.
func (k *taker) until(d time.Duration) {
	k.t.Helper()
	for quiet := 0; quiet < 4; { // a grant takes up to two turns, and moving on another
		ev, ok := k.loop.Poll(max(0, d-time.Duration(k.loop.clock())))
		if !ok {
			if time.Duration(k.loop.clock()) >= d {
				quiet++
			}
			continue
		}
		quiet = 0
		switch ev := ev.(type) {
		case Readable:
			n := ev.Stream.Input().Discard(math.MaxInt)
			k.got[ev.Stream.Data.(int)] += n
			k.sum += n
		case Drained:
			k.write(ev.Stream)
		default:
			k.t.Fatalf("unexpected %v", ev)
		}
	}
}

// want fails unless so many bytes have come.
func (k *taker) want(n int) {
	k.t.Helper()
	if k.sum != n {
		k.t.Fatalf("after %v: %d bytes; want %d", time.Duration(k.loop.clock()), k.sum, n)
	}
}

// end gives the pipes up.
func (k *taker) end() {
	for i := range k.from {
		k.from[i].Abort()
		k.to[i].Abort()
	}
}

// side returns a limit of one direction, and the streams that it is for.
func (k *taker) side(dir, rate, burst int, tick time.Duration) (RateLimit, []*Stream) {
	if dir == dirRead {
		return RateLimit{ReadRate: rate, ReadBurst: burst, Tick: tick}, k.to
	}
	return RateLimit{WriteRate: rate, WriteBurst: burst, Tick: tick}, k.from
}

// Whoever always has something to carry gets the rate, to the byte, at each tick of
// an hour: alone and in a group, however small the burst is.
func TestRateOfAnHour(t *testing.T) {
	tests := make(map[string]func(*testing.T, *Loop))
	for _, c := range []struct {
		members, rate, burst int
		tick                 time.Duration
	}{
		{1, 100, 100, time.Second},
		{1, 1000, 1000, time.Second / 3},
		{1, 7, 3, time.Second / 3},
		{1, 1, 1, time.Minute / 61},
		{2, 100, 100, time.Second}, // more than the least that is given out, less than twice that
		{2, 10, 64, time.Second},
		{3, 63, 63, time.Second},
		{7, 127, 127, time.Second},
		{30, 100, 110, time.Second},
		{30, 3001, 3001, time.Second},
		{5, 1000, 2000, 7 * time.Second / 5},
	} {
		for dir, name := range []string{"Read", "Write"} {
			tests[fmt.Sprintf("%s%dx%dBurst%dTick%v", name, c.members, c.rate, c.burst, c.tick)] = func(t *testing.T, l *Loop) {
				k := newTaker(t, l, c.members)
				limit, limited := k.side(dir, c.rate, c.burst, c.tick)
				if c.members == 1 {
					limited[0].SetRateLimit(&limit)
				} else {
					g, err := l.RateGroup(limit)
					if err != nil {
						t.Fatal(err)
					}
					for _, s := range limited {
						s.SetRateGroup(g)
					}
				}
				k.begin()
				first, _ := inflow(c.rate, int64(c.tick), 0) // is there from the beginning
				slack := 0                                   // what may be kept until it is worth giving out
				if c.members > 1 {
					slack = min(leastShare-1, c.burst-1)
				}
				for tick := range int64(time.Hour / c.tick) {
					k.until(time.Duration(tick)*c.tick + 1)
					come, _ := inflow(c.rate, tick*int64(c.tick), 0)
					if want := first + come; k.sum > want || k.sum < want-slack {
						t.Fatalf("at tick %d: %d bytes; want %d", tick, k.sum, want)
					}
				}
				least, most := math.MaxInt, 0
				for _, n := range k.got {
					least, most = min(least, n), max(most, n)
				}
				if most-least > 2*max(leastShare, c.burst) {
					t.Errorf("%d to %d bytes each", least, most)
				}
				k.end()
			}
		}
	}
	inBubble(t, Config{MaxInput: 1 << 20}, tests)
}

// No more than the burst passes at one moment, however late the loop is.
func TestRateOfLateLoop(t *testing.T) {
	tests := make(map[string]func(*testing.T, *Loop))
	for _, members := range []int{1, 2, 5} {
		for dir, name := range []string{"Read", "Write"} {
			tests[fmt.Sprint(name, members)] = func(t *testing.T, l *Loop) {
				const burst = 1000
				k := newTaker(t, l, members)
				limit, limited := k.side(dir, 100, burst, time.Second)
				g, _ := l.RateGroup(limit)
				for _, s := range limited {
					s.SetRateGroup(g)
				}
				k.begin()
				k.until(10 * time.Second)
				at := func(what func()) {
					moved := func() int {
						if dir == dirRead {
							return int(l.Stats().BytesIn)
						}
						return int(l.Stats().BytesOut)
					}
					before := moved()
					what()
					if n := moved() - before; n > burst {
						t.Fatalf("%d bytes at one moment", n)
					}
				}
				for i := range 100 {
					// Some turns, after which members have tokens, then long nothing.
					for range i % 7 {
						time.Sleep(time.Second)
						at(func() { l.turn(0) })
					}
					time.Sleep(time.Minute)
					at(func() { k.until(time.Duration(l.clock())) })
				}
				k.end()
			}
		}
	}
	inBubble(t, Config{MaxInput: 1 << 20}, tests)
}

// A limit that is set again and again is the limit all the same.
func TestRateSetOften(t *testing.T) {
	inBubble(t, Config{MaxInput: 1 << 20}, map[string]func(*testing.T, *Loop){
		"Stream": func(t *testing.T, l *Loop) {
			k := newTaker(t, l, 1)
			limit := RateLimit{ReadRate: 1000, ReadBurst: 1000, Tick: time.Second}
			k.to[0].SetRateLimit(&limit)
			k.begin()
			for i := range 3600 * 4 {
				k.until(time.Duration(i) * time.Second / 4)
				k.to[0].SetRateLimit(&limit)
			}
			time.Sleep(time.Second / 4)
			k.to[0].SetRateLimit(&limit)
			k.until(time.Hour)
			k.want(1000 + 3600*1000)
		},
		"Group": func(t *testing.T, l *Loop) {
			k := newTaker(t, l, 3)
			limit := RateLimit{WriteRate: 1000, WriteBurst: 1000, Tick: time.Second}
			g, _ := l.RateGroup(limit)
			for _, s := range k.from {
				s.SetRateGroup(g)
			}
			k.begin()
			for i := range 3600 * 4 {
				k.until(time.Duration(i) * time.Second / 4)
				g.SetLimit(limit)
			}
			time.Sleep(time.Second / 4)
			g.SetLimit(limit)
			k.until(time.Hour)
			if k.sum > 1000+3600*1000 || k.sum <= 3600*1000+1000-leastShare {
				t.Errorf("%d bytes", k.sum)
			}
		},
		"MoveTo": func(t *testing.T, l *Loop) {
			other := newLoop(l.conf, newFakePoller())
			defer other.Close()
			a, b := l.Pipe()
			b.SetRateLimit(&RateLimit{ReadRate: 1000, ReadBurst: 1000, Tick: time.Second})
			a.Write(make([]byte, 64<<10))
			sum, here, there := 0, l, other
			for range 60 {
				for until := here.clock() + int64(time.Second/2); here.clock() < until; {
					if ev, _ := here.Poll(time.Duration(until - here.clock())); ev == Event(Readable{b}) {
						sum += b.Input().Discard(math.MaxInt)
					}
				}
				if err := b.MoveTo(there); err != nil {
					t.Fatal(err)
				}
				here, there = there, here
			}
			if want := 1000 + 29500; sum != want { // what the last half second has brought is still to be used
				t.Errorf("%d bytes in 30 s; want %d", sum, want)
			}
		},
	})
}

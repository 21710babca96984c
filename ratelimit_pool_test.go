// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"math"
	"testing"
	"time"
)

// A poolLoop is a loop with streams that read as much as a RateGroup lets them, on a goroutine of
// its own.
type poolLoop struct {
	l    *Loop
	got  [2]int // by half of the test's time
	half time.Time
	busy bool
}

// feedPool gives x one stream of g, whose peer always has something to send.
func (x *poolLoop) feedPool(t *testing.T, g *RateGroup) {
	a, b := x.l.Pipe(nil, nil)
	must(t, b.SetRateGroup(g))
	a.Write(make([]byte, 60<<10))
	a.Data = b
	b.Data = a
}

// run reads until the time is over. While busy, the peers write what was read.
func (x *poolLoop) run(until time.Time) {
	for {
		left := time.Until(until)
		if left <= 0 {
			return
		}
		ev, ok := x.l.Poll(left)
		if !ok {
			return
		}
		if ev, ok := ev.(Readable); ok {
			n := ev.Stream.Input().Discard(math.MaxInt)
			if time.Now().Before(x.half) {
				x.got[0] += n
			} else {
				x.got[1] += n
			}
			if x.busy || time.Now().Before(x.half) {
				ev.Stream.Data.(*Stream).Write(make([]byte, n))
			}
		}
	}
}

// A group's limit is exact for the streams of several loops together. They divide it evenly, and
// what a loop does not use, the others get.
func TestRateGroupOfLoops(t *testing.T) {
	const rate, seconds = 10_000, 200
	inBubble(t, Config{}, map[string]func(*testing.T, *Loop){
		"Limit": func(t *testing.T, l *Loop) {
			g, err := l.RateGroup(RateLimit{ReadRate: rate, ReadBurst: rate, Tick: time.Second / 10})
			must(t, err)
			began := time.Now()
			end := began.Add(seconds * time.Second)
			var loops []*poolLoop
			done := make(chan bool)
			for i := range 3 {
				at := l
				if i > 0 {
					at = newLoop(l.conf, newFakePoller())
					defer at.Close()
				}
				x := &poolLoop{l: at, half: began.Add(seconds / 2 * time.Second), busy: i == 0}
				for range 2 {
					x.feedPool(t, g)
				}
				loops = append(loops, x)
			}
			for _, x := range loops {
				go func() {
					x.run(end)
					done <- true
				}()
			}
			for range loops {
				<-done
			}
			first, second := 0, 0
			for i, x := range loops {
				t.Logf("loop %d has got %d", i, x.got)
				first += x.got[0]
				second += x.got[1]
				if part := float64(x.got[0]) / (rate * seconds / 2 / 3); part < 0.9 || part > 1.1 {
					t.Errorf("loop %d has got %.2f of its part", i, part)
				}
			}
			if most := rate*seconds + rate; first+second > most {
				t.Errorf("%d bytes in %d s", first+second, seconds)
			}
			if least := rate * seconds / 2 * 98 / 100; first < least || second < least {
				t.Errorf("%d and %d bytes; want %d each", first, second, rate*seconds/2)
			}
			if p := g.pool.Load(); p.dirs[dirRead].out < 0 || p.dirs[dirRead].level+p.dirs[dirRead].out > p.dirs[dirRead].burst {
				t.Errorf("the pool has %+v", p.dirs[dirRead])
			}
			for _, x := range loops {
				x.l.Close()
			}
		},
		"SetLimit": func(t *testing.T, l *Loop) {
			other := newLoop(l.conf, newFakePoller())
			defer other.Close()
			g, err := l.RateGroup(RateLimit{ReadRate: 1, ReadBurst: 1, Tick: time.Second})
			must(t, err)
			x := &poolLoop{l: other, half: time.Now()}
			x.feedPool(t, g)
			x.run(time.Now().Add(10 * time.Second))
			if n := x.got[1]; n < 9 || n > 11 {
				t.Errorf("%d bytes in 10 s", n)
			}
			must(t, g.SetLimit(RateLimit{ReadRate: 1000, ReadBurst: 1000, Tick: time.Second}))
			x.run(time.Now().Add(10 * time.Second))
			if n := x.got[1]; n < 9000 || n > 11020 {
				t.Errorf("%d bytes in 20 s", n)
			}
			g.Charge(50_000, 0)
			before := x.got[1]
			x.run(time.Now().Add(40 * time.Second))
			if n := x.got[1] - before; n > 1000 {
				t.Errorf("%d bytes in debt", n)
			}
		},
	})
}

// A pool keeps no branch of a loop that was closed, and gets its tokens back.
func TestRateGroupOfClosedLoops(t *testing.T) {
	first := dialLoop(t, "memory")
	g, err := first.RateGroup(RateLimit{ReadRate: 1000, ReadBurst: 1000, Tick: time.Second})
	must(t, err)
	var p *ratePool
	for range 20 {
		l := newLoop(first.conf, newFakePoller())
		b := g.on(l)
		p = g.pool.Load()
		l.lock()
		p.drawInto(b, dirRead)
		l.unlock()
		if n := b.dirs[dirRead].level; n != 1000 {
			t.Fatalf("a loop has got %d tokens; the pool has %+v", n, p.dirs[dirRead])
		}
		l.Close()
		p.mu.Lock()
		p.prune()
		p.mu.Unlock()
		p.used(b, dirRead, 1) // too late
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.prune()
	if d := p.dirs[dirRead]; len(p.branches) != 1 || d.level != 1000 || d.out != 0 {
		t.Errorf("there are %d branches, and %+v", len(p.branches), d)
	}
}

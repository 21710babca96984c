// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"fmt"
	"math"
	"math/rand/v2"
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
		a, b := l.Pipe(nil, nil)
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
		{1, 7, 3, time.Second / 3},
		{1, 1, 1, time.Minute / 61},
		{2, 100, 100, time.Second}, // more than the least that is given out, less than twice that
		{2, 10, 64, time.Second},
		{7, 127, 127, time.Second},
		{30, 63, 63, time.Second},
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
					slack = min(rateMinShare-1, c.burst-1)
				}
				for tick := range int64(time.Hour / c.tick) {
					k.until(time.Duration(tick)*c.tick + 1)
					come, _ := inflow(c.rate, tick*int64(c.tick), 0)
					if want := int(first + come); k.sum > want || k.sum < want-slack {
						t.Fatalf("at tick %d: %d bytes; want %d", tick, k.sum, want)
					}
				}
				least, most := math.MaxInt, 0
				for _, n := range k.got {
					least, most = min(least, n), max(most, n)
				}
				if most-least > 2*max(rateMinShare, c.burst) {
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
			if k.sum > 1000+3600*1000 || k.sum <= 3600*1000+1000-rateMinShare {
				t.Errorf("%d bytes", k.sum)
			}
		},
		"MoveTo": func(t *testing.T, l *Loop) {
			other := newLoop(l.conf, memoryMethod(t))
			defer other.Close()
			a, b := l.Pipe(nil, nil)
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

// A bucketModel is one direction of a rate limit as the documentation has it, for
// someone who always has something to move. Tokens are counted in billionths of a
// byte, and times are on the loop's clock.
type bucketModel struct {
	rate, burst int64
	tick, last  time.Duration // last: when the last tick began
	level       int64         // less than 0: debt
	used        int64
}

const byteTokens = int64(time.Second)

// fill adds what comes in that time, up to the burst.
func (m *bucketModel) fill(d time.Duration) {
	if m.level += m.rate * int64(d); m.level/byteTokens > m.burst {
		m.level = m.burst * byteTokens
	}
}

func (m *bucketModel) use() {
	if m.level > 0 {
		m.used += m.level / byteTokens
		m.level %= byteTokens
	}
}

// advance has all ticks up to now come.
func (m *bucketModel) advance(now time.Duration) {
	for m.last+m.tick <= now {
		m.last += m.tick
		m.fill(m.tick)
		m.use()
	}
}

// set changes the limit at now.
func (m *bucketModel) set(now time.Duration, rate, burst int, tick time.Duration) {
	m.advance(now)
	m.fill(now - m.last)
	m.rate, m.burst, m.tick, m.last = int64(rate), int64(burst), tick, now
	m.cut()
	m.use()
}

// cut lets go of what whole bytes there are more than the burst.
func (m *bucketModel) cut() {
	if m.level/byteTokens > m.burst {
		m.level = m.burst*byteTokens + m.level%byteTokens
	}
}

// charge takes n bytes, or gives them back.
func (m *bucketModel) charge(n int) {
	m.level -= int64(n) * byteTokens
	m.cut()
	m.use()
}

// TestWorldOfRates changes the limits of streams that carry something in both
// directions at random, for an hour, and counts every byte.
func TestWorldOfRates(t *testing.T) {
	tests := make(map[string]func(*testing.T, *Loop))
	for seed := range uint64(1) {
		for _, members := range []int{0, 1, 2, 9} { // 0: a limit of the stream's own
			tests[fmt.Sprintf("Members%dSeed%d", members, seed)] = func(t *testing.T, l *Loop) {
				testRateWorld(t, l, members, rand.New(rand.NewPCG(seed, 2)))
			}
		}
	}
	inBubble(t, Config{MaxInput: 1 << 20}, tests)
}

func testRateWorld(t *testing.T, l *Loop, members int, r *rand.Rand) {
	n := max(members, 1)
	k := newTaker(t, l, 2*n)
	// The second half of the pipes is laid the other way round, on the same streams.
	for i := range n {
		k.from[n+i].Abort()
		k.to[n+i].Abort()
		k.from[n+i], k.to[n+i] = k.to[i], k.from[i]
		k.from[n+i].SetWriteMarks(32<<10, 0)
		k.to[n+i].Data = n + i
	}
	limited := k.from[:n]
	var models [2]bucketModel // of what these read and write
	limit := func() RateLimit {
		tick := []time.Duration{time.Second / 7, time.Second / 3, time.Second, 7 * time.Second}[r.IntN(4)]
		var rates, bursts [2]int
		for dir := range rates {
			rates[dir] = 1 + r.IntN([]int{5, 300, 20000}[r.IntN(3)])
			least, _ := inflow(rates[dir], int64(tick), 0)
			bursts[dir] = max(int(least), 1) + r.IntN([]int{1, 10, 50000}[r.IntN(3)])
		}
		return RateLimit{ReadRate: rates[dirRead], ReadBurst: bursts[dirRead], WriteRate: rates[dirWrite], WriteBurst: bursts[dirWrite], Tick: tick}
	}
	lim := limit()
	var g *RateGroup
	set := func() (err error) {
		switch {
		case members == 0:
			return limited[0].SetRateLimit(&lim)
		case g != nil:
			return g.SetLimit(lim)
		}
		g, err = l.RateGroup(lim)
		for _, s := range limited {
			s.SetRateGroup(g)
		}
		return err
	}
	if err := set(); err != nil {
		t.Fatal(err)
	}
	for dir, d := range [][2]int{{lim.ReadRate, lim.ReadBurst}, {lim.WriteRate, lim.WriteBurst}} {
		m := &models[dir]
		m.rate, m.burst, m.tick = int64(d[0]), int64(d[1]), lim.Tick
		m.level = m.rate * int64(m.tick) / byteTokens * byteTokens
		m.use()
	}
	k.begin()
	lost := int64(0)
	check := func(now time.Duration) {
		k.until(now)
		for dir := range models {
			m := &models[dir]
			m.advance(now)
			sum := 0
			for i := range n {
				sum += k.got[(1-dir)*n+i]
			}
			slack := int64(0) // what a group keeps until it is worth giving out, and what it has lost of that
			if members > 1 {
				slack = min(rateMinShare, m.burst) - 1 + lost
			}
			if s := int64(sum); s > m.used || s < m.used-slack {
				t.Fatalf("%v: %d bytes in direction %d; want %d (%+v)", now, s, dir, m.used, lim)
			}
		}
	}
	for now := time.Duration(0); now < time.Hour; {
		if r.IntN(2) == 0 {
			now += time.Duration(r.Int64N(int64(2 * lim.Tick)))
		} else {
			now += time.Duration(r.Int64N(int64(10 * time.Second)))
		}
		if r.IntN(3) == 0 {
			now = models[0].last + ((now-models[0].last)/lim.Tick+1)*lim.Tick + time.Duration(r.IntN(3)-1) // just before a tick, at it, and after
		}
		check(now)
		switch r.IntN(20) {
		case 0:
			lim = limit()
			lost += rateMinShare - 1
			if err := set(); err != nil {
				t.Fatal(err)
			}
			models[dirRead].set(now, lim.ReadRate, lim.ReadBurst, lim.Tick)
			models[dirWrite].set(now, lim.WriteRate, lim.WriteBurst, lim.Tick)
		case 1:
			if g != nil {
				read, written := r.IntN(2*lim.ReadBurst), r.IntN(2*lim.WriteBurst)
				if r.IntN(3) == 0 {
					read, written = -r.IntN(20), -r.IntN(20)
					lost += rateMinShare - 1
				}
				g.Charge(read, written)
				models[dirRead].charge(read)
				models[dirWrite].charge(written)
			}
		}
		check(now)
	}
	t.Logf("%d bytes read, %d written, %d turns", models[dirRead].used, models[dirWrite].used, l.Stats().Turns)
	k.end()
	l.Poll(time.Minute)
	empty(t, l)
}

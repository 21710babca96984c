// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"io"
	"math"
	"math/big"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"
)

func TestRateLimitChecked(t *testing.T) {
	ok := RateLimit{ReadRate: 1000, ReadBurst: 1000, WriteRate: 1000, WriteBurst: 1000, Tick: time.Second}
	with := func(change func(*RateLimit)) RateLimit {
		r := ok
		change(&r)
		return r
	}
	for _, tt := range []struct {
		name  string
		limit RateLimit
		ok    bool
	}{
		{"as it should be", ok, true},
		{"no tick: 100 ms", RateLimit{ReadRate: 1000, ReadBurst: 100}, true},
		{"no tick, burst of less than 100 ms", RateLimit{ReadRate: 1000, ReadBurst: 99}, false},
		{"shortest tick", with(func(r *RateLimit) { r.Tick = time.Millisecond }), true},
		{"too short a tick", with(func(r *RateLimit) { r.Tick = time.Millisecond - 1 }), false},
		{"negative tick", with(func(r *RateLimit) { r.Tick = -1 }), false},
		{"longest tick", RateLimit{ReadRate: 1, ReadBurst: math.MaxInt32, Tick: math.MaxInt32 / 1000 * time.Second}, true},
		{"too long a tick", RateLimit{ReadRate: 1, ReadBurst: math.MaxInt32, Tick: math.MaxInt32/1000*time.Second + 1}, false},
		{"rate above burst", with(func(r *RateLimit) { r.ReadRate = 1001 }), false},
		{"write rate above burst", with(func(r *RateLimit) { r.WriteBurst = 999 }), false},
		{"a burst of half a second", with(func(r *RateLimit) { r.ReadBurst, r.Tick = 500, time.Second/2 }), true},
		{"no rate", with(func(r *RateLimit) { r.ReadRate = 0 }), false},
		{"negative rate", with(func(r *RateLimit) { r.WriteRate = -1 }), false},
		{"no burst", with(func(r *RateLimit) { r.ReadBurst = 0 }), false},
		{"rate of less than a byte a tick, no burst", RateLimit{ReadRate: 1, Tick: time.Millisecond}, false},
		{"one direction", RateLimit{WriteRate: 10, WriteBurst: 10, Tick: time.Second}, true},
		{"nothing", RateLimit{Tick: time.Second}, false},
		{"huge", RateLimit{ReadRate: math.MaxInt, ReadBurst: math.MaxInt, Tick: time.Second}, true},
	} {
		l := dialLoop(t, "")
		s, peer := l.Pipe(nil, nil)
		given := tt.limit
		_, err := l.RateGroup(tt.limit)
		serr := s.SetRateLimit(&tt.limit)
		if tt.limit != given {
			t.Errorf("%s: SetRateLimit has changed the caller's limit: %v", tt.name, tt.limit)
		}
		if (err == nil) != tt.ok || (serr == nil) != tt.ok {
			t.Errorf("%s: group: %v, stream: %v", tt.name, err, serr)
		}
		if g, _ := l.RateGroup(ok); g.SetLimit(tt.limit) == nil != tt.ok || g.Limit() == ok != (!tt.ok || tt.limit == ok) {
			t.Errorf("%s: SetLimit has done otherwise: %v", tt.name, g.Limit())
		}
		peer.Close()
		l.Close()
	}
}

// limited is a number of pipes through which as much is sent as they take. It is
// measured how much each of them has got.
type limited struct {
	loop     *Loop
	from, to []*Stream
	got      []int
}

func newLimited(l *Loop, n int) *limited {
	m := &limited{loop: l, got: make([]int, n)}
	for range n {
		a, b := l.Pipe(nil, nil)
		m.from, m.to = append(m.from, a), append(m.to, b)
		b.Data = len(m.to) - 1
	}
	return m
}

// run goes on for d, as if all had more to send than can be.
func (m *limited) run(t *testing.T, d time.Duration) {
	t.Helper()
	fill := func(s *Stream) {
		for s.Queued() < 64<<10 {
			if _, err := s.Write(make([]byte, 8<<10)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, s := range m.from {
		s.SetWriteMarks(32<<10, 0)
		fill(s)
	}
	for until := time.Now().Add(d); ; {
		ev, ok := m.loop.Poll(time.Until(until))
		if !ok || !time.Now().Before(until) {
			return
		}
		switch ev := ev.(type) {
		case Readable:
			m.got[ev.Stream.Data.(int)] += ev.Stream.Input().Discard(math.MaxInt)
		case Drained:
			fill(ev.Stream)
		default:
			t.Fatalf("unexpected %v", ev)
		}
	}
}

// check makes sure that each has got about want bytes, and all together as
// many times that.
func (m *limited) check(t *testing.T, want, spread, total int) {
	t.Helper()
	sum, least, most := 0, math.MaxInt, 0
	for _, n := range m.got {
		sum, least, most = sum+n, min(least, n), max(most, n)
	}
	if most-least > spread || least < want-spread || most > want+spread {
		t.Errorf("%d to %d bytes each, want %d, with a spread of %d", least, most, want, spread)
	}
	if all := want * len(m.got); sum < all-total || sum > all+total {
		t.Errorf("%d bytes, want %d and no more than %d more or less", sum, all, total)
	}
}

func TestRateLimit(t *testing.T) {
	inBubble(t, Config{MaxInput: 1 << 20}, map[string]func(*testing.T, *Loop){
		"Group": func(t *testing.T, l *Loop) {
			for _, read := range []bool{true, false} {
				m := newLimited(l, 30)
				limit := RateLimit{WriteRate: 30000, WriteBurst: 12000, Tick: 100 * time.Millisecond}
				members := m.from
				if read {
					limit = RateLimit{ReadRate: 30000, ReadBurst: 12000, Tick: 100 * time.Millisecond}
					members = m.to
				}
				g, err := l.RateGroup(limit)
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range members {
					if err := s.SetRateGroup(g); err != nil {
						t.Fatal(err)
					}
				}
				m.run(t, 10*time.Second)
				m.check(t, 10000, 100, 3000) // the first tick is there at once, the last is not used
				for i := range m.from {
					m.from[i].Abort()
					m.to[i].Abort()
				}
			}
		},
		"Stream": func(t *testing.T, l *Loop) {
			m := newLimited(l, 10)
			for _, s := range m.from {
				if err := s.SetRateLimit(&RateLimit{WriteRate: 1000, WriteBurst: 1000, Tick: 100 * time.Millisecond}); err != nil {
					t.Fatal(err)
				}
			}
			m.run(t, 10*time.Second)
			m.check(t, 10000, 0, 0)
		},
		"Both": func(t *testing.T, l *Loop) {
			// 30 streams with 1000 a second each would need 30,000 of a group
			// that has 20,000, of which 5,000 go elsewhere.
			m := newLimited(l, 30)
			g, _ := l.RateGroup(RateLimit{ReadRate: 20000, ReadBurst: 8000, Tick: 100 * time.Millisecond})
			for i, s := range m.to {
				s.SetRateGroup(g)
				rate := 1000
				if i == 0 {
					rate = 100 // its share goes to the others
				}
				s.SetRateLimit(&RateLimit{ReadRate: rate, ReadBurst: 4 * rate, Tick: 100 * time.Millisecond})
			}
			for range 100 {
				g.Charge(500, 0)
				m.run(t, 100*time.Millisecond)
			}
			if n := m.got[0]; n < 900 || n > 1000 {
				t.Errorf("the slow one has got %d bytes, want 1000", n)
			}
			m.got = m.got[1:]
			m.check(t, 149000/29, 200, 3000)
		},
		"Lone": func(t *testing.T, l *Loop) {
			// Who is alone in wanting something gets it all.
			m := newLimited(l, 30)
			g, _ := l.RateGroup(RateLimit{ReadRate: 30000, ReadBurst: 3000, Tick: 100 * time.Millisecond})
			for _, s := range m.to {
				s.SetRateGroup(g)
			}
			m.from, m.got = m.from[:1], m.got[:1]
			m.run(t, 10*time.Second)
			m.check(t, 300000, 3000, 3000)
		},
		"Exact": func(t *testing.T, l *Loop) {
			// A third of a byte a tick.
			m := newLimited(l, 1)
			m.from[0].SetRateLimit(&RateLimit{WriteRate: 1, WriteBurst: 1, Tick: time.Second / 3})
			m.run(t, time.Hour)
			if n := m.got[0]; n < 3598 || n > 3600 {
				t.Errorf("%d bytes in an hour, want 3600", n)
			}
		},
		"Burst": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			b.SetRateLimit(&RateLimit{ReadRate: 10, ReadBurst: 500, Tick: time.Second})
			l.Poll(time.Minute)
			a.Write(make([]byte, 1000))
			total := 0
			for _, want := range []int{500, 510, 520} {
				if ev, _ := l.Poll(time.Hour); ev != Event(Readable{b}) {
					t.Fatalf("unexpected %v", ev)
				}
				if total += b.Input().Discard(1000); total != want {
					t.Fatalf("%d bytes, want %d", total, want)
				}
			}
		},
		"NoBusyWaiting": func(t *testing.T, l *Loop) {
			m := newLimited(l, 5)
			g, _ := l.RateGroup(RateLimit{ReadRate: 5000, ReadBurst: 5000, WriteRate: 5000, WriteBurst: 5000, Tick: time.Second})
			for i := range m.from {
				m.from[i].SetRateGroup(g)
				m.to[i].SetRateGroup(g)
			}
			before := l.Stats().Turns
			m.run(t, time.Minute)
			if n := l.Stats().Turns - before; n > 60*50 {
				t.Errorf("%d turns in 60 ticks", n)
			}
			for i := range m.from {
				m.from[i].Pause(Write)
				m.to[i].Pause(Read)
			}
			l.Poll(10 * time.Second)
			before = l.Stats().Turns
			l.Poll(time.Hour)
			if n := l.Stats().Turns - before; n > 2 {
				t.Errorf("%d turns with nothing to do", n)
			}
		},
		"NotIdle": func(t *testing.T, l *Loop) {
			// A direction that waits for its rate does not time out.
			a, b := l.Pipe(nil, nil)
			a.SetRateLimit(&RateLimit{WriteRate: 1, WriteBurst: 60, Tick: time.Minute})
			b.SetRateLimit(&RateLimit{ReadRate: 1, ReadBurst: 60, Tick: time.Minute})
			a.SetIdleTimeouts(0, 10*time.Second)
			b.SetIdleTimeouts(10*time.Second, 0)
			a.Write(make([]byte, 200))
			total := 0
			for total < 200 {
				ev, ok := l.Poll(time.Hour)
				if ok && ev == Event(Readable{b}) {
					total += b.Input().Discard(1000)
				} else if ev == Event(TimedOut{b}) && total%60 == 0 && b.TimedOut() == Read {
					b.Resume(Read) // a tick of the writer's is later than the reader's
				} else if ev != Event(Drained{a}) {
					t.Fatalf("unexpected %v, %v after %d bytes", ev, ok, total)
				}
			}
			if a.TimedOut() != 0 {
				t.Errorf("timed out: %v", a.TimedOut())
			}
		},
		"Lifted": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			limit := RateLimit{ReadRate: 1, ReadBurst: 10, WriteRate: 1, WriteBurst: 10, Tick: 10 * time.Second}
			g, _ := l.RateGroup(limit)
			a.SetRateLimit(&limit)
			b.SetRateGroup(g)
			a.Write(make([]byte, 1000))
			for b.in.held.Load() < 10 {
				l.Poll(time.Second)
			}
			a.SetRateLimit(nil)
			b.SetRateGroup(nil)
			for range 5 {
				l.Poll(0)
			}
			if n := b.Input().Len(); n != 1000 || a.Queued() != 0 {
				t.Errorf("%d bytes have arrived, %d are queued", n, a.Queued())
			}
		},
		"Changed": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			g, _ := l.RateGroup(RateLimit{ReadRate: 1, ReadBurst: 100, Tick: 100 * time.Second})
			b.SetRateGroup(g)
			a.Write(make([]byte, 1000))
			l.Poll(time.Second)
			g.SetLimit(RateLimit{ReadRate: 1000, ReadBurst: 1000, Tick: time.Second})
			l.Poll(time.Second + time.Millisecond)
			l.Poll(time.Second + time.Millisecond)
			if n := b.Input().Len(); n != 1000 {
				t.Errorf("%d bytes have arrived", n)
			}
			g.Charge(10000, 0)
			a.Write(make([]byte, 1))
			if ev, ok := l.Poll(8 * time.Second); ok {
				t.Errorf("%v although the group is in debt", ev)
			}
			g.Charge(-10000, 0)
			if ev, ok := l.Poll(time.Second); !ok {
				t.Errorf("unexpected %v, %v", ev, ok)
			}
		},
		"DirectionLifted": func(t *testing.T, l *Loop) {
			// Whoever waits goes on when a direction is not limited any more.
			for _, members := range []int{1, 2} {
				g, _ := l.RateGroup(RateLimit{ReadRate: 1, ReadBurst: 100, Tick: 100 * time.Second})
				a, b := l.Pipe(nil, nil)
				b.SetRateGroup(g)
				if members > 1 {
					_, other := l.Pipe(nil, nil)
					other.SetRateGroup(g)
				}
				a.Write(make([]byte, 1000))
				l.Poll(time.Second)
				g.Charge(5000, 0)
				g.SetLimit(RateLimit{WriteRate: 1, WriteBurst: 100, Tick: 100 * time.Second})
				for range 5 {
					l.Poll(0)
				}
				if n := b.Input().Len(); n != 1000 {
					t.Errorf("%d members: %d bytes have arrived", members, n)
				}
			}
		},
		"Saturates": func(t *testing.T, l *Loop) {
			// Huge numbers do not turn into their opposite.
			g, _ := l.RateGroup(RateLimit{ReadRate: 1, ReadBurst: math.MaxInt, Tick: time.Second})
			a, b := l.Pipe(nil, nil)
			b.SetRateGroup(g)
			a.Write(make([]byte, 1000))
			for range 3 {
				g.Charge(math.MaxInt, 0)
			}
			if ev, ok := l.Poll(time.Minute); ok {
				t.Errorf("%v although the group is in debt", ev)
			}
			for range 4 { // where an int has 32 bits, more than was charged
				g.Charge(math.MinInt, 0)
			}
			if ev, ok := l.Poll(time.Second); !ok {
				t.Errorf("unexpected %v, %v", ev, ok)
			}
			if n := b.Input().Len(); n != 1000 {
				t.Errorf("%d bytes have arrived", n)
			}
		},
		"Closing": func(t *testing.T, l *Loop) {
			// What was written is sent before the end, at the rate.
			a, b := l.Pipe(nil, nil)
			a.SetRateLimit(&RateLimit{WriteRate: 100, WriteBurst: 100, Tick: time.Second})
			a.Write(make([]byte, 300))
			start := time.Now()
			a.Close()
			n := 0
			for {
				ev, _ := l.Poll(-1)
				if ev == Event(EOF{b}) {
					break
				}
				n += b.Input().Discard(1000)
			}
			if d := time.Since(start); n != 300 || d < 2*time.Second || d > 3*time.Second {
				t.Errorf("%d bytes after %v", n, d)
			}
			b.Close()
			waitReleased(t, l)
		},
		"AfterEnd": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			a.Abort()
			b.Abort()
			if err := a.SetRateLimit(&RateLimit{ReadRate: 1, ReadBurst: 1, Tick: time.Second}); !errors.Is(err, net.ErrClosed) {
				t.Errorf("after the end: %v", err)
			}
		},
	})
}

// Over sockets, on each method, a limited stream gets all, and makes no more
// turns than there are ticks and messages.
func TestRateLimitOverSockets(t *testing.T) {
	t.Parallel()
	onMethods(t, Config{MaxInput: 1 << 20}, map[string]func(*testing.T, *Loop){
		"Read": func(t *testing.T, l *Loop) {
			s, c := connectedPair(t, l)
			s.SetRateLimit(&RateLimit{ReadRate: 1 << 20, ReadBurst: 1 << 20, Tick: 5 * time.Millisecond})
			const total = 200 << 10
			go func() {
				c.Write(make([]byte, total))
				c.CloseWrite()
			}()
			n, messages := 0, uint64(0)
			for ev := range l.All() {
				messages++
				if ev == Event(EOF{s}) {
					break
				}
				n += s.Input().Discard(math.MaxInt)
			}
			if n != total {
				t.Errorf("%d bytes, want %d", n, total)
			}
			if turns := l.Stats().Turns; turns > 8*messages+100 {
				t.Errorf("%d turns for %d messages", turns, messages)
			}
		},
		"Write": func(t *testing.T, l *Loop) {
			s, c := connectedPair(t, l)
			g, _ := l.RateGroup(RateLimit{WriteRate: 1 << 20, WriteBurst: 1 << 20, Tick: 5 * time.Millisecond})
			s.SetRateGroup(g)
			const total = 200 << 10
			got := drain(c)
			s.Write(make([]byte, total/2))
			s.Write(make([]byte, total/2))
			if s.Queued() == 0 {
				t.Error("all was sent at once")
			}
			if ev, _ := l.Poll(10 * time.Second); ev != Event(Drained{s}) {
				t.Errorf("unexpected %v", ev)
			}
			s.Close()
			if n := <-got; n != total {
				t.Errorf("%d bytes, want %d", n, total)
			}
			c.Close()
		},
		"ResetSeen": func(t *testing.T, l *Loop) {
			s, c := connectedPair(t, l)
			s.SetRateLimit(&RateLimit{ReadRate: 1, ReadBurst: 10000, Tick: 1000 * time.Second})
			s.quota(dirRead, 1) // all that there is
			send(t, c, "something")
			l.Poll(10 * time.Millisecond)
			c.SetLinger(0)
			c.Close()
			for {
				ev, ok := l.Poll(10 * time.Second)
				if !ok {
					t.Fatal("the reset was not seen")
				}
				if ev == Event(Closed{s}) {
					return
				}
			}
		},
		"Proxy": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			c, d := l.Pipe(nil, nil)
			b.SetRateLimit(&RateLimit{ReadRate: 1 << 20, ReadBurst: 1 << 20, Tick: 2 * time.Millisecond})
			c.SetRateLimit(&RateLimit{WriteRate: 1 << 20, WriteBurst: 1 << 20, Tick: 3 * time.Millisecond})
			want := pattern(100 << 10)
			a.Write(want)
			a.CloseWrite()
			for ev := range l.All() {
				switch ev {
				case Readable{b}:
					if _, err := io.Copy(c, b); err != nil && err != ErrFull {
						t.Fatal(err)
					}
				case EOF{b}:
					c.CloseWrite()
				case EOF{d}:
					if got := d.Input(); got.Len() != len(want) {
						t.Errorf("%d bytes, want %d", got.Len(), len(want))
					}
					return
				}
			}
		},
	})
}

// TestRateQueue joins, leaves and deals in many orders, and compares the queues with
// slices. Leaving a queue touches the neighbours only, so closing all n members of a
// group costs n steps.
func TestRateQueue(t *testing.T) {
	for dir := range 2 {
		r := rand.New(rand.NewPCG(1, uint64(dir)))
		var queues [2]shareQueue
		var want [2][]*share
		for range 10000 {
			i := r.IntN(2)
			switch q := &queues[i]; r.IntN(8) {
			case 0:
				q.splice(&queues[1-i], dir)
				want[i] = append(want[i], want[1-i]...)
				want[1-i] = nil
			case 1, 2, 3:
				if len(want[i]) > 0 {
					k := r.IntN(len(want[i]))
					q.remove(want[i][k], dir)
					want[i] = slices.Delete(want[i], k, k+1)
				}
			default:
				m := new(share)
				q.push(m, dir)
				want[i] = append(want[i], m)
			}
			for i, q := range queues {
				var forth, back []*share
				for m := q.head; m != nil; m = m.next[dir] {
					forth = append(forth, m)
				}
				for m := q.tail; m != nil; m = m.prev[dir] {
					back = append(back, m)
				}
				slices.Reverse(back)
				if !slices.Equal(forth, want[i]) || !slices.Equal(back, want[i]) {
					t.Fatalf("queue %d has %d members forwards and %d backwards, want %d", i, len(forth), len(back), len(want[i]))
				}
			}
		}
	}
}

// A bucket holds what the greatest rates bring, also where an int has 32 bits.
func TestRateExtremes(t *testing.T) {
	for _, rate := range []int{math.MaxInt32, math.MaxInt} {
		limit := RateLimit{ReadRate: rate, ReadBurst: rate, Tick: time.Second}
		l := dialLoop(t, "")
		g, err := l.RateGroup(limit)
		if err != nil {
			t.Fatal(err)
		}
		s, _ := l.Pipe(nil, nil)
		if err := s.SetRateGroup(g); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		n := s.quota(dirRead, math.MaxInt)
		s.moved(dirRead, n)
		s.mu.Unlock()
		if n < math.MaxInt32 {
			t.Errorf("%d a second: %d bytes may be read in the first", rate, n)
		}
		for _, n := range []int{math.MinInt, math.MaxInt, math.MaxInt, math.MinInt} {
			g.Charge(n, n)
		}
		b := &g.dirs[dirRead]
		if b.level < 0 || b.level+b.granted > b.burst {
			t.Errorf("%d a second: %+v", rate, b)
		}
	}
}

// FuzzRateLimit compares what a bucket is filled with, and which limits make sense,
// with sums of numbers of any size. Each pair of ops says how much time passes, and
// how much is taken then.
func FuzzRateLimit(f *testing.F) {
	f.Add(1000, 1000, int64(time.Second), []byte{1, 10, 2, 200})
	f.Add(1, 1, int64(rateMinTick), []byte("a byte a second, by milliseconds"))
	f.Add(math.MaxInt, math.MaxInt, int64(rateMaxTick), []byte{255, 255, 0, 0, 63, 1})
	f.Add(333, 70, int64(200*time.Millisecond), []byte{5, 3, 5, 3, 5, 3, 100, 255})
	f.Add(0, 0, int64(0), []byte(nil))
	f.Fuzz(func(t *testing.T, rate, burst int, tick int64, ops []byte) {
		limit := RateLimit{ReadRate: rate, ReadBurst: burst, Tick: time.Duration(tick)}
		second := big.NewInt(int64(time.Second))
		brings := func(ns int64, rest *big.Int) (n, left *big.Int) {
			n = new(big.Int).Mul(big.NewInt(int64(rate)), big.NewInt(ns))
			return new(big.Int).DivMod(n.Add(n, rest), second, new(big.Int))
		}
		if tick == 0 {
			tick = int64(rateDefaultTick)
		}
		each, _ := brings(tick, new(big.Int))
		ok := tick >= int64(rateMinTick) && tick <= int64(rateMaxTick) && rate >= 1 && burst >= 1 && each.Cmp(big.NewInt(int64(burst))) <= 0
		// Of what is more than an int holds, check says that it is as much as an int holds.
		if err := limit.check(); (err == nil) != ok && !(burst == math.MaxInt && err == nil) {
			t.Fatalf("%+v: %v", limit, err)
		} else if err != nil {
			return
		}

		g := new(RateGroup)
		g.set(limit)
		b := &g.dirs[dirRead]
		most := big.NewInt(b.burst)
		level, rest := new(big.Int), new(big.Int)
		var now, ticks int64
		for steps := 0; len(ops) >= 2 && steps < 300; steps++ {
			// From a nanosecond to years.
			step := int64(1+ops[0]&15) << (ops[0] >> 4 * 3)
			if now > math.MaxInt64-step {
				break
			}
			now += step
			g.refill(now)
			if k := now/tick - ticks; k > 0 {
				ticks += k
				n, left := brings(k*tick, rest)
				if level.Add(level, n).Cmp(most) > 0 {
					level.Set(most)
					left.SetInt64(0)
				}
				rest = left
			}
			if big.NewInt(b.level).Cmp(level) != 0 || new(big.Int).SetUint64(b.rest).Cmp(rest) != 0 {
				t.Fatalf("%+v: after %d ns: %d and %d billionths; want %v and %v", limit, now, b.level, b.rest, level, rest)
			}
			take := int64(float64(ops[1]) / 255 * float64(b.level) / 2)
			if ops[1] == 255 {
				take = b.level
			}
			b.level -= take
			level.Sub(level, big.NewInt(take))
			ops = ops[2:]
		}
	})
}

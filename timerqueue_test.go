// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unsafe"
)

// A testTimer is a timer with a name.
type testTimer struct {
	timerNode
	name int
}

func (t *testTimer) expired(int64) {}

func newTestTimer(name int) *testTimer {
	t := &testTimer{name: name}
	t.owner = t
	return t
}

// check fails the test unless q is sound.
func (q *timerQueue) check(t testing.TB) {
	t.Helper()
	n := len(q.heap)
	for i, e := range q.heap {
		if e.node.at != int32(i)+1 || e.node.prev != nil || e.node.next != nil {
			t.Fatalf("heap[%d] holds %+v", i, e.node)
		}
		if i > 0 && e.before(&q.heap[(i-1)/4]) {
			t.Fatalf("heap[%d] %+v is before its parent %+v", i, e, q.heap[(i-1)/4])
		}
		if e.when != e.node.when || e.seq != e.node.seq {
			t.Fatalf("heap[%d] %+v differs from its node %+v", i, e, e.node)
		}
	}
	for i, e := range q.heap[:cap(q.heap)][len(q.heap):] {
		if e.node != nil {
			t.Fatalf("the heap's free place %d holds a node", i)
		}
	}
	first := int64(math.MaxInt64)
	for i, l := range q.levels {
		if l == nil {
			continue
		}
		for j, s := range l.slots {
			if used := l.used>>j&1 != 0; used != (s.head != nil) {
				t.Fatalf("slot %d,%d: used is %v, its first is %+v", i, j, used, s.head)
			}
			var prev *timerNode
			for e := s.head; e != nil; prev, e = e, e.next {
				n++
				if e.prev != prev || e.at != -1-int32(timerSlots*i+j) {
					t.Fatalf("slot %d,%d: bad links at %+v", i, j, e)
				}
				if e.when <= q.cascaded || e.when < s.when || s.when <= q.cascaded {
					t.Fatalf("slot %d,%d for %d holds one due at %d; cascaded at %d", i, j, s.when, e.when, q.cascaded)
				}
			}
			if s.head != nil {
				first = min(first, s.when)
			}
		}
	}
	if q.firstKnown && q.first != first {
		t.Fatalf("the first slot is due at %d, the queue says %d", first, q.first)
	}
	if n != q.n {
		t.Fatalf("%d timers in the queue, it says %d", n, q.n)
	}
	for range q.all() {
		n--
	}
	if n != 0 {
		t.Fatalf("all is off by %d", -n)
	}
}

// A timerModel is a timerQueue that is obviously right.
type timerModel struct {
	running []modelTimer // sorted by when, seq
	started uint64
}

type modelTimer struct {
	when int64
	seq  uint64
	name int
}

func (m *timerModel) startAt(name int, when int64) {
	m.stop(name)
	m.running = append(m.running, modelTimer{when, m.started, name})
	m.started++
	slices.SortFunc(m.running, func(a, b modelTimer) int {
		return cmp.Or(cmp.Compare(a.when, b.when), cmp.Compare(a.seq, b.seq))
	})
}

func (m *timerModel) stop(name int) bool {
	n := len(m.running)
	m.running = slices.DeleteFunc(m.running, func(t modelTimer) bool { return t.name == name })
	return len(m.running) < n
}

// expire returns the name of the timer, or -1.
func (m *timerModel) expire(now int64, upto uint64) int {
	for i, t := range m.running {
		if t.when <= now && t.seq < upto {
			m.running = slices.Delete(m.running, i, i+1)
			return t.name
		}
	}
	return -1
}

// A timerPair does everything twice, on a queue and on the model, and compares.
type timerPair struct {
	t      testing.TB
	q      timerQueue
	m      timerModel
	timers []*testTimer
	now    int64
	was    map[int64]bool // deadlines that have not been reached by an expire
}

func newTimerPair(t testing.TB, timers int) *timerPair {
	p := &timerPair{t: t, was: make(map[int64]bool)}
	for i := range timers {
		p.timers = append(p.timers, newTestTimer(i))
	}
	return p
}

func (p *timerPair) start(name int, d time.Duration) {
	p.q.start(&p.timers[name].timerNode, p.now, d)
	when := p.now + max(int64(d), 0)
	if when < p.now {
		when = math.MaxInt64
	}
	p.m.startAt(name, when)
	p.was[when] = true
	p.compare()
}

func (p *timerPair) startAt(name int, when int64) {
	p.q.startAt(&p.timers[name].timerNode, when)
	p.m.startAt(name, when)
	p.was[when] = true
	p.compare()
}

func (p *timerPair) stop(name int) {
	p.t.Helper()
	if got, want := p.q.stop(&p.timers[name].timerNode), p.m.stop(name); got != want {
		p.t.Fatalf("stop(%d) = %v, want %v", name, got, want)
	}
	p.compare()
}

// expire returns the name of the timer that expired, or -1.
func (p *timerPair) expire(upto uint64) int {
	p.t.Helper()
	want := p.m.expire(p.now, upto)
	got := -1
	if n := p.q.expire(p.now, upto); n != nil {
		got = n.owner.(*testTimer).name
		if n.running() {
			p.t.Fatal("an expired timer is running")
		}
	}
	if got != want {
		p.t.Fatalf("expire(%d, %d) = %d, want %d", p.now, upto, got, want)
	}
	maps.DeleteFunc(p.was, func(when int64, _ bool) bool { return when <= p.now })
	p.compare()
	return got
}

func (p *timerPair) compare() {
	p.t.Helper()
	p.q.check(p.t)
	if p.q.len() != len(p.m.running) || p.q.seq() != p.m.started {
		p.t.Fatalf("len %d, seq %d, want %d and %d", p.q.len(), p.q.seq(), len(p.m.running), p.m.started)
	}
	if when, ok := p.q.next(); ok != (len(p.m.running) > 0) || ok && when > p.m.running[0].when {
		p.t.Fatalf("next() = %d, %v; want the first of %+v", when, ok, p.m.running)
	} else if ok && when < p.m.running[0].when && !p.was[when] {
		p.t.Fatalf("next() = %d, which was never a deadline since it was last reached", when)
	}
	p.q.check(p.t)
	for _, m := range p.m.running {
		if n := p.timers[m.name]; !n.running() || n.when != m.when {
			p.t.Fatalf("timer %d is at %d (running: %v), want %d", m.name, n.when, n.running(), m.when)
		}
	}
}

// drain expires all that is due, and returns the names in order.
func (p *timerPair) drain(upto uint64) (names []int) {
	p.t.Helper()
	for {
		name := p.expire(upto)
		if name < 0 {
			return names
		}
		names = append(names, name)
	}
}

func TestTimerQueueOrder(t *testing.T) {
	const all = math.MaxUint64
	for _, test := range []struct {
		name string
		do   func(p *timerPair) []int
		want []int
	}{
		{"empty", func(p *timerPair) []int { return p.drain(all) }, nil},
		{"by deadline", func(p *timerPair) []int {
			p.start(0, 30)
			p.start(1, 10)
			p.start(2, 20)
			p.now = 30
			return p.drain(all)
		}, []int{1, 2, 0}},
		{"not before its time", func(p *timerPair) []int {
			p.start(0, 10)
			p.now = 9
			return p.drain(all)
		}, nil},
		{"equal deadlines in start order", func(p *timerPair) []int {
			for i := range 3 {
				p.start(i, 10)
			}
			p.startAt(3, 10)
			p.start(4, 10)
			p.now = 4
			p.start(5, 6)
			p.start(6, 6)
			p.startAt(7, 10)
			p.now = 10
			return p.drain(all)
		}, []int{0, 1, 2, 3, 4, 5, 6, 7}},
		{"a restart goes behind its equals", func(p *timerPair) []int {
			for i := range 4 {
				p.start(i, 10)
			}
			p.start(1, 10)
			p.start(0, 10)
			p.now = 10
			return p.drain(all)
		}, []int{2, 3, 1, 0}},
		{"the last start wins", func(p *timerPair) []int {
			for i := range 3 {
				p.start(i, 10)
				p.start(i, 20)
			}
			p.start(0, 5)
			p.startAt(1, 7)
			p.start(2, 10)
			p.now = 10
			return p.drain(all)
		}, []int{0, 1, 2}},
		{"negative is now", func(p *timerPair) []int {
			p.now = 100
			p.start(0, -1)
			p.start(1, 0)
			p.start(2, math.MinInt64)
			return p.drain(all)
		}, []int{0, 1, 2}},
		{"overflow is the end of time", func(p *timerPair) []int {
			p.now = math.MaxInt64 - 10
			for i := range 3 {
				p.start(i, 10+time.Duration(i))
				p.start(3+i, math.MaxInt64)
			}
			p.drain(all)
			p.now = math.MaxInt64
			return p.drain(all)
		}, []int{0, 3, 1, 4, 2, 5}},
		{"started too late for the turn", func(p *timerPair) []int {
			p.now = 10
			p.start(0, 0)
			p.start(1, 0)
			upto := p.q.seq()
			p.start(2, 0)
			p.start(1, 0)
			return p.drain(upto)
		}, []int{0}},
		{"started too late but before others", func(p *timerPair) []int {
			for i := range 8 {
				p.start(i, time.Duration(i%2))
			}
			upto := p.q.seq()
			p.startAt(8, -5)
			p.startAt(9, -4)
			p.now = 10
			return p.drain(upto)
		}, []int{0, 2, 4, 6, 1, 3, 5, 7}},
		{"a clock that goes backwards", func(p *timerPair) []int {
			for i := range 9 {
				p.now = int64(9 - i)
				p.start(i, 10)
			}
			p.now = 100
			return p.drain(all)
		}, []int{8, 7, 6, 5, 4, 3, 2, 1, 0}},
		{"equal deadlines from several levels", func(p *timerPair) []int {
			const when = 1 << 40
			for i := range 9 {
				p.now = when - 1<<(40-4*i)
				p.drain(all)
				p.start(i, time.Duration(when-p.now))
			}
			p.start(4, time.Duration(when-p.now))
			p.now = when - 1
			p.drain(all)
			p.now = when
			return p.drain(all)
		}, []int{0, 1, 2, 3, 5, 6, 7, 8, 4}},
		{"a turn that comes very late", func(p *timerPair) []int {
			for i := range 10 {
				p.start(i, 1<<(60-6*i))
			}
			p.now = math.MaxInt64
			return p.drain(all)
		}, []int{9, 8, 7, 6, 5, 4, 3, 2, 1, 0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newTimerPair(t, 10)
			if got := test.do(p); !slices.Equal(got, test.want) {
				t.Errorf("expired %v, want %v", got, test.want)
			}
		})
	}
}

func TestTimerQueueStop(t *testing.T) {
	p := newTimerPair(t, 4)
	p.stop(0) // never started
	for i := range p.timers {
		p.start(i, 10)
	}
	p.stop(0)
	p.stop(0)
	p.stop(2)
	p.now = 10
	if got := p.drain(math.MaxUint64); !slices.Equal(got, []int{1, 3}) {
		t.Errorf("expired %v, want 1 and 3", got)
	}
	p.stop(3) // expired
}

// What the queue leads to when a timer is stopped, and how often it has its user
// look for nothing.
func TestTimerQueueSlots(t *testing.T) {
	var q timerQueue
	timers := make([]timerNode, 1000)
	r := rand.New(rand.NewPCG(13, 0))
	for i := range timers {
		q.start(&timers[i], 0, time.Duration(i)*time.Second+time.Duration(r.IntN(1e9)))
	}
	if len(q.heap) > 1 {
		t.Errorf("%d of the timers, all of seconds, are in the heap", len(q.heap))
	}
	// One by one the first is stopped, before it is due. At most one look at each.
	looks := 0
	for i := range timers {
		when := timers[i].when
		if when > 0 {
			q.expire(when-1, q.seq())
		}
		if !q.stop(&timers[i]) {
			t.Fatalf("timer %d is not running", i)
		}
		if timers[i].prev != nil || timers[i].next != nil {
			t.Fatal("a stopped timer leads to others")
		}
		q.check(t)
		if next, ok := q.next(); ok && next < timers[i+1].when {
			looks++
			if n := q.expire(next, q.seq()); n != nil {
				t.Fatalf("%+v expired", n)
			}
			if again, _ := q.next(); again != timers[i+1].when {
				t.Fatalf("next is %d, then %d; want %d", next, again, timers[i+1].when)
			}
		}
	}
	if _, ok := q.next(); ok || looks > len(timers) {
		t.Errorf("%d looks, and there is a next: %v", looks, ok)
	}
	// The only one of its slot leaves nothing behind.
	q.start(&timers[0], 0, 2*time.Hour)
	q.start(&timers[1], 0, 3000*time.Hour)
	q.stop(&timers[0])
	if when, ok := q.next(); !ok || when != timers[1].when {
		t.Errorf("next is %d; want %d", when, timers[1].when)
	}
}

// A timer is moved a few times at most, however long it runs and whatever else is in
// its slots.
func TestTimerQueueDeals(t *testing.T) {
	for size := range 63 {
		for _, d := range []int64{1 << size, 1<<size | 1<<size>>1, 1<<size*2 - 1} {
			var q timerQueue
			var n timerNode
			q.startAt(&n, d)
			moves := 0
			for n.at < 0 {
				// As if another timer had been due as soon as one in its slot can be.
				slot := -1 - n.at
				width := int64(1) << (timerShift + timerGrowth*(slot/timerSlots))
				now := max(d&^(width-1), q.cascaded+1)
				q.levels[slot/timerSlots].slots[slot%timerSlots].when = now
				q.cascade(now)
				moves++
			}
			if want := 1 + max(0, size-timerShift)/timerGrowth; moves > want {
				t.Errorf("a timer of %d ns was moved %d times; want at most %d", d, moves, want)
			}
		}
	}
}

// TestTimerQueueSmall pins what a timer costs.
func TestTimerQueueSmall(t *testing.T) {
	if n := int(unsafe.Sizeof(timerNode{})); n > 64 {
		t.Errorf("a timerNode has %d bytes, want at most 64", n)
	}
	var q timerQueue
	const count = 100_000
	timers := make([]timerNode, count)
	for round := range 2 {
		for i := range timers {
			q.start(&timers[i], 0, time.Duration(rand.Int64()))
		}
		if cap(q.heap) > 2*count+minTimerHeap {
			t.Errorf("round %d: a heap of %d for %d timers", round, cap(q.heap), count)
		}
		for i := range timers {
			q.stop(&timers[i])
		}
		if cap(q.heap) > minTimerHeap {
			t.Errorf("round %d: a heap of %d is left", round, cap(q.heap))
		}
	}
	allocs := testing.AllocsPerRun(100, func() {
		for i := range 100 {
			q.start(&timers[i], 0, time.Duration(i%10))
			q.start(&timers[i+100], 0, time.Duration(rand.Int64()))
			q.startAt(&timers[i+200], -1)
		}
		q.expire(0, 0)
		for i := range 300 {
			q.stop(&timers[i])
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations for 300 timers, want none", allocs)
	}
}

// Random insertion and removal keeps the order.
func TestTimerQueueStopKeepsOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 0))
	timers := make([]timerNode, 1024)
	for round := range 10 {
		var q timerQueue
		for i := range timers {
			q.start(&timers[i], 0, time.Duration(r.Int64N(500<<(5*round))))
		}
		q.check(t)
		n := len(timers)
		for i := range timers {
			if r.IntN(2) == 0 {
				q.stop(&timers[i])
				n--
			}
			if i%64 == 0 {
				q.check(t)
			}
		}
		last := timerEntry{when: -1}
		for node := q.expire(math.MaxInt64, math.MaxUint64); node != nil; node = q.expire(math.MaxInt64, math.MaxUint64) {
			e := timerEntry{when: node.when, seq: node.seq}
			if !last.before(&e) {
				t.Fatalf("%+v expired after %+v", e, last)
			}
			last = e
			n--
		}
		if n != 0 || q.len() != 0 {
			t.Fatalf("%d timers were lost, %d are left", n, q.len())
		}
	}
}

// Many timers that are started again and stopped as they expire all drain.
func TestTimerQueueDrains(t *testing.T) {
	var q timerQueue
	r := rand.New(rand.NewPCG(12, 0))
	timers := make([]timerNode, 20_000)
	left := make([]int, len(timers)) // how often each may yet be started
	start := func(i int, now int64) {
		if left[i] > 0 {
			left[i]--
			q.start(&timers[i], now, time.Duration(r.IntN(50))<<r.IntN(30))
		}
	}
	for i := range timers {
		left[i] = 1 + r.IntN(5)
		start(i, 0)
	}
	for {
		now, ok := q.next()
		if !ok {
			break
		}
		upto := q.seq()
		for n := q.expire(now, upto); n != nil; n = q.expire(now, upto) {
			if n.when > now || n.seq >= upto {
				t.Fatalf("at %d, %d: %+v expired", now, upto, n)
			}
			start(r.IntN(len(timers)), now)
			q.stop(&timers[r.IntN(len(timers))])
		}
	}
	q.check(t)
	if q.len() != 0 {
		t.Errorf("%d timers are left", q.len())
	}
}

// run does what ops say, three bytes an operation.
func (p *timerPair) run(ops []byte) {
	upto := uint64(math.MaxUint64)
	for ; len(ops) >= 3; ops = ops[3:] {
		name, arg := int(ops[1])%len(p.timers), int64(ops[2])
		// Up to hours, so that all but the last levels are used.
		scale := ops[0] / 8 % 8 * 6
		switch ops[0] % 8 {
		case 0, 1:
			p.start(name, time.Duration(arg%8)*100<<scale) // a common duration
		case 2:
			p.start(name, time.Duration(arg)<<scale+time.Duration(name)) // one of many
		case 3:
			p.startAt(name, max(0, p.now+(arg-128)<<scale))
		case 4:
			p.stop(name)
		case 5:
			p.now = max(0, p.now+(arg-16)<<(scale/2)) // mostly forwards
		case 6:
			p.expire(upto)
		case 7:
			if when, ok := p.q.next(); ok && arg%2 == 0 {
				p.now = max(p.now, when-int64(arg%4)/2)
			}
			upto = p.q.seq() + uint64(arg%2)
			for range arg % 8 {
				p.expire(upto)
			}
		}
	}
	p.now = math.MaxInt64
	p.drain(math.MaxUint64)
}

func TestTimerQueueRandom(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			ops := make([]byte, 3*500)
			for i := range ops {
				ops[i] = byte(r.Uint32())
			}
			newTimerPair(t, 1+int(seed)).run(ops)
		})
	}
}

func FuzzTimerQueue(f *testing.F) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 2))
		ops := make([]byte, 30*(seed+1))
		for i := range ops {
			ops[i] = byte(r.Uint32())
		}
		f.Add(byte(4*seed), ops)
	}
	f.Fuzz(func(t *testing.T, timers byte, ops []byte) {
		if len(ops) > 3000 {
			t.Skip("longer than is useful: the model takes linear time for each operation")
		}
		newTimerPair(t, 1+int(timers)%64).run(ops)
	})
}

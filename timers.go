// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"iter"
	"math"
	"math/bits"
	"time"
)

// A timerNode is a deadline in a timerQueue. It is embedded in what has the deadline,
// and must not be copied while it runs. The fields except owner belong to the queue,
// and what guards the queue guards them.
type timerNode struct {
	owner timed // what the node is embedded in; set once, before the first start

	when int64  // the deadline; kept after the node was stopped or has expired
	seq  uint64 // orders equal deadlines: the queue's count of starts when it was started

	prev, next *timerNode // neighbours in its slot; nil at the ends, and outside slots
	at         int32      // 1 + its place in the heap; -1 - the number of its slot; 0: not running
}

// timed is implemented by what a timerNode is embedded in. The loop calls expired
// when the deadline has passed.
type timed interface {
	expired(now int64)
}

// running reports whether n is in a queue.
func (n *timerNode) running() bool { return n.at != 0 }

// A timerQueue has the running timers in the order of their deadlines; those with
// equal deadlines are in the order in which they were started. Times are nanoseconds
// on the caller's clock and not negative. The zero value is an empty queue. It must not
// be copied. The caller does the locking.
//
// Most timers of a server are stopped or started again long before they are due. So
// the queue is a hierarchical timing wheel in front of a heap. A timer that is not due
// soon lies in a slot of the wheel, unordered, with others that are due at about the
// same time: starting and stopping it takes constant time. When the first timer of a
// slot is due, the slot is cascaded: timers that are due soon go to the heap, which
// has the order, and the others to slots of lower levels, which cover less time. A
// timer of one minute is moved about four times, and no timer more than seven times.
//
// The queue keeps no reference to a timer that does not run.
type timerQueue struct {
	heap       []timerEntry // the timers that are due soon; a 4-ary heap: the children of i are 4i+1 to 4i+4
	levels     [timerLevels]*timerLevel
	cascaded   int64  // the time of the last cascade: what is in slots is due later
	first      int64  // if firstKnown, no timer in a slot is due earlier
	firstKnown bool   // first is up to date
	n          int    // running timers
	started    uint64 // starts so far
}

// How time is divided. All are arbitrary within two limits: a cascaded slot must go to
// lower levels or to the heap, and the last level must reach the greatest int64.
const (
	timerShift  = 16 // a slot of level 0 covers 2^16 ns; timers that are due within that time go to the heap
	timerGrowth = 3  // a slot of the next level covers 2^3 times as much
	timerSlots  = 64 // in a level
	timerLevels = 16

	minTimerHeap = 1 << 10 // a heap with this capacity is not shrunk; arbitrary
)

// A timerEntry is an entry of the heap. It has a copy of the node's key, so that
// comparing entries does not load the nodes from memory.
type timerEntry struct {
	when int64
	seq  uint64
	node *timerNode
}

func (e *timerEntry) before(f *timerEntry) bool {
	return e.when < f.when || e.when == f.when && e.seq < f.seq
}

// A timerLevel is one wheel. Each of its slots covers the same length of time: a
// deadline divided by this length, modulo the number of slots, is the number of its
// slot. Levels are made when they are needed, and kept.
type timerLevel struct {
	used  uint64 // bit i: slot i is not empty
	slots [timerSlots]timerSlot
}

// A timerSlot is a list of timers in no order.
type timerSlot struct {
	head *timerNode
	when int64 // the earliest deadline of all that were put here since it was empty
}

// seq returns the sequence number that the next timer to be started will get.
func (q *timerQueue) seq() uint64 { return q.started }

// len returns the number of running timers.
func (q *timerQueue) len() int { return q.n }

// all returns an iterator over the running timers, in no order. The queue must not be
// changed while it is ranged over.
func (q *timerQueue) all() iter.Seq[*timerNode] {
	return func(yield func(*timerNode) bool) {
		for _, e := range q.heap {
			if !yield(e.node) {
				return
			}
		}
		for _, l := range q.levels {
			if l == nil {
				continue
			}
			for _, s := range l.slots {
				for n := s.head; n != nil; n = n.next {
					if !yield(n) {
						return
					}
				}
			}
		}
	}
}

// start makes n expire at now+d, or at now if d is negative. If n is running, start
// stops it first. If the sum overflows, n expires at the greatest int64.
func (q *timerQueue) start(n *timerNode, now int64, d time.Duration) {
	when := now + int64(max(d, 0))
	if when < now {
		when = math.MaxInt64
	}
	q.startAt(n, when)
}

// startAt makes n expire at when. If n is running, startAt stops it first.
func (q *timerQueue) startAt(n *timerNode, when int64) {
	q.stop(n)
	n.when = when
	n.seq = q.started
	q.started++
	q.n++
	q.place(n)
}

// stop removes n from the queue. It reports whether n was running.
func (q *timerQueue) stop(n *timerNode) bool {
	switch {
	case n.at < 0:
		q.removeFromSlot(n)
	case n.at > 0:
		q.removeFromHeap(int(n.at) - 1)
	default:
		return false
	}
	q.n--
	return true
}

// next returns the earliest deadline; it may be that of a timer that was stopped, until
// expire is called with that time. It returns false if no timer is running.
func (q *timerQueue) next() (when int64, ok bool) {
	if q.n == 0 {
		return 0, false
	}
	if !q.firstKnown {
		q.findFirst()
	}
	if len(q.heap) > 0 {
		return min(q.first, q.heap[0].when), true
	}
	return q.first, true
}

// expire removes the first timer with when <= now and seq < upto from the queue and
// returns it. It returns nil if there is none.
func (q *timerQueue) expire(now int64, upto uint64) *timerNode {
	if !q.firstKnown {
		q.findFirst()
	}
	if q.first <= now {
		q.cascade(now)
	}
	if len(q.heap) == 0 || q.heap[0].when > now {
		return nil
	}
	i := 0
	if q.heap[0].seq >= upto {
		// The first one was started too late for this caller; one behind it may
		// not have been.
		if i = q.search(0, -1, now, upto); i < 0 {
			return nil
		}
	}
	n := q.heap[i].node
	q.stop(n)
	return n
}

// search returns the place in the heap of the first timer with when <= now and seq <
// upto among entry best, entry i and all entries below i. A negative best or result
// means none. It looks at every entry that is due.
func (q *timerQueue) search(i, best int, now int64, upto uint64) int {
	e := &q.heap[i]
	if e.when > now {
		return best // all entries below it are due later still
	}
	if e.seq < upto && (best < 0 || e.before(&q.heap[best])) {
		best = i
	}
	for c := 4*i + 1; c < min(4*i+5, len(q.heap)); c++ {
		best = q.search(c, best, now, upto)
	}
	return best
}

// place puts n into the heap or the slot for its deadline.
func (q *timerQueue) place(n *timerNode) {
	if n.when < q.cascaded || n.when-q.cascaded < 1<<timerShift {
		q.pushHeap(timerEntry{n.when, n.seq, n})
		return
	}
	// The lowest level that does not go round completely before the deadline.
	far := uint64(n.when-q.cascaded) >> timerShift
	level := 0
	if size := bits.Len64(far); size > 6 {
		level = (size - 6 + timerGrowth - 1) / timerGrowth
	}
	if far>>(timerGrowth*level) == timerSlots-1 {
		level++ // its slot could be the one that is due now
	}
	l := q.levels[level]
	if l == nil {
		l = new(timerLevel)
		q.levels[level] = l
	}
	i := slotOf(n.when, level)
	s := &l.slots[i]
	if s.head == nil {
		l.used |= 1 << i
		s.when = n.when
	} else {
		s.head.prev = n
		s.when = min(s.when, n.when)
	}
	n.next = s.head
	s.head = n
	n.at = -1 - int32(level*timerSlots+i)
	q.first = min(q.first, n.when)
}

// slotOf returns the number in its level of the slot for deadlines at when.
func slotOf(when int64, level int) int {
	return int(when >> (timerShift + timerGrowth*level) % timerSlots)
}

// removeFromSlot removes n from its slot.
func (q *timerQueue) removeFromSlot(n *timerNode) {
	if n.next != nil {
		n.next.prev = n.prev
	}
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		i := -1 - n.at
		l := q.levels[i/timerSlots]
		s := &l.slots[i%timerSlots]
		if s.head = n.next; s.head == nil {
			l.used &^= 1 << (i % timerSlots)
			if s.when == q.first {
				q.firstKnown = false
			}
		}
	}
	n.prev, n.next = nil, nil
	n.at = 0
}

// soonest returns the number of the slot in l that is due first. l is level i and not
// empty, and nothing in l is due before from.
func (l *timerLevel) soonest(i int, from int64) int {
	at := slotOf(from, i)
	return (at + bits.TrailingZeros64(bits.RotateLeft64(l.used, -at))) % timerSlots
}

// findFirst finds out when the first slot is due.
func (q *timerQueue) findFirst() {
	q.first, q.firstKnown = math.MaxInt64, true
	for i, l := range q.levels {
		if l != nil && l.used != 0 {
			q.first = min(q.first, l.slots[l.soonest(i, q.cascaded)].when)
		}
	}
}

// cascade moves the timers of the slots that are due at now to lower levels and to
// the heap.
func (q *timerQueue) cascade(now int64) {
	from := q.cascaded
	q.cascaded = now
	// Timers only move to levels that the range has already passed.
	for i, l := range q.levels {
		for l != nil && l.used != 0 {
			j := l.soonest(i, from)
			s := &l.slots[j]
			if s.when > now {
				break
			}
			l.used &^= 1 << j
			n := s.head
			s.head = nil
			for n != nil {
				next := n.next
				n.prev, n.next = nil, nil
				q.place(n)
				n = next
			}
		}
	}
	q.findFirst()
}

// pushHeap adds e to the heap.
func (q *timerQueue) pushHeap(e timerEntry) {
	if len(q.heap) == cap(q.heap) {
		// Doubling copies less than append does.
		q.resize(max(2*cap(q.heap), 16))
	}
	q.heap = q.heap[:len(q.heap)+1]
	q.up(len(q.heap)-1, e)
}

// removeFromHeap removes entry i from the heap.
func (q *timerQueue) removeFromHeap(i int) {
	q.heap[i].node.at = 0
	last := len(q.heap) - 1
	e := q.heap[last]
	q.heap[last] = timerEntry{}
	q.heap = q.heap[:last]
	if i < last {
		if i > 0 && e.before(&q.heap[(i-1)/4]) {
			q.up(i, e)
		} else {
			q.down(i, e)
		}
	}
	if c := cap(q.heap); c > minTimerHeap && last < c/4 {
		q.resize(c / 2)
	}
}

// resize moves the heap to a slice with the given capacity.
func (q *timerQueue) resize(capacity int) {
	h := make([]timerEntry, len(q.heap), capacity)
	copy(h, q.heap)
	q.heap = h
}

// up puts e into place i of the heap, or further up where the order requires it.
func (q *timerQueue) up(i int, e timerEntry) {
	for i > 0 {
		p := (i - 1) / 4
		if !e.before(&q.heap[p]) {
			break
		}
		q.set(i, q.heap[p])
		i = p
	}
	q.set(i, e)
}

// down puts e into place i of the heap, or further down where the order requires it.
func (q *timerQueue) down(i int, e timerEntry) {
	h := q.heap
	for {
		c := 4*i + 1
		if c >= len(h) {
			break
		}
		least := c
		for c++; c < min(4*i+5, len(h)); c++ {
			if h[c].before(&h[least]) {
				least = c
			}
		}
		if !h[least].before(&e) {
			break
		}
		q.set(i, h[least])
		i = least
	}
	q.set(i, e)
}

// set stores e in place i of the heap.
func (q *timerQueue) set(i int, e timerEntry) {
	q.heap[i] = e
	e.node.at = int32(i) + 1
}

// A Timer sends a [Tick] when its deadline has passed. It is made by [Loop.After] or
// [Loop.Every] and runs from then on; the zero Timer is not usable.
//
// Timers with equal deadlines send in the order in which they were started. A timer
// that does not run need not be closed: the loop keeps no reference to it.
type Timer struct {
	source

	// Data is for the user; the package does not touch it.
	Data any

	node   timerNode     // in the loop's queue while it runs
	period time.Duration // that of Every; 0: the timer fires once
	count  int           // expiries since the last Take; the loop's mu guards it
}

// After returns a timer that sends one Tick when d has passed since this call; if d is
// 0 or less, in the loop's next turn. On a closed loop the timer does not run.
func (l *Loop) After(d time.Duration) *Timer {
	return l.newTimer(d, 0)
}

// Every returns a timer that sends a Tick whenever d has passed, counted from this
// call. A receiver that is late gets one Tick for several expiries; Take returns how
// many. The deadlines that follow do not move. On a closed loop the timer does not
// run.
//
// Every panics if d is not positive, as [time.NewTicker] does.
func (l *Loop) Every(d time.Duration) *Timer {
	if d <= 0 {
		panic("evchan: non-positive interval for Every")
	}
	return l.newTimer(d, d)
}

func (l *Loop) newTimer(d, period time.Duration) *Timer {
	t := &Timer{period: period}
	t.init(l, t)
	t.source.counted = true // a list would cost much where there are many timers
	t.node.owner = t
	now := l.clock()
	l.lock()
	defer l.unlock()
	if !l.closed {
		l.startTimer(&t.node, now, d)
		l.enlist(&t.source)
	}
	return t
}

// Stop stops the timer, and takes back a Tick that has not been received: once Stop
// has returned, no Tick is received. It returns true if the timer was running or a Tick
// was taken back.
func (t *Timer) Stop() bool {
	l := t.lockAndWithdraw()
	defer l.unlock()
	return t.stop(l)
}

// stop is Stop. Caller has locked l with lockAndWithdraw.
func (t *Timer) stop(l *Loop) bool {
	active := l.timers.stop(&t.node)
	if t.pend&msgSingle != 0 {
		active = true
		t.count = 0
	}
	l.retract(&t.source, msgSingle)
	return active
}

// Reset makes the timer send its next Tick when d has passed since this call, and takes
// back a Tick that has not been received. A timer made by Every then goes on with its
// period. Reset returns what Stop would have returned. After Close, and on a closed
// loop, it does nothing and returns false.
func (t *Timer) Reset(d time.Duration) bool {
	now := t.Loop().clock()
	l := t.lockAndWithdraw()
	defer l.unlock()
	if t.life != lifeOpen || l.closed {
		return false
	}
	active := t.node.running()
	if t.pend&msgSingle != 0 {
		active = true
		t.count = 0
		l.retract(&t.source, msgSingle)
	}
	l.startTimer(&t.node, now, d)
	l.refresh(&t.source)
	return active
}

// When returns the timer's deadline, or the zero Time if the timer does not run.
func (t *Timer) When() time.Time {
	l := t.lockLoop()
	defer l.unlock()
	if !t.node.running() {
		return time.Time{}
	}
	return l.epoch.Add(time.Duration(t.node.when))
}

// Take returns how often the timer has expired since the last Take, and takes back a
// Tick that has not been received.
func (t *Timer) Take() int {
	return t.takeCount(&t.count)
}

// Close stops the timer for good: from then on Reset does nothing. A timer that is not
// needed any more need not be closed; Stop is enough.
func (t *Timer) Close() error {
	l := t.lockAndWithdraw()
	t.stop(l)
	t.life = lifeClosed
	l.unlockEnding(&t.source)
	return nil
}

// expired implements timed. Caller holds the loop's mu.
func (t *Timer) expired(now int64) {
	l := t.Loop()
	n := 1
	if t.period > 0 {
		// The phase is kept, however late this call is.
		p := int64(t.period)
		late := (now - t.node.when) / p
		n += int(min(late, math.MaxInt-1))
		l.timers.start(&t.node, t.node.when+late*p, t.period)
	}
	t.count = min(t.count, math.MaxInt-n) + n
	l.enqueue(&t.source, msgSingle)
}

// counts leads from a running timerNode to its timer, one of the counted sources.
func (t *Timer) counts() *source { return &t.source }

func (t *Timer) event(pending) Event { return Tick{t} }

func (t *Timer) alive() bool { return t.node.running() }

func (t *Timer) abandon() {
	l := t.lockLoop()
	l.timers.stop(&t.node)
	l.unlock()
}

func (t *Timer) label() string {
	if t.period > 0 {
		return "timer every " + t.period.String()
	}
	return "timer"
}

func (t *Timer) dump() string {
	l := t.lockLoop()
	defer l.unlock()
	s := "timer " + t.words() + " count=" + itoa(t.count)
	if t.node.running() {
		s += " due=" + time.Duration(t.node.when-l.clock()).String()
	}
	if t.period > 0 {
		s += " period=" + t.period.String()
	}
	return s
}

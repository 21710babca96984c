// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"math"
	"time"
)

// A timerNode is a deadline in a timerQueue. It is embedded in what it times,
// and must not be copied while it runs. Its fields other than owner belong to
// the queue and have its guard.
type timerNode struct {
	owner timed // who wants to know; set once, before the first start

	when int64  // the deadline; kept after the node has stopped or expired
	seq  uint64 // orders equal deadlines: the queue's count when it was started

	prev, next *timerNode // neighbours in its list; nil outside lists
	at         int32      // 1 + its place in the heap; 0 if it is not there
	list       int32      // 1 + its list's number; 0 if it is in none
}

// timed is what a timerNode is embedded in. A type assertion or the method
// leads from a node that expire has returned back to it.
type timed interface {
	expired(now int64)
}

// running reports whether n is in a queue.
func (n *timerNode) running() bool { return n.at|n.list != 0 }

// A timerQueue holds running timers in the order of their deadlines, those
// with equal deadlines in the order in which they were started. Times are
// nanoseconds on a clock of the caller's. The zero value is an empty queue. It
// must not be copied. It does no locking.
//
// Most timers of a server share a few durations. Started one after the other,
// they expire one after the other, so a list with room at its end is all the
// order they need: starting and stopping takes constant time. Each list stands
// in a heap as one entry, next to the timers whose durations are their own,
// for which starting, stopping and expiring takes time logarithmic in the number
// of entries.
//
// The queue keeps no reference to a timer that is not running.
type timerQueue struct {
	heap    []timerEntry // a 4-ary heap: the children of i are 4i+1 to 4i+4
	n       int          // running timers
	started uint64       // starts so far
	sets    [timerSets]timerSet
}

const (
	timerSetBits = 4 // arbitrary
	timerSets    = 1 << timerSetBits
	timerWays    = 4       // lists a set; arbitrary
	minTimerHeap = 1 << 10 // a heap of this capacity is not worth shrinking; arbitrary
)

// A timerEntry is an entry of the heap. The key is here as well as in the node
// so that comparing does not touch the nodes, which lie anywhere in memory.
//
// The key of a list's entry never comes after the key of the list's first timer.
// It may come before it, and the list may be empty: taking timers off a list
// leaves the heap alone, and settle puts the entry right when it gets to the top.
type timerEntry struct {
	when int64
	seq  uint64
	node *timerNode // a timer, or the root of a list
}

func (e *timerEntry) before(f *timerEntry) bool {
	return e.when < f.when || e.when == f.when && e.seq < f.seq
}

// A timerSet has the lists of those durations that hash to it.
type timerSet struct {
	durations [timerWays]time.Duration // what the lists are for; an unused list is an empty one for 0
	seen      [timerWays]time.Duration // some of the last durations without a list; one seen again gets a list
	lists     [timerWays]timerList
}

// A timerList is a list of timers with one duration, in the order of their
// deadlines, which is that of their starts too.
type timerList struct {
	root timerNode // closes the ring; in use as a list if root.next is not nil; root.at is the list's place in the heap
	n    int
}

// seq returns the sequence number that the next timer to be started will get.
func (q *timerQueue) seq() uint64 { return q.started }

// len returns the number of running timers.
func (q *timerQueue) len() int { return q.n }

// start makes n expire at now+d, or at now if d is negative. It stops n first
// if it is running. A sum that overflows becomes the end of time.
func (q *timerQueue) start(n *timerNode, now int64, d time.Duration) {
	d = max(d, 0)
	when := now + int64(d)
	if when < now {
		when = math.MaxInt64
	}
	q.prepare(n, when)
	l := q.listFor(d)
	// A list is in order as long as now does not decrease. Where it did, the
	// heap can do what the list cannot.
	if l == nil || l.n > 0 && l.root.prev.when > when {
		q.push(timerEntry{when, n.seq, n})
		return
	}
	l.append(n)
	if l.n > 1 {
		return
	}
	e := timerEntry{when, n.seq, &l.root}
	if l.root.at == 0 {
		q.push(e)
	} else if i := int(l.root.at) - 1; e.before(&q.heap[i]) {
		// The list was of another, longer duration before.
		q.up(i, e)
	}
}

// startAt makes n expire at when. It stops n first if it is running.
func (q *timerQueue) startAt(n *timerNode, when int64) {
	q.prepare(n, when)
	q.push(timerEntry{when, n.seq, n})
}

// prepare stops n and gives it its new key.
func (q *timerQueue) prepare(n *timerNode, when int64) {
	q.stop(n)
	n.when = when
	n.seq = q.started
	q.started++
	q.n++
}

// stop takes n off the queue. It reports whether n was running.
func (q *timerQueue) stop(n *timerNode) bool {
	switch {
	case n.list != 0:
		q.list(n).remove(n)
	case n.at != 0:
		q.remove(int(n.at) - 1)
	default:
		return false
	}
	q.n--
	return true
}

// next returns the earliest deadline. It reports false if no timer is running.
func (q *timerQueue) next() (when int64, ok bool) {
	if !q.settle() {
		return 0, false
	}
	return q.heap[0].when, true
}

// expire takes the first timer with when <= now and seq < upto off the queue
// and returns it. It returns nil if there is none.
func (q *timerQueue) expire(now int64, upto uint64) *timerNode {
	if !q.settle() || q.heap[0].when > now {
		return nil
	}
	i := 0
	if q.heap[0].seq >= upto {
		// It has been started too late for this caller, but another one
		// behind it may not have been.
		if i = q.search(0, -1, now, upto); i < 0 {
			return nil
		}
	}
	n := q.heap[i].node
	if n.list != 0 {
		n = n.next
	}
	q.stop(n)
	return n
}

// search returns the place in the heap of the entry that leads to the first
// timer with when <= now and seq < upto among best, entry i and all below it.
// A negative best, or result, means none. It looks at every entry that is due.
func (q *timerQueue) search(i, best int, now int64, upto uint64) int {
	if q.heap[i].when > now {
		return best // and so are all below it
	}
	if e, ok := q.exact(i); ok && e.when <= now && e.seq < upto {
		if best < 0 {
			best = i
		} else if b, _ := q.exact(best); e.before(&b) {
			best = i
		}
	}
	for c := 4*i + 1; c < min(4*i+5, len(q.heap)); c++ {
		best = q.search(c, best, now, upto)
	}
	return best
}

// exact returns entry i with the key of the timer that it leads to. It reports
// false if it leads to none.
func (q *timerQueue) exact(i int) (timerEntry, bool) {
	e := q.heap[i]
	if e.node.list == 0 {
		return e, true
	}
	first := e.node.next
	if first == e.node {
		return e, false
	}
	return timerEntry{first.when, first.seq, e.node}, true
}

// settle brings the entry of the first timer to the top of the heap, with its
// exact key. It reports false if no timer is running.
func (q *timerQueue) settle() bool {
	for len(q.heap) > 0 {
		e, ok := q.exact(0)
		switch {
		case !ok:
			q.remove(0)
		case e.seq != q.heap[0].seq:
			q.down(0, e)
		default:
			return true
		}
	}
	return false
}

// list returns the list that n is in or is the root of.
func (q *timerQueue) list(n *timerNode) *timerList {
	i := n.list - 1
	return &q.sets[i/timerWays].lists[i%timerWays]
}

// listFor returns the list for timers of duration d, or nil if there is none.
func (q *timerQueue) listFor(d time.Duration) *timerList {
	// Multiplying by 2^64 divided by the golden ratio spreads what durations
	// have in common over the high bits.
	set := uint64(d) * 0x9e3779b97f4a7c15 >> (64 - timerSetBits)
	s := &q.sets[set]
	for i := range s.durations {
		if s.durations[i] == d {
			l := &s.lists[i]
			if l.root.next == nil {
				l.root.prev, l.root.next = &l.root, &l.root
				l.root.list = int32(set)*timerWays + int32(i) + 1
			}
			return l
		}
	}
	for i := range s.seen {
		if s.seen[i] == d {
			return q.claim(s, d)
		}
	}
	s.seen[q.started%timerWays] = d
	return nil
}

// claim makes a list of s one for duration d and returns it. It takes a list
// that is empty, or else one of a single timer, which is as well off in the
// heap. It returns nil if all the lists are put to better use.
func (q *timerQueue) claim(s *timerSet, d time.Duration) *timerList {
	// Where to begin is arbitrary, but should not be the same each time, or two
	// durations could go on taking one list from each other.
	at := q.started % timerWays
	for i := range s.lists {
		if s.lists[i].n < s.lists[at].n {
			at = uint64(i)
		}
	}
	l := &s.lists[at]
	if l.n > 1 {
		return nil
	}
	if l.n == 1 {
		n := l.root.next
		l.remove(n)
		q.push(timerEntry{n.when, n.seq, n})
	}
	s.durations[at] = d
	return q.listFor(d)
}

// append puts n at the end of the list.
func (l *timerList) append(n *timerNode) {
	n.list = l.root.list
	n.prev, n.next = l.root.prev, &l.root
	n.prev.next, n.next.prev = n, n
	l.n++
}

// remove takes n off the list.
func (l *timerList) remove(n *timerNode) {
	n.prev.next, n.next.prev = n.next, n.prev
	n.prev, n.next = nil, nil
	n.list = 0
	l.n--
}

// push adds e to the heap.
func (q *timerQueue) push(e timerEntry) {
	if len(q.heap) == cap(q.heap) {
		// Doubling copies less than append's own growth would.
		q.resize(max(2*cap(q.heap), 16))
	}
	q.heap = q.heap[:len(q.heap)+1]
	q.up(len(q.heap)-1, e)
}

// remove removes entry i from the heap.
func (q *timerQueue) remove(i int) {
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

// up puts e in place i of the heap, or above it if that is where it belongs.
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

// down puts e in place i of the heap, or below it if that is where it belongs.
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

// set puts e in place i of the heap.
func (q *timerQueue) set(i int, e timerEntry) {
	q.heap[i] = e
	e.node.at = int32(i) + 1
}

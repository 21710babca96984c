// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"hash/maphash"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// A division says which loops get the streams of a listener. Most often there is one loop. For
// a [Group] there are several:
//
//   - With KernelPort, each loop has a Listener of its own, a part. The first one stands for
//     the whole: Listen has returned it, and the streams name it.
//   - Otherwise there is one part, on the first loop, which accepts for all.
type division struct {
	balance    Balance      // never changes
	parts      []*Listener  // the first is the whole; never changes once one of them is live
	recipients []*recipient // one for each loop, in the group's order; never changes
	maxStreams int64        // 0: no limit; never changes
	streams    atomic.Int64 // accepted and not yet released, or about to be accepted; 0 without a limit
}

// A recipient is a loop that gets streams of a listener.
type recipient struct {
	loop    *Loop         // never changes
	setup   *streamSetup  // of the streams, which are the accepted ones without Over; never changes
	under   *streamSetup  // of the accepted ones, with Over; never changes
	waiting atomic.Int64  // Accepted that were sent and not received
	heard   atomic.Uint64 // how many were received

	// The mu of the part that accepts guards these.

	lastHeard uint64    // heard, when it was last looked at
	since     time.Time // when heard was first seen to be lastHeard although some were waiting; zero: it was not
}

// stuckAfter is how long a loop may receive no Accepted, although some wait there, until other
// loops are preferred. Arbitrary.
const stuckAfter = 50 * time.Millisecond

func newDivision(c *ListenConfig, loops []*Loop, balance Balance) (*division, error) {
	d := &division{balance: balance, maxStreams: int64(max(c.MaxStreams, 0))}
	for _, l := range loops {
		u, err := l.setup(c.stream())
		if err != nil {
			return nil, err
		}
		t := &recipient{loop: l, setup: u}
		if c.Over != nil {
			t.under = u.below(l)
			t.under.held = true
		}
		d.recipients = append(d.recipients, t)
	}
	return d, nil
}

// whole returns the listener that Listen has returned.
func (ln *Listener) whole() *Listener { return ln.division.parts[0] }

// parts returns the listeners that ln stands for. A zero Listener has none.
func (ln *Listener) parts() []*Listener {
	if ln.division == nil {
		return nil
	}
	return ln.division.parts
}

// recipient returns the recipient that l is; nil if it is none.
func (d *division) recipient(l *Loop) *recipient {
	i := 0
	if len(d.recipients) > 1 {
		i = l.member
	}
	if i >= len(d.recipients) || d.recipients[i].loop != l {
		return nil
	}
	return d.recipients[i]
}

// recipients returns those that ln may give streams to.
func (ln *Listener) recipients() []*recipient {
	if d := ln.division; len(d.parts) > 1 {
		m := ln.Loop().member
		return d.recipients[m : m+1]
	}
	return ln.division.recipients
}

// reserve reports whether MaxPending and MaxStreams allow another stream, and counts it for
// MaxStreams. If not, task is called again when they do. The caller holds ln.mu.
func (ln *Listener) reserve() bool {
	for {
		if ln.division.reserveStream() {
			if ln.hasRecipient() {
				return true
			}
			ln.division.unreserve()
		}
		if ln.full.Swap(true) {
			return false
		}
		// From now on, whoever makes room calls task. Some may have been made before.
	}
}

func (d *division) reserveStream() bool {
	if d.maxStreams == 0 {
		return true
	}
	if d.streams.Add(1) > d.maxStreams {
		d.streams.Add(-1)
		return false
	}
	return true
}

// unreserve undoes reserveStream, without calling anybody.
func (d *division) unreserve() {
	if d.maxStreams > 0 {
		d.streams.Add(-1)
	}
}

// hasRecipient reports whether a loop has fewer than MaxPending Accepted waiting.
func (ln *Listener) hasRecipient() bool {
	if ln.maxPending <= 0 {
		return true
	}
	for _, t := range ln.recipients() {
		if t.waiting.Load() < int64(ln.maxPending) {
			return true
		}
	}
	return false
}

// acceptOn has task called if it has stopped at a limit. The caller holds the lock of no loop.
func (ln *Listener) acceptOn() {
	if ln.full.Load() {
		l := ln.lockLoop()
		ln.acceptOnLocked(l)
		l.unlock()
	}
}

// acceptOnLocked is acceptOn for a caller that holds the lock of ln's loop, l.
func (ln *Listener) acceptOnLocked(l *Loop) {
	if ln.full.Swap(false) {
		l.assign(ln)
	}
}

// admitted is called when an Accepted of ln, which is the whole, was received by l or taken
// back. The caller holds l's lock.
func (ln *Listener) admitted(l *Loop) {
	d := ln.division
	t := d.recipient(l)
	t.waiting.Add(-1)
	t.heard.Add(1)
	p := d.parts[0]
	if len(d.parts) > 1 {
		p = d.parts[l.member]
	}
	switch {
	case !p.full.Load():
	case p.Loop() == l:
		p.acceptOnLocked(l)
	default:
		l.acceptors = append(l.acceptors, p) // unlock calls acceptOn
	}
}

// parted is called when a stream that ln has accepted was released, perhaps by another loop.
// The caller holds the lock of no loop.
func (ln *Listener) parted() { ln.division.part() }

func (d *division) part() {
	if d.maxStreams == 0 {
		return
	}
	d.streams.Add(-1)
	for _, p := range d.parts {
		p.acceptOn()
	}
}

// unreceived returns how many Accepted were not received.
func (d *division) unreceived() int {
	n := int64(0)
	for _, t := range d.recipients {
		n += t.waiting.Load()
	}
	return int(n)
}

var sourceSeed = maphash.MakeSeed()

// hashSource returns the hash of an address for SourceHash, the same for connections and
// datagrams.
func hashSource(a netip.Addr) uint64 {
	return maphash.Comparable(sourceSeed, a.Unmap().WithZone(""))
}

// choose returns the loop that s, which was accepted, goes to. The caller holds ln.mu.
func (ln *Listener) choose(s *Stream) *recipient {
	recipients := ln.recipients()
	if len(recipients) == 1 {
		return recipients[0]
	}
	d := ln.division
	if d.balance == SourceHash {
		if a, ok := s.remoteAddr().(*net.TCPAddr); ok {
			t := recipients[hashSource(a.AddrPort().Addr())%uint64(len(recipients))]
			if !t.loop.isClosed() {
				return t
			}
		}
	}
	// Each loop in turn, beginning with the one after the last; the best of them.
	best, bestGrade, bestStreams := -1, 0, int64(0)
	for i := range recipients {
		i = (ln.next + i) % len(recipients)
		grade, streams := ln.grade(recipients[i]), int64(0)
		if d.balance == LeastStreams {
			streams = recipients[i].loop.streams.Load()
		}
		if best < 0 || grade < bestGrade || grade == bestGrade && streams < bestStreams {
			best, bestGrade, bestStreams = i, grade, streams
		}
	}
	ln.next = best + 1
	return recipients[best]
}

// grade says how well t can take another stream: 0 is best.
func (ln *Listener) grade(t *recipient) int {
	waiting := t.waiting.Load()
	switch {
	case t.loop.isClosed():
		return 3
	case waiting == 0:
		t.since = time.Time{}
		return 0
	case ln.maxPending > 0 && waiting >= int64(ln.maxPending):
		return 2
	}
	now := time.Now()
	if heard := t.heard.Load(); heard != t.lastHeard || t.since.IsZero() {
		t.lastHeard, t.since = heard, now
	}
	if now.Sub(t.since) >= stuckAfter {
		return 1
	}
	return 0
}

// get makes s, which nobody knows yet, a stream of t's loop. It sends where the listener sends,
// whose route and priority the caller passes.
func (t *recipient) get(s *Stream, route *route, prio int16) {
	l := t.loop
	l.lock()
	if l != route.loop {
		route = l.routeTo(route.ch)
		s.limits.Store(&l.limits)
	}
	l.unlock()
	s.route.Store(route)
	s.prio = min(prio, int16(l.conf.Priorities-1))
}

// await counts the Accepted of s, which is about to be sent.
func (t *recipient) await(s *Stream) {
	s.in.set(flagAcceptPending)
	t.waiting.Add(1)
}

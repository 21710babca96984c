// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"fmt"
	"sync/atomic"
)

// A Source is whatever can send messages: a [Stream], [Listener], [PacketConn],
// [Watch], [Timer], [SignalWatch] or [Trigger]. Each stands in the loop's queue at most
// once, whatever has happened to it.
//
// All methods are safe for concurrent use, and none of them waits for whoever
// receives the messages.
type Source interface {
	// Loop returns the loop that the source belongs to.
	Loop() *Loop

	// Priority returns the source's lane: 0 is the most urgent.
	Priority() int

	// SetPriority moves the source to another lane, with what it has waiting.
	// The lane must be one of the Config.Priorities of the loop.
	SetPriority(int) error

	// Notify sends the source's messages to ch from now on, those included that
	// have not been received yet; nil means the loop's own way again. The loop
	// never waits for ch: as long as it takes nothing, messages coalesce in the
	// source, and one at most stands for each kind. A message that already lies
	// in a buffered channel cannot be taken back any more.
	//
	// The loop never closes ch. If you close it, the sources that were sent
	// there go back to the loop's own way, with nothing lost. (To close a
	// channel while somebody sends to it is a race by Go's rules, and the race
	// detector says so.)
	Notify(ch chan<- Event)

	// Close ends the source and takes back what it has not delivered. Closing
	// again returns nil. The kinds of source say more about it.
	Close() error

	base() *source // only this package has sources
}

// base returns s. It makes sources of all that embeds one.
func (s *source) base() *source { return s }

// String returns what kind of source it is and what tells it from others, an address,
// say, for people to read. It is part of what the events' String methods return.
func (s *source) String() string { return s.owner.label() }

// An owner is one kind of Source, which embeds a source. The queue and the delivery know
// of it only what is said here. What the embedded source does by itself suits an owner that
// says its messages without work, and only when they are true.
type owner interface {
	Source

	// event returns the message that the bit stands for.
	event(bit pending) Event

	// prepare does the work without which the next message is not known, such as to read
	// from a socket, and returns the resulting messages. It is called at delivery, on the
	// goroutine that delivers, without a lock, and never twice at once.
	prepare(work pending) pending

	// confirm returns those of bits that are true now. The caller holds the loop's lock.
	confirm(bits pending) pending

	// hold is called before a feeder confirms the message of bit and offers it. Until
	// unhold, whoever makes that message untrue must take it back, with the loop's lock.
	// The caller holds the loop's lock.
	hold(bit pending)
	unhold(bit pending)

	// received is told that the message of bit has been received. The caller holds the
	// loop's lock.
	received(bit pending)

	// divert takes bits in place of the queue, if the source is filtered. The caller
	// holds the loop's lock.
	divert(bits pending)

	// alive reports whether the source can send a message without another call of the
	// user's, apart from what is pending. The caller holds the loop's lock.
	alive() bool

	// abandon ends the source because its loop has been closed. No lock is held.
	abandon()

	// label names the source for people. It takes no lock, since String calls it.
	label() string

	// dump describes the source's state in "key=value" words. No lock is held.
	dump() string
}

func (s *source) prepare(pending) pending      { return 0 }
func (s *source) confirm(bits pending) pending { return bits }
func (s *source) hold(pending)                 {}
func (s *source) unhold(pending)               {}
func (s *source) received(pending)             {}
func (s *source) divert(pending)               { panic("evchan: BUG: this source has no filter") }

// source is the part that all kinds of Source have in common.
type source struct {
	loop  atomic.Pointer[Loop] // to change it, the old loop's mu is held, and the owner's
	owner owner                // never changes

	// The loop's mu guards the following.

	route      *route
	next, prev *source // in the lane, while queued
	seq        uint64  // number of the entry into the lane, while queued
	index      int32   // 0: not live; else its place in Loop.live, plus one; 1 if it is counted
	prio       int16
	pend       pending
	queued     bool       // stands in its lane
	busy       bool       // taken out of its lane by somebody who prepares its next message
	offered    bool       // its message is being offered by route's feeder
	life       life       // to change a stream's, its mu is held as well; then to read it, one of the two is enough
	paused     directions // those that Pause has stopped; to change a stream's, its mu is held as well
	filtered   bool       // its messages are diverted; to change it, the owner's mu is held as well
	counted    bool       // live ones are counted in Loop.counted, and not in Loop.live; never changes
}

// directions is a set of some of Read and Write, in a byte.
type directions uint8

// has reports whether w, which is Read or Write, is in d.
func (d directions) has(w What) bool { return What(d)&w != 0 }

// A life is how far a source has come to its end.
type life uint8

const (
	lifeOpen    life = iota
	lifeClosing      // of a stream that Close was called of: no more messages, but the rest of the output is being sent
	lifeClosed       // closed, or its loop is, and all was let go
	lifeFailed       // of a stream that has ended by itself, which Closed tells: all but the input was let go
)

// closed reports whether Close or Abort was called.
func (v life) closed() bool { return v == lifeClosing || v == lifeClosed }

// gone reports whether all was let go: nothing is read or sent any more.
func (v life) gone() bool { return v == lifeClosed || v == lifeFailed }

// init makes s a source of l, without a lock: nobody knows s yet.
func (s *source) init(l *Loop, o owner) {
	s.loop.Store(l)
	s.owner = o
	s.route = &l.own
	s.prio = int16(l.conf.Priorities / 2)
}

// mustBeMade panics if s is part of a zero value. It is for methods that would not do so
// by themselves: Close, which may be deferred, would wait for a lock that whoever has
// panicked holds.
func (s *source) mustBeMade() {
	if s.Loop() == nil {
		panic("evchan: a source must be made by a method of Loop")
	}
}

// Loop returns the loop that the source belongs to.
func (s *source) Loop() *Loop { return s.loop.Load() }

// lockLoop takes the lock of the loop that s belongs to, and returns that loop.
func (s *source) lockLoop() *Loop {
	for {
		l := s.loop.Load()
		l.lock()
		if s.loop.Load() == l {
			return l
		}
		l.unlock() // s was moved to another loop meanwhile
	}
}

// lockAndWithdraw is lockLoop for one who changes what s has to say: no message of s is on
// offer, so until unlock none can be received.
func (s *source) lockAndWithdraw() *Loop {
	for {
		l := s.lockLoop()
		for s.offered {
			l.withdraw(s.route)
		}
		if s.loop.Load() == l {
			return l
		}
		l.unlock()
	}
}

// Priority returns the source's lane: 0 is the most urgent.
func (s *source) Priority() int {
	l := s.lockLoop()
	defer l.unlock()
	return int(s.prio)
}

// SetPriority moves the source to another lane, with what it has waiting: to
// the end of that lane. It returns an error if the loop has no such lane.
func (s *source) SetPriority(p int) error {
	l := s.lockAndWithdraw()
	defer l.unlock()
	if p < 0 || p >= l.conf.Priorities {
		return fmt.Errorf("evchan: priority %d is not one of the loop's %d (see Config.Priorities)", p, l.conf.Priorities)
	}
	if int(s.prio) == p {
		return nil
	}
	queued := s.queued
	if queued {
		s.route.remove(s)
	}
	s.prio = int16(p)
	if queued {
		l.push(s)
	}
	return nil
}

// Notify sends the source's messages to ch from now on, those included that
// have not been received yet; nil means the loop's own way again.
// See [Source] for what it promises.
func (s *source) Notify(ch chan<- Event) {
	l := s.lockAndWithdraw()
	defer l.unlock()
	if l.closed {
		return
	}
	l.reroute(s, l.routeTo(ch))
}

// takeCount returns *count, which the loop's mu guards, sets it to 0, and takes
// the message back that tells of it.
func (s *source) takeCount(count *int) int {
	l := s.lockAndWithdraw()
	defer l.unlock()
	n := *count
	*count = 0
	l.retract(s, msgSingle)
	return n
}

// refresh keeps account of the live sources: s is among them as long as it is
// live. Timers are only counted, for the list would be dear where there are many
// of them, and those that run or wait to be received are found without it.
// l.mu is held.
func (l *Loop) refresh(s *source) {
	live := !l.closed && (s.pend != 0 || s.busy || s.offered || s.owner.alive())
	switch {
	case live && s.index == 0:
		l.enlist(s)
	case !live:
		l.strike(s)
	}
}

// enlist makes s, which has become live, one of the live sources. l.mu is held.
func (l *Loop) enlist(s *source) {
	if s.counted {
		l.counted++
		s.index = 1
	} else {
		l.live.push(s)
		s.index = int32(l.live.n)
	}
	l.hadLive = true
	l.joined(s)
}

// strike takes s from the live sources, if it is one. l.mu is held.
func (l *Loop) strike(s *source) {
	if s.index == 0 {
		return
	}
	if s.counted {
		l.counted--
		s.index = 0
	} else {
		l.unlist(s)
	}
	l.parted(s)
	if l.sources() == 0 {
		l.wakePoller = true // the loop may have to end
	}
}

// unlist takes s from the list of live sources. l.mu is held.
func (l *Loop) unlist(s *source) {
	last := *l.live.at(l.live.n - 1)
	*l.live.at(int(s.index) - 1) = last
	last.index = s.index
	s.index = 0
	l.live.pop()
}

// sources returns how many sources are live. l.mu is held.
func (l *Loop) sources() int { return l.live.n + l.counted }

// allLive returns the live sources, each once, in no order. l.mu is held.
func (l *Loop) allLive() []*source {
	all := make([]*source, 0, l.sources())
	for i := range l.live.n {
		all = append(all, *l.live.at(i))
	}
	if l.counted == 0 {
		return all
	}
	// The counted ones run, or stand in a lane, or are on offer.
	for n := range l.timers.all() {
		if t, ok := n.owner.(interface{ counts() *source }); ok {
			all = append(all, t.counts())
		}
	}
	expired := func(s *source) {
		if s.counted && !s.owner.alive() {
			all = append(all, s)
		}
	}
	unreceived := func(r *route) {
		for _, q := range r.lanes {
			for s := q.head; s != nil; s = s.next {
				expired(s)
			}
		}
		if r.offer != nil {
			expired(r.offer)
		}
	}
	unreceived(&l.own)
	for _, r := range l.routes {
		unreceived(r)
	}
	return all
}

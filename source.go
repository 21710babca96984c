// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"fmt"
	"sync/atomic"
)

// A Source sends messages: a [Stream], [Listener], [PacketConn], [Watch], [Timer],
// [SignalWatch], [Trigger] or [Mailbox]. It stands in the loop's queue at most once, however much has
// happened to it.
//
// All methods are safe for concurrent use. None of them waits for the receiver of the
// messages, so the receiver may call all of them.
type Source interface {
	// Loop returns the loop that the source belongs to.
	Loop() *Loop

	// Priority returns the source's lane: 0 is the most urgent.
	Priority() int

	// SetPriority moves the source, with the messages that it has waiting, to the
	// end of another lane. It returns an error if the loop has no such lane (see
	// Config.Priorities).
	SetPriority(int) error

	// Notify sends the source's messages to ch from now on, those included that
	// have not been received yet. If ch is nil, they go to the receiver of All,
	// Poll, Events or Batches again.
	//
	// The loop never waits for ch: as long as ch takes nothing, messages coalesce
	// in the source, at most one of each kind. A message that lies in a buffered
	// channel has been received: it cannot be taken back any more.
	//
	// The loop never closes ch. If you close it, its sources send to the receiver
	// of All, Poll, Events or Batches again, and nothing is lost. (To close a
	// channel while the loop may send to it is a race by Go's rules, and the race
	// detector says so.)
	Notify(ch chan<- Event)

	// SetLayer has a layer turn the source's messages into others, from now on; nil ends
	// that. See [Layer].
	SetLayer(Layer) error

	// Again has the source's layer called with a nil message, in the source's turn. See
	// [Layer].
	Again()

	// SetBackground says whether the source is in the background. A loop whose live sources
	// all are is empty (see Config.ExitOnEmpty): a timer that only keeps statistics need not
	// keep a program running. From the beginning no source is in the background.
	SetBackground(bool)

	// Close ends the source and takes back its messages that were not received.
	// Closing again returns nil. Each kind of source says more about it.
	Close() error

	base() *source // seals the interface: only this package has sources
}

// base returns s. With it, each type that embeds a source is a Source.
func (s *source) base() *source { return s }

// String describes the source for people to read: its kind and, for example, its address.
// The String methods of messages contain it.
func (s *source) String() string { return s.owner.label() }

// An owner is one kind of Source: a type that embeds a source. This interface is all that the
// queue and the delivery know of it. The embedded source implements prepare, confirm, hold,
// unhold, received and divert for owners that enqueue a message only when it is true, take it
// back when it is not, and have no work to do before.
type owner interface {
	Source

	// event returns the message for bit.
	event(bit pending) Event

	// prepare does the work without which the next message is not known, such as to read
	// from a socket, and returns the resulting message bits. It is called at delivery, on
	// the goroutine that delivers: see queue.go. The caller holds no lock. prepare is
	// never called twice at once for one source.
	prepare(work pending) pending

	// confirm returns those of bits that are true now. The caller holds the loop's lock.
	confirm(bits pending) pending

	// hold is called before a feeder confirms and sends the message of bit. From then
	// until unhold, code that makes the message untrue must take it back, with the loop's
	// lock held. The caller holds the loop's lock.
	hold(bit pending)
	unhold(bit pending)

	// received notes that the message of bit has been received. The caller holds the
	// loop's lock.
	received(bit pending)

	// divert is called in place of queueing bits, if the source is filtered. The caller
	// holds the loop's lock.
	divert(bits pending)

	// layerFailed ends the source because its layer has failed with err. The caller holds no
	// lock.
	layerFailed(err error)

	// alive reports whether the source can send another message than those that are
	// pending, without another call by the user. The caller holds the loop's lock.
	alive() bool

	// abandon ends the source because its loop has been closed. The caller holds no lock.
	abandon()

	// label describes the source for people to read. A stream's label takes the stream's
	// mu, so the caller does not hold that.
	label() string

	// dump describes the source's state in "key=value" words. The caller holds no lock.
	dump() string
}

func (s *source) prepare(pending) pending      { return 0 }
func (s *source) confirm(bits pending) pending { return bits }
func (s *source) hold(pending)                 {}
func (s *source) unhold(pending)               {}
func (s *source) received(pending)             {}
func (s *source) divert(pending)               { panic("evchan: BUG: this source has no filter") }

// A source is the part that all kinds of Source have in common.
type source struct {
	// route is where the source sends, and so its loop. It is changed only with the loop's mu
	// held and, if the loop changes, with the owner's mu held as well.
	route atomic.Pointer[route]
	owner owner // never changes

	// The loop's mu guards the following.

	layer      *layering // nil: no layer, or none any more
	next, prev *source   // neighbours in the lane, while queued
	seq        uint64    // number of the entry into the lane, while queued
	index      int32     // 0: not live; else its place in Loop.live, plus one; 1 if it is counted
	prio       int16
	pend       pending
	queued     bool       // stands in its lane
	busy       bool       // taken out of its lane, while prepare runs
	offered    bool       // taken out of its lane, and route's feeder has a message of it on offer
	life       life       // a stream's is changed only with its mu held as well; either lock is enough to read it
	paused     directions // stopped by Pause or an idle timeout; a stream's as life
	filtered   bool       // messages are diverted; changed only with the owner's mu held as well
	background bool       // does not keep the loop from being empty
	counted    bool       // while live, counted in Loop.counted instead of standing in Loop.live; never changes
}

// A directions is a set of some of Read and Write, in one byte.
type directions uint8

// has reports whether w, which is Read or Write, is in d.
func (d directions) has(w What) bool { return What(d)&w != 0 }

// A life says whether a source is open, and if not, how it has ended.
type life uint8

const (
	lifeOpen    life = iota
	lifeClosing      // streams only: Close was called; no more messages, but the rest of the output is being sent
	lifeClosed       // the source or its loop was closed, and all of it is released
	lifeFailed       // streams only: ended by itself, as Closed tells; all but the input is released
)

// closed reports whether Close or Abort was called.
func (v life) closed() bool { return v == lifeClosing || v == lifeClosed }

// gone reports whether all but the input is released: nothing is read or sent any more.
func (v life) gone() bool { return v == lifeClosed || v == lifeFailed }

// init makes s the source of o, in l. It needs no lock, since no other goroutine knows s yet.
func (s *source) init(l *Loop, o owner) {
	s.owner = o
	s.route.Store(&l.own)
	s.prio = int16(l.conf.Priorities / 2)
}

// mustBeMade panics if s is part of a zero value. It is for methods that would not panic by
// themselves. Close is one: if it is deferred, and another method has panicked with a lock
// held, it would wait for that lock.
func (s *source) mustBeMade() {
	if s.Loop() == nil {
		panic("evchan: a source must be made by a method of Loop")
	}
}

// Loop returns the loop that the source belongs to.
func (s *source) Loop() *Loop {
	if r := s.route.Load(); r != nil {
		return r.loop
	}
	return nil
}

// lockLoop takes the lock of the loop that s belongs to, and returns that loop.
func (s *source) lockLoop() *Loop {
	for {
		l := s.Loop()
		l.lock()
		if s.Loop() == l {
			return l
		}
		l.unlock() // s was moved to another loop meanwhile
	}
}

// lockAndWithdraw is lockLoop for callers that change what s has pending. When it returns, no
// message of s is on offer. So none can be received until unlock.
func (s *source) lockAndWithdraw() *Loop {
	for {
		l := s.lockLoop()
		for s.offered {
			l.withdraw(s.route.Load())
		}
		if s.Loop() == l {
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

// SetPriority moves the source, with the messages that it has waiting, to the end of another
// lane. It returns an error if the loop has no such lane (see Config.Priorities).
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
		s.route.Load().remove(s)
	}
	s.prio = int16(p)
	if queued {
		l.push(s)
	}
	return nil
}

// Notify sends the source's messages to ch from now on, those included that have not been
// received yet. If ch is nil, they go to the receiver of All, Poll, Events or Batches again.
// See [Source] for what Notify promises.
func (s *source) Notify(ch chan<- Event) {
	l := s.lockAndWithdraw()
	defer l.unlock()
	if l.closed {
		return
	}
	l.reroute(s, l.routeTo(ch))
}

// takeCount returns *count, which the loop's mu guards, and sets it to 0. It takes the message
// back that says that there is a count.
func (s *source) takeCount(count *int) int {
	l := s.lockAndWithdraw()
	defer l.unlock()
	n := *count
	*count = 0
	l.retract(s, msgSingle)
	return n
}

// refresh puts s among the live sources if it is live, else it takes it from them. Call it
// after each change that can make a difference. Timers are only counted: there may be many,
// and those that are live can be found without a list. The caller holds l.mu.
func (l *Loop) refresh(s *source) {
	live := !l.closed && (s.pend != 0 || s.busy || s.offered || s.owner.alive())
	switch {
	case live && s.index == 0:
		l.enlist(s)
	case !live:
		l.strike(s)
	}
}

// enlist makes s, which has become live, one of the live sources. The caller holds l.mu.
func (l *Loop) enlist(s *source) {
	if s.counted {
		l.counted++
		s.index = 1
	} else {
		l.live.push(s)
		s.index = int32(l.live.n)
	}
	if s.background {
		l.backgrounds++
	} else {
		l.hadLive = true
	}
	l.joined(s)
}

// strike takes s from the live sources, if it is one. The caller holds l.mu.
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
	if s.background {
		l.backgrounds--
	}
	l.parted(s)
	if l.isEmpty() {
		l.wakePoller = true // the loop may have to end
	}
}

// unlist takes s from Loop.live. The caller holds l.mu.
func (l *Loop) unlist(s *source) {
	last := *l.live.at(l.live.n - 1)
	*l.live.at(int(s.index) - 1) = last
	last.index = s.index
	s.index = 0
	l.live.pop()
}

// sources returns how many sources are live. The caller holds l.mu.
func (l *Loop) sources() int { return l.live.n + l.counted }

// isEmpty reports whether all live sources are in the background. The caller holds l.mu.
func (l *Loop) isEmpty() bool { return l.sources() == l.backgrounds }

// SetBackground says whether the source is in the background: see [Source].
func (s *source) SetBackground(background bool) {
	l := s.lockLoop()
	defer l.unlock()
	if s.background == background {
		return
	}
	s.background = background
	switch {
	case s.index == 0:
	case background:
		if l.backgrounds++; l.isEmpty() {
			l.wakePoller = true // the loop may have to end
		}
	default:
		l.backgrounds--
		l.hadLive = true
	}
}

// allLive returns the live sources, each once, in no order. The caller holds l.mu.
func (l *Loop) allLive() []*source {
	all := make([]*source, 0, l.sources())
	for i := range l.live.n {
		all = append(all, *l.live.at(i))
	}
	if l.counted == 0 {
		return all
	}
	// Those that are only counted run, or stand in a lane, or are on offer.
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

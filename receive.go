// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"iter"
	"math"
	"time"
)

// All returns an iterator over the loop's messages that runs the loop on the
// goroutine that ranges over it: no other is involved, which makes it the
// fastest way to receive.
//
// Breaking out of the range leaves the loop as it is, to be ranged over again.
// So do Exit, Break, and ExitOnEmpty, which end the range. After Close the
// range ends, and any later one ends at once; Err tells whether it ended for
// another reason.
//
// While the body of the range runs, nothing else of the loop does, but for
// what was sent to channels by Notify. A range while the loop runs already
// panics.
func (l *Loop) All() iter.Seq[Event] {
	return func(yield func(Event) bool) {
		if !l.begin(false) {
			return
		}
		defer l.end()
		for l.proceed() {
			l.turn(-1)
			for {
				ev, ok := l.deliver()
				if !ok {
					break
				}
				if !yield(ev) {
					return
				}
			}
		}
	}
}

// Poll returns the next message, for which it waits as long as wait says: not at
// all if it is 0, and until there is one if it is negative. The result is
// false if there was none in that time, or if the loop is closed. It runs the
// loop on the calling goroutine meanwhile.
//
// Exit and Break have no effect on it: they wait for the next range.
// Calling it while the loop runs already panics.
func (l *Loop) Poll(wait time.Duration) (Event, bool) {
	if !l.begin(true) {
		return nil, false
	}
	defer l.end()
	if ev, ok := l.deliver(); ok {
		return ev, true
	}
	until := l.clock() + int64(max(wait, 0))
	for {
		l.turn(wait)
		if ev, ok := l.deliver(); ok {
			return ev, true
		}
		if wait >= 0 {
			if wait = time.Duration(until - l.clock()); wait <= 0 {
				return nil, false
			}
		}
		select {
		case <-l.done:
			return nil, false
		default:
		}
	}
}

// Events returns a channel on which the loop's messages arrive, in the order
// of All and as exact: the channel has no buffer, and a message that stops
// being true, or that a more urgent one overtakes, is taken back as long as it
// has not been received. Any number of goroutines may receive. All calls return
// the same channel.
//
// The first call starts the loop on a goroutine of its own, which polls,
// flushes, times and serves the channels of Notify whether or not anyone
// receives. The channel is closed when the loop ends: by Close, Exit, Break,
// ExitOnEmpty, or because the kernel failed, which Err tells. Where the first
// call is made on a closed loop, the channel is closed.
//
// A first call while the loop runs already panics.
func (l *Loop) Events() <-chan Event {
	l.lock()
	defer l.unlock()
	if l.eventsc == nil {
		c := make(chan Event)
		if l.startLocked(func() { close(c) }) {
			l.own.ch = c
			l.launch(&l.own)
		}
		l.eventsc = c
	}
	return l.eventsc
}

// Batches returns a channel on which batches of messages arrive, to be ranged
// over with [Batch.All]. It differs from Events in that one hand-over serves
// for many messages, which is much faster where several CPUs are idle.
//
// A batch is a right to take messages from the loop's queue, so they are as
// exact as those of Events. Several goroutines may receive batches, and have
// the messages of the queue divided between them. A batch can turn out to be
// empty.
//
// All else is as with Events. A first call while the loop runs already panics.
func (l *Loop) Batches() <-chan Batch {
	l.lock()
	defer l.unlock()
	if l.batchesc == nil {
		c := make(chan Batch)
		if l.startLocked(func() { close(c) }) {
			l.own.batches = c
			l.launch(&l.own)
		}
		l.batchesc = c
	}
	return l.batchesc
}

// startLocked runs the loop on a goroutine that ends with last. It returns
// false if the loop is closed. mu is held.
func (l *Loop) startLocked(last func()) bool {
	if l.closed {
		last()
		return false
	}
	l.mustNotRun()
	l.running = true
	l.exited, l.broke = false, false
	go l.run(last)
	return true
}

// run makes the loop's turns until it ends, then calls last. It is a goroutine. If
// something that a turn calls ends that, by runtime.Goexit, another one goes on.
func (l *Loop) run(last func()) {
	finished := false
	defer func() {
		if !finished {
			go l.run(last)
		}
	}()
	for l.proceed() {
		l.turn(-1)
	}
	l.Close()
	<-l.fedc
	finished = true
	last()
}

// A Batch is a number of messages that wait in the queue of a loop.
type Batch struct{ loop *Loop }

// All returns an iterator that takes messages from the loop's queue, until it
// is empty or Config.MaxBatch of them were taken. Breaking out of the range
// leaves the rest in the queue for the next batch. The zero Batch, which a closed
// channel gives, is empty.
func (b Batch) All() iter.Seq[Event] {
	return func(yield func(Event) bool) {
		if b.loop != nil {
			b.loop.takeBatch(yield)
		}
	}
}

// takeBatch yields the messages of one batch.
func (l *Loop) takeBatch(yield func(Event) bool) {
	defer func() { // also if yield panics
		l.lock()
		if l.own.n > 0 {
			l.wakeFeeder(&l.own)
		}
		l.unlock()
	}()
	for range l.conf.MaxBatch {
		l.lock()
		if l.brk {
			l.unlock()
			return
		}
		s, bit := l.next(&l.own)
		if s == nil {
			if l.exitDue {
				l.wakePoller = true
			}
			l.unlock()
			return
		}
		ev := s.owner.event(bit)
		l.take(s, bit, ev)
		l.unlock()
		if !yield(ev) {
			return
		}
	}
}

// begin makes the calling goroutine the one that runs the loop. It returns
// false if the loop is closed.
func (l *Loop) begin(stepping bool) bool {
	l.lock()
	defer l.unlock()
	if l.closed {
		return false
	}
	l.mustNotRun()
	l.running, l.stepping = true, stepping
	if !stepping {
		l.exited, l.broke = false, false
	}
	return true
}

// end undoes begin.
func (l *Loop) end() {
	l.lock()
	l.running, l.stepping = false, false
	l.unlock()
}

// proceed reports whether the range goes on. If not it notes how it ended.
func (l *Loop) proceed() bool {
	l.lock()
	defer l.unlock()
	switch {
	case !l.over():
		return true
	case l.closed:
	case l.brk:
		l.broke = true
		l.brk = l.own.fed // else that ends the loop, and nothing may slip through
	case l.exitDue:
		l.exited = true
		l.exitDue = l.own.fed
	default:
		l.hadLive = false // empty: the next range waits for a live source again
	}
	return false
}

// over reports whether the range is to end. mu is held.
func (l *Loop) over() bool {
	return l.closed || l.brk ||
		l.exitDue && l.own.head(l.exitMark) == nil && l.own.busy == 0 && l.own.offer == nil ||
		l.conf.ExitOnEmpty && l.hadLive && l.sources() == 0
}

// deliver takes the next message from the queue, unless it is time for a turn.
func (l *Loop) deliver() (Event, bool) {
	l.lock()
	if l.left <= 0 || l.brk && !l.stepping {
		l.unlock()
		return nil, false
	}
	s, bit := l.next(&l.own)
	if s == nil {
		l.unlock()
		return nil, false
	}
	ev := s.owner.event(bit)
	l.take(s, bit, ev)
	l.unlock()
	return ev, true
}

// upto returns the number of the last entry into r's lanes that may be
// delivered. mu is held.
func (l *Loop) upto(r *route) uint64 {
	if l.exitDue && r == &l.own && !l.stepping {
		return l.exitMark
	}
	return math.MaxUint64
}

// An exitTimer is Loop.Exit's.
type exitTimer struct {
	timerNode
	loop *Loop
}

func (e *exitTimer) expired(int64) {
	e.loop.exitDue = true
	e.loop.exitMark = math.MaxUint64 // settled at the end of the turn
}

// Exit ends the range over All when the given time has passed, after
// delivering what is in the queue by then. If it is 0 or less, that is what is
// there now. Of several calls the one whose time comes first counts. Where no
// range runs it applies to the next one. With Events or Batches, the loop is
// closed when those messages have been received.
func (l *Loop) Exit(after time.Duration) {
	l.lock()
	defer l.unlock()
	if l.closed || l.exitDue {
		return
	}
	if after <= 0 {
		l.timers.stop(&l.exit.timerNode)
		l.exitDue, l.exitMark = true, l.seq
		l.wakePoller = true
		return
	}
	now := l.clock()
	if l.exit.running() && l.exit.when <= addTime(now, after) {
		return
	}
	l.startTimer(&l.exit.timerNode, now, after)
}

// Break ends the range over All before the next message, which stays in the
// queue. Where no range runs it applies to the next one. With Events or
// Batches, the loop is closed.
func (l *Loop) Break() {
	l.lock()
	defer l.unlock()
	l.brk = true
	l.wakePoller = true
	l.withdraw(&l.own)
}

// Continue makes the loop ask the kernel again before it delivers the rest of
// the batch, so that what is more urgent, and has come meanwhile, is seen. With
// Events and Batches the kernel is asked beside that, at the latest after the
// message that is delivered next.
func (l *Loop) Continue() {
	l.lock()
	defer l.unlock()
	l.left = 0
}

// Exited reports whether the last range over All was ended by Exit, or the
// loop itself, with Events and Batches.
func (l *Loop) Exited() bool {
	l.lock()
	defer l.unlock()
	return l.exited
}

// Broke reports whether the last range over All was ended by Break, or the loop
// itself, with Events and Batches.
func (l *Loop) Broke() bool {
	l.lock()
	defer l.unlock()
	return l.broke
}

// Now returns the time at which the current turn began: the same for all
// messages of a batch, and cheap. While the loop waits, or does not run, it
// returns the real time.
func (l *Loop) Now() time.Time {
	l.lock()
	defer l.unlock()
	if l.running && !l.parked && !l.turnTime.IsZero() {
		return l.turnTime
	}
	return time.Now()
}

// UpdateNow makes Now return the real time of this call for the rest of the turn.
// It is for those who have spent much time on a message.
func (l *Loop) UpdateNow() {
	l.lock()
	defer l.unlock()
	l.turnTime = time.Now()
}

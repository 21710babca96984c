// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"iter"
	"math"
	"time"
)

// All returns an iterator over the loop's messages. It runs the loop on the goroutine
// that ranges over it. No other goroutine is involved, so it is the fastest way to
// receive.
//
// To break out of the range leaves the loop as it is: you can range over it again. The
// same holds after Exit, Break and ExitOnEmpty have ended the range. After Close the range
// ends, and every later one ends at once. If the kernel fails, the loop closes itself, and
// Err tells why.
//
// While the body of the range runs, the loop is paused, except for delivery to the
// channels of Notify. If the loop is running already, the range panics.
func (l *Loop) All() iter.Seq[Event] {
	return func(yield func(Event) bool) {
		if !l.begin(false) {
			return
		}
		defer l.end()
		l.polledAgain()
		for l.proceed() {
			l.turn(-1)
			for {
				ev, entered, ok := l.deliver(false)
				if !ok {
					break
				}
				if !l.hand(ev, entered, yield) {
					return
				}
			}
		}
	}
}

// Poll returns the next message. It waits for one for as long as wait says: not at all if
// wait is 0, and without limit if it is negative. The result is false if no message came
// in that time, or if the loop is closed. Meanwhile Poll runs the loop on the calling
// goroutine.
//
// Exit and Break have no effect on Poll: they apply to the next range. If the loop is
// running already, Poll panics.
func (l *Loop) Poll(wait time.Duration) (Event, bool) {
	if !l.begin(true) {
		return nil, false
	}
	defer l.end()
	l.polledAgain()
	if ev, entered, ok := l.deliver(false); ok {
		l.observePoll(ev, entered)
		return ev, true
	}
	until := addTime(l.clock(), max(wait, 0))
	for {
		l.turn(wait)
		if ev, entered, ok := l.deliver(false); ok {
			l.observePoll(ev, entered)
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

// Events returns a channel on which the loop's messages arrive, in the same order as from
// All. They are as exact: the channel has no buffer, and until a message is received, it
// is taken back when it stops being true or a more urgent one comes. Any number of
// goroutines may receive. All calls return the same channel.
//
// The first call starts the loop on a goroutine of its own. The loop then asks the kernel,
// sends output, runs timers and serves the channels of Notify, whether or not anyone
// receives. If the loop is running already, the first call panics.
//
// The channel is closed when the loop ends: by Close, Exit, Break or ExitOnEmpty, or
// because the kernel has failed, which Err tells. If the loop is closed before the first
// call, Events returns a closed channel.
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

// startLocked runs the loop on a goroutine of its own, which calls last when the loop has
// ended. If the loop is closed, startLocked calls last itself and returns false. The
// caller holds l.mu.
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

// run is the loop's own goroutine, with Events and Batches: it makes turns until the loop
// ends, and then calls last. If something that a turn calls ends the goroutine, by
// runtime.Goexit, another one goes on.
func (l *Loop) run(last func()) {
	finished := false
	defer func() {
		if !finished {
			go l.run(last)
		}
	}()
	for l.proceed() {
		l.turn(-1)
		if l.own.batches != nil {
			l.standBy()
		}
	}
	l.Close()
	<-l.fedc
	finished = true
	last()
}

// begin makes the calling goroutine the one that runs the loop: for Poll if stepping,
// else for All. It returns false if the loop is closed, and panics if the loop is running.
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

// end undoes begin: the loop is not running any more.
func (l *Loop) end() {
	l.lock()
	l.running, l.stepping = false, false
	l.unlock()
}

// proceed reports whether the range goes on. If not, it notes how the range has ended.
func (l *Loop) proceed() bool {
	l.lock()
	defer l.unlock()
	switch {
	case !l.over():
		return true
	case l.closed:
	case l.brk:
		l.broke = true
		l.brk = l.own.fed // with a feeder, the loop ends too: no message may be sent meanwhile
	case l.exitDue:
		l.exited = true
		l.exitDue = l.own.fed
	default:
		l.hadLive = false // empty: the next range waits for a live source again
	}
	return false
}

// over reports whether the range is to end. After Exit, that is when the messages up to
// exitMark were received. The caller holds l.mu.
func (l *Loop) over() bool {
	return l.closed || l.brk ||
		l.exitDue && l.own.head(l.exitMark) == nil && l.own.busy == 0 && l.own.offer == nil ||
		l.conf.ExitOnEmpty && l.hadLive && l.isEmpty()
}

// deliver takes the next message from the queue. It returns false if there is none, if it
// is time for a turn and late is false, or after Break. entered is when the message's source
// has entered the queue: see Loop.entered.
func (l *Loop) deliver(late bool) (ev Event, entered int64, ok bool) {
	l.lock()
	if l.left <= 0 && !late || l.brk && !l.stepping {
		l.unlock()
		return nil, -1, false
	}
	s, bit := l.next(&l.own)
	for l.spent != nil { // next has ended a stream with output, or another goroutine has
		if s != nil {
			l.unpop(s, bit) // a release function may end the loop, or panic
		}
		l.unlock()
		l.callReleases()
		l.lock()
		s, bit = l.next(&l.own)
	}
	if s == nil {
		l.unlock()
		return nil, -1, false
	}
	ev = s.message(bit)
	entered = l.entered(s)
	l.take(s, bit, ev)
	l.unlock()
	return ev, entered, true
}

// upto returns the greatest seq of sources of r that may be delivered: after Exit, the
// mark of the loop's own route. The caller holds l.mu.
func (l *Loop) upto(r *route) uint64 {
	if l.exitDue && r == &l.own && !l.stepping {
		return l.exitMark
	}
	return math.MaxUint64
}

// An exitTimer is the timer of Loop.Exit.
type exitTimer struct {
	timerNode
	loop *Loop
}

// expired notes that the time of Exit has come. The caller holds the loop's mu.
func (e *exitTimer) expired(int64) {
	e.loop.exitDue = true
	e.loop.exitMark = math.MaxUint64 // the turn sets it when all that has expired is queued
}

// Exit ends the range over All when the time after has passed. The messages that are in
// the queue by then are still delivered. If after is 0 or less, these are the messages
// that are there now. Of several calls the one whose time comes first counts. If no range
// is running, Exit applies to the next one. With Events and Batches, the loop is closed
// when those messages have been received.
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

// Break ends the range over All before the next message, which stays in the queue. If no
// range is running, it applies to the next one. With Events and Batches, the loop is
// closed.
func (l *Loop) Break() {
	l.lock()
	defer l.unlock()
	l.brk = true
	l.wakePoller = true
	l.withdraw(&l.own)
}

// Continue makes the loop ask the kernel again before it delivers more of what is queued.
// So a more urgent message that has come meanwhile is delivered first. With Events, another
// goroutine asks the kernel while messages are received, at the latest after the next
// message. The same can happen with Batches, if the range has just begun or there are several
// receivers.
func (l *Loop) Continue() {
	l.lock()
	defer l.unlock()
	l.left = 0
}

// Exited reports whether Exit has ended the last range over All or, with Events and
// Batches, the loop.
func (l *Loop) Exited() bool {
	l.lock()
	defer l.unlock()
	return l.exited
}

// Broke reports whether Break has ended the last range over All or, with Events and
// Batches, the loop.
func (l *Loop) Broke() bool {
	l.lock()
	defer l.unlock()
	return l.broke
}

// Now returns the time of the current turn: the time at which the kernel had answered. It
// is the same for all messages of one turn, and costs little. While the loop waits for the
// kernel, or is not running, Now returns the real time.
func (l *Loop) Now() time.Time {
	l.lock()
	defer l.unlock()
	if l.running && !l.parked && !l.turnTime.IsZero() {
		return l.turnTime
	}
	return time.Now()
}

// UpdateNow makes Now return the time of this call for the rest of the turn. Call it after
// slow message handling.
func (l *Loop) UpdateNow() {
	l.lock()
	defer l.unlock()
	l.turnTime = time.Now()
}

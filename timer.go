// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"math"
	"time"
)

// A Timer sends a [Tick] when its time has come. It is made by [Loop.After] or
// [Loop.Every] and runs from then on; a zero one is of no use.
//
// Timers with equal deadlines send in the order in which they were started. A
// timer that does not run needs no closing, and the loop does not know it.
type Timer struct {
	source

	// Data is for the user; the package does not touch it.
	Data any

	node   timerNode     // running: in the loop's queue
	period time.Duration // of Every; 0: fires once
	count  int           // expiries since the last Take; the loop's mu guards it
}

// After returns a timer that sends one Tick after d, counted from this call. If
// d is 0 or less that is in the loop's next turn. On a closed loop the timer
// does not run.
func (l *Loop) After(d time.Duration) *Timer {
	return l.newTimer(d, 0)
}

// Every returns a timer that sends a Tick after each d, counted from this call.
// If the receiver is late, it gets one Tick for several expiries, which Take
// counts, and the next one is sent at the time at which it would have been
// sent anyway. On a closed loop the timer does not run.
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
	t.node.owner = t
	now := l.clock()
	l.mu.Lock()
	defer l.unlock()
	if !l.closed {
		l.startTimer(&t.node, now, d)
		l.enlist(&t.source)
	}
	return t
}

// Stop stops the timer. Once it has returned, no Tick is received. It returns
// true if that made a difference: if the timer was running, or its Tick had not
// been received yet.
func (t *Timer) Stop() bool {
	l := t.edit()
	defer l.unlock()
	return t.stop(l)
}

// stop is Stop with l locked for an edit.
func (t *Timer) stop(l *Loop) bool {
	active := l.timers.stop(&t.node)
	if t.pend != 0 {
		active = true
		t.count = 0
	}
	l.retract(&t.source, message)
	return active
}

// Reset makes the timer send its next Tick after d, counted from this call, and
// takes back one that has not been received. That of Every goes on from there
// with its old period. It returns what Stop would have returned. It does nothing
// after Close, and on a closed loop.
func (t *Timer) Reset(d time.Duration) bool {
	now := t.Loop().clock()
	l := t.edit()
	defer l.unlock()
	if t.ended || l.closed {
		return false
	}
	active := t.node.running()
	if t.pend != 0 {
		active = true
		t.count = 0
		l.retract(&t.source, message)
	}
	l.startTimer(&t.node, now, d)
	l.refresh(&t.source)
	return active
}

// When returns the time of the next expiry, or the zero Time if the timer does
// not run.
func (t *Timer) When() time.Time {
	l := t.lock()
	defer l.mu.Unlock()
	if !t.node.running() {
		return time.Time{}
	}
	return l.epoch.Add(time.Duration(t.node.when))
}

// Take returns how many times the timer has expired since the last Take. A Tick
// that has not been received is taken back.
func (t *Timer) Take() int {
	return t.takeCount(&t.count)
}

// Close ends the timer for good: it stops it, and Reset does nothing from then
// on. Stop is enough for a timer that is to be forgotten.
func (t *Timer) Close() error {
	l := t.edit()
	defer l.unlock()
	t.stop(l)
	t.ended = true
	return nil
}

// expired is called by the loop's turn when the time has come. The loop's mu is
// held.
func (t *Timer) expired(now int64) {
	l := t.Loop()
	n := 1
	if t.period > 0 {
		// Keep the phase, however late it is.
		p := int64(t.period)
		late := (now - t.node.when) / p
		n += int(late)
		l.timers.start(&t.node, t.node.when+late*p, t.period)
	}
	t.count = min(t.count, math.MaxInt-n) + n
	l.enqueue(&t.source, message)
}

func (t *Timer) event(pending) Event          { return Tick{t} }
func (t *Timer) prepare(pending) pending      { return 0 }
func (t *Timer) confirm(bits pending) pending { return bits }
func (t *Timer) received(pending)             {}
func (t *Timer) alive() bool                  { return t.node.running() }

func (t *Timer) abandon() {
	l := t.lock()
	l.timers.stop(&t.node)
	l.mu.Unlock()
}

func (t *Timer) label() string {
	if t.period > 0 {
		return "timer every " + t.period.String()
	}
	return "timer"
}

func (t *Timer) dump() string {
	l := t.lock()
	defer l.mu.Unlock()
	s := "timer " + t.words() + " count=" + itoa(t.count)
	if t.node.running() {
		s += " due=" + time.Duration(t.node.when-l.clock()).String()
	}
	if t.period > 0 {
		s += " period=" + t.period.String()
	}
	return s
}

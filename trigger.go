// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import "math"

// A Trigger lets any goroutine get the attention of the one that receives: Fire makes
// the loop deliver a [Fired]. It is made by [Loop.Trigger]; the zero Trigger is not
// usable.
//
// A trigger need not be closed. It does not keep the loop from being empty (see
// Config.ExitOnEmpty) unless it has a Fired that was not received.
type Trigger struct {
	source

	// Data is for the user; the package does not touch it.
	Data any

	count int // since the last Take; the loop's mu guards it
}

// Trigger returns a new trigger. On a closed loop it does nothing.
func (l *Loop) Trigger() *Trigger {
	t := new(Trigger)
	t.init(l, t)
	return t
}

// Fire adds 1 to the count, and makes the loop deliver a Fired unless one is waiting to
// be received. After Close it does nothing.
func (t *Trigger) Fire() {
	l := t.lockAndWithdraw() // settles whether the last Fired was received
	defer l.unlock()
	if t.life != lifeOpen || l.closed {
		return
	}
	if t.count < math.MaxInt {
		t.count++
	}
	l.enqueue(&t.source, msgSingle)
}

// Take returns how often Fire was called since the last Take, and takes back a Fired
// that has not been received. So the results of all calls of Take add up to the
// number of calls of Fire.
func (t *Trigger) Take() int {
	return t.takeCount(&t.count)
}

// Close ends the trigger and takes back a Fired that has not been received.
func (t *Trigger) Close() error {
	l := t.lockAndWithdraw()
	t.life = lifeClosed
	l.unlockEnding(&t.source)
	return nil
}

func (t *Trigger) event(pending) Event { return Fired{t} }
func (t *Trigger) alive() bool         { return false }
func (t *Trigger) abandon()            {}
func (t *Trigger) label() string       { return "trigger" }

func (t *Trigger) dump() string {
	l := t.lockLoop()
	defer l.unlock()
	return "trigger " + t.words() + " count=" + itoa(t.count)
}

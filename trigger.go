// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

// A Trigger is an event of the user's own: Fire, from any goroutine, makes the
// loop deliver a [Fired]. It is how other goroutines get the attention of the one
// that receives. It is made by [Loop.Trigger]; a zero one is of no use.
//
// A trigger needs no closing. One that has not been fired does not keep the
// loop from being empty (see Config.ExitOnEmpty).
type Trigger struct {
	source

	// Data is for the user; the package does not touch it.
	Data any

	count int // since the last Take; the loop's mu guards it
}

// Trigger returns a new trigger. That of a closed loop does nothing.
func (l *Loop) Trigger() *Trigger {
	t := new(Trigger)
	t.init(l, t)
	return t
}

// Fire makes the loop deliver a Fired. Until that is received, or Take called,
// further calls only add to the count. It does nothing after Close.
func (t *Trigger) Fire() {
	l := t.lockAndWithdraw() // so that it is known whether the last Fired was received
	defer l.unlock()
	if t.life != lifeOpen || l.closed {
		return
	}
	t.count++
	l.enqueue(&t.source, msgSingle)
}

// Take returns how many times the trigger was fired since the last Take. A Fired
// that has not been received is taken back, so the results of all calls add
// up to the number of calls of Fire.
func (t *Trigger) Take() int {
	return t.takeCount(&t.count)
}

// Close ends the trigger. A Fired that has not been received is taken back.
func (t *Trigger) Close() error {
	l := t.lockAndWithdraw()
	defer l.unlock()
	t.life = lifeClosed
	l.retract(&t.source, msgSingle)
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

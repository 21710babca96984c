// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"context"
	"runtime/trace"
	"slices"
	"time"
)

// An Observer is told of each message that a loop delivers, while it is set by
// [Loop.Observe]. A field that is nil is not called.
//
// The functions are called on the goroutine that delivers, with no lock held, and the loop
// waits for them: they must be quick. They may be called by several goroutines at once. They
// must not call methods that run or end a loop.
type Observer struct {
	// Received is called when a message has been taken from the queue: before the receiver
	// has it with All, Poll and Batches, and after that with Events and Notify.
	Received func(Receipt)

	// Handled is called when the receiver has finished with the message: with All and
	// Batches when the body of the range has ended, with Poll at the next call. With Events
	// and Notify the loop does not know, and Handled is not called.
	Handled func(Receipt)

	// Found is called when EVCHAN_DEBUG has found a probable mistake.
	Found func(Finding)
}

// A Receipt tells of one message that was received.
type Receipt struct {
	Loop   *Loop         // that has delivered it
	Source Source        // what has sent it
	Type   string        // of the message, by its name in Stats.Messages
	Wait   time.Duration // from the entry of the source into the queue to the receipt; negative if not known
	Took   time.Duration // how long the receiver took, or a negative number before Handled

	began int64 // on the loop's clock
}

// An observation is what a loop has while it is observed. It never changes, except for stamps.
type observation struct {
	observers []*Observer
	stamps    *[1 << 13]stamp // by the low bits of seq; the loop's mu guards them
}

// A stamp says when a source has entered its lane.
type stamp struct {
	seq uint64
	at  int64 // on the loop's clock
}

// Observe has o told of the loop's messages, until stop is called. Any number of observers
// can be set. While there is none, a delivery looks at one pointer, and that is all. Calling stop
// again does nothing. Any goroutine may call Observe and stop.
//
// Calls that are under way when stop returns may still come to their end.
func (l *Loop) Observe(o *Observer) (stop func()) {
	l.mustBeMade()
	mine := *o // so that the same Observer can be set twice
	l.lock()
	defer l.unlock()
	now := &observation{observers: []*Observer{&mine}, stamps: new([1 << 13]stamp)}
	if before := l.observed.Load(); before != nil {
		now.observers = append(slices.Clone(before.observers), &mine)
		now.stamps = before.stamps
	}
	l.observed.Store(now)
	return func() { l.stopObserving(&mine) }
}

// stopObserving undoes Observe.
func (l *Loop) stopObserving(o *Observer) {
	l.lock()
	defer l.unlock()
	before := l.observed.Load()
	if before == nil {
		return
	}
	i := slices.Index(before.observers, o)
	switch {
	case i < 0:
	case len(before.observers) == 1:
		l.observed.Store(nil)
	default:
		others := slices.Delete(slices.Clone(before.observers), i, i+1)
		l.observed.Store(&observation{others, before.stamps})
	}
}

// note remembers when the source that has seq has entered its lane. In a turn that is when the
// kernel has answered. The caller holds l.mu.
func (o *observation) note(l *Loop, seq uint64) {
	at := l.stampClock
	if at == 0 {
		at = l.clock()
	}
	o.stamps[seq%uint64(len(o.stamps))] = stamp{seq, at}
}

// entered returns when s has entered its lane, on the loop's clock, or -1 if that is not known.
// The caller holds l.mu.
func (l *Loop) entered(s *source) int64 {
	if o := l.observed.Load(); o != nil {
		if st := o.stamps[s.seq%uint64(len(o.stamps))]; st.seq == s.seq && st.seq != 0 {
			return st.at
		}
	}
	return -1
}

// receive tells the observers of a message that was received, and returns the receipt.
func (o *observation) receive(l *Loop, src Source, typ string, entered int64) Receipt {
	r := Receipt{Loop: l, Source: src, Type: typ, Wait: -1, Took: -1, began: l.clock()}
	if entered >= 0 {
		r.Wait = max(0, time.Duration(r.began-entered))
	}
	for _, o := range o.observers {
		if o.Received != nil {
			o.Received(r)
		}
	}
	return r
}

// handled tells the observers that the receiver has finished.
func (o *observation) handled(r Receipt) {
	r.Took = time.Duration(r.Loop.clock() - r.began)
	for _, o := range o.observers {
		if o.Handled != nil {
			o.Handled(r)
		}
	}
}

// hand gives ev to the body of a range. entered is when its source has entered the queue.
func (l *Loop) hand(ev Event, entered int64, yield func(Event) bool) bool {
	if l.observed.Load() == nil && l.debug == nil && !trace.IsEnabled() {
		return yield(ev)
	}
	return l.handObserved(ev, entered, yield)
}

// handObserved is hand if somebody looks.
func (l *Loop) handObserved(ev Event, entered int64, yield func(Event) bool) bool {
	if trace.IsEnabled() {
		defer trace.StartRegion(context.Background(), "evchan "+typeName(ev)).End()
	}
	if l.debug != nil {
		defer l.debug.watch(l, ev)()
	}
	if o := l.observed.Load(); o != nil {
		r := o.receive(l, ev.Source(), typeName(ev), entered)
		defer o.handled(r)
	}
	return yield(ev)
}

// A polledMessage is a message that Poll has returned, until the next call.
type polledMessage struct {
	o *observation
	r Receipt
}

// observePoll tells the observers that Poll is about to return ev. The caller runs the loop.
func (l *Loop) observePoll(ev Event, entered int64) {
	if o := l.observed.Load(); o != nil {
		l.polled = &polledMessage{o, o.receive(l, ev.Source(), typeName(ev), entered)}
	}
}

// polledAgain tells the observers that the receiver has come back. The caller runs the loop.
func (l *Loop) polledAgain() {
	if p := l.polled; p != nil {
		l.polled = nil
		p.o.handled(p.r)
	}
}

// observeTurn is turnHoldingToken within a region of runtime/trace.
func (l *Loop) observeTurn(limit time.Duration, delivers bool) {
	defer trace.StartRegion(context.Background(), "evchan turn").End()
	l.takeTurn(limit, delivers)
}

// DumpSource returns the line that [Loop.Dump] writes for s, without its end.
func DumpSource(s Source) string { return s.base().owner.dump() }

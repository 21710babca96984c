// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"iter"
	"sync"
	"time"
)

// How Batches divides the work between the receiver and the loop's own goroutine:
//
// The channel has a buffer of one. When the queue gets its first source, offerBatch puts a
// batch there: that needs no goroutine that waits in a send, since a batch is only a right to
// look. The receiver that ranges over it delivers, and makes a turn each time that the queue
// is empty or a turn is due. Meanwhile the loop's own goroutine stands by. When a turn has
// brought nothing, the range ends, and the loop's own goroutine makes the next turn, which
// waits for the kernel.
//
// So a busy receiver works as a range over All does, without a switch of goroutines. Nothing
// depends on it, though: if a receiver makes no turns, a watchdog has the loop's own goroutine
// make them until a batch is received again.

// A batching is what a loop needs for Batches.
type batching struct {
	watchdog alarm // calls Loop.checkAttendance; belongs to the loop's own goroutine; nil: not needed yet

	// The loop's mu guards the following.

	attended bool          // the next turn is up to a receiver: the loop's own goroutine stands by
	standing bool          // the loop's own goroutine waits on resumed
	resumed  *sync.Cond    // on the loop's mu: the loop's own goroutine has to look again
	ranging  int           // goroutines that range over a batch
	vain     int           // ranges in a row in which no turn has brought a message
	patience time.Duration // after which watchdog does so; 0: it does not
}

// The watchdog first looks after minPatience, and then twice as late each time, as long as
// receivers make the turns: at the latest after maxPatience. Arbitrary: each look costs a
// switch of threads.
const (
	minPatience = 10 * time.Millisecond
	maxPatience = 80 * time.Millisecond
)

// maxVain is after how many ranges in a row, in which nothing had come in the meantime, ranges
// end without a last look. Only every maxVain-th looks then. The loop's own goroutine looks in
// any case before it waits, and one look is enough if messages come singly. Arbitrary.
const maxVain = 8

// Batches returns a channel on which batches of messages arrive. Range over each of them
// with [Batch.All]. While you do, your goroutine runs the loop, as with [Loop.All], and the
// cost is about the same. While nobody ranges over a batch, a goroutine of the loop's own
// runs it, as with Events.
//
// While the body of the range runs, the loop is paused, as with All, except for delivery to the
// channels of Notify. If that takes long, the loop's own goroutine goes on: after 10 ms, or up
// to 90 ms if receivers have been quick for a while.
//
// A batch is a right to take messages from the loop's queue, so its messages are as exact
// as those of Events. If several goroutines receive batches, they share the messages of
// the queue, and one of them at a time runs the loop. A batch can turn out to be empty. If
// you do not range over a batch, its messages come with a later one.
//
// Everything else is as with Events. If the loop is running already, the first call
// panics.
func (l *Loop) Batches() <-chan Batch {
	l.lock()
	defer l.unlock()
	if l.batchesc == nil {
		if !l.closed {
			l.mustNotRun()
		}
		c := make(chan Batch, 1)
		l.batchesc, l.own.batches = c, c
		l.resumed = sync.NewCond(&l.mu)
		if l.startLocked(l.endBatches) {
			l.own.fed = true
			close(l.fedc)        // there is no feeder
			l.wakeFeeder(&l.own) // if the queue has something already
		}
	}
	return l.batchesc
}

// endBatches closes the channel of Batches. The loop is closed, so nothing sends there.
func (l *Loop) endBatches() {
	if l.watchdog != nil {
		l.watchdog.stop()
	}
	l.retractBatch()
	close(l.batchesc)
}

// A Batch is a right to take messages from the queue of a loop. See [Loop.Batches].
type Batch struct{ loop *Loop }

// All returns an iterator that runs the loop, and takes messages from its queue. It ends
// when nothing is ready, without waiting, or when Config.MaxBatch messages were taken. To
// break out of the range leaves the rest in the queue for the next batch. The zero Batch,
// which a closed channel gives, is empty.
func (b Batch) All() iter.Seq[Event] {
	return func(yield func(Event) bool) {
		if b.loop != nil {
			b.loop.rangeBatch(yield)
		}
	}
}

// rangeBatch yields the messages of one batch, and makes the turns.
func (l *Loop) rangeBatch(yield func(Event) bool) {
	l.lock()
	l.ranging++
	l.attended = true
	hopeful := l.vain < maxVain || l.vain%maxVain == 0
	l.unlock()
	more := false
	defer func() { l.leaveBatch(more) }() // also if yield panics
	for range l.conf.MaxBatch {
		ev, entered, ok := l.deliver(false)
		if !ok {
			if hopeful || l.turnDue() {
				l.tryTurn()
			}
			ev, entered, ok = l.deliver(true)
			more = more || ok
		}
		if !ok || !l.hand(ev, entered, yield) {
			return
		}
	}
	l.tryTurn() // one may be due, and the receiver need not come back
	more = true
}

// turnDue reports whether MaxBatch messages were delivered since the last turn.
func (l *Loop) turnDue() bool {
	l.lock()
	defer l.unlock()
	return l.left <= 0
}

// leaveBatch ends the range over a batch. If the queue has more, there must be another
// batch. Otherwise the turns are up to the loop's own goroutine, which can wait. more tells
// whether a turn of this range was worth it.
func (l *Loop) leaveBatch(more bool) {
	l.lock()
	l.ranging--
	if l.vain++; more {
		l.vain = 0
	}
	if l.own.head(l.upto(&l.own)) != nil {
		l.wakeFeeder(&l.own)
	} else {
		l.retractBatch()
		l.attended = false
	}
	l.resume()
	l.unlock()
}

// tryTurn makes a turn that does not wait, unless another goroutine is in a turn.
func (l *Loop) tryTurn() {
	select {
	case l.turnc <- struct{}{}:
		defer l.callReleases() // also if a Filter ends the goroutine
		l.makeTurn(0, true)
	default:
	}
}

// offerBatch puts a batch into the channel of Batches, unless there is one already or there
// is nothing to take. It leaves the next turn to the receiver. The caller holds l.mu.
func (l *Loop) offerBatch() {
	if l.brk || l.own.head(l.upto(&l.own)) == nil || !l.putBatch() {
		return
	}
	l.attended = true
	if l.patience == 0 && l.parked {
		l.wakePoller = true // the loop's own goroutine sets the watchdog
	}
}

// putBatch puts a batch into the channel of Batches, and reports false if there is one
// already. The caller holds l.mu.
func (l *Loop) putBatch() bool {
	if l.closed {
		return false
	}
	select {
	case l.batchesc <- Batch{l}:
		return true
	default:
		return false
	}
}

// retractBatch takes back the batch in the channel, if there is one. The caller holds l.mu, or
// the loop is closed.
func (l *Loop) retractBatch() {
	select {
	case <-l.batchesc:
	default:
	}
}

// resume has the loop's own goroutine look again whether to stand by. The caller holds l.mu.
func (l *Loop) resume() {
	if l.standing {
		l.resumed.Signal()
	}
}

// standBy waits while receivers of batches make the turns. It returns if the next turn is up to
// the loop's own goroutine, which calls it.
func (l *Loop) standBy() {
	l.lock()
	defer l.unlock()
	for l.attended && !l.mustTurn() {
		if l.patience == 0 {
			l.patience = minPatience
			l.unlock()
			if l.watchdog == nil {
				l.watchdog = newAlarm(l.poller, l.checkAttendance)
			}
			l.watchdog.set(minPatience)
			l.lock()
			continue
		}
		l.standing = true
		l.resumed.Wait()
		l.standing = false
	}
}

// mustTurn reports whether the loop's own goroutine must not stand by: the range is to end, or
// there is something to do in a turn and nobody ranges over a batch. The caller holds l.mu.
func (l *Loop) mustTurn() bool {
	return l.wakePoller && l.ranging == 0 || l.over()
}

// checkAttendance is called by the watchdog. If no turn was made for minPatience, it leaves
// the turns to the loop's own goroutine. It also puts a batch into the channel for one that
// was received and not ranged over, which nothing else tells. It returns when it is to be
// called again, 0 if nothing is left to watch.
func (l *Loop) checkAttendance() time.Duration {
	l.lock()
	defer l.unlock()
	if l.closed || !l.attended && l.own.n == 0 {
		l.retractBatch() // so while there is one, the watchdog runs
		l.patience = 0
		return 0
	}
	if !l.attended || time.Duration(l.clock()-l.turnClock) < minPatience {
		l.patience = min(2*l.patience, maxPatience)
	} else {
		l.attended = false
		l.resume()
		l.patience = minPatience
	}
	if l.own.n > 0 {
		l.putBatch()
	}
	return l.patience
}

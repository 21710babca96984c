// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"runtime"
	"time"
)

// A feeder is the goroutine that sends the messages of a route to a channel, and this is what
// it needs. A route to a channel of Notify has one while live sources send there. The loop's
// own route has one with Events. The loop's mu guards all fields.
//
// A message is on offer while the feeder waits for the channel to take it. It has not been
// received then, so it can still be taken back: before a source is changed, its offer is
// withdrawn (see lockAndWithdraw).
type feeder struct {
	ch      chan<- Event  // takes the messages; nil: the loop's own route, without Events
	batches chan<- Batch  // takes batches instead, with Batches: there is no goroutine then
	fed     bool          // the goroutine runs, or there is batches
	wakec   chan struct{} // holds at most one token, which asks the feeder to look again
	kickc   chan struct{} // holds at most one token, which asks the feeder to cancel its offer

	offer     *source // what is on offer, taken out of its lane; nil: nothing
	offerBit  pending // the message of offer, taken out of its pend
	waiting   int     // goroutines that wait until the offer is withdrawn
	preempted bool    // stands in Loop.preempted: something more urgent than the offer has come
	waking    bool    // stands in Loop.feedersToWake
	dissolved bool    // the user has closed ch, see dissolve
}

// An outcome is the result of an attempt to send a message.
type outcome int

const (
	offerRefused  outcome = iota // nobody took it, it was withdrawn, or the loop was closed
	offerReceived                // it was received, or lies in the user's buffered channel
	offerClosed                  // the user has closed the channel
)

// try sends ev if the channel takes it at once.
func (r *route) try(ev Event) (o outcome) {
	defer func() {
		if recover() != nil { // a send on a closed channel: nothing else panics here
			o = offerClosed
		}
	}()
	select {
	case r.ch <- ev:
		return offerReceived
	default:
		return offerRefused
	}
}

// await waits until the channel takes ev, the offer is withdrawn, or done is closed. The
// caller does not hold the loop's mu.
func (r *route) await(ev Event, done <-chan struct{}) (o outcome) {
	defer func() {
		if recover() != nil {
			o = offerClosed
		}
	}()
	select {
	case <-r.kickc: // comes first even if a receiver is ready
		return offerRefused
	default:
	}
	select {
	case r.ch <- ev:
		return offerReceived
	case <-r.kickc:
		return offerRefused
	case <-done:
		return offerRefused
	}
}

// feed is the feeder's goroutine: it delivers the messages of r until the loop is closed or
// no live source sends there any more, or the user has closed the channel.
//
// For each message, it first tries to send without waiting. If no receiver is ready, it
// yields to other goroutines once, if the yieldPolicy allows it, and tries again. Only then
// does it put the message on offer and wait in a select, which costs far more.
func (l *Loop) feed(r *route) {
	l.lock()
	yielded := false
	var policy yieldPolicy
	for !l.closed && (r.live > 0 && !r.dissolved || r == &l.own) {
		l.giveWay()
		if l.brk && r == &l.own {
			l.rest(r) // Break was called: the loop is about to end
			continue
		}
		s, bit := l.next(r)
		if s == nil {
			l.rest(r)
			yielded = false
			policy.idle()
			continue
		}
		if !l.vouch(s, bit) {
			continue
		}
		ev := s.message(bit)
		o := r.try(ev)
		if o == offerRefused && (yielded || !policy.mayYield()) {
			r.offer, r.offerBit, s.offered = s, bit, true
			l.unlockOffering() // not unlock: two feeders could wait for each other
			o = r.await(ev, l.done)
			l.lock()
			r.offer, s.offered = nil, false
			yielded = false
		} else {
			yielded = o == offerRefused
		}
		s.owner.unhold(bit)
		var typ string
		entered := int64(-1)
		if o == offerReceived {
			if l.observed.Load() != nil {
				typ, entered = typeName(ev), l.entered(s)
			}
			l.take(s, bit, ev)
		} else {
			l.unpop(s, bit)
		}
		if o == offerClosed {
			l.dissolve(r)
		}
		l.step(r)
		if ob := l.observed.Load(); ob != nil && typ != "" {
			l.unlock()
			ob.receive(l, s.owner, typ, entered)
			l.lock()
		}
		if o == offerReceived && cap(r.ch) == 0 && r.n > 0 && policy.mayYield() {
			yielded = true // the receiver has yet to run: it cannot be ready for the next one
		}
		if yielded {
			// Most often the receiver is about to come back: let it run.
			l.unlock()
			runtime.Gosched()
			l.lock()
			policy.yielded(l)
		}
	}
	r.fed = false
	l.unlock()
	if r == &l.own {
		close(l.fedc)
	}
}

// A yieldPolicy decides whether a feeder yields to its receiver. To yield is the cheapest way
// to hand messages over. But if other goroutines keep all processors busy, a feeder that
// yields waits for all of them, up to 10 ms each, and again for the next message.
//
// So the policy measures groups of four yields. If a group took longer than slowYield for
// each yield, the feeder does not yield for the next yieldSkip messages.
type yieldPolicy struct {
	yields int   // in this group
	began  int64 // when the group began, on the loop's clock
	skip   int   // messages before the next yield
}

// A yield that takes longer than slowYield has waited for other goroutines than the receiver,
// or for a slow receiver. Both values are arbitrary. 1 ms was too little for slowYield: a
// peer's process that shares the processor has it for some milliseconds now and then.
// yieldToScheduler uses both as well.
const (
	slowYield = int64(5 * time.Millisecond)
	yieldSkip = 1000
)

// idle notes that the feeder had nothing to send for a while: a new group begins.
func (m *yieldPolicy) idle() { m.yields = 0 }

// mayYield reports whether to yield for the next message. If not, it counts the message.
func (m *yieldPolicy) mayYield() bool {
	if m.skip > 0 {
		m.skip--
		return false
	}
	return true
}

// yielded notes that the feeder has yielded. The caller holds l.mu.
func (m *yieldPolicy) yielded(l *Loop) {
	if m.yields++; m.yields == 1 {
		m.began = l.clock()
	} else if m.yields > 4 {
		m.yields = 0
		if l.clock()-m.began > 4*slowYield {
			m.skip = yieldSkip
		}
	}
}

// giveWay yields to the goroutine that makes the turns, if MaxBatch messages were delivered
// since the last turn. Without that it could wait long: the runtime prefers goroutines that
// wake each other in turn, as a feeder and a receiver do. The caller holds l.mu, which is let
// go meanwhile.
func (l *Loop) giveWay() {
	if l.left > 0 {
		return
	}
	l.unlock()
	runtime.Gosched()
	l.lock()
}

// vouch reports whether the message of bit, which next has returned with s, is still true.
// If so, vouch has called hold: until unhold, the message stays true or is taken back. If
// not, vouch has dropped it. The caller holds l.mu.
func (l *Loop) vouch(s *source, bit pending) bool {
	if bit == msgMade {
		return true // until it is taken back
	}
	s.owner.hold(bit)
	if s.owner.confirm(bit) != 0 {
		return true
	}
	s.owner.unhold(bit)
	l.drop(s, bit)
	return false
}

// step ends the delivery of one message. It first lets those goroutines go on that wait
// until the offer is withdrawn. The caller holds l.mu, which is let go meanwhile.
func (l *Loop) step(r *route) {
	select {
	case <-r.kickc: // came too late: the offer has ended already
	default:
	}
	for r.waiting > 0 {
		l.withdrawn.Broadcast()
		l.withdrawn.Wait()
	}
}

// rest waits until something may have changed for r, or the loop is closed. The caller holds
// l.mu, which is let go meanwhile.
func (l *Loop) rest(r *route) {
	if l.exitDue && r == &l.own {
		l.wakePoller = true // Exit was called, and the last message may have been received
	}
	l.unlock()
	select {
	case <-r.wakec:
	case <-l.done:
	}
	l.lock()
}

// wakeFeeder has unlock wake r's feeder, if r has one, or offer a batch. The caller holds l.mu.
func (l *Loop) wakeFeeder(r *route) {
	if r.fed && !r.waking && len(r.batches) == 0 {
		r.waking = true
		l.feedersToWake = append(l.feedersToWake, r)
	}
}

// withdraw has r's feeder cancel its offer, and waits until it has done so or the message was
// received. It waits for the feeder, never for the receiver. The feeder offers nothing more
// until the caller lets go of l.mu. The caller holds l.mu, which is let go meanwhile.
func (l *Loop) withdraw(r *route) {
	r.waiting++
	for s := r.offer; s != nil && r.offer == s; {
		r.kick()
		l.withdrawn.Wait()
	}
	if r.waiting--; r.waiting == 0 {
		l.withdrawn.Broadcast()
	}
}

// kick asks the feeder to cancel its offer; it then goes on with the most urgent message. The
// caller holds the loop's mu.
func (r *route) kick() {
	select {
	case r.kickc <- struct{}{}:
	default: // one is enough
	}
}

// launch starts r's feeder. The caller holds l.mu.
func (l *Loop) launch(r *route) {
	r.fed = true
	go l.feed(r)
}

// newRoute returns a route to ch, without a feeder. If ch is nil, it is the loop's own route.
func (l *Loop) newRoute(ch chan<- Event) *route {
	return &route{
		loop:  l,
		lanes: make([]lane, l.conf.Priorities),
		feeder: feeder{
			ch:    ch,
			wakec: make(chan struct{}, 1),
			kickc: make(chan struct{}, 1),
		},
	}
}

// routeTo returns the route to ch, a new one if the loop knows none; if ch is nil, the loop's
// own. The caller holds l.mu.
func (l *Loop) routeTo(ch chan<- Event) *route {
	if ch == nil {
		return &l.own
	}
	if r := l.routes[ch]; r != nil {
		return r
	}
	return l.newRoute(ch)
}

// reroute makes s send on r, also what it has pending. The caller holds l.mu, and s is not on
// offer.
func (l *Loop) reroute(s *source, r *route) {
	if s.route.Load() == r {
		return
	}
	queued := s.queued
	if queued {
		s.route.Load().remove(s)
	}
	if s.index != 0 {
		l.parted(s)
	}
	s.route.Store(r)
	if s.index != 0 {
		l.joined(s)
	}
	if queued {
		l.push(s)
	}
}

// joined counts s, which has become live, as a user of its route, and starts the feeder if
// there is none. A route to a channel of Notify stands in Loop.routes only while it has live
// users. The caller holds l.mu.
func (l *Loop) joined(s *source) {
	r := l.routeOf(s)
	if r == &l.own {
		return
	}
	if known := l.routes[r.ch]; known == nil {
		l.routes[r.ch] = r
	} else if known != r {
		r = known // Notify was called for two sources before either was live
		s.route.Store(r)
	}
	r.live++
	if !r.fed {
		l.launch(r)
	}
}

// parted undoes joined. Without users, the feeder ends. The caller holds l.mu.
func (l *Loop) parted(s *source) {
	r := s.route.Load()
	if r == &l.own || r.dissolved {
		return
	}
	if r.live--; r.live == 0 {
		delete(l.routes, r.ch)
		l.wakeFeeder(r) // to end
	}
}

// dissolve ends r, whose channel the user has closed. The sources that stand in r go to the
// loop's own route at once. The others go there when they next have a message: a walk over all
// sources for each of many channels would take long. The caller holds l.mu.
func (l *Loop) dissolve(r *route) {
	delete(l.routes, r.ch)
	r.dissolved = true
	for i := range r.lanes {
		for s := r.lanes[i].head; s != nil; s = r.lanes[i].head {
			r.remove(s)
			l.push(s)
		}
	}
}

// routeOf returns the route of s. If that was dissolved, it first gives s the loop's own. The
// caller holds l.mu.
func (l *Loop) routeOf(s *source) *route {
	r := s.route.Load()
	if r.dissolved {
		r = &l.own
		s.route.Store(r)
	}
	return r
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"runtime"
	"time"
)

// A feeder is what a route has for the goroutine that sends its messages to a channel. The
// loop's mu guards all fields.
//
// The feeder waits until the channel takes the next message. What is being offered there has
// not been received: before a source is changed, the offer is withdrawn.
type feeder struct {
	ch      chan<- Event  // where messages are sent; nil: the loop's own route, without Events
	batches chan<- Batch  // where batches are offered instead
	fed     bool          // the goroutine runs
	wakec   chan struct{} // one token: there is something to look at
	kickc   chan struct{} // one token: the offer is to be withdrawn

	offer     *source // what is offered, taken out of its lane; nil: nothing
	offerBit  pending // the message of it that is offered, taken out of its pend
	waiting   int     // goroutines that wait until the offer is withdrawn
	preempted bool    // stands in Loop.preempted: something more urgent than the offer has come
	waking    bool    // stands in Loop.feedersToWake
	dissolved bool    // the user has closed ch
}

// An outcome tells what became of an offer.
type outcome int

const (
	offerRefused  outcome = iota // nobody took it, or it was withdrawn
	offerReceived                // it was received, or lies in the user's buffered channel
	offerClosed                  // the user has closed the channel
)

// try sends ev if that is possible at once.
func (r *route) try(ev Event) (o outcome) {
	defer func() {
		if recover() != nil { // send on closed channel: nothing else can panic here
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

// await sends ev as soon as it is received, unless the offer is withdrawn or
// the loop closed.
func (r *route) await(ev Event, done <-chan struct{}) (o outcome) {
	defer func() {
		if recover() != nil {
			o = offerClosed
		}
	}()
	select {
	case <-r.kickc: // goes first if a receiver is there as well
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

// feed delivers what comes to r until the loop is closed or nobody sends there
// any more. It is a goroutine.
func (l *Loop) feed(r *route) {
	l.lock()
	yielded := false
	var manners yieldPolicy
	for !l.closed && (r.live > 0 && !r.dissolved || r == &l.own) {
		l.giveWay()
		if l.brk && r == &l.own {
			l.rest(r) // the loop is about to end
			continue
		}
		if r.batches != nil {
			l.offerBatch(r)
			continue
		}
		s, bit := l.next(r)
		if s == nil {
			l.rest(r)
			yielded = false
			manners.begin()
			continue
		}
		if !l.vouch(s, bit) {
			continue
		}
		ev := s.owner.event(bit)
		o := r.try(ev)
		if o == offerRefused && (yielded || !manners.pay()) {
			r.offer, r.offerBit, s.offered = s, bit, true
			l.unlockOffering() // not unlock: two feeders could wait for each other's offer
			o = r.await(ev, l.done)
			l.lock()
			r.offer, s.offered = nil, false
			yielded = false
		} else {
			yielded = o == offerRefused
		}
		s.owner.unhold(bit)
		if o == offerReceived {
			l.take(s, bit, ev)
		} else {
			l.unpop(s, bit)
		}
		if o == offerClosed {
			l.dissolve(r)
		}
		l.step(r)
		if o == offerReceived && cap(r.ch) == 0 && r.n > 0 && manners.pay() {
			yielded = true // it has yet to run, and would only be found not to be back
		}
		if yielded {
			// The receiver is most often about to come back: let it run
			// rather than wait in a select, which costs far more.
			l.unlock()
			runtime.Gosched()
			l.lock()
			manners.yielded(l)
		}
	}
	r.fed = false
	l.unlock()
	if r == &l.own {
		close(l.fedc)
	}
}

// yieldPolicy tell a feeder whether to yield to its receiver. That is the cheapest way to
// hand messages over, but where other goroutines keep all processors busy, who yields
// stands behind them all, for 10 ms each, and once a message.
type yieldPolicy struct {
	yields int   // in this group of 4
	began  int64 // when the group did, by the loop's clock
	skip   int   // messages before the next yield
}

// A message that takes longer than slowYield, of a few, has been waiting for others than its
// receiver, or for one that is slow. Then the next yieldSkip messages, or so, are waited
// with in a select. Both are arbitrary; but 1 ms was too little where the peer's process
// shares the processor, and has it for some milliseconds now and then.
const (
	slowYield = int64(5 * time.Millisecond)
	yieldSkip = 1000
)

// begin is told that there was nothing to do for a while.
func (m *yieldPolicy) begin() { m.yields = 0 }

// pay reports whether to yield for the next message.
func (m *yieldPolicy) pay() bool {
	if m.skip > 0 {
		m.skip--
		return false
	}
	return true
}

// yielded is told of each yield.
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

// giveWay lets the goroutine that makes the turns go on, if it is late: the runtime
// runs those who wake each other in turn, as a feeder and a receiver do, before all
// others. l.mu is held, and let go meanwhile.
func (l *Loop) giveWay() {
	if l.left > 0 {
		return
	}
	l.unlock()
	runtime.Gosched()
	l.lock()
}

// vouch holds the message of bit, which next returned with s, and reports whether it is
// still true. If it is not, vouch drops it; else it stays true until unhold, or is taken
// back. The caller holds the loop's lock.
func (l *Loop) vouch(s *source, bit pending) bool {
	s.owner.hold(bit)
	if s.owner.confirm(bit) != 0 {
		return true
	}
	s.owner.unhold(bit)
	l.drop(s, bit)
	return false
}

// step ends the delivery of one message: whoever waits for the offer to be
// withdrawn goes first. l.mu is held, and let go meanwhile.
func (l *Loop) step(r *route) {
	select {
	case <-r.kickc: // came too late
	default:
	}
	for r.waiting > 0 {
		l.withdrawn.Broadcast()
		l.withdrawn.Wait()
	}
}

// offerBatch offers a batch if there is anything to be had. l.mu is held, and
// let go meanwhile.
func (l *Loop) offerBatch(r *route) {
	if r.head(l.upto(r)) != nil {
		l.unlock()
		select {
		case r.batches <- Batch{l}:
		case <-l.done:
		}
		l.lock()
	}
	if !l.closed {
		l.rest(r) // the end of the batch wakes the feeder if there is more
	}
}

// rest waits until something may have changed for r. l.mu is held, and let go
// meanwhile.
func (l *Loop) rest(r *route) {
	if l.exitDue && r == &l.own {
		l.wakePoller = true // the loop may end now
	}
	l.unlock()
	select {
	case <-r.wakec:
	case <-l.done:
	}
	l.lock()
}

// wakeFeeder has r's feeder woken when the lock is let go. l.mu is held.
func (l *Loop) wakeFeeder(r *route) {
	if r.fed && !r.waking {
		r.waking = true
		l.feedersToWake = append(l.feedersToWake, r)
	}
}

// withdraw takes back what r offers. It waits for the feeder, never for the
// receiver. The feeder goes on when the lock is next let go. l.mu is held, and
// let go meanwhile.
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

// kick has the feeder take its offer back, and then go on. The loop's mu is held.
func (r *route) kick() {
	select {
	case r.kickc <- struct{}{}:
	default: // one is enough
	}
}

// launch gives r its feeder. l.mu is held.
func (l *Loop) launch(r *route) {
	r.fed = true
	go l.feed(r)
}

// newRoute returns a route to ch.
func (l *Loop) newRoute(ch chan<- Event) *route {
	return &route{
		lanes: make([]lane, l.conf.Priorities),
		feeder: feeder{
			ch:    ch,
			wakec: make(chan struct{}, 1),
			kickc: make(chan struct{}, 1),
		},
	}
}

// routeTo returns the route to ch. l.mu is held.
func (l *Loop) routeTo(ch chan<- Event) *route {
	if ch == nil {
		return &l.own
	}
	if r := l.routes[ch]; r != nil {
		return r
	}
	return l.newRoute(ch)
}

// reroute makes s send on r. l.mu is held, and s is not offered.
func (l *Loop) reroute(s *source, r *route) {
	if s.route == r {
		return
	}
	queued := s.queued
	if queued {
		s.route.remove(s)
	}
	if s.index != 0 {
		l.parted(s)
	}
	s.route = r
	if s.index != 0 {
		l.joined(s)
	}
	if queued {
		l.push(s)
	}
}

// joined counts s, which is live, as a user of its route. The loop knows a
// route to a channel of the user's only while it has live users. l.mu is held.
func (l *Loop) joined(s *source) {
	r := l.routeOf(s)
	if r == &l.own {
		return
	}
	if known := l.routes[r.ch]; known == nil {
		l.routes[r.ch] = r
	} else if known != r {
		r = known // two sources were sent to one channel before either was live
		s.route = r
	}
	r.live++
	if !r.fed {
		l.launch(r)
	}
}

// parted undoes joined. l.mu is held.
func (l *Loop) parted(s *source) {
	r := s.route
	if r == &l.own || r.dissolved {
		return
	}
	if r.live--; r.live == 0 {
		delete(l.routes, r.ch)
		l.wakeFeeder(r) // to find that it is over
	}
}

// dissolve ends r, whose channel the user has closed. What stands in r goes to the loop's own
// route at once, and each other source when it next has something to say: a walk over all
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

// routeOf returns the route of s: the loop's own, if that which it had was dissolved. The
// caller holds l.mu.
func (l *Loop) routeOf(s *source) *route {
	if s.route.dissolved {
		s.route = &l.own
	}
	return s.route
}

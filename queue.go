// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import "reflect"

// How readiness becomes a message, for a stream that can be read:
//
//	poller.wait -> Stream.ready -> enqueue(workRead) -> lane -> next -> prepare -> confirm -> take
//
// ready reads nothing: it only puts the source into the queue. The read happens at delivery:
// next takes the source out of its lane, and calls prepare, which reads. All this is done by
// the goroutine that delivers: the receiver itself in All, Poll and Batch.All, otherwise a
// feeder. confirm drops messages that are no longer true. take marks the message as received.
// A source that needs no work before its message, such as a timer, enqueues the message
// itself, and prepare is not called.
//
// There is a second path: ready -> assign -> task (loop.go). It is for what needs no
// receiver: to flush output, to accept connections, to drive a close. The goroutine that
// makes the turn calls task in the same turn, whether or not anyone receives.

// pending is a set of messages that a source has to send, and of work that it has to do.
type pending uint16

// The messages, in the order in which one source sends them, and then the work.
const (
	msgMade pending = 1 << iota // what the source's layer has made
	msgAccepted
	msgMoved
	msgConnected
	msgReadable
	msgDrained
	msgStopping // is enqueued only for a layer
	msgTimedOut
	msgEOF
	msgClosed
	msgSingle // the one kind of message of a source that is not a stream

	workRead  // the descriptor may be readable: prepare must read to find the next message
	workMore  // the layer is to be called with a nil message, since the one that it has made is gone
	workAgain // the same, since Again was called

	msgMask = workRead - 1
	workAsk = workMore | workAgain
)

// A route is a queue of sources that have pending messages or work, and the way to their
// receiver. A loop has one of its own, for All, Poll, Events or Batches, and one for each
// channel that was given to Notify. The loop's mu guards all fields.
type route struct {
	loop          *Loop  // never changes
	lanes         []lane // by priority
	first         int    // all lanes before this one are empty
	n             int    // sources in all lanes
	busy          int    // sources whose prepare is running
	live          int    // live sources that send here; not counted for the loop's own route
	frontRequeues int    // how often requeueFront has put a source at the head, since it last did not

	feeder
}

// maxFrontRequeues bounds how many times in a row streams read before the others of their
// lane have their turn. It concerns streams whose input was full and has been consumed. With
// the default MaxInput, the bound is 1 MiB. Such a stream reads on at once because its data,
// and what its peer sends meanwhile, is in the processor's cache then. Arbitrary; with 4
// there was still a loss.
const maxFrontRequeues = 16

// enqueue adds bits to what s has pending, and puts s into its lane if it has to be there.
// If s is filtered, its filter gets the bits. The caller holds l.mu.
func (l *Loop) enqueue(s *source, bits pending) {
	if s.filtered {
		s.owner.divert(bits)
		return
	}
	s.pend |= bits
	if s.offered && bits&s.route.Load().offerBit != 0 {
		// The same message is on offer. If it has just been received, there must be
		// another one; if not, the two are one. Taking the offer back settles which.
		s.route.Load().kick()
	}
	if s.queued || s.busy || s.offered || s.pend == 0 || l.closed {
		return
	}
	if s.index == 0 {
		l.refresh(s) // before push: it may change s.route
	}
	l.push(s)
}

// requeueFront puts s, which has workRead pending, at the head of its lane. After
// maxFrontRequeues, it leaves s where it is once, so that the others have their turn. The
// caller holds l.mu.
func (l *Loop) requeueFront(s *source) {
	r := s.route.Load()
	if s.pend != workRead || !s.queued || l.exitDue {
		return
	}
	if r.frontRequeues++; r.frontRequeues < maxFrontRequeues {
		r.remove(s)
		r.pushFront(s)
	} else {
		r.frontRequeues = 0
	}
}

// unreceived returns the messages of s that were not received, the one on offer among them.
// The caller holds the loop's mu.
func (s *source) unreceived() pending {
	if s.offered {
		return s.pend&msgMask | s.route.Load().offerBit
	}
	return s.pend & msgMask
}

// push puts s at the end of its lane. The caller holds l.mu.
func (l *Loop) push(s *source) {
	l.seq++
	s.seq = l.seq
	if o := l.observed.Load(); o != nil {
		o.note(l, s.seq)
	}
	r := l.routeOf(s)
	r.pushBack(s)
	l.stir(r, s)
}

// stir makes sure that s, which was put into r, will be delivered: unlock then withdraws an
// offer of r that is less urgent, and wakes r's feeder or, if r has none, the goroutine that
// waits for the kernel. The caller holds l.mu.
func (l *Loop) stir(r *route, s *source) {
	if r.offer != nil && s.prio < r.offer.prio && !r.preempted {
		r.preempted = true
		l.preempted = append(l.preempted, r)
	}
	if r.fed {
		l.wakeFeeder(r)
		if s.layer != nil && l.draining.Load() {
			l.feederWork, l.wakePoller = true, true
		}
		return
	}
	l.wakePoller = true
	l.layerWork = l.layerWork || s.layer != nil
}

// retract takes back bits of what s has pending. The caller holds l.mu, and has made sure
// that no message of bits is on offer (see lockAndWithdraw).
func (l *Loop) retract(s *source, bits pending) {
	s.pend &^= bits
	if s.queued && s.pend == 0 {
		s.route.Load().remove(s)
	}
	l.refresh(s)
}

// A lane is a list of sources of one priority, in the order of their seq. The prev of its
// head means nothing.
type lane struct {
	head, tail *source
	n          int
}

// pushBack puts s at the end of its lane. The caller holds the loop's mu.
func (r *route) pushBack(s *source) {
	q := &r.lanes[s.prio]
	s.prev, s.next = q.tail, nil
	if q.tail == nil {
		q.head = s
	} else {
		q.tail.next = s
	}
	q.tail = s
	r.entered(s)
}

// pushFront puts s at the head of its lane. The caller holds the loop's mu.
func (r *route) pushFront(s *source) {
	q := &r.lanes[s.prio]
	s.prev, s.next = nil, q.head
	if q.head == nil {
		q.tail = s
	} else {
		q.head.prev = s
	}
	q.head = s
	r.entered(s)
}

// entered notes that s stands in its lane.
func (r *route) entered(s *source) {
	s.queued = true
	r.n++
	r.lanes[s.prio].n++
	r.first = min(r.first, int(s.prio))
}

// remove takes s out of its lane. The caller holds the loop's mu.
func (r *route) remove(s *source) {
	q := &r.lanes[s.prio]
	switch {
	case s == q.head:
		// The next source is not written to: most often it is not in the cache.
		q.head = s.next
		if q.head == nil {
			q.tail = nil
		}
	case s.next == nil:
		s.prev.next = nil
		q.tail = s.prev
	default:
		s.prev.next = s.next
		s.next.prev = s.prev
	}
	s.prev, s.next = nil, nil
	s.queued = false
	r.n--
	q.n--
}

// head returns the first source of the most urgent lane, or nil. Sources whose seq is
// greater than upto are left out. The caller holds the loop's mu.
func (r *route) head(upto uint64) *source {
	if r.n == 0 {
		r.first = len(r.lanes)
		return nil
	}
	for r.lanes[r.first].head == nil {
		r.first++
	}
	for i := r.first; i < len(r.lanes); i++ {
		// A lane is in the order of seq, so its head is enough.
		if s := r.lanes[i].head; s != nil && s.seq <= upto {
			return s
		}
	}
	return nil
}

// next returns the next message of r: the most urgent source that has one, and the message's
// bit. It has taken the source out of its lane, and the bit out of what the source has
// pending. If there is no message, it returns nil.
//
// If a source has work to do before its next message is known, such as to read, next calls
// prepare and lets go of l.mu meanwhile. It calls confirm, and drops messages that are no
// longer true.
//
// The caller holds l.mu. It then calls take if the message was received, else unpop or drop.
func (l *Loop) next(r *route) (*source, pending) {
	for !l.closed {
		s := r.head(l.upto(r))
		if s == nil {
			break
		}
		r.remove(s)
		if s.layer != nil && s.pend&(msgMask|workAsk) != 0 {
			switch {
			case s.pend&msgMade == 0 && !l.consult(r, s, r.fed && r.batches == nil):
				if l.left > 0 {
					continue
				}
				// The layers may have nothing to say without end: it is time for a turn.
				if !r.fed || r.batches != nil {
					return nil, 0
				}
				l.giveWay()
				continue
			case s.route.Load() != r || r.n > 0 && r.first < int(s.prio):
				l.unpop(s, 0)
				continue
			}
			s.pend &^= msgMade
			return s, msgMade
		}
		if s.pend&msgMask == 0 {
			if !l.prepareSource(r, s) {
				continue
			}
			if s.pend&msgMask == 0 || s.layer != nil || s.route.Load() != r || r.n > 0 && r.first < int(s.prio) {
				l.unpop(s, 0) // more work, a layer, another route, or something more urgent
				continue
			}
		} else if msgs := s.pend & msgMask; s.owner.confirm(msgs) != msgs {
			l.drop(s, msgs&^s.owner.confirm(msgs)) // for example a Readable whose bytes were consumed meanwhile
			continue
		}
		bit := s.pend & msgMask
		bit &= -bit
		s.pend &^= bit
		return s, bit
	}
	return nil, 0
}

// prepareSource calls prepare of s, which was taken out of its lane and has work to do. It
// returns false if nothing is left to do, or s has moved to another loop. The caller holds l.mu,
// which is let go meanwhile.
func (l *Loop) prepareSource(r *route, s *source) bool {
	work := s.pend
	s.pend = 0
	s.busy = true
	r.busy++
	l.unlock()
	bits := s.owner.prepare(work)
	l.lock()
	r.busy--
	if s.Loop() != l || s.filtered { // since prepare began
		l.unlock()
		s.handOver(bits)
		l.lock()
		return false
	}
	s.busy = false
	s.pend = s.pend&^msgMask | s.pend&msgMade | s.owner.confirm(s.pend&msgMask&^msgMade|bits)
	if s.pend == 0 || l.closed {
		l.refresh(s)
		return false
	}
	return true
}

// handOver enqueues bits, the result of prepare, if s was moved to another loop or got a
// filter while prepare ran. The caller holds no lock.
func (s *source) handOver(bits pending) {
	l := s.lockLoop()
	defer l.unlock()
	s.busy = false
	l.enqueue(s, s.owner.confirm(bits))
	l.refresh(s)
}

// take marks ev, the message of bit, which next has returned with s, as received. If s has
// more pending, take puts it back into its lane: at the end, unless the range is about to
// end. The caller holds l.mu.
func (l *Loop) take(s *source, bit pending, ev Event) {
	l.count(ev)
	if l.left--; l.left <= 0 {
		// A batch is full: the kernel is to be asked again. If feeders and
		// receivers keep all processors busy, the runtime may take long to notice
		// that the descriptor is ready on which the goroutine that makes the turns
		// waits. A wake does not depend on that.
		l.wakePoller = true
	}
	if bit == msgMade {
		l.tookMade(s)
	} else {
		s.owner.received(bit)
	}
	switch {
	case s.pend == 0:
		if !s.owner.alive() {
			l.strike(s)
		}
	case l.exitDue && l.pendedAtExit(s):
		l.unpop(s, 0) // keeps its seq: what was pending at Exit is still delivered
	case bit == msgMade && !l.exitDue && s.layer != nil && s.layer.row < maxLayerRow-1:
		s.layer.row++
		l.unpop(s, 0)
	default:
		if s.layer != nil {
			s.layer.row = 0
		}
		l.push(s)
	}
}

// pendedAtExit reports whether what s has pending was there when Exit was called. It is not if a
// mailbox has only later messages, or a layer is only asked for more. The caller holds l.mu.
func (l *Loop) pendedAtExit(s *source) bool {
	if m, ok := s.owner.(*Mailbox); ok && s.pend&msgSingle != 0 && m.n > 0 {
		return m.head.seq <= l.exitMark
	}
	return s.pend&^workAsk != 0
}

// message returns the message of bit.
func (s *source) message(bit pending) Event {
	if bit == msgMade {
		return s.layer.made
	}
	return s.owner.event(bit)
}

// count counts ev as received. The caller holds l.mu.
func (l *Loop) count(ev Event) {
	kind := ev.kind()
	l.messages[kind]++
	if kind != kindCustom {
		return
	}
	// Most often it has the type of the last one.
	if t := reflect.TypeOf(ev); t != l.customType {
		if l.customs == nil {
			l.customs = make(map[reflect.Type]*uint64)
		}
		if l.customs[t] == nil {
			l.customs[t] = new(uint64)
		}
		l.customType, l.customCount = t, l.customs[t]
	}
	*l.customCount++
}

// unpop puts back what next has taken out: s, at the head of its lane, and bit. The caller
// holds l.mu.
func (l *Loop) unpop(s *source, bit pending) {
	s.pend |= bit
	if !s.queued {
		r := l.routeOf(s)
		r.pushFront(s)
		l.stir(r, s)
	}
}

// drop takes bits, which are no longer true, from what s has pending, and puts s back into
// its lane if anything is left. next has taken s out of it. The caller holds l.mu.
func (l *Loop) drop(s *source, bits pending) {
	if s.pend &^= bits; s.pend == 0 {
		l.refresh(s)
	} else {
		l.unpop(s, 0)
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

// pending is a set of things that a source has to say or to do.
type pending uint16

// Messages, in the order in which one source sends them, then work.
const (
	msgAccepted pending = 1 << iota
	msgConnected
	msgReadable
	msgDrained
	msgTimedOut
	msgEOF
	msgClosed
	msgSingle // the one kind of message of all sources but streams

	workRead // the descriptor may be readable: read before the next message is known

	msgMask = workRead - 1
)

// A route is a queue of sources that have something to say and the way on which it leaves:
// the loop's own (delivered to the goroutine in All or Poll, or over the channel of Events or
// Batches), or a channel given to Notify. The loop's mu guards all fields.
type route struct {
	lanes         []lane // by priority
	first         int    // no lane before this one has anything
	n             int    // sources in all lanes
	busy          int    // sources that prepare their next message
	live          int    // live sources that send here; counted for Notify's routes only
	frontRequeues int    // how often requeueFront has put a source at the head of its lane, since it last did not

	feeder
}

// maxFrontRequeues is how many times in a row streams whose input was full, and has been
// consumed, read before others of the lane have their turn: 1 MiB, with the default
// MaxInput. So what has come on one connection is read while it is in the processor's
// cache, as is what its peer sends meanwhile. Arbitrary; with 4 there was still a loss.
const maxFrontRequeues = 16

// enqueue adds bits to what s has pending and makes sure that it will have its
// turn. l.mu is held.
func (l *Loop) enqueue(s *source, bits pending) {
	if s.filtered {
		s.owner.divert(bits)
		return
	}
	s.pend |= bits
	if s.offered && bits&s.route.offerBit != 0 {
		// If the message has just been received there must be another one; if
		// not, the two are one. Taking the offer back settles which.
		s.route.kick()
	}
	if s.queued || s.busy || s.offered || s.pend == 0 || l.closed {
		return
	}
	if s.index == 0 {
		l.refresh(s) // before push: it may settle the route
	}
	l.push(s)
}

// requeueFront puts s, which is to read on, at the head of its lane, unless others must have
// their turn. l.mu is held.
func (l *Loop) requeueFront(s *source) {
	r := s.route
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

// unreceived returns the messages of s that were not received. l.mu is held.
func (s *source) unreceived() pending {
	if s.offered {
		return s.pend&msgMask | s.route.offerBit
	}
	return s.pend & msgMask
}

// push puts s at the end of its lane. l.mu is held.
func (l *Loop) push(s *source) {
	l.seq++
	s.seq = l.seq
	s.route.pushBack(s)
	l.stir(s.route, s)
}

// stir makes sure that what was put into r will be delivered: once the lock is
// let go, if it waits for its feeder, or for the turn that is to come. l.mu is
// held.
func (l *Loop) stir(r *route, s *source) {
	if r.offer != nil && s.prio < r.offer.prio && !r.preempted {
		r.preempted = true
		l.preempted = append(l.preempted, r)
	}
	if r.fed {
		l.wakeFeeder(r)
	} else {
		l.wakePoller = true
	}
}

// retract takes back bits of what s has pending. The caller has made sure that
// none of it is being offered. l.mu is held.
func (l *Loop) retract(s *source, bits pending) {
	s.pend &^= bits
	if s.queued && s.pend == 0 {
		s.route.remove(s)
	}
	l.refresh(s)
}

// A lane is a queue of sources of one priority. The prev of its head means nothing.
type lane struct{ head, tail *source }

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

func (r *route) entered(s *source) {
	s.queued = true
	r.n++
	r.first = min(r.first, int(s.prio))
}

func (r *route) remove(s *source) {
	q := &r.lanes[s.prio]
	switch {
	case s == q.head:
		// The next one is not touched: it has most often left the cache.
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
}

// head returns the first source of the most urgent lane, of those that entered
// the queue not after upto, or nil.
func (r *route) head(upto uint64) *source {
	if r.n == 0 {
		r.first = len(r.lanes)
		return nil
	}
	for r.lanes[r.first].head == nil {
		r.first++
	}
	for i := r.first; i < len(r.lanes); i++ {
		// A lane is in order of seq, so looking at its head is enough.
		if s := r.lanes[i].head; s != nil && s.seq <= upto {
			return s
		}
	}
	return nil
}

// next takes the most urgent source of r that has a message out of its lane, and
// the message's bit out of what it has pending, and returns both, or nil. The
// caller ends with take, if the message was received, or with unpop. l.mu is
// held, and let go while a source does the work that must come before its next
// message.
func (l *Loop) next(r *route) (*source, pending) {
	for !l.closed {
		s := r.head(l.upto(r))
		if s == nil {
			break
		}
		r.remove(s)
		if s.pend&msgMask == 0 {
			work := s.pend
			s.pend = 0
			s.busy = true
			r.busy++
			l.unlock()
			bits := s.owner.prepare(work)
			l.lock()
			r.busy--
			if s.loop.Load() != l || s.filtered {
				l.unlock()
				s.handOver(bits)
				l.lock()
				continue
			}
			s.busy = false
			s.pend = s.pend&^msgMask | s.owner.confirm(s.pend&msgMask|bits)
			if s.pend == 0 || l.closed {
				l.refresh(s)
				continue
			}
			if s.pend&msgMask == 0 || s.route != r || r.n > 0 && r.first < int(s.prio) {
				l.unpop(s, 0)
				continue
			}
		} else if msgs := s.pend & msgMask; s.owner.confirm(msgs) != msgs {
			l.drop(s, msgs&^s.owner.confirm(msgs)) // a Readable, say, whose bytes were consumed meanwhile
			continue
		}
		bit := s.pend & msgMask
		bit &= -bit
		s.pend &^= bit
		return s, bit
	}
	return nil, 0
}

// handOver enqueues what has come of prepare, with the loop that s was moved to
// meanwhile, or for the filter that it has got.
func (s *source) handOver(bits pending) {
	l := s.lockLoop()
	defer l.unlock()
	s.busy = false
	l.enqueue(s, s.owner.confirm(bits))
	l.refresh(s)
}

// take marks ev, the message of bit, which next returned with s, as received.
// l.mu is held.
func (l *Loop) take(s *source, bit pending, ev Event) {
	l.messages[ev.kind()]++
	if l.left--; l.left <= 0 {
		// Where feeders and receivers keep all processors busy, the runtime may
		// not look for a long time whether the descriptor of the goroutine that
		// makes the turns is ready. A wake needs no look.
		l.wakePoller = true
	}
	s.owner.received(bit)
	if s.pend == 0 {
		if !s.owner.alive() {
			l.strike(s)
		}
	} else if l.exitDue {
		l.unpop(s, 0) // what was pending when the range was told to end comes first
	} else {
		l.push(s)
	}
}

// unpop puts s and bit, which next had taken out, back, at the head of the lane.
// l.mu is held.
func (l *Loop) unpop(s *source, bit pending) {
	s.pend |= bit
	if !s.queued {
		s.route.pushFront(s)
		l.stir(s.route, s)
	}
}

// drop takes bits, which are not true any more, back from s, which next had taken
// out. l.mu is held.
func (l *Loop) drop(s *source, bits pending) {
	if s.pend &^= bits; s.pend == 0 {
		l.refresh(s)
	} else {
		l.unpop(s, 0)
	}
}

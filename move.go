// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"math"
	"os"
	"slices"
	"time"
)

// MoveTo moves the stream to another loop, which does its reading and writing from then
// on and delivers its messages. No byte is lost or reordered. A stream that Filter has
// made takes the streams below it along.
//
// On the other loop
//   - it has the same priority, or the lowest there if that has fewer priorities;
//   - its messages go to that loop's receiver: what Notify has set is gone;
//   - its first message is [Moved], instead of Accepted if that was not received;
//   - messages that were not received are delivered, and Readable if there is any input;
//   - it keeps its layer, and what that has made and was not received;
//   - marks that were not set are that loop's;
//   - idle timeouts begin anew, and a lifetime goes on.
//
// Like Read, MoveTo may be called only by the goroutine that has received the stream's
// most recent message. Afterwards the stream belongs to the goroutine that receives its
// next message from the other loop.
//
// MoveTo returns Err, or ErrClosed if that is nil, after the end, ErrClosed if to is closed or in
// Shutdown, an error if the stream is under a filter, and ErrUnsupported if it has a socket and
// the method of to has none. Then the stream is as it was.
// If the kernel refuses the descriptor on the other loop, MoveTo returns its error, and
// the stream has ended with that error.
func (s *Stream) MoveTo(to *Loop) error {
	if to == nil {
		return errors.New("evchan: MoveTo of nil")
	}
	var stack []*Stream // s and the streams under it, from the top
	for u := s; u != nil; {
		u.mu.Lock()
		stack = append(stack, u)
		if u.extra == nil {
			break
		}
		u = u.extra.under
	}
	from := s.Loop()
	err := s.moveTo(to, stack)
	moved := s.Loop() != from
	for i, u := range slices.Backward(stack) {
		if i > 0 && u.extra.spent != nil {
			u.bequeath(stack[i-1]) // no lock may be held when release functions are called
		}
		u.unlock()
	}
	if moved {
		for _, u := range stack {
			u.mu.Lock()
			u.restartIdle(Read | Write) // asks what lies below, so it comes after unlock
			u.unlock()
		}
	}
	if moved && err == ErrClosed { // the other loop was closed meanwhile
		for _, u := range stack {
			u.abandon()
			l := u.lockAndWithdraw()
			l.unlockEnding(&u.source)
		}
	}
	return err
}

// moveTo is MoveTo of the stack that begins with s. Caller holds the mu of all.
func (s *Stream) moveTo(to *Loop, stack []*Stream) error {
	if err := s.ended(); err != nil {
		return err
	}
	switch bottom := stack[len(stack)-1]; {
	case s.filtered:
		return errors.New("evchan: the stream is under a filter: move the one on top")
	case bottom.racing():
		return errors.New("evchan: the stream is being connected, with DialConfig.Names: move it after Connected")
	case s.Loop() == to:
		return nil
	}
	if u := stack[len(stack)-1]; !u.gone() && u.sock.fd != noFD {
		if to.memoryOnly() {
			return s.opError("move", errNoDescriptors)
		}
	}
	to.lock()
	refuses := to.closed || to.draining.Load()
	to.unlock()
	if refuses {
		return ErrClosed
	}
	for _, u := range stack {
		if u.extra != nil && u.extra.shares[groupShare] != nil {
			u.extra.joins = u.extra.shares[groupShare].group.on(to)
		}
	}
	// The whole stack changes loops under one lock.
	l := s.lockAndWithdraw()
	if l.closed {
		l.unlock()
		return ErrClosed
	}
	for _, u := range stack {
		u.depart(l, to)
	}
	l.unlock()
	for _, u := range stack {
		if !u.gone() && u.sock.fd != noFD {
			l.poller.remove(u.sock.fd)
		}
	}
	var err error
	for _, u := range stack {
		if e := u.arrive(); err == nil {
			err = e
		}
	}
	return err
}

// depart takes s out of l and sets its loop to to, where arrive registers it. Caller
// holds s.mu and l.mu.
func (s *Stream) depart(l, to *Loop) {
	if s.queued {
		s.route.Load().remove(&s.source)
	}
	s.forgetBlocked(l)
	s.received(msgAccepted) // for its listener's MaxPending
	l.unassign(s)
	if x, ok := s.transport().(*filtering); ok {
		l.unassign(x)
		x.progress.Store(0)
	}
	if s.extra != nil {
		s.extra.stopIdle(l)
		if x := s.extra; x.ends != 0 {
			l.timers.stop(&x.linger)
			x.ends = max(addTime(x.ends, l.epoch.Sub(to.epoch)), 1)
		}
		if m := s.extra.shares[groupShare]; m != nil {
			m.group.leave(m)
			s.extra.shares[groupShare] = nil // arrive joins the branch there
		}
		if m := s.extra.shares[ownShare]; m != nil {
			m.group.leave(m)
			s.extra.shares[ownShare] = &share{group: m.group.copyTo(to), stream: s}
		}
	}
	if !s.gone() {
		l.unregister(s, s.sock.fd)
		l.streamReleased()
	}
	l.strike(&s.source)
	delete(l.enders, &s.source)
	s.prio = min(s.prio, int16(to.conf.Priorities-1))
	if s.limits.Load() == &l.limits {
		s.limits.Store(&to.limits)
	}
	s.route.Store(&to.own) // last: from here on others may lock to
}

// arrive registers s with its new loop. Caller holds s.mu.
func (s *Stream) arrive() error {
	l := s.Loop()
	l.lock()
	if s.layer != nil {
		s.layer.stopping = false
		l.giveLayer(&s.source, s.layer.layer)
	}
	if s.gone() { // a stream under a filter that has ended
		l.unlock()
		return nil
	}
	l.streams.Add(1)
	if l.closed { // since moveTo has looked
		l.unlock()
		return ErrClosed
	}
	if x := s.extra; x != nil && x.joins != nil {
		x.join(groupShare, x.joins)
		x.joins = nil
	}
	var tok token
	if s.sock.fd != noFD {
		tok = l.register(s, s.sock.fd)
	}
	pend := s.pend&^(msgAccepted|msgStopping) | msgMoved | workRead
	if s.ample() {
		pend |= msgReadable
	}
	s.pend &= msgMade | workAsk
	if s.filtered {
		pend &^= msgMoved
	}
	l.enqueue(&s.source, s.confirm(pend&^msgMade))
	l.refresh(&s.source)
	l.assign(s) // to send the output, and to end if its lifetime is over
	if x := s.extra; x != nil && x.ends != 0 && !l.closed && !x.overdue {
		now := l.clock()
		l.startTimer(&x.linger, now, time.Duration(x.ends-now))
	}
	if x, ok := s.transport().(*filtering); ok {
		l.assign(x)
	}
	l.unlock()
	s.in.clear(flagStopped)
	if s.sock.fd != noFD {
		if err := l.poller.add(s.sock.fd, tok, streamInterest); err != nil {
			s.fail(l.Method(), err, 0)
			return os.NewSyscallError(l.Method(), err)
		}
	}
	return nil
}

// addTime returns t+d, or the greatest time if that is later. t is not negative.
func addTime(t int64, d time.Duration) int64 {
	if d > 0 && t > math.MaxInt64-int64(d) {
		return math.MaxInt64
	}
	return t + int64(d)
}

// unassign undoes assign, unless p's task has begun. Caller holds l.mu.
func (l *Loop) unassign(p pollable) {
	if r := p.registration(); r.inWork {
		r.inWork = false
		l.work = slices.DeleteFunc(l.work, func(q pollable) bool { return q == p })
	}
}

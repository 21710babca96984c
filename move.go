// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"os"
	"slices"
	"time"
)

// MoveTo moves the stream to another loop, which does all for it from then on.
// No byte is lost, and none changes its place. The stream has the same priority
// there, as far as there are so many, and sends its messages the loop's own way:
// what was set by Notify and SetRateGroup is gone. Messages that have not been
// received are sent there, Readable if there is any input, and marks that were
// not set are that loop's. Idle timeouts begin anew, a lifetime goes on.
//
// Like Read, MoveTo belongs to the goroutine that has received the stream's last
// message; once it has returned, to the one that receives the next, from the other
// loop. A stream that Filter has made takes those under it along; one that is
// under a filter cannot be moved by itself.
//
// It returns ErrClosed, or Err, after the end, and ErrClosed if to is closed or
// in Shutdown; then the stream is as it was. Should the kernel refuse the
// descriptor there, MoveTo returns the error, and the stream has ended with it.
func (s *Stream) MoveTo(to *Loop) error {
	if to == nil {
		return errors.New("evchan: MoveTo of nil")
	}
	var stack []*Stream // s and those under it
	for u := s; u != nil; {
		u.mu.Lock()
		stack = append(stack, u)
		if u.extra == nil {
			break
		}
		u = u.extra.under
	}
	err := s.moveTo(to, stack)
	for i, u := range slices.Backward(stack) {
		if i > 0 && u.extra.spent != nil {
			u.bequeath(stack[i-1]) // no lock may be held when they are called
		}
		u.unlock()
	}
	if err == ErrClosed {
		for _, u := range stack {
			u.abandon() // if the other loop was closed meanwhile
		}
	}
	return err
}

// moveTo is MoveTo of the stack that begins with s. The mu of all is held.
func (s *Stream) moveTo(to *Loop, stack []*Stream) error {
	switch {
	case s.life.closed():
		return ErrClosed
	case s.why() != nil:
		return s.why()
	case s.gone():
		return ErrClosed
	case s.filtered:
		return errors.New("evchan: the stream is under a filter: move the one on top")
	case s.Loop() == to:
		return nil
	}
	to.lock()
	refuses := to.closed || to.draining
	to.unlock()
	if refuses {
		return ErrClosed
	}
	// The stack changes loops in one piece.
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

// depart takes s from l and makes it one of to's, which does not know it yet. mu is
// held, and l's.
func (s *Stream) depart(l, to *Loop) {
	if s.queued {
		s.route.remove(&s.source)
	}
	s.received(msgAccepted) // as far as its listener is concerned
	l.dismiss(s)
	if x, ok := s.transport().(*filtering); ok {
		l.dismiss(x)
	}
	if s.extra != nil {
		s.extra.stopIdle(l)
		if x := s.extra; x.ends != 0 {
			l.timers.stop(&x.linger)
			x.ends = max(x.ends+int64(l.epoch.Sub(to.epoch)), 1)
		}
		if m := s.extra.shares[groupShare]; m != nil {
			m.group.leave(m)
			s.extra.shares[groupShare] = nil
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
	s.route = &to.own
	s.prio = min(s.prio, int16(to.conf.Priorities-1))
	if s.limits.Load() == &l.limits {
		s.limits.Store(&to.limits)
	}
	s.loop.Store(to)
}

// arrive makes the loop that s is of now know it. mu is held.
func (s *Stream) arrive() error {
	if s.gone() {
		return nil // one under a filter, and over
	}
	l := s.Loop()
	l.lock()
	l.streams++
	if l.closed { // meanwhile
		l.unlock()
		return ErrClosed
	}
	var tok token
	if s.sock.fd != noFD {
		tok = l.register(s, s.sock.fd)
	}
	if s.ample() {
		s.pend |= msgReadable
	}
	pend := s.pend
	s.pend = 0
	l.enqueue(&s.source, s.confirm(pend|workRead))
	l.refresh(&s.source)
	l.assign(s) // for the output, and if its lifetime is over
	if x := s.extra; x != nil && x.ends != 0 && !l.closed && !x.overdue {
		now := l.clock()
		l.startTimer(&x.linger, now, time.Duration(x.ends-now))
	}
	if x, ok := s.transport().(*filtering); ok {
		l.assign(x)
	}
	l.unlock()
	s.in.clear(flagStopped)
	s.restartIdle(Read | Write)
	if s.sock.fd != noFD {
		if err := l.poller.add(s.sock.fd, tok, streamInterest); err != nil {
			s.fail(l.Method(), err, 0)
			return os.NewSyscallError(l.Method(), err)
		}
	}
	return nil
}

// dismiss takes back that p's task is to be called. It may have begun all the
// same. l.mu is held.
func (l *Loop) dismiss(p pollable) {
	if r := p.registration(); r.inWork {
		r.inWork = false
		l.work = slices.DeleteFunc(l.work, func(q pollable) bool { return q == p })
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"os"
	"time"
)

// CloseWrite tells the peer, once the output is empty, that nothing more will
// be sent. Reading goes on. Write fails from then on, with EPIPE. A stream whose
// two directions cannot be closed apart, a pipe's or a terminal's, returns
// ErrUnsupported and goes on as before.
//
// Drained tells when the output is empty, if Queued() is not 0 already. Once EOF has
// come as well the stream still has to be closed; no message says so.
func (s *Stream) CloseWrite() error {
	s.mu.Lock()
	defer s.unlock()
	if s.out.fin != finNone {
		return nil
	}
	if s.gone() {
		return s.writeErr()
	}
	if !s.transport().halfCloses() {
		return ErrUnsupported
	}
	s.out.fin = finQueued
	return s.send()
}

// Close ends the stream gracefully and returns at once: what was written is sent,
// then the peer is told, then its input is discarded until it has finished as
// well. A stream whose peer has finished, and that has nothing to send, is released
// before Close returns.
//
// Config.Linger, by default 5 seconds, bounds all of this, even if the peer keeps
// reading: after that the rest is dropped, and the peer told so by a reset. Where
// sending may take longer, to a slow peer or under a rate limit, call CloseWrite,
// and Close when Queued() is 0, which Drained tells. A write timeout (see
// SetIdleTimeouts) finds the peer that has stopped reading.
//
// The stream sends no more messages: those that were not received are taken
// back. Closing again returns nil. What lies in Input stays as it is.
func (s *Stream) Close() error {
	return s.close(false, false)
}

// Abort ends the stream at once. Its output is dropped and, where the transport
// can do that, the peer is told so by a reset.
func (s *Stream) Abort() error {
	return s.close(true, true)
}

// close closes the stream: gracefully, or at once, with a reset or without.
func (s *Stream) close(now, reset bool) error {
	s.mustBeMade()
	s.mu.Lock()
	defer s.unlock()
	s.closeLocked(now, reset)
	return nil
}

// closeLocked is close for a caller that holds mu.
func (s *Stream) closeLocked(now, reset bool) {
	if s.life.closed() && !now {
		return
	}
	s.silence()
	s.forgo(dirRead)
	s.in.held.Add(-int64(s.in.unread.n))
	s.spend(s.in.unread.detach())
	if s.gone() {
		return
	}
	if now || s.Loop().conf.Linger < 0 {
		s.release(reset, 0)
		return
	}
	s.flush()
	s.driveClose()
	s.startLinger()
}

// silence takes back all messages; there will be no more. The caller holds mu.
func (s *Stream) silence() {
	l := s.lockAndWithdraw()
	defer l.unlock()
	s.setClosed()
	s.in.unwait(waitEOF)
	s.received(msgAccepted)
	l.retract(&s.source, msgMask|workRead)
}

// setClosed notes that Close or Abort was called. The caller holds mu and the loop's lock.
func (s *Stream) setClosed() {
	switch s.life {
	case lifeOpen:
		s.life = lifeClosing
	case lifeFailed:
		s.life = lifeClosed
	}
	s.out.fin = max(s.out.fin, finQueued)
}

// startLinger bounds the time that s, and those under it, may take to close. mu
// is held.
func (s *Stream) startLinger() {
	if s.gone() && (s.extra == nil || s.extra.under == nil) {
		return
	}
	l := s.Loop()
	now := l.clock()
	x := s.more()
	l.lock()
	defer l.unlock()
	for !l.closed {
		if !x.stream.gone() && !x.overdue && !x.lingers {
			x.lingers = true
			l.startTimer(&x.linger, now, x.rest(now, l.conf.Linger))
		}
		if x.under == nil {
			return
		}
		x = x.under.extra
	}
}

// driveClose takes a close as far as possible: it reads and discards until the
// peer has finished, which may be the only way to have it take the output, and
// releases the stream once that has been sent. If it closed its socket with unread
// input, the kernel would send a reset, which destroys what is on its way to the
// peer. mu is held.
func (s *Stream) driveClose() {
	if s.gone() {
		return
	}
	if s.overdue() {
		s.release(false, 0)
		return
	}
	if s.connecting() {
		s.release(false, 0) // there is nobody to say goodbye to
		return
	}
	if s.in.has(uint32(hangup)) && s.transport().failure() != nil {
		s.release(false, 0) // the peer will get nothing more
		return
	}
	if !s.transport().halfCloses() {
		if s.out.queue.n == 0 {
			s.release(false, 0)
		}
		return
	}
	var rest chain
	for budget := fillBudget; !s.in.eof; {
		n, _, err := s.fillOnce(&rest, fillBudget)
		s.spend(rest.detach()) // of a pipe, it may have release functions
		switch {
		case n > 0:
			if budget -= n; budget <= 0 {
				s.goOnLater()
				return
			}
		case err == eAGAIN:
			s.rearm()
			return
		case err != nil:
			s.release(false, 0) // the peer will get nothing more
			return
		default:
			s.in.eof = true
		}
	}
	if s.out.queue.n == 0 {
		s.release(false, 0)
	}
}

// rest returns the shorter of d and what is left of the lifetime. The loop's mu is
// held.
func (x *streamExtra) rest(now int64, d time.Duration) time.Duration {
	if x.ends != 0 {
		d = min(d, time.Duration(x.ends-now))
	}
	return d
}

// expired is called when a close has taken too long, or the lifetime is over. The
// loop's mu is held.
func (x *streamExtra) expired(int64) {
	x.overdue = true
	l := x.stream.Loop()
	l.assign(x.stream)
	if x.tap != nil {
		l.assign(x.tap)
	}
}

// overdue reports whether a close has taken too long, or the lifetime is over. mu is
// held.
func (s *Stream) overdue() bool {
	if s.extra == nil {
		return false
	}
	l := s.lockLoop()
	defer l.unlock()
	return s.extra.overdue
}

// abandon ends the stream because its loop was closed.
func (s *Stream) abandon() {
	s.mu.Lock()
	if s.gone() || !s.Loop().isClosed() { // it may have moved away
		s.mu.Unlock()
		return
	}
	x, filtered := s.transport().(*filtering)
	var tap *filtering // whose own stream may be gone already
	if s.filtered {
		tap = s.extra.tap
	}
	l := s.lockLoop()
	s.setClosed()
	l.unlock()
	s.release(false, 0)
	s.unlock()
	if filtered {
		x.abandon()
	}
	if tap != nil {
		tap.abandon()
	}
}

// fail ends the stream because of err: it reads what the kernel still holds, lets go of the
// transport, and sends bits, the messages so far, Readable for what it has read, and Closed.
// The caller holds mu.
func (s *Stream) fail(op string, err error, bits pending) {
	if x := s.more(); x.err == nil {
		x.err = s.opError(op, err)
	}
	if s.life == lifeOpen && !s.in.eof {
		for {
			n, _, err := s.fillOnce(&s.in.unread, fillBudget)
			if n == 0 || err != nil {
				break
			}
			s.in.held.Add(int64(n))
			s.Loop().bytesIn.Add(uint64(n))
			bits |= msgReadable
		}
	}
	s.release(false, bits|msgClosed)
}

// release lets go of all that the stream has but its input, and sends bits. The peer gets
// a reset if reset says so, or if output is lost: it must not take what it got for all. The
// caller holds mu.
func (s *Stream) release(reset bool, bits pending) {
	if t := s.transport(); t != nil {
		s.unwatch()
		t.close(reset || s.out.queue.n > 0)
		s.finish(bits)
	}
}

// unwatch has the poller report on the stream no more. The caller holds mu, and ends with
// finish.
func (s *Stream) unwatch() {
	s.keepLocalAddr()
	l := s.lockLoop()
	if !l.closed {
		l.unregister(s, s.sock.fd)
	}
	l.unlock()
	if s.sock.fd != noFD {
		l.poller.remove(s.sock.fd)
	}
}

// finish ends the stream, whose transport belongs to it no more, and sends bits. In one
// step with that, the loop counts it no more: it might find itself empty, and end, before
// Closed is in the queue. The caller holds mu.
func (s *Stream) finish(bits pending) {
	s.unblock()
	l := s.lockLoop()
	if s.extra != nil {
		s.extra.leave(l)
		s.extra.lost = s.out.queue.n
	}
	if s.life == lifeOpen {
		s.life = lifeFailed
	} else {
		s.life = lifeClosed
	}
	l.streamReleased()
	l.retract(&s.source, workRead) // there is nothing left to read from
	if bits = s.confirm(bits); bits != 0 {
		l.enqueue(&s.source, bits)
	}
	if s.filtered {
		l.assign(s.extra.tap)
	}
	l.refresh(&s.source)
	l.unlock()
	if s.listener != nil && (s.extra == nil || s.extra.under == nil) { // that of a filter has not been accepted
		s.listener.parted()
	}
	s.out.lagging.Store(false)
	s.spend(s.out.queue.detach())
}

// leave ends what the loop does for x's stream: its timers, and its part in rate limits.
// The caller holds the loop's lock.
func (x *streamExtra) leave(l *Loop) {
	l.timers.stop(&x.linger)
	x.stopIdle(l)
	x.leaveShares()
}

// SetLifetime sets how long the stream may live, counted from this call, whatever
// its peer does; 0 means for ever, and so do negative values. When that is over the
// stream ends, with [Closed], and Err is a net.Error whose Timeout() is true:
// errors.Is(Err(), os.ErrDeadlineExceeded). What the loop has read by then stays
// readable, output that is unsent is dropped, and the peer told so by a reset. A
// stream that is closing has no more time than that either.
//
// The time goes on when the stream moves to another loop, and ends with NetConn. If
// the stream is under a filter, the one on top ends with it, for the same reason.
func (s *Stream) SetLifetime(d time.Duration) {
	s.mu.Lock()
	defer s.unlock()
	s.setLifetime(d)
}

// setLifetime is SetLifetime for a caller that holds mu.
func (s *Stream) setLifetime(d time.Duration) {
	if s.life != lifeOpen || d <= 0 && s.extra == nil {
		return
	}
	x := s.more()
	l := s.Loop()
	now := l.clock()
	l.lock()
	defer l.unlock()
	if l.closed || x.overdue || x.lingers {
		return
	}
	if d <= 0 {
		x.ends = 0
		l.timers.stop(&x.linger)
		return
	}
	l.startTimer(&x.linger, now, d)
	x.ends = x.linger.when
}

// outlived reports whether the lifetime of the stream is over, and notes that as the
// reason for its end. The peer may be sending without end, so nothing more is read. mu
// is held.
func (s *Stream) outlived() bool {
	x := s.extra
	if x == nil || s.life.closed() {
		return false
	}
	l := s.lockLoop()
	over := x.overdue && !x.lingers
	l.unlock()
	if over {
		x.err = s.opError("lifetime", os.ErrDeadlineExceeded)
	}
	return over
}

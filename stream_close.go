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
	if s.Loop().draining.Load() {
		s.startLinger() // before the first look at what the peer has received, which starts it anew
	}
	s.driveClose()
	s.startLinger()
}

// silence takes back all messages; there will be no more. The caller holds mu.
func (s *Stream) silence() {
	l := s.lockAndWithdraw()
	defer l.unlock()
	s.setClosed()
	s.in.unwait(waitEOF)
	s.forgetBlocked(l)
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

// startLinger bounds the time without progress that s, and those under it, may take to
// close. The caller holds mu.
func (s *Stream) startLinger() {
	s.startLingerLocked()
	if s.extra != nil && s.extra.under != nil {
		under := s.extra.under
		under.mu.Lock()
		under.startLinger()
		under.unlock()
	}
}

// startLingerLocked is startLinger of s alone.
func (s *Stream) startLingerLocked() {
	if s.gone() {
		return
	}
	x := s.more()
	l := s.Loop()
	now := l.clock()
	last := s.progress()
	l.lock()
	defer l.unlock()
	if !l.closed && !x.overdue && !x.lingers {
		x.lingers = true
		x.last, x.lingerEnds = last, addTime(now, l.conf.Linger)
		l.startTimer(&x.linger, now, x.rest(now, l.conf.Linger))
	}
}

// A progress tells how far the output of a stream and those under it has come.
type progress struct {
	sent    int   // bytes that were written to the transports; may overflow
	at      int64 // when the last of them were, on the loop's clock; 0: before linger was started
	unacked int   // bytes that the kernel has, and that the peer has not acknowledged; -1: the system cannot tell
}

// progress returns how far the output has come. The caller holds mu.
func (s *Stream) progress() (p progress) {
	if s.gone() {
		return progress{unacked: -1}
	}
	if s.extra != nil {
		if under := s.extra.under; under != nil {
			under.mu.Lock()
			p = under.progress()
			under.unlock()
			p.sent += s.extra.sent
			p.at = max(p.at, s.extra.movedAt)
			return p
		}
		p.sent, p.at = s.extra.sent, s.extra.movedAt
	}
	p.unacked = s.unacked()
	return p
}

// unacked returns how many bytes of output have left s, and were not received by the peer's
// system; -1 if the system cannot tell. The caller holds mu.
func (s *Stream) unacked() int {
	switch t := s.transport().(type) {
	case *sock:
		if !t.plain {
			return sysUnacked(t.fd)
		}
	case *pipeEnd:
		return t.unread()
	}
	return -1
}

// checkLinger looks whether s has made progress since linger was started, and starts it
// again if so. It does nothing unless linger has expired. The caller holds mu.
func (s *Stream) checkLinger() {
	x := s.extra
	if x == nil {
		return
	}
	l := s.lockLoop()
	due, lingers, ends := x.due, x.lingers, x.ends
	x.due = false
	l.unlock()
	if !due || s.gone() {
		return
	}
	now := l.clock()
	late := !lingers || ends != 0 && now >= ends
	if !late {
		last := x.last
		x.last = s.progress()
		switch {
		case x.last.sent != last.sent:
			x.lingerEnds = addTime(max(x.last.at, x.lingerEnds-int64(l.conf.Linger)), l.conf.Linger)
		case x.last.unacked >= 0 && x.last.unacked < last.unacked:
			x.lingerEnds = addTime(now, l.conf.Linger)
		}
		late = now >= x.lingerEnds
	}
	l.lock()
	defer l.unlock()
	if late {
		x.overdue = true
		if x.tap != nil {
			l.assign(x.tap)
		}
		return
	}
	l.startTimer(&x.linger, now, x.rest(now, time.Duration(x.lingerEnds-now)))
}

// acknowledged reports whether Shutdown need not wait for s: the peer has received all, or
// will not. If it has yet to, acknowledged has task called again soon. The caller holds mu.
func (s *Stream) acknowledged() bool {
	l := s.Loop()
	if !l.draining.Load() || s.out.queue.n > 0 {
		return false
	}
	unacked := s.output() // below s, which nothing tells to s
	if unacked == 0 {
		unacked = s.progress().unacked
	}
	if unacked > 0 {
		x := s.more()
		x.ackWait = min(max(2*x.ackWait, minAckWait), maxAckWait)
		now := l.clock()
		l.lock()
		if !l.closed && x.lingers && (!x.linger.running() || x.linger.when > now+int64(x.ackWait)) {
			l.startTimer(&x.linger, now, x.ackWait)
		}
		l.unlock()
	}
	return unacked == 0
}

// How long Shutdown waits before it asks again whether a peer has received all. Arbitrary.
const (
	minAckWait = time.Millisecond
	maxAckWait = 100 * time.Millisecond
)

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
			if s.acknowledged() {
				s.release(false, 0)
			} else {
				s.rearm()
			}
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

// expired is called when linger has. The caller holds the loop's lock.
func (x *streamExtra) expired(int64) {
	x.due = true
	x.stream.Loop().assign(x.stream)
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

// failBudget is how many bytes are read, at most, of a stream that has failed: if that is for
// another reason than its peer, a file that cannot be sent, for example, the peer may go on
// sending as fast as it is read. Arbitrary, but more than kernels hold.
const failBudget = 64 << 20

// fail ends the stream because of err: it reads what the kernel still holds, lets go of the
// transport, and sends bits, the messages so far, Readable for what it has read, and Closed.
// The caller holds mu.
func (s *Stream) fail(op string, err error, bits pending) {
	if x := s.more(); x.err == nil {
		x.err = s.opError(op, err)
	}
	if s.life == lifeOpen && !s.in.eof {
		for total := 0; total < failBudget; {
			n, _, err := s.fillOnce(&s.in.unread, fillBudget)
			if n == 0 || err != nil {
				break
			}
			total += n
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
	t := s.transport()
	if t == nil {
		return
	}
	lost := s.out.queue.n
	if lost > 0 {
		s.more().lost = lost
	}
	s.unwatch()
	t.close(reset || lost > 0)
	s.finish(bits)
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
		l.noteLost(s.extra.lost)
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
	if s.extra != nil {
		dones := s.extra.dones
		s.extra.dones = nil
		s.released(dones)
	}
}

// released closes dones once all that is under s, which is gone, was released as well. The
// caller holds mu, and may hold the mu of streams under s that are gone: NetConn does.
func (s *Stream) released(dones []chan struct{}) {
	if len(dones) == 0 {
		return
	}
	for x := s.extra; x != nil && x.under != nil; x = x.under.extra {
		if x.under.passDones(dones) {
			return
		}
	}
	for _, c := range dones {
		close(c)
	}
}

// passDones has dones closed when s, which has a filter, is released. It returns false if
// s is gone already, and then it does not take mu.
func (s *Stream) passDones(dones []chan struct{}) bool {
	l := s.lockLoop()
	gone := s.gone()
	l.unlock()
	if gone {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone() {
		return false
	}
	s.extra.dones = append(s.extra.dones, dones...)
	return true
}

// Done returns a channel that is closed once all of the stream is released, whoever has
// ended it, and, if Filter has made it, all that lies under it. So after Close it tells when
// the output was sent, or dropped: see Lost. Each call returns another channel.
func (s *Stream) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := make(chan struct{})
	if s.gone() {
		s.released([]chan struct{}{c})
	} else {
		x := s.more()
		x.dones = append(x.dones, c)
	}
	return c
}

// Lost returns how many bytes that were written had not been handed to the kernel when the
// stream ended: 0 if all were, and as long as it has not ended. If Filter has made the
// stream, that includes what lay in the filter and in the streams under it, in bytes as they
// lay there. It does not include what was left in Output without a Flush, nor what the
// kernel had and the peer did not take. Err says so too.
func (s *Stream) Lost() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.extra
	if x == nil {
		return 0
	}
	lost := x.lost
	if f, ok := x.transport.(*filtering); ok {
		f.mu.Lock()
		lost += f.lost
		f.mu.Unlock()
	}
	if x.under != nil {
		lost += x.under.Lost()
	}
	return lost
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

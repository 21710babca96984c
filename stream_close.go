// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"os"
	"time"
)

// CloseWrite ends the output: when all of it is sent, the peer is told that nothing more will
// come. Reading goes on. From then on Write fails with EPIPE. What is in Output and was not
// flushed is not sent.
//
// If Queued() is not 0 already, Drained tells when the last byte was sent. When EOF has come
// as well, you still have to close the stream; no message says so.
//
// If the directions of the stream cannot be closed one without the other, as with a pipe of
// the system or a terminal, CloseWrite returns ErrUnsupported and changes nothing.
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

// Close ends the stream gracefully. It returns at once. After that, the loop
//
//  1. sends what was written,
//  2. tells the peer that nothing more will come,
//  3. discards what the peer still sends, until the peer has finished too,
//  4. releases the stream; [Stream.Done] tells when.
//
// If the peer has finished and there is nothing to send, all of this is done before Close
// returns. What is in Output and was not flushed is not sent.
//
// Config.Linger, by default 5 seconds, bounds the time without progress. It starts again
// whenever the kernel has taken some of the output, or the peer has acknowledged some. (Only
// Linux, macOS, FreeBSD and NetBSD tell what was acknowledged.) When it has passed, the loop
// drops the output that is left, and releases the stream. So a peer that keeps reading gets
// all, however long it takes, and a peer that takes a byte now and then can hold the stream
// for as long: SetLifetime, called before Close, bounds the whole. What the peer's program
// reads shows only when its system says that there is room again, in steps that may be some
// hundred KiB: for a peer that reads less than that in Linger, set a longer one.
//
// If output may have to wait for longer than Linger, under a tight rate limit for example,
// call CloseWrite first, and Close when Queued() is 0; Drained tells when. Then a write
// timeout, see SetIdleTimeouts, finds a peer that has stopped reading.
//
// If output is dropped, the peer gets a reset, where the transport can do that. Lost and Err
// tell how much.
//
// The stream sends no more messages, and those that were not received are taken back. What
// lies in Input stays there; what has arrived since the last call of Input is dropped.
// Closing again returns nil.
func (s *Stream) Close() error {
	return s.close(false, false)
}

// Abort ends the stream at once: it drops the output and, where the transport can do that,
// tells the peer so by a reset. It also ends a stream that is being closed.
func (s *Stream) Abort() error {
	return s.close(true, true)
}

// close closes the stream: at once if now, otherwise gracefully. reset is whether the peer
// gets a reset in any case; it gets one if output is dropped.
func (s *Stream) close(now, reset bool) error {
	s.mustBeMade()
	if l := s.Loop(); l.debug != nil {
		l.debug.closes(l, s)
	}
	s.mu.Lock()
	defer s.unlock()
	s.closeLocked(now, reset)
	return nil
}

// closeLocked is close for a caller that holds s.mu.
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
	if !now {
		s.sendLater()
	}
	if s.gone() {
		return
	}
	if now || s.Loop().conf.Linger < 0 {
		s.release(reset, 0)
		return
	}
	s.flush()
	if s.Loop().draining.Load() {
		s.startLinger() // acknowledged uses its timer
	}
	s.driveClose()
	s.startLinger()
}

// silence takes back all messages, and allows no more. The caller holds s.mu.
func (s *Stream) silence() {
	l := s.lockAndWithdraw()
	defer l.unlock()
	s.setClosed()
	s.in.unwait(waitEOF)
	s.forgetBlocked(l)
	s.received(msgAccepted)
	if end := l.retractAll(&s.source); end != nil {
		s.more().end = end
	}
}

// setClosed notes that Close or Abort was called. The caller holds s.mu and the loop's lock.
func (s *Stream) setClosed() {
	switch s.life {
	case lifeOpen:
		s.life = lifeClosing
	case lifeFailed:
		s.life = lifeClosed
	}
	s.out.fin = max(s.out.fin, finQueued)
}

// startLinger bounds the time without progress that s, and the streams under it, may take to
// close. The caller holds s.mu.
func (s *Stream) startLinger() {
	s.startOwnLinger()
	if s.extra != nil && s.extra.under != nil {
		under := s.extra.under
		under.mu.Lock()
		under.startLinger()
		under.mu.Unlock() // not unlock: nothing was sent, and the caller holds s.mu
	}
}

// startOwnLinger is startLinger of s alone.
func (s *Stream) startOwnLinger() {
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
		l.startTimer(&x.linger, now, x.rest(now, lookAfter(l.conf.Linger, l.conf.Linger)))
	}
}

// A progress tells how far the output of a stream and of the streams under it has come.
type progress struct {
	sent    int   // bytes that were written to the transports; may overflow
	at      int64 // when the last of them were, on the loop's clock; 0: before linger was started
	unacked int   // bytes that the kernel has taken, and the peer has not acknowledged; -1: the system cannot tell
}

// progress returns how far the output has come. The caller holds s.mu.
func (s *Stream) progress() (p progress) {
	if s.gone() {
		return progress{unacked: -1}
	}
	if s.extra != nil {
		if under := s.extra.under; under != nil {
			under.mu.Lock()
			p = under.progress()
			under.mu.Unlock()
			p.sent += s.extra.sent
			p.at = max(p.at, s.extra.movedAt)
			return p
		}
		p.sent, p.at = s.extra.sent, s.extra.movedAt
	}
	p.unacked = s.unacked()
	return p
}

// unacked returns how many bytes of output have left s, and the peer's system has not
// received; -1 if the system cannot tell. The caller holds s.mu, and s is not gone.
func (s *Stream) unacked() int {
	switch t := s.transport().(type) {
	case *sock:
		if !t.plain {
			return sysUnacked(t.fd)
		}
	case *pipeEnd:
		return t.unread()
	case *filtering:
		return t.lower.unackedBelow()
	}
	return -1
}

// unackedBelow is unacked of the stream on top of s. As long as the end of the output has
// not left s, it returns a positive number.
func (s *Stream) unackedBelow() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.gone() || s.connecting():
		return 0 // the peer will get nothing more
	case s.out.fin == finNone || s.out.queue.n > 0:
		return 1
	}
	return s.unacked()
}

// checkLinger does something only if linger has expired. It looks whether s has made progress
// since the last time, and starts linger again if there is time left. Otherwise it notes that
// s is overdue. The caller holds s.mu.
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
		case x.last.unacked > 0 && x.last.unacked < last.unacked:
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
	l.startTimer(&x.linger, now, x.rest(now, lookAfter(l.conf.Linger, time.Duration(x.lingerEnds-now))))
}

// lookAfter returns when checkLinger looks again, if left is left of linger: four times in all,
// since when the peer has acknowledged something is not known any better than that.
func lookAfter(linger, left time.Duration) time.Duration { return min(left, linger/4+1) }

// acknowledged reports whether Shutdown is under way and need not wait for s, because the
// peer's system has received all output. If it has not, acknowledged makes the loop call task
// again soon. Without a Shutdown, with output that is unsent, and where the system cannot tell,
// it returns false. The caller holds s.mu.
func (s *Stream) acknowledged() bool {
	l := s.Loop()
	if !l.draining.Load() || s.out.queue.n > 0 {
		return false
	}
	unacked := s.unacked()
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

// How long acknowledged waits at least and at most before it asks again; each time twice as
// long. Arbitrary.
const (
	minAckWait = time.Millisecond
	maxAckWait = 100 * time.Millisecond
)

// driveClose takes a close as far as possible. It reads and discards input until the peer has
// finished, and releases the stream when the output is sent as well. There are two reasons to
// read:
//   - A peer that is writing may take no output before its own bytes are read.
//   - If a socket is closed with unread input, the kernel sends a reset, which destroys what
//     is on its way to the peer.
//
// The caller holds s.mu, and has called flush.
func (s *Stream) driveClose() {
	if s.gone() {
		return
	}
	if s.overdue() {
		s.release(false, 0)
		return
	}
	if s.connecting() || s.out.queue.n == 0 && s.unopened() && s.below().unused() {
		s.release(false, 0) // there is no peer yet, or nothing for it
		return
	}
	if s.in.has(uint32(hangup)) && s.transport().failure() != nil {
		s.release(false, 0) // the connection has failed: the peer gets nothing more
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
		s.spend(rest.detach()) // what the other end of a Pipe has sent may have release functions
		switch {
		case n > 0:
			if budget -= n; budget <= 0 {
				if s.acknowledged() { // the peer may send without end
					s.release(false, 0)
				} else {
					s.goOnLater()
				}
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
			s.release(false, 0) // the connection has failed
			return
		default:
			s.in.eof = true
		}
	}
	if s.out.queue.n == 0 {
		s.release(false, 0)
	}
}

// rest returns d, or what is left of the lifetime if that is less. The caller holds the loop's
// lock.
func (x *streamExtra) rest(now int64, d time.Duration) time.Duration {
	if x.ends != 0 {
		d = min(d, time.Duration(x.ends-now))
	}
	return d
}

// expired is called when linger has expired, and makes the loop call task. The caller holds
// the loop's lock.
func (x *streamExtra) expired(int64) {
	x.due = true
	x.stream.Loop().assign(x.stream)
}

// overdue reports whether a close has made no progress for too long, or the lifetime is over.
// The caller holds s.mu.
func (s *Stream) overdue() bool {
	if s.extra == nil {
		return false
	}
	l := s.lockLoop()
	defer l.unlock()
	return s.extra.overdue
}

// abandon ends the stream, and the filters next to it, because its loop was closed. The
// caller holds no lock.
func (s *Stream) abandon() {
	s.mu.Lock()
	if s.gone() || !s.Loop().isClosed() { // it may have moved to another loop
		s.mu.Unlock()
		return
	}
	x, filtered := s.transport().(*filtering)
	var tap *filtering // on top of s; its upper stream may be gone already, and not call it
	if s.filtered {
		tap = s.extra.tap
	}
	l := s.lockLoop()
	s.setClosed()
	l.unlock()
	s.release(false, 0)
	var spent *chunk
	if s.extra != nil {
		spent, s.extra.spent = s.extra.spent, nil
	}
	s.mu.Unlock()
	defer l.releaseLater(spent) // comes last: a release function may panic
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

// fail ends the stream because the operation op has met with err. It reads what the kernel still
// has and releases the stream. Then it sends bits, which are the messages so far, Readable for
// what it has read, and Closed. The caller holds s.mu.
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

// release ends the stream: it lets go of everything but the input, and sends bits. The peer
// gets a reset if reset is true, and also if output is lost: it must not take what it has got
// for all there was. The caller holds s.mu.
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

// unwatch makes the poller report on the stream no more. The caller holds s.mu, and calls
// finish afterwards.
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

// finish notes that the stream, which has no transport any more, has ended. It drops what is
// left of the output, and sends bits. The loop counts the stream no more, under the same lock
// under which bits are enqueued. Otherwise it might find that it is empty, and end, before
// Closed is in the queue. The caller holds s.mu.
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
	s.forgetBlocked(l)
	l.retract(&s.source, workRead) // there is nothing left to read from
	if bits = s.confirm(bits); bits != 0 && !s.unaccepted() {
		l.enqueue(&s.source, bits)
	}
	if s.filtered {
		l.assign(s.extra.tap)
	}
	l.refresh(&s.source)
	l.unlock()
	if s.listener != nil && (s.extra == nil || s.extra.under == nil) { // a stream that Filter has made does not count for it
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

// released closes the channels dones as soon as all streams under s are released. s itself is
// gone. The caller holds s.mu, and may hold the mu of streams under s that are gone: NetConn
// does.
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

// Done returns a channel that is closed when the stream is released, for whatever reason it
// has ended. So after Close it tells that the output was sent, or dropped; Lost tells which.
// If Filter has made the stream, the streams under it are released then, too. All calls
// return the same channel.
func (s *Stream) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.more()
	if x.done != nil {
		return x.done
	}
	x.done = make(chan struct{})
	if s.gone() {
		s.released([]chan struct{}{x.done})
	} else {
		x.dones = append(x.dones, x.done)
	}
	return x.done
}

// Lost returns how many bytes of output were dropped when the stream ended: those that were
// written, and that the kernel had not taken. It is 0 as long as the stream has not ended.
// Err says how much was lost, too.
//
// If Filter has made the stream, Lost also counts what lay in the filter and in the streams
// under it, in bytes as they lay there, encoded or not. It does not count what was in Output
// and not flushed, nor what the kernel had and the peer did not take.
func (s *Stream) Lost() int {
	lost, _ := s.lostAndLate()
	return lost
}

// lostAndLate returns Lost, and whether s or a stream under it has taken too long to close.
func (s *Stream) lostAndLate() (lost int, late bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.extra
	if x == nil {
		return 0, false
	}
	lost, late = x.lost, s.overdue()
	if f, ok := x.transport.(*filtering); ok {
		f.mu.Lock()
		lost += f.lost
		f.mu.Unlock()
	}
	if x.under != nil {
		n, tooLate := x.under.lostAndLate()
		lost, late = lost+n, late || tooLate
	}
	return lost, late
}

// leave ends what the loop does for x's stream: it stops the timers, and ends the membership
// in rate limits. The caller holds the loop's lock.
func (x *streamExtra) leave(l *Loop) {
	l.timers.stop(&x.linger)
	x.stopIdle(l)
	x.leaveShares()
}

// SetLifetime sets how long the stream may live, counted from this call, whatever its peer
// does. 0 means for ever, and so do negative values.
//
// When the time is over, the stream ends with [Closed]. Err is a net.Error whose Timeout() is
// true, and errors.Is(Err(), os.ErrDeadlineExceeded) is true. What the loop has read stays
// readable. Output that is unsent is dropped, and then the peer gets a reset.
//
// Close gives the stream no more time than that. After Close, SetLifetime does nothing.
//
// The time goes on when the stream moves to another loop. NetConn ends it. If the stream is
// under a filter, the one on top ends with it, for the same reason.
func (s *Stream) SetLifetime(d time.Duration) {
	s.mu.Lock()
	defer s.unlock()
	s.setLifetime(d)
}

// setLifetime is SetLifetime for a caller that holds s.mu.
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

// outlived reports whether the lifetime of a stream that is not being closed is over, and
// notes that as the reason for its end. The caller releases the stream, and reads nothing
// more, since the peer may be sending without end. The caller holds s.mu.
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

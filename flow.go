// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"os"
	"time"
)

// This file is about when a stream reads and writes: its marks, pauses, idle
// timeouts and lifetime.

// limits are the marks of a stream.
type limits struct {
	readLow   int // Readable is sent from here on; at least 1
	readHigh  int // reading stops here; at least readLow
	writeLow  int // Drained is sent from here on downwards
	writeHigh int // Write returns ErrFull from here on; greater than writeLow

	maxInput, maxOutput int // the high marks that the stream began with
}

// raise lifts limits that lie below their low marks.
func (lim *limits) raise() {
	lim.readHigh = max(lim.readHigh, lim.readLow)
	if lim.writeHigh <= lim.writeLow {
		lim.writeHigh = lim.writeLow + 1
	}
}

// SetReadMarks sets the input at which Readable is sent, at the least (low, by
// default 1), and the input at which reading stops until some of it is consumed
// (high; 0 means the MaxInput that the stream began with: the listener's, the
// DialConfig's or the loop's). A low above high raises it; negative values count as 0. Input that has arrived already brings no message by itself.
// It is libevent's bufferevent_setwatermark(EV_READ).
func (s *Stream) SetReadMarks(low, high int) {
	s.mu.Lock()
	defer s.unlock()
	lim := *s.limits.Load()
	if lim.readHigh = high; high <= 0 {
		lim.readHigh = lim.maxInput
	}
	lim.readLow = max(low, 1)
	lim.raise()
	s.limits.Store(&lim)
	if s.stopIfFull() {
		s.halt(dirRead)
	}
	s.reconsider()
}

// SetWriteMarks sets the output at or below which Drained is sent (low, by
// default 0) and the output at which Write returns ErrFull (high; 0 means the
// MaxOutput that the stream began with, as for SetReadMarks). A low that is not below
// high raises it; negative values count as 0. After CloseWrite, Drained waits for the
// last byte, whatever low is. It is libevent's bufferevent_setwatermark(EV_WRITE).
func (s *Stream) SetWriteMarks(low, high int) {
	s.mu.Lock()
	defer s.unlock()
	lim := *s.limits.Load()
	if lim.writeHigh = high; high <= 0 {
		lim.writeHigh = lim.maxOutput
	}
	lim.writeLow = max(low, 0)
	lim.raise()
	s.limits.Store(&lim)
	if s.out.n > 0 {
		s.announce(s.flushLocked()) // it may be low enough now
	}
}

// reconsider looks again at whether there is reason to read, or to have sent
// Readable. mu is held.
func (s *Stream) reconsider() {
	l := s.edit()
	defer l.unlock()
	if s.closing {
		return
	}
	if !s.ample() {
		l.retract(&s.source, readable)
	}
	if int(s.held.Load()) < s.limits.Load().readHigh && s.clear(flagStopped) {
		l.enqueue(&s.source, input)
	}
}

// Pause stops the directions in what, some of Read and Write, until Resume.
// Reading stopped, the kernel's buffers fill up and then the peer has to wait;
// Readable and EOF that were not received are taken back. Writing stopped,
// output is queued but not sent. That the peer has reset the connection is seen
// all the same.
func (s *Stream) Pause(what What) {
	s.mu.Lock()
	defer s.unlock()
	l := s.edit()
	defer l.unlock()
	if s.closing {
		return
	}
	what &= Read | Write
	s.paused |= what
	if what&Read != 0 {
		if s.pend&eof != 0 {
			s.set(flagHeldEOF)
		}
		l.retract(&s.source, readable|eof)
	}
	if what&Write != 0 && s.pend&drained != 0 {
		s.state |= stateOwed
		l.retract(&s.source, drained)
	}
}

// Resume lets the directions in what, some of Read and Write, go on after Pause
// or an idle timeout. Readable is sent at once if the input stands at the low
// mark.
func (s *Stream) Resume(what What) {
	s.mu.Lock()
	defer s.unlock()
	l := s.edit()
	if s.closing {
		l.unlock()
		return
	}
	what &= Read | Write
	on := s.paused & what
	s.paused &^= what
	s.timedOut &^= what
	if s.timedOut == 0 {
		l.retract(&s.source, timedOut)
	}
	if on&Read != 0 {
		if s.ample() && !s.silent() {
			l.enqueue(&s.source, readable)
		}
		s.releaseEOF(l)
		if !s.released {
			l.enqueue(&s.source, input)
		}
	}
	l.unlock()
	s.restartIdle(on)
	if on&Write != 0 {
		s.announce(s.flushLocked())
	}
}

// Paused returns the directions that are stopped by Pause or by an idle timeout.
func (s *Stream) Paused() What {
	l := s.lock()
	defer l.mu.Unlock()
	return s.paused
}

// releaseEOF sends the EOF that was held back, if nothing is in its way any more.
// The loop's mu is held.
func (s *Stream) releaseEOF(l *Loop) {
	if s.has(flagHeldEOF) && !s.silent() && s.paused&Read == 0 && !(s.has(flagBlocked) && s.held.Load() > 0) {
		s.clear(flagHeldEOF)
		l.enqueue(&s.source, eof)
	}
}

// idle is what a stream with idle timeouts keeps. The stream's mu guards it but
// for the timers, which the loop's guards.
type idle struct {
	stream *Stream
	after  [2]time.Duration // reading, writing; 0: none
	last   [2]int64         // when something was last read or written, on the loop's clock
	timers [2]timerNode     // running: to look whether that was long ago
	halted [2]bool          // there is no room for it, or it waits for its rate: no time passes
	due    [2]bool          // the timer has expired; the loop's mu guards it
}

// The directions of a stream, as indices.
const (
	dirRead = iota
	dirWrite
)

// expired is called when it is time to look. The loop's mu is held.
func (i *idle) expired(now int64) {
	for dir := range i.timers {
		if !i.timers[dir].running() && i.timers[dir].when <= now {
			i.due[dir] = true
		}
	}
	i.stream.Loop().assign(i.stream)
}

// SetIdleTimeouts sets how long nothing may be read, and how long nothing may be
// written while there is output; 0 means for ever, and so do negative values. A
// direction that has been idle too long is paused, and [TimedOut] sent. It is
// libevent's bufferevent_set_timeouts.
//
// The time counts from this call or from the last byte, and only while the
// direction can go on. One that is stopped by Pause, by a full input or by a rate
// limit does not time out, and its time begins anew when it goes on. So does that of
// writing when output begins to wait for the peer. What had arrived in time counts
// even if the loop comes to read it later.
//
// There is no timeout before the stream is connected (see DialConfig.Timeout), none
// for reading after the peer has finished, and none after Close (see Config.Linger).
//
// Bytes that are read and written touch no timer: a time limit costs one look each
// time that it has passed.
func (s *Stream) SetIdleTimeouts(read, write time.Duration) {
	s.mu.Lock()
	defer s.unlock()
	s.setIdle(read, write)
}

// setIdle is SetIdleTimeouts with mu held.
func (s *Stream) setIdle(read, write time.Duration) {
	if s.gone() || s.state&stateClosed != 0 {
		return
	}
	x := s.more()
	if x.idle == nil {
		x.idle = &idle{stream: s}
		for dir := range x.idle.timers {
			x.idle.timers[dir].owner = x.idle
		}
	}
	x.idle.after = [2]time.Duration{max(read, 0), max(write, 0)}
	full := s.stopIfFull()
	l := s.lock()
	x.idle.halted = [2]bool{full || x.throttled(dirRead), x.throttled(dirWrite)}
	l.mu.Unlock()
	s.restartIdle(Read | Write)
}

// TimedOut returns the directions that have been idle too long, and that were
// not resumed since.
func (s *Stream) TimedOut() What {
	l := s.lock()
	defer l.mu.Unlock()
	return s.timedOut
}

// restartIdle begins the time of the directions in what anew. mu is held.
func (s *Stream) restartIdle(what What) {
	if s.extra == nil || s.extra.idle == nil || s.gone() || s.connecting() {
		return
	}
	i := s.extra.idle
	l := s.Loop()
	now := l.clock()
	l.mu.Lock()
	defer l.unlock()
	for dir, bit := range [...]What{Read, Write} {
		if what&bit == 0 {
			continue
		}
		i.due[dir] = false
		i.last[dir] = now
		if i.after[dir] > 0 && !l.closed && (dir == dirRead || s.out.n > 0) {
			l.startTimer(&i.timers[dir], now, i.after[dir])
		} else {
			l.timers.stop(&i.timers[dir])
		}
	}
}

// count has the time of a direction count from now on. mu is held.
func (s *Stream) count(dir int) {
	if s.extra == nil || s.extra.idle == nil {
		return
	}
	i := s.extra.idle
	l := s.lock()
	running := i.timers[dir].running()
	l.mu.Unlock()
	if running {
		i.last[dir] = l.clock() // the timer will see
	} else {
		s.restartIdle([...]What{Read, Write}[dir])
	}
}

// halt notes that a direction cannot go on until goOn. mu is held.
func (s *Stream) halt(dir int) {
	if s.extra != nil && s.extra.idle != nil {
		s.extra.idle.halted[dir] = true
	}
}

// goOn notes that a direction goes on. mu is held.
func (s *Stream) goOn(dir int) {
	if s.extra != nil && s.extra.idle != nil && s.extra.idle.halted[dir] {
		s.extra.idle.halted[dir] = false
		s.count(dir)
	}
}

// checkIdle pauses the directions that have been idle too long, and says so. mu
// is held.
func (s *Stream) checkIdle() {
	if s.extra == nil || s.extra.idle == nil || s.gone() || s.state&stateClosed != 0 {
		return
	}
	i := s.extra.idle
	l := s.Loop()
	now := l.clock()
	l.mu.Lock()
	defer l.unlock()
	for dir, bit := range [...]What{Read, Write} {
		if !i.due[dir] || i.after[dir] == 0 {
			continue
		}
		if dir == dirRead && s.pend&input != 0 {
			s.set(flagOverdue)
			continue // fill comes first, and has this called again
		}
		if dir == dirRead && s.busy {
			l.assign(s) // the same, but it may have been already
			continue
		}
		i.due[dir] = false
		switch rest := i.last[dir] + int64(i.after[dir]) - now; {
		case s.paused&bit != 0, i.halted[dir]:
			// Resume, or goOn, starts the time again.
		case dir == dirRead && s.state&stateEOF != 0, dir == dirWrite && s.out.n == 0:
			// There is nothing to wait for.
		case rest > 0:
			l.startTimer(&i.timers[dir], now, time.Duration(rest))
		default:
			s.paused |= bit
			s.timedOut |= bit
			l.enqueue(&s.source, timedOut)
		}
	}
}

// recheckIdle has checkIdle called if it has waited for fill. mu is held.
func (s *Stream) recheckIdle() {
	if s.clear(flagOverdue) {
		l := s.lock()
		l.assign(s)
		l.unlock()
	}
}

// stopIdle stops the timers. The loop's mu is held.
func (x *streamExtra) stopIdle(l *Loop) {
	if x.idle != nil {
		for dir := range x.idle.timers {
			l.timers.stop(&x.idle.timers[dir])
		}
	}
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
	if s.gone() || s.state&stateClosed != 0 || d <= 0 && s.extra == nil {
		return
	}
	x := s.more()
	l := s.Loop()
	now := l.clock()
	l.mu.Lock()
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
	if x == nil || s.state&stateClosed != 0 {
		return false
	}
	l := s.lock()
	over := x.overdue && !x.lingers
	l.mu.Unlock()
	if over {
		x.err = s.opError("lifetime", os.ErrDeadlineExceeded)
	}
	return over
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"time"
)

// An idle has what a stream with idle timeouts needs. Its arrays have an element for each
// direction. The stream's mu guards it, except that the loop's lock guards timers, over and
// due.
type idle struct {
	stream  *Stream          // never changes
	after   [2]time.Duration // the timeouts; 0: none
	last    [2]int64         // when the last byte was read or sent, or the time began anew, on the loop's clock
	timers  [2]timerNode     // each runs until it is time to look at last
	halted  [2]bool          // the direction cannot go on, as its input is full or it waits for its rate: no time passes
	over    What             // the directions that were paused because they were idle too long
	recheck bool             // checkIdle waits for prepare, after which it is called again
	due     [2]bool          // the timer has expired, and checkIdle has not looked yet
}

// The directions of a stream, as indices of arrays.
const (
	dirRead = iota
	dirWrite
)

// expired is called when a timer has expired, and makes the loop call the stream's task. The
// caller holds the loop's lock.
func (i *idle) expired(now int64) {
	for dir := range i.timers {
		if !i.timers[dir].running() && i.timers[dir].when <= now {
			i.due[dir] = true
		}
	}
	i.stream.Loop().assign(i.stream)
}

// SetIdleTimeouts sets how long nothing may be read, and how long nothing may be sent while
// there is output. 0 means for ever, and so do negative values. When a direction has been
// idle too long, it is paused, and [TimedOut] is sent; Resume lets it go on.
//
// The time of a direction counts from this call or from the last byte. It begins anew
//   - when the direction goes on after it was stopped by Pause, by a full input or by a rate
//     limit. While it is stopped, it does not time out;
//   - for writing, when output begins to wait for the peer.
//
// A byte that has arrived in time counts even if the loop reads it later. So does output that
// the kernel takes without the peer's reading, as its buffers grow: a write timeout can come
// late by once its length.
//
// There is no timeout before the stream is connected (see DialConfig.Timeout), none for
// reading after the peer has finished, and none after Close (see Config.Linger).
//
// No timer is started for a byte that is read or sent: a timeout costs one look each time
// that it has passed. libevent does this by bufferevent_set_timeouts.
func (s *Stream) SetIdleTimeouts(read, write time.Duration) {
	s.mu.Lock()
	defer s.unlock()
	s.setIdle(read, write)
}

// setIdle is SetIdleTimeouts for a caller that holds s.mu.
func (s *Stream) setIdle(read, write time.Duration) {
	if s.life != lifeOpen {
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
	l := s.lockLoop()
	x.idle.halted = [2]bool{full || x.throttled(dirRead), x.throttled(dirWrite)}
	l.unlock()
	s.restartIdle(Read | Write)
}

// TimedOut returns the directions that have been idle too long, and were not resumed since.
func (s *Stream) TimedOut() What {
	below := s.timedOutBelow()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lockLoop()
	defer l.unlock()
	return s.timedOut() | below
}

// timedOut is TimedOut of s alone, without the streams below it. The caller holds s.mu and
// the loop's lock.
func (s *Stream) timedOut() What {
	if s.extra == nil || s.extra.idle == nil {
		return 0
	}
	return s.extra.idle.over
}

// resumeIdle notes that the directions in what go on after an idle timeout, and reports
// whether another one is still timed out. The caller holds s.mu and the loop's lock.
func (s *Stream) resumeIdle(what What) bool {
	if s.timedOut()&what != 0 {
		s.extra.idle.over &^= what
	}
	return s.timedOut() != 0
}

// restartIdle begins the time of the directions in what anew. The caller holds s.mu.
func (s *Stream) restartIdle(what What) {
	if s.extra == nil || s.extra.idle == nil || s.gone() || s.unopened() {
		return
	}
	i := s.extra.idle
	output := s.output()
	if i.after[dirWrite] > 0 {
		s.timeBelow()
	}
	l := s.Loop()
	now := l.clock()
	l.lock()
	defer l.unlock()
	for dir, bit := range [...]What{Read, Write} {
		if what&bit == 0 {
			continue
		}
		i.due[dir] = false
		i.last[dir] = now
		if i.after[dir] > 0 && !l.closed && (dir == dirRead || output > 0) {
			l.startTimer(&i.timers[dir], now, i.after[dir])
		} else {
			l.timers.stop(&i.timers[dir])
		}
	}
}

// count makes the time of a direction count from now on. The caller holds s.mu.
func (s *Stream) count(dir int) {
	if s.extra == nil || s.extra.idle == nil {
		return
	}
	i := s.extra.idle
	l := s.lockLoop()
	running := i.timers[dir].running()
	l.unlock()
	if running {
		i.last[dir] = l.clock() // checkIdle looks at it when the timer has expired
	} else {
		s.restartIdle([...]What{Read, Write}[dir])
	}
}

// halt notes that a direction cannot go on until goOn. The caller holds s.mu.
func (s *Stream) halt(dir int) {
	if s.extra != nil && s.extra.idle != nil {
		s.extra.idle.halted[dir] = true
	}
}

// goOn notes that a direction goes on, and makes its time begin anew if halt was called before.
// The caller holds s.mu.
func (s *Stream) goOn(dir int) {
	if s.extra != nil && s.extra.idle != nil && s.extra.idle.halted[dir] {
		s.extra.idle.halted[dir] = false
		s.count(dir)
	}
}

// checkIdle looks at the directions whose timer has expired. It pauses those that have been
// idle too long, and enqueues TimedOut. The caller holds s.mu.
func (s *Stream) checkIdle() {
	if s.extra == nil || s.extra.idle == nil || s.life != lifeOpen {
		return
	}
	i := s.extra.idle
	output := s.output()
	at, haltedBelow := s.lastOutput()
	i.last[dirWrite] = max(i.last[dirWrite], at)
	l := s.Loop()
	now := l.clock()
	if haltedBelow {
		i.last[dirWrite] = now
	}
	l.lock()
	defer l.unlock()
	for dir, bit := range [...]What{Read, Write} {
		if !i.due[dir] || i.after[dir] == 0 {
			continue
		}
		if dir == dirRead && s.pend&workRead != 0 {
			i.recheck = true
			continue // prepare comes first, and calls recheckIdle
		}
		if dir == dirRead && s.busy {
			l.assign(s) // prepare is running, and may have looked at recheck already
			continue
		}
		i.due[dir] = false
		switch rest := int64(i.after[dir]) - (now - i.last[dir]); {
		case s.paused.has(bit), i.halted[dir]:
			// Resume or goOn begins the time anew.
		case dir == dirRead && s.in.eof, dir == dirWrite && output == 0:
			// Nothing more can come, or there is nothing to send.
		case rest > 0:
			l.startTimer(&i.timers[dir], now, time.Duration(rest))
		default:
			s.paused |= directions(bit)
			i.over |= bit
			l.enqueue(&s.source, msgTimedOut)
		}
	}
}

// recheckIdle makes the loop call checkIdle, by task, if that has waited for prepare. The
// caller holds s.mu.
func (s *Stream) recheckIdle() {
	if s.extra != nil && s.extra.idle != nil && s.extra.idle.recheck {
		s.extra.idle.recheck = false
		s.goOnLater()
	}
}

// stopIdle stops the timers. The caller holds the loop's lock.
func (x *streamExtra) stopIdle(l *Loop) {
	if x.idle != nil {
		for dir := range x.idle.timers {
			l.timers.stop(&x.idle.timers[dir])
		}
	}
}

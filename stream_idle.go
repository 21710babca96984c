// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"time"
)

// This file is about when a stream reads and writes: its marks, pauses, idle
// timeouts and lifetime.

// idle is what a stream with idle timeouts keeps. The stream's mu guards it but
// for the timers, which the loop's guards.
type idle struct {
	stream  *Stream
	after   [2]time.Duration // reading, writing; 0: none
	last    [2]int64         // when something was last read or written, on the loop's clock
	timers  [2]timerNode     // running: to look whether that was long ago
	halted  [2]bool          // there is no room for it, or it waits for its rate: no time passes
	over    What             // directions that were paused because they were idle; the loop's mu guards it
	recheck bool             // checkIdle is to be called again once fill has read
	due     [2]bool          // the timer has expired; the loop's mu guards it
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

// TimedOut returns the directions that have been idle too long, and that were
// not resumed since.
func (s *Stream) TimedOut() What {
	below := s.timedOutBelow()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lockLoop()
	defer l.unlock()
	return s.timedOut() | below
}

// timedOut is TimedOut for a caller that holds the loop's lock, and mu.
func (s *Stream) timedOut() What {
	if s.extra == nil || s.extra.idle == nil {
		return 0
	}
	return s.extra.idle.over
}

// resumeIdle notes that the directions in what go on after an idle timeout, and reports
// whether one does not. The caller holds mu and the loop's lock.
func (s *Stream) resumeIdle(what What) bool {
	if s.timedOut()&what != 0 {
		s.extra.idle.over &^= what
	}
	return s.timedOut() != 0
}

// restartIdle begins the time of the directions in what anew. mu is held.
func (s *Stream) restartIdle(what What) {
	if s.extra == nil || s.extra.idle == nil || s.gone() || s.connecting() {
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

// count has the time of a direction count from now on. mu is held.
func (s *Stream) count(dir int) {
	if s.extra == nil || s.extra.idle == nil {
		return
	}
	i := s.extra.idle
	l := s.lockLoop()
	running := i.timers[dir].running()
	l.unlock()
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
			continue // fill comes first, and has this called again
		}
		if dir == dirRead && s.busy {
			l.assign(s) // the same, but it may have been already
			continue
		}
		i.due[dir] = false
		switch rest := int64(i.after[dir]) - (now - i.last[dir]); {
		case s.paused.has(bit), i.halted[dir]:
			// Resume, or goOn, starts the time again.
		case dir == dirRead && s.in.eof, dir == dirWrite && output == 0:
			// There is nothing to wait for.
		case rest > 0:
			l.startTimer(&i.timers[dir], now, time.Duration(rest))
		default:
			s.paused |= directions(bit)
			i.over |= bit
			l.enqueue(&s.source, msgTimedOut)
		}
	}
}

// recheckIdle has checkIdle called if it has waited for fill. mu is held.
func (s *Stream) recheckIdle() {
	if s.extra != nil && s.extra.idle != nil && s.extra.idle.recheck {
		s.extra.idle.recheck = false
		s.goOnLater()
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

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

// This file is about the output of streams that Filter has made: what a stream says of its
// output counts what lies in the filter and in the streams below it, in bytes as they lie
// there, encoded or not.

// below returns the filter that s writes to, or nil if Filter has not made s, or s has let
// it go. Caller holds s.mu.
func (s *Stream) below() *filtering {
	if s.extra == nil || s.gone() {
		return nil
	}
	x, _ := s.extra.transport.(*filtering)
	return x
}

// below returns the filter under x, or nil. Caller holds upper's mu.
func (x *filtering) below() *filtering {
	x.lower.mu.Lock()
	defer x.lower.mu.Unlock()
	return x.lower.below()
}

// output returns how many bytes of output lie in s and below. Caller holds s.mu.
func (s *Stream) output() int {
	n := s.out.queue.n
	if x := s.below(); x != nil {
		n = addSizes(n, x.output())
	}
	return n
}

// outputInMemory is output without what lies in files. Caller holds s.mu.
func (s *Stream) outputInMemory() int {
	n := s.out.queue.inMemory()
	if x := s.below(); x != nil {
		n = addSizes(n, x.outputInMemory())
	}
	return n
}

// written returns a number that changes whenever output has moved, in s or below. Caller
// holds s.mu.
func (s *Stream) written() int {
	n := 0
	if s.extra != nil {
		n = s.extra.sent
	}
	if x := s.below(); x != nil {
		x.lower.mu.Lock()
		n += x.lower.written()
		x.lower.mu.Unlock()
	}
	return n
}

// output returns how many bytes of output lie in x and below. Caller holds upper's mu.
func (x *filtering) output() int {
	x.mu.Lock()
	n := addSizes(x.out.n, x.inside)
	x.mu.Unlock()
	x.lower.mu.Lock()
	defer x.lower.mu.Unlock()
	return addSizes(n, x.lower.output())
}

// outputInMemory is output without what lies in files below x. Caller holds upper's mu.
func (x *filtering) outputInMemory() int {
	x.mu.Lock()
	n := addSizes(x.out.n, x.inside)
	x.mu.Unlock()
	x.lower.mu.Lock()
	defer x.lower.mu.Unlock()
	return addSizes(n, x.lower.outputInMemory())
}

// addSizes returns a+b, or the greatest int if that is more.
func addSizes(a, b int) int {
	if n := a + b; n >= a {
		return n
	}
	return int(^uint(0) >> 1)
}

// watchBelow has outputMoved called when output moves in a stream under s. Caller holds s.mu.
func (s *Stream) watchBelow() {
	for x := s.below(); x != nil; x = x.below() {
		x.watched.Store(true)
	}
}

// noteBelow is noteOwed after output was given to a filter, which sends it in the next turn,
// most often all of it: so Drained is owed only if there is one that is untrue now. Caller
// holds s.mu.
func (s *Stream) noteBelow() {
	if s.out.owed || s.below() == nil {
		return
	}
	l := s.lockLoop()
	untrue := s.unreceived()&msgDrained != 0
	l.unlock()
	if untrue {
		s.noteOwed()
	}
}

// timeBelow has the filters under s note when output moves. Caller holds s.mu.
func (s *Stream) timeBelow() {
	for x := s.below(); x != nil; x = x.below() {
		x.timed.Store(true)
	}
}

// progressed tells the filter on top of s that some output has left s. Caller holds s.mu.
func (s *Stream) progressed() {
	if s.filtered {
		if x := s.extra.tap; x.timed.Load() {
			x.progress.Store(s.Loop().clock())
		}
		s.wakeWatcher()
	}
}

// wakeWatcher has the task of the filter on top of s called, if that watches s. Caller holds
// s.mu.
func (s *Stream) wakeWatcher() {
	if s.filtered && s.extra.tap.watched.Load() {
		l := s.lockLoop()
		l.assign(s.extra.tap)
		l.unlock()
	}
}

// stuckBelow reports whether some output has stayed below x, and is not only on its way
// through filters whose tasks are about to be called. Caller holds x.mu.
func (x *filtering) stuckBelow() bool {
	x.lower.mu.Lock()
	defer x.lower.mu.Unlock()
	y := x.lower.below()
	if y == nil || x.lower.out.queue.n > 0 {
		return true
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.stuck
}

// outputMoved is told by the filter under s that output has moved below. began tells that
// some has begun to wait there.
func (s *Stream) outputMoved(began bool) {
	s.mu.Lock()
	defer s.unlockInTurn()
	x := s.below()
	if x == nil {
		return
	}
	if began {
		s.noteOwed()
		s.count(dirWrite)
	}
	s.announce(s.checkDrained())
	if began && s.filtered {
		s.extra.tap.schedule()
	} else {
		s.wakeWatcher()
	}
	if !s.filtered {
		s.unwatchBelow()
	}
}

// unwatchBelow undoes watchBelow, as far down as no stream owes a Drained. Caller holds s.mu.
func (s *Stream) unwatchBelow() {
	x := s.below()
	if x == nil || s.out.owed {
		return
	}
	x.mu.Lock()
	owed := x.owed
	x.mu.Unlock()
	if owed {
		return
	}
	x.watched.Store(false)
	x.lower.mu.Lock()
	defer x.lower.mu.Unlock()
	x.lower.unwatchBelow()
}

// lastOutput returns when output last left a stream below s, on the loop's clock, and
// whether none can at the moment because a stream is paused or waits for its rate. Caller
// holds s.mu.
func (s *Stream) lastOutput() (at int64, halted bool) {
	for x := s.below(); x != nil; x = x.below() {
		at = max(at, x.progress.Load())
		x.lower.mu.Lock()
		l := x.lower.lockLoop()
		halted = halted || x.lower.paused.has(Write) && x.lower.timedOut()&Write == 0 || x.lower.extra.throttled(dirWrite)
		l.unlock()
		x.lower.mu.Unlock()
	}
	return at, halted
}

// timedOutBelow returns the directions of the streams below s that have been idle too long,
// by timeouts of their own.
func (s *Stream) timedOutBelow() What {
	s.mu.Lock()
	x := s.below()
	s.mu.Unlock()
	if x == nil {
		return 0
	}
	return x.lower.TimedOut()
}

// resumeBelow has the directions in what go on that timedOutBelow has returned.
func (s *Stream) resumeBelow(what What) {
	s.mu.Lock()
	x := s.below()
	s.mu.Unlock()
	if x == nil {
		return
	}
	if what &= x.lower.TimedOut(); what != 0 {
		x.lower.Resume(what)
	}
}

// unsent reports whether some output has not left lower. Caller holds the mu of both
// streams.
func (x *filtering) unsent() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.upper.out.queue.n > 0 || x.out.n > 0 || x.answer.n > 0 || x.lower.out.queue.n > 0
}

// oweDrained makes upper send Drained once nothing is unsent.
func (x *filtering) oweDrained() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.owed = true
	x.watched.Store(true)
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

// This file is about filters with a method Opened, and about others on top of such ones: what a
// stream may tell, and when.

// An opener is a Filter that says when its stream can be used.
type opener interface{ Opened() bool }

// unopened reports whether s is not connected yet, or a filter under s is not open. The
// caller holds s.mu.
func (s *Stream) unopened() bool {
	if s.connecting() {
		return true
	}
	x := s.below()
	if x == nil {
		return false
	}
	if !x.open.Load() {
		return true
	}
	x.lower.mu.Lock()
	defer x.lower.mu.Unlock()
	return x.lower.unopened()
}

// callOpened returns true if the filter is no opener.
func (x *filtering) callOpened() (opened bool) {
	if x.opener == nil {
		return true
	}
	var err error // a filter that panics here is not open, and hears of it in Decode
	x.exited = "opened"
	defer x.called(&err)
	opened = x.opener.Opened()
	x.exited = ""
	return opened
}

// opens notes that upper can be used, and has it send the messages that have waited for that.
func (x *filtering) opens() {
	s := x.upper
	s.mu.Lock()
	defer s.unlockInTurn()
	x.open.Store(true)
	l := s.lockAndWithdraw()
	if x.opener != nil {
		x.tellOpen(l)
	}
	if s.filtered {
		l.assign(s.extra.tap) // which has waited for this
	}
	l.unlock()
	s.restartIdle(Read | Write)
	s.announce(s.checkDrained())
}

// tellOpen has upper send its first message: Accepted if Over has made it for a listener,
// else Connected. Caller holds l.mu.
func (x *filtering) tellOpen(l *Loop) {
	if x.accepting {
		x.accepting = false
		x.upper.listener.admit(l, x.upper)
	} else {
		l.enqueue(&x.upper.source, x.upper.confirm(msgConnected))
	}
}

// unsettled reports whether the filter is busy or not open, so that only the loop can go on.
// Caller holds x.working.
func (x *filtering) unsettled() bool {
	_, own := x.filter.(connMaker)
	return !x.open.Load() || x.busy || x.stalled || own && x.sending.n > 0
}

// unused reports whether upper has never written. Caller holds upper's mu.
func (x *filtering) unused() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return !x.wrote
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

func (x *filtering) close(reset bool) {
	late := x.upper.overdue()
	x.mu.Lock()
	x.closing, x.fin = true, true
	if x.err != nil && !x.open.Load() && !x.upper.life.closed() {
		reset = false // the peer has got nothing that it could take for all, and is to get the filter's last words
	}
	x.upper.spend(x.plain.detach())
	if reset || late {
		x.lost += x.out.n
		x.upper.spend(x.out.detach())
		x.done = true
	}
	x.mu.Unlock()
	if reset || late {
		x.lower.mu.Lock()
		x.lower.closeLocked(true, reset)
		x.lower.bequeath(x.upper)
		x.lower.mu.Unlock()
	}
	x.schedule()
}

// bequeath moves the chunks whose release functions s would call to up, the stream on
// top of it. End of its layer is called after the turn. Caller holds the mu of both.
func (s *Stream) bequeath(up *Stream) {
	up.spend(s.extra.spent)
	s.extra.spent = nil
	s.Loop().endLater(s.extra.end, &s.source)
	s.extra.end = nil
}

// retire frees the buffers and closes the filter, if x is done. If the task is running,
// it does nothing: the task calls retire when it ends.
func (x *filtering) retire() {
	x.mu.Lock()
	done := x.done
	x.mu.Unlock()
	if !done || !x.working.TryLock() {
		return
	}
	defer x.working.Unlock()
	if x.retired {
		return
	}
	x.retired = true
	x.calling.Store(true)
	defer x.calling.Store(false)
	x.mu.Lock()
	var rest chain
	x.lost += x.out.n + x.sending.n + x.answer.n
	x.upper.Loop().noteLostLocking(x.lost)
	rest.splice(&x.out) // not empty if the loop was closed before a task
	x.mu.Unlock()
	rest.splice(&x.sending.chain)
	rest.splice(&x.answer.chain)
	x.upper.Loop().releaseLater(rest.detach())
	var err error
	defer func() {
		if x.exited != "" {
			err = errExited
		}
		if err == nil {
			return
		}
		s := x.upper
		s.mu.Lock()
		if s.why() == nil {
			s.more().err = s.opError("close", err)
		}
		s.mu.Unlock()
	}()
	err = x.callClose()
}

// abandon ends x because its loop was closed.
func (x *filtering) abandon() {
	if !x.upper.Loop().isClosed() {
		return // x has moved to another loop
	}
	x.mu.Lock()
	x.done = true
	x.mu.Unlock()
	x.retire()
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

// tellStopping tells the stream's layer, if there is one, that Shutdown was called. It returns
// false if there is none. The caller holds s.mu.
func (s *Stream) tellStopping() bool {
	l := s.lockLoop()
	defer l.unlock()
	if !s.layered() {
		return false
	}
	if !s.layer.stopping {
		s.layer.stopping = true
		l.enqueue(&s.source, msgStopping)
		l.feederWork = true // if a feeder serves s, which may wait for its receiver
		if s.pend&msgMade != 0 || s.offered {
			l.stopping = append(l.stopping, &s.source)
		}
	}
	return true
}

// SetLayer has layer turn the stream's messages into others: see [Layer]. What has happened is
// told again: Readable if there is input, EOF, and Closed.
func (s *Stream) SetLayer(layer Layer) error {
	s.mu.Lock()
	defer s.unlock()
	l := s.lockAndWithdraw()
	defer l.unlock()
	if err := l.setLayer(&s.source, layer); err != nil {
		return err
	}
	if layer != nil {
		s.in.set(flagQuiet)
	} else {
		s.in.clear(flagQuiet)
	}
	bits := msgReadable
	if s.in.eof {
		bits |= msgEOF
	}
	if s.life == lifeFailed {
		bits |= msgClosed
	}
	l.enqueue(&s.source, s.confirm(bits))
	if l.draining.Load() {
		l.assign(s)
	}
	return nil
}

// layerFailed ends the stream because its layer has failed with err.
func (s *Stream) layerFailed(err error) {
	s.mu.Lock()
	defer s.unlock()
	switch s.life {
	case lifeOpen:
		s.fail("layer", err, 0)
	case lifeFailed:
		s.more().err = s.opError("layer", err)
		s.announce(msgClosed)
	}
}

// announce enqueues those of bits that are true. The caller holds s.mu.
func (s *Stream) announce(bits pending) {
	if bits == 0 {
		return
	}
	l := s.lockLoop()
	l.enqueue(&s.source, s.confirm(bits))
	l.refresh(&s.source)
	l.unlock()
}

// silent reports whether s sends no more messages, because Close was called or Closed was
// received. The caller holds the loop's lock.
func (s *Stream) silent() bool {
	return s.life.closed() || s.life == lifeFailed && s.unreceived()&msgClosed == 0
}

// confirm returns those of bits that are still true. The caller holds the loop's lock.
func (s *Stream) confirm(bits pending) pending {
	if bits&msgMask == 0 {
		return bits
	}
	if s.life.closed() || bits&msgClosed == 0 && s.silent() {
		return 0
	}
	if bits&msgReadable != 0 && (s.paused.has(Read) || !s.ample()) {
		bits &^= msgReadable
		s.in.clear(flagAgain)
	}
	if bits&msgEOF != 0 && s.mustHoldEOF() {
		s.in.wait(waitEOF)
		if s.mustHoldEOF() {
			bits &^= msgEOF
		} else {
			s.in.unwait(waitEOF)
		}
	}
	return bits
}

// mustHoldEOF reports whether EOF has to wait, because reading is paused or WriteTo has left
// input that must be consumed before. The caller holds the loop's lock.
func (s *Stream) mustHoldEOF() bool {
	return s.paused.has(Read) || s.in.waits&waitBlocked != 0 && s.in.held.Load() > 0
}

func (s *Stream) event(bit pending) Event {
	switch bit {
	case msgAccepted:
		return Accepted{s}
	case msgMoved:
		return Moved{s}
	case msgConnected:
		return Connected{s}
	case msgReadable:
		return Readable{s}
	case msgDrained:
		return Drained{s}
	case msgStopping:
		return Stopping{s}
	case msgTimedOut:
		return TimedOut{s}
	case msgEOF:
		return EOF{s}
	case msgClosed:
		return Closed{s}
	}
	panic("evchan: BUG: no such message of a stream")
}

func (s *Stream) hold(bit pending) {
	if bit == msgReadable {
		s.in.wait(waitSending)
	}
}

func (s *Stream) unhold(bit pending) {
	if bit == msgReadable {
		s.in.unwait(waitSending)
	}
}

// divert gives bits to the filter on top of s, instead of the queue.
func (s *Stream) divert(bits pending) { s.Loop().tell(s.extra.tap, bits) }

func (s *Stream) received(bit pending) {
	switch {
	case bit == msgReadable:
		s.in.clear(flagAgain)
		s.in.unwait(waitRefused)
	case bit == msgEOF:
		s.in.set(flagQuiet)
	case bit == msgAccepted && s.in.clear(flagAcceptPending):
		s.listener.admitted(s.Loop())
	case bit == msgClosed:
		s.forgetBlocked(s.Loop()) // nothing can be told any more
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

// Pause stops the directions in what, some of Read and Write, until Resume:
//   - Read: the loop does not read. The kernel's buffers fill, and then the peer has to
//     wait. Readable and EOF are taken back if they were not received.
//   - Write: output is queued and not sent. Drained is taken back if it was not received.
//
// The loop sees all the same that the peer has reset the connection. Close sends the output
// even if writing is paused.
func (s *Stream) Pause(what What) {
	s.mu.Lock()
	defer s.unlock()
	l := s.lockAndWithdraw()
	defer l.unlock()
	if s.life.closed() {
		return
	}
	what &= Read | Write
	s.paused |= directions(what)
	if what&Read != 0 {
		if s.pend&msgEOF != 0 {
			s.in.wait(waitEOF)
		}
		s.retractReadable(l)
		l.retract(&s.source, msgEOF)
	}
	if what&Write != 0 && s.pend&msgDrained != 0 {
		s.out.owed = true
		l.retract(&s.source, msgDrained)
	}
}

// Resume lets the directions in what, some of Read and Write, go on after Pause or an idle
// timeout. If reading was stopped and the input is at the low mark or above, Readable is sent
// at once.
func (s *Stream) Resume(what What) {
	s.resume(what)
	s.resumeBelow(what)
}

// resume is Resume of s alone, without the streams below it.
func (s *Stream) resume(what What) {
	s.mu.Lock()
	defer s.unlock()
	l := s.lockAndWithdraw()
	if s.life.closed() {
		l.unlock()
		return
	}
	what &= Read | Write
	on := What(s.paused) & what
	s.paused &^= directions(what)
	if !s.resumeIdle(what) {
		l.retract(&s.source, msgTimedOut)
	}
	if on&Read != 0 {
		if s.ample() && !s.silent() {
			l.enqueue(&s.source, msgReadable)
		}
		s.releaseEOF(l)
		if !s.gone() {
			l.enqueue(&s.source, workRead)
		}
		if x := s.below(); x != nil { // the filter may have waited for that
			x.asked.Store(true)
			l.assign(x)
		}
	}
	l.unlock()
	s.restartIdle(on)
	if on&Write != 0 {
		s.announce(s.flush())
	}
}

// Paused returns the directions that Pause or an idle timeout has stopped.
func (s *Stream) Paused() What {
	below := s.timedOutBelow()
	l := s.lockLoop()
	defer l.unlock()
	return What(s.paused) | below
}

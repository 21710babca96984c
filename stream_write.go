// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"io"
	"slices"
	"sync/atomic"
	"unsafe"
)

// Write sends p, and queues what of it cannot be sent at once. It takes all of p
// or nothing: it returns 0 and ErrFull while Queued() is MaxOutput or more, in
// which case Drained tells when to go on. p is not kept. The bytes of one Write
// are sent in one piece.
//
// After Close it returns ErrClosed, and after the stream has failed, Err. If it
// fails in the middle of p, Write returns that and how many bytes of p had been
// sent.
func (s *Stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	if len(p) > 0 && s.ordinary() {
		r, errno := trySend(s.sock.fd, p) // what writeSlow would do, in one step
		n := int(r)
		if n == len(p) {
			s.Loop().bytesOut.Add(uint64(n))
			s.mu.Unlock()
			return n, nil
		}
		if n < 0 && !tryAgain(errno) {
			s.fail("write", errno, 0)
		}
		return s.writeSlow(p, max(n, 0))
	}
	return s.writeSlow(p, 0)
}

// writeSlow is Write of p, of which n bytes have been sent already. It lets go of mu.
func (s *Stream) writeSlow(p []byte, n int) (int, error) {
	defer s.unlock()
	if err := s.writeErr(); err != nil || len(p) == 0 {
		return 0, err
	}
	if !s.out.queue.fits(len(p)) {
		return 0, ErrFull
	}
	if n > 0 {
		s.Loop().bytesOut.Add(uint64(n))
	} else if room := len(p); s.out.queue.n == 0 && !s.paused.has(Write) {
		var err error
		if room = s.quota(dirWrite, room); room > 0 {
			n, err = s.writeOnce(p[:room])
			s.Loop().bytesOut.Add(uint64(n))
			s.moved(dirWrite, n)
			s.waive(dirWrite)
		}
		if n == len(p) {
			s.noteBelow()
			return n, nil
		}
		if err != nil && err != eAGAIN {
			s.fail("write", err, 0)
			return n, s.why()
		}
	}
	s.out.queue.add(p[n:])
	if err := s.send(); err != nil {
		return max(len(p)-s.extra.lost, 0), err
	}
	return len(p), nil
}

// WriteString is Write of the bytes of p. It does not copy what the kernel takes at once.
func (s *Stream) WriteString(p string) (int, error) {
	return s.Write(unsafe.Slice(unsafe.StringData(p), len(p)))
}

// tryAgain reports whether what failed with e may work the next time: the fast ways to
// read and write leave that to the slow ones. Other failures are told once by the kernel.
func tryAgain(e sysErrno) bool { return e == eAGAIN || e == eINTR }

// writeErr returns why nothing can be written, or nil. mu is held.
func (s *Stream) writeErr() error {
	if s.life == lifeOpen && s.out.fin == finNone && s.extra == nil && s.out.queue.n < s.limits.Load().writeHigh {
		return nil // so it is most often
	}
	switch {
	case s.life.closed():
		return ErrClosed
	case s.why() != nil:
		return s.why()
	case s.gone():
		return ErrClosed
	case s.out.fin != finNone:
		return s.opError("write", ePIPE)
	case s.output() >= s.limits.Load().writeHigh && s.full():
		s.noteOwed() // what lies below a filter may not have been told
		return ErrFull
	}
	return nil
}

// OutputFull reports whether Write would return ErrFull: so much output is unsent that no
// more is taken (see Config.MaxOutput). [Drained] follows once it has fallen to the write
// low mark. It is the counterpart of InputFull.
func (s *Stream) OutputFull() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writeErr() == ErrFull
}

// full reports whether as much output is queued as the write high mark, without what lies
// in files. To find that out takes a walk over the queue, so the result is kept: a walk
// comes only after some was sent, or when enough was added since to matter. The caller
// holds mu.
func (s *Stream) full() bool {
	high := s.limits.Load().writeHigh
	x := s.more()
	last := &x.counted
	queued, sent := s.output(), s.written()
	added := queued - last.queued + sent - last.sent
	switch {
	case last.memory >= high && sent == last.sent:
		return true
	case last.memory < high-added:
		return false
	}
	*last = countedOutput{s.outputInMemory(), queued, sent}
	return last.memory >= high
}

// A countedOutput is what full has found.
type countedOutput struct {
	memory int // bytes that were not in files
	queued int // bytes
	sent   int // what written returned at that time
}

// ReadFrom writes what r has until r returns io.EOF. It stops with ErrFull
// while Queued() is MaxOutput or more, and with r's error, ErrWouldBlock among
// them; no byte that was read is lost. If r is a Stream, it does what that
// stream's WriteTo does.
func (s *Stream) ReadFrom(r io.Reader) (int64, error) {
	if src, ok := r.(*Stream); ok {
		return src.WriteTo(s)
	}
	var total int64
	buf := newChunk(streamClass)
	defer buf.put()
	for {
		s.mu.Lock()
		err := s.writeErr()
		if err == nil && !s.out.queue.fits(len(buf.buf)) {
			err = ErrFull
		}
		s.mu.Unlock()
		if err != nil {
			return total, err
		}
		n, err := r.Read(buf.buf)
		if n < 0 || n > len(buf.buf) {
			panic("evchan: reader returned an impossible count from Read")
		}
		if n > 0 {
			total += int64(n)
			if werr := s.push(buf.buf[:n]); werr != nil {
				return total, werr
			}
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// push is Write without a limit, for what was read already.
func (s *Stream) push(p []byte) error {
	s.mu.Lock()
	defer s.unlock()
	if err := s.writeErr(); err != nil && err != ErrFull {
		return err
	}
	if !s.out.queue.fits(len(p)) {
		return ErrFull
	}
	s.out.queue.add(p)
	return s.send()
}

// Output returns a buffer in which a reply can be built piece by piece; Flush
// sends it. It is always the same one, and nothing of it is sent before that.
func (s *Stream) Output() *Buffer {
	if s.out.pieces == nil {
		s.out.pieces = &Buffer{flags: bufNoSpare}
	}
	return s.out.pieces
}

// Flush sends what is in Output, in one piece, and leaves Output empty. It
// returns ErrFull, and leaves Output as it is, while Queued() is MaxOutput or
// more; otherwise what Write would return.
func (s *Stream) Flush() error {
	if s.out.pieces == nil {
		return nil
	}
	_, err := s.writeBuffer(s.out.pieces, nil)
	return err
}

// writeBuffer moves all of b to the output and sends what is possible. from is
// the stream whose input b is, if that is so.
func (s *Stream) writeBuffer(b *Buffer, from *Stream) (int, error) {
	if err := b.front(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	n, err := s.queue(&b.chain, from)
	s.unlock()
	b.removed(n)
	return n, err
}

// queue moves all of q to the output, and sends what is possible. It moves nothing
// if it returns 0. from is the stream whose input q is, if that is so. mu is held.
func (s *Stream) queue(q *chain, from *Stream) (int, error) {
	n := q.n
	if n == 0 {
		return 0, nil
	}
	err := s.writeErr()
	if err == nil && !s.out.queue.fits(n) {
		err = ErrFull
	}
	if err != nil {
		if err == ErrFull && from != nil {
			from.block(s)
		}
		return 0, err
	}
	s.out.queue.splice(q)
	return n, s.send()
}

// send sends output that was added, or its end: now, or, if the kernel takes no more for the
// moment, later by the loop. It returns the error if that has ended the stream. The caller
// holds mu.
func (s *Stream) send() error {
	if s.out.lagging.Load() {
		s.noteOwed()
		return nil
	}
	s.announce(s.flush())
	if s.gone() {
		return s.why()
	}
	return nil
}

// flushBudget is how many bytes of one stream are sent before others have their turn.
// Arbitrary.
const flushBudget = 256 << 10

// flush sends what is possible of the output, up to flushBudget, and returns the resulting
// messages. The caller holds mu.
func (s *Stream) flush() (bits pending) {
	if s.gone() {
		return 0
	}
	if s.paused.has(Write) && !s.life.closed() {
		s.waive(dirWrite)
		s.noteOwed()
		return 0
	}
	for budget := flushBudget; s.out.queue.n > 0; {
		room := s.quota(dirWrite, min(s.out.queue.n, budget))
		if room == 0 {
			s.out.lagging.Store(false) // it waits for its rate, not for the kernel
			s.halt(dirWrite)
			break
		}
		s.goOn(dirWrite)
		n, spent, err := s.flushOnce(&s.out.queue, room)
		if spent != nil {
			s.spend(spent)
		}
		if n > 0 {
			s.Loop().bytesOut.Add(uint64(n))
			s.moved(dirWrite, n)
			s.progressed()
		}
		if err != nil {
			s.fail("write", err, bits)
			return 0
		}
		if n == room {
			if budget -= n; budget == 0 && s.out.queue.n > 0 {
				s.out.lagging.Store(false)
				s.goOnLater()
				break
			}
			continue
		}
		if s.out.lagging.Load() {
			break
		}
		// Once the flag is up, a report of room is heard. Room that came
		// before that is found by trying again.
		s.out.lagging.Store(true)
		s.count(dirWrite)
	}
	s.waive(dirWrite)
	if s.out.queue.n > 0 {
		s.rearm()
		s.noteOwed()
	} else {
		s.out.lagging.Store(false)
		s.noteBelow()
	}
	bits |= s.checkDrained()
	if s.out.queue.n == 0 && s.out.fin == finQueued {
		s.out.fin = finSent
		if err := s.transport().closeWrite(); err != nil && err != eNOTCONN {
			s.fail("close", err, bits)
			return 0
		}
	}
	return bits
}

// goOnLater has the loop call task again, in its next turn. The caller holds mu.
func (s *Stream) goOnLater() {
	l := s.lockLoop()
	l.assign(s)
	l.unlock()
}

// checkDrained returns msgDrained if that is owed and the output has fallen. The caller
// holds mu.
func (s *Stream) checkDrained() pending {
	if !s.out.owed || s.connecting() || s.paused.has(Write) && !s.life.closed() || s.output() > s.lowMark() {
		return 0 // Connected comes first
	}
	s.out.owed = false
	s.unblock()
	return msgDrained
}

func (s *Stream) flushOnce(out *chain, limit int) (n int, spent *chunk, err error) {
	if s.extra != nil && s.extra.transport != nil {
		return s.extra.transport.flush(out, limit)
	}
	return s.sock.flush(out, limit)
}

func (s *Stream) writeOnce(p []byte) (n int, err error) {
	if s.extra != nil && s.extra.transport != nil {
		return s.extra.transport.write(p)
	}
	return s.sock.write(p)
}

// Queued returns how many bytes of output the kernel has not taken yet. It is 0 after the
// end, which Err tells. Of a stream that Filter has made, what lies in the filter and in the
// streams below counts, in bytes as they lie there, encoded or not. If Queued returns more
// than the write low mark, Drained will come.
func (s *Stream) Queued() int {
	s.mu.Lock()
	defer s.unlock()
	n := s.output()
	if n > 0 && s.below() != nil {
		s.noteOwed() // it may all be sent before it has to wait
	}
	return n
}

// lowMark returns the output from which on downwards Drained is sent: when nothing
// will be added any more, the last byte is what one waits for. mu is held.
func (s *Stream) lowMark() int {
	if s.out.fin != finNone {
		return 0
	}
	return s.limits.Load().writeLow
}

// noteOwed takes note that output was added to what waits. mu is held.
func (s *Stream) noteOwed() {
	if !s.out.owed && s.output() > s.lowMark() {
		s.out.owed = true
		s.watchBelow()
		l := s.lockAndWithdraw()
		l.retract(&s.source, msgDrained)
		l.unlock()
	}
}

// A blocked stands for a stream whose WriteTo has found dst full.
type blocked struct {
	stream atomic.Pointer[Stream] // nil: it waits no more, and need not be kept in memory
	dst    *Stream                // never changes
}

// unblock tells the streams whose WriteTo has found this one full that it is not any more.
// The caller holds mu.
func (s *Stream) unblock() {
	if s.extra == nil {
		return
	}
	waiters := s.extra.waiters
	s.extra.waiters = nil
	for _, b := range waiters {
		w := b.stream.Load()
		if w == nil {
			continue
		}
		l := w.lockLoop()
		if l.blocked[w] != b || w.in.waits&waitBlocked == 0 { // it has found another way
			l.unlock()
			continue
		}
		w.forgetBlocked(l)
		w.in.wait(waitRefused)
		switch {
		case w.silent():
		case w.in.held.Load() > 0:
			if !w.paused.has(Read) {
				w.in.clear(flagAgain) // it is for more than what a call has left
				l.enqueue(&w.source, msgReadable)
			}
		default:
			w.in.unwait(waitRefused)
			w.releaseEOF(l)
		}
		l.unlock()
	}
}

// block notes that s waits until dst has drained. The caller holds dst's mu.
func (s *Stream) block(dst *Stream) {
	l := s.lockAndWithdraw()
	s.in.wait(waitBlocked)
	if s.pend&msgEOF != 0 {
		l.retract(&s.source, msgEOF)
		s.in.wait(waitEOF)
	}
	b := l.blocked[s]
	if b != nil && b.dst == dst {
		l.unlock()
		return // it is among dst's waiters
	}
	if b != nil {
		b.stream.Store(nil)
	}
	b = &blocked{dst: dst}
	b.stream.Store(s)
	if l.blocked == nil {
		l.blocked = make(map[*Stream]*blocked)
	}
	l.blocked[s] = b
	l.unlock()
	x := dst.more()
	if len(x.waiters) == cap(x.waiters) { // those that wait no more do not make it grow
		x.waiters = slices.DeleteFunc(x.waiters, func(b *blocked) bool { return b.stream.Load() == nil })
	}
	x.waiters = append(x.waiters, b)
}

// forgetBlocked notes that s waits for no destination. The caller holds the loop's lock.
func (s *Stream) forgetBlocked(l *Loop) {
	s.in.unwait(waitBlocked)
	if b := l.blocked[s]; b != nil {
		b.stream.Store(nil)
		delete(l.blocked, s)
	}
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
	if s.output() > 0 {
		s.announce(s.flush()) // it may be low enough now
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"io"
	"slices"
	"sync/atomic"
	"unsafe"
)

// Write sends p, and queues what cannot be sent at once. It does not keep p. No other bytes
// come between the bytes of one Write.
//
// Write takes all of p or nothing. While Queued() is MaxOutput or more, it returns 0 and
// ErrFull; Drained tells when to go on. (Bytes of files, see SendFile, do not count for that.)
//
// After Close, Write returns ErrClosed, and after the stream has failed, Err. If the stream
// fails in the middle of p, Write returns the error and how many bytes of p were sent.
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

// writeSlow is Write of p, of which n bytes were sent already. The caller holds s.mu, which
// writeSlow unlocks.
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

// laterLimit is how much output WriteLater collects before it sends. Arbitrary.
const laterLimit = 64 << 10

// WriteLater is Write, but p is sent with the next Write or, at the latest, at the end of the
// loop's turn. So replies that are made during one message leave together. Small ones are cheaper
// this way, and large ones are not: what has come to 64 KiB is sent at once. Close, CloseWrite
// and Flush send what WriteLater has taken, too.
func (s *Stream) WriteLater(p []byte) (int, error) {
	s.mu.Lock()
	defer s.unlock()
	if err := s.writeErr(); err != nil || len(p) == 0 {
		return 0, err
	}
	if !s.out.queue.fits(len(p)) {
		return 0, ErrFull
	}
	s.out.queue.add(p)
	if s.out.queue.n < laterLimit && !s.out.lagging.Load() {
		s.goOnLater()
		return len(p), nil
	}
	if err := s.send(); err != nil {
		return max(len(p)-s.extra.lost, 0), err
	}
	return len(p), nil
}

// sendLater sends what WriteLater has taken. The caller holds s.mu.
func (s *Stream) sendLater() {
	if s.out.queue.n > 0 && !s.out.lagging.Load() {
		s.announce(s.flush())
	}
}

// tryAgain reports whether a call that has failed with e may succeed the next time. The fast
// ways to read and write leave that to the slow ones. They handle all other errors at once,
// since the kernel tells such an error once.
func tryAgain(e sysErrno) bool { return e == eAGAIN || e == eINTR }

// writeErr returns why nothing can be written, or nil if something can. The caller holds
// s.mu.
func (s *Stream) writeErr() error {
	if s.life == lifeOpen && s.out.fin == finNone && s.extra == nil && s.out.queue.n < s.limits.Load().writeHigh {
		return nil // the most frequent case
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
		// Output below a filter may not have been noted yet, and may have fallen since the
		// question: it moves without s.mu. Without a Drained to come it is not full.
		if s.noteOwed(); s.out.owed || s.below() == nil {
			return ErrFull
		}
	}
	return nil
}

// OutputFull reports whether Write would return ErrFull, because so much output is unsent
// (see Config.MaxOutput and SetWriteMarks). [Drained] comes when the output has fallen to the
// write low mark. OutputFull is the counterpart of InputFull.
func (s *Stream) OutputFull() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writeErr() == ErrFull
}

// full reports whether the output, without what lies in files, is at the write high mark or
// above. To count that takes a walk over the queue, so full keeps the result. It walks again
// only if some output was sent since, or if enough was added to reach the mark. The caller
// holds s.mu.
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

// A countedOutput is what full has found on its last walk.
type countedOutput struct {
	memory int // bytes that were not in files
	queued int // what output returned
	sent   int // what written returned
}

// ReadFrom reads from r and writes that, until r returns io.EOF; then it returns nil. It also
// stops
//   - with ErrFull, while Queued() is MaxOutput or more, as for Write. It does not read from r
//     then, so no byte is lost;
//   - with the error of r. All bytes that r has returned before or with it are written. A
//     reader that has nothing for now may return ErrWouldBlock, as a Stream does;
//   - with the errors of Write.
//
// If r is a Stream, ReadFrom is that stream's WriteTo.
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

// push is Write without a limit, for bytes that were read already.
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

// Output returns a buffer in which you can build a reply piece by piece. Each call returns
// the same one.
//
// Nothing of it is sent until Flush. It has no limit of its own: if you build much, call Flush
// now and then. What Close finds in it is not sent, and Lost does not count it.
func (s *Stream) Output() *Buffer {
	if d := s.Loop().debug; d != nil {
		d.usesOutput(s)
	}
	if s.out.pieces == nil {
		s.out.pieces = &Buffer{flags: bufNoSpare}
	}
	return s.out.pieces
}

// Flush sends all that is in Output, in one piece, and leaves Output empty. It returns nil if
// Output is empty, and otherwise what Write would return: ErrFull while Queued() is MaxOutput
// or more, in which case all stays in Output. If there is room, Flush takes all of Output,
// even if that exceeds MaxOutput.
func (s *Stream) Flush() error {
	if d := s.Loop().debug; d != nil {
		d.flushed(s)
	}
	if s.out.pieces == nil || s.out.pieces.n == 0 {
		s.mu.Lock()
		s.sendLater()
		s.unlock()
		return nil
	}
	_, err := s.writeBuffer(s.out.pieces, nil)
	return err
}

// writeBuffer moves all of b to the output, and sends what is possible. If b is the input of
// a stream, from is that stream; otherwise it is nil.
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

// queue moves all of q to the output, and sends what is possible. If it returns 0 it has
// moved nothing. If q is the input of a stream, from is that stream, and waits for room if
// there is none; otherwise from is nil. The caller holds s.mu.
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

// writeLast moves all of b to the output, even if that is full: the last words of a filter
// that has failed.
func (s *Stream) writeLast(b *Buffer) {
	s.mu.Lock()
	defer s.unlock()
	if err := s.writeErr(); err != nil && err != ErrFull || !s.out.queue.fits(b.n) {
		return
	}
	s.out.queue.splice(&b.chain)
	s.send()
}

// send sends output, or the end of it, after something was added. If the kernel is known to
// take no more at the moment, it leaves that to the loop. If sending has ended the stream,
// send returns the error. The caller holds s.mu.
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

// flushBudget is how many bytes of one stream are sent before it is the turn of others.
// Arbitrary.
const flushBudget = 256 << 10

// flush sends output, and its end if that is queued, and returns the resulting messages. It
// sends until the output is empty, the kernel takes no more, the rate limit allows no more,
// or flushBudget is used up. The caller holds s.mu.
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
			s.out.lagging.Store(false) // the output waits for its rate, not for the kernel
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
		// From now on, ready heeds a report that there is room. If room has come
		// before that, the next try finds it.
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

// goOnLater makes the loop call task in its next turn. The caller holds s.mu.
func (s *Stream) goOnLater() {
	l := s.lockLoop()
	l.assign(s)
	l.unlock()
}

// checkDrained returns msgDrained, and wakes the streams that wait for room in this one, if
// Drained is owed and the output has fallen to the low mark. The caller holds s.mu.
func (s *Stream) checkDrained() pending {
	if !s.out.owed || s.unopened() || s.paused.has(Write) && !s.life.closed() || s.output() > s.lowMark() {
		return 0 // Connected comes first
	}
	s.out.owed = false
	s.unblock()
	return msgDrained
}

// flushOnce is the transport's flush. For the stream's own socket, it calls that directly,
// without the interface.
func (s *Stream) flushOnce(out *chain, limit int) (n int, spent *chunk, err error) {
	if s.extra != nil && s.extra.transport != nil {
		return s.extra.transport.flush(out, limit)
	}
	return s.sock.flush(out, limit)
}

// writeOnce is the transport's write, as flushOnce is its flush.
func (s *Stream) writeOnce(p []byte) (n int, err error) {
	if s.extra != nil && s.extra.transport != nil {
		return s.extra.transport.write(p)
	}
	return s.sock.write(p)
}

// Queued returns how many bytes of output the kernel has not taken yet. If it returns more
// than the write low mark, Drained will come. After the stream has ended, Queued returns 0,
// and Lost what was dropped.
//
// If Filter has made the stream, Queued also counts what lies in the filter and in the
// streams below, in bytes as they lie there, encoded or not. It does not count what is in
// Output.
func (s *Stream) Queued() int {
	s.mu.Lock()
	defer s.unlock()
	n := s.output()
	if n > 0 {
		s.noteOwed() // Drained must come even if a filter, or the loop's turn, sends all without having to wait
	}
	return n
}

// lowMark returns at how much output or less Drained is sent. After CloseWrite that is 0: when
// nothing more will be added, Drained is for the last byte. The caller holds s.mu.
func (s *Stream) lowMark() int {
	if s.out.fin != finNone {
		return 0
	}
	return s.limits.Load().writeLow
}

// noteOwed notes that a Drained is owed, if there is more output than the low mark. It takes
// back one that was not received. The caller holds s.mu.
func (s *Stream) noteOwed() {
	if !s.out.owed && s.output() > s.lowMark() {
		s.out.owed = true
		s.watchBelow()
		l := s.lockAndWithdraw()
		l.retract(&s.source, msgDrained)
		l.unlock()
		if s.below() != nil && s.output() <= s.lowMark() { // it has fallen before the filters watched
			s.announce(s.checkDrained())
		}
	}
}

// A blocked stands for a stream whose WriteTo has found dst full.
type blocked struct {
	stream atomic.Pointer[Stream] // nil: it waits no more, so that dst does not keep it in memory
	dst    *Stream                // never changes
}

// unblock tells the streams whose WriteTo has found s full that s has room again, or has
// ended: each sends Readable for the input that it has left, or its EOF if it has none. The
// caller holds s.mu.
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
		if l.blocked[w] != b { // w waits for s no more
			l.unlock()
			continue
		}
		waits := w.in.waits&waitBlocked != 0 // otherwise the input was consumed since
		w.forgetBlocked(l)
		if !waits {
			l.unlock()
			continue
		}
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

// block notes that s waits until dst has drained, and takes back the EOF of s until then. It
// does nothing if s sends no more messages. The caller holds dst.mu.
func (s *Stream) block(dst *Stream) {
	l := s.lockAndWithdraw()
	if s.silent() {
		l.unlock()
		return
	}
	s.in.wait(waitBlocked)
	if s.pend&msgEOF != 0 {
		l.retract(&s.source, msgEOF)
		s.in.wait(waitEOF)
	}
	b := l.blocked[s]
	if b != nil && b.dst == dst {
		l.unlock()
		return // s is among dst's waiters already
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
	if len(x.waiters) == cap(x.waiters) { // before it grows, drop those that wait no more
		x.waiters = slices.DeleteFunc(x.waiters, func(b *blocked) bool { return b.stream.Load() == nil })
	}
	x.waiters = append(x.waiters, b)
}

// forgetBlocked notes that s waits for no destination any more. The caller holds the loop's
// lock.
func (s *Stream) forgetBlocked(l *Loop) {
	s.in.unwait(waitBlocked)
	if b := l.blocked[s]; b != nil {
		b.stream.Store(nil)
		delete(l.blocked, s)
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"io"
	"sync"
)

// fillBudget is how many bytes are read of one stream before others have
// their turn. Arbitrary; MaxInput is most often smaller.
const fillBudget = 256 << 10

// prepare reads what has arrived.
func (s *Stream) prepare(pending) pending {
	s.mu.Lock()
	if room := s.limits.Load().readHigh - int(s.in.held.Load()); room > 0 && s.in.unread.n == 0 && s.ordinary() && !s.in.has(flagSeen) && !s.sock.shortReads && s.Loop().edge {
		// What fill would do, in one step: see ordinary.
		c := newChunk(max(s.sock.class, minClass))
		p := c.buf[:min(len(c.buf), room)]
		r, errno := tryRecv(s.sock.fd, p)
		n := int(r)
		if n > 0 && n < len(p) && (n >= len(c.buf)/deserves || c.class == minClass) {
			c.w = n
			s.in.unread = chain{head: c, tail: c, n: n}
			s.in.held.Add(int64(n))
			s.Loop().bytesIn.Add(uint64(n))
			s.mu.Unlock()
			return msgReadable
		}
		return s.prepareSlow(c, n, n == len(p), errno)
	}
	return s.prepareSlow(nil, 0, false, eAGAIN)
}

// prepareSlow is prepare where more is to be done than to read a few bytes, which
// has given n of them, in c, or errno, if c is not nil. full tells that there may be more.
// It lets go of mu.
func (s *Stream) prepareSlow(c *chunk, n int, full bool, errno sysErrno) (bits pending) {
	if n > 0 {
		s.sock.expect(n, full)
		s.in.unread.pushRead(c, n)
		s.in.held.Add(int64(n))
		s.Loop().bytesIn.Add(uint64(n))
		if !full {
			s.mu.Unlock()
			return msgReadable
		}
		bits = msgReadable
	} else if c != nil {
		c.put()
		if n == 0 { // the end, which a second read need not give again
			s.in.eof = true
			s.mu.Unlock()
			return msgEOF
		}
		if !tryAgain(errno) { // the kernel tells it once
			s.fail("read", errno, 0)
			s.unlock()
			return 0
		}
	}
	bits |= s.fill()
	s.recheckIdle()
	s.unlock()
	return bits
}

// fill is prepare with mu held.
func (s *Stream) fill() (bits pending) {
	if s.life != lifeOpen {
		return 0
	}
	if s.paused.has(Read) || s.in.eof {
		s.waive(dirRead)
		return s.checkFailure(0)
	}
	bits, got := s.fillSome()
	if got > 0 {
		s.Loop().bytesIn.Add(uint64(got))
	}
	s.waive(dirRead)
	return bits
}

// fillSome reads until there is no more, or no room, or others should have their
// turn. It returns what came of it, and how many bytes.
func (s *Stream) fillSome() (bits pending, got int) {
	limit := s.limits.Load().readHigh
	for {
		room := limit - int(s.in.held.Load())
		if room <= 0 {
			if !s.stopIfFull() {
				continue // the consumer was faster
			}
			s.halt(dirRead)
			return s.checkFailure(bits), got
		}
		if room = s.quota(dirRead, room); room == 0 {
			s.halt(dirRead)
			return s.checkFailure(bits), got
		}
		s.goOn(dirRead)
		n, full, err := s.fillOnce(&s.in.unread, room)
		switch {
		case n > 0:
			// First the bytes, then the question whether they were consumed.
			s.in.held.Add(int64(n))
			s.moved(dirRead, n)
			got += n
			bits |= msgReadable
		case err == eAGAIN:
			s.rearm()
			return bits, got
		case err != nil:
			s.fail("read", err, bits)
			return 0, got
		case hangupIsReset && s.in.has(uint32(hangup)):
			return s.checkFailure(bits), got
		default:
			s.in.eof = true
			return bits | msgEOF, got
		}
		if !full && !s.in.has(flagSeen) && !s.sock.shortReads {
			// A stream socket that gave less than was asked has no more, and
			// will report it when it has (epoll(7)). Not so if the end, or
			// urgent bytes, were reported already, nor of a Unix socket: see distrust.
			s.rearm()
			if s.stopIfFull() {
				s.halt(dirRead)
			}
			return bits, got
		}
		if got >= fillBudget {
			return bits | workRead, got
		}
	}
}

// fillOnce is the transport's fill, without a detour for sockets. So are writeOnce
// and flushOnce.
func (s *Stream) fillOnce(in *chain, limit int) (n int, full bool, err error) {
	if s.extra != nil && s.extra.transport != nil {
		return s.extra.transport.fill(in, limit)
	}
	n, full, err = s.sock.fill(in, limit)
	if err == eAGAIN && s.in.has(uint32(urgent)) {
		return s.fillUrgent(in, limit)
	}
	return n, full, err
}

// fillUrgent is fillOnce where that has given EAGAIN: on Linux it may say so at an
// urgent byte, whatever follows, if a signal has come just then.
func (s *Stream) fillUrgent(in *chain, limit int) (n int, full bool, err error) {
	err = eAGAIN
	for tries := 0; tries < 100 && err == eAGAIN && sysUnread(s.sock.fd); tries++ { // arbitrary: one will do
		n, full, err = s.sock.fill(in, limit)
	}
	return n, full, err
}

// stopIfFull stops reading if there is no room, and reports whether there is none.
// Whoever makes room has it go on.
func (s *Stream) stopIfFull() bool {
	if int(s.in.held.Load()) < s.limits.Load().readHigh {
		return false
	}
	s.in.set(flagStopped)
	return int(s.in.held.Load()) >= s.limits.Load().readHigh || !s.in.clear(flagStopped)
}

// checkFailure ends a stream that does not read, if the peer has reset it. It returns those
// of bits, the messages so far, that are still to be sent. The caller holds mu.
func (s *Stream) checkFailure(bits pending) pending {
	if s.in.has(uint32(hangup)) {
		if err := s.transport().failure(); err != nil {
			s.fail("read", err, bits)
			return 0
		}
	}
	return bits
}

// ample reports whether the input is worth a Readable.
func (s *Stream) ample() bool {
	held := int(s.in.held.Load())
	return held >= s.limits.Load().readLow || held > 0 && s.in.waits&waitRefused != 0
}

// bufferPool has the input buffers of streams whose Input was not called.
var bufferPool = sync.Pool{New: func() any { return new(Buffer) }}

// input returns in, to be filled.
func (s *Stream) input() *Buffer {
	if s.in.taken == nil {
		s.in.taken = bufferPool.Get().(*Buffer)
		s.in.taken.stream = s
	}
	return s.in.taken
}

// settle lets in go if it is empty, and nobody has seen it.
func (s *Stream) settle() {
	if b := s.in.taken; b != nil && b.head == nil && !s.in.shown {
		s.in.taken = nil
		b.stream = nil
		bufferPool.Put(b)
	}
}

// take moves what has been read into in.
func (s *Stream) take() {
	s.mu.Lock()
	s.takeLocked()
	s.mu.Unlock()
}

// takeLocked is take with mu held.
func (s *Stream) takeLocked() {
	if s.in.unread.n > 0 {
		in := s.input()
		in.invalidateSlices()
		in.chain.spliceRead(&s.in.unread)
	}
}

// consumed is told by the input buffer how many bytes have left it; n is negative if bytes
// were put back.
func (s *Stream) consumed(n int) {
	held := int(s.in.held.Add(-int64(n)))
	flags := s.in.flags.Load()
	switch {
	case n > 0 && held > 0 && flags&(flagAgain|flagQuiet) == 0 && held >= s.limits.Load().readLow:
		s.consumedSlow(true) // what is left is told again
	case n < 0 && flags&flagAgain != 0:
		s.putBack()
	case flags&(flagStopped|flagWatched) != 0:
		// A Readable that no feeder sends is looked at again before it is delivered.
		s.consumedSlow(false)
	}
}

// consumedSlow takes note of what consumed has changed. With again, Readable is sent for
// what is left.
func (s *Stream) consumedSlow(again bool) {
	l := s.lockAndWithdraw()
	defer l.unlock()
	if s.life.closed() {
		return
	}
	if !s.ample() { // more may have come, and have been told
		s.retractReadable(l)
	}
	held := int(s.in.held.Load())
	if again && s.pend&msgReadable == 0 && s.mayTellAgain() {
		if !s.busy { // else it may be for new bytes as well
			s.in.set(flagAgain)
		}
		l.enqueue(&s.source, msgReadable)
	}
	if held < s.limits.Load().readHigh && s.in.clear(flagStopped) {
		l.enqueue(&s.source, workRead)
		l.requeueFront(&s.source)
	}
	if held == 0 {
		s.in.unwait(waitRefused)
		s.in.unwait(waitBlocked)
		s.releaseEOF(l)
	}
}

// mayTellAgain reports whether Readable may be sent for input that was left. It is not sent
// after EOF, nor while reading is paused, nor while WriteTo waits for its destination. The
// caller holds the loop's lock.
func (s *Stream) mayTellAgain() bool {
	return s.ample() && !s.silent() && !s.paused.has(Read) && s.in.waits&waitBlocked == 0 && !s.in.has(flagQuiet)
}

// putBack takes a Readable back that was sent for what was left: the consumer has looked at
// it, and has put some of it back.
func (s *Stream) putBack() {
	l := s.lockAndWithdraw()
	defer l.unlock()
	if s.in.has(flagAgain) {
		s.retractReadable(l)
	}
}

// retractReadable takes Readable back. The caller has made sure that it is not being offered,
// and holds the loop's lock.
func (s *Stream) retractReadable(l *Loop) {
	s.in.clear(flagAgain) // or the next one, for new bytes, would be taken for one of these
	l.retract(&s.source, msgReadable)
}

// Input moves what has arrived into the stream's input buffer and returns that:
// always the same one. What is consumed of it makes room for more to be read.
func (s *Stream) Input() *Buffer {
	s.take()
	s.in.shown = true
	return s.input()
}

// Read reads what has arrived. If there is nothing, it returns ErrWouldBlock; at
// the end io.EOF or, if the stream was ended by an error, that error. After
// Close it returns ErrClosed.
//
// What reads until it has enough, as a bufio.Scanner does, stops at ErrWouldBlock
// in the middle of a line: take lines from Input, or read from NetConn.
func (s *Stream) Read(p []byte) (int, error) {
	if s.in.taken == nil || s.in.taken.n == 0 {
		s.mu.Lock()
		if c := s.in.unread.head; c != nil && c.mem == nil && len(p) > 0 && s.in.taken == nil {
			n := copy(p, c.buf[c.r:c.w])
			c = s.in.unread.cut(n)
			s.mu.Unlock()
			if c != nil {
				c.put()
			}
			s.consumed(n)
			return n, nil
		}
		s.takeLocked()
		err := s.readErr()
		s.mu.Unlock()
		if s.in.taken == nil || s.in.taken.n == 0 {
			if len(p) == 0 && err == ErrWouldBlock {
				return 0, nil
			}
			return 0, err
		}
	}
	defer s.settle()
	return s.in.taken.Read(p)
}

// readErr returns why there is nothing to be read. mu is held.
func (s *Stream) readErr() error {
	switch {
	case s.life.closed():
		return ErrClosed
	case s.in.eof:
		return io.EOF
	case s.why() != nil:
		return s.why()
	case s.gone():
		return ErrClosed
	}
	return ErrWouldBlock
}

// WriteTo writes all that has arrived to w. Its error is nil if that is
// everything there is for now.
//
// If w is a Stream, the bytes move without being copied, in one piece that no
// other Write comes between. If it has too much unsent output, WriteTo returns
// ErrFull, which is no failure, and keeps the rest; s gets another Readable once
// the output has drained, and its EOF comes after the rest was consumed. So io.Copy
// between two streams is right at each Readable, however slow the destination is.
func (s *Stream) WriteTo(w io.Writer) (int64, error) {
	dst, ok := w.(*Stream)
	if !ok {
		s.take()
		if s.in.taken == nil {
			return 0, nil
		}
		defer s.settle()
		return s.in.taken.WriteTo(w)
	}
	if s.in.taken != nil {
		s.take()
		defer s.settle()
		n, err := dst.writeBuffer(s.in.taken, s)
		return int64(n), err
	}

	// The consumer has taken nothing: it goes from s to dst, which may be s.
	s.mu.Lock()
	read := s.in.unread
	s.in.unread = chain{}
	if dst != s {
		s.mu.Unlock()
		dst.mu.Lock()
	}
	if c := read.head; c != nil && c.next == nil && c.mem == nil && dst.ordinary() {
		// What queue would do, in one step: see ordinary.
		r, errno := trySend(dst.sock.fd, c.buf[c.r:c.w])
		n := int(r)
		if n > 0 {
			dst.Loop().bytesOut.Add(uint64(n))
			if n == read.n {
				dst.mu.Unlock()
				c.put()
				s.consumed(n)
				return int64(n), nil
			}
			c.r += n
			read.n -= n
			s.consumed(n)
			m, err := dst.pour(&read, s)
			return int64(n + m), err
		}
		if n < 0 && !tryAgain(errno) {
			dst.fail("write", errno, 0)
		}
	}
	n, err := dst.pour(&read, s)
	return int64(n), err
}

// pour is queue for what was read by from. It lets go of s.mu.
func (s *Stream) pour(read *chain, from *Stream) (int, error) {
	n, err := s.queue(read, from)
	s.unlock()
	if n > 0 {
		from.consumed(n)
	}
	if read.n > 0 { // s has refused it
		from.input().chain.splice(read)
	}
	return n, err
}

// AtEOF reports whether the peer has finished sending and all of it was
// consumed.
func (s *Stream) AtEOF() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.eof && s.in.held.Load() == 0
}

// InputFull reports whether so much input is unread that reading has stopped
// (see Config.MaxInput), until some is consumed or the mark raised. It counts what has
// come since the last call of Input as well: to find a line that is too long, take the
// full lines from Input, and look at the Len of what is left.
func (s *Stream) InputFull() bool {
	return int(s.in.held.Load()) >= s.limits.Load().readHigh
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

// reconsider looks again at whether there is reason to read, or to have sent
// Readable. mu is held.
func (s *Stream) reconsider() {
	l := s.lockAndWithdraw()
	defer l.unlock()
	if s.life.closed() {
		return
	}
	if !s.ample() {
		s.retractReadable(l)
	}
	if int(s.in.held.Load()) < s.limits.Load().readHigh && s.in.clear(flagStopped) {
		l.enqueue(&s.source, workRead)
	}
}

// releaseEOF sends the EOF that was held back, if nothing is in its way any more.
// The loop's mu is held.
func (s *Stream) releaseEOF(l *Loop) {
	if s.in.waits&waitEOF != 0 && !s.silent() && !s.mustHoldEOF() {
		s.in.unwait(waitEOF)
		l.enqueue(&s.source, msgEOF)
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"io"
	"sync"
)

// fillBudget is how many bytes of one stream are read before it is the turn of others.
// Arbitrary; MaxInput is most often smaller.
const fillBudget = 256 << 10

// prepare reads what has arrived, and returns the resulting messages. It is called at delivery,
// by the goroutine that delivers, so that what is received is true at that moment. See owner.
func (s *Stream) prepare(pending) pending {
	s.mu.Lock()
	if room := s.limits.Load().readHigh - int(s.in.held.Load()); room > 0 && s.in.unread.n == 0 && s.ordinary() && !s.in.has(flagsReported) && !s.sock.shortReads && s.Loop().edge {
		// This does what fill would do, in one step: see ordinary.
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

// prepareSlow is prepare where there is more to do than to read a few bytes. If c is not nil,
// prepare has read once, into c: n bytes, or errno if n is negative. full tells that there may
// be more. The caller holds s.mu, which prepareSlow unlocks.
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
		if n == 0 { // the end of input; a second read need not tell it again
			s.in.eof = true
			s.mu.Unlock()
			return msgEOF
		}
		if !tryAgain(errno) { // a second read would not tell it again
			s.fail("read", errno, 0)
			s.unlockInTurn()
			return 0
		}
	}
	bits |= s.fill()
	s.recheckIdle()
	s.unlockInTurn()
	return bits
}

// fill is prepare of a stream that is not ordinary. The caller holds s.mu.
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

// fillSome reads until there is no more, or there is no room, or the rate limit allows no more,
// or it is the turn of others. It returns the resulting messages, and how many bytes it has
// read. The caller holds s.mu.
func (s *Stream) fillSome() (bits pending, got int) {
	limit := s.limits.Load().readHigh
	for {
		room := limit - int(s.in.held.Load())
		if room <= 0 {
			if !s.stopIfFull() {
				continue // the consumer has made room meanwhile
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
			// First count the bytes, then look whether there is room: so a consumer
			// that makes room at the same time is not missed.
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
		if !full && !s.in.has(flagsReported) && !s.sock.shortReads {
			// A stream socket that gives less than was asked for has no more, and will
			// report when it has (epoll(7)). That is not so if the end or urgent bytes were
			// reported already, nor of a Unix socket: see expectShortReads.
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

// fillOnce is the transport's fill. For the stream's own socket, it calls that directly,
// without the interface.
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

// fillUrgent is fillOnce after a read has given EAGAIN, and urgent bytes were reported. On
// Linux a read at an urgent byte may give EAGAIN although bytes follow, if a signal has come
// just then.
func (s *Stream) fillUrgent(in *chain, limit int) (n int, full bool, err error) {
	err = eAGAIN
	for tries := 0; tries < 100 && err == eAGAIN && sysUnread(s.sock.fd); tries++ { // arbitrary: one will do
		n, full, err = s.sock.fill(in, limit)
	}
	return n, full, err
}

// stopIfFull stops reading if there is no room, and reports whether the caller must read no
// more: either there is no room, or a consumer has just made some, and has enqueued workRead.
// The caller holds s.mu.
func (s *Stream) stopIfFull() bool {
	if int(s.in.held.Load()) < s.limits.Load().readHigh {
		return false
	}
	s.in.set(flagStopped)
	return int(s.in.held.Load()) >= s.limits.Load().readHigh || !s.in.clear(flagStopped)
}

// checkFailure ends a stream that does not read, if the peer has reset the connection. It
// returns those of bits, the messages so far, that are still to be sent. The caller holds
// s.mu.
func (s *Stream) checkFailure(bits pending) pending {
	if s.in.has(uint32(hangup)) {
		if err := s.transport().failure(); err != nil {
			s.fail("read", err, bits)
			return 0
		}
	}
	return bits
}

// ample reports whether there is enough input for a Readable: as much as the low mark, or any
// if Readable is owed for what WriteTo has left. The caller holds the loop's lock.
func (s *Stream) ample() bool {
	held := int(s.in.held.Load())
	return held >= s.limits.Load().readLow || held > 0 && s.in.waits&waitRefused != 0
}

// bufferPool has input buffers, for streams whose Input was not called.
var bufferPool = sync.Pool{New: func() any { return new(Buffer) }}

// input returns s.in.taken, and makes it if there is none. Only the consumer calls it.
func (s *Stream) input() *Buffer {
	if s.in.taken == nil {
		s.in.taken = bufferPool.Get().(*Buffer)
		s.in.taken.stream = s
	}
	return s.in.taken
}

// settle gives s.in.taken back to the pool if it is empty and Input has not returned it. Only
// the consumer calls it.
func (s *Stream) settle() {
	if b := s.in.taken; b != nil && b.head == nil && !s.in.shown {
		s.in.taken = nil
		b.stream = nil
		bufferPool.Put(b)
	}
}

// take moves what was read from s.in.unread to s.in.taken. Only the consumer calls it.
func (s *Stream) take() {
	s.mu.Lock()
	s.takeLocked()
	s.mu.Unlock()
}

// takeLocked is take for a caller that holds s.mu.
func (s *Stream) takeLocked() {
	if s.in.unread.n > 0 {
		in := s.input()
		in.invalidateSlices()
		in.chain.spliceRead(&s.in.unread)
	}
}

// consumed notes that the consumer has consumed n bytes of input, or has put back -n bytes if n
// is negative. The caller does not hold the loop's lock.
func (s *Stream) consumed(n int) {
	held := int(s.in.held.Add(-int64(n)))
	flags := s.in.flags.Load()
	switch {
	case n > 0 && held > 0 && flags&(flagAgain|flagQuiet) == 0 && held >= s.limits.Load().readLow:
		s.consumedSlow(true) // Readable is sent again, for what is left
	case n < 0 && flags&flagAgain != 0:
		s.putBack()
	case flags&(flagStopped|flagWatched) != 0:
		// Otherwise there is nothing to take back: a Readable that no feeder offers is
		// confirmed before it is delivered.
		s.consumedSlow(false)
	}
}

// consumedSlow sends and takes back what depends on how much input there is, and makes reading
// go on if it was stopped. If again is true, Readable is sent for what is left.
func (s *Stream) consumedSlow(again bool) {
	l := s.lockAndWithdraw()
	defer l.unlock()
	if s.life.closed() {
		return
	}
	if !s.ample() { // it may be: more has come meanwhile
		s.retractReadable(l)
	}
	held := int(s.in.held.Load())
	if again && s.pend&msgReadable == 0 && s.mayTellAgain() {
		if !s.busy { // otherwise prepare is running, and Readable may be for new bytes as well
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

// mayTellAgain reports whether Readable may be sent for input that a call has left. It is not
// sent for less than the low mark, after EOF, while reading is paused, while WriteTo waits for
// its destination, and if a filter reads. The caller holds the loop's lock.
func (s *Stream) mayTellAgain() bool {
	return s.ample() && !s.silent() && !s.paused.has(Read) && s.in.waits&waitBlocked == 0 && !s.in.has(flagQuiet)
}

// putBack takes back a Readable that was sent for input that a call had left: the consumer has
// looked at that input since, and has put some of it back.
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

// Input moves what has arrived into the stream's input buffer, and returns that. Each call
// returns the same one. What you consume of it makes room for the loop to read more.
func (s *Stream) Input() *Buffer {
	s.take()
	s.in.shown = true
	return s.input()
}

// Read reads what has arrived. If all of that was consumed, it returns the first of these
// errors that applies:
//   - ErrClosed, after Close;
//   - io.EOF, if the peer has finished sending;
//   - Err, if an error has ended the stream;
//   - ErrWouldBlock, since more may come.
//
// A reader that reads until it has enough, such as a bufio.Scanner, stops at ErrWouldBlock,
// which may be in the middle of a line. Take lines from Input, or read from NetConn.
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

// readErr returns the error of a read that has found no input. The caller holds s.mu.
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

// WriteTo writes all that has arrived to w. It returns nil if w has taken all of it; more may
// come later.
//
// If w is a Stream, the bytes move without being copied, in one piece: the bytes of no other
// Write come between. If w has too much unsent output, WriteTo returns ErrFull, which is no
// failure, and leaves the bytes in the input. When that output has drained, s sends Readable
// again. Its EOF comes after the rest was consumed. So a proxy calls io.Copy from one stream
// to the other at each Readable, however slow the destination is, and CloseWrite of the other
// at EOF. If s has failed, no Readable follows its Closed: what was left has to be written
// when the destination says Drained, or is dropped.
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

	// The consumer has taken nothing, so unread goes to dst without a Buffer. dst may be s.
	s.mu.Lock()
	read := s.in.unread
	s.in.unread = chain{}
	if dst != s {
		s.mu.Unlock()
		dst.mu.Lock()
	}
	if c := read.head; c != nil && c.next == nil && c.mem == nil && dst.ordinary() {
		// This does what queue would do, in one step: see ordinary.
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

// pour is queue for read, which was the unread input of from. What s does not take goes to the
// input buffer of from. The caller holds s.mu, which pour unlocks.
func (s *Stream) pour(read *chain, from *Stream) (int, error) {
	n, err := s.queue(read, from)
	s.unlock()
	if n > 0 {
		from.consumed(n)
	}
	if read.n > 0 { // s has not taken it
		from.input().chain.splice(read)
	}
	return n, err
}

// AtEOF reports whether the peer has finished sending and all input was consumed.
func (s *Stream) AtEOF() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.eof && s.in.held.Load() == 0
}

// InputFull reports whether so much input was not consumed that the loop does not read (see
// Config.MaxInput and SetReadMarks). It reads on when some was consumed or the high mark was
// raised.
//
// InputFull also counts what has come since the last call of Input. So it does not find a
// line that is too long: take the complete lines from Input, and look at the Len of what is
// left.
func (s *Stream) InputFull() bool {
	return int(s.in.held.Load()) >= s.limits.Load().readHigh
}

// reconsider takes back a Readable for which there is no reason any more, and makes reading go
// on if there is room again. The caller holds s.mu.
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

// releaseEOF sends an EOF that was held back, if it need not wait any more. The caller holds
// the loop's lock.
func (s *Stream) releaseEOF(l *Loop) {
	if s.in.waits&waitEOF != 0 && !s.silent() && !s.mustHoldEOF() {
		s.in.unwait(waitEOF)
		l.enqueue(&s.source, msgEOF)
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// A Filter transforms what a stream carries: it compresses it, say, or encrypts
// it. One Filter serves one stream. Its methods are called by the loop, one at a
// time and with no lock held, so they may call the stream's other methods; what
// they Write to the stream comes back to Encode later, not at once.
//
// If it is an io.Closer, Close is called once, after everything else.
//
// If Decode or Encode panics in the loop, the stream ends with an error that has the
// panic's text, and the loop goes on. If Close does, nobody is told, but the stream's
// Err has the text unless there was an error before. On a net.Conn that NetConn has made,
// a panic goes on in the method that was called; Close lets all go nevertheless.
type Filter interface {
	// Decode consumes what it can of in, which is what has arrived, and appends
	// what it means to plain. It may leave the rest in in, and is called again
	// when there is more. What it appends to out is sent to the peer, as a part
	// of a handshake is.
	//
	// With eof, in holds all that will ever come, and the call is the last one. An
	// error ends the stream, once what was decoded before has been consumed. The
	// buffers are the loop's: they must not be kept.
	Decode(in, plain, out *Buffer, eof bool) error

	// Encode consumes what it can of plain, which is what was written to the stream,
	// and appends what stands for it to out, which is sent. It may leave the
	// rest in plain, and is called again when there is more and after each Decode.
	// It is called once at the beginning, with an empty plain, so that it can
	// begin a conversation.
	//
	// With fin, nothing more will be written: out gets all that is owed to the
	// peer, a checksum, say. It is called again as long as it leaves something in
	// plain. An error ends the stream.
	Encode(plain, out *Buffer, fin bool) error
}

// filterRoom is how many bytes a filter holds in each direction at the most
// before it is full, beside what the streams hold themselves. One Decode or Encode
// may add more than that.
const filterRoom = 64 << 10

// Filter returns a stream on top of this one. What is written to it goes through
// f's Encode to this one, and what this one receives through f's Decode to
// it. It has the priority, the Notify channel, the pauses and the idle timeouts
// that this one has had, marks and limits of its own, and it sends no first message,
// except that it sends Connected if this one was to send it and nobody has received
// it yet. Filters may be stacked.
//
// From now on this stream, the new one's Under, belongs to the loop: it sends no
// more messages, and is closed with the new one. Its marks and rate limits can
// still be set: they count transformed bytes. If f makes nothing of an input that
// is as long as its MaxInput, the new stream ends with ErrFull.
//
// It returns ErrClosed, or Err, after the end, and an error if the stream is
// under a filter already.
func (s *Stream) Filter(f Filter) (*Stream, error) {
	if f == nil {
		return nil, errors.New("evchan: Filter of nil")
	}
	s.mu.Lock()
	defer s.unlock()
	switch {
	case s.life.closed():
		return nil, ErrClosed
	case s.why() != nil:
		return nil, s.why()
	case s.gone():
		return nil, ErrClosed
	}
	if s.filtered {
		return nil, errors.New("evchan: the stream is under a filter already")
	}
	up := s.Loop().newStream(noFD)
	x := &filtering{filter: f, upper: up, lower: s}
	x.sending.flags, x.answer.flags = bufNoSpare, bufNoSpare
	up.more().transport = x
	up.listener = s.listener
	up.more().under = s
	if s.extra != nil && s.extra.idle != nil {
		after := s.extra.idle.after
		s.setIdle(0, 0)
		up.SetIdleTimeouts(after[dirRead], after[dirWrite])
	}
	l := s.lockAndWithdraw()
	defer l.unlock()
	if l.closed {
		return nil, ErrClosed
	}
	up.route, up.prio = s.route, s.prio
	up.paused, s.paused = s.paused&^s.timedOut(), 0
	s.resumeIdle(Read | Write)
	passed := s.pend & msgConnected
	s.received(msgAccepted) // as far as its listener is concerned
	l.retract(&s.source, msgMask|workRead)
	s.in.unwait(waitEOF)
	s.in.unwait(waitBlocked)
	s.more().tap, s.filtered = x, true
	l.streams++
	l.refresh(&up.source)
	l.enqueue(&up.source, passed)
	l.assign(x)
	l.assign(s) // whose output may have been paused
	return up, nil
}

// Under returns the stream that this one, which Filter has made, lies on; nil if
// it lies on none.
func (s *Stream) Under() *Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.extra == nil {
		return nil
	}
	return s.extra.under
}

// underFilter reports whether there is a stream on top of s.
func (s *Stream) underFilter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.filtered
}

// A filtering is the transport of a stream on top of another one. Its task, which
// the loop calls when something has happened to either, moves bytes between the two.
type filtering struct {
	reg    registration
	filter Filter  // never changes
	upper  *Stream // never changes
	lower  *Stream // never changes

	// working is held while the task runs. It guards the following.
	working  sync.Mutex
	sending  Buffer // written, and not yet consumed by Encode
	answer   Buffer // to be written to lower
	answered int    // bytes that Decode has added to answer since that was last empty
	held     int    // bytes of lower's input that Decode has left
	begun    bool   // Encode was called
	decoded  bool   // there will be no more to decode
	encoded  bool   // there will be no more to encode
	finSent  bool   // lower was told
	retired  bool   // all was let go

	// mu guards the following. It is taken after upper's mu and before lower's.
	mu      sync.Mutex
	plain   chain // decoded, for upper to read
	out     chain // written by upper, to be encoded
	fin     bool  // nothing more will be written
	short   bool  // upper could not write all it had
	eof     bool  // nothing more will be decoded
	err     error // why it has failed
	owed    bool  // upper is to send Drained once all has left lower
	closing bool  // upper is gone: send what is left, then close lower
	done    bool  // nothing is left to do
}

var (
	_ transport = (*filtering)(nil)
	_ pollable  = (*filtering)(nil)
)

func (x *filtering) fill(in *chain, limit int) (n int, full bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.plain.n > 0 {
		if x.plain.n >= filterRoom {
			x.tap() // it has stopped decoding
		}
		n = min(limit, x.plain.n)
		in.moveN(&x.plain, n)
		return n, x.plain.n > 0 || x.eof || x.err != nil, nil
	}
	switch {
	case x.err != nil:
		return 0, false, x.err
	case x.eof:
		return 0, false, nil
	}
	return 0, false, eAGAIN
}

func (x *filtering) write(p []byte) (n int, err error) {
	return x.send(len(p), func(n int) { x.out.add(p[:n]) })
}

func (x *filtering) flush(out *chain) (n int, spent *chunk, err error) {
	n, err = x.send(out.n, func(n int) { x.out.moveN(out, n) })
	if err == eAGAIN {
		err = nil
	}
	return n, nil, err
}

// send has move put as many of n bytes as there is room for into out.
func (x *filtering) send(n int, move func(n int)) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err != nil {
		return 0, x.err
	}
	room := max(filterRoom-x.out.n, 0)
	x.short = n > room
	n = min(n, room)
	if n == 0 {
		return 0, eAGAIN
	}
	move(n)
	x.tap()
	return n, nil
}

func (x *filtering) closeWrite() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.fin = true
	x.tap()
	return nil
}

func (x *filtering) failure() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

func (x *filtering) halfCloses() bool {
	x.lower.mu.Lock()
	defer x.lower.mu.Unlock()
	return x.lower.gone() || x.lower.transport().halfCloses()
}

func (x *filtering) close(reset bool) {
	late := x.upper.overdue()
	x.mu.Lock()
	x.closing, x.fin = true, true
	x.upper.spend(x.plain.detach())
	if reset || late {
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
	x.tap()
}

// bequeath leaves the release functions that s would call to up, which lies on
// it. The mu of both is held.
func (s *Stream) bequeath(up *Stream) {
	up.spend(s.extra.spent)
	s.extra.spent = nil
}

// ready is never called: the poller does not know x.
func (x *filtering) ready(What) {}

func (x *filtering) registration() *registration { return &x.reg }

// tell is what the poller does for a socket.
func (x *filtering) tell(what What) {
	l := x.upper.lockLoop()
	defer l.unlock()
	if !x.upper.gone() && !l.closed {
		x.upper.ready(what)
	}
}

// task moves what can be moved.
func (x *filtering) task() {
	defer x.retire()
	x.working.Lock()
	defer x.working.Unlock() // also if a release function panics
	x.work()
}

// work is task with working held.
func (x *filtering) work() {
	x.lower.mu.Lock()
	gone := x.lower.gone() // the end must be seen
	late := x.lower.overdue()
	x.lower.mu.Unlock()
	x.mu.Lock()
	room := !x.closing && (x.plain.n < filterRoom || gone)
	late = late && x.closing
	done := x.done
	x.done = done || late
	x.mu.Unlock()
	if late {
		x.lower.close(true, false)
	}
	if done || late {
		return
	}

	var plain Buffer
	err := x.deliver()
	clear := x.answer.n == 0 // lower takes more
	if clear {
		x.answered = 0
	}
	// Two peers whose lower streams are full, and who both wait with decoding until
	// they are not, would wait for each other.
	if err == nil && x.answered < filterRoom && room && !x.decoded {
		had := x.answer.n
		err = x.decode(&plain)
		x.answered += x.answer.n - had
	}
	x.mu.Lock()
	fresh := x.out.n > 0 || x.fin
	if clear {
		x.sending.chain.splice(&x.out)
	}
	fin, closing := x.fin, x.closing
	x.mu.Unlock()
	again := false // Encode has not finished, but is at it
	if err == nil && clear && !x.encoded && (fresh || !x.begun || x.sending.n > 0) {
		x.begun = true
		left, owed := x.sending.n, x.answer.n
		if err = x.callEncode(fin); err != nil {
			err = x.upper.opError("encode", err)
		}
		x.encoded = fin && x.sending.n == 0
		again = err == nil && fin && !x.encoded && (x.sending.n < left || x.answer.n > owed)
	}
	if derr := x.deliver(); err == nil {
		err = derr
	}
	if x.encoded && !x.finSent && x.answer.n == 0 {
		x.finSent = true
		x.lower.CloseWrite()
	}
	over := closing && (x.finSent || err != nil || clear && x.answer.n == 0 && !again || x.upper.Loop().conf.Linger < 0)
	if over {
		x.lower.Close()
	} else if again || !clear && x.answer.n == 0 {
		x.tap()
	}
	x.publish(&plain, err, over)
}

// tell tells x what the stream under it would have to say. l.mu is held.
func (l *Loop) tell(x *filtering, bits pending) {
	if bits&msgConnected != 0 {
		l.enqueue(&x.upper.source, msgConnected)
	}
	if bits != 0 {
		l.assign(x)
	}
}

// deliver writes the answer to lower, which may be full: then it tells when it is
// not any more.
func (x *filtering) deliver() error {
	if x.answer.n == 0 {
		return nil
	}
	if _, err := x.lower.writeBuffer(&x.answer, nil); err != nil && err != ErrFull {
		return err
	}
	return nil
}

// decode has Decode look at what has arrived.
func (x *filtering) decode(plain *Buffer) error {
	s := x.lower
	s.mu.Lock()
	bits := s.fill()
	eof := s.in.eof
	gone := s.gone()
	reason := s.why()
	s.unlock()
	if bits&workRead != 0 {
		x.tap()
	}
	in := s.Input()
	had := in.n
	if had > x.held || eof {
		x.decoded = eof
		err := x.callDecode(in, plain, eof)
		x.held = in.n
		switch {
		case err != nil:
			return x.upper.opError("decode", err)
		case !eof && in.n == had && s.InputFull():
			return x.upper.opError("decode", fmt.Errorf("%d bytes, which make no sense yet: %w", had, ErrFull))
		}
	}
	if gone && !eof {
		x.decoded = true
		if reason == nil {
			reason = ErrClosed
		}
		return reason
	}
	return nil
}

// callDecode, callEncode and callClose call the filter. If that panics, they return an
// error: the loop's turn, which they are a part of, is not the filter's alone.
func (x *filtering) callDecode(in, plain *Buffer, eof bool) (err error) {
	defer panicked(&err)
	return x.filter.Decode(in, plain, &x.answer, eof)
}

func (x *filtering) callEncode(fin bool) (err error) {
	defer panicked(&err)
	return x.filter.Encode(&x.sending, &x.answer, fin)
}

// callClose ignores what Close returns.
func (x *filtering) callClose() (err error) {
	defer panicked(&err)
	if c, ok := x.filter.(io.Closer); ok {
		c.Close()
	}
	return nil
}

// panicked, which is to be deferred, makes an error of a panic.
func panicked(err *error) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("evchan: the Filter has panicked: %v", v)
	}
}

// tap has the task called again.
func (x *filtering) tap() {
	l := x.upper.lockLoop()
	l.assign(x)
	l.unlock()
}

// publish hands what has come of a task to upper.
func (x *filtering) publish(plain *Buffer, err error, done bool) {
	x.mu.Lock()
	what := What(0)
	if plain.n > 0 && !x.closing {
		plain.invalidate()
		x.plain.splice(&plain.chain)
		what |= Read
	}
	if x.decoded && !x.eof {
		x.eof = true
		what |= Read | EarlyClose
	}
	if err != nil && x.err == nil {
		x.err = err
		x.decoded = true
		what |= Read | Write | hangup
	}
	if x.short && x.out.n < filterRoom {
		x.short = false
		what |= Write
	}
	owed := x.owed && x.out.n == 0 && x.answer.n == 0 && x.lower.Queued() == 0
	x.owed = x.owed && !owed
	x.done = x.done || done
	x.mu.Unlock()
	if owed {
		l := x.upper.lockAndWithdraw()
		l.enqueue(&x.upper.source, msgDrained)
		l.unlock()
	}
	plain.Reset()
	if what != 0 {
		x.tell(what)
	}
}

// unsent reports whether some output has not left lower. The mu of both streams is
// held.
func (x *filtering) unsent() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.upper.out.queue.n > 0 || x.out.n > 0 || x.answer.n > 0 || x.lower.out.queue.n > 0
}

// owe has upper send Drained when nothing is unsent any more.
func (x *filtering) owe() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.owed = true
}

// netConn makes a net.Conn of upper, on that of lower. The mu of both streams is
// held, and working.
func (x *filtering) netConn(lower net.Conn) net.Conn {
	c := &filterConn{Conn: lower, filter: x.filter, max: x.lower.limits.Load().readHigh}
	for _, b := range []*Buffer{&c.plain, &c.in, &c.pending, &c.answer, &c.unsent} {
		b.flags = bufNoSpare
	}
	c.plain.splice(x.upper.detach())
	x.mu.Lock()
	defer x.mu.Unlock()
	c.plain.chain.splice(&x.plain)
	c.pending.splice(&x.sending)
	switch {
	case x.err != nil:
		c.err = x.err
	case x.decoded:
		c.err = io.EOF
	}
	if x.encoded {
		c.over = c.failed("write", errEnded)
	}
	x.done, x.retired = true, true
	return c
}

// retire lets go of all, if it is over and the task does not run: else that ends
// with this.
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
	x.mu.Lock()
	out := x.out.detach() // if the loop was closed before any task
	x.mu.Unlock()
	freeChain(out)
	x.sending.Reset()
	x.answer.Reset()
	if err := x.callClose(); err != nil {
		s := x.upper
		s.mu.Lock()
		if s.why() == nil {
			s.more().err = s.opError("close", err)
		}
		s.mu.Unlock()
	}
}

// abandon ends x because the loop was closed.
func (x *filtering) abandon() {
	if !x.upper.Loop().isClosed() {
		return // it has moved away
	}
	x.mu.Lock()
	x.done = true
	x.mu.Unlock()
	x.retire()
}

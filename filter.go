// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// A Filter transforms the bytes of a stream: it compresses or encrypts them, for
// example. One Filter serves one stream. The loop calls its methods one at a time and
// with no lock held, so they may call methods of the stream. What they Write to the
// stream is given to a later call of Encode.
//
// If the Filter is an io.Closer, the loop calls Close once, after everything else.
//
// If Decode or Encode panics in the loop, the stream ends with an error that has the
// panic's text, and the loop goes on. If Close panics, no message says so, but the
// stream's Err has the text if there was no error before. If one of them calls
// runtime.Goexit, the same happens, and the goroutine that makes the loop's turn ends, as
// it must: the receiver's, in a range over All or in Poll, which leaves the loop usable as
// break does; with Events and Batches another one takes its place.
//
// In a net.Conn that NetConn has made, the panic reaches the caller of the net.Conn's
// method; after a panic in Close everything is released all the same.
type Filter interface {
	// Decode consumes what has arrived, in, and appends the decoded bytes to plain.
	// It may leave bytes in in, for example an incomplete record; it is called again
	// when more has arrived. What it appends to out is sent to the peer: the answer
	// of a handshake, for example.
	//
	// If eof is true, nothing more will arrive, and this is the last call. An error
	// ends the stream, after the receiver has consumed what was decoded before. The
	// buffers belong to the loop and must not be kept.
	Decode(in, plain, out *Buffer, eof bool) error

	// Encode consumes what was written to the stream, plain, and appends the encoded
	// bytes to out, which is sent. It may leave bytes in plain; it is called again
	// when more was written, and after each Decode. The first call comes at the
	// beginning, with an empty plain, so that Encode can begin a conversation.
	//
	// If fin is true, nothing more will be written: Encode appends all that the peer
	// must still get, a checksum for example. It is called again as long as it leaves
	// something in plain. An error ends the stream.
	Encode(plain, out *Buffer, fin bool) error
}

// filterRoom is the number of bytes in each direction at which a filter is full. What
// the streams hold is not counted. One Decode or Encode may exceed it.
const filterRoom = 64 << 10

// Filter puts f on this stream and returns a new stream on top of it. What is written
// to the new one passes through f's Encode and is sent by this one; what this one
// receives passes through f's Decode and becomes the new one's input. Filters may be
// stacked.
//
// The new stream takes over priority, Notify channel, pauses and idle timeouts. It has
// marks and limits of its own. It sends no first message, with one exception: it sends
// Connected if this stream has not delivered it yet.
//
// From now on this stream, which the new one's Under returns, belongs to the loop: it
// sends no more messages, and is closed with the new one. Its settings can still be
// changed:
//   - Its marks and rate limits count encoded bytes. If its input reaches MaxInput and f
//     consumes nothing of it, the new stream ends with ErrFull.
//   - Pause stops a direction until its own Resume.
//   - When one of its idle timeouts has passed, the new stream sends TimedOut, and its
//     TimedOut and Resume are about this stream as well.
//   - When its lifetime is over, so is the new one's.
//
// Filter returns Err, or ErrClosed if that is nil, after the end, ErrWouldBlock while a
// message of the stream's layer is unreceived, and an error if the stream is under a filter
// already. The layer stays with this stream, and hears nothing more but the end.
func (s *Stream) Filter(f Filter, conf *StreamConfig) (*Stream, error) {
	if f == nil {
		return nil, errors.New("evchan: Filter of nil")
	}
	s.mu.Lock()
	defer s.unlock()
	if err := s.ended(); err != nil {
		return nil, err
	}
	if s.filtered {
		return nil, errors.New("evchan: the stream is under a filter already")
	}
	u, err := s.Loop().setup(conf)
	if err != nil {
		return nil, err
	}
	up := s.Loop().newStream(noFD)
	up.mu.Lock()
	defer up.unlock()
	x := &filtering{filter: f, upper: up, lower: s}
	x.sending.flags, x.answer.flags = bufNoSpare, bufNoSpare
	up.listener = s.listener
	up.more().under = s
	if s.extra != nil && s.extra.idle != nil {
		after := s.extra.idle.after
		s.setIdle(0, 0)
		u.ReadIdle = cmp.Or(u.ReadIdle, after[dirRead])
		u.WriteIdle = cmp.Or(u.WriteIdle, after[dirWrite])
	}
	up.setupLocked(u)
	up.extra.transport = x // after the timeouts were set, which asks what lies below
	x.connecting = s.unconnected()
	if u.WriteIdle > 0 {
		x.timed.Store(true)
		s.timeBelow()
	}
	l := s.lockAndWithdraw()
	defer l.unlock()
	if l.closed {
		up.extra.leave(l)
		return nil, ErrClosed
	}
	up.prio = s.prio
	if u.Notify == nil {
		up.route.Store(s.route.Load())
	}
	if x.connecting {
		up.extra.stopIdle(l)
	}
	up.paused |= s.paused &^ directions(s.timedOut())
	s.paused = 0
	s.resumeIdle(Read | Write)
	if s.pend&msgMade != 0 {
		up.extra.leave(l)
		return nil, ErrWouldBlock
	}
	passed := s.pend & msgConnected
	s.received(msgAccepted) // as far as its listener is concerned
	l.retract(&s.source, msgMask|workRead)
	s.in.unwait(waitEOF)
	s.forgetBlocked(l)
	s.more().tap, s.filtered = x, true
	if s.in.taken != nil {
		x.deferReleases(&s.in.taken.chain)
	}
	s.in.set(flagQuiet) // its consumer is the filter
	up.publish(l, passed)
	l.assign(x)
	l.assign(s) // whose output may have been paused
	return up, nil
}

// Under returns the stream on which Filter was called to make this one. It returns nil
// if Filter has not made this stream.
func (s *Stream) Under() *Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.extra == nil {
		return nil
	}
	return s.extra.under
}

// A filtering is the transport of a stream that Filter has made. The loop calls its
// task when something has happened to the upper or the lower stream; the task moves
// bytes between the two.
type filtering struct {
	reg    registration
	filter Filter  // never changes
	upper  *Stream // never changes
	lower  *Stream // never changes

	// working is locked while the task runs. It guards the following.
	working  sync.Mutex
	sending  Buffer // written, and not yet consumed by Encode
	answer   Buffer // to be written to lower
	answered int    // bytes that Decode has added to answer since that was last empty
	held     int    // bytes of lower's input that Decode has left
	begun    bool   // Encode was called
	decoded  bool   // Decode will not be called again
	encoded  bool   // Encode will not be called again
	broken   bool   // Encode has failed, and must not be called again
	exited   string // the method of filter that is being called, or has called runtime.Goexit
	finSent  bool   // lower's CloseWrite was called
	retired  bool   // the filter was closed, or belongs to a net.Conn

	connecting bool // lower is being connected: upper's idle timeouts have not begun

	// mu guards the following. It is locked after upper's mu and before lower's.
	mu      sync.Mutex
	plain   chain // decoded, for upper to read
	out     chain // written by upper, to be encoded
	fin     bool  // nothing more will be written
	short   bool  // out was full when upper wrote: upper waits for room
	eof     bool  // nothing more will be decoded
	err     error // why it has failed
	owed    bool  // upper sends Drained when lower's output is empty
	closing bool  // upper has let x go: send what is left, then close lower
	done    bool  // the task has nothing left to do
	lost    int   // bytes that were dropped at the end
	inside  int   // bytes of sending and answer, or more
	stuck   bool  // some output has stayed in x or below when the task ended

	calling  atomic.Bool  // the filter may be being called: see deferReleases
	watched  atomic.Bool  // the task is to be called when lower's output moves
	timed    atomic.Bool  // progress is needed
	progress atomic.Int64 // when lower's output has last moved, on the loop's clock
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
			x.schedule() // the task has stopped decoding
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

func (x *filtering) flush(out *chain, limit int) (n int, spent *chunk, err error) {
	n, err = x.send(min(out.n, limit), func(n int) { x.out.moveN(out, n) })
	if err == eAGAIN {
		err = nil
	}
	return n, nil, err
}

// send calls move with the number of bytes, at most n, for which out has room.
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
	x.schedule()
	return n, nil
}

func (x *filtering) closeWrite() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.fin = true
	x.schedule()
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

// ready is never called: the poller does not know x.
func (x *filtering) ready(What) {}

func (x *filtering) registration() *registration { return &x.reg }

// tell reports what to upper, as the poller does for a socket.
func (x *filtering) tell(what What) {
	l := x.upper.lockLoop()
	defer l.unlock()
	if !x.upper.gone() && !l.closed {
		x.upper.ready(what)
	}
}

// task moves the bytes that can be moved.
func (x *filtering) task() {
	defer x.retire()
	x.working.Lock()
	defer x.working.Unlock() // also if the filter calls runtime.Goexit
	x.work()
}

// work is task for a caller that holds x.working.
func (x *filtering) work() {
	x.calling.Store(true)
	defer x.calling.Store(false)
	x.lower.mu.Lock()
	gone := x.lower.gone() // then decode up to the end, even without room
	late := x.lower.overdue()
	connected := x.connecting && !x.lower.unconnected()
	x.lower.mu.Unlock()
	if connected {
		x.connecting = false
		x.upper.mu.Lock()
		x.upper.restartIdle(Read | Write)
		x.upper.unlockInTurn()
	}
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
	var err error
	over, finished := false, false
	defer func() {
		if !finished { // the filter has called runtime.Goexit
			if x.exited != "" {
				err = x.upper.opError(x.exited, errExited)
				x.exited = ""
			}
			x.schedule()
		}
		x.publish(&plain, err, over)
	}()
	err = x.deliver()
	clear := x.answer.n == 0 // lower has room
	if clear {
		x.answered = 0
	}
	// Decode even if lower is full: two peers that both stop decoding while their
	// lower streams are full would wait for each other.
	if err == nil && x.answered < filterRoom && room && !x.decoded {
		had := x.answer.n
		err = x.decode(&plain)
		x.answered += x.answer.n - had
	}
	x.mu.Lock()
	fresh := x.out.n > 0 || x.fin
	if clear {
		x.deferReleases(&x.out)
		x.sending.chain.splice(&x.out)
	}
	x.inside = max(x.inside, x.sending.n+x.answer.n)
	fin, closing := x.fin, x.closing
	x.mu.Unlock()
	again := false // Encode has made progress, and has not finished
	if err == nil && clear && !x.encoded && !x.broken && (fresh || !x.begun || x.sending.n > 0) {
		x.begun = true
		left, owed := x.sending.n, x.answer.n
		x.broken = true // unless it returns nil
		if err = x.callEncode(fin); err != nil {
			err = x.upper.opError("encode", err)
		}
		x.broken = err != nil
		x.encoded = fin && x.sending.n == 0
		again = err == nil && fin && !x.encoded && (x.sending.n < left || x.answer.n > owed)
	}
	x.mu.Lock()
	x.inside = x.sending.n + x.answer.n // what deliver moves counts twice until publish
	x.mu.Unlock()
	if derr := x.deliver(); err == nil {
		err = derr
	}
	if x.encoded && !x.finSent && x.answer.n == 0 {
		x.finSent = true
		x.lower.CloseWrite()
	}
	over = closing && (x.finSent || x.broken || err != nil || clear && x.answer.n == 0 && !again || x.upper.Loop().conf.Linger < 0)
	if over {
		x.mu.Lock()
		cut := x.broken || x.out.n+x.sending.n+x.answer.n > 0
		x.mu.Unlock()
		if cut {
			x.lower.Abort() // the peer must not take what it has got for all there was
		} else {
			x.lower.Close()
		}
	} else if again || !clear && x.answer.n == 0 {
		x.schedule()
	}
	finished = true
}

// tell gives x the message bits of the stream under it. Caller holds l.mu.
func (l *Loop) tell(x *filtering, bits pending) {
	if told := bits & (msgConnected | msgTimedOut); told != 0 {
		l.enqueue(&x.upper.source, x.upper.confirm(told))
	}
	if bits != 0 {
		l.assign(x)
	}
}

// deliver writes the answer to lower. If lower is full, its Drained calls the task
// again.
func (x *filtering) deliver() error {
	if x.answer.n == 0 {
		return nil
	}
	if _, err := x.lower.writeBuffer(&x.answer, nil); err != nil && err != ErrFull {
		return err
	}
	return nil
}

// decode reads into lower's input, and calls Decode if there is more than last time.
func (x *filtering) decode(plain *Buffer) error {
	s := x.lower
	s.mu.Lock()
	bits := s.fill()
	x.deferReleases(&s.in.unread)
	eof := s.in.eof
	gone := s.gone()
	reason := s.why()
	s.unlockInTurn()
	if bits&workRead != 0 {
		x.schedule()
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

// callDecode, callEncode and callClose call the filter. They turn a panic into an
// error, because the loop's turn must go on for the other sources. After runtime.Goexit
// they cannot return: they set x.exited, for the deferred functions of their callers.
func (x *filtering) callDecode(in, plain *Buffer, eof bool) (err error) {
	x.exited = "decode"
	defer x.called(&err)
	err = x.filter.Decode(in, plain, &x.answer, eof)
	x.exited = ""
	return err
}

func (x *filtering) callEncode(fin bool) (err error) {
	x.exited = "encode"
	defer x.called(&err)
	err = x.filter.Encode(&x.sending, &x.answer, fin)
	x.exited = ""
	return err
}

// callClose ignores what Close returns.
func (x *filtering) callClose() (err error) {
	x.exited = "close"
	defer x.called(&err)
	if c, ok := x.filter.(io.Closer); ok {
		c.Close()
	}
	x.exited = ""
	return nil
}

// called recovers from a panic and stores it in *err. Callers defer it.
func (x *filtering) called(err *error) {
	if v := recover(); v != nil {
		x.exited = ""
		*err = fmt.Errorf("evchan: the Filter has panicked: %v", v)
	}
}

var errExited = errors.New("evchan: the Filter has called runtime.Goexit")

// schedule makes the loop call the task in its next turn.
func (x *filtering) schedule() {
	l := x.upper.lockLoop()
	l.assign(x)
	l.unlock()
}

// publish gives the results of a task to upper: decoded bytes, the end, an error, room.
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
	x.inside = x.sending.n + x.answer.n
	x.lower.mu.Lock()
	below := x.lower.output()
	x.lower.mu.Unlock()
	owed := x.owed && x.out.n == 0 && x.answer.n == 0 && below == 0
	x.owed = x.owed && !owed
	x.done = x.done || done
	stuck := below > 0 && x.stuckBelow() || x.out.n > 0 || x.inside > 0
	began := stuck && !x.stuck
	x.stuck = stuck
	x.mu.Unlock()
	if owed {
		l := x.upper.lockAndWithdraw()
		l.enqueue(&x.upper.source, x.upper.confirm(msgDrained))
		l.unlock()
	}
	if began || x.watched.Load() {
		x.upper.outputMoved(began)
	}
	plain.invalidate()
	x.upper.Loop().releaseLater(plain.chain.detach())
	plain.Reset()
	if what != 0 {
		x.tell(what)
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

// netConn returns a net.Conn that uses the filter on lower's net.Conn. Caller holds
// x.working and the mu of both streams.
func (x *filtering) netConn(lower net.Conn) net.Conn {
	c := newFilterConn(lower, x.filter, x.lower.limits.Load().readHigh, x.upper.limits.Load().writeHigh)
	c.plain.splice(x.upper.detach())
	x.mu.Lock()
	defer x.mu.Unlock()
	c.plain.chain.splice(&x.plain)
	c.pending.splice(&x.sending)
	switch {
	case x.err != nil:
		c.readErr = x.err
	case x.decoded:
		c.readErr = io.EOF
	}
	if x.encoded {
		c.encodeErr = c.failed("write", errEnded)
	}
	x.done, x.retired = true, true
	return c
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

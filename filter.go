// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"cmp"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// A Filter transforms the bytes of a stream: it compresses or encrypts them, for
// example. One Filter serves one stream. The loop calls its methods one at a time and
// with no lock held, so they may call methods of the stream. What they Write to the
// stream is given to a later call of Encode.
//
// A Filter may have more methods:
//   - Opened() bool, if it has something to do before the stream can be used, such as a
//     handshake. See below.
//   - Close() error. The loop calls it once, after everything else.
//   - NetConn(lower net.Conn, early *Buffer) net.Conn, if it has a net.Conn of its own.
//     [Stream.NetConn] calls it, after everything else, and returns the result. lower is the
//     net.Conn of the stream below, which gives first what Decode has left. early has the
//     decoded bytes that nobody has read; the Filter owns it from then on. NetConn must not
//     call methods of the stream.
//
// Opened is called after Decode and Encode, until it returns true. The stream that Filter
// returns then sends [Connected], also if it belongs to a server; ListenConfig.Over makes
// that [Accepted]. No other message but Closed, and Moved, comes before that, and the idle
// timeouts begin there. A Filter with this method is first called when the stream below is connected.
// If the input ends before Opened returns true, the stream ends with io.ErrUnexpectedEOF. If
// the stream is closed before, and nothing was written to it, the stream below is closed at
// once.
//
// If Decode or Encode panics in the loop, the stream ends with an error that has the
// panic's text, and the loop goes on. If Close panics, no message says so, but the
// stream's Err has the text if there was no error before. If one of them calls
// runtime.Goexit, the same happens, and the goroutine that makes the loop's turn ends, as
// it must: the receiver's, in a range over All or a Batch or in Poll, which leaves the loop usable
// as break does; if it is the loop's own, with Events and Batches, another one takes its
// place.
//
// In a net.Conn that NetConn has made, the panic reaches the caller of the net.Conn's
// method; after a panic in Close everything is released all the same.
type Filter interface {
	// Decode consumes what has arrived, in, and appends the decoded bytes to plain.
	// It may leave bytes in in, for example an incomplete record; it is called again
	// when more has arrived. What it appends to out is sent to the peer: the answer
	// of a handshake, for example. The buffers belong to the loop and must not be kept.
	//
	// If eof is true, nothing more will arrive, and this is the last call.
	//
	// Decode returns
	//   - nil;
	//   - io.EOF, if the input has ended, whatever the stream below does. Decode is not
	//     called again. What follows is read and dropped;
	//   - ErrWouldBlock, if it is busy, on another goroutine for example. Then nothing is
	//     settled, neither eof nor an error of the stream below, until a later call returns
	//     something else. The Filter asks for that call by [Stream.Again] of the stream that
	//     Filter has returned. Another call comes when more has arrived;
	//   - any other error, which ends the stream, after the receiver has consumed what was
	//     decoded before. What is in out is still sent.
	Decode(in, plain, out *Buffer, eof bool) error

	// Encode consumes what was written to the stream, plain, and appends the encoded
	// bytes to out, which is sent. It may leave bytes in plain; it is called again
	// when more was written, and after each Decode. The first call comes at the
	// beginning, with an empty plain, so that Encode can begin a conversation.
	//
	// If fin is true, nothing more will be written: Encode appends all that the peer
	// must still get, a checksum for example. It is called again as long as it leaves
	// something in plain.
	//
	// If Encode returns ErrWouldBlock, it is busy: it is called again as after each Decode,
	// and after Again. Until it returns nil, fin is not settled: the stream below stays open
	// for writing. Any other error ends the stream.
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
// marks and limits of its own. It sends Connected first if this stream has not delivered it
// yet, or if f has a method Opened. Otherwise it sends no first message.
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
	x.opener, _ = f.(opener)
	x.open.Store(x.opener == nil && !s.unopened())
	x.look.Store(true)
	x.sending.flags, x.answer.flags = bufNoSpare, bufNoSpare
	up.listener = s.listener
	up.more().under = s
	if s.extra != nil && s.extra.idle != nil {
		after := s.extra.idle.after
		u.ReadIdle = cmp.Or(u.ReadIdle, after[dirRead])
		u.WriteIdle = cmp.Or(u.WriteIdle, after[dirWrite])
	}
	up.setupLocked(u)
	up.extra.transport = x // after the timeouts were set, which asks what lies below
	if u.WriteIdle > 0 {
		x.timed.Store(true)
		s.timeBelow()
	}
	l := s.lockAndWithdraw()
	defer l.unlock()
	switch {
	case l.closed:
		err = ErrClosed
	case s.pend&msgMade != 0:
		err = ErrWouldBlock
	}
	if err != nil {
		up.extra.leave(l)
		return nil, err
	}
	if s.extra != nil && s.extra.idle != nil {
		s.extra.idle.after = [2]time.Duration{} // up has them now
		s.extra.stopIdle(l)
	}
	if !x.open.Load() {
		up.extra.stopIdle(l) // until it is open
	}
	up.prio = s.prio
	if u.Notify == nil {
		up.route.Store(s.route.Load())
	}
	up.paused |= s.paused &^ directions(s.timedOut())
	s.paused = 0
	s.resumeIdle(Read | Write)
	passed := s.pend & msgConnected
	if x.opener != nil {
		passed = 0
	}
	s.received(msgAccepted) // as far as its listener is concerned
	l.retract(&s.source, msgMask|workRead|workAsk)
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

// By returns the Filter that made this stream, also after its end. It returns nil if none
// did.
func (s *Stream) By() Filter {
	if x := s.madeBy(); x != nil {
		return x.filter
	}
	return nil
}

// madeBy returns what moves the bytes between s and the stream below, also after the end of
// s. It returns nil if Filter has not made s.
func (s *Stream) madeBy() *filtering {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.extra == nil {
		return nil
	}
	x, _ := s.extra.transport.(*filtering)
	return x
}

// Again has the stream's layer called: see [Source].
//
// It also has the Filter that made this stream called, Decode and then Encode, even if nothing
// has arrived and nothing was written, and also after Close, as long as output is being sent. A
// Filter that was busy calls it. Resume of reading does this as well. Any goroutine may call
// Again; calls coalesce until the loop's next turn.
func (s *Stream) Again() {
	s.source.Again()
	s.askFilter()
}

// askFilter is Again as far as the filter is concerned.
func (s *Stream) askFilter() {
	if x := s.madeBy(); x != nil {
		x.asked.Store(true)
		x.schedule()
	}
}

// A filtering is the transport of a stream that Filter has made. The loop calls its
// task when something has happened to the upper or the lower stream; the task moves
// bytes between the two.
type filtering struct {
	reg    registration
	filter Filter  // never changes
	upper  *Stream // never changes
	lower  *Stream // never changes
	opener opener  // filter, if it is one; never changes

	asked atomic.Bool // Again was called
	look  atomic.Bool // lower may have something to read, or to tell
	open  atomic.Bool // upper can be used: lower can, and the opener says so; only the task sets it

	// working is locked while the task runs. It guards the following.
	working  sync.Mutex
	fresh    Buffer // what Decode has appended; empty after publish
	sending  Buffer // written, and not yet consumed by Encode
	answer   Buffer // to be written to lower
	answered int    // bytes that Decode has added to answer since that was last empty
	left     int    // bytes of lower's input that Decode has left
	begun    bool   // Encode was called
	decode   bool   // Again was called, and Decode was not called since
	encode   bool   // Again was called, and Encode was not called since
	busy     bool   // Decode has returned ErrWouldBlock
	stalled  bool   // Encode has returned ErrWouldBlock
	decoded  bool   // the input has ended: Decode will not be called again
	encoded  bool   // Encode will not be called again
	failed   bool   // x has failed: Decode will not be called again
	broken   bool   // Encode has failed, and must not be called again
	mute     error  // why lower takes nothing any more
	exited   string // the method of filter that is being called, or has called runtime.Goexit
	finSent  bool   // lower's CloseWrite was called
	retired  bool   // the filter was closed, or belongs to a net.Conn

	// mu guards the following. It is locked after upper's mu and before lower's.
	mu      sync.Mutex
	plain   chain // decoded, for upper to read
	out     chain // written by upper, to be encoded
	wrote   bool  // upper has tried to write something
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

	accepting bool         // upper sends Accepted when it is open, and nothing before; the loop's mu guards it
	calling   atomic.Bool  // the filter may be being called: see deferReleases
	watched   atomic.Bool  // the task is to be called when lower's output moves
	timed     atomic.Bool  // progress is needed
	progress  atomic.Int64 // when lower's output has last moved, on the loop's clock
}

var (
	_ transport = (*filtering)(nil)
	_ pollable  = (*filtering)(nil)
)

func (x *filtering) fill(in *chain, limit int) (n int, full bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.open.Load() {
		if x.err != nil {
			return 0, false, x.err
		}
		return 0, false, eAGAIN
	}
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
	x.wrote = true
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

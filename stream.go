// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Stream is a connection, or the like, whose reading and writing the loop
// does: what arrives is collected as input and told by [Readable], and what is
// written is queued as output and sent as fast as the peer takes it. No method
// waits for the peer or the kernel. It is made by Loop.Dial, Wrap, WrapFD, WrapFile or
// Pipe, by a [Listener] or by Filter; a zero one is of no use.
//
// Read, WriteTo, Input, Output, Flush, MoveTo, NetConn and the two Buffers belong
// to one goroutine at a time: the one that has received the stream's most recent message
// or, before there is one, has made the stream.
// All other methods, Write and Close among them, are safe for concurrent use.
//
// A stream's messages come in this order: Accepted if a listener made it, or Connected if Dial did, then
// Readable and Drained as often as there is reason, then EOF, then Closed. All
// that was received before EOF or Closed is readable when that is delivered.
// After your own Close there are none.
type Stream struct {
	source

	// What every message touches comes first, to lie in few cache lines.

	held   atomic.Int64           // input that was not consumed: the bytes of inbox and in
	flags  atomic.Uint32          // of the flags below
	limits atomic.Pointer[limits] // never nil; what it points to never changes

	// mu guards the following. It is taken before the loop's mu.
	mu    sync.Mutex
	extra *streamExtra
	sock  sock  // its transport, if extra has no other
	inbox chain // what was read and not yet taken by the consumer
	out   chain // what is to be sent
	state streamState

	// The loop's mu guards the following.

	closing  bool // Close was called: no more messages
	released bool // nothing will happen any more
	paused   What // directions; to change it, mu is held as well
	timedOut What // directions that were paused because they were idle
	awaited  bool // counts as one of the listener's streams that were not received yet

	// The consumer owns the following.

	shown  bool    // Input has returned in
	in     *Buffer // what the consumer has taken from inbox; nil while that is nothing, unless shown
	pieces *Buffer // Output's; nil if that was not called

	// Data is for the user; the package does not touch it.
	Data any

	reg      registration
	remote   peerAddr  // of an accepted stream; never changes
	listener *Listener // that accepted it; nil: none did. Never changes
}

// The flags of a stream. In the lowest byte are EarlyClose, hangup and urgent, once
// the kernel has reported them.
const (
	flagSeen    = uint32(EarlyClose | hangup | urgent)
	flagStopped = 1 << (8 + iota) // reading has stopped at the limit; whoever clears it has it go on
	flagHeldEOF                   // EOF waits until the input was consumed, or reading goes on; set with the loop's mu held
	flagLagging                   // there is output that the kernel would not take
	flagRefused                   // there is input that WriteTo has left, and that Readable is to tell of again
	flagBlocked                   // WriteTo has found its destination full, and what it has left was not consumed; set with the loop's mu held
	flagSending                   // a feeder is sending Readable, or offering it; changes with the loop's mu held
	flagOverdue                   // it may have been idle too long, which checkIdle is to see once fill has read
	flagFallen                    // it was released, and has yet to say Closed; cleared with the loop's mu held
	flagJoints                    // a read may give less than there is; never changes once there is a socket
)

// has reports whether one of flags is set.
func (s *Stream) has(flags uint32) bool { return s.flags.Load()&flags != 0 }

func (s *Stream) set(flags uint32) {
	if s.flags.Load()&flags != flags {
		s.flags.Or(flags)
	}
}

// clear reports whether one of flags was set: of several callers, the one who
// has cleared it.
func (s *Stream) clear(flags uint32) bool {
	return s.has(flags) && s.flags.And(^flags)&flags != 0
}

// streamState is a set of what has happened to a stream.
type streamState uint8

const (
	stateEOF     streamState = 1 << iota // the peer has finished sending
	stateFin                             // CloseWrite or Close was called
	stateFinSent                         // the peer was told
	stateClosed                          // Close or Abort was called
	stateOwed                            // Drained is to be sent when the output has fallen
	stateGone                            // the transport was let go
)

// A streamExtra is what few streams need. The stream's mu guards it, unless a
// comment names another guard.
type streamExtra struct {
	stream        *Stream
	transport     transport  // other than the stream's own socket; nil: none
	err           error      // why it ended
	lost          int        // bytes of output that were dropped at the end
	spent         *chunk     // sent chunks whose release functions are to be called without the lock
	local, remote net.Addr   // where they cannot be had from the socket; never change
	waiters       []*Stream  // whose WriteTo into this stream has found it full
	idle          *idle      // nil: no timeouts were set
	shares        [2]*share  // in rate limits: its own and its group's; nil: none
	under         *Stream    // that Filter was called on; nil: none; never changes
	tap           *filtering // on top of it, with source.tapped; the loop's mu guards it as well
	ends          int64      // when its lifetime does, on the loop's clock; 0: it has none; the loop's mu guards it
	linger        timerNode  // running: while closing, or towards ends; the loop's mu guards it
	lingers       bool       // Close was called, of this stream or one on top; the loop's mu guards it
	overdue       bool       // linger has expired; the loop's mu guards it
}

// A transport moves bytes between a stream's buffers and the outside: a socket,
// say. All its methods are called with the stream's mu held, and none blocks.
// Errors are the system's, unwrapped.
type transport interface {
	// fill reads once to the end of in, at most limit > 0 bytes. If full, there
	// may be more. n == 0 without an error is the end; EAGAIN means that
	// there is nothing now.
	fill(in *chain, limit int) (n int, full bool, err error)

	// write sends what is possible of p, which is not empty, at once.
	write(p []byte) (n int, err error)

	// flush sends what is possible of out, and removes that, which it returns
	// the spent chunks of.
	flush(out *chain) (n int, spent *chunk, err error)

	// closeWrite tells the peer that nothing more will be sent.
	closeWrite() error

	// failure returns the error that the outside has met with, if any.
	failure() error

	// halfCloses reports whether closeWrite is possible, and reading goes on
	// after it. A close then waits for the peer's end, too.
	halfCloses() bool

	// close lets the outside go. With reset, the peer is told that the rest
	// was dropped.
	close(reset bool)
}

// gone reports whether the transport was let go: nothing is read or sent any more. mu
// is held.
func (s *Stream) gone() bool { return s.state&stateGone != 0 }

// transport returns the stream's transport, or nil once that was let go. mu is held.
func (s *Stream) transport() transport {
	switch {
	case s.gone():
		return nil
	case s.extra != nil && s.extra.transport != nil:
		return s.extra.transport
	}
	return &s.sock
}

// fillOnce is the transport's fill, without a detour for sockets. So are writeOnce
// and flushOnce.
func (s *Stream) fillOnce(in *chain, limit int) (n int, full bool, err error) {
	if s.extra != nil && s.extra.transport != nil {
		return s.extra.transport.fill(in, limit)
	}
	n, full, err = s.sock.fill(in, limit)
	if err == eAGAIN && s.has(uint32(urgent)) {
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

func (s *Stream) writeOnce(p []byte) (n int, err error) {
	if s.extra != nil && s.extra.transport != nil {
		return s.extra.transport.write(p)
	}
	return s.sock.write(p)
}

func (s *Stream) flushOnce(out *chain) (n int, spent *chunk, err error) {
	if s.extra != nil && s.extra.transport != nil {
		return s.extra.transport.flush(out)
	}
	return s.sock.flush(out)
}

// expect chooses the chunk for the next read after one that has given n bytes. full
// tells that it could have given more.
func (k *sock) expect(n int, full bool) {
	switch {
	case full:
		k.class = streamClass // whatever there is
	case n > 0:
		k.class = min(max(classFor(n+1), k.class-1), streamClass) // one less is no reason to expect few
	}
}

// newStream returns a stream of l with fd as its socket. Nobody is told yet.
func (l *Loop) newStream(fd sysFD) *Stream {
	s := new(Stream)
	s.init(l, s)
	s.sock.fd = fd
	s.limits.Store(&l.limits)
	return s
}

// bufferPool has the input buffers of streams whose Input was not called.
var bufferPool = sync.Pool{New: func() any { return new(Buffer) }}

// distrust has s read until nothing is left if network is "unix": bytes of a Unix
// socket can bring descriptors, and a read stops behind those (unix(7)).
func (s *Stream) distrust(network string) {
	if network == "unix" {
		s.set(flagJoints)
	}
}

// streamInterest is what the poller is asked for once and for all, with true
// edge triggering.
const streamInterest = Read | Write | EarlyClose | Edge | urgent

// open makes s live: from now on the poller reports on it. first is the first
// message to be sent. If it fails, s is as if it had never been, and its
// descriptor is closed if close says so.
func (s *Stream) open(first pending, close bool) error {
	l := s.Loop()
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		s.forget(close)
		return ErrClosed
	}
	tok := l.register(s, s.sock.fd)
	l.streams++
	l.refresh(&s.source)
	l.mu.Unlock()
	if err := l.poller.add(s.sock.fd, tok, streamInterest); err != nil {
		l.mu.Lock()
		l.unregister(s, s.sock.fd)
		if !s.released {
			s.released = true
			l.streamReleased()
		}
		l.refresh(&s.source)
		l.unlock()
		s.forget(close)
		return os.NewSyscallError(l.Method(), err)
	}
	l.mu.Lock()
	l.enqueue(&s.source, first)
	l.unlock()
	return nil
}

// forget takes the descriptor from s, unless the end of the loop was faster.
func (s *Stream) forget(close bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.gone() && close {
		s.transport().close(false)
	}
	s.state |= stateGone
	if s.extra != nil {
		l := s.lock()
		s.extra.retire(l)
		l.mu.Unlock()
	}
}

// retire ends what the loop does for x's stream. The loop's mu is held.
func (x *streamExtra) retire(l *Loop) {
	l.timers.stop(&x.linger)
	x.stopIdle(l)
	x.leaveShares()
}

// unlock lets go of s.mu, then calls the release functions of what was sent.
func (s *Stream) unlock() {
	if s.extra == nil || s.extra.spent == nil {
		s.mu.Unlock()
		return
	}
	spent := s.extra.spent
	s.extra.spent = nil
	s.mu.Unlock()
	freeChain(spent)
}

// spend keeps the chain c until unlock.
func (s *Stream) spend(c *chunk) {
	for c != nil {
		next := c.next
		if c.mem != nil {
			x := s.more()
			c.next = x.spent
			x.spent = c
		} else {
			c.put()
		}
		c = next
	}
}

// ---- The loop's side ----

// ready is told what the poller has reported.
func (s *Stream) ready(what What) {
	l := s.Loop()
	if bad := uint32(what) & flagSeen; bad != 0 {
		s.set(bad)
	}
	if what&Write != 0 && s.has(flagLagging) {
		l.assign(s)
	}
	if what&(Read|EarlyClose|hangup|urgent) != 0 {
		if s.closing {
			l.assign(s)
		} else {
			l.enqueue(&s.source, input)
		}
	}
}

// task sends what is left of the output, and drives a close.
func (s *Stream) task() {
	s.mu.Lock()
	defer s.unlock()
	if s.gone() {
		return
	}
	if s.outlived() {
		s.announce(s.fall())
		return
	}
	bits := s.flushLocked()
	if s.state&stateClosed != 0 {
		s.driveClose()
	}
	s.announce(bits)
	s.checkIdle()
}

// announce enqueues bits. s.mu is held.
func (s *Stream) announce(bits pending) {
	if bits == 0 {
		return
	}
	l := s.lock()
	l.enqueue(&s.source, s.confirm(bits))
	l.refresh(&s.source)
	l.unlock()
}

// fillBudget is how many bytes are read of one stream before others have
// their turn. Arbitrary; MaxInput is most often smaller.
const fillBudget = 256 << 10

// prepare reads what has arrived.
func (s *Stream) prepare(pending) pending {
	s.mu.Lock()
	if room := s.limits.Load().readHigh - int(s.held.Load()); room > 0 && s.inbox.n == 0 && s.ordinary() && !s.has(flagSeen|flagJoints) && s.Loop().edge {
		// What fill would do, in one step: see ordinary.
		c := newChunk(max(s.sock.class, minClass))
		p := c.buf[:min(len(c.buf), room)]
		r, errno := tryRecv(s.sock.fd, p)
		n := int(r)
		if n > 0 && n < len(p) && (n >= len(c.buf)/deserves || c.class == minClass) {
			c.w = n
			s.inbox = chain{c, c, n}
			s.held.Add(int64(n))
			s.Loop().bytesIn.Add(uint64(n))
			s.mu.Unlock()
			return readable
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
		s.inbox.pushRead(c, n)
		s.held.Add(int64(n))
		s.Loop().bytesIn.Add(uint64(n))
		if !full {
			s.mu.Unlock()
			return readable
		}
		bits = readable
	} else if c != nil {
		c.put()
		if n == 0 { // the end, which a second read need not give again
			s.state |= stateEOF
			s.mu.Unlock()
			return eof
		}
		if !tryAgain(errno) { // the kernel tells it once
			bits = s.failed("read", errno)
			s.unlock()
			return bits
		}
	}
	bits |= s.fill()
	s.recheckIdle()
	s.unlock()
	return bits
}

// ordinary reports whether s has nothing of what only some streams have: it is open
// in both directions, has its own socket, no limits, no timeouts, and nothing that
// waits. Then a message takes the short way, through few functions. That counts:
// the processor does not predict where a function returns to when there was a
// system call meanwhile, so that each on the way back costs as much as a lock. mu
// is held.
func (s *Stream) ordinary() bool {
	return s.state == 0 && (s.extra == nil || s.extra.quiet()) && s.paused == 0 && s.out.n == 0 && !s.sock.plain
}

// quiet reports whether x holds nothing that reading and writing must heed, only the
// addresses, say.
func (x *streamExtra) quiet() bool {
	return x.transport == nil && x.idle == nil && x.shares == [2]*share{} && x.tap == nil && x.spent == nil && x.waiters == nil
}

// fill is prepare with mu held.
func (s *Stream) fill() (bits pending) {
	if s.gone() || s.state&stateClosed != 0 {
		return 0
	}
	if s.paused&Read != 0 || s.state&stateEOF != 0 {
		s.waive(dirRead)
		return s.checkFailure()
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
		room := limit - int(s.held.Load())
		if room <= 0 {
			if !s.stopIfFull() {
				continue // the consumer was faster
			}
			s.halt(dirRead)
			return bits | s.checkFailure(), got
		}
		if room = s.quota(dirRead, room); room == 0 {
			s.halt(dirRead)
			return bits | s.checkFailure(), got
		}
		s.goOn(dirRead)
		n, full, err := s.fillOnce(&s.inbox, room)
		switch {
		case n > 0:
			// First the bytes, then the question whether they were consumed.
			s.held.Add(int64(n))
			s.moved(dirRead, n)
			got += n
			bits |= readable
		case err == eAGAIN:
			s.rearm()
			return bits, got
		case err != nil:
			return bits | s.failed("read", err), got
		case hangupIsReset && s.has(uint32(hangup)):
			return bits | s.checkFailure(), got
		default:
			s.state |= stateEOF
			return bits | eof, got
		}
		if !full && !s.has(flagSeen|flagJoints) {
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
			return bits | input, got
		}
	}
}

// stopIfFull stops reading if there is no room, and reports whether there is none.
// Whoever makes room has it go on.
func (s *Stream) stopIfFull() bool {
	if int(s.held.Load()) < s.limits.Load().readHigh {
		return false
	}
	s.set(flagStopped)
	return int(s.held.Load()) >= s.limits.Load().readHigh || !s.clear(flagStopped)
}

// checkFailure ends a stream that does not read, if the peer has reset it. mu is
// held.
func (s *Stream) checkFailure() pending {
	if s.has(uint32(hangup)) {
		if err := s.transport().failure(); err != nil {
			return s.failed("read", err)
		}
	}
	return 0
}

// ample reports whether the input is worth a Readable.
func (s *Stream) ample() bool {
	held := int(s.held.Load())
	return held >= s.limits.Load().readLow || held > 0 && s.has(flagRefused)
}

// silent reports whether s sends no more messages: Close was called, or Closed was
// received or is about to be enqueued. The loop's mu is held.
func (s *Stream) silent() bool {
	return s.closing || s.released && s.unreceived()&closed == 0
}

// confirm returns those of bits that are still true. The loop's mu is held.
func (s *Stream) confirm(bits pending) pending {
	if bits&messages == 0 {
		return bits
	}
	if bits&closed != 0 {
		s.clear(flagFallen)
	}
	if s.closing || s.released && bits&closed == 0 {
		return 0
	}
	if bits&readable != 0 && !s.ample() {
		bits &^= readable
	}
	if bits&eof != 0 && (s.paused&Read != 0 || s.has(flagBlocked) && s.held.Load() > 0) {
		s.set(flagHeldEOF) // and then the question whether the input was consumed
		if s.paused&Read != 0 || s.held.Load() > 0 || !s.clear(flagHeldEOF) {
			bits &^= eof
		}
	}
	if s.paused&Read != 0 {
		bits &^= readable
	}
	return bits
}

// rearm asks a poller that reports a condition once only to report again. mu is
// held.
func (s *Stream) rearm() {
	l := s.Loop()
	if l.edge || s.sock.fd == noFD {
		return
	}
	interest := What(Edge)
	if s.state&stateEOF == 0 && (s.state&stateClosed == 0 || s.transport().halfCloses()) {
		interest |= Read | EarlyClose // else nobody would read, and it would be reported again and again
	}
	if s.has(flagLagging) {
		interest |= Write
	}
	l.mu.Lock()
	tok := l.token(s)
	l.mu.Unlock()
	l.poller.arm(s.sock.fd, tok, interest)
}

// flushLocked sends what is possible of the output and returns what came of it.
// mu is held.
func (s *Stream) flushLocked() (bits pending) {
	if s.gone() {
		return 0
	}
	if s.paused&Write != 0 && s.state&stateClosed == 0 {
		s.waive(dirWrite)
		s.noteOwed()
		return 0
	}
	for s.out.n > 0 {
		room := s.quota(dirWrite, s.out.n)
		if room == 0 {
			s.clear(flagLagging) // it waits for its rate, not for the kernel
			s.halt(dirWrite)
			break
		}
		s.goOn(dirWrite)
		n, spent, err := s.flushSome(room)
		if spent != nil {
			s.spend(spent)
		}
		if n > 0 {
			s.Loop().bytesOut.Add(uint64(n))
			s.moved(dirWrite, n)
		}
		if err != nil {
			return s.failed("write", err)
		}
		if n == room {
			continue
		}
		if s.has(flagLagging) {
			break
		}
		// Once the flag is up, a report of room is heard. Room that came
		// before that is found by trying again.
		s.set(flagLagging)
		s.count(dirWrite)
	}
	s.waive(dirWrite)
	if s.out.n > 0 {
		s.rearm()
		s.noteOwed()
	} else {
		s.clear(flagLagging)
	}
	if s.out.n <= s.lowMark() && s.state&stateOwed != 0 && !s.connecting() { // Connected comes first
		s.state &^= stateOwed
		bits |= drained
		s.unblock()
	}
	if s.out.n == 0 && s.state&(stateFin|stateFinSent) == stateFin {
		s.state |= stateFinSent
		if err := s.transport().closeWrite(); err != nil && err != eNOTCONN {
			return bits | s.failed("close", err)
		}
	}
	return bits
}

// flushSome sends what is possible of the first n bytes of the output. mu is held.
func (s *Stream) flushSome(n int) (int, *chunk, error) {
	if n == s.out.n {
		return s.flushOnce(&s.out)
	}
	var part chain
	part.moveN(&s.out, n)
	n, spent, err := s.flushOnce(&part)
	part.splice(&s.out)
	s.out = part
	return n, spent, err
}

// failed ends the stream because of err, and returns what came of it. What the
// kernel still holds is read first. mu is held.
func (s *Stream) failed(op string, err error) (bits pending) {
	if x := s.more(); x.err == nil {
		x.err = s.opError(op, err)
	}
	if s.state&(stateClosed|stateEOF) == 0 {
		for {
			n, _, err := s.fillOnce(&s.inbox, fillBudget)
			if n == 0 || err != nil {
				break
			}
			s.held.Add(int64(n))
			s.Loop().bytesIn.Add(uint64(n))
			bits |= readable
		}
	}
	return bits | s.fall()
}

// fall is release of a stream that is to say Closed, which it returns. It stays live
// until that is enqueued, or the loop might find itself empty, and end, before. mu is
// held.
func (s *Stream) fall() pending {
	s.set(flagFallen)
	s.release(false)
	return closed
}

// release lets go of all that the stream has but its input. mu is held.
func (s *Stream) release(reset bool) {
	if t := s.transport(); t != nil {
		short := s.out.n > 0 // the peer must not take what it got for all
		s.retreat()
		t.close(reset || short)
	}
}

// retreat is release, except that the transport is not closed. mu is held.
func (s *Stream) retreat() {
	s.unblock()
	l := s.lock()
	if !l.closed {
		l.unregister(s, s.sock.fd)
	}
	if s.extra != nil {
		s.extra.retire(l)
	}
	s.released = true
	l.streamReleased()
	l.retract(&s.source, input) // there is nothing left to read from
	if s.tapped {
		l.assign(s.extra.tap)
	}
	l.unlock()
	if s.listener != nil && (s.extra == nil || s.extra.under == nil) { // that of a filter has not been accepted
		s.listener.parted()
	}
	if s.sock.fd != noFD {
		l.poller.remove(s.sock.fd)
	}
	s.state |= stateGone
	s.clear(flagLagging)
	if s.extra != nil {
		s.extra.lost = s.out.n
	}
	s.spend(s.out.detach())
}

// more returns the part of s that is not always there. mu is held.
func (s *Stream) more() *streamExtra {
	if s.extra == nil {
		s.extra = &streamExtra{stream: s}
		s.extra.linger.owner = s.extra
	}
	return s.extra
}

// unblock tells the streams whose WriteTo has found this one full that it is
// not any more. mu is held.
func (s *Stream) unblock() {
	if s.extra == nil {
		return
	}
	waiters := s.extra.waiters
	s.extra.waiters = nil
	for _, w := range waiters {
		l := w.lock()
		if !w.clear(flagBlocked) { // it has found another way
			l.unlock()
			continue
		}
		w.set(flagRefused) // and then the question whether the input was consumed
		switch {
		case w.silent():
		case w.held.Load() > 0:
			if w.paused&Read == 0 {
				l.enqueue(&w.source, readable)
			}
		default:
			w.clear(flagRefused)
			w.releaseEOF(l)
		}
		l.unlock()
	}
}

// block notes that s waits until dst, whose mu is held, has drained.
func (s *Stream) block(dst *Stream) {
	l := s.edit()
	s.set(flagBlocked)
	if s.pend&eof != 0 {
		l.retract(&s.source, eof)
		s.set(flagHeldEOF)
	}
	l.unlock()
	if x := dst.more(); !slices.Contains(x.waiters, s) {
		x.waiters = append(x.waiters, s)
	}
}

// ---- The consumer's side: input ----

// input returns in, to be filled.
func (s *Stream) input() *Buffer {
	if s.in == nil {
		s.in = bufferPool.Get().(*Buffer)
		s.in.stream = s
	}
	return s.in
}

// settle lets in go if it is empty, and nobody has seen it.
func (s *Stream) settle() {
	if b := s.in; b != nil && b.head == nil && !s.shown {
		s.in = nil
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
	if s.inbox.n > 0 {
		in := s.input()
		in.settle()
		in.chain.splice(&s.inbox)
	}
}

// consumed is told by in how many bytes have left it.
func (s *Stream) consumed(n int) {
	s.held.Add(-int64(n))
	// A Readable that no feeder sends is looked at again before it is delivered.
	if s.has(flagStopped | flagHeldEOF | flagRefused | flagBlocked | flagSending) {
		s.consumedSlow()
	}
}

// consumedSlow takes note of what consumed has changed.
func (s *Stream) consumedSlow() {
	l := s.edit()
	defer l.unlock()
	if s.closing {
		return
	}
	if !s.ample() { // more may have come, and have been told
		l.retract(&s.source, readable)
	}
	held := int(s.held.Load())
	if held < s.limits.Load().readHigh && s.clear(flagStopped) {
		l.enqueue(&s.source, input)
		l.favour(&s.source)
	}
	if held == 0 {
		s.clear(flagRefused | flagBlocked)
		s.releaseEOF(l)
	}
}

// Input moves what has arrived into the stream's input buffer and returns that:
// always the same one. What is consumed of it makes room for more to be read.
func (s *Stream) Input() *Buffer {
	s.take()
	s.shown = true
	return s.input()
}

// Read reads what has arrived. If there is nothing, it returns ErrWouldBlock; at
// the end io.EOF or, if the stream was ended by an error, that error. After
// Close it returns ErrClosed.
//
// What reads until it has enough, as a bufio.Scanner does, stops at ErrWouldBlock
// in the middle of a line: take lines from Input, or read from NetConn.
func (s *Stream) Read(p []byte) (int, error) {
	if s.in == nil || s.in.n == 0 {
		s.mu.Lock()
		if c := s.inbox.head; c != nil && c.mem == nil && len(p) > 0 && s.in == nil {
			n := copy(p, c.buf[c.r:c.w])
			c = s.inbox.cut(n)
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
		if s.in == nil || s.in.n == 0 {
			if len(p) == 0 && err == ErrWouldBlock {
				return 0, nil
			}
			return 0, err
		}
	}
	defer s.settle()
	return s.in.Read(p)
}

// readErr returns why there is nothing to be read. mu is held.
func (s *Stream) readErr() error {
	switch {
	case s.state&stateClosed != 0:
		return ErrClosed
	case s.state&stateEOF != 0:
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
		if s.in == nil {
			return 0, nil
		}
		defer s.settle()
		return s.in.WriteTo(w)
	}
	if s.in != nil {
		s.take()
		defer s.settle()
		n, err := dst.writeBuffer(s.in, s)
		return int64(n), err
	}

	// The consumer has taken nothing: it goes from s to dst, which may be s.
	s.mu.Lock()
	read := s.inbox
	s.inbox = chain{}
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
			dst.announce(dst.failed("write", errno))
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
	return s.state&stateEOF != 0 && s.held.Load() == 0
}

// InputFull reports whether so much input is unread that reading has stopped
// (see Config.MaxInput), until some is consumed or the mark raised. It counts what has
// come since the last call of Input as well: to find a line that is too long, take the
// full lines from Input, and look at the Len of what is left.
func (s *Stream) InputFull() bool {
	return int(s.held.Load()) >= s.limits.Load().readHigh
}

// ---- The consumer's side: output ----

// writeErr returns why nothing can be written, or nil. mu is held.
func (s *Stream) writeErr() error {
	if s.state&(stateClosed|stateFin) == 0 && s.extra == nil && !s.gone() && s.out.n < s.limits.Load().writeHigh {
		return nil // so it is most often
	}
	switch {
	case s.state&stateClosed != 0:
		return ErrClosed
	case s.why() != nil:
		return s.why()
	case s.gone():
		return ErrClosed
	case s.state&stateFin != 0:
		return s.opError("write", ePIPE)
	case s.out.n >= s.limits.Load().writeHigh && s.out.inMemory() >= s.limits.Load().writeHigh:
		return ErrFull
	}
	return nil
}

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
			s.announce(s.failed("write", errno))
		}
		return s.writeSlow(p, max(n, 0))
	}
	return s.writeSlow(p, 0)
}

// tryAgain reports whether what failed with e may work the next time: the fast ways to
// read and write leave that to the slow ones. Other failures are told once by the kernel.
func tryAgain(e sysErrno) bool { return e == eAGAIN || e == eINTR }

// writeSlow is Write of p, of which n bytes have been sent already. It lets go of mu.
func (s *Stream) writeSlow(p []byte, n int) (int, error) {
	defer s.unlock()
	if err := s.writeErr(); err != nil || len(p) == 0 {
		return 0, err
	}
	if n > 0 {
		s.Loop().bytesOut.Add(uint64(n))
	} else if room := len(p); s.out.n == 0 && s.paused&Write == 0 {
		var err error
		if room = s.quota(dirWrite, room); room > 0 {
			n, err = s.writeOnce(p[:room])
			s.Loop().bytesOut.Add(uint64(n))
			s.moved(dirWrite, n)
			s.waive(dirWrite)
		}
		if n == len(p) {
			return n, nil
		}
		if err != nil && err != eAGAIN {
			s.announce(s.failed("write", err))
			return n, s.why()
		}
	}
	s.out.add(p[n:])
	if err := s.sendOn(); err != nil {
		return max(len(p)-s.extra.lost, 0), err
	}
	return len(p), nil
}

// sendOn sees to it that output which was added, or its end, is sent: now, or, if the
// kernel takes no more for the moment, by the loop as soon as it does. mu is held.
func (s *Stream) sendOn() error {
	if s.has(flagLagging) {
		s.noteOwed()
		return nil
	}
	return s.flushNow()
}

// flushNow flushes, and returns the error if that ended the stream. mu is held.
func (s *Stream) flushNow() error {
	s.announce(s.flushLocked())
	if s.gone() {
		return s.why()
	}
	return nil
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
	if err := s.writeErr(); err != nil {
		if err == ErrFull && from != nil {
			from.block(s)
		}
		return 0, err
	}
	s.out.splice(q)
	return n, s.sendOn()
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
	s.out.add(p)
	return s.sendOn()
}

// Output returns a buffer in which a reply can be built piece by piece; Flush
// sends it. It is always the same one, and nothing of it is sent before that.
func (s *Stream) Output() *Buffer {
	if s.pieces == nil {
		s.pieces = &Buffer{flags: lean}
	}
	return s.pieces
}

// Flush sends what is in Output, in one piece, and leaves Output empty. It
// returns ErrFull, and leaves Output as it is, while Queued() is MaxOutput or
// more; otherwise what Write would return.
func (s *Stream) Flush() error {
	if s.pieces == nil {
		return nil
	}
	_, err := s.writeBuffer(s.pieces, nil)
	return err
}

// Queued returns how many bytes of output the kernel has not taken yet: 0 also after the
// end, which Err tells. Of a stream that Filter has made, it is what the filter has not
// been given yet: neither what lies in the filter, up to 64 KiB and what Encode has left,
// nor what has come of it, of which Under().Queued() is what was given to the stream below.
func (s *Stream) Queued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.n
}

// lowMark returns the output from which on downwards Drained is sent: when nothing
// will be added any more, the last byte is what one waits for. mu is held.
func (s *Stream) lowMark() int {
	if s.state&stateFin != 0 {
		return 0
	}
	return s.limits.Load().writeLow
}

// noteOwed takes note that output was added to what waits. mu is held.
func (s *Stream) noteOwed() {
	if s.out.n > s.lowMark() && s.state&stateOwed == 0 {
		s.state |= stateOwed
		l := s.edit()
		l.retract(&s.source, drained)
		l.unlock()
	}
}

// ---- The end ----

// CloseWrite tells the peer, once the output is empty, that nothing more will
// be sent. Reading goes on. Write fails from then on, with EPIPE. A stream whose
// two directions cannot be closed apart, a pipe's or a terminal's, returns
// ErrUnsupported and goes on as before.
//
// Drained tells when the output is empty, if Queued() is not 0 already. Once EOF has
// come as well the stream still has to be closed; no message says so.
func (s *Stream) CloseWrite() error {
	s.mu.Lock()
	defer s.unlock()
	if s.state&stateFin != 0 {
		return nil
	}
	if s.gone() {
		return s.writeErr()
	}
	if !s.transport().halfCloses() {
		return ErrUnsupported
	}
	s.state |= stateFin
	return s.sendOn()
}

// Close ends the stream gracefully and returns at once: what was written is sent,
// then the peer is told, then its input is discarded until it has finished as
// well. A stream whose peer has finished, and that has nothing to send, is released
// before Close returns.
//
// Config.Linger, by default 5 seconds, bounds all of this, even if the peer keeps
// reading: after that the rest is dropped, and the peer told so by a reset. Where
// sending may take longer, to a slow peer or under a rate limit, call CloseWrite,
// and Close when Queued() is 0, which Drained tells. A write timeout (see
// SetIdleTimeouts) finds the peer that has stopped reading.
//
// The stream sends no more messages: those that were not received are taken
// back. Closing again returns nil. What lies in Input stays as it is.
func (s *Stream) Close() error {
	return s.end(false, false)
}

// Abort ends the stream at once. Its output is dropped and, where the transport
// can do that, the peer is told so by a reset.
func (s *Stream) Abort() error {
	return s.end(true, true)
}

// end closes the stream: gracefully, or at once, with a reset or without.
func (s *Stream) end(now, reset bool) error {
	s.mustBeMade()
	s.mu.Lock()
	defer s.unlock()
	s.endLocked(now, reset)
	return nil
}

// endLocked is end with mu held.
func (s *Stream) endLocked(now, reset bool) {
	if s.state&stateClosed != 0 && !now {
		return
	}
	s.state |= stateClosed | stateFin
	s.hush()
	s.forgo(dirRead)
	s.held.Add(-int64(s.inbox.n))
	s.spend(s.inbox.detach())
	if s.gone() {
		return
	}
	if now || s.Loop().conf.Linger < 0 {
		s.release(reset)
		return
	}
	s.flushLocked()
	s.driveClose()
	s.startLinger()
}

// startLinger bounds the time that s, and those under it, may take to close. mu
// is held.
func (s *Stream) startLinger() {
	if s.gone() && (s.extra == nil || s.extra.under == nil) {
		return
	}
	l := s.Loop()
	now := l.clock()
	x := s.more()
	l.mu.Lock()
	defer l.unlock()
	for !l.closed {
		if !x.stream.released && !x.overdue && !x.lingers {
			x.lingers = true
			l.startTimer(&x.linger, now, x.rest(now, l.conf.Linger))
		}
		if x.under == nil {
			return
		}
		x = x.under.extra
	}
}

// hush takes back all messages; there will be no more.
func (s *Stream) hush() {
	l := s.edit()
	s.closing = true
	s.clear(flagHeldEOF)
	l.retract(&s.source, messages|input)
	if s.awaited {
		s.received(accepted)
	}
	l.unlock()
}

// driveClose takes a close as far as possible: it reads and discards until the
// peer has finished, which may be the only way to have it take the output, and
// releases the stream once that has been sent. If it closed its socket with unread
// input, the kernel would send a reset, which destroys what is on its way to the
// peer. mu is held.
func (s *Stream) driveClose() {
	if s.gone() {
		return
	}
	if s.overdue() {
		s.release(false)
		return
	}
	if s.connecting() {
		s.release(false) // there is nobody to say goodbye to
		return
	}
	if s.has(uint32(hangup)) && s.transport().failure() != nil {
		s.release(false) // the peer will get nothing more
		return
	}
	if !s.transport().halfCloses() {
		if s.out.n == 0 {
			s.release(false)
		}
		return
	}
	var rest chain
	for budget := fillBudget; s.state&stateEOF == 0; {
		n, _, err := s.fillOnce(&rest, fillBudget)
		s.spend(rest.detach()) // of a pipe, it may have release functions
		switch {
		case n > 0:
			if budget -= n; budget <= 0 {
				l := s.lock()
				l.assign(s)
				l.unlock()
				return
			}
		case err == eAGAIN:
			s.rearm()
			return
		case err != nil:
			s.release(false) // the peer will get nothing more
			return
		default:
			s.state |= stateEOF
		}
	}
	if s.out.n == 0 {
		s.release(false)
	}
}

// rest returns the shorter of d and what is left of the lifetime. The loop's mu is
// held.
func (x *streamExtra) rest(now int64, d time.Duration) time.Duration {
	if x.ends != 0 {
		d = min(d, time.Duration(x.ends-now))
	}
	return d
}

// expired is called when a close has taken too long, or the lifetime is over. The
// loop's mu is held.
func (x *streamExtra) expired(int64) {
	x.overdue = true
	l := x.stream.Loop()
	l.assign(x.stream)
	if x.tap != nil {
		l.assign(x.tap)
	}
}

// overdue reports whether a close has taken too long, or the lifetime is over. mu is
// held.
func (s *Stream) overdue() bool {
	if s.extra == nil {
		return false
	}
	l := s.lock()
	defer l.mu.Unlock()
	return s.extra.overdue
}

// abandon ends the stream because its loop was closed.
func (s *Stream) abandon() {
	s.mu.Lock()
	if s.gone() || !s.Loop().isClosed() { // it may have moved away
		s.mu.Unlock()
		return
	}
	x, filtered := s.transport().(*filtering)
	var tap *filtering // whose own stream may be gone already
	if s.tapped {
		tap = s.extra.tap
	}
	s.state |= stateClosed | stateFin
	s.release(false)
	s.unlock()
	if filtered {
		x.abandon()
	}
	if tap != nil {
		tap.abandon()
	}
}

// ---- What it is ----

// Err returns why the stream has ended, if that was an error: a *net.OpError
// around an os.SyscallError, as package net gives them, so that
// errors.Is(err, syscall.ECONNRESET) and the like work. It is nil while the
// stream is open, and if it was closed by Close.
func (s *Stream) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why()
}

// why is Err with mu held.
func (s *Stream) why() error {
	if s.extra == nil {
		return nil
	}
	return s.extra.err
}

// Listener returns the listener that accepted the stream, or nil.
func (s *Stream) Listener() *Listener { return s.listener }

func (s *Stream) event(bit pending) Event {
	switch bit {
	case accepted:
		return Accepted{s}
	case connected:
		return Connected{s}
	case readable:
		return Readable{s}
	case drained:
		return Drained{s}
	case timedOut:
		return TimedOut{s}
	case eof:
		return EOF{s}
	case closed:
		return Closed{s}
	}
	panic("evchan: BUG: no such message of a stream")
}

func (s *Stream) received(bit pending) {
	switch {
	case bit == readable:
		s.clear(flagRefused)
	case bit == accepted && s.awaited:
		s.awaited = false
		s.listener.admitted(s.Loop())
	}
}

func (s *Stream) registration() *registration { return &s.reg }

func (s *Stream) alive() bool {
	return !s.released || s.has(flagFallen) && !s.closing && !s.tapped
}

func (s *Stream) label() string {
	if a := s.RemoteAddr(); a != nil && a.String() != "" {
		return "stream " + a.String()
	}
	return "stream"
}

func (s *Stream) dump() string {
	s.mu.Lock()
	queued, state, released := s.out.n, s.state, s.gone()
	fd, remote := s.sock.fd, s.remoteAddr()
	connecting := s.connecting()
	s.mu.Unlock()
	l := s.lock()
	defer l.mu.Unlock()
	d := "stream " + s.words() + " state="
	switch {
	case released:
		d += "ended"
	case state&stateClosed != 0:
		d += "closing"
	case connecting:
		d += "connecting"
	case state&stateEOF != 0 && state&stateFin != 0:
		d += "finished"
	case state&stateEOF != 0:
		d += "eof"
	case state&stateFin != 0:
		d += "fin"
	default:
		d += "open"
	}
	if !released && fd != noFD {
		d += " fd=" + itoa(int(fd))
	}
	if paused := s.paused; paused != 0 {
		d += " paused=" + paused.String()
	}
	return d + " in=" + itoa(int(s.held.Load())) + " out=" + itoa(queued) + " remote=" + quote(addrString(remote))
}

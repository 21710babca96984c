// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
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

	closing       bool // Close was called: no more messages
	released      bool // nothing will happen any more
	paused        What // directions; to change it, mu is held as well
	timedOut      What // directions that were paused because they were idle
	acceptPending bool // counts as one of the listener's streams that were not received yet

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
	flagSeen       = uint32(EarlyClose | hangup | urgent)
	flagStopped    = 1 << (8 + iota) // reading has stopped at the limit; whoever clears it has it go on
	flagHeldEOF                      // EOF waits until the input was consumed, or reading goes on; set with the loop's mu held
	flagLagging                      // there is output that the kernel would not take
	flagRefused                      // there is input that WriteTo has left, and that Readable is to tell of again
	flagBlocked                      // WriteTo has found its destination full, and what it has left was not consumed; set with the loop's mu held
	flagSending                      // a feeder is sending Readable, or offering it; changes with the loop's mu held
	flagOverdue                      // it may have been idle too long, which checkIdle is to see once fill has read
	flagFallen                       // it was released, and has yet to say Closed; cleared with the loop's mu held
	flagShortReads                   // a read may give less than there is; never changes once there is a socket
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

// newStream returns a stream of l with fd as its socket. Nobody is told yet.
func (l *Loop) newStream(fd sysFD) *Stream {
	s := new(Stream)
	s.init(l, s)
	s.sock.fd = fd
	s.limits.Store(&l.limits)
	return s
}

// expectShortReads has s read until nothing is left if network is "unix": bytes of a Unix
// socket can bring descriptors, and a read stops behind those (unix(7)).
func (s *Stream) expectShortReads(network string) {
	if network == "unix" {
		s.set(flagShortReads)
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
	l.lock()
	if l.closed {
		l.unlock()
		s.forget(close)
		return ErrClosed
	}
	tok := l.register(s, s.sock.fd)
	l.streams++
	l.refresh(&s.source)
	l.unlock()
	if err := l.poller.add(s.sock.fd, tok, streamInterest); err != nil {
		l.lock()
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
	l.lock()
	l.enqueue(&s.source, first)
	l.unlock()
	return nil
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
			l.enqueue(&s.source, workRead)
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
	l := s.lockLoop()
	l.enqueue(&s.source, s.confirm(bits))
	l.refresh(&s.source)
	l.unlock()
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

// silent reports whether s sends no more messages: Close was called, or Closed was
// received or is about to be enqueued. The loop's mu is held.
func (s *Stream) silent() bool {
	return s.closing || s.released && s.unreceived()&msgClosed == 0
}

// confirm returns those of bits that are still true. The loop's mu is held.
func (s *Stream) confirm(bits pending) pending {
	if bits&msgMask == 0 {
		return bits
	}
	if bits&msgClosed != 0 {
		s.clear(flagFallen)
	}
	if s.closing || s.released && bits&msgClosed == 0 {
		return 0
	}
	if bits&msgReadable != 0 && !s.ample() {
		bits &^= msgReadable
	}
	if bits&msgEOF != 0 && (s.paused&Read != 0 || s.has(flagBlocked) && s.held.Load() > 0) {
		s.set(flagHeldEOF) // and then the question whether the input was consumed
		if s.paused&Read != 0 || s.held.Load() > 0 || !s.clear(flagHeldEOF) {
			bits &^= msgEOF
		}
	}
	if s.paused&Read != 0 {
		bits &^= msgReadable
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
	l.lock()
	tok := l.token(s)
	l.unlock()
	l.poller.arm(s.sock.fd, tok, interest)
}

// more returns the part of s that is not always there. mu is held.
func (s *Stream) more() *streamExtra {
	if s.extra == nil {
		s.extra = &streamExtra{stream: s}
		s.extra.linger.owner = s.extra
	}
	return s.extra
}

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
	case msgAccepted:
		return Accepted{s}
	case msgConnected:
		return Connected{s}
	case msgReadable:
		return Readable{s}
	case msgDrained:
		return Drained{s}
	case msgTimedOut:
		return TimedOut{s}
	case msgEOF:
		return EOF{s}
	case msgClosed:
		return Closed{s}
	}
	panic("evchan: BUG: no such message of a stream")
}

// hold is called before Readable is sent on a channel. Set the flag before asking, so that
// a concurrent consumer takes the loop's lock.
func (s *Stream) hold(bit pending) {
	if bit == msgReadable {
		s.flags.Or(flagSending)
	}
}

func (s *Stream) unhold(bit pending) {
	if bit == msgReadable {
		s.flags.And(^uint32(flagSending))
	}
}

// divert tells the filter on top of s what s would have to say.
func (s *Stream) divert(bits pending) { s.Loop().tell(s.extra.tap, bits) }

func (s *Stream) received(bit pending) {
	switch {
	case bit == msgReadable:
		s.clear(flagRefused)
	case bit == msgAccepted && s.acceptPending:
		s.acceptPending = false
		s.listener.admitted(s.Loop())
	}
}

func (s *Stream) registration() *registration { return &s.reg }

func (s *Stream) alive() bool {
	return !s.released || s.has(flagFallen) && !s.closing && !s.filtered
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
	l := s.lockLoop()
	defer l.unlock()
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

// limits are the marks of a stream.
type limits struct {
	readLow   int // Readable is sent from here on; at least 1
	readHigh  int // reading stops here; at least readLow
	writeLow  int // Drained is sent from here on downwards
	writeHigh int // Write returns ErrFull from here on; greater than writeLow

	maxInput, maxOutput int // the high marks that the stream began with
}

// raise lifts limits that lie below their low marks.
func (lim *limits) raise() {
	lim.readHigh = max(lim.readHigh, lim.readLow)
	if lim.writeHigh <= lim.writeLow {
		lim.writeHigh = lim.writeLow + 1
	}
}

// Pause stops the directions in what, some of Read and Write, until Resume.
// Reading stopped, the kernel's buffers fill up and then the peer has to wait;
// Readable and EOF that were not received are taken back. Writing stopped,
// output is queued but not sent. That the peer has reset the connection is seen
// all the same.
func (s *Stream) Pause(what What) {
	s.mu.Lock()
	defer s.unlock()
	l := s.lockAndWithdraw()
	defer l.unlock()
	if s.closing {
		return
	}
	what &= Read | Write
	s.paused |= what
	if what&Read != 0 {
		if s.pend&msgEOF != 0 {
			s.set(flagHeldEOF)
		}
		l.retract(&s.source, msgReadable|msgEOF)
	}
	if what&Write != 0 && s.pend&msgDrained != 0 {
		s.state |= stateOwed
		l.retract(&s.source, msgDrained)
	}
}

// Resume lets the directions in what, some of Read and Write, go on after Pause
// or an idle timeout. Readable is sent at once if the input stands at the low
// mark.
func (s *Stream) Resume(what What) {
	s.mu.Lock()
	defer s.unlock()
	l := s.lockAndWithdraw()
	if s.closing {
		l.unlock()
		return
	}
	what &= Read | Write
	on := s.paused & what
	s.paused &^= what
	s.timedOut &^= what
	if s.timedOut == 0 {
		l.retract(&s.source, msgTimedOut)
	}
	if on&Read != 0 {
		if s.ample() && !s.silent() {
			l.enqueue(&s.source, msgReadable)
		}
		s.releaseEOF(l)
		if !s.released {
			l.enqueue(&s.source, workRead)
		}
	}
	l.unlock()
	s.restartIdle(on)
	if on&Write != 0 {
		s.announce(s.flushLocked())
	}
}

// Paused returns the directions that are stopped by Pause or by an idle timeout.
func (s *Stream) Paused() What {
	l := s.lockLoop()
	defer l.unlock()
	return s.paused
}

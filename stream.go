// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"fmt"
	"net"
	"os"
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

	in     streamInput
	out    streamOutput
	limits atomic.Pointer[limits] // never nil; what it points to never changes

	// mu guards the following. It is taken before the loop's mu.
	mu    sync.Mutex
	extra *streamExtra
	sock  sock // its transport, if extra has no other

	// Data is for the user; the package does not touch it.
	Data any

	reg      registration
	remote   peerAddr  // of an accepted stream; never changes
	listener *Listener // that accepted it; nil: none did. Never changes
}

// A streamInput is the reading half of a stream.
type streamInput struct {
	held   atomic.Int64  // bytes that were not consumed: those of unread and taken
	flags  atomic.Uint32 // of the flags below
	waits  inputWaits    // the loop's mu guards it
	eof    bool          // the peer has finished sending; Stream.mu guards it
	shown  bool          // Input has returned taken; the consumer owns it
	unread chain         // what was read and not yet taken by the consumer; Stream.mu guards it
	taken  *Buffer       // what the consumer has taken from unread; nil while that is nothing, unless shown; the consumer owns it
}

// The flags of a streamInput are what is looked at without a lock. In the lowest byte are
// EarlyClose, hangup and urgent, once the kernel has reported them.
const (
	flagSeen          = uint32(EarlyClose | hangup | urgent)
	flagStopped       = 1 << (8 + iota) // reading has stopped at the limit; the goroutine that clears it has it go on
	flagWatched                         // waits is not empty: a consumer must take the loop's lock
	flagAgain                           // Readable is pending, only for input that a call has left; changes with the loop's mu held
	flagQuiet                           // no Readable is sent for what a call has left: EOF was received, or a filter reads; changes with the loop's mu held
	flagAcceptPending                   // Accepted was not received, and counts with the listener; changes with the loop's mu held
)

// has reports whether one of flags is set.
func (in *streamInput) has(flags uint32) bool { return in.flags.Load()&flags != 0 }

func (in *streamInput) set(flags uint32) {
	if in.flags.Load()&flags != flags {
		in.flags.Or(flags)
	}
}

// clear reports whether one of flags was set: of several callers, the one that has
// cleared it.
func (in *streamInput) clear(flags uint32) bool {
	return in.has(flags) && in.flags.And(^flags)&flags != 0
}

// inputWaits is a set of things that change when input is consumed.
type inputWaits uint8

const (
	waitEOF     inputWaits = 1 << iota // EOF is held back until the input was consumed, or reading goes on
	waitRefused                        // there is input that WriteTo has left, and that Readable is to tell of again
	waitBlocked                        // WriteTo has found its destination full, and what it has left was not consumed
	waitSending                        // a feeder is sending Readable, or offering it
)

// wait adds w. Call it before asking how much input is held: then either the answer is up
// to date, or the consumer takes the loop's lock afterwards. The caller holds the loop's
// lock.
func (in *streamInput) wait(w inputWaits) {
	in.waits |= w
	in.set(flagWatched)
}

// unwait removes w. The caller holds the loop's lock.
func (in *streamInput) unwait(w inputWaits) {
	if in.waits &^= w; in.waits == 0 {
		in.clear(flagWatched)
	}
}

// A streamOutput is the writing half of a stream. Stream.mu guards it, where no comment
// says otherwise.
type streamOutput struct {
	queue   chain       // what is to be sent
	lagging atomic.Bool // the kernel would not take all of queue; read without a lock
	fin     fin
	owed    bool    // Drained is to be sent when the queue has fallen
	pieces  *Buffer // Output's; nil if that was not called. The consumer owns it
}

// A fin is how far the end of a stream's output has come.
type fin uint8

const (
	finNone   fin = iota
	finQueued     // CloseWrite or Close was called
	finSent       // the peer was told
)

// A streamExtra is what few streams need. The stream's mu guards it, unless a
// comment names another guard.
type streamExtra struct {
	stream        *Stream
	transport     transport // other than the stream's own socket; nil: none
	err           error     // why it ended
	lost          int       // bytes of output that were dropped at the end
	sent          int       // bytes that were written to the transport; may overflow
	counted       countedOutput
	spent         *chunk     // sent chunks whose release functions are to be called without the lock
	local, remote net.Addr   // where they cannot be had from the socket; never change
	waiters       []*blocked // streams whose WriteTo into this one has found it full
	idle          *idle      // nil: no timeouts were set
	shares        [2]*share  // in rate limits: its own and its group's; nil: none
	under         *Stream    // that Filter was called on; nil: none; never changes
	tap           *filtering // on top of it, with source.tapped; the loop's mu guards it as well
	ends          int64      // when its lifetime does, on the loop's clock; 0: it has none; the loop's mu guards it
	linger        timerNode  // running: while closing, or towards ends; the loop's mu guards it
	due           bool       // linger has expired, which task is to look at; the loop's mu guards it
	last          progress   // when linger was last started
	lingerEnds    int64      // when a close without progress is overdue, on the loop's clock
	movedAt       int64      // when output was last sent, on the loop's clock; of a stream that lingers
	ackWait       time.Duration
	dones         []chan struct{} // to be closed once all is released
	lingers       bool            // Close was called, of this stream or one on top; the loop's mu guards it
	overdue       bool            // a close has made no progress for too long, or the lifetime is over; the loop's mu guards it
}

// gone reports whether the transport was let go. The caller holds mu, or the loop's lock.
func (s *Stream) gone() bool { return s.life.gone() }

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
		s.sock.shortReads = true
	}
}

// streamInterest is what the poller is asked for once and for all, with true
// edge triggering.
const streamInterest = Read | Write | EarlyClose | Edge | urgent

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

// unlockInTurn is unlock for a turn of the loop: the release functions are called when it is
// over.
func (s *Stream) unlockInTurn() {
	var spent *chunk
	if s.extra != nil {
		spent, s.extra.spent = s.extra.spent, nil
	}
	s.mu.Unlock()
	s.Loop().releaseLater(spent)
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
		s.in.set(bad)
	}
	if what&Write != 0 && s.out.lagging.Load() {
		l.assign(s)
	}
	if what&(Read|EarlyClose|hangup|urgent) != 0 {
		if s.life.closed() {
			l.assign(s)
		} else {
			l.enqueue(&s.source, workRead)
		}
	}
}

// task sends what is left of the output, and drives a close.
func (s *Stream) task() {
	s.mu.Lock()
	defer s.unlockInTurn()
	if s.gone() {
		return
	}
	s.checkLinger()
	if s.outlived() {
		s.release(false, msgClosed)
		return
	}
	if s.life == lifeOpen && !s.filtered && s.Loop().draining.Load() {
		s.closeLocked(false, false)
		return
	}
	bits := s.flush()
	if s.life.closed() {
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
	return s.life == lifeOpen && !s.in.eof && s.out.fin == finNone && s.paused == 0 && s.out.queue.n == 0 &&
		!s.sock.plain && (s.extra == nil || s.extra.quiet())
}

// quiet reports whether x holds nothing that reading and writing must heed, only the
// addresses, say.
func (x *streamExtra) quiet() bool {
	return x.transport == nil && x.idle == nil && x.shares == [2]*share{} && x.tap == nil && x.spent == nil && x.waiters == nil
}

// silent reports whether s sends no more messages: Close was called, or Closed was
// received. The caller holds the loop's lock.
func (s *Stream) silent() bool {
	return s.life.closed() || s.life == lifeFailed && s.unreceived()&msgClosed == 0
}

// confirm returns those of bits that are still true. The caller holds the loop's lock.
func (s *Stream) confirm(bits pending) pending {
	if bits&msgMask == 0 {
		return bits
	}
	if s.life.closed() || bits&msgClosed == 0 && s.silent() {
		return 0
	}
	if bits&msgReadable != 0 && (s.paused.has(Read) || !s.ample()) {
		bits &^= msgReadable
		s.in.clear(flagAgain)
	}
	if bits&msgEOF != 0 && s.mustHoldEOF() {
		s.in.wait(waitEOF)
		if s.mustHoldEOF() {
			bits &^= msgEOF
		} else {
			s.in.unwait(waitEOF)
		}
	}
	return bits
}

// mustHoldEOF reports whether EOF has to wait: reading is paused, or WriteTo has left
// input that has to be consumed before. The caller holds the loop's lock.
func (s *Stream) mustHoldEOF() bool {
	return s.paused.has(Read) || s.in.waits&waitBlocked != 0 && s.in.held.Load() > 0
}

// rearm asks a poller that reports a condition once only to report again. mu is
// held.
func (s *Stream) rearm() {
	l := s.Loop()
	if l.edge || s.sock.fd == noFD {
		return
	}
	interest := What(Edge)
	if !s.in.eof && (!s.life.closed() || s.transport().halfCloses()) {
		interest |= Read | EarlyClose // else nobody would read, and it would be reported again and again
	}
	if s.out.lagging.Load() {
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
// stream is open, and if it was closed by Close or Abort and no output was lost.
//
// If output was lost, see [Stream.Lost], Err says how much. If that is because the peer took
// nothing for too long after Close (see Config.Linger), errors.Is(err,
// os.ErrDeadlineExceeded) is true.
func (s *Stream) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.why(); err != nil || s.extra == nil || s.extra.lost == 0 {
		return err
	}
	err := fmt.Errorf("%d bytes of output were lost", s.extra.lost)
	if s.overdue() {
		err = fmt.Errorf("%w: %w", err, os.ErrDeadlineExceeded)
	}
	return s.opError("close", err)
}

// why is Err, but for output that was lost. The caller holds mu.
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

func (s *Stream) hold(bit pending) {
	if bit == msgReadable {
		s.in.wait(waitSending)
	}
}

func (s *Stream) unhold(bit pending) {
	if bit == msgReadable {
		s.in.unwait(waitSending)
	}
}

// divert tells the filter on top of s what s would have to say.
func (s *Stream) divert(bits pending) { s.Loop().tell(s.extra.tap, bits) }

func (s *Stream) received(bit pending) {
	switch {
	case bit == msgReadable:
		s.in.clear(flagAgain)
		s.in.unwait(waitRefused)
	case bit == msgEOF:
		s.in.set(flagQuiet)
	case bit == msgAccepted && s.in.clear(flagAcceptPending):
		s.listener.admitted(s.Loop())
	}
}

func (s *Stream) registration() *registration { return &s.reg }

func (s *Stream) alive() bool {
	return !s.gone()
}

func (s *Stream) label() string {
	if a := s.RemoteAddr(); a != nil && a.String() != "" {
		return "stream " + a.String()
	}
	if address := s.dialled(); address != "" {
		return "stream to " + address
	}
	return "stream"
}

func (s *Stream) dump() string {
	s.mu.Lock()
	queued, life, eof, fin := s.output(), s.life, s.in.eof, s.out.fin
	fd, remote := s.sock.fd, s.remoteAddr()
	connecting := s.connecting()
	s.mu.Unlock()
	l := s.lockLoop()
	defer l.unlock()
	d := "stream " + s.words() + " state="
	switch {
	case life.gone():
		d += "ended"
	case life.closed():
		d += "closing"
	case connecting:
		d += "connecting"
	case eof && fin != finNone:
		d += "finished"
	case eof:
		d += "eof"
	case fin != finNone:
		d += "fin"
	default:
		d += "open"
	}
	if !life.gone() && fd != noFD {
		d += " fd=" + itoa(int(fd))
	}
	if paused := What(s.paused); paused != 0 {
		d += " paused=" + paused.String()
	}
	return d + " in=" + itoa(int(s.in.held.Load())) + " out=" + itoa(queued) + " remote=" + quote(addrString(remote))
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

// Resume lets the directions in what, some of Read and Write, go on after Pause
// or an idle timeout. Readable is sent at once if the input stands at the low
// mark.
func (s *Stream) Resume(what What) {
	s.resume(what)
	s.resumeBelow(what)
}

// resume is Resume without the streams below.
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
	}
	l.unlock()
	s.restartIdle(on)
	if on&Write != 0 {
		s.announce(s.flush())
	}
}

// Paused returns the directions that are stopped by Pause or by an idle timeout.
func (s *Stream) Paused() What {
	below := s.timedOutBelow()
	l := s.lockLoop()
	defer l.unlock()
	return What(s.paused) | below
}

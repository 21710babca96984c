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

// The verbs of a stream. Each has one meaning, in this file and in stream_*.go.
//
// Reading happens at delivery: ready only puts the stream into the queue. When its turn has
// come, the goroutine that delivers calls prepare. (A stream that is being closed has no
// messages. Its task reads and discards: see driveClose.)
//
//	prepare      reads what has arrived, and returns the resulting messages
//	fill         is prepare of a stream that is not ordinary
//	fillSome     reads until there is no more, or no room, or it is the turn of others
//	fillOnce     reads once: by the transport's fill, of a socket by chain.readFD
//
// Sending is tried at once. The loop sends the rest in its turns, by the stream's task: that
// needs no receiver, so it does not go through the queue.
//
//	Write        sends bytes, and adds to the output what the kernel does not take
//	queue        moves chunks to the output, and sends
//	send         sends after something was added, unless the kernel is known to take no more
//	flush        sends output until there is no more, or the kernel takes no more, or it is
//	             the turn of others
//	flushOnce    sends from a chain: by the transport's flush, of a socket by chain.writeFD
//	writeOnce    sends bytes that are in no chain, once: by the transport's write
//
// Ending:
//
//	close        is Close and Abort; closeLocked is the same for a caller that holds mu
//	silence      takes back all messages, and allows no more
//	driveClose   takes a close as far as possible; the task calls it again
//	fail         ends the stream because of an error, which Closed tells
//	abandon      ends the stream because its loop was closed
//	release      ends the stream: unwatch, the transport's close, finish
//	unwatch      makes the poller report on the stream no more
//	finish       notes that the stream has ended; the loop counts it no more
//	discard      ends a stream that was never published
//	leave        ends what the loop does for the stream: its timers, and its rate limits
//
// Stream.detach, for NetConn, is silence, unwatch and finish: the transport stays open.

// A Stream is a connection, or something like one, that the loop reads and writes. What
// arrives is collected as input, and [Readable] tells of it. What you write is queued as
// output, and the loop sends it as fast as the peer takes it. No method waits for the peer
// or the kernel.
//
// Streams are made by Loop.Dial, Wrap, WrapFD, WrapFile and Pipe, by a [Listener], and by
// Filter. A zero Stream must not be used.
//
// Read, WriteTo, Input, Output, Flush, MoveTo, NetConn and the two Buffers belong to one
// goroutine at a time: the one that has received the stream's most recent message or,
// before there is one, has made the stream. All other methods, Write and Close among them,
// are safe for concurrent use.
//
// A stream sends its messages in this order:
//
//  1. Accepted if a listener has accepted it, or Connected if Dial has made it
//  2. Readable, as often as there is reason
//  3. EOF, when the peer has finished sending
//  4. Closed, when the stream has ended by itself
//
// Drained and TimedOut come between the first and the last. After EOF, Readable comes only for
// input that is left: after Resume and MoveTo, and when a destination that WriteTo had found
// full has drained. All that was received before EOF or Closed is readable when that message
// is delivered. After your own Close there are no messages.
type Stream struct {
	source

	// What every message touches comes first, so that it lies in few cache lines.

	in     streamInput
	out    streamOutput
	limits atomic.Pointer[limits] // never nil; what it points to never changes

	// mu guards the following. It is locked before the loop's lock.
	mu    sync.Mutex
	extra *streamExtra
	sock  sock // the transport, unless extra has another one

	// Data is for you. The package does not use it.
	Data any

	reg      registration
	remote   peerAddr  // of a stream that a listener has accepted; never changes
	listener *Listener // that has accepted the stream, or the one under it; nil: none has; never changes
}

// A streamInput is the reading half of a stream.
type streamInput struct {
	held   atomic.Int64  // bytes that were not consumed: those of unread and of taken
	flags  atomic.Uint32 // a set of the flags below
	waits  inputWaits    // the loop's lock guards it
	eof    bool          // the peer has finished sending; Stream.mu guards it
	shown  bool          // Input has returned taken; the consumer owns it
	unread chain         // what was read, and the consumer has not taken; Stream.mu guards it
	taken  *Buffer       // what the consumer has taken from unread; if that is nothing, nil, unless shown; the consumer owns it
}

// The flags of a streamInput are read without a lock. The lowest byte has what the poller
// has reported. Only a holder of the loop's lock sets flagAgain, flagQuiet and
// flagAcceptPending, or clears them.
const (
	flagsReported     = uint32(EarlyClose | hangup | urgent)
	flagStopped       = 1 << (8 + iota) // reading has stopped at the limit; the goroutine that clears this makes it go on
	flagWatched                         // waits is not empty: a consumer must take the loop's lock
	flagAgain                           // Readable is pending, and only for input that a call has left
	flagQuiet                           // no Readable is sent for input that a call has left: EOF was received, or a filter reads
	flagAcceptPending                   // Accepted was not received, so the stream counts for its listener's MaxPending
)

// has reports whether one of flags is set.
func (in *streamInput) has(flags uint32) bool { return in.flags.Load()&flags != 0 }

// set sets flags.
func (in *streamInput) set(flags uint32) {
	if in.flags.Load()&flags != flags {
		in.flags.Or(flags)
	}
}

// clear clears flags, and reports whether one of them was set. If several goroutines call
// it at once, it returns true to one of them.
func (in *streamInput) clear(flags uint32) bool {
	return in.has(flags) && in.flags.And(^flags)&flags != 0
}

// inputWaits is a set of things that change when input is consumed.
type inputWaits uint8

const (
	waitEOF     inputWaits = 1 << iota // EOF is held back: WriteTo has left input, or reading is paused
	waitRefused                        // the destination that WriteTo has found full has drained: Readable tells of the input that is left
	waitBlocked                        // WriteTo has found its destination full, and the input that it has left was not consumed
	waitSending                        // a feeder offers Readable, or is about to
)

// wait adds w. Call it before you look how much input is held: then either the number is up
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

// A streamOutput is the writing half of a stream. Stream.mu guards it, except where a
// comment says otherwise.
type streamOutput struct {
	queue   chain       // what is to be sent
	lagging atomic.Bool // the kernel has not taken all of queue, and will report when it has room; read without a lock
	fin     fin
	owed    bool    // Drained is to be sent when the output has fallen to the low mark
	pieces  *Buffer // what Output returns; nil: it was not called; the consumer owns it
}

// A fin says how far the end of a stream's output has come.
type fin uint8

const (
	finNone   fin = iota
	finQueued     // CloseWrite or Close was called: the peer is told when the output is empty
	finSent       // the peer was told
)

// A streamExtra has what few streams need. The stream's mu guards it, except where a comment
// names another guard. Times are on the loop's clock.
type streamExtra struct {
	stream *Stream // never changes

	// What it reads and writes.

	transport     transport  // nil: the stream's own socket
	under         *Stream    // that Filter was called on to make the stream; nil: none; never changes
	tap           *filtering // that is on top of the stream, if source.filtered; to change it, the loop's lock is held as well
	local, remote net.Addr   // the addresses, where the socket cannot tell them; nil: not kept here; never change once set

	// Output.

	end     ender         // the layer, whose End unlock calls; nil: none
	spent   *chunk        // chunks that were sent, and whose release functions are to be called without the lock
	waiters []*blocked    // streams whose WriteTo into this one has found it full
	counted countedOutput // what full has found last
	sent    int           // bytes that were written to the transport; may overflow

	// Limits.

	idle   *idle      // nil: no idle timeouts were set
	shares [2]*share  // in rate limits: the stream's own and its group's; nil: none
	joins  *RateGroup // the group's branch on the loop that the stream is being moved to

	// The end.

	err   error           // why the stream has ended; nil: for no error
	lost  int             // bytes of output that were dropped at the end
	done  chan struct{}   // what Done returns; nil before
	dones []chan struct{} // to be closed once all is released: done, and those of streams on top

	// Closing.

	last       progress      // what progress has returned last
	lingerEnds int64         // when a close without further progress is overdue
	movedAt    int64         // when a stream that lingers has last sent output
	ackWait    time.Duration // how long acknowledged has waited last

	// Closing and lifetime. The loop's lock guards these.

	linger  timerNode // runs until the task has to look: at lingerEnds, at ends, or whether the peer has received all
	ends    int64     // when the lifetime is over; 0: never
	due     bool      // linger has expired: the task has to look
	lingers bool      // Close was called, of this stream or of one on top
	overdue bool      // a close has made no progress for too long, or the lifetime is over
}

// gone reports whether the transport was let go. The caller holds s.mu or the loop's lock.
func (s *Stream) gone() bool { return s.life.gone() }

// transport returns the stream's transport, or nil once that was let go. The caller holds
// s.mu.
func (s *Stream) transport() transport {
	switch {
	case s.gone():
		return nil
	case s.extra != nil && s.extra.transport != nil:
		return s.extra.transport
	}
	return &s.sock
}

// newStream returns a stream of l whose socket is fd. The loop does not know it yet: open or
// publish follows.
func (l *Loop) newStream(fd sysFD) *Stream {
	s := new(Stream)
	s.init(l, s)
	s.sock.fd = fd
	s.limits.Store(&l.limits)
	return s
}

// expectShortReads makes s read until nothing is left if network is "unix". There, a short
// read does not mean that there is no more: a Unix socket can carry descriptors along with
// the bytes, and a read stops behind them (unix(7)).
func (s *Stream) expectShortReads(network string) {
	if network == "unix" {
		s.sock.shortReads = true
	}
}

// streamInterest is what the poller is asked to report. An edge-triggered poller is asked
// once; for the others see rearm.
const streamInterest = Read | Write | EarlyClose | Edge | urgent

// unlock unlocks s.mu, and then calls the release functions of what was sent, and End of the
// layer if the stream was closed. If s is under a filter, the former are called after the
// loop's turn.
func (s *Stream) unlock() {
	if s.extra == nil || s.extra.spent == nil && s.extra.end == nil {
		s.mu.Unlock()
		return
	}
	spent, end, later := s.extra.spent, s.extra.end, s.filtered
	s.extra.spent, s.extra.end = nil, nil
	s.mu.Unlock()
	if later { // a turn may have called
		s.Loop().releaseLater(spent)
		s.Loop().endLater(end, &s.source)
	} else {
		defer callEnd(end, &s.source)
		freeChain(spent)
	}
}

// unlockInTurn is unlock for what the loop does by itself: a turn, a delivery, or a goroutine
// of its own. The release functions, and End, are called after the turn.
func (s *Stream) unlockInTurn() {
	var spent *chunk
	var end ender
	if s.extra != nil {
		spent, s.extra.spent = s.extra.spent, nil
		end, s.extra.end = s.extra.end, nil
	}
	s.mu.Unlock()
	s.Loop().releaseLater(spent)
	s.Loop().endLater(end, &s.source)
}

// spend frees the chain c: at unlock, if it may have release functions. The caller holds
// s.mu.
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

// ready notes what the poller has reported. Nothing is read or sent yet: prepare reads, when
// it is the stream's turn in the queue, and task sends, at the end of this turn of the loop.
// The caller holds the loop's lock.
func (s *Stream) ready(what What) {
	l := s.Loop()
	if reported := uint32(what) & flagsReported; reported != 0 {
		s.in.set(reported)
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

// task sends output, goes on with a close, and looks whether the linger time, the lifetime or
// an idle timeout has passed. The loop calls it at the end of a turn, with no lock held.
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
	if s.life == lifeOpen && !s.filtered && s.Loop().draining.Load() && !s.tellStopping() {
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

// ordinary reports whether s has nothing that only some streams have. It is open in both
// directions and not paused, its transport is its own socket, and it has no rate limits, no
// idle timeouts and no output that waits. Then reading and writing take the short way,
// through few functions. That is worth the trouble: after a system call the processor
// mispredicts where functions return to, so that each function on the way back costs as
// much as a lock. The caller holds s.mu.
func (s *Stream) ordinary() bool {
	return s.life == lifeOpen && !s.in.eof && s.out.fin == finNone && s.paused == 0 && s.out.queue.n == 0 &&
		!s.sock.plain && (s.extra == nil || s.extra.quiet())
}

// quiet reports whether x has nothing that matters to reading and writing, but only the
// addresses, for example. The caller holds the stream's mu.
func (x *streamExtra) quiet() bool {
	return x.transport == nil && x.idle == nil && x.shares == [2]*share{} && x.tap == nil && x.spent == nil && x.waiters == nil
}

// rearm asks a poller that is not edge-triggered to report again. Such a poller reports once,
// and then waits for this. The caller holds s.mu.
func (s *Stream) rearm() {
	l := s.Loop()
	if l.edge || s.sock.fd == noFD {
		return
	}
	interest := What(Edge)
	if !s.in.eof && (!s.life.closed() || s.transport().halfCloses()) {
		interest |= Read | EarlyClose // otherwise nothing reads, and the poller would report it again and again
	}
	if s.out.lagging.Load() {
		interest |= Write
	}
	l.lock()
	tok := l.token(s)
	l.unlock()
	l.poller.arm(s.sock.fd, tok, interest)
}

// more returns s.extra, and makes it if there is none. The caller holds s.mu.
func (s *Stream) more() *streamExtra {
	if s.extra == nil {
		s.extra = &streamExtra{stream: s}
		s.extra.linger.owner = s.extra
	}
	return s.extra
}

// Err returns the error that has ended the stream. It returns nil while the stream is open,
// and after Close or Abort if no output was lost.
//
// An error of the system is a *net.OpError around an *os.SyscallError, as in package net, so
// that errors.Is(err, syscall.ECONNRESET) and the like work.
//
// If output was lost after Close or Abort, Err says how much (see [Stream.Lost]). If it was
// lost because the close took too long (see Config.Linger and SetLifetime), errors.Is(err,
// os.ErrDeadlineExceeded) is true.
func (s *Stream) Err() error {
	lost, late := s.lostAndLate()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.why(); err != nil || lost == 0 {
		return err
	}
	err := fmt.Errorf("%d bytes of output were lost", lost)
	if late {
		err = fmt.Errorf("%w: %w", err, os.ErrDeadlineExceeded)
	}
	return s.opError("close", err)
}

// why is Err without output that was lost. The caller holds s.mu.
func (s *Stream) why() error {
	if s.extra == nil {
		return nil
	}
	return s.extra.err
}

// Listener returns the listener that has accepted the stream, or nil if none has. A stream
// that Filter has made has the listener of the one under it.
func (s *Stream) Listener() *Listener { return s.listener }

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

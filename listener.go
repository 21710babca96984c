// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A ListenConfig sets up a Listener. A nil ListenConfig and zero values mean the
// defaults. It is copied by Listen.
type ListenConfig struct {
	// ReusePort lets several listeners, also of several processes, share an
	// address; the kernel divides the connections between them (SO_REUSEPORT).
	// It is an error where the system lacks it, and for unix.
	ReusePort bool

	// Backlog is how many connections the kernel holds that were not accepted
	// yet; 0 means as many as the system allows. The system may use less.
	Backlog int

	// KeepAlive is after how much idle time, and at which intervals, the kernel
	// asks a peer whether it is still there; 0 means 15 seconds; if
	// negative, it does not ask.
	KeepAlive time.Duration

	// Delay lets the kernel hold back small segments (Nagle's algorithm). If
	// false, TCP_NODELAY is set, as package net does.
	Delay bool

	// DeferAccept makes the kernel wait that long for the peer's first bytes
	// before it reports a connection (TCP_DEFER_ACCEPT); 0 means that it does
	// not. Systems that lack it ignore it.
	DeferAccept time.Duration

	// Paused makes a listener that does not accept until Resume.
	Paused bool

	// MaxPending is how many Accepted may be waiting to be received before
	// accepting stops; 0 means 128; if negative, there is no limit.
	MaxPending int

	// MaxStreams is how many of the listener's streams may be open at once: while
	// there are so many it accepts no more. One that is closing counts until all of
	// it is released, one that NetConn was called on counts no more. If it is 0 or
	// negative, only the process's descriptors are a limit, see [AcceptFailed].
	MaxStreams int

	// MaxInput and MaxOutput replace those of Config for the listener's streams;
	// 0 means those of Config; if negative, there is no limit.
	MaxInput, MaxOutput int

	// ReadLow and WriteLow are the streams' low marks, see [Stream.SetReadMarks]
	// and [Stream.SetWriteMarks].
	ReadLow, WriteLow int

	// ReadIdle and WriteIdle are the streams' idle timeouts, see
	// [Stream.SetIdleTimeouts].
	ReadIdle, WriteIdle time.Duration

	// Lifetime is how long each stream may live, see [Stream.SetLifetime].
	Lifetime time.Duration

	// RateLimit is the limit of each stream by itself; nil means none.
	RateLimit *RateLimit

	// RateGroup, which must be of the same loop, limits all of the streams
	// together; nil means that nothing does.
	RateGroup *RateGroup
}

const (
	defaultKeepAlive  = 15 * time.Second
	defaultMaxPending = 128

	acceptBatch = 64 // connections accepted in one turn; arbitrary

	minAcceptDelay = 5 * time.Millisecond // after a failure; doubles; both arbitrary
	maxAcceptDelay = time.Second
)

// A Listener accepts connections: each is a new [Stream], told by [Accepted]. It is made
// by [Loop.Listen] or [Loop.WrapListener]; a zero one is of no use.
//
// Accepting stops as long as too many Accepted are waiting to be received or too
// many streams are open (see ListenConfig), and while the listener is paused; the
// kernel holds the connections meanwhile, as far as the backlog goes. If it
// fails, because the process has no descriptors left, say, it sends one
// [AcceptFailed], and tries again after a while, by itself, until it works.
type Listener struct {
	source
	reg registration

	// Data is for the user; the package does not touch it.
	Data any

	addr       net.Addr     // never changes
	conf       ListenConfig // never changes
	limits     *limits      // of its streams; never changes
	maxPending int          // never changes
	path       string       // the socket's file, to be removed; mu guards it

	// mu guards the following. It is taken before the loop's mu.
	mu sync.Mutex
	fd sysFD // noFD: closed

	// The loop's mu guards the following.

	full    bool          // stopped because of maxPending or MaxStreams
	failing bool          // the last accept failed
	err     error         // what it failed with
	delay   time.Duration // until the next try
	retry   timerNode     // running: waits for the next try
	waiting int           // Accepted that were not received
	streams int           // accepted and not yet released; 0 without MaxStreams
}

// Listen returns a listener on the address, which is live unless it is paused.
// The network is tcp, tcp4, tcp6 or unix, and the address what net.Listen takes
// for it: with port 0 the system chooses one, which Addr tells. The address of
// a listener that was closed can be used again at once. The file of a unix socket
// is removed when the listener is closed.
//
// A host name as address is looked up before Listen returns; an IP address
// needs no look-up. It returns an error as net.Listen does, and ErrClosed on a
// closed loop.
func (l *Loop) Listen(network, address string, conf *ListenConfig) (*Listener, error) {
	var c ListenConfig
	if conf != nil {
		c = *conf
	}
	switch network {
	case "tcp", "tcp4", "tcp6", "unix":
	default:
		return nil, &net.OpError{Op: "listen", Net: network, Err: net.UnknownNetworkError(network)}
	}
	if l.isClosed() {
		return nil, ErrClosed
	}
	if c.Backlog < 0 || c.DeferAccept < 0 {
		return nil, fmt.Errorf("evchan: negative ListenConfig.Backlog or DeferAccept")
	}
	if c.RateLimit != nil {
		limit := *c.RateLimit
		if err := limit.check(); err != nil {
			return nil, err
		}
		c.RateLimit = &limit
	}
	if c.RateGroup != nil && c.RateGroup.loop != l {
		return nil, errGroup
	}
	if c.ReusePort && network == "unix" {
		return nil, fmt.Errorf("evchan: ListenConfig.ReusePort on a unix socket: %w", ErrUnsupported)
	}
	nc := net.ListenConfig{KeepAlive: -1}
	nc.SetMultipathTCP(false)
	if c.ReusePort {
		nc.Control = func(_, _ string, raw syscall.RawConn) error {
			var err error
			if cerr := raw.Control(func(fd uintptr) { err = setReusePort(sysFD(fd)) }); cerr != nil {
				return cerr
			}
			return os.NewSyscallError("setsockopt", err)
		}
	}
	nl, err := nc.Listen(context.Background(), network, address)
	if err != nil {
		return nil, portable(err)
	}
	ln, err := l.adoptListener(nl, &c)
	if err != nil {
		nl.Close()
	}
	return ln, err
}

// WrapListener takes nl over, which must be a *net.TCPListener or a
// *net.UnixListener: its connections become streams, and nl is of no use
// afterwards. If it returns an error, nl is as it was.
func (l *Loop) WrapListener(nl net.Listener) (*Listener, error) {
	if nl == nil {
		return nil, errors.New("evchan: WrapListener of nil")
	}
	if l.isClosed() {
		return nil, ErrClosed
	}
	known, isNil := true, false
	switch nl := nl.(type) {
	case *net.TCPListener:
		isNil = nl == nil
	case *net.UnixListener:
		isNil = nl == nil
	default:
		known = false
	}
	switch {
	case !known:
		return nil, fmt.Errorf("evchan: WrapListener of a %T: %w", nl, ErrUnsupported)
	case isNil:
		return nil, fmt.Errorf("evchan: WrapListener of a nil %T", nl)
	}
	return l.adoptListener(nl, new(ListenConfig))
}

// adoptListener makes a listener of nl's socket, and closes nl. If it returns an
// error, nl is as it was.
func (l *Loop) adoptListener(nl net.Listener, c *ListenConfig) (*Listener, error) {
	ln := &Listener{addr: nl.Addr(), conf: *c, fd: noFD, maxPending: c.MaxPending}
	ln.init(l, ln)
	if c.Paused {
		ln.paused = Read
	}
	ln.retry.owner = ln
	if ln.maxPending == 0 {
		ln.maxPending = defaultMaxPending
	}
	ln.limits = l.limits.with(c.MaxInput, c.MaxOutput).above(c.ReadLow, c.WriteLow)
	fd, err := takeFD(nl.(syscall.Conn))
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: ln.addr.Network(), Addr: ln.addr, Err: err}
	}
	ln.fd = fd
	u, unlinks := nl.(interface{ SetUnlinkOnClose(bool) })
	if unlinks {
		if name := ln.addr.String(); name != "" && name[0] != '@' {
			ln.path = name
		}
	}
	err = ln.setOptions()
	if err == nil {
		err = ln.open()
	}
	if err != nil {
		ln.mu.Lock()
		ln.path = "" // nl's still
		ln.mu.Unlock()
		ln.Close()
		if err == ErrClosed {
			return nil, err
		}
		return nil, &net.OpError{Op: "listen", Net: ln.addr.Network(), Addr: ln.addr, Err: err}
	}
	if unlinks {
		u.SetUnlinkOnClose(false)
	}
	nl.Close()
	return ln, nil
}

// open makes ln live.
func (ln *Listener) open() error {
	l := ln.Loop()
	l.lock()
	if l.closed {
		l.unlock()
		return ErrClosed
	}
	tok := l.register(ln, ln.fd)
	l.refresh(&ln.source)
	l.unlock()
	return os.NewSyscallError(l.Method(), l.poller.add(ln.fd, tok, Read|Edge))
}

// with returns limits with other sizes where they are not 0; negative means none.
func (lim *limits) with(maxInput, maxOutput int) *limits {
	if maxInput == 0 && maxOutput == 0 {
		return lim
	}
	c := *lim
	replace := func(p *int, n int) {
		if n > 0 {
			*p = n
		} else if n < 0 {
			*p = math.MaxInt
		}
	}
	replace(&c.maxInput, maxInput)
	replace(&c.maxOutput, maxOutput)
	c.readHigh, c.writeHigh = c.maxInput, c.maxOutput
	return &c
}

// above returns limits with these low marks.
func (lim *limits) above(readLow, writeLow int) *limits {
	if readLow <= 1 && writeLow <= 0 {
		return lim
	}
	c := *lim
	c.readLow, c.writeLow = max(readLow, 1), max(writeLow, 0)
	c.raise()
	return &c
}

// configure gives s, which nobody knows yet, what the listener's streams have.
func (ln *Listener) configure(s *Stream) {
	s.listener = ln
	s.expectShortReads(ln.addr.Network())
	s.limits.Store(ln.limits)
	if ln.conf.Lifetime > 0 {
		s.SetLifetime(ln.conf.Lifetime)
	}
	if c := &ln.conf; c.ReadIdle > 0 || c.WriteIdle > 0 || c.RateLimit != nil || c.RateGroup != nil {
		s.SetIdleTimeouts(c.ReadIdle, c.WriteIdle)
		s.SetRateLimit(c.RateLimit)
		s.SetRateGroup(c.RateGroup)
	}
}

// Addr returns the address that the listener listens on.
func (ln *Listener) Addr() net.Addr { return ln.addr }

// Err returns what the last try to accept has failed with; nil if it has not.
func (ln *Listener) Err() error {
	l := ln.lockLoop()
	defer l.unlock()
	return ln.err
}

// Pause stops accepting. The kernel holds what comes meanwhile, as far as the
// backlog goes. A paused listener is not live.
func (ln *Listener) Pause() {
	l := ln.lockAndWithdraw()
	defer l.unlock()
	ln.paused = Read
	l.timers.stop(&ln.retry)
	l.retract(&ln.source, msgSingle)
}

// Resume accepts again, what has come meanwhile first.
func (ln *Listener) Resume() {
	l := ln.lockLoop()
	defer l.unlock()
	if ln.paused != 0 && ln.life == lifeOpen && !l.closed {
		ln.paused = 0
		ln.delay = 0
		l.refresh(&ln.source)
		l.assign(ln)
	}
}

// File returns a duplicate of the listener's descriptor, as net.TCPListener.File
// does, for handing it to another process, say. The caller closes it.
func (ln *Listener) File() (*os.File, error) {
	ln.mustBeMade() // or that would be of standard input
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.fd == noFD {
		return nil, ErrClosed
	}
	fd, err := dupFD(ln.fd)
	if err != nil {
		return nil, &net.OpError{Op: "file", Net: ln.addr.Network(), Addr: ln.addr, Err: err}
	}
	return os.NewFile(uintptr(fd), "listener "+ln.addr.String()), nil
}

// Close stops listening and gives the address free. Connections that the kernel
// holds are reset; streams that were accepted stay. An AcceptFailed that has
// not been received is taken back.
func (ln *Listener) Close() error {
	l := ln.lockAndWithdraw()
	ln.life = lifeClosed
	l.timers.stop(&ln.retry)
	l.retract(&ln.source, msgSingle)
	l.unlock()
	ln.release()
	return nil
}

// release closes the socket.
func (ln *Listener) release() {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.fd == noFD {
		return
	}
	l := ln.lockLoop()
	if !l.closed {
		l.unregister(ln, ln.fd)
	}
	l.refresh(&ln.source)
	l.unlock()
	if ln.path != "" {
		os.Remove(ln.path)
	}
	l.poller.remove(ln.fd)
	closeFD(ln.fd)
	ln.fd = noFD
}

func (ln *Listener) abandon() {
	l := ln.lockLoop()
	ln.life = lifeClosed
	l.timers.stop(&ln.retry)
	l.unlock()
	ln.release()
}

func (ln *Listener) registration() *registration { return &ln.reg }

// ready is told that there are connections.
func (ln *Listener) ready(What) { ln.Loop().assign(ln) }

// expired is called when it is time to try again.
func (ln *Listener) expired(int64) { ln.Loop().assign(ln) }

// admitted is told that an Accepted was received, or taken back. The loop's mu is
// held.
func (ln *Listener) admitted(l *Loop) {
	ln.waiting--
	ln.goOn(l)
}

// parted is told that a stream that ln has accepted was released, maybe by another
// loop. The mu of no loop is held.
func (ln *Listener) parted() {
	if ln.conf.MaxStreams <= 0 {
		return
	}
	l := ln.lockLoop()
	ln.streams--
	ln.goOn(l)
	l.unlock()
}

// crowded reports whether no more may be accepted. The loop's mu is held.
func (ln *Listener) crowded() bool {
	return ln.maxPending > 0 && ln.waiting >= ln.maxPending ||
		ln.conf.MaxStreams > 0 && ln.streams >= ln.conf.MaxStreams
}

// goOn accepts again if there was no room before, and is now. The loop's mu is
// held.
func (ln *Listener) goOn(l *Loop) {
	if ln.full && !ln.crowded() {
		ln.full = false
		l.assign(ln)
	}
}

// task accepts what there is.
func (ln *Listener) task() {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.fd == noFD {
		return
	}
	for range acceptBatch {
		l := ln.lockLoop()
		wait := ln.paused != 0 || ln.life != lifeOpen || ln.retry.running() || l.closed
		if ln.crowded() {
			ln.full = true
			wait = true
		}
		route, prio := ln.route, ln.prio
		l.unlock()
		if wait {
			return
		}
		s, err := ln.accept(l)
		switch {
		case err == nil:
			ln.recovered()
			l.lock()
			s.route, s.prio = route, prio
			s.in.set(flagAcceptPending)
			ln.waiting++
			if ln.conf.MaxStreams > 0 {
				ln.streams++
			}
			l.unlock()
			if err := s.open(msgAccepted, true); err != nil {
				l.lock()
				ln.waiting--
				l.unlock()
				ln.parted()
				ln.failed(l, err)
				return
			}
		case err == eAGAIN:
			ln.recovered()
			if !l.edge {
				l.lock()
				tok := l.token(ln)
				l.unlock()
				l.poller.arm(ln.fd, tok, Read|Edge)
			}
			return
		case transient(err):
			// That connection is gone; the next may be all right.
		default:
			ln.failed(l, os.NewSyscallError("accept", portable(err)))
			return
		}
	}
	l := ln.lockLoop()
	l.assign(ln) // more may be waiting
	l.unlock()
}

// recovered takes note that accepting has not failed: what AcceptFailed has to
// say is not true any more.
func (ln *Listener) recovered() {
	l := ln.lockAndWithdraw()
	defer l.unlock()
	if ln.failing {
		ln.failing, ln.err, ln.delay = false, nil, 0
		l.retract(&ln.source, msgSingle)
	}
}

// failed tells that accepting has failed, if it is news, and sets the time for
// the next try. ln.mu is held.
func (ln *Listener) failed(l *Loop, err error) {
	now := l.clock()
	l.lock()
	defer l.unlock()
	if ln.life != lifeOpen || l.closed {
		return
	}
	ln.err = &net.OpError{Op: "accept", Net: ln.addr.Network(), Addr: ln.addr, Err: err}
	ln.delay = min(max(2*ln.delay, minAcceptDelay), maxAcceptDelay)
	l.startTimer(&ln.retry, now, ln.delay)
	if !ln.failing {
		ln.failing = true
		l.enqueue(&ln.source, msgSingle)
	}
}

func (ln *Listener) event(pending) Event { return AcceptFailed{ln} }
func (ln *Listener) alive() bool         { return ln.life == lifeOpen && ln.paused == 0 }
func (ln *Listener) label() string       { return "listener " + ln.addr.String() }

func (ln *Listener) dump() string {
	ln.mu.Lock()
	fd := ln.fd
	ln.mu.Unlock()
	l := ln.lockLoop()
	defer l.unlock()
	state := "open"
	switch {
	case ln.life != lifeOpen:
		state = "ended"
	case ln.paused != 0:
		state = "paused"
	case ln.retry.running():
		state = "failing"
	case ln.full:
		state = "full"
	}
	d := "listener " + ln.words() + " state=" + state + " fd=" + itoa(int(fd)) +
		" addr=" + quote(ln.addr.String()) + " waiting=" + itoa(ln.waiting)
	if ln.conf.MaxStreams > 0 {
		d += " streams=" + itoa(ln.streams)
	}
	return d
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A ListenConfig has the settings of a Listener and of its streams. A nil ListenConfig and
// zero values mean the defaults. It is copied.
type ListenConfig struct {
	// ReusePort lets several listeners share an address, in one process or in several
	// (SO_REUSEPORT). Linux, FreeBSD and DragonFly divide the connections between them; on
	// other systems one listener may get them all. It is an error where the system lacks
	// the option, and for unix.
	ReusePort bool

	// Backlog is how many connections the kernel holds until they are accepted; 0 means
	// as many as the system allows. The system may use less.
	Backlog int

	// KeepAlive is the idle time after which the kernel begins to ask a peer whether it is
	// still there, and the interval at which it asks again; 0 means 15 seconds; if
	// negative, it does not ask. It is ignored if KeepAliveConfig.Enable is true.
	KeepAlive time.Duration

	// KeepAliveConfig says the same in detail, as in net.ListenConfig, if Enable is true: a
	// field that is 0 means 15 seconds, or 9 questions without an answer, and a negative
	// one what the system has. Here and in KeepAlive, times above 32,767 seconds (9 hours)
	// and counts above 127 mean these: some systems cannot do more. OpenBSD has times of
	// the whole system only.
	KeepAliveConfig net.KeepAliveConfig

	// Delay lets the kernel hold back small segments (Nagle's algorithm). If it is
	// false, TCP_NODELAY is set, as package net does.
	Delay bool

	// DeferAccept is how long the kernel waits for the first bytes of a connection before
	// it reports the connection (TCP_DEFER_ACCEPT); 0 means that it does not wait.
	// Systems without the option ignore it.
	DeferAccept time.Duration

	// Paused says that the listener accepts nothing until Resume.
	Paused bool

	// Control is called with the new socket before it is bound, as in net.ListenConfig; nil
	// means that nothing is. An error that it returns is Listen's.
	Control func(network, address string, c syscall.RawConn) error

	// MaxPending is the number of Accepted, sent and not yet received, at which accepting
	// stops; 0 means 128; if negative, there is no limit.
	MaxPending int

	// MaxStreams is the number of open streams at which the listener accepts no more. A
	// stream that is closing counts until all of it is released; a stream that NetConn was
	// called on no longer counts. If it is 0 or negative, only the process's descriptors
	// are a limit, see [AcceptFailed].
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

	// RateGroup is the limit of all streams together; nil means none.
	RateGroup *RateGroup

	// Layer turns the messages of the listener's streams into others, Accepted among them:
	// see StreamConfig. The listener itself has no layer.
	Layer Layer

	// Data is what Listener.Data begins with, and Stream.Data of each of its streams.
	Data any

	// Notify is where the listener and its streams send their messages, see [Source]; nil
	// means the loop's own way.
	Notify chan<- Event

	// Over puts a stream on top of each accepted one, as Filter does: TLS, for example. nil
	// means that nothing is. The returned stream sends Accepted, once it is open (see
	// [Filter]); it is the one that the settings for streams are about, except RateLimit,
	// RateGroup and Lifetime, which are the accepted one's. If it ends before it is open, no
	// message tells. Until then it does not count for MaxPending, but for MaxStreams.
	//
	// The loop calls Over, with no lock held, and waits for it: it must not block. If it
	// returns an error, the connection is closed, and AcceptFailed follows.
	Over func(*Stream) (*Stream, error)
}

// stream returns the part of c that is for the listener's streams. Notify is not in it:
// each stream gets the channel that the listener has when it is accepted.
func (c *ListenConfig) stream() *StreamConfig {
	return &StreamConfig{
		Data:      c.Data,
		MaxInput:  c.MaxInput,
		MaxOutput: c.MaxOutput,
		ReadLow:   c.ReadLow,
		WriteLow:  c.WriteLow,
		ReadIdle:  c.ReadIdle,
		WriteIdle: c.WriteIdle,
		Lifetime:  c.Lifetime,
		RateLimit: c.RateLimit,
		RateGroup: c.RateGroup,
		Layer:     c.Layer,
	}
}

const (
	defaultMaxPending = 128

	acceptBatch = 64 // connections accepted in one turn; arbitrary

	minAcceptDelay = 5 * time.Millisecond // before the first retry; it doubles up to the maximum; both arbitrary
	maxAcceptDelay = time.Second
)

// A Listener accepts connections. Each becomes a [Stream], which sends [Accepted] first. It
// is made by [Loop.Listen] or [Loop.WrapListener]; a zero Listener cannot be used.
//
// Accepting stops while the listener is paused, while too many Accepted have not been
// received, and while too many streams are open (see ListenConfig). Meanwhile the kernel
// holds new connections, up to the backlog.
//
// If accepting fails, because the process has no descriptors left, for example, the
// listener sends one [AcceptFailed]. It tries again after a while, by itself, until it
// succeeds.
type Listener struct {
	source
	reg registration

	// Data is for the user; the package does not touch it.
	Data any

	addr       net.Addr     // never changes
	anyAddr    bool         // addr is not that of the streams: its IP is unspecified; never changes
	conf       ListenConfig // never changes
	wrapped    bool         // WrapListener has made it; never changes
	division   *division    // who gets its streams; never changes
	maxPending int          // never changes
	file       socketFile   // of a unix socket; never changes

	// mu guards the following. It is taken before the loop's mu.
	mu      sync.Mutex
	fd      sysFD           // noFD: closed, or in memory
	virtual virtualListener // what stands for the socket, in memory; nil: closed, or there is a socket
	unlinks bool            // release removes the socket's file, if there is one

	next      int // the turn of division.choose
	borrowers int // running Controls of SyscallConn, the last of which closes the descriptor if release could not

	full atomic.Bool // task has stopped because of a limit

	// The loop's mu guards the following.

	failing bool          // the last accept failed
	err     error         // why it failed
	delay   time.Duration // before the next try
	retry   timerNode     // running: the listener waits for the next try
}

// Listen returns a listener on the address. It is live, unless conf has it paused.
//
// The network is tcp, tcp4, tcp6, unix or memory. The address has the form that net.Listen
// takes; for port 0 the system chooses a port, which Addr tells. The address of a closed
// listener can be used again at once. Closing the listener removes the file of a unix
// socket, see [Listener.SetUnlinkOnClose].
//
// If the address has a host name, Listen waits until it is looked up. It returns the
// errors of net.Listen, and ErrClosed on a closed loop.
//
// With the network memory, the listener takes the connections that Dial makes with the same
// network and address, on any loop of this process. No kernel is involved, so it works with
// every method. The address is any name; for "" the package chooses one, which Addr tells.
// The name must be free, else errors.Is(err, syscall.EADDRINUSE). Backlog is 4096 by default.
// There is no socket, so ReusePort and Control are ErrUnsupported, as are [Listener.File] and
// [Listener.SyscallConn]; the other settings of sockets have no effect.
func (l *Loop) Listen(network, address string, conf *ListenConfig) (*Listener, error) {
	return listenOn(network, address, conf, []*Loop{l}, 0)
}

// listenOn is Listen for loops, the first of which accepts.
func listenOn(network, address string, conf *ListenConfig, loops []*Loop, balance Balance) (*Listener, error) {
	switch network {
	case "tcp", "tcp4", "tcp6", "unix", "memory":
	default:
		return nil, &net.OpError{Op: "listen", Net: network, Err: net.UnknownNetworkError(network)}
	}
	if loops[0].isClosed() {
		return nil, ErrClosed
	}
	c, d, err := listenSetup(conf, loops, balance)
	if err != nil {
		return nil, err
	}
	if network == "memory" {
		return d.listenMemory(loops[0], address, c)
	}
	if p, ok := loops[0].poller.(virtualNetwork); ok {
		return d.listenVirtual(p, network, address, c)
	}
	if err := loops[0].socketless("listen", network); err != nil {
		return nil, err
	}
	nl, err := listenSocket(network, address, c)
	if err != nil {
		return nil, err
	}
	ln, err := d.add(loops[0], nl.Addr(), c, false).adopt(nl)
	if err != nil {
		nl.Close()
	}
	return ln, err
}

// listenSocket returns a socket that listens, in package net's form.
func listenSocket(network, address string, c *ListenConfig) (net.Listener, error) {
	if c.ReusePort && network == "unix" {
		return nil, fmt.Errorf("evchan: ListenConfig.ReusePort on a unix socket: %w", ErrUnsupported)
	}
	nc := net.ListenConfig{KeepAlive: -1}
	nc.SetMultipathTCP(false)
	nc.Control = func(network, address string, raw syscall.RawConn) error {
		var err error
		if c.ReusePort {
			if cerr := raw.Control(func(fd uintptr) { err = setReusePort(sysFD(fd)) }); cerr != nil {
				return cerr
			}
		}
		if err == nil && c.Control != nil {
			return c.Control(network, address, raw)
		}
		return os.NewSyscallError("setsockopt", err)
	}
	nl, err := nc.Listen(context.Background(), network, address)
	return nl, portable(err)
}

// listenSetup returns what conf, which may be nil, says of the listener and of its streams.
func listenSetup(conf *ListenConfig, loops []*Loop, balance Balance) (*ListenConfig, *division, error) {
	c := new(ListenConfig)
	if conf != nil {
		*c = *conf
	}
	if c.Backlog < 0 || c.DeferAccept < 0 {
		return nil, nil, errors.New("evchan: negative ListenConfig.Backlog or DeferAccept")
	}
	d, err := newDivision(c, loops, balance)
	return c, d, err
}

// WrapListener makes a listener of nl, a *net.TCPListener or a *net.UnixListener. It takes
// nl over: nl is closed, and the socket lives on in the listener. If it returns an error,
// nl is as it was.
//
// The socket's options stay as they are set, unless conf names them: TCP_NODELAY and
// keep-alive are not set by default. Package net sets both on what it accepts, not on the
// listening socket; set them there, with net.ListenConfig.Control, or conf.KeepAlive.
// Only SO_LINGER is turned off, because closing would wait with it.
// ReusePort and Control come too late here, and are an error.
func (l *Loop) WrapListener(nl net.Listener, conf *ListenConfig) (*Listener, error) {
	return wrapListener(nl, conf, []*Loop{l}, 0)
}

// wrapListener is WrapListener for loops, the first of which accepts.
func wrapListener(nl net.Listener, conf *ListenConfig, loops []*Loop, balance Balance) (*Listener, error) {
	if nl == nil {
		return nil, errors.New("evchan: WrapListener of nil")
	}
	if loops[0].isClosed() {
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
		return nil, fmt.Errorf("evchan: WrapListener of a %T, which is no *net.TCPListener or *net.UnixListener: %w", nl, ErrUnsupported)
	case isNil:
		return nil, fmt.Errorf("evchan: WrapListener of a nil %T", nl)
	}
	c, d, err := listenSetup(conf, loops, balance)
	if err != nil {
		return nil, err
	}
	if c.ReusePort || c.Control != nil {
		return nil, errors.New("evchan: ListenConfig.ReusePort or Control for WrapListener: the socket is bound already")
	}
	return d.add(loops[0], nl.Addr(), c, true).adopt(nl)
}

// add adds a listener of l, with the address addr, to d. adopt or open follows.
func (d *division) add(l *Loop, addr net.Addr, c *ListenConfig, wrapped bool) *Listener {
	ln := &Listener{addr: addr, conf: *c, wrapped: wrapped, Data: c.Data, division: d, fd: noFD, maxPending: c.MaxPending}
	if a, ok := ln.addr.(*net.TCPAddr); ok {
		ln.anyAddr = len(a.IP) == 0 || a.IP.IsUnspecified()
	}
	ln.init(l, ln)
	if c.Paused {
		ln.paused = directions(Read)
	}
	ln.retry.owner = ln
	if ln.maxPending == 0 {
		ln.maxPending = defaultMaxPending
	}
	d.parts = append(d.parts, ln)
	return ln
}

// adopt gives ln the socket of nl, makes it live, and closes nl. If it returns an error, nl is
// as it was.
func (ln *Listener) adopt(nl net.Listener) (*Listener, error) {
	fd, err := takeFD(nl.(syscall.Conn))
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: ln.addr.Network(), Addr: ln.addr, Err: err}
	}
	ln.fd = fd
	ul, unlinks := nl.(unlinker)
	if unlinks {
		ln.file = fileOf(ln.addr.String())
		ln.unlinks = unlinksOnClose(ul)
	}
	restore := resetLinger(fd) // accepted sockets inherit it
	err = ln.setOptions()
	if err == nil {
		err = ln.open()
	}
	if err != nil {
		restore()
		ln.SetUnlinkOnClose(false) // nl still owns the file
		ln.Close()
		if err == ErrClosed {
			return nil, err
		}
		return nil, &net.OpError{Op: "listen", Net: ln.addr.Network(), Addr: ln.addr, Err: err}
	}
	if unlinks {
		ul.SetUnlinkOnClose(false)
	}
	nl.Close()
	return ln, nil
}

// open has the poller report on ln, which nobody else knows yet, and then makes it live and
// visible to others. It holds ln.mu, so that task waits until then.
func (ln *Listener) open() error {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	return ln.openLocked()
}

// openLocked is open for a caller that holds ln.mu.
func (ln *Listener) openLocked() error {
	l := ln.Loop()
	l.lock()
	if l.closed || l.draining.Load() {
		l.unlock()
		return ErrClosed
	}
	tok := l.register(ln, ln.fd)
	l.unlock()
	var err error
	if ln.fd != noFD {
		err = l.poller.add(ln.fd, tok, Read|Edge)
	}
	l.lock()
	defer l.unlock()
	switch {
	case l.closed:
		return ErrClosed
	case err != nil:
		return os.NewSyscallError(l.Method(), err)
	}
	if ln.conf.Notify != nil {
		ln.route.Store(l.routeTo(ln.conf.Notify))
	}
	l.refresh(&ln.source)
	return nil
}

// configure makes s, which ln has accepted and nobody else knows yet, a stream of ln. The
// settings follow in open.
func (ln *Listener) configure(s *Stream) {
	s.listener = ln.whole()
	s.expectShortReads(ln.addr.Network())
}

// Addr returns the address that the listener listens on.
func (ln *Listener) Addr() net.Addr { return ln.addr }

// Err returns why the last attempt to accept failed, nil if it did not.
func (ln *Listener) Err() error {
	for _, p := range ln.parts() {
		l := p.lockLoop()
		err := p.err
		l.unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// Pause stops accepting until Resume. Meanwhile the kernel holds new connections, up to the
// backlog. A paused listener is not live.
func (ln *Listener) Pause() {
	for _, p := range ln.parts() {
		p.pause()
	}
}

// pause is Pause of one part.
func (ln *Listener) pause() {
	l := ln.lockAndWithdraw()
	defer l.unlock()
	ln.paused = directions(Read)
	l.timers.stop(&ln.retry)
	l.retract(&ln.source, msgSingle)
}

// Resume accepts again, beginning with the connections that the kernel holds.
func (ln *Listener) Resume() {
	for _, p := range ln.parts() {
		p.resume()
	}
}

// resume is Resume of one part.
func (ln *Listener) resume() {
	l := ln.lockLoop()
	defer l.unlock()
	if ln.paused != 0 && ln.life == lifeOpen && !l.closed {
		ln.paused = 0
		ln.delay = 0
		l.refresh(&ln.source)
		l.assign(ln)
	}
}

// File returns a duplicate of the listener's descriptor, as net.TCPListener.File does: to
// hand the socket to another process, for example. The caller closes it. Before Close of a
// unix listener that was handed over, call SetUnlinkOnClose(false).
func (ln *Listener) File() (*os.File, error) {
	ln.mustBeMade() // the zero descriptor is standard input
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.virtual != nil {
		return nil, &net.OpError{Op: "file", Net: ln.addr.Network(), Addr: ln.addr, Err: errInMemory}
	}
	if ln.fd == noFD {
		return nil, ErrClosed
	}
	fd, err := dupFD(ln.fd)
	if err != nil {
		return nil, &net.OpError{Op: "file", Net: ln.addr.Network(), Addr: ln.addr, Err: err}
	}
	return os.NewFile(uintptr(fd), "listener "+ln.addr.String()), nil
}

// SetUnlinkOnClose says whether closing the listener, or its loop, removes the file of its
// unix socket. From the beginning it does if Listen has made the listener. After WrapListener
// it does what closing the net.Listener would have done: package net removes the file if it
// has created it (net.Listen), not if it was given the socket (net.FileListener), unless
// its own SetUnlinkOnClose was called.
//
// A file that has another's socket by now stays in any case. Listeners without a file, and
// closed ones, ignore the call.
func (ln *Listener) SetUnlinkOnClose(unlink bool) {
	ln.mustBeMade()
	ln.mu.Lock()
	defer ln.mu.Unlock()
	ln.unlinks = unlink
}

// An unlinker is a *net.UnixListener, where that has a file.
type unlinker interface{ SetUnlinkOnClose(bool) }

// unlinksOnClose reports whether closing nl removes its file. Package net does not tell, so
// the answer is read from its own field; were that to go, the file would stay.
func unlinksOnClose(nl unlinker) bool {
	f := reflect.ValueOf(nl).Elem().FieldByName("unlink")
	return f.IsValid() && f.Kind() == reflect.Bool && f.Bool()
}

// A socketFile is the file of a unix socket.
type socketFile struct {
	name string      // "": it has none
	info os.FileInfo // as it was in the beginning; nil if it could not be asked for
}

// fileOf returns the file of the unix socket with the address name.
func fileOf(name string) socketFile {
	if name == "" || name[0] == '@' {
		return socketFile{}
	}
	info, err := os.Lstat(name)
	if err != nil {
		info = nil
	}
	return socketFile{name, info}
}

// remove removes the file, unless it is another one by now.
func (f *socketFile) remove() {
	if f.name == "" {
		return
	}
	if f.info != nil {
		if now, err := os.Lstat(f.name); err != nil || !os.SameFile(f.info, now) {
			return
		}
	}
	os.Remove(f.name)
}

// Close stops listening; the address is free again. Connections that the kernel holds are
// reset. Streams that were accepted stay open. An AcceptFailed that has not been received
// is taken back.
func (ln *Listener) Close() error {
	ln.mustBeMade()
	for _, p := range ln.parts() {
		p.close()
	}
	return nil
}

// close is Close of one part.
func (ln *Listener) close() {
	l := ln.lockAndWithdraw()
	ln.life = lifeClosed
	l.timers.stop(&ln.retry)
	end := l.retractAll(&ln.source)
	l.unlock()
	ln.release()
	callEnd(end, &ln.source)
}

// release closes the socket, or what stands for it in memory.
func (ln *Listener) release() {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.fd == noFD && ln.virtual == nil {
		return
	}
	l := ln.lockLoop()
	if !l.closed {
		l.unregister(ln, ln.fd)
	}
	l.refresh(&ln.source)
	l.unlock()
	if ln.virtual != nil {
		if ln.fd != noFD {
			l.poller.remove(ln.fd)
			ln.fd = noFD
		}
		ln.virtual.closeFor(ln)
		ln.virtual = nil
		return
	}
	if ln.unlinks {
		ln.file.remove()
	}
	l.poller.remove(ln.fd)
	if ln.borrowers == 0 {
		closeFD(ln.fd)
	}
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

// ready is called when there are connections. Caller holds the loop's lock, for expired too.
func (ln *Listener) ready(What) { ln.Loop().assign(ln) }

// expired is called when it is time to try again after a failure.
func (ln *Listener) expired(int64) { ln.Loop().assign(ln) }

// task accepts connections until there are no more, a limit is reached or a batch is full.
func (ln *Listener) task() {
	for range acceptBatch {
		s, to, again := ln.acceptOne()
		switch {
		case s != nil && to.loop == ln.Loop():
			again = ln.putOver(s, to.setup)
		case s != nil:
			to.loop.lock()
			to.loop.assign(&overTask{listener: ln, stream: s, setup: to.setup})
			to.loop.unlock()
		}
		if !again {
			return
		}
	}
	l := ln.lockLoop()
	l.assign(ln) // the kernel may hold more
	l.unlock()
}

// acceptOne accepts a connection, and reports whether there may be another one. It returns a
// stream, and the loop that has got it, if that has to get one on top of it, by Over.
func (ln *Listener) acceptOne() (under *Stream, to *recipient, again bool) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.fd == noFD && ln.virtual == nil {
		return nil, nil, false
	}
	l := ln.lockLoop()
	wait := ln.paused != 0 || ln.life != lifeOpen || ln.retry.running() || l.closed
	route, prio := ln.route.Load(), ln.prio
	l.unlock()
	if wait || !ln.reserve() {
		return nil, nil, false
	}
	var s *Stream
	var err error
	if ln.virtual == nil {
		s, err = ln.accept(l)
	} else if s, err = ln.virtual.accept(l); err == nil {
		ln.configure(s)
	}
	if err != nil {
		ln.parted() // what was reserved
	}
	switch {
	case err == nil:
		ln.recovered()
		to = ln.choose(s)
		to.get(s, route, prio)
		setup, first := to.setup, msgAccepted
		if to.under != nil {
			setup, first = to.under, 0
		} else {
			to.await(s)
		}
		if err := s.open(setup, first, true); err != nil {
			if first != 0 {
				to.waiting.Add(-1)
			}
			ln.parted()
			ln.failed(l, err)
			return nil, nil, false
		}
		if first == 0 {
			return s, to, true
		}
	case err == eAGAIN:
		ln.recovered()
		if !l.edge && ln.fd != noFD {
			l.lock()
			tok := l.token(ln)
			l.unlock()
			l.poller.arm(ln.fd, tok, Read|Edge)
		}
		return nil, nil, false
	case transient(err):
		// Only this connection has failed.
	default:
		ln.failed(l, os.NewSyscallError("accept", portable(err)))
		return nil, nil, false
	}
	return nil, nil, true
}

// recovered notes that accepting works, and takes back an AcceptFailed that is no longer
// true.
func (ln *Listener) recovered() {
	l := ln.lockAndWithdraw()
	defer l.unlock()
	if ln.failing {
		ln.failing, ln.err, ln.delay = false, nil, 0
		l.retract(&ln.source, msgSingle)
	}
}

// failed sets the time of the next attempt, and sends AcceptFailed if the attempt before
// had not failed. Caller holds ln.mu.
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

func (ln *Listener) event(pending) Event { return AcceptFailed{ln.whole()} }
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
	case ln.full.Load():
		state = "full"
	}
	d := "listener " + ln.words() + " state=" + state
	if fd != noFD {
		d += " fd=" + itoa(int(fd))
	}
	d += " addr=" + quote(ln.addr.String()) + " waiting=" + itoa(ln.division.unreceived())
	if ln.conf.MaxStreams > 0 {
		d += " streams=" + itoa(int(ln.division.streams.Load()))
	}
	return d
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
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

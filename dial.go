// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// A DialConfig has the settings of a connection that Dial makes. A nil DialConfig and zero
// values mean the defaults. It is copied.
type DialConfig struct {
	// Timeout bounds the time until the stream is connected, from the look-up of the name
	// on; 0 means 30 seconds; if negative, only the system's own limits apply. When it has
	// passed, Err is a net.Error whose Timeout() is true:
	// errors.Is(Err(), os.ErrDeadlineExceeded).
	Timeout time.Duration

	// LocalAddr is the address of the near end, a *net.TCPAddr or *net.UnixAddr; nil means
	// that the system chooses one.
	LocalAddr net.Addr

	// Resolver looks up names; nil means net.DefaultResolver.
	Resolver *net.Resolver

	// Names looks up the name of a host in place of Resolver, such as a Resolver of package
	// evdns. Then no goroutine is needed: the name is looked up and the addresses are tried in the
	// loop (on Windows and Plan 9 a goroutine connects). Control is then called by the loop, and MoveTo
	// returns an error until the stream is connected. nil means that package net does all of that.
	Names Namer

	// KeepAlive is the idle time after which the kernel begins to ask the peer whether it is
	// still there, and the interval at which it asks again; 0 means 15 seconds; if
	// negative, it does not ask. It is ignored if KeepAliveConfig.Enable is true.
	KeepAlive time.Duration

	// KeepAliveConfig says the same in detail, see [ListenConfig].
	KeepAliveConfig net.KeepAliveConfig

	// Control is called with each new socket before it is connected, as in net.Dialer: on
	// another goroutine, and perhaps on several at once; nil means that nothing is. An
	// error that it returns ends the attempt to connect that socket.
	Control func(network, address string, c syscall.RawConn) error

	// Delay lets the kernel hold back small segments (Nagle's algorithm). If it is
	// false, TCP_NODELAY is set, as package net does.
	Delay bool

	// MaxInput and MaxOutput replace those of Config for the stream; 0 means
	// those of Config; if negative, there is no limit.
	MaxInput, MaxOutput int

	// Data is what Stream.Data begins with.
	Data any

	// Notify is where the stream sends its messages, see [Source]; nil means the loop's own
	// way.
	Notify chan<- Event

	// Paused are the directions, some of Read and Write, that are paused until
	// [Stream.Resume].
	Paused What

	// ReadLow and WriteLow are the low marks, see [Stream.SetReadMarks] and
	// [Stream.SetWriteMarks].
	ReadLow, WriteLow int

	// ReadIdle and WriteIdle are the idle timeouts, see [Stream.SetIdleTimeouts]. Their time
	// begins when the stream is connected.
	ReadIdle, WriteIdle time.Duration

	// Lifetime is how long the stream may live, counted from Dial, see [Stream.SetLifetime].
	Lifetime time.Duration

	// RateLimit is the stream's own limit; nil means none.
	RateLimit *RateLimit

	// RateGroup is the limit that the stream shares with others; nil means none.
	RateGroup *RateGroup

	// Over puts a stream on top of the one that is being connected, as Filter does: TLS, for
	// example. nil means that nothing is. Dial calls it, and returns its stream, which sends
	// Connected once it is open (see [Filter]). That stream is the one that the settings are
	// about, except RateLimit, RateGroup and Lifetime, which are the lower one's. If Over
	// returns an error, Dial returns it, and connects nothing.
	Over func(*Stream) (*Stream, error)

	// Layer turns the stream's messages into others, Connected among them: see StreamConfig.
	Layer Layer
}

// stream returns the settings in c that every kind of stream has.
func (c *DialConfig) stream() *StreamConfig {
	return &StreamConfig{
		Data:      c.Data,
		Notify:    c.Notify,
		Paused:    c.Paused,
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

const defaultDialTimeout = 30 * time.Second

// Dial returns a stream at once and connects it in the background. [Connected] follows, or
// [Closed] if that fails; Err then has the reason, a *net.OpError. What is written before
// Connected is queued, and sent after it. Closing the stream ends the attempt.
//
// The network is tcp, tcp4, tcp6, unix or memory, and the address has the form that net.Dial
// takes. The look-up of a name does not block the loop. The addresses of a name are tried
// until one works, those of IPv6 and IPv4 in a race in which the family of the first
// address has a short head start (Happy Eyeballs, RFC 8305). package net's Dialer does the
// work, on a goroutine that ends with it, unless DialConfig.Names is set.
//
// With the network memory, the address is the name of a listener in this process (see
// [Loop.Listen]). Dial is connected when it returns: Connected comes first all the same, but
// NetConn works at once. If nobody listens there, or the backlog is full, Closed follows, and
// errors.Is(Err(), syscall.ECONNREFUSED). LocalAddr and Control are ErrUnsupported; Timeout,
// Resolver and the settings of sockets have no effect.
//
// Dial returns an error only for a bad network, address or configuration, ErrUnsupported if the
// loop's method has no sockets (see [Methods]), and ErrClosed on a closed loop.
func (l *Loop) Dial(network, address string, conf *DialConfig) (*Stream, error) {
	var c DialConfig
	if conf != nil {
		c = *conf
	}
	bad := func(err error) error { return &net.OpError{Op: "dial", Net: network, Err: err} }
	switch network {
	case "tcp", "tcp4", "tcp6":
		if _, _, err := net.SplitHostPort(address); err != nil {
			return nil, bad(err)
		}
		if _, ok := c.LocalAddr.(*net.TCPAddr); c.LocalAddr != nil && !ok {
			return nil, bad(fmt.Errorf("local address is a %T", c.LocalAddr))
		}
	case "memory":
		if address == "" {
			return nil, bad(errors.New("empty address"))
		}
		if c.LocalAddr != nil || c.Control != nil {
			return nil, bad(fmt.Errorf("DialConfig.LocalAddr or Control: %w", errInMemory))
		}
	case "unix":
		if address == "" {
			return nil, bad(errors.New("empty address"))
		}
		if _, ok := c.LocalAddr.(*net.UnixAddr); c.LocalAddr != nil && !ok {
			return nil, bad(fmt.Errorf("local address is a %T", c.LocalAddr))
		}
	default:
		return nil, bad(net.UnknownNetworkError(network))
	}
	if l.isClosed() {
		return nil, ErrClosed
	}
	if network != "memory" {
		if err := l.socketless("dial", network); err != nil {
			return nil, err
		}
	}

	u, err := l.setup(c.stream())
	if err != nil {
		return nil, err
	}
	d := &dialing{
		dialer: net.Dialer{
			Timeout:   max(c.Timeout, 0),
			LocalAddr: c.LocalAddr,
			Resolver:  c.Resolver,

			KeepAlive:       -1,
			KeepAliveConfig: keepAlive(c.KeepAlive, c.KeepAliveConfig),
			Control:         c.Control,
		},
		address: address,
		delay:   c.Delay,
	}
	if c.Timeout == 0 {
		d.dialer.Timeout = defaultDialTimeout
	}
	d.dialer.SetMultipathTCP(false)
	var ctx context.Context
	ctx, d.cancel = context.WithCancel(context.Background())

	s := l.newStream(noFD)
	start := func() { go s.dial(ctx, d, network, address) }
	_, virtual := l.poller.(virtualNetwork)
	switch {
	case network == "memory":
		start = func() { s.connectMemory(d, address) }
	case c.Names != nil && network != "unix" && !virtual:
		if d.race, err = newDialRace(s, d, c.Names, network, address); err != nil {
			return nil, bad(err)
		}
		start = d.race.start
	}
	below := u
	if c.Over != nil {
		below = u.below(l)
	}
	if err := s.openDialing(d, below); err != nil {
		return nil, err
	}
	up := s
	if c.Over != nil {
		if up, err = s.putOver(c.Over, u); err != nil {
			return nil, err
		}
		l := up.lockLoop()
		up.giveLayer(l, c.Layer)
		l.unlock()
	}
	start()
	return up, nil
}

// openDialing gives s its settings, and publishes it. Nothing is connected yet.
func (s *Stream) openDialing(d *dialing, u *streamSetup) error {
	s.mu.Lock()
	defer s.unlock()
	s.more().transport = d
	s.setupLocked(u)
	l := s.Loop()
	l.lock()
	closed := l.closed
	if closed {
		s.extra.leave(l)
	} else {
		s.publish(l, 0)
	}
	l.unlock()
	if closed {
		d.cancel()
		return ErrClosed
	}
	return nil
}

// dial connects s. It is a goroutine.
func (s *Stream) dial(ctx context.Context, d *dialing, network, address string) {
	defer d.cancel()
	if p, ok := s.Loop().poller.(virtualNetwork); ok {
		s.dialVirtual(ctx, d, p, network, address)
		return
	}
	conn, err := d.dialer.DialContext(ctx, network, address)
	if op, ok := err.(*net.OpError); ok && errors.Is(op, context.DeadlineExceeded) {
		op.Err = deadlineError{op.Err}
	}
	var fd sysFD
	if err == nil {
		defer conn.Close()
		if t, ok := conn.(*net.TCPConn); ok && d.delay {
			t.SetNoDelay(false)
		}
		fd, err = takeFD(conn.(syscall.Conn))
	}
	s.mu.Lock()
	defer s.unlockInTurn()
	switch {
	case s.transport() != d: // the stream was closed meanwhile
		if err == nil {
			closeFD(fd)
		}
	case err != nil:
		s.more().err = portable(err)
		s.release(false, msgClosed)
	default:
		x := s.more()
		x.local, x.remote = conn.LocalAddr(), conn.RemoteAddr()
		s.sock.fd = fd
		s.expectShortReads(network)
		x.transport = nil // s.sock from now on
		s.announce(msgConnected | s.attached(d.fin))
	}
}

// A deadlineError is a timeout to package net and os.ErrDeadlineExceeded to errors.Is.
// Package net returns the one or the other, depending on where it notices that the time is
// up.
type deadlineError struct{ error }

func (deadlineError) Timeout() bool     { return true }
func (e deadlineError) Unwrap() []error { return []error{e.error, os.ErrDeadlineExceeded} }

// attached has the poller report on the socket that s now has, if it has one, and sends what was written
// before. It returns the resulting messages. Caller holds s.mu.
func (s *Stream) attached(fin bool) pending {
	l := s.lockLoop()
	if l.closed {
		l.unlock()
		return 0 // abandon follows
	}
	inMemory := s.sock.fd == noFD // and what happens is told, see pipeEnd
	var tok token
	if !inMemory {
		tok = l.register(s, s.sock.fd)
	}
	l.unlock()
	if !inMemory {
		if err := l.poller.add(s.sock.fd, tok, streamInterest); err != nil {
			s.fail(l.Method(), err, msgConnected)
			return 0
		}
	}
	s.restartIdle(Read | Write)
	s.out.lagging.Store(false)
	if fin {
		s.out.fin = finQueued
	}
	return s.flush()
}

// connecting reports whether s is still being connected. Caller holds s.mu.
func (s *Stream) connecting() bool {
	_, ok := s.transport().(*dialing)
	return ok
}

// dialled returns the address that s is being connected to, or could not be connected to;
// else "".
func (s *Stream) dialled() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.extra == nil {
		return ""
	}
	if d, ok := s.extra.transport.(*dialing); ok {
		return d.address
	}
	return ""
}

// A dialing is the transport of a stream that is being connected.
type dialing struct {
	dialer  net.Dialer
	address string // never changes
	delay   bool
	fin     bool // closeWrite was called
	cancel  context.CancelFunc
	race    *dialRace // nil: package net connects
}

var _ transport = (*dialing)(nil)

func (d *dialing) fill(*chain, int) (int, bool, error)    { return 0, false, eAGAIN }
func (d *dialing) write([]byte) (int, error)              { return 0, eAGAIN }
func (d *dialing) flush(*chain, int) (int, *chunk, error) { return 0, nil, nil }
func (d *dialing) failure() error                         { return nil }
func (d *dialing) close(reset bool)                       { d.cancel() }
func (d *dialing) closeWrite() error                      { d.fin = true; return nil }
func (d *dialing) halfCloses() bool                       { return true }

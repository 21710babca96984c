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

// A DialConfig sets up a connection to be made. A nil DialConfig and zero values
// mean the defaults. It is copied by Dial.
type DialConfig struct {
	// Timeout bounds the whole, looking up the name included; 0 means 30
	// seconds; if negative, only the system's own limits apply. Once it has passed,
	// Err is a net.Error whose Timeout() is true:
	// errors.Is(Err(), os.ErrDeadlineExceeded).
	Timeout time.Duration

	// LocalAddr is the near end's address, a *net.TCPAddr or *net.UnixAddr; nil
	// means that the system chooses.
	LocalAddr net.Addr

	// Resolver looks up names; nil means net.DefaultResolver.
	Resolver *net.Resolver

	// KeepAlive is after how much idle time, and at which intervals, the kernel
	// asks the peer whether it is still there; 0 means 15 seconds; if
	// negative, it does not ask.
	KeepAlive time.Duration

	// Delay lets the kernel hold back small segments (Nagle's algorithm). If
	// false, TCP_NODELAY is set, as package net does.
	Delay bool

	// MaxInput and MaxOutput replace those of Config for the stream; 0 means
	// those of Config; if negative, there is no limit.
	MaxInput, MaxOutput int
}

const defaultDialTimeout = 30 * time.Second

// Dial returns a stream that is being connected. [Connected] follows, or
// [Closed] with the reason in Err, a *net.OpError. What is written before that is
// queued, and sent once it is connected. Closing the stream gives up.
//
// The network is tcp, tcp4, tcp6 or unix, and the address what net.Dial takes for
// it. A name is looked up without holding up the loop. Each of its addresses is
// tried until one works, those of IPv6 and IPv4 in a race that gives the family
// of the first a short head start (Happy Eyeballs, RFC 8305): package net's
// Dialer does the work, on a goroutine that ends with it.
//
// Dial returns an error for a bad network, address or configuration only, and
// ErrClosed on a closed loop.
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

	d := &dialing{
		dialer: net.Dialer{
			Timeout:   max(c.Timeout, 0),
			LocalAddr: c.LocalAddr,
			Resolver:  c.Resolver,
			KeepAlive: c.KeepAlive,
		},
		delay: c.Delay,
	}
	if c.Timeout == 0 {
		d.dialer.Timeout = defaultDialTimeout
	}
	d.dialer.SetMultipathTCP(false)
	var ctx context.Context
	ctx, d.cancel = context.WithCancel(context.Background())

	s := l.newStream(noFD)
	s.more().transport = d
	s.limits.Store(l.limits.with(c.MaxInput, c.MaxOutput))
	l.lock()
	defer l.unlock()
	if l.closed {
		d.cancel()
		return nil, ErrClosed
	}
	l.streams++
	l.refresh(&s.source)
	go s.dial(ctx, d, network, address)
	return s, nil
}

// dial connects s. It is a goroutine.
func (s *Stream) dial(ctx context.Context, d *dialing, network, address string) {
	defer d.cancel()
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
	defer s.unlock()
	switch {
	case s.transport() != d: // closed meanwhile
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
		x.transport = nil // but its own socket
		s.announce(msgConnected | s.attached(d.fin))
	}
}

// A deadlineError is what package net calls a timeout, and os.ErrDeadlineExceeded. Which
// of the two net returns depends on where it noticed first that the time was up.
type deadlineError struct{ error }

func (deadlineError) Timeout() bool     { return true }
func (e deadlineError) Unwrap() []error { return []error{e.error, os.ErrDeadlineExceeded} }

// attached has the poller report on the socket that s has got, and sends what
// was written before. It returns what came of it. mu is held.
func (s *Stream) attached(fin bool) pending {
	l := s.lockLoop()
	if l.closed {
		l.unlock()
		return 0 // it is being abandoned
	}
	tok := l.register(s, s.sock.fd)
	l.unlock()
	if err := l.poller.add(s.sock.fd, tok, streamInterest); err != nil {
		s.fail(l.Method(), err, msgConnected)
		return 0
	}
	s.restartIdle(Read | Write)
	s.out.lagging.Store(false)
	if fin {
		s.out.fin = finQueued
	}
	return s.flush()
}

// connecting reports whether s is still being connected. mu is held.
func (s *Stream) connecting() bool {
	_, ok := s.transport().(*dialing)
	return ok
}

// A dialing is the transport of a stream that is being connected.
type dialing struct {
	dialer net.Dialer
	delay  bool
	fin    bool // closeWrite was called
	cancel context.CancelFunc
}

var _ transport = (*dialing)(nil)

func (d *dialing) fill(*chain, int) (int, bool, error)   { return 0, false, eAGAIN }
func (d *dialing) write([]byte) (int, error)             { return 0, eAGAIN }
func (d *dialing) flush(out *chain) (int, *chunk, error) { return 0, nil, nil }
func (d *dialing) failure() error                        { return nil }
func (d *dialing) close(reset bool)                      { d.cancel() }
func (d *dialing) closeWrite() error                     { d.fin = true; return nil }
func (d *dialing) halfCloses() bool                      { return true }

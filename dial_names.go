// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"
)

// A Namer looks up the addresses of hosts for Dial, see DialConfig.Names. A Resolver of package
// evdns is one.
type Namer interface {
	// LookupHost begins to look up host, and does not wait. The network is ip, ip4 or ip6.
	// done is called once, with no lock held that cancel takes: with the addresses, in the
	// order in which to try them, or with an error. It may be called before LookupHost
	// returns, and from any goroutine. Once cancel was called, the result is not needed any
	// more; done may be called all the same. cancel may be called after done.
	LookupHost(network, host string, done func([]netip.Addr, error)) (cancel func())
}

// raceDelay is how long an address is tried alone (RFC 8305, section 8).
const raceDelay = 250 * time.Millisecond

var (
	errNoAddress   = errors.New("no suitable address")
	errSelfConnect = errors.New("connected to itself")
)

// A dialRace connects a stream to one of the addresses of a host, in the loop. It tries them
// one after the other, families in turn. When one has not answered for raceDelay, or has
// failed, the next one is tried as well. The first that is connected is taken (Happy Eyeballs,
// RFC 8305).
//
// The mu of the stream guards it, except for what the loop's mu guards.
type dialRace struct {
	s       *Stream
	d       *dialing
	names   Namer
	network string // tcp, tcp4 or tcp6
	host    string
	port    uint16

	stopped bool         // there is nothing more to do
	known   bool         // the look-up is over
	cancel  func()       // ends the look-up; nil: none is under way
	next    []netip.Addr // that were not tried
	running []*dialAttempt
	err     error // of the first attempt that has failed
	errAddr net.Addr

	// The loop's mu guards the following.

	reg      registration
	step     raceTimer // when to try the next address as well
	deadline raceTimer // when the time for all is over
}

var _ pollable = (*dialRace)(nil)

// A raceTimer is one of the timers of a dialRace.
type raceTimer struct {
	timerNode
	race *dialRace
	due  bool
}

// expired is called when the time has come. The caller holds the loop's mu.
func (t *raceTimer) expired(int64) {
	t.due = true
	t.race.s.Loop().assign(t.race)
}

// newDialRace returns the race for s, whose dialing is d. It is over when d.cancel is called.
func newDialRace(s *Stream, d *dialing, names Namer, network, address string) (*dialRace, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := net.LookupPort(network, service) // in /etc/services at most
	if err != nil {
		return nil, err
	}
	r := &dialRace{s: s, d: d, names: names, network: network, host: host, port: uint16(port)}
	for _, t := range []*raceTimer{&r.step, &r.deadline} {
		t.race, t.owner = r, t
	}
	cancel := d.cancel
	d.cancel = func() {
		cancel()
		r.stop()
	}
	return r, nil
}

// start begins with the look-up. The caller holds no lock.
func (r *dialRace) start() {
	r.s.mu.Lock()
	if t := r.d.dialer.Timeout; t > 0 && !r.stopped {
		r.startTimer(&r.deadline, t)
	}
	r.s.mu.Unlock()
	network := "ip" + r.network[len("tcp"):]
	if r.host == "" { // as package net: this host
		r.found([]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, nil)
		return
	}
	if a, err := netip.ParseAddr(r.host); err == nil {
		r.found([]netip.Addr{a}, nil)
		return
	}
	cancel := r.names.LookupHost(network, r.host, r.found)
	r.s.mu.Lock()
	stopped := r.stopped
	if !stopped && !r.known {
		r.cancel = cancel
	}
	r.s.mu.Unlock()
	if stopped {
		cancel()
	}
}

// startTimer has t go off when d has passed. The caller holds r.s.mu.
func (r *dialRace) startTimer(t *raceTimer, d time.Duration) {
	l := r.s.Loop()
	now := l.clock()
	l.lock()
	defer l.unlock()
	if !l.closed {
		l.startTimer(&t.timerNode, now, d)
	}
}

// found is called with the result of the look-up.
func (r *dialRace) found(addrs []netip.Addr, err error) {
	r.s.mu.Lock()
	defer r.s.unlockInTurn()
	if r.stopped {
		return
	}
	r.known, r.cancel = true, nil
	if err != nil {
		r.fail(err, nil)
		return
	}
	r.next = raceOrder(addrs, r.network, r.d.dialer.LocalAddr)
	r.err = errNoAddress
	r.advance()
}

// raceOrder returns those of addrs that network and local allow, families in turn. The first
// remains the first.
func raceOrder(addrs []netip.Addr, network string, local net.Addr) []netip.Addr {
	var families [2][]netip.Addr
	for _, a := range addrs {
		a = a.Unmap()
		is6 := a.Is6()
		if network == "tcp4" && is6 || network == "tcp6" && !is6 {
			continue
		}
		if t, ok := local.(*net.TCPAddr); ok && len(t.IP) > 0 && (t.IP.To4() == nil) != is6 {
			continue
		}
		i := 0
		if len(families[0]) > 0 && families[0][0].Is6() != is6 {
			i = 1
		}
		families[i] = append(families[i], a)
	}
	var order []netip.Addr
	for i := range max(len(families[0]), len(families[1])) {
		for _, f := range families {
			if i < len(f) {
				order = append(order, f[i])
			}
		}
	}
	return order
}

// advance tries the next address. If none is left and none is being tried, the stream has
// failed. The caller holds r.s.mu.
func (r *dialRace) advance() {
	l := r.s.Loop()
	for len(r.next) > 0 && !r.stopped {
		to := netip.AddrPortFrom(r.next[0], r.port)
		r.next = slices.Delete(r.next, 0, 1)
		a := &dialAttempt{r: r, to: to}
		if err := a.begin(l); err != nil {
			r.note(a, err)
			continue
		}
		r.running = append(r.running, a)
		if len(r.next) > 0 {
			r.startTimer(&r.step, raceDelay)
		}
		return
	}
	if len(r.running) == 0 && !r.stopped {
		r.fail(r.err, r.errAddr)
	}
}

// note keeps the error of the attempt that has failed first.
func (r *dialRace) note(a *dialAttempt, err error) {
	if r.errAddr == nil {
		r.err, r.errAddr = err, net.TCPAddrFromAddrPort(a.to)
	}
}

// ended is called when the attempt a, which is running, is over: connected, or failed with
// err. The caller holds r.s.mu.
func (r *dialRace) ended(a *dialAttempt, err error) {
	if err == nil {
		local, remote := socketAddrs(a.fd)
		if local != nil && remote != nil && local.String() == remote.String() {
			err = errSelfConnect // to a port that nobody listens on, TCP allows that
		} else {
			r.won(a, local, remote)
			return
		}
	}
	a.end(true)
	r.running = slices.DeleteFunc(r.running, func(o *dialAttempt) bool { return o == a })
	r.note(a, err)
	r.advance()
}

// won gives the socket of a to the stream. The caller holds r.s.mu.
func (r *dialRace) won(a *dialAttempt, local, remote net.Addr) {
	s := r.s
	a.end(false)
	r.running = slices.DeleteFunc(r.running, func(o *dialAttempt) bool { return o == a })
	r.stop()
	x := s.more()
	x.local, x.remote = local, remote
	s.sock.fd = a.fd
	s.expectShortReads(r.network)
	x.transport = nil // s.sock from now on
	s.announce(msgConnected | s.attached(r.d.fin))
}

// fail ends the stream. The caller holds r.s.mu.
func (r *dialRace) fail(err error, to net.Addr) {
	r.stop()
	op := &net.OpError{Op: "dial", Net: r.network, Addr: to, Err: err}
	if local := r.d.dialer.LocalAddr; local != nil {
		op.Source = local
	}
	r.s.more().err = op
	r.s.release(false, msgClosed)
}

// stop ends all that is under way. The caller holds r.s.mu.
func (r *dialRace) stop() {
	if r.stopped {
		return
	}
	r.stopped = true
	l := r.s.Loop()
	l.lock()
	l.timers.stop(&r.step.timerNode)
	l.timers.stop(&r.deadline.timerNode)
	l.unassign(r)
	l.unlock()
	for _, a := range r.running {
		a.end(true)
	}
	r.running, r.next = nil, nil
	if r.cancel != nil {
		r.cancel()
		r.cancel = nil
	}
}

// racing reports whether s is being connected by a dialRace. The caller holds s.mu.
func (s *Stream) racing() bool {
	d, ok := s.transport().(*dialing)
	return ok && d.race != nil
}

func (r *dialRace) ready(What)                  {}
func (r *dialRace) registration() *registration { return &r.reg }

// task is called after one of the timers.
func (r *dialRace) task() {
	r.s.mu.Lock()
	defer r.s.unlockInTurn()
	l := r.s.lockLoop()
	step, deadline := r.step.due, r.deadline.due
	r.step.due, r.deadline.due = false, false
	l.unlock()
	switch {
	case r.stopped:
	case deadline:
		var to net.Addr
		if len(r.running) > 0 {
			to = net.TCPAddrFromAddrPort(r.running[0].to)
		}
		r.fail(os.ErrDeadlineExceeded, to)
	case step:
		r.advance()
	}
}

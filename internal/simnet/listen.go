// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package simnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"syscall"

	"github.com/evchan/evchan/internal/seam"
)

// An end is an address: its key among those that listen, and its form of package net.
type end struct {
	key  string
	addr net.Addr
}

// resolve returns the end that network and address name. A host is an IP address or localhost;
// whatever listens on a port gets the connections to all addresses with it. Port 0 is one that is
// free. The caller holds Mu.
func (n *Net) resolve(network, address string) (end, error) {
	n.manual = true
	if network == "unix" {
		return end{"unix " + address, &net.UnixAddr{Name: address, Net: "unix"}}, nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return end{}, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return end{}, fmt.Errorf("port %q is no number: %w", port, err)
	}
	if number == 0 {
		n.ports++
		number = uint64(40000 + n.ports)
	}
	ip := netip.IPv4Unspecified()
	switch host {
	case "":
	case "localhost":
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	default:
		if ip, err = netip.ParseAddr(host); err != nil {
			return end{}, err
		}
	}
	return end{fmt.Sprint("port ", number), net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, uint16(number)))}, nil
}

// dialler returns the address that the end which dials to e has.
func (n *Net) dialler(e end) net.Addr {
	if e.addr.Network() == "unix" {
		return &net.UnixAddr{Net: "unix"}
	}
	n.ports++
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n.ports >> 8), byte(n.ports)}), uint16(50000+n.ports)))
}

// dialled returns the address at which what has dialled e arrives.
func (e end) dialled() net.Addr {
	if a, ok := e.addr.(*net.TCPAddr); ok && a.IP.IsUnspecified() {
		return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1).To4(), Port: a.Port}
	}
	return e.addr
}

// taken returns an error if something listens on e. The caller holds Mu.
func (n *Net) taken(e end) error {
	if n.listeners[e.key] != nil || n.servers[e.key] != nil {
		return &net.OpError{Op: "listen", Net: e.addr.Network(), Addr: e.addr, Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	return nil
}

// ---- The loop listens, the test dials ----

// A loopListener is a listening socket of the loop. The Net's Mu guards it.
type loopListener struct {
	net     *Net
	end     end
	fd      int
	backlog []*Conn
	closed  bool
}

// loopListen is Loop.Listen's; Listen is the test's.
func (n *Net) loopListen(network, address string) (seam.Listener, error) {
	n.Mu.Lock()
	defer n.Mu.Unlock()
	e, err := n.resolve(network, address)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	if err := n.taken(e); err != nil {
		return nil, err
	}
	ln := &loopListener{net: n, end: e, fd: n.P.Open()}
	n.listeners[e.key] = ln
	return ln, nil
}

// listening returns the loop's listener with the descriptor fd. The caller holds Mu.
func (n *Net) listening(fd int) *loopListener {
	for _, ln := range n.listeners {
		if ln.fd == fd {
			return ln
		}
	}
	return nil
}

func (ln *loopListener) FD() int        { return ln.fd }
func (ln *loopListener) Addr() net.Addr { return ln.end.addr }

func (ln *loopListener) Accept() (seam.Conn, error) {
	n := ln.net
	n.Mu.Lock()
	defer n.Mu.Unlock()
	switch {
	case ln.closed:
		n.Fail("the listener %v accepts after it was closed", ln.end.addr)
		return nil, syscall.EBADF
	case len(ln.backlog) == 0:
		n.P.Lower(ln.fd, seam.Read)
		return nil, syscall.EAGAIN
	case n.hit(AcceptAgain):
		n.P.Raise(ln.fd, seam.Read)
		return nil, syscall.EAGAIN
	case n.hit(NoFiles):
		return nil, syscall.EMFILE
	}
	c := ln.backlog[0]
	ln.backlog = slices.Delete(ln.backlog, 0, 1)
	if n.hit(Aborted) {
		c.socket.abandoned()
		return nil, syscall.ECONNABORTED
	}
	n.Progress()
	return c.socket, nil
}

func (ln *loopListener) Close() {
	n := ln.net
	n.Mu.Lock()
	defer n.Mu.Unlock()
	ln.closed = true
	delete(n.listeners, ln.end.key)
	n.P.Shut(ln.fd)
	for _, c := range ln.backlog {
		c.socket.abandoned()
	}
	ln.backlog = nil
}

// abandoned ends a socket that the loop never had. The caller holds Mu.
func (s *Socket) abandoned() {
	s.peer.Lost()
	s.Closed, s.WasReset, s.OutEnd = true, true, true
	s.Out = nil
	s.net.P.Shut(s.fd)
	s.peer.News()
}

// Dial connects to a listener of the loop. It does not wait until the loop accepts.
func (n *Net) Dial(network, address string) (*Conn, error) {
	n.Mu.Lock()
	defer n.Mu.Unlock()
	e, err := n.resolve(network, address)
	var ln *loopListener
	if err == nil {
		if ln = n.listeners[e.key]; ln == nil {
			err = os.NewSyscallError("connect", syscall.ECONNREFUSED)
		}
	}
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: e.addr, Err: err}
	}
	c := n.newConn(e.dialled(), n.dialler(e))
	ln.backlog = append(ln.backlog, c)
	n.P.Raise(ln.fd, seam.Read)
	n.Progress()
	return c, nil
}

// ---- The test listens, the loop dials ----

// A Listener accepts what the loop dials, for the goroutines of a test.
type Listener struct {
	net  *Net
	end  end
	news chan struct{} // look again
	done chan struct{} // closed by Close

	// The Net's Mu guards the following.

	backlog []*Conn
	closed  bool
}

var _ net.Listener = (*Listener)(nil)

// Listen returns a listener for what the loop dials.
func (n *Net) Listen(network, address string) (*Listener, error) {
	n.Mu.Lock()
	defer n.Mu.Unlock()
	e, err := n.resolve(network, address)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	if err := n.taken(e); err != nil {
		return nil, err
	}
	ln := &Listener{net: n, end: e, news: make(chan struct{}, 1), done: make(chan struct{})}
	n.servers[e.key] = ln
	return ln, nil
}

// Addr returns the address, which a test gives to the loop's Dial.
func (ln *Listener) Addr() net.Addr { return ln.end.addr }

// Accept returns a *Conn.
func (ln *Listener) Accept() (net.Conn, error) {
	c, err := ln.AcceptConn()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// AcceptConn is Accept with its type.
func (ln *Listener) AcceptConn() (*Conn, error) {
	for {
		ln.net.Mu.Lock()
		var c *Conn
		closed := ln.closed
		if !closed && len(ln.backlog) > 0 {
			c = ln.backlog[0]
			ln.backlog = slices.Delete(ln.backlog, 0, 1)
		}
		ln.net.Mu.Unlock()
		switch {
		case closed:
			return nil, &net.OpError{Op: "accept", Net: ln.end.addr.Network(), Addr: ln.end.addr, Err: net.ErrClosed}
		case c != nil:
			return c, nil
		}
		select {
		case <-ln.news:
		case <-ln.done:
		}
	}
}

// Close stops listening. What was not accepted is reset.
func (ln *Listener) Close() error {
	ln.net.Mu.Lock()
	defer ln.net.Mu.Unlock()
	if !ln.closed {
		ln.closed = true
		close(ln.done)
		delete(ln.net.servers, ln.end.key)
		for _, c := range ln.backlog {
			c.reset(false)
		}
		ln.backlog = nil
	}
	return nil
}

// Dial implements seam.Kernel: it connects the loop to a Listener.
func (k kernel) Dial(_ context.Context, network, address string) (seam.Conn, error) {
	n := k.Net
	n.Mu.Lock()
	defer n.Mu.Unlock()
	e, err := n.resolve(network, address)
	if err != nil {
		return nil, err
	}
	ln := n.servers[e.key]
	if ln == nil {
		return nil, os.NewSyscallError("connect", syscall.ECONNREFUSED)
	}
	c := n.newConn(n.dialler(e), e.dialled())
	ln.backlog = append(ln.backlog, c)
	select {
	case ln.news <- struct{}{}:
	default:
	}
	n.Progress()
	return c.socket, nil
}

// A kernel is a Net to its loop, whose Listen and Dial are others than the test's.
type kernel struct{ *Net }

var _ seam.Kernel = kernel{}

// Kernel returns n as its loop has it, for tests of evchan itself.
func (n *Net) Kernel() seam.Kernel { return kernel{n} }

// Listen implements seam.Kernel.
func (k kernel) Listen(network, address string) (seam.Listener, error) {
	return k.loopListen(network, address)
}

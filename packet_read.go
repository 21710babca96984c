// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"io"
	"net"
	"net/netip"
)

// ReadFromAddrPort reads one datagram into p and returns its size and where it
// comes from: an IPv4 address always as such, also on a socket for both
// families. If p is too small, the rest of the datagram is dropped, and the error is
// io.ErrShortBuffer with n == len(p). An empty datagram gives 0 and a nil error.
//
// If there is no datagram, as far as the loop has seen, it returns ErrWouldBlock, and
// a [Packets] will come when there is; after Close, of the loop as well,
// ErrClosed. Other errors are a *net.OpError.
//
// On a unixgram socket the address is the zero AddrPort; ReadFrom gives it.
func (c *PacketConn) ReadFromAddrPort(p []byte) (n int, from netip.AddrPort, err error) {
	n, a, err := c.receive(p)
	return n, a.ip, err
}

// ReadFrom is ReadFromAddrPort with the address as package net gives it: a
// *net.UDPAddr or *net.UnixAddr, or nil for a sender without a name.
func (c *PacketConn) ReadFrom(p []byte) (n int, from net.Addr, err error) {
	n, a, err := c.receive(p)
	switch {
	case a.ip.IsValid():
		from = net.UDPAddrFromAddrPort(a.ip)
	case a.name != "":
		from = &net.UnixAddr{Name: a.name, Net: "unixgram"}
	}
	return n, from, err
}

// receive reads one datagram.
func (c *PacketConn) receive(p []byte) (n int, from packetAddr, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd == noFD {
		return 0, from, ErrClosed
	}
	if c.known == 0 {
		if !c.more.Load() {
			// The kernel had nothing more when it was asked last, and what has
			// come since then will be reported. It need not be asked again.
			return 0, from, ErrWouldBlock
		}
		if !c.direct {
			c.look()
		}
	}
	switch {
	case c.batch != nil:
		n, from, err = c.unbatch(p)
	case c.err != nil:
		err = c.opError("read", "recvfrom", c.remote, c.err)
		c.err = nil
		c.known = 0
	case c.direct:
		n, from, err = c.receiveDirect(p)
	default:
		return 0, from, ErrWouldBlock
	}
	c.settle()
	return n, from, err
}

// unbatch takes one datagram of the batch. mu is held.
func (c *PacketConn) unbatch(p []byte) (n int, from packetAddr, err error) {
	data, ip := c.batch.next()
	from.ip = ip
	if n = copy(p, data); n < len(data) {
		err = io.ErrShortBuffer
	}
	if c.known--; c.batch.n == 0 {
		c.batch.free()
		c.batch = nil
	}
	return n, from, err
}

// receiveDirect reads one datagram from the kernel. mu is held.
func (c *PacketConn) receiveDirect(p []byte) (n int, from packetAddr, err error) {
	c.known = 0
	c.more.Store(false) // before the kernel is asked: what is reported from now on is news
	n, from, cut, err := sysRecvFrom(c.fd, p)
	switch err {
	case nil:
		c.more.Store(true)
		c.Loop().bytesIn.Add(uint64(n))
		if cut {
			err = io.ErrShortBuffer
		}
	case eAGAIN:
		c.rearm()
		err = ErrWouldBlock
	default:
		c.more.Store(true)
		err = c.opError("read", "recvfrom", c.remote, err)
	}
	return n, from, err
}

// look asks the kernel what there is, if nothing is known to be. mu is held.
func (c *PacketConn) look() {
	c.more.Store(false) // before, as in receiveDirect
	var err error
	if c.direct {
		if err = sysPeek(c.fd); err == nil {
			c.known = 1
		}
	} else {
		b := newPacketBatch()
		var bytes int
		bytes, err = b.receive(c.fd)
		if c.known = b.n; b.n > 0 {
			c.batch = b
			c.Loop().bytesIn.Add(uint64(bytes))
		} else {
			b.free()
		}
	}
	switch err {
	case nil:
		c.more.Store(true)
	case eAGAIN:
		c.rearm()
	default:
		c.more.Store(true)
		c.err = err
		c.known++
	}
}

// settle sees to it, after something was read, that a Packets comes again if there
// is more, and is taken back if there is not. mu is held.
func (c *PacketConn) settle() {
	promised := c.coming.Load() >= packetsPromised
	if promised && c.known == 0 && c.more.Load() {
		c.look() // it has to be known whether what was promised is true
	}
	switch {
	case promised && c.known == 0:
		// If more is set, the loop was told of something just now, and prepare will
		// be asked: that is no reason to keep the promise.
		l := c.lockAndWithdraw()
		c.coming.Store(packetsNone)
		l.retract(&c.source, msgSingle)
		l.unlock()
	case c.known == 0 && !c.more.Load():
	case c.coming.CompareAndSwap(packetsPromised, packetsTouched):
		// If it was received already, and this read came of it, there has to be
		// another one: received will see.
	case c.coming.Load() == packetsNone:
		l := c.lockLoop()
		if c.paused == 0 && c.life == lifeOpen {
			c.coming.Store(packetsDue)
			l.enqueue(&c.source, workRead)
		}
		l.unlock()
	}
}

// rearm asks a poller that reports a condition once only to report again. mu is
// held.
func (c *PacketConn) rearm() {
	l := c.Loop()
	if l.edge {
		return
	}
	l.lock()
	tok := l.token(c)
	l.unlock()
	l.poller.arm(c.fd, tok, Read|Edge)
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"io"
	"net"
	"net/netip"
	"time"
)

// ReadFromAddrPort reads one datagram into p and returns its size and its sender. An
// IPv4 sender has an IPv4 address, also on a socket for both families. An empty
// datagram gives 0 and a nil error.
//
// Errors:
//   - io.ErrShortBuffer: p is too small. It is full, and the rest of the datagram is
//     dropped.
//   - ErrWouldBlock: no datagram waits, as far as the loop has seen. [Packets] says
//     when one does.
//   - ErrClosed: the connection or its loop is closed.
//   - A *net.OpError: the network or the kernel has reported an error.
//
// On a unixgram socket the sender is the zero AddrPort; use ReadFrom to get its name.
func (c *PacketConn) ReadFromAddrPort(p []byte) (n int, from netip.AddrPort, err error) {
	n, a, err := c.receive(p, nil)
	return n, a.ip, err
}

// ReadPacket is ReadFromAddrPort that also returns the address of this host that the
// datagram was sent to. A server that listens on all addresses of a host with several
// needs it: a reply must come from the address that its peer has sent to (see
// WritePacket). to may be a broadcast or multicast address. A link-local IPv6 address
// has its zone.
//
// Linux, FreeBSD, OpenBSD and macOS tell it. Elsewhere ReadPacket works on sockets that
// are bound to one address, which to is then; on others it reads nothing, and returns an
// error that is ErrUnsupported. to is the zero Addr on a unixgram socket, and where the
// system does not say it: macOS may not for an IPv4 datagram to a socket of both families.
func (c *PacketConn) ReadPacket(p []byte) (n int, from netip.AddrPort, to netip.Addr, err error) {
	n, a, err := c.receive(p, &to)
	return n, a.ip, to, err
}

// ReadFrom is ReadFromAddrPort with the sender in package net's form: a *net.UDPAddr
// or *net.UnixAddr, or nil for a Unix socket without a name.
func (c *PacketConn) ReadFrom(p []byte) (n int, from net.Addr, err error) {
	n, a, err := c.receive(p, nil)
	switch {
	case a.ip.IsValid():
		from = net.UDPAddrFromAddrPort(a.ip)
	case a.name != "":
		from = &net.UnixAddr{Name: a.name, Net: "unixgram"}
	}
	return n, from, err
}

// receive reads one datagram. If to is not nil, it stores the address there that the
// datagram was sent to.
func (c *PacketConn) receive(p []byte, to *netip.Addr) (n int, from packetAddr, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd == noFD {
		return 0, from, ErrClosed
	}
	if to != nil && !c.tellsDestination() {
		return 0, from, c.opError("read", "", c.remote, ErrUnsupported)
	}
	if c.known == 0 {
		if !c.more.Load() {
			// The kernel had nothing more when it was last asked, and the poller
			// will report what arrives since. There is no need to ask again.
			return 0, from, ErrWouldBlock
		}
		if !c.direct {
			c.fetch()
		}
	}
	switch {
	case c.inbox != nil && c.known > 0:
		n, from, err = c.receiveInboxed(p, to)
	case c.batch != nil:
		n, from, err = c.receiveBatched(p, to)
	case c.err != nil:
		err = c.opError("read", "recvfrom", c.remote, c.err)
		c.err = nil
		c.known = 0
	case c.direct:
		n, from, err = c.receiveDirect(p, to)
	default:
		return 0, from, ErrWouldBlock
	}
	c.reannounce()
	return n, from, err
}

// tellsDestination reports whether ReadPacket works.
func (c *PacketConn) tellsDestination() bool {
	return c.told || c.at.IsValid() || c.local.Network() == "unixgram"
}

// destination returns the address that a datagram was sent to. a is what the kernel has
// told.
func (c *PacketConn) destination(a peerAddr) netip.Addr {
	if c.at.IsValid() {
		return c.at
	}
	return a.addrPort().Addr()
}

// receiveBatched takes one datagram out of the batch. Caller holds c.mu.
func (c *PacketConn) receiveBatched(p []byte, to *netip.Addr) (n int, from packetAddr, err error) {
	data, ip, at := c.batch.next()
	from.ip = ip
	if to != nil {
		*to = c.destination(at)
	}
	if n = copy(p, data); n < len(data) {
		err = io.ErrShortBuffer
	}
	if c.known--; c.batch.n == 0 {
		c.batch.free()
		c.batch = nil
	}
	return n, from, err
}

// receiveDirect reads one datagram from the kernel. Caller holds c.mu.
func (c *PacketConn) receiveDirect(p []byte, to *netip.Addr) (n int, from packetAddr, err error) {
	c.known = 0
	c.more.Store(false) // before asking the kernel: a report from now on may be of a later datagram
	n, from, at, cut, err := sysRecvFrom(c.fd, p, c.told && to != nil)
	switch err {
	case nil:
		if to != nil {
			*to = c.destination(at)
		}
		c.vain = 0
		c.more.Store(true)
		c.Loop().bytesIn.Add(uint64(n))
		if cut {
			err = io.ErrShortBuffer
		}
	case eAGAIN:
		c.rearm()
		err = ErrWouldBlock
	default:
		c.vain = 0
		c.more.Store(true)
		err = c.opError("read", "recvfrom", c.remote, err)
	}
	return n, from, err
}

// fetch asks the kernel for datagrams, when none are known to wait, and sets known.
// Caller holds c.mu.
func (c *PacketConn) fetch() {
	c.more.Store(false) // before, as in receiveDirect
	if c.inbox != nil {
		c.known = c.inbox.len()
		return
	}
	var err error
	if c.direct {
		if err = sysPeek(c.fd); err == nil {
			c.known = 1
		}
	} else if c.batch, err = receiveBatch(c.fd, c.told); c.batch != nil {
		c.known = c.batch.n
		c.Loop().bytesIn.Add(uint64(c.batch.size()))
	}
	if c.known > 0 {
		c.vain = 0
	}
	switch err {
	case nil:
		c.more.Store(true)
	case eAGAIN:
		c.rearm()
	default:
		c.vain = 0
		c.more.Store(true)
		c.err = err
		c.known++
	}
}

// reannounce is called after a read. If more datagrams wait, it makes sure that a
// Packets comes; if none do, it takes back one that was not received. Caller holds
// c.mu.
func (c *PacketConn) reannounce() {
	promised := c.announced.Load() >= packetsPromised
	if promised && c.known == 0 && c.more.Load() {
		c.fetch() // finds out whether the promise is still true
	}
	switch {
	case promised && c.known == 0:
		// If more is set, the poller has reported the socket just now. Then the
		// source is queued and prepare will decide: that does not make this
		// promise true.
		l := c.lockAndWithdraw()
		c.announced.Store(packetsNone)
		l.retract(&c.source, msgSingle)
		l.unlock()
	case c.known == 0 && !c.more.Load():
	case c.announced.CompareAndSwap(packetsPromised, packetsTouched):
		// The Packets may have been received already, and this read may be the
		// answer to it. Then another must follow: received takes care of that.
	case c.announced.Load() == packetsNone:
		l := c.lockLoop()
		if c.paused == 0 && c.life == lifeOpen {
			c.announced.Store(packetsDue)
			l.enqueue(&c.source, workRead)
		}
		l.unlock()
	}
}

// What rearm does about a report without a reason.
const (
	packetVain    = 4 // so many in a row, or more, make it wait; arbitrary
	packetMinWait = time.Millisecond
	packetMaxWait = 50 * time.Millisecond // it doubles; both arbitrary
)

// rearm is called after EAGAIN. It asks the poller to report the socket again, if the
// poller reports a condition only once. Caller holds c.mu.
//
// The kernel may report for ever what a read does not change: an error queue that is not
// read (IP_RECVERR), or a socket that another holder has shut down. Then the loop would
// make turns all the time. After several reports in vain, rearm waits longer and longer,
// and datagrams are noticed that much later.
func (c *PacketConn) rearm() {
	l := c.Loop()
	if l.edge {
		return
	}
	if c.reported.Swap(false) {
		c.vain++
	}
	if c.vain < packetVain {
		c.arm()
		return
	}
	wait := packetMaxWait
	if n := c.vain - packetVain; n < 6 {
		wait = min(wait, packetMinWait<<n)
	}
	now := l.clock()
	l.lock()
	defer l.unlock()
	if c.life == lifeOpen && !l.closed {
		l.startTimer(&c.retry, now, wait)
	}
}

// arm asks the poller to report the socket. Caller holds c.mu.
func (c *PacketConn) arm() {
	l := c.Loop()
	l.lock()
	tok := l.token(c)
	l.unlock()
	l.poller.arm(c.fd, tok, Read|Edge)
}

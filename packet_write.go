// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// A Datagram is one of the datagrams that [PacketConn.WriteBatch] sends.
type Datagram struct {
	Data    []byte         // may be empty
	Addr    netip.AddrPort // its destination
	NetAddr net.Addr       // its destination in package net's form; used if Addr is the zero AddrPort
	From    netip.Addr     // its source, as in WritePacket; the zero Addr: the system's choice
}

// WriteToAddrPort sends p, which may be empty, as one datagram to addr. It sends
// the datagram at once or not at all. addr may be an IPv4 address in its IPv6 form
// (::ffff:a.b.c.d), and a link-local IPv6 address needs its zone.
//
// Errors, with which nothing was sent:
//   - ErrWouldBlock: the kernel takes no more for now. No message says when it does,
//     since often the kernel does not know: a unixgram socket may be full at the
//     other end. Try again later, or drop the datagram as the network might have.
//   - ErrClosed: the connection or its loop is closed.
//   - A *net.OpError around EMSGSIZE: p is too long.
//   - A *net.OpError around a *net.AddrError: the socket cannot send to this kind of
//     address.
//   - Other errors of the kernel, in a *net.OpError.
//
// Addr of the *net.OpError is the destination. An error says nothing about other
// destinations.
func (c *PacketConn) WriteToAddrPort(p []byte, addr netip.AddrPort) (int, error) {
	to, err := c.target(addr)
	if err != nil {
		return 0, c.sendError(err, addr, nil)
	}
	if err := c.send(p, &to); err != nil {
		return 0, c.sendError(err, addr, nil)
	}
	return len(p), nil
}

// WritePacket is WriteToAddrPort that also says which address of this host the datagram
// comes from: for a reply, the address that ReadPacket has returned. A from that cannot be
// a source leaves the choice to the system: the zero Addr, an unspecified or a multicast
// address, and 255.255.255.255. The broadcast address of a subnet gives an error of the
// kernel, ENETUNREACH for example: then send again with the zero Addr.
//
// On a connected socket, to is the zero AddrPort.
//
// Errors are those of WriteToAddrPort, and in a *net.OpError:
//   - a *net.AddrError: the socket or the destination is of another family than from;
//   - an error of the kernel: this host does not have the address;
//   - ErrUnsupported: the system cannot do that (Linux, FreeBSD, OpenBSD and macOS can).
//     Everywhere, from may be the address that the socket is bound to.
func (c *PacketConn) WritePacket(p []byte, to netip.AddrPort, from netip.Addr) (int, error) {
	a, err := c.target(to)
	if err == nil {
		err = c.setSource(&a, from)
	}
	if err == nil {
		err = c.send(p, &a)
	}
	if err != nil {
		return 0, c.sendError(err, to, nil)
	}
	return len(p), nil
}

// WriteTo is WriteToAddrPort with the destination in package net's form: a
// *net.UDPAddr or *net.UnixAddr.
func (c *PacketConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	to, err := c.netTarget(addr)
	if err == nil {
		err = c.send(p, &to)
	}
	if err != nil {
		return 0, c.sendError(err, netip.AddrPort{}, addr)
	}
	return len(p), nil
}

// WriteBatch sends the datagrams in their order, as WriteToAddrPort does, with as
// few system calls as possible: one for 16 datagrams on Linux. It returns how many
// it sent. If n < len(ds), err is what WriteToAddrPort would return for ds[n]: go on
// with ds[n+1:] to leave that one out or, after ErrWouldBlock, with ds[n:] later.
// WriteBatch does not keep ds or its data.
func (c *PacketConn) WriteBatch(ds []Datagram) (n int, err error) {
	b := newPacketOutput()
	defer b.free()
	for n < len(ds) {
		b.n = 0
		for _, d := range ds[n:min(len(ds), n+maxPacketBatch)] {
			var to packetAddr
			if d.Addr != (netip.AddrPort{}) {
				to, err = c.target(d.Addr)
			} else {
				to, err = c.netTarget(d.NetAddr)
			}
			if err == nil {
				err = c.setSource(&to, d.From)
			}
			if err != nil {
				break // returned below, once the datagrams before it are sent
			}
			b.add(d.Data, to)
		}
		if b.n > 0 {
			sent, sendErr := c.sendBatch(b)
			n += sent
			if sendErr == nil && (err == nil || sent < b.n) {
				continue
			}
			if sendErr != nil {
				err = sendErr
			}
		}
		if err != nil {
			return n, c.sendError(err, ds[n].Addr, ds[n].NetAddr)
		}
	}
	return n, nil
}

var packetOutputPool sync.Pool // of *packetOutput

// newPacketOutput returns an empty packetOutput.
func newPacketOutput() *packetOutput {
	if b, ok := packetOutputPool.Get().(*packetOutput); ok {
		return b
	}
	return new(packetOutput)
}

// add adds a datagram to b, which is not full.
func (b *packetOutput) add(p []byte, to packetAddr) {
	b.data[b.n], b.to[b.n] = p, to
	b.n++
}

// free recycles b.
func (b *packetOutput) free() {
	clear(b.data[:])
	clear(b.to[:])
	b.n = 0
	packetOutputPool.Put(b)
}

// target returns the destination addr in the form that system calls need.
func (c *PacketConn) target(addr netip.AddrPort) (to packetAddr, err error) {
	if addr == (netip.AddrPort{}) {
		return to, c.noTarget()
	}
	switch {
	case c.remote != nil:
		return to, net.ErrWriteToConnected
	case c.local.Network() == "unixgram":
		return to, &net.AddrError{Err: "not the address of a unixgram socket", Addr: addr.String()}
	case !addr.IsValid():
		return to, &net.AddrError{Err: "port without an address", Addr: addr.String()}
	}
	ip := addr.Addr().Unmap()
	switch {
	case !c.ipv6 && !ip.Is4():
		return to, &net.AddrError{Err: "non-IPv4 address", Addr: ip.String()}
	case c.ipv6Only && ip.Is4():
		return to, &net.AddrError{Err: "non-IPv6 address", Addr: ip.String()}
	case c.ipv6 && ip.Is4():
		ip = netip.AddrFrom16(ip.As16())
	case c.ipv6 && ip.Zone() != "":
		zone, ok := zones.index(ip.Zone())
		if !ok {
			return to, &net.AddrError{Err: "no such zone", Addr: ip.String()}
		}
		to.zone = uint32(zone)
		ip = ip.WithZone("")
	}
	to.ip = netip.AddrPortFrom(ip, addr.Port())
	return to, nil
}

// setSource has what is sent to the destination come from the address from.
func (c *PacketConn) setSource(to *packetAddr, from netip.Addr) error {
	if !from.IsValid() {
		return nil
	}
	from = from.Unmap()
	switch {
	case c.local.Network() == "unixgram":
		return &net.AddrError{Err: "not the address of a unixgram socket", Addr: from.String()}
	case !c.ipv6 && !from.Is4():
		return &net.AddrError{Err: "non-IPv4 address", Addr: from.String()}
	case c.ipv6Only && from.Is4():
		return &net.AddrError{Err: "non-IPv6 address", Addr: from.String()}
	case to.ip.IsValid() && to.ip.Addr().Unmap().Is4() != from.Is4():
		return &net.AddrError{Err: "not of the family of the destination", Addr: from.String()}
	case from == c.at, from.IsUnspecified(), from.IsMulticast(), from == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return nil
	case c.ipv6 && from.Is4():
		from = netip.AddrFrom16(from.As16())
	case from.Zone() != "":
		zone, ok := zones.index(from.Zone())
		if !ok {
			return &net.AddrError{Err: "no such zone", Addr: from.String()}
		}
		to.sourceZone = uint32(zone)
		from = from.WithZone("")
	}
	to.source = from
	return nil
}

// netTarget is target for an address in package net's form.
func (c *PacketConn) netTarget(addr net.Addr) (to packetAddr, err error) {
	switch a := addr.(type) {
	case nil:
		return to, c.noTarget()
	case *net.UDPAddr:
		if a == nil {
			return to, c.noTarget()
		}
		ap := a.AddrPort()
		if len(a.IP) == 0 { // this host, as in package net
			ip := netip.IPv4Unspecified()
			if c.ipv6Only {
				ip = netip.IPv6Unspecified()
			}
			ap = netip.AddrPortFrom(ip, ap.Port())
		}
		return c.target(ap)
	case *net.UnixAddr:
		switch {
		case a == nil:
			return to, c.noTarget()
		case c.remote != nil:
			return to, net.ErrWriteToConnected
		case c.local.Network() != "unixgram" || a.Net != "unixgram":
			return to, &net.AddrError{Err: "not an address for a socket of type " + c.local.Network(), Addr: a.String()}
		case a.Name == "":
			return to, errNoTarget
		}
		to.name = a.Name
		return to, nil
	}
	return to, fmt.Errorf("address is a %T", addr)
}

var errNoTarget = errors.New("missing address")

// noTarget returns an error if a datagram needs an address, because the socket is
// not connected.
func (c *PacketConn) noTarget() error {
	if c.remote == nil {
		return errNoTarget
	}
	return nil
}

// send sends one datagram. It returns the kernel's errors unwrapped.
func (c *PacketConn) send(p []byte, to *packetAddr) error {
	c.sendMu.RLock()
	defer c.sendMu.RUnlock()
	if c.fd == noFD {
		return ErrClosed
	}
	err := sysSendTo(c.fd, p, to)
	if err == nil {
		c.Loop().bytesOut.Add(uint64(len(p)))
	}
	return err
}

// sendBatch sends datagrams of b, in their order, and returns how many. It returns
// an error only if it sent none; the error is about the first, and unwrapped.
func (c *PacketConn) sendBatch(b *packetOutput) (n int, err error) {
	c.sendMu.RLock()
	defer c.sendMu.RUnlock()
	if c.fd == noFD {
		return 0, ErrClosed
	}
	n, err = b.send(c.fd)
	bytes := 0
	for _, p := range b.data[:n] {
		bytes += len(p)
	}
	c.Loop().bytesOut.Add(uint64(bytes))
	return n, err
}

// sendError returns what a method returns when sending to ip, or to addr if ip is
// zero, has failed with err.
func (c *PacketConn) sendError(err error, ip netip.AddrPort, addr net.Addr) error {
	switch {
	case err == eAGAIN, err == eNOBUFS: // the latter from macOS and the BSDs where a queue is full
		return ErrWouldBlock
	case err == ErrClosed:
		return err
	case c.isClosed():
		return ErrClosed // goes before other errors
	case ip.IsValid():
		addr = net.UDPAddrFromAddrPort(ip)
	case addr == nil:
		addr = c.remote
	}
	return c.opError("write", "sendto", addr, err)
}

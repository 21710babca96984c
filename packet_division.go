// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"hash/maphash"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// A packetDivision divides the datagrams of one socket among the loops of a Group, by their
// senders. Each loop has a PacketConn of its own, a part, with a duplicate of the descriptor to
// send with. The loop of the first part reads the socket for all, and puts each datagram into the
// inbox of its part. One sender's datagrams all go to one inbox, in their order.
type packetDivision struct {
	parts []*PacketConn // never changes; the first is the one that the Group has returned
	ports bool          // a sender is an address with its port; else without; never changes
	more  atomic.Bool   // the kernel may hold datagrams: as PacketConn.more
}

// What an inbox holds, and how many datagrams a task reads.
const (
	packetInboxMax = 256 << 10 // bytes, with packetOverhead for each datagram; arbitrary, as much as kernels hold
	packetOverhead = 256       // arbitrary
	packetsATask   = 16        // arbitrary
)

// A packetInbox has the datagrams that were read for a part, and which that has not read.
type packetInbox struct {
	limit int // bytes; never changes

	mu      sync.Mutex // taken after PacketConn.mu; guards the following
	waiting []inboxed
	bytes   int
	closed  bool
}

// An inboxed is a datagram, or an error, in an inbox.
type inboxed struct {
	data *chunk // nil: an error
	from netip.AddrPort
	to   peerAddr
	err  error
}

// put adds p, unless there is no room: then p is dropped, as a kernel drops what a socket's
// buffer has no room for.
func (b *packetInbox) put(p []byte, from netip.AddrPort, to peerAddr, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	size := len(p) + packetOverhead
	if b.closed || len(b.waiting) > 0 && b.bytes+size > b.limit {
		return
	}
	x := inboxed{from: from, to: to, err: err}
	if err == nil {
		x.data = newChunkSize(len(p))
		x.data.w += copy(x.data.buf[x.data.w:], p)
	}
	b.bytes += size
	b.waiting = append(b.waiting, x)
}

// len returns how many datagrams and errors wait.
func (b *packetInbox) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}

// take removes the first that waits. There is one.
func (b *packetInbox) take() inboxed {
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.waiting[0]
	b.waiting[0] = inboxed{}
	b.waiting = b.waiting[1:]
	b.bytes -= packetOverhead
	if x.data != nil {
		b.bytes -= x.data.w - x.data.r
	}
	if len(b.waiting) == 0 {
		b.waiting = nil
	}
	return x
}

// close drops all that waits, and what comes later.
func (b *packetInbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, x := range b.waiting {
		if x.data != nil {
			x.data.put()
		}
	}
	b.waiting, b.bytes, b.closed = nil, 0, true
}

// dividePackets gives each loop of g a part of the socket fd, of which it takes over the
// ownership. It returns the first part.
func (g *Group) dividePackets(op string, fd sysFD, local net.Addr, conf *PacketConfig, ports bool) (*PacketConn, error) {
	d := &packetDivision{ports: ports}
	fds := []sysFD{fd}
	adopted := make([]bool, len(g.loops)) // adopt closes the descriptor if it fails
	fail := func(err error) (*PacketConn, error) {
		for i, fd := range fds {
			if !adopted[i] {
				closeFD(fd)
			} else {
				d.parts[i].Close()
			}
		}
		return nil, err
	}
	for range g.loops[1:] {
		fd, err := dupFD(fds[0])
		if err != nil {
			return fail(&net.OpError{Op: op, Net: local.Network(), Source: local, Err: err})
		}
		fds = append(fds, fd)
	}
	limit := packetInboxMax
	if conf.ReadBuffer > 0 {
		limit = conf.ReadBuffer
	}
	for _, l := range g.loops {
		p := l.newPacketConn(local, nil)
		p.configure(conf)
		p.inbox = &packetInbox{limit: limit}
		d.parts = append(d.parts, p)
	}
	others := d.parts[1:]
	for i := len(d.parts) - 1; i >= 0; i-- { // the first begins to read when all others are there
		p := d.parts[i]
		if i == 0 {
			p.division = d
		}
		adopted[i] = true
		if _, err := p.adopt(op, fds[i], conf.Notify); err != nil {
			return fail(err)
		}
	}
	d.parts[0].others.Store(&others)
	return d.parts[0], nil
}

// readFor reads datagrams from the kernel, for all parts of c, which is the first. Caller holds
// c.mu.
func (c *PacketConn) readFor() {
	d := c.division
	buf := packetBufferPool.Get().(*[]byte)
	defer packetBufferPool.Put(buf)
	got := make(map[*PacketConn]bool)
	empty := false
	d.more.Store(false) // before asking the kernel: a report from now on may be of a later datagram
	for n := 0; n < packetsATask && !empty; n++ {
		size, from, to, _, err := sysRecvFrom(c.fd, *buf, c.told)
		p := c
		switch err {
		case nil:
			c.vain = 0
			p = d.part(from.ip)
			p.inbox.put((*buf)[:size], from.ip, to, nil)
			p.Loop().bytesIn.Add(uint64(size))
		case eAGAIN:
			c.rearm()
			empty = true
			continue
		default:
			c.vain = 0
			c.inbox.put(nil, netip.AddrPort{}, peerAddr{}, err)
		}
		got[p] = true
	}
	for p := range got {
		p.more.Store(true)
		l := p.lockLoop()
		if p.paused == 0 && p.life == lifeOpen {
			l.enqueue(&p.source, workRead)
		}
		l.unlock()
	}
	if !empty {
		d.more.Store(true)
		l := c.lockLoop()
		l.assign(c)
		l.unlock()
	}
}

var packetBufferPool = sync.Pool{New: func() any {
	buf := make([]byte, 64<<10) // UDP allows at most 65,527 bytes
	return &buf
}}

// part returns the part that gets the datagrams of from.
func (d *packetDivision) part(from netip.AddrPort) *PacketConn {
	return d.parts[d.sourceHash(from)%uint64(len(d.parts))]
}

func (d *packetDivision) sourceHash(from netip.AddrPort) uint64 {
	h := hashSource(from.Addr())
	if d.ports {
		h = maphash.Comparable(sourceSeed, [2]uint64{h, uint64(from.Port())})
	}
	return h
}

// receiveInboxed takes one datagram out of the inbox, which is not empty. Caller holds c.mu.
func (c *PacketConn) receiveInboxed(p []byte, to *netip.Addr) (n int, from packetAddr, err error) {
	x := c.inbox.take()
	c.known--
	if x.err != nil {
		return 0, from, c.opError("read", "recvfrom", c.remote, x.err)
	}
	from.ip = x.from
	if to != nil {
		*to = c.destination(x.to)
	}
	data := x.data.buf[x.data.r:x.data.w]
	if n = copy(p, data); n < len(data) {
		err = io.ErrShortBuffer
	}
	x.data.put()
	return n, from, err
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
)

// A PacketConn is a socket for datagrams: of UDP, or a Unix socket of type
// "unixgram". [Packets] tells that datagrams wait to be read. No method waits for
// the kernel, and all are safe for concurrent use. It is made by [Loop.ListenPacket] or
// [Loop.WrapPacketConn]; a zero one is of no use.
//
// Where the system can do that (Linux, for UDP), up to 16 datagrams are taken from the
// kernel by one call, and later reads have them from memory. Until they
// were read the connection holds a buffer of 1 MiB for them, of which the system
// provides as much as they fill; an idle connection holds nothing. What was taken
// from the kernel and not read is dropped by Close.
//
// A datagram may get lost: the kernel drops what comes when its own
// buffer, whose size is the socket's SO_RCVBUF, is full. That happens also while
// the connection is paused, or nobody reads.
//
// Failures are about one call and never end the connection. Errors that
// the network reports for datagrams sent earlier come to the sockets that the
// kernel gives them to: on most systems connected ones (see WrapPacketConn) only,
// whose next read or write then fails, and has done nothing.
type PacketConn struct {
	source
	reg registration

	// Data is for the user; the package does not touch it.
	Data any

	local   net.Addr // never changes
	remote  net.Addr // nil: not connected; never changes
	six     bool     // of the family AF_INET6; never changes
	onlySix bool     // and for IPv6 alone; never changes
	direct  bool     // reads go to the kernel, not through batch; never changes

	// more means that the kernel may have something that is not known yet. Set by
	// the loop when it is told so, and cleared before the kernel is asked.
	more atomic.Bool

	// coming tells what becomes of the next Packets: one of the constants below. mu
	// guards it, except that the loop notes with its own mu held that the message was
	// received. To take a promise back, the loop's mu is held as well.
	coming atomic.Int32

	// To change fd, mu and sendMu are held; to use it, one of them.
	sendMu sync.RWMutex // taken after mu
	fd     sysFD        // noFD: closed
	path   string       // the socket's file, to be removed; goes with fd

	// mu guards the following. It is taken before the loop's mu.
	mu    sync.Mutex
	known int          // how many datagrams, or errors, are known to wait; if direct, 1 means one or more
	batch *packetBatch // not empty; nil: there is none
	err   error        // a bare one, to be told after the datagrams of batch

	// The loop's mu guards the following.

}

// What PacketConn.coming tells.
const (
	packetsNone     = iota // there is none pending
	packetsDue             // prepare will decide whether there is to be one
	packetsPromised        // prepare has decided so, and it has not been received, as far as the loop knows
	packetsTouched         // as packetsPromised, and since then a read has left some
)

// A packetAddr is where a datagram comes from or goes to, in the form of the
// system's calls. The zero value stands for a peer that is known to the kernel or
// has no address.
type packetAddr struct {
	ip   netip.AddrPort // to send to: of the socket's family, without a zone
	zone uint32         // of ip, to send to
	name string         // of a unixgram socket
}

// ListenPacket returns a packet connection on the address. The network is udp,
// udp4, udp6 or unixgram, and the address what net.ListenPacket takes for it: with
// port 0 the system chooses one, which LocalAddr tells. The file of a unixgram
// socket is removed when the connection is closed (package net leaves it).
//
// A host name as address is looked up before ListenPacket returns; an IP address
// needs no look-up. It returns an error as net.ListenPacket does, and ErrClosed on
// a closed loop.
//
// For socket options, multicast groups, or a connected socket, set a net.UDPConn
// up and give it to [Loop.WrapPacketConn]; or set options later on what File
// returns.
func (l *Loop) ListenPacket(network, address string) (*PacketConn, error) {
	switch network {
	case "udp", "udp4", "udp6", "unixgram":
	default:
		return nil, &net.OpError{Op: "listen", Net: network, Err: net.UnknownNetworkError(network)}
	}
	if l.isClosed() {
		return nil, ErrClosed
	}
	fd, local, err := sysListenPacket(network, address)
	if err != nil {
		return nil, err
	}
	c := l.newPacketConn(local, nil)
	if name := local.String(); network == "unixgram" && name != "" && name[0] != '@' {
		c.path = name
	}
	return c.adopt("listen", fd)
}

// WrapPacketConn takes conn over, which must be a *net.UDPConn, or a *net.UnixConn of
// type "unixgram", and returns it as a packet connection. conn is dead afterwards:
// all its methods fail. The file of a unixgram socket stays when the connection is
// closed, as with package net.
//
// If conn is connected (made by net.Dial), the connection receives from its peer
// only, and sends only there: WriteTo takes nil for the address, and
// WriteToAddrPort the zero AddrPort. Any other address gives
// net.ErrWriteToConnected.
//
// If WrapPacketConn returns an error, conn is as it was.
func (l *Loop) WrapPacketConn(conn net.PacketConn) (*PacketConn, error) {
	if conn == nil {
		return nil, errors.New("evchan: WrapPacketConn of nil")
	}
	if l.isClosed() {
		return nil, ErrClosed
	}
	var nc net.Conn
	switch c := conn.(type) {
	case *net.UDPConn:
		if c != nil {
			nc = c
		}
	case *net.UnixConn:
		if c != nil && c.LocalAddr().Network() == "unixgram" {
			nc = c
		}
	}
	if nc == nil {
		return nil, fmt.Errorf("evchan: WrapPacketConn of a %T: %w", conn, ErrUnsupported)
	}
	fd, err := takeFD(nc.(syscall.Conn))
	if err != nil {
		return nil, &net.OpError{Op: "wrap", Net: nc.LocalAddr().Network(), Source: nc.LocalAddr(), Addr: nc.RemoteAddr(), Err: err}
	}
	c, err := l.newPacketConn(nc.LocalAddr(), nc.RemoteAddr()).adopt("wrap", fd)
	if err == nil {
		nc.Close()
	}
	return c, err
}

// newPacketConn returns a packet connection that has no socket yet.
func (l *Loop) newPacketConn(local, remote net.Addr) *PacketConn {
	c := &PacketConn{local: local, remote: remote, fd: noFD}
	c.init(l, c)
	c.more.Store(true)
	return c
}

// adopt gives c its socket, which is closed if there is an error.
func (c *PacketConn) adopt(op string, fd sysFD) (_ *PacketConn, err error) {
	c.fd = fd
	if c.six, c.onlySix, err = sysPacketFamily(fd); err == nil {
		c.direct = !packetBatches || c.local.Network() == "unixgram" // which has datagrams of any size
		err = c.open()
	}
	if err != nil {
		c.Close()
		if err == ErrClosed {
			return nil, err
		}
		return nil, &net.OpError{Op: op, Net: c.local.Network(), Source: c.local, Addr: c.remote, Err: err}
	}
	return c, nil
}

// open makes c live.
func (c *PacketConn) open() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.Loop()
	l.lock()
	if l.closed {
		l.unlock()
		return ErrClosed
	}
	tok := l.register(c, c.fd)
	l.refresh(&c.source)
	l.unlock()
	return os.NewSyscallError(l.Method(), l.poller.add(c.fd, tok, Read|Edge))
}

// LocalAddr returns the address of the connection, as package net gives it.
func (c *PacketConn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the address of the peer that the socket is connected to, as
// package net gives it; nil if it is not connected.
func (c *PacketConn) RemoteAddr() net.Addr { return c.remote }

// Pause stops the messages; a Packets that has not been received is taken back.
// Reading and writing work as before. A paused connection is not live.
func (c *PacketConn) Pause() {
	l := c.lockAndWithdraw()
	defer l.unlock()
	c.paused = Read
	l.retract(&c.source, msgSingle|workRead)
}

// Resume undoes Pause: a Packets follows if there are datagrams.
func (c *PacketConn) Resume() {
	l := c.lockLoop()
	defer l.unlock()
	if c.paused != 0 && c.life == lifeOpen && !l.closed {
		c.paused = 0
		c.more.Store(true)
		l.enqueue(&c.source, workRead)
		l.refresh(&c.source)
	}
}

func (c *PacketConn) isClosed() bool {
	c.sendMu.RLock()
	defer c.sendMu.RUnlock()
	return c.fd == noFD
}

// opError returns err, which the operation op has met with in the system call, as
// package net would return it.
func (c *PacketConn) opError(op, call string, addr net.Addr, err error) error {
	if e, ok := err.(sysErrno); ok {
		err = os.NewSyscallError(call, portable(e))
	}
	return &net.OpError{Op: op, Net: c.local.Network(), Source: c.local, Addr: addr, Err: err}
}

// File returns a duplicate of the connection's descriptor, as net.UDPConn.File
// does. The caller closes it. It is the same socket: options that are set on it, by
// way of net.FilePacketConn, say, are set here.
func (c *PacketConn) File() (*os.File, error) {
	c.mustBeMade() // or that would be of standard input
	c.sendMu.RLock()
	defer c.sendMu.RUnlock()
	if c.fd == noFD {
		return nil, ErrClosed
	}
	fd, err := dupFD(c.fd)
	if err != nil {
		return nil, c.opError("file", "dup", c.remote, err)
	}
	return os.NewFile(uintptr(fd), c.label()), nil
}

// Close closes the socket. Datagrams that were not read are dropped, and a Packets
// that has not been received is taken back.
func (c *PacketConn) Close() error {
	l := c.lockAndWithdraw()
	c.life = lifeClosed
	l.retract(&c.source, msgSingle|workRead)
	l.unlock()
	c.release()
	return nil
}

// release closes the socket.
func (c *PacketConn) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sendMu.Lock()
	defer c.sendMu.Unlock()
	if c.fd == noFD {
		return
	}
	l := c.lockLoop()
	if !l.closed {
		l.unregister(c, c.fd)
	}
	l.refresh(&c.source)
	l.unlock()
	if c.path != "" {
		os.Remove(c.path)
	}
	l.poller.remove(c.fd)
	closeFD(c.fd)
	c.fd = noFD
	if c.batch != nil {
		c.batch.free()
		c.batch = nil
	}
	c.known = 0
}

func (c *PacketConn) abandon() {
	l := c.lockLoop()
	c.life = lifeClosed
	l.unlock()
	c.release()
}

func (c *PacketConn) registration() *registration { return &c.reg }

// ready is told that there are datagrams, or an error.
func (c *PacketConn) ready(What) {
	c.more.Store(true)
	if c.paused == 0 {
		c.Loop().enqueue(&c.source, workRead)
	}
}

// task has nothing to do: prepare reads.
func (c *PacketConn) task() {}

// prepare takes what there is from the kernel, unless something is there already.
func (c *PacketConn) prepare(pending) pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd == noFD {
		return 0
	}
	if c.known == 0 && c.more.Load() {
		c.look()
	}
	if c.known == 0 {
		c.coming.Store(packetsNone)
		return 0
	}
	c.coming.Store(packetsPromised)
	return msgSingle
}

// confirm is asked after prepare has let go of mu: whoever has read all meanwhile
// has seen to coming.
func (c *PacketConn) confirm(bits pending) pending {
	if c.coming.Load() < packetsPromised || c.paused != 0 || c.life != lifeOpen {
		return 0
	}
	return bits
}

// received sees to it that another Packets comes if a read was faster than this
// call, and has left some.
func (c *PacketConn) received(pending) {
	if !c.coming.CompareAndSwap(packetsPromised, packetsNone) {
		c.coming.Store(packetsDue)
		c.pend |= workRead // whoever calls puts the source back into the queue
	}
}

func (c *PacketConn) event(pending) Event { return Packets{c} }
func (c *PacketConn) alive() bool         { return c.life == lifeOpen && c.paused == 0 }
func (c *PacketConn) label() string       { return "packetconn " + addrString(c.local) }

func (c *PacketConn) dump() string {
	c.mu.Lock()
	fd, known := c.fd, c.known
	c.mu.Unlock()
	l := c.lockLoop()
	defer l.unlock()
	state := "open"
	switch {
	case c.life != lifeOpen:
		state = "ended"
	case c.paused != 0:
		state = "paused"
	}
	return "packetconn " + c.words() + " state=" + state + " fd=" + itoa(int(fd)) +
		" local=" + quote(addrString(c.local)) + " remote=" + quote(addrString(c.remote)) +
		" held=" + itoa(known)
}

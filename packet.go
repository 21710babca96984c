// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"fmt"
	"io"
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

	paused bool
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
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	tok := l.register(c, c.fd)
	l.refresh(&c.source)
	l.mu.Unlock()
	return os.NewSyscallError(l.Method(), l.poller.add(c.fd, tok, Read|Edge))
}

// LocalAddr returns the address of the connection, as package net gives it.
func (c *PacketConn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the address of the peer that the socket is connected to, as
// package net gives it; nil if it is not connected.
func (c *PacketConn) RemoteAddr() net.Addr { return c.remote }

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
		l := c.edit()
		c.coming.Store(packetsNone)
		l.retract(&c.source, message)
		l.unlock()
	case c.known == 0 && !c.more.Load():
	case c.coming.CompareAndSwap(packetsPromised, packetsTouched):
		// If it was received already, and this read came of it, there has to be
		// another one: received will see.
	case c.coming.Load() == packetsNone:
		l := c.lock()
		if !c.paused && !c.ended {
			c.coming.Store(packetsDue)
			l.enqueue(&c.source, input)
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
	l.mu.Lock()
	tok := l.token(c)
	l.mu.Unlock()
	l.poller.arm(c.fd, tok, Read|Edge)
}

// Pause stops the messages; a Packets that has not been received is taken back.
// Reading and writing work as before. A paused connection is not live.
func (c *PacketConn) Pause() {
	l := c.edit()
	defer l.unlock()
	c.paused = true
	l.retract(&c.source, message|input)
}

// Resume undoes Pause: a Packets follows if there are datagrams.
func (c *PacketConn) Resume() {
	l := c.lock()
	defer l.unlock()
	if c.paused && !c.ended && !l.closed {
		c.paused = false
		c.more.Store(true)
		l.enqueue(&c.source, input)
		l.refresh(&c.source)
	}
}

// WriteToAddrPort sends p, which may be empty, as one datagram to the address: IPv4
// also in the form that IPv6 has for it, IPv6 with its zone if it is link-local. It
// sends at once or not at all.
//
// If the kernel takes no more for now it returns ErrWouldBlock and has sent
// nothing. No message tells when that is over, as often nobody knows: a
// unixgram socket may be full at the other end. Whoever cannot do without the
// datagram tries again after a while; others drop it, as the network might have.
//
// A p that is too long gives EMSGSIZE; an address of a kind that the socket cannot
// send to, a *net.AddrError; Close, of the loop as well, ErrClosed. All but the
// last are in a *net.OpError with the address in Addr. An error says nothing about
// other destinations.
func (c *PacketConn) WriteToAddrPort(p []byte, addr netip.AddrPort) (int, error) {
	to, err := c.target(addr)
	if err != nil {
		return 0, c.sendError(err, addr, nil)
	}
	if err := c.send(p, to); err != nil {
		return 0, c.sendError(err, addr, nil)
	}
	return len(p), nil
}

// WriteTo is WriteToAddrPort with the address as package net gives it: a
// *net.UDPAddr or *net.UnixAddr.
func (c *PacketConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	to, err := c.netTarget(addr)
	if err == nil {
		err = c.send(p, to)
	}
	if err != nil {
		return 0, c.sendError(err, netip.AddrPort{}, addr)
	}
	return len(p), nil
}

// A Datagram is one of those that [PacketConn.WriteBatch] sends.
type Datagram struct {
	Data    []byte         // may be empty
	Addr    netip.AddrPort // where it goes
	NetAddr net.Addr       // the same in package net's form; used if Addr is the zero AddrPort
}

// WriteBatch sends the datagrams in their order, each as WriteToAddrPort does, by
// as few system calls as possible. It returns how many it has sent. If that is
// fewer than there are, the error is about the next one, ds[n], and the same that
// WriteToAddrPort would return: go on with ds[n+1:] to leave that one out, or with
// ds[n:] later after ErrWouldBlock. It keeps nothing of ds.
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
			if err != nil {
				break // it is told once those before it are gone
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

// target returns addr as the system's calls want it.
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
	case !c.six && !ip.Is4():
		return to, &net.AddrError{Err: "non-IPv4 address", Addr: ip.String()}
	case c.onlySix && ip.Is4():
		return to, &net.AddrError{Err: "non-IPv6 address", Addr: ip.String()}
	case c.six && ip.Is4():
		ip = netip.AddrFrom16(ip.As16())
	case c.six && ip.Zone() != "":
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

// netTarget is target for an address as package net gives it.
func (c *PacketConn) netTarget(addr net.Addr) (to packetAddr, err error) {
	switch a := addr.(type) {
	case nil:
		return to, c.noTarget()
	case *net.UDPAddr:
		if a == nil {
			return to, c.noTarget()
		}
		ap := a.AddrPort()
		if len(a.IP) == 0 { // this host, as package net has it
			ip := netip.IPv4Unspecified()
			if c.onlySix {
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

// noTarget returns an error if there must be an address.
func (c *PacketConn) noTarget() error {
	if c.remote == nil {
		return errNoTarget
	}
	return nil
}

// send sends one datagram. An error of the kernel is bare.
func (c *PacketConn) send(p []byte, to packetAddr) error {
	c.sendMu.RLock()
	defer c.sendMu.RUnlock()
	if c.fd == noFD {
		return ErrClosed
	}
	err := sysSendTo(c.fd, p, &to)
	if err == nil {
		c.Loop().bytesOut.Add(uint64(len(p)))
	}
	return err
}

// sendBatch sends one or more datagrams of b, or returns an error of the first.
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

// sendError returns err, with which a datagram to ip, or else addr, has met, for
// the user.
func (c *PacketConn) sendError(err error, ip netip.AddrPort, addr net.Addr) error {
	switch {
	case err == eAGAIN:
		return ErrWouldBlock
	case err == ErrClosed:
		return err
	case c.isClosed():
		return ErrClosed // whatever else is wrong
	case ip.IsValid():
		addr = net.UDPAddrFromAddrPort(ip)
	case addr == nil:
		addr = c.remote
	}
	return c.opError("write", "sendto", addr, err)
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
	l := c.edit()
	c.ended = true
	l.retract(&c.source, message|input)
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
	l := c.lock()
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
	l := c.lock()
	c.ended = true
	l.mu.Unlock()
	c.release()
}

func (c *PacketConn) registration() *registration { return &c.reg }

// ready is told that there are datagrams, or an error.
func (c *PacketConn) ready(What) {
	c.more.Store(true)
	if !c.paused {
		c.Loop().enqueue(&c.source, input)
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
	return message
}

// confirm is asked after prepare has let go of mu: whoever has read all meanwhile
// has seen to coming.
func (c *PacketConn) confirm(bits pending) pending {
	if c.coming.Load() < packetsPromised || c.paused || c.ended {
		return 0
	}
	return bits
}

// received sees to it that another Packets comes if a read was faster than this
// call, and has left some.
func (c *PacketConn) received(pending) {
	if !c.coming.CompareAndSwap(packetsPromised, packetsNone) {
		c.coming.Store(packetsDue)
		c.pend |= input // whoever calls puts the source back into the queue
	}
}

func (c *PacketConn) event(pending) Event { return Packets{c} }
func (c *PacketConn) alive() bool         { return !c.ended && !c.paused }
func (c *PacketConn) label() string       { return "packetconn " + addrString(c.local) }

func (c *PacketConn) dump() string {
	c.mu.Lock()
	fd, known := c.fd, c.known
	c.mu.Unlock()
	l := c.lock()
	defer l.mu.Unlock()
	state := "open"
	switch {
	case c.ended:
		state = "ended"
	case c.paused:
		state = "paused"
	}
	return "packetconn " + c.words() + " state=" + state + " fd=" + itoa(int(fd)) +
		" local=" + quote(addrString(c.local)) + " remote=" + quote(addrString(c.remote)) +
		" held=" + itoa(known)
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
)

// A PacketConn is a socket for datagrams: a UDP socket, or a Unix socket of type
// "unixgram". The message [Packets] says that datagrams wait to be read. Make one
// with [Loop.ListenPacket] or [Loop.WrapPacketConn]; the zero value cannot be used.
//
// All methods are safe for concurrent use, and none of them waits: not for the
// kernel, and not for the receiver of the messages.
//
// On Linux, a UDP connection takes up to 16 datagrams from the kernel with one
// system call, and later reads return them from memory. While some of these are
// unread, the connection holds at most 2 KiB and 4 times the size of all of them; an
// idle connection holds no buffer. (To take them it borrows a buffer of 1 MiB, of which
// the process has about one a processor.) Close drops the datagrams that were taken
// from the kernel and not read.
//
// Datagrams can get lost: the kernel drops those that arrive while its receive
// buffer (SO_RCVBUF) is full. That also happens while the connection is paused, or
// while the program does not read.
//
// An error is about one call and never ends the connection. When the network
// reports that an earlier datagram could not be delivered, the next read or write
// returns that error and does nothing else. Most systems report this to connected
// sockets only (see WrapPacketConn).
//
// With method poll, while an error queue that the program has asked for (IP_RECVERR)
// is not read, datagrams may be noticed up to 50 ms late.
type PacketConn struct {
	source
	reg registration

	// Data is for the user; the package does not touch it.
	Data any

	// These never change.
	local    net.Addr
	remote   net.Addr                      // nil: not connected
	ipv6     bool                          // the socket's family is AF_INET6
	ipv6Only bool                          // and it cannot reach IPv4
	others   atomic.Pointer[[]*PacketConn] // of the other loops of a Group that c stands for; nil: none
	direct   bool                          // each read asks the kernel; there are no batches
	inbox    *packetInbox                  // of a part of a packetDivision: what reads take from; nil: the socket
	division *packetDivision               // c is the first part, whose task reads the socket; nil: it is not

	// at is the IP address that the socket is bound to, so that all its datagrams are
	// sent there; the zero Addr: none, or any of the host's. Then told says whether the
	// kernel gives each datagram's destination. They never change.
	at   netip.Addr
	told bool

	// more says that the kernel may hold datagrams or errors that have not been
	// counted in known. The loop sets it when the poller reports the socket; it is
	// cleared before the kernel is asked.
	more atomic.Bool

	// reported says that the poller has reported the socket since rearm was called last.
	reported atomic.Bool

	// announced says what becomes of the next Packets: one of the constants below.
	// Changes need mu, with two exceptions: received needs the loop's mu only, and
	// to give up a promise both are needed.
	announced atomic.Int32

	// Writing to the following two needs mu and sendMu; reading needs one of them.
	sendMu  sync.RWMutex // taken after mu
	fd      sysFD        // noFD: closed
	unlinks bool         // Close removes the socket's file, if it has one

	// sendMu guards the following.
	borrowers int   // running Controls of SyscallConn, which have fd
	lent      sysFD // if fd is noFD and there are borrowers: what the last of them closes

	// mu guards the following. It is taken before the loop's mu.
	mu    sync.Mutex
	known int          // datagrams and errors known to wait; if direct, 1 means one or more
	batch *packetBatch // datagrams taken from the kernel and unread; nil: none
	err   error        // the next read after batch returns it; as the system call gave it
	vain  int          // reports in a row after which the kernel had nothing

	// The loop's mu guards the following.

	retry timerNode // running: until rearm asks the poller again
}

// The values of PacketConn.announced.
const (
	packetsNone     = iota // no Packets is pending
	packetsDue             // the source is queued; prepare will decide
	packetsPromised        // prepare has decided for a Packets; it was not received yet
	packetsTouched         // as packetsPromised, and a read has taken some since and left some
)

// A packetAddr is the address of a datagram's sender or destination, in the form
// that system calls need. The zero value means that there is none: the peer of a
// connected socket, or a Unix socket without a name.
type packetAddr struct {
	ip   netip.AddrPort // of a destination: in the socket's family, and without a zone
	zone uint32         // of a destination: the zone of ip
	name string         // of a unixgram socket

	source     netip.Addr // of a destination: what to send from; in the form of ip; the zero Addr: the system's choice
	sourceZone uint32     // the zone of source
}

// A PacketConfig sets up a PacketConn. A nil PacketConfig and zero values mean the
// defaults. ListenPacket copies it.
type PacketConfig struct {
	// Data is the connection's Data from the beginning, before its first message.
	Data any

	// Notify is where the connection's messages are sent, from the first on; see
	// [Source]. Nil means the loop's own way.
	Notify chan<- Event

	// Layer turns the connection's messages into others, from the first one on (see
	// [Layer]). nil means none.
	Layer Layer

	// Paused makes a connection that sends no messages until Resume.
	Paused bool

	// ReusePort lets several sockets, also of several processes, share an address
	// (SO_REUSEPORT). The kernel divides the datagrams between them by their senders.
	// Where the system lacks that, and for unixgram, it is an error.
	ReusePort bool

	// ReadBuffer and WriteBuffer are how many bytes the kernel may hold for the
	// socket that were not read, and not sent (SO_RCVBUF, SO_SNDBUF); 0 means the
	// system's default. The kernel counts its own overhead as well, and some systems
	// give less than was asked for without an error (Linux: net.core.rmem_max and
	// net.core.wmem_max). Negative values are an error.
	ReadBuffer, WriteBuffer int

	// Broadcast allows sending to broadcast addresses (SO_BROADCAST). If false, that
	// gives an error of the kernel, most often EACCES. (Package net always allows it.)
	// For unixgram it is an error.
	Broadcast bool

	// Control is called once the socket is made and has the above options, before it
	// is bound to its address, as Control of net.ListenConfig. network is udp4, udp6
	// or unixgram. If it returns an error, ListenPacket fails with it.
	Control func(network, address string, c syscall.RawConn) error
}

// check returns an error if c cannot be for the network.
func (c *PacketConfig) check(network string) error {
	if c.ReadBuffer < 0 || c.WriteBuffer < 0 {
		return errors.New("evchan: negative PacketConfig.ReadBuffer or WriteBuffer")
	}
	if network == "unixgram" && (c.ReusePort || c.Broadcast) {
		return fmt.Errorf("evchan: PacketConfig.ReusePort or Broadcast of a unixgram socket: %w", ErrUnsupported)
	}
	return nil
}

// control sets the options of c on a socket that is not bound yet, and then calls
// Control.
func (c *PacketConfig) control(network, address string, raw syscall.RawConn) error {
	var err error
	set := func(fd uintptr) { err = c.setOptions(sysFD(fd), network) }
	if e := raw.Control(set); e != nil {
		return e
	}
	if err == nil && c.Control != nil {
		err = c.Control(network, address, raw)
	}
	return err
}

func (c *PacketConfig) setOptions(fd sysFD, network string) error {
	var err error
	if c.ReusePort {
		err = setReusePort(fd)
	}
	if err == nil && network != "unixgram" {
		err = setBroadcast(fd, c.Broadcast)
	}
	if err == nil && c.ReadBuffer > 0 {
		err = setReadBuffer(fd, min(c.ReadBuffer, math.MaxInt32))
	}
	if err == nil && c.WriteBuffer > 0 {
		err = setWriteBuffer(fd, min(c.WriteBuffer, math.MaxInt32))
	}
	if err != nil && err != ErrUnsupported {
		err = os.NewSyscallError("setsockopt", err)
	}
	return err
}

// ListenPacket returns a packet connection on the address. The network is udp,
// udp4, udp6 or unixgram, and the address is what net.ListenPacket takes for that
// network. With port 0 the system chooses a port, which LocalAddr returns. Close
// removes the file of a unixgram socket (package net leaves it), see
// [PacketConn.SetUnlinkOnClose].
//
// If the address has a host name, ListenPacket looks it up before it returns; an IP
// address needs no look-up. Errors are those of net.ListenPacket, and ErrClosed if
// the loop is closed.
//
// For a connected socket, prepare a net.UDPConn and give it to [Loop.WrapPacketConn].
func (l *Loop) ListenPacket(network, address string, conf *PacketConfig) (*PacketConn, error) {
	var pc PacketConfig
	if conf != nil {
		pc = *conf
	}
	fd, local, err := l.packetSocket(network, address, &pc)
	if err != nil {
		return nil, err
	}
	c := l.newPacketConn(local, nil)
	c.unlinks = true
	c.configure(&pc)
	return c.adopt("listen", fd, pc.Notify)
}

// packetSocket makes the socket of ListenPacket.
func (l *Loop) packetSocket(network, address string, conf *PacketConfig) (sysFD, net.Addr, error) {
	switch network {
	case "udp", "udp4", "udp6", "unixgram":
	default:
		return noFD, nil, &net.OpError{Op: "listen", Net: network, Err: net.UnknownNetworkError(network)}
	}
	if l.isClosed() {
		return noFD, nil, ErrClosed
	}
	if err := conf.check(network); err != nil {
		return noFD, nil, err
	}
	if err := l.socketless("listen", network); err != nil {
		return noFD, nil, err
	}
	return sysListenPacket(network, address, conf)
}

// configure sets up c, which nobody else knows yet.
func (c *PacketConn) configure(conf *PacketConfig) {
	c.Data = conf.Data
	l := c.Loop()
	l.lock()
	l.giveLayer(&c.source, conf.Layer)
	l.unlock()
	if conf.Paused {
		c.paused = directions(Read)
	}
}

// WrapPacketConn takes over conn and returns it as a packet connection. conn must be
// a *net.UDPConn, or a *net.UnixConn of type "unixgram"; it is closed, so all its
// methods fail afterwards. Closing the packet connection leaves the file of a
// unixgram socket in place, as package net does, see [PacketConn.SetUnlinkOnClose].
//
// If conn is connected (made by net.Dial), the packet connection receives only from
// that peer and sends only to it: the address is nil for WriteTo, and the zero
// AddrPort for WriteToAddrPort. Any other address gives net.ErrWriteToConnected.
//
// If WrapPacketConn returns an error, conn is as it was before.
func (l *Loop) WrapPacketConn(conn net.PacketConn) (*PacketConn, error) {
	nc, fd, err := l.takePacketSocket(conn)
	if err != nil {
		return nil, err
	}
	c, err := l.newPacketConn(nc.LocalAddr(), nc.RemoteAddr()).adopt("wrap", fd, nil)
	if err == nil {
		nc.Close()
	}
	return c, err
}

// takePacketSocket returns a descriptor of conn's socket, and conn, which the caller closes when
// nothing has failed.
func (l *Loop) takePacketSocket(conn net.PacketConn) (net.Conn, sysFD, error) {
	if conn == nil {
		return nil, noFD, errors.New("evchan: WrapPacketConn of nil")
	}
	if l.isClosed() {
		return nil, noFD, ErrClosed
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
		return nil, noFD, fmt.Errorf("evchan: WrapPacketConn of a %T: %w", conn, ErrUnsupported)
	}
	fd, err := takeFD(nc.(syscall.Conn))
	if err != nil {
		return nil, noFD, &net.OpError{Op: "wrap", Net: nc.LocalAddr().Network(), Source: nc.LocalAddr(), Addr: nc.RemoteAddr(), Err: err}
	}
	return nc, fd, nil
}

// newPacketConn returns a packet connection without a socket; adopt gives it one.
func (l *Loop) newPacketConn(local, remote net.Addr) *PacketConn {
	c := &PacketConn{local: local, remote: remote, fd: noFD}
	c.init(l, c)
	c.retry.owner = c
	c.more.Store(true)
	return c
}

// adopt gives c, which is complete otherwise, the socket fd and makes it live, with
// its messages sent to notify. If it fails, it closes fd.
func (c *PacketConn) adopt(op string, fd sysFD, notify chan<- Event) (_ *PacketConn, err error) {
	c.fd = fd
	if a, ok := c.local.(*net.UDPAddr); ok {
		c.at = a.AddrPort().Addr().Unmap()
	}
	if c.ipv6, c.ipv6Only, err = sysPacketFamily(fd); err == nil {
		if c.at.IsUnspecified() {
			c.at = netip.Addr{}
			c.told = sysTellDestination(fd, c.ipv6) == nil
		}
		c.direct = c.inbox == nil && (!packetBatches || c.local.Network() == "unixgram") // its datagrams can have any size
		err = c.open(notify)
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

// open has the poller report on c, which has its socket and which nobody else knows yet,
// and then makes it live and visible to others.
func (c *PacketConn) open(notify chan<- Event) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.Loop()
	l.lock()
	if l.closed {
		l.unlock()
		return ErrClosed
	}
	c.busy = true // so that enqueue only notes what the poller reports before c is visible
	tok := l.register(c, c.fd)
	l.unlock()
	var err error
	if c.polled() {
		err = l.poller.add(c.fd, tok, Read|Edge)
	}
	l.lock()
	defer l.unlock()
	c.busy = false
	switch {
	case l.closed:
		return ErrClosed
	case err != nil:
		return os.NewSyscallError(l.Method(), err)
	}
	c.route.Store(l.routeTo(notify))
	l.enqueue(&c.source, 0)
	l.refresh(&c.source)
	return nil
}

// LocalAddr returns the address of the connection, in package net's form. It is the
// same after Close.
func (c *PacketConn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the address of the peer that the socket is connected to, in
// package net's form; nil if it is not connected. It is the same after Close.
func (c *PacketConn) RemoteAddr() net.Addr { return c.remote }

// SetLayer has layer turn the connection's messages into others: see [Layer]. If datagrams
// wait, a Packets follows.
func (c *PacketConn) SetLayer(layer Layer) error {
	l := c.lockAndWithdraw()
	defer l.unlock()
	if err := l.setLayer(&c.source, layer); err != nil {
		return err
	}
	if c.paused == 0 {
		c.more.Store(true)
		l.enqueue(&c.source, workRead)
	}
	return nil
}

// Pause stops the messages, and takes back a Packets that was not received yet.
// Reading and writing still work. A paused connection is not live.
func (c *PacketConn) Pause() {
	c.eachOther((*PacketConn).Pause)
	l := c.lockAndWithdraw()
	defer l.unlock()
	c.paused = directions(Read)
	l.retract(&c.source, msgSingle|workRead)
}

// Resume undoes Pause: if datagrams wait, a Packets follows.
func (c *PacketConn) Resume() {
	c.eachOther((*PacketConn).Resume)
	l := c.lockLoop()
	defer l.unlock()
	if c.paused != 0 && c.life == lifeOpen && !l.closed {
		c.paused = 0
		c.more.Store(true)
		l.enqueue(&c.source, workRead)
		if c.division != nil {
			c.division.more.Store(true)
			l.assign(c)
		}
		l.refresh(&c.source)
	}
}

// polled reports whether the loop's poller reports on c's socket. Else that of another part does.
func (c *PacketConn) polled() bool { return c.inbox == nil || c.division != nil }

func (c *PacketConn) isClosed() bool {
	c.sendMu.RLock()
	defer c.sendMu.RUnlock()
	return c.fd == noFD
}

// opError returns the error of the operation op, in which the system call failed
// with err, in package net's form.
func (c *PacketConn) opError(op, call string, addr net.Addr, err error) error {
	if e, ok := err.(sysErrno); ok {
		err = os.NewSyscallError(call, portable(e))
	}
	return &net.OpError{Op: op, Net: c.local.Network(), Source: c.local, Addr: addr, Err: err}
}

// File returns a duplicate of the connection's descriptor, as net.UDPConn.File
// does. The caller closes it. Both are the same socket, so an option that is set on
// the file (with net.FilePacketConn, for example) applies to the connection.
//
// If you hand a unixgram socket over to another process, call SetUnlinkOnClose(false)
// before Close.
func (c *PacketConn) File() (*os.File, error) {
	c.mustBeMade() // the zero fd is that of standard input
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

// SyscallConn returns the connection's socket for system calls that the package does not
// have, such as to join a multicast group, as net.UDPConn.SyscallConn does. The socket
// stays open while Control's function runs, also if Close is called meanwhile.
//
// Do not read datagrams there: some may have been taken from the kernel already. The
// methods Read and Write, which would wait for the kernel, return ErrUnsupported.
// SyscallConn and Control return ErrClosed once the connection is closed.
func (c *PacketConn) SyscallConn() (syscall.RawConn, error) {
	c.mustBeMade()
	if c.isClosed() {
		return nil, ErrClosed
	}
	return packetRawConn{c}, nil
}

// A packetRawConn is what SyscallConn returns.
type packetRawConn struct{ c *PacketConn }

// Control calls f with the socket. No lock is held then, so that f may use the connection.
func (r packetRawConn) Control(f func(fd uintptr)) error {
	c := r.c
	c.sendMu.Lock()
	fd := c.fd
	if fd == noFD {
		c.sendMu.Unlock()
		return ErrClosed
	}
	c.borrowers++
	c.sendMu.Unlock()
	defer func() {
		c.sendMu.Lock()
		defer c.sendMu.Unlock()
		if c.borrowers--; c.borrowers == 0 && c.fd == noFD {
			closeFD(c.lent)
		}
	}()
	f(uintptr(fd))
	return nil
}

func (packetRawConn) Read(func(fd uintptr) bool) error  { return ErrUnsupported }
func (packetRawConn) Write(func(fd uintptr) bool) error { return ErrUnsupported }

// SetUnlinkOnClose says whether closing the connection, or its loop, removes the file
// of its unixgram socket. From the beginning it does if the connection was made by
// ListenPacket, and it does not if it was made by WrapPacketConn. Connections without
// a file, and closed ones, ignore the call.
func (c *PacketConn) SetUnlinkOnClose(unlink bool) {
	c.mustBeMade()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sendMu.Lock()
	defer c.sendMu.Unlock()
	c.unlinks = unlink
}

// Close closes the socket. It drops the datagrams that were not read, and takes back
// a Packets that was not received.
func (c *PacketConn) Close() error {
	c.eachOther(func(p *PacketConn) { p.Close() })
	l := c.lockAndWithdraw()
	c.life = lifeClosed
	l.timers.stop(&c.retry)
	end := l.retractAll(&c.source)
	l.unlock()
	c.release()
	callEnd(end, &c.source)
	return nil
}

// eachOther calls do for the packet connections of the other loops, if c stands for those of a
// Group.
func (c *PacketConn) eachOther(do func(*PacketConn)) {
	if others := c.others.Load(); others != nil {
		for _, p := range *others {
			do(p)
		}
	}
}

// release closes the socket and frees what c holds, unless that was done before.
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
	if c.unlinks {
		if a, ok := c.local.(*net.UnixAddr); ok && a.Name != "" && a.Name[0] != '@' {
			os.Remove(a.Name)
		}
	}
	if c.polled() {
		l.poller.remove(c.fd)
	}
	if c.inbox != nil {
		c.inbox.close()
	}
	if c.borrowers > 0 {
		c.lent = c.fd
	} else {
		closeFD(c.fd)
	}
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
	l.timers.stop(&c.retry)
	l.unlock()
	c.release()
}

func (c *PacketConn) registration() *registration { return &c.reg }

// ready is called when the poller reports datagrams or an error.
func (c *PacketConn) ready(What) {
	c.reported.Store(true)
	if c.division != nil {
		c.division.more.Store(true)
		c.Loop().assign(c)
		return
	}
	c.more.Store(true)
	if c.paused == 0 {
		c.Loop().enqueue(&c.source, workRead)
	}
}

// expired is called when rearm has waited long enough. Caller holds the loop's lock.
func (c *PacketConn) expired(int64) { c.Loop().assign(c) }

// task asks the poller again, later than rearm would have. That of the first part of a
// packetDivision reads datagrams.
func (c *PacketConn) task() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd == noFD {
		return
	}
	if c.division == nil || !c.division.more.Load() {
		c.arm()
		return
	}
	l := c.lockLoop()
	paused := c.paused != 0 || c.life != lifeOpen
	l.unlock()
	if !paused { // else Resume calls task again
		c.readFor()
	}
}

// prepare asks the kernel for datagrams, unless some are known to wait, and returns
// the bit of Packets if there are any.
func (c *PacketConn) prepare(pending) pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd == noFD {
		return 0
	}
	if c.known == 0 && c.more.Load() {
		c.fetch()
	}
	if c.known == 0 {
		c.announced.Store(packetsNone)
		return 0
	}
	c.announced.Store(packetsPromised)
	return msgSingle
}

// confirm reports whether the Packets that prepare has decided for is still true. A
// read may have taken everything since; it has changed announced then.
func (c *PacketConn) confirm(bits pending) pending {
	if c.announced.Load() < packetsPromised || c.paused != 0 || c.life != lifeOpen {
		return 0
	}
	return bits
}

// received has c queued again if a read came between the receipt of Packets and this
// call and left some datagrams: another Packets must follow.
func (c *PacketConn) received(pending) {
	if !c.announced.CompareAndSwap(packetsPromised, packetsNone) {
		c.announced.Store(packetsDue)
		c.pend |= workRead // the caller puts the source back into the queue
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

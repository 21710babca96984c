// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// A Group is several loops that serve the same addresses, so that a server uses all
// processors. Each loop runs on a goroutine of its own and has streams of its own; a stream
// stays on its loop, and its messages come there. The code that ranges over a loop is the same
// as for a single one:
//
//	g, err := evchan.NewGroup(nil)
//	...
//	_, err = g.Listen("tcp", ":7", nil)
//	...
//	err = g.Run(ctx, func(loop *evchan.Loop) error {
//		for ev := range loop.All() {
//			switch ev := ev.(type) {
//			case evchan.Readable:
//				io.Copy(ev.Stream, ev.Stream)
//			case evchan.EOF:
//				ev.Stream.Close()
//			}
//		}
//		return nil
//	})
//
// A Group is made by [NewGroup]; the zero Group is not usable. All methods are safe for
// concurrent use.
type Group struct {
	loops   []*Loop // never changes
	balance Balance // never changes
	grace   time.Duration
}

// A GroupConfig has the settings of a [Group]. Zero values mean the defaults.
type GroupConfig struct {
	// Loops is how many loops there are. 0 means one for each processor that Go uses
	// (runtime.GOMAXPROCS).
	Loops int

	// Config is the configuration of each loop.
	Config Config

	// Balance says which loop gets a new connection.
	Balance Balance

	// Grace bounds how long the end of [Group.Run] may take: what is under way is finished,
	// and output is sent. 0 means 5 seconds. If negative, everything is closed at once.
	Grace time.Duration
}

const defaultGrace = 5 * time.Second

// A Balance says which loop of a [Group] gets a new connection.
type Balance int

const (
	// LeastStreams: the loop that has the fewest streams, whatever made them; loops with
	// equally many have their turns. A loop that does not receive its Accepted for 50 ms,
	// because a handler is stuck, gets none as long as others do.
	LeastStreams Balance = iota

	// RoundRobin: each loop in turn.
	RoundRobin

	// SourceHash: all connections from one IP address go to the same loop, so that what
	// belongs to a session stays on one loop. Connections without an address, those of unix
	// sockets, go to each loop in turn.
	SourceHash

	// KernelPort: each loop has a listening socket of its own, with SO_REUSEPORT, and the
	// kernel divides the connections by a hash of the addresses. No loop waits for another
	// one to accept. But the shares are uneven: with few clients, a loop may get none. When
	// the group is closed, the connections that its sockets still hold are reset, even if
	// another process listens on the same port. Only Linux, FreeBSD (12 or later) and DragonFly
	// BSD divide connections; elsewhere Listen returns ErrUnsupported.
	KernelPort
)

// String returns the name of the constant.
func (b Balance) String() string {
	names := [...]string{"LeastStreams", "RoundRobin", "SourceHash", "KernelPort"}
	if b < 0 || int(b) >= len(names) {
		return fmt.Sprintf("Balance(%d)", int(b))
	}
	return names[b]
}

// NewGroup returns a group of loops that do not run yet. conf may be nil. Close or Run releases
// the loops. It returns the errors of [New], and an error if conf is not valid.
func NewGroup(conf *GroupConfig) (*Group, error) {
	c := GroupConfig{}
	if conf != nil {
		c = *conf
	}
	switch {
	case c.Loops < 0:
		return nil, fmt.Errorf("evchan: GroupConfig.Loops is %d", c.Loops)
	case c.Loops == 0:
		c.Loops = runtime.GOMAXPROCS(0)
	}
	if c.Balance < LeastStreams || c.Balance > KernelPort {
		return nil, fmt.Errorf("evchan: GroupConfig.Balance is %v", c.Balance)
	}
	if c.Grace == 0 {
		c.Grace = defaultGrace
	}
	g := &Group{balance: c.Balance, grace: c.Grace}
	for range c.Loops {
		l, err := New(&c.Config)
		if err != nil {
			g.Close()
			return nil, err
		}
		l.member = len(g.loops)
		g.loops = append(g.loops, l)
	}
	return g, nil
}

// Loops returns the loops of the group, always in the same order.
func (g *Group) Loops() []*Loop { return slices.Clone(g.loops) }

// Listen returns a listener whose streams go to the loops of the group, as GroupConfig.Balance
// says: see [Loop.Listen]. The first message of a stream, on its loop, is Accepted. What a
// ListenConfig limits is limited for the group: MaxStreams counts the streams of all loops.
// MaxPending counts for each loop; accepting stops when all have so many. (With SourceHash, a
// loop may get more.)
//
// The listener belongs to the first loop, which accepts for all, and sends AcceptFailed there.
// With KernelPort, each loop accepts for itself, and AcceptFailed comes on the loop that has
// failed to. Pause, Resume, Close and Err are of the whole. File is of the first socket.
func (g *Group) Listen(network, address string, conf *ListenConfig) (*Listener, error) {
	if g.balance != KernelPort {
		return listenOn(network, address, conf, g.loops, g.balance)
	}
	if !reusePortDivides || network == "unix" || network == "memory" {
		return nil, fmt.Errorf("evchan: KernelPort for %s on this system: %w", network, ErrUnsupported)
	}
	return g.listenKernelPort(network, address, conf)
}

// listenKernelPort is Listen with KernelPort. All sockets listen before one accepts.
func (g *Group) listenKernelPort(network, address string, conf *ListenConfig) (*Listener, error) {
	c, d, err := listenSetup(conf, g.loops, g.balance)
	if err != nil {
		return nil, err
	}
	c.ReusePort = true
	var sockets []net.Listener
	defer func() {
		for _, nl := range sockets { // those that adopt has not closed
			nl.Close()
		}
	}()
	for _, l := range g.loops {
		nl, err := listenSocket(network, address, c)
		if err != nil {
			return nil, err
		}
		sockets = append(sockets, nl)
		address = nl.Addr().String() // for port 0
		d.add(l, nl.Addr(), c, false)
	}
	for i, ln := range d.parts {
		if _, err := ln.adopt(sockets[i]); err != nil {
			d.parts[0].Close()
			return nil, err
		}
	}
	return d.parts[0], nil
}

// reusePortDivides reports whether the kernel divides connections and datagrams among the
// sockets with SO_REUSEPORT (SO_REUSEPORT_LB).
const reusePortDivides = runtime.GOOS == "linux" || runtime.GOOS == "freebsd" || runtime.GOOS == "dragonfly"

// ListenPacket returns a packet connection for the group: see [Loop.ListenPacket]. Each loop has
// a PacketConn of its own: the messages of a loop are of that, and the replies belong there too.
// All datagrams of a sender come to the same loop, in the order in which the kernel has them.
// Close, Pause and Resume of the one that ListenPacket has returned, which is the first loop's,
// are for all of them.
//
//   - With SourceHash there is one socket. The first loop reads it for all. The IP address of
//     the sender decides which loop gets a datagram, the same loop as for its connections.
//   - With another Balance, each loop has a socket of its own, if the kernel divides datagrams
//     among sockets (see KernelPort).
//   - Where the kernel does not, there is one socket, as with SourceHash, and the address and
//     port of the sender decide.
//
// With one socket, a loop that does not read holds up to PacketConfig.ReadBuffer bytes, 256 KiB
// if that is 0, and what comes then is dropped, as a kernel does. File gives the socket of all,
// so [HandOver] loses none. For unixgram, the first loop gets all datagrams.
func (g *Group) ListenPacket(network, address string, conf *PacketConfig) (*PacketConn, error) {
	var c PacketConfig
	if conf != nil {
		c = *conf
	}
	switch {
	case network == "unixgram" || len(g.loops) == 1:
		return g.loops[0].ListenPacket(network, address, conf)
	case g.balance == SourceHash || !reusePortDivides:
		return g.listenDividing(network, address, &c, g.balance != SourceHash)
	}
	c.ReusePort = true
	var parts []*PacketConn
	for _, l := range g.loops {
		p, err := l.ListenPacket(network, address, &c)
		if err != nil {
			for _, p := range parts {
				p.Close()
			}
			return nil, err
		}
		parts = append(parts, p)
		address = p.LocalAddr().String() // for port 0
	}
	others := parts[1:]
	parts[0].others.Store(&others)
	return parts[0], nil
}

// listenDividing is ListenPacket with one socket. ports says that senders with one address and
// different ports may go to different loops.
func (g *Group) listenDividing(network, address string, conf *PacketConfig, ports bool) (*PacketConn, error) {
	fd, local, err := g.loops[0].packetSocket(network, address, conf)
	if err != nil {
		return nil, err
	}
	return g.dividePackets("listen", fd, local, conf, ports)
}

// WrapPacketConn is [Loop.WrapPacketConn] for the group. The datagrams of a UDP socket are divided
// as ListenPacket divides those of one socket: by the IP address of the sender with SourceHash,
// else by its address and port. Of a socket that is connected, and for unixgram, the first loop
// gets all.
func (g *Group) WrapPacketConn(conn net.PacketConn) (*PacketConn, error) {
	first := g.loops[0]
	nc, fd, err := first.takePacketSocket(conn)
	if err != nil {
		return nil, err
	}
	var c *PacketConn
	if len(g.loops) == 1 || nc.RemoteAddr() != nil || nc.LocalAddr().Network() == "unixgram" {
		c, err = first.newPacketConn(nc.LocalAddr(), nc.RemoteAddr()).adopt("wrap", fd, nil)
	} else {
		c, err = g.dividePackets("wrap", fd, nc.LocalAddr(), &PacketConfig{}, g.balance != SourceHash)
	}
	if err == nil {
		nc.Close()
	}
	return c, err
}

// WrapListener is [Loop.WrapListener] for the group: see Listen. There is one socket, so with
// KernelPort the streams are divided as with LeastStreams.
func (g *Group) WrapListener(nl net.Listener, conf *ListenConfig) (*Listener, error) {
	balance := g.balance
	if balance == KernelPort {
		balance = LeastStreams
	}
	return wrapListener(nl, conf, g.loops, balance)
}

// Run calls serve for each loop, on a goroutine of its own, and waits until all have returned.
// serve ranges over the messages of its loop, by All, Events or Batches. When it returns, Run
// closes the loop.
//
// When ctx ends, or a serve has returned an error, Run shuts all loops down, as Shutdown does,
// for at most GroupConfig.Grace, and then closes them. So the ranges end, and every serve
// returns.
//
// Run returns the first error of a serve. Otherwise it returns an error if output was lost
// within Grace, or else nil, also if ctx has ended.
func (g *Group) Run(ctx context.Context, serve func(*Loop) error) error {
	if ctx == nil || serve == nil {
		return errors.New("evchan: Run with a nil context or a nil function")
	}
	group, failed := errgroup.WithContext(ctx)
	for _, l := range g.loops {
		group.Go(func() error {
			defer l.Close()
			return serve(l)
		})
	}
	over := make(chan struct{})
	end := make(chan error, 1)
	go func() {
		select {
		case <-failed.Done():
		case <-over:
			end <- nil
			return
		}
		grace, cancel := context.WithTimeout(context.Background(), max(g.grace, 0))
		defer cancel()
		end <- g.Shutdown(grace)
	}()
	err := group.Wait() // ends failed
	close(over)
	if lost := <-end; err == nil {
		err = lost
	}
	return err
}

// Shutdown ends all loops gracefully, side by side: see [Loop.Shutdown]. All listeners are
// closed first. It returns the errors of the loops, joined, but not ErrClosed.
func (g *Group) Shutdown(ctx context.Context) error {
	if ctx == nil {
		return errors.New("evchan: Shutdown with a nil context")
	}
	for _, l := range g.loops {
		for s := range l.Sources() {
			if ln, ok := s.(*Listener); ok {
				ln.Close()
			}
		}
	}
	errs := make([]error, len(g.loops))
	var all errgroup.Group
	for i, l := range g.loops {
		all.Go(func() error {
			if err := l.Shutdown(ctx); err != ErrClosed {
				errs[i] = err
			}
			return nil
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// Close closes all loops at once: see [Loop.Close].
func (g *Group) Close() error {
	for _, l := range g.loops {
		l.Close()
	}
	return nil
}

// Stats returns the sums of what the loops have counted.
func (g *Group) Stats() Stats {
	sum := Stats{Messages: make(map[string]uint64)}
	for _, l := range g.loops {
		st := l.Stats()
		sum.Turns += st.Turns
		sum.Polls += st.Polls
		sum.Wakeups += st.Wakeups
		sum.BytesIn += st.BytesIn
		sum.BytesOut += st.BytesOut
		sum.Sources += st.Sources
		sum.Queue += st.Queue
		sum.Timers += st.Timers
		for i, n := range st.Lanes {
			if i == len(sum.Lanes) {
				sum.Lanes = append(sum.Lanes, 0)
			}
			sum.Lanes[i] += n
		}
		for name, n := range st.Messages {
			sum.Messages[name] += n
		}
	}
	return sum
}

// Dump writes what [Loop.Dump] writes, for each loop, after a line of the form "loop=NUMBER".
func (g *Group) Dump(w io.Writer) error {
	for i, l := range g.loops {
		if _, err := fmt.Fprintf(w, "loop=%d\n", i); err != nil {
			return err
		}
		if err := l.Dump(w); err != nil {
			return err
		}
	}
	return nil
}

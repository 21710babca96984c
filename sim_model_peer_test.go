// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

// ---- Plain peers ----

// A modelPeer is a plain connection with a goroutine that reads and one that
// writes.
type modelPeer struct {
	m       *modelTest
	g       *modelGroup
	conn    net.Conn
	out, in *modelLane
	seed    uint64
}

// run drives the connection to its end.
func (p *modelPeer) run() {
	r := rand.New(rand.NewPCG(p.seed, 1))
	over := make(chan struct{}) // the reader has seen the end
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(over)
		p.read(rand.New(rand.NewPCG(p.seed, 2)))
	})
	p.write(r, over)
	wg.Wait()
	p.conn.Close()
	p.g.mu.Lock()
	p.g.note("the peer is done")
	p.g.ended()
	p.g.mu.Unlock()
}

// dawdle passes some time now and then.
func (p *modelPeer) dawdle(r *rand.Rand) {
	switch r.IntN(40) {
	case 0:
		select {
		case <-p.m.ending:
		case <-time.After(time.Duration(r.IntN(20)) * time.Millisecond):
		}
	case 1, 2, 3, 4, 5:
		runtime.Gosched()
	}
}

func (p *modelPeer) read(r *rand.Rand) {
	buf := make([]byte, 32<<10)
	for {
		p.dawdle(r)
		n, err := p.conn.Read(buf[:1+r.IntN(len(buf))>>r.IntN(8)])
		if _, err := p.in.Write(buf[:n]); err != nil {
			p.fail("the peer: %v", err)
			return
		}
		if err == nil {
			continue
		}
		if err == io.EOF {
			err = p.in.end()
		}
		if err != nil && !p.g.cut.Load() {
			p.fail("the peer: %v", err)
		}
		return
	}
}

func (p *modelPeer) fail(format string, args ...any) {
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	p.g.fail(format, args...)
}

func (p *modelPeer) write(r *rand.Rand, over <-chan struct{}) {
	total := int64(r.IntN(modelTotal))
	for p.out.sent.Load() < total {
		select {
		case <-p.m.ending:
			total = 0
			continue
		case <-over:
			if r.IntN(4) == 0 {
				total = 0
				continue
			}
		default:
		}
		p.dawdle(r)
		n, err := p.conn.Write(p.out.next(0, 1+r.IntN(modelPeriod-1)>>r.IntN(12)))
		p.out.sent.Add(int64(n))
		if err != nil {
			if !p.g.cut.Load() {
				p.fail("the peer: %v after %d bytes", err, p.out.sent.Load())
			}
			return
		}
	}
	end := r.IntN(10)
	if p.m.isEnding() {
		end = 9
	}
	switch end {
	case 0:
		p.g.cut.Store(true)
		if c, ok := p.conn.(*net.TCPConn); ok {
			c.SetLinger(0)
		}
		p.conn.Close()
	case 1:
		p.g.cut.Store(true) // it may have unread input
		p.out.whole.Store(true)
		p.conn.Close()
	default:
		p.out.whole.Store(true)
		if err := p.conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil && !p.g.cut.Load() {
			p.fail("the peer: %v", err)
		}
	}
}

// ---- Making groups ----

// network returns one that the loops' method has.
func (m *modelTest) network(r *rand.Rand) string {
	if n := r.IntN(len(networks) + 1); n < len(networks) && !m.loops[0].memoryOnly() {
		return networks[n]
	}
	return "memory"
}

// address returns an address to listen on. There are many, so that the ports
// do not run out.
func (m *modelTest) address(network string) string {
	n := m.names.Add(1)
	switch network {
	case "unix":
		return filepath.Join(m.dir, fmt.Sprint(n))
	case "memory":
		return fmt.Sprint("model ", n)
	}
	return fmt.Sprintf("127.0.0.%d:0", 2+n%250)
}

// listenFor has accept called, under g.mu, with the one stream that connects to the
// listener.
func (m *modelTest) listenFor(g *modelGroup, l *Loop, network string, accept func(*Stream)) *Listener {
	ln, err := l.Listen(network, m.address(network), &ListenConfig{Paused: true})
	if err != nil {
		m.Error(err)
		return nil
	}
	g.mu.Lock()
	g.awaited++
	g.mu.Unlock()
	m.mu.Lock()
	m.listeners[ln] = func(s *Stream) {
		ln.Close()
		g.mu.Lock()
		g.awaited--
		accept(s)
		g.mu.Unlock()
		m.mu.Lock()
		delete(m.listeners, ln)
		m.mu.Unlock()
	}
	m.mu.Unlock()
	ln.Resume()
	return ln
}

// plain returns both ends of a connection.
func (m *modelTest) plain(network string) (a, b net.Conn) {
	ln, err := netListen(network, m.address(network))
	if err != nil {
		m.Fatal(err)
	}
	defer ln.Close()
	if a, err = netDial(network, ln.Addr().String()); err != nil {
		m.Fatal(err)
	}
	if b, err = ln.Accept(); err != nil {
		m.Fatal(err)
	}
	return a, b
}

// link makes a stream of g on l, connected to a peer with the given lanes. The
// stream is given to known, under g.mu, which may be at once or later.
func (m *modelTest) link(r *rand.Rand, g *modelGroup, l *Loop, out, in *modelLane, known func(*modelStream)) {
	network := m.network(r)
	peer := &modelPeer{m: m, g: g, out: out, in: in, seed: r.Uint64()}
	m.connect(r, g, l, network, known, func(c net.Conn) {
		peer.conn = c
		m.peers.Go(peer.run)
	})
}

// connect makes a connection between a stream and a net.Conn, in one of three
// ways.
func (m *modelTest) connect(r *rand.Rand, g *modelGroup, l *Loop, network string, known func(*modelStream), peer func(net.Conn)) {
	register := func(s *Stream) *modelStream {
		m.mu.Lock()
		defer m.mu.Unlock()
		return g.add(s)
	}
	way := r.IntN(3)
	if way == 0 && network == "memory" {
		way = 1 // Wrap takes sockets only
	}
	switch way {
	case 0: // Wrap
		a, b := m.plain(network)
		g.mu.Lock() // until it is known, its messages wait
		m.mu.Lock()
		s, err := l.Wrap(a, nil)
		if err != nil {
			m.mu.Unlock()
			g.mu.Unlock()
			m.Error(err)
			return
		}
		ms := g.add(s)
		m.mu.Unlock()
		known(ms)
		g.mu.Unlock()
		peer(b)
	case 1: // Dial
		ln, err := netListen(network, m.address(network))
		if err != nil {
			m.Error(err)
			return
		}
		g.mu.Lock()
		m.mu.Lock()
		s, err := l.Dial(network, ln.Addr().String(), nil)
		if err != nil {
			m.Error(err)
		}
		ms := g.add(s)
		m.mu.Unlock()
		ms.unborn = func() { ln.Close() }
		known(ms)
		g.mu.Unlock()
		m.peers.Go(func() {
			defer ln.Close()
			c, err := ln.Accept()
			if err != nil {
				// The stream was closed before it was connected.
				g.mu.Lock()
				if !ms.done {
					g.fail("%v", err)
				}
				g.ended()
				g.mu.Unlock()
				return
			}
			peer(c)
		})
	case 2: // Listen
		ln := m.listenFor(g, l, network, func(s *Stream) { known(register(s)) })
		m.peers.Go(func() {
			c, err := netDial(network, ln.Addr().String())
			if err != nil {
				g.mu.Lock()
				if !g.cut.Load() {
					g.fail("%v", err)
				}
				g.ended()
				g.mu.Unlock()
				return
			}
			peer(c)
		})
	}
}

// newGroup makes a group at random.
func (m *modelTest) newGroup(r *rand.Rand) {
	m.opened.Add(1)
	g := &modelGroup{m: m}
	l := m.loops[r.IntN(2)]
	settleLate := func(ms *modelStream) {
		if m.isEnding() {
			(&modelCall{ms, m, rand.New(rand.NewPCG(1, 1))}).settle()
		}
	}
	there, back := g.lane(), g.lane()
	join := func(a, b *modelStream) {
		a.to, b.from = b, a
		b.to, a.from = a, b
	}
	appear := func() {
		m.mu.Lock()
		m.groups = append(m.groups, g)
		m.mu.Unlock()
	}
	switch r.IntN(6) {
	case 0, 1:
		g.what, g.open = "stream and peer", 2
		appear()
		m.link(r, g, l, there, back, func(ms *modelStream) {
			ms.in, ms.out = there, back
			settleLate(ms)
		})
	case 2:
		g.what, g.open = "pipe", 2
		m.mu.Lock()
		a, b := l.Pipe(nil, nil)
		ma, mb := g.add(a), g.add(b)
		ma.out, mb.in = there, there
		mb.out, ma.in = back, back
		m.mu.Unlock()
		appear()
	case 3:
		g.what, g.open = "two streams", 2
		appear()
		network := m.network(r)
		var other *modelStream // g.mu guards it
		ln := m.listenFor(g, l, network, func(s *Stream) {
			if other != nil && other.done && other.unborn == nil {
				s.Abort() // the other end had given up
				return
			}
			m.mu.Lock()
			ms := g.add(s)
			m.mu.Unlock()
			ms.in, ms.out = there, back
			settleLate(ms)
		})
		g.mu.Lock()
		m.mu.Lock()
		s, err := m.loops[r.IntN(2)].Dial(network, ln.Addr().String(), nil)
		if err != nil {
			m.Error(err)
		}
		ms := g.add(s)
		m.mu.Unlock()
		ms.out, ms.in = there, back
		ms.unborn = func() {
			ln.Close()
			m.mu.Lock()
			delete(m.listeners, ln)
			m.mu.Unlock()
			if len(g.streams) == 1 {
				g.ended()
			}
		}
		other = ms
		settleLate(ms)
		g.mu.Unlock()
	case 4:
		g.what, g.open = "echo", 2
		g.lanes = g.lanes[:1]
		appear()
		m.link(r, g, l, there, there, func(ms *modelStream) {
			join(ms, ms)
			settleLate(ms)
		})
	case 5:
		g.what, g.open = "relay", 4
		appear()
		var first *modelStream // that has no companion yet; g.mu guards it
		known := func(ms *modelStream) {
			if first == nil {
				first = ms
				ms.s.Pause(Read) // nowhere to pass it on to
				return
			}
			join(first, ms)
			if first.done {
				(&modelCall{ms, m, nil}).abort()
			}
			first.s.Resume(Read)
			settleLate(first)
			settleLate(ms)
		}
		m.link(r, g, l, there, back, known)
		m.link(r, g, l, back, there, known)
	}
}

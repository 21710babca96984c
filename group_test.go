// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// newGroup returns a group of n loops that is closed when the test ends.
func newGroup(t *testing.T, n int, balance Balance) *Group {
	t.Helper()
	g, err := NewGroup(&GroupConfig{Loops: n, Balance: balance})
	must(t, err)
	t.Cleanup(func() { g.Close() })
	return g
}

// A groupServer notes which loop has got how many streams, and sends back what they get.
type groupServer struct {
	g     *Group
	ln    *Listener
	wrong atomic.Int64    // messages of streams on a loop that is not theirs, or before Accepted
	got   []atomic.Int64  // by loop
	stuck []chan struct{} // by loop: the receiver waits for it at each message; nil: it does not
	done  chan error
	end   context.CancelFunc
}

func serveGroup(t *testing.T, g *Group, conf *ListenConfig) *groupServer {
	t.Helper()
	ln, err := g.Listen("tcp", "127.0.0.1:0", conf)
	must(t, err)
	x := &groupServer{g: g, ln: ln, got: make([]atomic.Int64, len(g.Loops())), stuck: make([]chan struct{}, len(g.Loops())), done: make(chan error, 1)}
	return x
}

func (x *groupServer) run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	x.end = cancel
	go func() { x.done <- x.g.Run(ctx, x.serve) }()
	t.Cleanup(cancel)
}

func (x *groupServer) serve(l *Loop) error {
	i := slices.Index(x.g.Loops(), l)
	accepted := make(map[Source]bool)
	for ev := range l.All() {
		if x.stuck[i] != nil {
			<-x.stuck[i]
		}
		switch ev := ev.(type) {
		case Accepted:
			x.got[i].Add(1)
			accepted[ev.Stream] = true
			if ev.Stream.Listener() != x.ln {
				x.wrong.Add(1)
			}
		case Readable:
			io.Copy(ev.Stream, ev.Stream)
		case EOF:
			ev.Stream.Close()
		}
		if s, ok := ev.Source().(*Stream); ok && (s.Loop() != l || !accepted[s]) {
			x.wrong.Add(1)
		}
	}
	return nil
}

// counts returns how many streams each loop has got.
func (x *groupServer) counts() (n []int64) {
	for i := range x.got {
		n = append(n, x.got[i].Load())
	}
	return n
}

// connect makes n connections, and checks that each gets back what it sends.
func (x *groupServer) connect(t *testing.T, n int) []net.Conn {
	t.Helper()
	var conns []net.Conn
	for range n {
		c, err := net.Dial("tcp", x.ln.Addr().String())
		must(t, err)
		t.Cleanup(func() { c.Close() })
		conns = append(conns, c)
	}
	for _, c := range conns {
		c.SetDeadline(time.Now().Add(20 * time.Second))
		c.Write([]byte("hello"))
		if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
	}
	return conns
}

func TestGroupBalance(t *testing.T) {
	needSockets(t)
	for _, balance := range []Balance{LeastStreams, RoundRobin, SourceHash, KernelPort} {
		t.Run(balance.String(), func(t *testing.T) {
			if balance == KernelPort && !reusePortDivides {
				t.Skip("this system does not divide connections among sockets")
			}
			const loops, conns = 3, 60
			x := serveGroup(t, newGroup(t, loops, balance), nil)
			x.run(t)
			x.connect(t, conns)
			counts := x.counts()
			switch least, most := slices.Min(counts), slices.Max(counts); balance {
			case LeastStreams, RoundRobin:
				if most-least > 1 {
					t.Errorf("the loops have got %d", counts)
				}
			case SourceHash:
				if most != conns {
					t.Errorf("the loops have got %d", counts)
				}
			case KernelPort:
				if least == 0 { // with a probability of 1 in 10^10
					t.Errorf("the loops have got %d", counts)
				}
			}
			if n := x.g.Stats().Messages["Accepted"]; n != conns {
				t.Errorf("Stats tell of %d", n)
			}
			var dump strings.Builder
			must(t, x.g.Dump(&dump))
			if n := strings.Count(dump.String(), "loop="); n != loops {
				t.Errorf("Dump: %s", dump.String())
			}
			x.end()
			must(t, <-x.done)
			if n := x.wrong.Load(); n != 0 {
				t.Errorf("%d messages have come to the wrong loop, or before Accepted", n)
			}
		})
	}
}

// A loop that is stuck in a handler gets no connections as long as others do.
func TestGroupStuck(t *testing.T) {
	needSockets(t)
	x := serveGroup(t, newGroup(t, 2, LeastStreams), nil)
	x.stuck[1] = make(chan struct{})
	x.run(t)
	// Those that go to the stuck loop get no answer. They are few.
	served := 0
	for deadline := time.Now().Add(20 * time.Second); served < 50 && time.Now().Before(deadline); {
		c, err := net.Dial("tcp", x.ln.Addr().String())
		must(t, err)
		c.SetDeadline(time.Now().Add(20 * time.Millisecond))
		c.Write([]byte("x"))
		if n, _ := c.Read(make([]byte, 1)); n == 1 {
			served++
		}
		defer c.Close()
	}
	if served < 50 {
		t.Errorf("only %d were served", served)
	}
	close(x.stuck[1])
	x.end()
	must(t, <-x.done)
}

// MaxStreams counts for the whole, exactly; Pause and Close as well.
func TestGroupLimits(t *testing.T) {
	needSockets(t)
	for _, balance := range []Balance{LeastStreams, KernelPort} {
		t.Run(balance.String(), func(t *testing.T) {
			if balance == KernelPort && !reusePortDivides {
				t.Skip("this system does not divide connections among sockets")
			}
			const most = 5
			x := serveGroup(t, newGroup(t, 3, balance), &ListenConfig{MaxStreams: most})
			x.run(t)
			var wg sync.WaitGroup
			for range 40 {
				wg.Go(func() {
					c, err := net.Dial("tcp", x.ln.Addr().String())
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					c.SetDeadline(time.Now().Add(30 * time.Second))
					c.Write([]byte("hello"))
					if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
						t.Error(err)
					}
					open := int64(0)
					for _, l := range x.g.Loops() {
						open += l.streams.Load()
					}
					if open > most {
						t.Errorf("%d streams are open", open)
					}
				})
			}
			wg.Wait()
			x.ln.Pause()
			x.ln.Resume()
			x.connect(t, 1)
			x.ln.Close()
			if _, err := net.Dial("tcp", x.ln.Addr().String()); err == nil {
				t.Error("something still listens after Close")
			}
			x.end()
			must(t, <-x.done)
		})
	}
}

// The first error of a serve ends the others, and is returned.
func TestGroupRunFails(t *testing.T) {
	g := newGroup(t, 3, LeastStreams)
	oops := errors.New("oops")
	err := g.Run(t.Context(), func(l *Loop) error {
		if l == g.Loops()[1] {
			return oops
		}
		for range l.All() {
		}
		return nil
	})
	if err != oops {
		t.Errorf("Run returns %v", err)
	}
	if _, err := g.Listen("tcp", "127.0.0.1:0", nil); err != ErrClosed {
		t.Errorf("Listen returns %v", err)
	}
	if err := g.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown of a closed group returns %v", err)
	}
}

// Run sends what was written before it ends.
func TestGroupGrace(t *testing.T) {
	needSockets(t)
	const size = 4 << 20
	g := newGroup(t, 2, RoundRobin)
	ln, err := g.Listen("tcp", "127.0.0.1:0", nil)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- g.Run(ctx, func(l *Loop) error {
			for ev := range l.All() {
				if ev, ok := ev.(Accepted); ok {
					ev.Stream.Write(make([]byte, size))
				}
			}
			return nil
		})
	}()
	var conns []net.Conn
	for range 2 {
		c := dial(t, ln)
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	cancel()
	for _, c := range conns {
		if n, err := io.Copy(io.Discard, c); n != size-1 || err != nil {
			t.Errorf("%d bytes have come, %v", n+1, err)
		}
		c.Close()
	}
	must(t, <-done)
}

func TestGroupPackets(t *testing.T) {
	needNetUDP(t)
	needSockets(t)
	g := newGroup(t, 2, LeastStreams)
	pc, err := g.ListenPacket("udp", "127.0.0.1:0", nil)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- g.Run(ctx, func(l *Loop) error {
			buf := make([]byte, 100)
			for ev := range l.All() {
				if ev, ok := ev.(Packets); ok {
					for {
						n, from, err := ev.Conn.ReadFromAddrPort(buf)
						if err != nil {
							break
						}
						ev.Conn.WriteToAddrPort(buf[:n], from)
					}
				}
			}
			return nil
		})
	}()
	for i := range 20 {
		c, err := net.Dial("udp", pc.LocalAddr().String())
		must(t, err)
		c.SetDeadline(time.Now().Add(20 * time.Second))
		want := fmt.Sprint("datagram ", i)
		fmt.Fprint(c, want)
		buf := make([]byte, 100)
		n, err := c.Read(buf)
		if got := string(buf[:n]); err != nil || got != want {
			t.Errorf("%q, %v", got, err)
		}
		c.Close()
	}
	pc.Close()
	if n := g.Stats().Sources; n != 0 {
		t.Errorf("%d sources are left after Close", n)
	}
	cancel()
	must(t, <-done)
}

func TestGroupMisuse(t *testing.T) {
	for name, conf := range map[string]*GroupConfig{
		"Loops":   {Loops: -1},
		"Balance": {Balance: 17},
		"Config":  {Loops: 1, Config: Config{Method: "telepathy"}},
	} {
		if _, err := NewGroup(conf); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	g := newGroup(t, 1, LeastStreams)
	var none context.Context
	if g.Run(none, nil) == nil || g.Run(t.Context(), nil) == nil || g.Shutdown(none) == nil {
		t.Error("nil arguments are taken")
	}
}

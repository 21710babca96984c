// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Idle streams move until the loops are even. Each is told Moved, once, and nothing else.
func TestGroupRebalance(t *testing.T) {
	g, err := NewGroup(&GroupConfig{Loops: 3, Config: Config{Method: "memory"}})
	must(t, err)
	t.Cleanup(func() { g.Close() })
	first := g.Loops()[0]
	var ours, peers []*Stream
	for range 20 {
		a, b := first.Pipe(nil, nil)
		ours, peers = append(ours, a), append(peers, b)
	}
	poll := func(l *Loop) (evs []Event) {
		for {
			ev, ok := l.Poll(0)
			if !ok {
				return evs
			}
			evs = append(evs, ev)
		}
	}
	// Those with input are not idle, nor is what another receiver has.
	peers[0].WriteString("unread")
	ours[2].Notify(make(chan Event))
	peers[3].CloseWrite()
	poll(first)
	busy := []*Stream{ours[0], ours[2], ours[3], peers[3]}
	moved := g.Rebalance(first)
	counts := make([]int64, 3)
	for i, l := range g.Loops() {
		counts[i] = l.streams.Load()
	}
	if moved != 26 || counts[0] != 14 || counts[1] != 13 || counts[2] != 13 {
		t.Errorf("%d have moved; the loops have %d", moved, counts)
	}
	for _, s := range busy {
		if s.Loop() != first {
			t.Errorf("%v was moved", s)
		}
	}
	if n := g.Rebalance(first); n != 0 {
		t.Errorf("%d more have moved", n)
	}
	told := make(map[Source]bool)
	for _, l := range g.Loops() {
		for _, ev := range poll(l) {
			if _, ok := ev.(Moved); !ok || ev.Source().Loop() != l || told[ev.Source()] {
				t.Errorf("%v has come on loop %d", ev, l.member)
			}
			told[ev.Source()] = true
		}
	}
	if len(told) != moved {
		t.Errorf("%d have told Moved", len(told))
	}
	other := newLoop(first.conf, newFakePoller())
	defer other.Close()
	mustPanic(t, func() { g.Rebalance(other) })
	g.Loops()[1].Close()
	g.Loops()[2].Close()
	if n := g.Rebalance(first); n != 0 {
		t.Errorf("%d have moved to closed loops", n)
	}
}

// A movedLayer notes the end of its stream, and passes on what it is told.
type movedLayer struct {
	moved, ends *atomic.Int64
}

func (x movedLayer) Next(src Source, ev Event) Event {
	if _, ok := ev.(Moved); ok {
		x.moved.Add(1)
	}
	if _, ok := ev.(Stopping); ok {
		src.Close()
		return nil
	}
	return ev
}

func (x movedLayer) End(Source) { x.ends.Add(1) }

// Connections whose lifetimes are uneven, with layers and filters, under load: every byte comes
// back, each stream has one loop at a time, and the loops become even.
func TestGroupRebalanceLoad(t *testing.T) {
	needSockets(t)
	g := newGroup(t, 2, RoundRobin)
	var moved, ends, rebalanced atomic.Int64
	ln, err := g.Listen("tcp", "127.0.0.1:0", &ListenConfig{
		Over:  func(s *Stream) (*Stream, error) { return s.Filter(xorFilter(1), nil) },
		Layer: movedLayer{&moved, &ends},
	})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- g.Run(ctx, func(l *Loop) error {
			tick := l.Every(time.Millisecond)
			for ev := range l.All() {
				switch ev := ev.(type) {
				case Tick:
					if ev.Timer == tick {
						rebalanced.Add(int64(g.Rebalance(l)))
					}
				case Readable:
					if ev.Stream.Loop() != l {
						t.Errorf("%v on another loop", ev)
					}
					io.Copy(ev.Stream, ev.Stream)
				case EOF, Closed:
					ev.Source().Close()
				}
			}
			return nil
		})
	}()
	const conns, rounds = 40, 30
	var wg sync.WaitGroup
	for i := range conns {
		c, err := net.Dial("tcp", ln.Addr().String())
		must(t, err)
		c.SetDeadline(time.Now().Add(30 * time.Second))
		wg.Go(func() {
			defer c.Close()
			n := rounds
			if i%2 == 0 {
				n = 2 // those of the first loop end soon
			}
			for j := range n {
				want := fmt.Sprintf("%d of %d", j, i)
				got := make([]byte, len(want))
				c.Write([]byte(want))
				if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
					t.Errorf("%q instead of %q, %v", got, want, err)
					return
				}
			}
		})
	}
	wg.Wait()
	cancel()
	must(t, <-done)
	if ends.Load() != conns {
		t.Errorf("%d layers were told the end", ends.Load())
	}
	t.Logf("%d were moved, %d told so", rebalanced.Load(), moved.Load())
	if moved.Load() == 0 {
		t.Error("none was moved")
	}
}

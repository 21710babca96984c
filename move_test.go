// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"sync"
	"testing"
	"time"
)

func TestMoveTo(t *testing.T) {
	onMethods(t, Config{Priorities: 4}, map[string]func(*testing.T, *Loop){
		"UnreadInput": func(t *testing.T, l *Loop) {
			to := dialLoop(t, l.Method())
			s, c := connectedPair(t, l)
			s.SetPriority(3)
			s.Notify(make(chan Event))
			send(t, c, "abc")
			for s.in.held.Load() == 0 {
				l.Poll(time.Millisecond)
			}
			if err := s.MoveTo(to); err != nil {
				t.Fatal(err)
			}
			expectMoved(t, to, s)
			if s.Loop() != to || s.Priority() != 0 {
				t.Error("it is not where it should be")
			}
			if ev := nextOf(t, to, s); ev != Event(Readable{s}) {
				t.Errorf("unexpected %v", ev)
			}
			if got := string(s.Input().Next(10)); got != "abc" {
				t.Errorf("%q has arrived", got)
			}
			send(t, c, "def")
			if ev := nextOf(t, to, s); ev != Event(Readable{s}) {
				t.Errorf("unexpected %v", ev)
			}
			noMessage(t, l)
			if n := l.Stats().Sources; n != 0 {
				t.Errorf("%d sources are left", n)
			}
			c.CloseWrite()
			if ev := nextOf(t, to, s); ev != Event(EOF{s}) {
				t.Errorf("unexpected %v", ev)
			}
			if err := l.Shutdown(context.Background()); err != nil { // waits for no stream
				t.Error(err)
			}
			if _, err := s.Write([]byte("bye")); err != nil {
				t.Error(err)
			}
			got := drain(c)
			s.Close()
			if n := <-got; n != 3 {
				t.Errorf("%d bytes came back", n)
			}
			c.Close()
			waitReleased(t, to)
		},
		"NotReceived": func(t *testing.T, l *Loop) {
			// Moved, in place of Accepted, and EOF are received there, in order.
			to := dialLoop(t, l.Method())
			ln := listen(t, l, "tcp", &ListenConfig{MaxPending: 1})
			c := dial(t, ln)
			dial(t, ln)
			send(t, c, "abc")
			c.(*net.TCPConn).CloseWrite()
			var s *Stream
			for s == nil {
				l.turn(time.Millisecond)
				for src := range l.Sources() {
					s, _ = src.(*Stream)
					if s != nil {
						break
					}
				}
			}
			if err := s.MoveTo(to); err != nil {
				t.Fatal(err)
			}
			for _, want := range []Event{Moved{s}, Readable{s}, EOF{s}} {
				if ev := nextOf(t, to, s); ev != want {
					t.Fatalf("received %v, want %v", ev, want)
				}
			}
			acceptOne(t, l).Abort() // the first one does not count any more
			ln.Close()
			s.Close()
			waitReleased(t, to)
		},
		"Output": func(t *testing.T, l *Loop) {
			to := dialLoop(t, l.Method())
			s, c := connectedPair(t, l)
			want := pattern(8 << 20)
			s.Write(want)
			if s.Queued() == 0 {
				t.Fatal("all was sent at once")
			}
			s.CloseWrite()
			if err := s.MoveTo(to); err != nil {
				t.Fatal(err)
			}
			expectMoved(t, to, s)
			done := make(chan []byte)
			go func() {
				got, _ := io.ReadAll(c)
				done <- got
			}()
			if ev := nextOf(t, to, s); ev != Event(Drained{s}) {
				t.Errorf("unexpected %v", ev)
			}
			if got := <-done; !bytes.Equal(got, want) {
				t.Errorf("%d other bytes have arrived", len(got))
			}
			s.Abort()
			c.Close()
			waitReleased(t, to)
		},
		"Refused": func(t *testing.T, l *Loop) {
			to := dialLoop(t, l.Method())
			s, c := connectedPair(t, l)
			if s.MoveTo(nil) == nil {
				t.Error("moved to nowhere")
			}
			if err := s.MoveTo(l); err != nil {
				t.Errorf("moving to the same loop: %v", err)
			}
			to.Close()
			if err := s.MoveTo(to); err != ErrClosed {
				t.Errorf("moving to a closed loop: %v", err)
			}
			to = dialLoop(t, l.Method())
			up := filterOn(t, s, xorFilter(1))
			if s.MoveTo(to) == nil {
				t.Error("moved from under a filter")
			}
			send(t, c, "`")
			if ev := nextOf(t, l, up); ev != Event(Readable{up}) {
				t.Errorf("unexpected %v", ev)
			}
			c.SetLinger(0)
			c.Close()
			if ev := nextOf(t, l, up); ev != Event(Closed{up}) {
				t.Errorf("unexpected %v", ev)
			}
			if n := l.Stats().Sources; n > 1 {
				t.Errorf("%d sources are left", n)
			}
			if err := up.MoveTo(to); !errors.Is(err, eCONNRESET) {
				t.Errorf("moving one that has failed: %v", err)
			}
			p, q := l.Pipe(nil, nil)
			p.Close()
			if err := p.MoveTo(to); err != ErrClosed {
				t.Errorf("moving a closed one: %v", err)
			}
			q.Close()
			waitReleased(t, l)
		},
		"Settings": func(t *testing.T, l *Loop) {
			to, err := New(&Config{Method: l.Method(), IgnoreEnv: true, MaxInput: 10})
			if err != nil {
				t.Fatal(err)
			}
			defer to.Close()
			s, c := connectedPair(t, l)
			limit := RateLimit{ReadRate: 1 << 20, ReadBurst: 1 << 20, Tick: time.Millisecond}
			g, _ := l.RateGroup(limit)
			s.SetRateGroup(g)
			s.SetRateLimit(&limit)
			s.SetIdleTimeouts(20*time.Millisecond, 0)
			if err := s.MoveTo(to); err != nil {
				t.Fatal(err)
			}
			expectMoved(t, to, s)
			if x := s.extra.shares; x[groupShare].group.loop != to || x[groupShare].group.pool.Load() != g.pool.Load() || g.members != 0 || x[ownShare].group.loop != to || x[ownShare].group.limit != limit {
				t.Errorf("the limits are %v", x)
			}
			send(t, c, "0123456789abcdef")
			if ev := nextOf(t, to, s); ev != Event(Readable{s}) || !s.InputFull() {
				t.Errorf("unexpected %v", ev)
			}
			for got := ""; len(got) < 16; {
				got += string(s.Input().Next(10))
				to.Poll(time.Millisecond)
			}
			if ev := nextOf(t, to, s); ev != Event(TimedOut{s}) {
				t.Errorf("unexpected %v", ev)
			}
			s.Abort()
			c.Close()
			waitReleased(t, to)
		},
		"Dialed": func(t *testing.T, l *Loop) {
			to := dialLoop(t, l.Method())
			s, _ := dialEcho(t, l)
			if err := s.MoveTo(to); err != nil {
				t.Fatal(err)
			}
			expectMoved(t, to, s)
			if ev := nextOf(t, to, s); ev != Event(Connected{s}) {
				t.Errorf("unexpected %v", ev)
			}
			s.Close()
			waitReleased(t, to)
		},
	})
}

// A hookedPoller calls a function before it removes a descriptor.
type hookedPoller struct {
	poller
	removing func()
}

func (p *hookedPoller) remove(fd sysFD) error {
	p.removing()
	return p.poller.remove(fd)
}

// TestMoveToStack moves streams with a filter when something else happens.
func TestMoveToStack(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"IdleTimeouts": func(t *testing.T, l *Loop) {
			to := dialLoop(t, l.Method())
			s, _ := l.Pipe(nil, nil)
			up, err := s.Filter(new(plainFilter), &StreamConfig{ReadIdle: time.Millisecond, WriteIdle: time.Hour})
			must(t, err)
			must(t, up.MoveTo(to))
			for _, want := range []Event{Moved{up}, TimedOut{up}} {
				if ev := nextOf(t, to, up); ev != want {
					t.Errorf("unexpected %v", ev)
				}
			}
		},
		"ClosedMeanwhile": func(t *testing.T, to *Loop) {
			c, err := (&Config{IgnoreEnv: true, Method: to.Method()}).complete()
			must(t, err)
			p, err := c.open()
			must(t, err)
			l := newLoop(c, &hookedPoller{p, func() { to.Close() }})
			defer l.Close()
			s, _ := connectedPair(t, l)
			f := new(plainFilter)
			up := filterOn(t, s, f)
			released := 0
			up.Pause(Write)
			up.Output().Append([]byte("abc"), func() {
				released++
				up.Queued()
				s.Queued()
			})
			up.Flush()
			if err := up.MoveTo(to); err != ErrClosed {
				t.Errorf("MoveTo gives %v", err)
			}
			if n := f.closed.Load(); released != 1 || n != 1 {
				t.Errorf("released %d times, and the filter was closed %d times", released, n)
			}
			if _, err := s.Write([]byte("x")); err != ErrClosed {
				t.Errorf("Write gives %v", err)
			}
		},
		"LowerIsGone": func(t *testing.T, l *Loop) {
			// Its descriptor is another stream's by now.
			to := dialLoop(t, l.Method())
			s, c := connectedPair(t, l)
			up := filterOn(t, s, new(plainFilter))
			c.SetLinger(0)
			c.Close()
			gone := func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.gone()
			}
			for !gone() {
				l.turn(time.Millisecond)
			}
			other, far := connectedPair(t, l)
			for range 20 {
				if other.sock.fd == s.sock.fd {
					break
				}
				other, far = connectedPair(t, l)
			}
			if err := up.MoveTo(to); err != nil {
				t.Fatal(err)
			}
			expectMoved(t, to, up)
			send(t, far, "abc")
			if ev := nextOf(t, l, other); ev != Event(Readable{other}) {
				t.Errorf("unexpected %v", ev)
			}
			if ev := nextOf(t, to, up); ev != Event(Closed{up}) {
				t.Errorf("unexpected %v", ev)
			}
		},
	})
}

// Streams are passed to and fro between loops while they echo, and others call
// what they may: each byte comes back, in order.
func TestMoveToAndFro(t *testing.T) {
	onMethods(t, Config{MaxInput: 8 << 10, MaxOutput: 16 << 10}, map[string]func(*testing.T, *Loop){
		"Sockets": func(t *testing.T, l *Loop) {
			s, c := connectedPair(t, l)
			testToAndFro(t, l, s, c)
		},
		"Filter": func(t *testing.T, l *Loop) {
			s, c := connectedPair(t, l)
			up := filterOn(t, filterOn(t, s, xorFilter(1)), xorFilter(1))
			testToAndFro(t, l, up, c)
		},
		"Pipe": func(t *testing.T, l *Loop) {
			// One end moves, the other is a proxy to a real connection.
			a, b := l.Pipe(nil, nil)
			s, c := connectedPair(t, l)
			proxy := make(chan Event)
			for _, p := range []*Stream{b, s} {
				p.Notify(proxy)
			}
			over := make(chan struct{})
			go func() {
				defer close(over)
				for eofs := 0; eofs < 2; {
					ev := <-proxy
					from, to := b, s
					if ev.Source() == Source(s) {
						from, to = s, b
					}
					switch ev.(type) {
					case Readable:
						io.Copy(to, from)
					case EOF:
						eofs++
						to.CloseWrite()
					}
				}
				b.Close()
				s.Close()
			}()
			testToAndFro(t, l, a, c)
			<-over
		},
	})
}

func testToAndFro(t *testing.T, l *Loop, s *Stream, c *net.TCPConn) {
	other, err := New(&Config{Method: l.Method(), IgnoreEnv: true, MaxInput: 4 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	want := pattern(2 << 20)
	go func() {
		c.Write(want)
		c.CloseWrite()
	}()
	done := make(chan []byte)
	go func() {
		got, _ := io.ReadAll(c)
		done <- got
	}()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // somebody who does not know where the stream is
		for {
			select {
			case <-stop:
				return
			default:
				s.Pause(Write)
				s.SetPriority(0)
				s.Resume(Write)
				s.Queued()
				time.Sleep(10 * time.Microsecond)
			}
		}
	})
	moves, ended := 0, false
	for to, events := other, map[*Loop]<-chan Event{l: l.Events(), other: other.Events()}; !ended; {
		var ev Event
		select {
		case ev = <-events[l]:
		case ev = <-events[other]:
		case <-time.After(20 * time.Second):
			l.Dump(t.Output())
			other.Dump(t.Output())
			t.Fatalf("it does not go on after %d moves", moves)
		}
		if ev.Source() != Source(s) {
			t.Fatalf("unexpected %v", ev)
		}
		switch ev.(type) {
		case Moved:
			continue
		case Readable:
			if _, err := io.Copy(s, s); err != nil && err != ErrFull {
				t.Fatal(err)
			}
		case EOF:
			s.CloseWrite()
			ended = true
		case Closed:
			t.Fatal(s.Err())
		}
		if err := s.MoveTo(to); err != nil {
			t.Fatal(err)
		}
		moves++
		if to == l {
			to = other
		} else {
			to = l
		}
	}
	close(stop)
	wg.Wait()
	select {
	case got := <-done:
		if !bytes.Equal(got, want) {
			t.Errorf("%d other bytes have come back", len(got))
		}
	case <-time.After(20 * time.Second):
		l.Dump(t.Output())
		other.Dump(t.Output())
		t.Fatal("it does not come to an end")
	}
	s.Close()
	c.Close()
	if moves < 10 {
		t.Errorf("only %d moves", moves)
	}
}

// A lifetime of any length goes on after a move, in both directions: the loops' clocks
// count from different times.
func TestMoveToLongLifetime(t *testing.T) {
	older := dialLoop(t, "")
	for older.clock() == 0 { // so that the clocks differ
	}
	newer := dialLoop(t, "")
	for _, d := range []time.Duration{time.Hour, math.MaxInt64 - time.Duration(newer.clock()), math.MaxInt64} {
		for _, from := range []*Loop{older, newer} {
			to := older
			if from == older {
				to = newer
			}
			s, peer := from.Pipe(nil, nil)
			s.SetLifetime(d)
			if err := s.MoveTo(to); err != nil {
				t.Fatal(err)
			}
			expectMoved(t, to, s)
			noMessage(t, to)
			if err := s.Err(); err != nil {
				t.Errorf("a lifetime of %v has ended: %v", d, err)
			}
			s.Abort()
			peer.Abort()
		}
	}
}

// MoveTo, Filter and NetConn of a stream that has failed say why, also after Close.
func TestFailureIsTold(t *testing.T) {
	l := dialLoop(t, "")
	to := dialLoop(t, "")
	for _, closed := range []bool{false, true} {
		for _, filtered := range []bool{false, true} {
			a, b := l.Pipe(nil, nil)
			s := a
			if filtered {
				s = filterOn(t, a, new(plainFilter))
			}
			b.Abort()
			if ev := nextOf(t, l, s); ev != Event(Closed{s}) {
				t.Fatalf("unexpected %v", ev)
			}
			if closed {
				s.Close()
			}
			_, ferr := s.Filter(new(plainFilter), nil)
			_, nerr := s.NetConn()
			for _, err := range []error{s.MoveTo(to), ferr, nerr} {
				if err == nil || err != s.Err() {
					t.Errorf("closed %v, filtered %v: it says %v, Err %v", closed, filtered, err, s.Err())
				}
			}
		}
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// putGate is an Over.
func putGate(s *Stream) (*Stream, error) { return s.Filter(new(gateFilter), nil) }

// A hearingLayer changes nothing.
type hearingLayer struct {
	n, ends int
	first   Event
}

func (h *hearingLayer) Next(_ Source, ev Event) Event {
	if h.n++; h.n == 1 {
		h.first = ev
	}
	return ev
}

func (h *hearingLayer) End(Source) { h.ends++ }

// TestListenOver: a listener's streams get one on top, and that one sends Accepted once it is
// open.
func TestListenOver(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Accepted": func(t *testing.T, l *Loop) {
			ln := listen(t, l, "tcp", &ListenConfig{Over: putGate, Data: 7, MaxInput: 100, ReadLow: 2, WriteLow: 3, Lifetime: time.Hour})
			c := dial(t, ln)
			noMessage(t, l)
			send(t, c, "openabc")
			ev, ok := l.Poll(testPatience)
			a, accepted := ev.(Accepted)
			if !ok || !accepted {
				t.Fatalf("unexpected %v", ev)
			}
			up := a.Stream
			if up.Under() == nil || up.Listener() != ln || up.Data != 7 {
				t.Error(up.Under(), up.Listener(), up.Data)
			}
			if lim := up.limits.Load(); lim.maxInput != 100 || lim.readLow != 2 || lim.writeLow != 3 {
				t.Errorf("%+v", lim)
			}
			if lim := up.Under().limits.Load(); lim != &l.limits {
				t.Errorf("%+v", lim)
			}
			if up.Under().extra.ends == 0 {
				t.Error("no lifetime")
			}
			if ev := nextOf(t, l, up); ev != Event(Readable{up}) {
				t.Errorf("unexpected %v", ev)
			}
			expect(t, up.Input(), "abc")
		},
		"Layer": func(t *testing.T, l *Loop) {
			// It hears of the stream on top, from Accepted on, and of nothing that is never open.
			heard := new(hearingLayer)
			ln := listen(t, l, "tcp", &ListenConfig{Over: putGate, Layer: heard})
			dial(t, ln).Close()
			send(t, dial(t, ln), "openabc")
			s := acceptOne(t, l)
			if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
				t.Errorf("unexpected %v", ev)
			}
			s.Close()
			if heard.n < 2 || heard.first != Event(Accepted{s}) || heard.ends != 1 {
				t.Errorf("%+v", heard)
			}
			up, err := l.Dial("tcp", ln.Addr().String(), &DialConfig{Over: putGate, Layer: heard})
			must(t, err)
			up.Close()
			if heard.ends != 2 {
				t.Errorf("%+v", heard)
			}
		},
		"MaxPending": func(t *testing.T, l *Loop) {
			// Clients that say nothing keep nobody else from being accepted.
			ln := listen(t, l, "tcp", &ListenConfig{Over: putGate, MaxPending: 2})
			for range 10 {
				dial(t, ln)
			}
			send(t, dial(t, ln), "open")
			up := acceptOne(t, l)
			up.Close()
			// Those that are open, and not received, do.
			for range 3 {
				send(t, dial(t, ln), "open")
			}
			waiting := func() int {
				l.lock()
				defer l.unlock()
				return ln.division.unreceived()
			}
			for waiting() < 2 {
				l.turn(time.Millisecond)
			}
			for range 3 {
				acceptOne(t, l)
			}
			if n := waiting(); n != 0 {
				t.Errorf("%d wait", n)
			}
		},
		"ClosedBefore": func(t *testing.T, l *Loop) {
			// Nobody is told of those that never were open, and they do not count any more.
			ln := listen(t, l, "tcp", &ListenConfig{Over: putGate, MaxStreams: 1})
			for range 3 {
				c := dial(t, ln)
				send(t, c, "op")
				c.Close()
			}
			send(t, dial(t, ln), "open")
			if s := acceptOne(t, l); s.RemoteAddr() == nil {
				t.Error("no address")
			}
		},
		"Lifetime": func(t *testing.T, l *Loop) {
			ln := listen(t, l, "tcp", &ListenConfig{Over: putGate, Lifetime: 10 * time.Millisecond})
			c := dial(t, ln)
			closed := make(chan error, 1)
			go func() {
				_, err := c.Read(make([]byte, 1))
				closed <- err
			}()
			for err := error(nil); err == nil; {
				select {
				case err = <-closed:
				default:
					if ev, ok := l.Poll(time.Millisecond); ok {
						t.Fatalf("unexpected %v", ev)
					}
				}
			}
		},
		"Itself": func(t *testing.T, l *Loop) {
			ln := listen(t, l, "tcp", &ListenConfig{Over: func(s *Stream) (*Stream, error) { return s, nil }})
			send(t, dial(t, ln), "abc")
			s := acceptOne(t, l)
			if ev := nextOf(t, l, s); ev != Event(Readable{s}) || s.Under() != nil {
				t.Errorf("unexpected %v", ev)
			}
		},
		"Fails": func(t *testing.T, l *Loop) {
			bad := errors.New("not this one")
			fails := true
			other, _ := l.Pipe(nil, nil)
			returns := []*Stream{nil, other}
			ln := listen(t, l, "tcp", &ListenConfig{MaxStreams: 1, Over: func(s *Stream) (*Stream, error) {
				if fails {
					fails = false
					return s, bad
				}
				if len(returns) > 0 {
					r := returns[0]
					returns = returns[1:]
					return r, nil
				}
				return putGate(s)
			}})
			c := dial(t, ln)
			if ev, ok := l.Poll(testPatience); !ok || ev != Event(AcceptFailed{ln}) || !errors.Is(ln.Err(), bad) {
				t.Fatalf("unexpected %v: %v", ev, ln.Err())
			}
			if _, err := io.ReadAll(c); err == nil {
				t.Log("the end was no reset")
			}
			for range 2 {
				dial(t, ln)
			}
			send(t, dial(t, ln), "open")
			for {
				ev, ok := l.Poll(testPatience)
				if !ok {
					t.Fatal("nothing more is accepted")
				}
				if _, ok := ev.(Accepted); ok {
					break
				}
			}
		},
	})
}

// TestDialOver: Dial returns the stream on top, which sends Connected once it is open.
func TestDialOver(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Connected": func(t *testing.T, l *Loop) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			defer ln.Close()
			up, err := l.Dial("tcp", ln.Addr().String(), &DialConfig{Over: putGate, Data: 7, MaxOutput: 100, Paused: Read})
			must(t, err)
			if up.Under() == nil || up.Data != 7 || up.limits.Load().maxOutput != 100 || up.Paused() != Read {
				t.Error(up.Under(), up.Data, up.Paused())
			}
			c, err := ln.Accept()
			must(t, err)
			defer c.Close()
			noMessage(t, l)
			send(t, c, "open")
			if ev := nextOf(t, l, up); ev != Event(Connected{up}) {
				t.Errorf("unexpected %v", ev)
			}
		},
		"Fails": func(t *testing.T, l *Loop) {
			bad := errors.New("not this one")
			_, err := l.Dial("tcp", "127.0.0.1:1", &DialConfig{Over: func(*Stream) (*Stream, error) { return nil, bad }})
			if err != bad {
				t.Error(err)
			}
			if n := l.Stats().Sources; n != 0 {
				t.Errorf("%d sources are left", n)
			}
		},
		"IsNotConnected": func(t *testing.T, l *Loop) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			ln.Close()
			up, err := l.Dial("tcp", ln.Addr().String(), &DialConfig{Over: putGate})
			must(t, err)
			if ev := nextOf(t, l, up); ev != Event(Closed{up}) {
				t.Errorf("unexpected %v", ev)
			}
		},
	})
}

// TestGroupOver: with a Group, the stream on top sends Accepted on its loop, and nobody is told of
// the one below, however soon its client speaks.
func TestGroupOver(t *testing.T) {
	needSockets(t)
	const clients = 100
	g := newGroup(t, 3, RoundRobin)
	for name, over := range map[string]func(*Stream) (*Stream, error){
		"Opens":  putGate,
		"IsOpen": func(s *Stream) (*Stream, error) { return s.Filter(new(plainFilter), nil) },
		"Itself": func(s *Stream) (*Stream, error) { return s, nil },
	} {
		ln, err := g.Listen("tcp", "127.0.0.1:0", &ListenConfig{Over: over, Data: name})
		must(t, err)
		served := make(chan error, 3)
		var echoed atomic.Int32
		var conns []net.Conn
		for _, l := range g.Loops() {
			go func() {
				accepted := make(map[*Stream]bool)
				var wrong error
				for until := time.Now().Add(testPatience); echoed.Load() < clients && time.Now().Before(until); {
					ev, ok := l.Poll(time.Millisecond)
					if !ok {
						continue
					}
					s := ev.Source().(*Stream)
					switch ev.(type) {
					case Accepted:
						accepted[s] = true
						if s.Data != name {
							wrong = fmt.Errorf("the data is %v", s.Data)
						}
					case Readable:
						if !accepted[s] {
							wrong = fmt.Errorf("%s: %v before Accepted", name, ev)
						}
						io.Copy(s, s)
						echoed.Add(1)
					}
				}
				served <- wrong
			}()
		}
		for range clients {
			c := dial(t, ln)
			send(t, c, "open")
			if name == "Opens" {
				send(t, c, "abc")
			}
			conns = append(conns, c)
		}
		for range 3 {
			if err := <-served; err != nil {
				t.Error(err)
			}
		}
		if n := echoed.Load(); n != clients {
			t.Errorf("%s: %d clients were served", name, n)
		}
		for _, c := range conns {
			c.Close()
		}
		ln.Close()
	}
}

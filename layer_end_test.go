// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A layer that has much to say sends 16 messages in each of its turns.
func TestLayerRows(t *testing.T) {
	l := dialLoop(t, "")
	streams := map[string]*Stream{}
	for _, name := range []string{"a", "b"} {
		s, peer := l.Pipe(&StreamConfig{Layer: lineLayer()}, nil)
		streams[name] = s
		peer.WriteString(strings.Repeat(name+"\n", 4*maxLayerRow))
	}
	order := received(t, l, 8*maxLayerRow)
	row := func(name string) string { return strings.Repeat(name+" ", maxLayerRow) }
	if want := strings.TrimSpace(strings.Repeat(row("a")+row("b"), 4)); order != want {
		t.Errorf("received %q", order)
	}
}

// A layer that panics when it is told Stopping leaves the message that it has made before.
func TestLayerPanicsAtStopping(t *testing.T) {
	l := dialLoop(t, "")
	told := make(chan struct{})
	f := &layerFunc{next: func(_ Source, ev Event) Event {
		switch ev.(type) {
		case Readable:
			return &note{text: "made"}
		case Stopping:
			close(told)
			panic("oops")
		}
		return nil
	}}
	a, b := l.Pipe(&StreamConfig{Layer: f}, nil)
	b.WriteString("x")
	events := make(chan Event)
	a.Notify(events)
	for !a.offeredNow() {
		l.Poll(0)
	}
	l.Pipe(&StreamConfig{Layer: &layerFunc{next: func(Source, Event) Event { return nil }}}, nil) // Shutdown waits for it
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- l.Shutdown(ctx) }()
	<-told
	if ev := <-events; ev.String() != "made" {
		t.Errorf("received %v", ev)
	}
	if ev := <-events; ev != Event(Closed{a}) {
		t.Errorf("received %v", ev)
	}
	cancel()
	must(t, <-done)
	if f.ends != 1 {
		t.Errorf("%d times End", f.ends)
	}
}

// End of the layer of a stream under a filter is called also if that has failed and was moved.
func TestLayerEndUnderFilterMoved(t *testing.T) {
	l, to := dialLoop(t, ""), dialLoop(t, "")
	f := &layerFunc{next: func(Source, Event) Event { return nil }}
	low, peer := l.Pipe(&StreamConfig{Layer: f}, nil)
	s, err := low.Filter(new(undecidedFilter), nil)
	must(t, err)
	peer.WriteString("abc")
	for range 10 {
		l.Poll(0)
	}
	peer.Abort()
	for range 10 {
		l.Poll(0)
	}
	if !low.gone() {
		t.Fatal("the lower stream has not ended")
	}
	must(t, s.MoveTo(to))
	s.Abort()
	to.Close()
	l.Close()
	if f.ends != 1 {
		t.Errorf("%d times End", f.ends)
	}
}

// An undecidedFilter never decodes anything.
type undecidedFilter struct{ plainFilter }

func (*undecidedFilter) Decode(_, _, _ *Buffer, _ bool) error { return ErrWouldBlock }

// End is called once, and what was made can be posted, if the other loop is closed during MoveTo.
func TestLayerMovesToClosing(t *testing.T) {
	l := dialLoop(t, "")
	for range 300 {
		to, err := New(&Config{Method: "memory"})
		must(t, err)
		ev := &note{}
		var ends atomic.Int32
		a, b := l.Pipe(&StreamConfig{Layer: &endLayer{
			next: func(_ Source, got Event) Event {
				if _, ok := got.(Readable); ok {
					return ev
				}
				return nil
			},
			end: func(Source) { ends.Add(1) },
		}}, nil)
		b.WriteString("x")
		a.Notify(make(chan Event))
		for !a.offeredNow() {
			yield()
		}
		var wg sync.WaitGroup
		wg.Go(func() { a.MoveTo(to) })
		wg.Go(func() { to.Close() })
		wg.Wait()
		a.Abort()
		b.Abort()
		if n := ends.Load(); n != 1 {
			t.Fatalf("%d times End", n)
		}
		if box := l.Mailbox(0); box.Post(ev) != nil {
			t.Fatal("the message was not released")
		} else {
			box.Close()
		}
	}
}

// A receiver may call Shutdown: layers are told, and asked, though it receives nothing meanwhile.
func TestShutdownByReceiver(t *testing.T) {
	receive := map[string]func(l *Loop, do func(Event)){
		"Events": func(l *Loop, do func(Event)) {
			for ev := range l.Events() {
				do(ev)
			}
		},
		"Batches": func(l *Loop, do func(Event)) {
			for b := range l.Batches() {
				for ev := range b.All() {
					do(ev)
				}
			}
		},
		"All": func(l *Loop, do func(Event)) {
			for ev := range l.All() {
				do(ev)
			}
		},
	}
	for way, receive := range receive {
		t.Run(way, func(t *testing.T) {
			l := dialLoop(t, "")
			// The layers finish on another goroutine, which says so by Again.
			finished := make(chan struct{}, 3)
			for range cap(finished) {
				stopping := false
				l.Pipe(&StreamConfig{Layer: &layerFunc{next: func(src Source, ev Event) Event {
					switch ev.(type) {
					case Stopping:
						stopping = true
						go src.Again()
					case nil:
						if stopping {
							finished <- struct{}{}
							src.Close()
						}
					}
					return nil
				}}}, nil)
			}
			box := l.Mailbox(0)
			for range 2 { // the second one waits for the receiver
				must(t, box.Post(new(note)))
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			receive(l, func(ev Event) {
				if _, ok := ev.(*note); ok {
					for way == "Events" && !box.offeredNow() {
						yield()
					}
					must(t, l.Shutdown(ctx))
				}
			})
			if ctx.Err() != nil {
				t.Error("Shutdown has not ended by itself")
			}
			if n := len(finished); n != cap(finished) {
				t.Errorf("%d layers have finished", n)
			}
		})
	}
}

// End comes once, in each way in which a source can end.
func TestLayerEnd(t *testing.T) {
	ways := map[string]func(t *testing.T, l *Loop, s *Stream, c *net.TCPConn){
		"Close": func(_ *testing.T, _ *Loop, s *Stream, _ *net.TCPConn) { s.Close() },
		"Abort": func(_ *testing.T, _ *Loop, s *Stream, _ *net.TCPConn) { s.Abort() },
		"Loop":  func(_ *testing.T, l *Loop, _ *Stream, _ *net.TCPConn) { l.Close() },
		"NetConn": func(t *testing.T, l *Loop, s *Stream, _ *net.TCPConn) {
			needNetConn(t)
			netConn(t, l, s).Close()
		},
		"Peer": func(t *testing.T, l *Loop, _ *Stream, c *net.TCPConn) {
			c.SetLinger(0)
			c.Close()
			if got := received(t, l, 1); got != "Closed" {
				t.Errorf("received %q", got)
			}
			noMessage(t, l)
		},
		"Lifetime": func(t *testing.T, l *Loop, s *Stream, c *net.TCPConn) {
			s.SetLifetime(time.Nanosecond)
			if got := received(t, l, 1); got != "Closed" {
				t.Errorf("received %q", got)
			}
			noMessage(t, l)
		},
		"Shutdown": func(t *testing.T, l *Loop, s *Stream, c *net.TCPConn) {
			c.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			l.Shutdown(ctx)
			if ctx.Err() != nil {
				t.Error("Shutdown has not ended")
			}
		},
		"MoveTo": func(t *testing.T, l *Loop, s *Stream, c *net.TCPConn) {
			to := dialLoop(t, l.Method())
			must(t, s.MoveTo(to))
			l.Close()
			to.Close()
		},
		"Panic": func(t *testing.T, l *Loop, s *Stream, c *net.TCPConn) {
			send(t, c, "panic\n")
			if got := received(t, l, 1); got != "Closed" {
				t.Errorf("received %q", got)
			}
		},
	}
	for _, method := range socketMethods() {
		for name, end := range ways {
			for _, made := range []bool{false, true} { // whether a message was made and not received
				if made && (name == "NetConn" || name == "Peer" || name == "Lifetime" || name == "Panic") {
					continue // that message is received first
				}
				t.Run(fmt.Sprintf("%s/%s/%v", method, name, made), func(t *testing.T) {
					l := dialLoop(t, method)
					s, c := connectedPair(t, l)
					var ends atomic.Int32
					f := &endLayer{next: func(src Source, ev Event) Event {
						if ends.Load() > 0 {
							t.Errorf("Next with %v after End", ev)
						}
						switch ev.(type) {
						case Closed:
							return ev
						case Stopping:
							src.Close()
						case Readable:
							line, _ := src.(*Stream).Input().ReadLine(LF)
							if string(line) == "panic" {
								panic("oops")
							}
							return &note{text: string(line)}
						}
						return nil
					}, end: func(src Source) {
						if src != Source(s) {
							t.Errorf("End of %v", src)
						}
						ends.Add(1)
					}}
					must(t, s.SetLayer(f))
					send(t, c, "a\n")
					if !made {
						if got := received(t, l, 1); got != "a" {
							t.Errorf("received %q", got)
						}
					} else { // it is on offer
						l.Events()
						for !s.offeredNow() {
							runtime.Gosched()
						}
					}
					end(t, l, s, c)
					for until := time.Now().Add(testPatience); ends.Load() == 0; runtime.Gosched() {
						if time.Now().After(until) { // Next may still have been running elsewhere
							t.Fatal("no End")
						}
					}
					s.Close()
					l.Close()
					if n := ends.Load(); n != 1 {
						t.Errorf("%d times End", n)
					}
				})
			}
		}
	}
}

// An endLayer calls functions.
type endLayer struct {
	next func(Source, Event) Event
	end  func(Source)
}

func (x *endLayer) Next(src Source, ev Event) Event { return x.next(src, ev) }
func (x *endLayer) End(src Source)                  { x.end(src) }

// The End that comes due when the loop was closed is called.
func TestLayerEndAfterLoopClose(t *testing.T) {
	l := dialLoop(t, "memory")
	a, _ := l.Pipe(nil, nil)
	l.Close()
	ended := make(chan Source)
	l.endLater(&endLayer{end: func(src Source) { ended <- src }}, &a.source)
	if src := <-ended; src != Source(a) {
		t.Errorf("End of %v", src)
	}
}

// A layer that calls runtime.Goexit when it is told Stopping keeps nobody from telling the others.
func TestLayerExitsAtStopping(t *testing.T) {
	l := dialLoop(t, "memory")
	const streams = 5
	told := 0
	next := func(src Source, ev Event) Event {
		switch ev.(type) {
		case Readable:
			return ev
		case Stopping:
			told++
			runtime.Goexit()
		}
		return nil
	}
	for range streams {
		a, b := l.Pipe(nil, nil)
		must(t, a.SetLayer(&layerFunc{next: next}))
		b.WriteString("x")
	}
	if ev, ok := l.Poll(0); !ok {
		t.Fatal(ev) // the others have made their messages by then, or are about to
	}
	for told < streams {
		before := told
		done := make(chan struct{})
		go func() { // each call ends a goroutine
			defer close(done)
			l.Shutdown(context.Background())
		}()
		<-done
		if told == before {
			t.Fatalf("%d of %d were told", told, streams)
		}
	}
	must(t, l.Shutdown(context.Background()))
}

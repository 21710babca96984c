// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// tagLayer replaces each message by a note with its name, after tag.
func tagLayer(tag string) *layerFunc {
	return &layerFunc{next: func(_ Source, ev Event) Event {
		if ev == nil {
			return nil
		}
		return &note{text: tag + kindNames[ev.kind()]}
	}}
}

// Every kind of source has its messages turned by its layer, and tells it the end.
func TestLayerSources(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Trigger": func(t *testing.T, l *Loop) {
			testLayerSource(t, l, func() Source {
				s := l.Trigger()
				s.Fire()
				return s
			}, "Fired")
		},
		"Timer": func(t *testing.T, l *Loop) {
			testLayerSource(t, l, func() Source { return l.After(0) }, "Tick")
		},
		"Mailbox": func(t *testing.T, l *Loop) {
			testLayerSource(t, l, func() Source {
				s := l.Mailbox(0)
				must(t, s.Post(&note{}))
				return s
			}, "Custom")
		},
		"Signal": func(t *testing.T, l *Loop) {
			if runtime.GOOS == "windows" {
				t.Skip("a process cannot send itself a signal there")
			}
			testLayerSource(t, l, func() Source {
				s, err := l.Signal(os.Interrupt)
				must(t, err)
				p, err := os.FindProcess(os.Getpid())
				must(t, err)
				must(t, p.Signal(os.Interrupt))
				return s
			}, "Signaled")
		},
		"Watch": func(t *testing.T, l *Loop) {
			testLayerSource(t, l, func() Source {
				_, c := connectedPair(t, l)
				w, err := l.WatchConn(c, Write)
				must(t, err)
				must(t, w.Arm(0))
				return w
			}, "Ready")
		},
		"PacketConn": func(t *testing.T, l *Loop) {
			needNetUDP(t)
			f := tagLayer("")
			c, err := l.ListenPacket("udp", "127.0.0.1:0", &PacketConfig{Layer: f})
			must(t, err)
			peer, err := net.Dial("udp", c.LocalAddr().String())
			must(t, err)
			defer peer.Close()
			send(t, peer, "a")
			if got := received(t, l, 1); got != "Packets" {
				t.Errorf("received %q", got)
			}
			// A new layer is told of what waits.
			must(t, c.SetLayer(tagLayer("again ")))
			if got := received(t, l, 1); got != "again Packets" {
				t.Errorf("received %q", got)
			}
			c.Close()
			noMessage(t, l)
		},
		"Listener": func(t *testing.T, l *Loop) {
			// The layer of a ListenConfig is for the accepted streams; SetLayer is for the
			// listener, which tells of failures only.
			streams := tagLayer("stream ")
			ln := listen(t, l, "tcp", &ListenConfig{Layer: streams})
			own := tagLayer("listener ")
			must(t, ln.SetLayer(own))
			dial(t, ln)
			if got := received(t, l, 1); got != "stream Accepted" {
				t.Errorf("received %q", got)
			}
			ln.Again()
			noMessage(t, l)
			ln.Close()
			if own.ends != 1 || streams.ends != 0 {
				t.Errorf("End: %d, %d", own.ends, streams.ends)
			}
		},
		"Dial": func(t *testing.T, l *Loop) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			defer ln.Close()
			f := tagLayer("")
			s, err := l.Dial("tcp", ln.Addr().String(), &DialConfig{Layer: f})
			must(t, err)
			if got := received(t, l, 1); got != "Connected" {
				t.Errorf("received %q", got)
			}
			s.Abort()
			if f.ends != 1 {
				t.Errorf("%d times End", f.ends)
			}
		},
	})
}

// testLayerSource has made make a source that has a message waiting, whose name is want.
func testLayerSource(t *testing.T, l *Loop, makeIt func() Source, want string) {
	f := tagLayer("my ")
	s := makeIt()
	must(t, s.SetLayer(f))
	ev, ok := l.Poll(10 * time.Second)
	if !ok || ev.String() != "my "+want {
		t.Fatalf("received %v; want %s", ev, want)
	}
	if ev.Source() != s {
		t.Errorf("it is a message of %v", ev.Source())
	}
	noMessage(t, l)
	asked := false
	f.next = func(src Source, ev Event) Event {
		asked = src == s && ev == nil
		return nil
	}
	s.Again()
	noMessage(t, l)
	if !asked || f.ends != 0 {
		t.Errorf("asked %v, %d times End", asked, f.ends)
	}
	must(t, s.Close())
	if f.ends != 1 {
		t.Errorf("%d times End after Close", f.ends)
	}
	s.Again()
	noMessage(t, l)
	if err := s.SetLayer(f); err != ErrClosed {
		t.Errorf("SetLayer after Close: %v", err)
	}
}

// Made messages stand in the same lanes as others, and within a lane in the same order.
func TestLayerPriorities(t *testing.T) {
	onMethods(t, Config{Priorities: 3}, map[string]func(*testing.T, *Loop){
		"Lanes": func(t *testing.T, l *Loop) {
			var names []string
			fire := func(name string, prio int) *Trigger {
				s := l.Trigger()
				must(t, s.SetPriority(prio))
				must(t, s.SetLayer(countLayer(name, 2)))
				s.Fire()
				names = append(names, name)
				return s
			}
			fire("c", 2)
			b := fire("b", 1)
			fire("d", 1)
			if got := received(t, l, 1); got != "b1" {
				t.Fatalf("received %q", got)
			}
			fire("a", 0) // overtakes what b has left
			if got := received(t, l, 1); got != "a1" {
				t.Fatalf("received %q", got)
			}
			must(t, b.SetPriority(2)) // behind c
			if got := received(t, l, 6); got != "a2 d1 d2 c1 c2 b2" {
				t.Errorf("received %q", got)
			}
			noMessage(t, l)
		},
		"Row": func(t *testing.T, l *Loop) {
			// At most so many messages in a row, then it is the turn of others.
			for _, name := range []string{"a", "b"} {
				s := l.Trigger()
				must(t, s.SetLayer(countLayer(name, 20)))
				s.Fire()
			}
			got := strings.Fields(received(t, l, 40))
			for i, row := range [][2]int{{0, maxLayerRow}, {maxLayerRow, 2 * maxLayerRow}} {
				for _, text := range got[row[0]:row[1]] {
					if text[0] != "ab"[i] {
						t.Fatalf("received %q", got)
					}
				}
			}
		},
	})
}

// countLayer makes n messages of each one: name1, name2 and so on.
func countLayer(name string, n int) *layerFunc {
	k := 0
	return &layerFunc{next: func(_ Source, ev Event) Event {
		if ev != nil {
			k = 0
		}
		if k++; k > n {
			return nil
		}
		return &note{text: fmt.Sprint(name, k)}
	}}
}

// Once Close of another goroutine has returned, nothing that the layer has made is received,
// whichever way it is received.
func TestLayerCloseIsExact(t *testing.T) {
	for name, receive := range ranges {
		t.Run(name, func(t *testing.T) {
			l := dialLoop(t, "")
			const sources = 100
			var closed [sources]atomic.Bool
			current := make(chan int, 1)
			var wg sync.WaitGroup
			wg.Go(func() {
				rest := l.Every(time.Millisecond) // so that the loop has something else to do
				defer rest.Close()
				for i := range sources {
					s := l.Mailbox(0)
					must(t, s.SetLayer(&layerFunc{next: func(Source, Event) Event { return &numbered{n: i} }}))
					s.Again()
					<-current // a message of it was received
					yield()
					if i%2 == 0 {
						s.Notify(nil)
						s.SetPriority(0)
					}
					s.Close()
					closed[i].Store(true)
				}
				l.Exit(0)
			})
			var known [sources]bool
			receive(l, func(ev Event) {
				if m, ok := ev.(*numbered); ok {
					if known[m.n] {
						t.Errorf("a message of %d after Close", m.n)
					}
					select {
					case current <- m.n:
					default:
					}
				}
				// What is closed now sends nothing that is received from here on.
				for i := range closed {
					known[i] = closed[i].Load()
				}
			})
			wg.Wait()
		})
	}
}

// A numbered is a message of the source with that number.
type numbered struct {
	Custom
	n int
}

// What a layer may do in its Next.
func TestLayerActs(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Closes": func(t *testing.T, l *Loop) {
			s, c := connectedPair(t, l)
			var f *layerFunc
			f = &layerFunc{next: func(src Source, ev Event) Event {
				src.Close()
				if f.ends != 0 {
					t.Error("End within Next")
				}
				return &note{text: "lost"} // Close takes it back
			}}
			must(t, s.SetLayer(f))
			send(t, c, "a")
			c.CloseWrite()
			waitReleased(t, l)
			if f.ends != 1 {
				t.Errorf("%d times End", f.ends)
			}
		},
		"SaysThenCloses": func(t *testing.T, l *Loop) {
			s, c := connectedPair(t, l)
			f := &layerFunc{next: func(src Source, ev Event) Event {
				if ev != nil {
					return &note{text: "bye"}
				}
				src.Close()
				return nil
			}}
			must(t, s.SetLayer(f))
			send(t, c, "a")
			c.CloseWrite()
			if got := received(t, l, 1); got != "bye" {
				t.Errorf("received %q", got)
			}
			waitReleased(t, l)
			if f.ends != 1 {
				t.Errorf("%d times End", f.ends)
			}
		},
		"ChangesItself": func(t *testing.T, l *Loop) {
			s, c := connectedPair(t, l)
			first := &layerFunc{next: func(src Source, ev Event) Event {
				line, _ := src.(*Stream).Input().ReadLine(LFOrCRLF)
				must(t, src.SetLayer(lineLayer()))
				return &note{text: "first " + string(line)}
			}}
			must(t, s.SetLayer(first))
			send(t, c, "a\nb\nc\n")
			if got := received(t, l, 3); got != "first a b c" {
				t.Errorf("received %q", got)
			}
			// Then none: the message of the layer that has gone comes first.
			must(t, s.SetLayer(&layerFunc{next: func(src Source, ev Event) Event {
				must(t, src.SetLayer(nil))
				return &note{text: "last"}
			}}))
			send(t, c, "d")
			if got := received(t, l, 2); got != "last Readable" {
				t.Errorf("received %q", got)
			}
			if first.ends != 0 {
				t.Error("End of a layer that was replaced")
			}
			s.Abort()
		},
		"Posts": func(t *testing.T, l *Loop) {
			// Into another mailbox, and into the one that is being turned.
			box, other := l.Mailbox(0), l.Mailbox(0)
			must(t, box.SetLayer(&layerFunc{next: func(_ Source, ev Event) Event {
				if ev, ok := ev.(*note); ok && ev.text == "go" {
					must(t, other.Post(&note{text: "other"}))
					must(t, box.Post(&note{text: "own"}))
				}
				return ev
			}}))
			must(t, box.Post(&note{text: "go"}))
			if got := received(t, l, 3); got != "go other own" && got != "go own other" {
				t.Errorf("received %q", got)
			}
			noMessage(t, l)
		},
		"Reposts": func(t *testing.T, l *Loop) {
			// A message that the layer has swallowed may be posted again.
			box, m := l.Mailbox(1), &note{text: "m"}
			n := 0
			must(t, box.SetLayer(&layerFunc{next: func(_ Source, ev Event) Event {
				if n++; ev != nil && n < 5 {
					must(t, box.Post(ev))
					return nil
				}
				return ev
			}}))
			must(t, box.Post(m))
			if got := received(t, l, 1); got != "m" || m.Source() != Source(box) {
				t.Errorf("received %q of %v", got, m.Source())
			}
			must(t, box.Post(m))
			if !m.Retract() || box.Len() != 0 {
				t.Error("Retract")
			}
			noMessage(t, l)
		},
		"Moves": func(t *testing.T, l *Loop) {
			to := dialLoop(t, l.Method())
			s, c := connectedPair(t, l)
			moved := false
			f := &layerFunc{next: func(src Source, ev Event) Event {
				if !moved {
					moved = true
					must(t, src.(*Stream).MoveTo(to))
					return &note{text: "moving"}
				}
				if ev == nil {
					return nil
				}
				return &note{text: kindNames[ev.kind()]}
			}}
			must(t, s.SetLayer(f))
			send(t, c, "a")
			for !moved {
				if ev, ok := l.Poll(time.Millisecond); ok {
					t.Errorf("unexpected %v", ev)
				}
			}
			if got := received(t, to, 3); got != "moving Moved Readable" {
				t.Errorf("received %q", got)
			}
			noMessage(t, l)
			to.Close()
			if f.ends != 1 {
				t.Errorf("%d times End", f.ends)
			}
		},
		"NetConn": func(t *testing.T, l *Loop) {
			needNetConn(t)
			s, c := connectedPair(t, l)
			var conn net.Conn
			f := &layerFunc{next: func(src Source, ev Event) Event {
				var err error
				conn, err = src.(*Stream).NetConn()
				must(t, err)
				return nil
			}}
			must(t, s.SetLayer(f))
			send(t, c, "hello")
			for conn == nil {
				if ev, ok := l.Poll(time.Millisecond); ok {
					t.Errorf("unexpected %v", ev)
				}
			}
			p := make([]byte, 5)
			if _, err := io.ReadFull(conn, p); err != nil || string(p) != "hello" {
				t.Errorf("%q, %v", p, err)
			}
			conn.Close()
			if f.ends != 1 {
				t.Errorf("%d times End", f.ends)
			}
		},
		"Filters": func(t *testing.T, l *Loop) {
			s, c := connectedPair(t, l)
			must(t, s.SetLayer(&layerFunc{next: func(src Source, ev Event) Event {
				_, err := src.(*Stream).Filter(new(plainFilter), &StreamConfig{Layer: lineLayer()})
				must(t, err)
				return nil
			}}))
			send(t, c, "a\nb\n")
			if got := received(t, l, 2); got != "a b" {
				t.Errorf("received %q", got)
			}
			s.Again() // means nothing
			noMessage(t, l)
		},
	})
}

// A stream that gets a filter has its layer called no more, also if that was to be asked.
func TestLayerUnderFilter(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Asked": func(t *testing.T, l *Loop) {
			s, c := connectedPair(t, l)
			f := lineLayer()
			must(t, s.SetLayer(f))
			send(t, c, "a\nb\nc\n")
			if got := received(t, l, 1); got != "a" {
				t.Fatalf("received %q", got)
			}
			s.Again()
			next := f.next
			f.next = func(src Source, ev Event) Event {
				t.Errorf("asked with %v", ev)
				return next(src, ev)
			}
			up, err := s.Filter(new(plainFilter), &StreamConfig{Layer: lineLayer()})
			must(t, err)
			if got := received(t, l, 2); got != "b c" {
				t.Errorf("received %q", got)
			}
			noMessage(t, l)
			if err := s.SetLayer(f); err == nil {
				t.Error("SetLayer under a filter")
			}
			up.Abort()
			c.Close()
			waitReleased(t, l)
			noMessage(t, l)
			if f.ends != 1 {
				t.Errorf("%d times End", f.ends)
			}
		},
		"Above": func(t *testing.T, l *Loop) {
			// Again of a stream that a filter has made.
			s, c := connectedPair(t, l)
			up, err := s.Filter(new(plainFilter), nil)
			must(t, err)
			f := lineLayer()
			must(t, up.SetLayer(f))
			send(t, c, "a\nb\n")
			c.CloseWrite()
			if got := received(t, l, 3); got != "a b EOF" {
				t.Errorf("received %q", got)
			}
			asked := 0
			f.next = func(Source, Event) Event { asked++; return nil }
			up.Again()
			noMessage(t, l)
			if asked != 2 { // once for more, after EOF
				t.Errorf("asked %d times", asked)
			}
			up.Close()
			waitReleased(t, l)
			if f.ends != 1 {
				t.Errorf("%d times End", f.ends)
			}
		},
	})
}

// When the input has reached its limit, the layer is told so, whatever the low mark.
func TestLayerInputFull(t *testing.T) {
	onMethods(t, Config{MaxInput: 10}, map[string]func(*testing.T, *Loop){
		"Limit": func(t *testing.T, l *Loop) {
			s, c := connectedPair(t, l)
			full := false
			must(t, s.SetLayer(&layerFunc{next: func(src Source, ev Event) Event {
				s := src.(*Stream)
				if _, ok := ev.(Readable); !ok {
					return nil
				}
				if !s.InputFull() {
					s.Input() // takes nothing
					return nil
				}
				full = true
				if n := s.Input().Discard(s.Input().Len()); n < 10 {
					t.Errorf("%d bytes", n)
				}
				return &note{text: "full"}
			}}))
			for range 3 {
				send(t, c, "12345")
				for n := l.Stats().BytesIn; l.Stats().BytesIn == n; {
					if ev, ok := l.Poll(time.Millisecond); ok && !full {
						t.Errorf("unexpected %v", ev)
					}
				}
			}
			if !full {
				t.Error("the layer was not told")
			}
			// Reading goes on.
			full = false
			send(t, c, "1234567890")
			for !full {
				l.Poll(time.Millisecond)
			}
			s.Abort()
		},
	})
}

// MaxPending counts what a layer has answered instead of passing it on, as received.
func TestLayerMaxPending(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Swallowed": func(t *testing.T, l *Loop) {
			accepted := 0
			ln := listen(t, l, "tcp", &ListenConfig{MaxPending: 1, Layer: &layerFunc{next: func(src Source, ev Event) Event {
				if _, ok := ev.(Accepted); ok {
					accepted++
				}
				return nil
			}}})
			for range 5 {
				dial(t, ln)
			}
			for until := time.Now().Add(10 * time.Second); accepted < 5; {
				if ev, ok := l.Poll(time.Millisecond); ok {
					t.Errorf("unexpected %v", ev)
				}
				if time.Now().After(until) {
					t.Fatalf("%d were accepted", accepted)
				}
			}
		},
	})
}

// Notify and SetPriority take a made message along.
func TestLayerNotify(t *testing.T) {
	l := dialLoop(t, "")
	s := l.Trigger()
	must(t, s.SetLayer(countLayer("m", 4)))
	s.Fire()
	events := l.Events()
	for !s.offeredNow() {
		runtime.Gosched()
	}
	ch := make(chan Event)
	s.Notify(ch)
	if ev := <-ch; ev.String() != "m1" {
		t.Errorf("received %v", ev)
	}
	s.Notify(nil)
	if ev := <-events; ev.String() != "m2" {
		t.Errorf("received %v", ev)
	}
	buffered := make(chan Event, 2)
	s.Notify(buffered)
	for len(buffered) < 2 {
		runtime.Gosched()
	}
	if a, b := (<-buffered).String(), (<-buffered).String(); a != "m3" || b != "m4" {
		t.Errorf("received %s, %s", a, b)
	}
}

// Next is never called twice at once, nor End before it has returned, whatever others do.
func TestLayerAlone(t *testing.T) {
	for name, receive := range ranges {
		t.Run(name, func(t *testing.T) {
			l, other := dialLoop(t, ""), dialLoop(t, "")
			ch := make(chan Event)
			done := make(chan struct{})
			var receivers, wg sync.WaitGroup
			receivers.Go(func() { receive(l, func(Event) {}) })
			receivers.Go(func() { receive(other, func(Event) {}) })
			receivers.Go(func() {
				for {
					select {
					case <-ch:
					case <-done:
						return
					}
				}
			})
			for range 20 {
				var inside, ends atomic.Int32
				x := &endLayer{next: func(src Source, ev Event) Event {
					if inside.Add(1) != 1 {
						t.Error("Next is called twice at once")
					}
					defer inside.Add(-1)
					runtime.Gosched()
					if ends.Load() != 0 {
						t.Error("Next after End")
					}
					switch rand.IntN(3) {
					case 0:
						return nil
					case 1:
						src.Again()
					}
					return &note{text: "n"}
				}, end: func(Source) {
					if inside.Load() != 0 || ends.Add(1) != 1 {
						t.Error("End while Next runs, or twice")
					}
				}}
				a, b := l.Pipe(&StreamConfig{Layer: x}, nil)
				var callers sync.WaitGroup
				for _, f := range []func(){
					func() { a.Again() },
					func() { a.Notify([]chan Event{ch, nil}[rand.IntN(2)]) },
					func() { a.SetPriority(0) },
					func() { b.Write([]byte("x")) },
					func() { l.Dump(io.Discard) },
				} {
					callers.Go(func() {
						for range 50 {
							f()
							yield()
						}
					})
				}
				callers.Wait()
				wg.Go(func() { a.Abort(); b.Abort() })
				wg.Go(func() { a.Close() })
				wg.Wait()
				for inside.Load() != 0 || ends.Load() == 0 {
					runtime.Gosched()
				}
			}
			l.Close()
			other.Close()
			close(done)
			receivers.Wait()
		})
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestWorldOfLinger closes streams whose output the peer does not take, or takes just
// before they give up, then, or just after.
func TestWorldOfLinger(t *testing.T) {
	tests := make(map[string]func(*testing.T, *Loop))
	const linger = 10 * time.Minute
	for _, off := range []time.Duration{-linger, -linger + 1, -time.Second, -1, 0, 1, time.Second} {
		for _, closes := range []bool{true, false} { // the peer, once it has got all
			tests[fmt.Sprintf("At%vCloses%v", linger+off, closes)] = func(t *testing.T, l *Loop) {
				a, b := l.Pipe(nil, nil)
				b.Pause(Read)
				released := 0
				for range 20 {
					a.Output().Append(make([]byte, 10_000), func() { released++ })
				}
				a.Flush()
				began := time.Now()
				a.Close()
				released0 := released
				live := func(want bool) {
					t.Helper()
					a.mu.Lock()
					gone := a.gone()
					a.mu.Unlock()
					if gone == want {
						t.Errorf("after %v: it is there: %v; want %v", time.Since(began), !gone, want)
					}
				}
				at(t, l, began, min(linger+off, linger-1))
				live(true)
				if off >= 0 {
					wait(t, l, Closed{b}, 1)
					live(false)
					at(t, l, began, linger+off)
				}
				b.Resume(Read)
				got := 0
				for {
					ev, ok := l.Poll(time.Hour)
					if !ok {
						break
					}
					got += b.Input().Discard(1 << 30)
					if ev == Event(EOF{b}) {
						if off >= 0 {
							t.Error("the peer takes what it got for all")
						}
						if got != 200_000 {
							t.Errorf("%d bytes before EOF", got)
						}
						live(true)
						if closes {
							b.Close()
							for range 3 {
								l.Poll(0)
							}
							live(false)
							break
						}
						// Linger has begun anew when the peer took some.
						at(t, l, began, linger+off+linger-1)
						live(true)
						at(t, l, began, linger+off+linger)
						for range 3 {
							l.Poll(0)
						}
						live(false)
					}
				}
				if off >= 0 && !errors.Is(b.Err(), eCONNRESET) {
					t.Errorf("the peer was told %v", b.Err())
				}
				if off < 0 && b.Err() != nil {
					t.Errorf("the peer was told %v", b.Err())
				}
				b.Close()
				l.Poll(time.Hour)
				b.Input().Reset()
				if released != 20 {
					t.Errorf("%d of 20 pieces were released, %d before the end", released, released0)
				}
				empty(t, l)
			}
		}
	}
	tests["ClosedWhenDrained"] = func(t *testing.T, l *Loop) {
		// It takes an hour to send all, which is longer than Linger.
		a, b := l.Pipe(nil, nil)
		a.SetRateLimit(&RateLimit{WriteRate: 10, WriteBurst: 10, Tick: time.Second})
		began := time.Now()
		a.Write(make([]byte, 36_000))
		a.CloseWrite()
		got := 0
		for ev := range l.All() {
			switch ev {
			case Readable{b}:
				got += b.Input().Discard(1 << 30)
			case Drained{a}:
				if d := time.Since(began); d != time.Hour-time.Second || a.Queued() != 0 {
					t.Errorf("Drained after %v, with %d bytes queued", d, a.Queued())
				}
				a.Close()
			case EOF{b}:
				b.Close()
				l.Exit(0)
			default:
				t.Fatalf("unexpected %v", ev)
			}
		}
		if got != 36_000 || time.Since(began) != time.Hour-time.Second {
			t.Errorf("%d bytes after %v", got, time.Since(began))
		}
		empty(t, l)
	}
	for _, filters := range []int{0, 1, 3} {
		tests[fmt.Sprintf("ClosedWithSlow%d", filters)] = func(t *testing.T, l *Loop) {
			// It takes an hour to send all, but there is progress all the time, if only at
			// the bottom.
			a, b := l.Pipe(nil, nil)
			a.SetRateLimit(&RateLimit{WriteRate: 10, WriteBurst: 10, Tick: time.Second})
			up := a
			for range filters {
				up = filterOn(t, up, new(plainFilter))
			}
			up.Write(make([]byte, 36_000))
			up.Close()
			got := 0
			for ev := range l.All() {
				switch ev {
				case Readable{b}:
					got += b.Input().Discard(1 << 30)
				case EOF{b}:
					b.Close()
					l.Exit(0)
				case Closed{b}:
					t.Errorf("%v after %d bytes", b.Err(), got)
					l.Exit(0)
				default:
					t.Fatalf("unexpected %v", ev)
				}
			}
			if got != 36_000 || up.Lost() != 0 {
				t.Errorf("%d bytes, %d are lost", got, up.Lost())
			}
			b.Close()
			empty(t, l)
		}
	}
	inBubble(t, Config{Linger: linger}, tests)
}

// silentResolver returns a resolver that never gets an answer, and ends with the test.
func silentResolver(t *testing.T) *net.Resolver {
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		<-done
		return nil, errors.New("there is no server")
	}}
}

// initResolver has package net make its global channel outside of bubbles.
func initResolver() {
	r := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("there is no server")
	}}
	r.LookupHost(context.Background(), "evchan.test.")
}

// TestWorldOfDials bounds the time of connecting, and of nothing else.
func TestWorldOfDials(t *testing.T) {
	initResolver()
	tests := make(map[string]func(*testing.T, *Loop))
	for _, limit := range []time.Duration{0, 1, time.Second, time.Hour, -1} {
		tests[fmt.Sprint("Timeout", limit)] = func(t *testing.T, l *Loop) {
			s, err := l.Dial("tcp", "evchan.test.:80", &DialConfig{Timeout: limit, Resolver: silentResolver(t)})
			if err != nil {
				t.Fatal(err)
			}
			var released atomic.Int64
			s.Output().Append([]byte("hello"), func() { released.Add(1) })
			s.Flush()
			s.SetIdleTimeouts(time.Millisecond, time.Millisecond) // do not apply yet
			began := time.Now()
			switch {
			case limit < 0:
				at(t, l, began, 24*time.Hour)
				s.Close()
			case limit == 0:
				limit = defaultDialTimeout
				fallthrough
			default:
				at(t, l, began, limit-1)
				wait(t, l, Closed{s}, 1)
				var ne net.Error
				if !errors.As(s.Err(), &ne) || !ne.Timeout() {
					t.Errorf("Err is %v", s.Err())
				}
			}
			l.Poll(time.Hour)
			if n := released.Load(); n != 1 {
				t.Errorf("what was written was released %d times", n)
			}
			empty(t, l)
		}
	}
	inBubble(t, Config{}, tests)
}

// TestWorldOfSlowPeer: a proxy between two pipes holds no more than it may, however
// slow one end is, for an hour, and no byte is lost.
func TestWorldOfSlowPeer(t *testing.T) {
	inBubble(t, Config{MaxInput: 2000, MaxOutput: 3000}, map[string]func(*testing.T, *Loop){"": func(t *testing.T, l *Loop) {
		const (
			piece = 1000 // taken each second
			total = 3600 * piece
		)
		a, b := l.Pipe(nil, nil) // a has much to say
		c, d := l.Pipe(nil, nil) // d listens slowly
		d.SetReadMarks(1, piece)
		c.SetIdleTimeouts(0, 2*time.Second)
		written, released, got := 0, 0, 0
		write := func() {
			for written < total && a.Queued() < 3000 {
				p := make([]byte, piece)
				for i := range p {
					p[i] = byte((written + i) * 31 >> 3)
				}
				a.Output().Append(p, func() { released++ })
				if err := a.Flush(); err != nil {
					t.Fatal(err)
				}
				written += piece
			}
			if written == total {
				a.CloseWrite()
			}
		}
		write()
		tm := l.Every(time.Second)
		for ev := range l.All() {
			switch ev {
			case Drained{a}:
				write()
			case Readable{b}:
				if _, err := io.Copy(c, b); err != nil && err != ErrFull {
					t.Fatal(err)
				}
			case Tick{tm}:
				for _, x := range d.Input().Next(piece) {
					if x != byte(got*31>>3) {
						t.Fatalf("another byte at %d", got)
					}
					got++
				}
				if want := int(time.Duration(l.clock())/time.Second) * piece; got != want {
					t.Fatalf("%d bytes after %v; want %d", got, time.Duration(l.clock()), want)
				}
			case EOF{b}:
				c.CloseWrite()
			case Readable{d}, Drained{c}:
			case EOF{d}:
				if got != total {
					t.Errorf("%d bytes before EOF", got)
				}
				tm.Stop()
				for _, s := range []*Stream{a, b, c, d} {
					s.Close()
				}
				l.Exit(0)
			default:
				t.Fatalf("unexpected %v after %v", ev, time.Duration(l.clock()))
			}
			if n := int(b.in.held.Load()); n > 2000 {
				t.Fatalf("the proxy holds %d bytes of input", n)
			}
			if n := c.Queued(); n > 3000+2000 {
				t.Fatalf("the proxy holds %d bytes of output", n)
			}
		}
		if d := time.Duration(l.clock()); d != time.Hour {
			t.Errorf("it took %v", d)
		}
		if released != total/piece {
			t.Errorf("%d pieces of %d were released", released, total/piece)
		}
		empty(t, l)
	}})
}

// A world has some of everything, and counts what must be released.
type world struct {
	t        *testing.T
	loop     *Loop
	pieces   int
	released atomic.Int64 // on any goroutine
	streams  []*Stream
}

// newWorld builds a world.
func newWorld(t *testing.T, l *Loop) *world {
	w := &world{t: t, loop: l}
	pipe := func() (*Stream, *Stream) {
		a, b := l.Pipe(nil, nil)
		w.streams = append(w.streams, a, b)
		return a, b
	}
	limit := RateLimit{ReadRate: 100, ReadBurst: 200, WriteRate: 1000, WriteBurst: 1000, Tick: time.Second}
	g, err := l.RateGroup(limit)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		a, b := pipe() // limited
		a.SetRateGroup(g)
		a.SetRateLimit(&limit)
		b.SetRateGroup(g)
		w.write(a)
		w.write(b)
		a.SetIdleTimeouts(time.Duration(i)*time.Second, time.Second)

		a, b = pipe() // stuck, and closing some seconds later
		b.Pause(Read)
		for a.Queued() < 10_000 {
			w.write(a)
		}
		a.SetIdleTimeouts(0, time.Duration(i)*time.Second)
		if i%2 == 0 {
			a.Close()
		}
		b.SetIdleTimeouts(time.Duration(i)*time.Second, 0)

		a, b = pipe() // a proxy's
		c, d := pipe()
		b.Data, c.Data = c, b
		d.SetReadMarks(1, 500)
		a.SetRateLimit(&limit)
		w.write(a)
		w.write(d)
		if i%2 == 1 {
			a.CloseWrite()
		}

		a, b = pipe() // filtered
		up, err := a.Filter(xorFilter(1), nil)
		if err != nil {
			t.Fatal(err)
		}
		w.streams = append(w.streams, up)
		up.SetIdleTimeouts(time.Second, time.Second)
		w.write(up)
		w.write(b)

		s, err := l.Dial("tcp", "evchan.test.:80", &DialConfig{Timeout: time.Duration(i) * time.Second, Resolver: silentResolver(t)})
		if err != nil {
			t.Fatal(err)
		}
		w.streams = append(w.streams, s)
		w.write(s)

		l.Every(time.Duration(1+i) * time.Second)
		l.After(time.Duration(i) * time.Second)
		l.After(time.Hour).Stop()
		l.Trigger().Fire()
	}
	return w
}

// write has s send a piece that must be released.
func (w *world) write(s *Stream) {
	w.pieces++
	s.Output().Append(make([]byte, 3000), func() { w.released.Add(1) })
	s.Flush()
}

// received does what is to be done about ev.
func (w *world) received(ev Event) {
	switch ev := ev.(type) {
	case Readable:
		if dst, ok := ev.Stream.Data.(*Stream); ok {
			io.Copy(dst, ev.Stream)
		} else {
			ev.Stream.Input().Discard(1000)
		}
	case TimedOut:
		if ev.Stream.TimedOut()&Read != 0 {
			ev.Stream.Resume(Read)
		} else {
			ev.Stream.Close()
		}
	case EOF:
		ev.Stream.Close()
	}
}

// end checks that nothing is left of a world whose loop was closed.
func (w *world) end() {
	synctest.Wait()
	empty(w.t, w.loop)
	for _, s := range w.streams {
		if _, err := s.Write([]byte("x")); err == nil {
			w.t.Errorf("%v can be written to", s.label())
		}
		s.Resume(Read | Write)
		s.SetIdleTimeouts(1, 1)
		s.SetRateLimit(&RateLimit{ReadRate: 1, ReadBurst: 1})
		s.Close()
		s.Input().Reset() // what it has received stays readable
		s.Output().Reset()
	}
	empty(w.t, w.loop)
	if n := int(w.released.Load()); n != w.pieces {
		w.t.Errorf("%d pieces of %d were released", n, w.pieces)
	}
}

// TestWorldCloses closes a loop that is in the middle of everything: at the moments at
// which its timers expire, and between them, from inside and outside.
func TestWorldCloses(t *testing.T) {
	initResolver()
	ways := map[string]func(*world, time.Duration){
		"Poll": func(w *world, d time.Duration) {
			for until := time.Now().Add(d); ; {
				ev, ok := w.loop.Poll(max(0, time.Until(until)))
				if !ok {
					break
				}
				w.received(ev)
			}
			w.loop.Close()
		},
		"Body": func(w *world, d time.Duration) {
			tm := w.loop.After(d)
			for ev := range w.loop.All() {
				if ev == Event(Tick{tm}) {
					w.loop.Close()
				}
				w.received(ev)
			}
		},
		"All": func(w *world, d time.Duration) {
			time.AfterFunc(d, func() { w.loop.Close() })
			for ev := range w.loop.All() {
				w.received(ev)
			}
		},
		"Events": func(w *world, d time.Duration) {
			time.AfterFunc(d, func() { w.loop.Close() })
			for ev := range w.loop.Events() {
				w.received(ev)
			}
		},
		"Batches": func(w *world, d time.Duration) {
			time.AfterFunc(d, func() { w.loop.Close() })
			for b := range w.loop.Batches() {
				for ev := range b.All() {
					w.received(ev)
				}
			}
		},
		"Unreceived": func(w *world, d time.Duration) {
			w.loop.Events()
			time.Sleep(d)
			w.loop.Close()
		},
		"Exit": func(w *world, d time.Duration) {
			w.loop.Exit(d)
			for ev := range w.loop.All() {
				w.received(ev)
			}
			w.loop.Close()
		},
		"Shutdown": func(w *world, d time.Duration) {
			ctx, cancel := context.WithTimeout(context.Background(), d)
			defer cancel()
			if err := w.loop.Shutdown(ctx); err != nil && w.loop.lost == 0 {
				w.t.Errorf("nothing was lost: %v", err)
			} else if err == nil && w.loop.lost > 0 {
				w.t.Errorf("%d bytes were lost, and Shutdown does not say so", w.loop.lost)
			}
		},
	}
	tests := make(map[string]func(*testing.T, *Loop))
	for name, way := range ways {
		tests[name] = func(t *testing.T, l *Loop) {
			l.Close() // each moment has a loop of its own
			for _, second := range []time.Duration{0, 1, 4, 6, 3600} {
				for _, off := range []time.Duration{-1, 0, 1, time.Second / 2} {
					l := newLoop(l.conf, newFakePoller())
					w := newWorld(t, l)
					way(w, second*time.Second+off)
					w.end()
				}
			}
		}
	}
	inBubble(t, Config{MaxInput: 2000, MaxOutput: 20_000}, tests)
}

// Shutdown waits no longer than it takes the peer's system to acknowledge, although the peer
// keeps its end open.
func TestShutdownWaitsForAcknowledgement(t *testing.T) {
	tests := make(map[string]func(*testing.T, *Loop))
	for _, filters := range []int{0, 1, 3} {
		tests[fmt.Sprintf("Filters%d", filters)] = func(t *testing.T, l *Loop) {
			other := dialLoop(t, "")
			a, b := l.Pipe(nil, nil)
			must(t, b.MoveTo(other))
			expectMoved(t, other, b)
			up := a
			for range filters {
				up = filterOn(t, up, new(plainFilter))
			}
			up.Write([]byte("hello"))
			time.AfterFunc(10*time.Second, func() { other.Poll(0) }) // it reads
			began := time.Now()
			must(t, l.Shutdown(t.Context()))
			if d := time.Since(began); d < 10*time.Second || d > 11*time.Second {
				t.Errorf("it took %v", d)
			}
			expect(t, b.Input(), "hello")
			b.Close()
		}
	}
	inBubble(t, Config{Linger: time.Hour}, tests)
}

// Shutdown waits for the streams without turning round and round because of messages
// that nobody will receive, or because the range is about to end.
func TestShutdownSleeps(t *testing.T) {
	inBubble(t, Config{}, map[string]func(*testing.T, *Loop){
		"Unreceived": func(t *testing.T, l *Loop) { testShutdownSleeps(t, l, func() { l.Trigger().Fire() }) },
		"Exit":       func(t *testing.T, l *Loop) { testShutdownSleeps(t, l, func() { l.Exit(0) }) },
		"Break":      func(t *testing.T, l *Loop) { testShutdownSleeps(t, l, l.Break) },
	})
}

func testShutdownSleeps(t *testing.T, l *Loop, before func()) {
	a, b := l.Pipe(nil, nil)
	if _, err := b.NetConn(); err != nil { // somebody who never reads
		t.Fatal(err)
	}
	stuff(t, a)
	before()
	began := time.Now()
	if err := l.Shutdown(t.Context()); err == nil || a.Lost() == 0 {
		t.Errorf("%v, %d bytes were lost", err, a.Lost())
	}
	if d := time.Since(began); d != defaultLinger {
		t.Errorf("it took %v", d)
	}
	if n := l.Stats().Turns; n > 10 {
		t.Errorf("%d turns", n)
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"
)

// stacked puts n filters that change nothing on s.
func stacked(t *testing.T, s *Stream, n int) *Stream {
	t.Helper()
	for range n {
		s = filterOn(t, s, new(plainFilter))
	}
	return s
}

// take reads n bytes of the input of s, which is paused otherwise, or all if it is less.
func take(t *testing.T, l *Loop, s *Stream, n int) {
	t.Helper()
	s.SetReadMarks(1, n)
	s.Resume(Read)
	for left := n; left > 0; {
		k := s.Input().Discard(min(left, s.Input().Len()))
		left -= k
		ev, ok := l.Poll(0)
		if ok && ev != (Readable{s}) {
			t.Fatalf("unexpected %v", ev)
		}
		if !ok && k == 0 && s.Input().Len() == 0 {
			break
		}
	}
	s.Pause(Read)
}

// polled returns the messages that come now, from several turns.
func polled(l *Loop) (all []Event) {
	for range 15 {
		if ev, ok := l.Poll(0); ok {
			all = append(all, ev)
		}
	}
	return all
}

// TestFilterOutput: what a stream says of its output counts what lies below it, under one
// filter and under several.
func TestFilterOutput(t *testing.T) {
	tests := make(map[string]func(*testing.T, *Loop))
	for _, n := range []int{1, 2, 3} {
		add := func(name string, test func(*testing.T, *Loop)) { tests[fmt.Sprint(name, n)] = test }
		add("WatchedOnlyWhileOwed", func(t *testing.T, l *Loop) {
			// Once Drained was sent, output that moves below costs the filters nothing.
			a, b := l.Pipe(nil, nil)
			up := stacked(t, a, n)
			b.Pause(Read)
			up.Write(make([]byte, 1<<20))
			polled(l)
			b.Resume(Read)
			drained := false
			for ev, ok := l.Poll(time.Second); ok; ev, ok = l.Poll(time.Second) {
				drained = drained || ev == Event(Drained{up})
				b.Input().Discard(b.Input().Len())
			}
			if !drained || up.Queued() > 0 {
				t.Errorf("no Drained, with %d bytes queued", up.Queued())
			}
			for s := up; s != a; s = s.Under() {
				if s.extra.transport.(*filtering).watched.Load() {
					t.Error("the output is watched still")
				}
			}
		})
		add("HeldBack", func(t *testing.T, l *Loop) {
			// MaxOutput holds while the filter takes all and sends nothing.
			a, b := l.Pipe(nil, nil)
			up := stacked(t, filterOn(t, a, new(heldFilter)), n-1)
			const max, piece = 100 << 10, 1000
			up.SetWriteMarks(0, max)
			sent := 0
			for range 10 * max / piece {
				k, err := up.Write(make([]byte, piece))
				sent += k
				if (err == ErrFull) != (k == 0) || err != nil && err != ErrFull {
					t.Fatalf("Write gives %d, %v", k, err)
				}
				noMessage(t, l)
			}
			if sent < max || sent > max+piece || up.Queued() != sent {
				t.Errorf("%d bytes were taken, %d are queued", sent, up.Queued())
			}
			b.Write([]byte("go"))
			drained := false
			for got := 0; got < sent || !drained; {
				ev, ok := l.Poll(time.Minute)
				switch {
				case !ok:
					t.Fatalf("%d of %d bytes have arrived, Drained %v", got, sent, drained)
				case ev == (Readable{b}):
					got += b.Input().Discard(1 << 30)
				case ev == (Drained{up}):
					drained = true
					if q := up.Queued(); q != 0 {
						t.Errorf("Drained with %d bytes queued", q)
					}
				}
			}
		})
		add("Drained", func(t *testing.T, l *Loop) {
			// It comes when all that lies below has fallen to the mark.
			for _, mark := range []int{0, 50_000} {
				a, b := l.Pipe(nil, &StreamConfig{Paused: Read})
				up := stacked(t, a, n)
				up.SetWriteMarks(mark, 1<<20)
				a.SetWriteMarks(300_000, 1<<20) // which changes nothing
				const total = 400_000
				up.Write(make([]byte, total))
				noMessage(t, l)
				left := total
				for {
					take(t, l, b, 10_000)
					left -= 10_000
					evs := polled(l)
					if q := up.Queued(); q < left-pipeRoom-10_000 || q > left {
						t.Fatalf("%d bytes are queued, %d have not arrived", q, left)
					} else if (len(evs) > 0) != (q <= mark) || len(evs) > 0 && evs[0] != (Drained{up}) {
						t.Fatalf("mark %d: %d bytes are queued, and %v comes", mark, q, evs)
					} else if len(evs) > 0 {
						break
					}
				}
				if q := up.Queued(); q > mark || q <= mark-20_000 {
					t.Errorf("mark %d: Drained with %d bytes queued", mark, q)
				}
				up.Abort()
				b.Abort()
			}
		})
		add("Asked", func(t *testing.T, l *Loop) {
			// If Queued has told of output, Drained follows; else not, if all is sent in time.
			a, b := l.Pipe(nil, nil)
			up := stacked(t, a, n)
			noMessage(t, l)
			for _, ask := range []bool{false, true} {
				up.Write([]byte("abc"))
				if ask && up.Queued() != 3 {
					t.Errorf("%d bytes are queued", up.Queued())
				}
				if drained := slices.Contains(polled(l), Event(Drained{up})); drained != ask {
					t.Errorf("asked %v: Drained %v", ask, drained)
				}
				b.Input().Discard(3)
			}
		})
		add("WriteIdle", func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, &StreamConfig{Paused: Read})
			up := stacked(t, a, n)
			up.SetIdleTimeouts(0, time.Second)
			up.Write(make([]byte, pipeRoom+100_000))
			turns(t, l)
			began := time.Now()
			for range 3 { // a peer that reads now and then is not idle
				if ev, ok := l.Poll(900 * time.Millisecond); ok {
					t.Fatalf("after %v: unexpected %v", time.Since(began), ev)
				}
				take(t, l, b, 1000)
				noMessage(t, l)
			}
			a.SetRateLimit(&RateLimit{WriteRate: 1, WriteBurst: 10})
			take(t, l, b, 1000)
			for range 3 { // one that waits for its rate is not, either
				if ev, ok := l.Poll(time.Second); ok {
					t.Fatalf("with a rate limit: unexpected %v", ev)
				}
			}
			a.SetRateLimit(nil)
			turns(t, l)
			began = time.Now()
			if ev, ok := l.Poll(time.Minute); !ok || ev != (TimedOut{up}) || up.TimedOut() != Write {
				t.Fatalf("unexpected %v, %v: %v", ev, ok, up.TimedOut())
			}
			if d := time.Since(began); d < 900*time.Millisecond || d > 2*time.Second {
				t.Errorf("it came after %v", d)
			}
			up.Abort()
		})
		add("WriteIdleConf", func(t *testing.T, l *Loop) {
			// The timeouts of the stream below, and of the configuration, are taken over.
			for _, below := range []bool{false, true} {
				a, b := l.Pipe(nil, &StreamConfig{Paused: Read})
				conf := &StreamConfig{WriteIdle: time.Second}
				if below {
					a.SetIdleTimeouts(0, time.Second)
					conf = nil
				}
				up, err := stacked(t, a, n-1).Filter(new(plainFilter), conf)
				must(t, err)
				up.Write(make([]byte, 2*pipeRoom))
				polled(l)
				for range 3 { // not as long as the peer reads
					if ev, ok := l.Poll(900 * time.Millisecond); ok {
						t.Fatalf("unexpected %v", ev)
					}
					take(t, l, b, 1000)
					noMessage(t, l)
				}
				if ev, ok := l.Poll(time.Minute); !ok || ev != (TimedOut{up}) {
					t.Errorf("unexpected %v, %v", ev, ok)
				}
				up.Abort()
				b.Abort()
			}
		})
		add("LowerIdle", func(t *testing.T, l *Loop) {
			// Timeouts of the stream at the bottom are told by the one on top.
			a, b := l.Pipe(nil, &StreamConfig{Paused: Read})
			up := stacked(t, a, n)
			turns(t, l)
			a.SetIdleTimeouts(time.Second, time.Minute)
			if ev, ok := l.Poll(2 * time.Second); !ok || ev != (TimedOut{up}) || up.TimedOut() != Read || up.Paused() != Read {
				t.Fatalf("unexpected %v, %v: timed out %v, paused %v", ev, ok, up.TimedOut(), up.Paused())
			}
			b.Write([]byte("abc"))
			noMessage(t, l)
			up.Resume(Read)
			if evs := polled(l); len(evs) != 1 || evs[0] != (Readable{up}) || up.TimedOut() != 0 || up.Paused() != 0 {
				t.Fatalf("unexpected %v: timed out %v, paused %v", evs, up.TimedOut(), up.Paused())
			}
			a.SetIdleTimeouts(0, time.Second)
			up.Write(make([]byte, 2*pipeRoom))
			if ev, ok := l.Poll(time.Minute); !ok || ev != (TimedOut{up}) || up.TimedOut() != Write {
				t.Fatalf("unexpected %v, %v: timed out %v", ev, ok, up.TimedOut())
			}
			up.Resume(Write)
			b.Resume(Read)
			if evs := polled(l); up.Queued() != 0 || !slices.Contains(evs, Event(Drained{up})) {
				t.Errorf("%d bytes do not go on; %v", up.Queued(), evs)
			}
		})
		add("LowerPause", func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			up := stacked(t, a, n)
			turns(t, l)
			a.Pause(Read | Write)
			up.Write([]byte("abc"))
			b.Write([]byte("def"))
			noMessage(t, l)
			if q := up.Queued(); q != 3 {
				t.Errorf("%d bytes are queued", q)
			}
			a.Resume(Read | Write)
			evs := polled(l)
			for _, want := range []Event{Readable{up}, Readable{b}, Drained{up}} {
				if !slices.Contains(evs, want) || len(evs) != 3 {
					t.Errorf("received %v, want %v", evs, want)
				}
			}
		})
		add("CloseWrite", func(t *testing.T, l *Loop) {
			// Drained is for the last byte then, whatever the marks are.
			a, b := l.Pipe(nil, &StreamConfig{Paused: Read})
			up := stacked(t, a, n)
			up.SetWriteMarks(90_000, 1<<20)
			a.SetWriteMarks(90_000, 1<<20)
			up.Write(make([]byte, pipeRoom+80_000))
			up.CloseWrite()
			turns(t, l)
			for q := up.Queued(); q > 0; {
				take(t, l, b, 10_000)
				evs := polled(l)
				if q = up.Queued(); (len(evs) > 0) != (q == 0) || q == 0 && evs[0] != (Drained{up}) {
					t.Errorf("%v with %d bytes queued", evs, q)
				}
			}
		})
		add("NetConn", func(t *testing.T, l *Loop) {
			// Drained says when NetConn can be tried again, also with a low mark.
			a, b := l.Pipe(nil, &StreamConfig{Paused: Read})
			up := stacked(t, a, n)
			for s := up; s != nil; s = s.Under() {
				s.SetWriteMarks(90_000, 1<<20)
			}
			up.Write(make([]byte, pipeRoom+80_000))
			polled(l)
			if _, err := up.NetConn(); err != ErrWouldBlock {
				t.Fatalf("NetConn gives %v", err)
			}
			b.Resume(Read)
			for {
				ev, ok := l.Poll(time.Second)
				if !ok {
					t.Fatal("there is no Drained")
				}
				b.Input().Discard(1 << 20)
				if ev == (Drained{up}) {
					break
				}
			}
			c, err := up.NetConn()
			must(t, err)
			b.Abort()
			c.Close()
		})
	}
	inBubble(t, Config{}, tests)
}

// TestFilterDialClosed: a stream with a filter that is closed while it is being connected
// sends no Connected.
func TestFilterDialClosed(t *testing.T) {
	l := socketLoop(t)
	ln := listen(t, l, "tcp", nil)
	for _, layers := range []int{0, 1, 2} {
		for range 5 {
			s, err := l.Dial("tcp", ln.Addr().String(), nil)
			must(t, err)
			stacked(t, s, layers).Close()
			for layers > 0 { // it is connected before the filters are told of the end
				s.mu.Lock()
				connecting := s.connecting()
				s.mu.Unlock()
				if !connecting {
					break
				}
				runtime.Gosched()
			}
		}
	}
	for until := time.Now().Add(testPatience); l.Stats().Sources > 1; {
		ev, ok := l.Poll(10 * time.Millisecond)
		if a, accepted := ev.(Accepted); accepted {
			a.Stream.Close()
		} else if ok {
			t.Fatalf("unexpected %v", ev)
		}
		if time.Now().After(until) {
			l.Dump(t.Output())
			t.Fatal("it does not end")
		}
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestFilterEnd has streams with filters end in all kinds of ways.
func TestFilterEnd(t *testing.T) {
	inBubble(t, Config{MaxOutput: 32 << 10, MaxInput: 16 << 10}, map[string]func(*testing.T, *Loop){
		"ReleaseWithoutLock": func(t *testing.T, l *Loop) {
			// A release function may use the streams, whichever of them drops
			// the bytes.
			for name, end := range map[string]func(*Stream){
				"Abort":  func(s *Stream) { s.Abort() },
				"Linger": func(s *Stream) { s.Close() },
			} {
				a, b := stuck(l)
				a.SetWriteMarks(0, 1<<20)
				up := filterOn(t, filterOn(t, a, new(plainFilter)), new(plainFilter))
				for s := up; s != a; s = s.Under() {
					s.SetWriteMarks(0, 1<<20)
				}
				released := 0
				up.Output().Append([]byte("abc"), func() {
					up.Queued()
					a.Queued()
					released++
				})
				up.Flush()
				turns(t, l)
				if n := a.Queued(); n == 0 || up.Queued() != n || up.Under().Queued() != n || released != 0 {
					t.Fatalf("%s: the bytes are not where they should be", name)
				}
				end(up)
				for until := time.Now().Add(time.Minute); released == 0 && time.Now().Before(until); {
					l.Poll(time.Second)
				}
				if released != 1 {
					t.Errorf("%s: released %d times", name, released)
				}
				b.Abort()
				waitReleased(t, l)
			}
		},
		"LingerBoundsAll": func(t *testing.T, l *Loop) {
			// However many layers there are, and in whichever of them bytes are
			// stuck, a close takes no longer than Linger.
			for _, finished := range []bool{false, true} {
				a, b := stuck(l)
				if finished {
					b.CloseWrite()
				}
				var filters [3]plainFilter
				up := a
				for i := range filters {
					up = filterOn(t, up, &filters[i])
				}
				if finished {
					if ev := nextOf(t, l, up); ev != Event(EOF{up}) {
						t.Fatalf("unexpected %v", ev)
					}
				}
				up.Write([]byte("abc"))
				turns(t, l)
				up.Close()
				turns(t, l)
				began := time.Now()
				if ev := nextOf(t, l, b); ev != Event(Closed{b}) || !errors.Is(b.Err(), eCONNRESET) {
					t.Errorf("finished %v: unexpected %v: %v", finished, ev, b.Err())
				}
				if d := time.Since(began); d != defaultLinger {
					t.Errorf("finished %v: it took %v", finished, d)
				}
				turns(t, l)
				if n := l.Stats().Sources; n != 0 {
					t.Errorf("finished %v: %d live sources", finished, n)
				}
				for i := range filters {
					if n := filters[i].closed.Load(); n != 1 {
						t.Errorf("finished %v: filter %d was closed %d times", finished, i, n)
					}
				}
			}
		},
		"Truncated": func(t *testing.T, l *Loop) {
			// If output is dropped because the filter has failed, the peer gets a reset after
			// what was sent, and not an end.
			type truncated struct {
				f     halfFilter
				close bool // the stream is closed, not only written to
				reset bool
			}
			for _, c := range []truncated{{halfFilter{encode: true}, false, true}, {halfFilter{encode: true}, true, true}, {halfFilter{decode: true}, false, false}, {halfFilter{decode: true, holds: true}, false, true}} {
				a, b := l.Pipe(nil, nil)
				up := filterOn(t, a, c.f)
				up.Write([]byte("whole"))
				b.Write([]byte("x"))
				if c.close {
					up.Close()
				}
				got := ""
				var last Event
				for ev, ok := l.Poll(time.Second); ok; ev, ok = l.Poll(time.Second) {
					if ev.Source() == Source(b) {
						got += string(b.Input().Next(100))
						last = ev
					}
					if ev == Event(Closed{up}) {
						up.Close()
					}
				}
				want := Event(EOF{b})
				if c.reset {
					want = Closed{b}
				}
				if last != want || c.f.encode && got != "wh" || c.f == (halfFilter{decode: true}) && got != "whole" {
					t.Errorf("%+v: received %q and %v", c, got, last)
				}
				if lost := up.Lost(); lost > 0 != c.reset {
					t.Errorf("%+v: %d bytes are lost", c, lost)
				}
				b.Close()
				waitReleased(t, l)
			}
		},
		"EncodeInPieces": func(t *testing.T, l *Loop) {
			for name, end := range map[string]func(*Stream) error{"CloseWrite": (*Stream).CloseWrite, "Close": (*Stream).Close} {
				a, b := l.Pipe(nil, nil)
				up := filterOn(t, a, new(slowFilter))
				up.Write(pattern(95))
				end(up)
				want, got := append(pattern(95), "end"...), []byte(nil)
				for {
					ev, ok := l.Poll(time.Second)
					if !ok {
						t.Fatalf("%s: stuck after %d bytes", name, len(got))
					}
					got = append(got, b.Input().Next(1000)...)
					if ev == Event(EOF{b}) {
						break
					}
				}
				if string(got) != string(want) {
					t.Errorf("%s: %d bytes have arrived, want %d", name, len(got), len(want))
				}
				b.Close()
				up.Close()
				l.Poll(0)
				waitReleased(t, l)
			}
		},
		"LoopClosed": func(t *testing.T, l *Loop) {
			// While the lower one still sends.
			f := new(plainFilter)
			a, b := stuck(l)
			b.CloseWrite()
			up := filterOn(t, a, f)
			if ev := nextOf(t, l, up); ev != Event(EOF{up}) {
				t.Fatalf("unexpected %v", ev)
			}
			up.Write([]byte("abc"))
			turns(t, l)
			up.Close()
			turns(t, l)
			l.Close()
			if n := f.closed.Load(); n != 1 {
				t.Errorf("the filter was closed %d times", n)
			}
		},
		"PausedBefore": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			a.Pause(Write)
			a.Write([]byte("abc"))
			up := filterOn(t, a, new(plainFilter))
			up.Resume(Write)
			if ev, _ := l.Poll(time.Second); ev != Event(Readable{b}) {
				t.Errorf("unexpected %v", ev)
			}
			up.Abort()
			b.Abort()
		},
		"Shutdown": func(t *testing.T, l *Loop) {
			other := dialLoop(t, "")
			a, b := l.Pipe(nil, nil)
			if err := b.MoveTo(other); err != nil {
				t.Fatal(err)
			}
			expectMoved(t, other, b)
			f := new(slowFilter)
			up := filterOn(t, a, f)
			up.Write(pattern(95))
			b.CloseWrite()
			other.Poll(0)
			if err := l.Shutdown(context.Background()); err != nil {
				t.Fatal(err)
			}
			if err := up.Err(); err != nil {
				t.Error(err)
			}
			slowEnds(t, other, b)
			b.Close()
		},
		"NetConnFinishes": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			up := filterOn(t, a, new(slowFilter))
			c, err := up.NetConn()
			if err != nil {
				t.Fatal(err)
			}
			c.Write(pattern(95))
			c.(interface{ CloseWrite() error }).CloseWrite()
			slowEnds(t, l, b)
			b.Close()
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Error(err)
			}
			c.Close()
		},
	})
}

// A panicFilter panics in the methods that its fields name: in Decode, in Encode of any
// bytes, and in Close.
type panicFilter struct{ decode, encode, close bool }

func (f panicFilter) Close() error {
	if f.close {
		panic("in Close")
	}
	return nil
}

func (f panicFilter) Decode(in, plain, _ *Buffer, _ bool) error {
	if f.decode {
		panic("in Decode")
	}
	return plain.AppendBuffer(in)
}

func (f panicFilter) Encode(plain, out *Buffer, _ bool) error {
	if f.encode && plain.Len() > 0 {
		panic("in Encode")
	}
	return out.AppendBuffer(plain)
}

// TestFilterPanics: a panic of a filter ends its stream, and nothing else.
func TestFilterPanics(t *testing.T) {
	for _, c := range []struct {
		f    panicFilter
		says string
	}{
		{panicFilter{decode: true}, "in Decode"},
		{panicFilter{encode: true}, "in Encode"},
	} {
		l := dialLoop(t, "")
		s, far := l.Pipe(nil, nil)
		up, err := s.Filter(c.f, nil)
		if err != nil {
			t.Fatal(err)
		}
		far.Write([]byte("x"))
		up.Write([]byte("y"))
		for ev := range l.All() {
			if ev == (Closed{up}) {
				break
			}
		}
		if err := up.Err(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("the stream has ended with %v; want %q", err, c.says)
		}
		tr := l.Trigger()
		tr.Fire()
		for ev := range l.All() {
			if ev == (Fired{tr}) {
				break
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestFilterPanicsInClose: a panic of a filter's Close is told by Err, and disturbs
// nobody.
func TestFilterPanicsInClose(t *testing.T) {
	l := dialLoop(t, "")
	s, far := l.Pipe(nil, nil)
	up, err := s.Filter(panicFilter{close: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	up.Close()
	for ev := range l.All() {
		if ev != (EOF{far}) {
			t.Errorf("received %v", ev)
		}
		break
	}
	far.Close()
	for range 100 {
		l.Poll(0)
	}
	if err := up.Err(); err == nil || !strings.Contains(err.Error(), "in Close") {
		t.Errorf("the stream has ended with %v", err)
	}
	if n := l.Stats().Sources; n != 0 {
		t.Errorf("%d sources are left", n)
	}
}

// slowEnds waits in l until b has the end of what a slowFilter was given 95 bytes of.
func slowEnds(t *testing.T, l *Loop, b *Stream) {
	t.Helper()
	for ev := Event(nil); ev != Event(EOF{b}); {
		var ok bool
		if ev, ok = l.Poll(time.Second); !ok {
			t.Fatal("stuck")
		}
	}
	if n := b.Input().Len(); n != 98 {
		t.Errorf("%d bytes have arrived, want 98", n)
	}
}

// A halfFilter fails.
type halfFilter struct {
	encode bool // Encode fails after two bytes
	decode bool // Decode fails
	holds  bool // Encode consumes nothing
}

func (f halfFilter) Decode(in, plain, _ *Buffer, _ bool) error {
	if f.decode && in.Len() > 0 {
		return errFrame
	}
	return plain.AppendBuffer(in)
}

func (f halfFilter) Encode(plain, out *Buffer, _ bool) error {
	if f.encode && plain.Len() > 0 {
		out.MoveN(plain, 2)
		return errFrame
	}
	if f.holds {
		return nil
	}
	return out.AppendBuffer(plain)
}

// An exitFilter calls runtime.Goexit in the method that it is named after.
type exitFilter string

func (f exitFilter) exit(method exitFilter) {
	if f == method {
		runtime.Goexit()
	}
}

func (f exitFilter) Decode(in, plain, _ *Buffer, _ bool) error {
	if in.Len() > 0 {
		f.exit("Decode")
	}
	return plain.AppendBuffer(in)
}

func (f exitFilter) Encode(plain, out *Buffer, _ bool) error {
	if plain.Len() > 0 {
		f.exit("Encode")
	}
	return out.AppendBuffer(plain)
}

func (f exitFilter) Close() error {
	f.exit("Close")
	return nil
}

// TestFilterExits: a filter that calls runtime.Goexit ends its stream and the goroutine that
// has called it. The loop goes on, with all else that was to be done in the same turn.
func TestFilterExits(t *testing.T) {
	for way, receive := range map[string]func(*Loop, func(Event)){
		"All":     ranges["All"],
		"Events":  ranges["Events"],
		"Batches": ranges["Batches"],
		"Poll": func(l *Loop, f func(Event)) {
			for ev, ok := l.Poll(-1); ok; ev, ok = l.Poll(-1) {
				f(ev)
			}
		},
	} {
		for _, f := range []exitFilter{"Decode", "Encode", "Close"} {
			t.Run(way+"/"+string(f), func(t *testing.T) {
				l := dialLoop(t, "")
				const n = 3
				var ups, fars []*Stream
				for range n {
					a, far := l.Pipe(nil, nil)
					up, err := a.Filter(f, nil)
					must(t, err)
					ups, fars = append(ups, up), append(fars, far)
				}
				x, y := l.Pipe(nil, nil) // whose output waits for the same turns
				up := filterOn(t, x, new(plainFilter))
				want := 200 << 10
				up.Write(make([]byte, want))
				for i := range ups {
					switch f {
					case "Decode":
						fars[i].Write([]byte("x"))
					case "Encode":
						ups[i].Write([]byte("x"))
					case "Close":
						ups[i].Close()
					}
				}
				ended := 0
				handle := func(ev Event) {
					switch s := ev.Source().(*Stream); ev.(type) {
					case Readable:
						if s == y {
							want -= s.Input().Discard(s.Input().Len())
						}
					case EOF:
						s.Close()
					case Closed:
						if slices.Contains(ups, s) {
							ended++
							if !strings.Contains(s.Err().Error(), "Goexit") {
								t.Errorf("the stream has ended with %v", s.Err())
							}
						}
					}
					if want == 0 && (f == "Close" || ended == n) {
						l.Close()
					}
				}
				for !l.isClosed() { // again if the receiver was ended
					done := make(chan struct{})
					go func() {
						defer close(done)
						receive(l, handle)
					}()
					select {
					case <-done:
					case <-time.After(testPatience):
						l.Dump(t.Output())
						t.Fatalf("%d streams have ended, %d bytes have not arrived", ended, want)
					}
				}
				for i, s := range ups {
					if err := s.Err(); err == nil || !strings.Contains(err.Error(), "Goexit") {
						t.Errorf("stream %d: Err is %v", i, err)
					}
				}
			})
		}
	}
}

// TestFilterExitsAtClose: a filter whose Close calls runtime.Goexit does not keep Loop.Close
// from ending everything else.
func TestFilterExitsAtClose(t *testing.T) {
	l := dialLoop(t, "")
	var fs [3]plainFilter
	var ups []*Stream
	for i := range fs {
		for _, f := range []Filter{&fs[i], exitFilter("Close")} {
			a, _ := l.Pipe(nil, nil)
			ups = append(ups, filterOn(t, a, f))
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Close()
	}()
	<-done
	for i := range fs {
		if n := fs[i].closed.Load(); n != 1 {
			t.Errorf("filter %d was closed %d times", i, n)
		}
	}
	for _, s := range ups {
		if _, err := s.Write([]byte("x")); err != ErrClosed {
			t.Errorf("Write gives %v", err)
		}
	}
}

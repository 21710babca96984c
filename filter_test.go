// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math"
	"net"
	"runtime"
	"testing"
	"time"
)

func TestFilter(t *testing.T) {
	small := Config{MaxOutput: 32 << 10, MaxInput: 16 << 10}
	tests := map[string]func(*testing.T, *Loop){
		"Transforms": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			f := filterOn(t, a, xorFilter(0x20))
			if f.Under() != a || a.Under() != nil || f.RemoteAddr() != b.RemoteAddr() || f.LocalAddr() != a.LocalAddr() {
				t.Error("what is under it is not to be seen")
			}
			f.Write([]byte("Hello"))
			if ev := nextOf(t, l, b); ev != Event(Readable{b}) {
				t.Fatalf("unexpected %v", ev)
			}
			if got := b.Input().Next(100); string(got) != "hELLO" {
				t.Errorf("%q was sent", got)
			}
			b.Write([]byte("wORLD"))
			if ev := nextOf(t, l, f); ev != Event(Readable{f}) {
				t.Fatalf("unexpected %v", ev)
			}
			if got := f.Input().Next(100); string(got) != "World" {
				t.Errorf("%q was received", got)
			}
			f.Close()
			if ev := nextOf(t, l, b); ev != Event(EOF{b}) {
				t.Fatalf("unexpected %v", ev)
			}
			b.Close()
			waitReleased(t, l)
		},
		"Exchange": func(t *testing.T, l *Loop) {
			a, b := filtered(t, l, xorFilter(1), xorFilter(1))
			exchange(t, l, a, b, 300<<10)
			a.Close()
			b.Close()
			waitReleased(t, l)
		},
		"Gzip": func(t *testing.T, l *Loop) {
			a, b := filtered(t, l, new(gzipFilter), new(gzipFilter))
			a.Write([]byte("something"))
			if ev := nextOf(t, l, b); ev != Event(Readable{b}) {
				t.Fatalf("unexpected %v", ev)
			}
			if got := b.Input().Next(100); string(got) != "something" {
				t.Errorf("%q has arrived", got)
			}
			exchange(t, l, a, b, 300<<10)
			a.Close()
			b.Close()
			waitReleased(t, l)
		},
		"GzipBroken": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			f := filterOn(t, a, new(gzipFilter))
			b.Write([]byte("this is not compressed"))
			if ev := nextOf(t, l, f); ev != Event(Closed{f}) || !errors.Is(f.Err(), gzip.ErrHeader) {
				t.Errorf("unexpected %v: %v", ev, f.Err())
			}
			var op *net.OpError
			if !errors.As(f.Err(), &op) || op.Op != "decode" {
				t.Errorf("the error is %v", f.Err())
			}
			b.Close()
			waitReleased(t, l)
		},
		"Stacked": func(t *testing.T, l *Loop) {
			a, b := filtered(t, l, &frameFilter{t: t}, &frameFilter{t: t})
			a, b = filterOn(t, a, xorFilter(7)), filterOn(t, b, xorFilter(7))
			a, b = filterOn(t, a, new(gzipFilter)), filterOn(t, b, new(gzipFilter))
			exchange(t, l, a, b, 100<<10)
			a.Close()
			b.Close()
			waitReleased(t, l)
		},
		"Handshake": func(t *testing.T, l *Loop) {
			// What was written before it is over is sent afterwards.
			f, g := &frameFilter{t: t}, &frameFilter{t: t}
			a, b := filtered(t, l, f, g)
			exchange(t, l, a, b, 300<<10)
			a.Close()
			b.Close()
			waitReleased(t, l)
			if f.closed.Load() != 1 || g.closed.Load() != 1 {
				t.Errorf("the filters were closed %d and %d times", f.closed.Load(), g.closed.Load())
			}
		},
		"CloseFlushes": func(t *testing.T, l *Loop) {
			// Close sends what was written, and what Encode adds at the end.
			f, g := &frameFilter{t: t}, &frameFilter{t: t}
			a, b := filtered(t, l, f, g)
			want := pattern(31 << 10)
			a.Write(want)
			a.Close()
			var got Buffer
			for {
				ev := nextOf(t, l, b)
				got.AppendBuffer(b.Input())
				if ev == Event(EOF{b}) {
					break
				}
				if ev != Event(Readable{b}) {
					t.Fatalf("unexpected %v: %v", ev, b.Err())
				}
			}
			if all, _ := got.Peek(got.Len()); !bytes.Equal(all, want) {
				t.Errorf("%d bytes have arrived", got.Len())
			}
			b.Close()
			waitReleased(t, l)
			if f.closed.Load() != 1 || g.closed.Load() != 1 {
				t.Error("the filters were not closed")
			}
		},
		"Cut": func(t *testing.T, l *Loop) {
			// Without a proper end, Decode says so, after what came before.
			a, b := l.Pipe(nil, nil)
			f := &frameFilter{t: t}
			up := filterOn(t, a, f)
			b.Write([]byte("HELLO\x00\x02hi\x00\x05no"))
			b.CloseWrite()
			got := ""
			for {
				ev := nextOf(t, l, up)
				got += string(up.Input().Next(100))
				if ev == Event(Closed{up}) {
					break
				}
			}
			if got != "hi" || !errors.Is(up.Err(), io.ErrUnexpectedEOF) {
				t.Errorf("received %q, then %v", got, up.Err())
			}
			if _, err := up.Write([]byte("x")); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("writing after the end: %v", err)
			}
			b.Close()
			waitReleased(t, l)
			if f.closed.Load() != 1 {
				t.Errorf("the filter was closed %d times", f.closed.Load())
			}
		},
		"Reset": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			up := filterOn(t, a, xorFilter(1))
			b.Write([]byte("\x01\x01"))
			for up.in.held.Load() == 0 {
				l.Poll(time.Millisecond)
			}
			up.Pause(Read)
			b.Abort()
			if ev := nextOf(t, l, up); ev != Event(Closed{up}) || !errors.Is(up.Err(), eCONNRESET) {
				t.Errorf("unexpected %v: %v", ev, up.Err())
			}
			if up.Input().Len() != 2 {
				t.Error("what was received is gone")
			}
			waitReleased(t, l)
		},
		"Abort": func(t *testing.T, l *Loop) {
			f, g := &frameFilter{t: t}, &frameFilter{t: t}
			a, b := filtered(t, l, f, g)
			a.Write(pattern(1000))
			a.Abort()
			if ev := nextOf(t, l, b); ev != Event(Closed{b}) || !errors.Is(b.Err(), eCONNRESET) {
				t.Errorf("unexpected %v: %v", ev, b.Err())
			}
			waitReleased(t, l)
			l.Close() // at the latest
			if f.closed.Load() != 1 || g.closed.Load() != 1 {
				t.Error("the filters were not closed")
			}
		},
		"LoopClosed": func(t *testing.T, l *Loop) {
			f, g := &frameFilter{t: t}, new(gzipFilter)
			a, b := filtered(t, l, f, g)
			up := filterOn(t, a, xorFilter(1))
			up.Write(pattern(1000))
			l.Poll(0)
			l.Close()
			if f.closed.Load() != 1 {
				t.Errorf("the filter was closed %d times", f.closed.Load())
			}
			if _, err := up.Write([]byte("x")); err != ErrClosed {
				t.Errorf("writing after the end: %v", err)
			}
			if _, err := b.Filter(g, nil); err != ErrClosed {
				t.Errorf("filtering after the end: %v", err)
			}
		},
		"TooLong": func(t *testing.T, l *Loop) {
			// A frame that is longer than what may be held.
			a, b := l.Pipe(nil, nil)
			a.SetReadMarks(1, 100)
			up := filterOn(t, a, &frameFilter{t: t})
			b.Write([]byte("HELLO\x01\x00"))
			b.Write(make([]byte, 1000))
			if ev := nextOf(t, l, up); ev != Event(Closed{up}) || !errors.Is(up.Err(), ErrFull) {
				t.Errorf("unexpected %v: %v", ev, up.Err())
			}
			b.Abort()
			waitReleased(t, l)
		},
		"Inherits": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			ch := make(chan Event, 10)
			a.Notify(ch)
			a.Pause(Read)
			b.Write([]byte("abc"))
			up := filterOn(t, a, xorFilter(0))
			if up.Paused() != Read || up.Priority() != a.Priority() {
				t.Error("it has not got what the stream had")
			}
			noMessage(t, l)
			up.Resume(Read)
			for len(ch) == 0 {
				if ev, ok := l.Poll(time.Millisecond); ok {
					t.Fatalf("unexpected %v", ev)
				}
			}
			if ev := <-ch; ev != Event(Readable{up}) {
				t.Errorf("unexpected %v", ev)
			}
			b.Abort()
			up.Abort()
			waitReleased(t, l)
		},
		"TakenBack": func(t *testing.T, l *Loop) {
			// What had arrived before is decoded, and tells of itself anew.
			a, b := l.Pipe(nil, nil)
			b.Write([]byte("abc"))
			b.CloseWrite()
			for a.in.held.Load() == 0 {
				l.turn(0)
				l.mu.Lock()
				s, bit := l.next(&l.own)
				if s != nil {
					l.unpop(s, bit)
				}
				l.unlock()
			}
			up := filterOn(t, a, xorFilter(0))
			for _, want := range []Event{Readable{up}, EOF{up}} {
				if ev, _ := l.Poll(time.Second); ev != want {
					t.Errorf("received %v, want %v", ev, want)
				}
			}
			up.Close()
			b.Close()
			waitReleased(t, l)
		},
		"Misuse": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			if _, err := a.Filter(nil, nil); err == nil {
				t.Error("nil is a filter")
			}
			up := filterOn(t, a, xorFilter(0))
			if _, err := a.Filter(xorFilter(0), nil); err == nil {
				t.Error("two filters beside each other")
			}
			b.Abort()
			if ev := nextOf(t, l, up); ev != Event(Closed{up}) {
				t.Errorf("unexpected %v", ev)
			}
			if _, err := b.Filter(xorFilter(0), nil); err != ErrClosed {
				t.Errorf("after Abort: %v", err)
			}
			if _, err := up.Filter(xorFilter(0), nil); !errors.Is(err, eCONNRESET) {
				t.Errorf("after Closed: %v", err)
			}
		},
		"WriteInside": func(t *testing.T, l *Loop) {
			// Writing inside Encode does not go into it again, nor does it block.
			a, b := l.Pipe(nil, nil)
			f := new(echoFilter)
			f.s = filterOn(t, a, f)
			f.s.Write([]byte("abc"))
			got := ""
			for len(got) < 6 {
				if ev := nextOf(t, l, b); ev != Event(Readable{b}) {
					t.Fatalf("unexpected %v", ev)
				}
				got += string(b.Input().Next(100))
			}
			if got != "abcABC" || f.deepest != 1 {
				t.Errorf("%q has arrived, Encode was %d deep", got, f.deepest)
			}
			f.s.Close()
			b.Close()
			waitReleased(t, l)
		},
		"BackPressure": func(t *testing.T, l *Loop) {
			a, b := filtered(t, l, xorFilter(1), xorFilter(1))
			total := 0
			for idle := 0; idle < 100; {
				n, err := a.Write(make([]byte, 1000))
				total += n
				if err == ErrFull {
					idle++
				}
				l.turn(0)
			}
			if limit := 1 << 20; total > limit {
				t.Errorf("%d bytes were taken although nobody reads", total)
			}
			a.Close()
			got := 0
			for got < total {
				if ev := nextOf(t, l, b); ev != Event(Readable{b}) {
					t.Fatalf("unexpected %v after %d of %d bytes", ev, got, total)
				}
				got += b.Input().Discard(math.MaxInt)
			}
			b.Close()
			waitReleased(t, l)
		},
		"IdleTimeout": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			a.SetIdleTimeouts(10*time.Millisecond, 0)
			up := filterOn(t, a, xorFilter(1))
			if ev := nextOf(t, l, up); ev != Event(TimedOut{up}) || up.TimedOut() != Read {
				t.Errorf("unexpected %v", ev)
			}
			b.Abort()
			up.Abort()
			waitReleased(t, l)
		},
	}
	inBubble(t, small, tests)
}

// An echoFilter writes each thing once more, in capitals.
type echoFilter struct {
	s              *Stream
	depth, deepest int
}

func (f *echoFilter) Decode(in, plain, _ *Buffer, _ bool) error { return plain.AppendBuffer(in) }

func (f *echoFilter) Encode(plain, out *Buffer, _ bool) error {
	f.depth++
	defer func() { f.depth-- }()
	f.deepest = max(f.deepest, f.depth)
	if p, _ := plain.Peek(plain.Len()); bytes.ContainsAny(p, "abc") {
		f.s.Write(bytes.ToUpper(p))
	}
	return out.AppendBuffer(plain)
}

func TestFilterOverSockets(t *testing.T) {
	onMethods(t, Config{MaxOutput: 100 << 10}, map[string]func(*testing.T, *Loop){
		"Gunzip": func(t *testing.T, l *Loop) {
			// The peer is somebody else's program.
			s, c := connectedPair(t, l)
			up := filterOn(t, s, new(gzipFilter))
			want := pattern(1 << 20)
			failed := make(chan error, 1)
			go func() {
				r, err := gzip.NewReader(c)
				if err == nil {
					var got []byte
					if got, err = io.ReadAll(r); err == nil && !bytes.Equal(got, want) {
						err = errors.New("other bytes have arrived")
					}
				}
				w := gzip.NewWriter(c)
				w.Write(want)
				w.Close()
				c.CloseWrite()
				failed <- err
			}()
			rest := want
			write := func() {
				for len(rest) > 0 {
					n, err := up.Write(rest[:min(len(rest), 10000)])
					rest = rest[n:]
					if err != nil {
						return
					}
				}
				up.CloseWrite()
			}
			write()
			var got Buffer
			for ev := nextOf(t, l, up); ev != Event(EOF{up}); ev = nextOf(t, l, up) {
				switch ev.(type) {
				case Drained:
					write()
				case Readable:
					got.AppendBuffer(up.Input())
				default:
					t.Fatalf("unexpected %v: %v", ev, up.Err())
				}
			}
			if err := <-failed; err != nil {
				t.Error(err)
			}
			if all, _ := got.Peek(got.Len()); !bytes.Equal(all, want) {
				t.Errorf("%d other bytes have come back", got.Len())
			}
			up.Close()
			c.Close()
			waitReleased(t, l)
		},
		"Dialed": func(t *testing.T, l *Loop) {
			// A filter on a stream that is being connected passes Connected on.
			s, addr := dialEcho(t, l)
			testFilterTellsConnected(t, l, s, addr)
		},
		"DialedBefore": func(t *testing.T, l *Loop) {
			// A filter on a stream that has been connected, which nobody knows yet, says so.
			s, addr := dialEcho(t, l)
			for known := false; !known; runtime.Gosched() {
				l.mu.Lock()
				known = s.pend&msgConnected != 0
				l.mu.Unlock()
			}
			testFilterTellsConnected(t, l, s, addr)
		},
		"DialFails": func(t *testing.T, l *Loop) {
			ln := listen(t, l, "tcp", nil)
			ln.Close()
			s, err := l.Dial("tcp", ln.Addr().String(), nil)
			if err != nil {
				t.Fatal(err)
			}
			up, err := s.Filter(xorFilter(1), nil)
			if err == nil {
				if ev := nextOf(t, l, up); ev != Event(Closed{up}) {
					t.Errorf("unexpected %v", ev)
				}
				err = up.Err()
			}
			if !errors.Is(err, eCONNREFUSED) {
				t.Errorf("the error is %v", err)
			}
			l.Poll(0)
			waitReleased(t, l)
		},
	})
}

// testFilterTellsConnected puts a filter on s, whose Connected has not been received.
func testFilterTellsConnected(t *testing.T, l *Loop, s *Stream, addr net.Addr) {
	t.Helper()
	up := filterOn(t, s, xorFilter(1))
	up.Write([]byte("abc"))
	for _, want := range []Event{Connected{up}, Readable{up}} {
		ev := nextOf(t, l, up)
		if want == (Readable{up}) && ev == (Drained{up}) {
			ev = nextOf(t, l, up) // it was not connected when "abc" was written
		}
		if ev != want {
			t.Fatalf("received %v, want %v", ev, want)
		}
	}
	if up.RemoteAddr().String() != addr.String() {
		t.Errorf("the peer is %v", up.RemoteAddr())
	}
	up.Close()
	waitReleased(t, l)
}

// Two peers that send much under filters, before either reads, get all of it.
func TestFilterBothWays(t *testing.T) {
	const total = 400_000
	inBubble(t, Config{MaxInput: 5000, MaxOutput: 4000}, map[string]func(*testing.T, *Loop){
		"Pipe": func(t *testing.T, l *Loop) {
			var ends [2]*Stream
			ends[0], ends[1] = l.Pipe(nil, nil)
			var sent, got [2]int
			data := pattern(total)
			for i, s := range ends {
				f, err := s.Filter(xorFilter(7), nil)
				if err != nil {
					t.Fatal(err)
				}
				f.Data, ends[i] = i, f
			}
			fill := func(i int) {
				for sent[i] < total {
					n, err := ends[i].Write(data[sent[i]:min(sent[i]+3000, total)])
					sent[i] += n
					if err == ErrFull {
						return
					}
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			for got[0] < total || got[1] < total {
				fill(0)
				fill(1)
				ev, ok := l.Poll(time.Hour)
				if !ok {
					t.Fatalf("it does not go on: %d and %d bytes were sent, %d and %d received", sent[0], sent[1], got[1], got[0])
				}
				if r, ok := ev.(Readable); ok {
					i := r.Stream.Data.(int)
					n := r.Stream.Input().Len()
					if !bytes.Equal(r.Stream.Input().Next(n), data[got[i]:got[i]+n]) {
						t.Fatalf("other bytes have arrived after %d", got[i])
					}
					got[i] += n
				}
			}
		},
	})
}

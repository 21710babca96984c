// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// A gateFilter changes nothing. It is open when it has read "open" (see Opened), and its input
// ends with "end", what follows is none of it. While busy is set, it does nothing and says so.
type gateFilter struct {
	plainFilter
	open    atomic.Bool
	busy    atomic.Bool
	verdict atomic.Pointer[error] // what Decode returns when it is not busy any more
	calls   atomic.Int32          // of Decode and Encode
	sawEOF  atomic.Bool
}

func (f *gateFilter) Opened() bool { return f.open.Load() }

func (f *gateFilter) Decode(in, plain, out *Buffer, eof bool) error {
	f.calls.Add(1)
	if eof {
		f.sawEOF.Store(true)
	}
	if f.busy.Load() {
		return ErrWouldBlock
	}
	if err := f.verdict.Load(); err != nil {
		out.WriteString("alert")
		return *err
	}
	if !f.open.Load() {
		if p, err := in.Peek(4); err != nil || string(p) != "open" {
			return nil
		}
		in.Discard(4)
		f.open.Store(true)
	}
	if i := in.Index([]byte("end"), 0); i >= 0 {
		plain.MoveN(in, i)
		in.Discard(3)
		return io.EOF
	}
	return plain.AppendBuffer(in)
}

func (f *gateFilter) Encode(plain, out *Buffer, fin bool) error {
	f.calls.Add(1)
	if f.busy.Load() || !f.open.Load() {
		return ErrWouldBlock
	}
	return out.AppendBuffer(plain)
}

func wantPolled(t *testing.T, l *Loop, want ...Event) {
	t.Helper()
	got := polled(l)
	if len(got) != len(want) {
		t.Fatalf("%v have come, want %v", got, want)
	}
	for i, ev := range got {
		if ev != want[i] {
			t.Fatalf("%v have come, want %v", got, want)
		}
	}
}

// TestFilterEndsInput: after io.EOF of Decode the input has ended, though the stream below goes
// on.
func TestFilterEndsInput(t *testing.T) {
	inBubble(t, Config{MaxInput: 1000}, map[string]func(*testing.T, *Loop){
		"EOF": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			f := new(gateFilter)
			f.open.Store(true)
			up := filterOn(t, a, f)
			wantPolled(t, l, Connected{up})
			b.WriteString("abcend")
			wantPolled(t, l, Readable{up}, EOF{up})
			expect(t, up.Input(), "abc")
			up.Input().Discard(3)
			if !up.AtEOF() {
				t.Error("AtEOF is false")
			}
			calls := f.calls.Load()
			for range 10 { // what follows does not fill anything
				b.Write(make([]byte, 900))
				wantPolled(t, l)
			}
			if n := f.calls.Load(); n != calls || b.Queued() > 0 {
				t.Errorf("%d calls, and %d bytes wait", n-calls, b.Queued())
			}
			up.WriteString("still")
			wantPolled(t, l, Readable{b})
			expect(t, b.Input(), "still")
		},
		"ThenReset": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			f := new(gateFilter)
			f.open.Store(true)
			up := filterOn(t, a, f)
			b.WriteString("end")
			wantPolled(t, l, Connected{up}, EOF{up})
			b.Abort()
			wantPolled(t, l, Closed{up})
			if !errors.Is(up.Err(), eCONNRESET) {
				t.Error(up.Err())
			}
		},
		"Close": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			f := new(gateFilter)
			f.open.Store(true)
			up := filterOn(t, a, f)
			b.WriteString("end")
			wantPolled(t, l, Connected{up}, EOF{up})
			up.WriteString("last")
			up.Close()
			wantPolled(t, l, Readable{b}, EOF{b})
			b.Close()
			wantPolled(t, l)
			<-up.Done()
			if up.Lost() > 0 || f.closed.Load() != 1 {
				t.Errorf("lost %d, closed %d times", up.Lost(), f.closed.Load())
			}
		},
	})
}

// TestFilterBusy: while a filter is busy, nothing is settled.
func TestFilterBusy(t *testing.T) {
	start := func(t *testing.T, l *Loop) (up, b *Stream, f *gateFilter) {
		a, b := l.Pipe(nil, nil)
		f = new(gateFilter)
		f.open.Store(true)
		up = filterOn(t, a, f)
		wantPolled(t, l, Connected{up})
		f.busy.Store(true)
		return up, b, f
	}
	inBubble(t, Config{MaxInput: 1000}, map[string]func(*testing.T, *Loop){
		"EOFWaits": func(t *testing.T, l *Loop) {
			up, b, f := start(t, l)
			b.WriteString("abc")
			b.CloseWrite()
			wantPolled(t, l)
			if !f.sawEOF.Load() {
				t.Error("Decode was not called with eof")
			}
			f.busy.Store(false)
			wantPolled(t, l)
			up.Again()
			wantPolled(t, l, Readable{up}, EOF{up})
		},
		"FullWaits": func(t *testing.T, l *Loop) {
			up, b, f := start(t, l)
			b.Write(make([]byte, 3000))
			wantPolled(t, l)
			f.busy.Store(false)
			up.Again()
			wantPolled(t, l, Readable{up})
			for n := up.Input().Len(); n < 3000; n += up.Input().Len() {
				up.Input().Discard(up.Input().Len())
				polled(l)
			}
		},
		"FinWaits": func(t *testing.T, l *Loop) {
			up, b, f := start(t, l)
			up.CloseWrite()
			wantPolled(t, l)
			f.busy.Store(false)
			up.Again()
			wantPolled(t, l, EOF{b})
		},
		"CloseWaits": func(t *testing.T, l *Loop) {
			up, b, f := start(t, l)
			up.WriteString("abc")
			up.Close()
			wantPolled(t, l)
			f.busy.Store(false)
			up.Again()
			wantPolled(t, l, Readable{b}, EOF{b})
			expect(t, b.Input(), "abc")
		},
		"ErrorWaits": func(t *testing.T, l *Loop) {
			// What the filter finds wrong comes before the reset that follows it.
			up, b, f := start(t, l)
			b.WriteString("bad")
			wantPolled(t, l)
			b.Abort()
			wantPolled(t, l)
			err := errors.New("bad bytes")
			f.verdict.Store(&err)
			f.busy.Store(false)
			up.Again()
			wantPolled(t, l, Closed{up})
			if !errors.Is(up.Err(), err) {
				t.Error(up.Err())
			}
		},
		"ErrorComes": func(t *testing.T, l *Loop) {
			up, b, f := start(t, l)
			b.WriteString("abc")
			wantPolled(t, l)
			up.WriteString("for nobody")
			b.Abort()
			wantPolled(t, l)
			f.busy.Store(false)
			up.Again()
			wantPolled(t, l, Readable{up}, Closed{up})
			if !errors.Is(up.Err(), eCONNRESET) {
				t.Error(up.Err())
			}
		},
		"LingerEnds": func(t *testing.T, l *Loop) {
			// It is busy for ever, and the stream is closed.
			up, _, f := start(t, l)
			up.WriteString("abc")
			up.Close()
			for range 10 {
				l.Poll(defaultLinger / 4)
			}
			<-up.Done()
			if up.Lost() != 3 || f.closed.Load() != 1 {
				t.Errorf("lost %d, closed %d times", up.Lost(), f.closed.Load())
			}
		},
		"Coalesce": func(t *testing.T, l *Loop) {
			up, _, f := start(t, l)
			calls := f.calls.Load()
			for range 100 {
				up.Again()
			}
			wantPolled(t, l)
			if n := f.calls.Load() - calls; n != 2 {
				t.Errorf("%d calls", n)
			}
		},
		"NetConn": func(t *testing.T, l *Loop) {
			up, b, f := start(t, l)
			b.WriteString("abc")
			wantPolled(t, l)
			if _, err := up.NetConn(); err != ErrWouldBlock {
				t.Fatal(err)
			}
			f.busy.Store(false)
			up.Again()
			wantPolled(t, l, Readable{up})
			c, err := up.NetConn()
			must(t, err)
			defer c.Close()
			b.WriteString("defend")
			p, err := io.ReadAll(c)
			if string(p) != "abcdef" && string(p) != "abcdefd" || err != nil {
				t.Errorf("%q, %v", p, err)
			}
		},
	})
}

// TestFilterOpened: a stream sends nothing before its filter is open, but Closed.
func TestFilterOpened(t *testing.T) {
	inBubble(t, Config{}, map[string]func(*testing.T, *Loop){
		"Order": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			f := new(gateFilter)
			up, err := a.Filter(f, &StreamConfig{WriteLow: 100, ReadIdle: time.Minute})
			must(t, err)
			up.Write(make([]byte, 1000))
			if up.Queued() != 1000 { // so Drained is owed
				t.Error(up.Queued())
			}
			wantPolled(t, l)
			if ev, ok := l.Poll(2 * time.Minute); ok { // no timeout yet
				t.Errorf("unexpected %v", ev)
			}
			b.WriteString("openabcend")
			wantPolled(t, l, Readable{b}, Connected{up}, Drained{up}, Readable{up}, EOF{up})
			if up.By() != Filter(f) || a.By() != nil {
				t.Error("By returns another")
			}
		},
		"IdleAfterwards": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			up, err := a.Filter(new(gateFilter), &StreamConfig{ReadIdle: time.Minute})
			must(t, err)
			if ev, ok := l.Poll(2 * time.Minute); ok {
				t.Errorf("unexpected %v", ev)
			}
			b.WriteString("open")
			wantPolled(t, l, Connected{up})
			wait(t, l, TimedOut{up}, time.Minute)
		},
		"Stacked": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			low, high := new(gateFilter), new(gateFilter)
			up := filterOn(t, filterOn(t, filterOn(t, a, low), new(plainFilter)), high)
			wantPolled(t, l)
			if high.calls.Load() != 0 {
				t.Error("called before the stream below was open")
			}
			b.WriteString("open")
			wantPolled(t, l)
			b.WriteString("openabc")
			wantPolled(t, l, Connected{up}, Readable{up})
			for _, s := range []*Stream{up, up.Under()} {
				if s.By() == nil {
					t.Error("By returns nil")
				}
			}
		},
		"NetConn": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			up := filterOn(t, a, new(gateFilter))
			wantPolled(t, l)
			if _, err := up.NetConn(); err != ErrWouldBlock {
				t.Fatal(err)
			}
			b.WriteString("openabc")
			wantPolled(t, l, Connected{up}, Readable{up})
			c, err := up.NetConn()
			must(t, err)
			c.Close()
		},
		"EOFBefore": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			up := filterOn(t, a, new(gateFilter))
			b.WriteString("op")
			b.CloseWrite()
			wantPolled(t, l, Closed{up}, EOF{b})
			if !errors.Is(up.Err(), io.ErrUnexpectedEOF) {
				t.Error(up.Err())
			}
		},
		"EndsAtOnce": func(t *testing.T, l *Loop) {
			// It opens with the last that has come before a reset.
			a, b := l.Pipe(nil, nil)
			up := filterOn(t, a, new(gateFilter))
			wantPolled(t, l)
			b.WriteString("openabc")
			b.Abort()
			wantPolled(t, l, Connected{up}, Readable{up}, Closed{up})
			expect(t, up.Input(), "abc")
		},
		"CloseUnused": func(t *testing.T, l *Loop) {
			// The peer is told at once, though the filter holds the end of the output back.
			a, b := l.Pipe(nil, nil)
			up := filterOn(t, a, new(gateFilter))
			wantPolled(t, l)
			up.Close()
			wantPolled(t, l, EOF{b})
			b.Close()
			wantPolled(t, l)
			<-up.Done()
		},
		"CloseUsed": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			up := filterOn(t, a, new(gateFilter))
			up.WriteString("abc")
			up.Close()
			wantPolled(t, l)
			b.WriteString("openxyz")
			wantPolled(t, l, Readable{b}, EOF{b})
			expect(t, b.Input(), "abc")
		},
		"ErrorTellsThePeer": func(t *testing.T, l *Loop) {
			// Output is lost, and the peer gets the filter's last words all the same.
			a, b := l.Pipe(nil, nil)
			f := new(gateFilter)
			up := filterOn(t, a, f)
			up.Write(make([]byte, 100<<10))
			wantPolled(t, l)
			err := errors.New("bad bytes")
			f.verdict.Store(&err)
			b.WriteString("bad")
			wantPolled(t, l, Readable{b}, Closed{up}, EOF{b})
			expect(t, b.Input(), "alert")
			if !errors.Is(up.Err(), err) || up.Lost() != 100<<10 {
				t.Error(up.Err(), up.Lost())
			}
		},
		"MoveTo": func(t *testing.T, l *Loop) {
			c, err := (&Config{IgnoreEnv: true}).complete()
			must(t, err)
			to := newLoop(c, newFakePoller())
			defer to.Close()
			a, b := l.Pipe(nil, nil)
			up := filterOn(t, a, new(gateFilter))
			wantPolled(t, l)
			must(t, up.MoveTo(to))
			b.WriteString("openabc")
			wantPolled(t, l)
			wantPolled(t, to, Moved{up}, Connected{up}, Readable{up})
		},
	})
}

// TestFilterOpenedDial: over a stream that is being connected, a filter with Opened is first
// called when that is done.
func TestFilterOpenedDial(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Dial": func(t *testing.T, l *Loop) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			defer ln.Close()
			s, err := l.Dial("tcp", ln.Addr().String(), nil)
			must(t, err)
			f := new(gateFilter)
			up := filterOn(t, s, f)
			if f.calls.Load() != 0 {
				t.Error("called before it was connected")
			}
			c, err := ln.Accept()
			must(t, err)
			defer c.Close()
			for f.calls.Load() == 0 {
				noMessage(t, l)
			}
			send(t, c, "open")
			if ev := nextOf(t, l, up); ev != Event(Connected{up}) {
				t.Errorf("unexpected %v", ev)
			}
		},
		"Fails": func(t *testing.T, l *Loop) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			ln.Close()
			s, err := l.Dial("tcp", ln.Addr().String(), nil)
			must(t, err)
			up := filterOn(t, s, new(gateFilter))
			if ev := nextOf(t, l, up); ev != Event(Closed{up}) {
				t.Errorf("unexpected %v", ev)
			}
			if up.Err() == nil || errors.Is(up.Err(), os.ErrDeadlineExceeded) {
				t.Error(up.Err())
			}
		},
	})
}

// A countingTransport counts what it is asked for.
type countingTransport struct {
	transport
	fills int
}

func (c *countingTransport) fill(in *chain, limit int) (int, bool, error) {
	c.fills++
	return c.transport.fill(in, limit)
}

// TestFilterReadsOnReport: a filter's reply costs no read of the stream below, which would find
// nothing.
func TestFilterReadsOnReport(t *testing.T) {
	inBubble(t, Config{}, map[string]func(*testing.T, *Loop){
		"Echo": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			c := &countingTransport{transport: a.extra.transport}
			a.extra.transport = c
			up := filterOn(t, a, new(plainFilter))
			turns(t, l)
			c.fills = 0
			for range 10 {
				b.WriteString("hello")
				if ev := nextOf(t, l, up); ev != Event(Readable{up}) {
					t.Fatalf("unexpected %v", ev)
				}
				io.Copy(up, up)
				if ev := nextOf(t, l, b); ev != Event(Readable{b}) {
					t.Fatalf("unexpected %v", ev)
				}
				b.Input().Discard(b.Input().Len())
			}
			if c.fills > 10 {
				t.Errorf("%d reads for 10 requests", c.fills)
			}
		},
	})
}

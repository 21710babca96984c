// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"
)

func TestPipe(t *testing.T) {
	inBubble(t, Config{MaxOutput: 32 << 10, MaxInput: 16 << 10}, map[string]func(*testing.T, *Loop){
		"L2Whole": func(t *testing.T, l *Loop) {
			a, b := l.Pipe()
			a.Write(pattern(8333))
			if ev, _ := l.Poll(-1); ev != Event(Readable{b}) {
				t.Fatalf("unexpected %v", ev)
			}
			if !bytes.Equal(b.Input().Next(10000), pattern(8333)) {
				t.Error("other bytes have arrived")
			}
			noMessage(t, l)
			if a.LocalAddr().String() != "pipe" || b.RemoteAddr().Network() != "pipe" {
				t.Error("wrong addresses")
			}
		},
		"BackPressure": func(t *testing.T, l *Loop) {
			// A sends a lot to b, which echoes it.
			const total = 1 << 20
			a, b := l.Pipe()
			rest, got := pattern(total), []byte(nil)
			write := func() {
				for len(rest) > 0 {
					n, err := a.Write(rest[:min(len(rest), 5000)])
					rest = rest[n:]
					if err == ErrFull {
						return
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				a.CloseWrite()
			}
			write()
			for {
				ev, ok := l.Poll(time.Hour)
				if !ok {
					t.Fatalf("it does not go on after %d bytes", len(got))
				}
				switch ev {
				case Readable{b}:
					io.Copy(b, b)
				case EOF{b}:
					b.Close()
				case Drained{a}:
					write()
				case Readable{a}:
					got = append(got, a.Input().Next(total)...)
				case Drained{b}:
				case EOF{a}:
					got = append(got, a.Input().Next(total)...)
					a.Close()
					if !bytes.Equal(got, pattern(total)) {
						t.Errorf("got %d bytes of %d", len(got), total)
					}
					l.Poll(time.Minute)
					if n := l.Stats().Sources; n != 0 {
						t.Errorf("%d live sources are left", n)
					}
					return
				default:
					t.Fatalf("unexpected %v", ev)
				}
			}
		},
		"L7ReadMarks": func(t *testing.T, l *Loop) {
			a, b := l.Pipe()
			b.SetReadMarks(10, 20)
			a.Write(make([]byte, 100))
			for got := 0; got < 100; {
				if ev, ok := l.Poll(time.Hour); !ok || ev != Event(Readable{b}) {
					t.Fatalf("unexpected %v after %d bytes", ev, got)
				}
				n := b.Input().Len()
				if n < 10 || n > 20 {
					t.Errorf("Readable with %d bytes", n)
				}
				got += b.Input().Discard(n)
			}
		},
		"AbortResets": func(t *testing.T, l *Loop) {
			a, b := l.Pipe()
			a.Write([]byte("last words"))
			l.Poll(-1)
			a.Abort()
			if ev, _ := l.Poll(-1); ev != Event(Closed{b}) || !errors.Is(b.Err(), eCONNRESET) {
				t.Errorf("%v, %v", ev, b.Err())
			}
			if p := string(b.Input().Next(100)); p != "last words" {
				t.Errorf("got %q", p)
			}
		},
		"PeerIsGone": func(t *testing.T, l *Loop) {
			a, b := l.Pipe()
			a.Close()
			if ev, _ := l.Poll(-1); ev != Event(EOF{b}) {
				t.Fatalf("unexpected %v", ev)
			}
			if ev, ok := l.Poll(time.Minute); ok { // longer than a lingers
				t.Fatalf("unexpected %v", ev)
			}
			if _, err := b.Write([]byte("x")); !errors.Is(err, ePIPE) {
				t.Errorf("Write gives %v", err)
			}
			if ev, _ := l.Poll(-1); ev != Event(Closed{b}) {
				t.Fatalf("unexpected %v", ev)
			}
		},
		"IdleTimeouts": func(t *testing.T, l *Loop) {
			a, b := l.Pipe()
			a.SetIdleTimeouts(time.Minute, 0)
			began := time.Now()
			for range 10 {
				if ev, ok := l.Poll(30 * time.Second); ok {
					t.Fatalf("unexpected %v", ev)
				}
				b.Write([]byte("x"))
				l.Poll(-1)
			}
			if ev, _ := l.Poll(-1); ev != Event(TimedOut{a}) {
				t.Fatalf("unexpected %v", ev)
			}
			if d := time.Since(began); d != 6*time.Minute {
				t.Errorf("it timed out after %v", d)
			}
		},
		"Linger": func(t *testing.T, l *Loop) {
			a, b := l.Pipe()
			b.Pause(Read)
			for a.Queued() == 0 {
				a.Write(make([]byte, 10000))
			}
			a.Close()
			began := time.Now()
			for l.Stats().Sources > 1 {
				l.Poll(time.Second)
			}
			if d := time.Since(began); d < defaultLinger || d > defaultLinger+time.Second {
				t.Errorf("it took %v", d)
			}
		},
		"Shutdown": func(t *testing.T, l *Loop) {
			a, _ := l.Pipe()
			a.Write(make([]byte, 1000))
			began := time.Now()
			if err := l.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			if d := time.Since(began); d != 0 {
				t.Errorf("it took %v", d)
			}
			c, d := l.Pipe()
			if _, err := c.Write([]byte("x")); err != ErrClosed || d.Close() != nil {
				t.Error("a pipe of a closed loop is open")
			}
		},
	})
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestPipe(t *testing.T) {
	inBubble(t, Config{MaxOutput: 32 << 10, MaxInput: 16 << 10}, map[string]func(*testing.T, *Loop){
		"ArrivesWhole": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
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
		"LowMarkAfterCloseWrite": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			b.Pause(Read)
			a.SetWriteMarks(100<<10, 1<<20)
			a.Write(pattern(pipeRoom + 150<<10)) // 150 KiB are queued
			b.Resume(Read)
			for got, last := 0, Event(nil); last != Event(EOF{b}); {
				ev, ok := l.Poll(time.Minute)
				if !ok {
					t.Fatal("Drained did not come")
				}
				switch last = ev; ev {
				case Readable{b}:
					got += b.Input().Discard(1 << 20)
				case Drained{a}:
					switch n := a.Queued(); {
					case n > 100<<10 || n == 0 && got < 100<<10:
						t.Fatalf("Drained with %d bytes queued", n)
					case n > 0:
						a.CloseWrite() // from now on it is about the last byte
					}
				case EOF{b}:
					if a.Queued() != 0 || got != pipeRoom+150<<10 {
						t.Errorf("the end came after %d bytes", got)
					}
					if ev, _ := l.Poll(0); ev != nil {
						t.Errorf("unexpected %v", ev)
					}
				default:
					t.Fatalf("unexpected %v", ev)
				}
			}
		},
		"TruncatedFile": func(t *testing.T, l *Loop) {
			content := pattern(100 << 10)
			name := filepath.Join(tempDir(t), "f")
			must(t, os.WriteFile(name, content, 0o600))
			f, err := os.Open(name)
			must(t, err)
			a, b := l.Pipe(nil, nil)
			released, got, ended := false, 0, false
			must(t, a.SendFile(f, 0, int64(len(content))+1, func() { f.Close(); released = true }))
			for !ended || b.Err() == nil {
				switch ev, _ := l.Poll(time.Minute); ev {
				case Readable{b}:
					p := b.Input().Next(len(content))
					if !bytes.Equal(p, content[got:][:len(p)]) {
						t.Error("other bytes have arrived")
					}
					got += len(p)
				case Closed{a}:
					ended = true
					if !errors.Is(a.Err(), io.ErrUnexpectedEOF) || !released {
						t.Errorf("%v; released: %v", a.Err(), released)
					}
				case Closed{b}:
					if !errors.Is(b.Err(), eCONNRESET) || got == 0 {
						t.Errorf("the other end got %d bytes, then %v", got, b.Err())
					}
				default:
					t.Fatalf("unexpected %v", ev)
				}
			}
		},
		"ReadsOnButLetsOthersIn": func(t *testing.T, l *Loop) {
			left := make(map[Source]int)
			for range 3 {
				a, b := l.Pipe(nil, nil)
				left[b] = pipeRoom
				a.Write(pattern(pipeRoom))
				b.SetReadMarks(0, 100)
			}
			var last Source
			run, longest := 0, 0
			for len(left) > 1 {
				ev, _ := l.Poll(-1)
				s := ev.(Readable).Stream
				if left[s] -= s.Input().Discard(100); left[s] == 0 {
					delete(left, s)
				}
				if ev.Source() != last {
					last, run = s, 0
				}
				run++
				longest = max(longest, run)
			}
			if longest != maxFrontRequeues {
				t.Errorf("one stream had %d messages in a row; want %d", longest, maxFrontRequeues)
			}
		},
		"BackPressure": func(t *testing.T, l *Loop) {
			// A sends a lot to b, which echoes it.
			const total = 1 << 20
			a, b := l.Pipe(nil, nil)
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
		"ReadMarks": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
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
			a, b := l.Pipe(nil, nil)
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
			a, b := l.Pipe(nil, nil)
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
			a, b := l.Pipe(nil, nil)
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
			a, b := l.Pipe(nil, nil)
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
			a, _ := l.Pipe(nil, nil)
			a.Write(make([]byte, 1000))
			began := time.Now()
			if err := l.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			if d := time.Since(began); d != 0 {
				t.Errorf("it took %v", d)
			}
			c, d := l.Pipe(nil, nil)
			if _, err := c.Write([]byte("x")); err != ErrClosed || d.Close() != nil {
				t.Error("a pipe of a closed loop is open")
			}
		},
	})
}

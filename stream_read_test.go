// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"io"
	"testing"
	"time"
)

func TestStreamRead(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"InputLimit":     testInputLimit,
		"L5ReadMarks":    testReadMarks,
		"PauseHoldsEOF":  testPauseHoldsEOF,
		"L21FrozenInput": testL21,
		"EOFAfterClosed": testEOFAfterClosed,
	})
}

func testInputLimit(t *testing.T, l *Loop) {
	const limit = 1000
	s, far := connectedPair(t, l)
	s.SetReadMarks(0, limit)
	go far.Write(make([]byte, 10*limit))
	got := 0
	for got+s.Input().Len() < 10*limit {
		if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
			t.Fatalf("unexpected %v", ev)
		}
		n := s.Input().Len()
		if n > limit {
			t.Fatalf("%d bytes are held", n)
		}
		if n == limit {
			if !s.InputFull() {
				t.Error("InputFull is false at the limit")
			}
			noMessage(t, l)
		}
		got += s.Input().Discard(1 + n/2) // frees some room; reading resumes by itself
	}
	s.Input().Discard(limit)
	if _, err := s.Read(make([]byte, 1)); err != ErrWouldBlock {
		t.Errorf("Read of nothing gives %v", err)
	}
}

func testReadMarks(t *testing.T, l *Loop) {
	const total = 65000
	s, far := connectedPair(t, l)
	s.SetReadMarks(10, 20)
	go func() {
		far.Write(make([]byte, total))
		far.CloseWrite()
	}()
	got := 0
	for {
		switch ev := nextOf(t, l, s).(type) {
		case Readable:
			n := s.Input().Len()
			if n < 10 || n > 20 {
				t.Fatalf("Readable with %d bytes", n)
			}
			got += s.Input().Discard(n)
		case EOF:
			got += s.Input().Discard(total)
			if got != total {
				t.Errorf("got %d bytes of %d", got, total)
			}
			return
		default:
			t.Fatalf("unexpected %v", ev)
		}
	}
}

func testPauseHoldsEOF(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	s.Pause(Read)
	send(t, far, "last")
	far.CloseWrite()
	noMessage(t, l)
	s.Resume(Read)
	if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	if ev := nextOf(t, l, s); ev != Event(EOF{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	if p := string(s.Input().Next(100)); p != "last" {
		t.Errorf("got %q", p)
	}
}

// testL21: reading from an input that is frozen gives an error, and harms nothing.
func testL21(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	send(t, far, "frozen")
	nextOf(t, l, s)
	s.Input().Freeze(true, false)
	if n, err := s.Read(make([]byte, 10)); n != 0 || err != ErrFrozen {
		t.Errorf("Read gives %d, %v", n, err)
	}
	if n, err := s.WriteTo(io.Discard); n != 0 || err != ErrFrozen {
		t.Errorf("WriteTo gives %d, %v", n, err)
	}
	if n, err := io.Copy(s, s); n != 0 || err != ErrFrozen {
		t.Errorf("io.Copy gives %d, %v", n, err)
	}
	s.Input().Freeze(true, true) // the loop reads all the same
	send(t, far, " and more")
	if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	s.Input().Freeze(false, false)
	if p := string(s.Input().Next(100)); p != "frozen and more" {
		t.Errorf("got %q", p)
	}
}

// Nor is an EOF that was held back sent after it.
func testEOFAfterClosed(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	send(t, far, "x")
	far.CloseWrite()
	nextOf(t, l, s)
	for read := false; !read; {
		l.turn(10 * time.Millisecond)
		l.mu.Lock()
		src, bit := l.next(&l.own)
		if src != nil {
			l.unpop(src, bit) // it has been read, and is not received
		}
		read = s.pend&msgEOF != 0
		l.unlock()
	}
	s.Pause(Read) // takes the EOF back
	far.SetLinger(0)
	far.Close()
	for until := time.Now().Add(10 * time.Second); ; {
		s.Write([]byte("is anybody there"))
		if ev, ok := l.Poll(time.Millisecond); ok {
			if ev != Event(Closed{s}) {
				t.Fatalf("unexpected %v", ev)
			}
			break
		}
		if time.Now().After(until) {
			t.Fatal("no Closed")
		}
	}
	s.Resume(Read)
	noMessage(t, l)
	s.Input().Discard(1)
	noMessage(t, l)
}

// TestBufferTellsItsStream checks that what leaves a stream's input is counted,
// whichever call takes it, and that what the package itself moves is not.
func TestBufferTellsItsStream(t *testing.T) {
	l, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := l.newStream(noFD)
	s.life = lifeClosing // sends nothing
	b := pieces("abc\n", "defgh", "ijklmnop")
	b.stream = s
	before := b.Len()
	s.in.held.Store(1000)
	taken := func() int { return 1000 - int(s.in.held.Load()) }
	b.ReadByte()
	b.Read(make([]byte, 1))
	b.ReadLine(LF)
	b.Next(2)
	b.Discard(1)
	new(Buffer).MoveN(b, 1)
	b.Peek(2)
	b.WriteString("x")
	b.Prepend([]byte("x"))
	b.add([]byte("x"))
	freeChain(b.cut(1))
	before += 3 - 1
	if got := taken(); got != before-b.Len() {
		t.Errorf("told %d; want %d", got, before-b.Len())
	}
	b.WriteTo(io.Discard)
	if got := taken(); got != before {
		t.Errorf("told %d; want %d", got, before)
	}
}

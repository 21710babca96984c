// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"io"
	"testing"
	"time"
)

func TestFlow(t *testing.T) {
	tests := map[string]func(*testing.T, *Loop){
		"L5ReadMarks":               testReadMarks,
		"L6WriteLowMark":            testWriteLowMark,
		"PauseRead":                 testPauseRead,
		"PauseHoldsEOF":             testPauseHoldsEOF,
		"PauseWrite":                testPauseWrite,
		"PausedSeesReset":           testPausedSeesReset,
		"L18IdleRead":               testIdleRead,
		"L18IdleWrite":              testIdleWrite,
		"L19NoTimeoutWithoutReason": testIdleNot,
		"ActivityPutsTimeoutOff":    testIdleActivity,
	}
	for _, method := range Methods() {
		for name, test := range tests {
			t.Run(method+"/"+name, func(t *testing.T) { test(t, dialLoop(t, method)) })
		}
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

func testWriteLowMark(t *testing.T, l *Loop) {
	const low = 100 << 10
	s, far := connectedPair(t, l)
	s.SetWriteMarks(low, 0)
	s.Write(make([]byte, 8<<20))
	if s.Queued() <= low {
		t.Skip("the kernel has taken it all")
	}
	noMessage(t, l)
	go io.Copy(io.Discard, far)
	if ev := nextOf(t, l, s); ev != Event(Drained{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	if n := s.Queued(); n > low {
		t.Errorf("Drained with %d bytes queued", n)
	}
}

func testPauseRead(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	send(t, far, "one")
	for s.Input().Len() < 3 {
		nextOf(t, l, s)
	}
	// What was read but not received is taken back, and told again.
	send(t, far, "two")
	for s.held.Load() < 6 {
		l.turn(time.Second)
		l.mu.Lock()
		if src, bit := l.next(&l.own); src != nil {
			l.unpop(src, bit)
		}
		l.unlock()
	}
	s.Pause(Read)
	if got := s.Paused(); got != Read {
		t.Errorf("Paused is %v", got)
	}
	send(t, far, "three")
	noMessage(t, l)
	s.Resume(Read)
	if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	for s.Input().Len() < len("onetwothree") {
		nextOf(t, l, s)
	}
	if p := string(s.Input().Next(100)); p != "onetwothree" {
		t.Errorf("got %q", p)
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

func testPauseWrite(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	s.Pause(Write)
	s.Write([]byte("held"))
	s.CloseWrite()
	if n := s.Queued(); n != 4 {
		t.Errorf("%d bytes are queued", n)
	}
	noMessage(t, l)
	s.Resume(Write)
	if p, err := io.ReadAll(far); string(p) != "held" || err != nil {
		t.Errorf("the peer got %q, %v", p, err)
	}
	if ev := nextOf(t, l, s); ev != Event(Drained{s}) {
		t.Errorf("unexpected %v", ev)
	}
}

func testPausedSeesReset(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	s.Pause(Read)
	send(t, far, "last words")
	far.SetLinger(0)
	far.Close()
	if ev := nextOf(t, l, s); ev != Event(Closed{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	if !errors.Is(s.Err(), eCONNRESET) {
		t.Errorf("Err is %v", s.Err())
	}
}

func testIdleRead(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	s.SetIdleTimeouts(5*time.Millisecond, 0)
	if ev := nextOf(t, l, s); ev != Event(TimedOut{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	if s.TimedOut() != Read || s.Paused() != Read {
		t.Errorf("TimedOut is %v, Paused %v", s.TimedOut(), s.Paused())
	}
	send(t, far, "late")
	noMessage(t, l)
	s.Resume(Read)
	if s.TimedOut() != 0 {
		t.Errorf("TimedOut is %v after Resume", s.TimedOut())
	}
	for ev := nextOf(t, l, s); ev != Event(Readable{s}); ev = nextOf(t, l, s) {
		if _, ok := ev.(TimedOut); !ok { // which may come first on a slow machine
			t.Fatalf("unexpected %v", ev)
		}
		s.Resume(Read)
	}
	s.Input().Discard(100)
	if ev := nextOf(t, l, s); ev != Event(TimedOut{s}) {
		t.Fatalf("unexpected %v", ev)
	}
}

func testIdleWrite(t *testing.T, l *Loop) {
	s, _ := connectedPair(t, l)
	s.SetIdleTimeouts(0, 5*time.Millisecond)
	for ev := Event(Drained{s}); ev != Event(TimedOut{s}); ev = nextOf(t, l, s) {
		if ev != Event(Drained{s}) { // the kernel's buffers may grow
			t.Fatalf("unexpected %v", ev)
		}
		for err := error(nil); err == nil && s.Queued() == 0; { // the kernel may take all
			_, err = s.Write(make([]byte, 4<<20))
		}
	}
	if s.TimedOut() != Write || s.Paused() != Write {
		t.Errorf("TimedOut is %v, Paused %v", s.TimedOut(), s.Paused())
	}
	s.Abort()
}

// A direction that has nothing to do, or was stopped, does not time out.
func testIdleNot(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	s.SetReadMarks(0, 4)
	s.SetIdleTimeouts(time.Millisecond, time.Millisecond)
	s.Pause(Read)
	send(t, far, "12345678")
	if ev, ok := l.Poll(20 * time.Millisecond); ok {
		t.Fatalf("unexpected %v of an idle stream", ev)
	}
	s.SetIdleTimeouts(0, 0)
	s.Resume(Read)
	if ev := nextOf(t, l, s); ev != Event(Readable{s}) || !s.InputFull() {
		t.Fatalf("unexpected %v", ev)
	}
	s.SetIdleTimeouts(time.Millisecond, time.Millisecond)
	if ev, ok := l.Poll(20 * time.Millisecond); ok {
		t.Fatalf("unexpected %v of a full stream", ev)
	}
}

// What arrives puts the time off without touching the timer.
func testIdleActivity(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	s.SetIdleTimeouts(time.Hour, 0)
	when := s.extra.idle.timers[dirRead].when
	send(t, far, "x")
	nextOf(t, l, s)
	i := s.extra.idle
	if i.timers[dirRead].when != when {
		t.Error("the timer was set anew")
	}
	if i.last[dirRead]+int64(time.Hour) <= when {
		t.Error("the activity was not noted")
	}
	// The timer expires, and finds that it was too early.
	l.mu.Lock()
	l.timers.stop(&i.timers[dirRead])
	i.expired(when)
	l.unlock()
	noMessage(t, l)
	if got := i.timers[dirRead].when; got <= when {
		t.Errorf("looks again at %d; want later than %d", got, when)
	}
}

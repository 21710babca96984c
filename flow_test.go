// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evchan

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// connectedPair returns a stream and the connection that it is the other end of.
func connectedPair(t *testing.T, l *Loop) (*Stream, *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	s, err := l.Wrap(near)
	if err != nil {
		t.Fatal(err)
	}
	return s, far.(*net.TCPConn)
}

// noMessage fails if there is a message after everything that is ready was
// looked at.
func noMessage(t *testing.T, l *Loop) {
	t.Helper()
	for range 3 {
		if ev, ok := l.Poll(0); ok {
			t.Fatalf("unexpected %v", ev)
		}
	}
}

// send writes p to the peer's end and waits until the kernel has it at ours.
func send(t *testing.T, c net.Conn, p string) {
	t.Helper()
	if _, err := io.WriteString(c, p); err != nil {
		t.Fatal(err)
	}
}

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
		"Lifetime":                  testLifetime,
		"LifetimeStates":            testLifetimeStates,
		"LifetimeNone":              testLifetimeNone,
		"LifetimeCloses":            testLifetimeCloses,
		"LifetimeMoves":             testLifetimeMoves,
		"LifetimeFilter":            testLifetimeFilter,
		"LifetimeDial":              testLifetimeDial,
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
		s.Write(make([]byte, 4<<20))
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

// outlives waits until s has ended because its lifetime was over.
func outlives(t *testing.T, l *Loop, s *Stream) {
	t.Helper()
	ev := nextOf(t, l, s)
	for is := false; ev != Event(Closed{s}); ev = nextOf(t, l, s) {
		if _, is = ev.(Readable); !is {
			t.Fatalf("unexpected %v", ev)
		}
	}
	var ne net.Error
	if err := s.Err(); !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("Err is %v", err)
	}
	if l.Stats().Sources > 0 && !s.alive() {
		noMessage(t, l)
	}
}

// A stream ends when its time is over, however busy its peer is, and what has come
// stays readable.
func testLifetime(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	s.SetLifetime(time.Hour)
	if !s.ordinary() {
		t.Error("the stream takes the long way now")
	}
	send(t, far, "kept")
	if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	go func() {
		for p := make([]byte, 1<<10); ; {
			if _, err := far.Write(p); err != nil {
				return
			}
		}
	}()
	s.SetLifetime(20 * time.Millisecond)
	outlives(t, l, s)
	if p := string(s.Input().Next(4)); p != "kept" {
		t.Errorf("got %q", p)
	}
	if _, err := s.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write: %v", err)
	}
	waitReleased(t, l)
}

// It does so in whatever state it is.
func testLifetimeStates(t *testing.T, l *Loop) {
	for name, bring := range map[string]func(s *Stream, far *net.TCPConn){
		"idle":   func(s *Stream, far *net.TCPConn) {},
		"paused": func(s *Stream, far *net.TCPConn) { s.Pause(Read | Write) },
		"finished": func(s *Stream, far *net.TCPConn) {
			s.CloseWrite()
		},
		"half-open": func(s *Stream, far *net.TCPConn) {
			far.CloseWrite()
			if ev := nextOf(t, l, s); ev != Event(EOF{s}) {
				t.Errorf("unexpected %v", ev)
			}
		},
		"full": func(s *Stream, far *net.TCPConn) {
			s.SetReadMarks(0, 4)
			send(t, far, "12345678")
		},
		"unsent": func(s *Stream, far *net.TCPConn) { s.Write(make([]byte, 8<<20)) },
		"timed out": func(s *Stream, far *net.TCPConn) {
			s.SetIdleTimeouts(time.Millisecond, 0)
			if ev := nextOf(t, l, s); ev != Event(TimedOut{s}) {
				t.Errorf("unexpected %v", ev)
			}
		},
	} {
		s, far := connectedPair(t, l)
		bring(s, far)
		s.SetLifetime(time.Millisecond)
		outlives(t, l, s)
		far.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, far); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the peer is not told", name)
		}
	}
	a, b := l.Pipe()
	a.SetLifetime(time.Millisecond)
	outlives(t, l, a)
	b.Abort()
	waitReleased(t, l)
}

func testLifetimeNone(t *testing.T, l *Loop) {
	s, _ := connectedPair(t, l)
	for _, none := range []time.Duration{0, -1} {
		bare := l.newStream(noFD)
		bare.SetLifetime(none)
		if bare.extra != nil {
			t.Fatal("no lifetime costs memory")
		}
	}
	s.SetLifetime(time.Hour)
	s.SetLifetime(0)
	if s.extra.linger.running() {
		t.Error("the timer runs")
	}
	s.SetLifetime(time.Hour)
	c := netConn(t, l, s)
	defer c.Close()
	if n := l.timers.len(); n > 0 {
		t.Errorf("%d timers run after NetConn", n)
	}
	s.SetLifetime(time.Hour) // has no effect any more
	l.Close()
	s.SetLifetime(time.Hour)
}

// A close has no more time than the lifetime leaves it, nor more than Linger.
func testLifetimeCloses(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	s.SetLifetime(time.Hour)
	s.Close()
	if got := s.extra.linger.when; got >= s.extra.ends {
		t.Error("Linger is not heeded")
	}
	far.Close()
	waitReleased(t, l)
	s, _ = connectedPair(t, l) // whose peer does not finish
	s.SetLifetime(time.Millisecond)
	s.Close()
	if got := s.extra.linger.when; got != s.extra.ends {
		t.Error("the lifetime is not heeded")
	}
	s.SetLifetime(time.Hour) // too late
	waitReleased(t, l)
	if s.Err() != nil {
		t.Errorf("Err is %v", s.Err())
	}
}

func testLifetimeMoves(t *testing.T, l *Loop) {
	other := dialLoop(t, l.Method())
	s, _ := connectedPair(t, l)
	s.SetLifetime(time.Hour)
	ends := l.epoch.Add(time.Duration(s.extra.ends))
	for _, to := range []*Loop{other, l, other} {
		if err := s.MoveTo(to); err != nil {
			t.Fatal(err)
		}
		if got := to.epoch.Add(time.Duration(s.extra.ends)); !got.Equal(ends) || !s.extra.linger.running() {
			t.Errorf("it ends at %v; want %v", got, ends)
		}
	}
	if n := l.timers.len(); n > 0 {
		t.Errorf("%d timers run in the old loop", n)
	}
	s.SetLifetime(time.Nanosecond)
	if err := s.MoveTo(l); err != nil {
		t.Fatal(err)
	}
	outlives(t, l, s)
	waitReleased(t, l)
	waitReleased(t, other)
}

// Whichever of the two has the lifetime, the stream on top tells of it, and both
// have ended.
func testLifetimeFilter(t *testing.T, l *Loop) {
	for _, lower := range []bool{true, false} {
		s, far := connectedPair(t, l)
		up := filterOn(t, s, xorFilter(1))
		up.Write(make([]byte, 8<<20)) // more than goes through
		if lower {
			s.SetLifetime(time.Millisecond)
		} else {
			up.SetLifetime(time.Millisecond)
		}
		outlives(t, l, up)
		waitReleased(t, l)
		far.Close()
	}
	s, far := connectedPair(t, l)
	s.SetLifetime(time.Hour)
	up := filterOn(t, s, xorFilter(1))
	up.Close()
	s.SetLifetime(0) // does not stop what bounds the close
	if !s.extra.linger.running() {
		t.Error("the close has no bound")
	}
	far.Close()
	waitReleased(t, l)
}

func testLifetimeDial(t *testing.T, l *Loop) {
	s, err := l.Dial("tcp", "stuck.example:1", &DialConfig{Resolver: stuckResolver(make(chan struct{}, 100))})
	if err != nil {
		t.Fatal(err)
	}
	s.SetLifetime(time.Millisecond)
	outlives(t, l, s)
	waitReleased(t, l)
}

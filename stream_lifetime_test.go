// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

func TestLifetime(t *testing.T) {
	tests := map[string]func(*testing.T, *Loop){
		"Ends":   testLifetime,
		"States": testLifetimeStates,
		"None":   testLifetimeNone,
		"Closes": testLifetimeCloses,
		"Moves":  testLifetimeMoves,
		"Filter": testLifetimeFilter,
		"Dial":   testLifetimeDial,
	}
	for _, method := range socketMethods() {
		for name, test := range tests {
			t.Run(method+"/"+name, func(t *testing.T) { test(t, dialLoop(t, method)) })
		}
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
	a, b := l.Pipe(nil, nil)
	a.SetLifetime(time.Millisecond)
	outlives(t, l, a)
	b.Abort()
	waitReleased(t, l)
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
	if got := s.extra.linger.when; got > max(s.extra.ends, l.clock()) { // it may be over already
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
		expectMoved(t, to, s)
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
	expectMoved(t, l, s)
	outlives(t, l, s)
	waitReleased(t, l)
	waitReleased(t, other)
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
	needNetConn(t)
	c := netConn(t, l, s)
	defer c.Close()
	if n := l.timers.len(); n > 0 {
		t.Errorf("%d timers run after NetConn", n)
	}
	s.SetLifetime(time.Hour) // has no effect any more
	l.Close()
	s.SetLifetime(time.Hour)
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

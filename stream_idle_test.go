// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

func TestStreamIdle(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"IdleRead":               testIdleRead,
		"IdleWrite":              testIdleWrite,
		"NoTimeoutWithoutReason": testIdleNot,
		"ActivityPutsTimeoutOff": testIdleActivity,
	})
}

// at polls until the given time after began, and fails if there is a message
// before.
func at(t *testing.T, l *Loop, began time.Time, d time.Duration) {
	t.Helper()
	if ev, ok := l.Poll(time.Until(began.Add(d))); ok {
		t.Fatalf("%v after %v; want nothing before %v", ev, time.Since(began), d)
	}
	if got := time.Since(began); got != d {
		t.Fatalf("it is %v after the beginning; want %v", got, d)
	}
}

// stuff writes to a until it holds so many bytes that it cannot send.
func stuff(t *testing.T, a *Stream) {
	t.Helper()
	if _, err := a.Write(make([]byte, pipeRoom+100)); err != nil || a.Queued() == 0 {
		t.Fatalf("Write gives %v, with %d bytes queued", err, a.Queued())
	}
}

// Idle timeouts count the time in which a direction could have gone on, and had
// reason to, since it last could not.
func TestIdleCounts(t *testing.T) {
	const (
		second = time.Second
		minute = time.Minute
	)
	inBubble(t, Config{}, map[string]func(*testing.T, *Loop){
		"ReadAfterFull": func(t *testing.T, l *Loop) {
			for _, n := range []int{100, 101} { // with 101 the loop has tried to read more
				a, b := l.Pipe(nil, nil)
				b.SetReadMarks(0, 100)
				b.SetIdleTimeouts(minute, 0)
				began := time.Now()
				at(t, l, began, second)
				a.Write(make([]byte, n))
				wait(t, l, Readable{b}, 0)
				at(t, l, began, 50*second)
				if got := b.Input().Discard(100); got != 100 {
					t.Fatalf("%d bytes", got)
				}
				if n > 100 {
					wait(t, l, Readable{b}, 0)
				}
				wait(t, l, TimedOut{b}, minute)
				a.Abort()
				b.Abort()
			}
		},
		"ReadFullWhenSet": func(t *testing.T, l *Loop) {
			for _, lower := range []bool{false, true} {
				a, b := l.Pipe(nil, nil)
				if !lower {
					b.SetReadMarks(0, 100)
				}
				a.Write(make([]byte, 100))
				wait(t, l, Readable{b}, 0)
				b.SetIdleTimeouts(minute, 0)
				if lower {
					b.SetReadMarks(0, 100)
				}
				began := time.Now()
				at(t, l, began, 10*minute)
				b.Input().Discard(1)
				wait(t, l, Readable{b}, 0) // for what was left
				wait(t, l, TimedOut{b}, minute)
				a.Abort()
				b.Abort()
			}
		},
		"ReadAfterRaise": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			b.SetReadMarks(0, 100)
			b.SetIdleTimeouts(minute, 0)
			a.Write(make([]byte, 100))
			began := time.Now()
			wait(t, l, Readable{b}, 0)
			at(t, l, began, 90*second)
			b.SetReadMarks(0, 200)
			wait(t, l, TimedOut{b}, minute)
		},
		"ReadAfterPause": func(t *testing.T, l *Loop) {
			for _, d := range []time.Duration{30 * second, 90 * second} {
				a, b := l.Pipe(nil, nil)
				b.SetIdleTimeouts(minute, 0)
				began := time.Now()
				at(t, l, began, 10*second)
				b.Pause(Read)
				at(t, l, began, d)
				b.Resume(Read)
				wait(t, l, TimedOut{b}, minute)
				a.Abort()
				b.Abort()
			}
		},
		"ResumeOfWhatGoesOn": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			b.SetIdleTimeouts(minute, 0)
			a.SetIdleTimeouts(0, 2*minute)
			b.Pause(Read)
			stuff(t, a)
			began := time.Now()
			b.Resume(Read)
			wait(t, l, Readable{b}, 0)
			b.Pause(Read)
			a.Write(make([]byte, 2*pipeRoom))
			at(t, l, began, minute)
			a.Resume(Read | Write) // neither is paused
			wait(t, l, TimedOut{a}, minute)
		},
		"ReadAfterRate": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			b.SetRateLimit(&RateLimit{ReadRate: 1, ReadBurst: 100, Tick: 100 * second})
			b.SetIdleTimeouts(minute, 0)
			began := time.Now()
			a.Write(make([]byte, 150))
			wait(t, l, Readable{b}, 0)
			b.Input().Discard(100)
			wait(t, l, Readable{b}, 100*second)
			b.Input().Discard(100) // there is no more
			wait(t, l, TimedOut{b}, minute)
			if d := time.Since(began); d != 160*second {
				t.Errorf("it timed out after %v", d)
			}
		},
		"ReadWhenRateHasNothing": func(t *testing.T, l *Loop) {
			// The rate lets it go on, and nothing is there.
			a, b := l.Pipe(nil, nil)
			b.SetRateLimit(&RateLimit{ReadRate: 1, ReadBurst: 100, Tick: 100 * second})
			b.SetIdleTimeouts(minute, 0)
			a.Write(make([]byte, 101))
			wait(t, l, Readable{b}, 0)
			b.Input().Discard(100)
			b.extra.transport.(*pipeEnd).in.detach()
			wait(t, l, TimedOut{b}, 160*second)
		},
		"ReadRateWhenSet": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			g, _ := l.RateGroup(RateLimit{ReadRate: 1, ReadBurst: 100, Tick: 100 * second})
			b.SetRateGroup(g)
			g.Charge(100, 0)
			a.Write(make([]byte, 10))
			began := time.Now()
			at(t, l, began, 10*second)
			b.SetIdleTimeouts(minute, 0)
			wait(t, l, Readable{b}, 90*second)
			wait(t, l, TimedOut{b}, minute)
		},
		"WriteFromOutput": func(t *testing.T, l *Loop) {
			// It waits for nothing, then for the peer.
			a, b := l.Pipe(nil, nil)
			b.Pause(Read)
			a.SetIdleTimeouts(0, minute)
			stuff(t, a)
			began := time.Now()
			at(t, l, began, 10*second)
			b.Resume(Read)
			for l.Stats().BytesIn < pipeRoom+100 {
				l.Poll(0)
				b.Input().Discard(1 << 20)
			}
			if a.Queued() > 0 {
				t.Fatal("not all was sent")
			}
			for range 3 {
				l.Poll(0)
			}
			b.Pause(Read)
			at(t, l, began, 50*second)
			a.Write(make([]byte, pipeRoom)) // fits
			at(t, l, began, 55*second)
			a.Output().WriteByte('x')
			a.Flush()
			wait(t, l, TimedOut{a}, minute)
		},
		"WriteAfterRate": func(t *testing.T, l *Loop) {
			// It waits for its rate, then for the peer.
			a, b := l.Pipe(nil, nil)
			b.Pause(Read)
			a.Write(make([]byte, pipeRoom))
			g, _ := l.RateGroup(RateLimit{WriteRate: 1, WriteBurst: 100, Tick: 100 * second})
			a.SetRateGroup(g)
			g.Charge(0, 100)
			a.Write(make([]byte, 10))
			a.SetIdleTimeouts(0, minute)
			wait(t, l, TimedOut{a}, 160*second)
		},
		"LateLoop": func(t *testing.T, l *Loop) {
			// What has come in time counts, however late the loop is.
			a, b := l.Pipe(nil, nil)
			b.SetIdleTimeouts(minute, 0)
			time.Sleep(minute - 1)
			a.Write([]byte("x"))
			time.Sleep(minute)
			wait(t, l, Readable{b}, 0)
			wait(t, l, TimedOut{b}, minute)
			b.Input().Discard(1)
			b.Resume(Read)

			b.SetReadMarks(0, 1) // the same with room
			a.Write([]byte("x"))
			wait(t, l, Readable{b}, 0)
			time.Sleep(2 * minute)
			b.Input().Discard(1)
			wait(t, l, TimedOut{b}, minute)
		},
		"NothingComesOfInput": func(t *testing.T, l *Loop) {
			// The look at what has turned out to be nothing is not lost.
			_, b := l.Pipe(nil, nil)
			b.SetIdleTimeouts(minute, 0)
			time.Sleep(minute)
			l.mu.Lock()
			l.enqueue(&b.source, workRead)
			l.unlock()
			wait(t, l, TimedOut{b}, 0)
		},
		"NoLooks": func(t *testing.T, l *Loop) {
			// A direction that does not go on costs nothing.
			a, b := l.Pipe(nil, nil)
			b.SetReadMarks(0, 100)
			b.SetIdleTimeouts(second, 0)
			a.SetIdleTimeouts(second, second)
			a.Pause(Read | Write)
			a.Write(make([]byte, 100))
			a.Resume(Write)
			wait(t, l, Readable{b}, 0)
			l.Poll(10 * second)
			before := l.Stats().Turns
			l.Poll(time.Hour)
			if n := l.Stats().Turns - before; n > 2 {
				t.Errorf("%d turns in an hour", n)
			}
		},
	})
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

// TestIdleAfterConnected: the idle timeouts of a stream over one that is being connected begin
// when that is connected, however they were set.
func TestIdleAfterConnected(t *testing.T) {
	needSockets(t)
	const idle = time.Millisecond
	for way, begin := range map[string]func(*testing.T, *Loop, string, *DialConfig, int) *Stream{
		"Dial": func(t *testing.T, l *Loop, addr string, conf *DialConfig, n int) *Stream {
			conf.ReadIdle = idle
			s, err := l.Dial("tcp", addr, conf)
			must(t, err)
			return stacked(t, s, n)
		},
		"Filter": func(t *testing.T, l *Loop, addr string, conf *DialConfig, n int) *Stream {
			s, err := l.Dial("tcp", addr, conf)
			must(t, err)
			up, err := stacked(t, s, n-1).Filter(new(plainFilter), &StreamConfig{ReadIdle: idle})
			must(t, err)
			return up
		},
		"Set": func(t *testing.T, l *Loop, addr string, conf *DialConfig, n int) *Stream {
			s, err := l.Dial("tcp", addr, conf)
			must(t, err)
			up := stacked(t, s, n)
			up.SetIdleTimeouts(idle, 0)
			return up
		},
	} {
		for n := range 3 {
			if n == 0 && way == "Filter" {
				continue
			}
			t.Run(fmt.Sprint(way, n), func(t *testing.T) {
				l := dialLoop(t, "")
				server := listen(t, l, "tcp", &ListenConfig{Paused: true})
				goOn := make(chan struct{})
				conf := &DialConfig{Control: func(string, string, syscall.RawConn) error {
					<-goOn
					return nil
				}}
				s := begin(t, l, server.Addr().String(), conf, n)
				l.mu.Lock()
				if s.extra.idle.timers[dirRead].running() {
					t.Error("the timeout runs already")
				}
				l.mu.Unlock()
				close(goOn)
				for _, want := range []Event{Connected{s}, TimedOut{s}} {
					if ev, _ := l.Poll(testPatience); ev != want {
						t.Errorf("received %v, want %v", ev, want)
					}
				}
			})
		}
	}
}

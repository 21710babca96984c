// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evchan

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// armed returns a watch of fd that is armed.
func armed(t *testing.T, l *Loop, fd sysFD, interest What, timeout time.Duration) *Watch {
	t.Helper()
	w, err := l.Watch(uintptr(fd), interest)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Arm(timeout); err != nil {
		t.Fatal(err)
	}
	return w
}

// takes fails unless the next message is w's and Take gives what.
func takes(t *testing.T, l *Loop, w *Watch, what What) {
	t.Helper()
	ev, ok := l.Poll(10 * time.Second)
	if !ok || ev != Event(Ready{w}) {
		t.Fatalf("got %v; want Ready of %v", ev, w.label())
	}
	if got := w.Take(); got != what {
		t.Fatalf("Take is %v; want %v", got, what)
	}
}

func write(t *testing.T, fd sysFD, p string) {
	t.Helper()
	if _, err := fdWrite(fd, []byte(p)); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, fd sysFD) string {
	t.Helper()
	p := make([]byte, 100)
	n, err := fdRead(fd, p)
	if err != nil {
		t.Fatal(err)
	}
	return string(p[:n])
}

func TestWatch(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"ReadThenEOF": func(t *testing.T, l *Loop) {
			a, b := socketPair(t)
			write(t, b, "x")
			w := armed(t, l, a, Read, 0)
			takes(t, l, w, Read)
			read(t, a)
			w.Arm(0)
			noMessage(t, l)
			fdShutdown(b)
			takes(t, l, w, Read)
			if n, err := fdRead(a, make([]byte, 1)); n != 0 || err != nil {
				t.Errorf("read gives %d, %v", n, err)
			}
		},
		"TwoOneShots": func(t *testing.T, l *Loop) {
			a, b := socketPair(t)
			v, w := armed(t, l, a, Read, 0), armed(t, l, a, Read, 0)
			write(t, b, "x")
			takes(t, l, v, Read)
			takes(t, l, w, Read)
			noMessage(t, l)
		},
		"WriteAtOnce": func(t *testing.T, l *Loop) {
			a, _ := socketPair(t)
			takes(t, l, armed(t, l, a, Write, 0), Write)
		},
		"EarlyClose": func(t *testing.T, l *Loop) {
			if l.Features()&FeatureEarlyClose == 0 {
				t.Skip("the method has no early close here")
			}
			a, b := socketPair(t)
			write(t, b, "unread")
			w := armed(t, l, a, EarlyClose|Persist, 0)
			noMessage(t, l)
			fdShutdown(b)
			takes(t, l, w, EarlyClose)
			takes(t, l, w, EarlyClose) // it lasts
		},
		"OneShotLeavesTheLoopEmpty": func(t *testing.T, l *Loop) {
			a, b := socketPair(t)
			w := armed(t, l, a, Read, 0)
			write(t, b, "x")
			takes(t, l, w, Read)
			if n := l.Stats().Sources; n != 0 {
				t.Errorf("%d live sources", n)
			}
			w.Arm(0)
			if n := l.Stats().Sources; n != 1 {
				t.Errorf("%d live sources once armed again", n)
			}
		},
		"Transfer/OneShot":    func(t *testing.T, l *Loop) { testTransfer(t, l, 0) },
		"Transfer/Persistent": func(t *testing.T, l *Loop) { testTransfer(t, l, Persist) },
		"Transfer/Edge":       func(t *testing.T, l *Loop) { testTransfer(t, l, Persist|Edge) },
		"Independent": func(t *testing.T, l *Loop) {
			a, b := socketPair(t)
			r, w := armed(t, l, a, Read|Persist, 0), armed(t, l, a, Write|Persist, 0)
			takes(t, l, w, Write)
			w.Disarm()
			noMessage(t, l)
			write(t, b, "x")
			takes(t, l, r, Read)
		},
		"OnlyOnce": func(t *testing.T, l *Loop) {
			a, b := socketPair(t)
			w := armed(t, l, a, Read, 0)
			write(t, b, "x")
			takes(t, l, w, Read)
			write(t, b, "y")
			noMessage(t, l)
		},
		"Disarmed": func(t *testing.T, l *Loop) {
			a, b := socketPair(t)
			v, w := armed(t, l, a, Read, 0), armed(t, l, a, Read, 0)
			write(t, b, "x")
			takes(t, l, v, Read) // both are in the queue now
			w.Disarm()
			noMessage(t, l)
			if w.Take() != 0 {
				t.Error("something is left to take")
			}
		},
		"Activate": func(t *testing.T, l *Loop) {
			a, _ := socketPair(t)
			w, _ := l.Watch(uintptr(a), Read)
			w.Activate(Read)
			if got := w.Pending(); got != Read {
				t.Errorf("Pending is %v", got)
			}
			w.Activate(Timeout | Persist) // Persist cannot happen
			if got := w.Pending(); got != Read|Timeout {
				t.Errorf("Pending is %v", got)
			}
			w.Activate(0)
			takes(t, l, w, Read|Timeout)
			noMessage(t, l)
		},
		"Absurd": func(t *testing.T, l *Loop) {
			for _, fd := range []uintptr{1 << 30, ^uintptr(0), math.MaxInt32} {
				if _, err := l.Watch(fd, Read); err == nil {
					t.Errorf("Watch(%d) gives no error", fd)
				}
			}
		},
		"Pending": func(t *testing.T, l *Loop) {
			a, _ := socketPair(t)
			w := armed(t, l, a, Read, 0)
			if got := w.Pending(); got != Read {
				t.Errorf("Pending is %v", got)
			}
			w.Arm(time.Hour)
			if got := w.Pending(); got != Read|Timeout {
				t.Errorf("Pending is %v with a time limit", got)
			}
			w.SetTimeout(0)
			if got := w.Pending(); got != Read {
				t.Errorf("Pending is %v without it", got)
			}
			w.Disarm()
			if got := w.Pending(); got != 0 {
				t.Errorf("Pending is %v once disarmed", got)
			}
			if w.FD() != uintptr(a) || w.Interest() != Read || w.Loop() != l {
				t.Error("the accessors tell something else")
			}
		},
		"ManyReady": func(t *testing.T, l *Loop) {
			const n = 70
			for range n {
				a, b := socketPair(t)
				armed(t, l, a, Read, 0)
				write(t, b, "x")
			}
			for i := range n {
				if _, ok := l.Poll(0); !ok {
					t.Fatalf("%d of %d in one pass", i, n)
				}
			}
			if got := l.Stats().Turns; got != 1 {
				t.Errorf("it took %d turns", got)
			}
		},
		"Edge": func(t *testing.T, l *Loop) {
			if l.Features()&FeatureEdge == 0 {
				t.Skip("the method has no edge trigger")
			}
			a, b := socketPair(t)
			w := armed(t, l, a, Read|Edge|Persist, 0)
			write(t, b, "xy")
			takes(t, l, w, Read)
			fdRead(a, make([]byte, 1))
			noMessage(t, l)
			write(t, b, "z")
			takes(t, l, w, Read)
		},
		"Level": func(t *testing.T, l *Loop) {
			a, b := socketPair(t)
			w := armed(t, l, a, Read|Persist, 0)
			write(t, b, "xy")
			takes(t, l, w, Read)
			fdRead(a, make([]byte, 1))
			takes(t, l, w, Read)
			fdRead(a, make([]byte, 1))
			noMessage(t, l)
		},
		"Mixed": func(t *testing.T, l *Loop) {
			if l.Features()&FeatureEdge == 0 {
				t.Skip("the method has no edge trigger, so nothing can be mixed")
			}
			a, b := socketPair(t)
			v := armed(t, l, a, Read|Edge|Persist, 0)
			w, err := l.Watch(uintptr(a), Read)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Arm(0); err == nil {
				t.Fatal("watches with and without Edge are armed")
			}
			write(t, b, "x")
			takes(t, l, v, Read)
			noMessage(t, l)
		},
		"Timeout": func(t *testing.T, l *Loop) {
			a, b := socketPair(t)
			w := armed(t, l, a, Read, time.Millisecond)
			takes(t, l, w, Timeout)
			write(t, b, "x")
			noMessage(t, l) // the time limit has disarmed it
			w = armed(t, l, a, Write|Persist, time.Hour)
			takes(t, l, w, Write)
			w.SetTimeout(time.Millisecond)
			w.Disarm()
			noMessage(t, l)
		},
		"TimeoutWithReadiness": func(t *testing.T, l *Loop) {
			a, b := socketPair(t)
			w := armed(t, l, a, Read|Persist, time.Nanosecond)
			write(t, b, "x")
			for w.limit.when >= l.clock() {
			}
			takes(t, l, w, Read|Timeout) // one turn, one message
		},
		"PersistTimeoutRestarts": func(t *testing.T, l *Loop) {
			a, b := socketPair(t)
			w := armed(t, l, a, Read|Persist, time.Hour)
			when := w.limit.when
			write(t, b, "x")
			takes(t, l, w, Read)
			if w.limit.when <= when {
				t.Error("a message does not restart the time limit")
			}
		},
		"WatchConn": func(t *testing.T, l *Loop) {
			s, far := connectedPair(t, l)
			s.Abort()
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			_ = far
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			w, err := l.WatchConn(c.(*net.TCPConn), Write)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Arm(0); err != nil {
				t.Fatal(err)
			}
			takes(t, l, w, Write)
			w.Close()
			c.Close()
			if _, err := l.WatchConn(c.(*net.TCPConn), Write); err == nil {
				t.Error("WatchConn of a closed connection gives no error")
			}
		},
		"Stalled": testWatchStalled,
	})
}

// testTransfer moves a large payload with watches of both ends.
func testTransfer(t *testing.T, l *Loop, mode What) {
	a, b := socketPair(t)
	out, in := pattern(1<<20), []byte(nil)
	w, r := armed(t, l, a, Write|mode, 0), armed(t, l, b, Read|mode, 0)
	rest, buf := out, make([]byte, 1<<16)
	for len(in) < len(out) {
		ev, ok := l.Poll(10 * time.Second)
		if !ok {
			t.Fatalf("nothing happens any more after %d bytes", len(in))
		}
		switch ev {
		case Ready{w}:
			for len(rest) > 0 {
				n, err := fdWrite(a, rest)
				if err != nil {
					break
				}
				rest = rest[n:]
			}
			if len(rest) == 0 {
				w.Disarm()
			} else if mode&Persist == 0 {
				w.Arm(0)
			}
		case Ready{r}:
			for {
				n, err := fdRead(b, buf)
				if err != nil {
					break
				}
				in = append(in, buf[:n]...)
			}
			if mode&Persist == 0 {
				r.Arm(0)
			}
		}
	}
	if !bytes.Equal(in, out) {
		t.Error("other bytes have arrived")
	}
	r.Disarm()
	if n := l.Stats().Sources; n != 0 {
		t.Errorf("%d live sources are left", n)
	}
}

// A lasting condition that nobody receives does not make the loop spin, and is
// reported again once somebody does.
func testWatchStalled(t *testing.T, l *Loop) {
	a, b := socketPair(t)
	w := armed(t, l, a, Read|Persist, 0)
	c := l.Events()
	write(t, b, "x")
	for w.Pending() == Read && !w.offeredNow() {
		time.Sleep(time.Millisecond) // until the loop has seen it
	}
	before := l.Stats().Turns
	time.Sleep(20 * time.Millisecond) // in which a loop that spins makes thousands of turns
	if n := l.Stats().Turns - before; n > 5 {
		t.Errorf("%d turns while the message was not received", n)
	}
	for range 3 {
		if ev := <-c; ev != Event(Ready{w}) {
			t.Errorf("unexpected %v", ev)
		}
	}
	w.Close()
	l.Close()
	if _, ok := <-c; ok {
		t.Error("a message of a closed loop")
	}
}

// TestWatchSlowReceiver has two watches of one descriptor, one of which sends to a channel
// that nobody receives from. The other is told as long as its condition lasts.
func TestWatchSlowReceiver(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"SlowLast":  func(t *testing.T, l *Loop) { testSlowReceiver(t, l, false) },
		"SlowFirst": func(t *testing.T, l *Loop) { testSlowReceiver(t, l, true) },
	})
}

func testSlowReceiver(t *testing.T, l *Loop, slowFirst bool) {
	a, b := socketPair(t)
	watches := []*Watch{armed(t, l, a, Read|Persist, 0), armed(t, l, a, Read|Persist, 0)}
	w, slow := watches[0], watches[1]
	if slowFirst {
		w, slow = slow, w
	}
	slow.Notify(make(chan Event))
	write(t, b, "x")
	for range 3 {
		l.turn(0) // both have a message that was not received, so neither wants another
	}
	for range 10 {
		takes(t, l, w, Read)
	}
}

// TestWatchMany has many watches of one descriptor: what is done for one of them must not
// depend on how many there are.
func TestWatchMany(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"ArmAndDisarm": func(t *testing.T, l *Loop) {
			a, b := socketPair(t)
			var all []*Watch
			for k := range 20000 {
				interest := []What{Read, Read | Persist, EarlyClose | Persist}[k%3]
				all = append(all, armed(t, l, a, interest, 0))
			}
			for _, w := range all {
				if err := w.Arm(time.Hour); err != nil {
					t.Fatal(err)
				}
			}
			write(t, b, "x")
			for k, w := range all { // in the order in which they were armed
				if k%3 != 2 {
					takes(t, l, w, Read)
				}
			}
			for _, w := range all {
				w.Disarm()
			}
			noMessage(t, l)
			takes(t, l, armed(t, l, a, Read, 0), Read)
			if d := l.watched[a]; d == nil || d.wanting != [3]int32{} || d.first != nil || d.last != nil {
				t.Errorf("something is left of the watches: %+v", d)
			}
			for _, w := range all {
				w.Close()
			}
		},
	})
}

// TestWatchLongTimeouts arms watches, and has pollers wait, for the longest time.
func TestWatchLongTimeouts(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Arm": func(t *testing.T, l *Loop) {
			a, b := socketPair(t)
			w := armed(t, l, a, Read|Persist, math.MaxInt64)
			for range 3 {
				write(t, b, "x")
				takes(t, l, w, Read)
				read(t, a)
				noMessage(t, l)
				if err := w.SetTimeout(math.MaxInt64 - 1); err != nil {
					t.Fatal(err)
				}
				if what := w.Pending(); what != Read|Timeout {
					t.Fatalf("Pending is %v", what)
				}
			}
			l.Dump(io.Discard)
		},
		"Poll": func(t *testing.T, l *Loop) {
			a, b := socketPair(t)
			w := armed(t, l, a, Read, math.MaxInt64)
			for _, d := range []time.Duration{math.MaxInt64, math.MaxInt64 - 1, 1 << 62, -1, math.MinInt64} {
				w.Arm(math.MaxInt64)
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					for !l.waiting() {
						runtime.Gosched()
					}
					write(t, b, "x")
				}()
				if ev, ok := l.Poll(d); !ok {
					t.Errorf("Poll(%v) gives %v", d, ev)
				}
				<-sent
				read(t, a)
			}
		},
	})
}

// waiting reports whether somebody waits for the kernel.
func (l *Loop) waiting() bool {
	l.lock()
	defer l.unlock()
	return l.parked
}

// TestWatchWhileClosing makes and arms watches while their loop is being closed: that
// succeeds or says ErrClosed.
func TestWatchWhileClosing(t *testing.T) {
	for _, method := range socketMethods() {
		t.Run(method, func(t *testing.T) {
			a, _ := socketPair(t)
			for range 300 {
				l, err := New(&Config{Method: method, IgnoreEnv: true})
				if err != nil {
					t.Fatal(err)
				}
				w, err := l.Watch(uintptr(a), Read)
				if err != nil {
					t.Fatal(err)
				}
				started := make(chan struct{})
				done := make(chan struct{})
				go func() {
					defer close(done)
					close(started)
					for {
						v, err := l.Watch(uintptr(a), Read)
						if err == nil {
							err = v.Arm(0)
						}
						if err == nil {
							err = w.Arm(0)
						}
						if err == nil {
							w.Disarm()
							v.Close()
							continue
						}
						if !errors.Is(err, ErrClosed) {
							t.Error(err)
						}
						return
					}
				}()
				<-started
				l.Close()
				<-done
			}
		})
	}
}

// A forgetfulPoller refuses to arm descriptors as long as refuse is not nil.
type forgetfulPoller struct {
	poller
	refuse  error
	refused int
}

func (p *forgetfulPoller) arm(fd sysFD, tok token, i What) error {
	if p.refuse != nil {
		p.refused++
		return p.refuse
	}
	return p.poller.arm(fd, tok, i)
}

// TestWatchRefusedLater: if the kernel refuses for a while to report what a watch wants, the
// loop asks again.
func TestWatchRefusedLater(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){"": func(t *testing.T, l *Loop) {
		p := &forgetfulPoller{poller: l.poller}
		l.poller = p
		near, far := socketPair(t)
		w := armed(t, l, near, Read|Persist, 0)
		write(t, far, "x")
		for l.watched[w.fd].asked != 0 { // Ready waits, so the poller is asked for nothing
			l.turn(time.Millisecond)
		}
		p.refuse = syscall.ENOMEM
		takes(t, l, w, Read)
		for start := time.Now(); p.refused < 3; {
			if ev, ok := l.Poll(time.Millisecond); ok || time.Since(start) > testPatience {
				t.Fatalf("received %v; the poller was asked %d times", ev, p.refused)
			}
		}
		p.refuse = nil
		takes(t, l, w, Read)
		w.Close()
	}})
}

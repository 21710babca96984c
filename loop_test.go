// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestExitOnEmpty(t *testing.T) {
	tests := make(map[string]func(*testing.T, *Loop))
	for form, receive := range ranges {
		tests["EndsWhenEmpty/"+form] = func(t *testing.T, l *Loop) {
			l.After(0)
			n := 0
			receive(l, func(Event) { n++ })
			if n != 1 || l.Exited() || l.Broke() || l.Err() != nil {
				t.Errorf("%d messages, Exited %v, Broke %v, Err %v", n, l.Exited(), l.Broke(), l.Err())
			}
		}
		tests["LastOneDeletedElsewhere/"+form] = func(t *testing.T, l *Loop) {
			tm := l.After(time.Hour)
			go tm.Stop()
			receive(l, func(ev Event) { t.Errorf("unexpected %v", ev) })
		}
		tests["WaitsForTheFirst/"+form] = func(t *testing.T, l *Loop) {
			tr := l.Trigger() // idle: not live
			go tr.Fire()
			n := 0
			receive(l, func(Event) { n++ })
			if n != 1 {
				t.Errorf("%d messages", n)
			}
		}
	}
	onAllMethods(t, Config{ExitOnEmpty: true}, tests)
}

func TestShutdown(t *testing.T) {
	tests := map[string]func(*testing.T, *Loop){
		"FlushesFromTheRange": func(t *testing.T, l *Loop) {
			s, far := connectedPair(t, l)
			got := drain(far)
			s.Write(make([]byte, 4<<20))
			l.Trigger().Fire()
			for range l.All() {
				if err := l.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			}
			if n := <-got; n != 4<<20 {
				t.Errorf("the peer got %d bytes", n)
			}
		},
		"FlushesFromElsewhere": func(t *testing.T, l *Loop) {
			s, far := connectedPair(t, l)
			got := drain(far)
			s.Write(make([]byte, 4<<20))
			var wg sync.WaitGroup
			wg.Go(func() {
				if err := l.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			})
			for range l.Events() {
			}
			wg.Wait()
			if n := <-got; n != 4<<20 {
				t.Errorf("the peer got %d bytes", n)
			}
		},
		"NothingRuns": func(t *testing.T, l *Loop) {
			s, far := connectedPair(t, l)
			got := drain(far)
			s.Write(make([]byte, 4<<20))
			if err := l.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			if n := <-got; n != 4<<20 {
				t.Errorf("the peer got %d bytes", n)
			}
		},
		"ContextEnds": func(t *testing.T, l *Loop) {
			s, _ := connectedPair(t, l)
			for s.Queued() == 0 {
				s.Write(make([]byte, 4<<20)) // the peer does not read
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			if err := l.Shutdown(ctx); err != context.DeadlineExceeded {
				t.Errorf("Shutdown gives %v", err)
			}
			if _, ok := l.Poll(-1); ok {
				t.Error("the loop is not closed")
			}
		},
		"Idle": func(t *testing.T, l *Loop) {
			// Peers that only keep their end open do not take Config.Linger, an hour here.
			if sysUnacked(noFD) == -1 && runtime.GOOS != "linux" {
				t.Skip("the system may not tell what a peer has acknowledged")
			}
			l.conf.Linger = time.Hour
			for range 3 {
				s, far := connectedPair(t, l)
				s.Write([]byte("hello"))
				defer far.Close()
			}
			must(t, l.Shutdown(t.Context()))
		},
		"NilContext": func(t *testing.T, l *Loop) {
			var none context.Context
			if err := l.Shutdown(none); err == nil || l.isClosed() {
				t.Errorf("Shutdown gives %v", err)
			}
		},
		"ContextHasEnded": func(t *testing.T, l *Loop) {
			connectedPair(t, l)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := l.Shutdown(ctx); err != nil { // nothing is lost
				t.Errorf("Shutdown gives %v", err)
			}
		},
	}
	onMethods(t, Config{}, tests)
}

// A receiver that always has something to receive must not keep the loop from asking
// the kernel.
func TestTurnsWhileBusy(t *testing.T) {
	for _, form := range []string{"Events", "Batches"} {
		t.Run(form, func(t *testing.T) {
			l, err := New(nil)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			l.Every(time.Hour) // else the loop looks each time whether it is empty
			tr := l.Trigger()
			tr.Fire()
			began := time.Now()
			n := 0
			done := func() bool { // after each message
				tr.Fire()
				if n++; n%1000 != 0 {
					return false
				}
				turns := l.Stats().Turns
				if turns < 10 && time.Since(began) > 10*time.Second {
					t.Errorf("%d turns while %d messages were received", turns, n)
					return true
				}
				return turns >= 10
			}
			if form == "Events" {
				for range l.Events() {
					if done() {
						return
					}
				}
			}
			for b := range l.Batches() {
				for range b.All() {
					if done() {
						return
					}
				}
			}
		})
	}
}

// TestWaitFails: a failure of the kernel's ends the loop, in every form of it, and Err
// tells it. All that was open is closed.
func TestWaitFails(t *testing.T) {
	errKernel := errors.New("no memory")
	drain := map[string]func(*Loop){
		"All": func(l *Loop) {
			for range l.All() {
			}
		},
		"Poll": func(l *Loop) {
			for !l.isClosed() {
				l.Poll(-1)
			}
		},
		"Events": func(l *Loop) {
			for range l.Events() {
			}
		},
		"Batches": func(l *Loop) {
			for b := range l.Batches() {
				for range b.All() {
				}
			}
		},
	}
	for name, drain := range drain {
		t.Run(name, func(t *testing.T) {
			conf, err := (&Config{IgnoreEnv: true}).complete()
			must(t, err)
			p := &failingPoller{poller: newFakePoller(), wakes: make(chan error, 1)}
			l := newLoop(conf, p)
			defer l.Close()
			a, b := l.Pipe(nil, nil)
			timer, trigger := l.Every(time.Hour), l.Trigger()
			p.wakes <- errKernel
			trigger.Fire()
			drain(l)
			if err := l.Err(); !errors.Is(err, errKernel) || !strings.HasPrefix(err.Error(), "evchan: fake: ") {
				t.Errorf("Err is %v", err)
			}
			if l.Exited() || l.Broke() {
				t.Errorf("Exited is %v, Broke %v", l.Exited(), l.Broke())
			}
			for _, s := range []*Stream{a, b} {
				if _, err := s.Write([]byte("x")); !errors.Is(err, ErrClosed) {
					t.Errorf("Write: %v", err)
				}
			}
			if timer.Stop() || l.Stats().Sources != 0 {
				t.Errorf("%d sources are left", l.Stats().Sources)
			}
			if err := l.Close(); err != nil || !errors.Is(l.Err(), errKernel) {
				t.Errorf("Close: %v; Err is %v", err, l.Err())
			}
		})
	}
}

// TestCallsReturn calls everything that a receiver may call, from eight goroutines
// at once, with messages unread and nobody to read them: all calls return.
func TestCallsReturn(t *testing.T) {
	tests := make(map[string]func(*testing.T, *Loop))
	for form, start := range map[string]func(*Loop){
		"Events":     func(l *Loop) { l.Events() },
		"Batches":    func(l *Loop) { l.Batches() },
		"NotRunning": func(*Loop) {},
	} {
		tests["Unread/"+form] = func(t *testing.T, l *Loop) {
			start(l)
			testCallsReturn(t, l)
		}
	}
	tests["InsideAll"] = func(t *testing.T, l *Loop) {
		l.Trigger().Fire()
		for range l.All() {
			testCallsReturn(t, l)
			break
		}
	}
	tests["InsideEvents"] = func(t *testing.T, l *Loop) {
		l.Trigger().Fire()
		for range l.Events() {
			testCallsReturn(t, l)
			l.Break()
		}
	}
	onMethods(t, Config{Priorities: 2}, tests)
}

func testCallsReturn(t *testing.T, l *Loop) {
	full := make(chan Event) // nobody receives from it
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				callEverything(t, l, full)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		buf := make([]byte, 1<<20)
		t.Fatalf("some calls do not return:\n%s", buf[:runtime.Stack(buf, true)])
	}
}

func callEverything(t *testing.T, l *Loop, full chan Event) {
	tr, tm := l.Trigger(), l.Every(time.Millisecond)
	w, err := l.Watch(anyDescriptor(t), Read|Persist)
	if err != nil {
		t.Error(err)
		return
	}
	ln, err := l.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Error(err)
		return
	}
	sig, err := l.Signal(someSignal)
	if err != nil {
		t.Error(err)
		return
	}
	pc, err := l.ListenPacket("udp4", "127.0.0.1:0", nil)
	if err != nil {
		t.Error(err)
		return
	}
	s, err := l.Dial("tcp", ln.Addr().String(), nil)
	if err != nil {
		t.Error(err)
		return
	}
	sources := []Source{tr, tm, w, ln, pc, sig, s}
	for _, route := range []chan<- Event{nil, full} {
		for _, src := range sources {
			src.Notify(route)
			src.SetPriority(0)
			src.Priority()
		}
		tr.Fire()
		tm.Reset(0)
		w.Arm(time.Millisecond)
		w.Activate(Read)
		s.Write([]byte("x"))
		s.Pause(Read | Write)
		s.Resume(Read | Write)
		s.SetIdleTimeouts(time.Millisecond, time.Millisecond)
		s.SetLifetime(time.Millisecond)
		ln.Pause()
		ln.Resume()
		pc.WriteTo([]byte("x"), pc.LocalAddr())
		pc.WriteTo([]byte("y"), pc.LocalAddr())
		pc.ReadFrom(make([]byte, 1))
		pc.Pause()
		pc.Resume()
		tr.Take()
		tm.Take()
		tm.Stop()
		w.Take()
		w.Disarm()
		sig.Take()
		l.Stats()
		l.Now()
		l.Continue()
		l.Dump(io.Discard)
		for src := range l.Sources() {
			src.Loop()
		}
		if c, err := net.Dial("tcp", ln.Addr().String()); err == nil {
			if s, err := l.Wrap(c, nil); err == nil {
				s.Close()
			}
		}
	}
	s.CloseWrite()
	for _, src := range sources {
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}
	s.Abort()
}

// Tasks that were put off are ended as well if the loop is closed meanwhile.
func TestTasksPutOffWhenClosed(t *testing.T) {
	l, err := New(&Config{IgnoreEnv: true})
	must(t, err)
	defer l.Close()
	late := &fakeTask{}
	l.tasks = []pollable{&fakeTask{do: func() {
		l.bytesOut.Add(turnBudget)
		l.Close()
	}}, late}
	l.runTasks()
	if late.done != 0 || late.abandoned != 1 {
		t.Errorf("called %d times, abandoned %d times", late.done, late.abandoned)
	}
}

// A fakeTask is a pollable that counts.
type fakeTask struct {
	reg             registration
	do              func()
	done, abandoned int
}

func (f *fakeTask) ready(What)                  {}
func (f *fakeTask) registration() *registration { return &f.reg }
func (f *fakeTask) abandon()                    { f.abandoned++ }
func (f *fakeTask) task() {
	f.done++
	if f.do != nil {
		f.do()
	}
}

func TestLoopString(t *testing.T) {
	l := dialLoop(t, "")
	if s := l.String(); s != "loop "+l.Method() {
		t.Error(s)
	}
	l.Close()
	if s := l.String(); s != "loop "+l.Method()+" closed" {
		t.Error(s)
	}
	if s := new(Loop).String(); s != "loop (zero)" {
		t.Error(s)
	}
}

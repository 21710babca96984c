// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"testing"
	"time"
)

func TestSignal(t *testing.T) {
	raise := func(t *testing.T) {
		t.Helper()
		if err := raiseSignal(); errors.Is(err, ErrUnsupported) {
			t.Skip(err)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	onAllMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"TwoWatches": func(t *testing.T, l *Loop) {
			a, err := l.Signal(userSignal)
			if err != nil {
				t.Fatal(err)
			}
			b, err := l.Signal(userSignal)
			if err != nil {
				t.Fatal(err)
			}
			raise(t)
			got := make(map[Event]bool)
			for range 2 {
				ev, _ := l.Poll(10 * time.Second)
				got[ev] = true
			}
			if !got[Signaled{a}] || !got[Signaled{b}] {
				t.Errorf("got %v", got)
			}
			if a.Take() != 1 || b.Take() != 1 || a.Signal() != userSignal {
				t.Error("wrong counts")
			}
		},
		"Again": func(t *testing.T, l *Loop) {
			keep, _ := l.Signal(userSignal) // else it would end the process
			a, _ := l.Signal(userSignal)
			a.Close()
			a.Close()
			b, _ := l.Signal(userSignal)
			raise(t)
			for got := 0; got < 2; got++ {
				ev, ok := l.Poll(10 * time.Second)
				if !ok || ev == Event(Signaled{a}) {
					t.Fatalf("got %v", ev)
				}
			}
			_, _ = keep, b
			noMessage(t, l)
		},
		"ClosedWhileUnreceived": func(t *testing.T, l *Loop) {
			keep, _ := l.Signal(userSignal)
			a, _ := l.Signal(userSignal)
			raise(t)
			if ev, _ := l.Poll(10 * time.Second); ev != Event(Signaled{keep}) {
				t.Fatalf("got %v", ev)
			}
			a.Close()
			noMessage(t, l)
		},
		"TwoLoops": func(t *testing.T, l *Loop) {
			k := dialLoop(t, "")
			a, _ := l.Signal(userSignal)
			b, _ := k.Signal(userSignal)
			raise(t)
			if ev, _ := l.Poll(10 * time.Second); ev != Event(Signaled{a}) {
				t.Errorf("got %v", ev)
			}
			if ev, _ := k.Poll(10 * time.Second); ev != Event(Signaled{b}) {
				t.Errorf("got %v", ev)
			}
		},
		"Bad": func(t *testing.T, l *Loop) {
			for _, sig := range badSignals {
				if w, err := l.Signal(sig); err == nil {
					t.Errorf("Signal(%v) gives %v", sig, w)
				}
			}
		},
	})
}

// TestSignalCloseAlone closes watches of one signal while the process is sent another one,
// which is watched too. If that had its former effect for a moment, it would end the
// process.
func TestSignalCloseAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot send itself SIGTERM")
	} else if err := raiseSignal(); errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	}
	runChild(t, "TestSignalCloseAloneChild")
}

func TestSignalCloseAloneChild(t *testing.T) {
	childArgs(t)
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	l, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	kept, err := l.Signal(syscall.SIGTERM)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	raised := make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-done:
				raised <- n
				return
			default:
				if err := self.Signal(syscall.SIGTERM); err != nil {
					t.Error(err)
				}
				n++
			}
		}
	}()
	for range 300 {
		w, err := l.Signal(someSignal)
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
	}
	close(done)
	n := <-raised
	kept.Close()
	if got := kept.Take(); got == 0 || got > n {
		t.Errorf("%d signals were counted, %d sent", got, n)
	}
}

// TestSignalBeforeClose closes a watch, or its loop, just after os/signal has passed a signal
// on. The signal counts, and its message is taken back.
func TestSignalBeforeClose(t *testing.T) {
	other := make(chan os.Signal, 1)
	signal.Notify(other, userSignal)
	defer signal.Stop(other)
	if err := raiseSignal(); errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	}
	<-other
	for _, last := range []bool{true, false} {
		for i := range 200 {
			l, err := New(nil)
			if err != nil {
				t.Fatal(err)
			}
			w, _ := l.Signal(userSignal)
			if !last {
				l.Signal(userSignal)
			}
			if err := raiseSignal(); err != nil {
				t.Fatal(err)
			}
			<-other
			if i%4 == 3 {
				l.Close()
			} else {
				w.Close()
			}
			if n := w.Take(); n != 1 {
				t.Fatalf("last %v, round %d: %d signals were counted", last, i, n)
			}
			for ev, ok := l.Poll(0); ok; ev, ok = l.Poll(0) {
				if ev == Event(Signaled{w}) {
					t.Fatalf("%v was received after Close", ev)
				}
			}
			l.Close()
		}
	}
}

// TestSignalBeforeWatch makes a second watch just after a signal has come: it does not
// count that one.
func TestSignalBeforeWatch(t *testing.T) {
	l, other := loopAfterSignal(t)
	first, _ := l.Signal(userSignal)
	for range 200 {
		if err := raiseSignal(); err != nil {
			t.Fatal(err)
		}
		<-other
		w, _ := l.Signal(userSignal)
		w.Close()
		if n := w.Take(); n != 0 {
			t.Fatalf("%d signals were counted that came before the watch", n)
		}
	}
	first.Close()
	if n := first.Take(); n != 200 {
		t.Errorf("%d signals were counted of 200", n)
	}
}

// loopAfterSignal returns a loop, which ends with the test, and a channel of os/signal's that
// has got userSignal once and goes on getting it. It skips the test where that cannot be.
func loopAfterSignal(t *testing.T) (*Loop, <-chan os.Signal) {
	t.Helper()
	other := make(chan os.Signal, 1)
	signal.Notify(other, userSignal)
	t.Cleanup(func() { signal.Stop(other) })
	if err := raiseSignal(); errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	}
	<-other
	l, err := New(nil)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l, other
}

// TestSignalAfterReset watches a signal again that signal.Reset has taken away.
func TestSignalAfterReset(t *testing.T) {
	l, _ := loopAfterSignal(t)
	l.Signal(userSignal)
	signal.Reset(userSignal)
	w, _ := l.Signal(userSignal)
	if err := raiseSignal(); err != nil {
		t.Fatal(err)
	}
	for ev, ok := l.Poll(10 * time.Second); ev != Event(Signaled{w}); ev, ok = l.Poll(10 * time.Second) {
		if !ok {
			t.Fatal("no signal was received")
		}
	}
}

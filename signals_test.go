// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
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
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
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

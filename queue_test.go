// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"testing"
	"time"
)

func TestPriority(t *testing.T) {
	inBubble(t, Config{Priorities: 3}, map[string]func(*testing.T, *Loop){
		"StartsInTheMiddle": func(t *testing.T, l *Loop) {
			if p := l.Trigger().Priority(); p != 1 {
				t.Errorf("priority %d of 3", p)
			}
		},
		"D1Alternate": func(t *testing.T, l *Loop) {
			a, b := l.Trigger(), l.Trigger()
			a.Fire()
			b.Fire()
			for i := range 100 {
				want := [2]*Trigger{a, b}[i%2]
				if ev, ok := l.Poll(0); !ok || ev != Event(Fired{want}) {
					t.Fatalf("message %d is not the other one's", i)
				}
				want.Fire()
			}
		},
		"D3UrgentFirst": func(t *testing.T, l *Loop) {
			a, b, c := l.Trigger(), l.Trigger(), l.Trigger()
			a.Fire()
			b.Fire()
			l.Poll(0)
			c.SetPriority(0)
			c.Fire()
			if ev, _ := l.Poll(0); ev != Event(Fired{c}) {
				t.Errorf("got %v", ev)
			}
			if ev, _ := l.Poll(0); ev != Event(Fired{b}) {
				t.Errorf("got %v", ev)
			}
		},
		"D4Strict": func(t *testing.T, l *Loop) {
			urgent, other := l.Trigger(), l.Trigger()
			urgent.SetPriority(0)
			other.SetPriority(2)
			other.Fire()
			urgent.Fire()
			for range 1000 { // more than a batch
				if ev, _ := l.Poll(0); ev != Event(Fired{urgent}) {
					t.Fatalf("got %v", ev)
				}
				urgent.Fire()
			}
			urgent.Take()
			if ev, _ := l.Poll(0); ev != Event(Fired{other}) {
				t.Fatalf("got %v", ev)
			}
		},
		"SetPriorityMovesWhatWaits": func(t *testing.T, l *Loop) {
			a, b := l.Trigger(), l.Trigger()
			a.Fire()
			b.Fire()
			b.SetPriority(0)
			if ev, _ := l.Poll(0); ev != Event(Fired{b}) {
				t.Errorf("got %v", ev)
			}
		},
	})
	inBubble(t, Config{MaxBatch: 16}, map[string]func(*testing.T, *Loop){
		"D7TimerAmongProducers": func(t *testing.T, l *Loop) {
			tr := l.Trigger()
			tr.Fire()
			tm := l.After(time.Second)
			began := time.Now()
			for ev := range l.All() {
				if ev == Event(Tick{tm}) {
					break
				}
				time.Sleep(10 * time.Millisecond)
				tr.Fire()
				if time.Since(began) > 1200*time.Millisecond { // and a batch
					t.Fatal("the timer is held up by what is always ready")
				}
			}
		},
	})
}

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
		"G1G3TwoWatches": func(t *testing.T, l *Loop) {
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
		"G2G9Again": func(t *testing.T, l *Loop) {
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
		"G6ClosedWhileUnreceived": func(t *testing.T, l *Loop) {
			keep, _ := l.Signal(userSignal)
			a, _ := l.Signal(userSignal)
			raise(t)
			if ev, _ := l.Poll(10 * time.Second); ev != Event(Signaled{keep}) {
				t.Fatalf("got %v", ev)
			}
			a.Close()
			noMessage(t, l)
		},
		"G11TwoLoops": func(t *testing.T, l *Loop) {
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

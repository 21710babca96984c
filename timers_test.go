// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"maps"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTimer(t *testing.T) {
	inBubble(t, Config{}, map[string]func(*testing.T, *Loop){
		"Once": func(t *testing.T, l *Loop) {
			tm := l.After(200 * time.Millisecond)
			if ev, ok := l.Poll(200*time.Millisecond - 1); ok {
				t.Fatalf("%v too early", ev)
			}
			wait(t, l, Tick{tm}, 1)
			if n := tm.Take(); n != 1 {
				t.Errorf("Take is %d", n)
			}
			if ev, ok := l.Poll(time.Hour); ok {
				t.Errorf("unexpected %v", ev)
			}
		},
		"Periodic": func(t *testing.T, l *Loop) {
			tm := l.Every(10 * time.Millisecond)
			for range 5 {
				wait(t, l, Tick{tm}, 10*time.Millisecond)
			}
		},
		"Stalled": func(t *testing.T, l *Loop) {
			tm := l.Every(10 * time.Millisecond)
			time.Sleep(35 * time.Millisecond)
			wait(t, l, Tick{tm}, 0)
			if n := tm.Take(); n != 3 {
				t.Errorf("Take is %d; want 3", n)
			}
			wait(t, l, Tick{tm}, 5*time.Millisecond) // in its old phase
		},
		"NoDrift": func(t *testing.T, l *Loop) {
			tm := l.Every(10 * time.Millisecond)
			for range 5 {
				wait(t, l, Tick{tm}, 10*time.Millisecond)
				time.Sleep(3 * time.Millisecond)
				wait(t, l, Tick{tm}, 7*time.Millisecond)
			}
		},
		"EqualDurationsInOrder": func(t *testing.T, l *Loop) {
			var all []*Timer
			for range 100 {
				all = append(all, l.After(time.Second))
			}
			wait(t, l, Tick{all[0]}, time.Second)
			for _, tm := range all[1:] {
				wait(t, l, Tick{tm}, 0)
			}
		},
		"EqualDeadlinesInOrder": func(t *testing.T, l *Loop) {
			a := l.After(3 * time.Second)
			time.Sleep(time.Second)
			b := l.After(2 * time.Second)
			time.Sleep(time.Second)
			c := l.After(time.Second)
			a.Reset(time.Second) // starts anew, so it comes last
			wait(t, l, Tick{b}, time.Second)
			wait(t, l, Tick{c}, 0)
			wait(t, l, Tick{a}, 0)
		},
		"LastDurationWins": func(t *testing.T, l *Loop) {
			for range 3 {
				l.After(time.Minute).Stop() // the duration has a list now
			}
			tm := l.After(time.Minute)
			tm.Reset(time.Second)
			wait(t, l, Tick{tm}, time.Second)
			tm.Reset(time.Second)
			tm.Reset(time.Minute)
			wait(t, l, Tick{tm}, time.Minute)
		},
		"HundredPeriodic": func(t *testing.T, l *Loop) {
			count := make(map[*Timer]int)
			for i := range 100 {
				count[l.Every(time.Duration(2+i%2)*time.Second)] = 0
			}
			l.Exit(12*time.Second + 1)
			for ev := range l.All() {
				count[ev.(Tick).Timer]++
			}
			for tm, n := range count {
				if want := int(12 * time.Second / tm.period); n != want {
					t.Errorf("%v fired %d times; want %d", tm.label(), n, want)
				}
			}
		},
		"RearmedForNow": func(t *testing.T, l *Loop) {
			tm := l.After(0)
			for range 3 {
				turns := l.Stats().Turns
				wait(t, l, Tick{tm}, 0)
				if n := l.Stats().Turns - turns; n != 1 {
					t.Errorf("%d turns for one Tick", n)
				}
				tm.Reset(0)
			}
		},
		"Negative": func(t *testing.T, l *Loop) {
			wait(t, l, Tick{l.After(-time.Hour)}, 0)
		},
		"StopUnreceived": func(t *testing.T, l *Loop) {
			a, b := l.After(time.Second), l.After(time.Second)
			wait(t, l, Tick{a}, time.Second) // b has expired as well
			if !b.Stop() || b.Take() != 0 || b.Stop() {
				t.Error("Stop of an unreceived Tick")
			}
			if a.Stop() {
				t.Error("Stop of a timer that has fired is true")
			}
			noMessage(t, l)
			if a.Reset(time.Second) || !a.Reset(2*time.Second) {
				t.Error("Reset tells something else than Stop would")
			}
			if got := time.Until(a.When()); got != 2*time.Second {
				t.Errorf("When is %v away", got)
			}
			a.Stop()
			if !a.When().IsZero() {
				t.Error("When of a stopped timer")
			}
		},
		"Closed": func(t *testing.T, l *Loop) {
			tm := l.Every(time.Second)
			tm.Close()
			tm.Close()
			if tm.Reset(time.Second) || tm.Stop() {
				t.Error("a closed timer runs")
			}
			if ev, ok := l.Poll(time.Hour); ok {
				t.Errorf("unexpected %v", ev)
			}
		},
		"ExitLeavesLongTimer": func(t *testing.T, l *Loop) {
			l.After(24 * time.Hour)
			began := time.Now()
			l.Exit(300 * time.Millisecond)
			for ev := range l.All() {
				t.Errorf("unexpected %v", ev)
			}
			if d := time.Since(began); d != 300*time.Millisecond || !l.Exited() {
				t.Errorf("ended after %v, Exited is %v", d, l.Exited())
			}
		},
		"AreSources": func(t *testing.T, l *Loop) {
			c := make(chan Event)
			all := map[string]*Timer{
				"far":      l.After(time.Hour),
				"near":     l.After(time.Second + 1),
				"queued":   l.After(time.Second),
				"offered":  l.After(time.Second),
				"behind":   l.After(time.Second),
				"running":  l.After(time.Hour),
				"periodic": l.Every(time.Second),
				"stopped":  l.After(time.Hour),
				"taken":    l.After(time.Second),
				"first":    l.After(time.Second - 1),
			}
			for _, name := range []string{"offered", "behind", "running"} {
				all[name].Notify(c)
			}
			all["stopped"].Stop()
			wait(t, l, Tick{all["first"]}, time.Second-1)
			time.Sleep(time.Nanosecond)
			l.turn(0)
			all["taken"].Take()
			synctest.Wait()
			tr := l.Trigger()
			tr.Fire()
			for _, name := range []string{"stopped", "taken", "first"} {
				delete(all, name)
			}
			want := map[Source]int{tr: 1}
			for _, tm := range all {
				want[tm] = 1
			}
			got := make(map[Source]int)
			for s := range l.Sources() {
				got[s]++
			}
			if !maps.Equal(got, want) {
				t.Errorf("got %v; want %v", got, want)
			}
			var dump strings.Builder
			l.Dump(&dump)
			if n := strings.Count(dump.String(), "\n"); n != len(want) || l.Stats().Sources != len(want) {
				t.Errorf("%d lines, %d sources; want %d:\n%s", n, l.Stats().Sources, len(want), dump.String())
			}
			l.Close()
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.timers.len() != 0 || l.sources() != 0 {
				t.Errorf("%d timers run on a closed loop, %d sources are live", l.timers.len(), l.sources())
			}
		},
		"NotifyChannelIsClosed": func(t *testing.T, l *Loop) {
			c := make(chan Event)
			var all []*Timer
			for i := range 4 {
				tm := l.After(time.Second * time.Duration(1+i/2))
				tm.Notify(c)
				all = append(all, tm)
			}
			close(c)
			wait(t, l, Tick{all[0]}, time.Second)
			wait(t, l, Tick{all[1]}, 0)
			wait(t, l, Tick{all[2]}, time.Second)
			wait(t, l, Tick{all[3]}, 0)
		},
		"StoppedOnesWakeOnce": func(t *testing.T, l *Loop) {
			tm := l.After(90*time.Second + time.Millisecond)
			for i := range 50 {
				l.After(time.Duration(i+1) * time.Second).Stop()
				l.After(90*time.Second - time.Duration(i)*time.Millisecond).Stop()
			}
			before := l.Stats().Wakeups
			wait(t, l, Tick{tm}, 90*time.Second+time.Millisecond)
			if n := l.Stats().Wakeups - before; n > 2 {
				t.Errorf("%d wake-ups for one message and what was stopped before it", n)
			}
		},
		"StalledReceiverGetsOneTick": func(t *testing.T, l *Loop) {
			c := l.Events()
			tm := l.Every(time.Second)
			time.Sleep(10*time.Second + 1)
			synctest.Wait()
			if ev := <-c; ev != Event(Tick{tm}) {
				t.Fatalf("unexpected %v", ev)
			}
			if n := tm.Take(); n != 10 {
				t.Errorf("Take is %d", n)
			}
			began := time.Now()
			<-c
			if d := time.Since(began); d != time.Second-1 {
				t.Errorf("the next Tick came after %v", d)
			}
		},
		"FromOtherGoroutines": func(t *testing.T, l *Loop) {
			c := l.Events()
			for i := range 4 {
				go l.After(time.Duration(i+1) * time.Second)
			}
			began := time.Now()
			for range 4 {
				<-c
			}
			if d := time.Since(began); d != 4*time.Second {
				t.Errorf("the last came after %v", d)
			}
		},
	})
}

// TestTimerEmpties: a loop ends with its last timer, however that ends.
func TestTimerEmpties(t *testing.T) {
	inBubble(t, Config{ExitOnEmpty: true}, map[string]func(*testing.T, *Loop){
		"Received": func(t *testing.T, l *Loop) {
			began := time.Now()
			l.After(time.Second)
			l.After(2 * time.Second)
			n := 0
			for range l.All() {
				n++
			}
			if d := time.Since(began); n != 2 || d != 2*time.Second {
				t.Errorf("%d Ticks in %v", n, d)
			}
		},
		"Stopped": func(t *testing.T, l *Loop) {
			began := time.Now()
			tm := l.After(time.Hour)
			time.AfterFunc(time.Second, func() { tm.Stop() })
			for ev := range l.All() {
				t.Errorf("unexpected %v", ev)
			}
			if d := time.Since(began); d != time.Second {
				t.Errorf("ended after %v", d)
			}
		},
		"Taken": func(t *testing.T, l *Loop) {
			a, b := l.After(time.Second), l.After(time.Second)
			for ev := range l.All() {
				if ev != Event(Tick{a}) || b.Take() != 1 {
					t.Errorf("unexpected %v", ev)
				}
			}
		},
		"Elsewhere": func(t *testing.T, l *Loop) {
			began := time.Now()
			c := make(chan Event)
			tm := l.After(time.Second)
			tm.Notify(c)
			time.AfterFunc(time.Minute, func() { <-c })
			for ev := range l.All() {
				t.Errorf("unexpected %v", ev)
			}
			if d := time.Since(began); d != time.Minute {
				t.Errorf("ended after %v", d)
			}
		},
	})
}

func TestTimerPanics(t *testing.T) {
	l := dialLoop(t, "")
	for _, d := range []time.Duration{0, -1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Every(%v) does not panic", d)
				}
			}()
			l.Every(d)
		}()
	}
}

// TestManyTimers re-arms and stops 20,000 timers at random from the range.
func TestManyTimers(t *testing.T) {
	inBubble(t, Config{ExitOnEmpty: true}, map[string]func(*testing.T, *Loop){"ResetAndStop": func(t *testing.T, l *Loop) {
		var all []*Timer
		for i := range 20_000 {
			all = append(all, l.After(time.Duration(i*7919%1000)*time.Millisecond))
		}
		n, last := 0, time.Time{}
		for ev := range l.All() {
			if now := time.Now(); now.Before(last) {
				t.Fatal("time goes backwards")
			} else {
				last = now
			}
			n++
			if n < 40_000 {
				tm := all[n*104729%len(all)]
				switch n % 3 {
				case 0:
					tm.Stop()
				case 1:
					tm.Reset(time.Duration(n*31%500) * time.Millisecond)
				}
			}
			_ = ev
		}
		if l.timers.len() != 0 || n < 10_000 {
			t.Errorf("%d timers are left after %d expiries", l.timers.len(), n)
		}
	}})
}

// The greatest and the least durations are as good as any.
func TestTimerExtremes(t *testing.T) {
	inBubble(t, Config{}, map[string]func(*testing.T, *Loop){
		"Durations": func(t *testing.T, l *Loop) {
			time.Sleep(time.Hour) // so that the loop's clock is not 0
			late, every := l.After(math.MaxInt64), l.Every(math.MaxInt64)
			soon := l.After(time.Minute)
			for _, tm := range []*Timer{late, every} {
				if in := time.Until(tm.When()); in < 200*365*24*time.Hour {
					t.Errorf("%v is due in %v", tm, in)
				}
				tm.Reset(math.MaxInt64)
			}
			now := l.After(math.MinInt64)
			wait(t, l, Tick{now}, 0)
			now.Reset(math.MinInt64)
			wait(t, l, Tick{now}, 0)
			wait(t, l, Tick{soon}, time.Minute)
			noMessage(t, l)
			if !late.Stop() || !every.Stop() {
				t.Error("they were not running")
			}
		},
		"Counts": func(t *testing.T, l *Loop) {
			tm := l.Every(1)
			time.Sleep(5 * time.Second) // more expiries than 32 bits can count
			wait(t, l, Tick{tm}, 0)
			if n, want := tm.Take(), min(5e9, math.MaxInt); int64(n) < int64(want) {
				t.Errorf("Take is %d, want %d", n, int64(want))
			}
			tm.Close()

			tr := l.Trigger()
			tr.count = math.MaxInt
			tr.Fire()
			if n := tr.Take(); n != math.MaxInt {
				t.Errorf("Take is %d", n)
			}
		},
	})
}

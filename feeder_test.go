// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"runtime"
	"testing"
	"time"
)

// TestNotify checks the routes to channels of the user's.
func TestNotify(t *testing.T) {
	receive := func(t *testing.T, c <-chan Event, want Event) {
		t.Helper()
		select {
		case ev := <-c:
			if ev != want {
				t.Fatalf("got %v; want %v", ev, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("got nothing; want %v", want)
		}
	}
	onAllMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"FullStallsNobody": func(t *testing.T, l *Loop) {
			stuck, free := make(chan Event), make(chan Event, 1)
			a, b, c := l.Trigger(), l.Trigger(), l.Trigger()
			a.Notify(stuck)
			b.Notify(free)
			for range 100 {
				a.Fire()
				b.Fire()
				c.Fire()
				receive(t, free, Fired{b})
				receive(t, l.Events(), Fired{c})
				b.Take()
				c.Take()
			}
			receive(t, stuck, Fired{a})
			if n := a.Take(); n != 100 {
				t.Errorf("Take is %d; want 100", n)
			}
			select {
			case ev := <-stuck:
				t.Errorf("unexpected %v", ev)
			default:
			}
		},
		"TakesAlong": func(t *testing.T, l *Loop) {
			a, c := l.Trigger(), make(chan Event)
			a.Fire()
			a.Notify(c) // before it was delivered anywhere
			receive(t, c, Fired{a})
			a.Fire()
			a.Notify(nil)
			if ev, ok := l.Poll(0); !ok || ev != Event(Fired{a}) {
				t.Errorf("Poll gives %v", ev)
			}
		},
		"SharedKeepsPriority": func(t *testing.T, l *Loop) {
			c := make(chan Event)
			a, b := l.Trigger(), l.Trigger()
			a.Notify(c)
			b.Notify(c)
			a.Fire()
			b.Fire()
			receive(t, c, Fired{a})
			receive(t, c, Fired{b})
			l.mu.Lock()
			n := len(l.routes)
			l.mu.Unlock()
			if n > 1 {
				t.Errorf("%d routes to one channel", n)
			}
		},
		"UserCloses": func(t *testing.T, l *Loop) {
			c := make(chan Event)
			a, b := l.Trigger(), l.Trigger()
			a.Notify(c)
			b.Notify(c)
			close(c)
			a.Fire()
			b.Fire()
			got := make(map[Event]bool)
			for range 2 {
				ev, ok := l.Poll(10 * time.Second)
				if !ok {
					t.Fatal("the messages are lost")
				}
				got[ev] = true
			}
			if !got[Fired{a}] || !got[Fired{b}] {
				t.Errorf("got %v", got)
			}
			a.Fire() // goes the loop's own way from now on
			if ev, ok := l.Poll(0); !ok || ev != Event(Fired{a}) {
				t.Errorf("got %v", ev)
			}
		},
		"RouteIsForgotten": func(t *testing.T, l *Loop) {
			c := make(chan Event, 1)
			a := l.Trigger()
			a.Notify(c)
			a.Fire()
			<-c
			for {
				l.mu.Lock()
				n := len(l.routes)
				l.mu.Unlock()
				if n == 0 {
					break
				}
				runtime.Gosched()
			}
		},
		"ServedWhileNobodyReceivesEvents": func(t *testing.T, l *Loop) {
			l.Events()
			l.Trigger().Fire() // unread for ever
			c := make(chan Event)
			tm := l.Every(time.Millisecond)
			tm.Notify(c)
			for range 3 {
				receive(t, c, Tick{tm})
			}
		},
	})
}

// TestNothingAfterClose: once Close has returned, no message is received, not even one that a
// feeder was just about to offer.
func TestNothingAfterClose(t *testing.T) {
	for i := range 10000 {
		l := newLoop(mustComplete(t), newFakePoller())
		notify := make(chan Event)
		a, b := l.Trigger(), l.Trigger()
		a.Notify(notify)
		c := l.Events()
		for range i % 8 {
			runtime.Gosched()
		}
		a.Fire()
		b.Fire()
		for range i / 8 % 8 {
			runtime.Gosched()
		}
		l.Close()
		select {
		case ev := <-notify:
			t.Fatalf("in round %d, received %v from a Notify channel", i, ev)
		case ev, ok := <-c:
			if ok {
				t.Fatalf("in round %d, received %v", i, ev)
			}
		}
	}
}

// mustComplete returns the default Config, completed.
func mustComplete(t *testing.T) Config {
	t.Helper()
	c, err := (&Config{IgnoreEnv: true}).complete()
	must(t, err)
	return c
}

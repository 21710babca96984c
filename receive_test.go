// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"fmt"
	"math"
	"net"
	"testing"
	"time"
)

func TestLoopControl(t *testing.T) {
	tests := make(map[string]func(*testing.T, *Loop))
	for form, receive := range ranges {
		tests["ExitLater/"+form] = func(t *testing.T, l *Loop) { testExitLater(t, l, receive) }
		tests["ExitDeliversQueue/"+form] = func(t *testing.T, l *Loop) { testExitDelivers(t, l, receive) }
		tests["BreakDeliversNothing/"+form] = func(t *testing.T, l *Loop) { testBreak(t, l, receive) }
		tests["ExitFromElsewhere/"+form] = func(t *testing.T, l *Loop) {
			go l.Exit(0)
			receive(l, func(ev Event) { t.Errorf("unexpected %v", ev) })
			if !l.Exited() {
				t.Error("Exited is false")
			}
		}
		tests["CloseFromElsewhere/"+form] = func(t *testing.T, l *Loop) {
			go l.Close()
			receive(l, func(ev Event) { t.Errorf("unexpected %v", ev) })
			if l.Err() != nil || l.Exited() || l.Broke() {
				t.Errorf("after Close: Err %v, Exited %v, Broke %v", l.Err(), l.Exited(), l.Broke())
			}
		}
		tests["CloseInRange/"+form] = func(t *testing.T, l *Loop) {
			a, b := l.Trigger(), l.Trigger()
			a.Fire()
			b.Fire()
			n := 0
			receive(l, func(Event) {
				n++
				if err := errors.Join(l.Close(), l.Close()); err != nil {
					t.Error(err)
				}
			})
			if n != 1 {
				t.Errorf("%d messages", n)
			}
		}
	}
	tests["EarliestExit"] = func(t *testing.T, l *Loop) {
		l.Exit(time.Hour)
		l.Exit(time.Millisecond)
		l.Exit(2 * time.Hour)
		l.Exit(math.MaxInt64)
		for ev := range l.All() {
			t.Errorf("unexpected %v", ev)
		}
		if !l.Exited() {
			t.Error("Exited is false")
		}
	}
	tests["PollReturnsAtOnce"] = func(t *testing.T, l *Loop) {
		l.After(time.Hour)
		if ev, ok := l.Poll(0); ok {
			t.Errorf("unexpected %v", ev)
		}
	}
	tests["StaysWhenEmpty"] = func(t *testing.T, l *Loop) {
		tr := l.Trigger()
		go func() {
			tr.Fire()
			l.After(time.Millisecond)
		}()
		var got []string
		for ev := range l.All() {
			got = append(got, ev.String())
			if _, ok := ev.(Tick); ok {
				l.Break()
			}
		}
		if len(got) != 2 || !l.Broke() {
			t.Errorf("got %q, Broke is %v", got, l.Broke())
		}
	}
	tests["Continue"] = testContinue
	tests["Resumable"] = testResumable
	tests["RequestsWait"] = testRequestsWait
	tests["PanicInRange"] = testPanicInRange
	tests["AlreadyRunning"] = testAlreadyRunning
	tests["AfterClose"] = testAfterClose
	tests["Now"] = testNow
	onAllMethods(t, Config{}, tests)
}

func testExitLater(t *testing.T, l *Loop, receive func(*Loop, func(Event))) {
	const after = 20 * time.Millisecond
	l.After(24 * time.Hour)
	began := time.Now()
	l.Exit(after)
	receive(l, func(ev Event) { t.Errorf("unexpected %v", ev) })
	if d := time.Since(began); d < after {
		t.Errorf("ended after %v", d)
	}
	if !l.Exited() || l.Broke() || l.Err() != nil {
		t.Errorf("Exited %v, Broke %v, Err %v", l.Exited(), l.Broke(), l.Err())
	}
}

func testExitDelivers(t *testing.T, l *Loop, receive func(*Loop, func(Event))) {
	for range 5 {
		l.Trigger().Fire()
	}
	late := l.Trigger()
	n := 0
	receive(l, func(ev Event) {
		if n++; n == 1 {
			l.Exit(0)
			late.Fire() // was not in the queue by then
		}
		if ev.Source() == Source(late) {
			t.Error("what came after Exit was delivered")
		}
	})
	if n != 5 || !l.Exited() {
		t.Errorf("%d messages, Exited is %v", n, l.Exited())
	}
}

func testBreak(t *testing.T, l *Loop, receive func(*Loop, func(Event))) {
	for range 5 {
		l.Trigger().Fire()
	}
	n := 0
	receive(l, func(Event) {
		n++
		l.Break()
	})
	if n != 1 {
		t.Errorf("%d messages", n)
	}
	if !l.Broke() || l.Exited() {
		t.Errorf("Broke %v, Exited %v", l.Broke(), l.Exited())
	}
}

// After Continue the kernel is asked before the rest of the batch.
func testContinue(t *testing.T, l *Loop) {
	for range 3 {
		l.Trigger().Fire()
	}
	n := 0
	var before uint64
	for range l.All() {
		switch n++; n {
		case 1:
			before = l.Stats().Turns
			l.Continue()
		case 2:
			if got := l.Stats().Turns; got != before+1 {
				t.Errorf("%d turns between two messages; want 1", got-before)
			}
		case 3:
			if got := l.Stats().Turns; got != before+1 {
				t.Errorf("%d turns; want no more", got-before)
			}
			l.Break()
		}
	}
}

func testResumable(t *testing.T, l *Loop) {
	for range 6 {
		l.Trigger().Fire()
	}
	n := 0
	for range l.All() {
		n++
		break
	}
	for range l.All() {
		if n++; n == 3 {
			l.Break()
		}
	}
	for range l.All() {
		if n++; n == 4 {
			l.Exit(0)
		}
	}
	if n != 6 {
		t.Errorf("%d messages in three ranges; want 6", n)
	}
}

// What is requested while nothing runs applies to the next range, and not to Poll.
func testRequestsWait(t *testing.T, l *Loop) {
	tr := l.Trigger()
	tr.Fire()
	l.Break()
	if _, ok := l.Poll(0); !ok {
		t.Error("Poll heeds Break")
	}
	tr.Fire()
	for ev := range l.All() {
		t.Errorf("unexpected %v", ev)
	}
	if !l.Broke() {
		t.Error("Broke is false")
	}
	l.Exit(0)
	n := 0
	for range l.All() {
		n++
	}
	if n != 1 || !l.Exited() || l.Broke() {
		t.Errorf("%d messages, Exited %v, Broke %v", n, l.Exited(), l.Broke())
	}
}

func testPanicInRange(t *testing.T, l *Loop) {
	l.Trigger().Fire()
	l.Trigger().Fire()
	func() {
		defer func() {
			if recover() != "mine" {
				t.Error("the panic was lost")
			}
		}()
		for range l.All() {
			panic("mine")
		}
	}()
	if _, ok := l.Poll(0); !ok {
		t.Error("the loop does not go on")
	}
	l.Close()
}

func testAlreadyRunning(t *testing.T, l *Loop) {
	tr := l.Trigger()
	tr.Fire()
	for range l.All() {
		for name, f := range map[string]func(){
			"All":     func() { l.All()(func(Event) bool { return false }) },
			"Poll":    func() { l.Poll(0) },
			"Events":  func() { l.Events() },
			"Batches": func() { l.Batches() },
		} {
			func() {
				defer func() {
					if got := fmt.Sprint(recover()); got != "evchan: loop is already running" {
						t.Errorf("%s: panic %q", name, got)
					}
				}()
				f()
			}()
		}
		if tr.Take() != 1 { // the outer range is undisturbed
			t.Error("the count was lost")
		}
		break
	}
}

func testAfterClose(t *testing.T, l *Loop) {
	tr, tm := l.Trigger(), l.After(time.Hour)
	l.Close()
	for ev := range l.All() {
		t.Errorf("All gives %v", ev)
	}
	if ev, ok := l.Poll(-1); ok {
		t.Errorf("Poll gives %v", ev)
	}
	if ev, ok := <-l.Events(); ok {
		t.Errorf("Events gives %v", ev)
	}
	if _, ok := <-l.Batches(); ok {
		t.Error("Batches gives a batch")
	}
	if err := l.Shutdown(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Shutdown gives %v", err)
	}
	for name, f := range map[string]func() error{
		"Listen": func() error { _, err := l.Listen("tcp", "127.0.0.1:0", nil); return err },
		"Dial":   func() error { _, err := l.Dial("tcp", "127.0.0.1:1", nil); return err },
		"Watch":  func() error { _, err := l.Watch(anyDescriptor(t), Read); return err },
		"Signal": func() error { _, err := l.Signal(someSignal); return err },
		"WrapFD": func() error { _, err := l.WrapFD(anyDescriptor(t), nil); return err },
	} {
		if err := f(); err != ErrClosed {
			t.Errorf("%s gives %v", name, err)
		}
	}
	tr.Fire()
	if tr.Take() != 0 || tm.Reset(time.Hour) || tm.Stop() || !l.After(time.Hour).When().IsZero() {
		t.Error("a source of a closed loop is not inert")
	}
	l.Exit(0)
	l.Break()
	l.Continue()
	l.UpdateNow()
	if l.Now().IsZero() || l.Err() != nil || l.Close() != nil {
		t.Error("a closed loop does not answer")
	}
}

func testNow(t *testing.T, l *Loop) {
	for range 3 {
		l.Trigger().Fire()
	}
	var times []time.Time
	for range l.All() {
		times = append(times, l.Now())
		for time.Since(times[0]) < time.Millisecond {
		}
		if len(times) == 2 {
			l.UpdateNow()
		}
		if len(times) == 3 {
			break
		}
	}
	if !times[1].Equal(times[0]) {
		t.Error("Now moves within a batch")
	}
	if !times[2].After(times[1]) {
		t.Error("UpdateNow does not move it")
	}
	if time.Since(l.Now()) > time.Minute {
		t.Error("Now is not the real time while nothing runs")
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"math"
	"testing"
	"time"
)

// TestExtremes calls what takes sizes and durations with the least and the greatest: a sum
// that overflows must not turn for ever into at once, nor room into none.
func TestExtremes(t *testing.T) {
	const forever = time.Duration(math.MaxInt64)
	inBubble(t, Config{}, map[string]func(*testing.T, *Loop){
		"ExitOfTwo": func(t *testing.T, l *Loop) {
			time.Sleep(time.Nanosecond) // so that the clock is not 0
			l.Exit(time.Second)
			l.Exit(forever) // later: the first counts
			began := time.Now()
			for ev := range l.All() {
				t.Errorf("received %v", ev)
			}
			if d := time.Since(began); d != time.Second || !l.Exited() {
				t.Errorf("it took %v, exited %v", d, l.Exited())
			}
		},
		"Poll": func(t *testing.T, l *Loop) {
			time.Sleep(time.Nanosecond)
			l.After(time.Second)
			if ev, ok := l.Poll(forever); !ok {
				t.Errorf("received %v", ev)
			}
		},
		"IdleTimeouts": func(t *testing.T, l *Loop) {
			time.Sleep(time.Nanosecond)
			a, _ := l.Pipe(nil, nil)
			l.After(time.Second)
			a.SetIdleTimeouts(forever, forever)
			stuff(t, a)
			for range 3 {
				ev, _ := l.Poll(time.Minute)
				if _, is := ev.(TimedOut); is {
					t.Errorf("received %v", ev)
				}
			}
		},
		"Lifetime": func(t *testing.T, l *Loop) {
			a, _ := l.Pipe(nil, nil)
			l.After(time.Second)
			a.SetLifetime(forever)
			for range 3 {
				if ev, ok := l.Poll(time.Minute); ok && ev.Source() == Source(a) {
					t.Errorf("received %v", ev)
				}
			}
		},
		"Marks": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			a.SetWriteMarks(math.MaxInt, math.MaxInt)
			b.SetReadMarks(1, math.MaxInt)
			if _, err := a.Write([]byte("x")); err != nil || a.OutputFull() {
				t.Errorf("Write gives %v, OutputFull %v", err, a.OutputFull())
			}
			if ev, _ := l.Poll(time.Minute); ev != Event(Readable{b}) {
				t.Errorf("received %v", ev)
			}
			b.SetReadMarks(math.MaxInt, math.MinInt)
			a.SetWriteMarks(math.MinInt, math.MinInt)
			if _, err := a.Write([]byte("x")); err != nil {
				t.Errorf("Write gives %v", err)
			}
		},
	})
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// A loop with one processor that always has something to deliver must let the rest of
// the program go on: goroutines that can run, and those that wait for the network.
// With no processor idle the latter are up to the runtime's monitor, which has gone to
// sleep for up to a minute while nothing happened. Only an ordinary system call wakes
// it, and the loop makes none that it can avoid.
func TestOthersWhileBusy(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	ways := map[string]func(l *Loop, handle func(Event) bool){
		"All": func(l *Loop, handle func(Event) bool) {
			for ev := range l.All() {
				if handle(ev) {
					return
				}
			}
		},
		"Poll": func(l *Loop, handle func(Event) bool) {
			for {
				if ev, ok := l.Poll(-1); !ok || handle(ev) {
					return
				}
			}
		},
		"Events": func(l *Loop, handle func(Event) bool) {
			for ev := range l.Events() {
				if handle(ev) {
					return
				}
			}
		},
		"Batches": func(l *Loop, handle func(Event) bool) {
			for b := range l.Batches() {
				for ev := range b.All() {
					if handle(ev) {
						return
					}
				}
			}
		},
	}
	for name, receive := range ways {
		t.Run(name, func(t *testing.T) {
			l, err := New(nil)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			s, c := connectedPair(t, l)
			read := make(chan struct{})
			go func() {
				var b [1]byte
				c.Read(b[:])
				close(read)
			}()

			idle := l.After(50 * time.Millisecond) // long enough for the monitor to fall asleep
			tr := l.Trigger()
			var began time.Time
			n := 0
			receive(l, func(ev Event) bool {
				tr.Fire()
				if ev.Source() == Source(idle) {
					began = time.Now()
					s.Write([]byte("x"))
				}
				if n++; n%1000 != 0 {
					return false
				}
				select {
				case <-read:
					return true
				default:
				}
				if time.Since(began) > 10*time.Second {
					t.Errorf("a goroutine was kept waiting while %d messages were received, in %d turns", n, l.Stats().Turns)
					return true
				}
				return false
			})
		})
	}
}

// Where other goroutines keep all processors busy, a loop that yields to its
// receiver stands behind all of them, for some 10 ms each. It must not do that for
// each message. With a yield a message this takes minutes.
func TestBusyProcessors(t *testing.T) {
	if runtime.GOARCH == "wasm" {
		t.Skip("a goroutine that computes is never interrupted there")
	}
	var stop atomic.Bool
	defer stop.Store(true)
	for range 3 * runtime.GOMAXPROCS(0) {
		go func() {
			for !stop.Load() {
			}
		}()
	}
	l, err := New(nil)
	must(t, err)
	defer l.Close()
	for range 3000 {
		l.Trigger().Fire()
	}
	got, watchdog := 0, time.After(60*time.Second)
	for got < 3000 {
		select {
		case <-l.Events():
			got++
		case <-watchdog:
			t.Fatalf("%d messages of 3000 were received", got)
		}
	}
}

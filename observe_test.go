// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"runtime/trace"
	"testing"
	"time"
)

// An observer hears of each message, however it is received, until it is stopped.
func TestObserve(t *testing.T) {
	for _, way := range []string{"All", "Poll", "Events", "Batches"} {
		t.Run(way, func(t *testing.T) {
			l := dialLoop(t, "")
			receipts := make(chan Receipt, 16)
			handled := make(chan Receipt, 16)
			stop := l.Observe(&Observer{
				Received: func(r Receipt) { receipts <- r },
				Handled:  func(r Receipt) { handled <- r },
			})
			tr := l.Trigger()
			receive := func() {
				tr.Fire()
				switch way {
				case "All":
					for range l.All() {
						break
					}
				case "Poll":
					l.Poll(-1)
				case "Events":
					<-l.Events()
				case "Batches":
					for n := 0; n == 0; {
						for range (<-l.Batches()).All() {
							n++
						}
					}
				}
			}
			receive()
			if way == "Poll" {
				l.Poll(0)
			}
			r := <-receipts
			if r.Loop != l || r.Source != Source(tr) || r.Type != "Fired" || r.Wait < 0 || r.Took >= 0 {
				t.Errorf("the receipt is %+v", r)
			}
			if way != "Events" {
				if r := <-handled; r.Source != Source(tr) || r.Took < 0 {
					t.Errorf("handled is %+v", r)
				}
			}
			stop()
			stop()
			receive()
			if len(receipts) > 0 || l.observed.Load() != nil {
				t.Error("the observer is still called")
			}
		})
	}
}

// Each of several observers is stopped for itself.
func TestObserveTwice(t *testing.T) {
	l := dialLoop(t, "")
	n := 0
	o := &Observer{Received: func(Receipt) { n++ }}
	first, second := l.Observe(o), l.Observe(o)
	tr := l.Trigger()
	for i, want := range []int{2, 3, 3} {
		tr.Fire()
		l.Poll(-1)
		if n != want {
			t.Errorf("after message %d: %d calls, want %d", i+1, n, want)
		}
		if i == 0 {
			first()
		} else {
			second()
		}
	}
}

// With runtime/trace, turns and messages are regions.
func TestTraceRegions(t *testing.T) {
	if trace.IsEnabled() {
		t.Skip("the tests are traced already")
	}
	var out bytes.Buffer
	if err := trace.Start(&out); err != nil {
		t.Fatal(err)
	}
	l := dialLoop(t, "")
	l.Trigger().Fire()
	for range l.All() {
		break
	}
	trace.Stop()
	for _, region := range []string{"evchan turn", "evchan Fired"} {
		if !bytes.Contains(out.Bytes(), []byte(region)) {
			t.Errorf("there is no region %q", region)
		}
	}
}

// Stats counts the queue by lane.
func TestStatsLanes(t *testing.T) {
	l, err := New(&Config{Priorities: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, p := range []int{0, 2, 2} {
		tr := l.Trigger()
		tr.SetPriority(p)
		tr.Fire()
	}
	l.After(time.Hour)
	if st := l.Stats(); len(st.Lanes) != 3 || st.Lanes[0] != 1 || st.Lanes[1] != 0 || st.Lanes[2] != 2 || st.Timers != 1 {
		t.Errorf("lanes %v, timers %d", st.Lanes, st.Timers)
	}
	l.Poll(0)
	if st := l.Stats(); st.Lanes[0] != 0 {
		t.Errorf("lanes %v after a message", st.Lanes)
	}
}

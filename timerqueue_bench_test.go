// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// benchDurations returns n durations of up to an hour, hardly any two the same.
func benchDurations(n int) []time.Duration {
	r := rand.New(rand.NewPCG(1, 1))
	d := make([]time.Duration, n)
	for i := range d {
		d[i] = time.Duration(r.Int64N(int64(time.Hour)))
	}
	return d
}

const million = 1_000_000

// A million timers are made, started and stopped; ns/timer is for all three.
func BenchmarkTimerQueueMillion(b *testing.B) {
	random := benchDurations(million)
	equal := slices.Repeat([]time.Duration{time.Minute}, million)
	for _, bench := range []struct {
		name      string
		durations []time.Duration
	}{{"random", random}, {"equal", equal}} {
		b.Run(bench.name, func(b *testing.B) {
			var q timerQueue
			var mu sync.Mutex
			for b.Loop() {
				timers := make([]*testTimer, million)
				for i := range timers {
					t := newTestTimer(i)
					timers[i] = t
					mu.Lock()
					q.start(&t.timerNode, int64(i), bench.durations[i])
					mu.Unlock()
				}
				for _, t := range timers {
					mu.Lock()
					q.stop(&t.timerNode)
					mu.Unlock()
				}
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/million, "ns/timer")
		})
		b.Run(bench.name+"/AfterFunc", func(b *testing.B) {
			for b.Loop() {
				timers := make([]*time.Timer, million)
				for i := range timers {
					timers[i] = time.AfterFunc(time.Hour+bench.durations[i], func() {})
				}
				for _, t := range timers {
					t.Stop()
				}
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/million, "ns/timer")
		})
	}
}

// One of many timers is started and stopped again, as a stream's idle timeout is.
func BenchmarkTimerQueueRestart(b *testing.B) {
	random := benchDurations(10_000)
	for _, bench := range []struct {
		name     string
		duration func(i int) time.Duration
	}{
		{"equal", func(int) time.Duration { return time.Minute }},
		{"random", func(i int) time.Duration { return random[i] }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			var q timerQueue
			var mu sync.Mutex
			timers := make([]timerNode, 10_000)
			for i := range timers[:5000] {
				q.start(&timers[i], int64(i), bench.duration(i))
			}
			now, i := int64(10_000), 0
			for b.Loop() {
				now++
				i = (i + 1) % len(timers)
				mu.Lock()
				q.start(&timers[i], now, bench.duration(i))
				q.stop(&timers[i])
				mu.Unlock()
			}
		})
		b.Run(bench.name+"/AfterFunc", func(b *testing.B) {
			t := time.AfterFunc(time.Hour, func() {})
			i := 0
			for b.Loop() {
				i = (i + 1) % 10_000
				t.Reset(time.Hour + bench.duration(i))
				t.Stop()
			}
		})
	}
}

// A million timers expire, one after the other.
func BenchmarkTimerQueueExpire(b *testing.B) {
	for _, bench := range []struct {
		name      string
		durations []time.Duration
	}{
		{"random", benchDurations(million)},
		{"equal", slices.Repeat([]time.Duration{time.Minute}, million)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			var q timerQueue
			timers := make([]timerNode, million)
			var took time.Duration
			for b.Loop() {
				for i := range timers {
					q.start(&timers[i], 0, bench.durations[i])
				}
				start := time.Now()
				for q.expire(math.MaxInt64, math.MaxUint64) != nil {
				}
				took += time.Since(start)
			}
			b.ReportMetric(float64(took)/float64(b.N)/million, "ns/timer")
		})
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build linux

package main

import (
	"sync/atomic"
	"time"

	"github.com/evchan/evchan"
)

// How long timers run, unless they are to expire: none does before the end.
const (
	shortest = time.Hour
	spread   = time.Hour
)

// dueSpread is the time in which all timers that are to expire do.
const dueSpread = time.Millisecond

// A timer is one of either kind.
type timer interface {
	Stop() bool
	Reset(time.Duration) bool
}

func (b *bench) timerCount() int {
	if b.quick {
		return 1000
	}
	return 1_000_000
}

// durations returns n durations.
func durations(n int, equal bool) []time.Duration {
	ds := make([]time.Duration, n)
	rnd := newRandom()
	for i := range ds {
		ds[i] = shortest
		if !equal {
			ds[i] += time.Duration(rnd.below(uint64(spread)))
		}
	}
	return ds
}

// timers measures how timers are started by after, stopped and reset. T is a
// concrete type, so that calls are direct as far as generics allow.
func timers[T timer](b *bench, after func(time.Duration) T) {
	for _, kind := range []string{"random", "equal"} {
		ds := durations(b.timerCount(), kind == "equal")
		again := durations(2*len(ds), kind == "equal")[len(ds):]
		ts := make([]T, len(ds))
		start := func() {
			for i, d := range ds {
				ts[i] = after(d)
			}
		}
		stop := func() {
			for _, t := range ts {
				t.Stop()
			}
		}
		add := b.once(kind+"/add", len(ts), start)
		del := b.once(kind+"/stop", len(ts), stop)
		b.reportOps(kind+"/add", add)
		b.reportOps(kind+"/stop", del)
		b.reportOps(kind+"/add+stop", add.add(del))

		clear(ts)
		start()
		b.reportOps(kind+"/reset", b.once(kind+"/reset", len(ts), func() {
			for i, t := range ts {
				t.Reset(again[i])
			}
		}))
		stop()
	}
}

// fire measures how long it takes after the first of the timers is due until all
// are delivered. start makes n timers, the first of them due at the given time.
// deliver, called then, delivers them and returns when the last one was.
func (b *bench) fire(start func(n int, first time.Time), deliver func(n int) time.Time) {
	n := b.timerCount()
	b.reportOps("random/fire", b.cost("random/fire", n, func() time.Duration {
		// 2 µs should be enough to make one. If not, those that are kept by a
		// loop that does not run lose nothing.
		first := time.Now().Add(50*time.Millisecond + time.Duration(n)*2*time.Microsecond)
		start(n, first)
		time.Sleep(time.Until(first))
		if now := time.Now(); now.Sub(first) > 50*time.Millisecond {
			first = now
		}
		return deliver(n).Sub(first)
	}))
}

func evchanTimers(b *bench) error {
	loop, err := evchan.New(nil)
	if err != nil {
		return err
	}
	defer loop.Close()
	timers(b, loop.After)
	b.fire(func(n int, first time.Time) {
		rnd := newRandom()
		for range n {
			loop.After(time.Until(first) + time.Duration(rnd.below(uint64(dueSpread))))
		}
	}, func(n int) time.Time {
		for ev := range loop.All() {
			if _, ok := ev.(evchan.Tick); !ok {
				continue
			}
			if n--; n == 0 {
				break
			}
		}
		return time.Now()
	})
	return loop.Err()
}

func stdTimers(b *bench) error {
	nothing := func() {}
	timers(b, func(d time.Duration) *time.Timer { return time.AfterFunc(d, nothing) })
	var left atomic.Int64
	last := make(chan time.Time)
	expired := func() {
		if left.Add(-1) == 0 {
			last <- time.Now()
		}
	}
	b.fire(func(n int, first time.Time) {
		left.Store(int64(n))
		rnd := newRandom()
		for range n {
			time.AfterFunc(time.Until(first)+time.Duration(rnd.below(uint64(dueSpread))), expired)
		}
	}, func(int) time.Time { return <-last })
	return nil
}

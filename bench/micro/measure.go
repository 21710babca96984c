// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"time"
)

// A bench measures for one program in Go, and prints what comes out.
type bench struct {
	*options
	group, program string
	out            *json.Encoder
	err            error // the first one of out
}

// child is the process in which one program in Go is measured.
func child(o *options, stdout io.Writer) error {
	for _, g := range o.groups {
		measure := measurements[g.name][o.child]
		if measure == nil {
			return fmt.Errorf("no program %q in Go for %s", o.child, g.name)
		}
		b := &bench{options: o, group: g.name, program: o.child, out: json.NewEncoder(stdout)}
		if err := b.profiled(measure); err != nil {
			return err
		}
	}
	return nil
}

// measurements has what the programs in Go do, by group and program.
var measurements = map[string]map[string]func(*bench) error{
	"timers":  {"evchan": evchanTimers, "std": stdTimers},
	"buffer":  {"evchan": evchanBuffer, "std": stdBuffer},
	"pairs":   {"evchan": evchanPairs, "evchan-edge": evchanEdgePairs, "go-epoll": epollPairs},
	"cascade": {"evchan": evchanCascade},
}

// profiled runs measure, and writes its CPU profile if that is wanted.
func (b *bench) profiled(measure func(*bench) error) error {
	if b.profile != "" {
		f, err := os.Create(filepath.Join(b.profile, b.group+"-"+b.program+".prof"))
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	if err := measure(b); err != nil {
		return err
	}
	return b.err
}

func (b *bench) report(name string, value float64, unit string) {
	if err := b.out.Encode(result{b.group, name, b.program, value, unit}); err != nil && b.err == nil {
		b.err = err
	}
}

// A cost is what ops operations took.
type cost struct {
	ops           int
	time          time.Duration
	mallocs, size uint64
}

func (c cost) add(d cost) cost {
	return cost{c.ops, c.time + d.time, c.mallocs + d.mallocs, c.size + d.size}
}

// cost calls f, which does ops operations. The profile has its time under name.
// f returns how long they took.
func (b *bench) cost(name string, ops int, f func() time.Duration) cost {
	c := cost{ops: ops}
	var before, after runtime.MemStats
	if b.allocs {
		runtime.ReadMemStats(&before)
	}
	pprof.Do(context.Background(), pprof.Labels("bench", name), func(context.Context) { c.time = f() })
	if b.allocs {
		runtime.ReadMemStats(&after)
		c.mallocs = after.Mallocs - before.Mallocs
		c.size = after.TotalAlloc - before.TotalAlloc
	}
	return c
}

// reportOps reports what one operation cost.
func (b *bench) reportOps(name string, c cost) {
	n := float64(c.ops)
	b.report(name, float64(c.time)/n, "ns/op")
	b.reportAllocs(name, c)
}

func (b *bench) reportAllocs(name string, c cost) {
	if b.allocs {
		b.report(name, float64(c.mallocs)/float64(c.ops), "allocs/op")
		b.report(name, float64(c.size)/float64(c.ops), "B/op")
	}
}

// once measures f, which does ops operations, by a single call.
func (b *bench) once(name string, ops int, f func()) cost {
	runtime.GC() // what earlier measurements have left does not count
	return b.cost(name, ops, func() time.Duration {
		start := time.Now()
		f()
		return time.Since(start)
	})
}

// loop measures f, which does n operations, with an n for which it takes long
// enough, and reports it. f returns how long they took.
func (b *bench) loop(name string, f func(n int) time.Duration) {
	enough := 200 * time.Millisecond
	if b.quick {
		enough = 100 * time.Microsecond
	}
	f(1)
	runtime.GC()
	for n := 1; ; n *= 2 {
		if c := b.cost(name, n, func() time.Duration { return f(n) }); c.time >= enough {
			b.reportOps(name, c)
			return
		}
	}
}

// each is loop for an f that does one operation, all of which counts.
func (b *bench) each(name string, f func()) {
	b.loop(name, func(n int) time.Duration {
		start := time.Now()
		for range n {
			f()
		}
		return time.Since(start)
	})
}

// repeats is how often one measurement of descriptors is made.
func (b *bench) repeats() int {
	if b.quick {
		return 2
	}
	return 25
}

// reportRuns reports the median of runs in microseconds, and the mean of what
// they allocated.
func (b *bench) reportRuns(name string, runs []cost) {
	var total cost
	for _, c := range runs {
		total = total.add(c)
	}
	slices.SortFunc(runs, func(x, y cost) int { return int(x.time - y.time) })
	b.report(name, float64(runs[len(runs)/2].time)/1000, "µs")
	total.ops = len(runs)
	b.reportAllocs(name, total)
}

// A random is a generator of numbers (xorshift64), the same one as in C.
type random uint64

func newRandom() random { return 88172645463325252 }

// below returns a number from 0 to n-1.
func (r *random) below(n uint64) uint64 {
	*r ^= *r << 13
	*r ^= *r >> 7
	*r ^= *r << 17
	return uint64(*r) % n
}

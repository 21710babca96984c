// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evchan/evchan"
)

type counter = atomic.Int64

const maxFaults = 10 // how many faults, and how many notes, are printed

// A report collects what the summary says.
type report struct {
	conf  config
	out   io.Writer
	began time.Time

	bytes, messages, started, finished, conns counter
	resets, refused, timeouts, moves          counter
	ticks, signals, ready, datagrams          counter
	turns, wakeups                            uint64
	rounds, leaked                            int
	interrupted, stalled                      bool
	nextSample, nextLine                      time.Time
	memory                                    []sample
	heap                                      []float64 // in use after each round

	mu     sync.Mutex // guards what follows
	faults int
	told   []string
	noted  int
}

// A sample is the memory that was used at one time.
type sample struct {
	at    time.Duration
	bytes float64
}

func newReport(c config, out io.Writer) *report {
	return &report{conf: c, out: out, began: time.Now()}
}

// fault records something that went wrong.
func (r *report) fault(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.faults++; r.faults <= maxFaults {
		r.told = append(r.told, fmt.Sprintf("after %v: ", time.Since(r.began).Round(time.Millisecond))+fmt.Sprintf(format, args...))
		fmt.Fprintln(r.out, "FAULT", r.told[len(r.told)-1])
	}
}

// note prints something unusual that is not wrong.
func (r *report) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.noted++; r.noted <= maxFaults {
		fmt.Fprintln(r.out, "note:", fmt.Sprintf(format, args...))
	}
}

// count adds the counts of a loop.
func (r *report) count(s evchan.Stats) {
	r.turns += s.Turns
	r.wakeups += s.Wakeups
}

// progress takes a sample of the memory and prints a line of progress, if it is time.
func (r *report) progress() {
	now := time.Now()
	if now.After(r.nextSample) {
		r.nextSample = now.Add(min(max(r.conf.time/400, 50*time.Millisecond), 5*time.Second))
		r.memory = append(r.memory, sample{now.Sub(r.began), residentMemory()})
	}
	if now.After(r.nextLine) {
		r.nextLine = now.Add(max(r.conf.time/60, time.Second))
		fmt.Fprintf(r.out, "%8v  round %d, %d jobs, %d connections, %s checked, %s of memory\n", now.Sub(r.began).Round(time.Second),
			r.rounds+1, r.finished.Load(), r.conns.Load(), size(float64(r.bytes.Load())), size(r.memory[len(r.memory)-1].bytes))
	}
}

// leaks waits until there are no more goroutines and descriptors than at the
// beginning. If that takes too long, it records a fault.
func (r *report) leaks(goroutines, descriptors int) {
	for until := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		runtime.GC()
		g, d := runtime.NumGoroutine(), openDescriptors()
		if g <= goroutines && d <= descriptors {
			return
		}
		if time.Now().After(until) {
			r.leaked += max(0, g-goroutines) + max(0, d-descriptors)
			r.fault("%d goroutines are left, %d at the beginning; %d descriptors, %d at the beginning\n%s", g, goroutines, d, descriptors, stacks())
			return
		}
	}
}

func (r *report) endRound() {
	r.rounds++
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	r.heap = append(r.heap, float64(m.HeapAlloc))
}

// grown returns the medians of the second and of the last quarter of values.
func grown(values []float64) (before, after float64) {
	median := func(v []float64) float64 {
		v = slices.Sorted(slices.Values(v))
		return v[len(v)/2]
	}
	n := len(values)
	return median(values[n/4 : n/2]), median(values[3*n/4:])
}

// summary prints everything, and reports whether nothing went wrong.
func (r *report) summary() bool {
	took := time.Since(r.began)
	var rss []float64
	for _, s := range r.memory {
		rss = append(rss, s.bytes)
	}
	judge := func(what string, values []float64, slack float64) string {
		if len(values) < 8 {
			return ""
		}
		before, after := grown(values)
		if took >= 2*time.Minute && after > 1.25*before+slack {
			r.fault("%s grows: %s in the second quarter, %s in the last", what, size(before), size(after))
		}
		return fmt.Sprintf("; in the second quarter %s, in the last %s", size(before), size(after))
	}
	resident := judge("memory", rss, 8<<20)
	heap := judge("heap", r.heap, 1<<20)

	w := r.out
	line := func(what, format string, args ...any) {
		fmt.Fprintf(w, "%-12s %s\n", what, fmt.Sprintf(format, args...))
	}
	fmt.Fprintln(w)
	if len(rss) > 0 {
		line("memory", "%s at most%s", size(slices.Max(rss)), resident)
		line("", "%s", bars(rss, 60))
	}
	if len(r.heap) > 0 {
		line("heap", "%s after the last round%s", size(r.heap[len(r.heap)-1]), heap)
	}
	line("time", "%v in %d rounds", took.Round(time.Millisecond), r.rounds)
	line("checked", "%s (%d bytes)", size(float64(r.bytes.Load())), r.bytes.Load())
	line("jobs", "%d; %d connections, %d reset, %d refused, %d timeouts, %d moved to another loop",
		r.finished.Load(), r.conns.Load(), r.resets.Load(), r.refused.Load(), r.timeouts.Load(), r.moves.Load())
	line("messages", "%d; %d ticks of timers, %d signals, %d of watches, %d datagrams",
		r.messages.Load(), r.ticks.Load(), r.signals.Load(), r.ready.Load(), r.datagrams.Load())
	line("loops", "%d turns, %d wakeups", r.turns, r.wakeups)
	if r.conf.plot != "" {
		if err := os.WriteFile(r.conf.plot, plot(r.memory), 0o666); err != nil {
			r.fault("%v", err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	line("leaks", "%d", r.leaked)
	line("faults", "%d", r.faults)
	if r.interrupted {
		line("", "ended early by an interrupt")
	}
	for _, t := range r.told {
		first, _, _ := strings.Cut(t, "\n")
		line("", "%s", first)
	}
	if r.faults > 0 {
		c := r.conf
		line("again with", "-time %v -round %v -methods %s -conns %d -seed %d", c.time, c.round, strings.Join(c.methods, ","), c.conns, c.seed)
	}
	return r.faults == 0
}

// stacks returns the stacks of all goroutines.
func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

// openDescriptors returns how many descriptors are open, or 0 if the system does not
// say.
func openDescriptors() int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		names, _ = os.ReadDir("/dev/fd")
	}
	return len(names)
}

// residentMemory returns how much memory the process occupies. Where the system does
// not say, it returns how much the Go runtime holds.
func residentMemory() float64 {
	var total, resident float64
	if p, err := os.ReadFile("/proc/self/statm"); err == nil {
		if n, _ := fmt.Sscan(string(p), &total, &resident); n == 2 {
			return resident * float64(os.Getpagesize())
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.Sys - m.HeapReleased)
}

// size formats a number of bytes for people.
func size(b float64) string {
	unit := 0
	for b >= 1000 && unit < 4 {
		b /= 1000
		unit++
	}
	return fmt.Sprintf("%.3g %s", b, []string{"B", "kB", "MB", "GB", "TB"}[unit])
}

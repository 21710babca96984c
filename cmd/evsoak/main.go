// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

// Evsoak exercises all parts of the library together, for a given time, and checks
// all that arrives.
//
//	go run ./cmd/evsoak -time 1h -plot memory.svg
//
// It works in rounds. In each round several loops serve each other. They differ in
// their method and in the way messages are received. They have
//
//   - streams over TCP and Unix sockets: some have a filter, some go through two
//     proxies, some move to another loop, some are slow, some are reset
//   - datagrams, timers, triggers, signals and watches
//
// At the end of a round evsoak ends all of them, closes the loops, and counts the
// descriptors and goroutines that are left.
//
// The summary says what was done and what went wrong. The exit status is 1 if
// anything went wrong. The same seed makes the same choices again; what the scheduler
// and the kernel do differs from run to run. An interrupt ends evsoak early.
package main

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/evchan/evchan"
)

// A config is what the flags say.
type config struct {
	time    time.Duration
	round   time.Duration
	methods []string
	conns   int
	seed    uint64
	plot    string
}

func main() {
	var c config
	flag.DurationVar(&c.time, "time", time.Minute, "how long to run")
	flag.DurationVar(&c.round, "round", 0, "how long a round lasts; 0: a tenth of the time, at most 30s")
	methods := flag.String("methods", "", "methods to use, separated by commas; empty: all of this system that have sockets")
	flag.IntVar(&c.conns, "conns", 60, "about how many connections are used at a time")
	flag.Uint64Var(&c.seed, "seed", 0, "seed of the random choices; 0: a random seed")
	flag.StringVar(&c.plot, "plot", "", "draw the memory over time to `file`, as SVG")
	flag.Parse()
	if *methods != "" {
		c.methods = strings.Split(*methods, ",")
	}
	if flag.NArg() > 0 || c.time <= 0 || c.round < 0 || c.conns <= 0 {
		flag.Usage()
		os.Exit(2)
	}
	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, os.Interrupt)
	if !run(c, os.Stdout, interrupt) {
		os.Exit(1)
	}
}

// run runs all rounds, and writes progress and summary to out. It reports whether
// nothing went wrong.
func run(c config, out io.Writer, interrupt <-chan os.Signal) bool {
	if len(c.methods) == 0 {
		c.methods = slices.DeleteFunc(evchan.Methods(), func(m string) bool { return m == "memory" }) // it has no sockets
	}
	if c.round == 0 {
		c.round = min(max(c.time/10, time.Second), 30*time.Second)
	}
	if c.seed == 0 {
		c.seed = rand.Uint64N(1e9) + 1
	}
	rep := newReport(c, out)
	for _, m := range c.methods {
		if !slices.Contains(evchan.Methods(), m) {
			rep.fault("there is no method %q on this system; there are %q", m, evchan.Methods())
			return rep.summary()
		}
	}
	dir, err := os.MkdirTemp("", "evsoak")
	if err != nil {
		rep.fault("%v", err)
		return rep.summary()
	}
	defer os.RemoveAll(dir)
	content, err := newContent(dir)
	if err != nil {
		rep.fault("%v", err)
		return rep.summary()
	}
	defer content.file.Close()

	// The runtime opens its own poller at its first use, and never closes it.
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	// A signal that comes after its watch was closed must not end the process.
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, syscall.SIGUSR1)
	defer signal.Stop(ignored)

	goroutines, descriptors := runtime.NumGoroutine(), openDescriptors()
	fmt.Fprintf(out, "evsoak -time %v -round %v -methods %s -conns %d -seed %d\n",
		c.time, c.round, strings.Join(c.methods, ","), c.conns, c.seed)

	end := time.Now().Add(c.time)
	for !rep.interrupted && !rep.stalled && time.Now().Before(end) {
		w, err := newWorld(c, rep, dir, content)
		if err != nil {
			rep.fault("%v", err)
			break
		}
		w.run(min(c.round, time.Until(end)), interrupt)
		if !rep.stalled {
			rep.leaks(goroutines, descriptors)
		}
		rep.endRound()
	}
	return rep.summary()
}

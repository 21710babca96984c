// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

// Evsoak exercises the library for a given time, with everything that it has mixed
// together, and checks all that arrives.
//
//	go run ./cmd/evsoak -time 1h -plot memory.svg
//
// It works in rounds. In each, several loops, which differ in their method and in
// how messages are received, serve and use each other: streams over TCP and Unix
// sockets, some under a filter, some through two proxies, some that move to another
// loop, slow ones and ones that are reset, datagrams, timers, triggers, signals and
// watches. Then all is ended, the loops are closed, and what is left is counted.
//
// The summary says what was done and what went wrong. The exit status is 1 if
// anything did. What the scheduler and the kernel do is not repeatable, but with the
// same seed the same is tried again. An interrupt ends it early.
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
	methods := flag.String("methods", "", "methods to use, separated by commas; empty: all that there are")
	flag.IntVar(&c.conns, "conns", 60, "how many connections are used at a time, about")
	flag.Uint64Var(&c.seed, "seed", 0, "what the choices are made of; 0: a random number")
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

// run does the whole and writes progress and summary to out. It reports whether
// all went well.
func run(c config, out io.Writer, interrupt <-chan os.Signal) bool {
	if len(c.methods) == 0 {
		c.methods = evchan.Methods()
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
			rep.fault("there is no method %q here, but %q", m, evchan.Methods())
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

	// The runtime's own poller comes with its first use and stays.
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	// Should a watch be gone before its signal comes, that must not end the process.
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

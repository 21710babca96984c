// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Bench compares echo servers: what a request costs each of them.
//
// It builds the servers and a load generator, runs every server as a process
// of its own against the same load, round by round in turn, and prints medians
// with their spread. README.md explains the modes and the columns. It needs
// Linux and a C compiler.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		stop()
		os.Exit(1)
	}
}

// A load is what is asked of a server.
type load struct {
	Conns    int `json:"conns"`
	Size     int `json:"size"`     // bytes of a message
	Pipeline int `json:"pipeline"` // messages in flight on a connection
}

// A setting is a load and how the processes are placed. Servers are compared
// within a setting.
type setting struct {
	Mode string `json:"mode"` // a name of modes
	load
}

func (s setting) String() string {
	return fmt.Sprintf("%s, conns %d, size %d, pipeline %d", s.Mode, s.Conns, s.Size, s.Pipeline)
}

// modes are the ways to place server and load generator on CPUs. In each the
// harness itself, which sleeps while they work, goes where the system puts it.
var modes = []string{
	"shared",   // both pinned to the same CPU
	"unpinned", // both where the system puts them
}

// options are the parsed command line.
type options struct {
	settings []setting
	servers  []server
	rounds   int
	warmup   time.Duration
	measured time.Duration
	stall    time.Duration // without any reply, after which a run has failed
	cpu      int           // the CPU for both in mode shared; negative: the last one
	bin      string        // directory of the built programs
	out      string        // directory for the results, or ""
}

// parse returns the options that args ask for. Messages of the flag package
// go to stderr.
func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{servers: slices.Clone(servers), stall: 5 * time.Second}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	mode := f.String("mode", "shared", "comma-separated `list` of "+strings.Join(modes, ", "))
	conns := f.String("conns", "200", "comma-separated `list` of numbers of connections")
	size := f.String("size", "64", "comma-separated `list` of message sizes in bytes")
	pipeline := f.String("pipeline", "1", "comma-separated `list` of numbers of messages in flight on a connection")
	f.IntVar(&o.rounds, "rounds", 5, "`rounds` in which each server runs once")
	f.DurationVar(&o.warmup, "warmup", 500*time.Millisecond, "`time` under load before the measured window")
	f.DurationVar(&o.measured, "time", 2*time.Second, "length of the measured window")
	f.IntVar(&o.cpu, "cpu", -1, "the `CPU` that mode shared uses; -1 is the last one")
	f.StringVar(&o.bin, "bin", "bin", "`directory` for the built programs")
	f.StringVar(&o.out, "out", "", "`directory` to write the results to, as Markdown and JSON")
	only := f.String("only", "", "comma-separated `list` of servers to run (default all)")
	f.Func("server", "`NAME=COMMAND` adds a server; {addr}, {host} and {port} in the command stand for the address to listen on", func(s string) error {
		name, command, ok := strings.Cut(s, "=")
		if !ok || name == "" || command == "" {
			return errors.New("want NAME=COMMAND")
		}
		o.servers = append(o.servers, server{name: name, args: []string{"sh", "-c", "exec " + command}})
		return nil
	})
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.rounds < 1 || o.warmup < 0 || o.measured < time.Millisecond {
		return nil, errors.New("-rounds must be at least 1, -warmup at least 0 and -time at least 1ms")
	}
	for i, s := range o.servers {
		if slices.ContainsFunc(o.servers[:i], func(t server) bool { return t.name == s.name }) {
			return nil, fmt.Errorf("two servers are named %s", s.name)
		}
	}
	if *only != "" {
		var chosen []server
		for name := range strings.SplitSeq(*only, ",") {
			i := slices.IndexFunc(o.servers, func(s server) bool { return s.name == name })
			if i < 0 {
				return nil, fmt.Errorf("-only: no server %s", name)
			}
			chosen = append(chosen, o.servers[i])
		}
		o.servers = chosen
	}

	cc, err := numbers("conns", *conns)
	if err != nil {
		return nil, err
	}
	ss, err := numbers("size", *size)
	if err != nil {
		return nil, err
	}
	pp, err := numbers("pipeline", *pipeline)
	if err != nil {
		return nil, err
	}
	for m := range strings.SplitSeq(*mode, ",") {
		if !slices.Contains(modes, m) {
			return nil, fmt.Errorf("-mode: no mode %q; there are %s", m, strings.Join(modes, ", "))
		}
		for _, p := range pp {
			for _, s := range ss {
				for _, c := range cc {
					o.settings = append(o.settings, setting{m, load{Conns: c, Size: s, Pipeline: p}})
				}
			}
		}
	}
	return o, nil
}

// numbers parses the comma-separated positive numbers of a flag.
func numbers(name, list string) ([]int, error) {
	var nn []int
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("-%s: %q is not a positive number", name, s)
		}
		nn = append(nn, n)
	}
	return nn, nil
}

// run is the whole command. The table goes to stdout, progress to stderr. When
// ctx ends early, or a server fails, the table has what was measured and the
// error is not nil.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	h, err := newHarness(o.cpu)
	if err != nil {
		return err
	}
	defer h.close()

	rep := newReport(args)
	if err := build(ctx, o, rep, stderr); err != nil {
		return err
	}
	if len(o.servers) == 0 {
		return errors.New("no server to run")
	}
	each := o.warmup + o.measured + 100*time.Millisecond // about what starting takes
	total := len(o.settings) * o.rounds * len(o.servers)
	fmt.Fprintf(stderr, "%d runs of %v, about %v\n", total, o.warmup+o.measured, (time.Duration(total) * each).Round(time.Second))

	var failed error
	n := 0
	for _, s := range o.settings {
		group := rep.group(s, o.servers)
		for round := range o.rounds {
			// Every round begins with another server, so that none always
			// follows the same one.
			for i := range o.servers {
				k := (round + i) % len(o.servers)
				n++
				fmt.Fprintf(stderr, "[%d/%d] %v, round %d: %s", n, total, s, round+1, o.servers[k].name)
				m, err := h.measure(ctx, o, s, o.servers[k])
				if ctx.Err() != nil {
					fmt.Fprintln(stderr, " interrupted")
					return errors.Join(errors.New("interrupted"), rep.write(stdout, o.out))
				}
				if err != nil {
					fmt.Fprintf(stderr, " failed: %v\n", err)
					group[k].Failures = append(group[k].Failures, err.Error())
					failed = fmt.Errorf("%s failed: %w", o.servers[k].name, err)
					continue
				}
				fmt.Fprintf(stderr, " %.2f µs, %.0f requests/s\n", m.CPU, m.Rate)
				group[k].Runs = append(group[k].Runs, m)
			}
		}
	}
	return errors.Join(failed, rep.write(stdout, o.out))
}

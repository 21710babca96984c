// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Bench compares servers: what a request, a byte or a connection costs each of
// them.
//
// It builds the servers and a load generator, runs every server as a process
// of its own under the same load, round by round in turn, and prints medians
// with their spread. README.md explains the works, the modes and the columns.
// It needs Linux and a C compiler.
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

// options are the parsed command line.
type options struct {
	suite    bool
	settings []setting
	servers  []server
	most     int           // rounds, but see options.rounds
	times    timing        // of a run, but see options.timing
	timed    bool          // times was asked for
	stall    time.Duration // without any reply, after which a run has failed
	cpu      int           // the CPU of servers in modes shared and split; negative: the last one
	bin      string        // directory of the built programs
	out      string        // directory for the results, or ""
}

// parse returns the options that args ask for. Messages of the flag package
// go to stderr.
func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{servers: slices.Clone(servers), stall: 5 * time.Second}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.BoolVar(&o.suite, "suite", false, "run everything there is, in about 20 minutes: no -work, -mode, -conns, -size, -pipeline or -rate")
	kind := f.String("work", "echo", "comma-separated `list` of "+names())
	mode := f.String("mode", "shared", "comma-separated `list` of "+strings.Join(modes, ", "))
	conns := f.String("conns", "", "comma-separated `list` of numbers of connections (default by work)")
	size := f.String("size", "64", "comma-separated `list` of message sizes in bytes")
	pipeline := f.String("pipeline", "1", "comma-separated `list` of numbers of messages in flight on a connection, for work echo")
	rate := f.Int("rate", 0, "messages a second over all connections, for work rate; 0 is half of what the slowest server can do")
	f.IntVar(&o.most, "rounds", 5, "`rounds` in which each server runs once; 11 with -suite unless it is given")
	f.DurationVar(&o.times.warmup, "warmup", 500*time.Millisecond, "`time` under load before the measured window; for work idle 1s, and with -suite 200ms, unless it is given")
	f.DurationVar(&o.times.measured, "time", 2*time.Second, "length of the measured window; for work idle 3s, and with -suite 400ms, unless it is given")
	f.IntVar(&o.cpu, "cpu", -1, "the `CPU` of the server in modes shared and split; -1 is the last one")
	f.StringVar(&o.bin, "bin", "bin", "`directory` for the built programs")
	f.StringVar(&o.out, "out", "", "`directory` to write the results to, as Markdown, JSON and SVG (default with -suite \"results\")")
	only := f.String("only", "", "comma-separated `list` of servers to run (default all)")
	f.Func("server", "`NAME=COMMAND` adds a server; in the command {addr}, {host} and {port} stand for the address to listen on, {work} for echo, sink, source or proxy, {backend} for the address that a proxy leads to", func(s string) error {
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
	given := make(map[string]bool)
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	o.timed = given["warmup"] || given["time"]
	if o.suite {
		for _, name := range []string{"work", "mode", "conns", "size", "pipeline", "rate"} {
			if given[name] {
				return nil, fmt.Errorf("-suite says itself what to run: no -%s", name)
			}
		}
		// Many short rounds: the disturbances of a machine last longer than a round.
		if !given["rounds"] {
			o.most = 11
		}
		if !given["warmup"] {
			o.times.warmup = 200 * time.Millisecond
		}
		if !given["time"] {
			o.times.measured = 400 * time.Millisecond
		}
		if !given["out"] {
			o.out = "results"
		}
	}
	if o.most < 1 || o.times.warmup < 0 || o.times.measured < time.Millisecond || *rate < 0 {
		return nil, errors.New("-rounds must be at least 1, -warmup and -rate at least 0 and -time at least 1ms")
	}
	if err := o.choose(*only); err != nil {
		return nil, err
	}
	if o.suite {
		o.settings = slices.Clone(suite)
		return o, nil
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
	for name := range strings.SplitSeq(*kind, ",") {
		w := workNamed(name)
		if w == nil {
			return nil, fmt.Errorf("-work: no work %q; there are %s", name, names())
		}
		for m := range strings.SplitSeq(*mode, ",") {
			if !slices.Contains(modes, m) {
				return nil, fmt.Errorf("-mode: no mode %q; there are %s", m, strings.Join(modes, ", "))
			}
			o.settings = append(o.settings, w.settings(m, cc, ss, pp, *rate)...)
		}
	}
	return o, nil
}

// choose keeps the servers that the comma-separated list only names, or all if
// it is empty.
func (o *options) choose(only string) error {
	for i, s := range o.servers {
		if slices.ContainsFunc(o.servers[:i], func(t server) bool { return t.name == s.name }) {
			return fmt.Errorf("two servers are named %s", s.name)
		}
	}
	if only == "" {
		return nil
	}
	var chosen []server
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(o.servers, func(s server) bool { return s.name == name })
		if i < 0 {
			return fmt.Errorf("-only: no server %s", name)
		}
		chosen = append(chosen, o.servers[i])
	}
	o.servers = chosen
	return nil
}

// settings returns the combinations of what w has a use for.
func (w *work) settings(mode string, conns, sizes, pipelines []int, rate int) []setting {
	none := []int{0}
	if len(conns) == 0 {
		conns = []int{w.conns}
	}
	if !w.sizes {
		sizes = none
	}
	if w.name != "echo" {
		pipelines = none
	}
	if w.name != "rate" {
		rate = 0
	}
	var ss []setting
	for _, p := range pipelines {
		for _, s := range sizes {
			for _, c := range conns {
				ss = append(ss, setting{mode, load{w.name, c, s, p, rate}})
			}
		}
	}
	return ss
}

// numbers parses the comma-separated positive numbers of a flag. There may be
// none at all.
func numbers(name, list string) ([]int, error) {
	if list == "" {
		return nil, nil
	}
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

// run is the whole command. The tables go to stdout, progress to stderr. When
// ctx ends early, or a server fails, the tables have what was measured and the
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
	p := &progress{w: stderr, began: time.Now()}
	for _, s := range o.settings {
		p.total += time.Duration(len(o.able(s))*o.rounds(s)) * o.estimate(s)
	}
	if o.suite {
		p.total += time.Duration(min(o.most, microRounds)) * microEstimate
	}

	var failed error
	for _, s := range o.settings {
		failed = errors.Join(failed, compare(ctx, h, o, s, rep, p))
	}
	if o.suite {
		failed = errors.Join(failed, runMicro(ctx, h, o, rep, p))
	}
	if ctx.Err() != nil {
		failed = errors.New("interrupted")
	}
	return errors.Join(failed, rep.write(stdout, o.out, o.suite))
}

// able returns the servers that can do what s asks for.
func (o *options) able(s setting) []server {
	return slices.DeleteFunc(slices.Clone(o.servers), func(srv server) bool { return !srv.does(workNamed(s.Work)) })
}

// compare runs all servers in one setting, and adds the rows to the report. The
// error is of the last run that failed.
func compare(ctx context.Context, h *harness, o *options, s setting, rep *report, p *progress) error {
	if ctx.Err() != nil {
		return nil
	}
	able := o.able(s)
	if s.Work == "rate" && s.Rate == 0 {
		rate, err := h.calibrate(ctx, o, s, able, p)
		if err != nil {
			return err
		}
		s.Rate = rate
	}
	var failed error
	first := workNamed(s.Work).metrics[0]
	group := rep.group(s, able)
	for round := range o.rounds(s) {
		// Every round begins with another server, so that none always follows
		// the same one.
		for i := range able {
			k := (round + i) % len(able)
			p.begin("%v, round %d: %s", s, round+1, able[k].name)
			m, err := h.measure(ctx, o, s, o.timing(s), able[k])
			if ctx.Err() != nil {
				p.end(0, "interrupted")
				return nil
			}
			if err != nil {
				p.end(o.estimate(s), "failed: %v", err)
				group[k].Failures = append(group[k].Failures, err.Error())
				failed = fmt.Errorf("%s failed: %w", able[k].name, err)
				continue
			}
			p.end(o.estimate(s), "%.*f %s", first.digits, first.of(m), first.title)
			m.Round = round + 1
			group[k].Runs = append(group[k].Runs, m)
		}
	}
	return failed
}

// calibrate returns half of the messages a second that the slowest server can
// do in a closed loop, where connections and all else are as in s.
func (h *harness) calibrate(ctx context.Context, o *options, s setting, able []server, p *progress) (int, error) {
	s.Work, s.Pipeline = "echo", 1
	t := timing{min(o.times.warmup, 300*time.Millisecond), min(o.times.measured, 500*time.Millisecond)}
	var slowest float64
	for _, srv := range able {
		p.begin("how fast is %s", srv.name)
		m, err := h.measure(ctx, o, s, t, srv)
		if err != nil {
			// Its runs will say so again.
			p.end(0, "failed: %v", err)
			continue
		}
		r := perSecond(m)
		p.end(0, "%.0f requests/s", r)
		if slowest == 0 || r < slowest {
			slowest = r
		}
	}
	if slowest == 0 {
		return 0, errors.New("no server echoes, so no rate can be chosen")
	}
	return max(1, int(slowest/2/100)*100), ctx.Err()
}

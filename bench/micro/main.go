// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build linux

// Micro compares single operations of evchan with those of libevent and of
// Go's standard library. See README.md.
package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

// A result is one number, and one line of the output.
type result struct {
	Group   string  `json:"group"`
	Name    string  `json:"name"`
	Program string  `json:"program"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
}

// A group is what is measured together, and by which programs.
type group struct {
	name     string
	programs []string
}

var groups = []group{
	{"timers", []string{"evchan", "libevent", "std"}},
	{"buffer", []string{"evchan", "libevent", "std"}},
	{"pairs", []string{"evchan", "evchan-edge", "libevent", "raw-epoll", "go-epoll"}},
	{"cascade", []string{"evchan", "libevent", "raw-epoll"}},
}

// inC are the programs that are written in C.
var inC = []string{"libevent", "raw-epoll"}

// options is the command line.
type options struct {
	groups  []group
	round   int
	quick   bool
	allocs  bool
	table   bool
	pin     bool
	profile string // directory for CPU profiles; empty: none
	child   string // the program to be, instead of running all
	sizes   []int  // how many pairs
}

func parse(args []string, stderr io.Writer) (*options, error) {
	o := new(options)
	var names, sizes string
	var all []string
	for _, g := range groups {
		all = append(all, g.name)
	}
	f := flag.NewFlagSet("micro", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&names, "groups", strings.Join(all, ","), "what to measure")
	f.IntVar(&o.round, "round", 0, "number of the round; the programs of a group run in an order that rotates with it")
	f.BoolVar(&o.quick, "quick", false, "little of everything, to see that it works; the numbers mean nothing")
	f.BoolVar(&o.allocs, "allocs", false, "count the allocations of the programs in Go as well")
	f.BoolVar(&o.table, "table", false, "print a table instead of JSON")
	f.BoolVar(&o.pin, "pin", true, "keep each program on one CPU, so that what a garbage collector does elsewhere counts as well")
	f.StringVar(&o.profile, "profile", "", "write CPU profiles of the programs in Go to this `directory`; tags tell the measurements apart")
	f.StringVar(&o.child, "child", "", "be this `program`; for internal use")
	f.StringVar(&sizes, "sizes", "", "how many pairs; for internal use")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.round < 0 {
		return nil, errors.New("-round is negative")
	}
	for _, name := range strings.Split(names, ",") {
		i := slices.Index(all, name)
		if i < 0 {
			return nil, fmt.Errorf("no group %q; there are %s", name, strings.Join(all, ", "))
		}
		o.groups = append(o.groups, groups[i])
	}
	if sizes == "" {
		o.sizes = pairSizes(o.quick, descriptors())
		return o, nil
	}
	for _, s := range strings.Split(sizes, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("bad number of pairs %q", s)
		}
		o.sizes = append(o.sizes, n)
	}
	return o, nil
}

// pairSizes returns how many pairs to measure with, none more than limit, the
// number of descriptors, allows.
func pairSizes(quick bool, limit int) []int {
	sizes := []int{100, 1000, 10000}
	if quick {
		sizes = sizes[:1]
	}
	const others = 64 // descriptors that are not of pairs; more than enough
	for i := range sizes {
		sizes[i] = max(1, min(sizes[i], (limit-others)/2))
	}
	return slices.Compact(sizes)
}

// descriptors returns how many descriptors a process may have, after an
// attempt to raise that.
func descriptors() int {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return 1024
	}
	if want := uint64(20100); lim.Max < want {
		raised := unix.Rlimit{Cur: want, Max: want}
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
			lim = raised
		}
	}
	return int(min(lim.Max, 1<<20))
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "micro:", err)
		}
		os.Exit(1)
	}
}

// run does one round.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if o.child != "" {
		return child(o, stdout)
	}
	dir, err := os.MkdirTemp("", "micro")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.profile != "" {
		if o.profile, err = filepath.Abs(o.profile); err != nil {
			return err
		}
		if err := os.MkdirAll(o.profile, 0o777); err != nil {
			return err
		}
	}
	missing := buildC(ctx, dir)
	for _, m := range missing {
		fmt.Fprintf(stderr, "%s is left out: %v\n", m.program, m.reason)
	}

	var results []result
	out := json.NewEncoder(stdout)
	for _, g := range o.groups {
		for i := range g.programs {
			p := g.programs[(i+o.round)%len(g.programs)]
			if slices.ContainsFunc(missing, func(m omission) bool { return m.program == p }) {
				continue
			}
			rs, err := o.measure(ctx, dir, g.name, p, stderr)
			if err != nil {
				return fmt.Errorf("%s of %s: %w", g.name, p, err)
			}
			results = append(results, rs...)
			if o.table {
				continue
			}
			for _, r := range rs {
				if err := out.Encode(r); err != nil {
					return err
				}
			}
		}
	}
	if o.table {
		return table(stdout, results)
	}
	return nil
}

// microC is the source of the programs in C. Without libevent it is compiled
// with NO_LIBEVENT.
//
//go:embed c/micro.c
var microC string

// An omission is a program that cannot be run.
type omission struct {
	program string
	reason  error
}

// buildC compiles the programs in C into dir, as one executable, and returns
// those that cannot be.
func buildC(ctx context.Context, dir string) []omission {
	compile := func(args ...string) error {
		args = append([]string{"-std=gnu11", "-O2", "-Wall", "-Wextra", "-o", filepath.Join(dir, "micro"), "-x", "c", "-"}, args...)
		cmd := exec.CommandContext(ctx, "gcc", args...)
		cmd.Stdin = strings.NewReader(microC)
		if words, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w\n%s", err, strings.TrimSpace(string(words)))
		}
		return nil
	}
	err := compile("-levent")
	if err == nil {
		return nil
	}
	missing := []omission{{"libevent", err}}
	if err := compile("-DNO_LIBEVENT"); err != nil {
		missing = append(missing, omission{"raw-epoll", err})
	}
	return missing
}

// measure runs one program of a group, in a process of its own.
func (o *options) measure(ctx context.Context, dir, group, program string, stderr io.Writer) ([]result, error) {
	var sizes []string
	for _, n := range o.sizes {
		sizes = append(sizes, strconv.Itoa(n))
	}
	args := []string{"-groups", group, "-child", program, "-sizes", strings.Join(sizes, ",")}
	if o.quick {
		args = append(args, "-quick")
	}
	path := filepath.Join(dir, "micro")
	if !slices.Contains(inC, program) {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		path = self
		if o.allocs {
			args = append(args, "-allocs")
		}
		if o.profile != "" {
			args = append(args, "-profile", o.profile)
		}
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "MICRO_CHILD=1") // tells the test's executable what it is
	cmd.Stderr = stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := o.start(cmd); err != nil {
		return nil, err
	}
	var results []result
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		var r result
		if err = json.Unmarshal(lines.Bytes(), &r); err != nil {
			break
		}
		results = append(results, r)
	}
	io.Copy(io.Discard, pipe)
	return results, errors.Join(err, cmd.Wait())
}

// start starts cmd, on a single CPU if that is wanted.
func (o *options) start(cmd *exec.Cmd) error {
	if !o.pin {
		return cmd.Start()
	}
	// A child inherits the CPUs of the thread that starts it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	cpu := 0
	for !before.IsSet(cpu) {
		cpu++
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return os.NewSyscallError("sched_setaffinity", err)
	}
	err := cmd.Start()
	return errors.Join(err, os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &before)))
}

// table prints the results, a row for each measurement and a column for each
// program, and the ratios of evchan's value to the others'.
func table(w io.Writer, results []result) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, g := range groups {
		type row struct{ name, unit string }
		var rows []row
		values := make(map[row]map[string]float64)
		for _, r := range results {
			if r.Group != g.name {
				continue
			}
			k := row{r.Name, r.Unit}
			if values[k] == nil {
				values[k] = make(map[string]float64)
				rows = append(rows, k)
			}
			values[k][r.Program] = r.Value
		}
		if len(rows) == 0 {
			continue
		}
		fmt.Fprintf(tw, "%s\tunit\t", g.name)
		for _, p := range g.programs {
			fmt.Fprintf(tw, "%s\t", p)
		}
		for _, p := range g.programs[1:] {
			fmt.Fprintf(tw, "evchan to %s\t", p)
		}
		fmt.Fprintln(tw)
		for _, k := range rows {
			fmt.Fprintf(tw, "%s\t%s\t", k.name, k.unit)
			for _, p := range g.programs {
				cell := "–"
				if v, ok := values[k][p]; ok {
					cell = strconv.FormatFloat(v, 'f', 1, 64)
				}
				fmt.Fprintf(tw, "%s\t", cell)
			}
			for _, p := range g.programs[1:] {
				cell := "–"
				if a, b := values[k]["evchan"], values[k][p]; a > 0 && b > 0 {
					cell = strconv.FormatFloat(a/b, 'f', 2, 64)
				}
				fmt.Fprintf(tw, "%s\t", cell)
			}
			fmt.Fprintln(tw)
		}
		fmt.Fprintln(tw)
	}
	return tw.Flush()
}

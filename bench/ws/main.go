// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build linux

// Ws compares WebSocket servers: package evws, gorilla/websocket, coder/websocket and nbio. See
// README.md of the folder above.
//
//	go run ./ws
//	go run ./ws -work broadcast -conns 100000 -rounds 3
//
// It runs itself as the server. The servers take turns; server and load are on one CPU.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evchan/evchan/bench/internal/pin"
)

// A work is what is measured. Less is better in all of them.
type work struct {
	name    string
	unit    string
	tls     bool
	measure func(*server) (float64, error)
}

var works = []work{
	{"echo", "CPU µs/message", false, echo},
	{"idle", "bytes/connection", false, idle},
	{"idle-tls", "bytes/connection", true, idleTLS},
	{"broadcast", "CPU ms/broadcast", false, broadcast},
}

// A target is what this project wants evws to reach.
type target struct {
	work    string
	against string // its ratio to this server, by the medians; "": the median itself
	limit   float64
}

var targets = []target{
	{"echo", "gorilla", 0.7},
	{"idle", "", 600},
	{"idle-tls", "", 12_000},
	{"broadcast", "gorilla", 0.5},
	{"broadcast", "gorilla-hub", 0.5},
}

var (
	window  = flag.Duration("time", 2*time.Second, "how long each run of echo is measured")
	rounds  = flag.Int("rounds", 5, "runs of each server and work")
	echoers = flag.Int("echo", 64, "`connections` of echo")
	size    = flag.Int("size", 1024, "bytes of a message of echo")
	conns   = flag.Int("conns", 20000, "`connections` of broadcast, and of idle if those are less than 5000; as many as the limit of open files allows")
	which   = flag.String("work", "", "comma-separated `works`; empty: all")
	only    = flag.String("only", "", "comma-separated `servers` besides evws; empty: all")
	serve   = flag.String("serve", "", "be this `server`")
	secret  = flag.Bool("tls", false, "with -serve: TLS")
	profile = flag.String("profile", "", "with -serve: write a CPU profile to this `file`")
)

func main() {
	flag.Parse()
	if *serve != "" {
		fail(runServer(*serve, *secret))
		return
	}
	fail(pin.Pin(0))
	if most := openFiles(*conns+200) - 200; most < *conns {
		fmt.Fprintf(os.Stderr, "ws: the limit of open files allows %d connections\n", most)
		*conns = most
	}
	medians := make(map[string]map[string]float64)
	fmt.Println("| work | server | unit | median (least..greatest) | to evws, by rounds |")
	fmt.Println("|---|---|---|---:|---:|")
	for _, w := range works {
		if chosen(*which, w.name) {
			m, err := compare(w)
			fail(err)
			medians[w.name] = m
		}
	}
	fmt.Println("\n| target | of | at most | measured | |")
	fmt.Println("|---|---|---:|---:|---|")
	for _, t := range targets {
		v, ok := medians[t.work]["evws"]
		of := t.against
		if of == "" {
			of = "–"
		} else if base := medians[t.work][of]; base > 0 {
			v /= base
		} else {
			ok = false
		}
		measured, met := "–", "not measured"
		if ok {
			if measured, met = fmt.Sprintf("%.2f", v), "not met"; v <= t.limit {
				met = "met"
			}
		}
		fmt.Printf("| %s | %s | %v | %s | %s |\n", t.work, of, t.limit, measured, met)
	}
}

// openFiles raises the limit of open files to n if it is lower and the system lets it. It returns
// the limit.
func openFiles(n int) int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	limit.Cur = limit.Max
	if limit.Cur < uint64(n) {
		more := unix.Rlimit{Cur: uint64(n), Max: uint64(n)}
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &more) == nil {
			return n
		}
	}
	unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	return int(min(limit.Cur, 1<<30))
}

func chosen(list, name string) bool {
	return list == "" || slices.Contains(strings.Split(list, ","), name)
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "ws:", err)
		os.Exit(1)
	}
}

// compare runs w in rounds, each of which begins with the next server, and prints its rows. It
// returns the medians.
func compare(w work) (map[string]float64, error) {
	var names []string
	for _, s := range servers {
		if s.does(w.name) && (s.name == servers[0].name || chosen(*only, s.name)) {
			names = append(names, s.name)
		}
	}
	values := make(map[string][]float64)
	for round := range *rounds {
		for i := range names {
			name := names[(i+round)%len(names)]
			v, err := measure(name, w)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", w.name, name, err)
			}
			values[name] = append(values[name], v)
		}
	}
	base := values[names[0]]
	medians := make(map[string]float64)
	what := w.name
	if what == "broadcast" {
		what = fmt.Sprintf("broadcast to %d", *conns)
	}
	for _, name := range names {
		ratios := make([]float64, *rounds)
		for i := range ratios {
			ratios[i] = values[name][i] / base[i]
		}
		fmt.Printf("| %s | %s | %s | %s | %s |\n", what, name, w.unit, spread(values[name]), spread(ratios))
		medians[name] = median(values[name])
	}
	return medians, nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// spread returns the median of v, with the least and the greatest.
func spread(v []float64) string {
	return fmt.Sprintf("%.2f (%.2f..%.2f)", median(v), slices.Min(v), slices.Max(v))
}

func measure(name string, w work) (float64, error) {
	s, err := start(name, w.tls)
	if err != nil {
		return 0, err
	}
	defer s.stop()
	return w.measure(s)
}

// A server is a process.
type server struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *json.Decoder
	addr string
	open []int // descriptors of the clients
}

// A sample is what a server says of itself.
type sample struct {
	Addr  string
	CPU   time.Duration
	RSS   int64 // bytes
	Conns int   // that are open, and get a broadcast
}

func start(name string, tls bool) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"-serve", name}
	if tls {
		args = append(args, "-tls")
	}
	if *profile != "" {
		args = append(args, "-profile", *profile)
	}
	s := &server{cmd: exec.Command(self, args...)}
	s.cmd.Stderr = os.Stderr
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.out = json.NewDecoder(bufio.NewReader(out))
	first, err := s.ask("")
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("the server does not start: %w", err)
	}
	s.addr = first.Addr
	return s, nil
}

// ask has the server say what it has used. "gc" has it free what it can before, and "broadcast"
// send all its clients a message, after it has answered.
func (s *server) ask(how string) (v sample, err error) {
	if _, err = fmt.Fprintln(s.in, how); err == nil {
		err = s.out.Decode(&v)
	}
	return v, err
}

// all waits until the server knows all of its n clients.
func (s *server) all(n int) error {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		v, err := s.ask("")
		if err != nil || v.Conns == n {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("the server has %d clients, not %d", v.Conns, n)
		}
	}
}

func (s *server) stop() {
	for _, fd := range s.open {
		unix.Close(fd)
	}
	s.in.Close()
	if *profile == "" {
		s.cmd.Process.Kill()
	}
	s.cmd.Wait()
}

var errWrong = errors.New("the server sends something else")

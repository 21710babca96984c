// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build linux

// Tls compares TLS servers: package evtls on a loop, and crypto/tls on package net with a
// goroutine for each connection. See README.md of the folder above.
//
//	go run ./tls
//	go run ./tls -work idle -rounds 3
//
// It runs itself as the server. The servers take turns, and the load is the same for both.
package main

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evchan/evchan/bench/internal/pin"
)

var serverNames = []string{"evtls", "std"}

// A work is what is measured.
type work struct {
	name string
	unit string
	less bool // less is better
	run  func(*server) (float64, error)
	rsa  bool // the server's certificate
}

var works = []work{
	{"echo", "CPU µs/request", true, echo, false},
	{"sink", "GB/CPU s", false, sink, false},
	{"source", "GB/CPU s", false, source, false},
	{"handshake", "CPU µs/handshake", true, handshakes, false},
	{"handshake-rsa", "CPU µs/handshake", true, handshakes, true},
	{"latency", "p99 ms", true, latency, true},
	{"idle", "KB/connection", true, idle, false},
}

var (
	conns  = flag.Int("conns", 200, "`connections` of echo")
	window = flag.Duration("time", time.Second, "how long each run is measured")
	rounds = flag.Int("rounds", 5, "runs of each server and work")
	which  = flag.String("work", "", "comma-separated `works`; empty: all")
	serve  = flag.String("serve", "", "be this `server`")
	rsaKey = flag.Bool("rsa", false, "with -serve: an RSA certificate")
	doing  = flag.String("do", "echo", "with -serve: what to do")
	cpu    = flag.Int("cpu", 0, "the `CPU` for servers and load; if negative, the system chooses")
)

func main() {
	flag.Parse()
	if *serve != "" {
		if err := runServer(*serve, *doing, *rsaKey); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if err := pin.Pin(*cpu); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("| work | unit | evtls | std | evtls to std, by rounds |")
	fmt.Println("|---|---|---:|---:|---:|")
	for _, w := range works {
		if *which != "" && !slices.Contains(strings.Split(*which, ","), w.name) {
			continue
		}
		if err := compare(w); err != nil {
			fmt.Fprintln(os.Stderr, w.name+":", err)
			os.Exit(1)
		}
	}
}

// compare runs w in rounds, each of which begins with the other server, and prints a row.
func compare(w work) error {
	values := make(map[string][]float64)
	var ratios []float64
	for round := range *rounds {
		for i := range serverNames {
			name := serverNames[(i+round)%len(serverNames)]
			s, err := start(name, w)
			if err != nil {
				return err
			}
			v, err := w.run(s)
			s.stop()
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			values[name] = append(values[name], v)
		}
		ratios = append(ratios, values["evtls"][round]/values["std"][round])
	}
	fmt.Printf("| %s | %s | %s | %s | %s |\n", w.name, w.unit, spread(values["evtls"]), spread(values["std"]), spread(ratios))
	return nil
}

// spread returns the median of v, with the least and the greatest.
func spread(v []float64) string {
	v = slices.Clone(v)
	slices.Sort(v)
	return fmt.Sprintf("%.2f (%.2f..%.2f)", v[len(v)/2], v[0], v[len(v)-1])
}

// A server is a process.
type server struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *json.Decoder
	addr string
}

// A sample is what a server says of itself.
type sample struct {
	Addr string `json:",omitempty"`
	CPU  int64  // nanoseconds
	RSS  int64  // bytes
}

func start(name string, w work) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"-serve", name, "-do", w.name}
	if w.rsa {
		args = append(args, "-rsa")
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
	first, err := s.sample("")
	s.addr = first.Addr
	return s, err
}

// sample asks the server how it is. "gc" has it free what it can before.
func (s *server) sample(how string) (v sample, err error) {
	if _, err = fmt.Fprintln(s.in, how); err == nil {
		err = s.out.Decode(&v)
	}
	return v, err
}

func (s *server) stop() {
	s.in.Close()
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// dial connects n clients.
func (s *server) dial(n int) ([]*tls.Conn, error) {
	all := make([]*tls.Conn, n)
	var group sync.WaitGroup
	var failed atomic.Pointer[error]
	limit := make(chan struct{}, 16)
	for i := range all {
		limit <- struct{}{}
		group.Go(func() {
			defer func() { <-limit }()
			c, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true})
			if err != nil {
				failed.Store(&err)
				return
			}
			all[i] = c
		})
	}
	group.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	return all, nil
}

func closeAll(all []*tls.Conn) {
	for _, c := range all {
		c.NetConn().Close()
	}
}

// load runs client for each of all, and measures while they do. client calls count for what it has
// done. The result is what was counted, and the server's CPU time meanwhile, in nanoseconds.
func (s *server) load(all []*tls.Conn, client func(c *tls.Conn, count func(n int)) error) (n, cpu int64, err error) {
	var total atomic.Int64
	var failed atomic.Pointer[error]
	var ending atomic.Bool
	var group sync.WaitGroup
	for _, c := range all {
		group.Go(func() {
			err := client(c, func(n int) { total.Add(int64(n)) })
			if err != nil && !ending.Load() {
				failed.Store(&err)
			}
		})
	}
	time.Sleep(*window / 4)
	before, err := s.sample("")
	n0 := total.Load()
	if err == nil {
		time.Sleep(*window)
		var after sample
		after, err = s.sample("")
		n, cpu = total.Load()-n0, after.CPU-before.CPU
	}
	ending.Store(true)
	closeAll(all)
	group.Wait()
	if f := failed.Load(); f != nil {
		err = *f
	}
	if err == nil && n == 0 {
		err = errors.New("nothing was done")
	}
	return n, cpu, err
}

// dialAndLoad is load of n new connections.
func (s *server) dialAndLoad(n int, client func(c *tls.Conn, count func(n int)) error) (done, cpu int64, err error) {
	all, err := s.dial(n)
	if err != nil {
		return 0, 0, err
	}
	return s.load(all, client)
}

const messageSize = 64

func roundTrip(c *tls.Conn, p []byte) error {
	if _, err := c.Write(p); err != nil {
		return err
	}
	_, err := io.ReadFull(c, p)
	return err
}

func echo(s *server) (float64, error) {
	n, cpu, err := s.dialAndLoad(*conns, func(c *tls.Conn, count func(int)) error {
		p := make([]byte, messageSize)
		for {
			if err := roundTrip(c, p); err != nil {
				return err
			}
			count(1)
		}
	})
	return float64(cpu) / 1e3 / float64(n), err
}

// bulkConns is how many connections send or receive as fast as they can.
const bulkConns = 8

func sink(s *server) (float64, error)   { return s.bulk((*tls.Conn).Write) }
func source(s *server) (float64, error) { return s.bulk((*tls.Conn).Read) }

// bulk measures how many bytes transfer, called again and again, moves for a nanosecond of the
// server's CPU time.
func (s *server) bulk(transfer func(*tls.Conn, []byte) (int, error)) (float64, error) {
	n, cpu, err := s.dialAndLoad(bulkConns, func(c *tls.Conn, count func(int)) error {
		p := make([]byte, 64<<10)
		for {
			n, err := transfer(c, p)
			if count(n); err != nil {
				return err
			}
		}
	})
	return float64(n) / float64(cpu), err
}

func handshakes(s *server) (float64, error) {
	var done atomic.Int64
	stop := make(chan struct{})
	var group sync.WaitGroup
	var failed atomic.Pointer[error]
	for range 8 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				all, err := s.dial(1)
				if err != nil {
					failed.Store(&err)
					return
				}
				closeAll(all)
				done.Add(1)
			}
		})
	}
	time.Sleep(*window / 4)
	before, err := s.sample("")
	n0 := done.Load()
	time.Sleep(*window)
	after, err2 := s.sample("")
	n := done.Load() - n0
	close(stop)
	group.Wait()
	if f := failed.Load(); f != nil {
		return 0, *f
	}
	return float64(after.CPU-before.CPU) / 1e3 / float64(max(n, 1)), cmp.Or(err, err2)
}

// latency measures echoes, 20 connections with one each 10 ms, beside 200 handshakes a second.
// Latency counts from when a message was due.
func latency(s *server) (float64, error) {
	all, err := s.dial(20)
	if err != nil {
		return 0, err
	}
	defer closeAll(all)
	end := time.Now().Add(2 * *window)
	var group sync.WaitGroup
	var mu sync.Mutex
	var took []time.Duration
	var failed atomic.Pointer[error]
	for i, c := range all {
		group.Go(func() {
			p := make([]byte, messageSize)
			due := time.Now().Add(time.Duration(i) * time.Millisecond / 2)
			for due.Before(end) {
				time.Sleep(time.Until(due))
				if err := roundTrip(c, p); err != nil {
					failed.Store(&err)
					return
				}
				d := time.Since(due)
				mu.Lock()
				took = append(took, d)
				mu.Unlock()
				due = due.Add(10 * time.Millisecond)
			}
		})
	}
	for due := time.Now(); due.Before(end); due = due.Add(5 * time.Millisecond) {
		time.Sleep(time.Until(due))
		group.Go(func() {
			c, err := s.dial(1)
			if err != nil {
				failed.Store(&err)
				return
			}
			closeAll(c)
		})
	}
	group.Wait()
	if f := failed.Load(); f != nil {
		return 0, *f
	}
	slices.Sort(took)
	return float64(took[len(took)*99/100].Nanoseconds()) / 1e6, nil
}

// idle measures connections that have had one message, and then nothing.
func idle(s *server) (float64, error) {
	const n = 2000
	warm, err := s.dial(50)
	if err != nil {
		return 0, err
	}
	closeAll(warm)
	before, err := s.sample("gc")
	if err != nil {
		return 0, err
	}
	all, err := s.dial(n)
	if err != nil {
		return 0, err
	}
	defer closeAll(all)
	for _, c := range all {
		c.SetDeadline(time.Now().Add(time.Minute))
		if err := roundTrip(c, make([]byte, messageSize)); err != nil {
			return 0, err
		}
	}
	after, err := s.sample("gc")
	return float64(after.RSS-before.RSS) / 1e3 / n, err
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evchan/evchan"
)

const (
	stallAfter = 10 * time.Second // if nothing goes on for so long, something hangs
	linger     = 20 * time.Second // longer than stallAfter: a close that takes so long is a fault
)

// A handler is in the Data of each source and handles its messages.
type handler interface {
	handle(n *node, ev evchan.Event)
}

// A world is one round.
type world struct {
	*report
	content *content
	dir     string
	nodes   []*node
	echo    []target // the echo servers
	rude    []target // the echo servers that reset connections
	chat    target

	ending  atomic.Bool  // no more jobs are started
	active  atomic.Int64 // jobs that run
	ids     atomic.Int64
	helpers sync.WaitGroup // goroutines of jobs
	running sync.WaitGroup // goroutines of loops
}

// A target is an address to dial.
type target struct {
	network, address string
	xor              bool // the connection is under a filter
}

// A node is a loop with its jobs. Except for the loop and the atomic fields, it belongs
// to the goroutine that receives from the loop.
type node struct {
	w      *world
	loop   *evchan.Loop
	form   string
	r      *rand.Rand
	jobs   atomic.Int64    // jobs that were started here and run
	limit  int             // of jobs
	fixed  []evchan.Source // closed when all jobs have ended
	timers []*timerJob
	quiet  atomic.Bool // the driver has ended
}

var forms = []string{"All", "Events", "Batches"}

func newWorld(c config, rep *report, dir string, content *content) (*world, error) {
	w := &world{report: rep, content: content}
	var err error
	if w.dir, err = os.MkdirTemp(dir, "round"); err != nil {
		return nil, err
	}
	for range 2 {
		for _, m := range c.methods {
			i := len(w.nodes)
			loop, err := evchan.New(&evchan.Config{Method: m, IgnoreEnv: true, Priorities: 3, Linger: linger})
			if err != nil {
				w.close()
				return nil, err
			}
			n := &node{w: w, loop: loop, form: forms[(i+rep.rounds)%len(forms)],
				r: rand.New(rand.NewPCG(c.seed, uint64(rep.rounds)<<8+uint64(i)))}
			w.nodes = append(w.nodes, n)
		}
	}
	for i, n := range w.nodes {
		n.limit = max(1, c.conns/len(w.nodes))
		if err := n.serve(i); err != nil {
			w.close()
			return nil, err
		}
	}
	return w, nil
}

func (w *world) close() {
	for _, n := range w.nodes {
		n.loop.Close()
	}
}

// serve makes the sources that stay until the end of the round.
func (n *node) serve(i int) error {
	w := n.w
	listen := func(network, address string, conf *evchan.ListenConfig, accept func(*evchan.Stream)) (target, error) {
		ln, err := n.loop.Listen(network, address, conf)
		if err != nil {
			return target{}, err
		}
		ln.Data = accept
		n.fixed = append(n.fixed, ln)
		return target{network: network, address: ln.Addr().String()}, nil
	}
	echo := func(s *evchan.Stream) { s.Data = &echoServer{r: n.newRand()} }
	var errs []error
	add := func(list *[]target, t target, err error) {
		errs = append(errs, err)
		*list = append(*list, t)
	}
	t, err := listen("tcp", "127.0.0.1:0", nil, echo)
	add(&w.echo, t, err)
	t1, err := listen("tcp", "127.0.0.1:0", &evchan.ListenConfig{MaxInput: 8 << 10, MaxOutput: 32 << 10}, n.proxyTo(t))
	errs = append(errs, err)
	t2, err := listen("unix", filepath.Join(w.dir, fmt.Sprint("proxy", i)), nil, n.proxyTo(t1))
	add(&w.echo, t2, err)
	group, err := n.loop.RateGroup(evchan.RateLimit{ReadRate: 50e6, ReadBurst: 1e6, WriteRate: 50e6, WriteBurst: 1e6, Tick: 10 * time.Millisecond})
	errs = append(errs, err)
	t, err = listen("unix", filepath.Join(w.dir, fmt.Sprint("echo", i)), &evchan.ListenConfig{RateGroup: group}, echo)
	add(&w.echo, t, err)
	t, err = listen("tcp", "127.0.0.1:0", nil, func(s *evchan.Stream) {
		f, err := s.Filter(xorFilter(0x5a), nil)
		if err != nil {
			if !errors.Is(err, evchan.ErrClosed) {
				n.w.note("filter of an accepted stream: %v", err) // the stream was reset meanwhile
			}
			return
		}
		echo(f)
	})
	t.xor = true
	add(&w.echo, t, err)
	t, err = listen("tcp", "127.0.0.1:0", nil, func(s *evchan.Stream) { s.Data = &echoServer{r: n.newRand(), rude: true} })
	add(&w.rude, t, err)
	if i == 0 {
		w.chat, err = listen("tcp", "127.0.0.1:0", nil, newHub())
		errs = append(errs, err)
	}
	errs = append(errs, n.packets(), n.signal(), n.watch(), n.trigger())
	every := n.loop.Every(2 * time.Millisecond)
	every.Data = driver{}
	n.fixed = append(n.fixed, every)
	return errors.Join(errs...)
}

// newRand returns a source of random numbers for a job that may move to other
// goroutines.
func (n *node) newRand() *rand.Rand { return rand.New(rand.NewPCG(n.r.Uint64(), n.r.Uint64())) }

// begin counts a job that starts, and end a job that ends.
func (n *node) begin() {
	n.jobs.Add(1)
	n.w.active.Add(1)
	n.w.started.Add(1)
}

func (n *node) end() {
	n.w.finished.Add(1)
	n.jobs.Add(-1)
	n.w.active.Add(-1)
}

// receive handles a message.
func (n *node) receive(ev evchan.Event) {
	n.w.messages.Add(1)
	if a, ok := ev.(evchan.Accepted); ok {
		a.Stream.Listener().Data.(func(*evchan.Stream))(a.Stream)
		return
	}
	if f, ok := ev.(evchan.AcceptFailed); ok {
		n.w.fault("%v", f.Listener.Err())
		return
	}
	var data any
	switch s := ev.Source().(type) {
	case *evchan.Stream:
		data = s.Data
	case *evchan.PacketConn:
		data = s.Data
	case *evchan.Timer:
		data = s.Data
	case *evchan.Trigger:
		data = s.Data
	case *evchan.SignalWatch:
		data = s.Data
	case *evchan.Watch:
		data = s.Data
	}
	if h, ok := data.(handler); ok {
		h.handle(n, ev)
	} else {
		n.w.fault("a message of a source without a handler: %v", ev)
	}
}

// run receives until the loop is closed.
func (n *node) run() {
	defer n.w.running.Done()
	switch n.form {
	case "All":
		for ev := range n.loop.All() {
			n.receive(ev)
		}
	case "Events":
		for ev := range n.loop.Events() {
			n.receive(ev)
		}
	case "Batches":
		for b := range n.loop.Batches() {
			for ev := range b.All() {
				n.receive(ev)
			}
		}
	}
	if err := n.loop.Err(); err != nil {
		n.w.fault("a loop has ended: %v", err)
	}
}

// run runs the round.
func (w *world) run(d time.Duration, interrupt <-chan os.Signal) {
	for _, n := range w.nodes {
		w.running.Add(1)
		go n.run()
	}
	end := time.Now().Add(d)
	ok := w.wait("jobs do not go on", func() bool {
		select {
		case <-interrupt:
			w.interrupted = true
		default:
		}
		return w.interrupted || !time.Now().Before(end)
	}, func() int64 { return w.finished.Load() + w.bytes.Load() })
	w.ending.Store(true)
	ok = ok && w.wait("jobs do not end", w.idle,
		func() int64 { return w.finished.Load() + w.bytes.Load() })
	for _, n := range w.nodes {
		if ok {
			n.checkFixed()
		}
		for _, s := range n.fixed {
			if err := s.Close(); err != nil {
				w.fault("Close: %v", err)
			}
		}
	}
	sources := func() (sum int64) {
		for _, n := range w.nodes {
			sum += int64(n.loop.Stats().Sources)
		}
		return sum
	}
	if ok {
		w.wait("sources are left", func() bool { return sources() == 0 }, sources)
	}
	for i, n := range w.nodes {
		w.count(n.loop.Stats())
		switch i % 3 {
		case 0:
			n.loop.Close()
		case 1:
			ctx, cancel := context.WithTimeout(context.Background(), stallAfter)
			if err := n.loop.Shutdown(ctx); err != nil {
				w.fault("Shutdown: %v", err)
			}
			cancel()
		case 2:
			n.loop.Exit(0)
		}
	}
	if ok {
		w.running.Wait()
		w.helpers.Wait()
		w.close() // after Exit, a loop that All ran is still open
		os.RemoveAll(w.dir)
	}
}

// idle reports whether all jobs have ended and no more will be started.
func (w *world) idle() bool {
	for _, n := range w.nodes {
		if !n.quiet.Load() {
			return false
		}
	}
	return w.active.Load() == 0
}

// wait waits until done returns true. If progress stays the same for stallAfter, it
// records a fault and returns false.
func (w *world) wait(what string, done func() bool, progress func() int64) bool {
	last, since := progress(), time.Now()
	for !done() {
		time.Sleep(5 * time.Millisecond)
		w.progress()
		switch p := progress(); {
		case p != last:
			last, since = p, time.Now()
		case time.Since(since) > stallAfter:
			w.stall(what)
			return false
		}
	}
	return true
}

// stall records the fault that nothing goes on, with all that may help to find out why.
func (w *world) stall(what string) {
	var b strings.Builder
	for i, n := range w.nodes {
		fmt.Fprintf(&b, "loop %d, %s, %s, %d jobs:\n", i, n.loop.Method(), n.form, n.jobs.Load())
		n.loop.Dump(&b)
	}
	io.WriteString(&b, stacks())
	w.stalled = true
	w.fault("%s: %d jobs after %v without progress\n%s", what, w.active.Load(), stallAfter, b.String())
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evchan

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evchan/evchan/internal/simnet"
)

var (
	faultSeed  = flag.Uint64("fault.seed", 0, "the one seed that TestFaults runs, and tells of with -v; 0: as the other flags say")
	faultFirst = flag.Uint64("fault.first", 0, "the first seed of TestFaults; 0: by the clock")
	faultSeeds = flag.Int("fault.seeds", 0, "how many seeds TestFaults runs; 0: 2000, or 300 on Windows, where it may be Wine")
	faultForms = flag.String("fault.forms", "All,Poll,Events,Batches", "the ways of receiving that TestFaults chooses from")
)

// TestFaults runs servers, proxies and chats on a network in memory that does at
// random what a kernel or a peer may do out of turn (see faultKind), in virtual
// time. Every byte that arrives is compared with what was sent. Whatever happens,
// nobody may wait for ever, spin, or leave anything behind.
//
// The seed decides everything, given fault.forms, but for the order in which goroutines
// run, which matters to the forms Events and Batches, and where a stream is given a
// receiver of its own.
func TestFaults(t *testing.T) {
	first, seeds := *faultFirst, *faultSeeds
	if first == 0 {
		first = uint64(time.Now().UnixNano())
	}
	switch {
	case *faultSeed != 0:
		first, seeds = *faultSeed, 1
	case seeds == 0 && runtime.GOOS == "windows":
		seeds = 300
	case seeds == 0:
		seeds = 2000
	}
	var next atomic.Int64
	totals := make(chan *faultTotal, runtime.GOMAXPROCS(0))
	t.Run("Seeds", func(t *testing.T) {
		for range cap(totals) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				total := new(faultTotal)
				defer func() { totals <- total }()
				for !t.Failed() {
					i := next.Add(1) - 1
					if i >= int64(seeds) {
						return
					}
					synctest.Test(t, func(t *testing.T) { runFaults(t, first+uint64(i), total) })
				}
			})
		}
	})
	var sum faultTotal
	for range cap(totals) {
		sum.add(<-totals)
	}
	t.Logf("-fault.first=%d -fault.seeds=%d: %d connections, %d bytes, %d messages, %d waits (at most %d, for %d); faults: %v",
		first, seeds, sum.conns, sum.bytes, sum.messages, sum.waits, sum.most, sum.slowest, &sum.faults)
	if t.Failed() || seeds < 1000 {
		return
	}
	for k, n := range sum.faults {
		if simnet.Fault(k) == simnet.TwoWakes && !strings.Contains(*faultForms, "Events") {
			continue // only another goroutine wakes the loop
		}
		if simnet.Fault(k) >= simnet.AcceptAgain {
			continue // nothing is accepted
		}
		if n == 0 && (simnet.Fault(k) != simnet.HangupOnly || !hangupIsReset) {
			t.Errorf("in %d seeds there was no %q", seeds, simnet.Fault(k))
		}
	}
}

// A faultTotal is what has happened.
type faultTotal struct {
	conns, bytes, messages, waits int64
	faults                        simnet.Count
	most                          int    // waits for one seed
	slowest                       uint64 // which
}

func (f *faultTotal) add(g *faultTotal) {
	f.conns += g.conns
	f.bytes += g.bytes
	f.messages += g.messages
	f.waits += g.waits
	f.faults.Add(&g.faults)
	if g.most > f.most {
		f.most, f.slowest = g.most, g.slowest
	}
}

// A faultRun is a program on a faultNet.
type faultRun struct {
	n    *simnet.Net
	l    *Loop
	r    *rand.Rand
	what string // for people

	// Those who receive messages own the following: one goroutine.
	app      func(*faultRun, *faultEnd) // has the end do what there is to do
	style    int                        // how bytes are passed on
	filter   byte                       // 0: there is none
	fiddly   int                        // how seldom the receiver does other things to streams; 0: never
	stops    bool                       // streams get receivers that have stopped
	group    *RateGroup
	lines    bool // it reads whole lines
	ends     []*faultEnd
	conns    []*faultConn
	coming   int    // connections that are still to come
	anchor   *Timer // keeps the loop from being empty while some are; nil where nothing else can
	messages int64
	releases [2]int // release functions given, called
}

// A faultEnd is a stream of a faultRun.
type faultEnd struct {
	s        *Stream
	c        *faultConn
	g        *faultGroup
	other    *faultEnd // where what comes goes to: itself, for an echo
	spill    []byte    // what has been read and must be written to other first
	again    bool      // spill has begun
	eof      bool      // has been received
	ended    bool      // Closed has been received
	closed   bool      // Close was called
	finished bool      // all that has come has gone to other
	started  bool      // a message has come
	lineGot  int       // bytes of whole lines that have come
}

func runFaults(t *testing.T, seed uint64, total *faultTotal) {
	r := rand.New(rand.NewPCG(seed, 1))
	n := simnet.New(seed, simnet.Rates{})
	var trace []string
	if *faultSeed != 0 {
		n.Note = func(format string, args ...any) {
			trace = append(trace, fmt.Sprintf("%v w%d ", time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), n.Waits)+fmt.Sprintf(format, args...))
		}
	}
	n.OneShot = r.IntN(2) == 0
	for k := range n.Rates {
		n.Rates[k] = []float64{0, 0.02, 0.1, 0.4}[r.IntN(4)]
		switch simnet.Fault(k) {
		case simnet.ReadError, simnet.WriteError, simnet.NoBufs:
			n.Rates[k] = []float64{0, 0, 0, 0.01}[r.IntN(4)]
		case simnet.RefusedAdd:
			n.Rates[k] = []float64{0, 0, 0, 0.05}[r.IntN(4)]
		}
	}
	conf := Config{IgnoreEnv: true, ExitOnEmpty: true, Priorities: 1 + r.IntN(2), MaxBatch: []int{0, 1, 2, 5}[r.IntN(4)],
		MaxInput: []int{1, 100, 1000, 64 << 10}[r.IntN(4)], MaxOutput: []int{1, 100, 1000, 64 << 10}[r.IntN(4)], Linger: time.Hour}
	app := faultApps[r.IntN(len(faultApps))]
	if app.name == "chat" {
		conf.MaxInput = max(conf.MaxInput, 100) // a line
	}
	c, err := conf.complete()
	if err != nil {
		t.Fatal(err)
	}
	forms := strings.Split(*faultForms, ",")
	form := forms[r.IntN(len(forms))]
	x := &faultRun{n: n, l: newLoop(c, &kernelPoller{kernel: n.Kernel()}), r: r, app: app.do, style: r.IntN(3), fiddly: []int{0, 4, 20}[r.IntN(3)], stops: r.IntN(4) == 0}
	x.what = fmt.Sprintf("%s in form %s, one-shot %v, MaxInput %d, MaxOutput %d, style %d, fiddly %d", app.name, form, n.OneShot, c.MaxInput, c.MaxOutput, x.style, x.fiddly)
	n.Note("%s", x.what)
	n.Streams = x.l.Dump
	if r.IntN(2) == 0 {
		x.group, _ = x.l.RateGroup(x.limit())
	}
	began := time.Now()
	app.open(x)
	if x.coming > 0 {
		if form == "Events" || form == "Batches" {
			// There the loop goes on while a message is answered, and may find itself
			// empty before the connection that a Tick stands for is made.
			x.anchor = x.l.After(1000 * time.Hour)
		}
		x.comeLater(app.open)
	}
	if form == "Poll" {
		for x.l.Stats().Sources > 0 && x.l.Err() == nil {
			if ev, ok := x.l.Poll([]time.Duration{0, time.Microsecond, time.Second}[r.IntN(3)]); ok {
				x.hear(ev)
			} else if r.IntN(2) == 0 {
				time.Sleep(time.Microsecond) // or Poll(0) would let no time pass
			}
		}
	} else if x.l.Stats().Sources > 0 { // or all were refused, and a range would wait for the first
		ranges[form](x.l, x.hear)
	}
	x.finish(form, began)
	total.waits += int64(n.Waits)
	if n.Waits > total.most {
		total.most, total.slowest = n.Waits, seed
	}
	total.messages += x.messages
	total.conns += int64(len(x.conns))
	for _, c := range x.conns {
		total.bytes += int64(c.from.got)
	}
	total.faults.Add(&n.Counts)
	if n.Failure != "" {
		if n.Dump == "" {
			n.Dump = n.Describe()
		}
		if len(trace) > 400 {
			trace = trace[len(trace)-400:]
		}
		t.Errorf("%s: %s\n%sto see what happens: go test -run 'TestFaults$' -fault.forms=%s -fault.seed=%d .\n%s",
			x.what, n.Failure, n.Dump, *faultForms, seed, strings.Join(trace, "\n"))
	}
	x.l.Close()
}

// finish checks what is left in the end.
func (x *faultRun) finish(form string, began time.Time) {
	n := x.n
	if form == "All" || form == "Poll" {
		x.l.mu.Lock()
		if _, ok := x.l.timers.next(); ok && n.Failure == "" {
			n.Fail("a timer runs, and there is nobody to wait for it")
		}
		x.l.mu.Unlock()
	}
	n.Mu.Lock()
	defer n.Mu.Unlock()
	if d := time.Since(began); d > time.Hour {
		n.Fail("it has taken %v", d)
	}
	n.Over = true
	for range 100000 {
		if busy, _ := n.Step(); !busy || n.Failure != "" {
			break
		}
	}
	for _, c := range x.conns {
		switch {
		case !c.Closed:
			n.Fail("the stream %d was not closed", c.ID)
		case !c.Gone:
			n.Fail("the peer %d has not come to its end", c.ID)
		}
	}
	if x.releases[0] != x.releases[1] {
		n.Fail("%d release functions were given, and %d called", x.releases[0], x.releases[1])
	}
	for _, e := range x.ends {
		if !e.closed && !e.ended {
			n.Fail("the stream %d was neither closed, nor has it said so", e.c.ID)
		}
	}
	if err := x.l.Err(); err != nil {
		n.Fail("the loop has ended: %v", err)
	}
}

// fail is the net's for one who does not hold its lock.
func (x *faultRun) fail(format string, args ...any) {
	what := fmt.Sprintf(format, args...) // which may take a stream's lock
	x.n.Mu.Lock()
	defer x.n.Mu.Unlock()
	x.n.Fail("%s", what)
	x.n.Wake()
}

func (x *faultRun) cut(g *faultGroup) {
	x.n.Mu.Lock()
	defer x.n.Mu.Unlock()
	g.cut = true
}

func (x *faultRun) isCut(g *faultGroup) bool {
	x.n.Mu.Lock()
	defer x.n.Mu.Unlock()
	return g.cut
}

// comeLater opens another connection some time later, and so on.
func (x *faultRun) comeLater(open func(*faultRun)) {
	x.coming--
	x.later(func() {
		open(x)
		if x.coming > 0 {
			x.comeLater(open)
		} else if x.anchor != nil {
			x.anchor.Stop()
		}
	})
}

// later calls f when some time has passed.
func (x *faultRun) later(f func()) {
	x.l.After(time.Duration(x.r.IntN(1000)) << x.r.IntN(22)).Data = f
}

func (x *faultRun) limit() RateLimit {
	tick := time.Millisecond << x.r.IntN(8)
	rate := 1000 << x.r.IntN(8)
	return RateLimit{ReadRate: rate, ReadBurst: rate, WriteRate: rate, WriteBurst: rate, Tick: tick}
}

// ---- What is received ----

// hear takes a message.
func (x *faultRun) hear(ev Event) {
	x.messages++
	var what string
	if *faultSeed != 0 {
		what = ev.String()
	}
	x.n.Mu.Lock()
	x.n.Progress()
	x.n.Note("%s", what)
	x.n.Mu.Unlock()
	switch ev := ev.(type) {
	case Tick:
		ev.Timer.Data.(func())()
		return
	case Accepted:
		x.hearStream(ev.Stream, ev)
	case Readable:
		x.hearStream(ev.Stream, ev)
	case Drained:
		x.hearStream(ev.Stream, ev)
	case EOF:
		x.hearStream(ev.Stream, ev)
	case Closed:
		x.hearStream(ev.Stream, ev)
	case TimedOut:
		x.hearStream(ev.Stream, ev)
	default:
		x.fail("unexpected %v", ev)
	}
}

func (x *faultRun) hearStream(s *Stream, ev Event) {
	e := s.Data.(*faultEnd)
	bad := func(format string, args ...any) {
		x.fail("the stream %d: %v: %s", e.c.ID, ev, fmt.Sprintf(format, args...))
	}
	switch {
	case s != e.s:
		bad("it is under a filter")
	case e.closed:
		bad("it was closed")
	case e.ended:
		bad("it has ended")
	}
	if _, ok := ev.(Accepted); ok == e.started {
		bad("it is the first, or not: %v", ok)
	}
	e.started = true
	switch ev.(type) {
	case Readable:
		if s.in.held.Load() == 0 {
			bad("there is nothing")
		}
		x.app(x, e)
	case Drained:
		if q, low := s.Queued(), s.limits.Load().writeLow; q > low {
			bad("%d bytes are queued", q)
		}
		for _, src := range x.ends {
			if src.other == e {
				x.app(x, src)
			}
		}
	case EOF:
		x.n.Mu.Lock()
		real := e.c.InEnd
		x.n.Mu.Unlock()
		if e.eof || !real {
			bad("it has not")
		}
		e.eof = true
		x.app(x, e)
	case TimedOut:
		what := s.TimedOut()
		if what == 0 {
			bad("nothing has")
		}
		s.Resume(what)
	case Closed:
		e.ended = true
		x.n.Mu.Lock()
		errs := e.c.Errs
		cut := e.g.cut
		unread := len(e.c.In)
		x.n.Mu.Unlock()
		err := s.Err()
		if !cut || !slices.ContainsFunc(errs, func(want error) bool { return errors.Is(err, want) }) {
			bad("why, if it met with %v: %v", errs, err)
		}
		if unread > 0 {
			bad("%d bytes were not read", unread)
		}
		if !e.other.over() && e.other != e {
			if len(e.spill) == 0 && e.other.s.Output().Len() == 0 {
				io.Copy(e.other.s, s) // as much as it takes
			}
			x.close(e.other)
		}
	}
	if x.fiddly > 0 && x.r.IntN(x.fiddly) == 0 && !e.over() {
		x.fiddle(e)
	}
}

// fiddle does something to a stream that makes no difference to what it carries.
func (x *faultRun) fiddle(e *faultEnd) {
	r, s := x.r, e.s
	size := func() int { return r.IntN(4000) >> r.IntN(12) }
	which := r.IntN(10)
	x.n.Mu.Lock()
	x.n.Note("%d: fiddle %d", e.c.ID, which)
	x.n.Mu.Unlock()
	switch which {
	case 0, 1:
		what := []What{Read, Write, Read | Write}[r.IntN(3)]
		s.Pause(what)
		x.later(func() { s.Resume(what) })
	case 2:
		if x.lines {
			return // one might be longer
		}
		low := size()
		if e.c.Plain {
			low = 0 // its peer waits for an answer
		}
		s.SetReadMarks(low, 1+size())
		x.app(x, e) // what it has left may be too much now
	case 3:
		s.SetWriteMarks(size(), 1+size())
	case 4:
		limit := x.limit()
		s.SetRateLimit(&limit)
	case 5:
		s.SetRateLimit(nil)
	case 6:
		d := func() time.Duration { return time.Duration(r.IntN(1000)) * time.Millisecond }
		s.SetIdleTimeouts(d(), d())
	case 7:
		s.SetPriority(r.IntN(x.l.conf.Priorities))
	case 9: // to a receiver that has stopped
		if !x.stops {
			return
		}
		s.Notify(make(chan Event))
		x.later(func() { s.Notify(nil) })
	case 8:
		switch r.IntN(20) {
		case 0:
			x.abort(e)
		case 1:
			x.cut(e.g)
			x.close(e)
		default:
			return
		}
		if o := e.other; !o.over() {
			x.close(o)
		}
	}
}

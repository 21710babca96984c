// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evchan

import (
	"bytes"
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
		if faultKind(k) == faultWake && !strings.Contains(*faultForms, "Events") {
			continue // only another goroutine wakes the loop
		}
		if n == 0 && (faultKind(k) != faultHangup || !hangupIsReset) {
			t.Errorf("in %d seeds there was no %q", seeds, faultNames[k])
		}
	}
}

// A faultTotal is what has happened.
type faultTotal struct {
	conns, bytes, messages, waits int64
	faults                        faultCount
	most                          int    // waits for one seed
	slowest                       uint64 // which
}

func (f *faultTotal) add(g *faultTotal) {
	f.conns += g.conns
	f.bytes += g.bytes
	f.messages += g.messages
	f.waits += g.waits
	f.faults.add(&g.faults)
	if g.most > f.most {
		f.most, f.slowest = g.most, g.slowest
	}
}

// A faultRun is a program on a faultNet.
type faultRun struct {
	n    *faultNet
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

// ---- The programs ----

var faultApps = []struct {
	name string
	open func(*faultRun)
	do   func(*faultRun, *faultEnd)
}{
	{"echo", (*faultRun).openEcho, (*faultRun).pass},
	{"proxy", (*faultRun).openProxy, (*faultRun).pass},
	{"store", (*faultRun).openStore, (*faultRun).store},
	{"chat", (*faultRun).openChat, (*faultRun).chat},
}

func runFaults(t *testing.T, seed uint64, total *faultTotal) {
	r := rand.New(rand.NewPCG(seed, 1))
	n := &faultNet{p: newFakePoller(), r: rand.New(rand.NewPCG(seed, 2)), budget: 200, moved: time.Now()}
	n.note = func(string, ...any) {}
	var trace []string
	if *faultSeed != 0 {
		n.note = func(format string, args ...any) {
			trace = append(trace, fmt.Sprintf("%v w%d ", time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), n.waits)+fmt.Sprintf(format, args...))
		}
	}
	n.oneShot = r.IntN(2) == 0
	for k := range n.rates {
		n.rates[k] = []float64{0, 0.02, 0.1, 0.4}[r.IntN(4)]
		switch faultKind(k) {
		case faultReadError, faultWriteError, faultNoBufs:
			n.rates[k] = []float64{0, 0, 0, 0.01}[r.IntN(4)]
		case faultAdd:
			n.rates[k] = []float64{0, 0, 0, 0.05}[r.IntN(4)]
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
	x := &faultRun{n: n, l: newLoop(c, n), r: r, app: app.do, style: r.IntN(3), fiddly: []int{0, 4, 20}[r.IntN(3)], stops: r.IntN(4) == 0}
	x.what = fmt.Sprintf("%s in form %s, one-shot %v, MaxInput %d, MaxOutput %d, style %d, fiddly %d", app.name, form, n.oneShot, c.MaxInput, c.MaxOutput, x.style, x.fiddly)
	n.note("%s", x.what)
	n.streams = x.l.Dump
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
	} else {
		ranges[form](x.l, x.hear)
	}
	x.finish(form, began)
	total.waits += int64(n.waits)
	if n.waits > total.most {
		total.most, total.slowest = n.waits, seed
	}
	total.messages += x.messages
	total.conns += int64(len(n.conns))
	for _, c := range n.conns {
		total.bytes += int64(c.from.got)
	}
	total.faults.add(&n.counts)
	if n.failure != "" {
		if n.dump == "" {
			n.dump = n.describe()
		}
		if len(trace) > 400 {
			trace = trace[len(trace)-400:]
		}
		t.Errorf("%s: %s\n%sto see what happens: go test -run 'TestFaults$' -fault.forms=%s -fault.seed=%d .\n%s",
			x.what, n.failure, n.dump, *faultForms, seed, strings.Join(trace, "\n"))
	}
	x.l.Close()
}

// finish checks what is left in the end.
func (x *faultRun) finish(form string, began time.Time) {
	n := x.n
	if form == "All" || form == "Poll" {
		x.l.mu.Lock()
		if _, ok := x.l.timers.next(); ok && n.failure == "" {
			n.fail("a timer runs, and there is nobody to wait for it")
		}
		x.l.mu.Unlock()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if d := time.Since(began); d > time.Hour {
		n.fail("it has taken %v", d)
	}
	n.over = true
	for range 100000 {
		if busy, _ := n.step(); !busy || n.failure != "" {
			break
		}
	}
	for _, c := range n.conns {
		switch {
		case !c.closed:
			n.fail("the stream %d was not closed", c.id)
		case !c.gone:
			n.fail("the peer %d has not come to its end", c.id)
		}
	}
	if x.releases[0] != x.releases[1] {
		n.fail("%d release functions were given, and %d called", x.releases[0], x.releases[1])
	}
	for _, e := range x.ends {
		if !e.closed && !e.ended {
			n.fail("the stream %d was neither closed, nor has it said so", e.c.id)
		}
	}
	if err := x.l.Err(); err != nil {
		n.fail("the loop has ended: %v", err)
	}
}

// fail is the net's for one who does not hold its lock.
func (x *faultRun) fail(format string, args ...any) {
	what := fmt.Sprintf(format, args...) // which may take a stream's lock
	x.n.mu.Lock()
	defer x.n.mu.Unlock()
	x.n.fail("%s", what)
	x.n.p.wake()
}

func (x *faultRun) cut(g *faultGroup) {
	x.n.mu.Lock()
	defer x.n.mu.Unlock()
	g.cut = true
}

func (x *faultRun) isCut(g *faultGroup) bool {
	x.n.mu.Lock()
	defer x.n.mu.Unlock()
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

// content returns up to limit bytes.
func (x *faultRun) content(limit int) []byte {
	limit = min(limit, 50*min(x.l.conf.MaxInput, x.l.conf.MaxOutput)) // or it would take long
	k := x.r.IntN(limit+1) >> x.r.IntN(8)
	at := x.r.IntN(modelPeriod)
	return modelContent()[at : at+k]
}

// connect makes a connection of g whose peer sends data, on the lane to; it
// returns nil if the poller does not take it.
func (x *faultRun) connect(g *faultGroup, data []byte, to, from *faultLane, plain bool) *faultEnd {
	n := x.n
	n.mu.Lock()
	c := &faultConn{n: n, g: g, id: len(n.conns) + 1, fd: n.p.open(), plain: plain, data: data, to: to, from: from,
		inRoom: n.room(), outRoom: n.room(), resetAt: -1, closeAt: -1, lazy: 1 + n.r.IntN(3)}
	switch n.r.IntN(12) {
	case 0:
		c.resetAt = n.r.IntN(len(data) + 1)
	case 1:
		c.closeAt = n.r.IntN(len(data) + 1)
	}
	n.conns = append(n.conns, c)
	c.sync(Write)
	n.mu.Unlock()
	s := x.l.newStream(c.fd)
	more := s.more()
	more.transport = c
	more.local, more.remote = pipeAddr{}, pipeAddr{}
	e := &faultEnd{s: s, c: c, g: g}
	s.Data = e
	first := msgAccepted
	if x.filter != 0 {
		first = 0
		e.started = true
	}
	if err := s.open(first, true); err != nil {
		x.cut(g)
		return nil
	}
	if x.filter != 0 {
		up, err := s.Filter(xorFilter(x.filter))
		if err != nil { // it was reset already
			x.cut(g)
			s.Abort()
			return nil
		}
		e.s = up
		up.Data = e
	}
	x.ends = append(x.ends, e)
	if x.group != nil && x.r.IntN(2) == 0 {
		e.s.SetRateGroup(x.group)
	}
	return e
}

func (x *faultRun) openEcho() {
	if len(x.ends) == 0 && x.coming == 0 {
		x.coming = x.r.IntN(3)
		if x.r.IntN(4) == 0 {
			x.filter = byte(x.r.IntN(256))
		}
	}
	lane := new(faultLane)
	if e := x.connect(new(faultGroup), x.content(8<<10), lane, lane, x.filter == 0 && x.r.IntN(4) == 0); e != nil {
		e.other = e
	}
}

// pair returns two streams, and has each pass on to the other what comes.
func (x *faultRun) pair(there, back []byte) (a, b *faultEnd) {
	g := new(faultGroup)
	up, down := new(faultLane), new(faultLane)
	a = x.connect(g, there, up, down, false)
	b = x.connect(g, back, down, up, false)
	if a != nil && b != nil {
		a.other, b.other = b, a
		return a, b
	}
	for _, e := range []*faultEnd{a, b} {
		if e != nil {
			e.other = e // whatever: there is nobody to pass it on to
			x.abort(e)
		}
	}
	return nil, nil
}

func (x *faultRun) openProxy() {
	if len(x.ends) == 0 {
		x.coming = x.r.IntN(2)
	}
	x.pair(x.content(8<<10), x.content(8<<10))
}

func (x *faultRun) close(e *faultEnd) {
	e.closed = true
	e.s.Close()
}

func (x *faultRun) abort(e *faultEnd) {
	x.cut(e.g)
	e.closed = true
	e.s.Abort()
}

// over reports whether nothing more comes of e, or goes to it.
func (e *faultEnd) over() bool { return e.closed || e.ended }

// pass passes on what has come.
func (x *faultRun) pass(e *faultEnd) {
	if e.over() || e.other.over() || e.finished {
		return
	}
	if !x.move(e) || !e.eof || !e.s.AtEOF() {
		return
	}
	x.passed(e)
}

// passed is called once all that will ever come has been passed on.
func (x *faultRun) passed(e *faultEnd) {
	e.finished = true
	dst := e.other
	switch {
	case e == dst:
		x.close(e)
	case dst.finished:
		x.close(e)
		x.close(dst)
	default:
		if err := dst.s.CloseWrite(); err != nil {
			x.wrote(dst, err)
		}
	}
}

// wrote checks what a write to e has returned.
func (x *faultRun) wrote(e *faultEnd, err error) bool {
	if err == nil {
		return true
	}
	if err != ErrFull && !x.isCut(e.g) {
		x.fail("the stream %d: writing gives %v", e.c.id, err)
	}
	return false
}

// move moves what has come to where it goes. It reports whether that was all.
func (x *faultRun) move(e *faultEnd) bool {
	src, dst := e.s, e.other.s
	switch x.style {
	case 0:
		_, err := io.Copy(dst, src)
		return x.wrote(e.other, err)
	case 1:
		var buf [300]byte
		for {
			if len(e.spill) == 0 {
				n, err := src.Read(buf[:1+x.r.IntN(len(buf))])
				if err != nil {
					return true
				}
				e.spill = append(e.spill, buf[:n]...)
			}
			n, err := dst.Write(e.spill)
			if !x.wrote(e.other, err) {
				return false
			}
			e.spill = e.spill[n:]
		}
	}
	out := dst.Output()
	if err := out.AppendBuffer(src.Input()); err != nil {
		x.fail("%v", err)
	}
	return x.wrote(e.other, dst.Flush())
}

func (x *faultRun) openStore() {
	if a, b := x.pair(x.content(8<<10), x.content(1<<10)); a != nil {
		b.s.Pause(Write)
		b.again = x.r.IntN(2) == 0 // what goes the other way is passed on at once
	}
}

// store keeps what comes until it is all there, and only then sends it. What b
// does not take at once is kept here.
func (x *faultRun) store(e *faultEnd) {
	if e.over() || e.other.over() || e.finished {
		return
	}
	dst := e.other.s
	if !e.eof {
		if !e.again {
			if _, err := io.Copy(dst, e.s); !x.wrote(e.other, err) {
				e.again = true
			} else {
				return
			}
		} else if !e.s.InputFull() && x.r.IntN(2) == 0 {
			return // there may be more
		}
		e.spill = e.s.Input().appendTo(e.spill)
		return
	}
	dst.Resume(Write)
	e.spill = e.s.Input().appendTo(e.spill)
	for len(e.spill) > 0 {
		n, err := dst.Write(e.spill[:min(len(e.spill), 1+x.r.IntN(500))])
		if !x.wrote(e.other, err) {
			return
		}
		e.spill = e.spill[n:]
	}
	x.passed(e)
}

// appendTo moves all of b behind p.
func (b *Buffer) appendTo(p []byte) []byte {
	p = append(p, make([]byte, b.Len())...)
	b.Read(p[len(p)-b.Len():])
	return p
}

func (x *faultRun) openChat() {
	if len(x.ends) == 0 {
		x.coming = 1 + x.r.IntN(3)
		x.lines = true
	}
	var data []byte
	for range x.r.IntN(12) {
		data = fmt.Appendf(data, "%d says %s\n", len(x.ends), strings.Repeat("bla ", x.r.IntN(20)))
	}
	if e := x.connect(new(faultGroup), data, new(faultLane), new(faultLane), false); e != nil {
		e.other = e
	}
}

// chat tells all what one has said.
func (x *faultRun) chat(e *faultEnd) {
	if e.over() {
		return
	}
	for line := range e.s.Input().Lines(LF) {
		got := e.lineGot
		e.lineGot += len(line) + 1
		if e.lineGot > len(e.c.data) || !bytes.Equal(line, e.c.data[got:e.lineGot-1]) {
			x.fail("the stream %d has received %q, and not what was said after %d bytes", e.c.id, line, got)
			return
		}
		for _, to := range x.ends {
			if !to.over() {
				x.say(to, line)
			}
		}
		if e.over() { // it did not take what it said itself
			return
		}
	}
	if e.eof {
		if !x.isCut(e.g) && e.lineGot != len(e.c.data) {
			x.fail("the stream %d has ended after %d bytes of %d", e.c.id, e.lineGot, len(e.c.data))
		}
		x.n.mu.Lock()
		e.c.from.whole = true
		x.n.mu.Unlock()
		x.close(e)
	}
}

// say writes a line to e. If it takes no more, the line is left out, or e turned
// out.
func (x *faultRun) say(e *faultEnd, line []byte) {
	p := append(slices.Clone(line), '\n')
	x.n.mu.Lock()
	lane := e.c.from
	had := len(lane.sent)
	lane.sent = append(lane.sent, p...)
	x.n.mu.Unlock()
	var err error
	if x.r.IntN(2) == 0 {
		_, err = e.s.Write(p)
	} else {
		out := e.s.Output()
		x.releases[0]++
		out.Append(p, func() {
			x.n.mu.Lock()
			x.releases[1]++
			x.n.mu.Unlock()
		})
		if err = e.s.Flush(); err != nil {
			out.Reset()
		}
	}
	if x.wrote(e, err) {
		return
	}
	if err == ErrFull {
		x.n.mu.Lock()
		lane.sent = lane.sent[:had]
		x.n.mu.Unlock()
		if x.r.IntN(4) == 0 {
			x.abort(e)
		}
	}
}

// ---- What is received ----

// hear takes a message.
func (x *faultRun) hear(ev Event) {
	x.messages++
	var what string
	if *faultSeed != 0 {
		what = ev.String()
	}
	x.n.mu.Lock()
	x.n.progress()
	x.n.note("%s", what)
	x.n.mu.Unlock()
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
		x.fail("the stream %d: %v: %s", e.c.id, ev, fmt.Sprintf(format, args...))
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
		if s.held.Load() == 0 {
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
		x.n.mu.Lock()
		real := e.c.inEnd
		x.n.mu.Unlock()
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
		x.n.mu.Lock()
		errs := e.c.errs
		cut := e.g.cut
		unread := len(e.c.in)
		x.n.mu.Unlock()
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
	x.n.mu.Lock()
	x.n.note("%d: fiddle %d", e.c.id, which)
	x.n.mu.Unlock()
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
		if e.c.plain {
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

// TestFaultsFound has what TestFaults has found, step by step.
func TestFaultsFound(t *testing.T) {
	for name, test := range map[string]func(*testing.T, *faultRun){
		"CloseDoesNotSpin":   testCloseDoesNotSpin,
		"PlainCloseNoSpin":   testPlainCloseNoSpin,
		"RefusedAndConsumed": testRefusedAndConsumed,
		"CloseSeesReset":     testCloseSeesReset,
		"RateTimerEnds":      testRateTimerEnds,
	} {
		for _, oneShot := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", name, oneShot), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := &faultNet{p: newFakePoller(), r: rand.New(rand.NewPCG(1, 1)), oneShot: oneShot, moved: time.Now()}
					n.note = t.Logf
					c, err := (&Config{IgnoreEnv: true, MaxOutput: 100, Linger: time.Hour}).complete()
					if err != nil {
						t.Fatal(err)
					}
					l := newLoop(c, n)
					n.streams = l.Dump
					defer l.Close()
					test(t, &faultRun{n: n, l: l, r: n.r})
					if n.failure != "" {
						t.Errorf("%s\n%s", n.failure, n.dump)
					}
				})
			})
		}
	}
}

// still returns a stream whose peer does nothing by itself.
func (x *faultRun) still(plain bool) (*Stream, *faultConn) {
	e := x.connect(new(faultGroup), nil, new(faultLane), new(faultLane), plain)
	e.c.until = time.Now().Add(1000 * time.Hour)
	e.c.outRoom = 10
	e.c.resetAt, e.c.closeAt = -1, -1
	x.l.Poll(0) // Accepted
	return e.s, e.c
}

// comes has p arrive, and the end.
func (c *faultConn) comes(p string, end bool) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.in = append(c.in, p...)
	c.inEnd = end
	w := What(Read)
	if end {
		w |= EarlyClose
	}
	c.sync(w)
}

// resets has the peer reset.
func (c *faultConn) resets() {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.die(eCONNRESET, false)
	c.gone = true
	c.sync(whatPolled | hangup)
}

// hears polls until there is no message within a minute, and returns the kinds of
// those that came.
func (x *faultRun) hears() (got []Event) {
	for {
		ev, ok := x.l.Poll(time.Minute)
		if !ok {
			return got
		}
		got = append(got, ev)
	}
}

// A closing stream that has read to the end, and waits for its peer to take what
// is unsent, does not ask for what there is to be read again and again.
func testCloseDoesNotSpin(t *testing.T, x *faultRun) {
	s, c := x.still(false)
	s.Write(make([]byte, 100))
	s.Close()
	c.comes("more", true)
	x.hears()
	if x.n.waits > 20 {
		t.Errorf("%d waits", x.n.waits)
	}
	s.Abort()
}

// Nor does one that cannot half-close, which does not read while it closes.
func testPlainCloseNoSpin(t *testing.T, x *faultRun) {
	s, c := x.still(true)
	s.Write(make([]byte, 100))
	s.Close()
	c.comes("more", false)
	x.hears()
	if x.n.waits > 20 {
		t.Errorf("%d waits", x.n.waits)
	}
	s.Abort()
}

// Input that another stream has refused, and that was consumed in another way,
// holds back no EOF.
func testRefusedAndConsumed(t *testing.T, x *faultRun) {
	src, c := x.still(false)
	dst, _ := x.still(false)
	dst.Write(make([]byte, 200))
	c.comes("abc", false)
	if ev, _ := x.l.Poll(0); ev != Event(Readable{src}) {
		t.Fatalf("received %v", ev)
	}
	if _, err := src.WriteTo(dst); err != ErrFull {
		t.Fatalf("WriteTo: %v", err)
	}
	src.Input().Discard(3)
	c.comes("de", true)
	if got := x.hears(); !slices.Equal(got, []Event{Readable{src}, EOF{src}}) {
		t.Errorf("received %v", got)
	}
	src.Abort()
	dst.Abort()
}

// A closing stream whose peer has finished, and that waits for its rate, is
// released when the peer resets.
func testCloseSeesReset(t *testing.T, x *faultRun) {
	s, c := x.still(false)
	c.comes("", true)
	if got := x.hears(); !slices.Equal(got, []Event{EOF{s}}) {
		t.Fatalf("received %v", got)
	}
	s.SetRateLimit(&RateLimit{WriteRate: 1, WriteBurst: 1, Tick: time.Second})
	s.Write(make([]byte, 1000))
	s.Close()
	x.l.Poll(0)
	began := time.Now()
	c.resets()
	for !c.closed && time.Since(began) < time.Minute && x.n.failure == "" {
		x.l.Poll(time.Millisecond)
	}
	if d := time.Since(began); d > 10*time.Millisecond {
		t.Errorf("it has taken %v", d)
	}
	s.Abort()
}

// A rate limit's timer does not outlive those who wait for it.
func testRateTimerEnds(t *testing.T, x *faultRun) {
	limit := RateLimit{ReadRate: 1, ReadBurst: 1, WriteRate: 1, WriteBurst: 1, Tick: time.Second}
	group, _ := x.l.RateGroup(limit)
	for _, set := range []func(*Stream){func(s *Stream) { s.SetRateLimit(&limit) }, func(s *Stream) { s.SetRateGroup(group) }} {
		for _, end := range []func(*Stream){
			func(s *Stream) { s.Abort() },
			func(s *Stream) { s.Close() },
			func(s *Stream) { s.SetRateLimit(nil); s.SetRateGroup(nil); s.Pause(Read) },
		} {
			s, c := x.still(false)
			set(s)
			c.comes("much", false)
			x.l.Poll(0)
			x.l.Poll(0)
			x.l.Poll(0)
			end(s)
			x.l.mu.Lock()
			if s.extra.linger.running() {
				x.l.timers.stop(&s.extra.linger)
			}
			if _, ok := x.l.timers.next(); ok {
				t.Error("a timer runs")
			}
			x.l.mu.Unlock()
			s.Abort()
		}
	}
}

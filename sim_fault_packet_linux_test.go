// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestFaultPackets is TestFaults for datagrams: packet connections on real sockets of
// UDP, connected and not, and unixgram, whose readiness is reported by a poller that
// does what a kernel may do out of turn, in virtual time. What the kernel
// refuses it refuses itself: a full socket, a datagram that is too long, a peer that is
// not there. Every datagram is compared with a model. The flags are those of TestFaults.
func TestFaultPackets(t *testing.T) {
	first, seeds := *faultFirst, *faultSeeds/4
	if first == 0 {
		first = uint64(time.Now().UnixNano())
	}
	if *faultSeed != 0 {
		first, seeds = *faultSeed, 1
	}
	dir := shortDir(t)
	var next atomic.Int64
	var mu sync.Mutex
	var sum packetTotal
	t.Run("Seeds", func(t *testing.T) {
		for worker := range runtime.GOMAXPROCS(0) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				var total packetTotal
				for !t.Failed() {
					i := next.Add(1) - 1
					if i >= int64(seeds) {
						break
					}
					synctest.Test(t, func(t *testing.T) {
						x := &packetRun{t: t, seed: first + uint64(i), dir: filepath.Join(dir, fmt.Sprint(worker)), total: &total}
						x.run()
					})
				}
				mu.Lock()
				defer mu.Unlock()
				for k, n := range total {
					sum[k] += n
				}
			})
		}
	})
	t.Logf("-fault.first=%d -fault.seeds=%d: %v", first, 4*seeds, &sum)
	if t.Failed() || seeds < 500 {
		return
	}
	for k, n := range sum {
		if n == 0 {
			t.Errorf("in %d seeds there was no %q", seeds, packetNames[k])
		}
	}
}

// What is counted.
const (
	packetConns = iota
	packetSent
	packetReceived
	packetBytes
	packetMessages
	packetLate
	packetDoubled
	packetSpurious
	packetEarly
	packetFull
	packetLong
	packetCut
	packetRefused
	packetShort
	packetLeft
	packetPaused
	packetStopped
	packetKinds
)

var packetNames = [packetKinds]string{"connections", "sent", "received", "bytes", "messages", "late readiness", "doubled",
	"spurious", "early return", "EAGAIN for a full socket", "EMSGSIZE", "buffer too small", "ECONNREFUSED", "batch sent in part",
	"left for another Packets", "pause", "receiver that has stopped"}

type packetTotal [packetKinds]int

func (p *packetTotal) String() string {
	var words []string
	for k, n := range p {
		words = append(words, fmt.Sprintf("%s %d", packetNames[k], n))
	}
	return strings.Join(words, ", ")
}

// A packetRun is packet connections and their peers. One goroutine owns it all: the
// poller is asked by the one that receives.
type packetRun struct {
	t     *testing.T
	seed  uint64
	dir   string
	total *packetTotal
	r     *rand.Rand // what the program and the peers do
	l     *Loop
	p     *packetPoller
	ends  []*packetEnd
	stops bool // connections get receivers that have stopped: then the seed does not decide everything
}

// A packetPoller reports what is ready on real sockets, by the fake poller.
type packetPoller struct {
	*fakePoller
	x       *packetRun
	f       *rand.Rand
	rates   [packetKinds]float64
	oneShot bool
	budget  int // reports without a reason still to come

	mu   sync.Mutex // guards following
	regs map[sysFD]*packetReg
	late []faultReport
}

// A faultReport is a report that comes later.
type faultReport struct {
	ready
	steps int // waits until then
}

type packetReg struct {
	tok  token
	left What // of a one-shot method: what is still to be reported
}

// A packetEnd is a connection and its peer.
type packetEnd struct {
	c     *PacketConn
	kind  string
	peer  *net.UDPConn
	upeer *net.UnixConn
	raw   syscall.RawConn
	to    net.Addr // where the connection sends to; nil: it is connected
	gone  bool     // the peer has left
	still int      // datagrams that the peer is still to send

	coming [][]byte // sent by the peer and not yet read
	going  [][]byte // sent to the peer and not yet received
	back   [][]byte // to be sent to the peer
	closed bool
}

func (p *packetPoller) hit(k int) bool {
	if p.rates[k] == 0 || p.f.Float64() >= p.rates[k] {
		return false
	}
	p.x.total[k]++
	return true
}

func (p *packetPoller) features() Feature {
	if p.oneShot {
		return p.fakePoller.features() &^ FeatureEdge
	}
	return p.fakePoller.features()
}

func (p *packetPoller) add(fd sysFD, tok token, i What) error { return p.arm(fd, tok, i) }

func (p *packetPoller) arm(fd sysFD, tok token, i What) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.regs[fd] = &packetReg{tok, i & whatPolled}
	p.x.news(fd)
	return nil
}

func (p *packetPoller) remove(fd sysFD) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.regs, fd)
	return nil
}

func (p *packetPoller) removeIf(fd sysFD, tok token) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.regs[fd]; r != nil && r.tok == tok {
		delete(p.regs, fd)
	}
	return nil
}

// news has the poller report fd if there is something. The caller holds mu.
func (x *packetRun) news(fd sysFD) {
	p := x.p
	reg := p.regs[fd]
	if reg == nil || p.oneShot && reg.left&Read == 0 || sysPeek(fd) == eAGAIN {
		return
	}
	reg.left &^= Read
	e := faultReport{ready: ready{reg.tok, Read}}
	if p.hit(packetLate) {
		e.steps = 1 + p.f.IntN(5)
	}
	p.late = append(p.late, e)
	if p.hit(packetDoubled) {
		p.late = append(p.late, e)
	}
}

// wait lets the peers do something, and reports what is due.
func (p *packetPoller) wait(dst []ready, d time.Duration) ([]ready, error) {
	for tries := 0; ; tries++ {
		p.x.step()
		p.mu.Lock()
		had := len(dst)
		for i := 0; i < len(p.late); i++ {
			if p.late[i].steps--; p.late[i].steps < 0 {
				dst = append(dst, p.late[i].ready)
				p.late = slices.Delete(p.late, i, i+1)
				i--
			}
		}
		if p.budget > 0 && p.hit(packetSpurious) {
			p.budget--
			for _, e := range p.x.ends { // not by the map, which has no order
				if reg := p.regs[e.c.fd]; reg != nil {
					dst = append(dst, ready{reg.tok, Read})
				}
			}
		}
		busy := len(p.late) > 0
		p.mu.Unlock()
		if len(dst) > had || d == 0 {
			return dst, nil
		}
		if p.budget > 0 && p.hit(packetEarly) {
			p.budget--
			return dst, nil
		}
		select {
		case <-p.p.Wakec:
			return dst, nil
		default:
		}
		if busy || p.x.busy() {
			if tries < 100 {
				continue
			}
			return dst, nil
		}
		return p.fakePoller.wait(dst, d)
	}
}

func (x *packetRun) fail(format string, args ...any) {
	x.t.Helper()
	x.t.Errorf("%s\nto see what happens: go test -run 'TestFaultPackets$' -fault.seed=%d .", fmt.Sprintf(format, args...), x.seed)
}

func (x *packetRun) run() {
	x.r = rand.New(rand.NewPCG(x.seed, 1))
	p := &packetPoller{fakePoller: newFakePoller(), x: x, f: rand.New(rand.NewPCG(x.seed, 2)), regs: make(map[sysFD]*packetReg), budget: 100}
	x.p = p
	p.oneShot = x.r.IntN(2) == 0
	for k := packetLate; k <= packetEarly; k++ {
		p.rates[k] = []float64{0, 0.05, 0.3}[x.r.IntN(3)]
	}
	conf, err := (&Config{IgnoreEnv: true, Priorities: 1 + x.r.IntN(2), MaxBatch: []int{0, 1, 3}[x.r.IntN(3)]}).complete()
	if err != nil {
		x.t.Fatal(err)
	}
	x.l = newLoop(conf, p)
	defer x.l.Close()
	for i := range 1 + x.r.IntN(3) {
		x.open(i)
	}
	eager := x.r.IntN(2) == 0
	x.stops = x.r.IntN(4) == 0
	began := time.Now()
	for turns := 0; !x.over(); turns++ {
		if turns > 20000 || time.Since(began) > time.Hour {
			var b bytes.Buffer
			x.l.Dump(&b)
			for _, e := range x.ends {
				fmt.Fprintf(&b, "%s: coming %d, going %d, back %d, still %d, gone %v, closed %v\n", e.kind, len(e.coming), len(e.going), len(e.back), e.still, e.gone, e.closed)
			}
			x.fail("it does not end: %d turns, %v\n%s", turns, time.Since(began), b.String())
			break
		}
		ev, ok := x.l.Poll([]time.Duration{0, time.Microsecond, time.Second}[x.r.IntN(3)])
		if ok {
			x.hear(ev)
		}
		if x.t.Failed() {
			break
		}
		for _, e := range x.ends {
			if eager && !e.closed && x.r.IntN(20) == 0 {
				x.read(e, nil) // no message has said that it may
			}
			x.answer(e) // what was refused before
			if e.finished() {
				e.closed = true
				e.c.Close()
			}
		}
	}
	for _, e := range x.ends {
		e.c.Close()
		e.leave()
	}
}

func (e *packetEnd) leave() {
	if e.peer != nil {
		e.peer.Close()
	} else {
		e.upeer.Close()
	}
	e.gone = true
}

// finished reports whether nothing more will happen to e.
func (e *packetEnd) finished() bool {
	return !e.closed && (e.gone || e.still == 0 && len(e.coming)+len(e.back)+len(e.going) == 0)
}

func (x *packetRun) over() bool {
	return !slices.ContainsFunc(x.ends, func(e *packetEnd) bool { return !e.closed })
}

func (x *packetRun) open(i int) {
	e := &packetEnd{kind: []string{"udp", "connected", "unixgram"}[x.r.IntN(3)], still: x.r.IntN(60)}
	var err error
	must := func(err error) {
		x.t.Helper()
		if err != nil {
			x.t.Fatal(err)
		}
	}
	local := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}
	var near net.PacketConn
	if e.kind == "unixgram" {
		name := fmt.Sprintf("%s.%d", x.dir, i)
		near, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name + "n", Net: "unixgram"})
		must(err)
		e.upeer, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name + "f", Net: "unixgram"})
		must(err)
		e.to = e.upeer.LocalAddr()
		e.raw, err = e.upeer.SyscallConn()
	} else {
		e.peer, err = net.ListenUDP("udp4", local)
		must(err)
		if e.kind == "connected" {
			near, err = net.DialUDP("udp4", local, e.peer.LocalAddr().(*net.UDPAddr))
		} else {
			near, err = net.ListenUDP("udp4", local)
			e.to = e.peer.LocalAddr()
		}
		must(err)
		e.raw, err = e.peer.SyscallConn()
	}
	must(err)
	e.c, err = x.l.WrapPacketConn(near)
	must(err)
	near.Close()
	if e.kind == "unixgram" { // Close of package net removes only what it has made by itself
		x.t.Cleanup(func() {
			syscall.Unlink(e.c.local.String())
			syscall.Unlink(e.to.String())
		})
	}
	e.c.Data = e
	x.ends = append(x.ends, e)
	x.total[packetConns]++
}

// onPeer calls f with the peer's descriptor.
func (e *packetEnd) onPeer(f func(fd sysFD) error) (err error) {
	if cerr := e.raw.Control(func(fd uintptr) { err = f(sysFD(fd)) }); cerr != nil {
		return cerr
	}
	return err
}

// busy reports whether a peer could do something.
func (x *packetRun) busy() bool {
	return slices.ContainsFunc(x.ends, func(e *packetEnd) bool {
		return !e.closed && !e.gone && (len(e.going) > 0 || e.still > 0 && e.room())
	})
}

// room reports whether the connection's socket takes another datagram for certain.
func (e *packetEnd) room() bool { return len(e.coming) < 8 }

// step lets the peers do something.
func (x *packetRun) step() {
	for _, e := range x.ends {
		if e.closed || e.gone || x.r.IntN(2) == 0 {
			continue
		}
		if len(e.going) > 0 && x.r.IntN(3) > 0 {
			x.receive(e)
		}
		switch {
		case e.kind == "connected" && x.r.IntN(200) == 0:
			x.refuse(e)
		case e.still > 0 && e.room():
			x.send(e)
		}
	}
}

func (x *packetRun) content() []byte {
	at, n := x.r.IntN(modelPeriod), x.r.IntN(4000)>>x.r.IntN(12)
	return modelContent()[at : at+n]
}

// send has the peer send a datagram.
func (x *packetRun) send(e *packetEnd) {
	p := x.content()
	to := packetAddr{name: e.c.local.String()}
	if e.peer != nil {
		to = packetAddr{ip: e.c.local.(*net.UDPAddr).AddrPort()}
		to.ip = netip.AddrPortFrom(to.ip.Addr().Unmap(), to.ip.Port())
	}
	if err := e.onPeer(func(fd sysFD) error { return sysSendTo(fd, p, &to) }); err != nil {
		if err != eAGAIN || e.peer != nil {
			x.fail("the peer's datagram: %v", err)
		}
		return
	}
	e.still--
	e.coming = append(e.coming, p)
	x.total[packetSent]++
	x.p.mu.Lock()
	x.news(e.c.fd)
	x.p.mu.Unlock()
}

// receive has the peer receive a datagram.
func (x *packetRun) receive(e *packetEnd) {
	buf := make([]byte, 5000)
	n := 0
	err := e.onPeer(func(fd sysFD) (err error) {
		n, _, _, _, err = sysRecvFrom(fd, buf, false)
		return err
	})
	if err != nil || !bytes.Equal(buf[:n], e.going[0]) {
		x.fail("%s: the peer has received %d bytes, %v; %d were sent", e.kind, n, err, len(e.going[0]))
		return
	}
	e.going = e.going[1:]
}

// refuse has the peer leave, so that what is sent to it is refused.
func (x *packetRun) refuse(e *packetEnd) {
	e.leave()
	if err := e.write([]byte("is anybody there?")); err != nil {
		x.fail("a write to nobody: %v", err) // the error comes later
	}
	_, err := e.c.WriteTo(nil, nil)
	if err == nil {
		x.fail("a write after one to nobody gives no error")
	} else if x.refused(e, err) {
		x.total[packetRefused]++
	}
}

// refused checks an error of a connection whose peer has left.
func (x *packetRun) refused(e *packetEnd, err error) bool {
	var op *net.OpError
	if !e.gone || !errors.Is(err, syscall.ECONNREFUSED) || !errors.As(err, &op) {
		x.fail("%s: %v; the peer has left: %v", e.kind, err, e.gone)
		return false
	}
	return true
}

func (e *packetEnd) write(p []byte) error {
	_, err := e.c.WriteTo(p, e.to)
	return err
}

// answer sends what there is to be sent, one by one or in batches.
func (x *packetRun) answer(e *packetEnd) {
	for len(e.back) > 0 && !e.closed && !e.gone {
		if e.kind != "unixgram" && len(e.going) > 20 {
			return // or its socket would drop some
		}
		k := 1
		var err error
		if x.r.IntN(2) == 0 {
			err = e.write(e.back[0])
			if err != nil {
				k = 0
			}
		} else {
			var ds []Datagram
			for _, p := range e.back[:min(len(e.back), 1+x.r.IntN(40), 40-len(e.going))] {
				ds = append(ds, Datagram{Data: p, NetAddr: e.to})
			}
			long := e.kind != "unixgram" && x.r.IntN(10) == 0
			if long {
				ds = append(ds, Datagram{Data: make([]byte, 70000), NetAddr: e.to})
			}
			k, err = e.c.WriteBatch(ds)
			if (err == nil) != (k == len(ds)) {
				x.fail("%d of %d were sent: %v", k, len(ds), err)
			}
			if k > 0 && k < len(ds) {
				x.total[packetShort]++
			}
			if long && k == len(ds)-1 && errors.Is(err, syscall.EMSGSIZE) {
				x.total[packetLong]++
				err = nil
			}
		}
		e.going = append(e.going, e.back[:k]...)
		e.back = e.back[k:]
		if err == ErrWouldBlock && e.kind == "unixgram" && len(e.going) > 0 {
			x.total[packetFull]++
			return
		}
		if err != nil {
			x.fail("%s: a write: %v", e.kind, err)
			return
		}
	}
}

// hear takes a message.
func (x *packetRun) hear(ev Event) {
	x.total[packetMessages]++
	if tick, ok := ev.(Tick); ok {
		tick.Timer.Data.(func())()
		return
	}
	c := ev.(Packets).Conn
	e := c.Data.(*packetEnd)
	if e.closed {
		x.fail("%s: %v after Close", e.kind, ev)
		return
	}
	if len(e.coming) == 0 && !e.gone {
		x.fail("%s: %v, and there is nothing", e.kind, ev)
	}
	x.read(e, ev)
	x.answer(e)
	x.fiddle(e)
}

// read reads some of what has come. If a message says that there is something, that is
// ev.
func (x *packetRun) read(e *packetEnd, ev Event) {
	for reads := 0; ; reads++ {
		if reads > 0 && x.r.IntN(5) == 0 {
			if len(e.coming) > 0 {
				x.total[packetLeft]++
			}
			break
		}
		buf := make([]byte, 4000>>x.r.IntN(12))
		n, from, err := e.c.ReadFrom(buf)
		if err == ErrWouldBlock {
			if reads == 0 && ev != nil {
				x.fail("%s: %v, and there is nothing to be read", e.kind, ev)
			}
			break
		}
		if len(e.coming) == 0 || err != nil && err != io.ErrShortBuffer {
			x.refused(e, err)
			x.total[packetRefused]++
			break
		}
		want := e.coming[0]
		e.coming = e.coming[1:]
		if k := min(len(want), len(buf)); n != k || !bytes.Equal(buf[:n], want[:k]) || (err != nil) != (k < len(want)) {
			x.fail("%s: read %d bytes, %v; %d were sent", e.kind, n, err, len(want))
			return
		}
		if err != nil {
			x.total[packetCut]++
		}
		if e.to != nil && from.String() != e.to.String() {
			x.fail("%s: from %v; want %v", e.kind, from, e.to)
		}
		x.total[packetReceived]++
		x.total[packetBytes] += n
		e.back = append(e.back, buf[:n])
	}
}

// fiddle does something to a connection that makes no difference to what it carries.
func (x *packetRun) fiddle(e *packetEnd) {
	later := func(f func()) { x.l.After(time.Duration(x.r.IntN(1000)) << x.r.IntN(22)).Data = f }
	switch x.r.IntN(12) {
	case 0:
		e.c.Pause()
		x.total[packetPaused]++
		later(e.c.Resume)
	case 1:
		e.c.SetPriority(x.r.IntN(x.l.conf.Priorities))
	case 2:
		if !x.stops {
			return
		}
		e.c.Notify(make(chan Event))
		x.total[packetStopped]++
		later(func() { e.c.Notify(nil) })
	}
}

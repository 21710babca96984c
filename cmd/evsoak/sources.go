// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package main

import (
	"bytes"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/evchan/evchan"
)

// A driver starts jobs at each Tick, up to the node's limit.
type driver struct{}

func (driver) handle(n *node, ev evchan.Event) {
	ev.(evchan.Tick).Timer.Take()
	w := n.w
	if w.ending.Load() {
		n.stopTimers()
		n.quiet.Store(true)
		return
	}
	for tries := 0; tries < 8 && int(n.jobs.Load()) < n.limit; tries++ {
		echo := w.echo[n.r.IntN(len(w.echo))]
		switch n.r.IntN(20) {
		case 0:
			n.exchange(w.rude[n.r.IntN(len(w.rude))], true)
		case 1:
			n.refusal()
		case 2, 3:
			n.churn(echo)
		case 4:
			n.idler(echo)
		case 5:
			n.member()
		case 6:
			n.pipePair()
		default:
			n.exchange(echo, false)
		}
	}
	n.churnTimers()
	for _, f := range n.fixed {
		if t, ok := f.(ticker); ok {
			t.tick(n)
		}
	}
}

// A ticker is a fixed source that does something at each Tick of the driver.
type ticker interface{ tick(*node) }

// ---- Timers ----

// A timerJob is a timer that is started, stopped and started again.
type timerJob struct {
	t       *evchan.Timer
	began   time.Time
	d       time.Duration
	stopped bool
	every   bool
	ticks   int
}

func (n *node) churnTimers() {
	if len(n.timers) < 64 {
		j := &timerJob{d: time.Duration(1 + n.r.Int64N(int64(50*time.Millisecond))), began: time.Now(), every: n.r.IntN(8) == 0}
		if j.every {
			j.t = n.loop.Every(j.d)
		} else {
			j.t = n.loop.After(j.d)
		}
		j.t.Data = j
		n.timers = append(n.timers, j)
		return
	}
	i := n.r.IntN(len(n.timers))
	switch j := n.timers[i]; n.r.IntN(3) {
	case 0:
		j.t.Stop()
		j.stopped = true
	case 1:
		if !j.every {
			j.began, j.stopped = time.Now(), false
			j.t.Reset(j.d)
		}
	case 2:
		j.t.Close()
		j.stopped = true
		n.timers[i] = n.timers[len(n.timers)-1]
		n.timers = n.timers[:len(n.timers)-1]
	}
}

func (n *node) stopTimers() {
	for _, j := range n.timers {
		j.t.Stop()
		j.stopped = true
	}
	n.timers = nil
}

func (j *timerJob) handle(n *node, ev evchan.Event) {
	k := j.t.Take()
	late := time.Since(j.began) // after Take, since that counts the expiries up to now
	n.w.ticks.Add(int64(k))
	j.ticks += k
	if j.stopped || k < 1 || late < time.Duration(j.ticks)*j.d && j.every || late < j.d {
		n.w.fault("timer: %d, %d in all, after %v of %v, stopped %v", k, j.ticks, late, j.d, j.stopped)
	}
}

// ---- Triggers ----

// A triggerJob counts how often it was fired.
type triggerJob struct {
	*evchan.Trigger
	fired, taken *counter
}

func (n *node) trigger() error {
	j := &triggerJob{n.loop.Trigger(), new(counter), new(counter)}
	j.Data = j
	n.fixed = append(n.fixed, j)
	return nil
}

func (j *triggerJob) handle(n *node, _ evchan.Event) { j.taken.Add(int64(j.Take())) }

// tick fires the triggers of a random loop.
func (j *triggerJob) tick(n *node) {
	for _, f := range n.w.nodes[n.r.IntN(len(n.w.nodes))].fixed {
		if o, ok := f.(*triggerJob); ok {
			o.fired.Add(1)
			o.Fire()
		}
	}
}

// ---- Signals ----

// A signalJob sends a signal to the process from time to time.
type signalJob struct {
	*evchan.SignalWatch
	sent, taken *counter
	next        time.Time
}

func (n *node) signal() error {
	s, err := n.loop.Signal(syscall.SIGUSR1)
	if err != nil {
		return err
	}
	j := &signalJob{SignalWatch: s, sent: new(counter), taken: new(counter)}
	s.Data = j
	n.fixed = append(n.fixed, j)
	return nil
}

func (j *signalJob) handle(n *node, _ evchan.Event) {
	k := int64(j.Take())
	j.taken.Add(k)
	n.w.signals.Add(k)
}

func (j *signalJob) tick(*node) {
	if now := time.Now(); now.After(j.next) {
		j.next = now.Add(50 * time.Millisecond)
		j.sent.Add(1)
		syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	}
}

// ---- Watches ----

// A watchJob watches a pipe that is written to.
type watchJob struct {
	*evchan.Watch
	r, w  *os.File
	raw   syscall.RawConn
	check checker
	sent  int
}

func (n *node) watch() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	raw, err := r.SyscallConn()
	if err != nil {
		return err
	}
	watch, err := n.loop.WatchConn(r, evchan.Read|evchan.Persist)
	if err != nil {
		return err
	}
	j := &watchJob{Watch: watch, r: r, w: w, raw: raw, check: checker{content: n.w.content, rep: n.w.report}}
	watch.Data = j
	n.fixed = append(n.fixed, j)
	return watch.Arm(0)
}

func (j *watchJob) Close() error { return errors.Join(j.Watch.Close(), j.r.Close(), j.w.Close()) }

func (j *watchJob) handle(n *node, _ evchan.Event) {
	j.Take()
	var p [1000]byte
	var k int
	var failed error
	err := j.raw.Read(func(fd uintptr) bool {
		k, failed = syscall.Read(int(fd), p[:])
		return true
	})
	if failed == syscall.EAGAIN { // over a channel, a Ready may be received late
		return
	}
	if err == nil {
		err = failed
	}
	if err == nil {
		_, err = j.check.Write(p[:k])
	}
	if err != nil && !n.quiet.Load() { // at the end the pipe may be closed already
		n.w.fault("pipe: %v", err)
	}
	n.w.ready.Add(1)
}

func (j *watchJob) tick(n *node) {
	if j.sent-j.check.got > 2000 { // Write must not block
		return
	}
	k := 1 + n.r.IntN(2000)
	if _, err := j.w.Write(j.check.content.at(j.sent, k)); err != nil {
		n.w.fault("pipe: %v", err)
	}
	j.sent += k
}

// ---- Datagrams ----

// A packetJob sends datagrams to an echo, which returns most of them.
type packetJob struct {
	*evchan.PacketConn
	echo      *evchan.PacketConn
	sent, got *counter
}

// A packetEcho sends datagrams back.
type packetEcho struct{}

func (n *node) packets() error {
	near, err := n.loop.ListenPacket("udp", "127.0.0.1:0", nil)
	if err != nil {
		return err
	}
	far, err := n.loop.ListenPacket("udp", "127.0.0.1:0", nil)
	if err != nil {
		return err
	}
	far.Data = packetEcho{}
	j := &packetJob{near, far, new(counter), new(counter)}
	near.Data = j
	n.fixed = append(n.fixed, j, far)
	return nil
}

func (packetEcho) handle(n *node, ev evchan.Event) {
	c := ev.(evchan.Packets).Conn
	var p [2000]byte
	k, from, err := c.ReadFromAddrPort(p[:])
	if err == nil {
		_, err = c.WriteToAddrPort(p[:k], from)
	}
	if err != nil && !errors.Is(err, evchan.ErrWouldBlock) && !n.quiet.Load() {
		n.w.fault("datagram: %v", err)
	}
}

func (j *packetJob) handle(n *node, _ evchan.Event) {
	for {
		var p [2000]byte
		k, _, err := j.ReadFromAddrPort(p[:])
		if err != nil {
			if !errors.Is(err, evchan.ErrWouldBlock) && !n.quiet.Load() {
				n.w.fault("datagram: %v", err)
			}
			return
		}
		if k < 2 || !bytes.Equal(p[2:k], n.w.content.at(int(p[0])<<8+int(p[1]), k-2)) {
			n.w.fault("datagram: there are wrong bytes among %d", k)
		}
		n.w.bytes.Add(int64(k))
		n.w.datagrams.Add(1)
		j.got.Add(1)
	}
}

func (j *packetJob) tick(n *node) {
	at := n.r.IntN(period)
	p := append([]byte{byte(at >> 8), byte(at)}, n.w.content.at(at, n.r.IntN(1400))...)
	if _, err := j.WriteTo(p, j.echo.LocalAddr().(*net.UDPAddr)); err == nil {
		j.sent.Add(1)
	} else if !errors.Is(err, evchan.ErrWouldBlock) {
		n.w.fault("datagram: %v", err)
	}
}

// checkFixed checks the counts of the fixed sources. No job may run any more.
func (n *node) checkFixed() {
	for _, f := range n.fixed {
		switch j := f.(type) {
		case *triggerJob:
			n.w.wait("a trigger's count is short", func() bool {
				return j.taken.Load() >= j.fired.Load()
			}, j.taken.Load)
			if t, f := j.taken.Load(), j.fired.Load(); t > f {
				n.w.fault("a trigger was fired %d times, and Take returned %d", f, t)
			}
		case *signalJob:
			if s := j.sent.Load(); s > 0 && j.taken.Load() == 0 {
				n.w.fault("of %d signals none has come", s)
			}
		case *packetJob:
			if s := j.sent.Load(); s > 100 && j.got.Load() == 0 {
				n.w.fault("of %d datagrams none has come back", s)
			}
		}
	}
}

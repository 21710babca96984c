// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evchan

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// This file is a network in memory that does on demand whatever a kernel may do:
// a poller, on the one that is made of channels, and transports. See TestFaults.

// A faultKind is something that the kernel, or the peer, does out of turn.
type faultKind int

const (
	faultLate       faultKind = iota // a condition is reported some waits later
	faultDoubled                     // a report comes twice
	faultSpurious                    // something is reported that is not so
	faultHangup                      // a hangup is reported, and there is no error
	faultStale                       // a report is of a registration that is over
	faultEarly                       // a wait returns with nothing
	faultWake                        // a wake ends two waits
	faultFlight                      // bytes arrive some waits later
	faultReadAgain                   // there is something to be read, and EAGAIN says no
	faultShortRead                   // a read gives less than there is
	faultExactRead                   // a read fills what it was given, and there is no more
	faultReadError                   // a read fails
	faultWriteAgain                  // there is room, and EAGAIN says no
	faultShortWrite                  // a write takes less than there is room for
	faultWriteError                  // a write fails
	faultNoBufs                      // a write fails with ENOBUFS
	faultPipe                        // a write fails with EPIPE
	faultReset                       // the peer resets
	faultShutdown                    // ENOTCONN for the end of the output
	faultAdd                         // the poller does not take a descriptor
	faultKinds
)

var faultNames = [faultKinds]string{"late readiness", "doubled", "spurious", "spurious hangup", "stale", "early return",
	"doubled wake", "late arrival", "read EAGAIN", "short read", "read filled exactly", "read error", "write EAGAIN",
	"short write", "write error", "ENOBUFS", "EPIPE", "ECONNRESET", "shutdown ENOTCONN", "refused add"}

// A faultCount counts faults by kind.
type faultCount [faultKinds]int64

func (c *faultCount) add(d *faultCount) {
	for k, n := range d {
		c[k] += n
	}
}

func (c *faultCount) String() string {
	var words []string
	for k, n := range c {
		words = append(words, fmt.Sprintf("%s %d", faultNames[k], n))
	}
	return strings.Join(words, ", ")
}

// A faultNet is a poller and what it watches.
type faultNet struct {
	p       *fakePoller
	oneShot bool // a method that reports a condition once and then no more until it is asked anew
	note    func(format string, args ...any)
	streams func(io.Writer) error // writes what the streams are

	mu      sync.Mutex // guards following; taken after the streams', before the poller's
	r       *rand.Rand
	rates   [faultKinds]float64
	counts  faultCount
	budget  int // reports without a reason still to come: they must end, or the loop would never rest
	conns   []*faultConn
	late    []faultReport
	stale   []token
	got     []ready   // of the poller
	turns   int       // waits since something has moved
	moved   time.Time // when that was
	waits   int
	failure string // what was wrong first
	dump    string // what there was then
	over    bool   // the loop has ended: peers do not pause
}

// A faultReport is a report that comes later.
type faultReport struct {
	ready
	steps int // waits until then
}

// faultSpin is how many waits may pass without anything moving: more than there
// are reports without a reason. Arbitrary.
const faultSpin = 1000

// errFault ends the loop after a failure.
var errFault = fmt.Errorf("fault: it has failed")

var _ poller = (*faultNet)(nil)

// fail takes note of what is wrong; the first counts. mu is held.
func (n *faultNet) fail(format string, args ...any) {
	if n.failure == "" {
		n.failure = fmt.Sprintf(format, args...)
		n.note("FAILED: %s", n.failure)
	}
}

// describe returns what there is, for people.
func (n *faultNet) describe() string {
	var b strings.Builder
	n.streams(&b)
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		fmt.Fprintf(&b, "%d: in %d, end %v; out %d, end %v; dead %v, closed %v, reset %v; peer sent %d of %d, got %d of %d, finished %v, ended %v, gone %v, cut %v\n",
			c.id, len(c.in), c.inEnd, len(c.out), c.outEnd, c.dead, c.closed, c.reset,
			c.sent, len(c.data), c.from.got, len(c.from.sent), c.finSent, c.ended, c.gone, c.g.cut)
	}
	return b.String()
}

// hit decides whether a fault of the kind is due, and counts it. mu is held.
func (n *faultNet) hit(k faultKind) bool {
	if n.rates[k] == 0 || n.r.Float64() >= n.rates[k] {
		return false
	}
	n.counts[k]++
	return true
}

// idle is hit for a report without a reason.
func (n *faultNet) idle(k faultKind) bool {
	if n.budget == 0 || !n.hit(k) {
		return false
	}
	n.budget--
	return true
}

// progress takes note that something has moved. mu is held.
func (n *faultNet) progress() { n.turns = 0 }

// stir has a wait look again at what there is to do. mu is held.
func (n *faultNet) stir() {
	select {
	case n.p.changec <- struct{}{}:
	default: // there is a reason already
	}
}

// room returns how many bytes are held on the way: few seldom, for that takes long.
// mu is held.
func (n *faultNet) room() int {
	if n.r.IntN(20) == 0 {
		return 1 + n.r.IntN(8)
	}
	return 64 << n.r.IntN(8)
}

// find returns the connection that tok is the registration of. mu is held.
func (n *faultNet) find(tok token) *faultConn {
	for _, c := range n.conns {
		if c.watched && c.tok == tok {
			return c
		}
	}
	return nil
}

func (n *faultNet) conn(fd sysFD) *faultConn {
	for _, c := range n.conns {
		if c.fd == fd && !c.closed {
			return c
		}
	}
	return nil
}

func (n *faultNet) name() string { return "faults" }

func (n *faultNet) features() Feature {
	if n.oneShot {
		return n.p.features() &^ FeatureEdge
	}
	return n.p.features()
}

func (n *faultNet) add(fd sysFD, tok token, i What) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.conn(fd)
	if c == nil {
		n.fail("add of the unknown descriptor %d", fd)
		return errFake
	}
	if n.hit(faultAdd) {
		return syscall.ENOMEM
	}
	c.ask(tok, i)
	return n.p.add(fd, tok, i)
}

func (n *faultNet) arm(fd sysFD, tok token, i What) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.conn(fd)
	if c == nil || !c.watched {
		n.fail("arm of the descriptor %d, which is not watched", fd)
		return errFake
	}
	c.ask(tok, i)
	return n.p.arm(fd, tok, i)
}

func (n *faultNet) remove(fd sysFD) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.conn(fd); c != nil && c.watched {
		c.watched = false
		n.stale = append(n.stale, c.tok)
	}
	return n.p.remove(fd)
}

func (n *faultNet) wake() error  { return n.p.wake() }
func (n *faultNet) close() error { return n.p.close() }

func (n *faultNet) wait(dst []ready, d time.Duration) ([]ready, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.waits++
	if now := time.Now(); now != n.moved {
		n.moved = now
		n.progress()
	}
	if n.turns++; n.turns > faultSpin {
		n.fail("the loop spins: %d waits, and nothing has moved", n.turns)
	}
	for tries := 0; ; tries++ {
		if tries > 100000 {
			n.fail("BUG of the test: the peers do not come to rest")
		}
		if n.failure != "" {
			if n.dump == "" {
				n.mu.Unlock()
				dump := n.describe()
				n.mu.Lock()
				n.dump = dump
			}
			return dst, errFault
		}
		busy, next := n.step()
		had := len(dst)
		var err error
		if dst, err = n.collect(dst); err != nil || len(dst) > had || d == 0 {
			if len(dst) > had {
				n.note("reported: %v", dst[had:])
			}
			return dst, err
		}
		select {
		case <-n.p.wakec:
			if n.idle(faultWake) {
				n.p.wake()
			}
			return dst, nil
		default:
		}
		if n.idle(faultEarly) {
			return dst, nil
		}
		now := time.Now()
		nap := next.Sub(now)
		if busy {
			if n.r.IntN(16) > 0 {
				continue
			}
			nap = time.Duration(1+n.r.IntN(2000)) * time.Microsecond
		} else if next.IsZero() {
			nap = 2 * time.Hour
		}
		if d > 0 {
			nap = min(nap, d)
		}
		woken, err := n.sleep(nap)
		if err != nil || woken {
			return dst, err
		}
		passed := time.Since(now)
		if d > 0 {
			if d -= passed; d <= 0 {
				return dst, nil
			}
		} else if passed >= time.Hour {
			n.fail("the loop waits for ever")
		}
	}
}

// sleep waits for a while, or until something has changed. It reports whether it
// was woken. mu is held, and let go meanwhile.
func (n *faultNet) sleep(d time.Duration) (woken bool, err error) {
	n.mu.Unlock()
	defer n.mu.Lock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-n.p.changec:
	case <-t.C:
	case <-n.p.wakec:
		woken = true
	case <-n.p.donec:
		return false, os.ErrClosed
	}
	return woken, nil
}

// collect appends what is to be reported. mu is held.
func (n *faultNet) collect(dst []ready) ([]ready, error) {
	for i := 0; i < len(n.late); i++ {
		if n.late[i].steps--; n.late[i].steps <= 0 {
			dst = append(dst, n.late[i].ready)
			n.late = slices.Delete(n.late, i, i+1)
			i--
		}
	}
	var err error
	if n.got, err = n.p.collect(n.got[:0]); err != nil {
		return dst, err
	}
	slices.SortFunc(n.got, func(a, b ready) int { return int(a.tok.slot) - int(b.tok.slot) }) // they come from a map
	for _, e := range n.got {
		c := n.find(e.tok)
		if e.what = c.report(e.what); e.what == 0 {
			continue
		}
		if n.hit(faultLate) {
			n.late = append(n.late, faultReport{e, 1 + n.r.IntN(5)})
			continue
		}
		dst = append(dst, e)
		if n.hit(faultDoubled) {
			dst = append(dst, e)
		}
	}
	for _, c := range n.conns {
		if !c.watched {
			continue
		}
		if n.idle(faultSpurious) {
			if w := c.report(What(n.r.IntN(8)) & whatPolled); w != 0 {
				dst = append(dst, ready{c.tok, w})
			}
		}
		if !hangupIsReset && n.idle(faultHangup) {
			dst = append(dst, ready{c.tok, c.asked&whatPolled | hangup})
		}
	}
	if k := len(n.stale); k > 0 && n.idle(faultStale) {
		dst = append(dst, ready{n.stale[n.r.IntN(k)], []What{Read, Write, Read | Write | EarlyClose | hangup}[n.r.IntN(3)]})
	}
	return dst, nil
}

// step lets the peers do something, and what is on its way arrive. It reports
// whether more will happen by itself, and when a peer that pauses goes on; zero:
// none does. mu is held.
func (n *faultNet) step() (busy bool, next time.Time) {
	now := time.Now()
	for _, c := range n.conns {
		busy = c.arrive() || busy
		if now.Before(c.until) && !n.over {
			if next.IsZero() || c.until.Before(next) {
				next = c.until
			}
			continue
		}
		busy = c.act() || busy
		if !c.closed && c.dead && !c.deadAt.IsZero() && now.Sub(c.deadAt) > 10*time.Second {
			n.fail("the stream %d was reset %v ago, and has not noticed", c.id, now.Sub(c.deadAt))
		}
	}
	return busy || len(n.late) > 0, next
}

// A faultLane is what goes from one end to another. The net's mu guards it.
type faultLane struct {
	sent  []byte
	whole bool // nothing more is sent
	got   int  // bytes of it that were received
}

// A faultGroup is what belongs together: once one of its connections was cut, by
// a fault or on purpose, bytes may be lost on all. The net's mu guards it.
type faultGroup struct {
	cut bool
}

// A faultConn is a connection: at once what the kernel has of it, the transport of
// a stream, and the peer. The net's mu guards it.
type faultConn struct {
	n     *faultNet
	g     *faultGroup
	id    int
	fd    sysFD
	plain bool // no socket: it has no half-close

	// The registration.
	watched bool
	tok     token
	asked   What
	left    What // of a one-shot method: what is still to be reported
	mute    bool // of a one-shot method: a hangup was reported

	// The kernel.
	in       []byte // to be read by the stream
	inRoom   int
	inEnd    bool   // nothing follows
	flight   []byte // on its way to in
	flying   int    // steps until it arrives
	fin      bool   // follows flight
	out      []byte // to be read by the peer
	outRoom  int
	outEnd   bool // nothing follows
	short    bool // the stream waits for room in out
	renew    What // is to be reported anew
	renewing int  // after so many steps
	dead     bool // there is no connection any more
	deadAt   time.Time
	err      error   // why, until it was told
	errs     []error // all that the stream may have met with
	closed   bool    // the stream has closed it
	reset    bool    // and said so

	// The peer.
	data             []byte // what it sends
	sent             int    // of data
	to, from         *faultLane
	until            time.Time // it pauses
	lazy             int       // how seldom it does something
	resetAt, closeAt int       // bytes of data after which it leaves; -1: it stays
	finSent          bool
	ended            bool // it has seen the end
	gone             bool // it has closed its end
}

var _ transport = (*faultConn)(nil)

// ---- The kernel ----

// ask sets what is to be reported.
func (c *faultConn) ask(tok token, i What) {
	c.watched, c.tok, c.asked, c.left, c.mute = true, tok, i, i&whatPolled, false
}

// report returns what of w the method reports.
func (c *faultConn) report(w What) What {
	if !c.n.oneShot {
		return w
	}
	if w&hangup != 0 {
		if c.mute {
			return 0
		}
		c.mute = true
		c.left = 0
		return c.asked&whatPolled | hangup
	}
	w &= c.left
	c.left &^= w
	return w
}

// sync tells the poller what the connection is ready for, and that there is news
// of what is in w.
func (c *faultConn) sync(w What) {
	if c.closed {
		return
	}
	var now What
	if len(c.in) > 0 || c.inEnd || c.dead {
		now |= Read
	}
	if len(c.out) < c.outRoom || c.dead || c.gone {
		now |= Write
	}
	if c.inEnd || c.dead {
		now |= EarlyClose
	}
	if c.dead || c.inEnd && c.outEnd && !hangupIsReset {
		now |= hangup // on Windows that is a reset and nothing else
	}
	all := whatPolled | hangup
	c.n.p.lower(c.fd, all&^now)
	c.n.p.raise(c.fd, now&w)
}

// later has w reported anew after a while.
func (c *faultConn) later(w What) {
	c.renew |= w
	c.renewing = 1 + c.n.r.IntN(4)
	c.n.stir()
}

// arrive lets what is on its way arrive. It reports whether more is.
func (c *faultConn) arrive() (busy bool) {
	if c.renew != 0 {
		if c.renewing--; c.renewing <= 0 {
			c.sync(c.renew)
			c.renew = 0
		}
		busy = true
	}
	if len(c.flight) == 0 && !c.fin {
		return busy
	}
	if c.flying--; c.flying > 0 {
		return true
	}
	if len(c.flight) > 0 {
		c.in = append(c.in, c.flight...)
		c.flight = nil
		c.sync(Read)
	}
	if c.fin {
		c.fin = false
		c.inEnd = true
		w := What(Read | EarlyClose)
		if c.outEnd {
			w |= hangup
		}
		if c.gone {
			w |= Write
		}
		c.sync(w)
	}
	c.n.progress()
	return true
}

// die ends the connection with err.
func (c *faultConn) die(err error, keep bool) {
	c.g.cut = true
	c.err = err
	c.errs = append(c.errs, err)
	c.dead = true
	c.flight, c.fin = nil, false
	if !keep {
		c.in = nil
	}
}

// ---- The transport ----

func (c *faultConn) fill(in *chain, limit int) (n int, full bool, err error) {
	f := c.n
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.closed {
		f.fail("the stream %d reads after it was closed", c.id)
		return 0, false, syscall.EBADF
	}
	if !c.dead && (len(c.in) > 0 || c.inEnd) {
		if f.hit(faultReadAgain) {
			c.later(Read)
			return 0, false, eAGAIN
		}
		if f.hit(faultReadError) {
			c.die([]error{syscall.ETIMEDOUT, syscall.EIO, syscall.EHOSTUNREACH}[f.r.IntN(3)], false)
			c.later(whatPolled | hangup)
		}
	}
	if len(c.in) > 0 {
		size := min(limit, []int{64, 1 << 10, 64 << 10}[f.r.IntN(3)]) // of what is read into
		n = min(len(c.in), size)
		full = n == size || c.plain
		if !c.dead && n > 1 && f.hit(faultShortRead) {
			n = 1 + f.r.IntN(n-1)
			if full = c.plain; !full {
				c.later(Read)
			}
		} else if !full && f.hit(faultExactRead) {
			full = true
		}
		in.add(c.in[:n])
		c.in = c.in[n:]
		c.sync(0)
		f.progress()
		f.note("%d: read %d, full %v, %d left", c.id, n, full, len(c.in))
		return n, full, nil
	}
	if err := c.err; err != nil {
		c.err = nil
		f.note("%d: read %v", c.id, err)
		return 0, false, err
	}
	if c.inEnd || c.dead {
		f.note("%d: read the end", c.id)
		return 0, false, nil
	}
	return 0, false, eAGAIN
}

// send has as many of n bytes taken as there is room for.
func (c *faultConn) send(n int, take func(n int)) (int, error) {
	f := c.n
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case c.closed:
		f.fail("the stream %d writes after it was closed", c.id)
		return 0, syscall.EBADF
	case c.outEnd:
		f.fail("the stream %d writes after the end", c.id)
	}
	if err := c.err; err != nil {
		c.err = nil
		return 0, err
	}
	if c.dead || c.gone && f.r.IntN(2) == 0 {
		f.counts[faultPipe]++
		c.errs = append(c.errs, syscall.EPIPE)
		c.dead = true
		c.flight, c.fin = nil, false
		return 0, syscall.EPIPE
	}
	if f.hit(faultWriteError) {
		c.die([]error{syscall.ETIMEDOUT, syscall.EIO, syscall.EHOSTUNREACH}[f.r.IntN(3)], true)
	} else if f.hit(faultNoBufs) {
		c.die(syscall.ENOBUFS, true)
	}
	if err := c.err; err != nil {
		c.err = nil
		c.sync(0)
		c.later(whatPolled | hangup)
		return 0, err
	}
	if f.hit(faultWriteAgain) {
		c.short = true
		c.later(Write)
		return 0, eAGAIN
	}
	k := min(n, c.outRoom-len(c.out))
	if k > 1 && f.hit(faultShortWrite) {
		k = 1 + f.r.IntN(k-1)
		c.later(Write)
	}
	if k < n {
		c.short = true
	}
	if k <= 0 {
		return 0, eAGAIN
	}
	take(k)
	f.stir()
	if c.gone { // nobody is there to take it, and the stream will hear so
		c.out = nil
		c.dead = true
		c.flight, c.fin = nil, false
		c.deadAt = time.Now()
		c.err = syscall.ECONNRESET
		c.errs = append(c.errs, c.err)
		f.counts[faultReset]++
		c.later(whatPolled | hangup)
	}
	c.sync(0)
	f.progress()
	f.note("%d: wrote %d of %d", c.id, k, n)
	return k, nil
}

func (c *faultConn) write(p []byte) (int, error) {
	return c.send(len(p), func(k int) { c.out = append(c.out, p[:k]...) })
}

func (c *faultConn) flush(out *chain) (n int, spent *chunk, err error) {
	for out.n > 0 {
		h := out.head
		k, err := c.send(h.size(), func(k int) { c.out = append(c.out, h.buf[h.r:h.r+k]...) })
		if err == eAGAIN {
			return n, spent, nil
		}
		if err != nil {
			return n, spent, err
		}
		n += k
		if d := out.cut(k); d != nil {
			d.next = spent
			spent = d
		}
	}
	return n, spent, nil
}

func (c *faultConn) closeWrite() error {
	f := c.n
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.plain {
		return nil
	}
	if c.outEnd || c.closed {
		f.fail("the stream %d ends its output again", c.id)
	}
	if (c.dead || c.gone) && f.hit(faultShutdown) {
		return eNOTCONN
	}
	f.note("%d: shut down", c.id)
	c.outEnd = true
	f.progress()
	if c.inEnd {
		c.sync(hangup)
	}
	f.stir()
	return nil
}

func (c *faultConn) failure() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	err := c.err
	c.err = nil
	return err
}

func (c *faultConn) halfCloses() bool { return !c.plain }

func (c *faultConn) close(reset bool) {
	f := c.n
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("%d: closed, reset %v, %d unread", c.id, reset, len(c.in))
	if c.closed {
		f.fail("the stream %d was closed twice", c.id)
	}
	if c.watched {
		f.fail("the stream %d was closed while it was watched", c.id)
	}
	c.closed = true
	if !c.plain {
		c.reset = reset || len(c.in) > 0 // as a kernel does
	}
	c.outEnd = true
	if c.reset {
		c.out = nil
	}
	f.progress()
	f.p.shut(c.fd)
	f.stir()
}

// ---- The peer ----

// act lets the peer do something. It reports whether it could do more.
func (c *faultConn) act() (busy bool) {
	f := c.n
	if c.gone || c.dead && !c.closed {
		return false
	}
	if f.r.IntN(c.lazy) > 0 {
		if busy = c.able(); busy && !f.over && f.r.IntN(8) == 0 {
			c.until = time.Now().Add(time.Duration(1+f.r.IntN(1000)) << f.r.IntN(20))
			f.note("%d: peer pauses until %v", c.id, time.Until(c.until))
		}
		return busy
	}
	if c.closed && c.reset {
		if !c.g.cut {
			f.fail("the peer %d met a reset after %d bytes", c.id, c.from.got)
		}
		c.gone = true
		return false
	}
	if k := len(c.out); k > 0 && (f.r.IntN(2) == 0 || f.over) {
		k = 1 + f.r.IntN(k)
		c.receive(c.out[:k])
		c.out = c.out[k:]
		if c.short && (len(c.out) == 0 || f.r.IntN(2) == 0) {
			c.short = false
			c.sync(Write)
		} else if c.short {
			c.later(Write)
		}
		busy = true
	}
	if len(c.out) == 0 && c.outEnd && !c.ended {
		f.note("%d: peer has the end", c.id)
		c.ended = true
		if !c.g.cut && (!c.from.whole || c.from.got != len(c.from.sent)) {
			f.fail("the peer %d met the end after %d bytes; %d were sent, and that was all: %v", c.id, c.from.got, len(c.from.sent), c.from.whole)
		}
		busy = true
	}
	if c.closed {
		if c.ended {
			c.gone = true
			return false
		}
		return true
	}
	if c.sent == c.resetAt {
		f.note("%d: peer resets", c.id)
		f.counts[faultReset]++
		c.die(syscall.ECONNRESET, f.r.IntN(2) == 0)
		c.out = nil
		c.deadAt = time.Now()
		c.gone = true
		c.sync(whatPolled | hangup)
		f.progress()
		return true
	}
	if c.sent == c.closeAt {
		c.g.cut = true
		c.leave()
		return true
	}
	if room := c.inRoom - len(c.in) - len(c.flight); c.sent < len(c.data) && room > 0 && !c.finSent {
		end := len(c.data)
		for _, at := range []int{c.resetAt, c.closeAt} {
			if at > c.sent {
				end = min(end, at)
			}
		}
		k := 1 + f.r.IntN(min(room, end-c.sent))
		p := c.data[c.sent:][:k]
		c.sent += k
		c.to.sent = append(c.to.sent, p...)
		if len(c.flight) > 0 || f.hit(faultFlight) {
			if len(c.flight) == 0 {
				c.flying = 1 + f.r.IntN(6)
			}
			c.flight = append(c.flight, p...)
		} else {
			c.in = append(c.in, p...)
			c.sync(Read)
		}
		f.progress()
		f.note("%d: peer has sent %d", c.id, c.sent)
		return true
	}
	if c.sent == len(c.data) && !c.finSent && (!c.plain || c.from.got == len(c.data)) {
		if c.plain {
			c.leave()
			return true
		}
		f.note("%d: peer has finished", c.id)
		c.finish()
		return true
	}
	if c.finSent && c.ended {
		c.leave()
		return true
	}
	return busy || c.able()
}

// able reports whether the peer can do something.
func (c *faultConn) able() bool {
	return len(c.out) > 0 || c.closed || c.outEnd && !c.ended || c.ended && c.finSent ||
		c.sent < len(c.data) && len(c.in)+len(c.flight) < c.inRoom ||
		c.sent == len(c.data) && !c.finSent && (!c.plain || c.from.got == len(c.data)) ||
		c.sent == c.resetAt || c.sent == c.closeAt
}

// finish sends the end.
func (c *faultConn) finish() {
	if c.finSent {
		return
	}
	c.finSent = true
	c.to.whole = true
	c.fin = true
	if len(c.flight) == 0 {
		c.flying = 0
	}
	c.n.progress()
}

// leave has the peer close its end.
func (c *faultConn) leave() {
	c.n.note("%d: peer leaves", c.id)
	c.finish()
	c.gone = true
	c.out = nil
	c.sync(Write)
	c.n.progress()
}

// receive checks what the peer has received.
func (c *faultConn) receive(p []byte) {
	n := c.from
	if len(p) > len(n.sent)-n.got {
		c.n.fail("the peer %d received %d bytes, and %d were sent", c.id, n.got+len(p), len(n.sent))
		return
	}
	if !bytes.Equal(p, n.sent[n.got:][:len(p)]) {
		c.n.fail("the peer %d received other bytes among those from %d to %d", c.id, n.got, n.got+len(p))
		return
	}
	n.got += len(p)
	c.n.note("%d: peer received %d, got %d of %d", c.id, len(p), n.got, len(n.sent))
	c.n.progress()
}

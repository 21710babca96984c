// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evchan

import (
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

// fail takes note of what is wrong; the first counts. The caller holds n.mu.
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

// hit decides whether a fault of the kind is due, and counts it. The caller holds n.mu.
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

// progress takes note that something has moved. The caller holds n.mu.
func (n *faultNet) progress() { n.turns = 0 }

// stir has a wait look again at what there is to do. The caller holds n.mu.
func (n *faultNet) stir() {
	select {
	case n.p.changec <- struct{}{}:
	default: // there is a reason already
	}
}

// room returns how many bytes are held on the way: few seldom, for that takes long.
// The caller holds n.mu.
func (n *faultNet) room() int {
	if n.r.IntN(20) == 0 {
		return 1 + n.r.IntN(8)
	}
	return 64 << n.r.IntN(8)
}

// find returns the connection that tok is the registration of. The caller holds n.mu.
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

func (n *faultNet) removeIf(fd sysFD, tok token) error {
	n.mu.Lock()
	c := n.conn(fd)
	other := c != nil && c.tok != tok
	n.mu.Unlock()
	if other {
		return errFake
	}
	return n.remove(fd)
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
		if busy || len(n.late) > 0 { // collect may have put some off just now
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
// was woken. The caller holds n.mu, which is
// unlocked meanwhile.
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

// collect appends what is to be reported. The caller holds n.mu.
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
// none does. The caller holds n.mu.
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
	return busy, next
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evchan

import (
	"bytes"
	"syscall"
	"time"
)

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

func (c *faultConn) flush(out *chain, limit int) (n int, spent *chunk, err error) {
	for out.n > 0 && n < limit {
		h := out.head
		k, err := c.send(min(h.size(), limit-n), func(k int) { c.out = append(c.out, h.buf[h.r:h.r+k]...) })
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

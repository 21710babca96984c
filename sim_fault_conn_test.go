// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evchan

import (
	"bytes"
	"fmt"
	"time"

	"github.com/evchan/evchan/internal/simnet"
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

// A faultConn is a socket of a simnet.Net, and its peer, which acts by itself. The net's Mu
// guards it.
type faultConn struct {
	*simnet.Socket
	n *simnet.Net
	g *faultGroup

	data             []byte // what it sends
	sent             int    // of data
	to, from         *faultLane
	until            time.Time // it pauses
	lazy             int       // how seldom it does something
	resetAt, closeAt int       // bytes of data after which it leaves; -1: it stays
	finSent          bool
	ended            bool // it has seen the end
}

var _ simnet.Peer = (*faultConn)(nil)

func (c *faultConn) Pauses() time.Time { return c.until }
func (c *faultConn) Lost()             { c.g.cut = true }
func (c *faultConn) News()             {}

func (c *faultConn) String() string {
	return fmt.Sprintf("sent %d of %d, got %d of %d, finished %v, ended %v, cut %v",
		c.sent, len(c.data), c.from.got, len(c.from.sent), c.finSent, c.ended, c.g.cut)
}

// Act lets the peer do something. It reports whether it could do more.
func (c *faultConn) Act() (busy bool) {
	f := c.n
	if c.Gone || c.Dead && !c.Closed {
		return false
	}
	if f.R.IntN(c.lazy) > 0 {
		if busy = c.able(); busy && !f.Over && f.R.IntN(8) == 0 {
			c.until = time.Now().Add(time.Duration(1+f.R.IntN(1000)) << f.R.IntN(20))
			f.Note("%d: peer pauses until %v", c.ID, time.Until(c.until))
		}
		return busy
	}
	if c.Closed && c.WasReset {
		if !c.g.cut {
			f.Fail("the peer %d met a reset after %d bytes", c.ID, c.from.got)
		}
		c.Gone = true
		return false
	}
	if k := len(c.Out); k > 0 && (f.R.IntN(2) == 0 || f.Over) {
		c.receive(c.Receive(1 + f.R.IntN(k)))
		busy = true
	}
	if len(c.Out) == 0 && c.OutEnd && !c.ended {
		f.Note("%d: peer has the end", c.ID)
		c.ended = true
		if !c.g.cut && (!c.from.whole || c.from.got != len(c.from.sent)) {
			f.Fail("the peer %d met the end after %d bytes; %d were sent, and that was all: %v", c.ID, c.from.got, len(c.from.sent), c.from.whole)
		}
		busy = true
	}
	if c.Closed {
		if c.ended {
			c.Gone = true
			return false
		}
		return true
	}
	if c.sent == c.resetAt {
		f.Note("%d: peer resets", c.ID)
		c.Reset(f.R.IntN(2) == 0)
		return true
	}
	if c.sent == c.closeAt {
		c.g.cut = true
		c.leave()
		return true
	}
	if room := c.Room(); c.sent < len(c.data) && room > 0 && !c.finSent {
		end := len(c.data)
		for _, at := range []int{c.resetAt, c.closeAt} {
			if at > c.sent {
				end = min(end, at)
			}
		}
		p := c.data[c.sent:][:1+f.R.IntN(min(room, end-c.sent))]
		c.sent += len(p)
		c.to.sent = append(c.to.sent, p...)
		c.Send(p)
		f.Note("%d: peer has sent %d", c.ID, c.sent)
		return true
	}
	if c.sent == len(c.data) && !c.finSent && (!c.Plain || c.from.got == len(c.data)) {
		if c.Plain {
			c.leave()
			return true
		}
		f.Note("%d: peer has finished", c.ID)
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
	return len(c.Out) > 0 || c.Closed || c.OutEnd && !c.ended || c.ended && c.finSent ||
		c.sent < len(c.data) && c.Room() > 0 ||
		c.sent == len(c.data) && !c.finSent && (!c.Plain || c.from.got == len(c.data)) ||
		c.sent == c.resetAt || c.sent == c.closeAt
}

// finish sends the end.
func (c *faultConn) finish() {
	if !c.finSent {
		c.finSent = true
		c.to.whole = true
		c.Finish()
	}
}

// leave has the peer close its end.
func (c *faultConn) leave() {
	c.n.Note("%d: peer leaves", c.ID)
	c.finish()
	c.Leave()
}

// receive checks what the peer has received.
func (c *faultConn) receive(p []byte) {
	n := c.from
	if len(p) > len(n.sent)-n.got {
		c.n.Fail("the peer %d received %d bytes, and %d were sent", c.ID, n.got+len(p), len(n.sent))
		return
	}
	if !bytes.Equal(p, n.sent[n.got:][:len(p)]) {
		c.n.Fail("the peer %d received other bytes among those from %d to %d", c.ID, n.got, n.got+len(p))
		return
	}
	n.got += len(p)
	c.n.Note("%d: peer received %d, got %d of %d", c.ID, len(p), n.got, len(n.sent))
}

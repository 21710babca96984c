// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"time"

	"github.com/evchan/evchan"
)

// The time for a head is bounded by a timer, which runs only while a part of a head is there.
// The other timeouts are the stream's own idle timeouts, which cost nothing a request.

// A headTimer is the Layer of the timer of a conn. It runs in the loop's order, as all
// messages do, and sends none.
type headTimer struct{ c *conn }

// Next is for package evchan.
func (t headTimer) Next(src evchan.Source, ev evchan.Event) evchan.Event {
	c := t.c
	c.mu.Lock()
	defer c.unlock()
	if _, ok := ev.(evchan.Tick); ok && c.timer != nil && src == evchan.Source(c.timer) {
		c.timer = nil
		if c.req == nil && !c.has(flagDead|flagClosing) {
			c.refuse(errSlowHead)
		}
	}
	return nil
}

// startTimer starts the time for a head, unless it runs. The caller holds mu.
func (c *conn) startTimer() {
	if c.timer == nil && c.srv.conf.HeadTimeout > 0 {
		c.timer = c.s.Loop().After(c.srv.conf.HeadTimeout)
		c.timer.SetLayer(headTimer{c})
	}
}

// stopTimer ends the time for a head. The caller holds mu.
func (c *conn) stopTimer() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}

// setReadTimeout sets how long the client may send nothing. The caller holds mu.
func (c *conn) setReadTimeout(d time.Duration) {
	c.s.SetIdleTimeouts(d, c.srv.conf.WriteTimeout)
}

// awaitBody sets the timeout for the rest of a body. The caller holds mu.
func (c *conn) awaitBody() {
	if !c.has(flagSlowBody) {
		c.flags |= flagSlowBody
		c.setReadTimeout(c.srv.conf.BodyTimeout)
	}
}

// bodyArrived sets the timeout for the time between requests, if another one is set. The caller
// holds mu.
func (c *conn) bodyArrived() {
	if c.flags&(flagSlowBody|flagUsed) != flagUsed {
		c.flags = c.flags&^flagSlowBody | flagUsed
		c.setReadTimeout(c.srv.conf.IdleTimeout)
	}
}

// uptime returns how long the server has existed, in full seconds.
func (srv *Server) uptime() time.Duration { return time.Since(srv.made).Truncate(time.Second) }

// timedOut is called when an idle timeout of the stream has passed. The caller holds mu.
func (c *conn) timedOut() {
	which := c.s.TimedOut()
	r := c.req
	switch {
	case which&evchan.Write != 0:
		c.flags |= flagClosing | flagAbort
		if r != nil {
			r.fail(errTimeout)
		}
	case which&evchan.Read == 0:
		// Resumed meanwhile.
	case r == nil && c.scanned == 0 && c.srv.uptime()-time.Duration(c.replied)*time.Second < c.srv.conf.IdleTimeout-time.Second:
		c.s.Resume(evchan.Read) // the client was idle for that long only since the reply was late
	case r == nil && c.scanned == 0:
		c.flags |= flagClosing
		c.closeWhenSent()
	case r == nil:
		c.refuse(errSlowHead)
	case r.phase == receiving:
		c.refuse(errSlowBody)
	case !r.bodyEnded && !r.pausedBody():
		r.failBody(errSlowBody)
	default:
		c.s.Resume(evchan.Read) // the program takes its time
	}
}

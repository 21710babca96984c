// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"time"

	"github.com/evchan/evchan"
)

// There are three kinds of timeouts, so that an idle connection, of which there may be many, holds
// nothing for its own:
//
//   - A new connection that is silent, a head that is not complete, and a body that is awaited
//     have a timer of the loop (see watch and expired).
//   - Idle connections are found by the server, which looks at all of them now and then (see
//     sweep). A timeout comes late by an eighth of its length at most.
//   - Output that waits has the stream's own idle timeout (see watchOutput).

// A clientTimer is the Layer of the timer of a conn: what is done when the timer expires is done in
// the loop's order. It sends no message.
type clientTimer struct{ c *conn }

// Next is for package evchan.
func (t clientTimer) Next(src evchan.Source, ev evchan.Event) evchan.Event {
	c := t.c
	c.mu.Lock()
	defer c.unlock()
	if _, ok := ev.(evchan.Tick); ok && c.timer != nil && src == evchan.Source(c.timer) {
		c.expired()
	}
	return nil
}

// watch bounds the time that the client may take for what comes next; if the timer runs, it goes
// on. The caller holds mu.
func (c *conn) watch(d time.Duration) {
	if c.timer == nil && d > 0 {
		c.timer = c.s.Loop().After(d)
		c.timer.SetLayer(clientTimer{c})
	}
}

// unwatch undoes watch. The caller holds mu.
func (c *conn) unwatch() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}

// awaitBody bounds the time without progress of a body. The caller holds mu.
func (c *conn) awaitBody(r *Request) {
	if c.timer == nil && c.srv.conf.BodyTimeout > 0 {
		r.x().seen = r.bodySize
		c.watch(c.srv.conf.BodyTimeout)
	}
}

// watchOutput bounds the time for which the client may take nothing of what is unsent. The caller
// holds mu.
func (c *conn) watchOutput() {
	if d := c.srv.conf.WriteTimeout; d > 0 && !c.has(flagWriteTimeout) {
		c.flags |= flagWriteTimeout
		c.s.SetIdleTimeouts(0, d)
	}
}

// expired is called when the timer has expired. The caller holds mu.
func (c *conn) expired() {
	c.timer = nil
	r := c.req
	switch {
	case c.has(flagDead), r == nil && c.has(flagClosing):
	case r == nil && c.scanned > 0:
		c.refuse(errSlowHead)
	case r == nil && !c.has(flagUsed):
		c.flags |= flagClosing
		c.closeWhenSent()
	case r == nil || r.bodyEnded:
		// What was awaited has come.
	case r.bodySize != r.x().seen, r.has(flagExpects), r.pausedBody(), c.s.Input().Len() > 0:
		c.awaitBody(r) // there is progress, or it is the program that takes its time
	case r.phase == receiving:
		c.refuse(errSlowBody)
	default:
		r.failBody(errSlowBody)
		c.todo |= doAgain // for Gone
	}
}

// millis returns the milliseconds from when the server was made to t. They begin again after 49
// days: only differences count.
func (srv *Server) millis(t time.Time) uint32 { return uint32(t.Sub(srv.made) / time.Millisecond) }

// A server that has connections looks at them so many times in IdleTimeout.
const sweeps = 8

// startSweeping makes sure that idle connections are found. The caller holds srv.mu.
func (srv *Server) startSweeping() {
	if d := srv.conf.IdleTimeout; srv.sweeper == nil && d > 0 {
		srv.sweeper = time.AfterFunc(max(d/sweeps, time.Millisecond), srv.sweep)
	}
}

// sweep has the layer of each connection called that has been idle for too long.
func (srv *Server) sweep() {
	now := srv.millis(time.Now())
	var late []*conn
	srv.mu.Lock()
	for c := srv.conns; c != nil; c = c.next {
		if !c.mu.TryLock() {
			continue // not idle
		}
		if c.isIdle(now) {
			c.flags |= flagLate
			late = append(late, c)
		}
		c.mu.Unlock()
	}
	srv.sweeper = nil
	if srv.conns != nil {
		srv.startSweeping()
	}
	srv.mu.Unlock()
	for _, c := range late {
		c.s.Again()
	}
}

// isIdle reports whether the connection has been idle for too long. The caller holds mu.
func (c *conn) isIdle(now uint32) bool {
	limit := c.srv.conf.IdleTimeout
	return limit > 0 && c.has(flagUsed) && c.req == nil && c.scanned == 0 && !c.has(flagDead|flagClosing) &&
		time.Duration(int32(now-c.active))*time.Millisecond >= limit
}

// closeIdle closes the connection if it has been idle for too long; if the client has not even
// taken the last reply, by a reset. It reports whether it has. The caller holds mu.
func (c *conn) closeIdle() bool {
	c.flags &^= flagLate
	if !c.isIdle(c.srv.millis(time.Now())) || c.s.Input().Len() > 0 {
		return false
	}
	c.flags |= flagClosing
	if c.s.Queued() > 0 {
		c.flags |= flagAbort
	}
	c.closeWhenSent()
	return true
}

// timedOut is called when an idle timeout of the stream has passed. The caller holds mu.
func (c *conn) timedOut() {
	if c.s.TimedOut()&evchan.Write == 0 {
		c.s.Resume(evchan.Read) // a timeout of the program's; ours are enough
		return
	}
	c.flags |= flagClosing | flagAbort
	if c.req != nil {
		c.req.fail(errTimeout)
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evrpc

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/evchan/evchan"
)

// The way of a call:
//
//	Do -> schedule -> take -> (output hooks) -> send -> link.Next -> answered -> (input hooks) -> Reply
//	                                             ^          |
//	                                             +- retry <-+-> fail -> Reply

// A Conn is a connection of a Pool. It has a stream while it is connected or connects.
type Conn struct {
	pool             *Pool
	network, address string

	// The pool's mu guards the following.

	call     *Reply // that the connection has taken, or nil
	link     *link  // to the stream, or nil
	removed  bool
	tries    int           // of connecting, for call
	delay    time.Duration // before the next try
	timeout  *evchan.Timer // for call; nil: not made yet
	deadline time.Time     // of timeout; zero: there is none
	retry    *evchan.Timer // for the next try; nil: not made yet
	retrying bool
	idle     *evchan.Timer // closes the stream; nil: not made yet
	idleEnd  time.Time     // of idle; zero: it does not run
}

// A link is the Layer of a connection's stream. If it is not the connection's link any more, it
// is of a stream that was given up.
type link struct {
	conn   *Conn
	stream *evchan.Stream

	// The pool's mu guards the following.

	up       bool      // connected
	served   bool      // a call was answered
	eof      bool      // nothing more will arrive
	stopping bool      // close it after the call
	resp     *response // to the request that was written, or nil
}

// Remove takes the connection out of the pool: no further call gets it. If it has a call, it is
// closed when that has ended. Calls that wait go on waiting for another connection, also if this was the last one.
func (c *Conn) Remove() {
	p := c.pool
	p.mu.Lock()
	defer p.unlock()
	for i, other := range p.conns {
		if other == c {
			p.conns = append(p.conns[:i:i], p.conns[i+1:]...)
			break
		}
	}
	c.removed = true
	if c.call == nil {
		c.drop()
	}
}

// take gives r to the connection, which is idle. The caller holds the pool's mu, as for all methods below
// that do not say otherwise.
func (c *Conn) take(r *Reply) {
	c.call = r
	c.stopIdle()
	c.tries, c.delay = 0, c.pool.conf.RetryDelay
	r.state, r.conn = callHeld, c
	if c.link != nil {
		r.addr = c.link.stream.RemoteAddr()
	}
	hooks, x := c.pool.of(Output), r.x
	c.pool.later(func() {
		x.run(hooks, func(ok bool) {
			c.pool.mu.Lock()
			defer c.pool.unlock()
			switch {
			case r.x != x || r.state != callHeld: // cancelled
			case !ok:
				c.finish()
				c.pool.end(r, ErrTerminated)
			default:
				r.state = callRunning
				c.startTimeout()
				c.send()
			}
		})
	})
}

// send writes the request of the call to the stream, and connects first if there is none.
func (c *Conn) send() {
	p, r := c.pool, c.call
	if c.link == nil {
		if err := c.dial(); err != nil {
			c.fail(err)
			return
		}
	}
	l := c.link
	l.resp = &response{}
	r.addr = l.stream.RemoteAddr()
	head := fmt.Appendf(nil, "POST %s%s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", prefix, r.Name, c.host(), len(r.x.Body))
	for _, f := range r.sent.lines {
		head = fmt.Appendf(head, "%s: %s\r\n", f.name, f.value)
	}
	msg := append(append(head, "\r\n"...), r.x.Body...)
	s := l.stream
	p.later(func() { s.Write(msg) }) // an error: the layer hears of it as well
}

// host returns what the field Host says.
func (c *Conn) host() string {
	host, port, err := net.SplitHostPort(c.address)
	if err != nil || !strings.HasPrefix(c.network, "tcp") {
		return "localhost"
	}
	host, _, _ = strings.Cut(host, "%") // the zone of an IPv6 address means something here only
	if host == "" {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// dial makes a new stream.
func (c *Conn) dial() error {
	l := &link{conn: c}
	conf := *c.pool.conf.Dial
	conf.Layer = l
	s, err := c.pool.loop.Dial(c.network, c.address, &conf)
	if err != nil {
		return err
	}
	for under := s; under != nil; under = under.Under() {
		under.SetBackground(true) // it is the calls that keep the loop from being empty
	}
	l.stream = s
	c.link = l
	return nil
}

// drop gives up the stream. If the server may still be busy with a call, the stream is reset.
func (c *Conn) drop() {
	l := c.link
	if l == nil {
		return
	}
	c.link = nil
	c.stopIdle()
	s := l.stream
	if c.call != nil {
		c.pool.later(func() { s.Abort() })
	} else {
		c.pool.later(func() { s.Close() })
	}
}

// finish notes that the call has left the connection, which is idle then.
func (c *Conn) finish() {
	c.call = nil
	c.stopTimers()
	if l := c.link; l != nil {
		l.resp = nil
		if c.removed || l.stopping || l.eof {
			c.drop()
		} else {
			c.startIdle()
		}
	}
	c.pool.schedule()
}

// fail ends the call with err, and gives up the stream.
func (c *Conn) fail(err error) {
	r := c.call
	if r.state == callRunning {
		c.drop()
	}
	c.finish()
	c.pool.end(r, err)
}

// Next is for package evchan: something has happened to the stream.
func (l *link) Next(_ evchan.Source, ev evchan.Event) evchan.Event {
	p := l.conn.pool
	p.mu.Lock()
	defer p.unlock()
	if l.conn.link != l {
		return nil
	}
	switch ev.(type) {
	case evchan.Connected:
		l.up = true
		if r := l.conn.call; r != nil {
			r.addr = l.stream.RemoteAddr()
		}
	case evchan.EOF:
		l.eof = true
		l.receive()
	case evchan.Closed:
		if l.resp != nil {
			l.receive() // the answer may have come before
		}
		if l.conn.link == l {
			l.lost(l.stream.Err())
		}
	case evchan.Stopping:
		l.stopping = true
		if l.conn.call == nil {
			l.conn.drop()
		}
	default:
		l.receive()
	}
	return nil
}

// End is for package evchan: the stream has ended.
func (l *link) End(evchan.Source) {
	p := l.conn.pool
	p.mu.Lock()
	defer p.unlock()
	if l.conn.link == l {
		l.lost(evchan.ErrClosed)
	}
}

// receive takes what has arrived.
func (l *link) receive() {
	c := l.conn
	in := l.stream.Input()
	if c.call == nil || c.call.state != callRunning {
		if l.eof || in.Len() > 0 { // a server that closes, or speaks without being asked
			c.drop()
		}
		return
	}
	done, err := l.resp.read(in, l.eof, c.pool.conf.MaxReply)
	switch {
	case err == io.ErrUnexpectedEOF && l.mayResend():
		c.drop()
		c.send()
	case err != nil:
		c.fail(err)
	case done:
		r := c.call
		r.state, r.resp = callAnswered, l.resp
		l.served = true
		l.stopping = l.stopping || !l.resp.keepAlive || in.Len() > 0
		c.finish()
		c.pool.later(func() { c.pool.answered(r) })
	}
}

// lost notes that the stream has failed or was closed.
func (l *link) lost(err error) {
	c := l.conn
	s := l.stream
	c.link = nil
	c.stopIdle()
	c.pool.later(func() { s.Close() })
	switch r := c.call; {
	case r == nil || r.state != callRunning:
	case !l.up && c.mayRetry():
		c.startRetry()
	case l.mayResend():
		c.send()
	default:
		c.fail(err)
	}
}

// mayResend reports whether the call, whose answer will not come, is to be sent again. It is sent over a new
// connection then, so this happens once.
func (l *link) mayResend() bool {
	return l.conn.pool.conf.Resend && l.served && l.resp.status == 0 && l.stream.Input().Len() == 0
}

// mayRetry reports whether connecting is to be tried again.
func (c *Conn) mayRetry() bool {
	retries := c.pool.conf.Retries
	return !c.pool.closed && (retries < 0 || c.tries < retries)
}

// A timerLayer calls a function instead of sending Tick.
type timerLayer func()

// Next is for package evchan.
func (f timerLayer) Next(_ evchan.Source, ev evchan.Event) evchan.Event {
	if ev != nil {
		f()
	}
	return nil
}

// start starts t, which is made if it is nil, to call f after d.
func (c *Conn) start(t *evchan.Timer, d time.Duration, f func()) *evchan.Timer {
	if t == nil {
		t = c.pool.loop.After(time.Hour) // it must not ring before it has its layer
		t.SetLayer(timerLayer(f))
		t.SetBackground(true)
	}
	t.Reset(d)
	return t
}

func (c *Conn) startTimeout() {
	if d := c.pool.conf.Timeout; d > 0 {
		c.timeout = c.start(c.timeout, d, c.timedOut)
		c.deadline = c.timeout.When()
	}
}

func (c *Conn) startRetry() {
	c.tries++
	c.retry = c.start(c.retry, c.delay, c.tryAgain)
	c.retrying = true
	c.delay = min(2*c.delay, maxRetryDelay)
}

func (c *Conn) stopTimers() {
	if !c.deadline.IsZero() {
		c.timeout.Stop()
		c.deadline = time.Time{}
	}
	if c.retrying {
		c.retry.Stop()
		c.retrying = false
	}
}

func (c *Conn) startIdle() {
	if d := c.pool.conf.IdleTimeout; d > 0 {
		c.idle = c.start(c.idle, d, c.idleTooLong)
		c.idleEnd = c.idle.When()
	}
}

func (c *Conn) stopIdle() {
	if !c.idleEnd.IsZero() {
		c.idle.Stop()
		c.idleEnd = time.Time{}
	}
}

// idleTooLong is called without the pool's mu when idle rings. That may have been stopped or
// started again meanwhile.
func (c *Conn) idleTooLong() {
	c.pool.mu.Lock()
	defer c.pool.unlock()
	if !c.idleEnd.IsZero() && !time.Now().Before(c.idleEnd) {
		c.drop()
	}
}

// timedOut is called without the pool's mu when timeout rings. That may have been stopped or
// started again meanwhile.
func (c *Conn) timedOut() {
	c.pool.mu.Lock()
	defer c.pool.unlock()
	if c.call == nil || c.deadline.IsZero() || time.Now().Before(c.deadline) {
		return
	}
	c.fail(&net.OpError{Op: "call", Net: c.network, Err: os.ErrDeadlineExceeded})
}

// tryAgain is called without the pool's mu when retry rings. That may have been stopped
// meanwhile.
func (c *Conn) tryAgain() {
	c.pool.mu.Lock()
	defer c.pool.unlock()
	if c.retrying && c.link == nil && c.call != nil {
		c.retrying = false
		c.send()
	}
}

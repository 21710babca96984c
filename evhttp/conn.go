// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"bytes"
	"errors"
	"sync"

	"github.com/evchan/evchan"
)

// How a request becomes a message:
//
//	Next -> note -> advance -> receive -> dispatch -> (receiver)
//	                   |
//	                   +-> Request.message: Body, Writable, Gone
//
// Next is called by the goroutine that delivers. It notes what has happened to the stream, and
// then advance finds out by the state alone what comes next. A connection has one request at a
// time: what the client sends behind it stays in the stream's input. When the request is
// answered (see finish), the next one is parsed: by Next, if that is going to be called
// anyway, else Again has it called.

// A conn is a connection. It is the Layer of its stream.
type conn struct {
	srv        *Server
	s          *evchan.Stream
	next, prev *conn // in the server's list; srv.mu guards them

	mu      sync.Mutex    // guards the following, and all of req but its head
	req     *Request      // the one under way, from the time on that its head is there; or nil
	timer   *evchan.Timer // see watch; or nil
	sent    *sentRequests // nil: none
	wrote   int32         // bytes of replies, at most MaxOutput, since the output was looked at
	active  uint32        // when the last reply was made, by Server.millis
	scanned uint16        // bytes of the input that are no complete head
	served  uint16        // requests; stays at its greatest value
	flags   connFlags
	todo    todo
	removed bool // srv.mu guards it
}

// sentRequests are answered requests whose Done waits until the replies are sent.
type sentRequests struct{ list []*Request }

type connFlags uint16

const (
	flagWaiting      connFlags = 1 << iota // Next has returned nil because of req: it must be asked again
	flagPipelined                          // there is input behind req
	flagEOF                                // the client has finished sending
	flagClosing                            // no request is taken any more; the stream is closed when req is answered
	flagDead                               // the stream is closed or has failed, or is the server's no longer
	flagStopping                           // the loop's Shutdown waits
	flagWriteTimeout                       // the stream has an idle timeout for writing
	flagUsed                               // there has been a request
	flagLate                               // sweep has found that the connection has been idle for too long
	flagAbort                              // with flagClosing: the stream is reset rather than closed
)

// A todo is what unlock does without the lock, since it may call End.
type todo uint8

const (
	doClose todo = 1 << iota
	doAbort
	doAgain
)

func (c *conn) has(f connFlags) bool { return c.flags&f != 0 }

// unlock lets go of mu, and then does what was put off.
func (c *conn) unlock() {
	do := c.todo
	c.todo = 0
	c.mu.Unlock()
	switch {
	case do&doAbort != 0:
		c.s.Abort()
	case do&doClose != 0:
		c.s.Close()
	case do&doAgain != 0:
		c.s.Again()
	}
}

// Next is for package evchan.
func (c *conn) Next(_ evchan.Source, ev evchan.Event) evchan.Event {
	c.mu.Lock()
	defer c.unlock()
	c.flags &^= flagWaiting
	c.note(ev)
	return c.nextMessage()
}

// End is for package evchan: the stream has ended, by whatever it was ended.
func (c *conn) End(evchan.Source) {
	c.mu.Lock()
	c.flags |= flagDead
	c.unwatch()
	if c.req != nil {
		c.req.fail(ErrGone)
	}
	c.settle()
	c.mu.Unlock()
	c.srv.remove(c)
}

// note takes note of what has happened to the stream. The caller holds mu.
func (c *conn) note(ev evchan.Event) {
	switch ev.(type) {
	case evchan.EOF:
		c.flags |= flagEOF
		if r := c.req; r != nil {
			if c.srv.conf.CancelOnEOF {
				r.cancel()
			}
			r.wake()
		}
	case evchan.Closed:
		c.flags |= flagDead
		c.unwatch()
		if r := c.req; r != nil {
			r.fail(goneError{c.s.Err()})
		}
		c.settle()
	case evchan.TimedOut:
		c.timedOut()
	case evchan.Stopping:
		c.flags |= flagStopping
	case evchan.Readable, evchan.Drained:
		if r := c.req; r != nil {
			r.wake()
		}
	}
	if c.sent != nil && c.s.Queued() == 0 {
		c.settle()
	}
}

// settle closes Done of the requests whose replies were sent, or will never be. The caller
// holds mu.
func (c *conn) settle() {
	if c.sent == nil {
		return
	}
	for _, r := range c.sent.list {
		close(r.extra.done)
	}
	c.sent = nil
}

// advance returns the next message of the connection, or nil. The caller holds mu.
func (c *conn) advance() evchan.Event {
	for {
		if r := c.req; r != nil && r.phase != receiving {
			ev := r.message()
			if ev == nil && c.req != nil {
				c.flags |= flagWaiting
				return nil
			}
			if ev != nil {
				return ev
			}
		}
		r := c.take()
		if r == nil {
			return nil
		}
		if c.dispatch(r) {
			return r
		}
	}
}

// take returns the next request if it has arrived and may be taken now. Otherwise it returns
// nil; then it has closed the stream if nothing more will come of it. The caller holds mu.
func (c *conn) take() *Request {
	if c.has(flagDead | flagClosing) {
		c.closeWhenSent()
		return nil
	}
	if c.isFull() {
		return nil // the client asks and does not read: Drained brings us back
	}
	if c.has(flagLate) && c.closeIdle() {
		return nil
	}
	r, err := c.receive()
	switch {
	case err != nil:
		c.refuse(err)
		return nil
	case r == nil:
		c.incomplete()
		return nil
	}
	c.flags |= flagUsed
	if c.served < 1<<16-1 {
		c.served++
	}
	if !r.bodyEnded {
		c.awaitBody(r)
	}
	if limit := c.srv.conf.MaxRequests; limit > 0 && int(c.served) >= limit || c.draining() {
		c.flags |= flagClosing
	}
	c.req = r
	r.phase = unanswered
	return r
}

// isFull reports whether MaxOutput bytes or more are unsent. It asks the stream only if so much was
// written since it did the last time. The caller holds mu.
func (c *conn) isFull() bool {
	limit := c.srv.conf.MaxOutput
	if int(c.wrote) < limit/2 {
		return false
	}
	n := c.s.Queued()
	c.wrote = int32(min(n, limit))
	if n > 0 {
		c.watchOutput()
	}
	return n >= limit
}

// count notes that n bytes of a reply were written. The caller holds mu.
func (c *conn) count(n int) {
	c.wrote = int32(min(int(c.wrote)+n, c.srv.conf.MaxOutput))
}

func (c *conn) draining() bool {
	return c.has(flagStopping) || c.srv.draining.Load()
}

// dispatch gives r to what answers it. It returns true if that is the receiver of messages. The
// caller holds mu.
func (c *conn) dispatch(r *Request) bool {
	if c.refusesMethod(r) {
		return false
	}
	if c.srv.conf.Handler == nil || r.has(flagHeld) {
		return true
	}
	r.block()
	if !c.srv.pool.do(job{r, c.srv.conf.Handler}) {
		r.replyError(503, "")
	}
	return false
}

// refusesMethod reports whether the method of r is not allowed, and answers it then. The caller
// holds mu.
func (c *conn) refusesMethod(r *Request) bool {
	if c.srv.allow == "" || c.srv.allows(r.head.method) {
		return false
	}
	r.fields.set("Allow", c.srv.allow)
	r.replyError(errMethod.status, errMethod.text)
	return true
}

// receive returns the next request as soon as all of it is there that has to be, else nil. The
// caller holds mu.
func (c *conn) receive() (*Request, error) {
	r := c.req
	if r == nil {
		var err error
		if r, err = c.receiveHead(); r == nil {
			return nil, err
		}
		if err := r.begin(); err != nil {
			return nil, err
		}
		if r.phase == unanswered {
			return r, nil
		}
		c.req = r
	}
	// The body has to be complete.
	limit := r.maxBody()
	if limit < 0 {
		limit = 1<<63 - 2
	}
	if err := r.pull(&r.body, limit+1); err != nil {
		c.req = nil
		return nil, err
	}
	if !r.bodyEnded {
		c.awaitBody(r)
		return nil, nil
	}
	r.flags |= flagTold | flagWhole
	return r, nil
}

// receiveHead returns a request whose head is there, or nil. The caller holds mu.
func (c *conn) receiveHead() (*Request, error) {
	in := c.s.Input()
	n := in.Len()
	if n == 0 {
		return nil, nil
	}
	if n < 2*int(c.scanned) && n <= c.srv.conf.MaxHead && !c.has(flagEOF) && in.Index(headEnd, max(0, int(c.scanned)-3)) < 0 {
		return nil, nil // still not complete: to parse it again each time would cost the square of its length
	}
	p, _ := in.Peek(min(n, maxHead))
	r := &Request{conn: c}
	size, err := r.head.parse(p)
	if err == errNoHost {
		r.head.raw = string(p[:size])
		if c.srv.intercepted(r) != nil {
			err = nil
		}
	}
	switch {
	case err == errMore && (n > c.srv.conf.MaxHead || c.s.InputFull()):
		if bytes.IndexByte(p[min(n, 2):], '\n') < 0 {
			return nil, errLongTarget
		}
		return nil, errLargeHead
	case err == errMore:
		c.scanned = uint16(n)
		return nil, nil
	case err != nil:
		return nil, err
	case size > c.srv.conf.MaxHead:
		return nil, errLargeHead
	}
	c.scanned = 0
	c.unwatch()
	r.head.raw = string(p[:size])
	in.Discard(size)
	c.flags &^= flagPipelined
	if n > size {
		c.flags |= flagPipelined
	}
	return r, nil
}

var headEnd = []byte("\r\n\r\n")

// incomplete is called if no complete request is there. The caller holds mu.
func (c *conn) incomplete() {
	partial := c.scanned > 0 || c.req != nil
	switch {
	case c.has(flagEOF):
		c.req = nil
		c.flags |= flagClosing
		c.closeWhenSent()
	case c.draining() && !partial:
		c.flags |= flagClosing
		c.closeWhenSent()
	case c.scanned > 0 && c.req == nil:
		c.watch(c.srv.conf.HeadTimeout)
	}
}

// closeWhenSent closes the stream. While the server is drained, it first waits until the
// system has all replies, since Drained says so. The caller holds mu.
func (c *conn) closeWhenSent() {
	if c.has(flagDead) || c.req != nil {
		return
	}
	if c.has(flagAbort) {
		c.flags |= flagDead
		c.todo |= doAbort
		return // End follows
	}
	if c.draining() && c.s.Queued() > 0 {
		c.watchOutput()
		return // Drained brings us back
	}
	c.flags |= flagDead
	c.unwatch()
	c.todo |= doClose
	if c.sent != nil {
		c.watchSent()
	}
}

// refuse answers what is no request, and closes. The caller holds mu.
func (c *conn) refuse(err error) {
	c.req = nil
	c.flags |= flagClosing
	var r *refusal
	if errors.As(err, &r) { // else the client has finished sending too soon
		c.write(c.srv.appendRefusal(nil, r))
	}
	c.closeWhenSent()
}

// write sends p. While there is input behind the request, p waits for the reply to that, or for
// the end of the turn, so that the replies leave together. The caller holds mu.
func (c *conn) write(p []byte) error {
	c.count(len(p))
	var err error
	if c.has(flagPipelined) && (!c.has(flagWaiting) || c.srv.conf.Handler != nil) {
		_, err = c.s.WriteLater(p)
	} else {
		_, err = c.s.Write(p)
	}
	return err
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"io"

	"github.com/evchan/evchan"
)

// Body is a message, with Config.Streaming: some more of a request's body has come. The first
// one follows the Request, unless that had all of the body.
//
// The program owns Data. To slow the client down, call [Request.PauseBody].
//
// In a client, it says the same of the body of a [Response], with Call.Streaming: see there.
//
// Over a channel, one Body may still come for a request that was answered before its body had
// ended.
type Body struct {
	evchan.Custom
	Request  *Request      // whose body it is, or nil
	Response *Response     // whose body it is, or nil
	Data     evchan.Buffer // what has come
	Last     bool          // that was all; Data may be empty then
	Err      error         // with Last, of a Response: why the rest does not come, a *[CallError]; else nil
}

// String returns whose body it is.
func (m *Body) String() string {
	if m.Response != nil {
		return "Body of " + m.Response.String()
	}
	return "Body of " + m.Request.String()
}

const (
	maxPiece = 64 << 10  // bytes of one Body
	maxSkip  = 256 << 10 // bytes of a body that are dropped in order to keep the connection
)

var continueLine = []byte("HTTP/1.1 100 Continue\r\n\r\n")

// Body returns the Buffer with the body of the request: all of it or, with Config.Streaming,
// what had come when the Request was sent. It belongs to the receiver of the Request. In a
// handler of Go, read http.Request.Body instead.
func (r *Request) Body() *evchan.Buffer { return &r.body }

// Complete reports whether Body had all of the body from the beginning, so that no [Body]
// follows. Without Config.Streaming it is true.
func (r *Request) Complete() bool {
	r.conn.mu.Lock()
	defer r.conn.mu.Unlock()
	return r.has(flagWhole)
}

// Trailer returns the value of the first field of that name behind a chunked body that is
// complete, or "".
func (r *Request) Trailer(name string) string {
	r.conn.mu.Lock()
	defer r.conn.mu.Unlock()
	if r.extra == nil || r.extra.trailer == nil {
		return ""
	}
	value, _ := r.extra.trailer.get(name)
	return value
}

// PauseBody stops the messages Body, and with them the client when the connection's buffers are
// full, until ResumeBody.
func (r *Request) PauseBody() {
	r.conn.mu.Lock()
	defer r.conn.mu.Unlock()
	r.flags |= flagPaused
}

// ResumeBody undoes PauseBody.
func (r *Request) ResumeBody() {
	c := r.conn
	c.mu.Lock()
	defer c.unlock()
	r.flags &^= flagPaused
	if c.req == r {
		c.todo |= doAgain
	}
}

// pausedBody reports whether the body does not come because the program does not want it. The
// caller holds mu.
func (r *Request) pausedBody() bool {
	return r.has(flagPaused) || r.has(flagBlocking) && r.conn.s.InputFull()
}

// begin decides what becomes of the body, when the head is there. The caller holds mu.
func (r *Request) begin() error {
	c := r.conn
	conf := &c.srv.conf
	r.phase = unanswered
	if next := c.srv.intercepted(r); next != nil {
		r.x().intercept = next
		r.flags |= flagHeld
	}
	if !r.head.hasBody() {
		r.bodyEnded = true
		r.flags |= flagTold | flagWhole
		return nil
	}
	if limit := r.maxBody(); limit >= 0 && r.head.length > limit {
		return errLargeBody
	}
	if r.head.flags&hasExpect != 0 && r.head.minor == 1 && !c.has(flagPipelined) {
		r.flags |= flagExpects
	}
	if !conf.Streaming && conf.Handler == nil || r.has(flagHeld) {
		r.phase = receiving
		return r.sendContinue()
	}
	if !r.has(flagExpects) {
		if err := r.pull(&r.body, maxPiece); err != nil {
			return err
		}
	}
	if r.bodyEnded {
		r.flags |= flagTold | flagWhole
	}
	return nil
}

// sendContinue sends 100 Continue if the client waits for it. The caller holds mu.
func (r *Request) sendContinue() error {
	if !r.has(flagExpects) {
		return nil
	}
	r.flags &^= flagExpects
	if r.phase == replying {
		return nil // too late
	}
	_, err := r.conn.s.Write(continueLine)
	return err
}

// pull moves what has come of the body to b, until b has limit bytes or there is no more. The
// caller holds mu.
func (r *Request) pull(b *evchan.Buffer, limit int64) error {
	if r.bodyEnded {
		return r.bodyErr
	}
	in := r.conn.s.Input()
	var err error
	if r.head.flags&hasChunked != 0 {
		err = r.pullChunks(in, b, limit)
	} else if n := min(limit-int64(b.Len()), r.head.length-r.bodySize); n > 0 {
		moved, _ := b.MoveN(in, int(min(n, int64(in.Len()))))
		r.bodySize += int64(moved)
		r.bodyEnded = r.bodySize == r.head.length
	}
	if limit := r.maxBody(); err == nil && limit >= 0 && r.bodySize > limit {
		err = errLargeBody
	}
	if err == nil && !r.bodyEnded && r.conn.has(flagEOF|flagDead) && in.Len() == 0 {
		err = errCut
	}
	if r.bodyEnded && err == nil {
		r.conn.unwatch()
		if in.Len() == 0 {
			r.conn.flags &^= flagPipelined
		} else {
			r.conn.flags |= flagPipelined
		}
	}
	return err
}

// pullChunks is pull for a chunked body.
func (r *Request) pullChunks(in, b *evchan.Buffer, limit int64) error {
	d := &r.x().dec
	n, err := d.pull(in, b, limit)
	r.bodySize += n
	if err != nil || d.state != chunkDone {
		return err
	}
	r.bodyEnded = true
	r.extra.trailer, err = d.trailerFields()
	d.trailer = nil
	return err
}

// bodyMessage returns the next Body, or nil if nothing more has come. The caller holds mu.
func (r *Request) bodyMessage() evchan.Event {
	if err := r.sendContinue(); err != nil {
		return nil // Closed follows
	}
	m := &Body{Request: r}
	if err := r.pull(&m.Data, maxPiece); err != nil {
		r.failBody(err)
		return r.message()
	}
	if m.Data.Len() == 0 && !r.bodyEnded {
		return nil
	}
	r.x().made = m
	m.Last = r.bodyEnded
	if m.Last {
		r.flags |= flagTold
	}
	return m
}

// failBody ends a request whose body will never be complete. The caller holds mu.
func (r *Request) failBody(err error) {
	c := r.conn
	c.flags |= flagClosing
	r.bodyEnded, r.bodyErr = true, err
	if r.has(flagBlocking) {
		r.wake() // the handler gets the error, and may still reply
		return
	}
	if refused, ok := err.(*refusal); ok && r.phase == unanswered {
		c.write(c.srv.appendRefusal(nil, refused))
	} else if r.phase == replying {
		c.flags |= flagAbort // the client must not take what it has for all
	}
	r.fail(goneError{err})
}

// skip drops what comes of the body of a request that was answered. The caller holds mu.
func (r *Request) skip() {
	c := r.conn
	var dropped evchan.Buffer
	err := r.pull(&dropped, maxSkip)
	r.written += int64(dropped.Len())
	if err != nil || r.written > maxSkip {
		c.flags |= flagClosing
		r.bodyEnded = true
	}
	if r.bodyEnded {
		r.phase = answered
		c.req = nil
	}
}

// canSkip reports whether the rest of the body is to be dropped, rather than the connection be
// closed. The caller holds mu.
func (r *Request) canSkip() bool {
	return !r.has(flagExpects) && r.head.length-r.bodySize <= maxSkip
}

// readLocked reads the body on the goroutine that answers the request. If the request is not
// blocking, it returns evchan.ErrWouldBlock when no more has come. The caller holds mu.
func (r *Request) readLocked(p []byte) (int, error) {
	for {
		if r.body.Len() > 0 {
			return r.body.Read(p)
		}
		if r.bodyErr != nil {
			return 0, r.bodyErr
		}
		if r.bodyEnded {
			return 0, io.EOF
		}
		if r.phase >= answered {
			return 0, r.endError()
		}
		r.sendContinue()
		if err := r.pull(&r.body, maxPiece); err != nil {
			r.failBody(err)
			continue
		}
		if r.body.Len() > 0 || r.bodyEnded {
			continue
		}
		if !r.has(flagBlocking) {
			return 0, evchan.ErrWouldBlock
		}
		if err := r.extra.readDeadline.wait(&r.extra.cond); err != nil {
			return 0, err
		}
	}
}

// endError returns why a request that is answered or over takes no call any more. The caller
// holds mu.
func (r *Request) endError() error {
	switch {
	case r.err != nil:
		return r.err
	case r.phase == over:
		return ErrGone
	}
	return ErrDone
}

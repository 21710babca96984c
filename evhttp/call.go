// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/evchan/evchan"
)

// A Call is one request of a Client, and all that comes of it: its redirects and retries. The
// exported fields are set before Do, and not changed after it. A Call is not used twice.
type Call struct {
	// Request says what is asked for, as for http.Client. Do does not change it, and it must not
	// be changed before the last message of the call. Its Body is closed by the client.
	//
	// A body that http.NewRequest knows the length of is read by Do. Another one is read by a
	// goroutine, so it may wait.
	//
	// When the request's Context ends, the call is cancelled.
	Request *http.Request

	// Data is for you. The package does not use it.
	Data any

	// Notify gets the messages of the call; nil means that they go to the receiver of the loop.
	Notify chan<- evchan.Event

	// Streaming has the Response sent as soon as its head is there, with what has come of its
	// body. [Body] follows for the rest. If it is false, the Response is sent when all of it is
	// there.
	Streaming bool

	// Upload says that the program writes the request's body itself, by Write and Finish, in
	// the loop. Request.Body must be nil. Request.ContentLength is its length if it is above 0;
	// otherwise it is sent in chunks.
	Upload bool

	// MaxBody replaces that of the ClientConfig; 0 means that of the ClientConfig; if negative,
	// there is no limit.
	MaxBody int64

	// Timeout bounds the whole call, to the end of the response's body; 0 means no limit.
	Timeout time.Duration

	// The client's mu guards the following.

	cl      *Client
	box     *clientBox
	rt      *roundTrip    // what waits for the response instead of box, or nil
	req     *http.Request // Request, or what a redirect has made of it
	body    []byte        // of the request, if it is known
	pump    io.ReadCloser // the body of the request if a goroutine reads it, or nil
	length  int64         // of the request's body; -1: not known
	host    *clientHost
	conn    *clientConn // nil: none
	resp    *Response   // nil: its head has not arrived
	timer   *evchan.Timer
	retry   *evchan.Timer
	queued  time.Time
	stop    func() bool // of context.AfterFunc, or nil
	written int64       // of the request's body
	cond    *sync.Cond  // what pump waits on; nil: nothing
	tries   int         // of connecting that have failed
	hops    int         // redirects
	phase   Phase
	flags   callFlags
}

type callFlags uint16

const (
	callOver       callFlags = 1 << iota // its last message was sent
	callTold                             // its Response was sent
	callSending                          // the head of the request was sent, and the body may be
	callSent                             // all of the request was sent
	callWantsRoom                        // Write has returned ErrFull
	callPumping                          // a goroutine reads pump
	callUnreceived                       // a Response or Body of a body that goes on was not received
	callPaused                           // by Response.PauseBody
	callGzip                             // the client has asked for gzip
	callNoBody                           // a redirect has dropped the body
)

var errDeadline = os.ErrDeadlineExceeded

func (c *Call) has(f callFlags) bool { return c.flags&f != 0 }

// Do begins a call, and returns at once. Exactly one [Response] follows; if the call has failed,
// its Err says why. With Streaming, messages Body follow that, unless Response.Complete is true, and
// the last one has Last set.
//
// Do returns an error, and nothing follows, if the request is not valid, if the client is closed,
// and if the Call was used before.
func (cl *Client) Do(c *Call) error {
	if c.Request == nil {
		return requestError(errors.New("no Request"))
	}
	cl.mu.Lock()
	defer cl.unlock()
	if c.cl != nil {
		return requestError(errUsed)
	}
	if cl.closed {
		closeBody(c.Request)
		return requestError(evchan.ErrClosed)
	}
	if err := c.prepare(); err != nil {
		closeBody(c.Request)
		return requestError(err)
	}
	c.cl = cl
	cl.calls[c] = struct{}{}
	if c.rt == nil {
		c.box = cl.boxFor(c.Notify)
		c.box.m.Expect(1)
	}
	if ctx := c.req.Context(); ctx.Done() != nil {
		c.stop = context.AfterFunc(ctx, func() { c.cancel(context.Cause(ctx)) })
	}
	if c.Timeout > 0 {
		c.timer = cl.startTimer(nil, c.Timeout, func() { c.cancel(errDeadline) })
	}
	c.route()
	return nil
}

func requestError(err error) error { return &CallError{PhaseRequest, err} }

func closeBody(r *http.Request) {
	if r.Body != nil {
		r.Body.Close()
	}
}

// prepare checks the request, and looks at its body.
func (c *Call) prepare() error {
	r := c.Request
	c.req = r
	if err := checkRequest(r); err != nil {
		return err
	}
	switch {
	case c.Upload:
		if r.Body != nil && r.Body != http.NoBody {
			return errors.New("a Body together with Upload")
		}
		if c.length = r.ContentLength; c.length <= 0 {
			c.length = -1
		}
	case r.Body == nil || r.Body == http.NoBody:
	case r.GetBody != nil && r.ContentLength > 0:
		body, err := io.ReadAll(io.LimitReader(r.Body, r.ContentLength+1))
		if err != nil {
			return err
		}
		if int64(len(body)) != r.ContentLength {
			return errWrongSize
		}
		r.Body.Close()
		c.body, c.length = body, int64(len(body))
	default:
		c.pump = r.Body
		if c.length = r.ContentLength; c.length <= 0 {
			c.length = -1
		}
	}
	return nil
}

// checkRequest checks what would be sent as it is.
func checkRequest(r *http.Request) error {
	if r.URL == nil {
		return errors.New("no URL")
	}
	if r.URL.Scheme != "http" && r.URL.Scheme != "https" {
		return fmt.Errorf("unsupported scheme %.20q", r.URL.Scheme)
	}
	if r.URL.Hostname() == "" || !validHost([]byte(r.URL.Host)) || !validHost([]byte(r.Host)) {
		return fmt.Errorf("malformed host %.40q", or(r.Host, r.URL.Host))
	}
	if r.Method != "" && !validName(r.Method) {
		return fmt.Errorf("malformed method %.20q", r.Method)
	}
	for target, i := r.URL.RequestURI(), 0; i < len(target); i++ {
		if target[i] <= ' ' || target[i] == 0x7f {
			return fmt.Errorf("malformed URL: %.60q", target)
		}
	}
	for name, values := range r.Header {
		if !validName(name) {
			return fmt.Errorf("malformed field name %.40q", name)
		}
		for _, v := range values {
			if !validValue(v) {
				return fmt.Errorf("malformed value of the field %.40s", name)
			}
		}
	}
	for name, values := range r.Trailer {
		if !validName(name) || checkTrailer([]byte(name)) != nil {
			return fmt.Errorf("malformed trailer name %.40q", name)
		}
		for _, v := range values {
			if !validValue(v) {
				return fmt.Errorf("malformed value of the trailer %.40s", name)
			}
		}
	}
	return nil
}

// Cancel ends the call. Its connection is closed if it has one. If the Response was not sent, it
// comes with ErrCancelled; if a body was under way, its last Body does. Nothing more comes of a call
// that is over: Cancel has no effect then.
func (c *Call) Cancel() { c.cancel(ErrCancelled) }

// Client returns the client that makes the call, or nil before Do.
func (c *Call) Client() *Client { return c.cl }

// String returns what is asked for.
func (c *Call) String() string {
	if c.Request == nil || c.Request.URL == nil {
		return "Call"
	}
	return method(c.Request) + " " + c.Request.URL.Redacted()
}

// method returns the method of r, where "" means GET.
func method(r *http.Request) string { return or(r.Method, "GET") }

// cancel is Cancel with a reason.
func (c *Call) cancel(err error) {
	cl := c.cl
	if cl == nil {
		return
	}
	cl.mu.Lock()
	defer cl.unlock()
	c.fail(err)
}

// route sends the call to its host. The caller holds mu.
func (c *Call) route() {
	h, err := c.cl.host(c.req)
	if err != nil {
		c.failIn(PhaseConnect, err)
		return
	}
	h.enqueue(c)
}

// fail ends the call with an error in the phase that it is in. The caller holds mu.
func (c *Call) fail(err error) { c.failIn(c.phase, err) }

// failIn ends the call with an error. The caller holds mu.
func (c *Call) failIn(phase Phase, err error) {
	if c.has(callOver) {
		return
	}
	if conn := c.conn; conn != nil {
		c.conn, conn.call = nil, nil
		conn.drop(true)
	} else if h := c.host; h != nil && phase == PhaseQueue {
		for i, other := range h.waiting {
			if other == c {
				h.waiting = append(h.waiting[:i:i], h.waiting[i+1:]...)
				break
			}
		}
	}
	err = &CallError{phase, err}
	if !c.has(callTold) {
		c.resp = &Response{Call: c, Err: err, Complete: true}
		c.end()
		c.tell(c.resp)
		return
	}
	c.resp.bodyErr = err
	c.end()
	if c.rt != nil {
		c.rt.cond.Broadcast()
	} else {
		c.tell(&Body{Response: c.resp, Last: true, Err: err})
	}
}

// end notes that the call is over. The caller holds mu, and sends the last message.
func (c *Call) end() {
	c.flags |= callOver
	delete(c.cl.calls, c)
	if c.stop != nil {
		c.stop()
	}
	if c.timer != nil {
		c.timer.Close()
	}
	if retry := c.retry; retry != nil {
		c.cl.later(func() { retry.Close() }) // which calls End
	}
	if c.cond != nil {
		c.cond.Broadcast()
	}
	c.closePump()
}

// closePump closes the body that a goroutine reads, so that it need not wait for it any more. The
// caller holds mu.
func (c *Call) closePump() {
	if pump := c.pump; pump != nil {
		c.pump = nil
		c.cl.later(func() { pump.Close() })
	}
}

// tell sends a message of the call. The caller holds mu.
func (c *Call) tell(m evchan.Event) {
	c.flags |= callTold
	if c.rt != nil {
		c.rt.cond.Broadcast()
		return
	}
	if !c.has(callOver) {
		c.box.m.Expect(1) // the next one
	}
	c.box.m.Post(m)
	if c.has(callOver) {
		c.box.release()
	}
}

// Write sends a piece of the request's body, if Upload is true. If the connection is not there yet,
// or MaxOutput bytes are unsent, it takes nothing and returns evchan.ErrFull: [Writable] follows
// when there is room.
func (c *Call) Write(p []byte) (int, error) {
	cl := c.cl
	if cl == nil {
		return 0, errNotUpload
	}
	cl.mu.Lock()
	defer cl.unlock()
	if !c.Upload || c.has(callSent) {
		return 0, c.uploadError()
	}
	return c.write(p)
}

// uploadError returns why Write and Finish take nothing any more. The caller holds mu.
func (c *Call) uploadError() error {
	if c.has(callOver) && c.resp != nil {
		if err := or(c.resp.Err, c.resp.bodyErr); err != nil {
			return err
		}
	}
	return errNotUpload
}

// write is Write. The caller holds mu.
func (c *Call) write(p []byte) (int, error) {
	if c.has(callOver) {
		return 0, c.uploadError()
	}
	if !c.has(callSending) || c.conn.s.Queued() >= c.cl.conf.MaxOutput {
		c.flags |= callWantsRoom
		return 0, evchan.ErrFull
	}
	if c.length >= 0 && int64(len(p)) > c.length-c.written {
		return 0, errWrongSize
	}
	if len(p) == 0 {
		return 0, nil
	}
	s := c.conn.s
	var err error
	if c.length >= 0 {
		_, err = s.Write(p)
	} else {
		err = writeChunk(s, p)
	}
	if err != nil {
		return 0, err
	}
	c.written += int64(len(p))
	return len(p), nil
}

// Finish ends the request's body, if Upload is true. If less than ContentLength was written, the
// call fails. Fields of Request.Trailer are sent behind a chunked body.
func (c *Call) Finish() error {
	cl := c.cl
	if cl == nil {
		return errNotUpload
	}
	cl.mu.Lock()
	defer cl.unlock()
	if !c.Upload || c.has(callSent|callOver) {
		return c.uploadError()
	}
	if !c.has(callSending) {
		c.flags |= callWantsRoom
		return evchan.ErrFull
	}
	return c.finish()
}

// finish ends the body of the request. The caller holds mu.
func (c *Call) finish() error {
	if c.length > c.written {
		c.failIn(PhaseSend, errWrongSize)
		return errWrongSize
	}
	c.flags |= callSent
	if c.length < 0 {
		p := []byte(chunkZero)
		for name, values := range c.req.Trailer {
			for _, v := range values {
				p = append(append(append(append(p, name...), ": "...), v...), "\r\n"...)
			}
		}
		c.conn.s.Write(append(p, "\r\n"...))
	}
	c.conn.sent()
	return nil
}

// room is called when the stream's output has drained. The caller holds mu.
func (c *Call) room() {
	if !c.has(callWantsRoom) {
		return
	}
	c.flags &^= callWantsRoom
	switch {
	case c.cond != nil:
		c.cond.Broadcast()
	case c.box != nil:
		c.box.m.Expect(1) // beside what is expected of the response
		c.box.m.Post(&Writable{Call: c})
	}
}

// A clientBox sends messages to one receiver. It is the layer of its mailbox.
type clientBox struct {
	cl     *Client
	notify chan<- evchan.Event
	m      *evchan.Mailbox
	calls  int   // cl.mu guards it
	told   *Call // whose body goes on, and whose last message was passed on; only Next uses it
}

// boxFor returns the box of the messages for ch, for one more call. The caller holds mu.
func (cl *Client) boxFor(ch chan<- evchan.Event) *clientBox {
	b := cl.boxes[ch]
	if b == nil {
		b = &clientBox{cl: cl, notify: ch, m: cl.loop.Mailbox(0)}
		b.m.SetLayer(b)
		if ch != nil {
			b.m.Notify(ch)
		}
		cl.boxes[ch] = b
	}
	b.calls++
	return b
}

// release notes that a call is over. A box for a channel is forgotten when it has no calls. The
// caller holds mu.
func (b *clientBox) release() {
	if b.calls--; b.calls == 0 && b.notify != nil {
		delete(b.cl.boxes, b.notify)
	}
}

// Next is for package evchan. It notes which message of a body was received, since the next one is
// made only then.
func (b *clientBox) Next(_ evchan.Source, ev evchan.Event) evchan.Event {
	if c := b.told; c != nil {
		b.told = nil
		b.cl.mu.Lock()
		c.flags &^= callUnreceived
		if c.conn != nil && c.resp != nil {
			c.conn.receive()
		}
		b.cl.unlock()
	}
	switch m := ev.(type) {
	case *Response:
		if !m.Complete {
			b.told = m.Call
		}
	case *Body:
		if !m.Last {
			b.told = m.Response.Call
		}
	}
	return ev
}

// pumpBody sends what the request's Body gives. It runs on a goroutine of its own.
func (c *Call) pumpBody(body io.ReadCloser) {
	cl := c.cl
	defer func() {
		cl.mu.Lock()
		defer cl.unlock()
		if c.pump == body {
			c.closePump()
		}
	}()
	p := make([]byte, 32<<10)
	for {
		n, err := body.Read(p)
		cl.mu.Lock()
		for rest := p[:n]; len(rest) > 0; {
			_, werr := c.write(rest)
			if werr == evchan.ErrFull {
				cl.wait(c.cond)
				continue
			}
			if werr != nil {
				if werr == errWrongSize {
					c.failIn(PhaseSend, werr)
				}
				cl.unlock()
				return
			}
			rest = nil
		}
		over := c.has(callOver)
		switch {
		case over:
		case err == io.EOF:
			c.finish()
		case err != nil:
			c.failIn(PhaseSend, err)
		}
		cl.unlock()
		if over || err != nil {
			return
		}
	}
}

// isIdempotent reports whether the request may be sent again if nothing has come back (RFC 9110,
// 9.2.2, as net/http has it).
func (c *Call) isIdempotent() bool {
	if c.pump != nil || c.has(callPumping) || c.Upload && !c.has(callNoBody) {
		return false
	}
	switch method(c.req) {
	case "GET", "HEAD", "OPTIONS", "TRACE":
		return true
	}
	return c.req.Header.Get("Idempotency-Key") != "" || c.req.Header.Get("X-Idempotency-Key") != ""
}

// hasToken reports whether one of the values is a list with the token, in any case.
func hasToken(values []string, token string) bool {
	for _, list := range values {
		for item := range strings.SplitSeq(list, ",") {
			if equalFold(strings.Trim(item, " \t"), token) {
				return true
			}
		}
	}
	return false
}

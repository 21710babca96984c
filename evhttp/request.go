// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"context"
	"iter"
	"net"
	"net/url"
	"sync"

	"github.com/evchan/evchan"
)

// A Request is a message: a client wants a reply. The program answers by Reply or one of the
// methods like it, once, now or later and on any goroutine. Until then no further request of
// the connection comes. A request that nobody answers holds its connection.
//
// The methods that say what the client has sent are safe for concurrent use. So are those that
// answer: of several replies the first one counts, and the others return ErrDone. The Body, and
// what Set and Add collect, are for one goroutine at a time.
type Request struct {
	evchan.Custom

	// Data is for the program; the package does not use it.
	Data any

	head head
	conn *conn
	body evchan.Buffer // the receiver owns it; if blocking, conn.mu guards it

	// The conn's mu guards the following.

	phase     phase
	flags     requestFlags
	bodyEnded bool // all of the body was taken from the stream's input, or the rest will never come
	bodySize  int64
	fields    replyFields
	written   int64 // bytes of the reply's body, if it is written in pieces
	err       error // why it is over
	bodyErr   error // why the body is not complete
	extra     *requestExtra
}

// A requestExtra has what few requests need.
type requestExtra struct {
	dec     chunkDecoder
	trailer *head
	after   []byte // the trailer of the reply: lines

	intercept func(*Request) evchan.Event // the function of Intercept, or nil

	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}

	seen int64 // bytes of the body at the last look of the timer
	made *Body // the last one; it may not be received yet

	cond          sync.Cond // with the conn's mu: a goroutine waits for the client
	readDeadline  deadline
	writeDeadline deadline
}

type phase uint8

const (
	receiving  phase = iota // the body is not complete, and has to be
	unanswered              // sent to the receiver
	replying                // the head of the reply was sent
	skipping                // answered; the rest of the body is dropped
	answered
	over // will not be answered
)

type requestFlags uint16

const (
	flagExpects  requestFlags = 1 << iota // the client waits for 100 Continue
	flagBlocking                          // a goroutine answers: methods wait for the client
	flagChunks                            // the reply is chunked
	flagRoom                              // Write has returned ErrFull: Writable must follow
	flagPaused                            // PauseBody
	flagTold                              // all of the body was sent in messages
	flagWhole                             // all of it was there when the Request was sent; never changes after that
	flagGoneDue                           // Gone must be sent
	flagNoBody                            // the reply has no body: HEAD, 204, 304
	flagHeld                              // no message was sent of it yet: the function of Intercept makes one
	flagInline                            // a handler of Serve answers: what it writes is queued, however much it is
)

func (r *Request) has(f requestFlags) bool { return r.flags&f != 0 }

// x returns the extra part. The caller holds the conn's mu, or is alone.
func (r *Request) x() *requestExtra {
	if r.extra == nil {
		r.extra = new(requestExtra)
		r.extra.cond.L = &r.conn.mu
	}
	return r.extra
}

// Method returns the method, such as GET. Methods are case-sensitive.
func (r *Request) Method() string { return r.head.method }

// Target returns the target as it was sent: most often a path, perhaps with a query.
func (r *Request) Target() string { return r.head.str(r.head.target) }

// Path returns the path, decoded: /a%20b is "/a b". It is "*" for OPTIONS *, and "" for
// CONNECT.
func (r *Request) Path() string { return r.head.path() }

// RawQuery returns what stands behind the question mark, as it was sent.
func (r *Request) RawQuery() string {
	_, _, query := r.head.split()
	return query
}

// Query returns the values of the query. What is malformed is left out.
func (r *Request) Query() url.Values {
	values, _ := url.ParseQuery(r.RawQuery())
	return values
}

// Host returns the host, perhaps with a port, that the request is for, as it was sent. The one
// in the target counts, if there is one, else the field Host.
func (r *Request) Host() string { return r.head.host() }

// Minor returns the minor number of the client's version: 1 for HTTP/1.1, 0 for HTTP/1.0.
func (r *Request) Minor() int { return int(r.head.minor) }

// Header returns the value of the first field of that name, in any case, or "".
func (r *Request) Header(name string) string {
	value, _ := r.head.get(name)
	return value
}

// Values returns the values of all fields of that name, in any case.
func (r *Request) Values(name string) []string {
	var values []string
	for n, v := range r.Fields() {
		if equalFold(n, name) {
			values = append(values, v)
		}
	}
	return values
}

// Fields returns an iterator over the names and values of all fields, as they were sent.
func (r *Request) Fields() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, f := range r.head.fields() {
			if !yield(r.head.str(f.name), r.head.str(f.value)) {
				return
			}
		}
	}
}

// ContentLength returns the length of the body, or -1 if the client has not said it.
func (r *Request) ContentLength() int64 {
	if r.head.flags&hasChunked != 0 {
		return -1
	}
	return r.head.length
}

// Stream returns the stream of the connection. It belongs to the server: see [Request.Hijack].
// Addresses and Data can be asked for, and Abort is allowed.
func (r *Request) Stream() *evchan.Stream { return r.conn.s }

// RemoteAddr returns the client's address.
func (r *Request) RemoteAddr() net.Addr { return r.conn.s.RemoteAddr() }

// Server returns the server.
func (r *Request) Server() *Server { return r.conn.srv }

// String returns the method and the target.
func (r *Request) String() string { return "Request " + r.head.method + " " + r.Target() }

// Context returns a context that ends when the request has been answered, or is over: when the
// client has left, for example.
func (r *Request) Context() context.Context {
	r.conn.mu.Lock()
	defer r.conn.mu.Unlock()
	return r.contextLocked()
}

func (r *Request) contextLocked() context.Context {
	x := r.x()
	if x.ctx == nil {
		x.ctx, x.cancel = context.WithCancel(connContext{r.conn})
		if r.phase >= skipping || r.conn.srv.conf.CancelOnEOF && r.conn.has(flagEOF) {
			x.cancel()
		}
	}
	return x.ctx
}

// cancel ends the Context. The caller holds mu.
func (r *Request) cancel() {
	if r.extra != nil && r.extra.cancel != nil {
		r.extra.cancel()
	}
}

// Done returns a channel that is closed when the reply has been handed to the system, or never
// will be: Err tells which.
func (r *Request) Done() <-chan struct{} {
	c := r.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	x := r.x()
	if x.done == nil {
		x.done = make(chan struct{})
		if r.phase >= skipping {
			r.settleLater()
		}
	}
	return x.done
}

// settleLater closes Done as soon as the reply was sent. The caller holds mu, and Done was
// called.
func (r *Request) settleLater() {
	c := r.conn
	if c.sent == nil {
		c.sent = new(sentRequests)
	}
	c.sent.list = append(c.sent.list, r)
	if r.phase == over || c.s.Queued() == 0 {
		c.settle()
	} else if c.has(flagDead) {
		c.watchSent()
	}
}

// watchSent waits for the end of the stream, which sends no message any more. The caller holds
// mu.
func (c *conn) watchSent() {
	if c.sent == nil {
		return
	}
	sent, s := c.sent.list, c.s
	c.sent = nil
	go func() {
		<-s.Done()
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, r := range sent {
			if s.Lost() > 0 && r.err == nil {
				r.err = goneError{s.Err()}
			}
			close(r.extra.done)
		}
	}()
}

// Err returns why the request is over without a reply, or why the reply was not sent
// completely. It returns nil as long as that is not known.
func (r *Request) Err() error {
	r.conn.mu.Lock()
	defer r.conn.mu.Unlock()
	return r.err
}

// Gone says that a request is over before the program has answered it: the client has left,
// was too slow, or has sent a body that is malformed or too large. Err tells which. A reply
// would return ErrGone.
type Gone struct {
	evchan.Custom
	Request *Request
	Err     error
}

// String returns what is over, and why.
func (m *Gone) String() string { return "Gone " + m.Request.String() + ": " + m.Err.Error() }

// fail ends the request because of err. The caller holds mu.
func (r *Request) fail(err error) {
	c := r.conn
	if r.phase >= skipping {
		if c.req == r {
			c.req = nil
		}
		return
	}
	r.err = err
	if r.phase != receiving && !r.has(flagBlocking|flagHeld) {
		r.flags |= flagGoneDue
	} else if c.req == r {
		c.req = nil
	}
	r.phase = over
	r.cancel()
	r.wake()
	if r.extra != nil && r.extra.done != nil {
		r.settleLater()
	}
}

// message returns the next message of a request that was sent to the receiver, or nil. If the
// request is over, it is the connection's no longer. The caller holds mu.
func (r *Request) message() evchan.Event {
	c := r.conn
	switch {
	case r.phase == over:
		c.req = nil
		if r.has(flagGoneDue) {
			r.flags &^= flagGoneDue
			return &Gone{Request: r, Err: r.err}
		}
		return nil
	case r.phase == skipping:
		r.skip()
		return nil
	case r.has(flagBlocking):
		return nil
	case r.has(flagHeld):
		return r
	case r.has(flagRoom) && !c.isFull():
		r.flags &^= flagRoom
		return &Writable{Request: r}
	case !r.has(flagTold | flagPaused):
		return r.bodyMessage()
	}
	return nil
}

// wake wakes the goroutine that waits for the client. The caller holds mu.
func (r *Request) wake() {
	if r.has(flagBlocking) {
		r.extra.cond.Broadcast()
	}
}

// block makes Read and Write wait for the client, on the goroutine that answers the request.
// The caller holds mu.
func (r *Request) block() {
	r.x()
	r.flags |= flagBlocking
}

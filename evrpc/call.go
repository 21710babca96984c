// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evrpc

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
	"github.com/evchan/evchan/evrpc/evtag"
)

// A Call is a message: a client has called an RPC that was registered with these types. The program answers by
// Reply or Fail, once, now or later and on any goroutine. Until then, the client's connection has no further call.
//
// If the client leaves before the answer, [evhttp.Gone] is received; the Call is the Data of its Request.
type Call[Req, Rep any] struct {
	evchan.Custom

	// Request is what the client has sent. It belongs to the receiver.
	Request Req

	// Data is for you. The package does not use it.
	Data any

	c *call
}

// A call is what a Call is besides its types.
type call struct {
	srv    *Server
	http   *evhttp.Request
	x      Exchange
	decode method

	typed bool // a hook has set the Content-Type

	claimed atomic.Bool // Reply or Fail was called

	mu       sync.Mutex // guards following
	arriving bool       // Server.next is running, and takes the message itself
	msg      evchan.Event
	err      error // of the reply
}

// Reply answers with rep, which it does not keep. Any goroutine may call it. If an output hook pauses the answer, Reply
// returns before that is sent.
//
// It returns ErrDone if the call was answered, evhttp.ErrGone if the client has left,
// ErrTerminated if a hook has ended the call, and the error of evtag.Marshal if rep cannot be encoded. In the
// last two cases the client is answered with 503, as by Fail.
func (c *Call[Req, Rep]) Reply(rep *Rep) error {
	if !c.c.claimed.CompareAndSwap(false, true) {
		return ErrDone
	}
	body, err := evtag.Marshal(nil, rep)
	if err != nil {
		c.c.http.Error(503)
		return err
	}
	return c.c.reply(body)
}

// Fail answers with the status 503 (Service Unavailable), which tells the client that there is no
// answer. The text of err is the body, so the client gets to see it; nil means "Service Error". A Pool has a [StatusError] then,
// and libevent's clients have EVRPC_STATUS_ERR_BADPAYLOAD.
//
// It returns ErrDone if the call was answered, and evhttp.ErrGone if the client has left.
func (c *Call[Req, Rep]) Fail(err error) error {
	if !c.c.claimed.CompareAndSwap(false, true) {
		return ErrDone
	}
	text := serviceError
	if err != nil {
		text = err.Error()
	}
	if evtag.Unmarshal([]byte(text), new(Rep)) == nil {
		text = serviceError // libevent's clients look at the body only, and would take that for an answer
	}
	c.c.http.Set("Content-Type", "text/plain; charset=utf-8")
	return c.c.http.ReplyString(503, text)
}

const serviceError = "Service Error"

// String returns the name of the RPC and where the call comes from.
func (c *Call[Req, Rep]) String() string {
	return fmt.Sprintf("Call %s from %v", c.Name(), c.Peer())
}

// Name returns the name of the RPC.
func (c *Call[Req, Rep]) Name() string { return c.c.x.Name }

// Peer returns the client's address.
func (c *Call[Req, Rep]) Peer() net.Addr { return c.c.http.RemoteAddr() }

// Value returns what a hook has kept for the call with [Exchange.SetValue], or nil.
func (c *Call[Req, Rep]) Value(key any) any { return c.c.x.Value(key) }

// Context returns a context that ends when the call has been answered, or the client has left.
func (c *Call[Req, Rep]) Context() context.Context { return c.c.http.Context() }

// HTTP returns the HTTP request, for its fields for example. It must not be answered by its own methods.
func (c *Call[Req, Rep]) HTTP() *evhttp.Request { return c.c.http }

// context, peer, header and setHeader are for hooks: a call is the side of its Exchange.
func (c *call) context() context.Context  { return c.http.Context() }
func (c *call) peer() net.Addr            { return c.http.RemoteAddr() }
func (c *call) header(name string) string { return c.http.Header(name) }
func (c *call) setHeader(name, value string) {
	c.typed = c.typed || strings.EqualFold(name, "Content-Type")
	c.http.Set(name, value)
}

// arrived is called after the input hooks, perhaps by a Resume.
func (c *call) arrived(ok bool) {
	var msg evchan.Event
	if ok {
		var err error
		msg, err = c.decode(c)
		ok = err == nil
	}
	if !ok {
		c.http.Error(503)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.msg = msg
	if !c.arriving {
		c.http.Stream().Again()
	}
}

// take returns the message if it is there, else nil.
func (c *call) take() evchan.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.arriving = false
	if c.msg != nil {
		c.http.Data = c.msg
	}
	return c.msg
}

// reply sends an encoded answer, when the output hooks have seen it.
func (c *call) reply(body []byte) error {
	c.x.Body = body
	c.x.run(c.srv.of(Output), func(ok bool) {
		err := ErrTerminated
		if ok {
			if !c.typed {
				c.http.Set("Content-Type", "application/octet-stream")
			}
			err = c.http.Reply(200, c.x.Body)
		} else {
			c.http.Error(503)
		}
		c.mu.Lock()
		c.err = err
		c.mu.Unlock()
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

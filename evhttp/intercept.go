// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"slices"
	"strings"

	"github.com/evchan/evchan"
)

// An intercept is what Intercept was called with.
type intercept struct {
	prefix string
	next   func(*Request) evchan.Event
}

// Intercept is for packages that put a protocol of their own on HTTP, such as evrpc: next is called
// for each request whose path begins with prefix, and sends a message of its own instead of the
// Request. If several prefixes fit, the longest one counts. The whole body is there, also with
// Config.Streaming or Config.Handler; then it may have 1 MiB if MaxBody is no limit. The request need
// not have the field Host: libevent's RPC clients send none.
//
// next returns
//
//   - the message that is sent instead; it may be the Request itself;
//   - nil, after it has answered the request;
//   - nil otherwise: it is called again for this request, at the latest when [evchan.Stream.Again] was called. Until it has
//     returned a message or has answered, no further request of the connection comes.
//
// It is called by the goroutine that delivers messages, as the Next of an [evchan.Layer], and may call all methods of the
// request. [Gone] is sent only for requests that a message was sent of. Interceptions are added before the
// server has connections, or hold for the requests that come afterwards.
func (srv *Server) Intercept(prefix string, next func(*Request) evchan.Event) {
	for {
		old := srv.intercepts.Load()
		var list []intercept
		if old != nil {
			list = slices.Clone(*old)
		}
		list = append(list, intercept{prefix, next})
		slices.SortStableFunc(list, func(a, b intercept) int { return len(b.prefix) - len(a.prefix) })
		if srv.intercepts.CompareAndSwap(old, &list) {
			return
		}
	}
}

// intercepted returns the function that takes r, or nil.
func (srv *Server) intercepted(r *Request) func(*Request) evchan.Event {
	list := srv.intercepts.Load()
	if list == nil {
		return nil
	}
	path := r.head.path()
	for _, i := range *list {
		if strings.HasPrefix(path, i.prefix) {
			return i.next
		}
	}
	return nil
}

// nextMessage returns the next message of the connection, or nil. The caller holds mu, which is let go
// while the function of Intercept runs.
func (c *conn) nextMessage() evchan.Event {
	for {
		ev := c.advance()
		r, ok := ev.(*Request)
		if !ok || !r.has(flagHeld) {
			return ev
		}
		next := r.extra.intercept
		c.unlock()
		ev = next(r)
		c.mu.Lock()
		switch {
		case ev != nil:
			r.flags &^= flagHeld
			return ev
		case c.req == r && r.phase == unanswered:
			c.flags |= flagWaiting
			return nil
		}
	}
}

// interceptedBody is the length of the longest body of a request that Intercept takes, if MaxBody is
// no limit because the other bodies are streamed.
const interceptedBody = 1 << 20

// maxBody returns the length of the longest body, or a negative number if there is no limit.
func (r *Request) maxBody() int64 {
	conf := &r.conn.srv.conf
	if conf.MaxBody < 0 && r.has(flagHeld) && (conf.Streaming || conf.Handler != nil) {
		return interceptedBody
	}
	return conf.MaxBody
}

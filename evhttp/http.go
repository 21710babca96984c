// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"context"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// HTTP returns the request as package net/http has it, for functions and handlers that take
// one. If the body is not complete, reading it gives evchan.ErrWouldBlock where it ends for
// now; in a handler of Go it waits. The Request and its Body share what is read.
//
// The error is that of a target that package net/url does not take.
func (r *Request) HTTP() (*http.Request, error) {
	hr, err := r.head.httpRequest()
	if err != nil {
		return nil, err
	}
	c := r.conn
	if addr := c.s.RemoteAddr(); addr != nil {
		hr.RemoteAddr = addr.String()
	}
	if f := c.srv.conf.TLSState; f != nil {
		if state, ok := f(c.s); ok {
			hr.TLS = &state
		}
	}
	hr = hr.WithContext(r.Context())
	if r.head.hasBody() {
		hr.Body = &httpBody{r: r, hr: hr}
	}
	return hr, nil
}

// An httpBody is the Body of a http.Request.
type httpBody struct {
	r      *Request
	hr     *http.Request
	closed bool
}

// Read reads the body of the request.
func (b *httpBody) Read(p []byte) (int, error) {
	c := b.r.conn
	c.mu.Lock()
	defer c.unlock()
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := b.r.readLocked(p)
	if err == io.EOF && b.r.extra != nil && b.r.extra.trailer != nil {
		b.hr.Trailer = b.r.extra.trailer.httpHeader()
	}
	return n, err
}

// Close makes later reads fail. The server drops what was not read.
func (b *httpBody) Close() error {
	c := b.r.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	b.closed = true
	return nil
}

// A connContext is the parent of the contexts of all requests of a connection. It has the values
// that http.Server promises, and never ends.
type connContext struct{ c *conn }

func (connContext) Deadline() (time.Time, bool) { return time.Time{}, false }
func (connContext) Done() <-chan struct{}       { return nil }
func (connContext) Err() error                  { return nil }

func (x connContext) Value(key any) any {
	switch key {
	case http.ServerContextKey:
		return x.c.srv.std
	case http.LocalAddrContextKey:
		return x.c.s.LocalAddr()
	}
	return nil
}

var _ context.Context = connContext{}

// A deadline bounds how long a goroutine waits for the client. The conn's mu guards it.
type deadline struct{ at time.Time }

// wait waits on cond until something has happened, or the deadline has passed.
func (d *deadline) wait(cond *sync.Cond) error {
	if d.at.IsZero() {
		cond.Wait()
		return nil
	}
	left := time.Until(d.at)
	if left <= 0 {
		return os.ErrDeadlineExceeded
	}
	t := time.AfterFunc(left, func() {
		cond.L.Lock()
		defer cond.L.Unlock()
		cond.Broadcast()
	})
	cond.Wait()
	t.Stop()
	return nil
}

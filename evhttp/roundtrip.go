// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/evchan/evchan"
)

// A roundTrip is what waits for a response, instead of a receiver of messages.
type roundTrip struct {
	cond sync.Cond // its lock is the client's mu
}

// RoundTripper returns an http.RoundTripper that makes its requests by the client: for http.Client,
// httputil.ReverseProxy and all that takes one.
//
// RoundTrip and reading the body wait, while the loop does the work. So they must not be called by
// the goroutine that ranges over the loop.
//
// The client's Jar and Redirects do not count for it, since http.Client has these. MaxBody does not
// either. What differs from http.Transport: it is HTTP/1.1 only; of httptrace, it calls
// Got1xxResponse and Got100Continue; it does not retry requests that have a body which a goroutine
// reads; and what the package's documentation calls strict.
func (cl *Client) RoundTripper() http.RoundTripper { return roundTripper{cl} }

type roundTripper struct{ cl *Client }

// RoundTrip is http.RoundTripper's.
func (t roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	cl := t.cl
	c := &Call{Request: r, rt: &roundTrip{}}
	c.rt.cond.L = &cl.mu
	if err := cl.Do(c); err != nil {
		return nil, err
	}
	cl.mu.Lock()
	defer cl.unlock()
	for c.resp == nil {
		cl.wait(&c.rt.cond)
	}
	resp := c.resp
	if resp.Err != nil {
		return nil, resp.Err
	}
	hr := resp.httpResponse()
	hr.Request = r
	if resp.conn != nil {
		if resp.Status == http.StatusSwitchingProtocols {
			return hr, t.upgrade(hr, resp)
		}
		hr.Body = &lateConn{resp: resp}
		return hr, nil
	}
	if resp.Complete && resp.Body.Len() == 0 {
		hr.Body = http.NoBody
		return hr, nil
	}
	body := &responseBody{c: c, hr: hr}
	hr.Body = body
	if coding, _ := resp.head.get("Content-Encoding"); c.has(callGzip) && equalFold(coding, "gzip") {
		hr.Body = &gzipBody{from: body}
		hr.Header.Del("Content-Encoding")
		hr.Header.Del("Content-Length")
		hr.ContentLength = -1
		hr.Uncompressed = true
	}
	return hr, nil
}

// CloseIdleConnections is for http.Client.
func (t roundTripper) CloseIdleConnections() { t.cl.CloseIdle() }

// upgrade makes the stream the body, which is an io.ReadWriteCloser then. The caller holds mu.
func (t roundTripper) upgrade(hr *http.Response, resp *Response) error {
	t.cl.unlock()
	defer t.cl.mu.Lock()
	nc, err := resp.takeConn()
	hr.Body = nc
	return err
}

// takeConn takes the stream as a net.Conn.
func (r *Response) takeConn() (net.Conn, error) {
	s, err := r.TakeStream(quiet{})
	if err != nil {
		return nil, err
	}
	nc, err := s.NetConn()
	if err != nil {
		s.Abort()
		return nil, err
	}
	return nc, nil
}

// A quiet is a layer that tells nothing.
type quiet struct{}

// Next is for package evchan.
func (quiet) Next(evchan.Source, evchan.Event) evchan.Event { return nil }

// A lateConn is the body of a response 2xx to CONNECT: a connection that is taken when it is used.
type lateConn struct {
	resp *Response
	once sync.Once
	conn net.Conn
	err  error
}

func (l *lateConn) take() error {
	l.once.Do(func() { l.conn, l.err = l.resp.takeConn() })
	return l.err
}

// Read reads what comes through the tunnel.
func (l *lateConn) Read(p []byte) (int, error) {
	if err := l.take(); err != nil {
		return 0, err
	}
	return l.conn.Read(p)
}

// Write writes into the tunnel.
func (l *lateConn) Write(p []byte) (int, error) {
	if err := l.take(); err != nil {
		return 0, err
	}
	return l.conn.Write(p)
}

// Close closes the tunnel.
func (l *lateConn) Close() error {
	if err := l.take(); err != nil {
		return err
	}
	return l.conn.Close()
}

// A responseBody is the Body of a http.Response.
type responseBody struct {
	c  *Call
	hr *http.Response

	// The client's mu guards the following.

	closed bool
}

// Read reads the body, and waits for it.
func (b *responseBody) Read(p []byte) (int, error) {
	c := b.c
	cl := c.cl
	cl.mu.Lock()
	defer cl.unlock()
	resp := c.resp
	for {
		if b.closed {
			return 0, http.ErrBodyReadAfterClose
		}
		if len(p) == 0 {
			return 0, nil
		}
		if resp.Body.Len() > 0 {
			return resp.Body.Read(p)
		}
		if resp.bodyErr != nil {
			return 0, resp.bodyErr
		}
		if c.conn == nil { // all of it has come
			if resp.trailer != nil && len(b.hr.Trailer) == 0 {
				b.hr.Trailer = resp.trailer.httpHeader()
			} else if resp.trailer != nil {
				for name, values := range resp.trailer.httpHeader() {
					b.hr.Trailer[name] = values
				}
			}
			return 0, io.EOF
		}
		k := c.conn
		ended, err := k.pull(&resp.Body, maxPiece)
		switch {
		case err != nil:
			c.fail(err)
		case ended:
			k.detach()
			c.end()
			k.release()
		case resp.Body.Len() == 0:
			cl.wait(&c.rt.cond)
		}
	}
}

// Close ends the call if its body has not ended. Then its connection is closed.
func (b *responseBody) Close() error {
	cl := b.c.cl
	cl.mu.Lock()
	defer cl.unlock()
	b.closed = true
	if b.c.conn != nil {
		b.c.fail(ErrCancelled)
	}
	b.c.rt.cond.Broadcast()
	return nil
}

// A gzipBody decodes a body that the client has asked for in gzip.
type gzipBody struct {
	from *responseBody
	z    *gzip.Reader
	err  error
}

// Read reads what is decoded.
func (b *gzipBody) Read(p []byte) (int, error) {
	if b.z == nil && b.err == nil {
		b.z, b.err = gzip.NewReader(b.from)
	}
	if b.err != nil {
		return 0, b.err
	}
	return b.z.Read(p)
}

// Close closes the body below.
func (b *gzipBody) Close() error { return b.from.Close() }

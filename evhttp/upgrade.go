// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/evchan/evchan"
)

var errBodyLeft = errors.New("evhttp: the body of the request has not ended")

// Upgrade answers 101, with the fields that were set and Upgrade: protocol, and gives the stream
// away, with what has arrived behind the head in its Input. The stream is the caller's from
// then on: the server does not close it, and has no timeouts for it. layer is the stream's new
// layer; with nil, its messages go to the receiver, beginning with Readable if there is input.
//
// What the client had wanted, [Request.Upgrades] tells. Upgrade returns ErrDone if the request
// has been answered, ErrGone if it is over, and an error while its body is not complete.
func (r *Request) Upgrade(protocol string, layer evchan.Layer) (*evchan.Stream, error) {
	if err := r.Set("Upgrade", protocol); err != nil {
		return nil, err
	}
	r.Set("Connection", "upgrade")
	return r.leave(layer, http.StatusSwitchingProtocols)
}

// Upgrades reports whether the client has asked to change to protocol, such as "websocket": by
// Connection: upgrade and by Upgrade.
func (r *Request) Upgrades(protocol string) bool {
	if r.head.flags&hasUpgrade == 0 {
		return false
	}
	for _, list := range r.Values("Upgrade") {
		for list != "" {
			var item string
			if item, list = cutItem(list); equalFold(item, protocol) {
				return true
			}
		}
	}
	return false
}

// Tunnel answers a CONNECT with 200, and gives the stream away as Upgrade does.
func (r *Request) Tunnel(layer evchan.Layer) (*evchan.Stream, error) {
	return r.leave(layer, http.StatusOK)
}

// Hijack gives the stream away as Upgrade does, and sends nothing.
func (r *Request) Hijack(layer evchan.Layer) (*evchan.Stream, error) {
	return r.leave(layer, 0)
}

// leave gives the stream away, after the head of a reply if status is not 0.
func (r *Request) leave(layer evchan.Layer, status int) (*evchan.Stream, error) {
	c := r.conn
	c.mu.Lock()
	var err error
	switch {
	case r.phase != unanswered:
		err = r.endError()
	case !r.bodyEnded:
		err = errBodyLeft
	case status != 0:
		_, err = c.s.Write(r.switchHead(nil, status))
	}
	if err != nil {
		c.unlock()
		return nil, err
	}
	timeout := c.has(flagWriteTimeout)
	r.detach()
	c.unlock()
	c.srv.remove(c)
	if timeout {
		c.s.SetIdleTimeouts(0, 0)
	}
	if err := c.s.SetLayer(layer); err != nil {
		return nil, goneError{err}
	}
	return c.s, nil
}

// switchHead appends the head of a reply behind which something else than HTTP begins. The
// caller holds mu.
func (r *Request) switchHead(p []byte, status int) []byte {
	f := &r.fields
	p = appendStatus(p, status)
	if f.flags&setDate == 0 {
		p = r.conn.srv.date.appendDate(p, time.Now())
	}
	if f.flags&setUpgrade != 0 {
		p = append(p, "Connection: Upgrade\r\n"...)
	}
	p = append(p, f.lines...)
	return append(p, "\r\n"...)
}

// detach ends what the server does for the connection. The caller holds mu.
func (r *Request) detach() {
	c := r.conn
	r.phase = answered
	c.req = nil
	c.flags |= flagDead
	c.unwatch()
	c.settle()
	if r.extra != nil && r.extra.done != nil {
		close(r.extra.done)
	}
}

// Hijack is http.Hijacker's: it returns a net.Conn that needs no loop. In a handler of Go it
// waits until the output is sent.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.hijacked {
		return nil, nil, http.ErrHijacked
	}
	r, c := w.r, w.r.conn
	if w.status != 0 && !w.sent {
		// The handler has written a head, 101 for example, which is sent as it is.
		c.mu.Lock()
		if r.phase == unanswered {
			r.phase = replying
			c.s.Write(append(r.switchHead(nil, w.status), w.kept...))
		}
		c.unlock()
	}
	c.mu.Lock()
	for {
		if r.phase != unanswered && r.phase != replying {
			defer c.unlock()
			return nil, nil, r.endError()
		}
		if c.s.Flush(); c.s.Queued() == 0 {
			break
		}
		if !r.has(flagBlocking) {
			c.unlock()
			return nil, nil, evchan.ErrWouldBlock
		}
		if err := r.extra.writeDeadline.wait(&r.extra.cond); err != nil {
			c.unlock()
			return nil, nil, err
		}
	}
	blocking := r.has(flagBlocking)
	r.detach()
	c.unlock()
	nc, err := c.s.NetConn()
	if err != nil {
		c.s.Abort()
		return nil, nil, err
	}
	w.hijacked = true
	if blocking {
		c.srv.pool.leave()
	}
	var from io.Reader = nc
	if r.body.Len() > 0 {
		from = io.MultiReader(bytes.NewReader(bytes.Clone(r.body.Bytes())), nc)
	}
	return nc, bufio.NewReadWriter(bufio.NewReader(from), bufio.NewWriter(nc)), nil
}

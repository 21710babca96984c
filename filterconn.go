// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A filterConn is what NetConn makes of a stream that Filter has made: a
// net.Conn on top of another one. It needs no loop: its Read decodes and its
// Write encodes.
type filterConn struct {
	net.Conn           // the one below
	max      int       // bytes of which Decode must make something
	once     sync.Once // closes

	reading sync.Mutex // held by Read; guards following
	plain   Buffer     // decoded, and not yet read
	err     error      // why there will be no more of it
	raw     []byte     // what is read into

	writing sync.Mutex // held by Write: its bytes stay together
	writeBy atomic.Pointer[time.Time]

	// filtering is held while the filter is at work. It guards the following.
	filtering sync.Mutex
	filter    Filter
	in        Buffer // raw, not yet consumed by Decode
	pending   Buffer // written, not yet consumed by Encode
	answer    Buffer // encoded, to be sent
	over      error  // why the filter must not be used any more; nil: it may be

	sending sync.Mutex // held while something is sent; guards following
	unsent  Buffer     // taken from answer
}

// filterBite is how many bytes are encoded at a time. Arbitrary.
const filterBite = 16 << 10

var errEnded = errors.New("evchan: the writing half is closed")

func (c *filterConn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	for len(p) > 0 && c.plain.n == 0 {
		if c.err != nil {
			return 0, c.err
		}
		if c.raw == nil {
			c.raw = make([]byte, filterBite)
		}
		n, err := c.Conn.Read(c.raw)
		if n == 0 && err != nil && err != io.EOF {
			return 0, err // what is lasting, the next one gives again
		}
		answers, err := c.decode(c.raw[:n], err == io.EOF)
		c.err = err
		if answers {
			c.send(false) // if that fails, so does the next Write
		}
	}
	n, _ := c.plain.Read(p)
	return n, nil
}

// decode has p decoded into plain, and reports whether there is something to be
// sent because of it. reading is held.
func (c *filterConn) decode(p []byte, eof bool) (answers bool, err error) {
	c.filtering.Lock()
	defer c.filtering.Unlock()
	if c.filter == nil {
		return false, c.failed("read", net.ErrClosed)
	}
	c.in.add(p)
	had, owed := c.in.n, c.answer.n
	if err := c.filter.Decode(&c.in, &c.plain, &c.answer, eof); err != nil {
		return c.answer.n > owed, c.failed("decode", err)
	}
	if c.pending.n > 0 && c.over == nil {
		err = c.encode(false)
	}
	switch {
	case err != nil:
	case eof:
		err = io.EOF
	case c.in.n == had && had >= c.max:
		err = c.failed("decode", fmt.Errorf("%d bytes, which make no sense yet: %w", had, ErrFull))
	}
	return c.answer.n > owed, err
}

// encode has what was written encoded. filtering is held.
func (c *filterConn) encode(fin bool) error {
	if c.over == nil {
		if err := c.filter.Encode(&c.pending, &c.answer, fin); err != nil {
			c.over = c.failed("encode", err)
		}
	}
	return c.over
}

func (c *filterConn) Write(p []byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	for n < len(p) {
		// What was encoded before has to be sent first, or it would pile up.
		if err := c.send(true); err != nil {
			return n, err
		}
		if t := c.writeBy.Load(); t != nil && !t.IsZero() && !time.Now().Before(*t) {
			return n, c.failed("write", os.ErrDeadlineExceeded)
		}
		bite := p[n:min(n+filterBite, len(p))]
		if err := c.add(bite); err != nil {
			return n, err
		}
		n += len(bite)
	}
	return n, c.send(true)
}

// add has p encoded.
func (c *filterConn) add(p []byte) error {
	c.filtering.Lock()
	defer c.filtering.Unlock()
	if c.over == nil {
		c.pending.add(p)
	}
	return c.encode(false)
}

// send sends what was encoded. If somebody else is at it, it waits for them, or,
// if not asked to wait, leaves it to them.
func (c *filterConn) send(wait bool) error {
	for {
		if wait {
			c.sending.Lock()
		} else if !c.sending.TryLock() {
			return nil
		}
		err := c.sendLocked()
		c.sending.Unlock()
		c.filtering.Lock()
		more := c.answer.n > 0
		c.filtering.Unlock()
		if err != nil || !more {
			return err
		}
	}
}

// sendLocked is send with sending held.
func (c *filterConn) sendLocked() error {
	c.filtering.Lock()
	c.unsent.splice(&c.answer)
	c.filtering.Unlock()
	_, err := c.unsent.WriteTo(c.Conn)
	return err
}

// SetDeadline is here because Write has to know, too.
func (c *filterConn) SetDeadline(t time.Time) error {
	c.writeBy.Store(&t)
	return c.Conn.SetDeadline(t)
}

// SetWriteDeadline is here because Write has to know, too.
func (c *filterConn) SetWriteDeadline(t time.Time) error {
	c.writeBy.Store(&t)
	return c.Conn.SetWriteDeadline(t)
}

// CloseWrite tells the peer that nothing more will be written.
func (c *filterConn) CloseWrite() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.finish(); err != nil {
		return err
	}
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return ErrUnsupported
}

// finish sends the last that Encode has to say. writing is held.
func (c *filterConn) finish() error {
	if err := c.encodeRest(); err != nil {
		return err
	}
	return c.send(true)
}

// encodeRest has encoded what is left, and the end.
func (c *filterConn) encodeRest() error {
	c.filtering.Lock()
	defer c.filtering.Unlock()
	err := c.over
	for again := err == nil; again; {
		left, owed := c.pending.n, c.answer.n
		err = c.encode(true)
		again = err == nil && c.pending.n > 0 && (c.pending.n < left || c.answer.n > owed)
	}
	if err == nil {
		c.over = c.failed("write", errEnded)
	}
	return err
}

// closeTime is how long Close may take to say goodbye, as in crypto/tls.
const closeTime = 5 * time.Second

func (c *filterConn) Close() error {
	err := c.failed("close", net.ErrClosed)
	c.once.Do(func() { // all of it, even if the filter panics
		defer c.retire()
		defer func() { err = c.Conn.Close() }()
		if c.writing.TryLock() { // else a Write that is at work is interrupted
			defer c.writing.Unlock()
			c.Conn.SetWriteDeadline(time.Now().Add(closeTime))
			c.finish()
		}
		if c.reading.TryLock() {
			defer c.reading.Unlock()
			// Closing a socket with unread input, a part of a handshake
			// say, would reset the connection and destroy what is on its way.
			c.Conn.SetReadDeadline(time.Now().Add(time.Millisecond))
			io.CopyN(io.Discard, c.Conn, filterRoom)
		}
	})
	return err
}

// retire lets the filter go.
func (c *filterConn) retire() {
	c.filtering.Lock()
	defer c.filtering.Unlock()
	f := c.filter
	c.filter, c.over = nil, c.failed("write", net.ErrClosed)
	if f, ok := f.(io.Closer); ok {
		f.Close()
	}
}

// failed returns err as package net does.
func (c *filterConn) failed(op string, err error) error {
	a := c.RemoteAddr()
	return &net.OpError{Op: op, Net: a.Network(), Source: c.LocalAddr(), Addr: a, Err: err}
}

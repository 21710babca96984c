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

// A filterConn is the net.Conn that NetConn returns for a stream that Filter has made.
// It stands on the net.Conn of the stream below. It needs no loop: its Read decodes and
// its Write encodes.
type filterConn struct {
	net.Conn           // the one below
	max      int       // unconsumed input bytes at which Decode must consume some
	once     sync.Once // for Close

	readMu  sync.Mutex // locked by Read; guards the following
	plain   Buffer     // decoded, not yet read
	readErr error      // why nothing more will be decoded
	raw     []byte     // the space that is read into

	writeMu sync.Mutex                // locked by Write, so that its bytes stay together
	writeBy atomic.Pointer[time.Time] // the deadline of Write; nil or zero: none

	filterMu  sync.Mutex // locked while the filter is called; guards the following
	filter    Filter     // nil after Close
	in        Buffer     // read, not yet consumed by Decode
	pending   Buffer     // written, not yet consumed by Encode
	answer    Buffer     // encoded, not yet taken by send
	encodeErr error      // why Encode must not be called again; nil: it may be

	sendMu sync.Mutex // locked while the net.Conn below is written to; guards the following
	unsent Buffer     // taken from answer, not yet written
}

// filterPiece is the number of bytes that are read, or encoded, at a time. Arbitrary.
const filterPiece = 16 << 10

var errEnded = errors.New("evchan: the writing half is closed")

func (c *filterConn) Read(p []byte) (int, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	for len(p) > 0 && c.plain.n == 0 {
		if c.readErr != nil {
			return 0, c.readErr
		}
		if c.raw == nil {
			c.raw = make([]byte, filterPiece)
		}
		n, err := c.Conn.Read(c.raw)
		if n == 0 && err != nil && err != io.EOF {
			return 0, err // if it is lasting, the next Read gets it again
		}
		answers, err := c.decode(c.raw[:n], err == io.EOF)
		c.readErr = err
		if answers {
			c.send(false) // an error comes again from the next Write
		}
	}
	n, _ := c.plain.Read(p)
	return n, nil
}

// decode decodes p into plain. It reports whether that has added to answer. Caller holds
// c.readMu.
func (c *filterConn) decode(p []byte, eof bool) (answers bool, err error) {
	c.filterMu.Lock()
	defer c.filterMu.Unlock()
	if c.filter == nil {
		return false, c.failed("read", net.ErrClosed)
	}
	c.in.add(p)
	had, owed := c.in.n, c.answer.n
	if err := c.filter.Decode(&c.in, &c.plain, &c.answer, eof); err != nil {
		return c.answer.n > owed, c.failed("decode", err)
	}
	if c.pending.n > 0 && c.encodeErr == nil {
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

// encode encodes what was written. Caller holds c.filterMu.
func (c *filterConn) encode(fin bool) error {
	if c.encodeErr == nil {
		if err := c.filter.Encode(&c.pending, &c.answer, fin); err != nil {
			c.encodeErr = c.failed("encode", err)
		}
	}
	return c.encodeErr
}

func (c *filterConn) Write(p []byte) (n int, err error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	for n < len(p) {
		// Send what was encoded before first, or it would pile up.
		if err := c.send(true); err != nil {
			return n, err
		}
		if t := c.writeBy.Load(); t != nil && !t.IsZero() && !time.Now().Before(*t) {
			return n, c.failed("write", os.ErrDeadlineExceeded)
		}
		piece := p[n:min(n+filterPiece, len(p))]
		if err := c.add(piece); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, c.send(true)
}

// add encodes p.
func (c *filterConn) add(p []byte) error {
	c.filterMu.Lock()
	defer c.filterMu.Unlock()
	if c.encodeErr == nil {
		c.pending.add(p)
	}
	return c.encode(false)
}

// send sends what was encoded. If another goroutine is sending, send waits for it if
// wait is true, and leaves the bytes to it otherwise.
func (c *filterConn) send(wait bool) error {
	for {
		if wait {
			c.sendMu.Lock()
		} else if !c.sendMu.TryLock() {
			return nil
		}
		err := c.sendLocked()
		c.sendMu.Unlock()
		c.filterMu.Lock()
		more := c.answer.n > 0
		c.filterMu.Unlock()
		if err != nil || !more {
			return err
		}
	}
}

// sendLocked writes answer to the net.Conn below, once. Caller holds c.sendMu.
func (c *filterConn) sendLocked() error {
	c.filterMu.Lock()
	c.unsent.splice(&c.answer)
	c.filterMu.Unlock()
	_, err := c.unsent.WriteTo(c.Conn)
	return err
}

// SetDeadline also keeps the deadline for Write.
func (c *filterConn) SetDeadline(t time.Time) error {
	c.writeBy.Store(&t)
	return c.Conn.SetDeadline(t)
}

// SetWriteDeadline also keeps the deadline for Write.
func (c *filterConn) SetWriteDeadline(t time.Time) error {
	c.writeBy.Store(&t)
	return c.Conn.SetWriteDeadline(t)
}

// CloseWrite tells the peer that nothing more will be written.
func (c *filterConn) CloseWrite() error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if err := c.finish(); err != nil {
		return err
	}
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return ErrUnsupported
}

// finish encodes and sends the rest and the end. Caller holds c.writeMu.
func (c *filterConn) finish() error {
	if err := c.encodeRest(); err != nil {
		return err
	}
	return c.send(true)
}

// encodeRest encodes the rest and the end.
func (c *filterConn) encodeRest() error {
	c.filterMu.Lock()
	defer c.filterMu.Unlock()
	err := c.encodeErr
	for again := err == nil; again; {
		left, owed := c.pending.n, c.answer.n
		err = c.encode(true)
		again = err == nil && c.pending.n > 0 && (c.pending.n < left || c.answer.n > owed)
	}
	if err == nil {
		c.encodeErr = c.failed("write", errEnded)
	}
	return err
}

// filterCloseTime is how long Close may take to send the end, as in crypto/tls.
const filterCloseTime = 5 * time.Second

func (c *filterConn) Close() error {
	err := c.failed("close", net.ErrClosed)
	c.once.Do(func() { // the deferred calls run even if the filter panics
		defer c.retire()
		defer func() { err = c.Conn.Close() }()
		if c.writeMu.TryLock() { // else a Write is running: closing interrupts it
			defer c.writeMu.Unlock()
			c.Conn.SetWriteDeadline(time.Now().Add(filterCloseTime))
			c.finish()
		}
		if c.readMu.TryLock() {
			defer c.readMu.Unlock()
			// To close a socket with unread input, the rest of a handshake for
			// example, resets the connection and destroys what is on its way.
			c.Conn.SetReadDeadline(time.Now().Add(time.Millisecond))
			io.CopyN(io.Discard, c.Conn, filterRoom)
		}
	})
	return err
}

// retire closes the filter.
func (c *filterConn) retire() {
	c.filterMu.Lock()
	defer c.filterMu.Unlock()
	f := c.filter
	c.filter, c.encodeErr = nil, c.failed("write", net.ErrClosed)
	if f, ok := f.(io.Closer); ok {
		f.Close()
	}
}

// failed wraps err in a *net.OpError, as package net does.
func (c *filterConn) failed(op string, err error) error {
	a := c.RemoteAddr()
	return &net.OpError{Op: op, Net: a.Network(), Source: c.LocalAddr(), Addr: a, Err: err}
}

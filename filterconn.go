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
	"time"
)

// A filterConn is the net.Conn that NetConn returns for a stream that Filter has made.
// It stands on the net.Conn of the stream below. It needs no loop: its Read decodes and
// its Write encodes.
//
// What it holds is bounded, but for what one Decode or Encode adds: filterRoom bytes of
// answers, at which Read waits until some were sent; and the MaxInput and MaxOutput that
// the streams had.
type filterConn struct {
	net.Conn               // the one below
	maxIn    int           // bytes of in at which Decode must consume some
	maxOut   int           // bytes of pending at which Write waits until Encode consumes some
	once     sync.Once     // for Close
	closed   chan struct{} // closed by Close

	readMu   sync.Mutex // locked by Read; guards the following
	readWait waiter
	plain    Buffer // decoded, not yet read
	readErr  error  // why nothing more will be decoded
	raw      []byte // the space that is read into

	writeMu   sync.Mutex // locked by Write, so that its bytes stay together
	writeWait waiter

	filterMu  sync.Mutex // locked while the filter is called; guards the following
	filter    Filter     // nil after Close
	in        Buffer     // read, not yet consumed by Decode
	pending   Buffer     // written, not yet consumed by Encode
	answer    Buffer     // for the peer, not yet taken by a sender
	answered  int        // bytes of answer that Decode has added
	sending   int        // bytes of unsent that Decode has added
	made      int64      // bytes that were ever added to answer
	sent      int64      // bytes that were ever taken from unsent
	encodeErr error      // why Encode must not be called again; nil: it may be
	sendErr   error      // that of the last sender; nil: it has sent all
	dead      bool       // nothing can be sent any more

	// sendc holds a token while the net.Conn below is written to. Its holder owns unsent. (A
	// mutex would stop the time of a testing/synctest bubble.)
	sendc  chan struct{}
	unsent Buffer // taken from answer, not yet written
}

// filterPiece is the number of bytes that are read, or encoded, at a time. Arbitrary.
const filterPiece = 16 << 10

var errEnded = errors.New("evchan: the writing half is closed")

// newFilterConn returns a net.Conn that uses f on conn.
func newFilterConn(conn net.Conn, f Filter, maxIn, maxOut int) *filterConn {
	c := &filterConn{
		Conn:      conn,
		filter:    f,
		maxIn:     maxIn,
		maxOut:    maxOut,
		closed:    make(chan struct{}),
		sendc:     make(chan struct{}, 1),
		readWait:  newWaiter(),
		writeWait: newWaiter(),
	}
	for _, b := range []*Buffer{&c.plain, &c.in, &c.pending, &c.answer, &c.unsent} {
		b.flags = bufNoSpare
	}
	return c
}

func (c *filterConn) Read(p []byte) (int, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	if err := c.readWait.check(c.closed); err != nil {
		return 0, c.failed("read", err)
	}
	for len(p) > 0 && c.plain.n == 0 {
		if c.readErr != nil {
			return 0, c.readErr
		}
		room, err := c.awaitRoom()
		if err != nil {
			return 0, err
		}
		if c.raw == nil {
			c.raw = make([]byte, filterPiece)
		}
		n, err := c.Conn.Read(c.raw[:room])
		if n == 0 && err != nil && err != io.EOF {
			return 0, err // if it is lasting, the next Read gets it again
		}
		answers, err := c.decode(c.raw[:n], err == io.EOF)
		c.readErr = err
		if answers {
			c.sendLater()
		}
	}
	n, _ := c.plain.Read(p)
	return n, nil
}

// awaitRoom waits until some of the answers were sent, if they are many. It returns how
// many bytes may be read, and the error if the answers cannot be sent. Caller holds
// c.readMu.
func (c *filterConn) awaitRoom() (int, error) {
	for tried := false; ; tried = true {
		c.filterMu.Lock()
		if !tried {
			c.sendErr = nil // of another deadline
		}
		full, err, room := c.answered+c.sending >= filterRoom, c.sendErr, c.maxIn-c.in.n
		c.filterMu.Unlock()
		switch {
		case !full:
			return max(min(room, filterPiece), 1), nil
		case tried && err != nil:
			return 0, err
		}
		c.sendLater()
		if err := c.readWait.wait(c.closed); err != nil {
			return 0, c.failed("read", err)
		}
	}
}

// decode decodes p into plain. It reports whether there is something to be sent because
// of that. Caller holds c.readMu.
func (c *filterConn) decode(p []byte, eof bool) (answers bool, err error) {
	c.filterMu.Lock()
	defer c.filterMu.Unlock()
	if c.filter == nil {
		return false, c.failed("read", net.ErrClosed)
	}
	c.in.add(p)
	had, owed := c.in.n, c.answer.n
	err = c.filter.Decode(&c.in, &c.plain, &c.answer, eof)
	c.answered += c.answer.n - owed
	c.made += int64(c.answer.n - owed)
	if err == ErrWouldBlock && !eof {
		err = nil // it is called again when more has come
	}
	if err == io.EOF {
		c.in.Discard(c.in.n)
		eof, err = true, nil
	}
	if err != nil {
		err = c.failed("decode", err)
	} else if c.pending.n > 0 && c.encodeErr == nil {
		err = c.encode(false)
		c.writeWait.wake()
	}
	if c.dead {
		c.answer.Reset()
		c.answered = 0
	}
	switch {
	case err != nil:
	case eof:
		err = io.EOF
	case c.in.n == had && had >= c.maxIn:
		err = c.failed("decode", fmt.Errorf("%d bytes, which make no sense yet: %w", had, ErrFull))
	}
	return c.answer.n > owed, err
}

// encode encodes what was written. Caller holds c.filterMu.
func (c *filterConn) encode(fin bool) error {
	if c.encodeErr == nil {
		owed := c.answer.n
		err := c.filter.Encode(&c.pending, &c.answer, fin)
		c.made += int64(c.answer.n - owed)
		if err == ErrWouldBlock && !fin {
			err = nil // it is called again after the next Decode
		}
		if err != nil {
			c.encodeErr = c.failed("encode", err)
		}
	}
	return c.encodeErr
}

// Write encodes and sends p. If sending fails, it returns how many bytes of p were sent:
// none, if nothing that stands for them was. If that is because of the deadline, bytes
// that were encoded count as sent, for they are sent before anything else.
func (c *filterConn) Write(p []byte) (n int, err error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	for n < len(p) {
		// Send what was encoded before first, or it would pile up.
		if err := c.send(); err != nil {
			return n, err
		}
		if err := c.awaitEncode(); err != nil {
			return n, err
		}
		piece := p[n:min(n+filterPiece, len(p))]
		from, to, err := c.add(piece)
		if err != nil {
			c.send() // what Encode has said before it failed
			return n, err
		}
		if err := c.send(); err != nil {
			return n + c.passed(len(piece), from, to, err), err
		}
		n += len(piece)
	}
	return n, nil
}

// awaitEncode waits while Encode leaves much of what was written before, until Decode has
// let it go on. Caller holds c.writeMu.
func (c *filterConn) awaitEncode() error {
	err := c.writeWait.check(c.closed)
	for err == nil {
		c.filterMu.Lock()
		for left := 0; c.encodeErr == nil && c.pending.n >= c.maxOut && c.pending.n != left; {
			left = c.pending.n
			c.encode(false)
		}
		full, failed := c.pending.n >= c.maxOut, c.encodeErr
		c.filterMu.Unlock()
		if failed != nil || !full {
			return failed
		}
		if err = c.send(); err != nil {
			return err
		}
		err = c.writeWait.wait(c.closed)
	}
	return c.failed("write", err)
}

// add encodes p. What comes of it are the bytes from and up to to of all that is sent.
func (c *filterConn) add(p []byte) (from, to int64, err error) {
	c.filterMu.Lock()
	defer c.filterMu.Unlock()
	if c.encodeErr == nil {
		c.pending.add(p)
	}
	from = c.made
	err = c.encode(false)
	return from, c.made, err
}

// passed returns how many of n bytes, which add has encoded, count as written although
// sending has failed with err.
func (c *filterConn) passed(n int, from, to int64, err error) int {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return n
	}
	c.filterMu.Lock()
	defer c.filterMu.Unlock()
	if to > from && c.sent >= to {
		return n
	}
	return int(min(int64(n), max(min(c.sent, to)-from, 0)))
}

// send sends what was encoded. If another goroutine is sending, it waits for it.
func (c *filterConn) send() error {
	for {
		c.sendc <- struct{}{}
		err := c.sendOwner()
		<-c.sendc
		if err != nil || !c.owes() {
			return err
		}
	}
}

// sendLater has a goroutine send what was encoded, unless one is sending.
func (c *filterConn) sendLater() {
	select {
	case c.sendc <- struct{}{}:
		go func() {
			err := c.sendOwner()
			<-c.sendc
			if err == nil && c.owes() {
				c.sendLater()
			}
		}()
	default: // the other one looks again when it has put the token back
	}
}

// owes reports whether something was encoded that no sender has taken yet.
func (c *filterConn) owes() bool {
	c.filterMu.Lock()
	defer c.filterMu.Unlock()
	return c.answer.n > 0
}

// sendOwner writes answer to the net.Conn below, once. Caller holds the token of c.sendc.
func (c *filterConn) sendOwner() error {
	c.filterMu.Lock()
	c.unsent.splice(&c.answer)
	c.sending += c.answered
	c.answered = 0
	c.filterMu.Unlock()
	n, err := c.unsent.WriteTo(c.Conn)
	c.filterMu.Lock()
	c.sent += n
	c.sendErr = err
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.unsent.Reset()
		c.answer.Reset()
		c.answered = 0
		c.dead = true
		if c.encodeErr == nil {
			c.encodeErr = err
		}
	}
	if c.unsent.n == 0 {
		c.sending = 0
	}
	c.filterMu.Unlock()
	c.readWait.wake()
	return err
}

// SetDeadline also keeps the deadlines for Read and Write.
func (c *filterConn) SetDeadline(t time.Time) error {
	c.readWait.setDeadline(t)
	c.writeWait.setDeadline(t)
	return c.Conn.SetDeadline(t)
}

// SetReadDeadline also keeps the deadline for Read.
func (c *filterConn) SetReadDeadline(t time.Time) error {
	c.readWait.setDeadline(t)
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline also keeps the deadline for Write.
func (c *filterConn) SetWriteDeadline(t time.Time) error {
	c.writeWait.setDeadline(t)
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
	return c.send()
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
		close(c.closed) // those who wait for room wait no longer
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
	c.in.Reset()
	c.pending.Reset()
	c.answer.Reset()
	if f, ok := f.(io.Closer); ok {
		f.Close()
	}
}

// failed wraps err in a *net.OpError, as package net does.
func (c *filterConn) failed(op string, err error) error {
	e := &net.OpError{Op: op, Net: "filter", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
	if e.Source == (pipeAddr{}) {
		e.Err = likePipe(err)
	}
	for _, a := range []net.Addr{e.Source, e.Addr} {
		if a != nil {
			e.Net = a.Network()
		}
	}
	return e
}

// A connMaker is a Filter that makes a net.Conn of its own.
type connMaker interface {
	NetConn(lower net.Conn, early *Buffer) net.Conn
}

// netConn returns a net.Conn that uses the filter on lower's net.Conn. Caller holds
// x.working and the mu of both streams.
func (x *filtering) netConn(lower net.Conn) net.Conn {
	early := x.upper.detach()
	x.mu.Lock()
	defer x.mu.Unlock()
	early.chain.splice(&x.plain)
	x.done, x.retired = true, true
	if f, ok := x.filter.(connMaker); ok {
		return f.NetConn(lower, early)
	}
	c := newFilterConn(lower, x.filter, x.lower.limits.Load().readHigh, x.upper.limits.Load().writeHigh)
	c.plain.splice(early)
	c.pending.splice(&x.sending)
	switch {
	case x.err != nil:
		c.readErr = x.err
	case x.decoded:
		c.readErr = io.EOF
	}
	if x.encoded {
		c.encodeErr = c.failed("write", errEnded)
	}
	return c
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A pipeConn is one end of a Pipe that NetConn has made a net.Conn of. It needs
// no loop, while the other end may still be a stream's.
type pipeConn struct {
	end    *pipeEnd      // never changes
	closed chan struct{} // closed by Close
	once   sync.Once     // closes

	reading sync.Mutex    // held by Read; guards rest
	rest    *Buffer       // what was taken from the pipe and not read yet
	input   chan struct{} // a token: there may be something to read, or the deadline has changed
	readBy  atomic.Pointer[time.Time]

	writing sync.Mutex    // held by Write: its bytes stay together
	room    chan struct{} // a token: there may be room to write, or the deadline has changed
	writeBy atomic.Pointer[time.Time]
}

var _ net.Conn = (*pipeConn)(nil)

// newPipeConn makes end that of a net.Conn, which reads rest first.
func newPipeConn(end *pipeEnd, rest *Buffer) *pipeConn {
	c := &pipeConn{
		end:    end,
		closed: make(chan struct{}),
		rest:   rest,
		input:  make(chan struct{}, 1),
		room:   make(chan struct{}, 1),
	}
	c.SetDeadline(time.Time{})
	end.pipe.mu.Lock()
	end.conn = c
	end.pipe.mu.Unlock()
	return c
}

// tell is what a stream's ready is for a stream.
func (c *pipeConn) tell(what What) {
	if what&(Read|EarlyClose|hangup) != 0 {
		put(c.input)
	}
	if what&Write != 0 {
		put(c.room)
	}
}

// put puts a token into c, if there is none.
func put(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// wait waits for a token of c, or for what makes waiting pointless, which it
// returns.
func (c *pipeConn) wait(token <-chan struct{}, by *atomic.Pointer[time.Time]) error {
	var late <-chan time.Time
	if t := *by.Load(); !t.IsZero() {
		timer := time.NewTimer(time.Until(t))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-token:
	case <-late:
	case <-c.closed:
	}
	return c.check(by)
}

// check returns why nothing can be done any more, or nil.
func (c *pipeConn) check(by *atomic.Pointer[time.Time]) error {
	select {
	case <-c.closed:
		return net.ErrClosed
	default:
	}
	if t := *by.Load(); !t.IsZero() && !time.Now().Before(t) {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// failed returns err as package net does.
func (c *pipeConn) failed(op string, err error) error {
	if e, ok := err.(sysErrno); ok {
		err = os.NewSyscallError(op, e)
	}
	return &net.OpError{Op: op, Net: "pipe", Source: pipeAddr{}, Addr: pipeAddr{}, Err: err}
}

func (c *pipeConn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	err := c.check(&c.readBy)
	for err == nil {
		if c.rest.n > 0 || len(p) == 0 {
			n, _ := c.rest.Read(p)
			return n, nil
		}
		var n int
		n, _, err = c.end.fill(&c.rest.chain, pipeRoom)
		switch {
		case err == eAGAIN:
			err = c.wait(c.input, &c.readBy)
		case err == nil && n == 0:
			return 0, io.EOF
		}
	}
	return 0, c.failed("read", err)
}

func (c *pipeConn) Write(p []byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	err = c.check(&c.writeBy)
	for err == nil && n < len(p) {
		var k int
		k, err = c.end.write(p[n:])
		n += k
		if err == eAGAIN {
			err = c.wait(c.room, &c.writeBy)
		} else if err == nil {
			err = c.check(&c.writeBy)
		}
	}
	if err != nil {
		err = c.failed("write", err)
	}
	return n, err
}

// CloseWrite tells the peer that nothing more will be written.
func (c *pipeConn) CloseWrite() error {
	if err := c.check(&c.writeBy); err == net.ErrClosed {
		return c.failed("close", err)
	}
	c.end.closeWrite()
	put(c.room) // a Write that waits fails
	return nil
}

func (c *pipeConn) Close() error {
	first := false
	c.once.Do(func() {
		close(c.closed)
		first = true
	})
	if !first {
		return c.failed("close", net.ErrClosed)
	}
	c.end.close(false)
	c.reading.Lock() // who reads sees that it is closed, and waits no longer
	rest := c.rest.detach()
	c.reading.Unlock()
	freeChain(rest)
	return nil
}

func (c *pipeConn) LocalAddr() net.Addr  { return pipeAddr{} }
func (c *pipeConn) RemoteAddr() net.Addr { return pipeAddr{} }

func (c *pipeConn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *pipeConn) SetReadDeadline(t time.Time) error {
	c.readBy.Store(&t)
	put(c.input)
	return nil
}

func (c *pipeConn) SetWriteDeadline(t time.Time) error {
	c.writeBy.Store(&t)
	put(c.room)
	return nil
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// A pipeConn is the net.Conn that NetConn returns for one end of a pipe, and Accept of what
// NetListener returns for a listener in memory. It needs no loop. The other end may still be
// a stream.
type pipeConn struct {
	end    *pipeEnd      // never changes
	closed chan struct{} // closed by Close
	once   sync.Once     // for Close

	readMu sync.Mutex // locked by Read; guards rest
	rest   *Buffer    // taken from the pipe, not yet read
	input  waiter     // of Read

	writeMu sync.Mutex // locked by Write, so that its bytes stay together
	room    waiter     // of Write
}

var _ net.Conn = (*pipeConn)(nil)

// newPipeConn returns a net.Conn that owns end. It reads rest first.
func newPipeConn(end *pipeEnd, rest *Buffer) *pipeConn {
	c := &pipeConn{
		end:    end,
		closed: make(chan struct{}),
		rest:   rest,
		input:  newWaiter(),
		room:   newWaiter(),
	}
	end.pipe.mu.Lock()
	end.conn = c
	end.pipe.mu.Unlock()
	return c
}

// tell is told what has happened to the end, as Stream.ready is.
func (c *pipeConn) tell(what What) {
	if what&(Read|EarlyClose|hangup) != 0 {
		c.input.wake()
	}
	if what&Write != 0 {
		c.room.wake()
	}
}

// failed wraps err in a *net.OpError, as package net does.
func (c *pipeConn) failed(op string, err error) error {
	if e, ok := err.(sysErrno); ok {
		err = os.NewSyscallError(op, e)
	}
	return &net.OpError{Op: op, Net: c.end.local.Network(), Source: c.end.local, Addr: c.end.remote, Err: likePipe(err)}
}

// A closedPipe is an error of a socket that is closed, here or at the other end, and
// io.ErrClosedPipe to errors.Is: net.Pipe returns that.
type closedPipe struct{ error }

func (e closedPipe) Unwrap() []error { return []error{e.error, io.ErrClosedPipe} }

// likePipe returns err, as the error of a net.Conn in memory.
func likePipe(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, ePIPE) {
		return closedPipe{err}
	}
	return err
}

func (c *pipeConn) Read(p []byte) (int, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	err := c.input.check(c.closed)
	for err == nil {
		if c.rest.n > 0 || len(p) == 0 {
			n, _ := c.rest.Read(p)
			return n, nil
		}
		var n int
		n, _, err = c.end.fill(&c.rest.chain, pipeRoom)
		switch {
		case err == eAGAIN:
			err = c.input.wait(c.closed)
		case err == nil && n == 0:
			return 0, io.EOF
		}
	}
	return 0, c.failed("read", err)
}

func (c *pipeConn) Write(p []byte) (n int, err error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	err = c.room.check(c.closed)
	for err == nil && n < len(p) {
		var k int
		k, err = c.end.write(p[n:])
		n += k
		if err == eAGAIN {
			err = c.room.wait(c.closed)
		} else if err == nil {
			err = c.room.check(c.closed)
		}
	}
	if err != nil {
		err = c.failed("write", err)
	}
	return n, err
}

// CloseWrite tells the peer that nothing more will be written.
func (c *pipeConn) CloseWrite() error {
	if err := c.room.check(c.closed); err == net.ErrClosed {
		return c.failed("close", err)
	}
	c.end.closeWrite()
	c.room.wake() // a Write that waits fails now
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
	c.readMu.Lock() // a Read that waits has seen closed, and ends
	rest := c.rest.detach()
	c.readMu.Unlock()
	freeChain(rest)
	return nil
}

func (c *pipeConn) LocalAddr() net.Addr  { return c.end.local }
func (c *pipeConn) RemoteAddr() net.Addr { return c.end.remote }

func (c *pipeConn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *pipeConn) SetReadDeadline(t time.Time) error {
	c.input.setDeadline(t)
	return nil
}

func (c *pipeConn) SetWriteDeadline(t time.Time) error {
	c.room.setDeadline(t)
	return nil
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package simnet

import (
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// A Conn is the far end of one of the loop's connections, for the goroutines of a test. Beside
// the methods of net.Conn it has some to misbehave. One goroutine reads and one writes at a time.
type Conn struct {
	net    *Net
	socket *Socket

	readable, writable chan struct{} // look again

	// The Net's Mu guards the following.

	delay              time.Duration
	onWay              [][]byte // what was written with a delay; nil: the end
	onWayBytes         int
	readBy, writeBy    time.Time // deadlines; zero: none
	ended, closed, cut bool      // CloseWrite was called; Close or Reset was; a fault has lost something
}

var (
	_ net.Conn = (*Conn)(nil)
	_ Peer     = (*Conn)(nil)
)

// newConn returns the far end of a new socket. The caller holds Mu.
func (n *Net) newConn(loops, peers net.Addr) *Conn {
	c := &Conn{net: n, readable: make(chan struct{}, 1), writable: make(chan struct{}, 1)}
	c.socket = n.NewSocket(c, loops, peers)
	return c
}

func (c *Conn) Act() bool         { return false } // the test's goroutines do
func (c *Conn) Pauses() time.Time { return time.Time{} }
func (c *Conn) Lost()             { c.cut = true }

func (c *Conn) String() string {
	return fmt.Sprintf("a connection of the test from %v, %d bytes on the way", c.LocalAddr(), c.onWayBytes)
}

func (c *Conn) News() {
	for _, look := range []chan struct{}{c.readable, c.writable} {
		select {
		case look <- struct{}{}:
		default:
		}
	}
}

// wait waits for look or the deadline. The caller holds Mu, which is unlocked meanwhile.
func (c *Conn) wait(look <-chan struct{}, by time.Time) error {
	if !by.IsZero() && !time.Now().Before(by) {
		return os.ErrDeadlineExceeded
	}
	var late <-chan time.Time
	if !by.IsZero() {
		t := time.NewTimer(time.Until(by))
		defer t.Stop()
		late = t.C
	}
	c.net.Mu.Unlock()
	defer c.net.Mu.Lock()
	select {
	case <-look:
	case <-late:
	}
	return nil
}

func (c *Conn) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: c.LocalAddr().Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

func (c *Conn) Read(p []byte) (int, error) {
	c.net.Mu.Lock()
	defer c.net.Mu.Unlock()
	for {
		s := c.socket
		switch {
		case c.closed:
			return 0, c.failed("read", net.ErrClosed)
		case len(p) == 0:
			return 0, nil
		case !c.readBy.IsZero() && !time.Now().Before(c.readBy):
			return 0, c.failed("read", os.ErrDeadlineExceeded)
		case len(s.Out) > 0:
			n := copy(p, s.Receive(min(len(p), len(s.Out))))
			return n, nil
		case s.Closed && s.WasReset, s.Dead:
			return 0, c.failed("read", os.NewSyscallError("read", syscall.ECONNRESET))
		case s.OutEnd:
			return 0, io.EOF
		}
		if err := c.wait(c.readable, c.readBy); err != nil {
			return 0, c.failed("read", err)
		}
	}
}

func (c *Conn) Write(p []byte) (n int, err error) {
	c.net.Mu.Lock()
	defer c.net.Mu.Unlock()
	for n < len(p) {
		s := c.socket
		switch {
		case c.closed:
			return n, c.failed("write", net.ErrClosed)
		case c.ended:
			return n, c.failed("write", os.NewSyscallError("write", syscall.EPIPE))
		case !c.writeBy.IsZero() && !time.Now().Before(c.writeBy):
			return n, c.failed("write", os.ErrDeadlineExceeded)
		case s.Closed || s.Dead:
			return n, c.failed("write", os.NewSyscallError("write", syscall.ECONNRESET))
		}
		if room := s.Room() - c.onWayBytes; room > 0 {
			k := min(room, len(p)-n)
			c.deliver(p[n : n+k : n+k])
			n += k
			continue
		}
		if err := c.wait(c.writable, c.writeBy); err != nil {
			return n, c.failed("write", err)
		}
	}
	return n, nil
}

// deliver sends p, or the end if p is nil: at once, or after the delay and whatever is on its
// way already. The caller holds Mu.
func (c *Conn) deliver(p []byte) {
	if c.delay == 0 && len(c.onWay) == 0 {
		c.arrived(p)
		return
	}
	if p != nil {
		p = append([]byte(nil), p...)
	}
	c.onWay = append(c.onWay, p)
	c.onWayBytes += len(p)
	time.AfterFunc(c.delay, func() {
		c.net.Mu.Lock()
		defer c.net.Mu.Unlock()
		if len(c.onWay) == 0 {
			return // reset
		}
		p := c.onWay[0]
		c.onWay = c.onWay[1:]
		c.onWayBytes -= len(p)
		c.arrived(p)
	})
}

func (c *Conn) arrived(p []byte) {
	switch s := c.socket; {
	case s.Closed || s.Dead: // nobody takes it
	case p == nil:
		s.Finish()
	default:
		s.Send(p)
	}
	if p == nil && c.closed {
		c.socket.Leave()
	}
}

// SetDelay has what is written from now on arrive d later, or as soon as what was written before
// has arrived.
func (c *Conn) SetDelay(d time.Duration) {
	c.net.Mu.Lock()
	defer c.net.Mu.Unlock()
	c.delay = d
}

// SetRoom sets how many bytes the network holds on the way to the loop, and from it.
func (c *Conn) SetRoom(toLoop, fromLoop int) {
	c.net.Mu.Lock()
	defer c.net.Mu.Unlock()
	c.socket.InRoom, c.socket.OutRoom = toLoop, fromLoop
	c.socket.sync(0)
	c.News()
}

// Lossy reports whether a fault has cut the connection, so that bytes may have been lost.
func (c *Conn) Lossy() bool {
	c.net.Mu.Lock()
	defer c.net.Mu.Unlock()
	return c.cut
}

// CloseWrite sends the end.
func (c *Conn) CloseWrite() error {
	c.net.Mu.Lock()
	defer c.net.Mu.Unlock()
	if c.closed {
		return c.failed("close", net.ErrClosed)
	}
	c.end()
	return nil
}

func (c *Conn) end() {
	if !c.ended {
		c.ended = true
		c.deliver(nil)
	}
}

// Close sends the end and closes. As with a kernel, the loop gets a reset if something was not
// read, or when it writes after that.
func (c *Conn) Close() error {
	c.net.Mu.Lock()
	defer c.net.Mu.Unlock()
	if c.closed {
		return c.failed("close", net.ErrClosed)
	}
	if len(c.socket.Out) > 0 && !c.socket.Closed {
		c.reset(true)
		return nil
	}
	c.closed = true
	if !c.ended {
		c.end()
	} else if len(c.onWay) == 0 {
		c.socket.Leave()
	} // else the end is on its way, and Leave follows it
	c.News()
	return nil
}

// Reset closes with a reset. What the loop has not read yet is lost.
func (c *Conn) Reset() {
	c.net.Mu.Lock()
	defer c.net.Mu.Unlock()
	if !c.closed {
		c.reset(false)
	}
}

func (c *Conn) reset(keep bool) {
	c.closed, c.ended = true, true
	c.onWay, c.onWayBytes = nil, 0
	if c.socket.Closed {
		c.socket.Gone = true
	} else {
		c.socket.Reset(keep)
	}
	c.News()
}

func (c *Conn) LocalAddr() net.Addr  { return c.socket.remote }
func (c *Conn) RemoteAddr() net.Addr { return c.socket.local }

func (c *Conn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *Conn) SetReadDeadline(t time.Time) error {
	c.net.Mu.Lock()
	defer c.net.Mu.Unlock()
	c.readBy = t
	c.News()
	return nil
}

func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.net.Mu.Lock()
	defer c.net.Mu.Unlock()
	c.writeBy = t
	c.News()
	return nil
}

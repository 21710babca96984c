// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// NetConn turns the stream into a net.Conn, which needs no loop: it blocks, has
// deadlines, and can be given to crypto/tls or net/http. Input that was not consumed
// comes first from the net.Conn. The stream is closed, without the peer noticing, and
// sends no more messages.
//
// What the net.Conn is depends on the stream:
//   - A TCP or Unix socket: a *net.TCPConn or *net.UnixConn, with the options that the
//     socket has. If input was left, or the peer has reset the connection, it is a type
//     that embeds one, whose File and SyscallConn know nothing of that input.
//   - An end of a Pipe, or of the network memory: a net.Conn in memory. The other end stays
//     what it is.
//   - A stream that Filter has made: what the filter's method NetConn returns, if it has
//     one. Otherwise a net.Conn that calls the filter, on the net.Conn of the stream below. Its Read waits while 64 KiB of what Decode has appended to out
//     are unsent, and its Write while Encode leaves MaxOutput bytes, until Read has more
//     for Decode. Its Close takes at most 5 seconds to send what Encode appends at the end.
//
// All of them have CloseWrite.
//
// NetConn fails, and leaves the stream as it was, with
//   - ErrWouldBlock before Connected, while a message of the stream's layer is unreceived,
//     and while output is unsent: Drained tells when to try again. Also while a filter is
//     busy (see [Filter]), which no message tells;
//   - ErrUnsupported if the descriptor is not a TCP or Unix socket;
//   - Err, or ErrClosed if that is nil, after the end.
//
// Like Read, NetConn may be called only by the goroutine that has received the stream's
// most recent message. A Filter must not call it.
func (s *Stream) NetConn() (net.Conn, error) {
	s.mu.Lock()
	s.sendLater()
	s.unlock()
	var filters []*filtering // from s downwards
	bottom := s
	for x := s.filtering(); x != nil; x = bottom.filtering() {
		x.working.Lock()
		defer x.retire() // work, or another goroutine, may have finished x
		defer x.working.Unlock()
		x.work(false) // sends what can be sent
		filters = append(filters, x)
		bottom = x.lower
	}
	for _, x := range filters {
		x.upper.mu.Lock()
		defer x.upper.unlock()
	}
	bottom.mu.Lock()
	defer bottom.unlock()
	if err := s.ended(); err != nil {
		return nil, err
	}
	if s.hasMade() {
		return nil, ErrWouldBlock
	}
	if s.filtered {
		return nil, errors.New("evchan: the stream is under a filter: call NetConn on the one on top")
	}
	if slices.ContainsFunc(filters, (*filtering).unsettled) {
		return nil, ErrWouldBlock
	}
	if slices.ContainsFunc(filters, (*filtering).unsent) {
		for _, x := range filters { // each hears from the one below
			x.oweDrained()
		}
		return nil, ErrWouldBlock
	}
	conn, err := bottom.netConn()
	if err != nil {
		return nil, err
	}
	for _, x := range slices.Backward(filters) {
		conn = x.netConn(conn)
	}
	return conn, nil
}

// netConn is NetConn of a stream that Filter has not made. Caller holds s.mu.
func (s *Stream) netConn() (conn net.Conn, err error) {
	fin := s.out.fin == finQueued // CloseWrite was called while it was paused
	switch t := s.transport().(type) {
	case nil: // it has ended, and a filter on it has yet to hear of it
		return nil, s.ended()
	case *dialing:
		return nil, ErrWouldBlock
	case *sock:
		switch {
		case s.out.queue.n > 0:
			return nil, ErrWouldBlock
		case t.plain:
			return nil, fmt.Errorf("evchan: net.Conn of a descriptor that is not a socket: %w", ErrUnsupported)
		}
		if conn, err = t.netConn(); err != nil {
			return nil, s.opError("netconn", err)
		}
		if fin {
			t.closeWrite()
		}
		var remote net.Addr
		if conn.RemoteAddr() == nil { // the peer has reset the connection
			remote = s.remoteAddr()
		}
		rest := s.detach()
		t.close(false) // conn has a descriptor of its own
		if rest.n > 0 || remote != nil {
			conn = withEarly(conn, rest, remote)
		}
	case *pipeEnd:
		if s.out.queue.n > 0 {
			return nil, ErrWouldBlock
		}
		if fin {
			t.closeWrite()
		}
		conn = newPipeConn(t, s.detach())
	}
	return conn, nil
}

// detach ends s without closing its transport, and returns the input that was not
// consumed. Caller holds s.mu.
func (s *Stream) detach() *Buffer {
	s.silence()
	rest := &Buffer{flags: bufNoSpare}
	if taken := s.in.taken; taken != nil {
		taken.stream = nil
		rest.splice(taken)
	}
	rest.chain.splice(&s.in.unread)
	s.in.held.Store(0)
	s.unwatch()
	s.finish(0)
	return rest
}

// ended returns Err, or ErrClosed if that is nil, once s was closed or has ended. Before,
// it returns nil. Caller holds s.mu.
func (s *Stream) ended() error {
	switch {
	case s.why() != nil:
		return s.why()
	case s.life != lifeOpen:
		return ErrClosed
	}
	return nil
}

// filtering returns the transport of s if Filter has made s, otherwise nil.
func (s *Stream) filtering() *filtering {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, _ := s.transport().(*filtering)
	return x
}

// withEarly returns a net.Conn that reads rest first, then from conn. Its remote address
// is remote, unless that is nil.
func withEarly(conn net.Conn, rest *Buffer, remote net.Addr) net.Conn {
	e := &early{conn: conn, remote: remote, waiter: newWaiter(), rest: rest}
	switch c := conn.(type) {
	case *net.TCPConn:
		return &tcpConn{TCPConn: c, early: e}
	case *net.UnixConn:
		return &unixConn{UnixConn: c, early: e}
	}
	panic("evchan: BUG: a socket's net.Conn is something else")
}

// withoutEarly undoes withEarly: if conn has early input, it returns that, and what conn
// stands on.
func withoutEarly(conn net.Conn) (net.Conn, *early) {
	switch c := conn.(type) {
	case *tcpConn:
		return c.TCPConn, c.early
	case *unixConn:
		return c.UnixConn, c.early
	}
	return conn, nil
}

// A tcpConn is a *net.TCPConn with input that was read before.
type tcpConn struct {
	*net.TCPConn
	early *early
}

func (c *tcpConn) Read(p []byte) (int, error)         { return c.early.read(p) }
func (c *tcpConn) WriteTo(w io.Writer) (int64, error) { return c.early.writeTo(w) }
func (c *tcpConn) SetDeadline(t time.Time) error      { return c.early.setDeadline(t) }
func (c *tcpConn) SetReadDeadline(t time.Time) error  { return c.early.setReadDeadline(t) }
func (c *tcpConn) RemoteAddr() net.Addr               { return c.early.remoteAddr() }

// A unixConn is a *net.UnixConn with input that was read before.
type unixConn struct {
	*net.UnixConn
	early *early
}

func (c *unixConn) Read(p []byte) (int, error)         { return c.early.read(p) }
func (c *unixConn) WriteTo(w io.Writer) (int64, error) { return c.early.writeTo(w) }
func (c *unixConn) SetDeadline(t time.Time) error      { return c.early.setDeadline(t) }
func (c *unixConn) SetReadDeadline(t time.Time) error  { return c.early.setReadDeadline(t) }
func (c *unixConn) RemoteAddr() net.Addr               { return c.early.remoteAddr() }

func (c *unixConn) ReadFrom(p []byte) (int, net.Addr, error) {
	if n, err := c.early.readRest(p); n > 0 || err != nil {
		return n, nil, err
	}
	return c.UnixConn.ReadFrom(p)
}

func (c *unixConn) ReadFromUnix(p []byte) (int, *net.UnixAddr, error) {
	if n, err := c.early.readRest(p); n > 0 || err != nil {
		return n, nil, err
	}
	return c.UnixConn.ReadFromUnix(p)
}

func (c *unixConn) ReadMsgUnix(p, oob []byte) (n, oobn, flags int, addr *net.UnixAddr, err error) {
	if n, err := c.early.readRest(p); n > 0 || err != nil {
		return n, 0, 0, nil, err
	}
	return c.UnixConn.ReadMsgUnix(p, oob)
}

// early is input that was read from a connection before. File and SyscallConn of the
// connection do not know of it.
type early struct {
	conn   net.Conn // never changes
	remote net.Addr // nil: conn's; never changes
	waiter          // the deadline of reading

	mu   sync.Mutex // guards the following
	rest *Buffer    // what was not read again yet
}

func (e *early) read(p []byte) (int, error) {
	if n, err := e.readRest(p); n > 0 || err != nil {
		return n, err
	}
	return e.conn.Read(p)
}

// readRest reads what is left, into p. It returns 0 and nil if that is nothing, and an
// error where conn's Read gives one: after Close and the deadline.
func (e *early) readRest(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.rest.n == 0 || len(p) == 0 {
		return 0, nil
	}
	if err := e.check(); err != nil {
		return 0, err
	}
	return e.rest.Read(p)
}

func (e *early) writeTo(w io.Writer) (int64, error) {
	n, err := e.writeRestTo(w)
	if err != nil {
		return n, err
	}
	m, err := io.Copy(w, e.conn)
	return n + m, err
}

func (e *early) writeRestTo(w io.Writer) (int64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.rest.n == 0 {
		return 0, nil
	}
	if err := e.check(); err != nil {
		return 0, err
	}
	return e.rest.WriteTo(w)
}

// check returns the error that conn's Read gives after Close and the deadline, or nil.
func (e *early) check() error {
	raw, err := e.conn.(syscall.Conn).SyscallConn()
	if err == nil {
		err = raw.Read(func(uintptr) bool { return true }) // reads nothing, but fails as Read does
	}
	if err == nil {
		err = e.waiter.check(nil) // Windows: raw.Read knows no deadline
	}
	if err == nil {
		return nil
	}
	if op, ok := err.(*net.OpError); ok {
		err = op.Err
	}
	local := e.conn.LocalAddr()
	return &net.OpError{Op: "read", Net: local.Network(), Source: local, Addr: e.remoteAddr(), Err: err}
}

func (e *early) setDeadline(t time.Time) error {
	e.waiter.setDeadline(t)
	return e.conn.SetDeadline(t)
}

func (e *early) setReadDeadline(t time.Time) error {
	e.waiter.setDeadline(t)
	return e.conn.SetReadDeadline(t)
}

func (e *early) remoteAddr() net.Addr {
	if e.remote != nil {
		return e.remote
	}
	return e.conn.RemoteAddr()
}

// A waiter is for one direction of a net.Conn that has to wait: it has the deadline, and
// wakes the goroutine that waits, of which there is one at a time.
type waiter struct {
	by    atomic.Pointer[time.Time] // the deadline; nil or zero: none
	token chan struct{}             // look again
}

func newWaiter() waiter { return waiter{token: make(chan struct{}, 1)} }

// wake makes a wait end, or the next one if there is none.
func (w *waiter) wake() {
	select {
	case w.token <- struct{}{}:
	default:
	}
}

func (w *waiter) setDeadline(t time.Time) {
	w.by.Store(&t)
	w.wake()
}

// wait waits for wake, the deadline or Close. It returns what check returns then.
func (w *waiter) wait(closed <-chan struct{}) error {
	var late <-chan time.Time
	if t := w.by.Load(); t != nil && !t.IsZero() {
		timer := time.NewTimer(time.Until(*t))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-w.token:
	case <-late:
	case <-closed:
	}
	return w.check(closed)
}

// check returns net.ErrClosed after Close, os.ErrDeadlineExceeded after the deadline,
// and nil otherwise.
func (w *waiter) check(closed <-chan struct{}) error {
	select {
	case <-closed:
		return net.ErrClosed
	default:
	}
	if t := w.by.Load(); t != nil && !t.IsZero() && !time.Now().Before(*t) {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// NetListener turns the listener into a net.Listener, which needs no loop; an
// http.Server can take it. The Listener is closed. Its socket stays open, with the
// connections in its backlog. Closing the net.Listener removes the file of a unix
// socket if closing the Listener would have, see SetUnlinkOnClose.
//
// A listener in memory becomes a net.Listener in memory. Its Accept returns what NetConn
// does.
//
// Streams that were accepted before still belong to the loop; listen with Paused if
// there must be none. MaxStreams and the other settings of ListenConfig for streams do
// not hold for connections that the net.Listener accepts. After Close, NetListener
// returns ErrClosed.
func (ln *Listener) NetListener() (net.Listener, error) {
	ln.mustBeMade()
	if nl := ln.netMemoryListener(); nl != nil {
		ln.Close()
		return nl, nil
	}
	f, err := ln.File()
	if err != nil {
		return nil, err
	}
	defer f.Close() // FileListener takes a duplicate
	nl, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	ln.mu.Lock()
	if u, ok := nl.(unlinker); ok {
		u.SetUnlinkOnClose(ln.unlinks)
		ln.unlinks = false
	}
	ln.mu.Unlock()
	ln.Close()
	return nl, nil
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtls

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/evchan/evchan"
)

// A wire is the net.Conn under crypto/tls. It has three lives: during the handshake, it is what
// the handshake's goroutine reads and writes; afterwards, in the loop, it has the buffers of the
// running Decode or Encode; and after NetConn it is a real net.Conn.
type wire struct {
	lower *evchan.Stream // never changes
	hs    *handshake     // nil: it is over
	early *evchan.Buffer // what has arrived and the handshake has not read; nil: nothing

	in, out *evchan.Buffer // of the call that runs
	eof     bool           // nothing follows after in
	toldEOF bool           // crypto/tls was told so
	mute    bool           // drop what crypto/tls writes

	conn net.Conn // nil before NetConn
}

// leave ends the first life, in which the handshake was h.
func (w *wire) leave(h *handshake) { w.hs, w.early = nil, h.rest() }

func (w *wire) Read(p []byte) (int, error) {
	if w.hs != nil {
		return w.hs.read(p)
	}
	if w.early != nil {
		n, err := w.early.Read(p)
		if w.early.Len() == 0 {
			w.early = nil
		}
		return n, err
	}
	switch {
	case w.conn != nil:
		return w.conn.Read(p)
	case w.in != nil && w.in.Len() > 0:
		return w.in.Read(p)
	case w.eof:
		w.toldEOF = true
		return 0, io.EOF
	}
	return 0, errNoInput
}

func (w *wire) Write(p []byte) (int, error) {
	switch {
	case w.hs != nil:
		return w.hs.write(p)
	case w.conn != nil:
		return w.conn.Write(p)
	case w.mute || w.out == nil:
		return len(p), nil
	}
	return w.out.Write(p)
}

// Close is called by crypto/tls when the context of the handshake is cancelled, which ends it
// anyway, and by tls.Conn.Close.
func (w *wire) Close() error {
	if w.hs == nil && w.conn != nil {
		return w.conn.Close()
	}
	return nil
}

func (w *wire) LocalAddr() net.Addr {
	if w.hs == nil && w.conn != nil {
		return w.conn.LocalAddr()
	}
	return w.lower.LocalAddr()
}

func (w *wire) RemoteAddr() net.Addr {
	if w.hs == nil && w.conn != nil {
		return w.conn.RemoteAddr()
	}
	return w.lower.RemoteAddr()
}

// The loop has timeouts of its own, so deadlines matter after NetConn only.

func (w *wire) SetDeadline(t time.Time) error {
	if w.hs == nil && w.conn != nil {
		return w.conn.SetDeadline(t)
	}
	return nil
}

func (w *wire) SetReadDeadline(t time.Time) error {
	if w.hs == nil && w.conn != nil {
		return w.conn.SetReadDeadline(t)
	}
	return nil
}

func (w *wire) SetWriteDeadline(t time.Time) error {
	if w.hs == nil && w.conn != nil {
		return w.conn.SetWriteDeadline(t)
	}
	return nil
}

// An earlyConn is a *tls.Conn with input that was decrypted before. Deadlines in the past and
// Close hold for that input, too.
type earlyConn struct {
	*tls.Conn

	mu       sync.Mutex // guards the following
	early    *evchan.Buffer
	deadline time.Time
	closed   bool
}

func (c *earlyConn) Read(p []byte) (int, error) {
	if n, err := c.readEarly(p); n > 0 || err != nil {
		return n, err
	}
	return c.Conn.Read(p)
}

// readEarly returns 0 and nil if nothing is left of the early input.
func (c *earlyConn) readEarly(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.early.Len() == 0 || len(p) == 0 {
		return 0, nil
	}
	var err error
	switch {
	case c.closed:
		err = net.ErrClosed
	case !c.deadline.IsZero() && !time.Now().Before(c.deadline):
		err = os.ErrDeadlineExceeded
	default:
		return c.early.Read(p)
	}
	return 0, &net.OpError{Op: "read", Net: c.LocalAddr().Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

func (c *earlyConn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	return c.Conn.Close()
}

func (c *earlyConn) SetDeadline(t time.Time) error {
	c.setDeadline(t)
	return c.Conn.SetDeadline(t)
}

func (c *earlyConn) SetReadDeadline(t time.Time) error {
	c.setDeadline(t)
	return c.Conn.SetReadDeadline(t)
}

func (c *earlyConn) setDeadline(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
}

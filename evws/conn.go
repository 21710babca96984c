// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"crypto/rand"
	"sync"

	"github.com/evchan/evchan"
)

// A Conn is one side of a WebSocket connection. Accept and Dial make it. What arrives is told by
// messages: Message, and Closed at the end.
//
// All methods may be called by any goroutine.
type Conn struct {
	// Data is for you. The package does not use it.
	Data any

	conf *Config
	part *partial // the message that has begun to arrive; nil: none. Only the layer uses it

	mu    sync.Mutex // guards following, and the Output of s
	s     *evchan.Stream
	dial  *dialing // what a client needs until it is open; nil: nothing
	rare  *rare    // what few connections need; nil: nothing. It stays if there is takeover
	peer  *Closed  // the last message, when it is due
	flags flags

	window   uint8 // bits of the window for what is compressed; 0: nothing is
	protocol uint8 // 1 + index in conf.Subprotocols; 0: none
}

type flags uint16

const (
	flagClient    flags = 1 << iota
	flagOpen            // the handshake is over
	flagCloseSent       // a close frame was sent: no frames follow
	flagEOF             // the peer has finished sending
	flagLost            // the stream has ended
	flagTold            // Closed was returned by Next
	flagEnd             // Closed was received, or nobody receives it: the stream ends
	flagRefused         // Send has returned ErrFull: Writable is due at Drained
	flagWritable        // Writable is due
	flagPinged          // a ping of PingAfter was sent, and nothing has arrived since
	flagPong            // Ping was called: a Pong is told
	flagParts           // a MessageWriter has begun a message
	flagBegun           // its first frame was sent
	flagBusy            // a send has returned ErrBusy: Writable is due when the message is over
)

// A rare is what few connections need, so that the others need no memory for it.
type rare struct {
	newest *Prepared // see KeepNewest; nil: none
	takeover
}

// newestLocked returns the message that KeepNewest has kept; nil: none.
func (c *Conn) newestLocked() *Prepared {
	if c.rare == nil {
		return nil
	}
	return c.rare.newest
}

// keepLocked keeps m for KeepNewest, or nothing if it is nil.
func (c *Conn) keepLocked(m *Prepared) {
	switch {
	case c.rare != nil:
		if c.rare.newest = m; m == nil && !c.rare.keepsSent && !c.rare.keepsReceived {
			c.rare = nil
		}
	case m != nil:
		c.rare = &rare{newest: m}
	}
}

func (c *Conn) has(f flags) bool { return c.flags&f != 0 }

// Stream returns the stream of the connection: for its addresses, priority, Notify and rate
// limits, for example. Its input and output and its layer belong to the connection, and so do its
// idle timeouts if PingAfter or WriteTimeout is set. The stream's Close and Abort end the
// connection without a close frame and without Closed.
func (c *Conn) Stream() *evchan.Stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.s
}

// Subprotocol returns the subprotocol that was agreed on, one of Config.Subprotocols, or "".
// For a client, it is known from Opened on.
func (c *Conn) Subprotocol() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.protocol == 0 {
		return ""
	}
	return c.conf.Subprotocols[c.protocol-1]
}

// Compressed reports whether messages may be compressed: both sides have agreed to that.
func (c *Conn) Compressed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.window > 0
}

// String describes the connection for people to read.
func (c *Conn) String() string {
	if s := c.Stream(); s != nil {
		return "websocket " + s.String()
	}
	return "websocket"
}

// mask returns a mask for a frame; nil for a server, which does not mask.
func (c *Conn) mask(room *[4]byte) *[4]byte {
	if !c.has(flagClient) {
		return nil
	}
	rand.Read(room[:])
	return room
}

// controlLocked writes a control frame. It waits for the next write or the end of the turn if
// later is true.
func (c *Conn) controlLocked(op byte, p []byte, later bool) error {
	var room [maxControl + maxHeader]byte
	var mask [4]byte
	b := appendFrame(room[:0], bitFin|op, p, c.mask(&mask))
	write := c.s.Write
	if later {
		write = c.s.WriteLater
	}
	_, err := write(b)
	return err
}

// Ping sends a ping with data, which may have at most 125 bytes. The answer is told as Pong.
// Pings of the peer are answered without you.
func (c *Conn) Ping(data []byte) error {
	if len(data) > maxControl {
		return evchan.ErrTooLarge
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.openLocked(); err != nil {
		return err
	}
	c.flags |= flagPong
	return c.controlLocked(opPing, data, false)
}

// openLocked returns why nothing can be sent, or nil.
func (c *Conn) openLocked() error {
	switch {
	case c.has(flagCloseSent | flagEnd | flagTold | flagLost):
		return ErrClosing
	case !c.has(flagOpen):
		return ErrNotOpen
	}
	return nil
}

// Close begins the closing handshake: it sends a close frame with code and reason, after what was
// sent before. When the peer has answered, Closed comes; also when it has not in CloseTimeout.
// Messages that arrive meanwhile are dropped; one that was made before may still come. Reason is cut off after 123 bytes. NoStatus sends
// neither code nor reason.
//
// A client whose handshake is not over is closed at once, and Closed comes with Abnormal. Closing
// again does nothing and returns ErrClosing. Other errors are those of Stream.Write, and of a code
// that may not be sent.
func (c *Conn) Close(code int, reason string) error {
	if code != NoStatus && !validCode(code) {
		return errCode
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch err := c.openLocked(); {
	case err == ErrNotOpen:
		c.endLocked(Abnormal, "", ErrClosing)
		c.s.Again()
		return nil
	case err != nil:
		return err
	}
	c.s.SetLifetime(c.conf.closeTimeout())
	err := c.sendCloseLocked(code, reason)
	// A layer that waits, since the output is full or was, looks at what there is.
	c.s.Again()
	return err
}

// Abort ends the connection at once, without a close frame. No messages follow.
func (c *Conn) Abort() {
	c.mu.Lock()
	c.flags |= flagEnd | flagCloseSent
	c.keepLocked(nil)
	s := c.s
	c.mu.Unlock()
	if s != nil {
		s.Abort()
	}
}

// sendCloseLocked sends a close frame, also if the output is full.
func (c *Conn) sendCloseLocked(code int, reason string) error {
	c.flags |= flagCloseSent
	c.flushNewestLocked()
	var room [maxControl]byte
	p := appendClose(room[:0], code, reason)
	err := c.controlLocked(opClose, p, false)
	if err == evchan.ErrFull {
		// Nothing else is written after this, so the mark may stay as it is.
		c.s.SetWriteMarks(0, c.s.Queued()+1<<16)
		err = c.controlLocked(opClose, p, false)
	}
	return err
}

// endLocked has Closed be the next message.
func (c *Conn) endLocked(code int, reason string, err error) {
	if c.peer == nil {
		c.peer = &Closed{Conn: c, Code: code, Reason: reason, Err: err}
	}
	c.keepLocked(nil)
}

// failLocked ends the connection because of err. The peer is sent a close frame if it can be.
func (c *Conn) failLocked(err error) {
	code := Abnormal
	if e, ok := err.(*PeerError); ok {
		if code = e.Code; !c.has(flagCloseSent) {
			c.sendCloseLocked(code, e.Reason)
		}
	}
	c.flags |= flagCloseSent
	c.endLocked(code, "", err)
}

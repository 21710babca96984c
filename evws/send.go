// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"errors"
	"sync"

	"github.com/evchan/evchan"
)

// Send sends p as one message, after those that were sent before. It returns at once and does
// not keep p.
//
// If the peer is slow (see Config.MaxOutput), Config.Slow says what happens, by default ErrFull is
// returned. Other errors are ErrNotOpen, ErrClosing, ErrBusy while a message is sent in parts
// (see Conn.Begin), those of Stream.Write, and one for a
// type that is neither Text nor Binary. That text is UTF-8 is not checked: the peer
// would end the connection.
func (c *Conn) Send(t Type, p []byte) error {
	if t != Text && t != Binary {
		return errType
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.openLocked(); err != nil {
		return err
	}
	if c.newestLocked() != nil || c.has(flagParts) { // what is kept would overtake p, or p it
		return c.slowLocked(t, p, nil)
	}
	err := c.writeLocked(t, p)
	if err == evchan.ErrFull {
		return c.slowLocked(t, p, nil)
	}
	return err
}

// SendText is Send of a Text message.
func (c *Conn) SendText(s string) error { return c.Send(Text, []byte(s)) }

var errType = errors.New("evws: a message is Text or Binary")

// slowLocked does what Config.Slow says, or what has to be done while a MessageWriter sends.
func (c *Conn) slowLocked(t Type, p []byte, m *Prepared) error {
	switch c.conf.Slow {
	case KeepNewest:
		if m == nil {
			m = Prepare(t, p)
		}
		c.keepLocked(m)
		if !c.s.OutputFull() { // it has drained meanwhile
			c.flushNewestLocked()
		}
		return nil
	case Disconnect:
		if c.has(flagParts) {
			break
		}
		c.flags |= flagCloseSent
		c.endLocked(Abnormal, "", ErrSlow)
		c.s.Again()
		return ErrSlow
	}
	if c.has(flagParts) {
		c.flags |= flagBusy
		return ErrBusy
	}
	c.flags |= flagRefused
	return evchan.ErrFull
}

func (c *Conn) flushNewestLocked() {
	if m := c.newestLocked(); m != nil && !c.has(flagParts) {
		if c.sendPreparedLocked(m) != evchan.ErrFull {
			c.keepLocked(nil)
		}
	}
}

// frames is memory in which frames are built.
var frames = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// bigFrame is the length from which a frame is built in the output of the stream. Arbitrary.
const bigFrame = 64 << 10

// writeLocked writes a message as one frame.
func (c *Conn) writeLocked(t Type, p []byte) error {
	if c.window > 0 && len(p) >= c.conf.compressFrom() {
		if small := deflate(p, int(c.window), c.sentBeforeLocked()); len(small) < len(p) {
			err := c.frameLocked(bitFin|bitRSV1|byte(t), small)
			if err == nil {
				c.keepSentLocked(p)
			}
			return err
		}
	}
	return c.frameLocked(bitFin|byte(t), p)
}

// frameLocked writes a frame that has p, and masks it for a client.
func (c *Conn) frameLocked(first byte, p []byte) error {
	var room [4]byte
	mask := c.mask(&room)
	if len(p) >= bigFrame && mask == nil {
		out := c.s.Output()
		var head [maxHeader]byte
		out.Write(appendHeader(head[:0], first, len(p)))
		out.Write(p)
		return c.flushLocked()
	}
	buf := frames.Get().(*[]byte)
	*buf = appendFrame((*buf)[:0], first, p, mask)
	_, err := c.s.Write(*buf)
	if cap(*buf) <= 2*bigFrame {
		frames.Put(buf)
	}
	return err
}

// flushLocked sends the output, or drops it if it cannot be sent.
func (c *Conn) flushLocked() error {
	err := c.s.Flush()
	if err != nil {
		c.s.Output().Reset()
	}
	return err
}

// A Prepared is a message that was made ready to be sent to many connections: it is framed once,
// compressed at most once, and its bytes are shared by the connections that have to wait for
// their peers.
type Prepared struct {
	typ     Type
	payload []byte // of plain
	plain   []byte // the frame

	once  sync.Once
	small []byte // the frame, compressed; set by once. nil: it would not be shorter
}

// Prepare returns a message for SendPrepared. It copies p. It panics if t is neither Text nor
// Binary.
func Prepare(t Type, p []byte) *Prepared {
	if t != Text && t != Binary {
		panic(errType.Error())
	}
	m := &Prepared{typ: t, plain: appendFrame(make([]byte, 0, len(p)+10), bitFin|byte(t), p, nil)}
	m.payload = m.plain[len(m.plain)-len(p):]
	return m
}

// compressed returns the compressed frame, or nil.
func (m *Prepared) compressed() []byte {
	m.once.Do(func() {
		if p := deflate(m.payload, maxWindow, nil); len(p) < len(m.payload) {
			m.small = appendFrame(make([]byte, 0, len(p)+10), bitFin|bitRSV1|byte(m.typ), p, nil)
		}
	})
	return m.small
}

// SendPrepared sends m as Send does. The same m may be sent by many connections at once. A client
// has to mask its messages, so it copies m.
func (c *Conn) SendPrepared(m *Prepared) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.openLocked(); err != nil {
		return err
	}
	if c.newestLocked() != nil || c.has(flagParts) {
		return c.slowLocked(m.typ, nil, m)
	}
	err := c.sendPreparedLocked(m)
	if err == evchan.ErrFull {
		return c.slowLocked(m.typ, nil, m)
	}
	return err
}

func (c *Conn) sendPreparedLocked(m *Prepared) error {
	if c.has(flagClient) {
		return c.writeLocked(m.typ, m.payload)
	}
	frame, compressed := m.plain, false
	// What refers back further than a smaller window reaches is sent as it is.
	fits := c.window == maxWindow || c.window > 0 && len(m.payload) <= 1<<c.window
	if fits && len(m.payload) >= c.conf.compressFrom() {
		if small := m.compressed(); small != nil {
			frame, compressed = small, true
		}
	}
	err := c.rawLocked(frame)
	if err == nil && compressed {
		c.keepSentLocked(m.payload)
	}
	return err
}

// rawLocked writes a frame of a Prepared. It does not copy one that has to wait, if it is long.
func (c *Conn) rawLocked(frame []byte) error {
	if len(frame) < 512 || c.s.Queued() == 0 && len(frame) < bigFrame { // most often sent at once, without a copy
		_, err := c.s.Write(frame)
		return err
	}
	if c.s.OutputFull() {
		return evchan.ErrFull
	}
	if err := c.s.Output().Append(frame, nil); err != nil {
		return err
	}
	return c.flushLocked()
}

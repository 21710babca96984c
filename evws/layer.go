// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"errors"
	"io"
	"os"

	"github.com/evchan/evchan"
)

// layer is a Conn as the layer of its stream.
type layer Conn

// A partial is a message that has begun to arrive, and its frame. Idle connections have none.
type partial struct {
	frame   header // the frame; only fin, mask and length are used
	read    int64  // bytes of the frame that were read
	op      byte   // of the message
	deflate bool   // the message is compressed
	data    []byte // what has arrived and was not told
	valid   int    // how many bytes of data are valid UTF-8
}

// Next makes the next message of the connection.
func (x *layer) Next(src evchan.Source, ev evchan.Event) evchan.Event {
	c := (*Conn)(x)
	c.mu.Lock()
	s := c.s // Dial holds mu until it is set
	switch ev.(type) {
	case nil:
	case evchan.Readable:
		if c.has(flagPinged) {
			c.flags &^= flagPinged
			s.SetIdleTimeouts(c.conf.PingAfter, c.conf.WriteTimeout)
		}
	case evchan.Connected:
		c.connectedLocked()
	case evchan.Drained:
		c.drainedLocked()
	case evchan.EOF:
		c.flags |= flagEOF
	case evchan.Closed:
		c.flags |= flagLost
	case evchan.TimedOut:
		if c.conf.PingAfter <= 0 && c.conf.WriteTimeout <= 0 { // the user has set this timeout
			c.mu.Unlock()
			return ev
		}
		c.timedOutLocked()
	case evchan.Stopping:
		c.stopLocked()
	default:
		c.mu.Unlock()
		return ev
	}
	if c.has(flagTold) && !c.has(flagEnd) && ev == nil {
		// Closed was received. A client leaves it to the server to end the TCP connection.
		if c.peer.Err == nil && c.has(flagClient) && !c.has(flagEOF|flagLost) {
			c.flags |= flagEnd
			s.SetLifetime(c.conf.closeTimeout())
		} else {
			c.flags |= flagEnd | flagEOF
		}
	}
	if c.has(flagEnd) {
		end, abort := c.has(flagEOF|flagLost), c.peer != nil && (c.peer.Err == ErrSlow || c.peer.Err == ErrPongTimeout)
		c.mu.Unlock()
		s.Input().Discard(s.Input().Len())
		switch {
		case abort: // it would not take the rest either
			s.Abort()
		case end:
			s.Close()
		}
		return nil
	}
	if c.has(flagTold) { // Closed is not received yet
		c.mu.Unlock()
		return nil
	}
	if c.has(flagWritable) && c.peer == nil {
		c.flags &^= flagWritable
		c.mu.Unlock()
		return &Writable{Conn: c}
	}
	dialing := c.dial != nil
	c.mu.Unlock()

	// A peer that does not read is not read from. One that has finished sending is: its end is not
	// to be missed.
	if s.OutputFull() && !c.ending() {
		return nil
	}
	in := s.Input()
	if dialing {
		if m := c.readReply(in); m != nil {
			return m
		}
		if !c.isOpen() {
			return c.told()
		}
	}
	if m := c.parse(in); m != nil {
		return m
	}
	c.mu.Lock()
	switch {
	case c.peer != nil:
	case c.has(flagLost):
		err := s.Err()
		if err == nil {
			err = io.ErrUnexpectedEOF
		} else if c.has(flagCloseSent) && errors.Is(err, os.ErrDeadlineExceeded) {
			err = ErrCloseTimeout
		}
		c.endLocked(Abnormal, "", err)
	case c.has(flagEOF):
		c.endLocked(Abnormal, "", io.ErrUnexpectedEOF)
	}
	c.mu.Unlock()
	return c.told()
}

// told returns Closed if it is due.
func (c *Conn) told() evchan.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.peer == nil || c.has(flagTold) {
		return nil
	}
	c.flags |= flagTold
	c.part = nil
	return c.peer
}

// ending reports whether the connection comes to its end.
func (c *Conn) ending() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.has(flagCloseSent | flagEOF | flagLost)
}

func (c *Conn) isOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.has(flagOpen)
}

func (c *Conn) drainedLocked() {
	c.flushNewestLocked()
	if c.has(flagRefused) {
		c.flags = c.flags&^flagRefused | flagWritable
	}
}

// timedOutLocked sends a ping, or ends the connection if one was sent, or if the peer reads
// nothing.
func (c *Conn) timedOutLocked() {
	switch {
	case c.s.TimedOut()&evchan.Write != 0:
		c.flags |= flagCloseSent
		c.endLocked(Abnormal, "", ErrSlow)
		return
	case !c.has(flagOpen) || c.has(flagCloseSent):
	case c.has(flagPinged):
		c.endLocked(Abnormal, "", ErrPongTimeout)
		c.flags |= flagCloseSent
		return
	default:
		c.flags |= flagPinged
		c.s.SetIdleTimeouts(c.conf.pongTimeout(), c.conf.WriteTimeout)
		c.controlLocked(opPing, nil, false) // if the output is full, its bytes have to do
	}
	c.s.Resume(evchan.Read)
}

// stopLocked ends the connection because the loop is shut down: nobody may receive Closed.
func (c *Conn) stopLocked() {
	if c.has(flagOpen) && !c.has(flagCloseSent) {
		c.sendCloseLocked(GoingAway, "")
	}
	c.flags |= flagEnd | flagEOF
}

// parse makes a message of what has arrived. It handles control frames.
func (c *Conn) parse(in *evchan.Buffer) evchan.Event {
	for {
		m, more, err := c.step(in)
		if err != nil {
			c.mu.Lock()
			c.failLocked(err)
			c.mu.Unlock()
			return nil
		}
		if m != nil {
			return m
		}
		if !more {
			return nil
		}
	}
}

// step takes one frame, or what has arrived of one. more says that there may be more.
func (c *Conn) step(in *evchan.Buffer) (m evchan.Event, more bool, err error) {
	c.mu.Lock()
	over, closing := c.peer != nil, c.has(flagCloseSent)
	compressed, client := c.window > 0, c.has(flagClient)
	c.mu.Unlock()
	if over {
		in.Discard(in.Len())
		return nil, false, nil
	}
	p := c.part
	if p != nil && p.read < p.frame.length {
		if in.Len() == 0 {
			return nil, false, nil
		}
		return c.continueFrame(in, closing)
	}
	h, size, err := readHeader(in, client, compressed)
	if err != nil || size == 0 {
		return nil, false, err
	}
	if h.control() {
		if in.Len() < size+int(h.length) {
			return nil, false, nil
		}
		var room [maxControl]byte
		b := room[:h.length]
		in.Discard(size)
		in.Read(b)
		xor(b, h.mask, 0)
		m, err = c.control(h.op, b)
		return m, true, err
	}
	switch {
	case h.op == opContinuation && p == nil:
		return nil, false, protocolError("there is nothing to continue")
	case h.op != opContinuation && p != nil:
		return nil, false, protocolError("a message begins within a message")
	}
	have := 0
	if p != nil {
		have = len(p.data)
	}
	whole := !c.conf.Parts || h.rsv1 || p != nil && p.deflate
	if limit := c.conf.maxMessage(); whole && h.length > int64(limit-have) {
		return nil, false, &PeerError{TooBig, "the message is too long"}
	}
	in.Discard(size)
	if p == nil && h.fin && !h.rsv1 && int64(in.Len()) >= h.length && !closing {
		return c.whole(in, &h)
	}
	if p == nil {
		p = &partial{op: h.op, deflate: h.rsv1}
		c.part = p
	}
	p.frame, p.read = h, 0
	return c.continueFrame(in, closing)
}

// whole makes a message of a frame that has arrived and is all of it.
func (c *Conn) whole(in *evchan.Buffer, h *header) (evchan.Event, bool, error) {
	m := newMessage(int(h.length))
	m.Conn, m.Type = c, Type(h.op)
	in.Read(m.Data)
	xor(m.Data, h.mask, 0)
	if m.Type == Text {
		if n, ok := validSoFar(m.Data); !ok || n < len(m.Data) {
			return nil, false, errNotUTF8
		}
	}
	return m, false, nil
}

// newMessage returns a message with n bytes. Few lie in the same piece of memory; the
// size fits one of the allocator.
func newMessage(n int) *Message {
	const room = 136
	if n <= room {
		m := new(struct {
			Message
			room [room]byte
		})
		m.Data = m.room[:n:n]
		return &m.Message
	}
	return &Message{Data: make([]byte, n)}
}

var (
	errNotUTF8 = &PeerError{InvalidPayload, "text is not UTF-8"}
	errCode    = errors.New("evws: a close frame may not have this code")
)

// continueFrame takes what has arrived of the frame of part.
func (c *Conn) continueFrame(in *evchan.Buffer, closing bool) (evchan.Event, bool, error) {
	p := c.part
	n := int(min(int64(in.Len()), p.frame.length-p.read))
	at := len(p.data)
	if cap(p.data)-at < n {
		// Room for what has arrived: it at most doubles, so a length alone takes no memory.
		grown := make([]byte, at, max(at+n, int(min(int64(2*cap(p.data)), int64(at)+p.frame.length-p.read))))
		copy(grown, p.data)
		p.data = grown
	}
	p.data = p.data[:at+n]
	in.Read(p.data[at:])
	xor(p.data[at:], p.frame.mask, int(p.read&3))
	p.read += int64(n)
	if closing {
		p.data, p.valid = p.data[:0], 0 // dropped
	}
	end := p.frame.fin && p.read == p.frame.length
	if p.op == opText && !p.deflate && !closing {
		valid, ok := validSoFar(p.data[p.valid:])
		if p.valid += valid; !ok || end && p.valid < len(p.data) {
			return nil, false, errNotUTF8
		}
	}
	if !end {
		if m := c.takePart(p); m != nil {
			return m, true, nil
		}
		return nil, p.read == p.frame.length, nil
	}
	c.part = nil
	if closing {
		return nil, true, nil
	}
	m := &Message{Conn: c, Type: Type(p.op), Data: p.data}
	if !p.deflate {
		return m, true, nil
	}
	var before []byte
	c.mu.Lock()
	x := c.rare
	c.mu.Unlock()
	takeover := x != nil && x.keepsReceived
	if takeover {
		before = x.received
	}
	var err error
	switch m.Data, err = inflate(p.data, c.conf.maxMessage(), before); {
	case err == errInflatedTooBig:
		return nil, false, &PeerError{TooBig, "the message is too long when it is decompressed"}
	case err != nil:
		return nil, false, &PeerError{InvalidPayload, "the message cannot be decompressed"}
	case m.Type == Text:
		if n, ok := validSoFar(m.Data); !ok || n < len(m.Data) {
			return nil, false, errNotUTF8
		}
	}
	if takeover {
		x.received = keepEnd(x.received, m.Data, 1<<maxWindow)
	}
	return m, true, nil
}

// takePart returns what has arrived of p as a part of the message, if parts are told.
func (c *Conn) takePart(p *partial) evchan.Event {
	n := len(p.data)
	if p.op == opText {
		n = p.valid
	}
	if !c.conf.Parts || p.deflate || n == 0 {
		return nil
	}
	m := &Message{Conn: c, Type: Type(p.op), Data: p.data[:n:n], More: true}
	p.data, p.valid = append([]byte(nil), p.data[n:]...), 0
	return m
}

// control handles a control frame. p is valid until it returns.
func (c *Conn) control(op byte, p []byte) (evchan.Event, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch op {
	case opPing:
		if !c.has(flagCloseSent) {
			c.controlLocked(opPong, p, true) // an error is the stream's: Closed comes
		}
	case opPong:
		if c.has(flagPong) && !c.has(flagCloseSent) {
			c.flags &^= flagPong
			return &Pong{Conn: c, Data: append([]byte(nil), p...)}, nil
		}
	case opClose:
		code, reason, err := parseClose(p)
		if err != nil {
			return nil, err
		}
		if !c.has(flagCloseSent) {
			c.sendCloseLocked(code, "")
		}
		c.endLocked(code, reason, nil)
	}
	return nil, nil
}

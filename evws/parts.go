// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import "github.com/evchan/evchan"

// A MessageWriter sends one message in parts, each of which is a frame. Conn.Begin makes it. Its
// methods may be called by any goroutine, but the order of the parts is that of the calls.
type MessageWriter struct {
	c    *Conn
	typ  Type
	done bool // c.mu guards it
}

// Begin begins a message that is sent in parts: one that is long, or that is not known yet as a
// whole. The peer gets it as one message.
//
// Until MessageWriter.Close, no other message can be sent on the connection. Send, SendPrepared and
// Begin return ErrBusy, also if Config.Slow is Disconnect, and Writable comes when the message is
// over. With KeepNewest, Send and SendPrepared keep the newest of the others, and it is sent then.
// Pings, pongs and a close frame are sent between parts.
//
// The message is not compressed. Begin sends nothing. Its errors are those of Send.
func (c *Conn) Begin(t Type) (*MessageWriter, error) {
	if t != Text && t != Binary {
		return nil, errType
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.openLocked(); err != nil {
		return nil, err
	}
	switch {
	case c.has(flagParts):
		c.flags |= flagBusy
		return nil, ErrBusy
	case c.newestLocked() != nil: // it was sent before
		c.flags |= flagRefused
		return nil, evchan.ErrFull
	}
	c.flags |= flagParts
	return &MessageWriter{c: c, typ: t}, nil
}

// Write sends p as the next part. It sends all of it or nothing, returns at once and does not keep
// p. Text may be cut within a character.
//
// If the peer is slow, Write returns ErrFull, with whatever Config.Slow, and Writable comes when it has
// read what was sent before. Other errors are those of Send, and ErrClosing after Close.
func (w *MessageWriter) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	if err := w.sendLocked(0, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close ends the message, with an empty last frame. After ErrFull, the message is not over: call
// Close again when Writable has come. Closing again returns ErrClosing.
func (w *MessageWriter) Close() error {
	c := w.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := w.sendLocked(bitFin, nil); err != nil {
		return err
	}
	w.done = true
	busy := c.has(flagBusy)
	c.flags &^= flagParts | flagBegun | flagBusy
	c.flushNewestLocked()
	switch {
	case !busy:
	case c.s.OutputFull():
		c.flags |= flagRefused
	default:
		c.flags |= flagWritable
		c.s.Again()
	}
	return nil
}

// sendLocked writes a frame of the message.
func (w *MessageWriter) sendLocked(first byte, p []byte) error {
	c := w.c
	if w.done {
		return ErrClosing
	}
	if err := c.openLocked(); err != nil {
		return err
	}
	if !c.has(flagBegun) {
		first |= byte(w.typ)
	}
	err := c.frameLocked(first, p)
	switch err {
	case nil:
		c.flags |= flagBegun
	case evchan.ErrFull:
		c.flags |= flagRefused
	}
	return err
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"fmt"

	"github.com/evchan/evchan"
)

// A Type is the type of a message.
type Type byte

const (
	Text   Type = opText   // UTF-8
	Binary Type = opBinary // any bytes
)

// String returns the name of the type.
func (t Type) String() string {
	switch t {
	case Text:
		return "text"
	case Binary:
		return "binary"
	}
	return fmt.Sprintf("Type(%d)", byte(t))
}

// A Message is a message that the peer has sent, or, with Config.Parts, a part of one.
type Message struct {
	evchan.Custom

	// Conn is the connection.
	Conn *Conn

	// Data is the content. It is yours: it may be kept and modified. That of a Text message is
	// valid UTF-8, also if it is a part.
	Data []byte

	// Type is Text or Binary.
	Type Type

	// More says that this is a part of a message, and that more parts follow. Only with
	// Config.Parts.
	More bool
}

// String describes the message: its connection, its type and its first bytes.
func (m *Message) String() string {
	p, more := m.Data, ""
	if len(p) > 64 {
		p, more = p[:64], "..."
	}
	return fmt.Sprintf("Message %v %v %q%s", m.Conn, m.Type, p, more)
}

// Opened says that the handshake of a connection that Dial has made is over. It is the first
// message. Accept needs none: what it returns is open.
type Opened struct {
	evchan.Custom

	// Conn is the connection.
	Conn *Conn
}

// String describes the message.
func (m *Opened) String() string { return fmt.Sprintf("Opened %v", m.Conn) }

// Closed says that a connection has ended. It is the last message.
type Closed struct {
	evchan.Custom

	// Conn is the connection.
	Conn *Conn

	// Code is the code of the peer's close frame: NoStatus if that had none, Abnormal if
	// there was no close frame. If the peer has broken the rules, Code is the code that
	// it was sent, and Err says more.
	Code int

	// Reason is the reason in the peer's close frame.
	Reason string

	// Err is why the connection has ended without a close frame of the peer: the error of the
	// stream, io.ErrUnexpectedEOF, a HandshakeError, what the peer has done wrong, or one of the
	// errors of this package. nil if the peer has sent one.
	Err error
}

// String describes the message: its connection, its code and its reason.
func (m *Closed) String() string {
	if m.Err != nil {
		return fmt.Sprintf("Closed %v %d: %v", m.Conn, m.Code, m.Err)
	}
	return fmt.Sprintf("Closed %v %d %q", m.Conn, m.Code, m.Reason)
}

// Writable says that the output has become empty, after Send has returned evchan.ErrFull.
type Writable struct {
	evchan.Custom

	// Conn is the connection.
	Conn *Conn
}

// String describes the message.
func (m *Writable) String() string { return fmt.Sprintf("Writable %v", m.Conn) }

// Pong is the answer to a ping that Conn.Ping has sent. Pongs that nobody has asked for, or
// that answer what Config.PingAfter sends, are not told.
type Pong struct {
	evchan.Custom

	// Conn is the connection.
	Conn *Conn

	// Data is what the ping had.
	Data []byte
}

// String describes the message.
func (m *Pong) String() string { return fmt.Sprintf("Pong %v %q", m.Conn, m.Data) }

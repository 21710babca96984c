// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evframe

import (
	"fmt"

	"github.com/evchan/evchan"
)

// A Line is one line of a stream, without its line end. [Lines] makes it.
type Line struct{ message }

// A Frame is one frame of a stream, without its length. [Frames] makes it.
type Frame struct{ message }

// An Error says that no more messages can be made of what a stream sends. It comes once. The
// layer drops what the stream sends after that, and passes on [evchan.EOF] and [evchan.Closed].
//
// The receiver closes the stream: it may send a reply first that tells the peer why.
type Error struct {
	message

	// Err is the reason:
	//   - [ErrTooLong]: a line or a frame is longer than the limit;
	//   - [ErrLength]: the length of a frame cannot be right;
	//   - io.ErrUnexpectedEOF: the peer has finished sending within a line or a frame. Bytes
	//     returns what has arrived of it, without the length of a frame as far as that is
	//     complete. EOF comes next.
	Err error
}

// String describes the message: its stream and its first bytes.
func (m *Line) String() string { return m.describe("Line") }

// String describes the message: its stream and its first bytes.
func (m *Frame) String() string { return m.describe("Frame") }

// String describes the message: its stream and the reason.
func (m *Error) String() string { return fmt.Sprintf("Error %v: %v", m.Source(), m.Err) }

// A message owns the bytes that were taken from the input of a stream.
type message struct {
	evchan.Custom
	data []byte         // all bytes, if buf is nil
	buf  *evchan.Buffer // has all bytes, which were moved to it; nil if they were copied
}

// copyLimit is how many bytes are copied. More are moved: then the message shares the memory
// into which the stream has read, up to 64 KiB of it, which is too much for a few bytes.
// Arbitrary.
const copyLimit = 1 << 10

// Bytes returns the bytes of the message. They are valid as long as the message is, or until
// what Buffer returns is changed. They must not be modified: they may be memory that belongs
// to somebody else. They are copied if they lie in several chunks.
func (m *message) Bytes() []byte {
	if m.buf != nil {
		return m.buf.Bytes()
	}
	return m.data
}

// Len returns the number of bytes.
func (m *message) Len() int {
	if m.buf != nil {
		return m.buf.Len()
	}
	return len(m.data)
}

// Buffer returns the bytes as a Buffer, from which they can be moved on without being copied.
// Each call returns the same one. Its Reset gives back the memory of a long message at once,
// for use by streams; otherwise the garbage collector does so with the message.
func (m *message) Buffer() *evchan.Buffer {
	if m.buf == nil {
		m.buf = evchan.NewBuffer(m.data)
		m.data = nil
	}
	return m.buf
}

// Stream returns the stream that the message came from.
func (m *message) Stream() *evchan.Stream {
	s, _ := m.Source().(*evchan.Stream)
	return s
}

// describe returns name, the message's source, and its first bytes.
func (m *message) describe(name string) string {
	const most = 64 // arbitrary
	p, more := m.data, ""
	if m.buf != nil {
		p = make([]byte, most+1)
		p = p[:m.buf.CopyTo(p, 0)]
	}
	if len(p) > most {
		p, more = p[:most], "..."
	}
	return fmt.Sprintf("%s %v %q%s", name, m.Source(), p, more)
}

// take moves the first n bytes of in to m, or copies them to room if they are few.
func (m *message) take(in *evchan.Buffer, n int, room []byte) {
	if n > copyLimit {
		m.buf = new(evchan.Buffer)
		m.buf.MoveN(in, n)
		return
	}
	if n > len(room) {
		room = make([]byte, n)
	}
	m.data = room[:n:n]
	in.CopyTo(m.data, 0)
	in.Discard(n)
}

// takeLine returns a Line of the first n bytes of in. A short line lies in the same piece of
// memory as the message; the sizes fit those of the allocator.
func takeLine(in *evchan.Buffer, n int) *Line {
	switch {
	case n <= 40:
		m := new(struct {
			Line
			room [40]byte
		})
		m.take(in, n, m.room[:])
		return &m.Line
	case n <= 168:
		m := new(struct {
			Line
			room [168]byte
		})
		m.take(in, n, m.room[:])
		return &m.Line
	}
	m := new(Line)
	m.take(in, n, nil)
	return m
}

// takeFrame is takeLine for frames.
func takeFrame(in *evchan.Buffer, n int) *Frame {
	switch {
	case n <= 40:
		m := new(struct {
			Frame
			room [40]byte
		})
		m.take(in, n, m.room[:])
		return &m.Frame
	case n <= 168:
		m := new(struct {
			Frame
			room [168]byte
		})
		m.take(in, n, m.room[:])
		return &m.Frame
	}
	m := new(Frame)
	m.take(in, n, nil)
	return m
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"io"
	"math"
)

// Errors of misuse, and of sizes that cannot be. Like the others they leave
// the Buffer as it was.
var (
	errNegative = errors.New("evchan: negative count")
	errTooLarge = errors.New("evchan: buffer too large")
	errSelf     = errors.New("evchan: buffer added to itself")
	errCommit   = errors.New("evchan: commit of more than was reserved")
)

// A Buffer is a queue of bytes in a chain of chunks. It grows at both ends,
// gives its bytes to another Buffer without copying them, holds memory and
// files of others beside its own, and is searched as if it were one piece. Its
// zero value is empty and ready to use. An empty Buffer holds at most 1 KiB, until
// Reset, and a Stream's input nothing. A Buffer must not be copied, and not be
// used by several goroutines at once.
//
// # Memory that a Buffer returns
//
// Slices from Next, ReadLine and Lines stay valid, and their release functions
// wait, until the next call on that Buffer; so do those from Peek and Segments.
// Being an argument of another Buffer's call counts as a call. Len is none. Such
// slices must not be modified, since they may be someone else's memory.
//
// # Memory that a Buffer is given
//
// Write, WriteString, WriteByte, ReadFrom and Prepend copy. NewBuffer takes its
// slice over. Append, Share and AppendFile refer to what they are given, which
// is never written to and must not change until it is released.
//
// A release function runs exactly once, when the last of its bytes is gone:
// read, discarded, sent, or dropped by Reset, whichever Buffers they were moved
// to or shared with. It runs on whatever goroutine that happens, with no lock
// held, once the Buffer is in order again; it may panic. If the call that was
// given it returns an error, it does not run.
//
// # Files
//
// What AppendFile adds counts as bytes from the start. A Stream sends them
// without reading them; other calls read them into memory when they come to
// them. If that fails, or the file has become shorter (io.ErrUnexpectedEOF),
// Read, ReadByte, WriteTo and Peek return the error behind the bytes that
// precede the failure; Next, CopyTo and Segments end there, and Index and its
// like find nothing beyond it. The bytes stay in the Buffer: Discard and Reset
// get rid of them. WriteTo needs little memory for a large file; what Peek, Next,
// Segments and a search have passed over stays in memory until it is removed.
//
// # Counts
//
// Where a count exceeds what is there, it means all of it. A negative one is an
// error where the call returns errors, and zero otherwise.
type Buffer struct {
	chain

	stream *Stream      // if not nil, told how many bytes public calls have removed
	extra  *bufferExtra // nil until it is needed
	flags  bufferFlags
}

// A bufferExtra is what not every Buffer needs.
type bufferExtra struct {
	spare    *chunk                   // the last chunk there was, empty, to be used again; or nil
	onChange func(added, removed int) // not nil if and only if flags has watched
	reserved *chunk                   // what Reserve returned, if not the tail's room; empty
	room     int                      // how many bytes Reserve returned; 0 unless flags has reserved
	found    *chunk                   // where a search is, in memory; nil unless flags has sought
	base     int                      // the position of found's first byte
}

type bufferFlags uint8

const (
	frozenFront bufferFlags = 1 << iota
	frozenBack
	held     // a slice that was returned may lie in head, which may be empty
	reserved // a slice that Reserve returned may be written to
	sought   // extra's found is not nil
	watched  // OnChange is in force
	emptied  // it was emptied before, so it keeps a spare the next time
	lean     // it never does

	passing = held | reserved | sought // what ends with the next call that changes the front
)

var (
	_ io.ReadWriter   = (*Buffer)(nil)
	_ io.ByteReader   = (*Buffer)(nil)
	_ io.ByteWriter   = (*Buffer)(nil)
	_ io.StringWriter = (*Buffer)(nil)
	_ io.ReaderFrom   = (*Buffer)(nil)
	_ io.WriterTo     = (*Buffer)(nil)
)

// NewBuffer returns a Buffer that holds p. It takes p over, up to its capacity;
// the caller must not use p any more.
func NewBuffer(p []byte) *Buffer {
	b := new(Buffer)
	if len(p) > 0 {
		c := newChunk(0)
		c.buf, c.w = p[:cap(p)], len(p)
		b.push(c)
	}
	return b
}

// Len returns the number of unread bytes.
func (b *Buffer) Len() int { return b.n }

// Reset removes all bytes, and lets all memory go. A Buffer that is frozen stays
// so, and OnChange stays in force.
func (b *Buffer) Reset() {
	b.settle()
	if b.n > 0 {
		b.take(b.n)
	}
	b.dropSpare()
}

// Freeze makes the calls that change the front, or the back, of b fail with
// ErrFrozen, or do nothing if they return no error. It replaces what an earlier
// Freeze said. Reset works all the same.
func (b *Buffer) Freeze(front, back bool) {
	b.settle()
	b.flags &^= frozenFront | frozenBack
	if front {
		b.flags |= frozenFront
	}
	if back {
		b.flags |= frozenBack
	}
}

// OnChange makes f be called after each change of b, with the number of bytes
// that were added and removed; nil ends that. f must not change b. It is not
// called for what a Stream does to its own buffers.
func (b *Buffer) OnChange(f func(added, removed int)) {
	b.settle()
	b.flags &^= watched
	if f != nil {
		b.flags |= watched
	}
	if f != nil || b.extra != nil {
		b.more().onChange = f
	}
}

// front is what calls that take from the front begin with.
func (b *Buffer) front() error {
	if b.flags&(frozenFront|passing) != 0 {
		return b.frontSlow()
	}
	return nil
}

//go:noinline
func (b *Buffer) frontSlow() error {
	b.settle()
	if b.flags&frozenFront != 0 {
		return ErrFrozen
	}
	return nil
}

// back is what calls that append n bytes begin with. They end with added.
func (b *Buffer) back(n int) error {
	if b.flags&(frozenBack|reserved) != 0 || n > math.MaxInt-b.n {
		return b.backSlow(n)
	}
	return nil
}

//go:noinline
func (b *Buffer) backSlow(n int) error {
	if b.flags&frozenBack != 0 {
		return ErrFrozen
	}
	if n > math.MaxInt-b.n {
		return errTooLarge
	}
	b.dropReserved()
	return nil
}

// added is what calls that have added n bytes end with. Only then does it let
// go what was held, which the bytes may have been copied from.
func (b *Buffer) added(n int) {
	if b.flags&held != 0 {
		b.release()
	}
	if b.flags&watched != 0 && n > 0 {
		b.extra.onChange(n, 0)
	}
}

// removed is what calls that have removed n bytes end with.
func (b *Buffer) removed(n int) {
	if n == 0 {
		return
	}
	if b.stream != nil {
		b.stream.consumed(n)
	}
	if b.flags&watched != 0 {
		b.extra.onChange(0, n)
	}
}

// settle ends what lasts only until the next call.
func (b *Buffer) settle() {
	if b.flags&sought != 0 {
		b.forget()
	}
	if b.flags&held != 0 {
		b.release()
	}
	if b.flags&reserved != 0 {
		b.dropReserved()
	}
}

// release lets go the chunk that a returned slice lay in.
func (b *Buffer) release() {
	b.flags &^= held
	c := b.head
	if c == nil || c.size() > 0 {
		return
	}
	b.head = c.next
	if b.head == nil {
		b.tail = nil
		if b.keep(c) {
			return
		}
	}
	c.free()
}

// more returns extra.
func (b *Buffer) more() *bufferExtra {
	if b.extra == nil {
		b.extra = new(bufferExtra)
	}
	return b.extra
}

// keep makes c, which was b's only chunk, its spare, if it may be that. A
// Buffer that is emptied for the first time has none yet: most are used once.
func (b *Buffer) keep(c *chunk) bool {
	if c.class != minClass || b.stream != nil || b.flags&lean != 0 {
		return false
	}
	if b.flags&emptied == 0 {
		b.flags |= emptied
		return false
	}
	x := b.more()
	if x.spare != nil {
		return false
	}
	poison(c.buf[:c.w])
	c.r, c.w = 0, 0
	x.spare = c
	return true
}

// dropSpare lets the spare go.
func (b *Buffer) dropSpare() {
	b.flags &^= emptied
	if x := b.extra; x != nil && x.spare != nil {
		c := x.spare
		x.spare = nil
		c.put()
	}
}

// dropReserved takes back what Reserve returned.
func (b *Buffer) dropReserved() {
	b.flags &^= reserved
	if x := b.extra; x != nil {
		x.room = 0
		if c := x.reserved; c != nil {
			x.reserved = nil
			c.put()
		}
	}
}

// splice moves all of src's chunks behind b's. It tells nobody and minds no
// freezing.
func (b *Buffer) splice(src *Buffer) {
	src.settle()
	if b.flags&reserved != 0 {
		b.dropReserved()
	}
	b.chain.splice(&src.chain)
}

// free lets all memory go; b is empty then, and can be used again. It tells
// nobody.
func (b *Buffer) free() {
	b.settle()
	b.dropSpare()
	freeChain(b.detach())
}

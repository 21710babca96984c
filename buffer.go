// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"io"
	"math"
)

// Errors of misuse. They leave the Buffer as it was.
var (
	errNegative = errors.New("evchan: negative count")
	errSelf     = errors.New("evchan: buffer added to itself")
	errCommit   = errors.New("evchan: commit of more than was reserved")
)

// A Buffer is a queue of bytes, kept in a chain of chunks. Bytes are removed from the
// front and can be added at both ends; they move to another Buffer without being
// copied. Beside its own memory a Buffer can refer to memory and files of the
// caller's. A search treats all of it as one piece.
//
// The zero value is an empty Buffer that is ready to use. A Buffer must not be
// copied, which go vet reports, nor used by several goroutines at once. A Buffer that
// has become empty keeps at most 1 KiB of memory, until Reset; the input of a Stream
// keeps none.
//
// # Memory that a Buffer returns
//
// A slice that Next, ReadLine, Lines, Peek, Bytes or Segments has returned is valid until
// the next call on that Buffer. If the bytes have a release function, it does not
// run before that call either. Being an argument of another Buffer's call counts
// as a call; Len does not. Such a slice must not be modified: it may be memory
// that belongs to somebody else.
//
// # Memory that a Buffer is given
//
// Write, WriteString, WriteByte, ReadFrom and Prepend copy. NewBuffer takes its
// slice over. Append, Share and AppendFile refer to what they are given: a Buffer
// never writes to it, and it must not change until it is released.
//
// A release function runs exactly once, when the last of its bytes was read,
// discarded, sent or dropped by Reset, in whichever Buffers they were by then. It
// runs on the goroutine that removed them, with no lock held, when the Buffer is
// consistent again; it may panic. It does not run if the call that it was given to
// returned an error.
//
// # Files
//
// What AppendFile adds counts for Len at once. A Stream sends it without reading
// it into memory; other calls read it when they come to it. The read may fail, or
// find that the file has become shorter, which is io.ErrUnexpectedEOF. Then
//
//   - Read, ReadByte, WriteTo and Peek give the bytes before the failure, and
//     then the error;
//   - Next, Bytes, CopyTo and Segments end before it;
//   - Index and the other searches find nothing beyond it.
//
// The bytes stay in the Buffer until Discard or Reset removes them. WriteTo needs
// little memory for a large file. What Peek, Next, Bytes, Segments and searches read
// stays in memory until it is removed.
//
// # Counts
//
// A count greater than Len means Len. A negative count is an error where the call
// returns an error, and zero otherwise. A call that would make Len greater than an int
// can be, or that of a Stream's input greater than half of that, returns ErrTooLarge
// and changes nothing.
type Buffer struct {
	_ noCopy
	chain

	stream *Stream      // the stream that this is the input of, or nil; public calls tell it what they remove and add
	extra  *bufferExtra // nil until it is needed
	flags  bufferFlags
}

// noCopy makes go vet report a copy of a struct that has one.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// A bufferExtra has the fields that most Buffers do not need.
type bufferExtra struct {
	spare    *chunk                   // an empty chunk for the next bytes, or nil
	onChange func(added, removed int) // not nil if and only if flags has bufWatched
	reserved *chunk                   // the empty chunk that Reserve returned; nil if it returned the tail's room
	room     int                      // how many bytes Reserve returned; 0 unless flags has bufReserved
	found    *chunk                   // where the last search stopped, not a file; nil unless flags has bufFound
	base     int                      // the position of found's first byte
	scanned  int                      // if flags has bufScanned, no line end begins before this position
	style    EOL                      // of which kind
}

type bufferFlags uint16

const (
	bufFrozenFront bufferFlags = 1 << iota
	bufFrozenBack
	bufHeld     // a returned slice may lie in head, which may be empty
	bufReserved // the caller may write to the slice that Reserve returned
	bufFound    // extra.found is not nil
	bufScanned  // extra.scanned is true
	bufWatched  // OnChange is in force
	bufEmptied  // the Buffer was emptied before: the next time it keeps a spare
	bufNoSpare  // the Buffer never keeps a spare

	bufTransient = bufHeld | bufReserved | bufFound | bufScanned // what the next call that changes the front ends
)

var (
	_ io.ReadWriter   = (*Buffer)(nil)
	_ io.ByteReader   = (*Buffer)(nil)
	_ io.ByteWriter   = (*Buffer)(nil)
	_ io.StringWriter = (*Buffer)(nil)
	_ io.ReaderFrom   = (*Buffer)(nil)
	_ io.WriterTo     = (*Buffer)(nil)
)

// NewBuffer returns a Buffer that holds p. The Buffer owns p from then on, up to
// its capacity: the caller must not use it any more.
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

// Reset removes all bytes, whether b is frozen or not, and frees all memory.
// Freeze and OnChange stay in force.
func (b *Buffer) Reset() {
	b.invalidate()
	if b.n > 0 {
		b.take(b.n)
	}
	b.dropSpare()
}

// Freeze forbids changes of the front of b, of its back, or of both. It replaces
// what an earlier Freeze has set. A forbidden call returns ErrFrozen, or does
// nothing if it has no error result. Reset is always allowed.
func (b *Buffer) Freeze(front, back bool) {
	b.invalidate()
	b.flags &^= bufFrozenFront | bufFrozenBack
	if front {
		b.flags |= bufFrozenFront
	}
	if back {
		b.flags |= bufFrozenBack
	}
}

// OnChange sets the function that is called after each change of b, with the
// numbers of bytes that were added and removed; nil means none. f must not change
// b. It is not called for what a Stream does to its own buffers.
func (b *Buffer) OnChange(f func(added, removed int)) {
	b.invalidate()
	b.flags &^= bufWatched
	if f != nil {
		b.flags |= bufWatched
	}
	if f != nil || b.extra != nil {
		b.needExtra().onChange = f
	}
}

// front begins a call that removes bytes from the front: it ends the validity of
// returned slices, and returns ErrFrozen if the front is frozen. The call ends with
// take, pass or removed.
func (b *Buffer) front() error {
	if b.flags&(bufFrozenFront|bufTransient) != 0 {
		return b.frontSlow()
	}
	return nil
}

//go:noinline
func (b *Buffer) frontSlow() error {
	b.invalidate()
	if b.flags&bufFrozenFront != 0 {
		return ErrFrozen
	}
	return nil
}

// back begins a call that appends n bytes, and returns an error if b cannot take
// them. The call ends with added.
func (b *Buffer) back(n int) error {
	if b.flags&(bufFrozenBack|bufReserved) != 0 || b.stream != nil || !b.fits(n) {
		return b.backSlow(n)
	}
	return nil
}

//go:noinline
func (b *Buffer) backSlow(n int) error {
	if b.flags&bufFrozenBack != 0 {
		return ErrFrozen
	}
	if n > b.space() {
		return ErrTooLarge
	}
	b.dropReserved()
	return nil
}

// maxPutBack is the most bytes that a stream's input may have for calls to add some.
// The stream reads more without asking; what it reads at a time is far less than the
// other half.
const maxPutBack = math.MaxInt / 2

// space returns how many bytes calls may add.
func (b *Buffer) space() int {
	if b.stream != nil {
		return int(max(maxPutBack-b.stream.in.held.Load(), 0))
	}
	return math.MaxInt - b.n
}

// added ends a call that has added n bytes. It frees what a returned slice lay in
// only now, since the call may have copied from that slice.
func (b *Buffer) added(n int) {
	if b.flags&bufHeld != 0 {
		b.releaseHeld()
	}
	if n == 0 {
		return
	}
	if b.stream != nil {
		b.stream.consumed(-n)
	}
	if b.flags&bufWatched != 0 {
		b.extra.onChange(n, 0)
	}
}

// removed ends a call that has removed n bytes.
func (b *Buffer) removed(n int) {
	if n == 0 {
		return
	}
	if b.stream != nil {
		b.stream.consumed(n)
	}
	if b.flags&bufWatched != 0 {
		b.extra.onChange(0, n)
	}
}

// invalidate ends what lasts only until the next call.
func (b *Buffer) invalidate() {
	if b.flags&(bufFound|bufScanned) != 0 {
		b.forgetFound()
	}
	b.invalidateSlices()
}

// invalidateSlices is invalidate, but leaves what was found, which stays true if bytes
// are only appended.
func (b *Buffer) invalidateSlices() {
	if b.flags&bufHeld != 0 {
		b.releaseHeld()
	}
	if b.flags&bufReserved != 0 {
		b.dropReserved()
	}
}

// releaseHeld frees head if it is empty and was kept only because a returned slice
// lay in it. flags must have bufHeld.
func (b *Buffer) releaseHeld() {
	b.flags &^= bufHeld
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

// needExtra returns extra, which it makes if there is none.
func (b *Buffer) needExtra() *bufferExtra {
	if b.extra == nil {
		b.extra = new(bufferExtra)
	}
	return b.extra
}

// keep makes c, which was b's only chunk, the spare, and reports whether it did. It
// does not when b is emptied for the first time: most Buffers are used only once.
func (b *Buffer) keep(c *chunk) bool {
	if c.class != minClass || b.stream != nil || b.flags&bufNoSpare != 0 {
		return false
	}
	if b.flags&bufEmptied == 0 {
		b.flags |= bufEmptied
		return false
	}
	x := b.needExtra()
	if x.spare != nil {
		return false
	}
	poison(c.buf[:c.w])
	c.r, c.w = 0, 0
	x.spare = c
	return true
}

// dropSpare frees the spare.
func (b *Buffer) dropSpare() {
	b.flags &^= bufEmptied
	if x := b.extra; x != nil && x.spare != nil {
		c := x.spare
		x.spare = nil
		c.put()
	}
}

// dropReserved ends the reservation. Afterwards Commit fails.
func (b *Buffer) dropReserved() {
	b.flags &^= bufReserved
	if x := b.extra; x != nil {
		x.room = 0
		if c := x.reserved; c != nil {
			x.reserved = nil
			c.put()
		}
	}
}

// splice moves all of src's chunks behind b's, even if they are frozen. It notifies
// neither the streams nor OnChange.
func (b *Buffer) splice(src *Buffer) {
	src.invalidate()
	if b.flags&bufReserved != 0 {
		b.dropReserved()
	}
	b.chain.splice(&src.chain)
}

// free empties b, which can be used again, and frees all its memory. It notifies
// neither the stream nor OnChange.
func (b *Buffer) free() {
	b.invalidate()
	b.dropSpare()
	freeChain(b.detach())
}

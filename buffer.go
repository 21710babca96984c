// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"io"
	"iter"
	"math"
	"net"
	"os"
	"slices"
	"sync"
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

// ---- reading

// Read copies the first bytes of b to p and removes them. It returns io.EOF if
// b is empty and p is not.
func (b *Buffer) Read(p []byte) (int, error) {
	if err := b.front(); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.n == 0 {
		return 0, io.EOF
	}
	c := b.head
	if c.isFile() {
		var err error
		if c, err = b.load(nil, c); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.buf[c.r:c.w])
	if n < len(p) && c.next != nil {
		n += copyChain(p[n:], c.next)
	}
	b.take(n)
	return n, nil
}

// copyChain fills p from c and those that follow, up to the first file.
func copyChain(p []byte, c *chunk) int {
	n := 0
	for ; c != nil && n < len(p) && !c.isFile(); c = c.next {
		n += copy(p[n:], c.buf[c.r:c.w])
	}
	return n
}

// ReadByte removes the first byte and returns it, or io.EOF if there is none.
func (b *Buffer) ReadByte() (byte, error) {
	if err := b.front(); err != nil {
		return 0, err
	}
	if b.n == 0 {
		return 0, io.EOF
	}
	c, err := b.first()
	if err != nil {
		return 0, err
	}
	x := c.buf[c.r]
	b.take(1)
	return x, nil
}

// WriteTo writes all bytes to w and removes what w took. It gives another
// Buffer its chunks, and writes vectors to a TCP or Unix connection. w must not
// use b.
func (b *Buffer) WriteTo(w io.Writer) (int64, error) {
	if d, ok := w.(*Buffer); ok {
		n := int64(b.n)
		if err := d.AppendBuffer(b); err != nil {
			return 0, err
		}
		return n, nil
	}
	if err := b.front(); err != nil {
		return 0, err
	}
	total := int64(0)
	for left := b.n; left > 0; {
		c, err := b.first()
		if err != nil {
			return total, err
		}
		var n, want int
		if next := c.next; next != nil && !next.isFile() && isConn(w) {
			n, want, err = b.writeVector(w)
		} else {
			want = c.size()
			n, err = w.Write(c.buf[c.r:c.w:c.w])
		}
		if n < 0 || n > want {
			panic("evchan: writer returned an invalid count from Write")
		}
		if n > 0 {
			b.take(n)
		}
		total += int64(n)
		left -= n
		if err != nil {
			return total, err
		}
		if n < want {
			return total, io.ErrShortWrite
		}
	}
	return total, nil
}

// isConn tells whether net.Buffers does better than one Write after the other.
func isConn(w io.Writer) bool {
	switch w.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}

// maxVector is the most chunks that one system call is given: arbitrary, but
// 64 of the smallest are as much as one of the largest.
const maxVector = 64

// A vector holds what net.Buffers needs.
type vector struct {
	array [maxVector][]byte
	v     net.Buffers
}

var vectorPool = sync.Pool{New: func() any { return new(vector) }}

// writeVector writes the first chunks in memory to w, and returns how many bytes it
// wrote of how many there were.
func (b *Buffer) writeVector(w io.Writer) (n, want int, err error) {
	x := vectorPool.Get().(*vector)
	k := 0
	for c := b.head; c != nil && k < maxVector && !c.isFile(); c = c.next {
		x.array[k] = c.buf[c.r:c.w]
		want += c.size()
		k++
	}
	x.v = x.array[:k]
	n64, err := x.v.WriteTo(w)
	clear(x.array[:k])
	x.v = nil
	vectorPool.Put(x)
	return int(n64), want, err
}

// Next removes the first n bytes and returns them as one slice, valid until the
// next call. They are copied only if they lie in several chunks.
func (b *Buffer) Next(n int) []byte {
	if b.front() != nil {
		return nil
	}
	n = min(n, b.n)
	if n <= 0 {
		return nil
	}
	c := b.head
	if c.size() < n || c.isFile() {
		failed := b.pullup(n) != nil
		c = b.head
		if failed {
			if c.isFile() {
				return nil
			}
			n = c.size()
		}
	}
	return b.pass(c, n, n)
}

// Peek returns the first n bytes as one slice, valid until the next call. If
// there are fewer it returns those, and io.EOF.
func (b *Buffer) Peek(n int) ([]byte, error) {
	b.settle()
	if n < 0 {
		return nil, errNegative
	}
	var err error
	if n > b.n {
		n, err = b.n, io.EOF
	}
	if n == 0 {
		return nil, err
	}
	if failed := b.pullup(n); failed != nil {
		err = failed
		if b.head.isFile() {
			return nil, err
		}
		n = min(n, b.head.size())
	}
	c := b.head
	return c.buf[c.r : c.r+n : c.r+n], err
}

// Discard removes the first n bytes and returns how many it removed.
func (b *Buffer) Discard(n int) int {
	if b.front() != nil {
		return 0
	}
	n = min(n, b.n)
	if n <= 0 {
		return 0
	}
	b.take(n)
	return n
}

// CopyTo copies the bytes that begin off bytes behind the front to p, and
// returns how many. It removes nothing.
func (b *Buffer) CopyTo(p []byte, off int) int {
	if off < 0 {
		return 0
	}
	_, c, base := b.seek(off)
	return copyFrom(c, p, off-base)
}

// copyFrom copies the bytes that begin off bytes behind the first of c to p.
func copyFrom(c *chunk, p []byte, off int) int {
	n := 0
	for ; c != nil && n < len(p); c = c.next {
		size := c.size()
		if off >= size {
			off -= size
			continue
		}
		if c.isFile() {
			want := min(len(p)-n, size-off)
			k, err := c.readAt(p[n:n+want], off)
			n += k
			if err != nil {
				return n
			}
		} else {
			n += copy(p[n:], c.buf[c.r+off:c.w])
		}
		off = 0
	}
	return n
}

// Segments returns an iterator over the bytes in order, piece by piece, without
// copying. It removes nothing, and b must not be changed meanwhile.
func (b *Buffer) Segments() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		var prev *chunk
		for c := b.head; c != nil; prev, c = c, c.next {
			if c.isFile() {
				var err error
				if c, err = b.load(prev, c); err != nil {
					return
				}
			}
			if c.size() > 0 && !yield(c.buf[c.r:c.w:c.w]) {
				return
			}
		}
	}
}

// ---- writing

// Write appends a copy of p. The error is nil unless the back is frozen, or the
// length would overflow.
func (b *Buffer) Write(p []byte) (int, error) {
	if b.flags&(frozenBack|held|reserved|watched) != 0 || len(p) > math.MaxInt-b.n {
		return b.writeSlow(p)
	}
	if c := b.tail; c != nil && len(c.buf)-c.w >= len(p) {
		c.w += copy(c.buf[c.w:], p)
		b.n += len(p)
	} else {
		b.add(p)
	}
	return len(p), nil
}

func (b *Buffer) writeSlow(p []byte) (int, error) {
	if err := b.back(len(p)); err != nil {
		return 0, err
	}
	if c := b.tail; b.n == 0 && c != nil && c.mem == nil && len(p) <= len(c.buf) {
		// Only what was returned lay in c. That may include p, but copy minds.
		copy(c.buf, p)
		if len(p) < c.w {
			poison(c.buf[len(p):c.w])
		}
		c.r, c.w, b.n = 0, len(p), len(p)
	} else {
		b.add(p)
	}
	b.added(len(p))
	return len(p), nil
}

// WriteString is Write for a string.
func (b *Buffer) WriteString(s string) (int, error) {
	if err := b.back(len(s)); err != nil {
		return 0, err
	}
	for rest := s; len(rest) > 0; {
		c := b.roomFor(len(rest))
		k := copy(c.buf[c.w:], rest)
		c.w += k
		b.n += k
		rest = rest[k:]
	}
	b.added(len(s))
	return len(s), nil
}

// WriteByte appends x.
func (b *Buffer) WriteByte(x byte) error {
	if err := b.back(1); err != nil {
		return err
	}
	c := b.roomFor(1)
	c.buf[c.w] = x
	c.w++
	b.n++
	b.added(1)
	return nil
}

// maxEmptyReads is how often a reader may return nothing in a row.
const maxEmptyReads = 100

// ReadFrom appends what r returns until io.EOF, which is not returned. A reader
// that keeps returning nothing gives io.ErrNoProgress.
func (b *Buffer) ReadFrom(r io.Reader) (int64, error) {
	if err := b.back(0); err != nil {
		return 0, err
	}
	b.settle()
	total := int64(0)
	var c *chunk // outside the chain, in case r uses b
	defer func() {
		if c != nil {
			c.put()
		}
	}()
	for empty := 0; ; {
		if c == nil {
			c = newChunk(b.growth(int(min(total+1, 1<<20))))
		}
		n, err := r.Read(c.buf)
		if n < 0 || n > len(c.buf) {
			c = nil // whoever has it
			panic("evchan: reader returned an invalid count from Read")
		}
		if n > 0 {
			if err := b.back(n); err != nil {
				return total, err
			}
			total += int64(n)
			if n <= len(c.buf)/4 && b.tail != nil && len(b.tail.buf)-b.tail.w >= n {
				b.add(c.buf[:n])
				poison(c.buf[:n])
			} else {
				c.w = n
				b.push(c)
				c = nil
			}
			b.added(n)
			empty = 0
		} else if empty++; empty == maxEmptyReads && err == nil {
			return total, io.ErrNoProgress
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// Prepend puts a copy of p before all other bytes.
func (b *Buffer) Prepend(p []byte) error {
	if b.flags&frozenFront != 0 {
		return ErrFrozen
	}
	n := len(p)
	if n > math.MaxInt-b.n {
		return errTooLarge
	}
	if n == 0 {
		b.settle()
		return nil
	}
	if b.flags&sought != 0 {
		b.forget()
	}
	if b.flags&reserved != 0 {
		b.dropReserved()
	}
	if c := b.head; c != nil && c.size() == 0 && c.mem != nil {
		p = slices.Clone(p) // it may lie in what goes now
		b.settle()
	}
	if c := b.head; c != nil && c.mem == nil {
		k := min(c.r, len(p))
		copy(c.buf[c.r-k:], p[len(p)-k:])
		c.r -= k
		b.n += k
		p = p[:len(p)-k]
	}
	for len(p) > 0 {
		c := newChunk(min(classFor(len(p)), streamClass))
		k := min(len(c.buf), len(p))
		c.w = len(c.buf)
		c.r = c.w - k
		copy(c.buf[c.r:], p[len(p)-k:])
		p = p[:len(p)-k]
		c.next = b.head
		b.head = c
		if b.tail == nil {
			b.tail = c
		}
		b.n += k
	}
	b.added(n)
	return nil
}

// Append appends p without copying it, and calls release, which may be nil,
// when its last byte is gone: at once if p is empty. p must not change until
// then.
func (b *Buffer) Append(p []byte, release func()) error {
	if err := b.back(len(p)); err != nil {
		return err
	}
	m := newMemory()
	m.release = release
	c := newChunk(0)
	c.buf, c.w, c.mem = p[:len(p):len(p)], len(p), m
	return b.appendChunk(c)
}

// AppendFile appends the n bytes of f that begin at off, and calls release,
// which may be nil, when the last of them is gone or was read into memory: at once
// if n is 0. Unless release closes f, nothing does. f must be one that can be read
// at an offset, and stay open until it is released.
func (b *Buffer) AppendFile(f *os.File, off, n int64, release func()) error {
	switch {
	case f == nil:
		return os.ErrInvalid
	case off < 0 || n < 0:
		return errNegative
	case n > math.MaxInt64-off || n > math.MaxInt:
		return errTooLarge
	}
	if err := b.back(int(n)); err != nil {
		return err
	}
	m := newMemory()
	m.file, m.off, m.release = f, off, release
	c := newChunk(0)
	c.w, c.mem = int(n), m
	return b.appendChunk(c)
}

// appendChunk appends c, whose memory is another's, or frees it if it is empty.
func (b *Buffer) appendChunk(c *chunk) error {
	n := c.size()
	if n == 0 {
		b.settle()
		c.free()
		return nil
	}
	b.push(c)
	b.added(n)
	return nil
}

// AppendBuffer moves all of src's bytes to the end of b, without copying more
// than a few.
func (b *Buffer) AppendBuffer(src *Buffer) error {
	if b == src {
		return errSelf
	}
	if err := src.front(); err != nil {
		return err
	}
	n := src.n
	if err := b.back(n); err != nil {
		return err
	}
	b.splice(src)
	b.added(n)
	src.removed(n)
	return nil
}

// PrependBuffer moves all of src's bytes before those of b.
func (b *Buffer) PrependBuffer(src *Buffer) error {
	if b == src {
		return errSelf
	}
	if err := src.front(); err != nil {
		return err
	}
	if err := b.front(); err != nil {
		return err
	}
	n := src.n
	if n == 0 {
		return nil
	}
	if n > math.MaxInt-b.n {
		return errTooLarge
	}
	src.tail.next = b.head
	b.head = src.head
	if b.tail == nil {
		b.tail = src.tail
	}
	b.n += n
	src.head, src.tail, src.n = nil, nil, 0
	b.added(n)
	src.removed(n)
	return nil
}

// smallCopy is how many bytes are rather copied than given a chunk of their own.
const smallCopy = 256

// MoveN moves the first n bytes of src to the end of b and returns how many it
// moved. A chunk that must be cut in two is shared, or copied if that is little.
func (b *Buffer) MoveN(src *Buffer, n int) (int, error) {
	if b == src {
		return 0, errSelf
	}
	if n < 0 {
		return 0, errNegative
	}
	if err := src.front(); err != nil {
		return 0, err
	}
	n = min(n, src.n)
	if err := b.back(n); err != nil {
		return 0, err
	}
	if n == 0 {
		b.settle()
		return 0, nil
	}
	b.chain.moveN(&src.chain, n)
	b.added(n)
	src.removed(n)
	return n, nil
}

// Share appends all of src's bytes without copying them and without removing
// them from src. From then on the two are independent, even if they are used by
// different goroutines; the bytes are released when both have let them go.
func (b *Buffer) Share(src *Buffer) error {
	if b == src {
		return errSelf
	}
	n := src.n
	if err := b.back(n); err != nil {
		return err
	}
	for c := src.head; c != nil; c = c.next {
		if c.size() > 0 {
			b.push(c.ref(c.size()))
		}
	}
	b.added(n)
	return nil
}

// Reserve returns at least n bytes of room behind the end of b, for the caller
// to write to and then to Commit. They are valid, and not part of b, until the
// next call that changes b. It returns nil if n is not positive, the back is frozen,
// or there cannot be so much.
func (b *Buffer) Reserve(n int) []byte {
	if n <= 0 || b.flags&frozenBack != 0 || n > math.MaxInt-b.n {
		return nil
	}
	if b.flags&held != 0 {
		b.release()
	}
	x := b.more()
	var room []byte
	if c := b.tail; x.reserved == nil && c != nil && len(c.buf)-c.w >= n {
		room = c.buf[c.w:]
	} else {
		if c := x.reserved; c == nil || len(c.buf) < n {
			c = b.reserveChunk(n)
			if c == nil {
				return nil
			}
			b.dropReserved()
			x.reserved = c
		}
		room = x.reserved.buf
	}
	x.room = len(room)
	b.flags |= reserved
	return room
}

// reserveChunk returns a chunk with n bytes, or nil if there cannot be so many.
func (b *Buffer) reserveChunk(n int) (c *chunk) {
	defer func() {
		if recover() != nil {
			c = nil // make refused
		}
	}()
	return newChunkSize(n)
}

// Commit appends the first n bytes of what Reserve has returned. The rest is
// reserved no longer. If they are more than Reserve returned, or b was changed
// since, it returns an error and changes nothing.
func (b *Buffer) Commit(n int) error {
	if b.flags&frozenBack != 0 {
		return ErrFrozen
	}
	if n < 0 {
		return errNegative
	}
	if b.flags&reserved == 0 {
		if n > 0 {
			return errCommit
		}
		return nil
	}
	x := b.extra
	if n > x.room {
		return errCommit
	}
	if n > 0 {
		if c := x.reserved; c != nil {
			x.reserved = nil
			c.w = n
			b.push(c)
		} else {
			b.tail.w += n
			b.n += n
		}
	}
	b.dropReserved()
	b.added(n)
	return nil
}

// ---- inside

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

// add copies p to the end, as chain's does, into the spare if there is one.
func (b *Buffer) add(p []byte) {
	if b.tail == nil && b.extra != nil {
		b.reuse(len(p))
	}
	b.chain.add(p)
}

// roomFor is chain's, but for the spare.
func (b *Buffer) roomFor(n int) *chunk {
	if b.tail == nil && b.extra != nil {
		b.reuse(n)
	}
	return b.chain.roomFor(n)
}

// reuse makes the spare the only chunk of b, which is empty, if there is one and n
// bytes, which must follow, fit in. There must be an extra.
func (b *Buffer) reuse(n int) {
	if c := b.extra.spare; c != nil && n > 0 && n <= len(c.buf) {
		b.extra.spare = nil
		b.head, b.tail = c, c
	}
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

// take removes the first n > 0 bytes, and frees their chunks.
func (b *Buffer) take(n int) {
	c := b.cut(n)
	if b.flags&watched != 0 {
		b.tell(c, n)
		return
	}
	if b.stream != nil {
		b.stream.consumed(n)
	}
	if c != nil && (c.next != nil || b.head != nil || !b.keep(c)) {
		freeChain(c)
	}
}

// tell tells that n bytes have been removed, and frees the chunks that held them,
// even if whoever is told panics.
func (b *Buffer) tell(c *chunk, n int) {
	defer freeChain(c)
	b.removed(n)
}

// pass removes the first n bytes, which lie in c, the head, and returns the first
// size of them. It holds c until the next call.
func (b *Buffer) pass(c *chunk, size, n int) []byte {
	p := c.buf[c.r : c.r+size : c.r+size]
	c.r += n
	b.n -= n
	b.flags |= held
	if b.flags&watched != 0 || b.stream != nil {
		b.removed(n)
	}
	return p
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

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"io"
	"math"
	"os"
	"slices"
)

// Write appends a copy of p. Its error is nil, ErrFrozen or ErrTooLarge.
func (b *Buffer) Write(p []byte) (int, error) {
	if b.flags&(bufFrozenBack|bufHeld|bufReserved|bufWatched) != 0 || b.stream != nil || !b.fits(len(p)) {
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
		// Only a returned slice lies in c. p may be part of it, which copy allows.
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

// WriteString appends a copy of s. It fails as Write does.
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

// WriteByte appends x. It fails as Write does.
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

// maxEmptyReads is how often in a row a reader may return neither bytes nor an
// error. Arbitrary.
const maxEmptyReads = 100

// ReadFrom appends what r returns until r returns io.EOF, which ReadFrom does not
// return. If r keeps returning nothing, ReadFrom returns io.ErrNoProgress.
func (b *Buffer) ReadFrom(r io.Reader) (int64, error) {
	if err := b.back(0); err != nil {
		return 0, err
	}
	b.invalidate()
	total := int64(0)
	var c *chunk // not in the chain, since r may use b
	defer func() {
		if c != nil {
			c.put()
		}
	}()
	for empty := 0; ; {
		if c == nil {
			c = newChunk(b.growth(int(min(total+1, 1<<20))))
		}
		p := c.buf[:min(len(c.buf), b.space())]
		if len(p) == 0 {
			return total, ErrTooLarge
		}
		n, err := r.Read(p)
		if n < 0 || n > len(p) {
			c = nil // r may have kept it
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

// Prepend puts a copy of p before the first byte. It is how a receiver puts back what
// it has taken from a stream's input; like all that is added there, it counts as input
// that was not consumed.
func (b *Buffer) Prepend(p []byte) error {
	if b.flags&bufFrozenFront != 0 {
		return ErrFrozen
	}
	n := len(p)
	if n > b.space() {
		return ErrTooLarge
	}
	if n == 0 {
		b.invalidate()
		return nil
	}
	if b.flags&(bufFound|bufScanned) != 0 {
		b.forgetFound()
	}
	if b.flags&bufReserved != 0 {
		b.dropReserved()
	}
	if c := b.head; c != nil && c.size() == 0 && c.mem != nil {
		p = slices.Clone(p) // it may lie in the memory that is released now
		b.invalidate()
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

// Append appends p without copying it, and calls release, if it is not nil, when
// the last byte of p is gone; if p is empty, at once. p must not change until then.
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

// AppendFile appends the n bytes of f from offset off on, without reading them, and
// calls release, if it is not nil, when the last of them is gone or was read into
// memory; if n is 0, at once. f must be readable at an offset, and stay open until
// then. Nothing closes f unless release does.
func (b *Buffer) AppendFile(f *os.File, off, n int64, release func()) error {
	switch {
	case f == nil:
		return os.ErrInvalid
	case off < 0 || n < 0:
		return errNegative
	case n > math.MaxInt64-off || n > math.MaxInt:
		return ErrTooLarge
	}
	if err := checkFile(f); err != nil {
		return err
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

// appendChunk appends c, which refers to memory or a file of the caller's, or frees
// it if it is empty.
func (b *Buffer) appendChunk(c *chunk) error {
	n := c.size()
	if n == 0 {
		b.invalidate()
		c.free()
		return nil
	}
	b.push(c)
	b.added(n)
	return nil
}

// AppendBuffer moves all of src's bytes to the end of b. It copies at most 256 of
// them.
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

// PrependBuffer moves all of src's bytes before those of b, without copying them.
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
	if n > b.space() {
		return ErrTooLarge
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

// smallCopy is how many bytes are copied rather than kept in a chunk of their own.
// Arbitrary.
const smallCopy = 256

// MoveN moves the first n bytes of src to the end of b and returns how many it
// moved. If that cuts a chunk in two, the two Buffers share its memory, up to 64 KiB of
// a stream's input, until neither has bytes in it; at most 256 bytes are copied
// instead.
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
		b.invalidate()
		return 0, nil
	}
	b.chain.moveN(&src.chain, n)
	b.added(n)
	src.removed(n)
	return n, nil
}

// Share appends all of src's bytes to b, without copying them and without removing
// them from src. Afterwards the two Buffers are independent and may be used by
// different goroutines. Bytes are released when neither Buffer has them any more.
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

// Reserve returns at least n bytes of memory, for the caller to write to and then
// to append to b with Commit. They are valid until the next call that changes b. They
// are allocated at once: a number that a peer has sent needs a limit first.
//
// Reserve returns nil if n is not positive, the back is frozen, or n bytes cannot be
// counted or allocated.
func (b *Buffer) Reserve(n int) []byte {
	if n <= 0 || b.flags&bufFrozenBack != 0 || n > b.space() {
		return nil
	}
	if b.flags&bufHeld != 0 {
		b.releaseHeld()
	}
	x := b.needExtra()
	var room []byte
	if c := b.tail; x.reserved == nil && c != nil && len(c.buf)-c.w >= n {
		room = c.buf[c.w:]
	} else {
		if c := x.reserved; c == nil || len(c.buf) < n {
			c, err := tryChunk(n)
			if err != nil {
				return nil
			}
			b.dropReserved()
			x.reserved = c
		}
		room = x.reserved.buf
	}
	x.room = len(room)
	b.flags |= bufReserved
	return room
}

// Commit appends the first n bytes of what Reserve has returned, and gives the rest
// back. If n is greater than what Reserve returned, or b was changed since, it returns
// an error and changes nothing.
func (b *Buffer) Commit(n int) error {
	if b.flags&bufFrozenBack != 0 {
		return ErrFrozen
	}
	if n < 0 {
		return errNegative
	}
	if b.flags&bufReserved == 0 {
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

// add copies p to the end, as chain's add does, but uses the spare first.
func (b *Buffer) add(p []byte) {
	if b.tail == nil && b.extra != nil {
		b.reuse(len(p))
	}
	b.chain.add(p)
}

// roomFor is chain's roomFor, but uses the spare first.
func (b *Buffer) roomFor(n int) *chunk {
	if b.tail == nil && b.extra != nil {
		b.reuse(n)
	}
	return b.chain.roomFor(n)
}

// reuse makes the spare the only chunk of b, if there is one and it has room for n
// bytes. b must be without chunks, have an extra, and be given bytes next.
func (b *Buffer) reuse(n int) {
	if c := b.extra.spare; c != nil && n > 0 && n <= len(c.buf) {
		b.extra.spare = nil
		b.head, b.tail = c, c
	}
}

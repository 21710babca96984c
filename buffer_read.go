// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"io"
	"iter"
	"net"
	"sync"
)

// Read copies the first bytes of b to p and removes them from b. If b is empty and
// p is not, it returns io.EOF.
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

// copyChain fills p from c and the chunks that follow it, up to the first file.
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

// WriteTo writes all bytes to w and removes those that w has taken. If w is a
// Buffer, the chunks move to it without being copied. To a TCP or Unix connection
// WriteTo writes many chunks with one system call. w must not use b.
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

// isConn reports whether net.Buffers writes several chunks to w with one system call.
func isConn(w io.Writer) bool {
	switch w.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}

// maxVector is the most chunks that one system call is given. Arbitrary: 64 of the
// smallest hold as much as one of those that streams read into.
const maxVector = 64

// A vector holds what net.Buffers needs.
type vector struct {
	array [maxVector][]byte
	v     net.Buffers
}

var vectorPool = sync.Pool{New: func() any { return new(vector) }}

// writeVector writes the first chunks, up to the first file, to w with one call of
// net.Buffers. It returns how many bytes it wrote, and how many it had to write.
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

// Next removes the first n bytes and returns them as one slice, which is valid
// until the next call. It copies them only if they lie in several chunks.
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

// Peek returns the first n bytes as one slice, which is valid until the next call.
// It removes nothing. If there are fewer bytes it returns those, and io.EOF.
func (b *Buffer) Peek(n int) ([]byte, error) {
	b.invalidate()
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

// Bytes returns all bytes as one slice, which is valid until the next call. It is
// Peek(Len()) without the error: it removes nothing, and copies the bytes if they lie in
// several chunks. Segments shows all bytes without copying them, Next removes them as
// well.
func (b *Buffer) Bytes() []byte {
	p, _ := b.Peek(b.n)
	return p
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

// CopyTo copies the bytes from position off on to p, and returns how many it
// copied. It removes nothing.
func (b *Buffer) CopyTo(p []byte, off int) int {
	if off < 0 {
		return 0
	}
	_, c, base := b.seek(off)
	return copyFrom(c, p, off-base)
}

// copyFrom copies the bytes of c and the chunks that follow it, from c's byte off
// on, to p. It returns how many it copied.
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

// Segments returns an iterator over all bytes in order, chunk by chunk, without
// copying them. It removes nothing. b must not be changed while it is ranged over.
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

// take removes the first n > 0 bytes, frees their chunks and ends the call as
// removed does.
func (b *Buffer) take(n int) {
	c := b.cut(n)
	if b.flags&bufWatched != 0 {
		b.removedFrom(c, n)
		return
	}
	if b.stream != nil {
		b.stream.consumed(n)
	}
	if c != nil && (c.next != nil || b.head != nil || !b.keep(c)) {
		freeChain(c)
	}
}

// removedFrom is removed for n bytes that lay in c and the chunks that follow it. It
// frees these chunks, even if OnChange's function panics.
func (b *Buffer) removedFrom(c *chunk, n int) {
	defer freeChain(c)
	b.removed(n)
}

// pass removes the first n bytes, which lie in c, the head, and returns the first
// size of them. c is kept until the next call.
func (b *Buffer) pass(c *chunk, size, n int) []byte {
	p := c.buf[c.r : c.r+size : c.r+size]
	c.r += n
	b.n -= n
	b.flags |= bufHeld
	if b.flags&bufWatched != 0 || b.stream != nil {
		b.removed(n)
	}
	return p
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"io"
	"math/bits"
	"os"
	"sync"
	"sync/atomic"
)

// A chunk is a link of a Buffer's chain: a run of unread bytes, and the memory
// or the file that they lie in. It belongs to one Buffer.
type chunk struct {
	next *chunk
	buf  []byte // nil for a file; what follows buf[w:] may be written to
	r, w int    // the unread bytes are buf[r:w], or those of mem's file

	// mem is what several chunks may share, or what must be told when its
	// last byte is gone. If it is nil, the memory is this chunk's alone: only
	// then may what precedes buf[r] be written to.
	mem *memory

	class int8 // the pool that the chunk goes back to, with its memory if mem is nil
}

// A memory is shared by the chunks that point to it. All its fields but refs
// are constant while there are any.
type memory struct {
	refs    atomic.Int32 // how many chunks point here
	class   int8         // the pool that buf goes back to
	buf     []byte
	file    *os.File // if not nil, where the bytes lie instead
	off     int64    // where byte 0 of the chunks lies in file
	release func()   // if not nil, called by whoever lets the last chunk go
}

// Size classes. Class 0 is for chunks without memory of their own.
const (
	minClass    = 1
	streamClass = 4 // the largest that is filled piece by piece
	maxClass    = 6
)

// classSize returns the size of the memory of class k: 1 KiB, 4 KiB, 16 KiB,
// 64 KiB, 256 KiB, 1 MiB.
func classSize(k int8) int { return 256 << (2 * k) }

// classFor returns the smallest class with n bytes; it is greater than
// maxClass if there is none.
func classFor(n int) int8 {
	if n <= 1<<10 {
		return minClass
	}
	return int8(bits.Len(uint(n-1))-7) / 2
}

var (
	chunkPools [maxClass + 1]sync.Pool // of *chunk, by class
	memoryPool sync.Pool               // of *memory
)

// newChunk returns an empty chunk of class k.
func newChunk(k int8) *chunk {
	if c, ok := chunkPools[k].Get().(*chunk); ok {
		return c
	}
	return makeChunk(k)
}

func makeChunk(k int8) *chunk {
	c := &chunk{class: k}
	if k != 0 {
		c.buf = make([]byte, classSize(k))
	}
	return c
}

// newChunkSize returns an empty chunk with at least n bytes of memory. It
// panics, as make does, if there cannot be so many.
func newChunkSize(n int) *chunk {
	if k := classFor(n); k <= maxClass {
		return newChunk(k)
	}
	buf := make([]byte, n)
	c := newChunk(0)
	c.buf = buf
	return c
}

// newMemory returns a memory for one chunk.
func newMemory() *memory {
	m, ok := memoryPool.Get().(*memory)
	if !ok {
		m = new(memory)
	}
	m.refs.Store(1)
	return m
}

// size returns the number of unread bytes of c.
func (c *chunk) size() int { return c.w - c.r }

// isFile tells whether the bytes of c are still in a file.
func (c *chunk) isFile() bool { return c.mem != nil && c.mem.file != nil }

// ref returns a new chunk for the first n unread bytes of c, without room.
func (c *chunk) ref(n int) *chunk {
	m := c.mem
	if m == nil {
		m = newMemory()
		m.buf, m.class = c.buf, c.class
		c.mem, c.class = m, 0
	}
	m.refs.Add(1)
	d := newChunk(0)
	d.mem, d.r, d.w = m, c.r, c.r+n
	if m.file == nil {
		d.buf = c.buf[:d.w:d.w]
	}
	return d
}

// readAt fills p with what lies off bytes behind the first unread byte of c, a
// file.
func (c *chunk) readAt(p []byte, off int) (int, error) {
	n, err := c.mem.file.ReadAt(p, c.mem.off+int64(c.r)+int64(off))
	switch {
	case n == len(p):
		err = nil
	case err == nil || err == io.EOF:
		err = io.ErrUnexpectedEOF // the file is shorter than it was
	}
	return n, err
}

// free recycles c, which no Buffer may hold any more, and calls the release
// function of its memory if c was the last to use it.
func (c *chunk) free() {
	if c.mem == nil {
		c.put()
	} else {
		c.freeShared()
	}
}

func (c *chunk) freeShared() {
	m := c.mem
	c.mem = nil
	if m.refs.Add(-1) != 0 {
		c.put()
		return
	}
	release := m.release
	if m.class != 0 {
		c.buf, c.class = m.buf, m.class
	}
	m.buf, m.file, m.off, m.release, m.class = nil, nil, 0, nil, 0
	memoryPool.Put(m)
	c.put()
	if release != nil {
		release()
	}
}

// put gives c back to its pool, and its memory if that came from there.
func (c *chunk) put() {
	if c.class == 0 {
		c.buf = nil
	} else {
		poison(c.buf[:c.w])
	}
	c.next, c.r, c.w = nil, 0, 0
	chunkPools[c.class].Put(c)
}

// freeChain frees c and all that follow it. If release functions panic, it
// frees the rest before the panic goes on.
func freeChain(c *chunk) {
	if c == nil {
		return
	}
	if c.next == nil {
		c.free()
	} else {
		freeChainSlow(c)
	}
}

func freeChainSlow(c *chunk) {
	defer func() {
		if c != nil {
			freeChain(c)
		}
	}()
	for c != nil {
		d := c
		c = c.next
		d.free()
	}
}

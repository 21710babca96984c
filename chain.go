// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"io"
	"math"
	"math/bits"
	"os"
	"sync"
	"sync/atomic"
)

// A chain is a queue of bytes in chunks: the inside of a Buffer, and all that a
// stream needs for what it has read and what it has to send. It knows nothing of
// what makes a Buffer convenient: slices that stay valid until the next call,
// freezing, and whoever is told of changes. Its zero value is empty.
type chain struct {
	// A chunk has unread bytes, except in a Buffer whose flags have held: there head
	// may have none, and tail if it is head.
	head *chunk // nil if and only if tail is
	tail *chunk // the last chunk
	n    int    // unread bytes: the sum of the chunks' sizes
}

// cut removes the first n > 0 bytes and returns the chunks that have become
// empty, which are to be freed.
func (q *chain) cut(n int) *chunk {
	q.n -= n
	c := q.head
	if k := c.size(); k > n {
		c.r += n
		return nil
	} else if k == n && c.next == nil {
		q.head, q.tail = nil, nil
		return c
	}
	return q.cutChain(n)
}

func (q *chain) cutChain(n int) *chunk {
	c := q.head
	first, last := c, c
	for {
		n -= c.size()
		last, c = c, c.next
		if c == nil || c.size() > n {
			break
		}
	}
	last.next = nil
	q.head = c
	if c == nil {
		q.tail = nil
	} else {
		c.r += n
	}
	return first
}

// push appends c.
func (q *chain) push(c *chunk) {
	c.next = nil
	if q.tail == nil {
		q.head = c
	} else {
		q.tail.next = c
	}
	q.tail = c
	q.n += c.size()
}

// roomFor returns the tail with room for some of n > 0 bytes.
func (q *chain) roomFor(n int) *chunk {
	if c := q.tail; c != nil && c.w < len(c.buf) {
		return c
	}
	c := newChunk(q.growth(n))
	q.push(c)
	return c
}

// growth returns the class of a chunk for n more bytes: as large as they are, or
// an eighth of q, but no larger than what suits a stream.
func (q *chain) growth(n int) int8 {
	k := min(classFor(n), streamClass)
	for k < streamClass && classSize(k+1) <= q.n/8 {
		k++
	}
	return k
}

// add copies p to the end.
func (q *chain) add(p []byte) {
	if c := q.tail; c != nil && len(c.buf)-c.w >= len(p) {
		c.w += copy(c.buf[c.w:], p)
		q.n += len(p)
		return
	}
	for len(p) > 0 {
		c := q.roomFor(len(p))
		k := copy(c.buf[c.w:], p)
		c.w += k
		q.n += k
		p = p[k:]
	}
}

// splice moves all of src's chunks behind q's, in constant time. A few bytes are
// copied instead if the tail has room for them, lest many small pieces hold much
// memory.
func (q *chain) splice(src *chain) {
	c := src.head
	if c == nil {
		return
	}
	if q.tail == nil {
		*q, *src = *src, chain{}
		return
	}
	if src.n > math.MaxInt-q.n {
		panic("evchan: buffer too large")
	}
	if t := q.tail; src.n <= smallCopy && c.next == nil && c.mem == nil && len(t.buf)-t.w >= src.n {
		q.add(c.buf[c.r:c.w])
		*src = chain{}
		c.put()
		return
	}
	q.tail.next = c
	q.tail = src.tail
	q.n += src.n
	*src = chain{}
}

// moveN moves the first n bytes of src, which has as many, behind q. A chunk that
// must be cut in two is shared, or copied if that is little.
func (q *chain) moveN(src *chain, n int) {
	if n == src.n {
		q.splice(src)
		return
	}
	var moved chain // the chunks that move as they are
	for moved.n+src.head.size() <= n {
		c := src.head
		src.head = c.next
		src.n -= c.size()
		moved.push(c)
	}
	rest := n - moved.n
	q.splice(&moved)
	if rest > 0 {
		q.moveFirst(src, rest)
	}
}

// detach takes all chunks out of q and returns them.
func (q *chain) detach() *chunk {
	c := q.head
	*q = chain{}
	return c
}

// moveFirst moves the first k bytes of src, less than its head has, behind q.
func (q *chain) moveFirst(src *chain, k int) {
	c := src.head
	if k <= smallCopy && !c.isFile() {
		q.add(c.buf[c.r : c.r+k])
	} else {
		q.push(c.ref(k))
	}
	c.r += k
	src.n -= k
}

// inMemory returns how many bytes of q are not in files.
func (q *chain) inMemory() int {
	n := q.n
	for c := q.head; c != nil; c = c.next {
		if c.isFile() {
			n -= c.size()
		}
	}
	return n
}

// beforeFile returns how many bytes of q come before the first that are in a file, or
// some number above limit.
func (q *chain) beforeFile(limit int) int {
	n := 0
	for c := q.head; c != nil && n <= limit && !c.isFile(); c = c.next {
		n += c.size()
	}
	return n
}

// first returns the first chunk, which it reads from its file if need be.
func (q *chain) first() (*chunk, error) {
	c := q.head
	if c.mem != nil && c.mem.file != nil {
		return q.load(nil, c)
	}
	return c, nil
}

// load reads the first bytes of c, a file, into a new chunk before it, which
// it returns, and lets c go if that was all of it. prev precedes c; it is nil if
// c is head. An error means that nothing has changed.
func (q *chain) load(prev, c *chunk) (*chunk, error) {
	d, err := q.loadSome(prev, c)
	if err == nil && c.size() == 0 {
		q.unlinkAfter(d)
		c.free()
	}
	return d, err
}

// loadSome is load, but leaves c in the chain even if it is empty then.
func (q *chain) loadSome(prev, c *chunk) (*chunk, error) {
	want := min(c.size(), classSize(streamClass))
	d := newChunkSize(want)
	n, err := c.readAt(d.buf[:want], 0)
	if n == 0 {
		d.put()
		return nil, err
	}
	d.w = n
	d.next = c
	if prev == nil {
		q.head = d
	} else {
		prev.next = d
	}
	c.r += n
	return d, nil
}

// unlinkAfter takes the chunk behind d, which is empty, out of the chain.
func (q *chain) unlinkAfter(d *chunk) {
	c := d.next
	d.next = c.next
	if q.tail == c {
		q.tail = d
	}
}

// pullup puts the first n bytes, 0 < n <= q.n, in one piece at the front. If that
// fails, those that precede the failure are.
func (q *chain) pullup(n int) error {
	c, err := q.first()
	if err != nil || c.size() >= n {
		return err
	}
	if c.mem != nil || len(c.buf)-c.r < n {
		d := newChunkSize(n)
		d.next = c
		q.head = d
	}
	for d := q.head; d.size() < n; {
		e := d.next
		if e.isFile() {
			if e, err = q.load(d, e); err != nil {
				return err
			}
		}
		k := copy(d.buf[d.w:d.r+n], e.buf[e.r:e.w])
		d.w += k
		e.r += k
		if e.size() == 0 {
			q.unlinkAfter(d)
			e.free()
		}
	}
	return nil
}

// pushRead appends c, which n bytes were read into, or a smaller chunk with a copy
// of them if they are too few to hold so much memory.
func (q *chain) pushRead(c *chunk, n int) {
	c.w = n
	switch {
	case n == 0:
		c.put()
	case n < len(c.buf)/deserves && c.class > minClass:
		d := newChunk(classFor(n))
		d.w = copy(d.buf, c.buf[:n])
		c.put()
		q.push(d)
	default:
		q.push(c)
	}
}

// deserves is which part of a chunk that was read into must be filled for it to be
// kept.
const deserves = 4

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

// poison overwrites memory that is about to be used again, under the race detector
// only: a slice of it that was kept too long shows itself.
func poison(p []byte) {
	if raceEnabled {
		for i := range p {
			p[i] = 0xdb
		}
	}
}

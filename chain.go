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

// A chain is a queue of bytes in chunks. Buffer adds to it slices that stay valid
// until the next call, freezing and notifications; a stream needs none of these for
// what it has read and what it has to send. The zero value is empty.
type chain struct {
	// Each chunk has unread bytes, except that in a Buffer whose flags have bufHeld
	// head may have none.
	head *chunk // nil if and only if tail is
	tail *chunk // the last chunk
	n    int    // unread bytes: the sum of the chunks' sizes
}

// fits reports whether an int can count n more bytes. Ask before adding bytes whose
// number the package does not bound itself.
func (q *chain) fits(n int) bool { return n <= math.MaxInt-q.n }

// cut removes the first n > 0 bytes and returns the chunks that have become empty,
// for the caller to free.
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

// cutChain is cut where more than the first chunk may be concerned.
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

// roomFor returns the tail, with room for at least one of n > 0 bytes that are to be
// added.
func (q *chain) roomFor(n int) *chunk {
	if c := q.tail; c != nil && c.w < len(c.buf) {
		return c
	}
	c := newChunk(q.growth(n))
	q.push(c)
	return c
}

// growth returns the class of a new chunk for n more bytes: one that holds them, or
// an eighth of q if that is more, but at most streamClass.
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

// splice moves all of src's chunks behind q's, in constant time. If src has only a
// few bytes and the tail has room for them, they are copied, so that many small
// pieces do not hold much memory.
func (q *chain) splice(src *chain) {
	c := src.head
	if c == nil {
		return
	}
	if q.tail == nil {
		*q, *src = *src, chain{}
		return
	}
	if !q.fits(src.n) {
		panic("evchan: BUG: more bytes than an int can count")
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

// spliceRead is splice for input that q's reader leaves where it is. So that it does
// not take much more memory than it has bytes, it is copied to the tail's room if its
// own chunk is less than half full.
func (q *chain) spliceRead(src *chain) {
	c, t := src.head, q.tail
	if c == nil || t == nil || c.next != nil || c.mem != nil || src.n >= len(c.buf)/2 || len(t.buf)-t.w < src.n {
		q.splice(src)
		return
	}
	q.add(c.buf[c.r:c.w])
	*src = chain{}
	c.put()
}

// moveN moves the first n bytes of src, which has at least so many, behind q. Of a
// chunk that is cut in two the memory is shared, or the bytes are copied if they are
// few.
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

// detach empties q and returns its chunks.
func (q *chain) detach() *chunk {
	c := q.head
	*q = chain{}
	return c
}

// moveFirst moves the first k bytes of src behind q. k is less than the size of src's
// head.
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

// inMemory returns how many bytes of q are not in files. It walks over all chunks.
func (q *chain) inMemory() int {
	n := q.n
	for c := q.head; c != nil; c = c.next {
		if c.isFile() {
			n -= c.size()
		}
	}
	return n
}

// beforeFile returns how many of q's first bytes are in memory: all that come before the
// first file, or fewer, but not none, if they lie in many chunks or are more than limit.
func (q *chain) beforeFile(limit int) int {
	n := 0
	for c, k := q.head, 0; c != nil && n <= limit && k < maxVector && !c.isFile(); c, k = c.next, k+1 {
		n += c.size()
	}
	return n
}

// first returns the first chunk, in memory: of a file it loads the beginning.
func (q *chain) first() (*chunk, error) {
	c := q.head
	if c.mem != nil && c.mem.file != nil {
		return q.load(nil, c)
	}
	return c, nil
}

// load reads the first bytes of c, a file, into a new chunk before c, which it
// returns, and frees c if nothing of it is left. prev is the chunk before c, or nil if
// c is head. If load returns an error, nothing has changed.
func (q *chain) load(prev, c *chunk) (*chunk, error) {
	d, err := q.loadSome(prev, c)
	if err == nil && c.size() == 0 {
		q.unlinkAfter(d)
		c.free()
	}
	return d, err
}

// loadSome is load, but leaves c in the chain even if nothing of it is left.
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

// unlinkAfter removes the chunk behind d, which is empty, from the chain.
func (q *chain) unlinkAfter(d *chunk) {
	c := d.next
	d.next = c.next
	if q.tail == c {
		q.tail = d
	}
}

// pullup makes the first n bytes, 0 < n <= q.n, lie in one chunk, the head. If
// reading a file fails, the bytes before the failure do.
func (q *chain) pullup(n int) error {
	c, err := q.first()
	if err != nil || c.size() >= n {
		return err
	}
	if have := q.readable(n); have < n {
		if err := q.pullup(have); err != nil {
			return err
		}
		return io.ErrUnexpectedEOF
	}
	if c.mem != nil || len(c.buf)-c.r < n {
		size := n
		if c.mem == nil && len(c.buf) > classSize(maxClass) && n <= math.MaxInt/2 {
			size += n / 4 // so that bytes that come little by little are not all copied each time
		}
		d, err := tryChunk(size)
		if err != nil {
			return err
		}
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

// readable returns how many of the first n bytes there are, as far as the sizes of files
// tell: a chunk may claim far more of a file than it has. It is not 0 if the head is in
// memory.
func (q *chain) readable(n int) int {
	have := 0
	for c := q.head; c != nil && have < n; c = c.next {
		size := c.size()
		if c.isFile() {
			if info, err := c.mem.file.Stat(); err == nil && info.Mode().IsRegular() {
				left := max(info.Size()-c.mem.off-int64(c.r), 0)
				if left < int64(size) {
					return min(have+int(left), n)
				}
			}
		}
		have += size
	}
	return min(have, n)
}

// pushRead appends c, into which n bytes were read. If they are few for c's size, it
// appends a smaller chunk with a copy of them instead.
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

// deserves bounds how much memory what was read may waste: a chunk is kept if at
// least 1/deserves of it was filled.
const deserves = 4

// A chunk is one run of unread bytes, with the memory or the file that they lie in.
// It is in one chain at most.
type chunk struct {
	next *chunk
	buf  []byte // nil for a file; buf[w:] may be written to
	r, w int    // the unread bytes are buf[r:w], or, of a file, those at mem.off+r to mem.off+w

	// mem is not nil if other chunks may share the memory, or if it is a file or
	// has a release function. If it is nil, only this chunk uses the memory, and
	// buf[:r] may be written to as well.
	mem *memory

	class int8 // the pool that the chunk goes back to, with its memory if mem is nil
}

// A memory is shared by the chunks that point to it. Its fields, except refs, do not
// change while there are any.
type memory struct {
	refs    atomic.Int32 // the number of chunks that point here
	class   int8         // the pool that buf goes back to; 0: none
	buf     []byte       // the whole memory, which goes back to that pool with the last chunk
	file    *os.File     // if not nil, the bytes lie in this file
	off     int64        // the offset in file of what a chunk's r and w call 0
	release func()       // if not nil, called when the last chunk is freed
}

// Size classes of chunks. Class 0 is for chunks without memory of their own.
const (
	minClass    = 1
	streamClass = 4 // the largest for bytes that come little by little
	maxClass    = 6
)

// classSize returns the size of the memory of class k: 1 KiB, 4 KiB, 16 KiB,
// 64 KiB, 256 KiB, 1 MiB.
func classSize(k int8) int { return 256 << (2 * k) }

// classFor returns the smallest class whose memory has n bytes, or a number greater
// than maxClass if there is none.
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

// tryChunk is newChunkSize, but returns ErrTooLarge if there cannot be so many bytes.
func tryChunk(n int) (c *chunk, err error) {
	defer func() {
		if recover() != nil {
			err = ErrTooLarge
		}
	}()
	return newChunkSize(n), nil
}

// newMemory returns a memory that one chunk points to.
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

// isFile reports whether the bytes of c are still in a file.
func (c *chunk) isFile() bool { return c.mem != nil && c.mem.file != nil }

// ref returns a new chunk with the first n unread bytes of c, which shares c's memory
// and has no room for more.
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

// readAt reads len(p) bytes of c, a file, to p, from its unread byte off on.
func (c *chunk) readAt(p []byte, off int) (int, error) {
	n, err := c.mem.file.ReadAt(p, c.mem.off+int64(c.r)+int64(off))
	switch {
	case n == len(p):
		err = nil
	case err == nil || err == io.EOF:
		err = io.ErrUnexpectedEOF // the file has become shorter
	}
	return n, err
}

// free recycles c, which must not be in a chain any more. If c was the last chunk to
// use its memory, free calls the release function.
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

// freeChain frees c and the chunks that follow it, all of them even if a release
// function panics.
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

// poison overwrites memory that will be used again, so that tests find slices that
// were kept too long. It does so under the race detector only.
func poison(p []byte) {
	if raceEnabled {
		for i := range p {
			p[i] = 0xdb
		}
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"iter"
)

// A position is the number of bytes before it: the first byte is at 0. A search
// begins at from and removes nothing. It returns -1 if it finds nothing, or if from
// is negative or greater than Len.

// Index returns the position of the first occurrence of pat that begins at from or
// later; -1 if there is none, or if from is not between 0 and Len. An empty pat is
// found at from. The position of the first byte of b is 0.
func (b *Buffer) Index(pat []byte, from int) int {
	return b.IndexRange(pat, from, b.n)
}

// IndexRange is Index for an occurrence that lies wholly between from and to.
func (b *Buffer) IndexRange(pat []byte, from, to int) int {
	to = min(to, b.n)
	if from < 0 || from > to || len(pat) > to-from {
		return -1
	}
	if len(pat) == 0 {
		return from
	}
	last := to - len(pat) // where an occurrence must begin at the latest
	prev, c, base := b.seek(from)
	for c != nil && base <= last {
		if c.isFile() {
			var err error
			if c, err = b.load(prev, c); err != nil {
				return -1
			}
		}
		s := c.buf[c.r:c.w]
		start := startIn(s, from-base)
		if i := bytes.Index(s[start:min(len(s), to-base)], pat); i >= 0 {
			return base + start + i
		}
		// pat may begin here and end in a later chunk.
		start = max(start, len(s)-len(pat)+1)
		if end := min(len(s), last-base+1); start < end {
			if i := bytes.IndexByte(s[start:end], pat[0]); i >= 0 {
				start += i
				if i := indexAcross(c, start, end, pat); i >= 0 {
					return base + i
				}
			}
		}
		base += len(s)
		prev, c = c, c.next
	}
	return -1
}

// indexAcross returns the index in c, at least start and less than end, at which an
// occurrence of pat begins that ends in a later chunk; -1 if there is none.
func indexAcross(c *chunk, start, end int, pat []byte) int {
	var array [64]byte
	window := array[:]
	if n := end - start + len(pat) - 1; n <= len(array) {
		window = window[:n]
	} else {
		d := newChunkSize(n)
		defer d.put()
		window = d.buf[:n]
	}
	n := copyFrom(c, window, start)
	if i := bytes.Index(window[:n], pat); i >= 0 {
		return start + i
	}
	return -1
}

// IndexByte returns the position of the first x at from or later; -1 if there is
// none.
func (b *Buffer) IndexByte(x byte, from int) int {
	if from < 0 || from >= b.n {
		return -1
	}
	prev, c, base := b.seek(from)
	for c != nil {
		if c.isFile() {
			var err error
			if c, err = b.load(prev, c); err != nil {
				return -1
			}
		}
		s := c.buf[c.r:c.w]
		start := startIn(s, from-base)
		if i := bytes.IndexByte(s[start:], x); i >= 0 {
			return base + start + i
		}
		base += len(s)
		prev, c = c, c.next
	}
	return -1
}

// seekFar is how many chunks seek has to pass before it remembers where it stopped.
// Arbitrary: passing so few again costs little, and most Buffers have no more.
const seekFar = 4

// seek returns the chunk c that holds the byte at pos, and base, the position of c's
// first byte; c is nil if pos is not less than b.n. If c is a file, prev is the chunk
// before it, as load needs. seek remembers c, so that a search that is continued
// there does not pass all chunks before it again.
func (b *Buffer) seek(pos int) (prev, c *chunk, base int) {
	c = b.head
	if b.flags&bufFound != 0 && pos >= b.extra.base {
		c, base = b.extra.found, b.extra.base
	}
	passed := 0
	for ; c != nil && pos-base >= c.size(); prev, c = c, c.next {
		base += c.size()
		passed++
	}
	if passed >= seekFar && c != nil && !c.isFile() {
		x := b.needExtra()
		x.found, x.base = c, base
		b.flags |= bufFound
	}
	return prev, c, base
}

// forgetFound forgets what searches remember. flags must have bufFound or bufScanned.
func (b *Buffer) forgetFound() {
	b.flags &^= bufFound | bufScanned
	b.extra.found = nil
}

// scanFar is how many bytes an incomplete line must have for ReadLine to remember that
// it has no end. Arbitrary: looking through fewer again costs little.
const scanFar = 4 << 10

// noteScanned notes that there is no line end from position from on, so that a line that
// comes little by little is not looked through from its beginning each time.
func (b *Buffer) noteScanned(from int, style EOL) {
	if b.n < scanFar {
		return
	}
	for _, c, _ := b.seek(from); c != nil; c = c.next {
		if c.isFile() {
			return // it could not be read
		}
	}
	b.seek(b.n - 1) // which remembers where that is
	x := b.needExtra()
	x.scanned, x.style = b.n-1, style // the last byte may be part of a line end
	b.flags |= bufScanned
}

// startIn returns the index in s at which a search begins that is to begin at pos,
// which may lie before s or, if a file gave less than it has, behind s.
func startIn(s []byte, pos int) int { return min(max(pos, 0), len(s)) }

// An EOL says which bytes end a line. The zero value, LFOrCRLF, is right for most
// protocols.
type EOL uint8

const (
	LFOrCRLF EOL = iota // LF, or CR LF; a CR elsewhere is part of the line
	CRLF                // CR LF only; a CR or LF elsewhere is part of the line
	LF                  // LF only; a CR is part of the line
	NUL                 // a zero byte
	AnyEOL              // a run of CR and LF, however long, is one end: empty lines are lost
)

// IndexEOL returns the position and the size of the first line end at from or
// later; -1 and 0 if there is none. If from lies within a line end, the rest of it
// counts as one.
func (b *Buffer) IndexEOL(from int, style EOL) (at, size int) {
	switch style {
	case AnyEOL:
		if at = b.indexCROrLF(from); at >= 0 {
			size = b.runEOL(at)
		}
	case LFOrCRLF:
		if at = b.IndexByte('\n', from); at >= 0 {
			size = 1
			var before [1]byte
			if at > from && b.CopyTo(before[:], at-1) == 1 && before[0] == '\r' {
				at, size = at-1, 2
			}
		}
	case CRLF:
		if at = b.Index([]byte("\r\n"), from); at >= 0 {
			size = 2
		}
	case LF:
		if at = b.IndexByte('\n', from); at >= 0 {
			size = 1
		}
	case NUL:
		if at = b.IndexByte(0, from); at >= 0 {
			size = 1
		}
	default:
		panic("evchan: unknown EOL")
	}
	return at, size
}

// searchBlock is how many bytes a search for CR or LF looks through for the one
// before it looks for the other. Arbitrary.
const searchBlock = 256

// indexCROrLF returns the position of the first CR or LF at from or later; -1 if
// there is none.
func (b *Buffer) indexCROrLF(from int) int {
	if from < 0 || from >= b.n {
		return -1
	}
	prev, c, base := b.seek(from)
	for c != nil {
		if c.isFile() {
			var err error
			if c, err = b.load(prev, c); err != nil {
				return -1
			}
		}
		s := c.buf[c.r:c.w]
		for start := startIn(s, from-base); start < len(s); start += searchBlock {
			if at := indexCROrLF(s[start:min(start+searchBlock, len(s))]); at >= 0 {
				return base + start + at
			}
		}
		base += len(s)
		prev, c = c, c.next
	}
	return -1
}

// indexCROrLF returns the index of the first CR or LF in block; -1 if there is none.
func indexCROrLF(block []byte) int {
	at := bytes.IndexByte(block, '\n')
	if at >= 0 {
		block = block[:at]
	}
	if i := bytes.IndexByte(block, '\r'); i >= 0 {
		return i
	}
	return at
}

// runEOL returns the number of CRs and LFs from at on.
func (b *Buffer) runEOL(at int) int {
	n := 0
	prev, c, base := b.seek(at)
	for c != nil {
		if c.isFile() {
			var err error
			if c, err = b.load(prev, c); err != nil {
				return n
			}
		}
		s := c.buf[c.r:c.w]
		for _, x := range s[startIn(s, at-base):] {
			if x != '\r' && x != '\n' {
				return n
			}
			n++
		}
		base += len(s)
		prev, c = c, c.next
	}
	return n
}

// ReadLine removes the first line and its end, and returns the line without the
// end, as a slice that is valid until the next call. If there is no line end, ok is
// false and nothing is removed; when more has been appended, the next call with the same
// style goes on where this one has ended. A line is copied only if it lies in several
// chunks.
func (b *Buffer) ReadLine(style EOL) (line []byte, ok bool) {
	at, size := 0, 0
	if b.flags&bufTransient != 0 {
		at = b.resumeScan(style)
	}
	if b.flags&bufFrozenFront != 0 || b.n == 0 {
		return nil, false
	}
	if at == 0 {
		at, size = b.headEOL(style)
	}
	if size == 0 {
		from := at
		if at, size = b.IndexEOL(from, style); size == 0 {
			b.noteScanned(from, style)
			return nil, false
		}
		if b.flags&(bufFound|bufScanned) != 0 {
			b.forgetFound()
		}
		if b.pullup(at+size) != nil {
			return nil, false
		}
	}
	return b.pass(b.head, at, at+size), true
}

// headEOL returns the position and the size of the first line end if that lies in
// the first chunk. If not, size is 0, and at is the position from which to search.
func (b *Buffer) headEOL(style EOL) (at, size int) {
	c := b.head
	if c.isFile() {
		return 0, 0
	}
	s := c.buf[c.r:c.w]
	x := byte('\n')
	switch style {
	case AnyEOL:
		block := s[:min(searchBlock, len(s))]
		if at = indexCROrLF(block); at < 0 {
			return len(block), 0
		}
		for end := at; end < len(s); end++ {
			if s[end] != '\r' && s[end] != '\n' {
				return at, end - at
			}
		}
		return at, 0 // the run may go on in the next chunk
	case NUL:
		x = 0
	}
	at = bytes.IndexByte(s, x)
	if at < 0 {
		return len(s) - 1, 0
	}
	switch style {
	case LFOrCRLF:
		if at > 0 && s[at-1] == '\r' {
			return at - 1, 2
		}
	case CRLF:
		if at == 0 || s[at-1] != '\r' {
			return at, 0
		}
		return at - 1, 2
	}
	return at, 1
}

// resumeScan begins a ReadLine, as front does, and returns the position before which
// there is no line end.
//
//go:noinline
func (b *Buffer) resumeScan(style EOL) int {
	if b.flags&bufScanned == 0 || b.extra.style != style {
		b.invalidate()
		return 0
	}
	b.invalidateSlices()
	return b.extra.scanned
}

// Lines returns an iterator over the complete lines. It removes each line as
// ReadLine does, before the body of the range sees it, and ends when there is no
// line end any more. A break leaves the lines that follow in b. A line is valid until
// the next call on b, at the latest until the next iteration, and must not be
// modified.
func (b *Buffer) Lines(style EOL) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for {
			line, ok := b.ReadLine(style)
			if !ok || !yield(line) {
				return
			}
		}
	}
}

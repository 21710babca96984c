// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"strconv"

	"github.com/evchan/evchan"
)

// A chunkDecoder decodes the chunked coding (RFC 9112, 7.1), in whatever pieces it comes. It
// allocates only for trailers.
type chunkDecoder struct {
	state    chunkState
	digits   uint8  // of the size, so far
	overhead int32  // bytes of framing that the data since has not made up for
	left     int64  // bytes of data that the chunk still has
	trailer  []byte // the lines behind the last chunk
}

type chunkState uint8

const (
	chunkSize    chunkState = iota // in the digits of the size
	chunkExt                       // behind the size, in an extension, which is dropped
	chunkSizeEnd                   // before the LF that ends the size
	chunkData
	chunkDataCR // before the CR LF behind the data
	chunkDataLF
	chunkLine    // at the beginning of a line of the trailer, or of the last line
	chunkTrailer // in a line of the trailer
	chunkEnd     // before the last LF
	chunkDone
)

// Limits of what is not data. A client that sends chunks of one byte gets through; one that
// sends extensions without end does not.
const (
	maxChunkOverhead = 16 << 10
	maxTrailer       = 8 << 10
)

// next looks at p, which has come in. It returns how many bytes at the front are framing, and
// how many behind those are data. The caller takes data, all or a part, and calls took. If
// there is no data, next has used all of p, or the body is done.
func (d *chunkDecoder) next(p []byte) (framing, data int, err error) {
	i := 0
	for i < len(p) && d.state != chunkData && d.state != chunkDone {
		if err := d.step(p[i]); err != nil {
			return i, 0, err
		}
		i++
	}
	if d.overhead += int32(i); d.overhead > maxChunkOverhead {
		return i, 0, errChunk
	}
	if d.state == chunkData {
		data = int(min(d.left, int64(len(p)-i)))
	}
	return i, data, nil
}

// took is told that n bytes of data were consumed.
func (d *chunkDecoder) took(n int) {
	// What a chunk of ordinary size needs is forgiven.
	d.overhead = max(0, d.overhead-16-2*int32(min(n, maxChunkOverhead)))
	if d.left -= int64(n); d.left == 0 {
		d.state = chunkDataCR
	}
}

// pull moves the data that has come from in to b, until b has limit bytes or there is no more, and
// returns how many bytes it has moved.
func (d *chunkDecoder) pull(in, b *evchan.Buffer, limit int64) (int64, error) {
	const small = 512 // bytes that are copied rather than moved
	total := int64(0)
	for int64(b.Len()) < limit && d.state != chunkDone && in.Len() > 0 {
		piece := firstSegment(in)
		used, moved := 0, false
		for used < len(piece) && !moved && int64(b.Len()) < limit && d.state != chunkDone {
			framing, data, err := d.next(piece[used:])
			if err != nil {
				return total, err
			}
			used += framing
			data = int(min(int64(data), limit-int64(b.Len())))
			if data == 0 {
				continue
			}
			if data <= small {
				b.Write(piece[used : used+data])
				used += data
			} else {
				in.Discard(used)
				b.MoveN(in, data)
				moved = true // piece is not valid any more
			}
			d.took(data)
			total += int64(data)
		}
		if !moved {
			in.Discard(used)
		}
	}
	return total, nil
}

// firstSegment returns the first bytes of b that lie in one piece.
func firstSegment(b *evchan.Buffer) []byte {
	for piece := range b.Segments() {
		return piece
	}
	return nil
}

// step takes a byte of framing.
func (d *chunkDecoder) step(c byte) error {
	switch d.state {
	case chunkSize:
		return d.stepSize(c)
	case chunkExt:
		if c == '\r' {
			d.state = chunkSizeEnd
		} else if c < 0x20 && c != '\t' || c == 0x7f {
			return errChunk
		}
		return nil
	case chunkSizeEnd:
		d.digits = 0
		if d.left > 0 {
			return d.expect(c, '\n', chunkData)
		}
		return d.expect(c, '\n', chunkLine)
	case chunkDataCR:
		return d.expect(c, '\r', chunkDataLF)
	case chunkDataLF:
		return d.expect(c, '\n', chunkSize)
	case chunkLine:
		if c == '\r' {
			d.state = chunkEnd
			return nil
		}
		d.state = chunkTrailer
		return d.stepTrailer(c)
	case chunkTrailer:
		return d.stepTrailer(c)
	}
	return d.expect(c, '\n', chunkDone) // chunkEnd
}

func (d *chunkDecoder) expect(c, want byte, next chunkState) error {
	if c != want {
		return errChunk
	}
	d.state = next
	return nil
}

func (d *chunkDecoder) stepSize(c byte) error {
	var v byte
	switch {
	case isDigit(c):
		v = c - '0'
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		v = c | 0x20 - 'a' + 10
	case d.digits == 0:
		return errChunk
	case c == ';':
		d.state = chunkExt
		return nil
	case c == '\r':
		d.state = chunkSizeEnd
		return nil
	default:
		return errChunk
	}
	if d.digits++; d.digits > 15 { // fits into an int64
		return errChunk
	}
	d.left = d.left<<4 | int64(v)
	return nil
}

// stepTrailer keeps the trailer's lines; trailerFields parses them when all are there.
func (d *chunkDecoder) stepTrailer(c byte) error {
	if len(d.trailer) == maxTrailer {
		return errTrailer
	}
	d.trailer = append(d.trailer, c)
	if c == '\n' {
		d.state = chunkLine
	}
	return nil
}

// trailerFields returns the fields of the trailer of a body that is done, or nil if it has
// none.
func (d *chunkDecoder) trailerFields() (*head, error) {
	if len(d.trailer) == 0 {
		return nil, nil
	}
	p := append(d.trailer, "\r\n"...)
	h := &head{flags: isTrailer}
	n, err := h.parseFields(p, 0)
	if err != nil || n != len(p) {
		return nil, errTrailer
	}
	h.raw = string(p)
	return h, nil
}

// appendChunkSize appends the line before n bytes of data. n must not be 0.
func appendChunkSize(p []byte, n int) []byte {
	return append(strconv.AppendUint(p, uint64(n), 16), "\r\n"...)
}

const (
	chunkAfter = "\r\n"      // behind the data of each chunk
	chunkLast  = "0\r\n\r\n" // the end of a body without a trailer
	chunkZero  = "0\r\n"     // the end of a body; a trailer and an empty line follow
)

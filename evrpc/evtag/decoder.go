// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtag

import (
	"io"
	"math"
)

// A Decoder reads the items of a message one after another. After an error it stands
// where it stood before the call. At the end of the message all methods return io.EOF. The
// zero value is a decoder of an empty message.
type Decoder struct {
	data []byte // what is left
	base int    // where data[0] is in the outermost message
}

// NewDecoder returns a decoder of data, which it does not copy.
func NewDecoder(data []byte) *Decoder { return &Decoder{data: data} }

// Len returns the number of bytes that are left.
func (d *Decoder) Len() int { return len(d.data) }

// Offset returns the number of bytes before the next item, from the beginning of the outermost message.
func (d *Decoder) Offset() int { return d.base }

// Peek returns the tag of the next item.
func (d *Decoder) Peek() (tag uint32, err error) {
	tag, _, err = d.tag()
	return tag, err
}

// PeekLength returns how many bytes the next item says that it has, with tag and length. They
// need not be there. Where int has 32 bits, the error is ErrRange if it cannot hold the number.
func (d *Decoder) PeekLength() (int, error) {
	n, err := d.PayloadLength()
	if err != nil {
		return 0, err
	}
	h, _ := d.header()
	return h.size + n, nil
}

// PayloadLength returns how many bytes the payload of the next item says that it has. They
// need not be there. Where int has 32 bits, the error is ErrRange if it cannot hold the number.
func (d *Decoder) PayloadLength() (int, error) {
	h, err := d.header()
	if err == nil && h.length > math.MaxInt-2*maxLengthLen {
		return 0, d.fail(h.tag, ErrRange)
	}
	return int(h.length), err
}

// Next reads an item and returns its tag and its payload, which is a part of the decoder's data.
func (d *Decoder) Next() (tag uint32, payload []byte, err error) {
	it, err := d.item()
	if err != nil {
		return 0, nil, err
	}
	d.advance(it.size)
	return it.tag, it.payload, nil
}

// Skip skips an item, whatever its tag is.
func (d *Decoder) Skip() error {
	_, _, err := d.Next()
	return err
}

// Uint32 reads an integer of up to 32 bits. What follows the integer in the payload is ignored, as in libevent.
func (d *Decoder) Uint32(tag uint32) (uint32, error) {
	v, err := d.uint(tag, 8)
	return uint32(v), err
}

// Uint64 reads an integer of up to 64 bits. What follows the integer in the payload is ignored, as in libevent.
func (d *Decoder) Uint64(tag uint32) (uint64, error) { return d.uint(tag, 16) }

func (d *Decoder) uint(tag uint32, nibbles int) (uint64, error) {
	it, err := d.expect(tag)
	if err != nil {
		return 0, err
	}
	v, _, err := decodeUint(it.payload, nibbles)
	if err != nil {
		return 0, d.fail(tag, err)
	}
	d.advance(it.size)
	return v, nil
}

// Bytes reads bytes. They are a part of the decoder's data.
func (d *Decoder) Bytes(tag uint32) ([]byte, error) {
	it, err := d.expect(tag)
	if err != nil {
		return nil, err
	}
	d.advance(it.size)
	return it.payload, nil
}

// Fixed reads exactly len(dst) bytes into dst.
func (d *Decoder) Fixed(tag uint32, dst []byte) error {
	it, err := d.expect(tag)
	if err != nil {
		return err
	}
	if len(it.payload) != len(dst) {
		return d.fail(tag, ErrLength)
	}
	copy(dst, it.payload)
	d.advance(it.size)
	return nil
}

// String reads a string.
func (d *Decoder) String(tag uint32) (string, error) {
	p, err := d.Bytes(tag)
	return string(p), err
}

// Timeval reads a time or a duration. What follows it in the payload is ignored, as in libevent.
func (d *Decoder) Timeval(tag uint32) (Timeval, error) {
	it, err := d.expect(tag)
	if err != nil {
		return Timeval{}, err
	}
	t, err := decodeTimeval(it.payload)
	if err != nil {
		return Timeval{}, d.fail(tag, err)
	}
	d.advance(it.size)
	return t, nil
}

// Message reads a message in the message, and returns a decoder of that. The offsets of its errors
// are still from the beginning of the outermost message.
func (d *Decoder) Message(tag uint32) (*Decoder, error) {
	it, err := d.expect(tag)
	if err != nil {
		return nil, err
	}
	inner := it.message(*d)
	d.advance(it.size)
	return &inner, nil
}

// RawTag reads a tag alone, as AppendTag appends it.
func (d *Decoder) RawTag() (uint32, error) {
	tag, n, err := d.tag()
	d.advance(n)
	return tag, err
}

// RawUint32 reads an integer of up to 32 bits alone, as AppendRawUint appends it.
func (d *Decoder) RawUint32() (uint32, error) {
	v, err := d.rawUint(8)
	return uint32(v), err
}

// RawUint64 reads an integer of up to 64 bits alone, as AppendRawUint appends it.
func (d *Decoder) RawUint64() (uint64, error) { return d.rawUint(16) }

func (d *Decoder) rawUint(nibbles int) (uint64, error) {
	if len(d.data) == 0 {
		return 0, io.EOF
	}
	v, n, err := decodeUint(d.data, nibbles)
	if err != nil {
		return 0, d.fail(0, err)
	}
	d.advance(n)
	return v, nil
}

// A header is what an item has before its payload.
type header struct {
	tag    uint32
	size   int   // of tag and length
	length int64 // of the payload
}

// tag returns the tag of the next item and how many bytes it takes.
func (d *Decoder) tag() (uint32, int, error) {
	if len(d.data) == 0 {
		return 0, 0, io.EOF
	}
	tag, n, err := decodeTag(d.data)
	if err != nil {
		return 0, 0, d.fail(0, err)
	}
	return tag, n, nil
}

// header returns the header of the next item.
func (d *Decoder) header() (header, error) {
	tag, n, err := d.tag()
	if err != nil {
		return header{}, err
	}
	length, m, err := decodeUint(d.data[n:], 8)
	if err != nil {
		return header{}, d.fail(tag, err)
	}
	return header{tag, n + m, int64(length)}, nil
}

// An item is a whole item.
type item struct {
	tag     uint32
	size    int // with tag and length
	payload []byte
}

// message returns a decoder of the payload. d is at the item.
func (it item) message(d Decoder) Decoder {
	return Decoder{it.payload, d.base + it.size - len(it.payload)}
}

// item returns the next item.
func (d *Decoder) item() (item, error) {
	h, err := d.header()
	if err != nil {
		return item{}, err
	}
	if h.length > int64(len(d.data)-h.size) {
		return item{}, d.fail(h.tag, io.ErrUnexpectedEOF)
	}
	end := h.size + int(h.length)
	return item{h.tag, end, d.data[h.size:end:end]}, nil
}

// expect returns the next item, which must have the given tag.
func (d *Decoder) expect(tag uint32) (item, error) {
	it, err := d.item()
	if err == nil && it.tag != tag {
		return item{}, d.fail(it.tag, ErrTag)
	}
	return it, err
}

func (d *Decoder) advance(n int) {
	d.data = d.data[n:]
	d.base += n
}

// fail returns the error for the next item.
func (d *Decoder) fail(tag uint32, err error) *Error {
	return &Error{Offset: d.base, Tag: tag, Err: err}
}

// decodeTag returns the tag at the beginning of p and how many bytes it takes, at most 5.
// Like libevent it accepts an encoding that is longer than need be.
func decodeTag(p []byte) (tag uint32, n int, err error) {
	for i, b := range p {
		if i == 4 && b > 0xf {
			return 0, 0, ErrRange
		}
		tag |= uint32(b&0x7f) << (7 * i)
		if b < 0x80 {
			return tag, i + 1, nil
		}
	}
	return 0, 0, io.ErrUnexpectedEOF
}

// decodeUint returns the integer at the beginning of p and how many bytes it takes. The
// integer may have that many nibbles at most. Like libevent it accepts
// leading zeros, and any value in a nibble that fills the last byte.
func decodeUint(p []byte, nibbles int) (v uint64, n int, err error) {
	if len(p) == 0 {
		return 0, 0, io.ErrUnexpectedEOF
	}
	have := int(p[0]>>4) + 1
	if have > nibbles {
		return 0, 0, ErrRange
	}
	n = have/2 + 1
	if n > len(p) {
		return 0, 0, io.ErrUnexpectedEOF
	}
	for i := have; i > 0; i-- { // nibble i of p; nibble 0 is the count
		nibble := p[i/2] >> 4
		if i%2 == 1 {
			nibble = p[i/2] & 0xf
		}
		v = v<<4 | uint64(nibble)
	}
	return v, n, nil
}

// decodeTimeval returns the timeval at the beginning of p.
func decodeTimeval(p []byte) (Timeval, error) {
	sec, n, err := decodeUint(p, 8)
	if err != nil {
		return Timeval{}, err
	}
	usec, _, err := decodeUint(p[n:], 8)
	return Timeval{uint32(sec), uint32(usec)}, err
}

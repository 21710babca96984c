// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evframe

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/evchan/evchan"
)

// Varint is the Prefix of frames whose length is written as encoding/binary's Uvarint does, and
// protocol buffers: seven bits in a byte, the lowest ones first.
const Varint = -1

// ErrLength is the reason of an [Error] for a frame whose length cannot be right: a varint of
// more than 64 bits, or a length that counts itself and is less than that.
var ErrLength = errors.New("evframe: the length of a frame is wrong")

// Frames is a layer that makes a [Frame] of each frame that a stream sends: a length and then so
// many bytes. One Frames serves any number of streams: put it into the Layer field of a
// ListenConfig, or give it to SetLayer. The zero value is for lengths of 4 bytes, the highest one
// first. See the package's comment for what it does with the stream's other messages.
type Frames struct {
	// Prefix is how many bytes the length has, 1 to 8, or Varint. 0 means 4. Next and AppendFrame
	// panic if it is something else.
	Prefix int

	// LittleEndian says that the lowest byte of the length comes first, not the highest.
	LittleEndian bool

	// CountsPrefix says that the length counts its own bytes as well. Not for Varint.
	CountsPrefix bool

	// Limit is how many bytes a frame may have, without its length. 0 means 64 KiB. If negative,
	// there is no limit, and a peer can make the stream hold all memory.
	Limit int

	// Step says that after each frame, the input is left as it is until Again of the stream is
	// called. The receiver may take the layer away instead, by SetLayer(nil): then Input has what
	// follows the frame.
	Step bool
}

// Next is the method of [evchan.Layer]. It gives each stream a layer of its own.
func (c Frames) Next(src evchan.Source, ev evchan.Event) evchan.Event {
	c.check()
	return install(&frameParser{Frames: c, limit: limitOf(c.Limit)}, c.Step, src, ev)
}

// check fills in and checks the prefix.
func (c *Frames) check() {
	if c.Prefix == 0 {
		c.Prefix = 4
	}
	if c.Prefix != Varint && (c.Prefix < 1 || c.Prefix > 8) || c.Prefix == Varint && c.CountsPrefix {
		panic("evframe: Frames.Prefix is not 1 to 8 or Varint, or is Varint with CountsPrefix")
	}
}

// AppendFrame appends p as a frame, its length first, to dst, and returns that. If p is longer
// than Limit, or than the length can tell, it returns dst and ErrTooLong.
func (c Frames) AppendFrame(dst, p []byte) ([]byte, error) {
	dst, err := c.AppendLength(dst, len(p))
	if err != nil {
		return dst, err
	}
	return append(dst, p...), nil
}

// MoveFrame moves all bytes of p, as one frame, to the end of out, which is most often the
// Output of a stream. Long ones are not copied. If p is longer than Limit, or than the length
// can tell, MoveFrame returns ErrTooLong. If there is an error, nothing has moved.
func (c Frames) MoveFrame(out, p *evchan.Buffer) error {
	var room [binary.MaxVarintLen64]byte
	head, err := c.AppendLength(room[:0], p.Len())
	if err != nil {
		return err
	}
	// One step each, so that out never has a length without its frame.
	var b evchan.Buffer
	b.Write(head)
	if err := b.AppendBuffer(p); err != nil {
		return err
	}
	if err := out.AppendBuffer(&b); err != nil {
		b.Discard(len(head))
		p.PrependBuffer(&b)
		return err
	}
	return nil
}

// AppendLength appends the length of a frame of n bytes to dst, for those who write the bytes
// themselves. It returns ErrTooLong as AppendFrame does.
func (c Frames) AppendLength(dst []byte, n int) ([]byte, error) {
	c.check()
	if n < 0 {
		panic("evframe: a negative length")
	}
	if n > limitOf(c.Limit) {
		return dst, ErrTooLong
	}
	v := uint64(n)
	if c.Prefix == Varint {
		return binary.AppendUvarint(dst, v), nil
	}
	if c.CountsPrefix {
		v += uint64(c.Prefix)
	}
	if c.Prefix < 8 && v>>(8*c.Prefix) != 0 {
		return dst, ErrTooLong
	}
	var b [8]byte
	if c.LittleEndian {
		binary.LittleEndian.PutUint64(b[:], v)
		return append(dst, b[:c.Prefix]...), nil
	}
	binary.BigEndian.PutUint64(b[:], v)
	return append(dst, b[8-c.Prefix:]...), nil
}

// A frameParser makes the frames of one stream.
type frameParser struct {
	Frames
	limit int
	head  [binary.MaxVarintLen64]byte // the first bytes of the input, while length runs
}

func (p *frameParser) next(in *evchan.Buffer) (evchan.Event, int, error) {
	n, size, err := p.length(in)
	if err != nil {
		return nil, 0, err
	}
	if size == 0 {
		return nil, in.Len() + 1, nil
	}
	if n > uint64(p.limit) {
		return nil, 0, ErrTooLong
	}
	if whole := size + int(n); in.Len() < whole {
		return nil, whole, nil
	}
	in.Discard(size)
	return takeFrame(in, int(n)), 0, nil
}

// length returns the length that the first size bytes of in tell. size is 0 if it has not
// arrived.
func (p *frameParser) length(in *evchan.Buffer) (n uint64, size int, err error) {
	b := p.head[:in.CopyTo(p.head[:], 0)]
	if p.Prefix == Varint {
		n, size = binary.Uvarint(b)
		if size < 0 || size == 0 && len(b) == len(p.head) {
			return 0, 0, ErrLength
		}
		return n, size, nil
	}
	if len(b) < p.Prefix {
		return 0, 0, nil
	}
	for i := range p.Prefix {
		if p.LittleEndian {
			n |= uint64(b[i]) << (8 * i)
		} else {
			n = n<<8 | uint64(b[i])
		}
	}
	if p.CountsPrefix {
		if n < uint64(p.Prefix) {
			return 0, 0, ErrLength
		}
		n -= uint64(p.Prefix)
	}
	return min(n, math.MaxInt), p.Prefix, nil
}

func (p *frameParser) skipHead(in *evchan.Buffer) {
	_, size, _ := p.length(in)
	in.Discard(size)
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/flate"
)

// maxWindow is the number of bits of the largest window of deflate.
const maxWindow = 15

// tail is what a message has at its end before it is sent, and what is removed from it: an
// empty block, RFC 7692 section 7.2.1.
var tail = []byte{0x00, 0x00, 0xff, 0xff}

// ending is the tail, and an empty last block, so that a reader sees an end.
var ending = []byte{0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff}

// deflate returns p, which is not empty, compressed for a window of so many bits. It keeps no
// state. before is what was sent before, if the peer has kept that; it is only used for the
// largest window.
func deflate(p []byte, window int, before []byte) []byte {
	var out bytes.Buffer
	out.Grow(min(len(p), 64<<10))
	for len(p) > 0 {
		// What is compressed at once refers to nothing outside of it.
		n := min(len(p), 1<<window)
		if window == maxWindow {
			n = len(p)
		} else {
			before = nil
		}
		flate.StatelessDeflate(&out, p[:n], false, before) // out returns no errors
		p = p[n:]
	}
	return bytes.TrimSuffix(out.Bytes(), tail)
}

var (
	errInflatedTooBig = errors.New("evws: decompressed data is too long")
	errInflate        = errors.New("evws: compressed data does not end where the message does")
)

// inflaters have what a message needs while it is decompressed.
var inflaters = sync.Pool{New: func() any {
	x := new(inflater)
	x.r = flate.NewReader(&x.src)
	return x
}}

type inflater struct {
	src source
	r   io.ReadCloser
}

// A source reads p and then the ending.
type source struct {
	p    []byte
	tail []byte
}

func (s *source) ReadByte() (byte, error) {
	if len(s.p) == 0 {
		if len(s.tail) == 0 {
			return 0, io.EOF
		}
		s.p, s.tail = s.tail, nil
	}
	b := s.p[0]
	s.p = s.p[1:]
	return b, nil
}

func (s *source) Read(b []byte) (int, error) {
	if len(s.p) == 0 && len(s.tail) > 0 {
		s.p, s.tail = s.tail, nil
	}
	if len(s.p) == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	n := copy(b, s.p)
	s.p = s.p[n:]
	return n, nil
}

// inflate returns p decompressed: at most limit bytes, or errInflatedTooBig. What it allocates
// grows with what it has decompressed. before is what p may refer to.
func inflate(p []byte, limit int, before []byte) ([]byte, error) {
	x := inflaters.Get().(*inflater)
	defer func() {
		x.src = source{}
		inflaters.Put(x)
	}()
	x.src = source{p, ending}
	var out []byte
	for {
		// A block that is marked as the last one ends what the reader takes. RFC 7692 allows
		// it before the end of a message (7.2.3.4): the next one goes on with the same window.
		dict := before
		if len(out) > 0 {
			dict = out[max(0, len(out)-1<<maxWindow):]
			if more := 1<<maxWindow - len(dict); more > 0 && len(before) > 0 {
				dict = slices.Concat(before[max(0, len(before)-more):], dict)
			}
		}
		if err := x.r.(flate.Resetter).Reset(&x.src, dict); err != nil {
			return nil, err
		}
		for {
			if len(out) == cap(out) {
				out = slices.Grow(out, min(max(512, len(p), len(out)), 1<<20))
			}
			n, err := x.r.Read(out[len(out):min(cap(out), limit+1)])
			if out = out[:len(out)+n]; len(out) > limit {
				return nil, errInflatedTooBig
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				return nil, err
			}
		}
		switch {
		case len(x.src.p) == 0:
			return out, nil
		case x.src.tail == nil:
			return nil, errInflate // the last block has ended within the ending
		}
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evframe_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"testing"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evframe"
)

// transfer sends input, in pieces whose sizes are pieces, through a pipe to a stream with layer,
// and compares what is received with want. At the end the peer finishes sending.
func transfer(t *testing.T, l *evchan.Loop, layer evchan.Layer, step bool, input, pieces []byte, want []string) {
	s, peer := piped(l, &evchan.StreamConfig{Layer: layer, MaxInput: 100})
	var got []string
	receive := func() {
		for {
			ev, ok := l.Poll(0)
			if !ok {
				return
			}
			got = append(got, text(ev))
			if _, made := ev.(interface{ Bytes() []byte }); made && step {
				s.Again()
			}
		}
	}
	for len(input) > 0 {
		n := len(input)
		if len(pieces) > 0 {
			n, pieces = min(n, int(pieces[0])+1), pieces[1:]
		}
		peer.Write(input[:n])
		input = input[n:]
		receive()
	}
	peer.CloseWrite()
	for range 100 { // each time the input limit allows some more
		receive()
		if n := len(got); n > 0 && got[n-1] == "EOF" {
			break
		}
	}
	s.Abort()
	peer.Abort()
	if want = append(want, "EOF"); !slices.Equal(got, want) {
		t.Errorf("received %q; want %q", got, want)
	}
}

// Whatever the pieces are, the lines are those that a simple search finds.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\r\nb\n\n\rc"), []byte{0, 1}, uint8(0), 10, false)
	f.Add([]byte("a\r\n\r\nb\x00\n\n\rc"), []byte{2, 1}, uint8(2), 3, true)
	f.Add(bytes.Repeat([]byte("xy"), 500), []byte{200, 255}, uint8(4), 1000, true)
	l := newLoop(f)
	f.Fuzz(func(t *testing.T, input, pieces []byte, style uint8, limit int, step bool) {
		eol := evchan.EOL(style % 5)
		limit = 1 + int(uint(limit)%2000)
		input = input[:min(len(input), 8000)]
		transfer(t, l, evframe.Lines{EOL: eol, Limit: limit, Step: step}, step, input, pieces, linesOf(input, eol, limit))
	})
}

// linesOf returns the messages of Lines.
func linesOf(input []byte, eol evchan.EOL, limit int) []string {
	ends := map[evchan.EOL][]byte{evchan.LFOrCRLF: []byte("\n"), evchan.LF: []byte("\n"), evchan.CRLF: []byte("\r\n"), evchan.NUL: {0}}
	var lines []string
	for len(input) > 0 {
		var line []byte
		var ok bool
		if eol == evchan.AnyEOL {
			input = bytes.TrimLeft(input, "\r\n")
			if len(input) == 0 {
				break
			}
			if at := bytes.IndexAny(input, "\r\n"); at >= 0 {
				line, input, ok = input[:at], input[at+1:], true
			}
		} else {
			var rest []byte
			if line, rest, ok = bytes.Cut(input, ends[eol]); ok {
				input = rest
			}
			if eol == evchan.LFOrCRLF && ok {
				line = bytes.TrimSuffix(line, []byte("\r"))
			}
		}
		tail := 0 // the last byte may be the CR of a line end
		if eol != evchan.LF && eol != evchan.NUL {
			tail = 1
		}
		switch {
		case ok && len(line) > limit, !ok && len(input) > limit+tail:
			return append(lines, long)
		case !ok:
			return append(lines, half(string(input)))
		}
		lines = append(lines, string(line))
	}
	return lines
}

// Whatever the pieces are, the frames are those that encoding/binary finds.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x01a\x00\x02bc"), []byte{0, 1}, int8(1), false, false, 10, false)
	f.Add([]byte("\x00\x03a\x00\x02\x01"), []byte{0, 1}, int8(2), false, true, 10, true)
	f.Add([]byte("\x05\x00\x00abcde\x05"), []byte{3}, int8(3), true, false, 10, true)
	f.Add(append([]byte{0x88, 0x07}, make([]byte, 1000)...), []byte{0, 255}, int8(0), true, false, 1000, false)
	l := newLoop(f)
	f.Fuzz(func(t *testing.T, input, pieces []byte, prefix int8, little, counts bool, limit int, step bool) {
		c := evframe.Frames{Prefix: 1 + int(uint8(prefix))%9, LittleEndian: little, CountsPrefix: counts, Limit: 1 + int(uint(limit)%2000), Step: step}
		if c.Prefix == 9 {
			c.Prefix, c.CountsPrefix = evframe.Varint, false
		}
		input = input[:min(len(input), 8000)]
		want := framesOf(input, c)
		transfer(t, l, c, step, input, pieces, want)
		// What is written is what was read.
		var written []string
		var again []byte
		for _, p := range want {
			p = p[:min(len(p), c.Limit)]
			var err error
			if again, err = c.AppendFrame(again, []byte(p)); err == nil {
				written = append(written, p)
			}
		}
		if got := framesOf(again, c); !slices.Equal(got, written) {
			t.Errorf("%+v: AppendFrame has written %q; want %q", c, got, written)
		}
	})
}

// framesOf returns the messages of Frames.
func framesOf(input []byte, c evframe.Frames) []string {
	var frames []string
	for r := bytes.NewReader(input); r.Len() > 0; {
		begun := r.Len()
		var n uint64
		if c.Prefix == evframe.Varint {
			v, err := binary.ReadUvarint(r)
			if err == io.ErrUnexpectedEOF && begun < binary.MaxVarintLen64 {
				return append(frames, half(string(input[len(input)-begun:])))
			} else if err != nil {
				return append(frames, wrong)
			}
			n = v
		} else {
			head := make([]byte, c.Prefix)
			if _, err := io.ReadFull(r, head); err != nil {
				return append(frames, half(string(input[len(input)-begun:])))
			}
			if c.LittleEndian {
				slices.Reverse(head)
			}
			n = binary.BigEndian.Uint64(append(make([]byte, 8-c.Prefix), head...))
			if c.CountsPrefix {
				if n < uint64(c.Prefix) {
					return append(frames, wrong)
				}
				n -= uint64(c.Prefix)
			}
		}
		if n > uint64(c.Limit) {
			return append(frames, long)
		}
		p := make([]byte, n)
		k, err := io.ReadFull(r, p)
		if err != nil {
			return append(frames, half(string(p[:k])))
		}
		frames = append(frames, string(p))
	}
	return frames
}

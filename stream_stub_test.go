// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"io"
	"testing"
)

func TestBufferTellsItsStream(t *testing.T) {
	s := new(Stream)
	b := pieces("abc\n", "defgh", "ijklmnop")
	b.stream = s
	before := b.Len()
	b.ReadByte()
	b.Read(make([]byte, 1))
	b.ReadLine(LF)
	b.Next(2)
	b.Discard(1)
	new(Buffer).MoveN(b, 1)
	b.Peek(2)
	b.WriteString("x")
	b.Prepend([]byte("x"))
	b.add([]byte("x"))
	b.drop(1)
	before += 3 - 1
	if got := s.taken; got != before-b.Len() {
		t.Errorf("told %d; want %d", got, before-b.Len())
	}
	b.WriteTo(io.Discard)
	if got := s.taken; got != before {
		t.Errorf("told %d; want %d", got, before)
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"io"
	"testing"
)

// TestBufferTellsItsStream checks that what leaves a stream's input is counted,
// whichever call takes it, and that what the package itself moves is not.
func TestBufferTellsItsStream(t *testing.T) {
	l, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := l.newStream(noFD)
	s.closing = true // sends nothing
	b := pieces("abc\n", "defgh", "ijklmnop")
	b.stream = s
	before := b.Len()
	s.held.Store(1000)
	taken := func() int { return 1000 - int(s.held.Load()) }
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
	freeChain(b.cut(1))
	before += 3 - 1
	if got := taken(); got != before-b.Len() {
		t.Errorf("told %d; want %d", got, before-b.Len())
	}
	b.WriteTo(io.Discard)
	if got := taken(); got != before {
		t.Errorf("told %d; want %d", got, before)
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"
)

func TestBufferCopyTo(t *testing.T) {
	b := pieces("abc", "defgh", "ij")
	const all = "abcdefghij"
	for off := range len(all) + 2 {
		for size := range len(all) + 2 {
			p := make([]byte, size)
			n := b.CopyTo(p, off)
			want := all[min(off, len(all)):min(off+size, len(all))]
			if string(p[:n]) != want {
				t.Fatalf("CopyTo(%d bytes, %d) = %q; want %q", size, off, p[:n], want)
			}
		}
	}
	if n := b.CopyTo(make([]byte, 5), -1); n != 0 {
		t.Errorf("CopyTo(-1) = %d", n)
	}
	expect(t, b, all)
}

func TestBufferPeek(t *testing.T) {
	var empty Buffer
	if p, err := empty.Peek(0); len(p) != 0 || err != nil {
		t.Errorf("Peek(0) of an empty Buffer = %q, %v", p, err)
	}
	if p, err := empty.Peek(1); p != nil || err != io.EOF {
		t.Errorf("Peek(1) of an empty Buffer = %q, %v", p, err)
	}
	if p := empty.Next(3); p != nil {
		t.Errorf("Next of an empty Buffer = %q", p)
	}
	b := pieces("abc", "defgh", "ij")
	for n := range 11 {
		p, err := b.Peek(n)
		if string(p) != "abcdefghij"[:n] || err != nil {
			t.Fatalf("Peek(%d) = %q, %v", n, p, err)
		}
		expect(t, b, "abcdefghij")
	}
	if p, err := b.Peek(11); string(p) != "abcdefghij" || err != io.EOF {
		t.Fatalf("Peek(11) = %q, %v", p, err)
	}
	if p, err := b.Peek(-1); p != nil || err == nil {
		t.Fatalf("Peek(-1) = %q, %v", p, err)
	}
	var big Buffer
	data := pattern(3 << 20)
	for i := 0; i < len(data); i += 1000 {
		big.Append(data[i:min(i+1000, len(data))], nil)
	}
	if p, err := big.Peek(2 << 20); !bytes.Equal(p, data[:2<<20]) || err != nil {
		t.Fatal("Peek of 2 MiB differs", err)
	}
	expect(t, &big, string(data))
}

func TestBufferSegments(t *testing.T) {
	b := pieces("abc", "defgh", "ij")
	var got []string
	for s := range b.Segments() {
		got = append(got, string(s))
	}
	if !slices.Equal(got, []string{"abc", "defgh", "ij"}) {
		t.Errorf("segments %q", got)
	}
	for s := range b.Segments() {
		if string(s) != "abc" {
			t.Errorf("first segment %q", s)
		}
		break
	}
	expect(t, b, "abcdefghij")
	for range new(Buffer).Segments() {
		t.Error("a segment of nothing")
	}
}

// Peek of what comes little by little does not copy all of it each time.
func TestBufferPeekGrows(t *testing.T) {
	var b Buffer
	b.Write(make([]byte, 3<<20))
	b.Peek(b.Len())
	copies := 0
	for at := b.head; b.Len() < 6<<20; {
		b.Write(make([]byte, 16<<10))
		b.Peek(b.Len())
		if b.head != at {
			at = b.head
			copies++
		}
	}
	if copies > 5 {
		t.Errorf("%d copies while 3 MiB became 6 MiB", copies)
	}
}

func TestBufferIOTest(t *testing.T) {
	f := tempFile(t, pattern(5000))
	for name, fill := range map[string]func(b *Buffer){
		"empty": func(b *Buffer) {},
		"one":   func(b *Buffer) { b.Write(pattern(5000)) },
		"many": func(b *Buffer) {
			for i := range 200 {
				b.Append(pattern(i), nil)
			}
		},
		"file": func(b *Buffer) { b.WriteString("head"); b.AppendFile(f, 0, 5000, nil); b.WriteString("tail") },
	} {
		t.Run(name, func(t *testing.T) {
			var b Buffer
			fill(&b)
			if err := iotest.TestReader(&b, b.contents()); err != nil {
				t.Error(err)
			}
		})
	}
}

func BenchmarkBufferPeek(b *testing.B) {
	var x Buffer
	p := pattern(1000)
	b.ReportAllocs()
	for b.Loop() {
		x.Append(p, nil)
		x.Append(p, nil)
		x.Peek(1500)
		x.Discard(2000)
	}
}

// A scriptedWriter returns what its function returns.
type scriptedWriter func(p []byte) (int, error)

func (f scriptedWriter) Write(p []byte) (int, error) { return f(p) }

func TestBufferWriteTo(t *testing.T) {
	b := pieces("abc", "def")
	mustPanic(t, func() { b.WriteTo(scriptedWriter(func(p []byte) (int, error) { return -1, nil })) })
	mustPanic(t, func() { b.WriteTo(scriptedWriter(func(p []byte) (int, error) { return len(p) + 1, nil })) })
	mustPanic(t, func() { b.WriteTo(scriptedWriter(func(p []byte) (int, error) { panic("writer") })) })
	expect(t, b, "abcdef")
	n, err := b.WriteTo(scriptedWriter(func(p []byte) (int, error) { return 2, nil }))
	if n != 2 || err != io.ErrShortWrite {
		t.Errorf("WriteTo = %d, %v", n, err)
	}
	n, err = b.WriteTo(scriptedWriter(func(p []byte) (int, error) { return 1, io.ErrClosedPipe }))
	if n != 1 || err != io.ErrClosedPipe {
		t.Errorf("WriteTo = %d, %v", n, err)
	}
	expect(t, b, "def")
	var d Buffer
	if n, err := io.Copy(&d, b); n != 3 || err != nil {
		t.Errorf("Copy = %d, %v", n, err)
	}
	expect(t, &d, "def")
	expect(t, b, "")
	if n, err := b.WriteTo(io.Discard); n != 0 || err != nil {
		t.Errorf("WriteTo of nothing = %d, %v", n, err)
	}
}

func TestBufferEOF(t *testing.T) {
	var b Buffer
	if n, err := b.Read(nil); n != 0 || err != nil {
		t.Errorf("Read(nil) = %d, %v", n, err)
	}
	if n, err := b.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("Read = %d, %v", n, err)
	}
	if _, err := b.ReadByte(); err != io.EOF {
		t.Errorf("ReadByte: %v", err)
	}
	if n := b.Next(-1); n != nil {
		t.Errorf("Next(-1) = %q", n)
	}
	if n := b.Discard(-1); n != 0 {
		t.Errorf("Discard(-1) = %d", n)
	}
	if n, err := b.MoveN(pieces("a"), -1); n != 0 || !errors.Is(err, errNegative) {
		t.Errorf("MoveN(-1) = %d, %v", n, err)
	}
}

func TestBufferBytes(t *testing.T) {
	var b Buffer
	if p := b.Bytes(); p != nil {
		t.Errorf("an empty Buffer has %q", p)
	}
	b.AppendBuffer(pieces("abc", "def"))
	if p := b.Bytes(); string(p) != "abcdef" || cap(p) != 6 {
		t.Errorf("%q with room for %d", p, cap(p))
	}
	b.Discard(2)
	b.AppendFile(tempFile(t, []byte("file")), 1, 10, nil)
	if p := b.Bytes(); string(p) != "cdefile" {
		t.Errorf("%q", p)
	}
	if n := b.Len(); n != 14 {
		t.Errorf("Bytes has left %d bytes", n)
	}
}

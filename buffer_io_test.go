// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"
)

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

// ReadFrom takes whatever shape a Reader has.
func TestBufferReadFromReaders(t *testing.T) {
	data := pattern(20_000)
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"plain":   func(r io.Reader) io.Reader { return struct{ io.Reader }{r} },
		"one":     iotest.OneByteReader,
		"half":    iotest.HalfReader,
		"dataErr": iotest.DataErrReader,
		"bufio":   func(r io.Reader) io.Reader { return bufio.NewReader(r) },
	} {
		var b Buffer
		b.WriteString("x")
		n, err := b.ReadFrom(wrap(bytes.NewReader(data)))
		if n != int64(len(data)) || err != nil {
			t.Errorf("%s: ReadFrom = %d, %v", name, n, err)
		}
		expect(t, &b, "x"+string(data))
		if n := len(b.chunks()); n > 20 {
			t.Errorf("%s: %d chunks", name, n)
		}
	}
	var b Buffer
	n, err := b.ReadFrom(iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(data))))
	if n != 1 || err != iotest.ErrTimeout {
		t.Errorf("ReadFrom = %d, %v", n, err)
	}
	expect(t, &b, string(data[:1]))
}

// BenchmarkBuffer has a Buffer beside a bytes.Buffer.
func BenchmarkBuffer(b *testing.B) {
	type buffer interface {
		io.ReadWriter
		Next(n int) []byte
	}
	both := func(name string, size int, f func(b *testing.B, x buffer, p, q []byte)) {
		p, q := pattern(size), make([]byte, size)
		name = fmt.Sprintf("%s/%d", name, size)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			f(b, new(Buffer), p, q)
		})
		b.Run(name+"/bytes.Buffer", func(b *testing.B) {
			b.ReportAllocs()
			f(b, new(bytes.Buffer), p, q)
		})
	}
	for _, size := range []int{64, 4 << 10, 64 << 10} {
		both("AppendNext", size, func(b *testing.B, x buffer, p, _ []byte) {
			b.SetBytes(int64(size))
			for b.Loop() {
				x.Write(p)
				x.Next(size)
			}
		})
		both("AppendRead", size, func(b *testing.B, x buffer, p, q []byte) {
			b.SetBytes(int64(size))
			for b.Loop() {
				x.Write(p)
				x.Read(q)
			}
		})
	}
	// A queue of 64 messages rather than one.
	both("Append64Read64", 64, func(b *testing.B, x buffer, p, q []byte) {
		for b.Loop() {
			for range 64 {
				x.Write(p)
			}
			for range 64 {
				x.Read(q)
			}
		}
	})
}

func BenchmarkBufferMove(b *testing.B) {
	var x, y Buffer
	x.Write(make([]byte, 1<<20))
	b.Run("AppendBuffer", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			y.AppendBuffer(&x)
			x.AppendBuffer(&y)
		}
	})
	b.Run("MoveN", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			y.MoveN(&x, 1<<19)
			x.PrependBuffer(&y)
		}
	})
	b.Run("Share", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			y.Share(&x)
			y.Reset()
		}
	})
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

// A scriptedReader returns what its function returns.
type scriptedReader func(p []byte) (int, error)

func (f scriptedReader) Read(p []byte) (int, error) { return f(p) }

// A scriptedWriter returns what its function returns.
type scriptedWriter func(p []byte) (int, error)

func (f scriptedWriter) Write(p []byte) (int, error) { return f(p) }

func TestBufferReadFrom(t *testing.T) {
	var b Buffer
	b.WriteString("x")
	mustPanic(t, func() { b.ReadFrom(scriptedReader(func(p []byte) (int, error) { return -1, nil })) })
	mustPanic(t, func() { b.ReadFrom(scriptedReader(func(p []byte) (int, error) { return len(p) + 1, nil })) })
	mustPanic(t, func() { b.ReadFrom(scriptedReader(func(p []byte) (int, error) { panic("reader") })) })
	expect(t, &b, "x")
	n, err := b.ReadFrom(scriptedReader(func(p []byte) (int, error) { return 0, nil }))
	if n != 0 || err != io.ErrNoProgress {
		t.Errorf("ReadFrom = %d, %v", n, err)
	}
	n, err = b.ReadFrom(scriptedReader(func(p []byte) (int, error) { return copy(p, "ab"), io.ErrClosedPipe }))
	if n != 2 || err != io.ErrClosedPipe {
		t.Errorf("ReadFrom = %d, %v", n, err)
	}
	n, err = b.ReadFrom(scriptedReader(func(p []byte) (int, error) { return copy(p, "c"), io.EOF }))
	if n != 1 || err != nil {
		t.Errorf("ReadFrom = %d, %v", n, err)
	}
	expect(t, &b, "xabc")
	// A reader that takes from the Buffer that it is read into.
	n, err = b.ReadFrom(io.LimitReader(&b, 3))
	if n != 3 || err != nil {
		t.Errorf("ReadFrom = %d, %v", n, err)
	}
	expect(t, &b, "cxab")
	data := pattern(1 << 20)
	b.Reset()
	n, err = b.ReadFrom(struct{ io.Reader }{bytes.NewReader(data)})
	if n != 1<<20 || err != nil {
		t.Errorf("ReadFrom = %d, %v", n, err)
	}
	expect(t, &b, string(data))
}

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

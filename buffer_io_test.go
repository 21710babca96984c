// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"sync"
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

// Two goroutines drain what they share, one of them through a third Buffer.
func TestBufferShareAcrossGoroutines(t *testing.T) {
	var released counter
	data := pattern(100_000)
	for range 20 {
		var a, b Buffer
		for i := 0; i < len(data); i += 10_000 {
			a.Append(data[i:i+10_000], nil)
			a.Write(data[:100])
		}
		a.Append(data, released.release)
		b.Share(&a)
		want := string(a.contents())
		var wg sync.WaitGroup
		for _, x := range []*Buffer{&a, &b} {
			wg.Go(func() {
				var d Buffer
				d.MoveN(x, 33_333)
				d.Write([]byte("mine"))
				d.Discard(d.Len() - 4)
				x.Write([]byte("mine"))
				p, _ := io.ReadAll(x)
				if string(p) != want[33_333:]+"mine" {
					t.Error("the rest differs")
				}
			})
		}
		wg.Wait()
	}
	released.want(t, 20, "after all was read")
}

// Under the race detector, memory that goes back to its pool is overwritten.
func TestBufferPoisons(t *testing.T) {
	if !raceEnabled {
		t.Skip("memory is overwritten under the race detector only")
	}
	var b Buffer
	b.WriteString("secret")
	p := b.Next(6)
	if string(p) != "secret" {
		t.Fatalf("Next = %q", p)
	}
	b.Write(nil)
	if string(p) == "secret" {
		t.Error("a slice that was kept too long still reads well")
	}
	// So is what the Buffer keeps for itself.
	for range 3 {
		b.WriteString("secret")
		p, _ = b.Peek(6)
		b.Discard(6)
	}
	if b.extra == nil || b.extra.spare == nil {
		t.Fatal("the Buffer has kept nothing")
	}
	if string(p) == "secret" {
		t.Error("a slice of the spare still reads well")
	}
}

// drains are ways to empty a Buffer.
var drains = map[string]func(b *Buffer){
	"Read":         func(b *Buffer) { io.ReadAll(b) },
	"ReadByte":     func(b *Buffer) { b.Discard(b.Len() - 1); b.ReadByte() },
	"Discard":      func(b *Buffer) { b.Discard(b.Len()) },
	"WriteTo":      func(b *Buffer) { b.WriteTo(io.Discard) },
	"AppendBuffer": func(b *Buffer) { new(Buffer).AppendBuffer(b) },
	"MoveN":        func(b *Buffer) { new(Buffer).MoveN(b, b.Len()) },
	"Reset":        func(b *Buffer) { b.Reset() },
	"Next":         func(b *Buffer) { b.Next(b.Len()); b.Discard(0) },
	"ReadLine": func(b *Buffer) {
		b.WriteByte('\n')
		for range b.Lines(LF) {
		}
	},
}

// memory returns how many bytes of memory b holds.
func (b *Buffer) memory() int {
	n := 0
	for c := b.head; c != nil; c = c.next {
		n += len(c.buf)
	}
	if b.extra != nil && b.extra.spare != nil {
		n += len(b.extra.spare.buf)
	}
	return n
}

// An empty Buffer holds little, whatever passed through it; nothing if that was the
// first time, and after Reset.
func TestBufferEmptyHoldsLittle(t *testing.T) {
	most := 0
	for name, drain := range drains {
		for _, size := range []int{100, 1000, 5000, 100_000} {
			var b Buffer
			for i := range 5 {
				b.Write(pattern(size)[11:])
				drain(&b)
				b.Discard(0) // whatever was returned may go
				if n := b.memory(); b.Len() != 0 || b.head != nil || b.tail != nil || n > 1<<10 || i == 0 && n > 0 {
					t.Errorf("after %s of %d bytes, time %d: Len %d, head %p, %d bytes of memory", name, size, i, b.Len(), b.head, n)
				}
				most = max(most, b.memory())
			}
			b.Reset()
			if n := b.memory(); n > 0 {
				t.Errorf("after %s and Reset: %d bytes of memory", name, n)
			}
		}
	}
	if most == 0 {
		t.Error("no Buffer has ever kept its last chunk")
	}
}

// What a Buffer has kept is used again, by all that write, if it is enough.
func TestBufferSpare(t *testing.T) {
	for name, write := range map[string]func(b *Buffer, n int){
		"Write":       func(b *Buffer, n int) { b.Write(make([]byte, n)) },
		"WriteString": func(b *Buffer, n int) { b.WriteString(string(make([]byte, n))) },
		"WriteByte":   func(b *Buffer, n int) { b.WriteByte(0) },
	} {
		var b Buffer
		for range 2 {
			b.Write(make([]byte, 100))
			b.Discard(100)
		}
		spare := b.extra.spare
		if spare == nil {
			t.Fatal("there is no spare")
		}
		write(&b, 1<<10)
		if b.head != spare || b.tail != spare || b.extra.spare != nil || b.memory() != 1<<10 {
			t.Errorf("%s did not use it", name)
		}
		b.Discard(b.Len())
		if name != "WriteByte" {
			if write(&b, 1<<10+1); b.head.next != nil {
				t.Errorf("%s has put a bit into it and the rest elsewhere", name)
			}
		}
		if err := b.check(); err != nil {
			t.Error(err)
		}
	}
}

// The Buffers of streams keep nothing.
func TestBufferLean(t *testing.T) {
	for name, drain := range drains {
		b := &Buffer{flags: lean}
		in := &Buffer{stream: new(Stream)}
		in.stream.loop.Store(new(Loop))
		for _, b := range []*Buffer{b, in} {
			for range 3 {
				b.Write(pattern(100)[11:])
				drain(b)
				b.Discard(0)
				if n := b.memory(); n > 0 {
					t.Errorf("after %s: %d bytes of memory", name, n)
				}
			}
		}
	}
}

func BenchmarkBuffer(b *testing.B) {
	for _, size := range []int{64, 4 << 10, 64 << 10} {
		p := pattern(size)
		name := fmt.Sprintf("%d", size)
		b.Run("AppendNext/"+name, func(b *testing.B) {
			var x Buffer
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				x.Write(p)
				x.Next(size)
			}
		})
		b.Run("AppendNext/"+name+"/bytes.Buffer", func(b *testing.B) {
			var x bytes.Buffer
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				x.Write(p)
				x.Next(size)
			}
		})
		b.Run("AppendRead/"+name, func(b *testing.B) {
			var x Buffer
			q := make([]byte, size)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				x.Write(p)
				x.Read(q)
			}
		})
		b.Run("AppendRead/"+name+"/bytes.Buffer", func(b *testing.B) {
			var x bytes.Buffer
			q := make([]byte, size)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				x.Write(p)
				x.Read(q)
			}
		})
	}
	// A queue of 64 messages rather than one.
	p := pattern(64)
	b.Run("Append64Read64/64", func(b *testing.B) {
		var x Buffer
		q := make([]byte, 64)
		b.ReportAllocs()
		for b.Loop() {
			for range 64 {
				x.Write(p)
			}
			for range 64 {
				x.Read(q)
			}
		}
	})
	b.Run("Append64Read64/64/bytes.Buffer", func(b *testing.B) {
		var x bytes.Buffer
		q := make([]byte, 64)
		b.ReportAllocs()
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

// fragmented returns a megabyte of zeros in chunks of 1000 bytes.
func fragmented() *Buffer {
	b := new(Buffer)
	for range 1 << 20 / 1000 {
		b.Append(make([]byte, 1000), nil)
	}
	b.Append(make([]byte, 1<<20%1000), nil)
	return b
}

func BenchmarkBufferSearch(b *testing.B) {
	x := fragmented()
	flat := make([]byte, 1<<20)
	pat := []byte("\r\n\r\n")
	run := func(name string, f func() int) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(1 << 20)
			for b.Loop() {
				if f() != -1 {
					b.Fatal("found")
				}
			}
		})
	}
	run("Byte", func() int { return x.IndexByte('x', 0) })
	run("Byte/flat", func() int { return bytes.IndexByte(flat, 'x') })
	run("Pattern", func() int { return x.Index(pat, 0) })
	run("Pattern/flat", func() int { return bytes.Index(flat, pat) })
	run("AnyEOL", func() int { at, _ := x.IndexEOL(0, AnyEOL); return at })
	run("CRLF", func() int { at, _ := x.IndexEOL(0, CRLF); return at })
}

func BenchmarkBufferReadLine(b *testing.B) {
	const count = 1000
	text := bytes.Repeat([]byte("a line of about forty bytes, more or less\r\n"), count)
	for _, style := range []EOL{LFOrCRLF, LF, CRLF, AnyEOL} {
		b.Run(fmt.Sprint(style), func(b *testing.B) {
			var src, x Buffer
			src.Write(text)
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				x.Share(&src)
				n := 0
				for {
					if _, ok := x.ReadLine(style); !ok {
						break
					}
					n++
				}
				if n != count {
					b.Fatal(n)
				}
			}
		})
	}
	b.Run("bufio.Reader", func(b *testing.B) {
		r := bytes.NewReader(text)
		x := bufio.NewReaderSize(r, len(text))
		b.ReportAllocs()
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			r.Reset(text)
			x.Reset(r)
			n := 0
			for {
				if _, err := x.ReadSlice('\n'); err != nil {
					break
				}
				n++
			}
			if n != count {
				b.Fatal(n)
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

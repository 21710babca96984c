// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"testing"
)

// ---- References and files

func TestBufferReferenceIsNotWrittenTo(t *testing.T) {
	mem := []byte("0123456789spare")
	p := mem[2:10]
	b := new(Buffer)
	b.Append(p, nil)
	b.Discard(4)
	b.Prepend([]byte("xx"))
	b.WriteString("yy")
	copy(b.Reserve(3), "zzz")
	b.Commit(3)
	var d Buffer
	d.Share(b)
	d.Discard(3)
	d.Prepend([]byte("ww"))
	d.WriteString("vv")
	expect(t, b, "xx6789yyzzz")
	expect(t, &d, "ww789yyzzzvv")
	if string(mem) != "0123456789spare" {
		t.Errorf("the memory became %q", mem)
	}
}

func TestBufferReleaseOnce(t *testing.T) {
	for name, end := range map[string]func(b *Buffer){
		"Read":    func(b *Buffer) { b.Read(make([]byte, 6)) },
		"Discard": func(b *Buffer) { b.Discard(6) },
		"Reset":   func(b *Buffer) { b.Reset() },
		"free":    func(b *Buffer) { b.free() },
		"drop":    func(b *Buffer) { freeChain(b.cut(6)) },
		"WriteTo": func(b *Buffer) { b.WriteTo(io.Discard) },
		"Next":    func(b *Buffer) { b.Next(6); b.Peek(0) },
		"ReadByte": func(b *Buffer) {
			for range 6 {
				b.ReadByte()
			}
		},
		"moved":  func(b *Buffer) { var d Buffer; d.AppendBuffer(b); d.Discard(6) },
		"split":  func(b *Buffer) { var d Buffer; d.MoveN(b, 2); d.Reset(); b.Reset() },
		"copied": func(b *Buffer) { b.Prepend([]byte("x")); b.Peek(7) },
	} {
		var c counter
		b := new(Buffer)
		b.Append([]byte("abcdef"), c.release)
		c.want(t, 0, "before "+name)
		end(b)
		c.want(t, 1, "by "+name)
		b.Reset()
		c.want(t, 1, "after "+name)
	}
	var c counter // large parts are shared, and counted
	var a, b, d Buffer
	data := pattern(10_000)
	a.Append(data, c.release)
	b.MoveN(&a, 4000)
	d.MoveN(&a, 4000)
	a.Reset()
	b.Reset()
	c.want(t, 0, "while a part is left")
	expect(t, &d, string(data[4000:8000]))
	d.Reset()
	c.want(t, 1, "at the end")
}

// See also TestBufferImpossibleSizes.
func TestBufferFailedAddReleasesNothing(t *testing.T) {
	var c counter
	var b Buffer
	f := tempFile(t, []byte("abc"))
	for i, err := range []error{
		b.AppendFile(nil, 0, 1, c.release), b.AppendFile(f, -1, 1, c.release), b.AppendFile(f, 0, -1, c.release),
	} {
		if err == nil {
			t.Errorf("%d succeeded", i)
		}
	}
	b.Freeze(false, true)
	if b.Append([]byte("x"), c.release) != ErrFrozen || b.AppendFile(f, 0, 1, c.release) != ErrFrozen {
		t.Error("not frozen")
	}
	c.want(t, 0, "by calls that failed")
	expect(t, &b, "")
}

func TestBufferShareIndependently(t *testing.T) {
	var c counter
	var a Buffer
	data := pattern(100_000)
	a.Append(data[:50_000], c.release)
	a.Write(data[50_000:])
	var b, d Buffer
	b.WriteString("x")
	if err := b.Share(&a); err != nil {
		t.Fatal(err)
	}
	expect(t, &a, string(data))
	a.WriteString("more of a")
	b.WriteString("more of b")
	if err := d.Share(&b); err != nil { // sharing what is shared works here, unlike in libevent
		t.Fatal(err)
	}
	a.Discard(99_000)
	b.Discard(7)
	expect(t, &a, string(data[99_000:])+"more of a")
	expect(t, &b, string(data[6:])+"more of b")
	expect(t, &d, "x"+string(data)+"more of b")
	a.Reset()
	b.Reset()
	c.want(t, 0, "while one shares it")
	expect(t, &d, "x"+string(data)+"more of b")
	d.Discard(50_000)
	c.want(t, 0, "while a byte is left")
	d.Discard(1)
	c.want(t, 1, "with its last byte")
	expect(t, &d, string(data[50_000:])+"more of b")
}

func TestBufferAddedToItself(t *testing.T) {
	b := pieces("abc")
	for i, err := range []error{b.Share(b), b.AppendBuffer(b), b.PrependBuffer(b)} {
		if !errors.Is(err, errSelf) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if _, err := b.MoveN(b, 1); !errors.Is(err, errSelf) {
		t.Error(err)
	}
	if _, err := io.Copy(b, b); !errors.Is(err, errSelf) {
		t.Error(err)
	}
	expect(t, b, "abc")
}

func TestBufferFileIsRead(t *testing.T) {
	data := pattern(200_000)
	f := tempFile(t, data)
	for _, part := range [][2]int{{0, 200_000}, {0, 1}, {100, 70_000}, {199_999, 1}, {5, 0}} {
		off, n := part[0], part[1]
		want := "head" + string(data[off:off+n]) + "tail"
		for name, read := range map[string]func(b *Buffer) []byte{
			"Read":     func(b *Buffer) []byte { p, _ := io.ReadAll(struct{ io.Reader }{b}); return p },
			"WriteTo":  func(b *Buffer) []byte { var w bytes.Buffer; b.WriteTo(&w); return w.Bytes() },
			"Next":     func(b *Buffer) []byte { return bytes.Clone(b.Next(b.Len())) },
			"Peek":     func(b *Buffer) []byte { p, _ := b.Peek(b.Len()); return bytes.Clone(p) },
			"CopyTo":   func(b *Buffer) []byte { return b.contents() },
			"Segments": func(b *Buffer) []byte { return slices.Concat(slices.Collect(b.Segments())...) },
			"ReadByte": func(b *Buffer) (p []byte) {
				for {
					x, err := b.ReadByte()
					if err != nil {
						return p
					}
					p = append(p, x)
				}
			},
			"MoveN": func(b *Buffer) []byte {
				var d Buffer
				d.MoveN(b, b.Len()/2)
				d.AppendBuffer(b)
				p := d.contents()
				d.Reset()
				return p
			},
			"Share": func(b *Buffer) []byte {
				var d Buffer
				d.Share(b)
				b.Reset()
				p := d.contents()
				d.Reset()
				return p
			},
		} {
			var c counter
			b := pieces("head")
			if err := b.AppendFile(f, int64(off), int64(n), c.release); err != nil {
				t.Fatal(err)
			}
			b.WriteString("tail")
			if b.Len() != len(want) {
				t.Fatalf("Len %d; want %d", b.Len(), len(want))
			}
			if got := read(b); string(got) != want {
				t.Errorf("%s of %d bytes at %d differs", name, n, off)
			}
			if err := b.check(); err != nil {
				t.Error(err)
			}
			b.Reset()
			c.want(t, 1, "after "+name)
		}
	}
	b := pieces("xy")
	b.AppendFile(f, 0, 200_000, nil)
	if at := b.Index(data[150_000:150_100], 0); at != bytes.Index(data, data[150_000:150_100])+2 {
		t.Errorf("Index = %d", at)
	}
	for _, from := range []int{70_000, 150_000} { // behind what is read first
		b := pieces("xy")
		b.AppendFile(f, 0, 200_000, nil)
		if at := b.Index(data[199_000:199_100], from); at != bytes.Index(data[from-2:], data[199_000:199_100])+from {
			t.Errorf("Index from %d = %d", from, at)
		}
		b.Reset()
		b.AppendFile(f, 0, 200_000, nil)
		if at := b.IndexByte(data[from+3], from); at < from || at > from+3 || data[at] != data[from+3] {
			t.Errorf("IndexByte from %d = %d", from, at)
		}
		if at, size := b.IndexEOL(from, AnyEOL); at < from || size != 1 {
			t.Errorf("IndexEOL from %d = %d, %d", from, at, size)
		}
	}
}

func TestBufferFileReleasedAfterAllUses(t *testing.T) {
	var c counter
	f := tempFile(t, []byte("0123456789"))
	var a, b, d Buffer
	a.AppendFile(f, 0, 10, c.release)
	b.Share(&a)
	d.MoveN(&a, 5)
	a.Reset()
	b.Discard(9)
	d.Reset()
	c.want(t, 0, "while a byte is left")
	expect(t, &b, "9")
	b.Reset()
	c.want(t, 1, "at the end")
}

func TestBufferFileTruncated(t *testing.T) {
	f := tempFile(t, []byte("0123456789"))
	make := func() *Buffer {
		b := pieces("ab")
		b.AppendFile(f, 4, 10, nil)
		b.WriteString("c")
		return b
	}
	b := make()
	p, err := io.ReadAll(struct{ io.Reader }{b})
	if string(p) != "ab456789" || err != io.ErrUnexpectedEOF {
		t.Errorf("ReadAll = %q, %v", p, err)
	}
	if _, err := b.ReadByte(); err != io.ErrUnexpectedEOF {
		t.Errorf("ReadByte: %v", err)
	}
	if n := b.Discard(100); n != 5 {
		t.Errorf("Discard = %d", n)
	}
	expect(t, b, "")
	b = make()
	if n, err := b.WriteTo(io.Discard); n != 8 || err != io.ErrUnexpectedEOF || b.Len() != 5 {
		t.Errorf("WriteTo = %d, %v; Len %d", n, err, b.Len())
	}
	b = make()
	if p, err := b.Peek(9); string(p) != "ab456789" || err != io.ErrUnexpectedEOF {
		t.Errorf("Peek = %q, %v", p, err)
	}
	b = make()
	if p := b.Next(9); string(p) != "ab456789" {
		t.Errorf("Next = %q", p)
	}
	if p := b.Next(9); p != nil {
		t.Errorf("Next = %q", p)
	}
	b = make()
	if p := slices.Concat(slices.Collect(b.Segments())...); string(p) != "ab456789" {
		t.Errorf("Segments gave %q", p)
	}
	if p := string(make().contents()); p != "ab456789" {
		t.Errorf("CopyTo gave %q", p)
	}
	if make().IndexByte('c', 0) != -1 || make().Index([]byte("c"), 0) != -1 {
		t.Error("found behind the failure")
	}
	if at, size := make().IndexEOL(0, AnyEOL); at != -1 || size != 0 {
		t.Error("found behind the failure")
	}
	b = make()
	f.Close()
	b.Discard(2)
	if _, err := b.Read([]byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Read: %v", err)
	}
	if err := b.check(); err != nil {
		t.Error(err)
	}
}

// ---- How long memory stays

func TestBufferSlicesStayUntilTheNextCall(t *testing.T) {
	var c counter
	b := new(Buffer)
	b.Append([]byte("first\n"), c.release)
	b.Append([]byte("second"), c.release)
	line, ok := b.ReadLine(LF)
	c.want(t, 0, "while the line may be used")
	if string(line) != "first" || !ok || b.Len() != 6 {
		t.Fatalf("ReadLine = %q, %v", line, ok)
	}
	p := b.Next(6)
	c.want(t, 1, "by the next call")
	if string(p) != "second" {
		t.Fatalf("Next = %q", p)
	}
	b.Write(nil)
	c.want(t, 2, "by the next call")
	expect(t, b, "")

	b.WriteString("echo")
	b.Write(b.Next(4)) // the slice is still good for the call that follows
	expect(t, b, "echo")
	b.Prepend(b.Next(2))
	expect(t, b, "echo")
	b.Reset()
	b.Append([]byte("own"), c.release)
	b.Prepend(b.Next(3))
	expect(t, b, "own")
	c.want(t, 3, "by Prepend")

	b.Reset()
	b.WriteString("abcdef")
	p = b.Next(2)
	_ = append(p, "XX"...)
	q, _ := b.Peek(2)
	_ = append(q, "XX"...)
	for s := range b.Segments() {
		_ = append(s, "XX"...)
	}
	expect(t, b, "cdef")
}

func TestBufferReleasePanics(t *testing.T) {
	var c counter
	b := new(Buffer)
	bad := func() { c++; panic("release") }
	b.Append([]byte("ab"), bad)
	b.Append([]byte("cd"), c.release)
	b.Append([]byte("ef"), bad)
	b.Append([]byte("gh"), c.release)
	b.WriteString("ij")
	removed := 0
	b.OnChange(func(_, n int) { removed += n })
	mustPanic(t, func() { b.Discard(9) })
	expect(t, b, "j")
	c.want(t, 4, "by Discard")
	if removed != 9 {
		t.Errorf("told of %d bytes", removed)
	}
	b.Discard(1)
	b.Append([]byte("k"), bad)
	b.Next(1)
	mustPanic(t, func() { b.WriteString("l") })
	expect(t, b, "l")
	b.Discard(1)
	b.Append([]byte("m"), bad)
	mustPanic(t, func() { b.Reset() })
	expect(t, b, "")
	mustPanic(t, func() { b.Append(nil, bad) })
	expect(t, b, "")
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
		b := &Buffer{flags: bufNoSpare}
		s := new(Stream)
		s.limits.Store(&limits{readLow: 1 << 20}) // so that it says nothing of what is left
		in := &Buffer{stream: s}
		in.stream.route.Store(&route{loop: new(Loop)})
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

// Looking for the first file does not walk over the whole chain: it is asked for each
// write to a pipe.
func TestBeforeFileIsBounded(t *testing.T) {
	f := tempFile(t, []byte("file"))
	var b Buffer
	for range 10 * maxVector {
		b.Append([]byte("x"), nil)
	}
	if n := b.beforeFile(5); n < 5 {
		t.Errorf("%d bytes before the first file, which there is not", n)
	}
	b.AppendFile(f, 0, 4, nil)
	if n := b.beforeFile(b.Len()); n < 1 || n > maxVector {
		t.Errorf("beforeFile has passed %d chunks, want at most %d", n, maxVector)
	}
	for b.Len() > 4 {
		b.Discard(b.beforeFile(b.Len()))
	}
	expect(t, &b, "file")
}

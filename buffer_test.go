// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

// check returns what is wrong with the invariants of b.
func (b *Buffer) check() error {
	if (b.head == nil) != (b.tail == nil) {
		return fmt.Errorf("head %p, tail %p", b.head, b.tail)
	}
	n := 0
	found := b.flags&bufFound == 0
	for c := b.head; c != nil; c = c.next {
		if c.next == nil && c != b.tail {
			return errors.New("tail is not the last chunk")
		}
		if b.flags&bufFound != 0 && c == b.extra.found {
			if found = true; b.extra.base != n || c.isFile() {
				return fmt.Errorf("a search found %d where %d is", b.extra.base, n)
			}
		}
		n += c.size()
		switch {
		case c.r < 0 || c.w < c.r:
			return fmt.Errorf("chunk from %d to %d", c.r, c.w)
		case c.size() == 0 && (c != b.head || b.flags&bufHeld == 0):
			return errors.New("empty chunk")
		case c.isFile() && c.buf != nil:
			return errors.New("file chunk with memory")
		case !c.isFile() && c.w > len(c.buf):
			return fmt.Errorf("chunk to %d of %d", c.w, len(c.buf))
		case c.mem != nil && c.class != 0:
			return errors.New("shared chunk of a class")
		case c.mem != nil && c.mem.refs.Load() < 1:
			return errors.New("memory without references")
		case c.class != 0 && len(c.buf) != classSize(c.class):
			return fmt.Errorf("%d bytes in class %d", len(c.buf), c.class)
		}
	}
	if n != b.n {
		return fmt.Errorf("n = %d, the chunks have %d", b.n, n)
	}
	if !found {
		return errors.New("a search found a chunk that is gone")
	}
	x := b.extra
	if x == nil {
		if b.flags&(bufFound|bufScanned|bufWatched) != 0 {
			return errors.New("nothing extra")
		}
		return nil
	}
	if b.flags&bufReserved == 0 && (x.reserved != nil || x.room != 0) {
		return errors.New("a reservation is left over")
	}
	if (b.flags&bufFound != 0) != (x.found != nil) {
		return errors.New("a search is remembered in part")
	}
	if b.flags&bufScanned != 0 && (x.scanned < 1 || x.scanned >= b.n) {
		return fmt.Errorf("looked for a line end in %d of %d bytes", x.scanned, b.n)
	}
	if (b.flags&bufWatched != 0) != (x.onChange != nil) {
		return errors.New("watched by nobody, or somebody without that flag")
	}
	if c := x.spare; c != nil && (c.class != minClass || c.mem != nil || c.next != nil || c.r != 0 || c.w != 0 || c == b.tail) {
		return errors.New("a spare that is none")
	}
	return nil
}

// chunks returns the sizes of b's chunks.
func (b *Buffer) chunks() []int {
	var sizes []int
	for c := b.head; c != nil; c = c.next {
		sizes = append(sizes, c.size())
	}
	return sizes
}

// contents returns a copy of b's bytes.
func (b *Buffer) contents() []byte {
	p := make([]byte, b.n)
	return p[:b.CopyTo(p, 0)]
}

func TestBufferAddAndDrain(t *testing.T) {
	var a, b Buffer
	expect(t, &a, "")
	a.Write([]byte("hello"))
	fmt.Fprintf(&a, ", %s %d", "world", 7)
	a.WriteByte('!')
	a.WriteString("?")
	expect(t, &a, "hello, world 7!?")
	if n := a.Discard(7); n != 7 {
		t.Fatalf("Discard = %d", n)
	}
	expect(t, &a, "world 7!?")
	b.WriteString("<")
	if err := b.AppendBuffer(&a); err != nil {
		t.Fatal(err)
	}
	expect(t, &a, "")
	expect(t, &b, "<world 7!?")
	if x, err := b.ReadByte(); x != '<' || err != nil {
		t.Fatalf("ReadByte = %q, %v", x, err)
	}
	if n := b.Discard(1000); n != 9 {
		t.Fatalf("Discard = %d", n)
	}
	expect(t, &b, "")
	if a.head != nil || b.head != nil {
		t.Error("an empty Buffer holds memory")
	}
}

// Few bytes that arrive one after the other must not hold a chunk each.
func TestBufferSpliceCoalesces(t *testing.T) {
	var in, inbox Buffer
	for range 10_000 {
		inbox.add([]byte("ab"))
		in.splice(&inbox)
	}
	if n := len(in.chunks()); n > 40 {
		t.Errorf("%d chunks for %d bytes", n, in.Len())
	}
}

func TestBufferOnChange(t *testing.T) {
	var got []int
	var b Buffer
	hook := func(added, removed int) {
		got = append(got, added, removed)
		if b.check() != nil {
			t.Error(b.check())
		}
	}
	b.OnChange(hook)
	steps := []struct {
		f              func()
		added, removed int
	}{
		{func() { b.Write([]byte("abc")) }, 3, 0},
		{func() { b.WriteString("de") }, 2, 0},
		{func() { b.WriteByte('f') }, 1, 0},
		{func() { b.Discard(2) }, 0, 2},
		{func() { b.Prepend([]byte("ab")) }, 2, 0},
		{func() { b.Append([]byte("ghi"), nil) }, 3, 0},
		{func() { b.Next(1) }, 0, 1},
		{func() { b.Read(make([]byte, 2)) }, 0, 2},
		{func() { b.ReadByte() }, 0, 1},
		{func() { b.AppendBuffer(pieces("\n")) }, 1, 0},
		{func() { b.ReadLine(LF) }, 0, 6},
		{func() { b.PrependBuffer(pieces("xyz")) }, 3, 0},
		{func() { new(Buffer).MoveN(&b, 1) }, 0, 1},
		{func() { b.MoveN(pieces("xyz"), 2) }, 2, 0},
		{func() { b.Share(pieces("xyz")) }, 3, 0},
		{func() { new(Buffer).Share(&b) }, 0, 0},
		{func() { b.Reserve(4) }, 0, 0},
		{func() { b.Commit(4) }, 4, 0},
		{func() { b.ReadFrom(bytes.NewReader([]byte("12"))) }, 2, 0},
		{func() { b.Peek(100) }, 0, 0},
		{func() { b.AppendFile(tempFile(t, []byte("x")), 0, 1, nil) }, 1, 0},
		{func() { new(Buffer).AppendBuffer(&b) }, 0, 14},
		{func() { b.Write(nil) }, 0, 0},
		{func() { b.Discard(1) }, 0, 0},
		{func() { b.WriteString("again") }, 5, 0},
		{func() { b.WriteTo(io.Discard) }, 0, 5},
		{func() { b.WriteString("again") }, 5, 0},
		{func() { b.Reset() }, 0, 5},
		{func() { b.Reset() }, 0, 0},
	}
	for i, step := range steps {
		got = got[:0]
		step.f()
		want := []int{step.added, step.removed}
		if step.added == 0 && step.removed == 0 {
			want = want[:0]
		}
		if !slices.Equal(got, want) {
			t.Errorf("step %d: told %v; want %v", i, got, want)
		}
	}
	b.OnChange(nil)
	b.WriteString("unseen")
	got = got[:0]
	b.OnChange(hook)
	if len(got) != 0 {
		t.Error("an earlier change was replayed")
	}
}

func TestBufferFrozenFront(t *testing.T) {
	b := pieces("abc\n", "def")
	b.Freeze(true, false)
	if n, err := b.Read(make([]byte, 2)); n != 0 || err != ErrFrozen {
		t.Errorf("Read = %d, %v", n, err)
	}
	if _, err := b.ReadByte(); err != ErrFrozen {
		t.Errorf("ReadByte: %v", err)
	}
	if n, err := b.WriteTo(io.Discard); n != 0 || err != ErrFrozen {
		t.Errorf("WriteTo = %d, %v", n, err)
	}
	if p := b.Next(1); p != nil {
		t.Errorf("Next = %q", p)
	}
	if n := b.Discard(1); n != 0 {
		t.Errorf("Discard = %d", n)
	}
	if line, ok := b.ReadLine(LF); ok {
		t.Errorf("ReadLine = %q", line)
	}
	for range b.Lines(LF) {
		t.Error("a line")
	}
	if n, err := new(Buffer).MoveN(b, 1); n != 0 || err != ErrFrozen {
		t.Errorf("MoveN = %d, %v", n, err)
	}
	if n, err := io.Copy(new(Buffer), b); n != 0 || err != ErrFrozen {
		t.Errorf("Copy = %d, %v", n, err)
	}
	for i, err := range []error{
		b.Prepend([]byte("x")), b.PrependBuffer(pieces("x")), new(Buffer).AppendBuffer(b), new(Buffer).PrependBuffer(b),
	} {
		if err != ErrFrozen {
			t.Errorf("%d: %v", i, err)
		}
	}
	expect(t, b, "abc\ndef")
	b.WriteString("ghi")
	b.AppendBuffer(pieces("j"))
	var d Buffer
	if err := d.Share(b); err != nil {
		t.Error(err)
	}
	if p, err := b.Peek(3); string(p) != "abc" || err != nil {
		t.Errorf("Peek = %q, %v", p, err)
	}
	expect(t, b, "abc\ndefghij")
	expect(t, &d, "abc\ndefghij")
	b.Freeze(false, false)
	if line, ok := b.ReadLine(LF); string(line) != "abc" || !ok {
		t.Errorf("ReadLine = %q, %v", line, ok)
	}
}

func TestBufferFrozenBack(t *testing.T) {
	b := pieces("abc")
	p := b.Reserve(10)
	b.Freeze(false, true)
	f := tempFile(t, []byte("x"))
	if err := b.Commit(len(p)); err != ErrFrozen {
		t.Errorf("Commit: %v", err)
	}
	if p := b.Reserve(10); p != nil {
		t.Error("Reserve gave room")
	}
	src := pieces("x")
	if _, err := b.Write([]byte("x")); err != ErrFrozen {
		t.Errorf("Write: %v", err)
	}
	if _, err := b.WriteString("x"); err != ErrFrozen {
		t.Errorf("WriteString: %v", err)
	}
	if _, err := fmt.Fprintf(b, "x"); err != ErrFrozen {
		t.Errorf("Fprintf: %v", err)
	}
	if n, err := b.ReadFrom(bytes.NewReader([]byte("x"))); n != 0 || err != ErrFrozen {
		t.Errorf("ReadFrom = %d, %v", n, err)
	}
	if n, err := b.MoveN(src, 1); n != 0 || err != ErrFrozen {
		t.Errorf("MoveN = %d, %v", n, err)
	}
	for i, err := range []error{
		b.WriteByte('x'), b.Append([]byte("x"), nil), b.AppendBuffer(src), b.Share(src), b.AppendFile(f, 0, 1, nil),
	} {
		if err != ErrFrozen {
			t.Errorf("%d: %v", i, err)
		}
	}
	expect(t, b, "abc")
	expect(t, src, "x")
	if p := b.Next(2); string(p) != "ab" {
		t.Errorf("Next = %q", p)
	}
	b.Prepend([]byte("yz"))
	expect(t, b, "yzc")
	b.Reset()
	expect(t, b, "")
}

func TestBufferNewBuffer(t *testing.T) {
	p := append(make([]byte, 0, 10), "abc"...)
	b := NewBuffer(p)
	b.WriteString("de")
	expect(t, b, "abcde")
	if string(p[:5]) != "abcde" {
		t.Error("the capacity was not used")
	}
	b.Discard(1)
	b.Prepend([]byte("x"))
	expect(t, b, "xbcde")
	b.Reset()
	expect(t, b, "")
	expect(t, NewBuffer(nil), "")
	expect(t, NewBuffer(make([]byte, 0, 5)), "")
}

// A file may be said to be far longer than it is, and than memory.
func TestBufferHugeFiles(t *testing.T) {
	f := tempFile(t, []byte("file"))
	huge := func(n int64) *Buffer {
		b := pieces("abc", "def")
		if err := b.AppendFile(f, 0, n, nil); err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, n := range []int64{5, 1 << 30, math.MaxInt - 6} {
		b := huge(n)
		if p, err := b.Peek(b.Len()); string(p) != "abcdeffile" || err != io.ErrUnexpectedEOF {
			t.Errorf("of %d: Peek gives %q, %v", n, p, err)
		}
		if err := b.check(); err != nil {
			t.Error(err)
		}
		if p := huge(n).Next(math.MaxInt); string(p) != "abcdeffile" {
			t.Errorf("of %d: Next gives %q", n, p)
		}
		p := make([]byte, 20)
		if k := huge(n).CopyTo(p, 0); string(p[:k]) != "abcdeffile" {
			t.Errorf("of %d: CopyTo gives %q", n, p[:k])
		}
		if _, ok := huge(n).ReadLine(LF); ok {
			t.Errorf("of %d: there is a line", n)
		}
		if k, err := huge(n).WriteTo(io.Discard); k != 10 || err != io.ErrUnexpectedEOF {
			t.Errorf("of %d: WriteTo gives %d, %v", n, k, err)
		}
		b, c := huge(n), new(Buffer)
		c.WriteString("x")
		if k, err := c.MoveN(b, math.MaxInt); err != nil && !errors.Is(err, ErrTooLarge) || k+b.Len() != int(n)+6 {
			t.Errorf("of %d: MoveN gives %d, %v and leaves %d", n, k, err, b.Len())
		}
	}

	b := huge(math.MaxInt - 6)
	r := strings.NewReader("abc")
	if n, err := b.ReadFrom(r); n != 0 || !errors.Is(err, ErrTooLarge) || r.Len() != 3 {
		t.Errorf("ReadFrom gives %d, %v and leaves %d bytes", n, err, r.Len())
	}
	b.Discard(b.Len() - 2)
	b.Reset()
	b.AppendFile(f, 0, math.MaxInt-2, nil)
	if n, err := b.ReadFrom(r); n != 2 || !errors.Is(err, ErrTooLarge) || r.Len() != 1 {
		t.Errorf("ReadFrom gives %d, %v and leaves %d bytes", n, err, r.Len())
	}
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

// go vet reports copies of a Buffer: so it does of all that contain a sync.Locker.
func TestBufferNoCopy(t *testing.T) {
	locker := reflect.TypeFor[sync.Locker]()
	for f := range reflect.TypeFor[Buffer]().NumField() {
		if reflect.PointerTo(reflect.TypeFor[Buffer]().Field(f).Type).Implements(locker) {
			return
		}
	}
	t.Error("there is no field that copying is reported of")
}

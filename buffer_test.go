// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
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

// ---- Add, move, drain

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

func TestBufferMoveSplitsAChunk(t *testing.T) {
	for _, size := range []int{100, 3000} { // a small part is copied, a large one shared
		var a, b Buffer
		data := pattern(4 * size)
		for i := range 4 {
			a.Append(data[i*size:(i+1)*size], nil)
		}
		b.WriteString("x")
		n, err := b.MoveN(&a, 2*size+size/2)
		if n != 2*size+size/2 || err != nil {
			t.Fatalf("MoveN = %d, %v", n, err)
		}
		expect(t, &b, "x"+string(data[:n]))
		expect(t, &a, string(data[n:]))
		a.WriteString("end")
		b.WriteString("end")
		expect(t, &b, "x"+string(data[:n])+"end")
		expect(t, &a, string(data[n:])+"end")
	}
	// Room is not shared: both parts of a chunk of the Buffer's own go on growing.
	var a, b Buffer
	data := pattern(60000)
	a.Write(data)
	b.MoveN(&a, 30000)
	a.Write(data[:1000])
	b.Write(data[:2000])
	b.Prepend([]byte("front"))
	a.Prepend([]byte("middle"))
	expect(t, &b, "front"+string(data[:30000])+string(data[:2000]))
	expect(t, &a, "middle"+string(data[30000:])+string(data[:1000]))
}

func TestBufferEmptyPieces(t *testing.T) {
	var c counter
	b := new(Buffer)
	for _, s := range []string{"", "one", "", "", "two", ""} {
		b.Append([]byte(s), c.release)
		b.Write(nil)
		b.AppendBuffer(new(Buffer))
		b.PrependBuffer(new(Buffer))
		b.Prepend(nil)
		b.Share(new(Buffer))
		b.MoveN(pieces("x"), 0)
		expect(t, b, string(b.contents()))
	}
	c.want(t, 4, "for the empty pieces")
	expect(t, b, "onetwo")
	p, err := b.Peek(6)
	if string(p) != "onetwo" || err != nil {
		t.Fatalf("Peek = %q, %v", p, err)
	}
	c.want(t, 6, "after the pull-up") // its bytes were copied
	expect(t, b, "onetwo")
}

func TestBufferWriteAfterPartialCommit(t *testing.T) {
	var b Buffer
	b.WriteString("a")
	copy(b.Reserve(5000), "bcd")
	if err := b.Commit(1); err != nil {
		t.Fatal(err)
	}
	b.WriteString("e")
	b.Prepend([]byte("0"))
	var d Buffer
	d.AppendBuffer(&b)
	expect(t, &d, "0abe")
	expect(t, &b, "")
}

func TestBufferPrepend(t *testing.T) {
	var b Buffer
	want := ""
	for i := range 300 {
		p := pattern(i)
		if err := b.Prepend(p); err != nil {
			t.Fatal(err)
		}
		want = string(p) + want
	}
	expect(t, &b, want)
	b.Reset()

	b.WriteString("abcdef")
	b.Discard(3)
	b.Prepend([]byte("xy")) // in the room in front
	if len(b.chunks()) != 1 {
		t.Errorf("chunks %v; want one", b.chunks())
	}
	expect(t, &b, "xydef")
	b.Prepend([]byte("12345")) // the last byte in front, the rest in another chunk
	expect(t, &b, "12345xydef")
	if len(b.chunks()) != 2 {
		t.Errorf("chunks %v; want two", b.chunks())
	}
	b.Reset()
	big := pattern(300_000)
	b.Prepend(big)
	expect(t, &b, string(big))
}

func TestBufferPrependBuffer(t *testing.T) {
	a, b := pieces("c", "d"), pieces("a", "b")
	if err := a.PrependBuffer(b); err != nil {
		t.Fatal(err)
	}
	expect(t, a, "abcd")
	expect(t, b, "")
	if err := b.PrependBuffer(a); err != nil {
		t.Fatal(err)
	}
	expect(t, b, "abcd")
	b.WriteString("e")
	expect(t, b, "abcde")
}

func TestBufferPrependToEmptyReference(t *testing.T) {
	var b Buffer
	b.Append(nil, nil)
	b.Prepend([]byte("x"))
	expect(t, &b, "x")
	b.Reset()
	b.Append([]byte{}, nil)
	b.PrependBuffer(pieces("y"))
	expect(t, &b, "y")
}

func TestBufferReserveUsesRoom(t *testing.T) {
	var b Buffer
	p := b.Reserve(3000)
	if len(p) < 3000 {
		t.Fatalf("Reserve gave %d bytes", len(p))
	}
	if q := b.Reserve(len(p)); &q[0] != &p[0] {
		t.Error("room that suffices was replaced")
	}
	b.Commit(copy(p, "hello"))
	expect(t, &b, "hello")
	if len(b.chunks()) != 1 {
		t.Errorf("chunks %v; want one", b.chunks())
	}
	if q := b.Reserve(len(p) - 5); &q[0] != &p[5] {
		t.Error("the room of the tail was not used")
	}
}

func TestBufferImpossibleSizes(t *testing.T) {
	const maxInt = math.MaxInt
	b := pieces("abc")
	b.WriteString("def")
	sizes := []int{maxInt, maxInt - 5, 0, -1}
	if bits.UintSize == 64 {
		sizes = append(sizes, maxInt-6, maxInt/2, maxInt>>13) // more than there are addresses
	}
	for _, n := range sizes {
		if p := b.Reserve(n); p != nil {
			t.Errorf("Reserve(%d) gave %d bytes", n, len(p))
		}
		expect(t, b, "abcdef")
	}
	f := tempFile(t, nil)
	if err := b.AppendFile(f, 0, int64(maxInt)-6, nil); err != nil {
		t.Fatal(err)
	}
	n := b.Len()
	if n != maxInt {
		t.Fatalf("Len %d", n)
	}
	var c counter
	one := pieces("x")
	if _, err := b.Write([]byte("x")); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Write: %v", err)
	}
	if _, err := b.WriteString("x"); !errors.Is(err, ErrTooLarge) {
		t.Errorf("WriteString: %v", err)
	}
	for i, err := range []error{
		b.WriteByte('x'), b.Prepend([]byte("x")), b.Append([]byte("x"), c.release), b.AppendBuffer(one),
		b.PrependBuffer(one), b.Share(one), b.AppendFile(f, 0, 1, c.release), b.AppendFile(f, 2, 1<<63-2, c.release),
	} {
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if _, err := b.MoveN(one, 1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("MoveN: %v", err)
	}
	if p := b.Reserve(1); p != nil {
		t.Error("Reserve gave room")
	}
	if b.Len() != n || b.check() != nil {
		t.Fatal(b.Len(), b.check())
	}
	expect(t, one, "x")
	c.want(t, 0, "by calls that failed")
	b.Reset()
	expect(t, b, "")
}

func TestBufferAppendAtTheEdge(t *testing.T) {
	for _, n := range []int{1023, 1024, 1025, 4095, 4096, 65535, 65536, 65537} {
		var b Buffer
		data := pattern(n)
		b.Write(data)
		b.WriteByte('1')
		b.WriteString("23")
		b.Write([]byte("4"))
		b.Reserve(n)
		b.WriteString("5")
		expect(t, &b, string(data)+"12345")
	}
}

func TestBufferWastesLittle(t *testing.T) {
	var b Buffer
	p := pattern(3000)
	for i := range 100_000 {
		b.Write(p[:uint32(i)*2654435761>>8%1000])
		if i%1000 != 0 || b.n < 10000 {
			continue
		}
		have := 0
		for c := b.head; c != nil; c = c.next {
			have += len(c.buf) + 64 // the chunk itself
		}
		if waste := have - b.n; waste > have/8 {
			t.Fatalf("%d of %d bytes wasted after %d appends", waste, have, i)
		}
	}
	if err := b.check(); err != nil {
		t.Fatal(err)
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

func TestBufferPiecesStay(t *testing.T) {
	var b Buffer
	total := 0
	for _, s := range []string{"guten", "", " morgen", "!"} {
		n, err := b.Write([]byte(s))
		if n != len(s) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
		total += n
	}
	if total != b.Len() {
		t.Errorf("wrote %d, Len %d", total, b.Len())
	}
	expect(t, &b, "guten morgen!")
}

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

// ---- Reserve and commit

func TestBufferReserveIsInvisible(t *testing.T) {
	var b Buffer
	b.WriteString("x")
	for _, n := range []int{1, 10, 2000, 100_000, 2_000_000} {
		p := b.Reserve(n)
		if len(p) < n {
			t.Fatalf("Reserve(%d) gave %d", n, len(p))
		}
		copy(p, "invisible")
		if q := b.Reserve(n); &q[0] != &p[0] || len(q) < n {
			t.Error("a second Reserve gave other room")
		}
		expect(t, &b, "x")
	}
	b.Reset()
	expect(t, &b, "")
}

// Exactly the committed bytes appear.
func TestBufferCommit(t *testing.T) {
	data := pattern(5000)
	for _, n := range []int{0, 1, 500, 4999, 5000} {
		var b Buffer
		b.WriteString("x")
		copy(b.Reserve(5000), data)
		if err := b.Commit(n); err != nil {
			t.Fatal(err)
		}
		expect(t, &b, "x"+string(data[:n]))
		if err := b.Commit(1); err == nil {
			t.Error("a second Commit succeeded")
		}
	}
}

func TestBufferBadCommit(t *testing.T) {
	var b Buffer
	if err := b.Commit(0); err != nil {
		t.Errorf("Commit(0) of nothing: %v", err)
	}
	if err := b.Commit(1); err == nil {
		t.Error("Commit without Reserve succeeded")
	}
	p := b.Reserve(10)
	if err := b.Commit(-1); err == nil {
		t.Error("Commit(-1) succeeded")
	}
	if err := b.Commit(len(p) + 1); err == nil {
		t.Error("Commit of more than was reserved succeeded")
	}
	expect(t, &b, "")
	copy(p, "abc")
	if err := b.Commit(3); err != nil {
		t.Error(err)
	}
	expect(t, &b, "abc")
	for name, change := range map[string]func(){
		"Write":        func() { b.WriteByte('d') },
		"Read":         func() { b.ReadByte() },
		"Prepend":      func() { b.Prepend([]byte("a")) },
		"AppendBuffer": func() { b.AppendBuffer(pieces("d")) },
		"splice":       func() { b.splice(pieces("d")) },
		"Reset":        func() { b.Reset() },
	} {
		b.Reset()
		b.WriteString("abc")
		b.Reserve(10)
		change()
		want := string(b.contents())
		if err := b.Commit(3); err == nil {
			t.Errorf("Commit after %s succeeded", name)
		}
		expect(t, &b, want)
	}
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

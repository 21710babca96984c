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
	"os"
	"slices"
	"testing"
)

// check returns what is wrong with the invariants of b.
func (b *Buffer) check() error {
	if (b.head == nil) != (b.tail == nil) {
		return fmt.Errorf("head %p, tail %p", b.head, b.tail)
	}
	n := 0
	found := b.flags&sought == 0
	for c := b.head; c != nil; c = c.next {
		if c.next == nil && c != b.tail {
			return errors.New("tail is not the last chunk")
		}
		if b.flags&sought != 0 && c == b.extra.found {
			if found = true; b.extra.base != n || c.isFile() {
				return fmt.Errorf("a search found %d where %d is", b.extra.base, n)
			}
		}
		n += c.size()
		switch {
		case c.r < 0 || c.w < c.r:
			return fmt.Errorf("chunk from %d to %d", c.r, c.w)
		case c.size() == 0 && (c != b.head || b.flags&held == 0):
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
		if b.flags&(sought|watched) != 0 {
			return errors.New("nothing extra")
		}
		return nil
	}
	if b.flags&reserved == 0 && (x.reserved != nil || x.room != 0) {
		return errors.New("a reservation is left over")
	}
	if (b.flags&sought != 0) != (x.found != nil) {
		return errors.New("a search is remembered in part")
	}
	if (b.flags&watched != 0) != (x.onChange != nil) {
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

// ---- I. Add, move, drain

func TestBufferI1AddAndDrain(t *testing.T) {
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

func TestBufferI2MoveSplitsAChunk(t *testing.T) {
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

func TestBufferI3EmptyPieces(t *testing.T) {
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

func TestBufferI4WriteAfterPartialCommit(t *testing.T) {
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

func TestBufferI5Prepend(t *testing.T) {
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

func TestBufferI6PrependBuffer(t *testing.T) {
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

func TestBufferI7PrependToEmptyReference(t *testing.T) {
	var b Buffer
	b.Append(nil, nil)
	b.Prepend([]byte("x"))
	expect(t, &b, "x")
	b.Reset()
	b.Append([]byte{}, nil)
	b.PrependBuffer(pieces("y"))
	expect(t, &b, "y")
}

func TestBufferI8Reserve(t *testing.T) {
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

func TestBufferI9ImpossibleSizes(t *testing.T) {
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
	if _, err := b.Write([]byte("x")); !errors.Is(err, errTooLarge) {
		t.Errorf("Write: %v", err)
	}
	if _, err := b.WriteString("x"); !errors.Is(err, errTooLarge) {
		t.Errorf("WriteString: %v", err)
	}
	for i, err := range []error{
		b.WriteByte('x'), b.Prepend([]byte("x")), b.Append([]byte("x"), c.release), b.AppendBuffer(one),
		b.PrependBuffer(one), b.Share(one), b.AppendFile(f, 0, 1, c.release), b.AppendFile(f, 2, 1<<63-2, c.release),
	} {
		if !errors.Is(err, errTooLarge) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if _, err := b.MoveN(one, 1); !errors.Is(err, errTooLarge) {
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

func TestBufferI10AppendAtTheEdge(t *testing.T) {
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

func TestBufferI11Waste(t *testing.T) {
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

func TestBufferI12Vector(t *testing.T) {
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

func TestBufferI13CopyTo(t *testing.T) {
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

func TestBufferI14PullUp(t *testing.T) {
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

// ---- J. Reserve, peek, search, lines

func TestBufferJ1Reserve(t *testing.T) {
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

// J2 is about a reservation in two extents; Reserve returns one slice, so what
// remains is that exactly the committed bytes appear.
func TestBufferJ2Commit(t *testing.T) {
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

func TestBufferJ5BadCommit(t *testing.T) {
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

func TestBufferJ6Segments(t *testing.T) {
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

func TestBufferJ8Positions(t *testing.T) {
	b := pieces("abc", "defgh", "ij")
	for from := range 11 {
		if at := b.Index(nil, from); at != from {
			t.Errorf("Index(empty, %d) = %d", from, at)
		}
		if from < 10 {
			if at := b.IndexByte("abcdefghij"[from], from); at != from {
				t.Errorf("IndexByte at %d = %d", from, at)
			}
		}
	}
	for _, from := range []int{-1, 11} {
		at, size := b.IndexEOL(from, AnyEOL)
		if b.Index(nil, from) != -1 || b.Index([]byte("a"), from) != -1 || b.IndexByte('a', from) != -1 || at != -1 || size != 0 {
			t.Errorf("something was found from %d on", from)
		}
	}
}

func TestBufferJ9SearchAcross(t *testing.T) {
	b := pieces("xab", "cd", "efgh", "y")
	for pat, want := range map[string]int{
		"abcdefgh": 1, "bcde": 2, "y": 9, "xabcdefghy": 0, "hy": 8, "hyz": -1, "ghyabc": -1, "xabcdefghyz": -1, "abd": -1,
	} {
		if at := b.Index([]byte(pat), 0); at != want {
			t.Errorf("Index(%q) = %d; want %d", pat, at, want)
		}
	}
	long := pieces() // where the window exceeds the stack's array
	data := pattern(10_000)
	for i := 0; i < len(data); i += 7 {
		long.Append(data[i:min(i+7, len(data))], nil)
	}
	for _, from := range []int{0, 3, 5000} {
		if at, want := long.Index(data[4000:6000], from), bytes.Index(data[from:], data[4000:6000]); at != want && at != want+from {
			t.Errorf("Index from %d = %d; want %d", from, at, want+from)
		}
	}
}

func TestBufferJ10SearchOn(t *testing.T) {
	b := pieces("ab", "ca", "bcab", "c")
	var got []int
	for at := b.Index([]byte("abc"), 0); at >= 0; at = b.Index([]byte("abc"), at+1) {
		if again := b.Index([]byte("abc"), at); again != at {
			t.Errorf("from %d found at %d", at, again)
		}
		got = append(got, at)
	}
	if !slices.Equal(got, []int{0, 3, 6}) {
		t.Errorf("found at %v", got)
	}
}

// A search that goes on where the last one ended finds the same, whatever has
// happened in between.
func TestBufferSearchRemembers(t *testing.T) {
	const lines = 60
	build := func() *Buffer {
		b := new(Buffer)
		for i := range lines { // ten bytes each, a chunk for each
			b.Append(fmt.Appendf(nil, "%07d.\r\n", i), nil)
		}
		return b
	}
	other := func() *Buffer { return pieces("1\r\n", "2\r\n", "3") }
	for name, change := range map[string]func(b *Buffer){
		"nothing":          func(b *Buffer) {},
		"Discard":          func(b *Buffer) { b.Discard(25) },
		"Discard far":      func(b *Buffer) { b.Discard(455) },
		"Read":             func(b *Buffer) { b.Read(make([]byte, 33)) },
		"ReadByte":         func(b *Buffer) { b.ReadByte() },
		"Next":             func(b *Buffer) { b.Next(25) },
		"ReadLine":         func(b *Buffer) { b.ReadLine(CRLF) },
		"Peek":             func(b *Buffer) { b.Peek(455) },
		"Write":            func(b *Buffer) { b.WriteString("more\r\n") },
		"Prepend":          func(b *Buffer) { b.Prepend([]byte("\r\nbefore")) },
		"AppendBuffer":     func(b *Buffer) { b.AppendBuffer(other()) },
		"to AppendBuffer":  func(b *Buffer) { x := other(); x.AppendBuffer(b); b.AppendBuffer(x) },
		"PrependBuffer":    func(b *Buffer) { b.PrependBuffer(other()) },
		"to PrependBuffer": func(b *Buffer) { x := other(); x.PrependBuffer(b); b.PrependBuffer(x) },
		"MoveN":            func(b *Buffer) { new(Buffer).MoveN(b, 47) },
		"Share":            func(b *Buffer) { new(Buffer).Share(b) },
		"WriteTo":          func(b *Buffer) { b.WriteTo(io.Discard); b.AppendBuffer(build()) },
		"Reset":            func(b *Buffer) { b.Reset(); b.AppendBuffer(build()) },
		"free":             func(b *Buffer) { b.free(); b.AppendBuffer(build()) },
		"Freeze":           func(b *Buffer) { b.Freeze(true, true); b.Freeze(false, false) },
		"OnChange":         func(b *Buffer) { b.OnChange(func(int, int) {}) },
	} {
		b := build()
		at, _ := b.IndexEOL(450, CRLF)
		if at != 458 || b.flags&sought == 0 {
			t.Fatalf("found %d, remembered %v", at, b.flags&sought != 0)
		}
		change(b)
		if err := b.check(); err != nil {
			t.Errorf("after %s: %v", name, err)
			continue
		}
		all := b.contents()
		for _, style := range []EOL{CRLF, LFOrCRLF, AnyEOL, LF} {
			for from := 0; from <= len(all); from += 7 {
				at, size := b.IndexEOL(from, style)
				if wantAt, want := naiveEOL(all, from, style); at != wantAt || size != want {
					t.Fatalf("after %s: IndexEOL(%d, %d) = %d, %d; want %d, %d", name, from, style, at, size, wantAt, want)
				}
			}
		}
		var p [4]byte
		for _, off := range []int{len(all) - 3, 0, len(all) + 1} {
			if n := b.CopyTo(p[:], off); string(p[:n]) != string(all[min(off, len(all)):min(off+4, len(all))]) {
				t.Errorf("after %s: CopyTo from %d = %q", name, off, p[:n])
			}
		}
	}
}

// What a search remembers is never a file, which is replaced by memory when it is
// read.
func TestBufferSearchRemembersNoFile(t *testing.T) {
	data := pattern(100_000)
	b := pieces("0", "1", "2", "3", "4", "5")
	b.AppendFile(tempFile(t, data), 0, int64(len(data)), nil)
	var p [10]byte
	if n := b.CopyTo(p[:], 50_000); string(p[:n]) != string(data[50_000-6:][:10]) {
		t.Errorf("CopyTo = %q", p[:n])
	}
	if err := b.check(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if at, want := b.IndexByte('\n', 99_006), 99_006+bytes.IndexByte(data[99_000:], '\n'); at != want {
			t.Errorf("IndexByte = %d; want %d", at, want)
		}
		if err := b.check(); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, b, "012345"+string(data))
}

func TestBufferJ11BoundedSearch(t *testing.T) {
	b := pieces("ab", "cd", "ef")
	for to, want := range map[int]int{-1: -1, 0: -1, 4: -1, 5: 1, 6: 1, 100: 1} {
		if at := b.IndexRange([]byte("bcde"), 0, to); at != want {
			t.Errorf("to %d: %d; want %d", to, at, want)
		}
	}
	if at := b.IndexRange([]byte("bcde"), 2, 6); at != -1 {
		t.Errorf("found at %d", at)
	}
}

func TestBufferJ12SearchNothing(t *testing.T) {
	var b Buffer
	if b.Index([]byte("a"), 0) != -1 || b.IndexByte('a', 0) != -1 {
		t.Error("found in an empty Buffer")
	}
	b.WriteString("a")
	if b.Index([]byte("a"), 1) != -1 || b.IndexByte('a', 1) != -1 {
		t.Error("found at the end")
	}
}

// A lineTest gives the lines of a text for a style, and what is left.
type lineTest struct {
	name  string
	style EOL
	text  string
	lines []string
	rest  string
}

var lineTests = []lineTest{
	{"J14", AnyEOL, "a\r\nb\n\n\nc\rd\n\r\n\re", []string{"a", "b", "c", "d"}, "e"},
	{"J14", AnyEOL, "\r\n\nabc\n", []string{"", "abc"}, ""},
	{"J15", LFOrCRLF, "a\nb\r\nc\rd\r\r\n\n", []string{"a", "b", "c\rd\r", ""}, ""},
	{"J15", LFOrCRLF, "a\r", nil, "a\r"},
	{"J16", CRLF, "a\nb\rc\r\n\r\n\n\r\nd\r", []string{"a\nb\rc", "", "\n"}, "d\r"},
	{"J17", LF, "a\r\nb\n\n\r", []string{"a\r", "b", ""}, "\r"},
	{"J17", NUL, "a\r\nb\n\x00\x00c", []string{"a\r\nb\n", ""}, "c"},
	{"J19", AnyEOL, "no end", nil, "no end"},
	{"J19", LFOrCRLF, "no end", nil, "no end"},
	{"J19", CRLF, "no end\n", nil, "no end\n"},
	{"J19", LF, "no end\r", nil, "no end\r"},
	{"J19", NUL, "no end\n", nil, "no end\n"},
	{"J19", LF, "", nil, ""},
}

// J14 to J19, with J18: cut at every position.
func TestBufferJ14to19ReadLine(t *testing.T) {
	for _, test := range lineTests {
		for cut := range len(test.text) + 1 {
			b := pieces(test.text[:cut], test.text[cut:])
			var lines []string
			for {
				before := string(b.contents())
				line, ok := b.ReadLine(test.style)
				if !ok {
					expect(t, b, before)
					break
				}
				lines = append(lines, string(line))
				if err := b.check(); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(lines, test.lines) || string(b.contents()) != test.rest {
				t.Errorf("%s: %q cut at %d: lines %q, rest %q; want %q, %q", test.name, test.text, cut,
					lines, b.contents(), test.lines, test.rest)
			}
		}
		b := pieces(test.text)
		var lines []string
		for line := range b.Lines(test.style) {
			lines = append(lines, string(line))
		}
		if !slices.Equal(lines, test.lines) {
			t.Errorf("%s: Lines gave %q", test.name, lines)
		}
		expect(t, b, test.rest)
	}
}

func TestBufferLinesBreak(t *testing.T) {
	b := pieces("a\nb\n", "c\nd")
	for line := range b.Lines(LF) {
		if string(line) == "b" {
			break
		}
	}
	expect(t, b, "c\nd")
}

func TestBufferJ21IndexEOL(t *testing.T) {
	b := pieces("ab", "c\r", "\nd\n\r", "\x00")
	for _, test := range []struct {
		style    EOL
		from     int
		at, size int
	}{
		{AnyEOL, 0, 3, 2}, {AnyEOL, 4, 4, 1}, {AnyEOL, 5, 6, 2}, {AnyEOL, 8, -1, 0},
		{LFOrCRLF, 0, 3, 2}, {LFOrCRLF, 4, 4, 1}, {LFOrCRLF, 5, 6, 1}, {LFOrCRLF, 7, -1, 0},
		{CRLF, 0, 3, 2}, {CRLF, 3, 3, 2}, {CRLF, 4, -1, 0},
		{LF, 0, 4, 1}, {LF, 5, 6, 1}, {LF, 9, -1, 0},
		{NUL, 0, 8, 1}, {NUL, 9, -1, 0}, {NUL, 10, -1, 0},
	} {
		if at, size := b.IndexEOL(test.from, test.style); at != test.at || size != test.size {
			t.Errorf("style %d from %d: %d, %d; want %d, %d", test.style, test.from, at, size, test.at, test.size)
		}
	}
	mustPanic(t, func() { b.IndexEOL(0, 100) })
}

// ---- K. References, files, hooks, freezing

func TestBufferK1ReferenceIsNotWrittenTo(t *testing.T) {
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

func TestBufferK2ReleaseOnce(t *testing.T) {
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

// K3 is about what libevent's cleanup receives; a Go closure knows it by itself. K8
// is about failed adds, which is here and in TestBufferI9ImpossibleSizes.
func TestBufferK8FailedAddReleasesNothing(t *testing.T) {
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

func TestBufferK4ShareIndependently(t *testing.T) {
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
	if err := d.Share(&b); err != nil { // sharing what is shared works here, unlike K5
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

func TestBufferK5AddedToItself(t *testing.T) {
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

func TestBufferK6FileIsRead(t *testing.T) {
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

func TestBufferK7FileReleasedAfterAllUses(t *testing.T) {
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
	f.Close()
	b = make()
	b.Discard(2)
	if _, err := b.Read([]byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Read: %v", err)
	}
	if err := b.check(); err != nil {
		t.Error(err)
	}
}

func TestBufferK9OnChange(t *testing.T) {
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

func TestBufferK12FrozenFront(t *testing.T) {
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

func TestBufferK13FrozenBack(t *testing.T) {
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

// ---- Manners

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

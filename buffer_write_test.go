// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
	"math/bits"
	"testing"
	"testing/iotest"
)

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

// A scriptedReader returns what its function returns.
type scriptedReader func(p []byte) (int, error)

func (f scriptedReader) Read(p []byte) (int, error) { return f(p) }

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

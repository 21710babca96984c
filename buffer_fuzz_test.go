// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// FuzzBuffer applies random operations to several Buffers and, byte for byte, to
// slices that serve as models.
func FuzzBuffer(f *testing.F) {
	var all []byte
	for op := range opCount {
		all = append(all, 0, 0, 200, byte(op), 1, 77) // something to work on
		f.Add(append(slices.Clone(all[len(all)-6:]), 0, 5, 1, 0, byte(op), 150))
	}
	f.Add(all)
	f.Add(bytes.Repeat([]byte{0, 0, 130, 1, 13, 20, 2, 11, 5, 0, 5, 250}, 20))
	f.Add([]byte("Append, Share, MoveN, Next, Peek and Reset, in whatever order the letters say."))

	name := filepath.Join(tempDir(f), "file")
	if err := os.WriteFile(name, fuzzData[:fileSize], 0o600); err != nil {
		f.Fatal(err)
	}
	file, err := os.Open(name)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { file.Close() })

	f.Fuzz(func(t *testing.T, script []byte) {
		z := &fuzzer{t: t, file: file}
		for i := range z.bufs {
			z.bufs[i] = newModel(i > 0)
		}
		for steps := 0; len(script) >= 3 && steps < 500; steps++ {
			z.step(script[0], script[1], script[2])
			script = script[3:]
		}
		for _, m := range z.bufs {
			m.slice, m.sliceWant, m.room = nil, nil, nil
			m.b.Reset()
			m.removed(len(m.want))
			m.want = nil
			z.check(m)
		}
		for i, n := range z.released {
			if n != 1 {
				t.Fatalf("release %d ran %d times", i, n)
			}
		}
	})
}

const (
	fileSize = 200_000
	maxModel = 300_000 // a Buffer that holds more is emptied
)

// fuzzData is what the fuzz tests write: line ends, and enough that differs.
var fuzzData = func() []byte {
	p := pattern(300_000)
	for i := range p {
		switch uint32(i) * 2654435761 >> 7 % 23 {
		case 0, 1:
			p[i] = '\n'
		case 2, 3:
			p[i] = '\r'
		case 4:
			p[i] = 0
		}
	}
	return p
}()

// A model is a Buffer and what it should hold.
type model struct {
	b           *Buffer
	want        []byte
	front, back bool // frozen
	watched     bool // told and due count

	slice, sliceWant []byte // what Next or ReadLine returned last, valid until the next call
	room             []byte // what Reserve returned last, likewise

	told, due [2]int // bytes added and removed that OnChange has told of, and that it should have
}

// newModel returns a model of an empty Buffer, which may have an OnChange: one
// without keeps a spare more often.
func newModel(watched bool) *model {
	m := &model{b: new(Buffer), watched: watched}
	if !watched {
		return m
	}
	m.b.OnChange(func(added, removed int) {
		m.told[0] += added
		m.told[1] += removed
	})
	return m
}

func (m *model) added(n int)   { m.due[0] += n }
func (m *model) removed(n int) { m.due[1] += n }

// A fuzzer is a run of operations.
type fuzzer struct {
	t        *testing.T
	file     *os.File
	bufs     [3]*model
	released []int // how often each release function ran
	at       int   // where in fuzzData to take bytes from
}

// check compares m with its Buffer.
func (z *fuzzer) check(m *model) {
	z.t.Helper()
	if err := m.b.check(); err != nil {
		z.t.Fatal(err)
	}
	if m.b.Len() != len(m.want) {
		z.t.Fatalf("Len %d; want %d", m.b.Len(), len(m.want))
	}
	if m.watched && m.told != m.due {
		z.t.Fatalf("told of changes %v; want %v", m.told, m.due)
	}
	if !bytes.Equal(m.slice, m.sliceWant) {
		z.t.Fatal("a slice changed before the next call")
	}
	off := 0
	for c := m.b.head; c != nil; c = c.next {
		if !c.isFile() && !bytes.Equal(c.buf[c.r:c.w], m.want[off:off+c.size()]) {
			z.t.Fatalf("a chunk of %d bytes at %d differs", c.size(), off)
		}
		off += c.size()
	}
}

// data returns the next n bytes.
func (z *fuzzer) data(n int) []byte {
	if z.at+n > len(fuzzData) {
		z.at = 0
	}
	z.at += n
	return fuzzData[z.at-n : z.at]
}

// release returns a release function, which overwrites p and is counted.
func (z *fuzzer) release(p []byte) func() {
	i := len(z.released)
	z.released = append(z.released, 0)
	return func() {
		z.released[i]++
		for i := range p {
			p[i] = 0xee
		}
	}
}

// size makes v a size: mostly small, up to 80 KiB.
func size(v byte) int {
	switch {
	case v < 128:
		return int(v)
	case v < 224:
		return int(v-128) * 43
	default:
		return int(v-223) * 2560
	}
}

// equal fails unless got is want.
func equal[T comparable](z *fuzzer, what string, got, want T) {
	z.t.Helper()
	if got != want {
		z.t.Fatalf("%s: %v; want %v", what, got, want)
	}
}

// frozen fails unless err says that, and because, an end is frozen.
func frozen(z *fuzzer, err error, is bool) {
	z.t.Helper()
	if is != errors.Is(err, ErrFrozen) || !is && err != nil {
		z.t.Fatalf("error %v, frozen %v", err, is)
	}
}

const opCount = 31

// step does one operation: who says on which Buffers, op what, v how much.
func (z *fuzzer) step(who, op, v byte) {
	m, other := z.bufs[who%3], z.bufs[who/3%3]
	b, n := m.b, size(v)
	front := func(k int) { m.want = m.want[k:]; m.removed(k) }
	back := func(p []byte) { m.want = append(m.want, p...); m.added(len(p)) }
	if len(m.want) > maxModel {
		op = 27 // Reset, or the comparisons take too long
	}
	switch op % opCount {
	case 9, 10, 21, 22, 23: // these are no calls that change anything
	default:
		m.slice, m.sliceWant = nil, nil
	}
	room, told := m.room, m.told
	if m.want == nil {
		m.want = []byte{}
	}

	switch op % opCount {
	case 0, 1:
		p := z.data(n)
		k, err := b.Write(p)
		frozen(z, err, m.back)
		if err == nil {
			equal(z, "Write", k, n)
			back(p)
		}
	case 2:
		p := z.data(n)
		k, err := b.WriteString(string(p))
		frozen(z, err, m.back)
		if err == nil {
			equal(z, "WriteString", k, n)
			back(p)
		}
	case 3:
		err := b.WriteByte(v)
		frozen(z, err, m.back)
		if err == nil {
			back([]byte{v})
		}
	case 4:
		p := make([]byte, n)
		k, err := b.Read(p)
		switch {
		case m.front:
			frozen(z, err, true)
		case n > 0 && len(m.want) == 0:
			equal(z, "Read", err, io.EOF)
		default:
			frozen(z, err, false)
			if k > len(m.want) || k == 0 && n > 0 || !bytes.Equal(p[:k], m.want[:k]) {
				z.t.Fatalf("Read of %d bytes differs", k)
			}
			front(k)
		}
	case 5:
		x, err := b.ReadByte()
		switch {
		case m.front:
			frozen(z, err, true)
		case len(m.want) == 0:
			equal(z, "ReadByte", err, io.EOF)
		default:
			frozen(z, err, false)
			equal(z, "ReadByte", x, m.want[0])
			front(1)
		}
	case 6:
		p := b.Next(n)
		k := min(n, len(m.want))
		if m.front {
			k = 0
		}
		if !bytes.Equal(p, m.want[:k]) {
			z.t.Fatalf("Next(%d) differs", n)
		}
		front(k)
		m.slice, m.sliceWant = p, bytes.Clone(p)
	case 7:
		p, err := b.Peek(n)
		k := min(n, len(m.want))
		if !bytes.Equal(p, m.want[:k]) || (err == io.EOF) != (k < n) || err != nil && err != io.EOF {
			z.t.Fatalf("Peek(%d) = %d bytes, %v", n, len(p), err)
		}
		m.slice, m.sliceWant = p, bytes.Clone(p)
	case 8:
		k := min(n, len(m.want))
		if m.front {
			k = 0
		}
		equal(z, "Discard", b.Discard(n), k)
		front(k)
	case 9:
		p := make([]byte, 1+n/3)
		k := b.CopyTo(p, n)
		off := min(n, len(m.want))
		want := m.want[off:min(off+len(p), len(m.want))]
		if !bytes.Equal(p[:k], want) {
			z.t.Fatalf("CopyTo(%d, %d) differs", len(p), n)
		}
	case 10:
		var got []byte
		for s := range b.Segments() {
			if len(s) == 0 {
				z.t.Fatal("an empty segment")
			}
			got = append(got, s...)
			if n > 0 && len(got) > n {
				break
			}
		}
		if !bytes.HasPrefix(m.want, got) || n == 0 && len(got) < len(m.want) {
			z.t.Fatal("Segments differ")
		}
	case 11:
		p := z.data(n)
		err := b.Prepend(p)
		frozen(z, err, m.front)
		if err == nil {
			m.want = slices.Concat(p, m.want)
			m.added(n)
		}
	case 12, 13:
		p := bytes.Clone(z.data(n))
		release := z.release(p)
		err := b.Append(p, release)
		frozen(z, err, m.back)
		if err == nil {
			back(fuzzData[z.at-n : z.at])
		} else {
			release()
		}
	case 14:
		release := z.release(nil)
		off := z.at % (fileSize - n)
		err := b.AppendFile(z.file, int64(off), int64(n), release)
		frozen(z, err, m.back)
		if err == nil {
			back(fuzzData[off : off+n])
		} else {
			release()
		}
	case 15, 16, 17, 18:
		z.move(op%opCount, m, other, n)
	case 19:
		p := b.Reserve(n)
		if m.back || n == 0 {
			equal(z, "Reserve", len(p), 0)
		} else if len(p) < n {
			z.t.Fatalf("Reserve(%d) = %d bytes", n, len(p))
		} else {
			m.room = p
		}
	case 20:
		p := z.data(n)
		if len(p) <= len(room) {
			copy(room, p)
		}
		err := b.Commit(n)
		switch {
		case m.back:
			frozen(z, err, true)
		case n > len(room):
			if err == nil {
				z.t.Fatal("Commit of more than was reserved")
			}
		default:
			frozen(z, err, false)
			back(p)
			m.room = nil
		}
	case 21:
		from := n % (len(m.want) + 2)
		pat := z.data(1 + int(v)%5)
		if i := z.at % (len(m.want) + 1); v%2 == 0 { // something that is there
			pat = bytes.Clone(m.want[i:min(i+1+int(v), len(m.want))])
		}
		want := -1
		if from <= len(m.want) {
			if want = bytes.Index(m.want[from:], pat); want >= 0 {
				want += from
			}
		}
		equal(z, "Index", b.Index(pat, from), want)
		if want >= 0 {
			equal(z, "IndexRange", b.IndexRange(pat, from, want+len(pat)), want)
			if len(pat) > 0 {
				equal(z, "IndexRange", b.IndexRange(pat, from, want+len(pat)-1), -1)
			}
		}
	case 22:
		from := n % (len(m.want) + 2)
		want := -1
		if from <= len(m.want) {
			if want = bytes.IndexByte(m.want[from:], v); want >= 0 {
				want += from
			}
		}
		equal(z, "IndexByte", b.IndexByte(v, from), want)
	case 23:
		from, style := n%(len(m.want)+2), EOL(v%5)
		at, k := b.IndexEOL(from, style)
		wantAt, wantK := naiveEOL(m.want, from, style)
		equal(z, "IndexEOL position", at, wantAt)
		equal(z, "IndexEOL size", k, wantK)
	case 24:
		style := EOL(v % 5)
		line, ok := b.ReadLine(style)
		at, k := naiveEOL(m.want, 0, style)
		equal(z, "ReadLine", ok, k > 0 && !m.front)
		if ok {
			if !bytes.Equal(line, m.want[:at]) {
				z.t.Fatal("ReadLine differs")
			}
			front(at + k)
			m.slice, m.sliceWant = line, bytes.Clone(line)
		}
	case 25:
		style, left := EOL(v%5), 1+int(v)/5
		for line := range b.Lines(style) {
			at, k := naiveEOL(m.want, 0, style)
			if k == 0 || !bytes.Equal(line, m.want[:at]) {
				z.t.Fatal("Lines differ")
			}
			front(at + k)
			if left--; left == 0 {
				break
			}
		}
		if _, k := naiveEOL(m.want, 0, style); left > 0 && k > 0 && !m.front {
			z.t.Fatal("Lines ended early")
		}
	case 26:
		m.front, m.back = v%8 == 1, v%8 == 2
		b.Freeze(m.front, m.back)
	case 27:
		front(len(m.want))
		b.Reset()
	case 28:
		piece, p := 1+int(v)/7, z.data(n)
		rest := p
		k, err := b.ReadFrom(scriptedReader(func(q []byte) (int, error) {
			k := copy(q, rest[:min(len(rest), piece*37)])
			rest = rest[k:]
			if len(rest) == 0 && (v%2 == 0 || k == 0) {
				return k, io.EOF
			}
			return k, nil
		}))
		frozen(z, err, m.back)
		if err == nil {
			equal(z, "ReadFrom", k, int64(n))
			back(p)
		}
	case 29:
		var got []byte
		k, err := b.WriteTo(scriptedWriter(func(p []byte) (int, error) {
			k := min(len(p), n-len(got))
			got = append(got, p[:k]...)
			return k, nil
		}))
		if m.front {
			frozen(z, err, true)
			break
		}
		want := min(n, len(m.want))
		if !bytes.Equal(got, m.want[:want]) || int(k) != want {
			z.t.Fatalf("WriteTo wrote %d bytes; want %d", k, want)
		}
		if n < len(m.want) {
			equal(z, "WriteTo", err, io.ErrShortWrite)
		} else {
			frozen(z, err, false)
		}
		front(want)
	case 30: // what streams use
		var inbox Buffer
		p := z.data(n)
		inbox.add(p[:n/2])
		b.splice(&inbox)
		b.add(p[n/2:])
		m.want = append(m.want, p...)
		b.invalidate()
		k := min(int(v), len(m.want))
		if k > 0 {
			freeChain(b.cut(k))
		}
		m.want = m.want[k:]
	}
	if m.b.flags&bufReserved != 0 && m.told != told {
		z.t.Fatal("a reservation outlives a change")
	}
	for _, m := range z.bufs {
		if m.b.flags&bufReserved == 0 {
			m.room = nil
		}
		z.check(m)
	}
}

// move does the operations on two Buffers.
func (z *fuzzer) move(op byte, m, other *model, n int) {
	if op == 18 && len(m.want)+len(other.want) > maxModel {
		return // sharing to and fro doubles what there is
	}
	var err error
	b, src := m.b, other.b
	k := len(other.want)
	switch op {
	case 15:
		err = b.AppendBuffer(src)
	case 16:
		err = b.PrependBuffer(src)
	case 17:
		var moved int
		k = min(n, k)
		if moved, err = b.MoveN(src, n); err == nil {
			equal(z, "MoveN", moved, k)
		}
	case 18:
		err = b.Share(src)
	}
	if op != 18 || m == other {
		other.slice, other.sliceWant = nil, nil
	}
	if m == other {
		equal(z, "added to itself", err, errSelf)
		return
	}
	frozen(z, err, op != 18 && other.front || op == 16 && m.front || op != 16 && m.back)
	if err != nil {
		return
	}
	m.added(k)
	if op == 16 {
		m.want = slices.Concat(other.want, m.want)
	} else {
		m.want = append(m.want, other.want[:k]...)
	}
	if op != 18 {
		other.want = other.want[k:]
		other.removed(k)
	}
}

// naiveEOL is IndexEOL for a slice.
func naiveEOL(p []byte, from int, style EOL) (at, size int) {
	for i := from; i < len(p); i++ {
		nl := p[i] == '\n'
		crnl := p[i] == '\r' && i+1 < len(p) && p[i+1] == '\n'
		switch {
		case style == AnyEOL && (nl || p[i] == '\r'):
			rest := bytes.TrimLeft(p[i:], "\r\n")
			return i, len(p) - i - len(rest)
		case style == NUL && p[i] == 0, style == LF && nl, style == LFOrCRLF && nl:
			return i, 1
		case (style == LFOrCRLF || style == CRLF) && crnl:
			return i, 2
		}
	}
	return -1, 0
}

// FuzzReadLine reads lines of every style from bytes that are cut into chunks at
// random, and compares them with what a naive reader finds.
func FuzzReadLine(f *testing.F) {
	for _, test := range lineTests {
		f.Add([]byte(test.text), []byte{1})
		f.Add([]byte(test.text), []byte{2, 1, 3})
	}
	f.Add(bytes.Repeat([]byte("line\r\n\r"), 300), []byte{200, 0, 255})
	f.Fuzz(func(t *testing.T, text, cuts []byte) {
		text = text[:min(len(text), 20_000)] // enough, and quick
		for style := EOL(0); style <= AnyEOL; style++ {
			var b Buffer
			cut := func(i int, p []byte) int {
				if len(cuts) == 0 {
					return len(p)
				}
				return min(len(p), 1+int(cuts[i%len(cuts)])%64)
			}
			for i, rest := 0, text; len(rest) > 0; i++ {
				k := cut(i, rest)
				if i%3 == 2 {
					b.Write(rest[:k])
				} else {
					b.Append(rest[:k], nil)
				}
				rest = rest[k:]
			}
			for rest := text; ; {
				line, ok := b.ReadLine(style)
				at, size := naiveEOL(rest, 0, style)
				if ok != (size > 0) {
					t.Fatalf("style %d: a line %v in %q", style, ok, short(rest))
				}
				if err := b.check(); err != nil {
					t.Fatal(err)
				}
				if !ok {
					expect(t, &b, string(rest))
					break
				}
				if !bytes.Equal(line, rest[:at]) {
					t.Fatalf("style %d: line %q; want %q", style, short(line), short(rest[:at]))
				}
				rest = rest[at+size:]
			}
		}
	})
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestBufferPositions(t *testing.T) {
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

func TestBufferSearchAcross(t *testing.T) {
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

func TestBufferSearchOn(t *testing.T) {
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
		if at != 458 || b.flags&bufFound == 0 {
			t.Fatalf("found %d, remembered %v", at, b.flags&bufFound != 0)
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

func TestBufferBoundedSearch(t *testing.T) {
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

func TestBufferSearchNothing(t *testing.T) {
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
	{"any end", AnyEOL, "a\r\nb\n\n\nc\rd\n\r\n\re", []string{"a", "b", "c", "d"}, "e"},
	{"any end", AnyEOL, "\r\n\nabc\n", []string{"", "abc"}, ""},
	{"lone CR is data", LFOrCRLF, "a\nb\r\nc\rd\r\r\n\n", []string{"a", "b", "c\rd\r", ""}, ""},
	{"lone CR is data", LFOrCRLF, "a\r", nil, "a\r"},
	{"strict", CRLF, "a\nb\rc\r\n\r\n\n\r\nd\r", []string{"a\nb\rc", "", "\n"}, "d\r"},
	{"CR is data", LF, "a\r\nb\n\n\r", []string{"a\r", "b", ""}, "\r"},
	{"zero byte", NUL, "a\r\nb\n\x00\x00c", []string{"a\r\nb\n", ""}, "c"},
	{"no end", AnyEOL, "no end", nil, "no end"},
	{"no end", LFOrCRLF, "no end", nil, "no end"},
	{"no end", CRLF, "no end\n", nil, "no end\n"},
	{"no end", LF, "no end\r", nil, "no end\r"},
	{"no end", NUL, "no end\n", nil, "no end\n"},
	{"no end", LF, "", nil, ""},
}

// Each text is cut at every position, a CRLF too.
func TestBufferReadLine(t *testing.T) {
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

func TestBufferIndexEOL(t *testing.T) {
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

// The zero EOL is what most protocols mean, and keeps empty lines.
func TestBufferZeroEOL(t *testing.T) {
	var style EOL
	if style != LFOrCRLF {
		t.Errorf("the zero EOL is %d", style)
	}
	var lines []string
	for line := range pieces("a\n\r\n\nb\rc\r\nd").Lines(style) {
		lines = append(lines, string(line))
	}
	if want := []string{"a", "", "", "b\rc"}; !slices.Equal(lines, want) {
		t.Errorf("%q, want %q", lines, want)
	}
}

// A line that comes little by little is not looked through from its beginning each time,
// also by way of a stream's Input; and what was looked through is forgotten in time.
func TestBufferReadLineGoesOn(t *testing.T) {
	l, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := l.newStream(noFD)
	s.in.held.Store(2 * scanFar)
	arrive := func(p []byte) {
		s.mu.Lock()
		s.in.unread.add(p)
		s.mu.Unlock()
	}
	part := make([]byte, 16)
	for s.Input().Len() < scanFar {
		arrive(part)
	}
	for range 100 {
		b := s.Input()
		if _, ok := b.ReadLine(LFOrCRLF); ok {
			t.Fatal("there is a line")
		}
		if b.flags&bufScanned == 0 || b.extra.scanned != b.Len()-1 {
			t.Fatalf("nothing is remembered of %d bytes", b.Len())
		}
		arrive(part)
		if b = s.Input(); b.flags&bufScanned == 0 {
			t.Fatal("more input has made it forget")
		}
	}
}

// What ReadLine remembers does not change what it returns.
func TestBufferReadLineRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	f := tempFile(t, []byte("file without a line end"))
	styles := []EOL{LFOrCRLF, CRLF, LF, NUL, AnyEOL}
	ends := []string{"\n", "\r\n", "\r", "\x00", "\n\n"}
	remembered := 0
	for range 60 {
		var b Buffer
		var want []byte
		style := styles[r.IntN(len(styles))]
		for range 300 {
			switch r.IntN(12) {
			case 0:
				style = styles[r.IntN(len(styles))]
			case 1:
				n := r.IntN(100)
				p := b.Next(n)
				want = want[len(p):]
			case 2:
				b.Prepend([]byte("xyz"))
				want = append([]byte("xyz"), want...)
			case 3:
				b.Peek(r.IntN(2000))
			case 4:
				b.AppendFile(f, 0, 10, nil)
				want = append(want, "file witho"...)
			case 5:
				p := ends[r.IntN(len(ends))]
				b.WriteString(p)
				want = append(want, p...)
			case 6:
				b.PrependBuffer(pieces("a", "b"))
				want = append([]byte("ab"), want...)
			default:
				p := bytes.Repeat([]byte("x"), r.IntN(3000))
				b.AppendBuffer(pieces(string(p)))
				want = append(want, p...)
			}
			line, ok := b.ReadLine(style)
			at, size := naiveEOL(want, 0, style)
			if ok != (size > 0) || ok && string(line) != string(want[:at]) {
				t.Fatalf("style %d: a line %v of %d bytes, want %v of %d", style, ok, len(line), size > 0, at)
			}
			if ok {
				want = want[at+size:]
			}
			if b.flags&bufScanned != 0 {
				remembered++
			}
			if err := b.check(); err != nil || b.Len() != len(want) {
				t.Fatal(err, b.Len(), len(want))
			}
		}
	}
	if remembered < 100 {
		t.Errorf("something was remembered %d times", remembered)
	}
}

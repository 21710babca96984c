// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"testing"
	"unicode/utf8"
)

// rfc3629 reports whether p is valid UTF-8, and whether it can become so by more bytes. It is the
// grammar of RFC 3629, section 4.
func rfc3629(p []byte) (valid, beginning bool) {
	type span struct{ low, high byte }
	tail := span{0x80, 0xbf}
	forms := [][]span{
		{{0x00, 0x7f}},
		{{0xc2, 0xdf}, tail},
		{{0xe0, 0xe0}, {0xa0, 0xbf}, tail},
		{{0xe1, 0xec}, tail, tail},
		{{0xed, 0xed}, {0x80, 0x9f}, tail},
		{{0xee, 0xef}, tail, tail},
		{{0xf0, 0xf0}, {0x90, 0xbf}, tail, tail},
		{{0xf1, 0xf3}, tail, tail, tail},
		{{0xf4, 0xf4}, {0x80, 0x8f}, tail, tail},
	}
	for len(p) > 0 {
		size, whole := 0, false
		for _, f := range forms {
			n := 0
			for n < min(len(f), len(p)) && p[n] >= f[n].low && p[n] <= f[n].high {
				n++
			}
			if n == len(f) || n == len(p) {
				size, whole = n, n == len(f)
				break
			}
		}
		switch {
		case size == 0:
			return false, false
		case !whole:
			return false, true
		}
		p = p[size:]
	}
	return true, true
}

// TestUTF8 tries all sequences of up to four bytes from those at which the grammar changes, after
// a prefix and cut at each place.
func TestUTF8(t *testing.T) {
	t.Parallel()
	edges := []byte{0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff}
	var try func(p []byte, left int)
	try = func(p []byte, left int) {
		checkUTF8(t, p)
		if left == 0 {
			return
		}
		for _, b := range edges {
			try(append(p[:len(p):len(p)], b), left-1)
		}
	}
	try([]byte("a"), 4)
	try([]byte("\xf0\x9d\x84\x9e"), 3)
}

func checkUTF8(t *testing.T, p []byte) {
	t.Helper()
	valid, beginning := rfc3629(p)
	n, ok := validSoFar(p)
	if ok != beginning || ok && (n == len(p)) != valid || ok && !utf8.Valid(p[:n]) || len(p)-n > 3 {
		t.Fatalf("%x: %d, %v, want valid %v, a beginning %v", p, n, ok, valid, beginning)
	}
}

func FuzzUTF8(f *testing.F) {
	f.Add([]byte("κόσμε\xf0\x9d"))
	f.Add([]byte("\xed\xa0"))
	f.Fuzz(func(t *testing.T, p []byte) { checkUTF8(t, p) })
}

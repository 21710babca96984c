// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build linux

package main

import (
	"bytes"
	"time"

	"github.com/evchan/evchan"
)

const (
	lineSize = 100 // with its CR LF
	bulk     = 1 << 20
)

// sizes of what is written and drained at once.
var writeSizes = []struct {
	name string
	n    int
}{{"64B", 64}, {"4KiB", 4 << 10}, {"64KiB", 64 << 10}}

// text returns n bytes of lines.
func text(n int) []byte {
	p := bytes.Repeat([]byte("x"), n)
	for i := lineSize; i <= n; i += lineSize {
		copy(p[i-2:], "\r\n")
	}
	return p
}

// inPieces calls write with pieces of p, of 4 KiB each.
func inPieces(p []byte, write func([]byte) (int, error)) {
	for len(p) > 0 {
		n := min(len(p), 4<<10)
		write(p[:n])
		p = p[n:]
	}
}

func evchanBuffer(b *bench) error {
	var buf evchan.Buffer
	out := make([]byte, 64<<10)
	for _, size := range writeSizes {
		p := make([]byte, size.n)
		b.each("write+drain/"+size.name, func() {
			buf.Write(p)
			buf.Discard(len(p))
		})
		b.each("write+read/"+size.name, func() {
			buf.Write(p)
			buf.Read(out[:len(p)])
		})
	}

	small, page := make([]byte, 64), out[:4<<10]
	b.each("write-64Bx1000+read-4KiB", func() {
		for range 1000 {
			buf.Write(small)
		}
		for buf.Len() > 0 {
			buf.Read(page)
		}
	})

	lines := text(bulk)
	inPieces(lines, buf.Write)
	var other evchan.Buffer
	src, dst := &buf, &other
	b.each("move/1MiB", func() {
		dst.AppendBuffer(src)
		src, dst = dst, src
	})
	buf.Reset()
	other.Reset()

	header := make([]byte, 16)
	b.each("prepend/16B+4KiB", func() {
		buf.Write(page)
		buf.Prepend(header)
		buf.Discard(buf.Len())
	})

	inPieces(lines, buf.Write)
	b.each("search-crlf/1MiB", func() {
		for from := 0; ; {
			at, size := buf.IndexEOL(from, evchan.CRLF)
			if at < 0 {
				return
			}
			from = at + size
		}
	})
	buf.Reset()

	lines = lines[:bulk/lineSize*lineSize]
	b.loop("readline/100B", func(n int) time.Duration {
		total := time.Duration(0)
		for n > 0 {
			inPieces(lines[:min(len(lines), n*lineSize)], buf.Write)
			start := time.Now()
			for _, ok := buf.ReadLine(evchan.CRLF); ok; _, ok = buf.ReadLine(evchan.CRLF) {
				n--
			}
			total += time.Since(start)
		}
		return total
	})
	return nil
}

// stdBuffer does the same with a bytes.Buffer. What that cannot do, it does in
// the way that whoever has one would do it.
func stdBuffer(b *bench) error {
	var buf bytes.Buffer
	out := make([]byte, 64<<10)
	for _, size := range writeSizes {
		p := make([]byte, size.n)
		b.each("write+drain/"+size.name, func() {
			buf.Write(p)
			buf.Next(len(p))
		})
		b.each("write+read/"+size.name, func() {
			buf.Write(p)
			buf.Read(out[:len(p)])
		})
	}

	small, page := make([]byte, 64), out[:4<<10]
	b.each("write-64Bx1000+read-4KiB", func() {
		for range 1000 {
			buf.Write(small)
		}
		for buf.Len() > 0 {
			buf.Read(page)
		}
	})

	lines := text(bulk)
	buf.Reset()
	inPieces(lines, buf.Write)
	var other bytes.Buffer
	src, dst := &buf, &other
	b.each("move/1MiB", func() {
		src.WriteTo(dst)
		src, dst = dst, src
	})
	buf.Reset()
	other.Reset()

	header := make([]byte, 16)
	b.each("prepend/16B+4KiB", func() {
		buf.Write(page)
		other.Write(header)
		buf.WriteTo(&other)
		other.Next(other.Len())
	})

	inPieces(lines, buf.Write)
	b.each("search-crlf/1MiB", func() {
		for from := 0; ; {
			i := bytes.Index(buf.Bytes()[from:], []byte("\r\n"))
			if i < 0 {
				return
			}
			from += i + 2
		}
	})
	buf.Reset()

	lines = lines[:bulk/lineSize*lineSize]
	b.loop("readline/100B", func(n int) time.Duration {
		total := time.Duration(0)
		for n > 0 {
			inPieces(lines[:min(len(lines), n*lineSize)], buf.Write)
			start := time.Now()
			for {
				i := bytes.Index(buf.Bytes(), []byte("\r\n"))
				if i < 0 {
					break
				}
				buf.Next(i + 2)
				n--
			}
			total += time.Since(start)
		}
		return total
	})
	return nil
}

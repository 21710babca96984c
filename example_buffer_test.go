// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/evchan/evchan"
)

func ExampleBuffer() {
	var b evchan.Buffer // the zero value is ready to use
	b.WriteString("world")
	b.Prepend([]byte("hello, "))
	fmt.Fprintf(&b, " of %d bytes", b.Len())
	fmt.Printf("%s\n", b.Next(5))
	fmt.Printf("%d left\n", b.Len())
	b.WriteTo(os.Stdout)
	// Output:
	// hello
	// 19 left
	// , world of 12 bytes
}

func ExampleBuffer_ReadLine() {
	var b evchan.Buffer
	for _, part := range []string{"GET / HT", "TP/1.1\r", "\nHost: exa", "mple.org\r\n\r\n"} {
		b.WriteString(part)
		for {
			line, ok := b.ReadLine(evchan.CRLF)
			if !ok {
				break // not all of it is there yet
			}
			fmt.Printf("%q\n", line)
		}
	}
	// Output:
	// "GET / HTTP/1.1"
	// "Host: example.org"
	// ""
}

func ExampleBuffer_Lines() {
	b := evchan.NewBuffer([]byte("one\ntwo\r\nthree\nfour"))
	for line := range b.Lines(evchan.LFOrCRLF) {
		fmt.Printf("%s\n", line)
	}
	fmt.Println(b.Len(), "bytes wait for the end of their line")
	// Output:
	// one
	// two
	// three
	// 4 bytes wait for the end of their line
}

func ExampleBuffer_Reserve() {
	var b evchan.Buffer
	room := b.Reserve(100) // at least as much
	n, err := strings.NewReader("read in place").Read(room)
	if err != nil {
		fmt.Println(err)
		return
	}
	b.Commit(n)
	fmt.Println(b.Len())
	b.WriteTo(os.Stdout)
	// Output:
	// 13
	// read in place
}

func ExampleBuffer_Append() {
	var b evchan.Buffer
	page := []byte("a page that is sent as it is\n")
	b.WriteString("header\n")
	b.Append(page, func() { fmt.Println("now page may be used again") })
	b.WriteTo(os.Stdout)
	// Output:
	// header
	// a page that is sent as it is
	// now page may be used again
}

func ExampleBuffer_Share() {
	var news, alice, bob evchan.Buffer
	news.WriteString("the same bytes for all")
	for _, b := range []*evchan.Buffer{&alice, &bob} {
		b.WriteString("news: ")
		b.Share(&news)
	}
	news.Reset()
	fmt.Printf("%s\n", alice.Next(100))
	bob.Discard(len("news: the "))
	fmt.Printf("%s\n", bob.Next(100))
	// Output:
	// news: the same bytes for all
	// same bytes for all
}

func ExampleBuffer_AppendBuffer() {
	in := evchan.NewBuffer([]byte("moved, not copied"))
	out := evchan.NewBuffer([]byte("> "))
	out.AppendBuffer(in)
	fmt.Printf("%d %q\n", in.Len(), out.Next(100))
	// Output: 0 "> moved, not copied"
}

func ExampleBuffer_MoveN() {
	var in, body evchan.Buffer
	in.WriteString("5\nhellothe next message")
	in.ReadLine(evchan.LF)
	body.MoveN(&in, 5)
	fmt.Printf("%q %q\n", body.Next(100), in.Next(100))
	// Output: "hello" "the next message"
}

func ExampleBuffer_AppendFile() {
	dir, err := os.MkdirTemp("", "evchan")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "file")
	os.WriteFile(name, []byte("0123456789"), 0o600)
	f, err := os.Open(name)
	if err != nil {
		fmt.Println(err)
		return
	}

	var b evchan.Buffer
	err = b.AppendFile(f, 2, 5, func() {
		f.Close()
		fmt.Println("closed") // what was needed of it has been read
	})
	if err != nil {
		f.Close() // release does not run
		fmt.Println(err)
		return
	}
	fmt.Println(b.Len())
	b.WriteTo(os.Stdout)
	// Output:
	// 5
	// closed
	// 23456
}

func ExampleBuffer_Peek() {
	b := evchan.NewBuffer([]byte{0, 3, 'a', 'b'})
	size, err := b.Peek(2)
	if err != nil {
		return // not even the size is there
	}
	need := 2 + int(size[0])<<8 + int(size[1])
	if _, err := b.Peek(need); err == io.EOF {
		fmt.Printf("%d bytes of %d\n", b.Len(), need)
	}
	// Output: 4 bytes of 5
}

func ExampleBuffer_Index() {
	b := evchan.NewBuffer([]byte("key: value\r\n\r\nbody"))
	sep := []byte("\r\n\r\n")
	if at := b.Index(sep, 0); at >= 0 {
		fmt.Printf("header %q\n", b.Next(at))
		b.Discard(len(sep))
		fmt.Printf("body %q\n", b.Next(b.Len()))
	}
	// Output:
	// header "key: value"
	// body "body"
}

func ExampleBuffer_Segments() {
	var b evchan.Buffer
	b.Append([]byte("chunk"), nil)
	b.Append([]byte("by"), nil)
	b.Append([]byte("chunk"), nil)
	for p := range b.Segments() {
		fmt.Printf("%q ", p)
	}
	fmt.Println(b.Len())
	// Output: "chunk" "by" "chunk" 12
}

func ExampleBuffer_OnChange() {
	var b evchan.Buffer
	b.OnChange(func(added, removed int) { fmt.Printf("+%d -%d\n", added, removed) })
	b.WriteString("hello")
	b.Discard(2)
	// Output:
	// +5 -0
	// +0 -2
}

func ExampleBuffer_Freeze() {
	b := evchan.NewBuffer([]byte("fixed"))
	b.Freeze(true, false) // nothing may be taken, but more may come
	_, err := b.ReadByte()
	fmt.Println(err)
	b.WriteString("!")
	b.Freeze(false, false)
	fmt.Printf("%s\n", b.Next(6))
	// Output:
	// evchan: buffer is frozen
	// fixed!
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evframe_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evframe"
)

// A server of lines. It answers each line, and tells a client whose line is too long.
func ExampleLines() {
	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	ln, err := loop.Listen("tcp", "127.0.0.1:0", &evchan.ListenConfig{
		Layer: evframe.Lines{Limit: 100},
	})
	if err != nil {
		log.Fatal(err)
	}

	go func() { // the client
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Fprintf(conn, "hello\nworld\n%s\n", bytes.Repeat([]byte("x"), 1000))
		replies, _ := io.ReadAll(conn)
		fmt.Printf("%s", replies)
		conn.Close()
		loop.Exit(0)
	}()

	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *evframe.Line:
			fmt.Fprintf(ev.Stream(), "%s\n", bytes.ToUpper(ev.Bytes()))
		case *evframe.Error:
			fmt.Fprintln(ev.Stream(), "error:", ev.Err)
			ev.Stream().Close() // sends the replies first
		case evchan.EOF:
			ev.Stream.Close()
		}
	}
	// Output:
	// HELLO
	// WORLD
	// error: evframe: longer than the limit
}

// Frames whose length is a varint, over a pipe.
func ExampleFrames() {
	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	frames := evframe.Frames{Prefix: evframe.Varint}
	a, b := loop.Pipe(nil, &evchan.StreamConfig{Layer: frames})

	var p []byte
	for _, text := range []string{"hello", "", "world"} {
		p, _ = frames.AppendFrame(p, []byte(text)) // an error is only for what is too long
	}
	a.Write(p)
	a.Close()

	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *evframe.Frame:
			fmt.Printf("%q\n", ev.Bytes())
		case evchan.EOF:
			b.Close()
			loop.Exit(0)
		}
	}
	// Output:
	// "hello"
	// ""
	// "world"
}

// A client sends the command STARTTLS, and then something that is encrypted. With Step, the
// layer does not look at what follows a line until Again.
func ExampleLines_step() {
	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	lines := evframe.Lines{Step: true}
	client, server := loop.Pipe(nil, &evchan.StreamConfig{Layer: lines})
	fmt.Fprintf(client, "NOOP\nSTARTTLS\n%s", rot13("SECRET\n"))

	for ev := range loop.All() {
		line, ok := ev.(*evframe.Line)
		if !ok {
			continue
		}
		switch text := string(line.Bytes()); text {
		case "STARTTLS":
			fmt.Println("the rest is encrypted")
			server.SetLayer(nil)
			if _, err := server.Filter(rot13Filter{}, &evchan.StreamConfig{Layer: lines}); err != nil {
				log.Fatal(err)
			}
		case "SECRET":
			fmt.Println("received", text)
			loop.Exit(0)
		default:
			fmt.Println("received", text)
			server.Again()
		}
	}
	// Output:
	// received NOOP
	// the rest is encrypted
	// received SECRET
}

// rot13 stands for an encryption here.
func rot13(text string) string {
	return string(bytes.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return 'A' + (r-'A'+13)%26
		}
		return r
	}, []byte(text)))
}

type rot13Filter struct{}

func (rot13Filter) Decode(in, plain, _ *evchan.Buffer, _ bool) error {
	plain.WriteString(rot13(string(in.Next(in.Len()))))
	return nil
}

func (rot13Filter) Encode(plain, out *evchan.Buffer, _ bool) error {
	out.WriteString(rot13(string(plain.Next(plain.Len()))))
	return nil
}

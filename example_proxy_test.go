// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan_test

import (
	"fmt"
	"io"
	"log"
	"net"

	"github.com/evchan/evchan"
)

// A proxy: two streams, of which each gets what the other receives.
//
// In each direction the reader sets the pace: when the destination has MaxOutput unsent
// bytes, io.Copy leaves the rest in the input, and Readable comes again when there is room.
// Each side may finish sending before the other, which CloseWrite passes on. A failure of
// one side is passed on by Abort: the other side must not take what it has got for all
// there was.
func Example_proxy() {
	loop := newLoop()
	defer loop.Close()
	ln, err := loop.Listen("tcp", "127.0.0.1:0", &evchan.ListenConfig{MaxOutput: 64 << 10})
	if err != nil {
		log.Fatal(err)
	}
	server := countingServer()
	reply := make(chan string)
	go client(ln.Addr(), reply)
	done := loop.Trigger()
	go func() {
		fmt.Println(<-reply)
		done.Fire()
	}()

	other := func(s *evchan.Stream) *evchan.Stream { return s.Data.(*evchan.Stream) }
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case evchan.Accepted:
			out, err := loop.Dial("tcp", server, &evchan.DialConfig{Data: ev.Stream, MaxOutput: 64 << 10})
			if err != nil {
				log.Fatal(err) // the address is not valid
			}
			ev.Stream.Data = out
		case evchan.Readable:
			io.Copy(other(ev.Stream), ev.Stream) // may return ErrFull, as above
		case evchan.EOF: // comes after all input was copied
			other(ev.Stream).CloseWrite()
			if other(ev.Stream).AtEOF() { // both have finished
				other(ev.Stream).Close() // sends what is unsent
				ev.Stream.Close()
			}
		case evchan.Closed: // the connection has failed, or could not be made
			log.Print(ev.Stream.Err())
			other(ev.Stream).Abort()
		case evchan.Fired:
			return
		}
	}
	// Output:
	// the server has received 10000000 bytes
}

// countingServer returns the address of a server for one connection. When the client has
// finished sending, it says how much that was.
func countingServer() string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		defer ln.Close()
		conn, err := ln.Accept()
		if err != nil {
			log.Fatal(err)
		}
		defer conn.Close()
		n, _ := io.Copy(io.Discard, conn)
		fmt.Fprintf(conn, "the server has received %d bytes", n)
	}()
	return ln.Addr().String()
}

// client sends much, finishes sending, and puts what it receives into reply.
func client(addr net.Addr, reply chan<- string) {
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	io.CopyN(conn, neverEnding('x'), 10_000_000)
	conn.(*net.TCPConn).CloseWrite()
	p, _ := io.ReadAll(conn)
	reply <- string(p)
}

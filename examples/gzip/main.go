// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Gzip sends back what it receives, compressed. A Filter on top of each stream
// compresses; the rest of the program is an ordinary echo server.
//
//	go run ./examples/gzip
//	printf 'hello\n' | nc -N 127.0.0.1 7040 | gunzip
//
// With -demo it connects a client to itself, which does what the second line does.
package main

import (
	"compress/gzip"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strings"
	"time"

	"github.com/evchan/evchan"
)

// A filter compresses what is written to its stream. It does not change what is
// read.
type filter struct {
	gz  *gzip.Writer
	out *evchan.Buffer // the argument of the running Encode; gz writes to it
}

// compress puts a stream that compresses on top of s.
func compress(s *evchan.Stream) (*evchan.Stream, error) {
	f := new(filter)
	f.gz = gzip.NewWriter(f)
	return s.Filter(f, nil)
}

// Write is called by gz with the compressed bytes.
func (f *filter) Write(p []byte) (int, error) { return f.out.Write(p) }

// Decode passes on what has arrived.
func (f *filter) Decode(in, plain, _ *evchan.Buffer, _ bool) error {
	return plain.AppendBuffer(in)
}

// Encode compresses what was written, and sends all of it at once: gz keeps nothing
// back until more is written.
func (f *filter) Encode(plain, out *evchan.Buffer, fin bool) error {
	f.out = out
	switch {
	case plain.Len() > 0:
		if _, err := plain.WriteTo(f.gz); err != nil {
			return err
		}
		if !fin {
			return f.gz.Flush()
		}
	case !fin:
		return nil // called at the beginning, or because something was read
	}
	return f.gz.Close() // writes the checksum
}

func main() {
	listen := flag.String("listen", "127.0.0.1:7040", "listen on `address`")
	demo := flag.Bool("demo", false, "connect a client to the server itself, then end")
	flag.Parse()
	if *demo && *listen == flag.Lookup("listen").DefValue {
		*listen = "127.0.0.1:0"
	}

	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	ln, err := loop.Listen("tcp", *listen, &evchan.ListenConfig{
		MaxStreams: 1000,
		Over:       compress,  // all messages are about the streams on top
		MaxOutput:  256 << 10, // unsent bytes, with which the client is not read from
		ReadIdle:   10 * time.Minute,
		WriteIdle:  time.Minute,
		Lifetime:   24 * time.Hour,
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := loop.Signal(os.Interrupt); err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", ln.Addr())
	if *demo {
		go func() {
			if err := client(ln.Addr().String()); err != nil {
				log.Fatal(err)
			}
			loop.Exit(0)
		}()
	}

	for ev := range loop.All() {
		switch ev := ev.(type) {
		case evchan.Readable:
			io.Copy(ev.Stream, ev.Stream)
		case evchan.EOF:
			ev.Stream.Close() // first sends the rest, with the checksum
		case evchan.TimedOut:
			ev.Stream.Abort()
		case evchan.Closed:
			log.Print(ev.Stream.Err())
		case evchan.Signaled:
			return
		}
	}
	if err := loop.Err(); err != nil {
		log.Fatal(err)
	}
}

// client sends some text, and checks that it comes back.
func client(addr string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	text := strings.Repeat("the same again and again\n", 1000)
	go func() {
		io.WriteString(conn, text)
		conn.(*net.TCPConn).CloseWrite()
	}()
	compressed, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	gz, err := gzip.NewReader(strings.NewReader(string(compressed)))
	if err != nil {
		return err
	}
	got, err := io.ReadAll(gz)
	if err != nil {
		return err
	}
	fmt.Printf("%d bytes came back, compressed to %d\n", len(got), len(compressed))
	if string(got) != text {
		return fmt.Errorf("they are not what was sent")
	}
	return nil
}

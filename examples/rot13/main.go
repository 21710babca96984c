// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Rot13 is the demonstration server: it sends each line back with its letters
// shifted by 13 places, and prints every message of the loop as it arrives.
//
//	go run ./examples/rot13 &
//	printf 'Uryyb\n' | nc -N 127.0.0.1 7013
//
// (-N makes nc finish sending at the end of its input; some versions of nc do so by
// themselves and have no -N.) An interrupt ends the server: Shutdown sends the answers
// that are still unsent.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/evchan/evchan"
)

const (
	maxLine   = 16 << 10    // bytes of the longest line
	maxOutput = 4 * maxLine // unsent bytes at which no more lines are answered
)

func main() {
	listen := flag.String("listen", "127.0.0.1:7013", "listen on `address`")
	quiet := flag.Bool("quiet", false, "do not print the messages")
	demo := flag.Bool("demo", false, "connect a few clients to the server itself, then end")
	flag.Parse()
	if *demo && *listen == flag.Lookup("listen").DefValue {
		*listen = "127.0.0.1:0"
	}
	if err := serve(*listen, *quiet, *demo); err != nil {
		log.Fatal("rot13: ", err)
	}
}

func serve(listen string, quiet, demo bool) error {
	loop, err := evchan.New(nil)
	if err != nil {
		return err
	}
	defer loop.Close()
	ln, err := loop.Listen("tcp", listen, &evchan.ListenConfig{
		MaxStreams: 1000,
		MaxInput:   maxLine,
		MaxOutput:  maxOutput,
		ReadIdle:   10 * time.Minute,
		WriteIdle:  time.Minute,
		Lifetime:   24 * time.Hour,
	})
	if err != nil {
		return err
	}
	if _, err := loop.Signal(os.Interrupt); err != nil {
		return err
	}
	fmt.Println("listening on", ln.Addr())

	clients := make(chan error, 1) // the result of the demonstration
	if demo {
		go func() {
			clients <- runClients(ln.Addr().String())
			loop.Exit(0)
		}()
	}

	for ev := range loop.Events() {
		if !quiet {
			fmt.Println(ev)
		}
		if _, ok := ev.(evchan.Signaled); ok {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			if err := loop.Shutdown(ctx); err != nil {
				return err
			}
		}
		handle(ev)
	}
	if demo {
		return <-clients
	}
	return loop.Err()
}

// handle does what a message of a client asks for.
func handle(ev evchan.Event) {
	switch ev := ev.(type) {
	case evchan.Readable:
		reply(ev.Stream)
	case evchan.Drained: // the client has read its answers
		reply(ev.Stream)
	case evchan.EOF: // the client has sent its last line
		ev.Stream.Data = "finished"
		reply(ev.Stream)
	case evchan.TimedOut:
		ev.Stream.Abort() // it sends nothing, or does not read its answers
	}
}

// reply answers the full lines that have arrived, as long as the client reads the
// answers. It closes the stream after the last one.
func reply(s *evchan.Stream) {
	in, out := s.Input(), s.Output()
	for !s.OutputFull() { // else Drained will come
		if line, ok := in.ReadLine(evchan.LF); ok {
			writeRot13(out, line)
			out.WriteByte('\n')
			continue
		}
		// All full lines are answered.
		finished := s.Data == "finished"
		if finished {
			writeRot13(out, in.Next(in.Len())) // the last line has no end
		}
		switch {
		case s.Flush() != nil: // Drained will come, or Closed
		case finished:
			s.Close() // sends the answers first
		case in.Len() >= maxLine:
			s.Abort() // a line that never ends
		}
		return
	}
}

// writeRot13 writes p to out with its letters shifted. It leaves p as it is, since
// what a Buffer returns may be the memory of other code.
func writeRot13(out *evchan.Buffer, p []byte) {
	room := out.Reserve(len(p))
	for i, c := range p {
		switch {
		case 'a' <= c && c <= 'z':
			c = 'a' + (c-'a'+13)%26
		case 'A' <= c && c <= 'Z':
			c = 'A' + (c-'A'+13)%26
		}
		room[i] = c
	}
	out.Commit(len(p))
}

// runClients connects a few clients. Each checks the answer that it gets.
func runClients(addr string) error {
	var g errgroup.Group
	for i := range 3 {
		g.Go(func() error { return client(addr, i) })
	}
	return g.Wait()
}

func client(addr string, i int) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "Uryyb, pyvrag %d\n", i)
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	fmt.Printf("client %d got %q\n", i, line)
	if want := fmt.Sprintf("Hello, client %d\n", i); line != want {
		return fmt.Errorf("client %d got %q, not %q", i, line, want)
	}
	return nil
}

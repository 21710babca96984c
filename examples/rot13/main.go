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
	"github.com/evchan/evchan/evframe"
)

// lines makes messages of the lines that clients send. With Step, each waits for Again: so a
// client that sends lines and reads no answers is made to wait.
var lines = evframe.Lines{Limit: 16 << 10, Step: true}

// maxOutput is the number of unsent bytes at which no more lines are answered.
const maxOutput = 64 << 10

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
		Layer:      lines,
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
	case *evframe.Line:
		s := ev.Stream()
		s.WriteLater(append(rot13(ev.Bytes()), '\n'))
		s.Again() // for the next line
	case *evframe.Error:
		if ev.Err == evframe.ErrTooLong {
			ev.Stream().Abort() // a line that never ends
			return
		}
		ev.Stream().Write(rot13(ev.Bytes())) // the last line has no end
	case evchan.EOF: // the client has sent its last line
		ev.Stream.Close() // sends the answers first
	case evchan.TimedOut:
		ev.Stream.Abort() // it sends nothing, or does not read its answers
	}
}

// rot13 returns p with its letters shifted. It leaves p as it is, since what a message has may be
// the memory of other code.
func rot13(p []byte) []byte {
	shifted := make([]byte, len(p), len(p)+1)
	for i, c := range p {
		switch {
		case 'a' <= c && c <= 'z':
			c = 'a' + (c-'a'+13)%26
		case 'A' <= c && c <= 'Z':
			c = 'A' + (c-'A'+13)%26
		}
		shifted[i] = c
	}
	return shifted
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

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Echo is a minimal server: it sends back what it receives.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/evchan/evchan"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:7000", "listen on `address`")
	events := flag.Bool("events", false, "receive from the channel of Events")
	batches := flag.Bool("batches", false, "receive from the channel of Batches")
	flag.Parse()

	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	ln, err := loop.Listen("tcp", *listen, &evchan.ListenConfig{
		MaxStreams: 10_000,
		MaxOutput:  256 << 10, // when so much is unsent, the client is not read from
		ReadIdle:   10 * time.Minute,
		WriteIdle:  time.Minute,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprintln(os.Stderr, "echo: listening on", ln.Addr())

	switch {
	case *events:
		for ev := range loop.Events() {
			handle(ev)
		}
	case *batches:
		for batch := range loop.Batches() {
			for ev := range batch.All() {
				handle(ev)
			}
		}
	default:
		for ev := range loop.All() {
			handle(ev)
		}
	}
	log.Fatal(loop.Err())
}

func handle(ev evchan.Event) {
	switch ev := ev.(type) {
	case evchan.Readable:
		io.Copy(ev.Stream, ev.Stream)
	case evchan.EOF:
		ev.Stream.Close()
	case evchan.TimedOut:
		ev.Stream.Abort()
	}
}

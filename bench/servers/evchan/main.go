// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Evchan is a server on this repository's library, through its public API. It
// receives messages by All, from Batches or from Events; with -mode netconn it
// only accepts, and serves each connection as std does. With -loops it is a Group, by All.
package main

import (
	"context"
	"flag"
	"io"
	"log"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/bench/servers/internal/blocking"
	"github.com/evchan/evchan/bench/servers/internal/peer"
)

// Unsent output at which a source and a proxy write on, and stop.
const (
	writeLow  = 32 << 10
	writeHigh = 64 << 10
)

func main() {
	mode := flag.String("mode", "all", "how to receive: all, batches or events; netconn: only accept")
	loops := flag.Int("loops", 0, "serve with a Group of so many loops, by All; 0: with one loop and without a Group")
	o := peer.Parse()
	// No keep-alives, since the servers in C have none.
	conf := &evchan.ListenConfig{KeepAlive: -1}
	if o.Work == "source" || o.Work == "proxy" {
		conf.WriteLow, conf.MaxOutput = writeLow, writeHigh
	}
	var handle func(evchan.Event)
	switch o.Work {
	case "echo":
		handle = echo
	case "sink":
		handle = sink
	case "source":
		handle = source
	case "proxy":
		handle = func(ev evchan.Event) { proxy(ev, o.Backend) }
	}

	if *loops > 0 {
		log.Fatal(serveGroup(*loops, o.Listen, conf, handle))
	}
	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := loop.Listen("tcp", o.Listen, conf); err != nil {
		log.Fatal(err)
	}
	switch *mode {
	case "all":
		for ev := range loop.All() {
			handle(ev)
		}
	case "batches":
		for batch := range loop.Batches() {
			for ev := range batch.All() {
				handle(ev)
			}
		}
	case "events":
		for ev := range loop.Events() {
			handle(ev)
		}
	case "netconn":
		for ev := range loop.All() {
			if ev, ok := ev.(evchan.Accepted); ok {
				if c, err := ev.Stream.NetConn(); err == nil {
					go blocking.Serve(c, o)
				}
			}
		}
	default:
		log.Fatalf("no mode %q", *mode)
	}
	log.Fatal(loop.Err())
}

// serveGroup serves with a Group.
func serveGroup(loops int, listen string, conf *evchan.ListenConfig, handle func(evchan.Event)) error {
	g, err := evchan.NewGroup(&evchan.GroupConfig{Loops: loops})
	if err != nil {
		return err
	}
	if _, err := g.Listen("tcp", listen, conf); err != nil {
		return err
	}
	return g.Run(context.Background(), func(loop *evchan.Loop) error {
		for ev := range loop.All() {
			handle(ev)
		}
		return loop.Err()
	})
}

func echo(ev evchan.Event) {
	switch ev := ev.(type) {
	case evchan.Readable:
		io.Copy(ev.Stream, ev.Stream)
	case evchan.EOF:
		ev.Stream.Close()
	}
}

func sink(ev evchan.Event) {
	switch ev := ev.(type) {
	case evchan.Readable:
		ev.Stream.Input().Reset()
	case evchan.EOF:
		ev.Stream.Close()
	}
}

func source(ev evchan.Event) {
	switch ev := ev.(type) {
	case evchan.Accepted:
		fill(ev.Stream)
	case evchan.Drained:
		fill(ev.Stream)
	}
}

// fill writes until the kernel has had enough and some output is left, so that
// Drained follows.
func fill(s *evchan.Stream) {
	for s.Queued() < writeHigh {
		if _, err := s.Write(peer.Pattern); err != nil {
			return
		}
	}
}

func proxy(ev evchan.Event, backend string) {
	switch ev := ev.(type) {
	case evchan.Accepted:
		out, err := ev.Stream.Loop().Dial("tcp", backend, &evchan.DialConfig{KeepAlive: -1})
		if err != nil {
			log.Fatal(err) // the address is no address
		}
		out.SetWriteMarks(writeLow, writeHigh)
		ev.Stream.Data, out.Data = out, ev.Stream
	case evchan.Readable:
		io.Copy(other(ev.Stream), ev.Stream)
	case evchan.EOF:
		// It comes after all input was consumed, so nothing is left to copy.
		other(ev.Stream).CloseWrite()
		if other(ev.Stream).AtEOF() {
			other(ev.Stream).Close()
			ev.Stream.Close()
		}
	case evchan.Closed:
		other(ev.Stream).Abort()
	}
}

// other returns the stream at the other side.
func other(s *evchan.Stream) *evchan.Stream { return s.Data.(*evchan.Stream) }

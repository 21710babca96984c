// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Proxy passes connections on to another address. The slower side sets the pace:
// what it has not taken is not read from the other one, in either direction, and
// each side may finish sending before the other does.
//
//	go run ./examples/proxy -to 127.0.0.1:7000
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

const (
	maxWaiting = 256 << 10       // what a direction may hold, beside the input
	maxIdle    = 2 * time.Minute // how long a side may take nothing of that
	maxLife    = 24 * time.Hour  // ends those who say nothing for ever
)

func main() {
	listen := flag.String("listen", "127.0.0.1:7030", "listen on `address`")
	to := flag.String("to", "127.0.0.1:7000", "pass connections on to `address`")
	flag.Parse()

	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	ln, err := loop.Listen("tcp", *listen, &evchan.ListenConfig{
		MaxStreams: 1000, // each has another one at the other side
		MaxOutput:  maxWaiting,
		WriteIdle:  maxIdle,
		Lifetime:   maxLife,
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := loop.Signal(os.Interrupt); err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", ln.Addr())

	for ev := range loop.All() {
		switch ev := ev.(type) {
		case evchan.Accepted:
			out, err := loop.Dial("tcp", *to, &evchan.DialConfig{MaxOutput: maxWaiting})
			if err != nil {
				log.Fatal(err) // the address is no address
			}
			out.SetIdleTimeouts(0, maxIdle)
			ev.Stream.Data, out.Data = out, ev.Stream
		case evchan.Readable:
			io.Copy(other(ev.Stream), ev.Stream)
		case evchan.EOF:
			// It comes after all input was consumed, so nothing is left to copy.
			other(ev.Stream).CloseWrite()
			if other(ev.Stream).AtEOF() {
				// Both have finished; each sends what it still has.
				other(ev.Stream).Close()
				ev.Stream.Close()
			}
		case evchan.TimedOut:
			log.Print(ev.Stream.RemoteAddr(), " takes nothing any more")
			ev.Stream.Abort()
			other(ev.Stream).Abort()
		case evchan.Closed:
			log.Print(ev.Stream.Err()) // its lifetime may be over
			other(ev.Stream).Abort()
		case evchan.Signaled:
			return
		}
	}
	log.Fatal(loop.Err())
}

// other returns the stream at the other side.
func other(s *evchan.Stream) *evchan.Stream { return s.Data.(*evchan.Stream) }

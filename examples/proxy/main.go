// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Proxy passes connections on to another address. In each direction the reader sets
// the pace: if it reads slowly, the proxy reads slowly from the sender. Each side may
// finish sending before the other does.
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
	maxWaiting = 256 << 10       // unsent bytes of a direction, beside the unread input
	maxIdle    = 2 * time.Minute // how long a side may read none of them
	maxLife    = 24 * time.Hour  // how long a connection lives; it may be silent meanwhile
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
		MaxStreams: 1000, // for each of them the proxy dials another one
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
			out, err := loop.Dial("tcp", *to, &evchan.DialConfig{
				Data:      ev.Stream,
				MaxOutput: maxWaiting,
				WriteIdle: maxIdle,
			})
			if err != nil {
				log.Fatal(err) // the address is not valid
			}
			ev.Stream.Data = out
		case evchan.Readable:
			io.Copy(other(ev.Stream), ev.Stream)
		case evchan.EOF:
			// EOF comes after all input was consumed, so nothing is left to copy.
			other(ev.Stream).CloseWrite()
			if other(ev.Stream).AtEOF() {
				// Both have finished sending. Close sends what is still queued.
				other(ev.Stream).Close()
				ev.Stream.Close()
			}
		case evchan.TimedOut:
			log.Print(ev.Stream.RemoteAddr(), " does not read any more")
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

// other returns the stream that s is connected with.
func other(s *evchan.Stream) *evchan.Stream { return s.Data.(*evchan.Stream) }

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Select receives the messages of a loop in a select statement, beside a context, a
// time.Ticker, and a channel of its own for the messages of one stream.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/evchan/evchan"
)

func main() {
	limit := flag.Duration("time", 500*time.Millisecond, "how long it runs")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), *limit)
	defer cancel()

	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	ln, err := loop.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	go talk(ctx, ln.Addr().String())

	ticker := time.NewTicker(*limit / 5)
	defer ticker.Stop()
	private := make(chan evchan.Event, 1)

	for {
		select {
		case ev, ok := <-loop.Events():
			if !ok {
				log.Fatal("the loop has ended: ", loop.Err())
			}
			fmt.Println("events: ", ev)
			if ev, ok := ev.(evchan.Accepted); ok {
				ev.Stream.Notify(private) // its other messages go there
			}
		case ev := <-private:
			if ev, ok := ev.(evchan.Readable); ok {
				line, _ := ev.Stream.Input().ReadLine(evchan.LF)
				fmt.Printf("private: %q\n", line)
			}
		case <-ticker.C:
			fmt.Println("ticker")
		case <-ctx.Done():
			fmt.Println("context:", ctx.Err())
			return
		}
	}
}

// talk sends a line now and then.
func talk(ctx context.Context, addr string) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		log.Print(err)
		return
	}
	defer conn.Close()
	for i := range 3 {
		io.WriteString(conn, fmt.Sprintf("line %d\n", i+1))
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
	<-ctx.Done()
}

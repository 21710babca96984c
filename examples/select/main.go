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
	"os"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evframe"
)

func main() {
	limit := flag.Duration("time", 500*time.Millisecond, "how long it runs")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), *limit)
	defer cancel()
	if err := run(ctx, os.Stdout, *limit/5); err != nil {
		log.Fatal(err)
	}
}

// run receives until ctx ends, and prints to w what it receives.
func run(ctx context.Context, w io.Writer, tick time.Duration) error {
	loop, err := evchan.New(nil)
	if err != nil {
		return err
	}
	defer loop.Close()
	ln, err := loop.Listen("tcp", "127.0.0.1:0", &evchan.ListenConfig{Layer: evframe.Lines{}})
	if err != nil {
		return err
	}
	go talk(ctx, ln.Addr().String())

	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	private := make(chan evchan.Event, 1)

	for {
		select {
		case ev, ok := <-loop.Events():
			if !ok {
				return fmt.Errorf("the loop has ended: %v", loop.Err())
			}
			fmt.Fprintln(w, "events: ", ev)
			if ev, ok := ev.(evchan.Accepted); ok {
				ev.Stream.Notify(private) // its other messages go there
			}
		case ev := <-private:
			switch ev := ev.(type) {
			case *evframe.Line: // the layer makes them of the bytes that arrive
				fmt.Fprintf(w, "private: %q\n", ev.Bytes())
			case evchan.EOF:
				ev.Stream.Close()
			}
		case <-ticker.C:
			fmt.Fprintln(w, "ticker")
		case <-ctx.Done():
			fmt.Fprintln(w, "context:", ctx.Err())
			return nil
		}
	}
}

// talk connects to addr and sends two lines at a time.
func talk(ctx context.Context, addr string) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		log.Print(err)
		return
	}
	defer conn.Close()
	for i := range 3 {
		fmt.Fprintf(conn, "line %d\nline %d\n", 2*i+1, 2*i+2)
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
	<-ctx.Done()
}

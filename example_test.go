// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/evchan/evchan"
)

// newLoop returns a loop with default settings.
func newLoop() *evchan.Loop {
	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	return loop
}

// An echo server, and a client that talks to it.
func Example_echo() {
	loop := newLoop()
	defer loop.Close()
	ln, err := loop.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}

	go func() { // the client
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Fprintln(conn, "hello")
		conn.(*net.TCPConn).CloseWrite()
		reply, _ := io.ReadAll(conn)
		fmt.Printf("client got %q\n", reply)
		conn.Close()
		loop.Close()
	}()

	for ev := range loop.Events() {
		switch ev := ev.(type) {
		case evchan.Readable:
			io.Copy(ev.Stream, ev.Stream)
		case evchan.EOF:
			ev.Stream.Close()
		}
	}
	// Output:
	// client got "hello\n"
}

// A server for untrusted clients. It sends lines back. The client of this example
// sends a line that never ends.
func ExampleListenConfig() {
	loop := newLoop()
	defer loop.Close()
	const maxLine = 4 << 10
	ln, err := loop.Listen("tcp", "127.0.0.1:0", &evchan.ListenConfig{
		MaxStreams: 1000,
		MaxInput:   maxLine,
		MaxOutput:  64 << 10,
		ReadIdle:   time.Minute,
		WriteIdle:  10 * time.Second,
		Lifetime:   time.Hour,
	})
	if err != nil {
		log.Fatal(err)
	}

	go func() { // the client
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			log.Fatal(err)
		}
		io.Copy(conn, neverEnding('x')) // until the server resets the connection
		conn.Close()
		loop.Exit(0)
	}()

	for ev := range loop.All() {
		switch ev := ev.(type) {
		case evchan.Readable:
			in, out := ev.Stream.Input(), ev.Stream.Output()
			for line := range in.Lines(evchan.LF) {
				out.Write(line)
				out.WriteByte('\n')
			}
			switch {
			case in.Len() >= maxLine:
				fmt.Println("the line is too long")
				ev.Stream.Abort()
			case ev.Stream.Flush() == evchan.ErrFull:
				fmt.Println("the client does not read")
				ev.Stream.Abort()
			}
		case evchan.TimedOut:
			fmt.Println("the client has been idle too long:", ev.Stream.TimedOut())
			ev.Stream.Abort()
		case evchan.EOF:
			ev.Stream.Close()
		case evchan.Closed:
			fmt.Println(ev.Stream.Err()) // the client has reset it, or its lifetime is over
		case evchan.AcceptFailed:
			fmt.Println(ev.Listener.Err())
		}
	}
	// Output:
	// the line is too long
}

// A server that ends gracefully. It accepts no more connections, answers the requests
// that are under way, and then calls Shutdown, which sends the replies and closes the
// connections. The work on a request is a timer here.
func Example_gracefulShutdown() {
	loop := newLoop()
	ln, err := loop.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	stop := loop.Trigger() // in a program: loop.Signal(os.Interrupt), which sends Signaled

	replies := make(chan string, 1)
	go func() { // the client
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Fprintln(conn, "request")
		r := bufio.NewReader(conn)
		started, _ := r.ReadString('\n')
		stop.Fire() // while the request is under way
		rest, _ := io.ReadAll(r)
		conn.Close()
		replies <- started + string(rest)
	}()

	underWay, stopping := 0, false
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case evchan.Readable:
			if stopping {
				continue // a request that comes now is not answered
			}
			for range ev.Stream.Input().Lines(evchan.LF) {
				underWay++
				fmt.Fprintln(ev.Stream, "started")
				loop.After(10 * time.Millisecond).Data = ev.Stream
			}
		case evchan.Tick: // a request is done
			underWay--
			fmt.Fprintln(ev.Timer.Data.(*evchan.Stream), "done")
		case evchan.Fired:
			stopping = true
			stop.Close() // from now on, Ctrl-C ends the program at once
			ln.Close()   // accepts no more connections
		}
		if stopping && underWay == 0 {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			fmt.Println("Shutdown:", loop.Shutdown(ctx)) // ends the range as well
			cancel()
		}
	}
	fmt.Print(<-replies)
	// Output:
	// Shutdown: <nil>
	// started
	// done
}

// A neverEnding is an endless reader that returns one byte again and again.
type neverEnding byte

func (b neverEnding) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

// All runs the loop on the calling goroutine.
func ExampleLoop_All() {
	loop := newLoop()
	defer loop.Close()
	loop.After(time.Millisecond)
	for ev := range loop.All() {
		fmt.Println(ev)
		break
	}
	// Output:
	// Tick timer
}

// A select receives from the channel of Events beside other channels.
func ExampleLoop_Events() {
	loop := newLoop()
	defer loop.Close()
	loop.Trigger().Fire()
	select {
	case ev := <-loop.Events():
		fmt.Println(ev)
	case <-time.After(10 * time.Second):
		fmt.Println("too late")
	}
	// Output:
	// Fired trigger
}

// Each batch is a range of its own.
func ExampleLoop_Batches() {
	loop := newLoop()
	for range 3 {
		loop.Trigger().Fire()
	}
	n := 0
	for batch := range loop.Batches() {
		for ev := range batch.All() {
			fmt.Println(ev)
			if n++; n == 3 {
				loop.Close()
			}
		}
	}
	// Output:
	// Fired trigger
	// Fired trigger
	// Fired trigger
}

// Poll returns one message, if there is one.
func ExampleLoop_Poll() {
	loop := newLoop()
	defer loop.Close()
	if _, ok := loop.Poll(0); !ok {
		fmt.Println("nothing yet")
	}
	loop.After(time.Millisecond)
	if ev, ok := loop.Poll(-1); ok {
		fmt.Println(ev)
	}
	// Output:
	// nothing yet
	// Tick timer
}

// A slow receiver gets one Tick for several expiries.
func ExampleLoop_Every() {
	loop := newLoop()
	defer loop.Close()
	timer := loop.Every(10 * time.Millisecond)
	time.Sleep(35 * time.Millisecond)
	loop.Poll(-1)
	fmt.Println(timer.Take() >= 3)
	// Output:
	// true
}

// Wrap takes over a connection of package net.
func ExampleLoop_Wrap() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()
	go func() {
		conn, _ := ln.Accept()
		io.WriteString(conn, "welcome\n")
		conn.Close()
	}()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}

	loop := newLoop()
	defer loop.Close()
	stream, err := loop.Wrap(conn, nil)
	if err != nil {
		log.Fatal(err)
	}
	for ev := range loop.All() {
		if _, ok := ev.(evchan.EOF); ok {
			break
		}
	}
	line, _ := stream.Input().ReadLine(evchan.LF)
	fmt.Printf("%s\n", line)
	// Output:
	// welcome
}

// Dial returns at once. What is written is sent once the stream is connected.
func ExampleLoop_Dial() {
	loop := newLoop()
	defer loop.Close()
	ln, err := loop.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	client, err := loop.Dial("tcp", ln.Addr().String(), nil)
	if err != nil {
		log.Fatal(err)
	}
	io.WriteString(client, "hello")
	for ev := range loop.All() {
		if ev, ok := ev.(evchan.Readable); ok {
			fmt.Printf("server got %q\n", ev.Stream.Input().Next(100))
			break
		}
	}
	// Output:
	// server got "hello"
}

// Notify gives a source a channel of its own.
func ExampleTrigger() {
	loop := newLoop()
	defer loop.Close()
	wake := loop.Trigger()
	private := make(chan evchan.Event, 1)
	wake.Notify(private)
	loop.Events() // starts the loop

	go func() { // any goroutine may fire it
		wake.Fire()
		wake.Fire()
		wake.Fire()
	}()
	fires := 0
	for fires < 3 {
		<-private
		fires += wake.Take()
	}
	fmt.Println(fires)
	// Output:
	// 3
}

// A reply is built in Output and sent in one piece.
func ExampleStream_Flush() {
	loop := newLoop()
	defer loop.Close()
	ln, err := loop.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			log.Fatal(err)
		}
		reply, _ := io.ReadAll(conn)
		fmt.Printf("%s", reply)
		conn.Close()
		loop.Exit(0)
	}()
	for ev := range loop.All() {
		if ev, ok := ev.(evchan.Accepted); ok {
			out := ev.Stream.Output()
			fmt.Fprintf(out, "%d + %d\n", 1, 2)
			out.WriteString("= 3\n")
			ev.Stream.Flush()
			ev.Stream.Close()
		}
	}
	// Output:
	// 1 + 2
	// = 3
}

// A rot13 filter shifts letters by 13 places, in both directions.
type rot13 struct{}

func (rot13) Decode(in, plain, _ *evchan.Buffer, _ bool) error { return turn(in, plain) }
func (rot13) Encode(plain, out *evchan.Buffer, _ bool) error   { return turn(plain, out) }

func turn(from, to *evchan.Buffer) error {
	for p := range from.Segments() {
		for _, c := range p {
			if l := c | 0x20; 'a' <= l && l <= 'z' {
				c = (l-'a'+13)%26 + 'a' - l + c
			}
			to.WriteByte(c)
		}
	}
	from.Reset()
	return nil
}

func ExampleStream_Filter() {
	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()

	a, b := loop.Pipe(nil, nil)
	secret, err := a.Filter(rot13{}, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprint(secret, "Hello")
	for ev := range loop.All() {
		if ev, ok := ev.(evchan.Readable); ok && ev.Stream == b {
			fmt.Printf("%s\n", b.Input().Next(100))
			break
		}
	}
	// Output: Uryyb
}

func ExampleLoop_RateGroup() {
	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()

	// All streams of a listener together read 1 MB a second, each of them writes
	// 100 kB.
	group, err := loop.RateGroup(evchan.RateLimit{ReadRate: 1e6, ReadBurst: 1e6})
	if err != nil {
		log.Fatal(err)
	}
	_, err = loop.Listen("tcp", "127.0.0.1:0", &evchan.ListenConfig{
		RateGroup: group,
		RateLimit: &evchan.RateLimit{WriteRate: 1e5, WriteBurst: 1e5},
	})
	if err != nil {
		log.Fatal(err)
	}

	_, err = loop.RateGroup(evchan.RateLimit{ReadRate: 1000})
	fmt.Println(err)
	// Output: evchan: RateLimit.ReadBurst is 0, less than the 100 that the rate brings in a Tick
}

func ExampleStream_MoveTo() {
	first, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer first.Close()
	second, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer second.Close()

	a, b := first.Pipe(nil, nil)
	fmt.Fprint(a, "for the other loop")
	if err := b.MoveTo(second); err != nil {
		log.Fatal(err)
	}
	go func() {
		for range first.Events() {
		}
	}()
	for ev := range second.All() {
		if ev, ok := ev.(evchan.Readable); ok {
			fmt.Printf("%s\n", ev.Stream.Input().Next(100))
			break
		}
	}
	// Output: for the other loop
}

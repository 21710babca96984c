// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package main

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/evchan/evchan"
)

// The demonstration ends well.
func TestDemo(t *testing.T) {
	if err := serve("127.0.0.1:0", true, true); err != nil {
		t.Fatal(err)
	}
}

// The server does not change the bytes of a line: here they belong to the sender.
func TestLinesAreNotChanged(t *testing.T) {
	loop, err := evchan.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	client, server := loop.Pipe(nil, &evchan.StreamConfig{Layer: lines})
	request := []byte("Uryyb, jbeyq\nthe end has no line end")
	sent := string(request)
	client.Output().Append(request, nil)
	client.Flush()
	client.CloseWrite()
	for ev := range loop.All() {
		if ev.Source() == server {
			handle(ev)
		} else if _, ok := ev.(evchan.EOF); ok {
			break
		}
	}
	got := string(client.Input().Next(100))
	if want := "Hello, world\ngur raq unf ab yvar raq"; got != want {
		t.Errorf("got %q; want %q", got, want)
	}
	if string(request) != sent {
		t.Errorf("the request was changed to %q", request)
	}
}

// A client that sends many lines before it reads gets all of them back, and a client
// whose line is too long is disconnected.
func TestLimits(t *testing.T) {
	loop, err := evchan.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	ln, err := loop.Listen("tcp", "127.0.0.1:0", &evchan.ListenConfig{Layer: lines, MaxOutput: maxOutput})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for ev := range loop.Events() {
			handle(ev)
		}
	}()
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}

	conn := dial()
	var lines strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&lines, "line %d\n", i)
	}
	go func() {
		io.WriteString(conn, lines.String())
		conn.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil || strings.ReplaceAll(string(got), "yvar", "line") != lines.String() {
		t.Errorf("%d bytes came back of %d; %v", len(got), lines.Len(), err)
	}

	conn = dial()
	for err = nil; err == nil; {
		_, err = conn.Write(make([]byte, 1000)) // until the server resets the connection
	}
}

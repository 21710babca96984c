// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evws_test

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	gorilla "github.com/gorilla/websocket"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
	"github.com/evchan/evchan/evws"
	"github.com/evchan/evchan/internal/simnet"
)

// TestFaults: bytes arrive and leave in pieces of any size, and the kernel reports late, twice and for
// nothing. With odd seeds calls fail as well, and connections are reset. Each client gets its messages
// back in order, until its connection fails; each connection tells Closed once, as the last.
func TestFaults(t *testing.T) {
	for seed := range uint64(60) {
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testFaults(t, seed) })
		}) {
			return
		}
	}
}

func testFaults(t *testing.T, seed uint64) {
	harmless := seed%2 == 0
	rates := simnet.Harmless(seed)
	if !harmless {
		rates = simnet.Random(seed)
	}
	n := simnet.New(seed, rates)
	loop, err := evchan.New(&evchan.Config{Method: n.Method()})
	if err != nil {
		t.Fatal(err)
	}
	n.Streams = loop.Dump
	if _, err := evhttp.Listen(loop, "tcp", ":80", nil); err != nil {
		t.Fatal(err)
	}
	conf := &evws.Config{Compress: seed%3 == 0, MaxOutput: 8 << 10, Slow: evws.Refuse}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// What waits for Writable, of each connection.
		open := make(map[*evws.Conn][]*evws.Message)
		send := func(c *evws.Conn) {
			for len(open[c]) > 0 {
				m := open[c][0]
				if err := c.Send(m.Type, m.Data); err == evchan.ErrFull {
					return // Writable comes
				} else if err != nil {
					open[c] = nil // Closed comes
					return
				}
				open[c] = open[c][1:]
			}
		}
		for ev := range loop.Events() {
			switch ev := ev.(type) {
			case *evhttp.Request:
				if c, err := evws.Accept(ev, conf); err == nil {
					open[c] = nil
				} else if harmless {
					t.Errorf("Accept: %v", err)
				}
			case *evws.Message:
				if _, ok := open[ev.Conn]; !ok {
					t.Errorf("%v after Closed", ev)
				}
				open[ev.Conn] = append(open[ev.Conn], ev)
				send(ev.Conn)
			case *evws.Writable:
				send(ev.Conn)
			case *evws.Closed:
				if _, ok := open[ev.Conn]; !ok {
					t.Errorf("%v after Closed", ev)
				}
				delete(open, ev.Conn)
				if harmless && ev.Code != 4000 {
					t.Errorf("%v", ev)
				}
			}
		}
		if harmless && len(open) > 0 {
			t.Errorf("%d connections have told no Closed", len(open))
		}
	}()
	const messages = 6
	var clients sync.WaitGroup
	for range 3 {
		clients.Go(func() {
			c, err := n.Dial("tcp", ":80")
			if err != nil {
				if harmless {
					t.Error(err)
				}
				return
			}
			defer c.Close()
			if err := talk(c, messages); err != nil && harmless {
				t.Error(err)
			}
		})
	}
	clients.Wait()
	synctest.Wait()
	loop.Close()
	<-ended
	if err := n.Err(); err != nil {
		t.Error(err)
	}
}

// talk sends messages, gets them back, and closes.
func talk(conn net.Conn, messages int) error {
	d := gorilla.Dialer{NetDial: func(string, string) (net.Conn, error) { return conn, nil }, ReadBufferSize: 512, WriteBufferSize: 512}
	c, _, err := d.Dial("ws://here/", nil)
	if err != nil {
		return err
	}
	body := func(i int) string { return strings.Repeat(fmt.Sprint(i), i*i*150) }
	written := make(chan struct{})
	go func() {
		defer close(written)
		for i := range messages {
			if err := c.WriteMessage(gorilla.TextMessage, []byte(body(i))); err != nil {
				return
			}
		}
	}()
	for i := range messages {
		if _, p, err := c.ReadMessage(); err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		} else if string(p) != body(i) {
			panic(fmt.Sprintf("message %d has %d bytes", i, len(p)))
		}
	}
	<-written
	if err := c.WriteMessage(gorilla.CloseMessage, gorilla.FormatCloseMessage(4000, "")); err != nil {
		return err
	}
	if _, _, err := c.ReadMessage(); !gorilla.IsCloseError(err, 4000) {
		return fmt.Errorf("the end: %w", err)
	}
	return nil
}

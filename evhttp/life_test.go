// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/evchan/evchan"
)

// Clients that are too slow get 408, or are closed if they have asked nothing.
func TestTimeouts(t *testing.T) {
	const short = 100 * time.Millisecond
	srv := start(t, &Config{HeadTimeout: short, BodyTimeout: short, IdleTimeout: short}, each(t, func(r *Request) { r.ReplyString(200, "ok") }))
	for _, c := range []struct{ name, in, want string }{
		{"silent", "", ""},
		{"head", "GET / HTTP/1.1\r\nHost", "HTTP/1.1 408"},
		{"body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc", "HTTP/1.1 408"},
		{"chunk", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5", "HTTP/1.1 408"},
		{"idle", get11, "HTTP/1.1 200"},
		{"next head", get11 + "GET", "HTTP/1.1 408"},
	} {
		conn := dial(t, srv.addr)
		io.WriteString(conn, c.in)
		p, err := io.ReadAll(conn)
		if err != nil || c.want == "" && len(p) > 0 || !strings.Contains(string(p), c.want) {
			t.Errorf("%s: %q, %v", c.name, p, err)
		}
		conn.Close()
	}
}

// A client that sends a byte of its head now and then is not idle, and is closed all the same.
func TestTrickle(t *testing.T) {
	srv := start(t, &Config{HeadTimeout: 200 * time.Millisecond}, each(t, func(r *Request) { r.ReplyString(200, "ok") }))
	c := dial(t, srv.addr)
	go func() {
		for {
			if _, err := io.WriteString(c, "A"); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	p, _ := io.ReadAll(c)
	if !strings.HasPrefix(string(p), "HTTP/1.1 408") {
		t.Errorf("%q", p)
	}
	c.Close()
}

// While the program takes its time, the client is not idle.
func TestSlowProgram(t *testing.T) {
	const short = 50 * time.Millisecond
	srv := start(t, &Config{HeadTimeout: short, BodyTimeout: short, IdleTimeout: short}, each(t, func(r *Request) {
		go func() {
			time.Sleep(4 * short)
			r.ReplyString(200, "late")
		}()
	}))
	c := dial(t, srv.addr)
	io.WriteString(c, get11)
	if _, body := readReply(t, bufio.NewReader(c), "GET"); body != "late" {
		t.Error(body)
	}
}

// A client that reads nothing of its reply is reset.
func TestWriteTimeout(t *testing.T) {
	gone := make(chan *Gone, 1)
	fill := func(r *Request) {
		for {
			if _, err := r.Write(make([]byte, 100_000)); err != nil {
				return
			}
		}
	}
	srv := start(t, &Config{WriteTimeout: 100 * time.Millisecond}, func(ev evchan.Event) {
		switch ev := ev.(type) {
		case *Request:
			fill(ev)
		case *Writable:
			fill(ev.Request)
		case *Gone:
			gone <- ev
		}
	})
	c := dial(t, srv.addr)
	io.WriteString(c, get11)
	if m := <-gone; m.Err != errTimeout {
		t.Error(m)
	}
	if _, err := io.Copy(io.Discard, c); err == nil {
		t.Error("the client was not reset")
	}
}

// Drain closes idle connections at once and the others after their replies.
func TestDrain(t *testing.T) {
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			requests, drained := make(chan *Request, 1), make(chan *Server, 1)
			srv := startWay(t, way, nil, func(ev evchan.Event) {
				switch ev := ev.(type) {
				case *Request:
					requests <- ev
				case *Drained:
					drained <- ev.Server
				}
			})
			idle, busy := dial(t, srv.addr), dial(t, srv.addr)
			br := bufio.NewReader(idle)
			io.WriteString(idle, get11)
			(<-requests).ReplyString(200, "ok")
			readReply(t, br, "GET")
			io.WriteString(busy, get11+get11)
			r := <-requests
			srv.Drain()
			srv.Drain()
			if _, err := br.ReadByte(); err != io.EOF {
				t.Error("the idle connection:", err)
			}
			idle.Close()
			if _, err := dialAddr(srv.addr); err == nil {
				t.Error("the server still listens")
			}
			select {
			case <-drained:
				t.Error("drained before the reply")
			default:
			}
			body := strings.Repeat("x", 10<<20)
			r.ReplyString(200, body)
			br = bufio.NewReader(busy)
			resp, got := readReply(t, br, "GET")
			if got != body || !resp.Close {
				t.Errorf("%v, %d bytes", resp, len(got))
			}
			if s := <-drained; s != srv.Server || s.Conns() != 0 {
				t.Errorf("%d connections", s.Conns())
			}
		})
	}
}

// A server without connections is drained at once, and the loop is not empty before.
func TestDrainIdle(t *testing.T) {
	loop, err := evchan.New(&evchan.Config{ExitOnEmpty: true})
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	srv, err := Listen(loop, "tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	srv.Drain()
	n := 0
	for ev := range loop.All() {
		if _, ok := ev.(*Drained); ok {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d times Drained", n)
	}
}

// Loop.Shutdown finishes the requests that are under way.
func TestShutdown(t *testing.T) {
	requests := make(chan *Request, 1)
	srv := startWay(t, "Events", nil, func(ev evchan.Event) {
		if r, ok := ev.(*Request); ok {
			requests <- r
		}
	})
	c := dial(t, srv.addr)
	idle := dial(t, srv.addr)
	io.WriteString(c, get11)
	r := <-requests
	ended := make(chan error, 1)
	go func() { ended <- srv.loop.Shutdown(context.Background()) }()
	if _, err := idle.Read(make([]byte, 1)); err != io.EOF {
		t.Error("the idle connection:", err)
	}
	idle.Close()
	r.ReplyString(200, "last")
	if resp, body := readReply(t, bufio.NewReader(c), "GET"); body != "last" {
		t.Error(resp, body)
	}
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Error("the busy connection:", err)
	}
	c.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A lineMessage is what linesLayer makes.
type lineMessage struct {
	evchan.Custom
	stream *evchan.Stream
	line   string
}

type linesLayer struct{}

func (linesLayer) Next(src evchan.Source, ev evchan.Event) evchan.Event {
	s := src.(*evchan.Stream)
	if line, ok := s.Input().ReadLine(evchan.LFOrCRLF); ok {
		return &lineMessage{stream: s, line: string(line)}
	}
	if _, ok := ev.(evchan.EOF); ok {
		return ev // the receiver closes the stream, after its last reply
	}
	return nil
}

// Upgrade gives the stream with what has arrived behind the head, to a layer or to the receiver.
func TestUpgrade(t *testing.T) {
	for _, way := range ways {
		for _, layer := range []evchan.Layer{nil, linesLayer{}} {
			t.Run(fmt.Sprintf("%s %T", way, layer), func(t *testing.T) {
				late := make(chan *Request, 1)
				srv := startWay(t, way, nil, func(ev evchan.Event) {
					switch ev := ev.(type) {
					case *Request:
						if !ev.Upgrades("lines") {
							ev.Error(426)
							return
						}
						late <- ev
					case *lineMessage:
						fmt.Fprintf(ev.stream, "got %s\n", ev.line)
					case evchan.Readable:
						for line := range ev.Stream.Input().Lines(evchan.LF) {
							fmt.Fprintf(ev.Stream, "got %s\n", line)
						}
					case evchan.EOF:
						ev.Stream.Close()
					case evchan.Drained:
					default:
						t.Errorf("%v", ev)
					}
				})
				c := dial(t, srv.addr)
				io.WriteString(c, get11+"GET / HTTP/1.1\r\nHost: x\r\nConnection: x, Upgrade\r\nUpgrade: h2c, LINES\r\n\r\nfirst\nsec")
				r := <-late
				r.Set("X", "y")
				if _, err := r.Upgrade("lines", layer); err != nil {
					t.Fatal(err)
				}
				if n := srv.Conns(); n != 0 {
					t.Errorf("%d connections", n)
				}
				io.WriteString(c, "ond\n")
				c.CloseWrite()
				p, _ := io.ReadAll(c)
				_, got, _ := strings.Cut(string(p), "HTTP/1.1 101 Switching Protocols\r\n")
				if !strings.HasSuffix(got, "\r\nConnection: Upgrade\r\nX: y\r\nUpgrade: lines\r\n\r\ngot first\ngot second\n") {
					t.Errorf("%q", got)
				}
			})
		}
	}
}

// CONNECT becomes a tunnel.
func TestTunnel(t *testing.T) {
	srv := start(t, nil, func(ev evchan.Event) {
		switch ev := ev.(type) {
		case *Request:
			if ev.Method() != "CONNECT" || ev.Host() != "far:80" || ev.Path() != "" {
				t.Errorf("%v", ev)
			}
			if _, err := ev.Tunnel(nil); err != nil {
				t.Error(err)
			}
		case evchan.Readable:
			io.Copy(ev.Stream, ev.Stream)
		case evchan.EOF:
			ev.Stream.Close()
		}
	})
	if got := ask(t, srv.addr, "CONNECT far:80 HTTP/1.1\r\nHost: far:80\r\n\r\nhello"); !strings.HasSuffix(got, "200 OK\r\n\r\nhello") {
		t.Errorf("%q", got)
	}
}

func TestHosts(t *testing.T) {
	var h Hosts[string]
	if _, ok := h.Find("x"); ok {
		t.Error("an empty table has a host")
	}
	for pattern, value := range map[string]string{"example.com": "1", "*.example.com": "2", "a*.EXAMPLE.com": "3", "*": "4", "[::1]": "5", "x*y*z": "6", "::1": "7"} {
		h.Set(pattern, value)
	}
	for host, want := range map[string]string{
		"example.com": "1", "EXAMPLE.com:8080": "1", "www.example.com": "2", "abc.example.com": "3", "example.org": "4",
		"[::1]:80": "7", "[::1]": "7", "xyz": "6", "x-y-z": "6", "xyyzz": "6", "xzy": "4", "": "4",
	} {
		if got, _ := h.Find(host); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
	h.Set("*", "new")
	if got, _ := h.Find("other"); got != "new" {
		t.Error(got)
	}
	if !h.Delete("*") || h.Delete("*") || !h.Delete("EXAMPLE.com") {
		t.Error("Delete is wrong")
	}
	if got, ok := h.Find("example.com"); ok {
		t.Error(got)
	}
}

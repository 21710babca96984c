// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/evchan/evchan"
)

// echoBody answers with the body, and its trailer.
func echoBody(r *Request) {
	if v := r.Trailer("X-Sum"); v != "" {
		r.Set("X-Sum", v)
	}
	r.Reply(200, r.Body().Bytes())
}

func TestBody(t *testing.T) {
	srv := start(t, &Config{MaxBody: 100_000}, each(t, func(r *Request) {
		if !r.Complete() {
			t.Error("the body is not complete")
		}
		echoBody(r)
	}))
	big := strings.Repeat("0123456789", 10_000)
	for _, body := range []string{"", "a", big} {
		for _, chunked := range []bool{false, true} {
			var rd io.Reader = strings.NewReader(body)
			if chunked {
				rd = struct{ io.Reader }{rd}
			}
			resp, err := http.Post("http://"+srv.addr, "text/plain", rd)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 200 || string(got) != body {
				t.Errorf("%d bytes, chunked %v: %d, %d bytes", len(body), chunked, resp.StatusCode, len(got))
			}
		}
	}
	for _, chunked := range []bool{false, true} {
		var rd io.Reader = strings.NewReader(big + "x")
		if chunked {
			rd = struct{ io.Reader }{rd}
		}
		resp, err := http.Post("http://"+srv.addr, "text/plain", rd)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 413 || !resp.Close {
			t.Errorf("too large, chunked %v: %v", chunked, resp)
		}
	}
}

// Bodies that come a byte at a time, one behind the other, with a trailer.
func TestBodyPieces(t *testing.T) {
	srv := start(t, nil, each(t, echoBody))
	in := "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nab\r\n1\r\nc\r\n0\r\nX-Sum: 3\r\n\r\n" +
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\ndef"
	c := dial(t, srv.addr)
	go func() {
		for i := range len(in) {
			c.Write([]byte{in[i]})
		}
	}()
	br := bufio.NewReader(c)
	resp, body := readReply(t, br, "POST")
	if body != "abc" || resp.Header.Get("X-Sum") != "3" {
		t.Errorf("%q %v", body, resp.Header)
	}
	if _, body := readReply(t, br, "POST"); body != "def" {
		t.Errorf("%q", body)
	}
}

func TestExpect(t *testing.T) {
	srv := start(t, &Config{MaxBody: 10}, each(t, echoBody))
	c := dial(t, srv.addr)
	br := bufio.NewReader(c)
	const head = "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: "
	for range 2 {
		io.WriteString(c, head+"3\r\n\r\n")
		if resp, _ := readReply(t, br, "POST"); resp.StatusCode != 100 {
			t.Fatal(resp)
		}
		io.WriteString(c, "abc")
		if resp, body := readReply(t, br, "POST"); resp.StatusCode != 200 || body != "abc" {
			t.Error(resp, body)
		}
	}
	io.WriteString(c, head+"11\r\n\r\n")
	if resp, _ := readReply(t, br, "POST"); resp.StatusCode != 413 || !resp.Close {
		t.Error(resp)
	}
	for in, want := range map[string]string{
		head + "3\r\n\r\nabc": "200",
		"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc":          "200",
		"POST / HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\nContent-Length: 3\r\n\r\nabc":     "417",
		"GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\n\r\nab": "200",
	} {
		if got := converse(t, srv.addr, in); !strings.HasPrefix(got, "HTTP/1.1 "+want) {
			t.Errorf("%q: %q", in, got)
		}
	}
}

// uploads returns a handler of messages that answers each body with its size and sum.
func uploads(t testing.TB, gone chan<- error) func(evchan.Event) {
	return func(ev evchan.Event) {
		add := func(r *Request, b *evchan.Buffer, last bool) {
			u, _ := r.Data.(*bytes.Buffer)
			if u == nil {
				u = new(bytes.Buffer)
				r.Data = u
			}
			io.Copy(u, b)
			if last {
				r.ReplyString(200, fmt.Sprintf("%d %x", u.Len(), sha256.Sum256(u.Bytes())))
			}
		}
		switch ev := ev.(type) {
		case *Request:
			add(ev, ev.Body(), ev.Complete())
		case *Body:
			add(ev.Request, &ev.Data, ev.Last)
		case *Gone:
			select {
			case gone <- ev.Err:
			default:
				t.Errorf("an unexpected %v", ev)
			}
		default:
			t.Errorf("the server has sent %v", ev)
		}
	}
}

func TestStreaming(t *testing.T) {
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			srv := startWay(t, way, &Config{Streaming: true}, uploads(t, nil))
			for _, n := range []int{0, 1, 1000, 100_000, 1_500_000} {
				for _, chunked := range []bool{false, true} {
					body := bytes.Repeat([]byte("abcdefg"), n/7+1)[:n]
					var rd io.Reader = bytes.NewReader(body)
					if chunked {
						rd = struct{ io.Reader }{rd}
					}
					resp, err := http.Post("http://"+srv.addr, "text/plain", rd)
					if err != nil {
						t.Fatal(err)
					}
					got, _ := io.ReadAll(resp.Body)
					resp.Body.Close()
					if want := fmt.Sprintf("%d %x", n, sha256.Sum256(body)); string(got) != want {
						t.Errorf("%d bytes, chunked %v: %s", n, chunked, got)
					}
				}
			}
		})
	}
}

// A client that leaves, stops or errs in the middle of a streamed body.
func TestStreamingGone(t *testing.T) {
	gone, begun := make(chan error, 1), make(chan bool, 1)
	handle := uploads(t, gone)
	srv := start(t, &Config{Streaming: true, MaxBody: 100, BodyTimeout: 200 * time.Millisecond}, func(ev evchan.Event) {
		if _, ok := ev.(*Request); ok {
			begun <- true
		}
		handle(ev)
	})
	const chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
	for _, c := range []struct {
		name, rest, status string
		finish             bool
		want               error
	}{
		{"cut", "", "", true, io.ErrUnexpectedEOF},
		{"malformed", "x", "400", false, errChunk},
		{"too large", "ff\r\n" + strings.Repeat("a", 255) + "\r\n", "413", false, errLargeBody},
		{"bad trailer", "0\r\nHost: y\r\n\r\n", "400", false, errTrailer},
		{"slow", "", "408", false, errSlowBody},
	} {
		conn := dial(t, srv.addr)
		io.WriteString(conn, chunked)
		<-begun
		io.WriteString(conn, c.rest)
		if c.finish {
			conn.CloseWrite()
		}
		err := <-gone
		if !errors.Is(err, ErrGone) || !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		reply, _ := io.ReadAll(conn)
		if c.status == "" && len(reply) > 0 || !strings.HasPrefix(strings.TrimPrefix(string(reply), "HTTP/1.1 "), c.status) {
			t.Errorf("%s: %q", c.name, reply)
		}
		conn.Close()
	}
}

// A program that pauses a body stops the client.
func TestPauseBody(t *testing.T) {
	paused := make(chan *Request, 1)
	got := make(chan int, 1)
	n := 0
	srv := startWay(t, "Events", &Config{Streaming: true}, func(ev evchan.Event) {
		switch ev := ev.(type) {
		case *Request:
			ev.PauseBody()
			paused <- ev
		case *Body:
			n += ev.Data.Len()
			if ev.Last {
				ev.Request.Reply(204, nil)
				got <- n
			}
		}
	})
	c := dial(t, srv.addr)
	const total = 64 << 20
	fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", total)
	r := <-paused
	sent := 0
	piece := make([]byte, 64<<10)
	c.SetWriteDeadline(time.Now().Add(time.Second))
	for sent < total {
		k, err := c.Write(piece)
		sent += k
		if err != nil {
			break
		}
	}
	if sent == total {
		t.Error("the client was not stopped")
	}
	if in := srv.loop.Stats().BytesIn; in > 1<<20 {
		t.Errorf("%d bytes were read", in)
	}
	c.SetWriteDeadline(time.Now().Add(20 * time.Second))
	r.ResumeBody()
	for sent < total {
		k, err := c.Write(piece[:min(len(piece), total-sent)])
		sent += k
		if err != nil {
			t.Fatal(err)
		}
	}
	if resp, _ := readReply(t, bufio.NewReader(c), "POST"); resp.StatusCode != 204 {
		t.Error(resp)
	}
	if n := <-got; n != total {
		t.Errorf("%d bytes", n)
	}
}

// A reply before the body has ended: the rest is dropped, or the connection is closed if that is
// too much.
func TestEarlyReply(t *testing.T) {
	srv := start(t, &Config{Streaming: true}, func(ev evchan.Event) {
		if r, ok := ev.(*Request); ok {
			r.ReplyString(200, r.Path())
		}
	})
	c := dial(t, srv.addr)
	br := bufio.NewReader(c)
	for _, te := range []string{"Content-Length: 100000", "Transfer-Encoding: chunked"} {
		fmt.Fprintf(c, "POST /a HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", te)
		if resp, body := readReply(t, br, "POST"); body != "/a" || resp.Close {
			t.Fatal(resp, body)
		}
		if strings.HasPrefix(te, "T") {
			io.WriteString(c, "186a0\r\n"+strings.Repeat("x", 100_000)+"\r\n0\r\n\r\n")
		} else {
			io.WriteString(c, strings.Repeat("x", 100_000))
		}
		io.WriteString(c, "GET /b HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, body := readReply(t, br, "GET"); body != "/b" {
			t.Fatal(body)
		}
	}
	for _, head := range []string{"Content-Length: 10000000", "Content-Length: 10\r\nExpect: 100-continue"} {
		c := dial(t, srv.addr)
		fmt.Fprintf(c, "POST /a HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", head)
		if resp, body := readReply(t, bufio.NewReader(c), "POST"); body != "/a" || !resp.Close {
			t.Error(resp, body)
		}
	}
}

// A client that uploads too much reads the refusal, and not a reset.
func TestRefusedUpload(t *testing.T) {
	srv := start(t, &Config{MaxBody: 1000}, each(t, echoBody))
	c := dial(t, srv.addr)
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n")
	done := make(chan error, 1)
	go func() {
		_, err := c.Write(make([]byte, 8_000_000))
		done <- err
	}()
	resp, body := readReply(t, bufio.NewReader(c), "POST")
	if resp.StatusCode != 413 || !strings.Contains(body, "413") {
		t.Error(resp, body)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evchan/evchan"
)

// ask sends one request and returns the reply as it came, without the field Date.
func ask(t testing.TB, addr, in string) string {
	reply := converse(t, addr, in)
	head, rest, _ := strings.Cut(reply, "\r\nDate: ")
	if rest != "" {
		_, rest, _ = strings.Cut(rest, "\r\n")
		head += "\r\n" + rest
	}
	return head
}

const (
	get10  = "GET / HTTP/1.0\r\n\r\n"
	get11  = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	head11 = "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"
	ok     = "HTTP/1.1 200 OK\r\n"
	plain  = "Content-Type: text/plain; charset=utf-8\r\n"
)

// TestReplies checks replies to the byte.
func TestReplies(t *testing.T) {
	pieces := func(r *Request) {
		r.Write([]byte("abc"))
		r.Write(nil)
		r.Write([]byte("0123456789abcdef"))
		r.Finish()
	}
	whole := func(r *Request) { r.Reply(200, []byte("abc")) }
	sized := func(r *Request) {
		r.Set("Content-Length", "5")
		r.Start(200)
		r.Write([]byte("abc"))
		if _, err := r.Write([]byte("abc")); err != http.ErrContentLength {
			t.Error(err)
		}
		r.Write([]byte("de"))
		r.Finish()
	}
	for _, c := range []struct {
		name, in string
		handle   func(*Request)
		want     string
	}{
		{"whole", get11, whole, ok + plain + "Content-Length: 3\r\n\r\nabc"},
		{"whole 1.0", get10, whole, ok + plain + "Content-Length: 3\r\nConnection: close\r\n\r\nabc"},
		{"keep-alive 1.0", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", whole, ok + plain + "Content-Length: 3\r\nConnection: keep-alive\r\n\r\nabc"},
		{"close", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + get11, whole, ok + plain + "Content-Length: 3\r\nConnection: close\r\n\r\nabc"},
		{"whole HEAD", head11, whole, ok + plain + "Content-Length: 3\r\n\r\n"},
		{"empty", get11, func(r *Request) { r.Reply(200, nil) }, ok + "Content-Length: 0\r\n\r\n"},
		{"204", get11, func(r *Request) { r.Reply(204, []byte("x")) }, "HTTP/1.1 204 No Content\r\n\r\n"},
		{"304", get11, func(r *Request) { r.Set("ETag", `"a"`); r.Reply(304, []byte("x")) }, "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n"},
		{"unknown status", get11, func(r *Request) { r.Reply(299, nil) }, "HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n"},
		{"fields", get11, func(r *Request) {
			r.Set("A", "1")
			r.Add("a", "2")
			r.Set("Content-Type", "x/y")
			r.ReplyString(404, "n")
		},
			"HTTP/1.1 404 Not Found\r\nA: 1\r\na: 2\r\nContent-Type: x/y\r\nContent-Length: 1\r\n\r\nn"},
		{"close by the program", get11 + get11, func(r *Request) { r.Set("Connection", "close"); r.Reply(200, nil) },
			ok + "Content-Length: 0\r\nConnection: close\r\n\r\n"},
		{"error", get11, func(r *Request) { r.Error(404) }, "HTTP/1.1 404 Not Found\r\n" + plain + "Content-Length: 14\r\n\r\n404 Not Found\n"},
		{"redirect", get11, func(r *Request) { r.Redirect(302, "/a?b&c") }, "HTTP/1.1 302 Found\r\nLocation: /a?b&c\r\nContent-Type: text/html; charset=utf-8\r\n" +
			"Content-Length: 36\r\n\r\n<a href=\"/a?b&amp;c\">/a?b&amp;c</a>\n"},
		{"pieces", get11, pieces, ok + plain + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"},
		{"pieces 1.0", get10, pieces, ok + plain + "Connection: close\r\n\r\nabc0123456789abcdef"},
		{"pieces HEAD", head11, pieces, ok + plain + "\r\n"},
		{"sized", get11, sized, ok + plain + "Content-Length: 5\r\n\r\nabcde"},
		{"finish only", get11, func(r *Request) { r.Finish() }, ok + "Content-Length: 0\r\n\r\n"},
		{"trailer", get11, func(r *Request) { r.Set("Trailer", "A"); r.Write([]byte("x")); r.Trail("A", "b"); r.Finish() },
			ok + "Trailer: A\r\n" + plain + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n"},
		{"interim", get11, func(r *Request) { r.Set("Link", "</a>"); r.Inform(103); r.Reply(200, nil) },
			"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok + "Link: </a>\r\nContent-Length: 0\r\n\r\n"},
		{"interim 1.0", get10, func(r *Request) { r.Inform(103); r.Reply(200, nil) }, ok + "Content-Length: 0\r\nConnection: close\r\n\r\n"},
		{"allow", "PUT / HTTP/1.1\r\nHost: x\r\n\r\n", func(r *Request) { r.Allow("GET", "HEAD") },
			"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD, OPTIONS\r\n" + plain + "Content-Length: 23\r\n\r\n405 Method Not Allowed\n"},
		{"allow OPTIONS", "OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n", func(r *Request) { r.Allow("GET") }, "HTTP/1.1 204 No Content\r\nAllow: GET, OPTIONS\r\n\r\n"},
		{"buffer", get11, func(r *Request) { r.ReplyBuffer(200, evchan.NewBuffer([]byte("abc"))) }, ok + plain + "Content-Length: 3\r\n\r\nabc"},
		{"events", get11, func(r *Request) {
			es, err := r.EventStream()
			if err != nil {
				t.Error(err)
				return
			}
			es.Send(SSE{ID: "1", Event: "e", Data: "a\nb", Retry: time.Second})
			es.Comment("c")
			es.Send(SSE{Data: "d"})
			es.Close()
		}, ok + "Content-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n" +
			"2c\r\nid: 1\nevent: e\nretry: 1000\ndata: a\ndata: b\n\n\r\n5\r\n: c\n\n\r\n9\r\ndata: d\n\n\r\n0\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := start(t, nil, each(t, c.handle))
			if got := ask(t, srv.addr, c.in); got != c.want {
				t.Errorf("\n%q, want\n%q", got, c.want)
			}
		})
	}
}

// A reply that is shorter than announced ends with a reset.
func TestShortReply(t *testing.T) {
	errs := make(chan error, 1)
	srv := start(t, nil, each(t, func(r *Request) {
		r.Set("Content-Length", "10")
		r.Write([]byte("abc"))
		errs <- r.Finish()
	}))
	c := dial(t, srv.addr)
	io.WriteString(c, get11)
	if err := <-errs; err != errShortReply {
		t.Error(err)
	}
	if p, err := io.ReadAll(c); err == nil {
		t.Errorf("no error behind %q", p)
	}
}

// Of several replies the first one counts, and a request of the past answers nobody else's.
func TestStaleRequest(t *testing.T) {
	var old *Request
	srv := start(t, nil, each(t, func(r *Request) {
		if old == nil {
			old = r
			if err := r.ReplyString(200, "first"); err != nil {
				t.Error(err)
			}
		}
		for _, err := range []error{old.ReplyString(200, "stale"), old.Start(200), old.Error(500), old.Finish(), old.Inform(103),
			old.ReplyBuffer(200, new(evchan.Buffer))} {
			if !errors.Is(err, ErrDone) {
				t.Error(err)
			}
		}
		old.Abort()
		old.Go(nil)
		if _, err := old.Write([]byte("stale")); !errors.Is(err, ErrDone) {
			t.Error(err)
		}
		if _, err := old.Hijack(nil); !errors.Is(err, ErrDone) {
			t.Error(err)
		}
		if r != old {
			r.ReplyString(200, "second")
		}
	}))
	if got := ask(t, srv.addr, get11+get11); !strings.Contains(got, "first") || !strings.HasSuffix(got, "second") || strings.Contains(got, "stale") {
		t.Errorf("%q", got)
	}
}

func TestBadStatus(t *testing.T) {
	srv := start(t, nil, each(t, func(r *Request) {
		for _, status := range []int{0, 100, 199, 1000, -1} {
			if err := r.Reply(status, nil); err == nil {
				t.Errorf("%d was taken", status)
			}
		}
		r.Reply(200, nil)
	}))
	ask(t, srv.addr, get11)
}

// A reply that the client reads slowly: Write returns ErrFull, and Writable follows.
func TestWritable(t *testing.T) {
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			const total = 20 << 20
			piece := []byte(strings.Repeat("0123456789abcdef", 1000))
			full := make(chan bool, 100)
			left := total
			write := func(r *Request) {
				for left > 0 {
					n, err := r.Write(piece[:min(left, len(piece))])
					left -= n
					if err == evchan.ErrFull {
						select {
						case full <- true:
						default:
						}
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
				r.Finish()
			}
			srv := startWay(t, way, nil, func(ev evchan.Event) {
				switch ev := ev.(type) {
				case *Request:
					write(ev)
				case *Writable:
					write(ev.Request)
				}
			})
			resp, err := http.Get("http://" + srv.addr)
			if err != nil {
				t.Fatal(err)
			}
			<-full // while the client does not read
			n, err := io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if n != total || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
	}
}

// Done is closed when the reply was sent, or will never be; Context ends.
func TestDone(t *testing.T) {
	requests := make(chan *Request, 1)
	srv := startWay(t, "Events", nil, func(ev evchan.Event) {
		if r, ok := ev.(*Request); ok {
			requests <- r
		}
	})
	c := dial(t, srv.addr)
	io.WriteString(c, get11)
	r := <-requests
	done, ctx := r.Done(), r.Context()
	if r.Err() != nil || ctx.Err() != nil {
		t.Error(r.Err(), ctx.Err())
	}
	r.Reply(200, make([]byte, 20<<20))
	select {
	case <-done:
		t.Error("Done is closed while the client has not read")
	default:
	}
	<-ctx.Done()
	readReply(t, bufio.NewReader(c), "GET")
	<-done
	if r.Err() != nil {
		t.Error(r.Err())
	}
	<-r.Done()

	c2 := dial(t, srv.addr)
	io.WriteString(c2, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	r = <-requests
	done = r.Done()
	r.Reply(200, make([]byte, 20<<20))
	c2.SetLinger(0)
	c2.Close()
	<-done
	if !errors.Is(r.Err(), ErrGone) {
		t.Error(r.Err())
	}
}

// The client leaves before the reply.
func TestGone(t *testing.T) {
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			requests, gone := make(chan *Request, 1), make(chan *Gone, 1)
			srv := startWay(t, way, nil, func(ev evchan.Event) {
				switch ev := ev.(type) {
				case *Request:
					requests <- ev
				case *Gone:
					gone <- ev
				default:
					t.Errorf("%v", ev)
				}
			})
			c := dial(t, srv.addr)
			io.WriteString(c, get11)
			r := <-requests
			ctx := r.Context()
			c.SetLinger(0)
			c.Close()
			if m := <-gone; m.Request != r || !errors.Is(m.Err, ErrGone) || r.Err() != m.Err {
				t.Error(m)
			}
			<-ctx.Done()
			<-r.Done()
			if err := r.Reply(200, nil); !errors.Is(err, ErrGone) {
				t.Error(err)
			}
		})
	}
}

// CancelOnEOF ends the Context when the client finishes sending; the reply is sent all the same.
func TestCancelOnEOF(t *testing.T) {
	for _, cancel := range []bool{false, true} {
		requests := make(chan *Request, 1)
		srv := start(t, &Config{CancelOnEOF: cancel}, each(t, func(r *Request) { requests <- r }))
		c := dial(t, srv.addr)
		io.WriteString(c, get11)
		c.CloseWrite()
		r := <-requests
		if cancel {
			<-r.Context().Done()
		} else if r.Context().Err() != nil {
			t.Error("the Context has ended")
		}
		r.ReplyString(200, "late")
		if _, body := readReply(t, bufio.NewReader(c), "GET"); body != "late" {
			t.Error(body)
		}
	}
}

func TestMethods(t *testing.T) {
	srv := start(t, &Config{Methods: []string{"GET", "PROPFIND"}}, each(t, func(r *Request) { r.ReplyString(200, r.Method()) }))
	got := ask(t, srv.addr, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab"+"PROPFIND / HTTP/1.1\r\nHost: x\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 405 ") || !strings.Contains(got, "\r\nAllow: GET, PROPFIND\r\n") || !strings.HasSuffix(got, "PROPFIND") {
		t.Errorf("%q", got)
	}
}

func TestErrorPage(t *testing.T) {
	page := func(status int) (string, []byte) {
		if status == 404 {
			return "", nil
		}
		return "text/html", []byte(fmt.Sprintf("<h1>%d</h1>", status))
	}
	srv := start(t, &Config{ErrorPage: page}, each(t, func(r *Request) { r.Error(404) }))
	for in, want := range map[string]string{
		"GET x\r\n\r\n": "<h1>400</h1>",
		get11:           "404 Not Found\n",
	} {
		if got := ask(t, srv.addr, in); !strings.HasSuffix(got, "\r\n\r\n"+want) {
			t.Errorf("%q", got)
		}
	}
}

func TestMaxConns(t *testing.T) {
	srv := start(t, &Config{MaxConns: 1}, each(t, func(r *Request) { r.ReplyString(200, "ok") }))
	c := dial(t, srv.addr)
	br := bufio.NewReader(c)
	io.WriteString(c, get11)
	readReply(t, br, "GET")
	if got := ask(t, srv.addr, get11); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
		t.Errorf("%q", got)
	}
	io.WriteString(c, get11)
	if _, body := readReply(t, br, "GET"); body != "ok" {
		t.Error(body)
	}
}

func TestMaxRequests(t *testing.T) {
	srv := start(t, &Config{MaxRequests: 2}, each(t, func(r *Request) { r.ReplyString(200, "ok") }))
	got := converse(t, srv.addr, get11+get11+get11)
	if strings.Count(got, "HTTP/1.1 200") != 2 || strings.Count(got, "Connection: close") != 1 {
		t.Errorf("%q", got)
	}
}

func TestMaxHead(t *testing.T) {
	srv := start(t, &Config{MaxHead: 1000}, each(t, func(r *Request) { r.ReplyString(200, "ok") }))
	for _, c := range []struct{ in, want string }{
		{"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 900) + "\r\n\r\n", "200"},
		{"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 1000) + "\r\n\r\n", "431"},
		{"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 100_000), "431"},
		{"GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 30_000), "431"},
		{"GET /" + strings.Repeat("y", 2000), "414"},
		{"GET /" + strings.Repeat("y", 100_000), "414"},
	} {
		if got := ask(t, srv.addr, c.in); !strings.HasPrefix(got, "HTTP/1.1 "+c.want) {
			t.Errorf("%.40q, %d bytes: %q", c.in, len(c.in), got)
		}
	}
}

// A range that is left between two requests of one piece goes on with the second.
func TestBreak(t *testing.T) {
	loop, err := evchan.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	srv, err := Listen(loop, "tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, srv.Listeners()[0].Addr().String())
	io.WriteString(c, get11+get11)
	loop.Exit(10 * time.Second)
	for range 2 {
		for ev := range loop.All() {
			if r, ok := ev.(*Request); ok {
				r.ReplyString(200, "ok")
				break
			}
		}
	}
	if loop.Exited() {
		t.Fatal("the second request did not come")
	}
	go func() {
		for range loop.All() {
		}
	}()
	br := bufio.NewReader(c)
	readReply(t, br, "GET")
	readReply(t, br, "GET")
}

// Listeners and streams that the program has made.
func TestAdopted(t *testing.T) {
	loop, err := evchan.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	srv := New(nil)
	path := filepath.Join(t.TempDir(), "socket")
	if _, err := srv.Listen(loop, "unix", path, nil); err != nil {
		t.Fatal(err)
	}
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := loop.WrapListener(nl, srv.ListenConfig(nil))
	if err != nil {
		t.Fatal(err)
	}
	srv.Own(ln)
	a, b := loop.Pipe(nil, nil)
	if err := srv.Adopt(a); err != nil {
		t.Fatal(err)
	}
	replies := make(chan evchan.Event)
	b.Notify(replies)
	ended := make(chan bool)
	go func() {
		defer close(ended)
		for ev := range loop.All() {
			each(t, func(r *Request) { r.ReplyString(200, "ok") })(ev)
		}
	}()
	defer func() {
		loop.Close()
		<-ended
	}()
	for network, addr := range map[string]string{"unix": path, "tcp": ln.Addr().String()} {
		c, err := net.Dial(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, get11)
		if _, body := readReply(t, bufio.NewReader(c), "GET"); body != "ok" {
			t.Error(network, body)
		}
		c.Close()
	}
	b.WriteString(get11)
	for ev := range replies {
		if ev, ok := ev.(evchan.Readable); ok {
			if p := ev.Stream.Input().Bytes(); strings.HasSuffix(string(p), "ok") {
				break
			}
		}
	}
	if len(srv.Listeners()) != 2 {
		t.Error(srv.Listeners())
	}
	if err := os.Remove(path); err != nil {
		t.Error(err)
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/evchan/evchan"
)

// An intercepted is a message that is sent instead of a Request.
type intercepted struct {
	evchan.Custom
	request *Request
	by      string
}

// The longest prefix counts, and the message of its function is received, whole body included. The rest are
// Requests.
func TestIntercept(t *testing.T) {
	for _, conf := range []*Config{
		nil,
		{Streaming: true},
		{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "request") })},
	} {
		srv := start(t, conf, func(ev evchan.Event) {
			switch ev := ev.(type) {
			case *intercepted:
				if ev.Source() != evchan.Source(ev.request.Stream()) {
					t.Errorf("the source is %v", ev.Source())
				}
				ev.request.ReplyString(200, fmt.Sprint(ev.by, " ", ev.request.Body().Len()))
			case *Request:
				ev.ReplyString(200, "request")
			case *Body:
			default:
				t.Errorf("received %v", ev)
			}
		})
		for _, prefix := range []string{"/a", "/a/b", "/c"} {
			srv.Intercept(prefix, func(r *Request) evchan.Event {
				if r.Path() == "/c/itself" {
					return r
				}
				return &intercepted{request: r, by: prefix}
			})
		}
		for path, want := range map[string]string{
			"/": "request", "/b": "request",
			"/a": "/a 100000", "/ab": "/a 100000", "/a/b/c": "/a/b 100000", "/%61?x": "/a 100000",
			"/c": "/c 100000", "/c/itself": "request",
		} {
			for _, chunked := range []bool{false, true} {
				var body io.Reader = strings.NewReader(strings.Repeat("x", 100_000))
				if chunked {
					body = io.MultiReader(body)
				}
				resp, got := fetch(t, "POST", "http://"+srv.addr+path, body)
				if resp.StatusCode != 200 || got != want {
					t.Errorf("%s: got %d, %q, want %q", path, resp.StatusCode, got, want)
				}
			}
		}
		resp, _ := fetch(t, "POST", "http://"+srv.addr+"/a", strings.NewReader(strings.Repeat("x", 1<<20+1)))
		if resp.StatusCode != 413 {
			t.Errorf("a body that is too long: status %d", resp.StatusCode)
		}
	}
}

// The function answers itself; what was pipelined behind is taken.
func TestInterceptAnswers(t *testing.T) {
	srv := start(t, nil, each(t, func(r *Request) { r.ReplyString(200, "request") }))
	srv.Intercept("/a", func(r *Request) evchan.Event {
		r.ReplyString(200, "answer")
		return nil
	})
	get := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n" }
	got := converse(t, srv.addr, get("/a")+get("/a")+get("/")+get("/a")+get("/"))
	if n, m := strings.Count(got, "answer"), strings.Count(got, "request"); n != 3 || m != 2 {
		t.Errorf("%d and %d replies in %q", n, m, got)
	}
}

// The function is asked again until it has a message or has answered, and nothing is received meanwhile.
func TestInterceptLater(t *testing.T) {
	for _, way := range ways {
		srv := startWay(t, way, nil, func(ev evchan.Event) {
			m, ok := ev.(*intercepted)
			if !ok {
				t.Errorf("received %v", ev)
				return
			}
			m.request.ReplyString(200, "message")
		})
		srv.Intercept("/", func(r *Request) evchan.Event {
			ready, ok := r.Data.(chan struct{})
			if !ok {
				ready = make(chan struct{})
				r.Data = ready
				go func() {
					if r.Path() == "/answer" {
						r.ReplyString(200, "answer")
						return
					}
					close(ready)
					r.Stream().Again()
				}()
				return nil
			}
			select {
			case <-ready:
				return &intercepted{request: r}
			default:
				return nil
			}
		})
		for range 20 {
			for path, want := range map[string]string{"/message": "message", "/answer": "answer"} {
				if _, got := fetch(t, "GET", "http://"+srv.addr+path, nil); got != want {
					t.Errorf("%s: %s: got %q, want %q", way, path, got, want)
				}
			}
		}
		get := "GET /answer HTTP/1.1\r\nHost: x\r\n\r\nGET /message HTTP/1.1\r\nHost: x\r\n\r\n"
		if got := converse(t, srv.addr, get+get); strings.Count(got, "answer") != 2 || strings.Count(got, "message") != 2 {
			t.Errorf("%s: got %q", way, got)
		}
	}
}

// A request without Host is one if it is intercepted. All else that is wrong with it still is.
func TestInterceptNoHost(t *testing.T) {
	srv := start(t, nil, each(t, func(r *Request) { r.ReplyString(200, "request") }))
	srv.Intercept("/a", func(r *Request) evchan.Event {
		r.ReplyString(200, "answer")
		return nil
	})
	for in, want := range map[string]string{
		"GET /a HTTP/1.1\r\n\r\n":                                                    "200",
		"GET /b HTTP/1.1\r\n\r\n":                                                    "400",
		"GET /a HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n":                              "400",
		"GET /a HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n": "400",
	} {
		if _, got, _ := strings.Cut(converse(t, srv.addr, in), " "); !strings.HasPrefix(got, want) {
			t.Errorf("%q: got %q, want %s", in, got, want)
		}
	}
}

// Gone is received only of requests that a message was received of.
func TestInterceptGone(t *testing.T) {
	gone := make(chan *Request, 1)
	messages := make(chan *intercepted, 1)
	srv := start(t, nil, func(ev evchan.Event) {
		switch ev := ev.(type) {
		case *intercepted:
			messages <- ev
		case *Gone:
			gone <- ev.Request
		default:
			t.Errorf("received %v", ev)
		}
	})
	waiting := make(chan *Request, 1)
	srv.Intercept("/message", func(r *Request) evchan.Event { return &intercepted{request: r} })
	srv.Intercept("/wait", func(r *Request) evchan.Event {
		if r.Data == nil {
			r.Data = "asked"
			waiting <- r
		}
		return nil
	})

	c := dial(t, srv.addr)
	io.WriteString(c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
	r := <-waiting
	c.SetLinger(0)
	c.Close()
	<-r.Context().Done()
	if err := r.ReplyString(200, "late"); !errors.Is(err, ErrGone) {
		t.Errorf("a late reply: %v", err)
	}
	r.Stream().Again()

	c = dial(t, srv.addr)
	io.WriteString(c, "GET /message HTTP/1.1\r\nHost: x\r\n\r\n")
	m := <-messages
	c.SetLinger(0)
	c.Close()
	if r := <-gone; r != m.request {
		t.Errorf("gone: %v", r)
	}
}

// With a Handler, requests of both kinds come behind one another.
func TestInterceptPipelined(t *testing.T) {
	srv := start(t, &Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "request") })}, func(ev evchan.Event) {
		if m, ok := ev.(*intercepted); ok {
			m.request.ReplyString(200, "message")
		}
	})
	srv.Intercept("/a", func(r *Request) evchan.Event { return &intercepted{request: r} })
	get := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n" }
	got := converse(t, srv.addr, strings.Repeat(get("/")+get("/a")+get("/a")+get("/"), 10))
	var order []string
	for _, part := range strings.SplitAfter(got, "\r\n\r\n")[1:] {
		order = append(order, part[:len("request")])
	}
	if want := strings.TrimSpace(strings.Repeat("request message message request ", 10)); strings.Join(order, " ") != want {
		t.Errorf("%q", order)
	}
}

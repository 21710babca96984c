// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evchan/evchan"
)

// A testClient is a client with a goroutine that receives its messages.
type testClient struct {
	*Client
	t    testing.TB
	msgs chan evchan.Event
}

// client returns a client until the end of the test.
func client(t testing.TB, conf *ClientConfig) *testClient { return clientWay(t, "All", conf) }

func clientWay(t testing.TB, way string, conf *ClientConfig) *testClient {
	loop, err := evchan.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	tc := &testClient{NewClient(loop, conf), t, make(chan evchan.Event, 1000)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		switch way {
		case "All":
			for ev := range loop.All() {
				tc.msgs <- ev
			}
		case "Events":
			for ev := range loop.Events() {
				tc.msgs <- ev
			}
		case "Batches":
			for b := range loop.Batches() {
				for ev := range b.All() {
					tc.msgs <- ev
				}
			}
		}
	}()
	t.Cleanup(func() {
		tc.Close()
		loop.Close()
		<-ended
	})
	return tc
}

// next returns the next message.
func (tc *testClient) next() evchan.Event {
	tc.t.Helper()
	select {
	case ev := <-tc.msgs:
		return ev
	case <-time.After(20 * time.Second):
		tc.t.Fatalf("no message; %+v", tc.Stats())
		return nil
	}
}

// response returns the next message, which must be a Response.
func (tc *testClient) response() *Response {
	tc.t.Helper()
	resp, ok := tc.next().(*Response)
	if !ok {
		tc.t.Fatalf("got %T, want a Response", resp)
	}
	return resp
}

func (tc *testClient) do(c *Call) {
	tc.t.Helper()
	if err := tc.Do(c); err != nil {
		tc.t.Fatal(err)
	}
}

// fetch makes a call and returns its response.
func (tc *testClient) fetch(c *Call) *Response {
	tc.t.Helper()
	tc.do(c)
	return tc.response()
}

func request(t testing.TB, method, url string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (tc *testClient) get(url string) *Response {
	tc.t.Helper()
	return tc.fetch(&Call{Request: request(tc.t, "GET", url, nil)})
}

// want checks a response that has arrived whole.
func want(t testing.TB, resp *Response, status int, body string) {
	t.Helper()
	if resp.Err != nil || resp.Status != status || !resp.Complete || string(resp.Body.Bytes()) != body {
		t.Errorf("got %v, %d, %t, %.200q; want %d, %.200q", resp.Err, resp.Status, resp.Complete, resp.Body.Bytes(), status, body)
	}
}

// wantError checks a response that has failed.
func wantError(t testing.TB, err error, phase Phase, reason error) {
	t.Helper()
	var ce *CallError
	if !errors.As(err, &ce) || ce.Phase != phase || reason != nil && !errors.Is(err, reason) {
		t.Errorf("got %v, want %v: %v", err, phase, reason)
	}
}

// script returns the URL of a server that answers each connection's requests by what is in answers, one after
// another, as they are, and closes the connection behind "!".
func script(t testing.TB, answers ...string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var n atomic.Int32
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(func() { ln.Close(); stop(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				defer context.AfterFunc(ctx, func() { c.Close() })()
				c.SetDeadline(time.Now().Add(20 * time.Second))
				p := make([]byte, 64<<10)
				for {
					if _, err := c.Read(p); err != nil {
						return
					}
					i := int(n.Add(1)) - 1
					if i >= len(answers) {
						i = len(answers) - 1
					}
					answer, last := strings.CutSuffix(answers[i], "!")
					io.WriteString(c, answer)
					if last {
						return
					}
				}
			})
		}
	})
	return "http://" + ln.Addr().String() + "/"
}

// Bodies of all kinds arrive whole, over one connection.
func TestClientWhole(t *testing.T) {
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			long := strings.Repeat("0123456789", 50_000)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Method", r.Method)
				switch r.URL.Path {
				case "/hello":
					io.WriteString(w, "hello "+r.URL.RawQuery+r.UserAgent())
				case "/long":
					w.Header().Set("Content-Length", fmt.Sprint(len(long)))
					io.WriteString(w, long)
				case "/chunks":
					w.Header().Set("Trailer", "X-Sum")
					for i := 0; i < len(long); i += 100_000 {
						io.WriteString(w, long[i:i+100_000])
						w.(http.Flusher).Flush()
					}
					w.Header().Set("X-Sum", "5")
				case "/echo":
					body, _ := io.ReadAll(r.Body)
					w.Write(body)
				case "/none":
					w.WriteHeader(204)
				}
			}))
			defer srv.Close()
			cl := clientWay(t, way, nil)
			for range 3 {
				want(t, cl.get(srv.URL+"/hello?a=b"), 200, "hello a=bevhttp")
				want(t, cl.get(srv.URL+"/long"), 200, long)
				resp := cl.get(srv.URL + "/chunks")
				want(t, resp, 200, long)
				if resp.Trailer("x-sum") != "5" {
					t.Errorf("trailer %q", resp.Trailer("x-sum"))
				}
				want(t, cl.get(srv.URL+"/none"), 204, "")
				resp = cl.fetch(&Call{Request: request(t, "HEAD", srv.URL+"/long", nil)})
				want(t, resp, 200, "")
				if resp.ContentLength() != int64(len(long)) || resp.Header("x-method") != "HEAD" {
					t.Errorf("%d %q", resp.ContentLength(), resp.Header("x-method"))
				}
				want(t, cl.fetch(&Call{Request: request(t, "POST", srv.URL+"/echo", strings.NewReader(long))}), 200, long)
				want(t, cl.fetch(&Call{Request: request(t, "POST", srv.URL+"/echo", io.MultiReader(strings.NewReader(long)))}), 200, long)
				want(t, cl.fetch(&Call{Request: request(t, "POST", srv.URL+"/echo", nil)}), 200, "")
			}
			if st := cl.Stats(); st != (ClientStats{Conns: 1, Idle: 1}) {
				t.Errorf("%+v", st)
			}
		})
	}
}

// With Streaming, one Body waits at a time, so that a server whose client does not receive has to wait.
func TestClientStreaming(t *testing.T) {
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			const size = 32 << 20
			var written atomic.Int64
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				p := make([]byte, 32<<10)
				for written.Load() < size {
					n, err := w.Write(p)
					written.Add(int64(n))
					if err != nil {
						return
					}
				}
			}))
			defer srv.Close()
			cl := clientWay(t, way, nil)
			call := &Call{Request: request(t, "GET", srv.URL, nil), Streaming: true, Data: "mine"}
			resp := cl.fetch(call)
			if resp.Err != nil || resp.Complete || resp.Call.Data != "mine" {
				t.Fatalf("%v, %t", resp.Err, resp.Complete)
			}
			resp.PauseBody()
			got := resp.Body.Len()
			before := int64(-1)
			for n := written.Load(); n != before; n = written.Load() { // until the server waits
				before = n
				time.Sleep(50 * time.Millisecond)
			}
			if before == size {
				t.Errorf("the server has written everything")
			}
			resp.ResumeBody()
			for last := false; !last; {
				m := cl.next().(*Body)
				if m.Err != nil || m.Response != resp {
					t.Fatal(m.Err)
				}
				got += m.Data.Len()
				last = m.Last
			}
			if got != size {
				t.Errorf("%d bytes, want %d", got, size)
			}
			if st := cl.Stats(); st.Calls != 0 || st.Idle != 1 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestClientUpload(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err, r.Trailer.Get("X-End"), r.ContentLength)
	}))
	defer srv.Close()
	const size = 4 << 20
	for _, length := range []int64{-1, size} {
		cl := client(t, nil)
		r := request(t, "PUT", srv.URL, nil)
		r.ContentLength = length
		if length < 0 {
			r.Trailer = http.Header{"X-End": {"x"}}
		}
		c := &Call{Request: r, Upload: true}
		cl.do(c)
		sent := 0
		for sent < size {
			n, err := c.Write(make([]byte, 64<<10))
			sent += n
			if err == evchan.ErrFull {
				if m := cl.next().(*Writable); m.Call != c {
					t.Fatal(m)
				}
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Finish(); err != nil {
			t.Fatal(err)
		}
		for {
			ev := cl.next()
			if _, ok := ev.(*Writable); ok {
				continue
			}
			end := ""
			if length < 0 {
				end = "x"
			}
			want(t, ev.(*Response), 200, fmt.Sprint(size, nil, end, length))
			break
		}
	}
}

// What servers send that is short, wrong, old or hostile.
func TestClientAnswers(t *testing.T) {
	endless := "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 100)
	for _, tt := range []struct {
		name, in, body string
		status         int
		phase          Phase
		err            error
	}{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", 200, 0, nil},
		{"twice", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "abc", 200, 0, nil},
		{"old", "HTTP/1.0 200 OK\r\n\r\nabc!", "abc", 200, 0, nil},
		{"oldkept", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", "x", 200, 0, nil},
		{"toEOF", "HTTP/1.1 200 OK\r\n\r\nabc!", "abc", 200, 0, nil},
		{"noreason", "HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", "", 404, 0, nil},
		{"interim", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", "x", 200, 0, nil},
		{"none", "HTTP/1.1 304 OK\r\nContent-Length: 7\r\n\r\n", "", 304, 0, nil},
		{"both", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "x", 200, 0, nil},
		{"empty", "!", "", 0, PhaseHead, io.ErrUnexpectedEOF},
		{"half", "HTTP/1.1 200 OK\r\nA:!", "", 0, PhaseHead, io.ErrUnexpectedEOF},
		{"cut", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nabc!", "", 0, PhaseBody, io.ErrUnexpectedEOF},
		{"cutchunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n!", "", 0, PhaseBody, io.ErrUnexpectedEOF},
		{"garbage", "SSH-2.0-x\r\n", "", 0, PhaseHead, ErrBadResponse},
		{"two", "HTTP/2.0 200 OK\r\n\r\n", "", 0, PhaseHead, ErrBadResponse},
		{"lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "", 0, PhaseHead, ErrBadResponse},
		{"minus", "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabcd", "", 0, PhaseHead, ErrBadResponse},
		{"coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabcd", "", 0, PhaseHead, ErrBadResponse},
		{"space", "HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "", 0, PhaseHead, ErrBadResponse},
		{"chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "", 0, PhaseBody, ErrBadResponse},
		{"endless", endless, "", 0, PhaseHead, ErrTooLong},
		{"interims", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 1000), "", 0, PhaseHead, ErrBadResponse},
		{"long", "HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n", "", 0, PhaseBody, ErrTooLong},
		{"longEOF", "HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 2000), "", 0, PhaseBody, ErrTooLong},
		{"longchunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" + strings.Repeat("x", 2000), "", 0, PhaseBody, ErrTooLong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cl := client(t, &ClientConfig{MaxBody: 1000})
			resp := cl.get(script(t, tt.in))
			if tt.err == nil {
				want(t, resp, tt.status, tt.body)
			} else {
				wantError(t, resp.Err, tt.phase, tt.err)
			}
			if st := cl.Stats(); st.Calls != 0 || st.Conns != st.Idle {
				t.Errorf("%+v", st)
			}
		})
	}
}

// With Streaming, what has come before a body is cut off is delivered, and then the error.
func TestClientCutStreaming(t *testing.T) {
	cl := client(t, nil)
	resp := cl.fetch(&Call{Request: request(t, "GET", script(t, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nabc!"), nil), Streaming: true})
	if resp.Err != nil {
		t.Fatal(resp.Err)
	}
	got := string(resp.Body.Bytes())
	for {
		m := cl.next().(*Body)
		got += string(m.Data.Bytes())
		if m.Last {
			wantError(t, m.Err, PhaseBody, io.ErrUnexpectedEOF)
			break
		}
	}
	if got != "abc" {
		t.Errorf("got %q", got)
	}
}

func TestClientRefused(t *testing.T) {
	ln, _ := net.Listen("tcp", "127.0.0.1:0")
	url := "http://" + ln.Addr().String()
	ln.Close()
	cl := client(t, nil)
	wantError(t, cl.get(url).Err, PhaseConnect, connRefused)
	if st := cl.Stats(); st != (ClientStats{}) {
		t.Errorf("%+v", st)
	}
}

// A connection that cannot be made is tried again.
func TestClientRetries(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	var dials atomic.Int32
	cl := client(t, &ClientConfig{Retries: 10, RetryDelay: time.Millisecond, Address: func(string) (string, string) {
		if dials.Add(1) == 3 {
			ln, err := net.Listen("unix", path)
			if err != nil {
				t.Error(err)
			}
			srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host) })}
			go srv.Serve(ln)
			t.Cleanup(func() { srv.Close() })
		}
		return "unix", path
	}})
	want(t, cl.get("http://some.host/"), 200, "some.host")
	if dials.Load() != 3 {
		t.Errorf("%d attempts", dials.Load())
	}
}

// Each phase has its timeout.
func TestClientTimeouts(t *testing.T) {
	const short = 30 * time.Millisecond
	silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts; nobody speaks
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	addr := silent.Addr().String()
	t.Run("connect", func(t *testing.T) {
		cl := client(t, &ClientConfig{ConnectTimeout: short})
		wantError(t, cl.get("https://"+addr).Err, PhaseConnect, os.ErrDeadlineExceeded)
	})
	t.Run("head", func(t *testing.T) {
		cl := client(t, &ClientConfig{HeadTimeout: short})
		wantError(t, cl.get("http://"+addr).Err, PhaseHead, os.ErrDeadlineExceeded)
	})
	t.Run("queue", func(t *testing.T) {
		cl := client(t, &ClientConfig{QueueTimeout: short, MaxConns: 1})
		cl.do(&Call{Request: request(t, "GET", "http://"+addr, nil)})
		wantError(t, cl.get("http://"+addr).Err, PhaseQueue, os.ErrDeadlineExceeded)
	})
	t.Run("send", func(t *testing.T) {
		cl := client(t, &ClientConfig{WriteTimeout: short})
		r := request(t, "POST", "http://"+addr, bytes.NewReader(make([]byte, 32<<20)))
		wantError(t, cl.fetch(&Call{Request: r}).Err, PhaseSend, os.ErrDeadlineExceeded)
	})
	t.Run("body", func(t *testing.T) {
		cl := client(t, &ClientConfig{BodyTimeout: short})
		wantError(t, cl.get(script(t, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nabc")).Err, PhaseBody, os.ErrDeadlineExceeded)
	})
	t.Run("whole", func(t *testing.T) {
		cl := client(t, nil)
		wantError(t, cl.fetch(&Call{Request: request(t, "GET", "http://"+addr, nil), Timeout: short}).Err, PhaseHead, os.ErrDeadlineExceeded)
	})
	t.Run("context", func(t *testing.T) {
		cl := client(t, nil)
		ctx, stop := context.WithTimeout(t.Context(), short)
		defer stop()
		r := request(t, "GET", "http://"+addr, nil).WithContext(ctx)
		wantError(t, cl.fetch(&Call{Request: r}).Err, PhaseHead, context.DeadlineExceeded)
	})
	t.Run("idle", func(t *testing.T) {
		cl := client(t, &ClientConfig{IdleTimeout: short})
		want(t, cl.get(script(t, "HTTP/1.1 204 x\r\n\r\n")), 204, "")
		for until := time.Now().Add(20 * time.Second); cl.Stats().Conns > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(until) {
				t.Fatal("the idle connection stays")
			}
		}
	})
}

// Cancel works wherever the call is, and other calls go on.
func TestClientCancel(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	}))
	defer srv.Close()
	cl := client(t, &ClientConfig{MaxConns: 1})
	slow := &Call{Request: request(t, "GET", srv.URL+"/slow", nil), Streaming: true}
	if resp := cl.fetch(slow); resp.Err != nil {
		t.Fatal(resp.Err)
	}
	waits := &Call{Request: request(t, "GET", srv.URL+"/", nil)}
	cl.do(waits)
	other := &Call{Request: request(t, "GET", srv.URL+"/", nil)}
	cl.do(other)
	waits.Cancel()
	wantError(t, cl.response().Err, PhaseQueue, ErrCancelled)
	slow.Cancel()
	slow.Cancel()
	for range 2 {
		switch ev := cl.next().(type) {
		case *Body:
			wantError(t, ev.Err, PhaseBody, ErrCancelled)
		case *Response:
			want(t, ev, 200, "")
		}
	}
	connecting := &Call{Request: request(t, "GET", srv.URL+"/", nil)}
	cl.do(connecting)
	connecting.Cancel()
	cl.response() // it may have been answered
	want(t, cl.get(srv.URL+"/"), 200, "")
}

// An idempotent request is sent again if the server has closed the connection that was used before.
func TestClientResend(t *testing.T) {
	url := script(t, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", "!", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb", "!")
	cl := client(t, nil)
	want(t, cl.get(url), 200, "a")
	want(t, cl.get(url), 200, "b")
	r := request(t, "POST", url, strings.NewReader("x"))
	wantError(t, cl.fetch(&Call{Request: r}).Err, PhaseHead, io.ErrUnexpectedEOF)
}

// No more than MaxConns connections are made, and calls that wait get theirs in order.
func TestClientQueue(t *testing.T) {
	var conns atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) }))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	const n = 500
	cl := client(t, &ClientConfig{MaxConns: 3, MaxWaiting: n})
	seen := make(map[any]bool)
	for i := range n {
		cl.do(&Call{Request: request(t, "GET", fmt.Sprint(srv.URL, "/", i), nil), Data: i})
	}
	for range n {
		resp := cl.response()
		want(t, resp, 200, fmt.Sprint("/", resp.Call.Data))
		seen[resp.Call.Data] = true
	}
	if len(seen) != n || conns.Load() != 3 {
		t.Errorf("%d answers, %d connections", len(seen), conns.Load())
	}
	cl.CloseIdle()
	if st := cl.Stats(); st != (ClientStats{}) {
		t.Errorf("%+v", st)
	}
}

func TestClientRedirects(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/303":
			http.Redirect(w, r, "/end", http.StatusSeeOther)
		case "/307":
			http.Redirect(w, r, "/end", http.StatusTemporaryRedirect)
		default:
			fmt.Fprint(w, r.Method, " ", string(body), " ", r.Referer())
		}
	}))
	defer srv.Close()
	cl := client(t, &ClientConfig{Redirects: 5})
	want(t, cl.get(srv.URL+"/303"), 200, "GET  "+srv.URL+"/303")
	want(t, cl.fetch(&Call{Request: request(t, "POST", srv.URL+"/303", strings.NewReader("x"))}), 200, "GET  "+srv.URL+"/303")
	want(t, cl.fetch(&Call{Request: request(t, "POST", srv.URL+"/307", strings.NewReader("x"))}), 200, "POST x "+srv.URL+"/307")
	if resp := cl.get(srv.URL + "/loop"); resp.Status != 302 {
		t.Error(resp)
	}
	if st := cl.Stats(); st.Conns != 1 {
		t.Errorf("%+v", st)
	}
	plain := client(t, nil)
	if resp := plain.get(srv.URL + "/303"); resp.Status != 303 || resp.Header("Location") != "/end" {
		t.Error(resp)
	}
}

func TestClientCookies(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b c", Path: "/"})
		io.WriteString(w, r.Header.Get("Cookie"))
	}))
	defer srv.Close()
	jar, _ := cookiejar.New(nil)
	cl := client(t, &ClientConfig{Jar: jar})
	want(t, cl.get(srv.URL), 200, "")
	r := request(t, "GET", srv.URL, nil)
	r.Header.Set("Cookie", "mine=1")
	want(t, cl.fetch(&Call{Request: r}), 200, `mine=1; a="b c"`)
}

func TestClientGzip(t *testing.T) {
	bomb := strings.Repeat("0", 1<<20)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "gzip" {
			io.WriteString(w, "plain")
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		io.WriteString(z, bomb)
		z.Close()
	}))
	defer srv.Close()
	cl := client(t, nil)
	want(t, cl.get(srv.URL), 200, bomb)
	wantError(t, cl.fetch(&Call{Request: request(t, "GET", srv.URL, nil), MaxBody: 100_000}).Err, PhaseBody, ErrTooLong)
	want(t, client(t, &ClientConfig{NoGzip: true}).get(srv.URL), 200, "plain")
	hc := &http.Client{Transport: cl.RoundTripper()}
	resp, err := hc.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != bomb || !resp.Uncompressed {
		t.Error(err, len(body))
	}
}

func TestClientTLS(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.TLS.ServerName) }))
	srv.Config.ErrorLog = quietLog
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	cl := client(t, &ClientConfig{
		TLS:     &tls.Config{RootCAs: roots},
		Address: func(string) (string, string) { return "tcp4", srv.Listener.Addr().String() },
	})
	for range 3 {
		want(t, cl.get("https://example.com/"), 200, "example.com")
	}
	var wrong x509.HostnameError
	if err := cl.get("https://other.org/").Err; !errors.As(err, &wrong) {
		t.Error(err)
	}
	if st := cl.Stats(); st.Conns != 1 {
		t.Errorf("%+v", st)
	}
}

// proxy is a proxy that is made of this package's server and client would prove too little: it is one of net/http.
func proxy(t *testing.T, secure bool) (addr *url.URL, asked *atomic.Value) {
	asked = new(atomic.Value)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Method + " " + r.RequestURI + " " + r.Header.Get("Proxy-Authorization"))
		if r.Method != "CONNECT" {
			if strings.Contains(r.URL.Host, "forbidden") {
				w.WriteHeader(403)
				return
			}
			r.RequestURI = ""
			resp, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				w.WriteHeader(502)
				return
			}
			defer resp.Body.Close()
			w.WriteHeader(resp.StatusCode)
			io.Copy(w, resp.Body)
			return
		}
		if strings.Contains(r.Host, "forbidden") {
			w.WriteHeader(403)
			return
		}
		to, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(502)
			return
		}
		nc, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		io.WriteString(nc, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			defer nc.Close()
			defer to.Close()
			io.Copy(nc, to)
		}()
		go func() {
			io.Copy(to, nc)
			to.Close()
		}()
	}))
	if secure {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	u, _ := url.Parse(srv.URL)
	u.User = url.UserPassword("me", "pw")
	return u, asked
}

func TestClientProxy(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint("https=", secure), func(t *testing.T) { testClientProxy(t, secure) })
	}
}

func testClientProxy(t *testing.T, https bool) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "from "+r.Host) })
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secure.Close()
	addr, asked := proxy(t, https)
	cl := client(t, &ClientConfig{Proxy: http.ProxyURL(addr), TLS: &tls.Config{InsecureSkipVerify: true}})
	const auth = " Basic bWU6cHc="
	for range 2 {
		want(t, cl.get(plain.URL+"/x"), 200, "from "+plain.Listener.Addr().String())
		if got := asked.Load(); got != "GET "+plain.URL+"/x"+auth {
			t.Error(got)
		}
		want(t, cl.get(secure.URL+"/x"), 200, "from "+secure.Listener.Addr().String())
	}
	if got := asked.Load(); got != "GET "+plain.URL+"/x"+auth {
		t.Error(got) // the tunnel was used again
	}
	if err := cl.get("https://forbidden/").Err; err == nil || !strings.Contains(err.Error(), "403") {
		t.Error(err)
	}
	// A tunnel for the program.
	r := &http.Request{Method: "CONNECT", URL: &url.URL{Scheme: addr.Scheme, Host: addr.Host}, Host: plain.Listener.Addr().String(), Header: http.Header{}}
	direct := client(t, &ClientConfig{TLS: &tls.Config{InsecureSkipVerify: true}})
	resp := direct.fetch(&Call{Request: r})
	if resp.Err != nil || resp.Status != 200 {
		t.Fatal(resp)
	}
	s, err := resp.TakeStream(nil)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(s, "GET / HTTP/1.0\r\n\r\n")
	if ev, ok := direct.next().(evchan.Readable); !ok || ev.Stream != s {
		t.Errorf("got %v", ev)
	}
	s.Close()
	if st := direct.Stats(); st != (ClientStats{}) {
		t.Errorf("%+v", st)
	}
}

// A channel of its own gets the messages of a call.
func TestClientNotify(t *testing.T) {
	cl := client(t, nil)
	ch := make(chan evchan.Event)
	url := script(t, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
	for range 2 {
		cl.do(&Call{Request: request(t, "GET", url, nil), Notify: ch})
		want(t, (<-ch).(*Response), 200, "x")
	}
}

// The loop is empty when no call is left, whatever connections are idle.
func TestClientExitOnEmpty(t *testing.T) {
	url := script(t, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
	loop, err := evchan.New(&evchan.Config{ExitOnEmpty: true})
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	cl := NewClient(loop, nil)
	for _, streaming := range []bool{false, true} {
		n := 0
		cl.Do(&Call{Request: request(t, "GET", url, nil), Streaming: streaming})
		for ev := range loop.All() {
			if resp, ok := ev.(*Response); ok && resp.Err != nil {
				t.Error(resp.Err)
			}
			n++
		}
		if n == 0 {
			t.Error("the loop has ended before the response")
		}
	}
}

func TestClientBadRequests(t *testing.T) {
	cl := client(t, nil)
	for _, r := range []*http.Request{
		nil,
		{},
		{URL: &url.URL{Scheme: "ftp", Host: "x"}},
		{URL: &url.URL{Scheme: "http"}},
		{URL: &url.URL{Scheme: "http", Host: "x y"}},
		{URL: &url.URL{Scheme: "http", Host: "x", RawQuery: "a b"}},
		{URL: &url.URL{Scheme: "http", Host: "x"}, Method: "A B"},
		{URL: &url.URL{Scheme: "http", Host: "x"}, Host: "a\r\nb"},
		{URL: &url.URL{Scheme: "http", Host: "x"}, Header: http.Header{"A": {"b\r\nC: d"}}},
		{URL: &url.URL{Scheme: "http", Host: "x"}, Header: http.Header{"A b": {"c"}}},
	} {
		var ce *CallError
		if err := cl.Do(&Call{Request: r}); !errors.As(err, &ce) || ce.Phase != PhaseRequest {
			t.Errorf("%v: %v", r, err)
		}
	}
	c := &Call{Request: request(t, "GET", script(t, "HTTP/1.1 204 x\r\n\r\n"), nil)}
	cl.fetch(c)
	if err := cl.Do(c); err == nil {
		t.Error("a Call was used twice")
	}
	cl.Close()
	if err := cl.Do(&Call{Request: request(t, "GET", "http://x/", nil)}); !errors.Is(err, evchan.ErrClosed) {
		t.Error(err)
	}
}

// A request with Expect: 100-continue sends its body when the server wants it, or has not said so for a while.
func TestClientExpect(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(413)
			return
		}
		io.Copy(w, r.Body)
	}))
	defer srv.Close()
	cl := client(t, &ClientConfig{ContinueTimeout: time.Minute})
	for _, path := range []string{"/yes", "/no", "/yes"} {
		r := request(t, "POST", srv.URL+path, strings.NewReader("body"))
		r.Header.Set("Expect", "100-continue")
		if path == "/no" {
			want(t, cl.fetch(&Call{Request: r}), 413, "")
		} else {
			want(t, cl.fetch(&Call{Request: r}), 200, "body")
		}
	}
	cl = client(t, &ClientConfig{ContinueTimeout: time.Millisecond})
	r := request(t, "POST", script(t, "", "HTTP/1.1 204 x\r\n\r\n"), strings.NewReader("body"))
	r.Header.Set("Expect", "100-continue")
	want(t, cl.fetch(&Call{Request: r}), 204, "")
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/http/pprof"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// handlerWays are the ways in which a handler can answer requests.
var handlerWays = map[string]func(testing.TB, http.Handler) *testServer{
	"Handler": func(t testing.TB, h http.Handler) *testServer {
		return start(t, &Config{Handler: h, CancelOnEOF: true, ErrorLog: testLog(t)}, each(t, nil))
	},
	"Go": func(t testing.TB, h http.Handler) *testServer {
		return start(t, &Config{CancelOnEOF: true, ErrorLog: testLog(t)}, each(t, func(r *Request) { r.Go(h) }))
	},
	"Go, streaming, Events": func(t testing.TB, h http.Handler) *testServer {
		return startWay(t, "Events", &Config{Streaming: true, CancelOnEOF: true, ErrorLog: testLog(t)}, each(t, func(r *Request) { r.Go(h) }))
	},
	"Serve": func(t testing.TB, h http.Handler) *testServer {
		return start(t, &Config{MaxBody: 10 << 20, ErrorLog: testLog(t)}, each(t, func(r *Request) { r.Serve(h) }))
	},
}

// testLog drops what is logged: panics on purpose.
func testLog(testing.TB) *log.Logger { return log.New(io.Discard, "", 0) }

// eachHandlerWay runs test with h answering requests in each way.
func eachHandlerWay(t *testing.T, h http.Handler, test func(t *testing.T, url string)) {
	for name, start := range handlerWays {
		t.Run(name, func(t *testing.T) { test(t, "http://"+start(t, h).addr) })
	}
}

// fetch makes a request of its own connection and returns the reply with its body.
func fetch(t testing.TB, method, url string, body io.Reader, fields ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(p)
}

// The replies are those that net/http gives, for many handlers.
func TestLikeNetHTTP(t *testing.T) {
	handlers := map[string]http.HandlerFunc{
		"nothing": func(w http.ResponseWriter, r *http.Request) {},
		"text":    func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") },
		"html":    func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>") },
		"large":   func(w http.ResponseWriter, r *http.Request) { w.Write(bytes.Repeat([]byte("a"), 100_000)) },
		"huge": func(w http.ResponseWriter, r *http.Request) {
			w.Write(make([]byte, 3_000_000))
			w.Write(make([]byte, 3_000_000))
		},
		"pieces": func(w http.ResponseWriter, r *http.Request) {
			for range 100 {
				w.Write(bytes.Repeat([]byte("a"), 1000))
			}
		},
		"status": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(418); io.WriteString(w, "tea") },
		"204":    func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) },
		"304":    func(w http.ResponseWriter, r *http.Request) { w.Header().Set("ETag", "x"); w.WriteHeader(304) },
		"length": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "5")
			io.WriteString(w, "hello")
		},
		"flush": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "a")
			w.(http.Flusher).Flush()
			io.WriteString(w, "b")
		},
		"header": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Add("A", "1")
			w.Header().Add("A", "2")
			w.Header()["Content-Type"] = nil
			io.WriteString(w, "x")
			w.Header().Set("Too", "late")
		},
		"echo":  func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) },
		"error": func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusForbidden) },
		"notype": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "x")
			w.Write([]byte("y"))
		},
		"request": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.Method, r.URL, r.Host, r.Proto, r.ContentLength, r.Header)
		},
		"trailer": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "A")
			io.WriteString(w, "x")
			w.Header().Set("A", "1")
			w.Header().Set(http.TrailerPrefix+"B", "2")
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusFound) },
		"hints": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</a>")
			w.WriteHeader(103)
			io.WriteString(w, "x")
		},
		"values": func(w http.ResponseWriter, r *http.Request) {
			_, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
			_, ok2 := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
			fmt.Fprint(w, ok, ok2)
		},
	}
	mux := http.NewServeMux()
	for name, h := range handlers {
		mux.Handle("/"+name, h)
	}
	std := httptest.NewServer(mux)
	defer std.Close()
	eachHandlerWay(t, mux, func(t *testing.T, url string) {
		for name := range handlers {
			for _, method := range []string{"GET", "HEAD", "POST"} {
				body := func() io.Reader {
					if method == "POST" {
						return strings.NewReader("some text")
					}
					return nil
				}
				want, wantBody := fetch(t, method, std.URL+"/"+name, body(), "X-A", "b")
				got, gotBody := fetch(t, method, url+"/"+name, body(), "X-A", "b")
				wantBody = strings.ReplaceAll(wantBody, strings.TrimPrefix(std.URL, "http://"), strings.TrimPrefix(url, "http://"))
				want.Header.Del("Date")
				got.Header.Del("Date")
				if got.StatusCode != want.StatusCode || got.ContentLength != want.ContentLength || gotBody != wantBody ||
					fmt.Sprint(got.Header) != fmt.Sprint(want.Header) || fmt.Sprint(got.Trailer) != fmt.Sprint(want.Trailer) || got.Close != want.Close ||
					fmt.Sprint(got.TransferEncoding) != fmt.Sprint(want.TransferEncoding) {
					t.Errorf("%s %s: %v %v %.100q %v; net/http: %v %v %.100q %v", method, name,
						got, got.TransferEncoding, gotBody, got.Trailer, want, want.TransferEncoding, wantBody, want.Trailer)
				}
			}
		}
	})
}

// A handler that reads a large body piece by piece, and writes as much.
func TestHandlerStreams(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			t.Error(err)
		}
		piece := make([]byte, 10_000)
		for left := n; left > 0; left -= int64(len(piece)) {
			if _, err := w.Write(piece[:min(left, int64(len(piece)))]); err != nil {
				t.Error(err)
				return
			}
		}
		if r.Trailer.Get("A") != "b" {
			t.Errorf("trailer %v", r.Trailer)
		}
	})
	for _, way := range []string{"Handler", "Go, streaming, Events"} {
		t.Run(way, func(t *testing.T) {
			srv := handlerWays[way](t, h)
			const n = 10_000_000
			req, _ := http.NewRequest("POST", "http://"+srv.addr, struct{ io.Reader }{bytes.NewReader(make([]byte, n))})
			req.Trailer = http.Header{"A": {"b"}}
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if k, err := io.Copy(io.Discard, resp.Body); k != n || err != nil {
				t.Error(k, err)
			}
		})
	}
}

func TestFileServer(t *testing.T) {
	dir := t.TempDir()
	data := bytes.Repeat([]byte("0123456789"), 100_000)
	os.WriteFile(filepath.Join(dir, "big.bin"), data, 0o644)
	os.WriteFile(filepath.Join(dir, "small.txt"), data[:100], 0o644)
	os.Mkdir(filepath.Join(dir, "sub"), 0o755)
	eachHandlerWay(t, http.FileServer(http.Dir(dir)), func(t *testing.T, url string) {
		resp, body := fetch(t, "GET", url+"/big.bin", nil)
		if body != string(data) || resp.Header.Get("Content-Type") != "application/octet-stream" {
			t.Errorf("%v, %d bytes", resp, len(body))
		}
		modified := resp.Header.Get("Last-Modified")
		if resp, body := fetch(t, "GET", url+"/big.bin", nil, "Range", "bytes=100000-899999"); resp.StatusCode != 206 || body != string(data[100_000:900_000]) {
			t.Errorf("%v, %d bytes", resp, len(body))
		}
		if resp, body := fetch(t, "GET", url+"/big.bin", nil, "Range", "bytes=-10"); resp.StatusCode != 206 || body != "0123456789" {
			t.Errorf("%v, %q", resp, body)
		}
		if resp, body := fetch(t, "GET", url+"/big.bin", nil, "Range", "bytes=0-1,5-6"); strings.HasSuffix(t.Name(), "/Serve") {
			if resp.StatusCode != 200 || body != string(data) {
				t.Errorf("%v, %d bytes", resp, len(body))
			}
		} else if resp.StatusCode != 206 || !strings.Contains(body, "\r\n\r\n56\r\n--") {
			t.Errorf("%v, %q", resp, body)
		}
		if resp, _ := fetch(t, "GET", url+"/big.bin", nil, "Range", "bytes=2000000-"); resp.StatusCode != 416 {
			t.Error(resp)
		}
		if resp, body := fetch(t, "GET", url+"/big.bin", nil, "If-Modified-Since", modified); resp.StatusCode != 304 || body != "" {
			t.Error(resp, len(body))
		}
		if resp, body := fetch(t, "HEAD", url+"/big.bin", nil); resp.ContentLength != int64(len(data)) || body != "" {
			t.Error(resp)
		}
		if resp, body := fetch(t, "GET", url+"/small.txt", nil); body != string(data[:100]) || resp.ContentLength != 100 {
			t.Error(resp, body)
		}
		if resp, body := fetch(t, "GET", url+"/", nil); !strings.Contains(body, `<a href="sub/">sub/</a>`) {
			t.Error(resp, body)
		}
		if resp, _ := fetch(t, "GET", url+"/none", nil); resp.StatusCode != 404 {
			t.Error(resp)
		}
	})
}

func TestServeFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a.html")
	data := bytes.Repeat([]byte("<p>"), 50_000)
	os.WriteFile(name, data, 0o644)
	srv := start(t, nil, each(t, func(r *Request) {
		if r.Path() == "/open" {
			f, err := os.Open(name)
			if err != nil {
				t.Error(err)
			}
			r.ReplyFile(f)
		} else {
			r.ServeFile(name)
		}
	}))
	for _, path := range []string{"/open", "/name"} {
		for range 3 {
			if resp, body := fetch(t, "GET", "http://"+srv.addr+path, nil); body != string(data) || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" {
				t.Errorf("%v, %d bytes", resp, len(body))
			}
		}
	}
}

// A reverse proxy of net/http in front of net/http's server, and over it.
func TestReverseProxy(t *testing.T) {
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "x" {
			c, brw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
			io.CopyN(c, brw, 5)
			return
		}
		w.Header().Set("X-From", r.Header.Get("X-Forwarded-For"))
		io.Copy(w, r.Body)
	}))
	defer back.Close()
	to, _ := url.Parse(back.URL)
	proxy := httputil.NewSingleHostReverseProxy(to)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	proxy.Transport = transport
	srv := handlerWays["Go"](t, proxy)
	body := strings.Repeat("abc", 100_000)
	resp, got := fetch(t, "POST", "http://"+srv.addr, strings.NewReader(body))
	if got != body || resp.Header.Get("X-From") != "127.0.0.1" {
		t.Errorf("%v, %d bytes", resp, len(got))
	}
	c := dial(t, srv.addr)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
	br := bufio.NewReader(c)
	if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 101 {
		t.Fatal(resp, err)
	}
	io.WriteString(c, "hello")
	p := make([]byte, 5)
	if _, err := io.ReadFull(br, p); err != nil || string(p) != "hello" {
		t.Errorf("%q, %v", p, err)
	}
}

func TestPprof(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	srv := handlerWays["Handler"](t, mux)
	if resp, body := fetch(t, "GET", "http://"+srv.addr+"/debug/pprof/goroutine?debug=1", nil); resp.StatusCode != 200 || !strings.Contains(body, "goroutine profile: total") {
		t.Error(resp, body)
	}
	if _, body := fetch(t, "GET", "http://"+srv.addr+"/debug/pprof/", nil); !strings.Contains(body, "heap") {
		t.Error(body)
	}
}

// A lockedBuffer is a buffer for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A panic ends the connection, and nothing else.
func TestPanic(t *testing.T) {
	var logged lockedBuffer
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/panic":
			panic("on purpose")
		case "/abort":
			w.Write(make([]byte, 100_000))
			panic(http.ErrAbortHandler)
		}
	})
	for _, way := range []string{"Go", "Serve"} {
		before := strings.Count(logged.String(), "panic serving")
		srv := start(t, &Config{ErrorLog: log.New(&logged, "", 0)}, each(t, func(r *Request) {
			if way == "Go" {
				r.Go(h)
			} else {
				r.Serve(h)
			}
		}))
		for _, path := range []string{"/panic", "/abort"} {
			if resp, err := http.Get("http://" + srv.addr + path); err == nil {
				if _, err := io.Copy(io.Discard, resp.Body); err == nil {
					t.Errorf("%s, %s: a complete reply", way, path)
				}
				resp.Body.Close()
			}
		}
		if resp, _ := fetch(t, "GET", "http://"+srv.addr+"/", nil); resp.StatusCode != 200 {
			t.Error(resp)
		}
		if n := strings.Count(logged.String(), "panic serving") - before; n != 1 || !strings.Contains(logged.String(), "on purpose") {
			t.Errorf("%s: %d panics were logged: %s", way, n, logged.String())
		}
	}
}

// Handlers that take the connection over.
func TestHijacker(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/head" { // as coder/websocket does
			w.Header().Set("Upgrade", "x")
			w.Header().Set("Connection", "Upgrade")
			w.WriteHeader(101)
		}
		c, brw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if r.URL.Path != "/head" {
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
		}
		if _, err := w.Write([]byte("x")); err != http.ErrHijacked {
			t.Error(err)
		}
		line, err := brw.ReadString('\n')
		if err != nil {
			t.Error(err)
		}
		brw.WriteString("got " + line)
		brw.Flush()
	})
	eachHandlerWay(t, h, func(t *testing.T, url string) {
		for _, path := range []string{"/head", "/"} {
			c := dial(t, strings.TrimPrefix(url, "http://"))
			// The client does not wait for 101.
			fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello\n", path)
			br := bufio.NewReader(c)
			resp, err := http.ReadResponse(br, nil)
			if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "x" {
				t.Fatal(resp, err)
			}
			if line, err := br.ReadString('\n'); line != "got hello\n" {
				t.Errorf("%q, %v", line, err)
			}
		}
	})
}

// Deadlines of http.ResponseController.
func TestDeadlines(t *testing.T) {
	errs := make(chan error, 2)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if r.Method == "POST" {
			rc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			_, err := io.Copy(io.Discard, r.Body)
			errs <- err
			return
		}
		rc.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		for {
			if _, err := w.Write(make([]byte, 100_000)); err != nil {
				errs <- err
				return
			}
		}
	})
	srv := handlerWays["Handler"](t, h)
	c := dial(t, srv.addr)
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc")
	if err := <-errs; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	c2 := dial(t, srv.addr)
	io.WriteString(c2, get11)
	if err := <-errs; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

// A handler whose client leaves notices it.
func TestHandlerGone(t *testing.T) {
	for _, way := range []string{"Handler", "Go"} {
		entered, left := make(chan bool, 1), make(chan bool, 1)
		srv := handlerWays[way](t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			entered <- true
			<-r.Context().Done()
			left <- true
		}))
		c := dial(t, srv.addr)
		io.WriteString(c, get11)
		<-entered
		c.Close()
		<-left
	}
}

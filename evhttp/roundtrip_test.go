// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

var quietLog = log.New(io.Discard, "", 0)

// http.Client works with the client, with redirects and cookies of its own.
func TestRoundTripper(t *testing.T) {
	long := strings.Repeat("0123456789", 50_000)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/r":
			http.SetCookie(w, &http.Cookie{Name: "a", Value: "b", Path: "/"})
			http.Redirect(w, r, "/echo", http.StatusTemporaryRedirect)
		case "/echo":
			w.Header().Set("Trailer", "X-Sum")
			w.Header().Set("X-Cookie", r.Header.Get("Cookie"))
			body, _ := io.ReadAll(r.Body)
			w.Write(body)
			w.Header().Set("X-Sum", "1")
		case "/hang":
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	}))
	defer srv.Close()
	jar, _ := cookiejar.New(nil)
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			cl := clientWay(t, way, nil)
			hc := &http.Client{Transport: cl.RoundTripper(), Jar: jar}
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 5 {
						resp, err := hc.Post(srv.URL+"/r", "text/plain", strings.NewReader(long))
						if err != nil {
							t.Error(err)
							return
						}
						body, err := io.ReadAll(resp.Body)
						resp.Body.Close()
						if err != nil || string(body) != long || resp.Header.Get("X-Cookie") != "a=b" || resp.Trailer.Get("X-Sum") != "1" {
							t.Error(err, len(body), resp.Header, resp.Trailer)
						}
					}
				})
			}
			wg.Wait()
			r := request(t, "POST", srv.URL+"/echo", io.MultiReader(strings.NewReader(long)))
			resp, err := hc.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != long {
				t.Error(err, len(body))
			}
			ctx, stop := context.WithCancel(t.Context())
			resp, err = hc.Do(request(t, "GET", srv.URL+"/hang", nil).WithContext(ctx))
			if err != nil {
				t.Fatal(err)
			}
			stop()
			if _, err := resp.Body.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			resp, err = hc.Get(srv.URL + "/hang")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			hc.CloseIdleConnections()
			if st := cl.Stats(); st != (ClientStats{}) {
				t.Errorf("%+v", st)
			}
		})
	}
}

// httputil.ReverseProxy works with the client, also for upgrades.
func TestRoundTripperReverseProxy(t *testing.T) {
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			nc, brw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer nc.Close()
			io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello\n")
			line, _ := brw.ReadString('\n')
			io.WriteString(nc, line)
			return
		}
		w.WriteHeader(http.StatusEarlyHints)
		fmt.Fprint(w, "from behind: ")
		io.Copy(w, r.Body)
	}))
	defer back.Close()
	u, _ := url.Parse(back.URL)
	cl := client(t, nil)
	rp := httputil.NewSingleHostReverseProxy(u)
	rp.Transport = cl.RoundTripper()
	front := httptest.NewServer(rp)
	defer front.Close()
	resp, err := http.Post(front.URL, "text/plain", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || string(body) != "from behind: body" {
		t.Errorf("%v %q", err, body)
	}
	c := dial(t, front.Listener.Addr().String())
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	br := bufio.NewReader(c)
	r, err := http.ReadResponse(br, nil)
	if err != nil || r.StatusCode != 101 {
		t.Fatal(r, err)
	}
	io.WriteString(c, "to and fro\n")
	rest, err := io.ReadAll(br)
	if err != nil || string(rest) != "hello\nto and fro\n" {
		t.Errorf("%v %q", err, rest)
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package interop

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	coder "github.com/coder/websocket"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/gorilla/websocket"
	"github.com/julienschmidt/httprouter"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
)

// serve answers requests by h until the end of the test, on goroutines, and returns the address.
func serve(t *testing.T, streaming bool, h http.Handler) string {
	loop, err := evchan.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := evhttp.Listen(loop, "tcp", "127.0.0.1:0", &evhttp.Config{Streaming: streaming})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ev := range loop.Events() {
			if r, ok := ev.(*evhttp.Request); ok {
				r.Go(h)
			}
		}
	}()
	t.Cleanup(func() {
		loop.Close()
		<-ended
	})
	return srv.Listeners()[0].Addr().String()
}

func get(t *testing.T, url string) (status int, body string) {
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(p)
}

func TestChi(t *testing.T) {
	t.Parallel()
	r := chi.NewRouter()
	r.Use(middleware.RequestID, middleware.Recoverer, middleware.Compress(5))
	r.Get("/users/{id}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "user ", chi.URLParam(r, "id")) })
	r.Get("/panic", func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	url := "http://" + serve(t, false, r)
	if status, body := get(t, url+"/users/7"); status != 200 || body != "user 7" {
		t.Error(status, body)
	}
	if status, _ := get(t, url+"/none"); status != 404 {
		t.Error(status)
	}
	if resp, err := http.Get(url + "/panic"); err == nil {
		resp.Body.Close()
		t.Error("the aborted request was answered:", resp.Status)
	}
}

func TestHTTPRouter(t *testing.T) {
	t.Parallel()
	r := httprouter.New()
	r.POST("/echo/:name", func(w http.ResponseWriter, r *http.Request, p httprouter.Params) {
		fmt.Fprint(w, p.ByName("name"), " ")
		io.Copy(w, r.Body)
	})
	url := "http://" + serve(t, true, r)
	body := strings.Repeat("x", 300_000)
	resp, err := http.Post(url+"/echo/me", "text/plain", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if p, err := io.ReadAll(resp.Body); string(p) != "me "+body || err != nil {
		t.Errorf("%d bytes, %v", len(p), err)
	}
	if status, _ := get(t, url+"/echo/me"); status != 405 {
		t.Error(status)
	}
}

// messages are sent over a WebSocket and come back.
func messages() [][]byte {
	var all [][]byte
	for n := 0; n < 300_000; n = n*4 + 1 {
		all = append(all, bytes.Repeat([]byte{byte(n)}, n))
	}
	return all
}

func TestGorilla(t *testing.T) {
	t.Parallel()
	upgrader := websocket.Upgrader{EnableCompression: true}
	addr := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		for {
			kind, p, err := c.ReadMessage()
			if err != nil {
				return
			}
			if err := c.WriteMessage(kind, p); err != nil {
				t.Error(err)
			}
		}
	}))
	c, resp, err := websocket.DefaultDialer.Dial("ws://"+addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	defer c.Close()
	for _, m := range messages() {
		if err := c.WriteMessage(websocket.BinaryMessage, m); err != nil {
			t.Fatal(err)
		}
		if _, p, err := c.ReadMessage(); err != nil || !bytes.Equal(p, m) {
			t.Fatalf("%d bytes of %d, %v", len(p), len(m), err)
		}
	}
}

func TestCoder(t *testing.T) {
	t.Parallel()
	addr := serve(t, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := coder.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(1 << 20)
		for {
			kind, p, err := c.Read(context.Background())
			if err != nil {
				return
			}
			if err := c.Write(context.Background(), kind, p); err != nil {
				t.Error(err)
			}
		}
	}))
	c, _, err := coder.Dial(t.Context(), "ws://"+addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	c.SetReadLimit(1 << 20)
	for _, m := range messages() {
		if err := c.Write(t.Context(), coder.MessageBinary, m); err != nil {
			t.Fatal(err)
		}
		if _, p, err := c.Read(t.Context()); err != nil || !bytes.Equal(p, m) {
			t.Fatalf("%d bytes of %d, %v", len(p), len(m), err)
		}
	}
	c.Close(coder.StatusNormalClosure, "")
}

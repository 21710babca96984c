// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/evchan/evchan"
)

// The pool has a limit, and requests beyond it wait, or get 503.
func TestPool(t *testing.T) {
	var running, most atomic.Int32
	entered, release := make(chan bool, 20), make(chan bool)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := running.Add(1)
		for {
			m := most.Load()
			if n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		entered <- true
		<-release
		running.Add(-1)
	})
	srv := start(t, &Config{Handler: h, MaxWorkers: 3, MaxWaiting: 4}, each(t, nil))
	var wg sync.WaitGroup
	statuses := make(chan int, 20)
	for range 20 {
		wg.Go(func() {
			resp, err := http.Get("http://" + srv.addr)
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			statuses <- resp.StatusCode
		})
	}
	busy := 0
	for busy < 13 { // 3 run, 4 wait, the others are refused
		if status := <-statuses; status != 503 {
			t.Fatal(status)
		}
		busy++
	}
	for range 3 {
		<-entered
	}
	close(release)
	wg.Wait()
	for range 7 {
		if status := <-statuses; status != 200 {
			t.Error(status)
		}
	}
	if most.Load() != 3 {
		t.Errorf("%d ran at once", most.Load())
	}
}

// A handler that has taken its connection over does not count for the pool.
func TestPoolHijacked(t *testing.T) {
	release := make(chan bool)
	srv := start(t, &Config{MaxWorkers: 1, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hijack" {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			<-release
		}
	})}, each(t, nil))
	var conns []net.Conn
	for range 3 {
		c := dial(t, srv.addr)
		io.WriteString(c, "GET /hijack HTTP/1.1\r\nHost: x\r\n\r\n")
		conns = append(conns, c)
	}
	if resp, _ := fetch(t, "GET", "http://"+srv.addr, nil); resp.StatusCode != 200 {
		t.Error(resp)
	}
	close(release)
	for _, c := range conns {
		io.ReadAll(c)
	}
	srv.pool.mu.Lock()
	defer srv.pool.mu.Unlock()
	if n := srv.pool.running; n < 0 || n > 1 {
		t.Errorf("%d goroutines are counted", n)
	}
}

// Serve takes a listener over.
func TestServeListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	loops := make(chan *evchan.Loop, 1)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "served") })
	ended := make(chan error)
	go func() {
		ended <- serveOn(l, h, func(loop *evchan.Loop) { loops <- loop })
	}()
	if _, body := fetch(t, "GET", "http://"+l.Addr().String(), nil); body != "served" {
		t.Error(body)
	}
	(<-loops).Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/evchan/evchan"
)

// Calls of all kinds from many goroutines, of which many are cancelled: each has exactly one Response
// and, behind one that is not complete, one last Body.
func TestClientStress(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch rand.IntN(5) {
		case 0:
			w.Header().Set("Connection", "close")
		case 1:
			io.WriteString(w, "first")
			w.(http.Flusher).Flush()
		case 2:
			if nc, _, err := w.(http.Hijacker).Hijack(); err == nil {
				nc.Close()
			}
			return
		}
		w.Write(make([]byte, rand.IntN(300_000)))
	}))
	defer srv.Close()
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			cl := clientWay(t, way, &ClientConfig{MaxConns: 7})
			rounds := 60
			if testing.Short() {
				rounds = 10
			}
			const workers = 4
			var wg sync.WaitGroup
			for range workers {
				wg.Go(func() {
					for range rounds {
						c := &Call{Request: request(t, "GET", srv.URL, nil), Streaming: rand.IntN(2) == 0}
						if err := cl.Do(c); err != nil {
							t.Error(err)
						}
						if rand.IntN(3) == 0 {
							go c.Cancel()
						}
					}
				})
			}
			heads, ends := make(map[*Call]bool), 0
			for ends < workers*rounds {
				switch ev := cl.next().(type) {
				case *Response:
					if heads[ev.Call] {
						t.Fatal("a second Response")
					}
					heads[ev.Call] = true
					if ev.Complete {
						ends++
					}
				case *Body:
					if !heads[ev.Response.Call] {
						t.Fatal("a Body without a Response")
					}
					if ev.Last {
						ends++
					}
				}
			}
			wg.Wait()
			if st := cl.Stats(); st.Calls != 0 || st.Waiting != 0 || st.Conns != st.Idle {
				t.Errorf("%+v", st)
			}
			select {
			case ev := <-cl.msgs:
				t.Errorf("one message too many: %v", ev)
			default:
			}
		})
	}
}

// When the loop is closed, nobody waits for a response for ever.
func TestClientLoopClose(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	loop, err := evchan.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	cl := NewClient(loop, &ClientConfig{MaxConns: 2, Retries: 1, RetryDelay: time.Hour})
	var wg sync.WaitGroup
	for i := range 5 {
		wg.Go(func() {
			url := "http://" + silent.Addr().String()
			if i == 0 {
				url = "http://127.0.0.1:1" // refused, and tried again an hour later
			}
			if resp, err := cl.RoundTripper().RoundTrip(request(t, "GET", url, nil)); err == nil {
				t.Error(resp)
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ev := range loop.All() {
			t.Errorf("got %v", ev)
		}
	}()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		cl.mu.Lock()
		waiting, retrying := 0, false
		for c := range cl.calls {
			if c.phase == PhaseQueue {
				waiting++
			}
			retrying = retrying || c.retry != nil
		}
		cl.mu.Unlock()
		if waiting == 2 && retrying {
			break
		}
		if time.Now().After(end) {
			t.Error("the calls do not wait")
			break
		}
	}
	loop.Close()
	<-ended
	wg.Wait()
}

// Shutdown of the loop closes idle connections, and waits for calls.
func TestClientShutdown(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") }))
	defer srv.Close()
	cl := client(t, nil)
	want(t, cl.get(srv.URL), 200, "ok")
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	if err := cl.Loop().Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if st := cl.Stats(); st != (ClientStats{}) {
		t.Errorf("%+v", st)
	}
}

// What has come before a reset is delivered, however late the program takes it.
func TestClientReset(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	step := make(chan bool)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		c.Read(make([]byte, 4096))
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
		<-step
		io.WriteString(c, "def")
		<-step
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}()
	cl := client(t, nil)
	c := &Call{Request: request(t, "GET", fmt.Sprint("http://", ln.Addr()), nil), Streaming: true}
	resp := cl.fetch(c)
	got := string(resp.Body.Bytes())
	resp.PauseBody()
	until := func(what string, f func(k *clientConn) bool) {
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			cl.mu.Lock()
			ok := f(c.conn)
			cl.mu.Unlock()
			if ok {
				return
			}
			if time.Now().After(end) {
				t.Fatal(what)
			}
		}
	}
	step <- true
	until("def does not come", func(k *clientConn) bool { return k.s.Input().Len()+len(got) >= 6 })
	step <- true
	until("the reset does not come", func(k *clientConn) bool { return k.has(connGone) })
	resp.ResumeBody()
	for {
		m := cl.next().(*Body)
		got += string(m.Data.Bytes())
		if m.Last {
			wantError(t, m.Err, PhaseBody, connReset)
			break
		}
	}
	if got != "abcdef" {
		t.Errorf("got %q", got)
	}
}

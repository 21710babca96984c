// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evhttp

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/internal/simnet"
)

// Whatever the kernel does, each call ends once, and what it says has come is what was sent. Under
// faults that no program should notice, all calls succeed.
func TestClientFaults(t *testing.T) {
	seeds := 30
	if testing.Short() {
		seeds = 10
	}
	answered, failed := 0, 0
	for seed := range uint64(seeds) {
		for _, harmless := range []bool{true, false} {
			t.Run(fmt.Sprint(seed, harmless), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					rates := simnet.Random(seed)
					if harmless {
						rates = simnet.Harmless(seed)
					}
					ok, not := clientFaults(t, seed, rates)
					if harmless && not > 0 {
						t.Errorf("%d calls have failed", not)
					}
					answered += ok
					failed += not
				})
			})
		}
	}
	t.Logf("%d calls were answered, %d have failed", answered, failed)
	if answered == 0 || failed == 0 {
		t.Error("the faults prove nothing")
	}
}

// clientFaults makes calls, and returns how many were answered and how many have failed.
func clientFaults(t *testing.T, seed uint64, rates simnet.Rates) (answered, failed int) {
	n := simnet.New(seed, rates)
	loop, err := evchan.New(&evchan.Config{Method: n.Method()})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := n.Listen("tcp", "10.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	pattern := func(n int) []byte { return bytes.Repeat([]byte("0123456789"), n/10+1)[:n] }
	srv := &http.Server{ErrorLog: quietLog, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if r.URL.RawQuery == "chunks" {
			w.Write(body[:len(body)/2])
			w.(http.Flusher).Flush()
			body = body[len(body)/2:]
		}
		w.Write(body)
	})}
	go srv.Serve(ln)
	defer srv.Close()
	defer loop.Close()
	cl := NewClient(loop, &ClientConfig{MaxConns: 3, Retries: 2})
	r := rand.New(rand.NewPCG(seed, 1))
	const calls = 12
	sizes := make(map[*Call]int)
	got := make(map[*Call]*bytes.Buffer)
	for range calls {
		size := r.IntN([]int{10, 5000, 200_000}[r.IntN(3)])
		url := "http://10.0.0.1/" + []string{"", "?chunks"}[r.IntN(2)]
		req := request(t, "PUT", url, bytes.NewReader(pattern(size)))
		req.Header.Set("Idempotency-Key", "x")
		c := &Call{Request: req, Streaming: r.IntN(2) == 0}
		sizes[c] = size
		got[c] = new(bytes.Buffer)
		if err := cl.Do(c); err != nil {
			t.Fatal(err)
		}
	}
	end := func(c *Call, err error) {
		t.Helper()
		if got[c] == nil {
			t.Fatal("a call has ended twice")
		}
		if err != nil {
			failed++
			if !bytes.Equal(got[c].Bytes(), pattern(got[c].Len())) {
				t.Errorf("a part of the body that was not sent")
			}
		} else {
			answered++
			if !bytes.Equal(got[c].Bytes(), pattern(sizes[c])) {
				t.Errorf("%d bytes, want %d", got[c].Len(), sizes[c])
			}
		}
		delete(got, c)
	}
	for len(got) > 0 {
		ev, ok := loop.Poll(time.Hour)
		if !ok {
			t.Fatalf("%d calls do not end: %+v", len(got), cl.Stats())
		}
		switch ev := ev.(type) {
		case *Response:
			got[ev.Call].ReadFrom(&ev.Body)
			if ev.Complete {
				end(ev.Call, ev.Err)
			}
		case *Body:
			got[ev.Response.Call].ReadFrom(&ev.Data)
			if ev.Last {
				end(ev.Response.Call, ev.Err)
			}
		default:
			t.Errorf("unexpected %v", ev)
		}
	}
	return answered, failed
}

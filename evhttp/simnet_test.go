// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evhttp_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
	"github.com/evchan/evchan/internal/simnet"
)

// TestFaults: requests arrive in pieces of any size, replies leave in such pieces, the kernel reports
// late, twice and for nothing, and every client gets its answers in order.
func TestFaults(t *testing.T) {
	for seed := range uint64(60) {
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testFaults(t, seed) })
		}) {
			return
		}
	}
}

func testFaults(t *testing.T, seed uint64) {
	n := simnet.New(seed, simnet.Harmless(seed))
	loop, err := evchan.New(&evchan.Config{Method: n.Method()})
	if err != nil {
		t.Fatal(err)
	}
	n.Streams = loop.Dump
	if _, err := evhttp.Listen(loop, "tcp", ":80", nil); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ev := range loop.Events() {
			if ev, ok := ev.(*evhttp.Request); ok {
				ev.ReplyString(200, fmt.Sprintf("%s %s", ev.Path(), ev.Body().Bytes()))
			}
		}
	}()
	const requests = 5
	var clients sync.WaitGroup
	for range 3 {
		clients.Go(func() {
			c, err := n.Dial("tcp", ":80")
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			go func() {
				for i := range requests {
					body := strings.Repeat("x", i*i*100)
					fmt.Fprintf(c, "POST /%d HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n%s", i, len(body), body)
				}
			}()
			r := bufio.NewReader(c)
			for i := range requests {
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Errorf("reply %d: %v", i, err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				if want := fmt.Sprintf("/%d %s", i, strings.Repeat("x", i*i*100)); err != nil || string(body) != want {
					t.Errorf("reply %d has %d bytes, %v; want %d", i, len(body), err, len(want))
					return
				}
			}
		})
	}
	clients.Wait()
	loop.Close()
	<-ended
	if err := n.Err(); err != nil {
		t.Error(err)
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/evchan/evchan"
)

// A server on all loops of a group: each gets requests, and one gets Drained.
func TestGroup(t *testing.T) {
	g, err := evchan.NewGroup(&evchan.GroupConfig{Loops: 3})
	if err != nil {
		t.Fatal(err)
	}
	srv, err := Listen(g, "tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var drained atomic.Int32
	var mu sync.Mutex
	served := make(map[*evchan.Loop]int)
	ended := make(chan error, 1)
	go func() {
		ended <- g.Run(ctx, func(loop *evchan.Loop) error {
			for ev := range loop.All() {
				switch ev := ev.(type) {
				case *Request:
					mu.Lock()
					served[loop]++
					mu.Unlock()
					ev.ReplyString(200, "ok")
				case *Drained:
					drained.Add(1)
					stop()
				}
			}
			return nil
		})
	}()
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			for range 10 {
				resp, err := (&http.Client{Transport: transport}).Get("http://" + srv.Listeners()[0].Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
	wg.Wait()
	srv.Drain()
	if err := <-ended; err != nil && err != context.Canceled {
		t.Error(err)
	}
	if drained.Load() != 1 || len(served) < 2 {
		t.Errorf("%d times Drained, %d loops served", drained.Load(), len(served))
	}
}

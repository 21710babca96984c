// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evrpc_test

import (
	"bytes"
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/evchan/evchan/evrpc"
)

// Hooks of a pool change what is sent and received, in their order, and keep values.
func TestPoolHooks(t *testing.T) {
	t.Parallel()
	address := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Answer", r.Header.Get("X-Hook"))
		body, _ := io.ReadAll(r.Body)
		w.Write(bytes.ToUpper(body))
	})
	loop := newLoop(t)
	pool := newPool(loop, address, 1, nil)
	type key struct{}
	remove := pool.AddHook(evrpc.Output, func(x *evrpc.Exchange) evrpc.Verdict {
		x.SetValue(key{}, "kept")
		if err := x.SetHeader("X-Hook", "a\r\nb: c"); err == nil {
			t.Error("SetHeader accepts a line break")
		}
		if err := x.SetHeader("content-length", "1"); err == nil {
			t.Error("SetHeader accepts Content-Length")
		}
		x.SetHeader("x-hook", "first")
		return evrpc.Continue
	})
	pool.AddHook(evrpc.Output, func(x *evrpc.Exchange) evrpc.Verdict {
		x.SetHeader("X-Hook", "second")
		x.Body = bytes.ToLower(x.Body)
		return evrpc.Continue
	})
	pool.AddHook(evrpc.Input, func(x *evrpc.Exchange) evrpc.Verdict {
		if x.Header("x-answer") != "second" || x.Value(key{}) != "kept" || x.Peer().String() != address || x.Name != "Message" {
			t.Errorf("the input hook sees %q, %v, %v, %q", x.Header("x-answer"), x.Value(key{}), x.Peer(), x.Name)
		}
		x.Body = bytes.ReplaceAll(x.Body, []byte("A"), []byte("B"))
		return evrpc.Continue
	})
	pool.Call("Message", &text{"aA"}, new(text))
	r := nextReply(t, loop)
	if r.Err != nil || r.Reply.(*text).Text != "BB" || r.Value(key{}) != "kept" || r.Header("X-Answer") != "second" {
		t.Errorf("received %v, %v, value %v, header %q", r, r.Reply, r.Value(key{}), r.Header("X-Answer"))
	}
	remove()
	pool.AddHook(evrpc.Output, func(x *evrpc.Exchange) evrpc.Verdict { return evrpc.Terminate })
	pool.Call("Message", &text{"a"}, new(text))
	if r := nextReply(t, loop); r.Err != evrpc.ErrTerminated || r.Value(key{}) != nil {
		t.Errorf("received %v, value %v", r, r.Value(key{}))
	}
}

// Hooks pause a call, in both directions; it is resumed from elsewhere, even before they return.
func TestPoolHooksPause(t *testing.T) {
	t.Parallel()
	address := startHTTP(t, answer(func(_ *http.Request, req string) string { return req }))
	loop := newLoop(t)
	pool := newPool(loop, address, 1, nil)
	var resumed atomic.Int32
	pause := func(v evrpc.Verdict, before bool) evrpc.Hook {
		return func(x *evrpc.Exchange) evrpc.Verdict {
			done := make(chan struct{})
			go func() {
				defer close(done)
				if !x.Resume(v) {
					t.Error("Resume has no effect")
				}
				resumed.Add(1)
			}()
			if before {
				<-done
			}
			return evrpc.Pause
		}
	}
	for _, d := range []evrpc.Direction{evrpc.Input, evrpc.Output} {
		pool.AddHook(d, pause(evrpc.Continue, false))
		pool.AddHook(d, pause(evrpc.Continue, true))
	}
	for range 10 {
		pool.Call("Message", &text{"a"}, new(text))
	}
	for range 10 {
		if r := nextReply(t, loop); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if n := resumed.Load(); n != 40 {
		t.Errorf("resumed %d times", n)
	}
	for _, d := range []evrpc.Direction{evrpc.Input, evrpc.Output} {
		remove := pool.AddHook(d, pause(evrpc.Terminate, d == evrpc.Input))
		pool.Call("Message", &text{"a"}, new(text))
		if r := nextReply(t, loop); r.Err != evrpc.ErrTerminated {
			t.Fatalf("received %v", r)
		}
		remove()
	}

	// Cancel while an output hook has paused the call; a late Resume does nothing.
	held := make(chan *evrpc.Exchange, 1)
	remove := pool.AddHook(evrpc.Output, func(x *evrpc.Exchange) evrpc.Verdict {
		held <- x
		return evrpc.Pause
	})
	call := pool.Call("Message", &text{"a"}, new(text))
	x := <-held
	call.Cancel()
	if r := nextReply(t, loop); r != call || r.Err != evrpc.ErrCanceled {
		t.Fatalf("received %v", r)
	}
	<-x.Context().Done()
	remove()
	pool.Do(call)
	x.Resume(evrpc.Continue)
	if r := nextReply(t, loop); r != call || r.Err != nil {
		t.Fatalf("received %v", r)
	}
}

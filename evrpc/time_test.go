// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evrpc_test

import (
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evrpc"
)

// The tests in this file are in virtual time, without a kernel.

func newMemoryLoop(t *testing.T) *evchan.Loop {
	t.Helper()
	loop, err := evchan.New(&evchan.Config{Method: "memory"})
	if err != nil {
		t.Fatal(err)
	}
	return loop
}

// listenMemory has a new server for the RPCs listen on the network "memory".
func listenMemory(t *testing.T, loop *evchan.Loop, name string, rpcs ...string) {
	t.Helper()
	srv := evrpc.New(nil)
	for _, rpc := range rpcs {
		if err := evrpc.Register[text, text](srv, rpc); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := srv.HTTP().Listen(loop, "memory", name, nil); err != nil {
		t.Fatal(err)
	}
}

// A call tries to connect after 2, 4 and 8 seconds more, and then gives up.
func TestRetryTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loop := newMemoryLoop(t)
		defer loop.Close()
		begin := time.Now()
		pool := evrpc.NewPool(loop, &evrpc.PoolConfig{Retries: 3})
		pool.Add("memory", t.Name())
		pool.Call("Echo", &text{"a"}, new(text))
		if r := nextReply(t, loop); r.Err == nil || time.Since(begin) != 14*time.Second {
			t.Errorf("%v after %v", r, time.Since(begin))
		}

		// The server is there after 5 seconds: the third attempt, after 6, finds it.
		begin = time.Now()
		call := pool.Call("Echo", &text{"a"}, new(text))
		timer := loop.After(5 * time.Second)
		for ev := range loop.All() {
			switch ev := ev.(type) {
			case evchan.Tick:
				if ev.Timer != timer {
					t.Errorf("a timer of the pool sends %v", ev)
				}
				listenMemory(t, loop, t.Name(), "Echo")
			case textCall:
				ev.Reply(&ev.Request)
			case *evrpc.Reply:
				if ev != call || ev.Err != nil || time.Since(begin) != 6*time.Second {
					t.Errorf("%v after %v", ev, time.Since(begin))
				}
				return
			}
		}
	})
}

// A call takes 50 seconds at most. The one behind it has 50 seconds of its own. No retry goes on after that.
func TestTimeoutTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loop := newMemoryLoop(t)
		defer loop.Close()
		listenMemory(t, loop, t.Name(), "Never")
		pool := evrpc.NewPool(loop, &evrpc.PoolConfig{Retries: -1})
		pool.Add("memory", t.Name())
		nowhere := evrpc.NewPool(loop, &evrpc.PoolConfig{Retries: -1, Timeout: time.Minute})
		nowhere.Add("memory", "nowhere")
		begin := time.Now()
		times := map[*evrpc.Reply]time.Duration{
			pool.Call("Never", &text{"a"}, new(text)):    50 * time.Second,
			pool.Call("Never", &text{"b"}, new(text)):    100 * time.Second,
			nowhere.Call("Never", &text{"c"}, new(text)): time.Minute,
		}
		for ev := range loop.All() {
			r, ok := ev.(*evrpc.Reply)
			if !ok {
				continue // the calls at the server, and that their clients have gone
			}
			if want := times[r]; !errors.Is(r.Err, os.ErrDeadlineExceeded) || time.Since(begin) != want {
				t.Errorf("%v after %v, want %v", r, time.Since(begin), want)
			}
			if delete(times, r); len(times) == 0 {
				break
			}
		}
	})
}

// A day of a client that calls every few minutes: the server ends idle connections, and the pool makes new ones.
func TestDay(t *testing.T) {
	for name, conf := range map[string]*evrpc.PoolConfig{
		"IdleTimeout": nil,
		"Resend":      {IdleTimeout: -1, Resend: true}, // needed when a call comes just as the server closes
		"Both":        {IdleTimeout: 2 * time.Minute, Resend: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testDay(t, conf) })
		})
	}
}

func testDay(t *testing.T, conf *evrpc.PoolConfig) {
	loop := newMemoryLoop(t)
	defer loop.Close()
	listenMemory(t, loop, t.Name(), "Echo")
	pool := evrpc.NewPool(loop, conf)
	pool.Add("memory", t.Name())
	timer := loop.After(0)
	end := time.Now().Add(24 * time.Hour)
	calls, replies := 0, 0
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case evchan.Tick:
			calls++
			pool.Call("Echo", &text{"a"}, new(text))
			timer.Reset(time.Duration(calls%3+1) * time.Minute) // the server waits for two minutes
		case textCall:
			ev.Reply(&ev.Request)
		case *evrpc.Reply:
			if replies++; ev.Err != nil {
				t.Errorf("call %d: %v", replies, ev)
			}
			if time.Now().After(end) {
				if calls != replies {
					t.Errorf("%d replies to %d calls", replies, calls)
				}
				return
			}
		default:
			t.Errorf("received %v", ev)
		}
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"context"
	"testing"
	"time"

	"github.com/evchan/evchan"
)

// All ways to receive, for the resolver and a server on the same loop.
func TestWaysToReceive(t *testing.T) {
	const n = 300
	work := func(t *testing.T, receive func(loop *evchan.Loop, each func(evchan.Event) bool), conf func() (*ServerConfig, *QueryConfig)) {
		loop := newLoop(t)
		sc, qc := conf()
		s, err := Serve(loop, "dns", "127.0.0.1:0", sc)
		if err != nil {
			t.Fatal(err)
		}
		r := newResolver(t, loop, &Config{Servers: []string{s.Addr().String()}, CacheSize: -1, MaxInflight: 20, Timeout: testLimit})
		asked, answered := 0, 0
		ask := func() {
			for ; asked < n && asked < answered+50; asked++ {
				c := *qc
				c.UseTCP = asked%2 == 0
				if _, err := r.Lookup([]string{"v4.test", "no.test", "alias.test"}[asked%3], "ip", &c); err != nil {
					t.Error(err)
				}
			}
		}
		ask()
		limit := time.AfterFunc(testLimit, func() { loop.Close() })
		defer limit.Stop()
		receive(loop, func(ev evchan.Event) bool {
			switch ev := ev.(type) {
			case *Request:
				answerTestZone(ev)
			case *Answer:
				answered++
				if bad := ev.Query.Host == "no.test"; (ev.Err != nil) != bad {
					t.Errorf("%v", ev)
				}
				ask()
			default:
				t.Errorf("received %v", ev)
			}
			return answered < n
		})
		if answered != n {
			t.Errorf("%d answers, want %d", answered, n)
		}
	}
	plain := func() (*ServerConfig, *QueryConfig) { return nil, &QueryConfig{} }
	t.Run("All", func(t *testing.T) {
		work(t, func(loop *evchan.Loop, each func(evchan.Event) bool) {
			for ev := range loop.All() {
				if !each(ev) {
					return
				}
			}
		}, plain)
	})
	t.Run("Poll", func(t *testing.T) {
		work(t, func(loop *evchan.Loop, each func(evchan.Event) bool) {
			for {
				ev, ok := loop.Poll(testLimit)
				if !ok || !each(ev) {
					return
				}
			}
		}, plain)
	})
	t.Run("Events", func(t *testing.T) {
		work(t, func(loop *evchan.Loop, each func(evchan.Event) bool) {
			for ev := range loop.Events() {
				if !each(ev) {
					return
				}
			}
		}, plain)
	})
	t.Run("Batches", func(t *testing.T) {
		work(t, func(loop *evchan.Loop, each func(evchan.Event) bool) {
			for b := range loop.Batches() {
				for ev := range b.All() {
					if !each(ev) {
						return
					}
				}
			}
		}, plain)
	})
	for name, size := range map[string]int{"Notify": 0, "Notify with a buffer": 8} {
		t.Run(name, func(t *testing.T) {
			requests, replies := make(chan evchan.Event, size), make(chan evchan.Event, size)
			work(t, func(loop *evchan.Loop, each func(evchan.Event) bool) {
				events := loop.Events()
				for {
					var ev evchan.Event
					select {
					case ev = <-requests:
					case ev = <-replies:
					case ev = <-events:
						if ev == nil {
							return
						}
						t.Errorf("received %v by Events", ev)
					}
					if !each(ev) {
						return
					}
				}
			}, func() (*ServerConfig, *QueryConfig) {
				return &ServerConfig{Notify: requests}, &QueryConfig{Notify: replies}
			})
		})
	}
}

// Channels that are not used any more cost nothing.
func TestManyNotifyChannels(t *testing.T) {
	loop := newLoop(t)
	r := newResolver(t, loop, nil)
	loop.Events()
	for range 1000 {
		ch := make(chan evchan.Event, 1)
		if _, err := r.Lookup("localhost", "ip", &QueryConfig{Notify: ch}); err != nil {
			t.Fatal(err)
		}
		<-ch
	}
	if n := len(r.boxes); n > 64 {
		t.Errorf("%d mailboxes are left", n)
	}
}

// Shutdown waits for what is asked and not answered by TCP.
func TestShutdown(t *testing.T) {
	got := make(chan *Request, 1)
	serverLoop := newLoop(t)
	s, err := Serve(serverLoop, "tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ev := range serverLoop.All() {
			got <- ev.(*Request)
		}
	}()
	loop := newLoop(t)
	r := newResolver(t, loop, &Config{Servers: []string{"tcp://" + s.Addr().String()}, Timeout: testLimit})
	events := loop.Events()
	if _, err := r.Lookup("v4.test", "ip4", nil); err != nil {
		t.Fatal(err)
	}
	q := <-got
	ctx, cancel := context.WithTimeout(context.Background(), testLimit)
	defer cancel()
	down := make(chan error, 2)
	go func() { down <- serverLoop.Shutdown(ctx) }()
	go func() { down <- loop.Shutdown(ctx) }()
	answerTestZone(q)
	if a, ok := (<-events).(*Answer); !ok || a.Err != nil {
		t.Errorf("got %v", a)
	}
	for range 2 {
		if err := <-down; err != nil {
			t.Error(err)
		}
	}
	<-ended
}

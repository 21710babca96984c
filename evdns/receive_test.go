// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/evchan/evchan"
	"golang.org/x/net/dns/dnsmessage"
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
	// The loop may be closed before the answer is received.
	if ev, ok := <-events; ok && ev.(*Answer).Err != nil {
		t.Errorf("got %v", ev)
	}
	for range 2 {
		if err := <-down; err != nil {
			t.Error(err)
		}
	}
	<-ended
}

// A server on a group of loops answers on all of them.
func TestServeGroup(t *testing.T) {
	group, err := evchan.NewGroup(&evchan.GroupConfig{Loops: 3})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Serve(group, "dns", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- group.Run(ctx, func(loop *evchan.Loop) error {
			for ev := range loop.All() {
				answerTestZone(ev.(*Request))
			}
			return nil
		})
	}()
	loop := newLoop(t)
	r := newResolver(t, loop, &Config{Servers: []string{s.Addr().String()}, CacheSize: -1, MaxInflight: 50, Timeout: testLimit})
	for i := range 300 {
		r.Lookup([]string{"v4.test", "no.test", "alias.test"}[i%3], "ip", &QueryConfig{UseTCP: i%2 == 0})
		r.Query("big.test", dnsmessage.TypeTXT, dnsmessage.ClassINET, nil)
	}
	for _, a := range answers(t, loop, 600) {
		if bad := a.Query.Host == "no.test"; (a.Err != nil) != bad {
			t.Errorf("%v", a)
		}
	}
	r.Close()
	s.Close()
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Everything at once, from many goroutines: look-ups that are received by channels of their
// own, or closed, streams that are dialled and closed, and servers that change.
func TestConcurrent(t *testing.T) {
	s := newServer(t, zoneFunc(testZone))
	other := newServer(t, zoneFunc(testZone))
	loop := newLoop(t)
	events := loop.Events()
	r := newResolver(t, loop, &Config{MaxInflight: 10, CacheSize: 1 << 10, Timeout: time.Second}, s)
	hosts := []string{"v4.test", "both.test", "no.test", "localhost", "alias.test"}
	stop := make(chan struct{})
	var background, setter, workers sync.WaitGroup
	background.Go(func() {
		for range events { // of the streams
		}
	})
	setter.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := r.SetServers([]string{s.addr.String(), "tcp://" + other.addr.String()}[i%2]); err != nil {
				t.Error(err)
			}
			r.Flush()
			r.Stats()
			r.Servers()
			for range 100 {
				runtime.Gosched()
			}
		}
	})
	for w := range 6 {
		workers.Go(func() {
			ch := make(chan evchan.Event, w)
			open := 0
			for i := range 60 {
				q, err := r.Lookup(hosts[(i+w)%len(hosts)], "ip", &QueryConfig{Notify: ch, UseTCP: i%7 == 0, NoCache: i%3 == 0})
				if err != nil {
					t.Error(err)
					return
				}
				switch {
				case i%5 == 0:
					dialled, err := loop.Dial("tcp", hosts[i%len(hosts)]+":1", &evchan.DialConfig{Names: r})
					if err != nil {
						t.Error(err)
					}
					dialled.Close()
					fallthrough
				default:
					open++
				case i%4 == 0 && cap(ch) == 0:
					q.Close()
				}
				for open > 10 {
					(<-ch).(*Answer).Query.Close()
					open--
				}
			}
			for ; open > 0; open-- {
				select {
				case <-ch:
				case <-time.After(testLimit):
					t.Errorf("worker %d: %d answers have not come", w, open)
					return
				}
			}
		})
	}
	workers.Wait()
	close(stop)
	setter.Wait()
	r.Close()
	loop.Close()
	background.Wait()
}

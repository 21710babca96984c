// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
)

// receivers are the ways to receive.
var receivers = map[string]func(loop *evchan.Loop, f func(evchan.Event)){
	"All": func(loop *evchan.Loop, f func(evchan.Event)) {
		for ev := range loop.All() {
			f(ev)
		}
	},
	"Events": func(loop *evchan.Loop, f func(evchan.Event)) {
		for ev := range loop.Events() {
			f(ev)
		}
	},
	"Batches": func(loop *evchan.Loop, f func(evchan.Event)) {
		for batch := range loop.Batches() {
			for ev := range batch.All() {
				f(ev)
			}
		}
	},
}

// TestManySenders has several goroutines send by each of several connections, on both sides, while
// the loops receive in each way. Every message arrives once, and those of a sender in order.
func TestManySenders(t *testing.T) {
	const conns, senders, each = 4, 3, 50
	for name, receive := range receivers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, client := newLoop(t, ""), newLoop(t, "")
			srv, err := evhttp.Listen(server, "tcp", "127.0.0.1:0", nil)
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			send := func(c *Conn) {
				for sender := range senders {
					wg.Go(func() {
						for i := range each {
							p := fmt.Appendf(make([]byte, 0, 3000), "%d %d ", sender, i)
							p = append(p, make([]byte, rand.IntN(2000))...)
							var err error
							if i%3 == 0 {
								err = c.SendPrepared(Prepare(Binary, p))
							} else {
								err = c.Send(Binary, p)
							}
							if err != nil {
								t.Errorf("Send: %v", err)
								return
							}
						}
					})
				}
			}
			type progress struct {
				next [senders]int
				left int
			}
			both := make(chan *Conn, 2*conns) // those that have got all
			take := func(seen map[*Conn]*progress, ev evchan.Event) {
				m, ok := ev.(*Message)
				if !ok {
					return
				}
				p := seen[m.Conn]
				if p == nil {
					p = &progress{left: senders * each}
					seen[m.Conn] = p
				}
				var sender, i int
				fmt.Sscanf(string(m.Data), "%d %d ", &sender, &i)
				if p.next[sender] != i {
					t.Errorf("sender %d: got %d, want %d", sender, i, p.next[sender])
				}
				p.next[sender] = i + 1
				if p.left--; p.left == 0 {
					both <- m.Conn
				}
			}
			conf := &Config{Compress: name == "Events"}
			wg.Go(func() {
				seen := make(map[*Conn]*progress)
				receive(server, func(ev evchan.Event) {
					if req, ok := ev.(*evhttp.Request); ok {
						c, err := Accept(req, conf)
						if err != nil {
							t.Error(err)
							return
						}
						send(c)
					}
					take(seen, ev)
				})
			})
			wg.Go(func() {
				seen := make(map[*Conn]*progress)
				receive(client, func(ev evchan.Event) {
					if ev, ok := ev.(*Opened); ok {
						send(ev.Conn)
					}
					take(seen, ev)
				})
			})
			for range conns {
				if _, err := Dial(client, "ws://"+srv.Listeners()[0].Addr().String(), &DialConfig{Config: conf}); err != nil {
					t.Fatal(err)
				}
			}
			limit := time.After(patience)
			for range 2 * conns {
				select {
				case <-both:
				case <-limit:
					t.Fatal("messages are missing")
				}
			}
			server.Close()
			client.Close()
			wg.Wait()
		})
	}
}

// TestRacingEnds has goroutines send, ping, close and abort at the same time, on both sides. After
// Closed nothing comes, and all connections end.
func TestRacingEnds(t *testing.T) {
	server, client := newLoop(t, ""), newLoop(t, "")
	srv, err := evhttp.Listen(server, "tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	play := func(c *Conn) {
		for i := range 4 {
			wg.Go(func() {
				for range 20 {
					switch rand.IntN(12) {
					case 0:
						c.Close(3000+i, "race")
					case 1:
						if rand.IntN(4) == 0 {
							c.Abort()
						}
					case 2:
						c.Ping([]byte("x"))
					default:
						c.SendText("message")
					}
				}
				c.Close(Normal, "")
			})
		}
	}
	watch := func(ended map[*Conn]bool, ev evchan.Event) {
		var c *Conn
		switch ev := ev.(type) {
		case *Message:
			c = ev.Conn
		case *Closed:
			c = ev.Conn
		default:
			return
		}
		if ended[c] {
			t.Errorf("%v after Closed", ev)
		}
		if _, ok := ev.(*Closed); ok {
			ended[c] = true
		}
	}
	var made sync.WaitGroup
	var over sync.WaitGroup
	const conns = 30
	made.Add(2 * conns)
	streams := make(chan *evchan.Stream, 2*conns)
	over.Go(func() {
		ended := make(map[*Conn]bool)
		for ev := range server.Events() {
			if req, ok := ev.(*evhttp.Request); ok {
				if c, err := Accept(req, nil); err == nil {
					streams <- c.Stream()
					play(c)
				}
				made.Done()
			}
			watch(ended, ev)
		}
	})
	over.Go(func() {
		ended := make(map[*Conn]bool)
		for ev := range client.All() {
			if ev, ok := ev.(*Opened); ok {
				streams <- ev.Conn.Stream()
				play(ev.Conn)
				made.Done()
			}
			watch(ended, ev)
		}
	})
	for range conns {
		if _, err := Dial(client, "ws://"+srv.Listeners()[0].Addr().String(), nil); err != nil {
			t.Fatal(err)
		}
	}
	made.Wait()
	wg.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range len(streams) {
		select {
		case <-(<-streams).Done():
		case <-ctx.Done():
			t.Fatal("a stream is not released")
		}
	}
	server.Close()
	client.Close()
	over.Wait()
}

// TestBufferedNotify has the messages of a connection go to a buffered channel.
func TestBufferedNotify(t *testing.T) {
	w := newWire(t, nil, false)
	ch := make(chan evchan.Event, 2)
	w.conn.Stream().Notify(ch)
	for i := range 5 {
		w.send(frame(fin|opText, fmt.Sprint(i)), 0)
	}
	w.send(closing(1000, ""), 0)
	for i := 0; ; i++ {
		w.run()
		var ev evchan.Event
		select {
		case ev = <-ch:
		case <-time.After(patience):
			t.Fatal("nothing comes to the channel")
		}
		if i == 5 {
			if got := describe(ev); got != "closed 1000" {
				t.Errorf("told %s", got)
			}
			break
		}
		if got := describe(ev); got != fmt.Sprint("text ", i) {
			t.Errorf("told %s", got)
		}
	}
	for until := time.Now().Add(patience); !w.eof && time.Now().Before(until); {
		if ev, ok := w.loop.Poll(10 * time.Millisecond); ok {
			w.take(ev)
		}
	}
	if !w.eof {
		t.Error("the connection was not ended")
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evhttp

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/internal/simnet"
)

var (
	faultSeeds = flag.Uint64("fault.seeds", 150, "how many seeds TestFaults runs")
	faultFirst = flag.Uint64("fault.first", 0, "its first seed; 0: of the time")
)

// TestFaults serves clients over a network that does on demand whatever a kernel may do, in virtual
// time. Clients pipeline requests in pieces; replies are made in all ways. Each client checks all
// replies to the byte, and the end. One whose connection a fault has cut may get less, and nothing
// wrong.
func TestFaults(t *testing.T) {
	first := *faultFirst
	if first == 0 {
		first = uint64(time.Now().UnixNano())
	}
	var counts simnet.Count
	replies := 0
	for i := range *faultSeeds {
		synctest.Test(t, func(t *testing.T) { replies += runFaults(t, first+i, &counts) })
		if t.Failed() {
			return
		}
	}
	t.Logf("-fault.first=%d -fault.seeds=%d: %d replies; faults: %v", first, *faultSeeds, replies, &counts)
}

// A faultWorld is a server with clients, on one seed.
type faultWorld struct {
	t   *testing.T
	n   *simnet.Net
	mu  sync.Mutex // guards r
	r   *rand.Rand
	h   http.Handler
	got map[*Request][]byte // bodies, as far as they have come
}

func (w *faultWorld) pick(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.r.IntN(n)
}

func runFaults(t *testing.T, seed uint64, counts *simnet.Count) (replies int) {
	w := &faultWorld{t: t, n: simnet.New(seed, simnet.Random(seed)), r: rand.New(rand.NewPCG(seed, 9)), got: make(map[*Request][]byte)}
	defer func() {
		if t.Failed() {
			t.Logf("-fault.first=%d -fault.seeds=1", seed)
		}
	}()
	w.n.OneShot = w.pick(2) == 0
	w.h = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("X-Way", "handler")
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprintf(rw, "%s %s", r.URL.Path, body)
	})
	loop, err := evchan.New(&evchan.Config{Method: w.n.Method(), IgnoreEnv: true, MaxBatch: []int{0, 1, 3}[w.pick(3)]})
	if err != nil {
		t.Fatal(err)
	}
	var handler http.Handler // of all requests, or nil
	if w.pick(4) == 0 {
		handler = w.h
	}
	srv, err := Listen(loop, "tcp", "127.0.0.1:80", &Config{
		Handler:   handler,
		Streaming: w.pick(2) == 0,
		MaxOutput: []int{1, 1000, 0}[w.pick(3)],
		MaxHead:   200,
		ErrorLog:  testLog(t),
		Listen:    &evchan.ListenConfig{MaxInput: []int{0, 300}[w.pick(2)], MaxPending: -1},
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan bool)
	go func() {
		defer close(ended)
		if w.pick(2) == 0 {
			for ev := range loop.All() {
				w.handle(ev)
			}
		} else {
			for ev := range loop.Events() {
				w.handle(ev)
			}
		}
	}()
	var wg sync.WaitGroup
	var total sync.Mutex
	for i := range 1 + w.pick(4) {
		c, err := w.n.Dial("tcp", "127.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			n := w.client(c, i)
			total.Lock()
			defer total.Unlock()
			replies += n
		})
	}
	wg.Wait()
	srv.Drain() // nothing may be left that keeps a connection
	for srv.Conns() > 0 {
		time.Sleep(time.Minute) // until the timeouts at the latest
		if time.Since(srv.made) > 24*time.Hour {
			t.Errorf("%d connections are left", srv.Conns())
			var dump bytes.Buffer
			loop.Dump(&dump)
			t.Log(dump.String())
			break
		}
	}
	loop.Close()
	<-ended
	time.Sleep(10 * time.Second) // goroutines of the pool end
	if err := w.n.Err(); err != nil {
		t.Error(err)
	}
	counts.Add(&w.n.Counts)
	return replies
}

// handle handles a message of the server.
func (w *faultWorld) handle(ev evchan.Event) {
	switch ev := ev.(type) {
	case *Request:
		if w.pick(4) == 0 {
			ev.Go(w.h)
			return
		}
		w.body(ev, ev.Body(), ev.Complete())
	case *Body:
		w.body(ev.Request, &ev.Data, ev.Last)
	case *Writable:
		w.write(ev.Request)
	case *Gone:
		delete(w.got, ev.Request)
	case *Drained, evchan.AcceptFailed:
	default:
		w.t.Errorf("received %v", ev)
	}
}

// body takes a piece of a body, and answers when all of it has come.
func (w *faultWorld) body(r *Request, data *evchan.Buffer, last bool) {
	w.got[r] = append(w.got[r], data.Bytes()...)
	if !last {
		return
	}
	reply := append([]byte(r.Path()+" "), w.got[r]...)
	delete(w.got, r)
	switch w.pick(4) {
	case 0:
		r.Reply(200, reply)
	case 1:
		go func() {
			time.Sleep(time.Duration(w.pick(1000)) * time.Millisecond)
			r.Reply(200, reply)
		}()
	case 2:
		r.Serve(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.Write(reply) }))
	default:
		w.got[r] = reply
		w.write(r)
	}
}

// write writes what is left of a reply in pieces.
func (w *faultWorld) write(r *Request) {
	for len(w.got[r]) > 0 {
		n := min(len(w.got[r]), 1+w.pick(300))
		if _, err := r.Write(w.got[r][:n]); err != nil {
			return // Writable or Gone follows
		}
		w.got[r] = w.got[r][n:]
	}
	delete(w.got, r)
	r.Finish()
}

// client makes requests and checks the replies, and returns how many it has got.
func (w *faultWorld) client(c *simnet.Conn, id int) int {
	defer c.Close()
	c.SetDeadline(time.Now().Add(12 * time.Hour))
	n := 1 + w.pick(6)
	var in []byte
	var want []string
	for k := range n {
		body := bytes.Repeat([]byte{byte('a' + k)}, w.pick(2)*w.pick(2000))
		path := fmt.Sprintf("/%d/%d", id, k)
		want = append(want, path+" "+string(body))
		if w.pick(2) == 0 {
			in = fmt.Appendf(in, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
			continue
		}
		in = fmt.Appendf(in, "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", path)
		for len(body) > 0 {
			size := min(len(body), 1+w.pick(500))
			in = append(append(appendChunkSize(in, size), body[:size]...), chunkAfter...)
			body = body[size:]
		}
		in = append(in, chunkLast...)
	}
	leaves := w.pick(8) == 0
	if leaves {
		in = in[:w.pick(len(in))]
	}
	wrote := make(chan bool)
	go func() {
		defer close(wrote)
		for rest := in; len(rest) > 0; {
			size := min(len(rest), 1+w.pick(700))
			if _, err := c.Write(rest[:size]); err != nil {
				return
			}
			rest = rest[size:]
			if w.pick(3) == 0 {
				time.Sleep(time.Duration(w.pick(100)) * time.Millisecond)
			}
		}
		if leaves && w.pick(2) == 0 {
			c.Reset()
			return
		}
		c.CloseWrite()
	}()
	defer func() { <-wrote }()
	br := bufio.NewReader(c)
	for k := range n {
		resp, err := http.ReadResponse(br, nil)
		var body []byte
		if err == nil {
			body, err = io.ReadAll(resp.Body)
		}
		if err != nil {
			if !c.Lossy() && !leaves {
				w.t.Errorf("client %d, reply %d of %d: %v", id, k, n, err)
			}
			return k
		}
		if resp.StatusCode != 200 || string(body) != want[k] {
			w.t.Errorf("client %d, reply %d of %d: %d %.100q, want %.100q", id, k, n, resp.StatusCode, body, want[k])
			return k
		}
	}
	if _, err := br.ReadByte(); err != io.EOF && !c.Lossy() && !leaves && !errors.Is(err, io.ErrUnexpectedEOF) {
		w.t.Errorf("client %d: behind the last reply: %v", id, err)
	}
	return n
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/evchan/evchan"
)

// A client that sends requests and reads no reply is made to wait, and then gets all replies.
func TestGreedy(t *testing.T) {
	body := make([]byte, 3000)
	for name, conf := range map[string]*Config{
		"messages": nil,
		"Handler":  {Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(body) })},
	} {
		t.Run(name, func(t *testing.T) {
			srv := start(t, conf, each(t, func(r *Request) { r.Reply(200, body) }))
			c := dial(t, srv.addr)
			one := "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 1000) + "\r\n\r\n"
			piece := strings.Repeat(one, 100)
			sent := 0
			c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
			for sent < 64<<20 {
				n, err := io.WriteString(c, piece)
				sent += n
				if err != nil {
					break
				}
			}
			if sent >= 64<<20 {
				t.Fatal("the client was not made to wait")
			}
			in, out := srv.loop.Stats().BytesIn, srv.loop.Stats().BytesOut
			if in > 64<<20 || sent-int(in) < 0 {
				t.Errorf("%d bytes read, %d written", in, out)
			}
			br := bufio.NewReader(c)
			for i := range sent / len(one) {
				resp, err := http.ReadResponse(br, nil)
				if err != nil {
					t.Fatal(i, err)
				}
				if n, err := io.Copy(io.Discard, resp.Body); n != int64(len(body)) || err != nil {
					t.Fatal(i, n, err)
				}
			}
		})
	}
}

// What a connection holds is bounded whatever a client sends. The test measures the memory of
// many that do their worst.
func TestMemoryBound(t *testing.T) {
	const conns = 50
	conf := &Config{MaxHead: 4 << 10, MaxBody: 32 << 10}
	srv := start(t, conf, each(t, func(*Request) {})) // nobody is answered
	before := heap()
	worst := []string{
		"GET /" + strings.Repeat("a", 100_000),
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 32000\r\n\r\n" + strings.Repeat("a", 31_000),
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1\r\na\r\n", 31_000),
		get11 + strings.Repeat("x", 1<<20),
	}
	var wg sync.WaitGroup
	for i := range conns {
		c := dial(t, srv.addr)
		wg.Go(func() {
			c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
			io.WriteString(c, worst[i%len(worst)])
		})
	}
	wg.Wait()
	const limit = 2*64<<10 + 4<<10 + 2*32<<10 + 8<<10 // MaxInput, whose memory may be twice as much, MaxHead, MaxBody in chunks
	if used := heap() - before; used > conns*limit {
		t.Errorf("%d bytes a connection, limit %d", used/conns, limit)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // pools are emptied by the second one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// The size of what each connection and each request has.
func TestSizes(t *testing.T) {
	if n := unsafe.Sizeof(conn{}); n > 80 {
		t.Errorf("a conn has %d bytes", n)
	}
	if n := unsafe.Sizeof(Request{}); n > 576 {
		t.Errorf("a Request has %d bytes", n)
	}
}

// Clients of all kinds at once, with replies of all kinds: everything arrives in order and to
// the byte, or the client was told.
func TestStress(t *testing.T) {
	for _, way := range ways {
		t.Run(way, func(t *testing.T) { testStress(t, way) })
	}
}

func testStress(t *testing.T, way string) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
		io.WriteString(w, r.URL.Path)
	})
	var rnd sync.Mutex
	source := rand.New(rand.NewPCG(1, 2))
	pick := func(n int) int {
		rnd.Lock()
		defer rnd.Unlock()
		return source.IntN(n)
	}
	answer := func(r *Request, body []byte) {
		all := append(body, r.Path()...)
		switch pick(3) {
		case 0:
			r.Reply(200, all)
		case 1:
			go r.Reply(200, all)
		default:
			go func() {
				for _, b := range all {
					r.Write([]byte{b})
				}
				r.Finish()
			}()
		}
	}
	srv := startWay(t, way, &Config{Streaming: true, ErrorLog: testLog(t)}, func(ev evchan.Event) {
		switch ev := ev.(type) {
		case *Request:
			if pick(3) == 0 {
				ev.Go(h)
				return
			}
			body := append([]byte(nil), ev.Body().Bytes()...)
			if ev.Complete() {
				answer(ev, body)
			} else {
				ev.Data = body
			}
		case *Body:
			body := append(ev.Request.Data.([]byte), ev.Data.Bytes()...)
			ev.Request.Data = body
			if ev.Last {
				answer(ev.Request, body)
			}
		}
	})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			c, err := net.Dial("tcp", srv.addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(20 * time.Second))
			if i%4 == 3 { // leaves in the middle
				fmt.Fprintf(c, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
				c.(*net.TCPConn).SetLinger(0)
				return
			}
			const n = 30
			go func() {
				for k := range n {
					fmt.Fprintf(c, "POST /%d/%d HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", i, k)
					for j := range k {
						fmt.Fprintf(c, "2\r\n%c%c\r\n", 'a'+j%26, 'A'+j%26)
					}
					io.WriteString(c, "0\r\n\r\n")
				}
			}()
			br := bufio.NewReader(c)
			for k := range n {
				var want strings.Builder
				for j := range k {
					fmt.Fprintf(&want, "%c%c", 'a'+j%26, 'A'+j%26)
				}
				fmt.Fprintf(&want, "/%d/%d", i, k)
				resp, err := http.ReadResponse(br, nil)
				if err != nil {
					t.Errorf("client %d, reply %d: %v", i, k, err)
					return
				}
				if p, err := io.ReadAll(resp.Body); string(p) != want.String() || err != nil {
					t.Errorf("client %d, reply %d: %q, %v, want %q", i, k, p, err, want.String())
					return
				}
			}
		})
	}
	wg.Wait()
}

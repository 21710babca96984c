// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/evchan/evchan"
)

// TestMain fails if a test has left a goroutine or a descriptor behind.
func TestMain(m *testing.M) {
	if r, w, err := os.Pipe(); err == nil { // the runtime's poller comes with its first use
		r.Close()
		w.Close()
	}
	before, files := runtime.NumGoroutine(), openFiles()
	code := m.Run()
	if flag.Lookup("test.fuzz").Value.String() != "" || flag.Lookup("test.fuzzworker").Value.String() == "true" {
		os.Exit(code) // fuzzing leaves goroutines of its own
	}
	for until := time.Now().Add(10 * time.Second); code == 0; time.Sleep(10 * time.Millisecond) {
		http.DefaultClient.CloseIdleConnections()
		runtime.GC()
		n, open := runtime.NumGoroutine(), openFiles()
		if n <= before && open <= files {
			break
		}
		if time.Now().After(until) {
			stacks := make([]byte, 1<<20)
			fmt.Printf("%d goroutines are left, were %d; %d descriptors, were %d\n%s\n", n, before, open, files, stacks[:runtime.Stack(stacks, true)])
			code = 1
		}
	}
	os.Exit(code)
}

// openFiles returns how many descriptors are open, 0 if the system does not tell.
func openFiles() int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(names)
}

// ways are the ways to receive in which servers are tested.
var ways = []string{"All", "Events", "Batches"}

// A testServer is a server with a goroutine that receives its messages.
type testServer struct {
	*Server
	loop *evchan.Loop
	addr string
}

// start returns a server whose messages handle gets, until the end of the test.
func start(t testing.TB, conf *Config, handle func(evchan.Event)) *testServer {
	return startWay(t, "All", conf, handle)
}

func startWay(t testing.TB, way string, conf *Config, handle func(evchan.Event)) *testServer {
	loop, err := evchan.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := Listen(loop, "tcp", "127.0.0.1:0", conf)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		switch way {
		case "All":
			for ev := range loop.All() {
				handle(ev)
			}
		case "Events":
			for ev := range loop.Events() {
				handle(ev)
			}
		case "Batches":
			for b := range loop.Batches() {
				for ev := range b.All() {
					handle(ev)
				}
			}
		}
	}()
	t.Cleanup(func() {
		loop.Close()
		<-ended
	})
	return &testServer{srv, loop, srv.Listeners()[0].Addr().String()}
}

// each calls handle for requests, and fails the test for what a server must not send.
func each(t testing.TB, handle func(*Request)) func(evchan.Event) {
	return func(ev evchan.Event) {
		switch ev := ev.(type) {
		case *Request:
			handle(ev)
		case *Gone, *Body, *Writable, *Drained:
		default:
			t.Errorf("the server has sent %v", ev)
		}
	}
}

func dialAddr(addr string) (net.Conn, error) { return net.Dial("tcp", addr) }

// dial connects a client that fails rather than wait for ever.
func dial(t testing.TB, addr string) *net.TCPConn {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c.(*net.TCPConn)
}

// converse sends in, finishes sending, and returns all that comes back.
func converse(t testing.TB, addr, in string) string {
	c := dial(t, addr)
	io.WriteString(c, in)
	c.CloseWrite()
	p, err := io.ReadAll(c)
	if err != nil && !isReset(err) {
		t.Errorf("%.60q: %v", in, err)
	}
	return string(p)
}

func isReset(err error) bool {
	return strings.Contains(err.Error(), "reset") || strings.Contains(err.Error(), "broken pipe") || errors.Is(err, net.ErrClosed)
}

// readReply reads a reply to a request of that method, with its body.
func readReply(t testing.TB, br *bufio.Reader, method string) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestHello(t *testing.T) {
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			srv := startWay(t, way, nil, each(t, func(r *Request) {
				r.Set("X-Path", r.Path())
				r.Reply(200, []byte("hello "+r.Header("user-agent")))
			}))
			c := dial(t, srv.addr)
			br := bufio.NewReader(c)
			for i := range 5 {
				fmt.Fprintf(c, "GET /a%%20b?%d HTTP/1.1\r\nHost: x\r\nUser-Agent: me\r\n\r\n", i)
				resp, body := readReply(t, br, "GET")
				if resp.StatusCode != 200 || body != "hello me" || resp.Header.Get("X-Path") != "/a b" || resp.ContentLength != 8 {
					t.Errorf("%v %q", resp, body)
				}
				if resp.Header.Get("Date") == "" || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
					t.Errorf("%v", resp.Header)
				}
			}
			if n := srv.Conns(); n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// Requests in one piece are answered in order, also late and from other goroutines.
func TestPipelining(t *testing.T) {
	for _, way := range ways {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprint(way, late), func(t *testing.T) {
				srv := startWay(t, way, nil, each(t, func(r *Request) {
					if late {
						go r.ReplyString(200, r.Path())
					} else {
						r.ReplyString(200, r.Path())
					}
				}))
				var in strings.Builder
				const n = 200
				for i := range n {
					fmt.Fprintf(&in, "GET /%d HTTP/1.1\r\nHost: x\r\n\r\n", i)
				}
				c := dial(t, srv.addr)
				io.WriteString(c, in.String())
				c.CloseWrite() // an end of input before the replies loses none
				br := bufio.NewReader(c)
				for i := range n {
					if _, body := readReply(t, br, "GET"); body != fmt.Sprint("/", i) {
						t.Fatalf("reply %d is %q", i, body)
					}
				}
				if _, err := br.ReadByte(); err != io.EOF {
					t.Error(err)
				}
			})
		}
	}
}

// TestHostileServer sends the inputs to a server, whole and in pieces.
func TestHostileServer(t *testing.T) {
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			srv := startWay(t, way, nil, each(t, func(r *Request) { r.Reply(200, nil) }))
			for _, c := range hostileInputs {
				if got := verdict(converse(t, srv.addr, c.in)); got != c.want {
					t.Errorf("%s: %q, want %q", c.name, got, c.want)
				}
			}
		})
	}
}

// verdict says what replies say, in the form of hostileInput.want.
func verdict(replies string) string {
	br := bufio.NewReader(strings.NewReader(replies))
	ok, refused := 0, false
	for {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			break
		}
		io.Copy(io.Discard, resp.Body)
		switch {
		case resp.StatusCode == 100 && !refused:
		case resp.StatusCode == 200 && !refused:
			ok++
		case resp.StatusCode >= 400 && resp.Close && !refused:
			refused = true
		default:
			return fmt.Sprintf("%d behind a refusal", resp.StatusCode)
		}
	}
	switch {
	case ok == 0:
		return "refuse" // an incomplete request at the end gets no reply
	case refused:
		return fmt.Sprint(ok, ", refuse")
	}
	return fmt.Sprint(ok)
}

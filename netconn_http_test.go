// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A streamListener is a net.Listener of streams that a loop has accepted.
type streamListener struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	close func()
}

func newStreamListener(addr net.Addr) *streamListener {
	sl := &streamListener{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
	sl.close = sync.OnceFunc(func() { close(sl.done) })
	return sl
}

func (sl *streamListener) Addr() net.Addr { return sl.addr }

func (sl *streamListener) Close() error {
	sl.close()
	return nil
}

func (sl *streamListener) Accept() (net.Conn, error) {
	select {
	case c := <-sl.conns:
		return c, nil
	case <-sl.done:
		return nil, net.ErrClosed
	}
}

// give has Accept return s.
func (sl *streamListener) give(t *testing.T, s *Stream) {
	c, err := s.NetConn()
	if err != nil {
		t.Error(err)
		return
	}
	select {
	case sl.conns <- c:
	case <-sl.done:
		c.Close()
	}
}

// TestHTTP has net/http serve Go's client and curl, over a listener, and over
// connections, that come from a loop; in the clear and encrypted.
func TestHTTP(t *testing.T) {
	tests := make(map[string]func(*testing.T, *Loop))
	for _, from := range []string{"NetListener", "NetConn"} {
		for _, scheme := range []string{"http", "https"} {
			tests[from+"/"+scheme] = func(t *testing.T, l *Loop) { testHTTP(t, l, from, scheme) }
		}
	}
	onMethods(t, Config{}, tests)
}

func testHTTP(t *testing.T, l *Loop, from, scheme string) {
	needNetConn(t)
	// What the loop has accepted becomes a connection at once, or when the first
	// bytes of the request, or of the handshake, have been read.
	ln := listen(t, l, "tcp", nil)
	var nl net.Listener = newStreamListener(ln.Addr())
	if from == "NetListener" {
		var err error
		if nl, err = ln.NetListener(); err != nil {
			t.Fatal(err)
		}
	}
	accepted := 0
	var mu sync.Mutex
	connecting := make(map[*Stream]chan Event) // mu guards it
	serve(t, l, func(ev Event) {
		switch ev := ev.(type) {
		case Accepted:
			if accepted++; accepted%2 == 0 {
				nl.(*streamListener).give(t, ev.Stream)
			}
		case Readable:
			if ev.Stream.Listener() == ln {
				nl.(*streamListener).give(t, ev.Stream)
			}
		case Connected:
			mu.Lock()
			connecting[ev.Stream] <- ev
			mu.Unlock()
		default:
			t.Errorf("unexpected %v", ev)
		}
	})

	var conns atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			p, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			w.Write(p)
			return
		}
		fmt.Fprint(w, "you asked for ", r.URL.Path)
	}))
	srv.Listener.Close()
	srv.Listener = nl
	srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	if scheme == "https" {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	defer srv.Close()

	client := srv.Client()
	client.Timeout = 30 * time.Second
	request := func(who string, client *http.Client) {
		t.Helper()
		before := conns.Load()
		for i := range 5 {
			r, err := client.Get(fmt.Sprintf("%s/%d", srv.URL, i))
			if err != nil {
				t.Fatal(err)
			}
			p, err := io.ReadAll(r.Body)
			r.Body.Close()
			if want := fmt.Sprintf("you asked for /%d", i); string(p) != want || err != nil {
				t.Errorf("%s: got %q, %v; want %q", who, p, err, want)
			}
		}
		if n := conns.Load() - before; n != 1 {
			t.Errorf("%s: %d connections for 5 requests", who, n)
		}
		body := pattern(4 << 20)
		r, err := client.Post(srv.URL, "application/octet-stream", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		p, err := io.ReadAll(r.Body)
		r.Body.Close()
		if !bytes.Equal(p, body) || err != nil {
			t.Errorf("%s: %d bytes of %d came back, %v", who, len(p), len(body), err)
		}
		client.CloseIdleConnections()
	}
	request("Go's client", client)

	// The same with connections that the loop has made.
	dialed := func(ctx context.Context, network, address string) (net.Conn, error) {
		c := make(chan Event, 1)
		mu.Lock() // its Connected waits until it is known
		s, err := l.Dial(network, address, nil)
		connecting[s] = c
		mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-c:
			return s.NetConn()
		case <-ctx.Done():
			s.Abort()
			return nil, ctx.Err()
		}
	}
	own := &http.Transport{DialContext: dialed}
	if t, ok := client.Transport.(*http.Transport); ok && t.TLSClientConfig != nil {
		own.TLSClientConfig = t.TLSClientConfig.Clone()
	}
	request("Go's client on Dial", &http.Client{Transport: own, Timeout: 30 * time.Second})

	if scheme == "https" {
		testTLSConn(t, l, dialed, srv)
	}
	testCurl(t, srv)

	if err := srv.Config.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	ln.Close()
	for until := time.Now().Add(10 * time.Second); l.Stats().Sources > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d live sources are left", l.Stats().Sources)
		}
	}
}

// testTLSConn uses crypto/tls itself on a stream's net.Conn.
func testTLSConn(t *testing.T, l *Loop, dial func(context.Context, string, string) (net.Conn, error), srv *httptest.Server) {
	raw, err := dial(t.Context(), "tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conf := srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	conf.ServerName = "example.com"
	c := tls.Client(raw, conf)
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprint(c, "GET /tls HTTP/1.0\r\n\r\n")
	if p, err := io.ReadAll(c); !strings.HasSuffix(string(p), "you asked for /tls") || err != nil {
		t.Errorf("got %q, %v", p, err)
	}
}

// testCurl has curl make several requests over one connection.
func testCurl(t *testing.T, srv *httptest.Server) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Log("there is no curl here: that part is left out")
		return
	}
	dir := tempDir(t)
	body, out, cert := filepath.Join(dir, "body"), filepath.Join(dir, "out"), filepath.Join(dir, "cert")
	if err := os.WriteFile(body, pattern(1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--silent", "--show-error", "--fail", "--max-time", "30", "--noproxy", "*"}
	if srv.Certificate() != nil {
		p := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
		if err := os.WriteFile(cert, p, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--cacert", cert)
	}
	run := func(more ...string) string {
		cmd := exec.Command(curl, append(args, more...)...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		p, err := cmd.Output()
		if err != nil {
			t.Fatalf("curl: %v: %s", err, stderr.String())
		}
		return string(p)
	}
	// %{num_connects} is how many connections a request has needed.
	got := run("--write-out", " %{num_connects}\n", srv.URL+"/a", srv.URL+"/b", srv.URL+"/c")
	if want := "you asked for /a 1\nyou asked for /b 0\nyou asked for /c 0\n"; got != want {
		t.Errorf("curl says %q; want %q", got, want)
	}
	run("--data-binary", "@"+body, "--header", "Expect:", "--output", out, srv.URL)
	if p, err := os.ReadFile(out); !bytes.Equal(p, pattern(1<<20)) || err != nil {
		t.Errorf("curl got %d bytes back of %d, %v", len(p), 1<<20, err)
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evrpc_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evrpc"
	"github.com/evchan/evchan/evrpc/evtag"
	"github.com/evchan/evchan/evrpc/internal/rpctest"
	"github.com/evchan/evchan/evtls"
)

// limit is how long a test waits for something that must happen.
const limit = 30 * time.Second

func newLoop(t *testing.T) *evchan.Loop {
	t.Helper()
	loop, err := evchan.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { loop.Close() })
	return loop
}

// nextReply returns the next message of the loop, which must be a Reply.
func nextReply(t *testing.T, loop *evchan.Loop) *evrpc.Reply {
	t.Helper()
	ev, ok := loop.Poll(limit)
	if !ok {
		t.Fatalf("no message: %v", loop.Err())
	}
	r, ok := ev.(*evrpc.Reply)
	if !ok {
		t.Fatalf("received %v, want a Reply", ev)
	}
	return r
}

// newPool returns a pool with n connections to an address.
func newPool(loop *evchan.Loop, address string, n int, conf *evrpc.PoolConfig) *evrpc.Pool {
	pool := evrpc.NewPool(loop, conf)
	for range n {
		pool.Add("tcp", address)
	}
	return pool
}

// startLibevent starts a libevent server, and returns its address.
func startLibevent(t *testing.T) string {
	t.Helper()
	cmd := exec.Command(rpctest.Build(t, "rpcpeer"), "server")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server: %v", err)
		}
	})
	port, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1:" + strings.TrimSpace(port)
}

// Messages come back from a libevent server as they were.
func TestPoolLibevent(t *testing.T) {
	t.Parallel()
	const calls = 5000
	loop := newLoop(t)
	pool := newPool(loop, startLibevent(t), 4, nil)
	r := rand.New(rand.NewPCG(1, 2))
	made := 0
	call := func() {
		made++
		msg := rpctest.RandomAll(r)
		pool.Call("Echo", &msg, new(rpctest.All))
	}
	for range 50 {
		call()
	}
	for range calls {
		reply := nextReply(t, loop)
		if reply.Err != nil {
			t.Fatal(reply.Err)
		}
		if !reflect.DeepEqual(reply.Request, reply.Reply) {
			t.Fatalf("sent %+v\nreceived %+v", reply.Request, reply.Reply)
		}
		if reply.Peer() == nil {
			t.Fatal("the server has no address")
		}
		if made < calls {
			call()
		}
	}
}

// What libevent's server says when it cannot answer.
func TestPoolLibeventErrors(t *testing.T) {
	t.Parallel()
	loop := newLoop(t)
	pool := newPool(loop, startLibevent(t), 1, &evrpc.PoolConfig{Timeout: 2 * time.Second})
	good := rpctest.RandomAll(rand.New(rand.NewPCG(1, 2)))
	for _, test := range []struct {
		name   string
		req    any
		status int // of the StatusError; 0: the call times out
	}{
		{"Unknown", &good, 404},
		{"Incomplete", &good, 503},
		{"Echo", &rpctest.Part{}, 503}, // another message than the server wants
		{"Echo", &struct{}{}, 503},     // nothing
		{"Never", &good, 0},
	} {
		call := pool.Call(test.name, test.req, new(rpctest.All))
		reply := nextReply(t, loop)
		if reply != call {
			t.Fatalf("the message is of another call: %v", reply)
		}
		var status *evrpc.StatusError
		switch {
		case test.status == 0:
			var timeout net.Error
			if !errors.Is(reply.Err, os.ErrDeadlineExceeded) || !errors.As(reply.Err, &timeout) || !timeout.Timeout() {
				t.Errorf("%s: error %v", test.name, reply.Err)
			}
		case !errors.As(reply.Err, &status) || status.Status != test.status:
			t.Errorf("%s: error %v, want status %d", test.name, reply.Err, test.status)
		}
	}
	if pool.Call("Echo", &good, new(rpctest.All)); nextReply(t, loop).Err != nil {
		t.Error("the pool is of no use afterwards")
	}
}

type text struct {
	Text string `evtag:"1"`
}

// startHTTP starts a server of package net/http, and returns its address.
func startHTTP(t *testing.T, h http.HandlerFunc) string {
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// answer replies with what handle makes of the request.
func answer(handle func(r *http.Request, req string) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		var req text
		if err := evtag.Unmarshal(body, &req); err != nil || r.Method != "POST" || r.Host == "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		data, err := evtag.Marshal(nil, &text{handle(r, req.Text)})
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Write(data)
	}
}

// More calls than connections: they share them, in order.
func TestPoolQueue(t *testing.T) {
	t.Parallel()
	peers := make(chan string, 1000)
	address := startHTTP(t, answer(func(r *http.Request, req string) string {
		peers <- r.RemoteAddr
		return r.URL.Path + " " + req
	}))
	loop := newLoop(t)
	pool := newPool(loop, address, 1, nil)
	var calls []*evrpc.Reply
	for i := range 20 {
		calls = append(calls, pool.Call("Message", &text{fmt.Sprint(i)}, new(text)))
	}
	for i, call := range calls {
		reply := nextReply(t, loop)
		if reply != call {
			t.Fatalf("answer %d is that of another call", i)
		}
		if got, want := reply.Reply.(*text).Text, fmt.Sprintf("/.rpc.Message %d", i); got != want || reply.Err != nil {
			t.Errorf("got %q, %v; want %q", got, reply.Err, want)
		}
	}
	first := <-peers
	for range len(calls) - 1 {
		if peer := <-peers; peer != first {
			t.Errorf("a call came from %s, the first from %s", peer, first)
		}
	}
	if n := pool.Source().(*evchan.Mailbox).Len(); n != 0 {
		t.Errorf("%d more messages", n)
	}
}

// A Reply can be used again, with its Data.
func TestPoolReuse(t *testing.T) {
	t.Parallel()
	address := startHTTP(t, answer(func(_ *http.Request, req string) string { return req + "!" }))
	loop := newLoop(t)
	pool := newPool(loop, address, 2, nil)
	r := &evrpc.Reply{Name: "Message", Data: "mine", Reply: new(text)}
	for i := range 3 {
		r.Request = text{fmt.Sprint(i)}
		pool.Do(r)
		if nextReply(t, loop) != r || r.Err != nil || r.Reply.(*text).Text != fmt.Sprint(i, "!") || r.Data != "mine" {
			t.Fatalf("call %d: %v, %v", i, r.Err, r.Reply)
		}
	}
}

// A call can have a channel of its own.
func TestPoolNotify(t *testing.T) {
	t.Parallel()
	address := startHTTP(t, answer(func(_ *http.Request, req string) string { return req }))
	loop := newLoop(t)
	pool := newPool(loop, address, 1, nil)
	own := make(chan evchan.Event)
	first := &evrpc.Reply{Name: "Message", Request: &text{"a"}, Reply: new(text), Notify: own}
	pool.Do(first)
	second := pool.Call("Message", &text{"b"}, new(text))
	for range 2 {
		select {
		case ev := <-own:
			if ev != first || first.Err != nil {
				t.Errorf("the channel got %v", ev)
			}
		case ev := <-loop.Events():
			if ev != second || second.Err != nil {
				t.Errorf("the loop has sent %v", ev)
			}
		}
	}
}

// The connection is made again when the server has closed it.
func TestPoolReconnects(t *testing.T) {
	t.Parallel()
	var made atomic.Int32
	srv := httptest.NewUnstartedServer(answer(func(_ *http.Request, req string) string { return req }))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			made.Add(1)
		}
	}
	closing := srv.Config.Handler
	srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		closing.ServeHTTP(w, r)
	})
	srv.Start()
	defer srv.Close()
	loop := newLoop(t)
	pool := newPool(loop, srv.Listener.Addr().String(), 1, nil)
	for range 3 {
		pool.Call("Message", &text{"a"}, new(text))
	}
	for range 3 {
		if r := nextReply(t, loop); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if n := made.Load(); n != 3 {
		t.Errorf("%d connections for 3 calls", n)
	}
}

// A pool over a Unix socket, of a server that is there after a while.
func TestPoolRetries(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/socket"
	loop := newLoop(t)
	pool := evrpc.NewPool(loop, &evrpc.PoolConfig{Retries: -1, RetryDelay: time.Millisecond})
	pool.Add("unix", path)
	call := pool.Call("Message", &text{"a"}, new(text))
	again := evrpc.NewPool(loop, &evrpc.PoolConfig{Retries: 3, RetryDelay: time.Millisecond})
	again.Add("unix", path)
	again.Call("Message", &text{"a"}, new(text))
	if r := nextReply(t, loop); r == call || r.Err == nil { // all of 4 attempts have failed
		t.Fatalf("the first message is %v", r)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: answer(func(_ *http.Request, req string) string { return req + "b" })}
	go srv.Serve(ln)
	defer srv.Close()
	if r := nextReply(t, loop); r != call || r.Err != nil || r.Reply.(*text).Text != "ab" {
		t.Errorf("got %v, %v", r, r.Reply)
	}
}

// serveRaw answers each connection with the given bytes, once something has arrived, and closes it.
func serveRaw(t *testing.T, response string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				http.ReadRequest(bufio.NewReader(c))
				io.WriteString(c, response)
			}()
		}
	}()
	return ln.Addr().String()
}

func TestPoolResponses(t *testing.T) {
	t.Parallel()
	body := "\x01\x02ok"
	for _, test := range []struct {
		response string
		want     error // nil: the answer is "ok"
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n" + body, nil},
		{"HTTP/1.1 200\r\ncontent-length:4\r\n\r\n" + body, nil},
		{"HTTP/1.0 200 OK\r\n\r\n" + body, nil}, // until the end of the connection
		{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n" + body + "more", nil},
		{"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n" + body, nil},
		{"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n" + body, evrpc.ErrProtocol},
		{"HTTP/1.1 200 OK\r\nContent-Length: +4\r\n\r\n" + body, evrpc.ErrProtocol},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n" + body + "\r\n0\r\n\r\n", evrpc.ErrProtocol},
		{"HTTP/1.1 200 OK\r\nbad name: 4\r\n\r\n" + body, evrpc.ErrProtocol},
		{"HTTP/1.1 99 OK\r\n\r\n", evrpc.ErrProtocol},
		{"HTTP/2 200 OK\r\n\r\n", evrpc.ErrProtocol},
		{"220 mail.example ESMTP\r\n\r\n", evrpc.ErrProtocol},
		{"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", evrpc.ErrProtocol},
		{"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", evrpc.ErrTooLarge},
		{"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", evrpc.ErrProtocol},
		{"HTTP/1.0 200 OK\r\n\r\n" + strings.Repeat("x", 1001), evrpc.ErrTooLarge},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + body, io.ErrUnexpectedEOF},
		{"HTTP/1.1 200 OK\r\nConte", io.ErrUnexpectedEOF},
		{"", io.ErrUnexpectedEOF},
		{"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\x01\x02o\x00", nil},
		{"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\x02\x02ok", evtag.ErrUnknown},
		{"HTTP/1.1 204 No Content\r\n\r\n", &evrpc.StatusError{Status: 204}},
	} {
		loop := newLoop(t)
		pool := newPool(loop, serveRaw(t, test.response), 1, &evrpc.PoolConfig{MaxReply: 1000, Resend: true})
		for range 2 {
			pool.Call("Message", &text{"a"}, new(text))
			r := nextReply(t, loop)
			var status *evrpc.StatusError
			switch {
			case test.want == nil && (r.Err != nil || !strings.HasPrefix(r.Reply.(*text).Text, "o")):
				t.Errorf("%.60q: got %v, %v", test.response, r.Reply, r.Err)
			case errors.As(test.want, &status):
				if !reflect.DeepEqual(r.Err, test.want) {
					t.Errorf("%.60q: error %v, want %v", test.response, r.Err, test.want)
				}
			case !errors.Is(r.Err, test.want):
				t.Errorf("%.60q: error %v, want %v", test.response, r.Err, test.want)
			}
		}
		pool.Close()
	}
}

// Calls that cannot be made end with a message as well.
func TestPoolUnstarted(t *testing.T) {
	t.Parallel()
	loop := newLoop(t)
	pool := evrpc.NewPool(loop, nil)
	for _, test := range []struct {
		name     string
		req, rep any
		want     string // what the error ends with
	}{
		{"Message", &text{}, &text{}, evrpc.ErrNoConnection.Error()},
		{"", &text{}, &text{}, `no RPC can have the name ""`},
		{"a b", &text{}, &text{}, `no RPC can have the name "a b"`},
		{"Message", &text{}, nil, "Reply is no pointer to a struct"},
		{"Message", &text{}, text{}, "Reply is no pointer to a struct"},
		{"Message", &text{}, (*text)(nil), "Reply is no pointer to a struct"},
		{"Message", &text{}, new(int), "which is no struct"},
		{"Message", 1, &text{}, "which is no struct"},
		{"Message", &text{"\x00"}, &text{}, "string with a zero byte"},
	} {
		call := pool.Call(test.name, test.req, test.rep)
		if r := nextReply(t, loop); r != call || r.Err == nil || !strings.HasSuffix(r.Err.Error(), test.want) {
			t.Errorf("%+v: error %v", test, r.Err)
		}
	}
	pool.Close()
	pool.Add("tcp", "127.0.0.1:1").Remove()
	pool.Call("Message", &text{}, &text{})
	if r := nextReply(t, loop); !errors.Is(r.Err, evchan.ErrClosed) {
		t.Errorf("after Close: %v", r.Err)
	}
}

// blockingServer answers no call before release is closed.
func blockingServer(t *testing.T) (address string, arrived chan string, release chan struct{}) {
	arrived, release = make(chan string, 100), make(chan struct{})
	address = startHTTP(t, answer(func(r *http.Request, req string) string {
		arrived <- req
		select {
		case <-release:
		case <-r.Context().Done():
		}
		return req
	}))
	return address, arrived, release
}

func TestPoolCancel(t *testing.T) {
	t.Parallel()
	address, arrived, release := blockingServer(t)
	loop := newLoop(t)
	pool := newPool(loop, address, 1, nil)
	first := pool.Call("Message", &text{"first"}, new(text))
	second := pool.Call("Message", &text{"second"}, new(text))
	third := pool.Call("Message", &text{"third"}, new(text))
	second.Cancel()
	second.Cancel()
	if r := nextReply(t, loop); r != second || r.Err != evrpc.ErrCanceled {
		t.Fatalf("received %v", r)
	}
	replies := make(chan *evrpc.Reply)
	go func() {
		for {
			ev, ok := loop.Poll(limit)
			if !ok {
				close(replies)
				return
			}
			replies <- ev.(*evrpc.Reply)
		}
	}()
	if got := <-arrived; got != "first" {
		t.Fatalf("the server got %q", got)
	}
	first.Cancel()
	if r := <-replies; r != first || r.Err != evrpc.ErrCanceled {
		t.Fatalf("received %v", r)
	}
	if got := <-arrived; got != "third" {
		t.Fatalf("the server got %q", got)
	}
	close(release)
	if r := <-replies; r != third || r.Err != nil {
		t.Fatalf("received %v", r)
	}
	third.Cancel() // too late
	loop.Close()
	for r := range replies {
		t.Errorf("one more message: %v", r)
	}
}

// Timeout begins when a connection has taken the call; the call behind it gets its own.
func TestPoolTimeout(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	address := startHTTP(t, answer(func(r *http.Request, req string) string {
		if calls.Add(1) == 1 {
			<-r.Context().Done()
		}
		return req
	}))
	loop := newLoop(t)
	pool := newPool(loop, address, 1, &evrpc.PoolConfig{Timeout: 2 * time.Second})
	first := pool.Call("Message", &text{"first"}, new(text))
	second := pool.Call("Message", &text{"second"}, new(text))
	if r := nextReply(t, loop); r != first || !errors.Is(r.Err, os.ErrDeadlineExceeded) {
		t.Fatalf("received %v", r)
	}
	if r := nextReply(t, loop); r != second || r.Err != nil {
		t.Fatalf("received %v", r)
	}
}

func TestPoolClose(t *testing.T) {
	t.Parallel()
	address, _, _ := blockingServer(t)
	loop := newLoop(t)
	pool := newPool(loop, address, 2, nil)
	calls := make(map[*evrpc.Reply]bool)
	for range 5 {
		calls[pool.Call("Message", &text{"a"}, new(text))] = true
	}
	pool.Close()
	pool.Close()
	for range 5 {
		r := nextReply(t, loop)
		if !calls[r] || !errors.Is(r.Err, evchan.ErrClosed) {
			t.Errorf("received %v", r)
		}
		delete(calls, r)
	}
}

// A connection that was removed ends after its call, and gets no further one.
func TestPoolRemove(t *testing.T) {
	t.Parallel()
	address, arrived, release := blockingServer(t)
	other := startHTTP(t, answer(func(_ *http.Request, req string) string { return "other " + req }))
	loop := newLoop(t)
	pool := evrpc.NewPool(loop, nil)
	conn := pool.Add("tcp", address)
	first := pool.Call("Message", &text{"first"}, new(text))
	second := pool.Call("Message", &text{"second"}, new(text))
	conn.Remove()
	conn.Remove()
	replies := make(chan *evrpc.Reply, 2)
	go func() {
		for range 2 {
			if ev, ok := loop.Poll(limit); ok {
				replies <- ev.(*evrpc.Reply)
			}
		}
		close(replies)
	}()
	if got := <-arrived; got != "first" {
		t.Fatalf("the server got %q", got)
	}
	close(release)
	if r := <-replies; r != first || r.Err != nil {
		t.Fatalf("received %v", r)
	}
	pool.Add("tcp", other)
	if r := <-replies; r != second || r.Err != nil || r.Reply.(*text).Text != "other second" {
		t.Fatalf("received %v", r)
	}
}

// A loop with ExitOnEmpty goes on until all calls have ended, and not because of idle connections.
func TestPoolExitOnEmpty(t *testing.T) {
	t.Parallel()
	web := httptest.NewTLSServer(answer(func(_ *http.Request, req string) string { return req }))
	t.Cleanup(web.Close)
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	over := evtls.Over(&tls.Config{RootCAs: roots, ServerName: "example.com"}, nil)
	for address, dial := range map[string]*evchan.DialConfig{
		startHTTP(t, web.Config.Handler.ServeHTTP): nil,
		web.Listener.Addr().String():               {Over: over},
	} {
		loop, err := evchan.New(&evchan.Config{ExitOnEmpty: true})
		if err != nil {
			t.Fatal(err)
		}
		defer loop.Close()
		pool := newPool(loop, address, 1, &evrpc.PoolConfig{Dial: dial})
		for range 3 {
			pool.Call("Message", &text{"a"}, new(text))
		}
		replies := 0
		for ev := range loop.All() {
			if r, ok := ev.(*evrpc.Reply); !ok || r.Err != nil {
				t.Errorf("received %v", ev)
			}
			replies++
		}
		if replies != 3 {
			t.Errorf("%d replies", replies)
		}
	}
}

// Shutdown waits for calls that are under way, and closes idle connections.
func TestPoolShutdown(t *testing.T) {
	t.Parallel()
	address, arrived, release := blockingServer(t)
	loop := newLoop(t)
	pool := newPool(loop, address, 1, nil)
	call := pool.Call("Message", &text{"a"}, new(text))
	events := loop.Events()
	if got := <-arrived; got != "a" {
		t.Fatalf("the server got %q", got)
	}
	done := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		done <- loop.Shutdown(ctx)
	}()
	close(release)
	var got []evchan.Event
	for ev := range events {
		got = append(got, ev)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(got) > 1 || len(got) == 1 && (got[0] != call || call.Err != nil) {
		t.Errorf("received %v", got)
	}
}

// Many goroutines call, on all ways to receive.
func TestPoolConcurrent(t *testing.T) {
	t.Parallel()
	address := startHTTP(t, answer(func(_ *http.Request, req string) string { return req }))
	loop := newLoop(t)
	pool := newPool(loop, address, 4, nil)
	const callers, calls = 8, 50
	for i := range callers {
		go func() {
			for j := range calls {
				r := pool.Call("Message", &text{fmt.Sprint(i, " ", j)}, new(text))
				if j%10 == 9 {
					r.Cancel()
				}
			}
		}()
	}
	n := 0
	for ev := range loop.Events() {
		r := ev.(*evrpc.Reply)
		if r.Err != evrpc.ErrCanceled && (r.Err != nil || *r.Request.(*text) != *r.Reply.(*text)) {
			t.Errorf("received %v", r)
		}
		if n++; n == callers*calls {
			break
		}
	}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	data, err := evtag.Marshal(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evrpc_test

import (
	"bytes"
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
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
	"github.com/evchan/evchan/evrpc"
	"github.com/evchan/evchan/evrpc/internal/rpctest"
	"github.com/evchan/evchan/evtls"
)

type (
	echoCall = *evrpc.Call[rpctest.All, rpctest.All]
	textCall = *evrpc.Call[text, text]
)

// startServer starts a server on the loop, which has the RPCs of the test, and returns its address.
func startServer(t *testing.T, loop *evchan.Loop, conf *evhttp.Config, names ...string) (*evrpc.Server, string) {
	t.Helper()
	srv := evrpc.New(conf)
	for _, name := range names {
		if err := evrpc.Register[text, text](srv, name); err != nil {
			t.Fatal(err)
		}
	}
	ln, err := srv.HTTP().Listen(loop, "tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	return srv, ln.Addr().String()
}

// serve receives the messages of the loop until the test ends, and calls handle for each.
func serve(t *testing.T, loop *evchan.Loop, handle func(evchan.Event)) {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() {
		for ev := range loop.All() {
			handle(ev)
		}
	})
	t.Cleanup(func() {
		loop.Close()
		wg.Wait()
	})
}

// echoText answers a call with its request.
func echoText(t *testing.T) func(evchan.Event) {
	return func(ev evchan.Event) {
		c, ok := ev.(textCall)
		if !ok {
			t.Errorf("received %v", ev)
			return
		}
		if err := c.Reply(&c.Request); err != nil {
			t.Error(err)
		}
	}
}

// A libevent client calls a Go server.
func TestServerLibevent(t *testing.T) {
	t.Parallel()
	const calls = 5000
	program := rpctest.Build(t, "rpcpeer")
	loop := newLoop(t)
	srv, address := startServer(t, loop, nil)
	for _, name := range []string{"Echo", "Never", "Incomplete"} {
		if err := evrpc.Register[rpctest.All, rpctest.All](srv, name); err != nil {
			t.Fatal(err)
		}
	}
	serve(t, loop, func(ev evchan.Event) {
		switch ev := ev.(type) {
		case echoCall:
			switch ev.Name() {
			case "Echo":
				if err := ev.Reply(&ev.Request); err != nil {
					t.Error(err)
				}
			case "Incomplete":
				ev.Fail(nil)
			}
		case *evhttp.Gone: // of Never
			if c := ev.Request.Data.(echoCall); c.Name() != "Never" {
				t.Errorf("%v has gone", c)
			}
		default:
			t.Errorf("received %v", ev)
		}
	})
	_, port, _ := net.SplitHostPort(address)
	said, err := exec.Command(program, "client", port, fmt.Sprint(calls)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if want := fmt.Sprintf("good %d, timeouts 1, bad payloads 2, others 0\n", calls); string(said) != want {
		t.Errorf("the client says %q, want %q", said, want)
	}
}

// Go on both ends, with answers at once and later, over all ways to receive.
func TestServerPool(t *testing.T) {
	t.Parallel()
	const calls = 300
	receive := map[string]func(*evchan.Loop, func(evchan.Event) bool){
		"All": func(l *evchan.Loop, yield func(evchan.Event) bool) { l.All()(yield) },
		"Events": func(l *evchan.Loop, yield func(evchan.Event) bool) {
			for ev := range l.Events() {
				if !yield(ev) {
					return
				}
			}
		},
		"Batches": func(l *evchan.Loop, yield func(evchan.Event) bool) {
			for b := range l.Batches() {
				for ev := range b.All() {
					if !yield(ev) {
						return
					}
				}
			}
		},
		"Poll": func(l *evchan.Loop, yield func(evchan.Event) bool) {
			for {
				if ev, ok := l.Poll(limit); !ok || !yield(ev) {
					return
				}
			}
		},
	}
	for way, receive := range receive {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			loop := newLoop(t)
			srv, address := startServer(t, loop, nil, "Now", "Later", "Fail")
			if err := evrpc.Register[rpctest.Part, rpctest.Part](srv, "Part"); err != nil {
				t.Fatal(err)
			}
			pool := newPool(loop, address, 3, nil)
			r := rand.New(rand.NewPCG(1, 2))
			made, replies := 0, 0
			call := func() {
				made++
				switch made % 4 {
				case 0:
					pool.Call("Now", &text{fmt.Sprint(made)}, new(text))
				case 1:
					pool.Call("Later", &text{fmt.Sprint(made)}, new(text))
				case 2:
					pool.Call("Fail", &text{fmt.Sprint(made)}, new(text))
				case 3:
					part := rpctest.RandomPart(r, 2)
					pool.Call("Part", &part, new(rpctest.Part))
				}
			}
			for range 10 {
				call()
			}
			receive(loop, func(ev evchan.Event) bool {
				switch ev := ev.(type) {
				case *evrpc.Call[rpctest.Part, rpctest.Part]:
					if err := ev.Reply(&ev.Request); err != nil {
						t.Error(err)
					}
				case textCall:
					switch ev.Name() {
					case "Now":
						if err := ev.Reply(&ev.Request); err != nil {
							t.Error(err)
						}
						if err := ev.Reply(&ev.Request); err != evrpc.ErrDone {
							t.Errorf("second Reply: %v", err)
						}
					case "Later":
						go func() {
							if err := ev.Reply(&ev.Request); err != nil {
								t.Error(err)
							}
						}()
					case "Fail":
						if err := ev.Fail(errors.New("failed " + ev.Request.Text)); err != nil {
							t.Error(err)
						}
						if err := ev.Fail(nil); err != evrpc.ErrDone {
							t.Errorf("second Fail: %v", err)
						}
					}
				case *evrpc.Reply:
					replies++
					if ev.Name == "Fail" {
						want := &evrpc.StatusError{Status: 503, Text: "failed " + ev.Request.(*text).Text}
						if !reflect.DeepEqual(ev.Err, want) {
							t.Errorf("error %v, want %v", ev.Err, want)
						}
					} else if ev.Err != nil || !reflect.DeepEqual(ev.Request, ev.Reply) {
						t.Errorf("%v: got %v for %v", ev, ev.Reply, ev.Request)
					}
					if made < calls {
						call()
					}
				default:
					t.Errorf("received %v", ev)
				}
				return replies < calls
			})
		})
	}
}

// What the server does not take gives the status that libevent gives.
func TestServerStatus(t *testing.T) {
	t.Parallel()
	loop := newLoop(t)
	srv, address := startServer(t, loop, &evhttp.Config{MaxBody: 1000}, "Echo", "Gone")
	serve(t, loop, echoText(t))
	if !srv.Unregister("Gone") || srv.Unregister("Gone") {
		t.Error("Unregister does not say whether it was registered")
	}
	good := string(encode(t, &text{"hello"}))
	for _, test := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/.rpc.Echo", good, 200},
		{"POST", "/.rpc.Echo?query", good, 200},
		{"POST", "/%2erpc.Echo", good, 200},
		{"POST", "/.rpc.Echo", "Some Nonsense", 503},
		{"POST", "/.rpc.Echo", good + good, 503},
		{"POST", "/.rpc.Echo", good[:3], 503},
		{"POST", "/.rpc.Echo", "", 503},
		{"GET", "/.rpc.Echo", "", 503},
		{"PUT", "/.rpc.Echo", good, 503},
		{"POST", "/.rpc.Echo", strings.Repeat("x", 1001), 413},
		{"POST", "/.rpc.", good, 404},
		{"POST", "/.rpc.Other", good, 404},
		{"POST", "/.rpc.Gone", good, 404},
		{"GET", "/", "", 404},
	} {
		req, err := http.NewRequestWithContext(t.Context(), test.method, "http://"+address+test.path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != test.status || err != nil {
			t.Errorf("%s %s %.20q: status %d, want %d", test.method, test.path, test.body, resp.StatusCode, test.status)
		}
		if test.status == 200 && (string(body) != good || resp.Header.Get("Content-Type") != "application/octet-stream") {
			t.Errorf("%s %s: answered with %q, %s", test.method, test.path, body, resp.Header.Get("Content-Type"))
		}
	}
}

// RPCs beside a program's own requests, which may be streamed.
func TestServerBesideHTTP(t *testing.T) {
	t.Parallel()
	loop := newLoop(t)
	web := evhttp.New(&evhttp.Config{Streaming: true})
	srv := evrpc.NewServer(web)
	if srv.HTTP() != web {
		t.Error("HTTP returns another server")
	}
	if err := evrpc.Register[text, text](srv, "Echo"); err != nil {
		t.Fatal(err)
	}
	ln, err := web.Listen(loop, "tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, loop, func(ev evchan.Event) {
		switch ev := ev.(type) {
		case textCall:
			ev.Reply(&ev.Request)
		case *evhttp.Request:
			ev.ReplyString(200, "web")
		case *evhttp.Body:
		default:
			t.Errorf("received %v", ev)
		}
	})
	address := ln.Addr().String()
	resp, err := http.Get("http://" + address + "/")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(body) != "web" {
		t.Errorf("GET: %q", body)
	}
	other := newLoop(t)
	pool := newPool(other, address, 1, nil)
	pool.Call("Echo", &text{strings.Repeat("long ", 100_000)}, new(text))
	if r := nextReply(t, other); r.Err != nil || !reflect.DeepEqual(r.Request, r.Reply) {
		t.Error(r)
	}
	pool.Call("Echo", &text{strings.Repeat("too long ", 200_000)}, new(text))
	var status *evrpc.StatusError
	if r := nextReply(t, other); !errors.As(r.Err, &status) || status.Status != 413 {
		t.Error(r)
	}
}

// Server and pool over TLS.
func TestServerTLS(t *testing.T) {
	t.Parallel()
	web := httptest.NewTLSServer(nil) // has a certificate
	web.Close()
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	loop := newLoop(t)
	srv := evrpc.New(&evhttp.Config{Listen: &evchan.ListenConfig{Over: evtls.Over(web.TLS, nil)}})
	if err := evrpc.Register[text, text](srv, "Echo"); err != nil {
		t.Fatal(err)
	}
	ln, err := srv.HTTP().Listen(loop, "tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, loop, echoText(t))
	other := newLoop(t)
	for name, good := range map[string]bool{"example.com": true, "example.org": false} {
		over := evtls.Over(&tls.Config{RootCAs: roots, ServerName: name}, nil)
		pool := newPool(other, ln.Addr().String(), 2, &evrpc.PoolConfig{Dial: &evchan.DialConfig{Over: over}})
		for i := range 10 {
			pool.Call("Echo", &text{fmt.Sprint(i)}, new(text))
		}
		for range 10 {
			r := nextReply(t, other)
			var verify *tls.CertificateVerificationError
			switch {
			case good && (r.Err != nil || !reflect.DeepEqual(r.Request, r.Reply)):
				t.Errorf("received %v", r)
			case !good && !errors.As(r.Err, &verify):
				t.Errorf("another name than that of the certificate: %v", r)
			}
		}
		pool.Close()
	}
}

// One server on the loops of a group.
func TestServerGroup(t *testing.T) {
	t.Parallel()
	group, err := evchan.NewGroup(&evchan.GroupConfig{Loops: 3})
	if err != nil {
		t.Fatal(err)
	}
	srv := evrpc.New(nil)
	if err := evrpc.Register[text, text](srv, "Echo"); err != nil {
		t.Fatal(err)
	}
	ln, err := srv.HTTP().Listen(group, "tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- group.Run(ctx, func(loop *evchan.Loop) error {
			for ev := range loop.All() {
				echoText(t)(ev)
			}
			return loop.Err()
		})
	}()
	loop := newLoop(t)
	pool := newPool(loop, ln.Addr().String(), 9, nil)
	const calls = 200
	for i := range calls {
		pool.Call("Echo", &text{fmt.Sprint(i)}, new(text))
	}
	for range calls {
		if r := nextReply(t, loop); r.Err != nil || !reflect.DeepEqual(r.Request, r.Reply) {
			t.Fatalf("received %v", r)
		}
	}
	pool.Close()
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestRegisterErrors(t *testing.T) {
	t.Parallel()
	srv := evrpc.New(nil)
	if err := evrpc.Register[text, text](srv, "Echo"); err != nil {
		t.Error(err)
	}
	type noMessage struct {
		F float64 `evtag:"1"`
	}
	for _, err := range []error{
		evrpc.Register[text, text](srv, "Echo"),
		evrpc.Register[text, text](srv, ""),
		evrpc.Register[text, text](srv, "a/b"),
		evrpc.Register[noMessage, text](srv, "A"),
		evrpc.Register[text, noMessage](srv, "A"),
		evrpc.Register[int, text](srv, "A"),
		evrpc.Register[*text, text](srv, "A"),
	} {
		if err == nil {
			t.Error("no error")
		}
	}
}

// Hooks of a server see the request and the answer, may change both, pause and end the call.
func TestServerHooks(t *testing.T) {
	t.Parallel()
	type key struct{}
	loop := newLoop(t)
	srv, address := startServer(t, loop, nil, "Echo")
	later := func(x *evrpc.Exchange, v evrpc.Verdict) evrpc.Verdict {
		go x.Resume(v)
		return evrpc.Pause
	}
	srv.AddHook(evrpc.Input, func(x *evrpc.Exchange) evrpc.Verdict {
		x.SetValue(key{}, "value of "+x.Header("x-user"))
		switch x.Header("X-User") {
		case "":
			return evrpc.Terminate
		case "late":
			return later(x, evrpc.Continue)
		case "late stranger":
			return later(x, evrpc.Terminate)
		}
		return evrpc.Continue
	})
	srv.AddHook(evrpc.Input, func(x *evrpc.Exchange) evrpc.Verdict {
		x.Body = bytes.ToUpper(x.Body)
		return evrpc.Continue
	})
	srv.AddHook(evrpc.Output, func(x *evrpc.Exchange) evrpc.Verdict {
		x.SetHeader("Content-Type", "text/x")
		x.SetHeader("X-Value", x.Value(key{}).(string))
		if x.Header("X-User") == "late" {
			return later(x, evrpc.Continue)
		}
		if bytes.Contains(x.Body, []byte("SECRET")) {
			return evrpc.Terminate
		}
		return evrpc.Continue
	})
	serve(t, loop, func(ev evchan.Event) {
		c, ok := ev.(textCall)
		if !ok {
			t.Errorf("received %v", ev)
			return
		}
		if c.Value(key{}) != "value of "+c.HTTP().Header("X-User") {
			t.Errorf("value %v", c.Value(key{}))
		}
		want := error(nil)
		if c.Request.Text == "SECRET" {
			want = evrpc.ErrTerminated
		}
		if err := c.Reply(&c.Request); err != want {
			t.Errorf("Reply: %v, want %v", err, want)
		}
	})
	other := newLoop(t)
	pool := newPool(other, address, 1, nil)
	pool.AddHook(evrpc.Output, func(x *evrpc.Exchange) evrpc.Verdict {
		if user, ok := x.Value(key{}).(string); ok {
			x.SetHeader("X-User", user)
		}
		return evrpc.Continue
	})
	for _, test := range []struct {
		user, text, want string // no want: the call fails
	}{
		{"niels", "hello", "HELLO"},
		{"late", "hello", "HELLO"},
		{"late", "hello", "HELLO"},
		{"late stranger", "hello", ""},
		{"", "hello", ""},
		{"niels", "secret", ""},
	} {
		user := test.user
		remove := pool.AddHook(evrpc.Output, func(x *evrpc.Exchange) evrpc.Verdict {
			if user != "" {
				x.SetHeader("X-User", user)
			}
			return evrpc.Continue
		})
		pool.Call("Echo", &text{test.text}, new(text))
		r := nextReply(t, other)
		remove()
		var status *evrpc.StatusError
		switch {
		case test.want == "":
			if !errors.As(r.Err, &status) || status.Status != 503 {
				t.Errorf("%q, %q: %v", test.user, test.text, r)
			}
		case r.Err != nil || r.Reply.(*text).Text != test.want:
			t.Errorf("%q, %q: %v, %v", test.user, test.text, r, r.Reply)
		case r.Header("Content-Type") != "text/x" || r.Header("X-Value") != "value of "+user:
			t.Errorf("%q: the answer has %q, %q", user, r.Header("Content-Type"), r.Header("X-Value"))
		}
	}
}

// A client that leaves before the answer.
func TestServerGone(t *testing.T) {
	t.Parallel()
	loop := newLoop(t)
	_, address := startServer(t, loop, nil, "Never")
	other := newLoop(t)
	pool := newPool(other, address, 1, nil)
	call := pool.Call("Never", &text{"a"}, new(text))
	gone := make(chan textCall, 1)
	serve(t, loop, func(ev evchan.Event) {
		switch ev := ev.(type) {
		case textCall:
			call.Cancel()
		case *evhttp.Gone:
			gone <- ev.Request.Data.(textCall)
		}
	})
	if r := nextReply(t, other); r.Err != evrpc.ErrCanceled {
		t.Fatal(r)
	}
	c := <-gone
	<-c.Context().Done()
	if err := c.Reply(&text{"b"}); !errors.Is(err, evhttp.ErrGone) {
		t.Errorf("Reply: %v", err)
	}
	if err := c.Fail(nil); err != evrpc.ErrDone {
		t.Errorf("Fail: %v", err)
	}
}

// A client leaves while a hook has paused its call: nothing is received of it.
func TestServerGoneWhilePaused(t *testing.T) {
	t.Parallel()
	loop := newLoop(t)
	srv, address := startServer(t, loop, nil, "Echo")
	held := make(chan *evrpc.Exchange, 1)
	cancel := make(chan func(), 1)
	remove := srv.AddHook(evrpc.Input, func(x *evrpc.Exchange) evrpc.Verdict {
		held <- x
		(<-cancel)()
		return evrpc.Pause
	})
	other := newLoop(t)
	pool := newPool(other, address, 1, nil)
	cancel <- pool.Call("Echo", &text{"first"}, new(text)).Cancel
	texts := make(chan string, 1)
	serve(t, loop, func(ev evchan.Event) {
		c, ok := ev.(textCall)
		if !ok {
			t.Errorf("received %v", ev)
			return
		}
		texts <- c.Request.Text
		c.Reply(&c.Request)
	})
	if r := nextReply(t, other); r.Err != evrpc.ErrCanceled {
		t.Fatal(r)
	}
	x := <-held
	remove()
	<-x.Context().Done() // the server knows that the client has left
	if !x.Resume(evrpc.Continue) {
		t.Error("Resume has no effect")
	}
	other2 := newLoop(t)
	newPool(other2, address, 1, nil).Call("Echo", &text{"second"}, new(text))
	if r := nextReply(t, other2); r.Err != nil {
		t.Fatal(r)
	}
	if got := <-texts; got != "second" {
		t.Errorf("received the call %q", got)
	}
}

// An answer that libevent could not read is none.
func TestServerReplyErrors(t *testing.T) {
	t.Parallel()
	loop := newLoop(t)
	_, address := startServer(t, loop, nil, "Zero")
	serve(t, loop, func(ev evchan.Event) {
		c := ev.(textCall)
		if err := c.Reply(&text{"\x00"}); err == nil {
			t.Error("no error for a string with a zero byte")
		}
	})
	other := newLoop(t)
	newPool(other, address, 1, nil).Call("Zero", &text{"a"}, new(text))
	var status *evrpc.StatusError
	if r := nextReply(t, other); !errors.As(r.Err, &status) || status.Status != 503 {
		t.Errorf("received %v", r)
	}
}

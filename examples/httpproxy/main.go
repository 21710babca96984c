// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Httpproxy is a reverse proxy in one loop: a server in front, a client behind. Bodies stream both
// ways, and in each direction the reader sets the pace. Upgrades, such as WebSocket, are passed
// through.
//
//	go run ./examples/httpproxy -to http://127.0.0.1:8000
//
// With -demo it has a server of its own behind it, and asks itself.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
)

const maxWaiting = 256 << 10 // bytes of a request's body that wait for the server behind

// An exchange is a request in front with its call behind.
type exchange struct {
	front *evhttp.Request
	back  *evhttp.Call
	resp  *evhttp.Response // nil: not there yet

	up       evchan.Buffer // of the request's body, what the server behind has not taken
	upEnd    bool          // nothing follows in up
	down     evchan.Buffer // of the response's body, what the client has not taken
	downEnd  bool          // nothing follows in down
	upPaused bool
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("httpproxy: ")
	listen := flag.String("listen", "127.0.0.1:8080", "listen on `address`")
	to := flag.String("to", "http://127.0.0.1:8000", "pass requests on to `URL`")
	demo := flag.Bool("demo", false, "ask itself, and end")
	flag.Parse()
	if *demo {
		srv := httptest.NewServer(http.HandlerFunc(echo))
		defer srv.Close()
		*to, *listen = srv.URL, "127.0.0.1:0"
	}
	target, err := url.Parse(*to)
	if err != nil {
		log.Fatal(err)
	}
	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	srv, err := evhttp.Listen(loop, "tcp", *listen, &evhttp.Config{Streaming: true})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := loop.Signal(os.Interrupt); err != nil {
		log.Fatal(err)
	}
	cl := evhttp.NewClient(loop, nil)
	fmt.Println("serving", srv.Listeners()[0].Addr())
	if *demo {
		go func() {
			ask(srv.Listeners()[0].Addr().String())
			srv.Drain()
		}()
	}

	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *evhttp.Request:
			begin(cl, target, ev)
		case *evhttp.Gone:
			if x, ok := ev.Request.Data.(*exchange); ok {
				x.back.Cancel()
			}
		case *evhttp.Response:
			ev.Call.Data.(*exchange).answer(ev)
		case *evhttp.Body:
			if ev.Request != nil {
				x := ev.Request.Data.(*exchange)
				x.up.MoveN(&ev.Data, ev.Data.Len())
				x.upEnd = ev.Last
				x.pushUp()
			} else {
				x := ev.Response.Call.Data.(*exchange)
				if ev.Err != nil {
					x.front.Abort() // so that the client does not take what it has for all
					continue
				}
				x.down.MoveN(&ev.Data, ev.Data.Len())
				x.downEnd = ev.Last
				x.pushDown()
			}
		case *evhttp.Writable:
			if ev.Call != nil {
				ev.Call.Data.(*exchange).pushUp()
			} else {
				ev.Request.Data.(*exchange).pushDown()
			}

		// Streams behind an upgrade.
		case evchan.Readable:
			io.Copy(ev.Stream.Data.(*evchan.Stream), ev.Stream)
		case evchan.EOF:
			ev.Stream.Data.(*evchan.Stream).CloseWrite()
		case evchan.Closed:
			ev.Stream.Data.(*evchan.Stream).Close()

		case evchan.Signaled:
			srv.Drain()
		case *evhttp.Drained:
			loop.Exit(0)
		}
	}
}

// isHop reports whether a field is about one connection only, and not passed on.
func isHop(name string) bool {
	switch strings.ToLower(name) {
	case "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade":
		return true
	}
	return false
}

// begin passes a request on.
func begin(cl *evhttp.Client, target *url.URL, r *evhttp.Request) {
	hr, err := r.HTTP()
	if err != nil || r.Method() == "CONNECT" {
		r.Error(http.StatusBadRequest)
		return
	}
	out := &http.Request{Method: r.Method(), Host: r.Host(), Header: hr.Header, ContentLength: r.ContentLength()}
	u := *target
	u.Path, u.RawPath, u.RawQuery = hr.URL.Path, hr.URL.RawPath, hr.URL.RawQuery
	out.URL = &u
	protocol := r.Header("Upgrade")
	for _, list := range r.Values("Connection") {
		for name := range strings.SplitSeq(list, ",") {
			out.Header.Del(strings.TrimSpace(name))
		}
	}
	for name := range out.Header {
		if isHop(name) {
			delete(out.Header, name)
		}
	}
	if protocol != "" && r.Upgrades(protocol) {
		out.Header.Set("Connection", "Upgrade")
		out.Header.Set("Upgrade", protocol)
	}
	if out.Header["User-Agent"] == nil {
		out.Header["User-Agent"] = []string{""} // none, instead of the package's own
	}
	out.Header.Del("Expect") // the server in front has answered it
	if host, _, err := net.SplitHostPort(r.RemoteAddr().String()); err == nil {
		out.Header.Add("X-Forwarded-For", host)
	}
	x := &exchange{front: r, upEnd: r.Complete()}
	x.up.MoveN(r.Body(), r.Body().Len())
	x.back = &evhttp.Call{Request: out, Data: x, Streaming: true, Upload: !x.upEnd || x.up.Len() > 0}
	r.Data = x
	if err := cl.Do(x.back); err != nil {
		r.Error(http.StatusBadGateway)
	}
}

// pushUp gives the server behind what it takes of the request's body.
func (x *exchange) pushUp() {
	for x.up.Len() > 0 {
		n, err := x.back.Write(first(&x.up))
		x.up.Discard(n)
		if err != nil {
			break // Writable brings us back, or the response says what has happened
		}
	}
	if x.up.Len() == 0 && x.upEnd {
		x.back.Finish()
	}
	switch full := x.up.Len() >= maxWaiting; {
	case full && !x.upPaused:
		x.front.PauseBody()
	case !full && x.upPaused:
		x.front.ResumeBody()
	}
	x.upPaused = x.up.Len() >= maxWaiting
}

// answer passes the head of a response on.
func (x *exchange) answer(resp *evhttp.Response) {
	x.resp = resp
	if resp.Err != nil {
		x.front.Error(http.StatusBadGateway)
		return
	}
	hops := strings.Split(resp.Header("Connection"), ",")
	for name, value := range resp.Fields() {
		hop := isHop(name)
		for _, other := range hops {
			hop = hop || strings.EqualFold(name, strings.TrimSpace(other))
		}
		if !hop {
			x.front.Add(name, value)
		}
	}
	if resp.Status == http.StatusSwitchingProtocols {
		x.join(resp)
		return
	}
	if err := x.front.Start(resp.Status); err != nil {
		x.back.Cancel() // the client has left
		return
	}
	x.down.MoveN(&resp.Body, resp.Body.Len())
	x.downEnd = resp.Complete
	x.pushDown()
}

// pushDown gives the client what it takes of the response's body.
func (x *exchange) pushDown() {
	for x.down.Len() > 0 {
		n, err := x.front.Write(first(&x.down))
		x.down.Discard(n)
		if err == evchan.ErrFull {
			x.resp.PauseBody() // Writable brings us back
			return
		}
		if err != nil {
			x.back.Cancel() // the client has left
			return
		}
	}
	if x.downEnd {
		x.front.Finish()
	} else {
		x.resp.ResumeBody()
	}
}

// join joins the two connections behind an upgrade.
func (x *exchange) join(resp *evhttp.Response) {
	back, err := resp.TakeStream(nil)
	if err != nil {
		x.front.Error(http.StatusBadGateway)
		return
	}
	front, err := x.front.Upgrade(resp.Header("Upgrade"), nil)
	if err != nil {
		back.Close()
		return
	}
	front.Data, back.Data = back, front
}

// first returns the first bytes of b that lie in one piece.
func first(b *evchan.Buffer) []byte {
	for p := range b.Segments() {
		return p[:min(len(p), 64<<10)]
	}
	return nil
}

// echo is the server of -demo.
func echo(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "" {
		nc, brw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer nc.Close()
		io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		line, _ := brw.ReadString('\n')
		io.WriteString(nc, line)
		return
	}
	body, _ := io.ReadAll(r.Body)
	w.Write(body)
}

// ask checks the proxy at addr.
func ask(addr string) {
	body := bytes.Repeat([]byte("0123456789"), 300_000)
	for _, r := range []io.Reader{bytes.NewReader(body), io.MultiReader(bytes.NewReader(body))} {
		resp, err := http.Post("http://"+addr+"/", "text/plain", r)
		if err != nil {
			log.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Equal(got, body) {
			log.Fatalf("%v: %d bytes have come back", err, len(got))
		}
		fmt.Println(len(got), "bytes there and back")
	}
	http.DefaultClient.CloseIdleConnections()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello\n")
	got, err := io.ReadAll(c)
	if err != nil || !strings.HasSuffix(string(got), "\r\n\r\nhello\n") {
		log.Fatalf("%v: %q", err, got)
	}
	fmt.Println("an upgraded connection there and back")
}

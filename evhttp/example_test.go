// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
)

// get prints what a server answers.
func get(url string) {
	resp, err := http.Get(url)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d %s", resp.StatusCode, body)
}

// query is work that takes its time.
func query(ctx context.Context) []byte {
	select {
	case <-time.After(10 * time.Millisecond):
		return []byte("the answer\n")
	case <-ctx.Done(): // the client has left
		return nil
	}
}

// A server that answers at once, later, and by handlers of net/http; it ends when all is answered.
func Example() {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "an API") })
	files := http.FileServer(http.Dir("testdata/public"))

	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	srv, err := evhttp.Listen(loop, "tcp", "127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	go func() { // the client
		url := "http://" + srv.Listeners()[0].Addr().String()
		for _, path := range []string{"/", "/slow", "/api/", "/none"} {
			get(url + path)
		}
		srv.Drain()
	}()
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *evhttp.Request:
			switch ev.Path() {
			case "/":
				ev.ReplyString(200, "hello\n")
			case "/slow":
				go func() { ev.Reply(200, query(ev.Context())) }()
			case "/api/":
				ev.Go(mux) // on a goroutine of a pool
			default:
				ev.Serve(files) // here and now
			}
		case *evhttp.Drained:
			loop.Exit(0)
		}
	}
	// Output:
	// 200 hello
	// 200 the answer
	// 200 an API
	// 404 404 page not found
}

// With Streaming, a body comes in pieces, however long it is.
func ExampleBody() {
	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	srv, err := evhttp.Listen(loop, "tcp", "127.0.0.1:0", &evhttp.Config{Streaming: true})
	if err != nil {
		log.Fatal(err)
	}
	go func() { // the client
		url := "http://" + srv.Listeners()[0].Addr().String()
		resp, err := http.Post(url, "text/plain", strings.NewReader(strings.Repeat("x", 1_000_000)))
		if err != nil {
			log.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		fmt.Print(string(body))
		srv.Drain()
	}()

	counts := make(map[*evhttp.Request]int)
	count := func(r *evhttp.Request, data *evchan.Buffer, last bool) {
		counts[r] += data.Len()
		if last {
			r.ReplyString(200, fmt.Sprintln(counts[r], "bytes"))
			delete(counts, r)
		}
	}
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *evhttp.Request:
			count(ev, ev.Body(), ev.Complete())
		case *evhttp.Body:
			count(ev.Request, &ev.Data, ev.Last)
		case *evhttp.Gone:
			delete(counts, ev.Request)
		case *evhttp.Drained:
			loop.Exit(0)
		}
	}
	// Output: 1000000 bytes
}

// All who listen get each event. One that reads too slowly misses some.
func ExampleEventStream() {
	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	srv, err := evhttp.Listen(loop, "tcp", "127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	printed := make(chan bool)
	go func() { // the client
		get("http://" + srv.Listeners()[0].Addr().String())
		close(printed)
	}()

	listening := make(map[*evhttp.Request]*evhttp.EventStream)
	ticker := loop.Every(5 * time.Millisecond)
	n := 0
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *evhttp.Request:
			if es, err := ev.EventStream(); err == nil {
				listening[ev] = es
			}
		case *evhttp.Gone:
			delete(listening, ev.Request)
		case evchan.Tick:
			ticker.Take()
			for _, es := range listening {
				n++
				es.Send(evhttp.SSE{Data: fmt.Sprint("tick ", n)})
				if n == 2 {
					es.Close()
					srv.Drain()
				}
			}
		case *evhttp.Drained:
			loop.Exit(0)
		}
	}
	<-printed
	// Output:
	// 200 data: tick 1
	//
	// data: tick 2
}

// Virtual hosts.
func ExampleHosts() {
	var hosts evhttp.Hosts[http.Handler]
	hosts.Set("example.com", http.NotFoundHandler())
	hosts.Set("*.example.com", http.RedirectHandler("https://example.com/", http.StatusMovedPermanently))

	answer := func(r *evhttp.Request) {
		if h, ok := hosts.Find(r.Host()); ok {
			r.Go(h)
		} else {
			r.Error(http.StatusNotFound)
		}
	}
	_ = answer // is called for each *evhttp.Request
}

// Several pages at once, as a crawler fetches them.
func ExampleClient() {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "page ", r.URL.Path)
	}))
	defer site.Close()
	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	cl := evhttp.NewClient(loop, nil)
	left := 3
	pages := make([]string, left)
	for i := range left {
		req, err := http.NewRequest("GET", fmt.Sprint(site.URL, "/", i), nil)
		if err != nil {
			log.Fatal(err)
		}
		if err := cl.Do(&evhttp.Call{Request: req, Data: i}); err != nil {
			log.Fatal(err)
		}
	}
	for ev := range loop.All() {
		if resp, ok := ev.(*evhttp.Response); ok {
			if resp.Err != nil {
				log.Fatal(resp.Err)
			}
			pages[resp.Call.Data.(int)] = string(resp.Body.Bytes())
			if left--; left == 0 {
				break
			}
		}
	}
	fmt.Println(pages)
	// Output:
	// [page /0 page /1 page /2]
}

// http.Client over a loop.
func ExampleClient_RoundTripper() {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") }))
	defer site.Close()
	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	go func() {
		for range loop.All() { // the client's messages go to those who wait
		}
	}()
	hc := &http.Client{Transport: evhttp.NewClient(loop, nil).RoundTripper()}
	resp, err := hc.Get(site.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Println(resp.StatusCode, string(body), err)
	// Output:
	// 200 hello <nil>
}

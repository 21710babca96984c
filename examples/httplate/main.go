// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Httplate is an API whose replies come later: GET /next waits until somebody posts to /next, and
// then all that wait get what was posted. It is a chat with long polling, in which one goroutine
// has all the state, and a client that waits costs no goroutine.
//
//	go run ./examples/httplate
//	curl http://127.0.0.1:8080/next &
//	curl -d hello http://127.0.0.1:8080/next
//
// GET /fortune takes a second of work, on another goroutine. With -demo it asks itself.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
)

const patience = 30 * time.Second // how long a client waits before it is told to ask again

func main() {
	log.SetFlags(0)
	log.SetPrefix("httplate: ")
	listen := flag.String("listen", "127.0.0.1:8080", "listen on `address`")
	demo := flag.Bool("demo", false, "ask itself, and end")
	flag.Parse()
	if *demo {
		*listen = "127.0.0.1:0"
	}

	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	srv, err := evhttp.Listen(loop, "tcp", *listen, &evhttp.Config{MaxBody: 4 << 10})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := loop.Signal(os.Interrupt); err != nil {
		log.Fatal(err)
	}
	url := "http://" + srv.Listeners()[0].Addr().String()
	fmt.Println("serving", url)

	waiting := make(map[*evhttp.Request]*evchan.Timer)
	finish := func() {
		for r, timer := range waiting {
			timer.Stop()
			r.Reply(204, nil)
		}
		clear(waiting)
		srv.Drain()
	}
	if *demo {
		go ask(url)
	}
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *evhttp.Request:
			switch ev.Method() + " " + ev.Path() {
			case "GET /next":
				timer := loop.After(patience)
				timer.Data = ev
				waiting[ev] = timer
			case "POST /next":
				said, _ := json.Marshal(map[string]string{"from": ev.RemoteAddr().String(), "said": string(ev.Body().Bytes())})
				n := len(waiting)
				for r, timer := range waiting {
					timer.Stop()
					r.Set("Content-Type", "application/json")
					r.Reply(200, said)
				}
				clear(waiting)
				ev.ReplyString(200, fmt.Sprintf("%d got it\n", n))
			case "GET /fortune":
				go func() {
					select {
					case <-time.After(time.Second): // hard work
						ev.ReplyString(200, "You will write a server.\n")
					case <-ev.Context().Done(): // the client has left
					}
				}()
			case "POST /quit":
				ev.Reply(204, nil)
				finish()
			default:
				ev.Error(404)
			}
		case *evhttp.Gone: // a client that waited has left
			if timer := waiting[ev.Request]; timer != nil {
				timer.Stop()
				delete(waiting, ev.Request)
			}
		case evchan.Tick:
			r := ev.Timer.Data.(*evhttp.Request)
			delete(waiting, r)
			r.Reply(204, nil) // ask again
		case evchan.Signaled:
			finish()
		case *evhttp.Drained:
			loop.Exit(0)
		}
	}
	if err := loop.Err(); err != nil {
		log.Fatal(err)
	}
}

// ask has one client wait and another one speak, until the first has heard it.
func ask(url string) {
	heard := make(chan string)
	go func() {
		resp, err := http.Get(url + "/next")
		if err != nil {
			log.Fatal(err)
		}
		defer resp.Body.Close()
		p, _ := io.ReadAll(resp.Body)
		heard <- string(p)
	}()
	post := func(path string) {
		resp, err := http.Post(url+path, "text/plain", strings.NewReader("hello"))
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
	}
	for {
		post("/next")
		select {
		case line := <-heard:
			fmt.Println("heard", line)
			post("/quit")
			return
		case <-time.After(10 * time.Millisecond): // it was not waiting yet
		}
	}
}

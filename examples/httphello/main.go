// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Httphello is a minimal HTTP server. It greets, and ends with Ctrl-C when all requests that are
// under way have been answered.
//
//	go run ./examples/httphello
//	curl http://127.0.0.1:8080/world
//
// With -demo it asks itself.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("httphello: ")
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
	srv, err := evhttp.Listen(loop, "tcp", *listen, nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := loop.Signal(os.Interrupt); err != nil {
		log.Fatal(err)
	}
	url := "http://" + srv.Listeners()[0].Addr().String()
	fmt.Println("serving", url)
	if *demo {
		go func() {
			ask(url + "/world")
			srv.Drain()
		}()
	}

	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *evhttp.Request:
			if ev.Allow("GET") {
				ev.ReplyString(200, "hello "+ev.Path()[1:]+"\n")
			}
		case evchan.Signaled:
			srv.Drain()
		case *evhttp.Drained:
			loop.Exit(0)
		}
	}
	if err := loop.Err(); err != nil {
		log.Fatal(err)
	}
}

// ask prints what the server answers.
func ask(url string) {
	resp, err := http.Get(url)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(os.Stdout, resp.Body); err != nil {
		log.Fatal(err)
	}
}

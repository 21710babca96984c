// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Httpfiles serves the files of a folder by HTTP, with listings of folders, ranges and
// conditions, and prints what is asked for: libevent's http-server. What is posted to /dump is
// printed with its head.
//
//	go run ./examples/httpfiles -folder .
//	curl http://127.0.0.1:8080/
//	curl -d hello http://127.0.0.1:8080/dump
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
	"strings"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("httpfiles: ")
	network := flag.String("network", "tcp", "listen on this `network`: tcp or unix")
	listen := flag.String("listen", "127.0.0.1:8080", "listen on `address`")
	folder := flag.String("folder", ".", "serve the files of `folder`")
	demo := flag.Bool("demo", false, "ask itself, and end")
	flag.Parse()
	if *demo {
		*network, *listen = "tcp", "127.0.0.1:0"
	}

	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	srv, err := evhttp.Listen(loop, *network, *listen, nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := loop.Signal(os.Interrupt); err != nil {
		log.Fatal(err)
	}
	addr := srv.Listeners()[0].Addr()
	fmt.Println("serving", *folder, "on", addr)
	if *demo {
		go func() {
			for _, ask := range []func() (*http.Response, error){
				func() (*http.Response, error) { return http.Get("http://" + addr.String() + "/") },
				func() (*http.Response, error) {
					return http.Post("http://"+addr.String()+"/dump", "text/plain", strings.NewReader("some text"))
				},
			} {
				resp, err := ask()
				if err != nil {
					log.Fatal(err)
				}
				n, err := io.Copy(io.Discard, resp.Body)
				if err != nil || resp.StatusCode != 200 {
					log.Fatal(resp.Status, err)
				}
				fmt.Println("the client got", n, "bytes of", resp.Header.Get("Content-Type"))
				resp.Body.Close()
			}
			srv.Drain()
		}()
	}

	files := http.FileServer(http.Dir(*folder))
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *evhttp.Request:
			fmt.Println(ev.RemoteAddr(), ev.Method(), ev.Target())
			if ev.Path() == "/dump" {
				dump(ev)
			} else {
				ev.Serve(files)
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

// dump prints a request, and answers it.
func dump(r *evhttp.Request) {
	for name, value := range r.Fields() {
		fmt.Printf("  %s: %s\n", name, value)
	}
	fmt.Printf("  %d bytes: %.200q\n", r.Body().Len(), r.Body().Bytes())
	r.ReplyString(200, "thank you\n")
}

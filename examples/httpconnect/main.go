// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Httpconnect asks a proxy for a tunnel by CONNECT, and fetches a page through it.
//
//	go run ./examples/httpconnect http://proxy:8080 http://example.org/
//
// With -demo it runs both servers itself. libevent has it as http-connect. A program that needs no
// more than this sets ClientConfig.Proxy: here the tunnel is the program's own.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
	"github.com/evchan/evchan/evtls"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("httpconnect: ")
	demo := flag.Bool("demo", false, "run a proxy and a server of its own")
	flag.Parse()
	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()

	proxyURL, hostURL := flag.Arg(0), flag.Arg(1)
	if *demo {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(w, "you asked for", r.URL, "through a tunnel")
		}))
		defer srv.Close()
		hostURL = srv.URL + "/some/page"
		proxy, err := evhttp.Listen(loop, "tcp", "127.0.0.1:0", nil)
		if err != nil {
			log.Fatal(err)
		}
		proxyURL = "http://" + proxy.Listeners()[0].Addr().String()
	} else if flag.NArg() != 2 {
		log.Fatal("usage: httpconnect PROXY-URL URL")
	}
	proxy, err := url.Parse(proxyURL)
	if err != nil {
		log.Fatal(err)
	}
	page, err := http.NewRequest("GET", hostURL, nil)
	if err != nil {
		log.Fatal(err)
	}
	host := page.URL.Host
	if page.URL.Port() == "" {
		host += map[string]string{"http": ":80", "https": ":443"}[page.URL.Scheme]
	}

	cl := evhttp.NewClient(loop, nil)
	connect := &http.Request{Method: "CONNECT", URL: proxy, Host: host}
	if err := cl.Do(&evhttp.Call{Request: connect}); err != nil {
		log.Fatal(err)
	}
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *evhttp.Response:
			if ev.Err != nil {
				log.Fatal(ev.Err)
			}
			log.Print(ev.Call, ": ", ev.Status, " ", ev.Reason())
			if ev.Call.Request == page {
				io.Copy(os.Stdout, &ev.Body)
				return
			}
			tunnel, err := ev.TakeStream(nil)
			if err == nil && page.URL.Scheme == "https" {
				tunnel, err = evtls.Client(tunnel, &tls.Config{ServerName: page.URL.Hostname()}, nil)
			}
			if err == nil {
				err = cl.Adopt(page.URL, tunnel) // a connection to the host, from now on
			}
			if err == nil {
				err = cl.Do(&evhttp.Call{Request: page})
			}
			if err != nil {
				log.Fatal(err)
			}

		// The rest is the proxy of -demo.
		case *evhttp.Request:
			out, err := loop.Dial("tcp", ev.Target(), nil)
			if err != nil {
				ev.Error(http.StatusBadGateway)
				continue
			}
			in, err := ev.Tunnel(nil)
			if err != nil {
				out.Close()
				continue
			}
			in.Data, out.Data = out, in
		case evchan.Readable:
			io.Copy(ev.Stream.Data.(*evchan.Stream), ev.Stream)
		case evchan.EOF:
			ev.Stream.Data.(*evchan.Stream).CloseWrite()
		case evchan.Closed:
			ev.Stream.Data.(*evchan.Stream).Close()
		}
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Httpsclient fetches a page by HTTP or HTTPS, and prints the status and the body. With -data it posts
// a file. It keeps to HTTPS_PROXY and NO_PROXY, and follows redirects.
//
//	go run ./examples/httpsclient https://example.org/
//
// With -demo it fetches from a server of its own. libevent has it as https-client.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("httpsclient: ")
	data := flag.String("data", "", "post this `file`")
	roots := flag.String("crt", "", "trust the certificates in this `file`, instead of the system's")
	ignore := flag.Bool("ignore-cert", false, "accept every certificate")
	retries := flag.Int("retries", 0, "how often to try again if connecting fails")
	timeout := flag.Duration("timeout", time.Minute, "how long all may take")
	demo := flag.Bool("demo", false, "fetch from a server of its own")
	flag.Parse()

	conf := &tls.Config{InsecureSkipVerify: *ignore}
	address := flag.Arg(0)
	if *demo {
		srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(w, "you asked for", r.URL)
		}))
		defer srv.Close()
		conf.RootCAs = x509.NewCertPool()
		conf.RootCAs.AddCert(srv.Certificate())
		address = srv.URL + "/some/page"
	} else if flag.NArg() != 1 {
		log.Fatal("usage: httpsclient [flags] URL")
	}
	if *roots != "" {
		pem, err := os.ReadFile(*roots)
		if err != nil {
			log.Fatal(err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			log.Fatal(*roots, " has no certificate")
		}
	}
	req, err := http.NewRequest("GET", address, nil)
	if *data != "" {
		var p []byte
		if p, err = os.ReadFile(*data); err == nil {
			req, err = http.NewRequest("POST", address, bytes.NewReader(p))
		}
	}
	if err != nil {
		log.Fatal(err)
	}

	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	cl := evhttp.NewClient(loop, &evhttp.ClientConfig{
		TLS:       conf,
		Retries:   *retries,
		Redirects: 10,
		Proxy:     http.ProxyFromEnvironment,
	})
	// The body is printed as it arrives, so it may be of any length.
	if err := cl.Do(&evhttp.Call{Request: req, Streaming: true, Timeout: *timeout}); err != nil {
		log.Fatal(err)
	}
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *evhttp.Response:
			if ev.Err != nil {
				log.Fatal(ev.Err)
			}
			log.Print("Response line: ", ev.Status, " ", ev.Reason())
			io.Copy(os.Stdout, &ev.Body)
			if ev.Complete {
				return
			}
		case *evhttp.Body:
			io.Copy(os.Stdout, &ev.Data)
			if ev.Err != nil {
				log.Fatal(ev.Err)
			}
			if ev.Last {
				return
			}
		}
	}
}

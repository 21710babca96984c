// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Get fetches a page by HTTP/1.0: it dials, writes a request, and prints the answer.
// The exit status is 1 if anything failed or if the server answers with an error.
//
//	go run ./examples/get http://localhost:8000/
//
// With -demo it fetches from a server of its own.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/evchan/evchan"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("get: ")
	timeout := flag.Duration("timeout", 30*time.Second, "how long connecting may take, and how long the server may send nothing")
	demo := flag.Bool("demo", false, "fetch from a server of its own")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: get [flags] URL")
		flag.PrintDefaults()
	}
	flag.Parse()

	address := flag.Arg(0)
	if *demo {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			log.Fatal(err)
		}
		go http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(w, "you asked for", r.URL)
		}))
		address = "http://localhost:" + fmt.Sprint(ln.Addr().(*net.TCPAddr).Port) + "/some/page?q=1"
	} else if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := get(os.Stdout, address, *timeout); err != nil {
		log.Fatal(err)
	}
}

// get writes the server's whole answer to w, the header included.
func get(w io.Writer, address string, timeout time.Duration) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	if u.Scheme != "http" || u.Hostname() == "" {
		return fmt.Errorf("%s: not of the form http://HOST/PATH", address)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}

	loop, err := evchan.New(nil)
	if err != nil {
		return err
	}
	defer loop.Close()
	// Dial returns before the name is looked up. The request is sent once the stream
	// is connected.
	s, err := loop.Dial("tcp", net.JoinHostPort(u.Hostname(), port), &evchan.DialConfig{
		Timeout:   timeout,
		ReadIdle:  timeout,
		WriteIdle: timeout,
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(s, "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", u.RequestURI(), u.Host)

	var status string // the beginning of the answer, such as "HTTP/1.0 200"
	for ev := range loop.All() {
		switch ev.(type) {
		case evchan.Connected:
			log.Print("connected to ", s.RemoteAddr())
		case evchan.Readable:
			in := s.Input()
			if status == "" {
				line, err := in.Peek(len("HTTP/1.0 200"))
				if err != nil {
					continue // the status has not arrived in full
				}
				status = string(line)
			}
			if _, err := in.WriteTo(w); err != nil {
				return err
			}
		case evchan.TimedOut:
			return errors.New("the server sends nothing")
		case evchan.Closed:
			return s.Err()
		case evchan.EOF:
			// An HTTP/1.0 server closes the connection at the end of its answer.
			if !strings.HasPrefix(status, "HTTP/1.") || status[9] != '2' {
				return fmt.Errorf("the server answers %q", status)
			}
			return nil
		}
	}
	return loop.Err()
}

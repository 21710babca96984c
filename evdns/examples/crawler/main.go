// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Crawler looks up the names that it reads from its input, one a line, many at once. It prints each
// with its addresses, and on stderr how far it is. All of that is one goroutine.
//
//	go run ./evdns/examples/crawler < names.txt > addresses.txt
//
// With -demo it looks up 20,000 names, at a server of its own.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evdns"
	"golang.org/x/net/dns/dnsmessage"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("crawler: ")
	server := flag.String("s", "", "the `server` to ask, in place of the system's")
	open := flag.Int("n", 100, "how many names are looked up at once")
	demo := flag.Bool("demo", false, "ask a server of its own")
	flag.Parse()

	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	conf := &evdns.Config{MaxInflight: 2 * *open, Search: []string{}}
	if *server != "" {
		conf.Servers = []string{*server}
	}
	var in io.Reader = os.Stdin
	var out io.Writer = os.Stdout
	if *demo {
		srv, err := serve()
		if err != nil {
			log.Fatal(err)
		}
		conf.Servers = []string{srv.Addr().String()}
		var names strings.Builder
		for i := range 20000 {
			fmt.Fprintf(&names, "host%d.test\n", i)
		}
		in, out = strings.NewReader(names.String()), io.Discard
	}
	r, err := evdns.NewResolver(loop, conf)
	if err != nil {
		log.Fatal(err)
	}
	c := &crawler{loop: loop, resolver: r, names: bufio.NewScanner(in), out: bufio.NewWriter(out), limit: *open}
	if err := c.run(); err != nil {
		log.Fatal(err)
	}
	if *demo && c.found != 20000 {
		log.Fatal("not all were found")
	}
}

type crawler struct {
	loop     *evchan.Loop
	resolver *evdns.Resolver
	names    *bufio.Scanner
	out      *bufio.Writer
	limit    int // how many names may be open

	open, found, missing, failed int
}

func (c *crawler) run() error {
	began := time.Now()
	progress := func() {
		done := c.found + c.missing + c.failed
		log.Printf("%d names: %d found, %d not there, %d failed; %.0f a second", done, c.found, c.missing, c.failed,
			float64(done)/time.Since(began).Seconds())
	}
	tick := c.loop.Every(time.Second)
	defer tick.Close()
	c.fill()
	for c.open > 0 {
		for ev := range c.loop.All() {
			switch ev := ev.(type) {
			case evchan.Tick:
				tick.Take()
				progress()
			case *evdns.Answer:
				c.open--
				c.answer(ev)
				c.fill()
			}
			if c.open == 0 {
				break
			}
		}
		if err := c.loop.Err(); err != nil {
			return err
		}
	}
	progress()
	if err := c.names.Err(); err != nil {
		return err
	}
	return c.out.Flush()
}

// fill looks up names until enough are open.
func (c *crawler) fill() {
	for c.open < c.limit && c.names.Scan() {
		if _, err := c.resolver.Lookup(strings.TrimSpace(c.names.Text()), "ip", nil); err != nil {
			log.Fatal(err)
		}
		c.open++
	}
}

func (c *crawler) answer(a *evdns.Answer) {
	switch {
	case a.Err == nil:
		c.found++
		fmt.Fprintln(c.out, a.Query.Host, a.Addrs)
	case isNotFound(a.Err):
		c.missing++
	default:
		c.failed++
		log.Print(a.Err)
	}
}

func isNotFound(err error) bool {
	var e *net.DNSError
	return errors.As(err, &e) && e.IsNotFound
}

// serve starts a server that knows all names. It has a loop and a goroutine of its own.
func serve() (*evdns.Server, error) {
	loop, err := evchan.New(nil)
	if err != nil {
		return nil, err
	}
	srv, err := evdns.Serve(loop, "dns", "127.0.0.1:0", &evdns.ServerConfig{ReadBuffer: 1 << 20})
	if err != nil {
		return nil, err
	}
	addrs := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	go func() {
		for ev := range loop.All() {
			if q, ok := ev.(*evdns.Request); ok {
				q.Addrs(60, addrs...)
				q.Reply(dnsmessage.RCodeSuccess)
			}
		}
	}()
	return srv, nil
}

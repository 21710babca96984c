// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Dns-example looks up names, or with -x addresses, all at once. It prints a line for each in
// the order in which the answers come. The exit status is 1 if one was not found.
//
//	go run ./evdns/examples/dns-example localhost example.com
//	go run ./evdns/examples/dns-example -x 127.0.0.1
//	go run ./evdns/examples/dns-example -s 192.0.2.53 -t MX example.com
//
// With -serve it is a server that knows one name, hello.test:
//
//	go run ./evdns/examples/dns-example -serve 127.0.0.1:5300
//	dig @127.0.0.1 -p 5300 hello.test
//
// With -demo it starts such a server and asks it.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net/netip"
	"os"
	"strings"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evdns"
	"golang.org/x/net/dns/dnsmessage"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("dns-example: ")
	reverse := flag.Bool("x", false, "look up the names of addresses")
	server := flag.String("s", "", "the `server` to ask, in place of the system's")
	resolv := flag.String("c", "", "a `file` to use in place of /etc/resolv.conf")
	typ := flag.String("t", "", "ask for records of this `type`, such as MX or TXT")
	serve := flag.String("serve", "", "be a server on this `address`")
	demo := flag.Bool("demo", false, "ask a server of its own")
	flag.Parse()

	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	conf := &evdns.Config{ResolvConf: *resolv}
	if *server != "" {
		conf.Servers = []string{*server}
	}
	names := flag.Args()
	if *demo {
		*serve = "127.0.0.1:0"
		names = []string{"hello.test", "localhost", "no.test"}
	}
	if *serve != "" {
		srv, err := evdns.Serve(loop, "dns", *serve, nil)
		if err != nil {
			log.Fatal(err)
		}
		log.Print("serving hello.test on ", srv.Addr())
		conf.Servers = []string{srv.Addr().String()}
	}
	r, err := evdns.NewResolver(loop, conf)
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range names {
		if err := ask(r, name, *reverse, *typ); err != nil {
			log.Fatal(err)
		}
	}
	found := run(os.Stdout, loop, len(names))
	if *demo && found != 2 || !*demo && found < len(names) {
		log.Fatal("not all were found")
	}
}

// types are the types that -t knows.
var types = []dnsmessage.Type{
	dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeNS, dnsmessage.TypeCNAME, dnsmessage.TypeSOA, dnsmessage.TypePTR,
	dnsmessage.TypeMX, dnsmessage.TypeTXT, dnsmessage.TypeSRV,
}

// ask sends a query. Its answer is a message of the loop.
func ask(r *evdns.Resolver, name string, reverse bool, typ string) error {
	switch {
	case reverse:
		addr, err := netip.ParseAddr(name)
		if err != nil {
			return err
		}
		_, err = r.LookupAddr(addr, nil)
		return err
	case typ != "":
		for _, t := range types {
			if t.String() == "Type"+strings.ToUpper(typ) {
				_, err := r.Query(name, t, dnsmessage.ClassINET, nil)
				return err
			}
		}
		return fmt.Errorf("type %s is not known", typ)
	}
	_, err := r.Lookup(name, "ip", nil)
	return err
}

// run serves requests, and prints answers until n have come; if n is 0, it serves for ever. It
// returns how many were found.
func run(w io.Writer, loop *evchan.Loop, n int) (found int) {
	left := n
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *evdns.Request:
			reply(ev)
		case *evdns.Answer:
			if ev.Err == nil {
				found++
			}
			print(w, ev)
			if left--; left == 0 {
				return found
			}
		}
	}
	return found
}

func print(w io.Writer, a *evdns.Answer) {
	q := a.Query
	switch {
	case a.Err != nil:
		fmt.Fprintln(w, a.Err)
	case q.Addr.IsValid():
		fmt.Fprintf(w, "%v: %s\n", q.Addr, strings.Join(a.Names, " "))
	case q.Type != 0:
		for _, rr := range a.Records() {
			fmt.Fprintf(w, "%s: %s\n", q.Host, rr.Body.GoString())
		}
	default:
		fmt.Fprintf(w, "%s:", q.Host)
		for _, addr := range a.Addrs {
			fmt.Fprint(w, " ", addr)
		}
		fmt.Fprintf(w, " (for %v)\n", a.TTL)
	}
}

// reply answers a request: hello.test has addresses, and these have its name.
func reply(q *evdns.Request) {
	q.Authoritative = true
	switch name := strings.ToLower(q.Question.Name.String()); {
	case name == "hello.test.":
		q.Addrs(60, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"))
		q.Reply(dnsmessage.RCodeSuccess)
	case name == "1.2.0.192.in-addr.arpa." && q.Question.Type == dnsmessage.TypePTR:
		q.PTR(60, "hello.test.")
		q.Reply(dnsmessage.RCodeSuccess)
	default:
		q.Reply(dnsmessage.RCodeNameError)
	}
}

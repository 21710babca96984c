// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns_test

import (
	"fmt"
	"log"
	"net/netip"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evdns"
	"golang.org/x/net/dns/dnsmessage"
)

// A server and a resolver on one loop.
func Example() {
	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	srv, err := evdns.Serve(loop, "dns", "127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	r, err := evdns.NewResolver(loop, &evdns.Config{Servers: []string{srv.Addr().String()}})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := r.Lookup("hello.test", "ip4", nil); err != nil {
		log.Fatal(err)
	}
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *evdns.Request:
			ev.Addrs(60, netip.MustParseAddr("192.0.2.1"))
			ev.Reply(dnsmessage.RCodeSuccess)
		case *evdns.Answer:
			fmt.Println(ev.Query.Host, ev.Addrs, ev.TTL)
			return
		}
	}
	// Output: hello.test [192.0.2.1] 1m0s
}

// Records of any type.
func ExampleResolver_Query() {
	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	srv, err := evdns.Serve(loop, "udp", "127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	r, err := evdns.NewResolver(loop, &evdns.Config{Servers: []string{srv.Addr().String()}})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := r.Query("hello.test", dnsmessage.TypeMX, dnsmessage.ClassINET, nil); err != nil {
		log.Fatal(err)
	}
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *evdns.Request:
			ev.Answer(dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: ev.Question.Name, TTL: 60},
				Body:   &dnsmessage.MXResource{Pref: 10, MX: dnsmessage.MustNewName("mail.test.")},
			})
			ev.Reply(dnsmessage.RCodeSuccess)
		case *evdns.Answer:
			for _, rr := range ev.Records() {
				if mx, ok := rr.Body.(*dnsmessage.MXResource); ok {
					fmt.Println(mx.Pref, mx.MX)
				}
			}
			return
		}
	}
	// Output: 10 mail.test.
}

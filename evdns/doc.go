// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Package evdns looks up names in an event loop, and serves DNS. Answers and requests are
// messages in the same range as everything else, and no goroutine waits for them.
//
// This program prints the addresses of some hosts, all looked up at once:
//
//	loop, err := evchan.New(nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	r, err := evdns.NewResolver(loop, nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	for _, host := range os.Args[1:] {
//		r.Lookup(host, "ip", nil)
//	}
//	for range os.Args[1:] {
//		switch ev := (<-loop.Events()).(type) {
//		case *evdns.Answer:
//			fmt.Println(ev.Query.Host, ev.Addrs, ev.Err)
//		}
//	}
//
// # The resolver
//
// A [Resolver] asks the name servers of resolv.conf, or those that you name. [Resolver.Lookup]
// is for the addresses of a host, [Resolver.LookupAddr] for the names of an address,
// [Resolver.Query] for records of any type. Each returns a [Query] at once; an [Answer]
// follows, unless Query.Close is called before. What the system's files say means the same as
// to package net: the hosts file, the search list, the order of nsswitch.conf, errors.
//
// The resolver is a stub: it asks servers that ask others. It does this about servers:
//
//   - A question that is not answered in time is sent to the next server. A server that
//     leaves several unanswered is down: it is asked only if no other is left, and probed until
//     it answers again.
//   - Questions go by UDP, with EDNS if the server understands it. A truncated answer is
//     asked for again by TCP, where questions share a connection.
//   - Equal questions are asked once at a time. At most Config.MaxInflight questions are
//     under way.
//   - Answers are kept for their TTL, within a bound of memory; those that are used often are
//     asked for again before they end. That there is no such name is kept as well (RFC 2308).
//
// It does this so that answers cannot be forged easily. Each server is asked from 16 ports
// that the system chooses at random, and that change. The id of a question is random, and so
// are the capital and small letters in its name. An answer must come from the server that was
// asked, and have the id, the question and its letters. Of its records only those are believed
// that the question leads to. None of this protects against somebody who sees the questions:
// use a server by TLS for that. Signatures (DNSSEC) are not checked; Answer.AuthenticData is
// what the server says about them.
//
// To ask by TLS, give the server as "tls://9.9.9.9#dns.quad9.net". The certificate must be for
// the name after the #. Questions share one connection, and are padded.
//
// To dial a host whose name the resolver looks up, use it in evchan.DialConfig:
//
//	s, err := loop.Dial("tcp", "example.com:80", &evchan.DialConfig{Names: r})
//
// Then all of it happens in the loop: the look-up, and the race of the addresses.
//
// # The server
//
// [Serve] answers questions by UDP and TCP. Each is a [Request]:
//
//	srv, err := evdns.Serve(loop, "dns", "127.0.0.1:5300", nil)
//	...
//	case *evdns.Request:
//		if ev.Question.Name.String() != "example.test." {
//			ev.Reply(dnsmessage.RCodeNameError)
//			break
//		}
//		ev.Addrs(60, netip.MustParseAddr("192.0.2.1")) // for one minute
//		ev.Reply(dnsmessage.RCodeSuccess)
//
// A request may be answered later, from any goroutine. Replies by UDP that are made one after
// the other leave with one system call, and come from the address that was asked. By TCP a
// client may have several questions open, which may be answered in any order. What is no
// question is answered by the server itself: malformed messages with FORMERR, other operations
// than queries with NOTIMP.
//
// A server by TLS has ServerConfig.Over, for which package evtls has a function.
//
// A server on the Internet should set ServerConfig.RateLimit. Otherwise an attacker can send it
// questions with the address of a victim as the sender, and the victim gets the answers.
//
// # Concurrency
//
// All methods are safe for concurrent use, except that a Request is for one goroutine at a
// time. None of them waits. The work is done where messages are delivered: by the receiver
// with All and Poll, by the loop's goroutine with Events. So a program that leaves its
// messages unread gets no answers.
//
// # Beside libevent
//
// The options of evdns_base_set_option are fields of [Config], and [Config.SetOption] takes
// them by their names. evdns_getaddrinfo is Lookup; service names are left to net.LookupPort.
// evdns_base_clear_nameservers_and_suspend and evdns_base_resume are [Resolver.SetServers]. An
// answer whose letters differ from the question's does not count here, and several addresses
// are in the order of RFC 6724.
package evdns

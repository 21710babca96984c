// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/evchan/evchan"
	"github.com/miekg/dns"
)

// Dial looks up and connects in the loop.
func TestDial(t *testing.T) {
	loop := newLoop(t)
	s := newServer(t, zoneFunc(map[string][]string{
		"here.test. A":    {"$ 60 IN A 127.0.0.1"},
		"here.test. AAAA": {"$ 60 IN AAAA 2001:db8::1"},
	}))
	r := newResolver(t, loop, nil, s)
	ln, err := loop.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	conf := &evchan.DialConfig{Names: r}
	limit := time.AfterFunc(testLimit, func() { loop.Close() })
	defer limit.Stop()

	up, err := loop.Dial("tcp", fmt.Sprintf("here.test:%d", port), conf)
	if err != nil {
		t.Fatal(err)
	}
	missing, err := loop.Dial("tcp", fmt.Sprintf("no.test:%d", port), conf)
	if err != nil {
		t.Fatal(err)
	}
	connected, failed := false, false
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case evchan.Connected:
			if ev.Stream != up {
				t.Errorf("connected: %v", ev)
			}
			connected = true
		case evchan.Closed:
			var e *net.DNSError
			if ev.Stream != missing || !errors.As(ev.Stream.Err(), &e) || !e.IsNotFound {
				t.Errorf("closed: %v", ev.Stream.Err())
			}
			failed = true
		case evchan.Accepted:
		default:
			t.Errorf("received %v", ev)
		}
		if connected && failed {
			break
		}
	}
	if !connected || !failed {
		t.Errorf("connected %v, failed %v", connected, failed)
	}

	// Close ends the look-up.
	s.setAnswer(func(string, *dns.Msg) *dns.Msg { return nil })
	waits, err := loop.Dial("tcp", fmt.Sprintf("waits.test:%d", port), conf)
	if err != nil {
		t.Fatal(err)
	}
	waits.Close()
	if n := len(r.underway); n != 0 {
		t.Errorf("%d questions are under way", n)
	}
	// And the resolver's Close ends the stream.
	waits, err = loop.Dial("tcp", fmt.Sprintf("waits.test:%d", port), conf)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if err := waits.Err(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// What LookupHost is asked, it answers once.
func TestLookupHost(t *testing.T) {
	loop := newLoop(t)
	r := newResolver(t, loop, &Config{Servers: []string{}})
	type result struct {
		addrs []netip.Addr
		err   error
	}
	var got []result
	done := func(addrs []netip.Addr, err error) {
		r.Servers() // no lock is held
		got = append(got, result{addrs, err})
	}
	r.LookupHost("ip4", "localhost", done)
	r.LookupHost("tcp", "localhost", done)
	cancel := r.LookupHost("ip", "waits.test", done)
	cancel()
	cancel()
	r.LookupHost("ip", "closed.test", done)
	r.Close()
	r.LookupHost("ip", "late.test", done)
	if len(got) != 4 || addrsString(got[0].addrs) != "127.0.0.1" || got[1].err == nil || !errors.Is(got[2].err, net.ErrClosed) || got[3].err != evchan.ErrClosed {
		t.Errorf("got %v", got)
	}
}

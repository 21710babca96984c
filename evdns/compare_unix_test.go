// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evdns

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/evchan/evchan"
	"github.com/miekg/dns"
	"golang.org/x/net/dns/dnsmessage"
)

var (
	compareNames = flag.Int("compare.names", 0, "look up so many names with each library, and print what it costs")
	compareOpen  = flag.Int("compare.open", 100, "how many names -compare.names looks up at once")
)

const compareEnv = "EVDNS_TEST_COMPARE"

// What a name costs, beside package net's resolver and miekg/dns's server. The times are those
// of the processor, of the process that does the work.
func TestCompare(t *testing.T) {
	if kind := os.Getenv(compareEnv); kind != "" {
		compareServer(kind)
		return
	}
	n := *compareNames
	if n == 0 {
		t.Skip("without -compare.names: it would take long")
	}
	_, stop := startCompareServer(t, "warm")
	stop()
	addr, stop := startCompareServer(t, "evdns")
	cost := func(name string, f func()) {
		runtime.GC()
		before := cpuTime()
		f()
		fmt.Printf("resolver %s: %.2f µs a name\n", name, float64((cpuTime()-before).Nanoseconds())/1000/float64(n))
	}
	cost("package net", func() { lookupByNet(t, addr, n, *compareOpen) })
	cost("evdns", func() { lookupByLoop(t, addr, n, *compareOpen) })
	stop()
	compareMemory(t)
	for _, kind := range []string{"miekg", "evdns"} {
		addr, stop := startCompareServer(t, kind)
		lookupByLoop(t, addr, n, *compareOpen)
		used := stop()
		fmt.Printf("server %s: %.2f µs a question\n", kind, float64(used.Nanoseconds())/1000/float64(2*n))
	}
}

// compareMemory prints what names need that are being looked up and not answered.
func compareMemory(t *testing.T) {
	const open = 500
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	addr := silent.LocalAddr().String()
	used := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc + m.StackInuse)
	}

	before := used()
	ctx, cancel := context.WithCancel(context.Background())
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	var wg sync.WaitGroup
	for i := range open {
		wg.Go(func() { r.LookupNetIP(ctx, "ip", fmt.Sprintf("host%d.test.", i)) })
	}
	time.Sleep(500 * time.Millisecond) // for all to be asked
	fmt.Printf("memory package net: %d bytes a name\n", (used()-before)/open)
	cancel()
	wg.Wait()

	before = used()
	loop := newLoop(t)
	own, err := NewResolver(loop, &Config{Servers: []string{addr}, MaxInflight: 2 * open})
	if err != nil {
		t.Fatal(err)
	}
	for i := range open {
		own.Lookup(fmt.Sprintf("host%d.test.", i), "ip", nil)
	}
	loop.Poll(0)
	fmt.Printf("memory evdns: %d bytes a name\n", (used()-before)/open)
	loop.Close()
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// startCompareServer starts a server in a process of its own. stop ends it, and returns the
// processor time that it has used.
func startCompareServer(t *testing.T, kind string) (addr string, stop func() time.Duration) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCompare$")
	cmd.Env = append(os.Environ(), compareEnv+"="+kind)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	return lines.Text(), func() (used time.Duration) {
		in.Close()
		lines.Scan()
		fmt.Sscan(lines.Text(), (*int64)(&used))
		cmd.Wait()
		return used
	}
}

// compareServer serves until its input ends.
func compareServer(kind string) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	if kind == "miekg" {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		server := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			m := new(dns.Msg).SetReply(q)
			m.Compress = true
			h := dns.RR_Header{Name: q.Question[0].Name, Class: dns.ClassINET, Ttl: 60, Rrtype: q.Question[0].Qtype}
			if h.Rrtype == dns.TypeA {
				m.Answer = append(m.Answer, &dns.A{Hdr: h, A: v4.AsSlice()})
			} else {
				m.Answer = append(m.Answer, &dns.AAAA{Hdr: h, AAAA: v6.AsSlice()})
			}
			if q.IsEdns0() != nil {
				m.SetEdns0(1232, false)
			}
			w.WriteMsg(m)
		})}
		go server.ActivateAndServe()
		fmt.Println(pc.LocalAddr())
	} else {
		loop, err := evchan.New(nil)
		if err != nil {
			panic(err)
		}
		s, err := Serve(loop, "udp", "127.0.0.1:0", nil)
		if err != nil {
			panic(err)
		}
		go func() {
			for ev := range loop.All() {
				q := ev.(*Request)
				q.Addrs(60, v4, v6)
				q.Reply(dnsmessage.RCodeSuccess)
			}
		}()
		fmt.Println(s.Addr())
	}
	before := cpuTime()
	io.Copy(io.Discard, os.Stdin)
	fmt.Println(int64(cpuTime() - before))
	os.Exit(0)
}

func lookupByNet(t *testing.T, addr string, n, open int) {
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	names := make(chan string)
	var wg sync.WaitGroup
	for range open {
		wg.Go(func() {
			for name := range names {
				if addrs, err := r.LookupNetIP(context.Background(), "ip", name); err != nil || len(addrs) != 2 {
					t.Error(addrs, err)
				}
			}
		})
	}
	for i := range n {
		names <- fmt.Sprintf("host%d.test.", i)
	}
	close(names)
	wg.Wait()
}

func lookupByLoop(t *testing.T, addr string, n, open int) {
	loop := newLoop(t)
	defer loop.Close()
	r, err := NewResolver(loop, &Config{Servers: []string{addr}, MaxInflight: 2 * open})
	if err != nil {
		t.Fatal(err)
	}
	asked, answered := 0, 0
	ask := func() {
		if asked < n {
			r.Lookup(fmt.Sprintf("host%d.test.", asked), "ip", nil)
			asked++
		}
	}
	for range open {
		ask()
	}
	for ev := range loop.All() {
		a := ev.(*Answer)
		if a.Err != nil || len(a.Addrs) == 0 { // one family may get lost
			t.Error(strings.TrimSpace(fmt.Sprint(a.Addrs, a.Err)))
		}
		ask()
		if answered++; answered == n {
			break
		}
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evchan/evchan"
	"github.com/miekg/dns"
	"golang.org/x/net/dns/dnsmessage"
)

var testZone = map[string][]string{
	"v4.test. A":      {"$ 60 IN A 192.0.2.1"},
	"both.test. A":    {"$ 60 IN A 192.0.2.2"},
	"both.test. AAAA": {"$ 30 IN AAAA 2001:db8::2"},
	"alias.test. A":   {"$ 10 IN CNAME v4.test.", "v4.test. 60 IN A 192.0.2.1"},
	"mail.test. MX":   {"$ 60 IN MX 10 v4.test."},

	"1.2.0.192.in-addr.arpa. PTR": {"$ 60 IN PTR v4.test."},
	"2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR": {"$ 60 IN PTR both.test."},
}

func TestLookup(t *testing.T) {
	loop := newLoop(t)
	s := newServer(t, zoneFunc(testZone))
	r := newResolver(t, loop, nil, s)

	a := lookup(t, r, "v4.test", "ip", &QueryConfig{Data: 7})
	if a.Err != nil || addrsString(a.Addrs) != "192.0.2.1" || a.TTL != 60*time.Second || a.CanonicalName != "v4.test." ||
		a.Server != s.addr || a.Cached || a.Query.Data != 7 {
		t.Errorf("v4.test: %+v", a)
	}
	if got := strings.Join(s.questions(), ", "); got != "udp v4.test. A, udp v4.test. AAAA" && got != "udp v4.test. AAAA, udp v4.test. A" {
		t.Errorf("asked: %s", got)
	}

	a = lookup(t, r, "Both.Test.", "ip", nil)
	slices.SortFunc(a.Addrs, netip.Addr.Compare)
	if a.Err != nil || addrsString(a.Addrs) != "192.0.2.2 2001:db8::2" || a.TTL != 30*time.Second {
		t.Errorf("both.test: %+v", a)
	}
	a = lookup(t, r, "alias.test", "ip4", nil)
	if a.Err != nil || addrsString(a.Addrs) != "192.0.2.1" || a.TTL != 10*time.Second || a.CanonicalName != "v4.test." {
		t.Errorf("alias.test: %+v", a)
	}
	if rrs := a.Records(); len(rrs) != 2 || rrs[0].Header.Type != dnsmessage.TypeCNAME || rrs[1].Header.Type != dnsmessage.TypeA {
		t.Errorf("records of alias.test: %v", rrs)
	}

	// Negative answers: no such name, and none of that kind.
	for name, rcode := range map[string]dnsmessage.RCode{"no.test": dnsmessage.RCodeNameError, "mail.test": dnsmessage.RCodeSuccess} {
		a = lookup(t, r, name, "ip", nil)
		var e *net.DNSError
		if !errors.As(a.Err, &e) || !e.IsNotFound || e.IsTimeout || e.IsTemporary || e.Name != name || e.Server != s.addr.String() ||
			a.RCode != rcode || a.TTL != 300*time.Second {
			t.Errorf("%s: %+v %+v", name, a.Err, a)
		}
	}

	// All of that is in the cache.
	s.questions()
	before := r.Stats()
	for _, name := range []string{"v4.test", "both.test", "no.test", "mail.test"} {
		if a := lookup(t, r, name, "ip", nil); !a.Cached || a.Stale {
			t.Errorf("%s: %+v, want it from the cache", name, a)
		}
	}
	if asked := s.questions(); len(asked) > 0 {
		t.Errorf("asked again: %v", asked)
	}
	got := r.Stats()
	if got.Asked != before.Asked || got.Hits != before.Hits+8 || got.Misses != before.Misses || got.Entries != 9 || got.Inflight+got.Waiting != 0 || got.CacheBytes == 0 {
		t.Errorf("before: %+v, after: %+v", before, got)
	}
}

func TestLookupAddrAndQuery(t *testing.T) {
	loop := newLoop(t)
	s := newServer(t, zoneFunc(testZone))
	r := newResolver(t, loop, nil, s)
	for addr, want := range map[string]string{"192.0.2.1": "v4.test.", "2001:db8::2": "both.test."} {
		if _, err := r.LookupAddr(netip.MustParseAddr(addr), nil); err != nil {
			t.Fatal(err)
		}
		if a := answers(t, loop, 1)[0]; a.Err != nil || len(a.Names) != 1 || a.Names[0] != want {
			t.Errorf("%s: %+v", addr, a)
		}
	}
	a := query(t, r, "mail.test", dnsmessage.TypeMX, nil)
	rrs := a.Records()
	if a.Err != nil || len(rrs) != 1 {
		t.Fatalf("%+v", a)
	}
	if mx, ok := rrs[0].Body.(*dnsmessage.MXResource); !ok || mx.MX.String() != "v4.test." || mx.Pref != 10 {
		t.Errorf("got %v", rrs)
	}
}

// What needs no server.
func TestLookupWithoutServer(t *testing.T) {
	loop := newLoop(t)
	r := newResolver(t, loop, &Config{
		Servers: []string{}, // suspended
		Hosts:   writeFile(t, "hosts", "192.0.2.9 one.test one\n2001:db8::9 one.test\n"),
	})
	for _, tt := range []struct{ host, network, want string }{
		{"192.0.2.77", "ip", "192.0.2.77"},
		{"2001:db8::77", "ip6", "2001:db8::77"},
		{"fe80::1%lo", "ip", "fe80::1%lo"},
		{"192.0.2.77", "ip6", "no suitable address found"},
		{"localhost", "ip4", "127.0.0.1"},
		{"a.LocalHost.", "ip6", "::1"},
		{"ONE.test", "ip4", "192.0.2.9"},
		{"one.test.", "ip6", "2001:db8::9"},
		{"one", "ip6", "no suitable address found"},
		{"", "ip", "no such host"},
		{"a..b", "ip", "no such host"},
		{"1.2.3", "ip", "no such host"},
		{"x.onion", "ip", "no such host"},
		{strings.Repeat("a", 64) + ".test", "ip", "no such host"},
	} {
		a := lookup(t, r, tt.host, tt.network, nil)
		got := addrsString(a.Addrs)
		if e, ok := a.Err.(*net.DNSError); ok {
			got = e.Err
		}
		if got != tt.want || a.Server.IsValid() {
			t.Errorf("%s %s: got %q, want %q", tt.host, tt.network, got, tt.want)
		}
	}
	if _, err := r.Lookup("a", "tcp", nil); err == nil {
		t.Error("Lookup with network tcp: no error")
	}
	if _, err := r.Query("a..b", dnsmessage.TypeA, dnsmessage.ClassINET, nil); err == nil {
		t.Error("Query of a..b: no error")
	}
	if _, err := r.LookupAddr(netip.Addr{}, nil); err == nil {
		t.Error("LookupAddr of nothing: no error")
	}
}

// The search list is tried in its order.
func TestSearch(t *testing.T) {
	loop := newLoop(t)
	s := newServer(t, zoneFunc(map[string][]string{"host.b.test. A": {"$ 60 IN A 192.0.2.1"}}))
	r := newResolver(t, loop, &Config{Search: []string{"a.test", "b.test", "c.test"}}, s)
	a := lookup(t, r, "host", "ip4", nil)
	if addrsString(a.Addrs) != "192.0.2.1" || a.CanonicalName != "host.b.test." {
		t.Errorf("got %+v", a)
	}
	if got, want := strings.Join(s.questions(), ", "), "udp host.a.test. A, udp host.b.test. A"; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
	a = lookup(t, r, "host", "ip4", &QueryConfig{NoSearch: true})
	if got, want := strings.Join(s.questions(), ", "), "udp host. A"; a.Err == nil || got != want {
		t.Errorf("without search: asked %s, want %s", got, want)
	}
	a = lookup(t, r, "no", "ip4", nil)
	if e, ok := a.Err.(*net.DNSError); !ok || e.Name != "no" || !e.IsNotFound {
		t.Errorf("got %v", a.Err)
	}
	if got, want := strings.Join(s.questions(), ", "), "udp no.a.test. A, udp no.b.test. A, udp no.c.test. A, udp no. A"; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
}

// One family may be missing, or fail.
func TestOneFamily(t *testing.T) {
	loop := newLoop(t)
	s := newServer(t, func(_ string, q *dns.Msg) *dns.Msg {
		if q.Question[0].Qtype == dns.TypeAAAA {
			return nil
		}
		return replyTo(q, "$ 60 IN A 192.0.2.1")
	})
	r := newResolver(t, loop, &Config{Skew: 10 * time.Millisecond}, s)
	if a := lookup(t, r, "host.test", "ip", nil); addrsString(a.Addrs) != "192.0.2.1" {
		t.Errorf("got %+v", a)
	}
}

// A truncated answer is asked for again by TCP.
func TestTruncated(t *testing.T) {
	loop := newLoop(t)
	s := newServer(t, func(network string, q *dns.Msg) *dns.Msg {
		m := replyTo(q, "$ 60 IN A 192.0.2.1")
		if network == "udp" {
			m.Truncated, m.Answer = true, nil
		}
		return m
	})
	r := newResolver(t, loop, nil, s)
	if a := lookup(t, r, "a.test", "ip4", nil); addrsString(a.Addrs) != "192.0.2.1" || a.Truncated {
		t.Errorf("got %+v", a)
	}
	if a := lookup(t, r, "b.test", "ip4", &QueryConfig{IgnoreTruncation: true}); a.Err == nil || !a.Truncated {
		t.Errorf("with IgnoreTruncation: got %+v", a)
	}
	s.questions()
	lookup(t, r, "c.test", "ip4", &QueryConfig{UseTCP: true})
	if got, want := strings.Join(s.questions(), ", "), "tcp c.test. A"; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
}

// Many questions by one connection, which is closed when it is idle.
func TestTCPPipeline(t *testing.T) {
	loop := newLoop(t)
	s := newServer(t, zoneFunc(testZone))
	r := newResolver(t, loop, &Config{UseTCP: true, MaxInflight: 100, CacheSize: -1}, s)
	for range 30 {
		r.Lookup("v4.test", "ip4", nil)
		r.Lookup("both.test", "ip", nil)
		r.Lookup("no.test", "ip", nil)
	}
	for _, a := range answers(t, loop, 90) {
		if (a.Err != nil) != (a.Query.Host == "no.test") {
			t.Errorf("got %v", a)
		}
	}
}

// A server that does not answer is asked again, is down after a while, and is found to be
// up again.
func TestServerDownAndUp(t *testing.T) {
	loop := newLoop(t)
	s := newServer(t, func(string, *dns.Msg) *dns.Msg { return nil })
	r := newResolver(t, loop, &Config{Timeout: time.Millisecond, MaxTimeouts: 2, ProbeInterval: time.Millisecond, ProbeBackoff: 1, Attempts: 2, CacheSize: -1}, s)
	a := lookup(t, r, "v4.test", "ip4", nil)
	if e, ok := a.Err.(*net.DNSError); !ok || !e.IsTimeout || !e.IsTemporary || e.IsNotFound {
		t.Errorf("got %v", a.Err)
	}
	if !r.isDown(0) {
		t.Error("the server is not down")
	}
	s.setAnswer(zoneFunc(testZone))
	r.mu.Lock()
	r.set.Timeout = testLimit // of the probes as well
	r.mu.Unlock()
	// The probe makes it up; nothing else is asked.
	for until := time.Now().Add(testLimit); r.isDown(0) && time.Now().Before(until); {
		loop.Poll(10 * time.Millisecond)
	}
	if r.isDown(0) {
		t.Error("the server stays down")
	}
	if a := lookup(t, r, "v4.test", "ip4", nil); a.Err != nil {
		t.Error(a.Err)
	}
}

func (r *Resolver) isDown(i int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.servers[i].down
}

// When a server cannot or does not want to answer, another one is asked.
func TestReissue(t *testing.T) {
	for _, rcode := range []int{dns.RcodeServerFailure, dns.RcodeRefused, dns.RcodeNotImplemented, dns.RcodeFormatError} {
		loop := newLoop(t)
		bad := newServer(t, func(_ string, q *dns.Msg) *dns.Msg { return new(dns.Msg).SetRcode(q, rcode) })
		good := newServer(t, zoneFunc(testZone))
		r := newResolver(t, loop, nil, bad, good)
		if a := lookup(t, r, "v4.test", "ip4", nil); a.Err != nil || a.Server != good.addr {
			t.Errorf("%s: %+v", dns.RcodeToString[rcode], a)
		}
		r = newResolver(t, loop, nil, bad)
		a := lookup(t, r, "v4.test", "ip4", nil)
		if e, ok := a.Err.(*net.DNSError); !ok || e.Err != "server misbehaving" || e.IsNotFound || e.IsTemporary != (rcode == dns.RcodeServerFailure) {
			t.Errorf("%s: %v", dns.RcodeToString[rcode], a.Err)
		}
	}
}

// A server that cannot be reached is noticed at once.
func TestRefused(t *testing.T) {
	loop := newLoop(t)
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := pc.LocalAddr().String()
	pc.Close()
	good := newServer(t, zoneFunc(testZone))
	r := newResolver(t, loop, &Config{Servers: []string{closed}, Timeout: testLimit}, good)
	if a := lookup(t, r, "v4.test", "ip", nil); a.Err != nil || a.Server != good.addr {
		t.Errorf("got %+v", a)
	}
	r = newResolver(t, loop, &Config{Servers: []string{closed}, Timeout: testLimit})
	if a := lookup(t, r, "v4.test", "ip", nil); a.Err == nil || !strings.Contains(a.Err.Error(), "refused") {
		t.Errorf("got %+v", a)
	}
}

// However few may be under way, all are answered.
func TestMaxInflight(t *testing.T) {
	loop := newLoop(t)
	s := newServer(t, zoneFunc(testZone))
	r := newResolver(t, loop, &Config{MaxInflight: 3, CacheSize: -1}, s)
	for range 20 {
		r.Lookup("v4.test", "ip4", nil)
		r.Lookup("both.test", "ip", nil)
	}
	for _, a := range answers(t, loop, 40) {
		if a.Err != nil {
			t.Error(a.Err)
		}
	}
}

// Equal questions are under way once.
func TestJoin(t *testing.T) {
	loop := newLoop(t)
	s := newServer(t, zoneFunc(testZone))
	r := newResolver(t, loop, &Config{CacheSize: -1}, s)
	for range 20 {
		r.Lookup("v4.test", "ip4", nil)
	}
	answers(t, loop, 20)
	if n := len(s.questions()); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

// What was closed is not answered, and all else is, once.
func TestQueryClose(t *testing.T) {
	loop := newLoop(t)
	s := newServer(t, zoneFunc(testZone))
	r := newResolver(t, loop, &Config{MaxInflight: 10, CacheSize: 1}, s)
	want := map[*Query]bool{}
	var all []*Query
	for i := range 1000 {
		host := []string{"v4.test", "both.test", "no.test", "localhost"}[i%4]
		q, err := r.Lookup(host, "ip", nil)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, q)
		want[q] = true
	}
	drop := func(q *Query) {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		delete(want, q)
	}
	for i := 0; i < 1000; i += 3 {
		drop(all[i])
	}
	limit := time.AfterFunc(testLimit, func() { loop.Close() })
	defer limit.Stop()
	last := 999
	for ev := range loop.All() {
		a := ev.(*Answer)
		if !want[a.Query] {
			t.Fatalf("got %v, which was closed or is the second", a)
		}
		delete(want, a.Query)
		if last > 0 && want[all[last]] {
			drop(all[last])
			last -= 7
		}
		if len(want) == 0 {
			break
		}
	}
	if len(want) != 0 {
		t.Errorf("%d are not answered", len(want))
	}
	if r.inflight != 0 || len(r.underway) != 0 {
		t.Errorf("%d are in flight, %d under way; want none", r.inflight, len(r.underway))
	}
}

// Close fails what is not answered.
func TestResolverClose(t *testing.T) {
	loop := newLoop(t)
	s := newServer(t, func(string, *dns.Msg) *dns.Msg { return nil })
	r := newResolver(t, loop, &Config{MaxInflight: 3}, s)
	for range 10 {
		r.Lookup("v4.test", "ip", nil)
		r.Query("v4.test", dnsmessage.TypeMX, dnsmessage.ClassINET, nil)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	for _, a := range answers(t, loop, 20) {
		if !errors.Is(a.Err, net.ErrClosed) {
			t.Errorf("got %v", a.Err)
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if q, err := r.Lookup("v4.test", "ip", nil); err != evchan.ErrClosed || q != nil {
		t.Errorf("Lookup after Close: %v, %v", q, err)
	}
}

// A resolver does not keep the loop alive, a query does.
func TestExitOnEmpty(t *testing.T) {
	loop, err := evchan.New(&evchan.Config{ExitOnEmpty: true})
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	s := newServer(t, zoneFunc(testZone))
	r := newResolver(t, loop, nil, s)
	r.Lookup("v4.test", "ip", nil)
	n := 0
	for ev := range loop.All() {
		if a, ok := ev.(*Answer); !ok || a.Err != nil {
			t.Errorf("got %v", ev)
		}
		n++
	}
	if n != 1 {
		t.Errorf("%d answers, want 1", n)
	}
}

func TestNotify(t *testing.T) {
	loop := newLoop(t)
	s := newServer(t, zoneFunc(testZone))
	r := newResolver(t, loop, nil, s)
	events := loop.Events()
	ch := make(chan evchan.Event)
	q, err := r.Lookup("v4.test", "ip4", &QueryConfig{Notify: ch})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case ev := <-ch:
		if a, ok := ev.(*Answer); !ok || a.Query != q {
			t.Errorf("got %v", ev)
		}
	case ev := <-events:
		t.Errorf("got %v by Events", ev)
	case <-time.After(testLimit):
		t.Error("no answer")
	}
}

// SetServers without servers suspends, and with servers goes on.
func TestSetServers(t *testing.T) {
	loop := newLoop(t)
	silent := newServer(t, func(string, *dns.Msg) *dns.Msg { return nil })
	s := newServer(t, zoneFunc(testZone))
	r := newResolver(t, loop, nil, silent)
	r.Lookup("v4.test", "ip4", nil)
	if err := r.SetServers(); err != nil {
		t.Fatal(err)
	}
	r.Lookup("both.test", "ip4", nil)
	if got := r.Servers(); len(got) != 0 {
		t.Errorf("servers: %v", got)
	}
	for range 100 { // what was closed leaves nothing
		if q, err := r.Lookup("alias.test", "ip", nil); err != nil || q.Close() != nil {
			t.Fatal(err)
		}
	}
	if got := r.Stats(); got.Waiting != 2 {
		t.Errorf("%d questions wait, want 2", got.Waiting)
	}
	if x := r.waiting.head; x == nil || x.next == nil || x.next.next != nil {
		t.Error("not two exchanges wait")
	}
	if err := r.SetServers(s.addr.String()); err != nil {
		t.Fatal(err)
	}
	for _, a := range answers(t, loop, 2) {
		if a.Err != nil {
			t.Error(a.Err)
		}
	}
	if err := r.SetServers("nonsense"); err == nil {
		t.Error("SetServers with nonsense: no error")
	}
}

// A query that is closed between two names of the search list asks no more.
func TestSearchClose(t *testing.T) {
	loop := newLoop(t)
	closed := make(chan *Query, 1)
	s := newServer(t, func(_ string, q *dns.Msg) *dns.Msg {
		(<-closed).Close()
		return noName(q, "test.")
	})
	r := newResolver(t, loop, &Config{Search: []string{"a.test", "b.test"}}, s)
	q, err := r.Lookup("host", "ip4", nil)
	if err != nil {
		t.Fatal(err)
	}
	closed <- q
	for until := time.Now().Add(testLimit); len(s.questions()) == 0 && time.Now().Before(until); {
		loop.Poll(time.Millisecond)
	}
	s.setAnswer(zoneFunc(testZone))
	if a := lookup(t, r, "v4.test.", "ip4", nil); a.Err != nil {
		t.Error(a.Err)
	}
	if asked := s.questions(); len(asked) != 1 {
		t.Errorf("asked %v, want v4.test only", asked)
	}
}

// The intervals between probes, up to the limit.
func TestProbeIntervals(t *testing.T) {
	for _, tt := range []struct {
		conf Config
		want string
	}{
		{Config{}, "10s 30s 1m30s 4m30s 13m30s 40m30s 1h0m0s 1h0m0s"},
		{Config{ProbeInterval: time.Second, ProbeBackoff: 10, MaxProbeInterval: time.Minute}, "1s 10s 1m0s 1m0s 1m0s 1m0s 1m0s 1m0s"},
		{Config{MaxProbeInterval: 2 * time.Second}, "2s 2s 2s 2s 2s 2s 2s 2s"},
	} {
		loop := newLoop(t)
		tt.conf.Servers = []string{"192.0.2.1"}
		r := newResolver(t, loop, &tt.conf)
		r.mu.Lock()
		s, now := r.servers[0], time.Now()
		for range 3 {
			s.timedOut(now)
		}
		var got []string
		for range 8 {
			got = append(got, s.alarm.at.Sub(now).String())
			s.probed(false, now)
		}
		s.works()
		if s.down || s.alarm.index != 0 {
			t.Error("the server is not up")
		}
		r.mu.Unlock()
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

// Timeouts and errors of servers are not kept.
func TestFailuresAreNotKept(t *testing.T) {
	loop := newLoop(t)
	for name, answer := range map[string]func(string, *dns.Msg) *dns.Msg{
		"timeout":  func(string, *dns.Msg) *dns.Msg { return nil },
		"SERVFAIL": func(_ string, q *dns.Msg) *dns.Msg { return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure) },
	} {
		s := newServer(t, answer)
		r := newResolver(t, loop, &Config{Timeout: time.Millisecond, Attempts: 1, ProbeInterval: time.Hour}, s)
		if a := lookup(t, r, "v4.test", "ip4", nil); a.Err == nil {
			t.Errorf("%s: got %v", name, a)
		}
		s.setAnswer(zoneFunc(testZone))
		r.mu.Lock()
		r.set.Timeout = testLimit
		r.mu.Unlock()
		if a := lookup(t, r, "v4.test", "ip4", nil); a.Err != nil {
			t.Errorf("%s: %v", name, a.Err)
		}
	}
}

// Names of the greatest length, in questions, CNAMEs and answers.
func TestLongNames(t *testing.T) {
	long := strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("b", 61) + "."
	target := strings.Repeat("c.", 127)
	loop := newLoop(t)
	s := newServer(t, func(_ string, q *dns.Msg) *dns.Msg {
		return replyTo(q, "$ 60 IN CNAME "+target, target+" 60 IN A 192.0.2.1")
	})
	r := newResolver(t, loop, nil, s)
	for range 2 {
		if a := lookup(t, r, long, "ip4", nil); a.CanonicalName != target || len(a.Addrs) != 1 {
			t.Errorf("got %+v", a)
		}
	}
	if _, err := r.Query("a."+long, 1, 1, nil); err == nil {
		t.Error("Query of a name that is too long: no error")
	}
}

// Close leaves no socket, also where a probe or a prefetch waits for its answer.
func TestResolverCloseLeavesNothing(t *testing.T) {
	loop := newLoop(t)
	s := newServer(t, func(string, *dns.Msg) *dns.Msg { return nil })
	r := newResolver(t, loop, &Config{Timeout: testLimit, ProbeInterval: time.Nanosecond}, s)
	r.mu.Lock()
	now := time.Now()
	for range 3 {
		r.servers[0].timedOut(now)
	}
	r.servers[0].expired(now)
	r.start(newExchange(r, ask{question: question{"v4.test.", dnsmessage.TypeA, dnsmessage.ClassINET}}), now)
	n := len(r.servers[0].sockets)
	r.mu.Unlock()
	if n == 0 {
		t.Error("no socket is open")
	}
	r.Close()
	for src := range loop.Sources() {
		t.Errorf("%v is left", src)
	}
}

// What a server cannot do is tried again after a while.
func TestRelearn(t *testing.T) {
	loop := newLoop(t)
	r := newResolver(t, loop, &Config{Servers: []string{"192.0.2.1"}})
	r.mu.Lock()
	defer r.mu.Unlock()
	s, now := r.servers[0], time.Now()
	s.noEDNS, s.noMix = true, true
	s.learnt(now)
	s.forget(now.Add(relearnInterval))
	if !s.noEDNS || !s.noMix {
		t.Error("forgotten too early")
	}
	s.forget(now.Add(relearnInterval + 1))
	if s.noEDNS || s.noMix {
		t.Error("not forgotten")
	}
}

func TestResolverSetPriority(t *testing.T) {
	loop, err := evchan.New(&evchan.Config{Priorities: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	s := newServer(t, zoneFunc(testZone))
	r := newResolver(t, loop, nil, s)
	if err := r.SetPriority(4); err == nil {
		t.Error("a lane that the loop does not have: no error")
	}
	for _, p := range []int{0, 3} {
		if err := r.SetPriority(p); err != nil {
			t.Fatal(err)
		}
		for _, tcp := range []bool{false, true} {
			a := lookup(t, r, "v4.test", "ip4", &QueryConfig{NoCache: true, UseTCP: tcp})
			if got := a.Source().Priority(); got != p {
				t.Errorf("the answer's lane is %d, want %d", got, p)
			}
		}
		for src := range loop.Sources() {
			if got := src.Priority(); got != p {
				t.Errorf("%v is in lane %d, want %d", src, got, p)
			}
		}
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evchan/evchan"
	"github.com/miekg/dns"
	"golang.org/x/net/dns/dnsmessage"
)

// serve runs a loop with a server on a goroutine, whose requests handle gets. The loop ends
// with the test.
func serve(t testing.TB, network string, conf *ServerConfig, handle func(*Request)) *Server {
	t.Helper()
	loop := newLoop(t)
	s, err := Serve(loop, network, "127.0.0.1:0", conf)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ev := range loop.All() {
			if q, ok := ev.(*Request); ok {
				handle(q)
			} else {
				t.Errorf("received %v", ev)
			}
		}
	}()
	t.Cleanup(func() {
		loop.Close()
		<-done
	})
	return s
}

// answerTestZone answers a request like testZone.
func answerTestZone(q *Request) {
	q.Authoritative = true
	name := strings.ToLower(q.Question.Name.String())
	switch {
	case name == "v4.test.":
		q.Addrs(60, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"))
	case name == "alias.test.":
		q.CNAME(10, "v4.test.")
		q.Answer(dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("v4.test."), TTL: 60},
			Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}},
		})
	case strings.HasSuffix(name, ".in-addr.arpa."):
		q.PTR(60, "v4.test.")
	case name == "big.test.":
		for i := range 200 {
			q.Answer(dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Question.Name, TTL: 60},
				Body:   &dnsmessage.TXTResource{TXT: []string{fmt.Sprintf("text %d", i)}},
			})
		}
	case name == "drop.test.":
		q.Drop()
		return
	default:
		q.Authority(testSOA)
		q.Reply(dnsmessage.RCodeNameError)
		return
	}
	if err := q.Reply(dnsmessage.RCodeSuccess); err != nil {
		panic(err)
	}
}

var testSOA = dnsmessage.Resource{
	Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("test."), TTL: 600},
	Body: &dnsmessage.SOAResource{
		NS: dnsmessage.MustNewName("ns.test."), MBox: dnsmessage.MustNewName("mail.test."),
		Serial: 1, Refresh: 2, Retry: 3, Expire: 4, MinTTL: 300,
	},
}

func exchangeWith(t testing.TB, s *Server, network, name string, typ uint16, edns uint16) *dns.Msg {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, typ)
	if edns > 0 {
		m.SetEdns0(edns, false)
	}
	c := &dns.Client{Net: network, Timeout: testLimit, UDPSize: 65535}
	r, _, err := c.Exchange(m, s.Addr().String())
	if err != nil {
		t.Fatalf("%s by %s: %v", name, network, err)
	}
	return r
}

// The server's answers, as another library sees them.
func TestServer(t *testing.T) {
	s := serve(t, "dns", nil, func(q *Request) {
		if q.To != netip.MustParseAddr("127.0.0.1") || q.From.Addr() != q.To || q.Message() == nil {
			t.Errorf("%v, sent to %v", q, q.To)
		}
		answerTestZone(q)
	})
	for _, network := range []string{"udp", "tcp"} {
		r := exchangeWith(t, s, network, "V4.test.", dns.TypeA, 0)
		if len(r.Answer) != 1 || r.Answer[0].String() != "V4.test.\t60\tIN\tA\t192.0.2.1" || !r.Authoritative || r.Question[0].Name != "V4.test." {
			t.Errorf("A: %v", r)
		}
		r = exchangeWith(t, s, network, "v4.test.", dns.TypeAAAA, 1232)
		if len(r.Answer) != 1 || r.Answer[0].String() != "v4.test.\t60\tIN\tAAAA\t2001:db8::1" || r.IsEdns0() == nil {
			t.Errorf("AAAA: %v", r)
		}
		r = exchangeWith(t, s, network, "alias.test.", dns.TypeA, 0)
		if len(r.Answer) != 2 || r.Answer[0].String() != "alias.test.\t10\tIN\tCNAME\tv4.test." {
			t.Errorf("alias: %v", r)
		}
		r = exchangeWith(t, s, network, "1.2.0.192.in-addr.arpa.", dns.TypePTR, 0)
		if len(r.Answer) != 1 || r.Answer[0].String() != "1.2.0.192.in-addr.arpa.\t60\tIN\tPTR\tv4.test." {
			t.Errorf("PTR: %v", r)
		}
		r = exchangeWith(t, s, network, "no.test.", dns.TypeA, 0)
		if r.Rcode != dns.RcodeNameError || len(r.Ns) != 1 || !strings.Contains(r.Ns[0].String(), "ns.test. mail.test. 1 2 3 4 300") {
			t.Errorf("no.test: %v", r)
		}
	}
}

// What does not fit is left out, and the client is told.
func TestServerTruncates(t *testing.T) {
	s := serve(t, "dns", &ServerConfig{UDPSize: 4096}, answerTestZone)
	for _, tt := range []struct {
		network string
		edns    uint16
		limit   int
	}{{"udp", 0, 512}, {"udp", 1232, 1232}, {"udp", 65000, 4096}, {"tcp", 0, 65535}} {
		r := exchangeWith(t, s, tt.network, "big.test.", dns.TypeTXT, tt.edns)
		r.Compress = true
		if n := r.Len(); r.Truncated != (tt.limit < 4096+1 && len(r.Answer) < 200) || n > tt.limit || n < tt.limit/2 && len(r.Answer) < 200 {
			t.Errorf("%+v: %d records in %d bytes, truncated: %v", tt, len(r.Answer), n, r.Truncated)
		}
	}
}

// The resolver and the server of this package, with a truncated answer that is asked for by TCP.
func TestResolverWithServer(t *testing.T) {
	s := serve(t, "dns", nil, answerTestZone)
	loop := newLoop(t)
	r := newResolver(t, loop, &Config{Servers: []string{s.Addr().String()}})
	if a := lookup(t, r, "v4.test", "ip", nil); len(a.Addrs) != 2 {
		t.Errorf("got %+v", a)
	}
	if a := query(t, r, "big.test", dnsmessage.TypeTXT, nil); len(a.Records()) != 200 {
		t.Errorf("got %d records", len(a.Records()))
	}
	if a := lookup(t, r, "no.test", "ip", nil); a.Err == nil || a.TTL != 300*time.Second {
		t.Errorf("got %+v", a)
	}
}

// Replies may come late, from any goroutine, and in any order.
func TestServerLateReplies(t *testing.T) {
	var mu sync.Mutex
	var held []*Request
	s := serve(t, "dns", nil, func(q *Request) {
		mu.Lock()
		defer mu.Unlock()
		if held = append(held, q); len(held) < 3 {
			return
		}
		all := held
		held = nil
		go func() {
			for i := len(all) - 1; i >= 0; i-- {
				answerTestZone(all[i])
			}
		}()
	})
	for _, network := range []string{"udp", "tcp"} {
		c, err := dns.Dial(network, s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(testLimit))
		var ids []uint16
		for range 3 {
			m := new(dns.Msg).SetQuestion("v4.test.", dns.TypeA)
			ids = append(ids, m.Id)
			if err := c.WriteMsg(m); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 3 {
			m, err := c.ReadMsg()
			if err != nil {
				t.Fatal(network, err)
			}
			if m.Id != ids[2-i] || len(m.Answer) != 1 {
				t.Errorf("%s: reply %d: %v", network, i, m)
			}
		}
	}
}

// A client that has finished sending gets all replies, and then the end.
func TestServerHalfClose(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, "tcp", &ServerConfig{Pipeline: 2}, func(q *Request) {
		go func() {
			<-release
			answerTestZone(q)
		}()
	})
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(testLimit))
	for range 5 { // more than may be open
		m, _ := new(dns.Msg).SetQuestion("v4.test.", dns.TypeA).Pack()
		c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...))
	}
	c.(*net.TCPConn).CloseWrite()
	close(release)
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for len(b) > 2 {
		m := new(dns.Msg)
		size := int(binary.BigEndian.Uint16(b))
		if err := m.Unpack(b[2 : 2+size]); err != nil {
			t.Fatal(err)
		}
		b = b[2+size:]
		n++
	}
	if n != 5 {
		t.Errorf("%d replies, want 5", n)
	}
}

// What is no question is answered with an error, or not at all.
func TestServerMalformed(t *testing.T) {
	s := serve(t, "dns", nil, answerTestZone)
	c, err := net.Dial("udp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(testLimit))
	good, _ := new(dns.Msg).SetQuestion("v4.test.", dns.TypeA).Pack()
	change := func(f func(b []byte) []byte) []byte { return f(append([]byte(nil), good...)) }
	for _, tt := range []struct {
		name  string
		msg   []byte
		rcode int // -1: no answer
	}{
		{"short", good[:5], -1},
		{"a response", change(func(b []byte) []byte { b[2] |= 0x80; return b }), -1},
		{"no question", change(func(b []byte) []byte { b[5] = 0; return b[:12] }), dns.RcodeFormatError},
		{"two questions", change(func(b []byte) []byte { b[5] = 2; return append(b, b[12:]...) }), dns.RcodeFormatError},
		{"cut", good[:len(good)-3], dns.RcodeFormatError},
		{"a status request", change(func(b []byte) []byte { b[2] |= 2 << 3; return b }), dns.RcodeNotImplemented},
		{"a missing record", change(func(b []byte) []byte { b[11] = 1; return b }), dns.RcodeFormatError},
		{"EDNS version 1", change(func(b []byte) []byte {
			b[11] = 1
			return append(b, 0, 0, 41, 4, 0, 0, 1, 0, 0, 0, 0)
		}), dns.RcodeBadVers},
	} {
		if tt.rcode < 0 { // the next message is what is answered
			c.Write(tt.msg)
			continue
		}
		c.Write(tt.msg)
		buf := make([]byte, 1000)
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(tt.name, err)
		}
		m := new(dns.Msg)
		if err := m.Unpack(buf[:n]); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if m.Rcode != tt.rcode || m.Id != binary.BigEndian.Uint16(good) || !m.Response {
			t.Errorf("%s: got %v, want %s", tt.name, m, dns.RcodeToString[tt.rcode])
		}
	}
}

// RateLimit: every second reply above the limit is a short one, the others are not sent.
func TestServerRateLimit(t *testing.T) {
	var l rateLimit
	now := time.Unix(1000, 0)
	a, b := netip.MustParseAddr("192.0.2.0"), netip.MustParseAddr("198.51.100.0")
	var got []limitResult
	for range 6 {
		got = append(got, l.count(a, 2, now))
	}
	got = append(got, l.count(b, 2, now), l.count(a, 2, now.Add(time.Second)))
	want := []limitResult{limitSend, limitSend, limitDrop, limitShort, limitDrop, limitShort, limitSend, limitSend}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := clientNet(netip.MustParseAddr("2001:db8:1:2ff::1")), netip.MustParseAddr("2001:db8:1:200::"); got != want {
		t.Errorf("network %v, want %v", got, want)
	}
}

// MaxClients: others wait until one has gone.
func TestServerMaxClients(t *testing.T) {
	s := serve(t, "tcp", &ServerConfig{MaxClients: 1}, answerTestZone)
	first, err := dns.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(c *dns.Conn) {
		t.Helper()
		c.SetDeadline(time.Now().Add(testLimit))
		c.WriteMsg(new(dns.Msg).SetQuestion("v4.test.", dns.TypeA))
		if _, err := c.ReadMsg(); err != nil {
			t.Error(err)
		}
	}
	ask(first)
	second, err := dns.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	first.Close()
	ask(second)
}

// A client that says nothing is closed; one that waits for an answer is not.
func TestServerIdle(t *testing.T) {
	got := make(chan *Request, 1)
	s := serve(t, "tcp", &ServerConfig{TCPIdle: 100 * time.Millisecond}, func(q *Request) { got <- q })
	silent, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	waits, err := dns.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer waits.Close()
	waits.WriteMsg(new(dns.Msg).SetQuestion("v4.test.", dns.TypeA))
	silent.SetDeadline(time.Now().Add(testLimit))
	if _, err := silent.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("the silent client reads %v, want an end", err)
	}
	answerTestZone(<-got)
	waits.SetDeadline(time.Now().Add(testLimit))
	if _, err := waits.ReadMsg(); err != nil {
		t.Error(err)
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// The reply comes from the address that was asked.
func TestServerAnswersFromAddressAsked(t *testing.T) {
	loop := newLoop(t)
	s, err := Serve(loop, "udp4", "0.0.0.0:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ev := range loop.All() {
			answerTestZone(ev.(*Request))
		}
	}()
	defer func() { loop.Close(); <-done }()
	port := s.Addr().(*net.UDPAddr).Port
	for _, addr := range []string{"127.0.0.1", "127.0.0.77"} {
		c, err := net.Dial("udp", net.JoinHostPort(addr, strconv.Itoa(port))) // connected: gets nothing from elsewhere
		if err != nil {
			t.Skipf("this system has no address %s: %v", addr, err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(testLimit))
		m, _ := new(dns.Msg).SetQuestion("v4.test.", dns.TypeA).Pack()
		c.Write(m)
		if _, err := c.Read(make([]byte, 512)); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

// A server on all addresses of both families, and one on IPv6 only, asked by both kinds of
// clients.
func TestServerFamilies(t *testing.T) {
	if ln, err := net.Listen("tcp6", "[::1]:0"); err != nil {
		t.Skipf("this system has no IPv6: %v", err)
	} else {
		ln.Close()
	}
	for _, tt := range []struct {
		network, address string
		clients          []string
	}{
		{"dns", ":0", []string{"127.0.0.1", "::1"}},
		{"dns6", "[::1]:0", []string{"::1"}},
		{"dns4", ":0", []string{"127.0.0.1"}},
	} {
		loop := newLoop(t)
		s, err := Serve(loop, tt.network, tt.address, nil)
		if err != nil {
			t.Fatal(err)
		}
		port := strconv.Itoa(s.Addr().(*net.UDPAddr).Port)
		for _, addr := range tt.clients {
			for _, scheme := range []string{"udp", "tcp"} {
				r := newResolver(t, loop, &Config{Servers: []string{scheme + "://" + net.JoinHostPort(addr, port)}, Timeout: testLimit})
				if _, err := r.Lookup("v4.test", "ip4", nil); err != nil {
					t.Fatal(err)
				}
				limit := time.AfterFunc(testLimit, func() { loop.Close() })
				for ev := range loop.All() {
					if q, ok := ev.(*Request); ok {
						if want := netip.MustParseAddr(addr); q.To != want || q.From.Addr() != want || q.Network != scheme {
							t.Errorf("%s %s: %v, to %v", tt.network, addr, q, q.To)
						}
						answerTestZone(q)
						continue
					}
					if a := ev.(*Answer); a.Err != nil {
						t.Errorf("%s by %s of %s: %v", tt.network, scheme, addr, a.Err)
					}
					break
				}
				limit.Stop()
				r.Close()
			}
		}
		s.Close()
	}
}

func TestServerClose(t *testing.T) {
	loop := newLoop(t)
	s, err := Serve(loop, "dns", "127.0.0.1:0", &ServerConfig{Data: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	if s.Data != "mine" {
		t.Errorf("Data is %v", s.Data)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if ln, err := net.Listen("tcp", s.Addr().String()); err != nil {
		t.Error(err)
	} else {
		ln.Close()
	}
	for _, network := range []string{"", "udp5", "unix", "sctp"} {
		if _, err := Serve(loop, network, "127.0.0.1:0", nil); err == nil {
			t.Errorf("network %q: no error", network)
		}
	}
	if q := new(Request); q.replied.Load() {
		t.Error("a new request is replied")
	}
	var _ evchan.Event = (*Request)(nil)
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/dns/dnsmessage"
)

// A rawServer answers each datagram with those that a function returns.
type rawServer struct {
	addr netip.AddrPort
	mu   sync.Mutex
	seen [][]byte
}

func newRawServer(t testing.TB, answer func(i int, query []byte) [][]byte) *rawServer {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{addr: pc.LocalAddr().(*net.UDPAddr).AddrPort()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 65536)
		for i := 0; ; i++ {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			query := bytes.Clone(buf[:n])
			s.mu.Lock()
			s.seen = append(s.seen, query)
			s.mu.Unlock()
			for _, msg := range answer(i, query) {
				pc.WriteTo(msg, from)
			}
		}
	}()
	t.Cleanup(func() { pc.Close(); <-done })
	return s
}

// queries returns what was asked.
func (s *rawServer) queries() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// packed returns the answer to a raw query with the records; change may change it before.
func packed(query []byte, change func(*dns.Msg), records ...string) []byte {
	q := new(dns.Msg)
	if err := q.Unpack(query); err != nil {
		panic(err)
	}
	m := replyTo(q, records...)
	if change != nil {
		change(m)
	}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

const (
	rightRecord  = "$ 60 IN A 192.0.2.1"
	forgedRecord = "$ 60 IN A 192.0.2.66"
)

// Datagrams that are no answer do not count, whatever they say.
func TestForgedAnswers(t *testing.T) {
	for name, forge := range map[string]func(query, msg []byte) []byte{
		"another id":         func(_, m []byte) []byte { m[0] ^= 1; return m },
		"a question":         func(_, m []byte) []byte { m[2] &^= 0x80; return m },
		"another opcode":     func(_, m []byte) []byte { m[2] |= 2 << 3; return m },
		"another name":       func(_, m []byte) []byte { m[14] ^= 1; return m },
		"another type":       func(q, m []byte) []byte { m[12+questionSize(q[12:])-3] = 2; return m },
		"no question":        func(_, m []byte) []byte { m[5] = 0; return m },
		"two questions":      func(_, m []byte) []byte { m[5] = 2; return m },
		"nothing but a head": func(_, m []byte) []byte { return m[:12] },
		"less than a head":   func(_, m []byte) []byte { return m[:11] },
		"nothing":            func(_, m []byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			loop := newLoop(t)
			s := newRawServer(t, func(_ int, q []byte) [][]byte {
				return [][]byte{forge(q, packed(q, nil, forgedRecord)), packed(q, nil, rightRecord)}
			})
			r := newResolver(t, loop, &Config{Servers: []string{s.addr.String()}, Timeout: testLimit})
			if a := lookup(t, r, "host.test", "ip4", nil); addrsString(a.Addrs) != "192.0.2.1" {
				t.Errorf("got %+v", a)
			}
		})
	}
}

// A datagram that is longer than was asked for is no answer either, and ends nothing.
func TestTooLongDatagram(t *testing.T) {
	loop := newLoop(t)
	s := newRawServer(t, func(_ int, q []byte) [][]byte {
		good := packed(q, nil, rightRecord)
		return [][]byte{append(packed(q, nil, forgedRecord), make([]byte, maxUDP)...), good}
	})
	r := newResolver(t, loop, &Config{Servers: []string{s.addr.String()}, Timeout: testLimit, Attempts: 1})
	if a := lookup(t, r, "host.test", "ip4", nil); addrsString(a.Addrs) != "192.0.2.1" {
		t.Errorf("got %+v", a)
	}
}

// With mixed case, an answer with other letters is none. The question is asked again,
// with an id of its own, in small letters.
func TestCase(t *testing.T) {
	loop := newLoop(t)
	lowered := func(q []byte, record string) []byte {
		return packed(q, func(m *dns.Msg) { m.Question[0].Name = strings.ToLower(m.Question[0].Name) }, strings.ReplaceAll(record, "$", "a-long-name-to-mix.test."))
	}
	s := newRawServer(t, func(i int, q []byte) [][]byte {
		if i == 0 {
			return [][]byte{lowered(q, forgedRecord)}
		}
		return [][]byte{lowered(q, rightRecord)}
	})
	r := newResolver(t, loop, &Config{Servers: []string{s.addr.String()}, Timeout: testLimit, CacheSize: -1})
	for range 5 {
		if a := lookup(t, r, "A-Long-Name-to-mix.test", "ip4", nil); addrsString(a.Addrs) != "192.0.2.1" {
			t.Errorf("got %+v", a)
		}
	}
	// Three were asked twice; then the server was known not to keep the case.
	all := s.queries()
	if len(all) != 3*2+2 {
		t.Errorf("%d questions, want 8", len(all))
	}
	mixed := 0
	for _, q := range all {
		name := q[12 : 12+questionSize(q[12:])]
		if !bytes.Equal(name, bytes.ToLower(name)) {
			mixed++
		}
	}
	if mixed != 3 {
		t.Errorf("%d questions in mixed case, want 3", mixed)
	}

	r = newResolver(t, loop, &Config{Servers: []string{s.addr.String()}, KeepCase: true, CacheSize: -1, Timeout: testLimit})
	n := len(s.queries())
	lookup(t, r, "a-long-name-to-mix.test", "ip4", nil)
	if all := s.queries(); len(all) != n+1 {
		t.Errorf("with KeepCase: asked %d times, want once", len(all)-n)
	}
}

// Ids and ports differ from question to question.
func TestUnpredictable(t *testing.T) {
	loop := newLoop(t)
	s := newServer(t, zoneFunc(testZone))
	r := newResolver(t, loop, &Config{CacheSize: -1}, s)
	ports := map[string]bool{}
	for range 3 * maxSockets {
		lookup(t, r, "v4.test", "ip4", nil)
		r.mu.Lock()
		for _, k := range r.servers[0].sockets {
			ports[k.conn.LocalAddr().String()] = true
		}
		r.mu.Unlock()
	}
	if len(ports) < maxSockets {
		t.Errorf("%d ports, want %d or more", len(ports), maxSockets)
	}
}

// A server that does not understand EDNS is asked without it.
func TestNoEDNS(t *testing.T) {
	for name, complain := range map[string]func(q []byte) []byte{
		"FORMERR": func(q []byte) []byte { return packed(q, func(m *dns.Msg) { m.Rcode = dns.RcodeFormatError }) },
		"FORMERR without a question": func(q []byte) []byte {
			return packed(q, func(m *dns.Msg) { m.Rcode, m.Question = dns.RcodeFormatError, nil })
		},
		"NOTIMP": func(q []byte) []byte { return packed(q, func(m *dns.Msg) { m.Rcode = dns.RcodeNotImplemented }) },
	} {
		t.Run(name, func(t *testing.T) {
			loop := newLoop(t)
			s := newRawServer(t, func(_ int, q []byte) [][]byte {
				if q[11] != 0 {
					return [][]byte{complain(q)}
				}
				return [][]byte{packed(q, nil, rightRecord)}
			})
			r := newResolver(t, loop, &Config{Servers: []string{s.addr.String()}, Timeout: testLimit, CacheSize: -1})
			for range 2 {
				if a := lookup(t, r, "host.test", "ip4", nil); addrsString(a.Addrs) != "192.0.2.1" {
					t.Errorf("got %+v", a)
				}
			}
			if n := len(s.queries()); n != 3 {
				t.Errorf("asked %d times, want 3: it is known after the first", n)
			}
		})
	}
}

// The size that is told, in OPT.
func TestEDNSSize(t *testing.T) {
	loop := newLoop(t)
	s := newServer(t, func(_ string, q *dns.Msg) *dns.Msg {
		size := "none"
		if o := q.IsEdns0(); o != nil {
			size = dns.TypeToString[dns.TypeOPT] + string(rune('0'+o.UDPSize()/1000))
		}
		return replyTo(q, "$ 60 IN TXT "+size)
	})
	for size, want := range map[int]string{0: "OPT1", -1: "none", 4000: "OPT4", 1 << 20: "OPT4", 1: "OPT0"} {
		r := newResolver(t, loop, &Config{UDPSize: size}, s)
		a := query(t, r, "host.test", dnsmessage.TypeTXT, nil)
		if got := a.Records()[0].Body.(*dnsmessage.TXTResource).TXT[0]; got != want {
			t.Errorf("UDPSize %d: the server sees %s, want %s", size, got, want)
		}
	}
}

// Answers that are lost, late, doubled or broken.
func TestUnreliable(t *testing.T) {
	loop := newLoop(t)
	var late []byte
	s := newRawServer(t, func(i int, q []byte) [][]byte {
		good := packed(q, nil, rightRecord)
		switch i {
		case 0:
			late = packed(q, nil, forgedRecord)
			return nil
		case 1:
			return [][]byte{late, good, good, good}
		case 2:
			return [][]byte{good[:len(good)-3]} // cut, and not said to be truncated
		}
		return [][]byte{good}
	})
	r := newResolver(t, loop, &Config{Servers: []string{s.addr.String(), s.addr.String()}, Timeout: 20 * time.Millisecond, Attempts: 20, CacheSize: -1})
	for range 3 {
		if a := lookup(t, r, "host.test", "ip4", nil); addrsString(a.Addrs) != "192.0.2.1" {
			t.Errorf("got %+v", a)
		}
	}
}

// CNAMEs in any order, in a loop, and too many; records of other names.
func TestChains(t *testing.T) {
	loop := newLoop(t)
	long := func(n int) []string {
		rrs := []string{}
		name := "$"
		for i := range n {
			next := "c" + string(rune('a'+i)) + ".test."
			rrs = append(rrs, name+" 60 IN CNAME "+next)
			name = next
		}
		return append(rrs, name+" 60 IN A 192.0.2.1")
	}
	for _, tt := range []struct {
		name, want string
		records    []string
	}{
		{"in order", "192.0.2.1 of b.test.", []string{"$ 60 IN CNAME a.test.", "a.test. 60 IN CNAME b.test.", "b.test. 60 IN A 192.0.2.1"}},
		{"in reverse", "192.0.2.1 of b.test.", []string{"b.test. 60 IN A 192.0.2.1", "a.test. 60 IN CNAME b.test.", "$ 60 IN CNAME a.test."}},
		{"around", "192.0.2.1 192.0.2.2 of a.test.", []string{"a.test. 60 IN A 192.0.2.1", "$ 60 IN CNAME a.test.", "a.test. 60 IN A 192.0.2.2"}},
		{"of others", "192.0.2.1 of host.test.", []string{"other.test. 60 IN A 192.0.2.66", "$ 60 IN A 192.0.2.1", "$ 60 IN MX 1 a.test."}},
		{"only of others", "", []string{"other.test. 60 IN A 192.0.2.66", "other.test. 60 IN CNAME host.test."}},
		{"a loop", "", []string{"$ 60 IN CNAME a.test.", "a.test. 60 IN CNAME $"}},
		{"of itself", "", []string{"$ 60 IN CNAME $"}},
		{"at the limit", "192.0.2.1 of cp.test.", long(maxChain)},
		{"beyond the limit", "", long(maxChain + 1)},
	} {
		s := newServer(t, func(_ string, q *dns.Msg) *dns.Msg { return replyTo(q, tt.records...) })
		r := newResolver(t, loop, &Config{KeepCase: true}, s)
		a := lookup(t, r, "host.test", "ip4", nil)
		got := addrsString(a.Addrs) + " of " + a.CanonicalName
		if a.Err != nil {
			got = ""
		}
		if got != tt.want {
			t.Errorf("%s: got %q (%v), want %q", tt.name, got, a.Err, tt.want)
		}
		if tt.want != "" {
			if got := len(a.Records()); got != strings.Count(strings.Join(tt.records, ""), "CNAME")+len(a.Addrs) {
				t.Errorf("%s: %d records: %v", tt.name, got, a.Records())
			}
		}
	}
}

// A server that knows only the alias is asked for its target as well, as far as maxHops.
func TestAliasElsewhere(t *testing.T) {
	loop := newLoop(t)
	zone := map[string][]string{
		"a.test. A":     {"$ 50 IN CNAME b.test.", "b.test. 40 IN CNAME c.test."},
		"c.test. A":     {"$ 60 IN CNAME d.test."},
		"d.test. A":     {"$ 70 IN A 192.0.2.1"},
		"a.test. AAAA":  {"$ 50 IN CNAME b.test.", "b.test. 40 IN CNAME c.test."},
		"c.test. AAAA":  {"$ 60 IN CNAME none.test."},
		"loop.test. A":  {"$ 60 IN CNAME pool.test."},
		"pool.test. A":  {"$ 60 IN CNAME loop.test."},
		"none.test. MX": {"$ 60 IN MX 1 a.test."},
	}
	s := newServer(t, zoneFunc(zone))
	r := newResolver(t, loop, nil, s)
	for range 2 {
		a := lookup(t, r, "a.test", "ip", nil)
		if a.Err != nil || addrsString(a.Addrs) != "192.0.2.1" || a.CanonicalName != "d.test." || a.TTL != 40*time.Second {
			t.Errorf("got %+v", a)
		}
		if rrs := a.Records(); len(rrs) != 4 || rrs[0].Header.Name.String() != "a.test." || rrs[3].Header.Name.String() != "d.test." {
			t.Errorf("records: %v", rrs)
		}
	}
	s.questions()
	if a := lookup(t, r, "loop.test", "ip4", nil); a.Err == nil {
		t.Errorf("a loop: got %+v", a)
	}
	if n := len(s.questions()); n != 1+maxHops {
		t.Errorf("asked %d times, want %d", n, 1+maxHops)
	}
	a := lookup(t, r, "a.test", "ip6", nil)
	var e *net.DNSError
	if !errors.As(a.Err, &e) || !e.IsNotFound || e.Name != "a.test" {
		t.Errorf("no data at the end: %v", a.Err)
	}
}

// Users do not see that names are sent in mixed case, whether the server compresses or not.
func TestCaseIsNotSeen(t *testing.T) {
	loop := newLoop(t)
	for _, compress := range []bool{false, true} {
		s := newServer(t, func(_ string, q *dns.Msg) *dns.Msg {
			m := replyTo(q, "$ 60 IN MX 10 mail.$", "$ 60 IN MX 20 $")
			m.Compress = compress
			return m
		})
		r := newResolver(t, loop, nil, s)
		a := query(t, r, "A-Long-Name-to-mix.test", dnsmessage.TypeMX, nil)
		for i, rr := range a.Records() {
			name, target := rr.Header.Name.String(), rr.Body.(*dnsmessage.MXResource).MX.String()
			if name != "a-long-name-to-mix.test." || compress && target != []string{"mail.", ""}[i]+name {
				t.Errorf("compressed %v: %s has %s", compress, name, target)
			}
		}
	}
}

// How long answers are kept: TTLs at their limits, and negative answers with and without SOA.
func TestTTL(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func(q *dns.Msg) *dns.Msg
		ttl    time.Duration
		again  bool // asked again the next time
	}{
		{"usual", func(q *dns.Msg) *dns.Msg { return replyTo(q, "$ 60 IN A 192.0.2.1", "$ 50 IN A 192.0.2.2") }, 50 * time.Second, false},
		{"0", func(q *dns.Msg) *dns.Msg { return replyTo(q, "$ 0 IN A 192.0.2.1") }, 0, true},
		{"2^31", func(q *dns.Msg) *dns.Msg { return replyTo(q, "$ 2147483648 IN A 192.0.2.1") }, 0, true},
		{"2^31-1", func(q *dns.Msg) *dns.Msg { return replyTo(q, "$ 2147483647 IN A 192.0.2.1") }, 1<<31*time.Second - time.Second, false},
		{"no name", func(q *dns.Msg) *dns.Msg { return noName(q, "test.") }, 300 * time.Second, false},
		{"no name, without SOA", func(q *dns.Msg) *dns.Msg { return noName(q, "") }, 0, true},
		{"no name, SOA of another zone", func(q *dns.Msg) *dns.Msg { return noName(q, "other.") }, 0, true},
		{"nothing", func(q *dns.Msg) *dns.Msg { m := replyTo(q); addSOA(m, "."); return m }, 300 * time.Second, false},
		{"nothing, without SOA", func(q *dns.Msg) *dns.Msg { return replyTo(q) }, 0, true},
	} {
		loop := newLoop(t)
		s := newServer(t, func(_ string, q *dns.Msg) *dns.Msg { return tt.answer(q) })
		r := newResolver(t, loop, nil, s)
		if a := lookup(t, r, "host.test", "ip4", nil); a.TTL != tt.ttl {
			t.Errorf("%s: TTL %v, want %v", tt.name, a.TTL, tt.ttl)
		}
		s.questions()
		a := lookup(t, r, "host.test", "ip4", nil)
		if again := len(s.questions()) > 0; again != tt.again || a.Cached == again {
			t.Errorf("%s: asked again: %v, want %v", tt.name, again, tt.again)
		}
	}
}

// Stale: an old answer is better than none.
func TestStale(t *testing.T) {
	loop := newLoop(t)
	s := newServer(t, zoneFunc(testZone))
	r := newResolver(t, loop, &Config{Stale: time.Hour, Timeout: testLimit, Attempts: 1}, s)
	lookup(t, r, "v4.test", "ip4", nil)
	r.mu.Lock()
	r.set.Timeout = time.Millisecond
	for _, e := range r.cache.entries {
		e.added, e.end = e.added.Add(-61*time.Second), e.end.Add(-61*time.Second)
	}
	r.mu.Unlock()
	s.setAnswer(func(string, *dns.Msg) *dns.Msg { return nil })
	if a := lookup(t, r, "v4.test", "ip4", nil); a.Err != nil || !a.Stale || a.TTL != 0 || len(a.Addrs) != 1 {
		t.Errorf("got %+v", a)
	}
}

// What is used often is asked again before its end, without anybody waiting.
func TestPrefetch(t *testing.T) {
	loop := newLoop(t)
	s := newServer(t, zoneFunc(testZone))
	r := newResolver(t, loop, nil, s)
	lookup(t, r, "v4.test", "ip4", nil)
	r.mu.Lock()
	for _, e := range r.cache.entries {
		e.added, e.end = e.added.Add(-55*time.Second), e.end.Add(-55*time.Second)
	}
	r.mu.Unlock()
	s.questions()
	for range 3 {
		if a := lookup(t, r, "v4.test", "ip4", nil); !a.Cached {
			t.Errorf("got %+v", a)
		}
	}
	for until := time.Now().Add(testLimit); time.Now().Before(until); loop.Poll(10 * time.Millisecond) {
		r.mu.Lock()
		n := len(r.underway)
		r.mu.Unlock()
		if n == 0 {
			break
		}
	}
	if a := lookup(t, r, "v4.test", "ip4", nil); !a.Cached || a.TTL < 50*time.Second {
		t.Errorf("got %+v, want a new one from the cache", a)
	}
	if n := len(s.questions()); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

func TestAddAndFlush(t *testing.T) {
	loop := newLoop(t)
	s := newServer(t, zoneFunc(testZone))
	r := newResolver(t, loop, nil, s)
	if err := r.Add("Mine.test", time.Minute, netip.MustParseAddr("192.0.2.5"), netip.MustParseAddr("192.0.2.6")); err != nil {
		t.Fatal(err)
	}
	if a := lookup(t, r, "mine.TEST", "ip4", nil); a.Err != nil || len(a.Addrs) != 2 || !a.Cached {
		t.Errorf("got %+v", a)
	}
	if err := r.Add("mine.test", time.Minute, netip.MustParseAddr("192.0.2.5"), netip.MustParseAddr("::1")); err == nil {
		t.Error("Add of both families: no error")
	}
	if err := r.Add("a..b", time.Minute, netip.MustParseAddr("192.0.2.5")); err == nil {
		t.Error("Add of a bad name: no error")
	}
	r.Flush()
	if a := lookup(t, r, "mine.test", "ip4", nil); a.Err == nil {
		t.Errorf("after Flush: got %+v", a)
	}
	r.Add("v4.test", time.Minute, netip.MustParseAddr("192.0.2.5"))
	r.Add("v4.test", 0)
	if a := lookup(t, r, "v4.test", "ip4", nil); addrsString(a.Addrs) != "192.0.2.1" {
		t.Errorf("after Add of nothing: got %+v", a)
	}
}

// serveTCP has serve answer the connections to the address that it returns, one after the
// other; i counts them. The listener is closed at the end of the test.
func serveTCP(t *testing.T, serve func(i int, c net.Conn)) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			serve(i, c)
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return "tcp://" + ln.Addr().String()
}

// readTCP reads a query, after its length.
func readTCP(c net.Conn) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	q := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(c, q)
	return q, err
}

// framed returns m after its length.
func framed(m []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...)
}

// A TCP server that closes the connection while it is unused, or in the middle, or answers
// slowly, byte by byte.
func TestTCPFaults(t *testing.T) {
	address := serveTCP(t, func(i int, c net.Conn) {
		defer c.Close()
		for n := 0; ; n++ {
			q, err := readTCP(c)
			if err != nil {
				return
			}
			if n == 1 && i == 0 {
				return // the second question by the first connection
			}
			for _, b := range framed(packed(q, nil, rightRecord)) {
				c.Write([]byte{b})
			}
			if i == 1 {
				return // after each answer
			}
		}
	})
	loop := newLoop(t)
	r := newResolver(t, loop, &Config{Servers: []string{address}, Timeout: testLimit, CacheSize: -1})
	for range 4 {
		if a := lookup(t, r, "host.test", "ip4", nil); a.Err != nil {
			t.Error(a.Err)
		}
	}
	r.Close()
}

// Random loss: each query ends once, and most with an answer.
func TestLoss(t *testing.T) {
	loop := newLoop(t)
	var n atomic.Int32
	drop := func(_ string, q *dns.Msg) *dns.Msg {
		if n.Add(1)%3 == 0 {
			return nil
		}
		return zoneFunc(testZone)("", q)
	}
	s := newServer(t, drop)
	r := newResolver(t, loop, &Config{Timeout: 5 * time.Millisecond, Attempts: 10, MaxInflight: 20, CacheSize: -1, MaxTimeouts: 1 << 20}, s)
	hosts := []string{"v4.test", "both.test", "no.test", "alias.test", "mail.test"}
	for i := range 100 {
		r.Lookup(hosts[i%len(hosts)], "ip", nil)
	}
	for _, a := range answers(t, loop, 100) {
		if bad := a.Query.Host == "no.test" || a.Query.Host == "mail.test"; (a.Err != nil) != bad {
			t.Errorf("%v: %v", a.Query.Host, a.Err)
		}
	}
}

// A server that accepts and then is silent counts as one that does not answer.
func TestTCPSilence(t *testing.T) {
	address := serveTCP(t, func(int, net.Conn) {})
	loop := newLoop(t)
	r := newResolver(t, loop, &Config{Servers: []string{address}, Timeout: 5 * time.Millisecond, Attempts: 2})
	for range 3 {
		r.Lookup("v4.test", "ip", nil)
	}
	for _, a := range answers(t, loop, 3) {
		var e *net.DNSError
		if !errors.As(a.Err, &e) || !e.IsTimeout {
			t.Errorf("got %v", a.Err)
		}
	}
	r.Close()
}

// What a server sends by TCP that is no message ends the connection, not the resolver.
func TestTCPNonsense(t *testing.T) {
	for _, nonsense := range [][]byte{{0, 0}, {0, 1, 7}, slices.Repeat([]byte{0xff}, 200), {0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}} {
		address := serveTCP(t, func(i int, c net.Conn) {
			q, _ := readTCP(c)
			if i == 0 {
				c.Write(nonsense)
				c.Close()
				return
			}
			c.Write(framed(packed(q, nil, rightRecord)))
		})
		loop := newLoop(t)
		r := newResolver(t, loop, &Config{Servers: []string{address}, Timeout: testLimit})
		if a := lookup(t, r, "host.test", "ip4", nil); a.Err != nil {
			t.Errorf("%x: %v", nonsense, a.Err)
		}
		r.Close()
	}
}

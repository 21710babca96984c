// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/dns/dnsmessage"
)

func addMessages(f *testing.F) {
	q := appendQuery(nil, 1, question{"host.test.", dnsmessage.TypeA, dnsmessage.ClassINET}, queryForm{udpSize: 1232})
	f.Add(q)
	f.Add(packed(q, nil, rightRecord))
	f.Add(packed(q, nil, "$ 60 IN CNAME a.test.", "a.test. 60 IN A 192.0.2.1"))
	f.Add(packed(q, func(m *dns.Msg) { m.Rcode = dns.RcodeNameError; addSOA(m, "test.") }))
	f.Add(packed(q, func(m *dns.Msg) { m.SetEdns0(1232, true) }, "$ 60 IN CNAME $"))
	f.Add(packed(q, func(m *dns.Msg) { m.Truncated = true }, "$ 60 IN MX 10 a.test."))
}

// Whatever a server sends, the reply is what another library sees in it.
func FuzzReply(f *testing.F) {
	addMessages(f)
	f.Fuzz(func(t *testing.T, msg []byte) {
		q := question{"host.test.", dnsmessage.TypeA, dnsmessage.ClassINET}
		r, err := parseReply(bytes.Clone(msg), q)
		if err != nil {
			return
		}
		rrs := r.records(1000)
		if r.q.typ == dnsmessage.TypeA && len(r.addrs) != r.found {
			t.Errorf("%d addresses in %d records", len(r.addrs), r.found)
		}
		if r.cacheable && r.truncated {
			t.Error("a truncated reply is to be kept")
		}
		if r.ttl > 1<<31-1 && r.cacheable {
			t.Errorf("TTL %d", r.ttl)
		}
		m := new(dns.Msg)
		if m.Unpack(msg) != nil || r.truncated {
			return
		}
		// The addresses are those of the records at the end of the chain.
		want := map[string]bool{}
		for _, rr := range m.Answer {
			if a, ok := rr.(*dns.A); ok && a.A != nil {
				want[a.A.String()] = true
			}
		}
		for _, a := range r.addrs {
			if !want[a.String()] {
				t.Errorf("the message does not have %v: %v", a, m)
			}
		}
		n := 0
		for _, rr := range rrs {
			if rr.Header.Type == dnsmessage.TypeA {
				n++
			}
		}
		if n < len(r.addrs) {
			t.Errorf("%d records have addresses, want %d", n, len(r.addrs))
		}
	})
}

// A message matches a query only if id, question and case are right.
func FuzzMatch(f *testing.F) {
	f.Add("host.test.", uint16(1), []byte{})
	f.Add(".", uint16(0), []byte{})
	f.Add("host.test.", uint16(1), []byte("\x00\x01\x80\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04host\x04TEST\x00\x00\x01\x00\x01"))
	f.Fuzz(func(t *testing.T, name string, id uint16, msg []byte) {
		if !isWireName(name) {
			return
		}
		q := question{lower(name), dnsmessage.TypeA, dnsmessage.ClassINET}
		query := appendQuery(nil, id, q, queryForm{udpSize: 1232, mix: true, pad: len(msg)%2 == 0})
		if len(msg)%2 == 0 && len(query)%128 != 0 {
			t.Errorf("padded to %d", len(query))
		}
		answer := bytes.Clone(query)
		answer[2] |= bitResponse
		if matchReply(answer, query) != matchFull {
			t.Error("the right answer does not match")
		}
		folded := appendQuery(nil, id, q, queryForm{})
		folded[2] |= bitResponse
		if m := matchReply(folded, query); m == matchNone {
			t.Error("the answer in small letters does not match at all")
		}
		if matchReply(msg, query) == matchFull && (len(msg) < headerSize || binary.BigEndian.Uint16(msg) != id) {
			t.Error("a message with another id matches")
		}
		var p dnsmessage.Parser
		if _, err := p.Start(query); err != nil {
			t.Fatal(err)
		}
		got, err := p.Question()
		if err == nil && !strings.EqualFold(got.Name.String(), q.name) && isASCII(q.name) {
			t.Errorf("asked %q, sent %q", q.name, got.Name)
		}
	})
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}

// Whatever arrives at a server, it does not fail, and what it replies can be read.
func FuzzRequest(f *testing.F) {
	addMessages(f)
	f.Fuzz(func(t *testing.T, msg []byte) {
		if len(msg) < headerSize {
			return
		}
		q := &Request{Server: &Server{}}
		q.msg = append(q.space[:0], msg...)
		rcode, ok := q.parse()
		if rcode < 0 {
			return
		}
		if ok {
			q.Addrs(60, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"))
			q.CNAME(10, "a.test.")
			q.Answer(dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Question.Name},
				Body:   &dnsmessage.TXTResource{TXT: []string{"text"}},
			})
			q.Authority(testSOA)
		}
		q.Options()
		_ = q.String()
		for _, limit := range []int{512, 530, 1232, maxMessage} {
			reply, err := q.appendReply(nil, dnsmessage.RCode(rcode), limit)
			if err != nil {
				t.Fatal(err)
			}
			if len(reply) > limit {
				t.Errorf("%d bytes, limit %d", len(reply), limit)
			}
			var m dnsmessage.Message
			if err := m.Unpack(reply); err != nil {
				t.Errorf("%v: %x", err, reply)
			}
			if ok && (len(m.Questions) != 1 || m.Questions[0] != q.Question) {
				t.Errorf("question %v, want %v", m.Questions, q.Question)
			}
		}
	})
}

// What the packer writes, dnsmessage reads, and it is never longer than what that would write.
func FuzzPack(f *testing.F) {
	f.Add("host.test.", "a.host.test.", "test.", uint8(0))
	f.Add("a.a.a.", "a.a.", "b.a.a.a.", uint8(2))
	f.Fuzz(func(t *testing.T, a, b, c string, order uint8) {
		var names []dnsmessage.Name
		for _, s := range []string{a, b, c} {
			n, err := dnsmessage.NewName(s)
			if err != nil || !isWireName(s) {
				return
			}
			names = append(names, n)
		}
		h := func(i int) dnsmessage.ResourceHeader {
			return dnsmessage.ResourceHeader{Name: names[i%3], Class: dnsmessage.ClassINET, TTL: 60}
		}
		rrs := []dnsmessage.Resource{
			{Header: h(0), Body: &dnsmessage.CNAMEResource{CNAME: names[1]}},
			{Header: h(1), Body: &dnsmessage.MXResource{Pref: 5, MX: names[2]}},
			{Header: h(2), Body: &dnsmessage.SOAResource{NS: names[0], MBox: names[1], Serial: 7}},
			{Header: h(1), Body: &dnsmessage.SRVResource{Target: names[0], Port: 5}},
			{Header: h(0), Body: &dnsmessage.NSResource{NS: names[2]}},
			{Header: h(0), Body: &dnsmessage.PTRResource{PTR: names[0]}},
			{Header: h(2), Body: &dnsmessage.UnknownResource{Type: 999, Data: []byte(a)}},
		}
		for i := range rrs {
			j := (i + int(order)) % len(rrs)
			rrs[i], rrs[j] = rrs[j], rrs[i]
		}
		q := dnsmessage.Question{Name: names[0], Type: dnsmessage.TypeALL, Class: dnsmessage.ClassINET}
		wire := appendName(nil, a)
		p := packer{buf: make([]byte, 7+headerSize), start: 7, limit: maxMessage}
		copy(p.buf[7:], []byte{0, 0, 0x80, 0, 0, 1, 0, byte(len(rrs))})
		p.question(append(wire, 0, byte(q.Type), 0, 1))
		for i := range rrs {
			if err := p.resource(&rrs[i]); err != nil {
				t.Fatal(err)
			}
		}
		var m dnsmessage.Message
		if err := m.Unpack(p.buf[7:]); err != nil {
			for _, s := range []string{a, b, c} {
				if strings.ContainsFunc(s, func(r rune) bool { return r < '!' || r > '~' }) {
					return
				}
			}
			t.Fatalf("%v: %x", err, p.buf[7:])
		}
		for i, rr := range m.Answers {
			rrs[i].Header.Type, rrs[i].Header.Length = rr.Header.Type, rr.Header.Length
			if fmt.Sprint(rr.GoString()) != rrs[i].GoString() {
				t.Errorf("record %d: %v, want %v", i, rr.GoString(), rrs[i].GoString())
			}
		}
		m2 := dnsmessage.Message{Header: dnsmessage.Header{Response: true}, Questions: []dnsmessage.Question{q}, Answers: rrs}
		if theirs, err := m2.Pack(); err != nil || p.size() > len(theirs) {
			t.Errorf("%d bytes, dnsmessage needs %d: %v", p.size(), len(theirs), err)
		}
	})
}

// A cache in which everything is looked at each time.
type cacheModel struct {
	limit int
	stale time.Duration
	list  []modelEntry // what was used last comes last
}

type modelEntry struct {
	q    question
	rep  *reply
	end  time.Time
	size int
}

// Operations on the cache, beside a model.
func FuzzCache(f *testing.F) {
	f.Add([]byte{0, 1, 10, 1, 1, 0, 2, 5, 0, 3, 0, 1})
	f.Fuzz(func(t *testing.T, ops []byte) {
		c := cache{limit: 2000, maxTTL: 100 * time.Second, maxNegative: 50 * time.Second, minTTL: 2 * time.Second, stale: 20 * time.Second}
		c.init()
		m := cacheModel{limit: c.limit, stale: c.stale}
		now := time.Unix(1000, 0)
		for len(ops) >= 3 {
			op, a, b := ops[0]%4, ops[1], ops[2]
			ops = ops[3:]
			q := question{string('a'+rune(a%8)) + ".", dnsmessage.TypeA, dnsmessage.ClassINET}
			at := slices.IndexFunc(m.list, func(e modelEntry) bool { return e.q == q })
			switch op {
			case 0:
				rep := &reply{q: q, ttl: uint32(b), cacheable: a < 200, msg: make([]byte, a), found: int(a % 2)}
				c.add(q, rep, now)
				ttl := min(max(time.Duration(b)*time.Second, c.minTTL), c.maxTTL)
				if rep.found == 0 {
					ttl = min(time.Duration(b)*time.Second, c.maxNegative)
				}
				if !rep.cacheable || b == 0 {
					break
				}
				if at >= 0 {
					m.list = slices.Delete(m.list, at, at+1)
				}
				m.list = append(m.list, modelEntry{q, rep, now.Add(ttl), rep.size()})
				for m.size() > m.limit {
					m.list = m.list[1:]
				}
			case 1:
				var want *reply
				if at >= 0 {
					e := m.list[at]
					switch {
					case now.Before(e.end):
						want = e.rep
						m.list = append(slices.Delete(m.list, at, at+1), e)
					case !now.Before(e.end.Add(m.stale)):
						m.list = slices.Delete(m.list, at, at+1)
					}
				}
				var got *reply
				if e := c.get(q, now); e != nil {
					got = e.reply
				}
				if got != want {
					t.Fatalf("get: got %v, want %v", got, want)
				}
			case 2:
				now = now.Add(time.Duration(b) * time.Second / 4)
			case 3:
				var want *reply
				if at >= 0 && now.Before(m.list[at].end.Add(m.stale)) {
					want = m.list[at].rep
				}
				var got *reply
				if e := c.getStale(q, now); e != nil {
					got = e.reply
				}
				if got != want {
					t.Fatalf("getStale: got %v, want %v", got, want)
				}
			}
			if len(c.entries) != len(m.list) || c.size != m.size() {
				t.Fatalf("%d entries of %d bytes, want %d of %d", len(c.entries), c.size, len(m.list), m.size())
			}
			e := c.recent.prev
			for _, want := range m.list {
				if e.q != want.q {
					t.Fatalf("the order differs: %v, want %v", e.q, want.q)
				}
				e = e.prev
			}
		}
	})
}

func (m *cacheModel) size() (n int) {
	for _, e := range m.list {
		n += e.size
	}
	return n
}

// Files in any form: nothing fails, and what is found is well formed.
func FuzzFiles(f *testing.F) {
	f.Add("nameserver 192.0.2.1\nsearch a.test b.test\noptions ndots:2 timeout:3 x:y\ndomain c\nlookup file bind\n")
	f.Add("192.0.2.1 a b\n::1 c # d\nhosts: files [a=b] dns")
	f.Fuzz(func(t *testing.T, text string) {
		c := parseResolvConf(strings.NewReader(text))
		if len(c.servers) > maxConfServers || c.ndots > 15 || c.timeout < 0 || c.attempts < 0 {
			t.Errorf("%+v", c)
		}
		s := Config{}.resolve(c)
		if s.Timeout <= 0 || s.Attempts <= 0 || s.MaxInflight <= 0 {
			t.Errorf("%+v", s)
		}
		h := parseHosts(strings.NewReader(text))
		for name, e := range h.byName {
			if len(e.addrs) == 0 || name != lower(rooted(name)) {
				t.Errorf("%q: %v", name, e)
			}
		}
		parseNSSwitch(strings.NewReader(text))
		for _, name := range searchList(text, c.search, s.ndots) {
			if !isWireName(name) && len(c.search) == 0 {
				t.Errorf("asks %q", name)
			}
		}
	})
}

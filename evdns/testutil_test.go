// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evchan/evchan"
	"github.com/miekg/dns"
	"golang.org/x/net/dns/dnsmessage"
)

const testLimit = 20 * time.Second // of one wait; a test that works needs much less

func newLoop(t testing.TB) *evchan.Loop {
	t.Helper()
	loop, err := evchan.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { loop.Close() })
	return loop
}

// A fakeServer is a name server of another library, on UDP and TCP. Its answers come from a
// function; one that returns nil leaves the question unanswered.
type fakeServer struct {
	addr  netip.AddrPort
	close func()

	mu     sync.Mutex // guards the following
	asked  []string   // "network name type", in small letters
	answer func(network string, q *dns.Msg) *dns.Msg
}

func newServer(t testing.TB, answer func(network string, q *dns.Msg) *dns.Msg) *fakeServer {
	t.Helper()
	s := &fakeServer{answer: answer}
	var pc net.PacketConn
	var ln net.Listener
	var err error
	for range 20 { // the port that UDP got may be taken for TCP
		if pc, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if ln, err = net.Listen("tcp", pc.LocalAddr().String()); err == nil {
			break
		}
		pc.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	s.addr = pc.LocalAddr().(*net.UDPAddr).AddrPort()
	var ends []func()
	s.close = sync.OnceFunc(func() {
		for _, end := range ends {
			end()
		}
	})
	t.Cleanup(s.close)
	for _, server := range []*dns.Server{
		{PacketConn: pc, Net: "udp", Handler: s.handler("udp")},
		{Listener: ln, Net: "tcp", Handler: s.handler("tcp")},
	} {
		ready := make(chan struct{})
		server.NotifyStartedFunc = func() { close(ready) }
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			server.ActivateAndServe()
		}()
		<-ready
		ends = append(ends, func() {
			server.Shutdown()
			<-ended
		})
	}
	return s
}

func (s *fakeServer) handler(network string) dns.Handler {
	return dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		s.mu.Lock()
		s.asked = append(s.asked, network+" "+strings.ToLower(q.Question[0].Name)+" "+dns.TypeToString[q.Question[0].Qtype])
		answer := s.answer
		s.mu.Unlock()
		if m := answer(network, q); m != nil {
			w.WriteMsg(m)
		}
	})
}

// questions returns what was asked, and forgets it.
func (s *fakeServer) questions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.asked
	s.asked = nil
	return all
}

func (s *fakeServer) setAnswer(answer func(network string, q *dns.Msg) *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// replyTo returns a message with the records, in the format of zone files. $ stands for the
// name that was asked.
func replyTo(q *dns.Msg, records ...string) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	m.Compress = true
	for _, s := range records {
		rr, err := dns.NewRR(strings.ReplaceAll(s, "$", q.Question[0].Name))
		if err != nil {
			panic(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	return m
}

// noName returns the answer that there is no such name, as zone tells it; "" leaves the SOA out.
func noName(q *dns.Msg, zone string) *dns.Msg {
	m := replyTo(q)
	m.Rcode = dns.RcodeNameError
	addSOA(m, zone)
	return m
}

func addSOA(m *dns.Msg, zone string) {
	if zone != "" {
		rr, err := dns.NewRR(zone + " 600 IN SOA ns.test. mail.test. 1 2 3 4 300")
		if err != nil {
			panic(err)
		}
		m.Ns = append(m.Ns, rr)
	}
}

// zoneFunc answers from a table of "name type" to records. A name without entry does not
// exist; an entry of another type makes it exist.
func zoneFunc(zone map[string][]string) func(network string, q *dns.Msg) *dns.Msg {
	return func(_ string, q *dns.Msg) *dns.Msg {
		name := strings.ToLower(q.Question[0].Name)
		if rrs, ok := zone[name+" "+dns.TypeToString[q.Question[0].Qtype]]; ok {
			return replyTo(q, rrs...)
		}
		for key := range zone {
			if strings.HasPrefix(key, name+" ") {
				m := replyTo(q)
				addSOA(m, "test.")
				return m
			}
		}
		return noName(q, "test.")
	}
}

// newResolver returns a resolver that asks the servers and reads none of the system's files.
func newResolver(t testing.TB, loop *evchan.Loop, conf *Config, servers ...*fakeServer) *Resolver {
	t.Helper()
	var c Config
	if conf != nil {
		c = *conf
	}
	for _, s := range servers {
		c.Servers = append(c.Servers, s.addr.String())
	}
	for _, path := range []*string{&c.ResolvConf, &c.Hosts, &c.NSSwitch} {
		if *path == "" {
			*path = os.DevNull
		}
	}
	if c.Search == nil {
		c.Search = []string{}
	}
	r, err := NewResolver(loop, &c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// answers receives until n answers have come, in their order.
func answers(t testing.TB, loop *evchan.Loop, n int) []*Answer {
	t.Helper()
	limit := time.AfterFunc(testLimit, func() { loop.Close() })
	defer limit.Stop()
	var all []*Answer
	for ev := range loop.All() {
		a, ok := ev.(*Answer)
		if !ok {
			t.Errorf("received %v, want answers only", ev)
			continue
		}
		if all = append(all, a); len(all) == n {
			return all
		}
	}
	t.Fatalf("%d answers have come, want %d", len(all), n)
	return nil
}

func lookup(t testing.TB, r *Resolver, host, network string, conf *QueryConfig) *Answer {
	t.Helper()
	q, err := r.Lookup(host, network, conf)
	if err != nil {
		t.Fatal(err)
	}
	a := answers(t, r.loop, 1)[0]
	if a.Query != q {
		t.Fatalf("got %v, which is of another query", a)
	}
	return a
}

func query(t testing.TB, r *Resolver, name string, typ dnsmessage.Type, conf *QueryConfig) *Answer {
	t.Helper()
	if _, err := r.Query(name, typ, dnsmessage.ClassINET, conf); err != nil {
		t.Fatal(err)
	}
	return answers(t, r.loop, 1)[0]
}

func writeFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// addrsString returns the addresses with spaces between.
func addrsString(addrs []netip.Addr) string {
	var all []string
	for _, a := range addrs {
		all = append(all, a.String())
	}
	return strings.Join(all, " ")
}

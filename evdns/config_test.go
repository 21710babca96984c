// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// Options by their names in resolv.conf and libevent.
func TestSetOption(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		want        Config
		bad         bool
	}{
		{name: "ndots", value: "3", want: Config{Ndots: 3}},
		{name: "ndots:", value: "0", want: Config{Ndots: -1}},
		{name: "timeout:", value: "1.5", want: Config{Timeout: 1500 * time.Millisecond}},
		{name: "timeout", value: "0", bad: true},
		{name: "timeout", value: "-1", bad: true},
		{name: "timeout", value: "x", bad: true},
		{name: "attempts", value: "4", want: Config{Attempts: 4}},
		{name: "attempts", value: "0", bad: true},
		{name: "max-timeouts", value: "5", want: Config{MaxTimeouts: 5}},
		{name: "max-inflight", value: "6", want: Config{MaxInflight: 6}},
		{name: "max-inflight", value: "many", bad: true},
		{name: "randomize-case", value: "0", want: Config{KeepCase: true}},
		{name: "randomize-case", value: "1", want: Config{}},
		{name: "bind-to", value: "192.0.2.1", want: Config{LocalAddr: netip.MustParseAddr("192.0.2.1")}},
		{name: "bind-to", value: "here", bad: true},
		{name: "initial-probe-timeout", value: "1", want: Config{ProbeInterval: time.Second}},
		{name: "max-probe-timeout", value: "2", want: Config{MaxProbeInterval: 2 * time.Second}},
		{name: "probe-backoff-factor", value: "10", want: Config{ProbeBackoff: 10}},
		{name: "getaddrinfo-allow-skew", value: "0.1", want: Config{Skew: 100 * time.Millisecond}},
		{name: "so-rcvbuf", value: "1000", want: Config{ReadBuffer: 1000}},
		{name: "so-sndbuf", value: "1000", want: Config{WriteBuffer: 1000}},
		{name: "tcp-idle-timeout", value: "7", want: Config{TCPIdle: 7 * time.Second}},
		{name: "edns-udp-size", value: "4096", want: Config{UDPSize: 4096}},
		{name: "edns-udp-size", value: "512", want: Config{UDPSize: -1}},
		{name: "use-vc", want: Config{UseTCP: true}},
		{name: "use-vc", value: "1", bad: true},
		{name: "ignore-tc", want: Config{IgnoreTruncation: true}},
		{name: "nonsense", value: "1", bad: true},
	} {
		var c Config
		err := c.SetOption(tt.name, tt.value)
		if (err != nil) != tt.bad || !reflect.DeepEqual(c, tt.want) {
			t.Errorf("%s %q: %+v, %v", tt.name, tt.value, c, err)
		}
	}
}

func TestServerForms(t *testing.T) {
	for s, want := range map[string]string{
		"192.0.2.1":                      "192.0.2.1:53",
		"192.0.2.1:54":                   "192.0.2.1:54",
		"2001:db8::1":                    "[2001:db8::1]:53",
		"[2001:db8::1]":                  "[2001:db8::1]:53",
		"[2001:db8::1]:54":               "[2001:db8::1]:54",
		"[fe80::1%lo]:54":                "[fe80::1%lo]:54",
		"::ffff:192.0.2.1":               "192.0.2.1:53",
		"udp://192.0.2.1":                "192.0.2.1:53",
		"tcp://192.0.2.1":                "192.0.2.1:53 tcp",
		"tls://192.0.2.1#dns.test":       "192.0.2.1:853 tcp tls dns.test",
		"tls://[2001:db8::1]:1#dns.test": "[2001:db8::1]:1 tcp tls dns.test",
		"tls://192.0.2.1":                "192.0.2.1:853 tcp tls 192.0.2.1",
		"https://192.0.2.1":              "error",
		"name.test":                      "error",
		"192.0.2.1:":                     "error",
		"192.0.2.1:65536":                "error",
		"192.0.2.256":                    "error",
		"2001:db8::1:":                   "error",
		"[2001:db8::1":                   "error",
		"":                               "error",
	} {
		a, err := parseServerAddr(s)
		got := a.addr.String()
		if a.tcp {
			got += " tcp"
		}
		if a.tls {
			got += " tls " + a.name
		}
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", s, got, want)
		}
	}
}

func TestNewResolverErrors(t *testing.T) {
	loop := newLoop(t)
	for name, c := range map[string]*Config{
		"bad server": {Servers: []string{"x"}},
		"bad search": {Search: []string{"a..b"}},
	} {
		if _, err := NewResolver(loop, c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := NewResolver(nil, nil); err == nil {
		t.Error("no loop: no error")
	}
	loop.Close()
	if _, err := NewResolver(loop, nil); err == nil {
		t.Error("closed loop: no error")
	}
}

// Without servers in the file, or without the file, the server is this host.
func TestDefaultServers(t *testing.T) {
	loop := newLoop(t)
	for _, path := range []string{writeFile(t, "resolv.conf", "# nothing\n"), os.DevNull, "/does/not/exist"} {
		r := newResolver(t, loop, &Config{ResolvConf: path})
		if got := r.Servers(); !slices.Equal(got, defaultServers) {
			t.Errorf("%s: servers %v", path, got)
		}
	}
}

// Files that change are read again.
func TestReload(t *testing.T) {
	loop := newLoop(t)
	resolv := writeFile(t, "resolv.conf", "nameserver 192.0.2.1\noptions max-inflight:7\n")
	hosts := writeFile(t, "hosts", "192.0.2.1 host.test\n")
	r := newResolver(t, loop, &Config{ResolvConf: resolv, Hosts: hosts})
	if got := r.Servers(); len(got) != 1 || got[0].String() != "192.0.2.1:53" || r.set.MaxInflight != 7 {
		t.Fatalf("servers %v", got)
	}
	os.WriteFile(resolv, []byte("nameserver 192.0.2.22\noptions timeout:9\n"), 0o600)
	os.WriteFile(hosts, []byte("192.0.2.222 host.test\n"), 0o600)
	check := func(want string) {
		t.Helper()
		if a := lookup(t, r, "host.test", "ip4", nil); addrsString(a.Addrs) != want {
			t.Errorf("got %v, want %s", a, want)
		}
	}
	check("192.0.2.1") // it is too early to look
	r.mu.Lock()
	r.sys.checked = time.Now().Add(-checkInterval)
	r.mu.Unlock()
	check("192.0.2.222")
	if got := r.Servers(); len(got) != 1 || got[0].String() != "192.0.2.22:53" || r.set.Timeout != 9*time.Second || r.set.MaxInflight != 64 {
		t.Errorf("servers %v, settings %+v", got, r.set)
	}
	os.Remove(hosts)
	r.mu.Lock()
	r.sys.checked = time.Time{}
	r.mu.Unlock()
	r.SetServers()
	if _, err := r.Lookup("host.test", "ip4", nil); err != nil {
		t.Fatal(err)
	}
	if n := len(r.sys.hosts.byName); n != 0 {
		t.Errorf("%d hosts are left", n)
	}
}

func TestNSSwitch(t *testing.T) {
	for text, want := range map[string]lookupOrder{
		"hosts: files dns": filesDNS,
		"hosts: dns files": dnsFiles,
		"hosts: files mdns4_minimal [NOTFOUND=return] dns\n": filesDNS,
		"hosts: files":          filesOnly,
		"hosts: mymachines dns": dnsOnly,
		"hosts:":                -1,
		"hosts: mymachines":     -1,
		"passwd: files":         -1,
		"":                      -1,
		"#hosts: dns":           -1,
		"hosts: [a dns":         -1,
	} {
		got, ok := parseNSSwitch(strings.NewReader(text))
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}

// The order of RFC 6724 with made-up source addresses: the examples of its section 10.2.
func TestSortAddrs(t *testing.T) {
	for _, tt := range []struct {
		addrs, want string
		sources     map[string]string
	}{
		{"2001:db8:1::1 198.51.100.121", "2001:db8:1::1 198.51.100.121", map[string]string{"2001:db8:1::1": "2001:db8:1::2", "198.51.100.121": "169.254.13.78"}},
		{"2001:db8:1::1 198.51.100.121", "198.51.100.121 2001:db8:1::1", map[string]string{"2001:db8:1::1": "fe80::1", "198.51.100.121": "198.51.100.117"}},
		{"2001:db8:1::1 10.1.2.3", "2001:db8:1::1 10.1.2.3", map[string]string{"2001:db8:1::1": "2001:db8:1::2", "10.1.2.3": "10.1.2.4"}},
		{"2001:db8:1::1 fe80::1", "fe80::1 2001:db8:1::1", map[string]string{"2001:db8:1::1": "2001:db8:1::2", "fe80::1": "fe80::2"}},
		{"2002:c633:6401::1 2001:db8:1::1", "2002:c633:6401::1 2001:db8:1::1", map[string]string{"2002:c633:6401::1": "2002:c633:6401::2", "2001:db8:1::1": "2002:c633:6401::2"}},
		{"192.0.2.2 192.0.2.1", "192.0.2.2 192.0.2.1", map[string]string{"192.0.2.2": "192.0.2.3", "192.0.2.1": "192.0.2.3"}},
		{"2001:db8::1 192.0.2.1", "192.0.2.1 2001:db8::1", map[string]string{"192.0.2.1": "192.0.2.3"}},
		{"2001:db8:2::1 2001:db8:1::1", "2001:db8:1::1 2001:db8:2::1", map[string]string{"2001:db8:2::1": "2001:db8:1::2", "2001:db8:1::1": "2001:db8:1::2"}},
	} {
		var addrs []netip.Addr
		for s := range strings.FieldsSeq(tt.addrs) {
			addrs = append(addrs, netip.MustParseAddr(s))
		}
		sortAddrs(addrs, func(a netip.Addr) netip.Addr {
			src, _ := netip.ParseAddr(tt.sources[a.String()])
			return src
		})
		if got := addrsString(addrs); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.addrs, got, tt.want)
		}
	}
}

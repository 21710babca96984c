// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// An oracleCase has files for /etc, and what to look up with them.
type oracleCase struct {
	name                    string
	hosts, resolv, nsswitch string
	lookups                 []string // names, or IP addresses for LookupAddr
}

var oracleHosts = `# comment
127.0.0.1	localhost
::1	localhost ip6-localhost
192.0.2.1 One.test one # two.test
192.0.2.2	two.test	TWO three.test.
192.0.2.3 one.test
2001:db8::1 one.test
2001:db8::4 four
192.0.2.300 bad.test
fe80::1%lo zone.test
# 192.0.2.5 five.test
192.0.2.6
`

var oracleNames = []string{
	"one.test", "ONE.TEST", "one.test.", "one", "two.test", "two", "three.test", "four", "bad.test", "zone.test", "five.test",
	"192.0.2.9", "2001:db8::9", "dns.test", "dns", "dns.test.", "many.test", "a.b", "a.b.c", "a.b.c.", "both", "both.x.test", "v6", "",
	".", "..", "a..b", "-a.test", "a-.test", "_srv.test", "1.2.3", "host.onion", strings.Repeat("a", 63), strings.Repeat("a", 64),
	strings.Repeat("a.", 126) + "a", strings.Repeat("a.", 127) + "a", "servfail.test", "bücher.test", "localhost",
}

var oracleAddrs = []string{"192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::4", "127.0.0.1", "192.0.2.50", "2001:db8::50", "192.0.2.51"}

var oracleCases = []oracleCase{
	{name: "usual", hosts: oracleHosts, resolv: "nameserver 127.0.0.1\nsearch x.test y.test\n", nsswitch: "hosts: files dns\n"},
	{name: "ndots", hosts: oracleHosts, resolv: "nameserver 127.0.0.1\nsearch x.test y.test\noptions ndots:2\n", nsswitch: "hosts: files dns\n"},
	{name: "ndots0", resolv: "nameserver 127.0.0.1\nsearch x.test\noptions ndots:0\n"},
	{name: "domain", hosts: oracleHosts, resolv: "nameserver 127.0.0.1\nsearch a.test\ndomain y.test\n"},
	{name: "no search", hosts: oracleHosts, resolv: "nameserver 127.0.0.1\nsearch .\n", nsswitch: "# nothing\npasswd: files\n"},
	{name: "dns first", hosts: oracleHosts + "192.0.2.200 dns.test\n192.0.2.201 only.hosts\n", resolv: "nameserver 127.0.0.1\n", nsswitch: "hosts:dns   files\n",
		lookups: []string{"only.hosts", "dns.test", "192.0.2.201"}},
	{name: "files only", hosts: oracleHosts, resolv: "nameserver 127.0.0.1\n", nsswitch: "hosts: files\n"},
	{name: "dns only", hosts: oracleHosts, resolv: "nameserver 127.0.0.1\n", nsswitch: "hosts: dns\n"},
	{name: "comments", hosts: oracleHosts, resolv: "; search a.test\n#search b.test\nnameserver 127.0.0.1 # one\nsearch x.test # y.test\noptions\nnonsense a\n"},
}

const oracleEnv = "EVDNS_TEST_ORACLE"

// What the system's files say means the same as to package net.
func TestFilesAsPackageNet(t *testing.T) {
	if os.Getenv(oracleEnv) != "" {
		oracleChild(t)
		return
	}
	for _, tt := range oracleCases {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestFilesAsPackageNet$", "-test.v")
			cmd.Env = append(os.Environ(), oracleEnv+"="+tt.name, "GODEBUG=netdns=go", "LOCALDOMAIN=", "RES_OPTIONS=")
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
			}
			out, err := cmd.CombinedOutput()
			if err != nil && len(out) == 0 || strings.Contains(string(out), oracleNoMount) {
				if os.Getuid() != 0 {
					t.Skipf("this system does not let tests have an /etc of their own: %v %s", err, out)
				}
				cmd2 := exec.Command(cmd.Path, cmd.Args[1:]...)
				cmd2.Env = cmd.Env
				cmd2.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
				out, err = cmd2.CombinedOutput()
				if err != nil && len(out) == 0 || strings.Contains(string(out), oracleNoMount) {
					t.Skipf("this system does not let tests have an /etc of their own: %v %s", err, out)
				}
			}
			if err != nil || !strings.Contains(string(out), "PASS") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

const oracleNoMount = "cannot mount"

// oracleChild looks all names up with package net and with this package, in a file system where
// /etc has the files of the case only.
func oracleChild(t *testing.T) {
	i := slices.IndexFunc(oracleCases, func(c oracleCase) bool { return c.name == os.Getenv(oracleEnv) })
	tt := oracleCases[i]
	if err := syscall.Mount("", "/", "", syscall.MS_PRIVATE|syscall.MS_REC, ""); err != nil {
		fmt.Println(oracleNoMount, err)
		return
	}
	if err := syscall.Mount("none", "/etc", "tmpfs", 0, ""); err != nil {
		fmt.Println(oracleNoMount, err)
		return
	}
	for name, text := range map[string]string{"hosts": tt.hosts, "resolv.conf": tt.resolv, "nsswitch.conf": tt.nsswitch} {
		if text == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join("/etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// A new network namespace has no addresses, but the one of the parent is still used.
	s := newServer(t, zoneFunc(map[string][]string{
		"dns.test. A":                  {"$ 60 IN A 192.0.2.100"},
		"dns.x.test. A":                {"$ 60 IN A 192.0.2.101"},
		"dns.y.test. AAAA":             {"$ 60 IN AAAA 2001:db8::101"},
		"a.b. A":                       {"$ 60 IN A 192.0.2.102"},
		"a.b.x.test. A":                {"$ 60 IN A 192.0.2.103"},
		"a.b.c.y.test. A":              {"$ 60 IN A 192.0.2.104"},
		"both.x.test. A":               {"$ 60 IN A 192.0.2.105"},
		"both.x.test. AAAA":            {"$ 60 IN AAAA 2001:db8::105"},
		"v6.y.test. AAAA":              {"$ 60 IN AAAA 2001:db8::106"},
		"_srv.test. A":                 {"$ 60 IN A 192.0.2.107"},
		"many.test. A":                 {"$ 60 IN A 127.0.0.9", "$ 60 IN A 192.0.2.3", "$ 60 IN A 10.0.0.1", "$ 60 IN A 169.254.0.1"},
		"many.test. AAAA":              {"$ 60 IN AAAA 2001:db8::3", "$ 60 IN AAAA ::1", "$ 60 IN AAAA fd00::1", "$ 60 IN AAAA fe80::1", "$ 60 IN AAAA 2002::1"},
		"dns.test.onion. A":            {"$ 60 IN A 192.0.2.108"},
		"50.2.0.192.in-addr.arpa. PTR": {"$ 60 IN PTR dns.test.", "$ 60 IN PTR other.test."},
		"0.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR": {"$ 60 IN PTR v6.test."},
	}))
	goResolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.addr.String())
	}}
	loop := newLoop(t)
	r, err := NewResolver(loop, &Config{Servers: []string{s.addr.String()}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()

	for _, name := range append(oracleNames, tt.lookups...) {
		if name == "localhost" && tt.name == "dns only" {
			continue // it is never asked of DNS here (RFC 6761)
		}
		if strings.HasSuffix(name, "localhost") && tt.hosts == "" {
			continue // as well
		}
		if strings.HasSuffix(name, ".onion") {
			continue // package net says that there is no suitable address
		}
		ips, err := goResolver.LookupIPAddr(context.Background(), name)
		var want []netip.Addr
		for _, ip := range ips {
			addr, _ := netip.AddrFromSlice(ip.IP)
			want = append(want, addr.Unmap().WithZone(ip.Zone))
		}
		a := lookup(t, r, name, "ip", nil)
		if got, want := outcome(addrsString(a.Addrs), a.Err), outcome(addrsString(want), err); got != want {
			t.Errorf("%q: got %s, package net %s", name, got, want)
		}
	}
	for _, addr := range append(oracleAddrs, tt.lookups...) {
		ip, err := netip.ParseAddr(addr)
		if err != nil {
			continue
		}
		want, err := goResolver.LookupAddr(context.Background(), addr)
		r.LookupAddr(ip, nil)
		a := answers(t, loop, 1)[0]
		if got, want := outcome(strings.Join(a.Names, " "), a.Err), outcome(strings.Join(want, " "), err); got != want {
			t.Errorf("%s: got %s, package net %s", addr, got, want)
		}
	}
}

// outcome returns a result, or what matters of the error.
func outcome(s string, err error) string {
	var e *net.DNSError
	if errors.As(err, &e) {
		return fmt.Sprintf("error %q of %q, not found: %v, timeout: %v, temporary: %v", e.Err, e.Name, e.IsNotFound, e.IsTimeout, e.IsTemporary)
	}
	if err != nil {
		return "error " + err.Error()
	}
	return s
}

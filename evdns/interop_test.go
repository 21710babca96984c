// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// program returns the path of a program of other authors, or skips the test.
func program(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// The server, asked by dig and drill.
func TestClientsOfOthers(t *testing.T) {
	s := serve(t, "dns", nil, answerTestZone)
	host, port, _ := net.SplitHostPort(s.Addr().String())
	for _, tt := range []struct {
		args []string // of dig
		want []string // words of the output
	}{
		{[]string{"v4.test", "A"}, []string{"NOERROR", "v4.test. 60 IN A 192.0.2.1", "flags: qr aa rd;", "EDNS: version: 0, flags:; udp: 1232"}},
		{[]string{"+tcp", "v4.test", "AAAA"}, []string{"v4.test. 60 IN AAAA 2001:db8::1", "(TCP)"}},
		{[]string{"+noedns", "alias.test"}, []string{"alias.test. 10 IN CNAME v4.test.", "v4.test. 60 IN A 192.0.2.1"}},
		{[]string{"-x", "192.0.2.1"}, []string{"1.2.0.192.in-addr.arpa. 60 IN PTR v4.test."}},
		{[]string{"no.test"}, []string{"NXDOMAIN", "test. 600 IN SOA ns.test. mail.test. 1 2 3 4 300"}},
		{[]string{"big.test", "TXT"}, []string{"Truncated, retrying in TCP mode", `big.test. 60 IN TXT "text 199"`}},
		{[]string{"+ignore", "+dnssec", "+bufsize=600", "big.test", "TXT"}, []string{"flags: qr aa tc rd;", "flags: do;"}},
		{[]string{"+ednsopt=8:00012000c0000200", "+cookie", "v4.test"}, []string{"NOERROR", "v4.test. 60 IN A 192.0.2.1"}},
		{[]string{"+edns=1", "+noednsnegotiation", "v4.test"}, []string{"BADVERS"}},
		{[]string{"+opcode=notify", "v4.test"}, []string{"NOTIMP"}},
		{[]string{"+header-only"}, []string{"FORMERR"}},
		{[]string{"+tcp", "+keepopen", "v4.test", "A", "v4.test", "AAAA"}, []string{"v4.test. 60 IN A 192.0.2.1", "v4.test. 60 IN AAAA 2001:db8::1"}},
	} {
		t.Run("dig "+strings.Join(tt.args, " "), func(t *testing.T) {
			args := append([]string{"@" + host, "-p", port, "+tries=2", "+time=10"}, tt.args...)
			checkOutput(t, program(t, "dig"), args, tt.want)
		})
	}
	for _, tt := range []struct{ args, want []string }{
		{[]string{"v4.test", "A"}, []string{"v4.test. 60 IN A 192.0.2.1"}},
		{[]string{"-t", "v4.test", "AAAA"}, []string{"v4.test. 60 IN AAAA 2001:db8::1"}},
		{[]string{"-x", "192.0.2.1"}, []string{"1.2.0.192.in-addr.arpa. 60 IN PTR v4.test."}},
		{[]string{"no.test"}, []string{"NXDOMAIN"}},
	} {
		t.Run("drill "+strings.Join(tt.args, " "), func(t *testing.T) {
			args := append([]string{"-p", port, "@" + host}, tt.args...)
			checkOutput(t, program(t, "drill"), args, tt.want)
		})
	}
}

// checkOutput runs a program and looks for what it must print, whatever the spaces.
func checkOutput(t *testing.T, path string, args, want []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	got := strings.Join(strings.Fields(string(out)), " ")
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("%s %q (%v) does not print %q:\n%s", path, args, err, w, out)
		}
	}
}

// The resolver asks servers of others: unbound, and dnsmasq.
func TestServersOfOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has neither unbound nor dnsmasq")
	}
	texts := func(n int) []string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf("%d %s", i, strings.Repeat("x", 150)))
		}
		return all
	}
	for name, start := range map[string]func(t *testing.T, port string) *exec.Cmd{
		"unbound": func(t *testing.T, port string) *exec.Cmd {
			conf := `
server:
	verbosity: 0
	interface: 127.0.0.1@` + port + `
	port: ` + port + `
	username: ""
	chroot: ""
	pidfile: ""
	directory: "` + t.TempDir() + `"
	do-daemonize: no
	use-syslog: no
	module-config: "iterator"
	do-not-query-localhost: no
	local-zone: "test." static
	local-data: "test. 600 IN SOA ns.test. mail.test. 1 2 3 4 300"
	local-data: "v4.test. 60 IN A 192.0.2.1"
	local-data: "both.test. 60 IN A 192.0.2.2"
	local-data: "both.test. 60 IN AAAA 2001:db8::2"
	local-data: "mail.test. 60 IN MX 10 v4.test."
	local-data-ptr: "192.0.2.1 60 v4.test."
`
			for _, s := range texts(20) {
				conf += "	local-data: 'big.test. 60 IN TXT \"" + s + "\"'\n"
			}
			conf += "remote-control:\n	control-enable: no\n"
			return exec.Command(program(t, "unbound"), "-d", "-c", writeFile(t, "unbound.conf", conf))
		},
		"dnsmasq": func(t *testing.T, port string) *exec.Cmd {
			args := []string{"--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces", "--listen-address=127.0.0.1",
				"--port=" + port, "--user=", "--pid-file=", "--local=/test/", "--local-ttl=60", "--auth-ttl=60",
				"--host-record=v4.test,192.0.2.1", "--host-record=both.test,192.0.2.2,2001:db8::2", "--mx-host=mail.test,v4.test,10", "--cname=alias.test,v4.test"}
			for _, s := range texts(20) {
				args = append(args, "--txt-record=big.test,"+s)
			}
			return exec.Command(program(t, "dnsmasq"), args...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			addr := startServer(t, start)
			loop := newLoop(t)
			r := newResolver(t, loop, &Config{Servers: []string{addr}, Timeout: 5 * time.Second, NoPrefetch: true})
			a := lookup(t, r, "v4.test", "ip", nil)
			if addrsString(a.Addrs) != "192.0.2.1" || a.TTL != 60*time.Second {
				t.Errorf("v4.test: %+v", a)
			}
			a = lookup(t, r, "both.test", "ip", nil)
			slices.SortFunc(a.Addrs, netip.Addr.Compare)
			if addrsString(a.Addrs) != "192.0.2.2 2001:db8::2" {
				t.Errorf("both.test: %+v", a)
			}
			a = lookup(t, r, "no.test", "ip", nil)
			if e, ok := a.Err.(*net.DNSError); !ok || !e.IsNotFound || a.RCode != dnsmessage.RCodeNameError {
				t.Errorf("no.test: %+v", a)
			}
			r.LookupAddr(netip.MustParseAddr("192.0.2.1"), nil)
			if a := answers(t, loop, 1)[0]; len(a.Names) != 1 || a.Names[0] != "v4.test." {
				t.Errorf("192.0.2.1: %+v", a)
			}
			if a := query(t, r, "mail.test", dnsmessage.TypeMX, nil); a.Err != nil || len(a.Records()) != 1 {
				t.Errorf("MX of mail.test: %+v", a)
			}
			// 20 texts need TCP.
			if a := query(t, r, "big.test", dnsmessage.TypeTXT, nil); a.Err != nil || len(a.Records()) != 20 {
				t.Errorf("TXT of big.test: %v, %d records", a.Err, len(a.Records()))
			}
			if name == "dnsmasq" {
				if a := lookup(t, r, "alias.test", "ip4", nil); addrsString(a.Addrs) != "192.0.2.1" || a.CanonicalName != "v4.test." {
					t.Errorf("alias.test: %+v", a)
				}
			}
			// Many at once, by UDP and by TCP.
			for i := range 300 {
				r.Query(fmt.Sprintf("n%d.test", i), dnsmessage.TypeA, dnsmessage.ClassINET, &QueryConfig{UseTCP: i%2 == 0})
			}
			for _, a := range answers(t, loop, 300) {
				if e, ok := a.Err.(*net.DNSError); !ok || !e.IsNotFound {
					t.Errorf("%v: %v", a.Query, a.Err)
				}
			}
		})
	}
}

// startServer starts a program, which start returns for a port, and waits until it accepts
// connections. It ends with the test.
func startServer(t *testing.T, start func(t *testing.T, port string) *exec.Cmd) (addr string) {
	t.Helper()
	const tries = 5 // another process may take the port before the program does
	for i := 0; ; i++ {
		s := newServer(t, nil) // a port that is free for both UDP and TCP
		s.close()
		cmd := start(t, strconv.Itoa(int(s.addr.Port())))
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		exited := make(chan struct{})
		go func() {
			defer close(exited)
			cmd.Wait()
		}()
		t.Cleanup(func() {
			cmd.Process.Kill()
			<-exited
		})
		if accepts(s.addr.String(), exited) {
			return s.addr.String()
		}
		cmd.Process.Kill()
		<-exited
		if i == tries {
			t.Fatalf("%s does not accept connections: %s", cmd.Path, out.String())
		}
	}
}

// accepts waits until somebody listens on the address. It returns false if exited is closed
// before.
func accepts(addr string, exited <-chan struct{}) bool {
	for until := time.Now().Add(testLimit); time.Now().Before(until); {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			select {
			case <-exited: // it was somebody else
				return false
			default:
				return true
			}
		}
		select {
		case <-exited:
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
	return false
}

// Package net's resolver asks the server.
func TestPackageNetAsks(t *testing.T) {
	s := serve(t, "dns", nil, answerTestZone)
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.Addr().String())
	}}
	ctx, cancel := context.WithTimeout(context.Background(), testLimit)
	defer cancel()
	addrs, err := r.LookupNetIP(ctx, "ip4", "v4.test.")
	if err != nil || len(addrs) != 1 {
		t.Errorf("got %v, %v", addrs, err)
	}
	texts, err := r.LookupTXT(ctx, "big.test.")
	if err != nil || len(texts) != 200 {
		t.Errorf("got %d texts, %v", len(texts), err)
	}
	if _, err := r.LookupNetIP(ctx, "ip", "no.test."); err == nil {
		t.Error("no.test: no error")
	}
}

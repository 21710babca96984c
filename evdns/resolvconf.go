// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// A lookupOrder says whether the hosts file or DNS is asked first.
type lookupOrder int

const (
	filesDNS lookupOrder = iota
	dnsFiles
	filesOnly
	dnsOnly
)

// A resolvConf is what a file such as /etc/resolv.conf says. Zero values mean that it says
// nothing about them.
type resolvConf struct {
	servers []netip.AddrPort
	search  []string // with final dots; empty: none is named
	lookup  []string // OpenBSD's order: "file", "bind"

	ndots    int // -1: not said
	timeout  time.Duration
	attempts int
	rotate   bool // begin with another server each time
	single   bool // ask for AAAA only once A has been answered
	useTCP   bool
	trustAD  bool
	noReload bool

	other []string // options that resolv.conf(5) does not have, for Config.SetOption
}

// maxConfServers is how many name servers of a file are used, as everywhere else.
const maxConfServers = 3

// parseResolvConf reads a file in the format of resolv.conf(5). What it does not understand
// it ignores, as all resolvers do.
func parseResolvConf(r io.Reader) *resolvConf {
	c := &resolvConf{ndots: -1}
	for line := range lines(r) {
		if line == "" || line[0] == ';' || line[0] == '#' {
			continue
		}
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if addr, err := netip.ParseAddr(f[1]); err == nil && len(c.servers) < maxConfServers {
				c.servers = append(c.servers, netip.AddrPortFrom(addr, 53))
			}
		case "domain":
			c.search = []string{rooted(f[1])}
		case "search":
			c.search = nil
			for _, domain := range f[1:] {
				if domain = rooted(domain); domain != "." {
					c.search = append(c.search, domain)
				}
			}
		case "lookup":
			c.lookup = f[1:]
		case "options":
			for _, option := range f[1:] {
				c.option(option)
			}
		}
	}
	return c
}

// option notes one of the words after "options".
func (c *resolvConf) option(s string) {
	name, value, _ := strings.Cut(s, ":")
	switch name {
	case "ndots":
		c.ndots = min(leadingNumber(value), 15)
	case "timeout":
		c.timeout = time.Duration(max(leadingNumber(value), 1)) * time.Second
	case "attempts":
		c.attempts = max(leadingNumber(value), 1)
	case "rotate":
		c.rotate = true
	case "single-request", "single-request-reopen":
		c.single = true
	case "use-vc", "usevc", "tcp":
		c.useTCP = true
	case "trust-ad":
		c.trustAD = true
	case "no-reload":
		c.noReload = true
	case "edns0": // always
	default:
		c.other = append(c.other, s)
	}
}

// leadingNumber returns the number at the beginning of s, at least 0 and at most a million.
func leadingNumber(s string) int {
	const most = 1e6
	n := 0
	for i := 0; i < len(s) && '0' <= s[i] && s[i] <= '9' && n < most; i++ {
		n = n*10 + int(s[i]-'0')
	}
	return min(n, most)
}

// hostDomain returns the search list of a host whose files name none: its own domain.
func hostDomain() []string {
	host, err := os.Hostname()
	if err != nil {
		return nil
	}
	if _, domain, ok := strings.Cut(host, "."); ok && domain != "" {
		return []string{rooted(domain)}
	}
	return nil
}

// parseNSSwitch reads a file in the format of nsswitch.conf(5). It returns the order of its
// sources "files" and "dns" for hosts, and false if the file does not say it.
func parseNSSwitch(r io.Reader) (lookupOrder, bool) {
	for line := range lines(r) {
		line, _, _ = strings.Cut(line, "#")
		database, sources, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(database) != "hosts" {
			continue
		}
		// Criteria such as [NOTFOUND=return] are about sources that are not known here.
		for {
			before, rest, ok := strings.Cut(sources, "[")
			if !ok {
				break
			}
			_, after, _ := strings.Cut(rest, "]")
			sources = before + " " + after
		}
		return orderOf(strings.Fields(sources), "files", "dns")
	}
	return filesDNS, false
}

// orderOf returns the order in which the words files and dns stand in sources, and false if
// neither does.
func orderOf(sources []string, files, dns string) (lookupOrder, bool) {
	f, d := -1, -1
	for i, s := range sources {
		switch {
		case s == files && f < 0:
			f = i
		case s == dns && d < 0:
			d = i
		}
	}
	switch {
	case f < 0 && d < 0:
		return filesDNS, false
	case d < 0:
		return filesOnly, true
	case f < 0:
		return dnsOnly, true
	case d < f:
		return dnsFiles, true
	}
	return filesDNS, true
}

// lines returns the lines of r, without their ends. A line that is longer than 64 KiB and all
// after it are left out.
func lines(r io.Reader) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		s := bufio.NewScanner(r)
		for s.Scan() {
			if !yield(s.Text()) {
				return
			}
		}
	}
}

// parseServer reads the address of a name server: an IP address, with a port or without.
func parseServer(s string, port uint16) (netip.AddrPort, error) {
	if a, err := netip.ParseAddrPort(s); err == nil {
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
	}
	if n := len(s); n > 2 && s[0] == '[' && s[n-1] == ']' {
		s = s[1 : n-1]
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.AddrPort{}, errorf("server %s: neither an IP address nor an address with a port", strconv.Quote(s))
	}
	return netip.AddrPortFrom(a.Unmap(), port), nil
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"cmp"
	"math/bits"
	"net"
	"net/netip"
	"slices"
	"time"
)

// sortAddrs puts addrs into the order in which to try them (RFC 6724, section 6). source
// returns the address that this host would send from, the zero Addr if it cannot send there.
// Addresses that the rules do not distinguish keep their order.
func sortAddrs(addrs []netip.Addr, source func(netip.Addr) netip.Addr) {
	if len(addrs) < 2 {
		return
	}
	ds := make([]destination, len(addrs))
	for i, a := range addrs {
		src := source(a)
		ds[i] = destination{a, src, policyOf(a), policyOf(src)}
	}
	slices.SortStableFunc(ds, compareDestinations)
	for i := range ds {
		addrs[i] = ds[i].addr
	}
}

// A destination is an address, and what the rules look at.
type destination struct {
	addr, source             netip.Addr
	addrPolicy, sourcePolicy policy
}

// compareDestinations returns a negative number if a is better. Rules 3, 4 and 7 need what
// systems do not tell.
func compareDestinations(a, b destination) int {
	// Rule 1: avoid unusable destinations.
	if !a.source.IsValid() || !b.source.IsValid() {
		return prefer(a.source.IsValid(), b.source.IsValid())
	}
	// Rule 2: prefer matching scope.
	if c := prefer(a.addrPolicy.scope == a.sourcePolicy.scope, b.addrPolicy.scope == b.sourcePolicy.scope); c != 0 {
		return c
	}
	// Rule 5: prefer matching label.
	if c := prefer(a.addrPolicy.label == a.sourcePolicy.label, b.addrPolicy.label == b.sourcePolicy.label); c != 0 {
		return c
	}
	// Rule 6: prefer higher precedence.
	if c := cmp.Compare(b.addrPolicy.precedence, a.addrPolicy.precedence); c != 0 {
		return c
	}
	// Rule 8: prefer smaller scope.
	if c := cmp.Compare(a.addrPolicy.scope, b.addrPolicy.scope); c != 0 {
		return c
	}
	// Rule 9: prefer the longest matching prefix. With IPv4 it would defeat round-robin
	// DNS, and nothing is known about how prefixes are given out.
	if a.addr.Is6() && b.addr.Is6() {
		return cmp.Compare(commonPrefix(b.source, b.addr), commonPrefix(a.source, a.addr))
	}
	return 0
}

// prefer returns -1 if only a is true, 1 if only b is.
func prefer(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// commonPrefix returns how many leading bits two IPv6 addresses share, at most the 64 that
// name a network.
func commonPrefix(a, b netip.Addr) int {
	if !a.Is6() || !b.Is6() {
		return 0
	}
	x, y := a.As16(), b.As16()
	n := 0
	for i := range 8 {
		if d := x[i] ^ y[i]; d != 0 {
			return n + bits.LeadingZeros8(d)
		}
		n += 8
	}
	return n
}

// A policy is what RFC 6724 says about an address.
type policy struct {
	scope             uint8
	precedence, label uint8
}

// Scopes, numbered as in multicast addresses.
const (
	scopeLink   = 0x2
	scopeSite   = 0x5
	scopeGlobal = 0xe
)

// policies is the table of RFC 6724, section 2.1: the longest prefixes first.
var policies = []struct {
	prefix            netip.Prefix
	precedence, label uint8
}{
	{netip.MustParsePrefix("::1/128"), 50, 0},
	{netip.MustParsePrefix("::/96"), 1, 3},
	{netip.MustParsePrefix("2001::/32"), 5, 5},
	{netip.MustParsePrefix("2002::/16"), 30, 2},
	{netip.MustParsePrefix("3ffe::/16"), 1, 12},
	{netip.MustParsePrefix("fec0::/10"), 1, 11},
	{netip.MustParsePrefix("fc00::/7"), 3, 13},
	{netip.MustParsePrefix("::/0"), 40, 1},
}

func policyOf(a netip.Addr) policy {
	if !a.IsValid() {
		return policy{}
	}
	p := policy{scope: scopeOf(a)}
	if a = a.Unmap(); a.Is4() {
		p.precedence, p.label = 35, 4 // those of ::ffff:0:0/96
		return p
	}
	a = a.WithZone("")
	for _, e := range policies {
		if e.prefix.Contains(a) {
			p.precedence, p.label = e.precedence, e.label
			break
		}
	}
	return p
}

func scopeOf(a netip.Addr) uint8 {
	switch a16 := a.As16(); {
	case a.IsLoopback() || a.IsLinkLocalUnicast():
		return scopeLink
	case a.Is6() && a.IsMulticast():
		return a16[1] & 0xf
	case a.Is6() && a16[0] == 0xfe && a16[1]&0xc0 == 0xc0:
		return scopeSite
	}
	return scopeGlobal
}

// A sources finds the addresses that this host would send from. It keeps what the system has
// said for a while: to ask costs five system calls.
type sources struct {
	since time.Time
	known map[netip.Prefix]netip.Addr
}

const (
	sourcesAge = 5 * time.Second
	maxSources = 4096 // arbitrary
)

// of returns the address from which this host would send to a; the zero Addr if it has none.
func (s *sources) of(a netip.Addr, now time.Time) netip.Addr {
	bits := 24 // addresses of one network have one route, almost always
	if a.Is6() {
		bits = 64
	}
	prefix, err := a.Prefix(bits)
	if err != nil || a.Zone() != "" {
		return sourceFor(a)
	}
	if now.Sub(s.since) >= sourcesAge || len(s.known) >= maxSources {
		s.since, s.known = now, make(map[netip.Prefix]netip.Addr)
	}
	src, ok := s.known[prefix]
	if !ok {
		src = sourceFor(a)
		s.known[prefix] = src
	}
	return src
}

// sourceFor asks the system. It connects a UDP socket, which sends nothing.
func sourceFor(a netip.Addr) netip.Addr {
	const port = 9 // discard; any would do
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, port)))
	if err != nil {
		return netip.Addr{}
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}

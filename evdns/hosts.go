// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"io"
	"net/netip"
	"strings"
)

// A hosts is what a file such as /etc/hosts says. It is not changed once it is made.
type hosts struct {
	byName map[string]hostEntry
	byAddr map[netip.Addr][]string // in the order of the file; names with a dot have a final dot as well
}

// A hostEntry has the addresses of a name.
type hostEntry struct {
	addrs     []netip.Addr
	canonical string // the first name of the line that has named it first, with a final dot
}

// parseHosts reads a file in the format of hosts(5). Lines without an IP address are ignored.
func parseHosts(r io.Reader) *hosts {
	h := &hosts{byName: map[string]hostEntry{}, byAddr: map[netip.Addr][]string{}}
	for line := range lines(r) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(f[0])
		if err != nil {
			continue
		}
		for _, name := range f[1:] {
			full := name
			if strings.Contains(name, ".") {
				full = rooted(name)
			}
			h.byAddr[addr] = append(h.byAddr[addr], full)
			key := lower(rooted(name))
			e, ok := h.byName[key]
			if !ok {
				e.canonical = lower(rooted(f[1]))
			}
			e.addrs = append(e.addrs, addr)
			h.byName[key] = e
		}
	}
	return h
}

// lookup returns the addresses and the canonical name of a host; no addresses if the file
// does not have it.
func (h *hosts) lookup(host string) ([]netip.Addr, string) {
	if h == nil {
		return nil, ""
	}
	e := h.byName[lower(rooted(host))]
	return e.addrs, e.canonical
}

// lookupAddr returns the names of addr.
func (h *hosts) lookupAddr(addr netip.Addr) []string {
	if h == nil {
		return nil
	}
	return h.byAddr[addr]
}

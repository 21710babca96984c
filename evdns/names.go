// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// maxName is the length of the longest name, with the final dot.
const maxName = 254

// rooted returns name with a final dot.
func rooted(name string) string {
	if strings.HasSuffix(name, ".") {
		return name
	}
	return name + "."
}

// lowerByte returns b, and a small letter if b is an ASCII capital letter. DNS compares names
// in this way (RFC 4343).
func lowerByte(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		b += 'a' - 'A'
	}
	return b
}

// lower returns s with small ASCII letters. It allocates only if s has capital letters.
func lower(s string) string {
	for i := range len(s) {
		if lowerByte(s[i]) != s[i] {
			b := []byte(s)
			for ; i < len(b); i++ {
				b[i] = lowerByte(b[i])
			}
			return string(b)
		}
	}
	return s
}

// equalFold reports whether a and b are equal if ASCII letters are compared without regard to
// case.
func equalFold[A, B []byte | string](a A, b B) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lowerByte(a[i]) != lowerByte(b[i]) {
			return false
		}
	}
	return true
}

// isHostName reports whether s can be the name of a host: labels of letters, digits, hyphens
// and underscores, of which at least one is no number. These are the names that package net
// looks up.
func isHostName(s string) bool {
	if s == "." {
		return true
	}
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > maxName-1 {
		return false
	}
	numeric := true
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			switch c := lowerByte(label[i]); {
			case 'a' <= c && c <= 'z', c == '_', c == '-':
				numeric = false
			case '0' <= c && c <= '9':
			default:
				return false
			}
		}
	}
	return !numeric
}

// isWireName reports whether s, which has a final dot, can be sent in a question: labels of 1
// to 63 bytes of any kind.
func isWireName(s string) bool {
	if s == "." {
		return true
	}
	if len(s) > maxName || !strings.HasSuffix(s, ".") {
		return false
	}
	for label := range strings.SplitSeq(s[:len(s)-1], ".") {
		if label == "" || len(label) > 63 {
			return false
		}
	}
	return true
}

// isBelow reports whether name is domain or lies below it. Both have a final dot.
func isBelow(name, domain string) bool {
	if domain == "." {
		return true
	}
	n := len(name) - len(domain)
	return n >= 0 && equalFold(name[n:], domain) && (n == 0 || name[n-1] == '.')
}

// reverseName returns the name whose PTR records have the names of addr. A zone is ignored.
func reverseName(addr netip.Addr) string {
	const hex = "0123456789abcdef"
	addr = addr.Unmap()
	var b []byte
	if addr.Is4() {
		a := addr.As4()
		for i := 3; i >= 0; i-- {
			b = append(strconv.AppendUint(b, uint64(a[i]), 10), '.')
		}
		return string(append(b, "in-addr.arpa."...))
	}
	a := addr.As16()
	for i := 15; i >= 0; i-- {
		b = append(b, hex[a[i]&15], '.', hex[a[i]>>4], '.')
	}
	return string(append(b, "ip6.arpa."...))
}

// A question is what is asked. Its name has a final dot and small letters.
type question struct {
	name  string
	typ   dnsmessage.Type
	class dnsmessage.Class
}

// searchList returns the names to ask for host, in their order. search has the domains of the
// search list, ndots the number of dots from which on host is tried without them first. If
// host has a final dot, only it is asked. No name is returned twice in a row.
func searchList(host string, search []string, ndots int) []string {
	if !isHostName(host) || isOnion(host) {
		return nil
	}
	if strings.HasSuffix(host, ".") {
		return []string{lower(host)}
	}
	host = lower(host) + "."
	first := strings.Count(host, ".")-1 >= ndots
	names := make([]string, 0, len(search)+1)
	if first {
		names = append(names, host)
	}
	for _, domain := range search {
		if domain = strings.TrimPrefix(domain, "."); domain == "" {
			continue
		}
		name := host + lower(rooted(domain))
		if len(name) <= maxName && !isOnion(name) {
			names = append(names, name)
		}
	}
	if !first {
		names = append(names, host)
	}
	return names
}

// isOnion reports whether host is a name of Tor, which must not be sent to DNS (RFC 7686).
func isOnion(host string) bool {
	return isBelow(rooted(host), "onion.")
}

// isLocalhost reports whether host, with or without a final dot, always means this host
// (RFC 6761).
func isLocalhost(host string) bool {
	return isBelow(rooted(host), "localhost.")
}

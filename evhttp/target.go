// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"net/url"
	"strings"
)

// checkTarget checks that the target has one of the four forms of RFC 9112, 3.2:
//
//	/path?query            most requests
//	http://host/path?query requests to a proxy; allowed for all
//	host:port              CONNECT only
//	*                      OPTIONS only
//
// and that each % in a path stands before two hexadecimal digits. Bytes above 0x7f, which a
// client should have encoded, are allowed; they frame nothing.
func (h *head) checkTarget(p []byte) error {
	for _, c := range p {
		if c == ' ' {
			return errRequestLine
		}
	}
	if h.method == "CONNECT" {
		if p[0] == '/' || !validAuthority(p) || !validURL("http://"+string(p)) {
			return errTarget
		}
		return nil
	}
	if p[0] != '/' {
		if len(p) == 1 && p[0] == '*' {
			if h.method == "OPTIONS" {
				return nil
			}
			return errTarget
		}
		rest, ok := cutScheme(p)
		if !ok {
			return errTarget
		}
		n := authorityLen(rest)
		if n == 0 || !validAuthority(rest[:n]) || !validURL(string(p)) {
			return errTarget
		}
		p = rest[n:]
	}
	for i := 0; i < len(p) && p[i] != '?'; i++ {
		if p[i] == '%' && (i+2 >= len(p) || !isHex(p[i+1]) || !isHex(p[i+2])) {
			return errTarget
		}
	}
	return nil
}

// validURL asks package net/url about one of the rare forms.
func validURL(s string) bool {
	_, err := url.ParseRequestURI(s)
	return err == nil
}

// cutScheme cuts http:// or https:// off p.
func cutScheme[T string | []byte](p T) (rest T, ok bool) {
	for _, scheme := range [...]string{"http://", "https://"} {
		if len(p) > len(scheme) && equalFold(p[:len(scheme)], scheme) {
			return p[len(scheme):], true
		}
	}
	return p, false
}

// authorityLen returns how long the host with its port is that p begins with.
func authorityLen[T string | []byte](p T) int {
	i := 0
	for i < len(p) && p[i] != '/' && p[i] != '?' && p[i] != '#' {
		i++
	}
	return i
}

// validAuthority reports whether p can be a host with a port. User information is refused: it
// only deceives.
func validAuthority(p []byte) bool {
	for _, c := range p {
		if !isHostByte(c) || c == '%' {
			return false
		}
	}
	return true
}

func isHex(c byte) bool {
	return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f'
}

// split returns the parts of the target: the host of an absolute one or of CONNECT, the path,
// which is encoded, and the query.
func (h *head) split() (host, path, query string) {
	target := h.str(h.target)
	if h.method == "CONNECT" {
		return target, "", ""
	}
	if rest, ok := cutScheme(target); ok {
		n := authorityLen(rest)
		host, target = rest[:n], rest[n:]
		if target == "" || target[0] != '/' {
			target = "/" + target
		}
	}
	path, query, _ = strings.Cut(target, "?")
	return host, path, query
}

// host returns the host that the request is for, as it was sent. The one in the target counts
// more than the field Host (RFC 9112, 3.2.2).
func (h *head) host() string {
	if h.raw[h.target.from] != '/' {
		if host, _, _ := h.split(); host != "" {
			return host
		}
	}
	host, _ := h.get("Host")
	return host
}

// path returns the path with its escapes decoded.
func (h *head) path() string {
	_, path, _ := h.split()
	if strings.IndexByte(path, '%') < 0 {
		return path
	}
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return path // checkTarget lets none of these through
	}
	return decoded
}

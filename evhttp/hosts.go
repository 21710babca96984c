// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"net"
	"strings"
	"sync"
)

// Hosts is a table of virtual hosts: each pattern has a value, such as a handler or a folder.
// Look for [Request.Host] in it. The zero value is an empty table. All methods are safe for
// concurrent use.
//
// A pattern is a name, or one in which * stands for any characters: "*.example.com". A name
// counts more than a pattern with *, and of those the longest that matches counts. Case does not
// matter, and ports are ignored.
type Hosts[T any] struct {
	mu    sync.RWMutex
	names map[string]T
	globs []glob[T] // the longest first
}

type glob[T any] struct {
	pattern string
	value   T
}

// Set gives a pattern its value, in place of the one that it had.
func (h *Hosts[T]) Set(pattern string, value T) {
	pattern = strings.ToLower(pattern)
	h.mu.Lock()
	defer h.mu.Unlock()
	if !strings.Contains(pattern, "*") {
		if h.names == nil {
			h.names = make(map[string]T)
		}
		h.names[pattern] = value
		return
	}
	at := len(h.globs)
	for i, g := range h.globs {
		if g.pattern == pattern {
			h.globs[i].value = value
			return
		}
		if len(g.pattern) < len(pattern) {
			at = min(at, i)
		}
	}
	h.globs = append(h.globs, glob[T]{})
	copy(h.globs[at+1:], h.globs[at:])
	h.globs[at] = glob[T]{pattern, value}
}

// Delete removes a pattern, and reports whether it was there.
func (h *Hosts[T]) Delete(pattern string) bool {
	pattern = strings.ToLower(pattern)
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.names[pattern]; ok {
		delete(h.names, pattern)
		return true
	}
	for i, g := range h.globs {
		if g.pattern == pattern {
			h.globs = append(h.globs[:i:i], h.globs[i+1:]...)
			return true
		}
	}
	return false
}

// Find returns the value for a host, which may have a port, and whether there is one.
func (h *Hosts[T]) Find(host string) (T, bool) {
	host = strings.ToLower(stripPort(host))
	h.mu.RLock()
	defer h.mu.RUnlock()
	if value, ok := h.names[host]; ok {
		return value, true
	}
	for _, g := range h.globs {
		if matches(g.pattern, host) {
			return g.value, true
		}
	}
	var zero T
	return zero, false
}

func stripPort(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

// matches reports whether host is pattern, where each * stands for any characters. It takes
// each piece between two * where it occurs first, so it never goes back.
func matches(pattern, host string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == host
	}
	host, ok := strings.CutPrefix(host, first)
	if !ok {
		return false
	}
	for {
		piece, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(host, piece)
		}
		i := strings.Index(host, piece)
		if i < 0 {
			return false
		}
		host, rest = host[i+len(piece):], after
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"net/http"
	"net/url"
	"strings"
)

// redirect returns the request that follows resp, or nil if the call does not follow it: since that
// is no redirect, the call has followed as many as it may, or the body cannot be sent again. The
// rules are those of http.Client.
func (c *Call) redirect(resp *Response) *http.Request {
	if c.hops >= c.cl.conf.Redirects || c.rt != nil {
		return nil
	}
	old := c.req
	m := method(old)
	body := true
	switch resp.Status {
	case 301, 302, 303:
		if m != "GET" && m != "HEAD" {
			m = "GET"
		}
		body = false
	case 307, 308:
		if c.pump != nil || c.Upload && !c.has(callNoBody) {
			return nil
		}
	default:
		return nil
	}
	location := resp.Header("Location")
	if location == "" {
		return nil
	}
	u, err := old.URL.Parse(location)
	if err != nil {
		return nil
	}
	if u.Fragment == "" {
		u.Fragment = old.URL.Fragment
	}
	next := old.Clone(old.Context())
	next.Method, next.URL, next.Host = m, u, ""
	if checkRequest(next) != nil {
		return nil
	}
	if old.Host != "" && old.Host != old.URL.Host && !strings.Contains(location, "://") {
		next.Host = old.Host // a relative redirect keeps the Host that the program has set
	}
	if !body {
		for _, name := range []string{"Content-Type", "Content-Encoding", "Content-Language", "Content-Location", "Expect"} {
			next.Header.Del(name)
		}
		next.Trailer = nil
	}
	if !sameDomain(u.Hostname(), c.Request.URL.Hostname()) {
		for _, name := range []string{"Authorization", "Www-Authenticate", "Cookie", "Cookie2", "Proxy-Authorization", "Proxy-Authenticate"} {
			next.Header.Del(name)
		}
	}
	if old.URL.Scheme == "https" && u.Scheme == "http" {
		next.Header.Del("Referer")
	} else if c.Request.Header.Get("Referer") == "" {
		if next.Header == nil {
			next.Header = make(http.Header)
		}
		next.Header.Set("Referer", withoutUser(old.URL))
	}
	if !body {
		c.body, c.length = nil, 0
		c.flags |= callNoBody
		c.closePump()
	}
	return next
}

// sameDomain reports whether host is domain, or within it.
func sameDomain(host, domain string) bool {
	host, domain = strings.ToLower(host), strings.ToLower(domain)
	if host == domain {
		return true
	}
	if strings.ContainsAny(host, ":%") {
		return false // an IPv6 address
	}
	return strings.HasSuffix(host, "."+domain)
}

// withoutUser returns u without user information and fragment.
func withoutUser(u *url.URL) string {
	v := *u
	v.User, v.Fragment = nil, ""
	return v.String()
}

// follow sends the call on its way to next.
func (c *Call) follow(next *http.Request) {
	c.hops++
	c.req = next
	c.resp = nil
	c.written = 0
	c.tries = 0
	c.flags &^= callSending | callSent | callWantsRoom
	c.route()
}

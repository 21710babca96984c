// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"encoding/base64"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"sync"
)

// appendRequest appends the head of the request to p. The caller holds mu.
func (c *Call) appendRequest(p []byte) []byte {
	r, conf := c.req, &c.cl.conf
	m := method(r)
	p = append(append(p, m...), ' ')
	host := or(r.Host, r.URL.Host)
	absolute := c.host.proxy != nil && !c.host.key.secure && m != http.MethodConnect
	switch {
	case m == http.MethodConnect && r.URL.Path == "":
		p = append(p, host...)
	case absolute:
		p = append(append(p, "http://"...), host...)
		p = appendTarget(p, r.URL)
	default:
		p = appendTarget(p, r.URL)
	}
	p = append(append(p, " HTTP/1.1\r\nHost: "...), withoutZone(host)...)
	p = append(p, "\r\n"...)
	if agent, ok := r.Header["User-Agent"]; !ok {
		p = appendField(p, "User-Agent", conf.UserAgent)
	} else if len(agent) > 0 && agent[0] != "" {
		p = appendField(p, "User-Agent", agent[0])
	}
	for name, values := range r.Header {
		switch name {
		case "Host", "User-Agent", "Content-Length", "Transfer-Encoding", "Trailer":
			continue
		case "Cookie":
			if conf.Jar != nil {
				continue // with those of the jar, see appendCookies
			}
		}
		for _, v := range values {
			p = appendField(p, name, v)
		}
	}
	p = c.appendFraming(p)
	if r.Close && !hasToken(r.Header["Connection"], "close") {
		p = append(p, "Connection: close\r\n"...)
	}
	if (!c.Streaming || c.rt != nil) && !conf.NoGzip && r.Header["Accept-Encoding"] == nil && r.Header["Range"] == nil && m != "HEAD" {
		c.flags |= callGzip
		p = append(p, "Accept-Encoding: gzip\r\n"...)
	}
	if r.URL.User != nil && r.Header["Authorization"] == nil {
		p = appendField(p, "Authorization", basicAuth(r.URL.User))
	}
	if absolute && c.host.proxy.User != nil && r.Header["Proxy-Authorization"] == nil {
		p = appendField(p, "Proxy-Authorization", basicAuth(c.host.proxy.User))
	}
	p = c.appendCookies(p)
	return append(p, "\r\n"...)
}

func appendField(p []byte, name, value string) []byte {
	p = append(append(p, name...), ": "...)
	return append(append(p, value...), "\r\n"...)
}

// appendTarget appends the path and the query of u.
func appendTarget(p []byte, u *url.URL) []byte { return append(p, u.RequestURI()...) }

// withoutZone returns host without the zone of an IPv6 address, which means something here only.
func withoutZone(host string) string {
	if i := strings.IndexByte(host, '%'); i > 0 && host[0] == '[' {
		if j := strings.LastIndexByte(host, ']'); j > i {
			return host[:i] + host[j:]
		}
	}
	return host
}

func basicAuth(u *url.Userinfo) string {
	password, _ := u.Password()
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password))
}

// appendFraming appends the fields that say where the body ends.
func (c *Call) appendFraming(p []byte) []byte {
	switch {
	case c.length < 0:
		p = append(p, "Transfer-Encoding: chunked\r\n"...)
		if len(c.req.Trailer) > 0 {
			p = append(p, "Trailer: "...)
			first := true
			for name := range c.req.Trailer {
				if !first {
					p = append(p, ", "...)
				}
				first = false
				p = append(p, name...)
			}
			p = append(p, "\r\n"...)
		}
	case c.length > 0:
		p = strconv.AppendInt(append(p, "Content-Length: "...), c.length, 10)
		p = append(p, "\r\n"...)
	default:
		switch c.req.Method {
		case "POST", "PUT", "PATCH":
			p = append(p, "Content-Length: 0\r\n"...)
		}
	}
	return p
}

// appendCookies appends the cookies of the request, and those of the jar for its URL.
func (c *Call) appendCookies(p []byte) []byte {
	jar := c.cl.conf.Jar
	if jar == nil {
		return p
	}
	cookies := strings.Join(c.req.Header["Cookie"], "; ")
	for _, k := range jar.Cookies(c.req.URL) {
		if cookies != "" {
			cookies += "; "
		}
		cookies += (&http.Cookie{Name: k.Name, Value: k.Value, Quoted: k.Quoted}).String()
	}
	if cookies == "" {
		return p
	}
	return appendField(p, "Cookie", cookies)
}

// takeCookies gives the jar what the response sets.
func (c *Call) takeCookies(resp *Response) {
	jar := c.cl.conf.Jar
	if jar == nil {
		return
	}
	if _, ok := resp.head.get("Set-Cookie"); !ok {
		return
	}
	hr := http.Response{Header: resp.head.httpHeader()}
	if cookies := hr.Cookies(); len(cookies) > 0 {
		jar.SetCookies(c.req.URL, cookies)
	}
}

// waitsForContinue reports whether the body is sent only when the server has said 100 Continue.
func (c *Call) waitsForContinue() bool {
	return c.length != 0 && c.cl.conf.ContinueTimeout > 0 && hasToken(c.req.Header["Expect"], "100-continue")
}

// appendConnect appends the request for a tunnel through the proxy of h.
func appendConnect(p []byte, h *clientHost) []byte {
	p = append(append(p, "CONNECT "...), h.key.addr...)
	p = append(append(p, " HTTP/1.1\r\nHost: "...), h.key.addr...)
	p = append(p, "\r\n"...)
	if h.proxy.User != nil {
		p = appendField(p, "Proxy-Authorization", basicAuth(h.proxy.User))
	}
	return append(p, "\r\n"...)
}

// tellInterim tells httptrace of a response 1xx, as net/http does.
func (c *Call) tellInterim(h *responseHead) {
	trace := httptrace.ContextClientTrace(c.req.Context())
	if trace == nil {
		return
	}
	status, header := h.status, textproto.MIMEHeader(h.httpHeader())
	c.cl.later(func() {
		if trace.Got1xxResponse != nil {
			if err := trace.Got1xxResponse(status, header); err != nil {
				c.cancel(err)
			}
		}
		if status == 100 && trace.Got100Continue != nil {
			trace.Got100Continue()
		}
	})
}

// newCond makes what the pump waits on.
func (c *Call) newCond() { c.cond = sync.NewCond(&c.cl.mu) }

// front has a call wait for a connection before all others.
func (h *clientHost) front(c *Call) {
	c.phase = PhaseQueue
	h.waiting = append([]*Call{c}, h.waiting...)
	if h.cl.hosts[h.key] == nil {
		h.cl.hosts[h.key] = h // it was forgotten with its last connection
	}
	h.schedule()
}

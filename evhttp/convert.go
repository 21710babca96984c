// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
)

// canonicalNames has the forms in which package net/http writes common names, by the forms in
// which clients do, so that most names need not be allocated.
var canonicalNames = func() map[string]string {
	m := make(map[string]string)
	for _, name := range []string{
		"Host", "Connection", "Cache-Control", "Upgrade-Insecure-Requests", "User-Agent", "Accept", "Sec-Fetch-Site",
		"Sec-Fetch-Mode", "Sec-Fetch-User", "Sec-Fetch-Dest", "Referer", "Accept-Encoding", "Accept-Language", "Cookie",
		"Content-Length", "Content-Type", "Content-Encoding", "Transfer-Encoding", "Authorization", "If-Modified-Since",
		"If-None-Match", "If-Match", "If-Unmodified-Since", "If-Range", "Range", "Origin", "Upgrade", "Sec-WebSocket-Key",
		"Sec-WebSocket-Version", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "X-Forwarded-For",
		"X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-Ip", "X-Requested-With", "Forwarded", "Via", "Expect", "Pragma",
		"Dnt", "Te", "Trailer", "Sec-Ch-Ua", "Sec-Ch-Ua-Mobile", "Sec-Ch-Ua-Platform", "Priority", "Traceparent",
	} {
		c := textproto.CanonicalMIMEHeaderKey(name)
		m[name], m[c], m[strings.ToLower(name)] = c, c, c
	}
	return m
}()

// httpHeader returns the fields as package net/http has them.
func (h *head) httpHeader() http.Header {
	header := make(http.Header, h.n)
	values := make([]string, h.n) // one allocation for all fields that occur once
	for i, f := range h.fields() {
		name := h.str(f.name)
		c, ok := canonicalNames[name]
		if !ok {
			c = textproto.CanonicalMIMEHeaderKey(name)
		}
		if old := header[c]; old != nil {
			header[c] = append(old, h.str(f.value))
			continue
		}
		values[i] = h.str(f.value)
		header[c] = values[i : i+1 : i+1]
	}
	return header
}

// httpRequest returns what package net/http makes of the head. The request has no body yet.
func (h *head) httpRequest() (*http.Request, error) {
	r := &http.Request{
		Method:     h.method,
		RequestURI: h.str(h.target),
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: int(h.minor),
		Header:     h.httpHeader(),
		Body:       http.NoBody,
		Close:      !h.keepAlive(),
	}
	if h.minor == 0 {
		r.Proto = "HTTP/1.0"
	}
	var err error
	if h.method == "CONNECT" {
		if r.URL, err = url.ParseRequestURI("http://" + r.RequestURI); err == nil {
			r.URL.Scheme = ""
		}
	} else {
		r.URL, err = url.ParseRequestURI(r.RequestURI)
	}
	if err != nil {
		return nil, errTarget
	}
	if r.Host = r.URL.Host; r.Host == "" {
		r.Host = r.Header.Get("Host")
	}
	delete(r.Header, "Host")
	r.ContentLength = h.length
	if h.flags&hasChunked != 0 {
		r.ContentLength = -1
		r.TransferEncoding = []string{"chunked"}
		delete(r.Header, "Transfer-Encoding")
	}
	return r, nil
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
	"testing"
)

// FuzzHead compares the parser with net/http: what we take, net/http takes as well, and it sees
// the same. We may refuse more.
func FuzzHead(f *testing.F) {
	f.Add([]byte(minimalHead))
	f.Add([]byte(browserHead))
	for _, c := range hostileInputs {
		f.Add([]byte(c.in))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var h head
		n, err := h.parse(p)
		if err != nil {
			return
		}
		for i := range n {
			var part head
			if _, err := part.parse(p[:i]); err != errMore {
				t.Fatalf("%q: of these, the first %d bytes give %v", p[:n], i, err)
			}
		}
		h.raw = string(p[:n])
		br := bufio.NewReader(bytes.NewReader(bytes.TrimPrefix(p, []byte("\r\n"))))
		r, err := http.ReadRequest(br)
		if err != nil {
			t.Fatalf("%q: net/http says %v", p[:n], err)
		}
		own, err := h.httpRequest()
		if err != nil {
			t.Fatalf("%q: %v", p[:n], err)
		}
		compareRequests(t, p[:n], own, r)
		if own.ContentLength == -1 {
			compareBodies(t, p[n:], r)
		}
	})
}

func compareRequests(t *testing.T, p []byte, own, r *http.Request) {
	if own.Method != r.Method || own.RequestURI != r.RequestURI || own.Proto != r.Proto || own.Host != r.Host || *own.URL != *r.URL {
		t.Fatalf("%q: %s %s %s, host %q, URL %v; net/http: %s %s %s, host %q, URL %v", p,
			own.Method, own.RequestURI, own.Proto, own.Host, own.URL, r.Method, r.RequestURI, r.Proto, r.Host, r.URL)
	}
	if own.ContentLength != r.ContentLength || !slices.Equal(own.TransferEncoding, r.TransferEncoding) {
		t.Fatalf("%q: length %d %q; net/http: %d %q", p, own.ContentLength, own.TransferEncoding, r.ContentLength, r.TransferEncoding)
	}
	for name, values := range own.Header {
		switch name {
		case "Connection", "Trailer", "Pragma", "Cache-Control":
			continue // net/http moves these, or adds to them
		}
		if !slices.Equal(r.Header[name], values) {
			t.Fatalf("%q: %s: %q; net/http: %q", p, name, values, r.Header[name])
		}
	}
}

func compareBodies(t *testing.T, coded []byte, r *http.Request) {
	own, d, _, err := decodeChunks(coded, 7)
	if err != nil || d.state != chunkDone {
		return
	}
	if _, err := d.trailerFields(); err != nil {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("%q: net/http says %v of the body", coded, err)
	}
	if !bytes.Equal(own, body) {
		t.Fatalf("%q: body %q; net/http: %q", coded, own, body)
	}
}

// FuzzChunks checks that a chunked body means the same however it is cut into pieces.
func FuzzChunks(f *testing.F) {
	f.Add([]byte("3\r\nabc\r\n0\r\nA: b\r\n\r\n"), 1)
	f.Add([]byte("f;x\r\n0123456789abcde\r\n0\r\n\r\n"), 4)
	f.Fuzz(func(t *testing.T, p []byte, size int) {
		if size < 1 || size > 1000 {
			return
		}
		body, d, rest, err := decodeChunks(p, len(p)+1)
		body2, d2, rest2, err2 := decodeChunks(p, size)
		if err != nil || err2 != nil {
			if err != err2 {
				t.Fatalf("%q: %v; in pieces of %d: %v", p, err, size, err2)
			}
			return
		}
		if d.state != d2.state || !bytes.Equal(body, body2) || !bytes.Equal(rest, rest2) || !bytes.Equal(d.trailer, d2.trailer) {
			t.Fatalf("%q: %q %q; in pieces of %d: %q %q", p, body, rest, size, body2, rest2)
		}
	})
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/evchan/evchan"
)

// FuzzResponse compares the parser of responses, and the end of their bodies, with net/http: what we
// take, net/http takes as well, and it sees the same. We may refuse more. The bytes come in pieces
// of size bytes.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd",
		"HTTP/1.0 200 OK\r\nServer: x\r\n\r\nabc",
		"HTTP/1.1 404\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\nrest",
		"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"HTTP/1.1 304 \r\nContent-Length: 4\r\nConnection: close\r\n\r\n",
	} {
		f.Add([]byte(s), false, byte(5))
	}
	f.Fuzz(func(t *testing.T, p []byte, isHead bool, size byte) {
		var h responseHead
		n, err := h.parse(p)
		if err != nil {
			return
		}
		for i := range n {
			var part responseHead
			if _, err := part.parse(p[:i]); err != errMore {
				t.Fatalf("%q: of these, the first %d bytes give %v", p[:n], i, err)
			}
		}
		h.raw = string(p[:n])
		m := "GET"
		if isHead {
			m = "HEAD"
		}
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(p)), &http.Request{Method: m})
		if err != nil {
			if strings.Contains(err.Error(), "trailer") {
				return // of the field Trailer, which says nothing that counts here
			}
			t.Fatalf("%q: net/http says %v", p[:n], err)
		}
		if resp.StatusCode != h.status || resp.ProtoMinor != int(h.minor) {
			t.Fatalf("%q: %d, 1.%d; net/http: %v", p[:n], h.status, h.minor, resp)
		}
		header := h.httpHeader()
		for name, values := range resp.Header {
			if !slices.Equal(header[name], values) && name != "Content-Length" {
				t.Fatalf("%q: %s: %q; net/http: %q", p[:n], name, header[name], values)
			}
		}
		k := &clientConn{kind: h.kind(m), left: h.length}
		var in, got evchan.Buffer
		ended := false
		for rest := p[n:]; err == nil && !ended; {
			piece := rest[:min(len(rest), int(size)+1)]
			rest = rest[len(piece):]
			in.Write(piece)
			if len(rest) == 0 {
				k.flags |= connEOF
			}
			before := in.Len() + got.Len()
			ended, err = k.pullFrom(&in, &got, 1<<20)
			if err == nil && !ended && len(piece) == 0 && before == in.Len()+got.Len() {
				t.Fatalf("%q: no end", p)
			}
		}
		if err != nil {
			return
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("%q: the body is %q; net/http says %v", p, got.Bytes(), err)
		}
		if !bytes.Equal(body, got.Bytes()) {
			t.Fatalf("%q: the body is %q; net/http says %q", p, got.Bytes(), body)
		}
	})
}

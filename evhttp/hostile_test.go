// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"fmt"
	"testing"
)

// A hostileInput is what a client sends, and what a strict server does: it answers so many
// requests, "2", and refuses the rest or not, "refuse", "1, refuse".
type hostileInput struct{ name, in, want string }

const (
	hostA   = " /a HTTP/1.1\r\nHost: x\r\n"
	nextB   = "GET /b HTTP/1.1\r\nHost: x\r\n\r\n"
	chunked = "POST" + hostA + "Transfer-Encoding: chunked\r\n\r\n"
)

// hostileInputs are requests that servers and proxies understand differently, for which
// smuggling is known, or that cost too much.
var hostileInputs = []hostileInput{
	{"plain", "POST" + hostA + "Content-Length: 3\r\n\r\nabc" + nextB, "2"},
	{"chunked", chunked + "3\r\nabc\r\n0\r\n\r\n" + nextB, "2"},
	{"CL and TE", "POST" + hostA + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + nextB, "refuse"},
	{"TE and CL", "POST" + hostA + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + nextB, "refuse"},
	{"TE gzip, chunked", "POST" + hostA + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "refuse"},
	{"TE chunked, gzip", "POST" + hostA + "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", "refuse"},
	{"TE chunked, chunked", "POST" + hostA + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "refuse"},
	{"TE identity", "POST" + hostA + "Transfer-Encoding: identity\r\n\r\n" + nextB, "refuse"},
	{"TE empty", "POST" + hostA + "Transfer-Encoding:\r\n\r\n" + nextB, "refuse"},
	{"TE xchunked", "POST" + hostA + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "refuse"},
	{"TE chunked;x", "POST" + hostA + "Transfer-Encoding: chunked;x=1\r\n\r\n0\r\n\r\n", "refuse"},
	{"TE quoted", "POST" + hostA + "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", "refuse"},
	{"TE twice", "POST" + hostA + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "refuse"},
	{"TE twice, other", "POST" + hostA + "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n", "refuse"},
	{"TE CHUNKED", "POST" + hostA + "TRANSFER-ENCODING: CHUNKED\r\n\r\n0\r\n\r\n", "1"},
	{"TE VT chunked", "POST" + hostA + "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n", "refuse"},
	{"TE NBSP chunked", "POST" + hostA + "Transfer-Encoding: \xa0chunked\r\n\r\n0\r\n\r\n", "refuse"},
	{"TE in HTTP/1.0", "POST /a HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "refuse"},
	{"CL twice, same", "POST" + hostA + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "refuse"},
	{"CL twice, other", "POST" + hostA + "Content-Length: 3\r\nContent-Length: 0\r\n\r\nabc", "refuse"},
	{"CL 3, 3", "POST" + hostA + "Content-Length: 3, 3\r\n\r\nabc", "refuse"},
	{"CL +3", "POST" + hostA + "Content-Length: +3\r\n\r\nabc", "refuse"},
	{"CL -1", "POST" + hostA + "Content-Length: -1\r\n\r\nabc", "refuse"},
	{"CL 0x3", "POST" + hostA + "Content-Length: 0x3\r\n\r\nabc", "refuse"},
	{"CL 3.0", "POST" + hostA + "Content-Length: 3.0\r\n\r\nabc", "refuse"},
	{"CL 1_0", "POST" + hostA + "Content-Length: 1_0\r\n\r\nabc", "refuse"},
	{"CL 3 4", "POST" + hostA + "Content-Length: 3 4\r\n\r\nabc", "refuse"},
	{"CL 2^64+3", "POST" + hostA + "Content-Length: 18446744073709551619\r\n\r\nabc", "refuse"},
	{"CL 2^63-1", "POST" + hostA + "Content-Length: 9223372036854775807\r\n\r\nabc", "refuse"},
	{"CL empty", "POST" + hostA + "Content-Length:\r\n\r\n" + nextB, "refuse"},
	{"CL with padding", "POST" + hostA + "Content-Length: \t 3 \t\r\n\r\nabc" + nextB, "2"},
	{"CL leading zeros", "POST" + hostA + "Content-Length: 0003\r\n\r\nabc" + nextB, "2"},
	{"GET with a body", "GET" + hostA + "Content-Length: 3\r\n\r\nabc" + nextB, "2"},
	{"HEAD with a body", "HEAD" + hostA + "Content-Length: 3\r\n\r\nabc" + nextB, "2"},
	{"CONNECT with a body", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 3\r\n\r\nabc", "refuse"},
	{"bare LF everywhere", "GET /a HTTP/1.1\nHost: x\n\nGET /b HTTP/1.1\nHost: x\n\n", "refuse"},
	{"bare LF in the line", "GET /a HTTP/1.1\nHost: x\r\n\r\n", "refuse"},
	{"bare LF behind a field", "GET" + hostA + "Host: x\nX: y\r\n\r\n", "refuse"},
	{"bare LF at the end", "GET" + hostA + "\n" + nextB, "refuse"},
	{"bare LF before", "\n" + nextB, "refuse"},
	{"bare CR in a value", "GET" + hostA + "X: a\rContent-Length: 3\r\n\r\n", "refuse"},
	{"bare CR as a line end", "GET /a HTTP/1.1\r\nHost: x\rX: y\r\n\r\n", "refuse"},
	{"bare CR at the end", "GET" + hostA + "\rX: y\r\n\r\n", "refuse"},
	{"CR CR LF", "GET" + hostA + "X: y\r\r\n\r\n", "refuse"},
	{"folded value", "GET" + hostA + "X: a\r\n b\r\n\r\n", "refuse"},
	{"folded TE", "POST" + hostA + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", "refuse"},
	{"folded first", "GET /a HTTP/1.1\r\n Host: x\r\nHost: y\r\n\r\n", "refuse"},
	{"folded empty", "GET" + hostA + "X: a\r\n\t\r\n\r\n", "refuse"},
	{"SP before the colon", "POST" + hostA + "Content-Length : 3\r\n\r\nabc", "refuse"},
	{"HT before the colon", "POST" + hostA + "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", "refuse"},
	{"no colon", "GET" + hostA + "foo\r\n\r\n", "refuse"},
	{"empty name", "GET" + hostA + ": y\r\n\r\n", "refuse"},
	{"( in a name", "GET" + hostA + "f(o: y\r\n\r\n", "refuse"},
	{"0x80 in a name", "GET" + hostA + "f\x80o: y\r\n\r\n", "refuse"},
	{"NUL in a value", "GET" + hostA + "X: a\x00b\r\n\r\n", "refuse"},
	{"DEL in a value", "GET" + hostA + "X: a\x7fb\r\n\r\n", "refuse"},
	{"NUL in a name", "GET" + hostA + "X\x00: ab\r\n\r\n", "refuse"},
	{"NUL in the target", "GET /a\x00b HTTP/1.1\r\nHost: x\r\n\r\n", "refuse"},
	{"SP in the target", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", "refuse"},
	{"HT in the target", "GET /a\tb HTTP/1.1\r\nHost: x\r\n\r\n", "refuse"},
	{"two SP before the target", "GET  /a HTTP/1.1\r\nHost: x\r\n\r\n", "refuse"},
	{"two SP behind the target", "GET /a  HTTP/1.1\r\nHost: x\r\n\r\n", "refuse"},
	{"SP behind the version", "GET /a HTTP/1.1 \r\nHost: x\r\n\r\n", "refuse"},
	{"SP before the method", " GET /a HTTP/1.1\r\nHost: x\r\n\r\n", "refuse"},
	{"HT as a separator", "GET\t/a HTTP/1.1\r\nHost: x\r\n\r\n", "refuse"},
	{"HTTP/1.2", "GET /a HTTP/1.2\r\nHost: x\r\n\r\n", "refuse"},
	{"HTTP/2.0", "GET /a HTTP/2.0\r\nHost: x\r\n\r\n", "refuse"},
	{"http/1.1", "GET /a http/1.1\r\nHost: x\r\n\r\n", "refuse"},
	{"HTTP/1.10", "GET /a HTTP/1.10\r\nHost: x\r\n\r\n", "refuse"},
	{"HTTP/01.1", "GET /a HTTP/01.1\r\nHost: x\r\n\r\n", "refuse"},
	{"HTTP/0.9", "GET /a\r\n\r\n", "refuse"},
	{"h2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "refuse"},
	{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "refuse"},
	{"( in the method", "G(T /a HTTP/1.1\r\nHost: x\r\n\r\n", "refuse"},
	{"no method", " /a HTTP/1.1\r\nHost: x\r\n\r\n", "refuse"},
	{"no Host", "GET /a HTTP/1.1\r\n\r\n", "refuse"},
	{"no Host, HTTP/1.0", "GET /a HTTP/1.0\r\n\r\n", "1"},
	{"empty Host", "GET /a HTTP/1.1\r\nHost:\r\n\r\n", "1"},
	{"two Hosts", "GET" + hostA + "Host: y\r\n\r\n", "refuse"},
	{"two Hosts, same", "GET" + hostA + "Host: x\r\n\r\n", "refuse"},
	{"Host a b", "GET /a HTTP/1.1\r\nHost: a b\r\n\r\n", "refuse"},
	{"Host a/b", "GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n", "refuse"},
	{"Host a@b", "GET /a HTTP/1.1\r\nHost: a@b\r\n\r\n", "refuse"},
	{"chunk extension", chunked + "3;a=b\r\nabc\r\n0\r\n\r\n", "1"},
	{"extension with bare LF", chunked + "3;a\nabc\r\n0\r\n\r\n", "refuse"},
	{"extension with bare CR", chunked + "3;a\rb\r\nabc\r\n0\r\n\r\n", "refuse"},
	{"chunk with bare LF", chunked + "3\nabc\n0\n\n", "refuse"},
	{"chunk size too large", chunked + "fffffffffffffffff\r\nabc\r\n0\r\n\r\n", "refuse"},
	{"chunk size 2^64+3", chunked + "10000000000000003\r\nabc\r\n0\r\n\r\n", "refuse"},
	{"chunk size -1", chunked + "-1\r\nabc\r\n0\r\n\r\n", "refuse"},
	{"chunk size 0x3", chunked + "0x3\r\nabc\r\n0\r\n\r\n", "refuse"},
	{"chunk size SP 3", chunked + " 3\r\nabc\r\n0\r\n\r\n", "refuse"},
	{"chunk size 3 SP", chunked + "3 \r\nabc\r\n0\r\n\r\n", "refuse"},
	{"chunk size empty", chunked + "\r\nabc\r\n0\r\n\r\n", "refuse"},
	{"chunk size ;", chunked + ";a\r\nabc\r\n0\r\n\r\n", "refuse"},
	{"chunk data too long", chunked + "3\r\nabcd\r\n0\r\n\r\n", "refuse"},
	{"chunk data too short", chunked + "4\r\nabc\r\n0\r\n\r\n", "refuse"},
	{"trailer", chunked + "3\r\nabc\r\n0\r\nA: b\r\n\r\n" + nextB, "2"},
	{"trailer Content-Length", chunked + "3\r\nabc\r\n0\r\nContent-Length: 3\r\n\r\n", "refuse"},
	{"trailer without a colon", chunked + "3\r\nabc\r\n0\r\nfoo bar\r\n\r\n", "refuse"},
	{"trailer with bare LF", chunked + "3\r\nabc\r\n0\r\nA: b\n\r\n", "refuse"},
	{"zeros as the last chunk", chunked + "3\r\nabc\r\n000\r\n\r\n" + nextB, "2"},
	{"empty line before", "\r\n" + nextB, "1"},
	{"two empty lines before", "\r\n\r\n" + nextB, "refuse"},
	{"UTF-8 in a value", "GET" + hostA + "X: \xc3\xa9\r\n\r\n", "1"},
	{"HT in a value", "GET" + hostA + "X: a\tb\r\n\r\n", "1"},
	{"Expect: foo", "POST" + hostA + "Expect: foo\r\nContent-Length: 3\r\n\r\nabc", "refuse"},
	{"second is bad", nextB + "GET /c\r\n\r\n", "1, refuse"},
	{"garbage behind a body", "POST" + hostA + "Content-Length: 3\r\n\r\nabc " + nextB, "1, refuse"},
}

// TestHostileParse gives the inputs to parser and decoder.
func TestHostileParse(t *testing.T) {
	for _, c := range hostileInputs {
		if got := readAll(c.in); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// readAll reads all requests in in, and returns what hostileInput.want says of it. A request at the
// end that is not complete is refused without a word.
func readAll(in string) string {
	p, n := []byte(in), 0
	for len(p) > 0 {
		var h head
		size, err := h.parse(p)
		if err == nil {
			p, err = skipBody(&h, p[size:])
		}
		switch {
		case n == 0 && err != nil:
			return "refuse"
		case err == errMore:
			return fmt.Sprint(n)
		case err != nil:
			return fmt.Sprint(n, ", refuse")
		}
		if n++; !h.keepAlive() {
			break
		}
	}
	return fmt.Sprint(n)
}

// skipBody returns what comes in p behind the body of h, or errMore, or why it is refused.
func skipBody(h *head, p []byte) ([]byte, error) {
	if h.flags&hasChunked == 0 {
		if h.length > int64(len(p)) {
			return nil, errMore
		}
		return p[h.length:], nil
	}
	_, d, rest, err := decodeChunks(p, 3)
	switch {
	case err != nil:
	case d.state != chunkDone:
		err = errMore
	default:
		_, err = d.trailerFields()
	}
	return rest, err
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Heads of requests by which the parser is measured.
const minimalHead = "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"

var browserHead = strings.ReplaceAll(`GET /products/list?category=books&sort=price_asc&page=3 HTTP/1.1
Host: www.example.com
Connection: keep-alive
Cache-Control: max-age=0
sec-ch-ua: "Chromium";v="124", "Google Chrome";v="124", "Not-A.Brand";v="99"
sec-ch-ua-mobile: ?0
sec-ch-ua-platform: "Linux"
Upgrade-Insecure-Requests: 1
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8
Sec-Fetch-Site: same-origin
Sec-Fetch-Mode: navigate
Sec-Fetch-User: ?1
Sec-Fetch-Dest: document
Referer: https://www.example.com/products
Accept-Encoding: gzip, deflate, br, zstd
Accept-Language: en-GB,en-US;q=0.9,en;q=0.8,de;q=0.7
Cookie: session=4f1d2c6b8a9e4e0fb0a2d1c3; theme=dark; consent=yes

`, "\n", "\r\n")

// parseString parses p, which must be a complete head.
func parseString(t testing.TB, p string) *head {
	h := new(head)
	n, err := h.parse([]byte(p))
	if err != nil {
		t.Fatalf("%q: %v", p, err)
	}
	h.raw = p[:n]
	return h
}

func TestParse(t *testing.T) {
	h := parseString(t, browserHead)
	if len(h.raw) != len(browserHead) || h.method != "GET" || h.minor != 1 || h.n != 17 {
		t.Errorf("length %d, method %s, minor %d, %d fields", len(h.raw), h.method, h.minor, h.n)
	}
	if got := h.str(h.target); got != "/products/list?category=books&sort=price_asc&page=3" {
		t.Errorf("target %q", got)
	}
	for name, want := range map[string]string{
		"host":               "www.example.com",
		"SEC-CH-UA-PLATFORM": `"Linux"`,
		"Cookie":             "session=4f1d2c6b8a9e4e0fb0a2d1c3; theme=dark; consent=yes",
		"Cooki":              "",
	} {
		if got, ok := h.get(name); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
}

// A head that comes in pieces is not complete before its last byte, and what is refused is
// never a beginning that could still become right.
func TestParsePieces(t *testing.T) {
	for _, whole := range []string{minimalHead, browserHead, "\r\n" + minimalHead, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nX:  \t y\t \r\n\r\n"} {
		for n := range len(whole) {
			var h head
			if _, err := h.parse([]byte(whole[:n])); err != errMore {
				t.Fatalf("%q: %v", whole[:n], err)
			}
		}
		parseString(t, whole)
	}
}

func TestParseManyFields(t *testing.T) {
	var b strings.Builder
	b.WriteString("GET / HTTP/1.1\r\nHost: x\r\n")
	for i := range 100 {
		fmt.Fprintf(&b, "X-%d: %d\r\n", i, i)
	}
	b.WriteString("\r\n")
	h := parseString(t, b.String())
	if h.n != 101 || len(h.fields()) != 101 {
		t.Errorf("%d fields", h.n)
	}
	for i := range 100 {
		if got, _ := h.get(fmt.Sprintf("x-%d", i)); got != fmt.Sprint(i) {
			t.Errorf("X-%d: %q", i, got)
		}
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	var h head
	p := []byte(browserHead)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := h.parse(p); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTarget(t *testing.T) {
	for _, c := range []struct{ method, target, host, path, query string }{
		{"GET", "/", "field", "/", ""},
		{"GET", "/a%20b/c?d=%zz", "field", "/a b/c", "d=%zz"},
		{"GET", "//a/b", "field", "//a/b", ""},
		{"GET", "http://other:80/a?b", "other:80", "/a", "b"},
		{"GET", "HTTPS://other", "other", "/", ""},
		{"GET", "http://other?b", "other", "/", "b"},
		{"GET", "http://[::1]:80/", "[::1]:80", "/", ""},
		{"OPTIONS", "*", "field", "*", ""},
		{"CONNECT", "other:443", "other:443", "", ""},
		{"GET", "/\xc3\xa9", "field", "/\xc3\xa9", ""},
	} {
		h := parseString(t, c.method+" "+c.target+" HTTP/1.1\r\nHost: field\r\n\r\n")
		if _, _, query := h.split(); h.host() != c.host || h.path() != c.path || query != c.query {
			t.Errorf("%s %s: %q %q %q", c.method, c.target, h.host(), h.path(), query)
		}
	}
	for _, line := range []string{"GET a", "GET *", "GET x:80", "GET http://", "GET http:///a", "GET ftp://x/", "GET http://u@x/", "GET http://a%41/",
		"GET /%", "GET /%4", "GET /%4g", "GET /%zz/", "CONNECT /a", "CONNECT a/b", "CONNECT [", "GET http://[/", "GET http://a\\b/"} {
		var h head
		if _, err := h.parse([]byte(line + " HTTP/1.1\r\nHost: x\r\n\r\n")); err != errTarget {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestKeepAlive(t *testing.T) {
	for _, c := range []struct {
		version, fields string
		want            bool
	}{
		{"1.1", "", true},
		{"1.1", "Connection: close\r\n", false},
		{"1.1", "Connection: a, CLOSE\r\n", false},
		{"1.1", "Connection: keep-alive\r\n", true},
		{"1.1", "Connection: keep-alive\r\nConnection: close\r\n", false},
		{"1.0", "", false},
		{"1.0", "Connection: Keep-Alive\r\n", true},
		{"1.0", "Connection: keep-alive, close\r\n", false},
	} {
		h := parseString(t, "GET / HTTP/"+c.version+"\r\nHost: x\r\n"+c.fields+"\r\n")
		if h.keepAlive() != c.want {
			t.Errorf("HTTP/%s %q: %v", c.version, c.fields, h.keepAlive())
		}
	}
}

// decodeChunks decodes p, which comes in pieces of the given size.
func decodeChunks(p []byte, size int) (body []byte, d *chunkDecoder, rest []byte, err error) {
	d = new(chunkDecoder)
	for len(p) > 0 && d.state != chunkDone {
		piece := p[:min(size, len(p))]
		framing, data, err := d.next(piece)
		if err != nil {
			return body, d, p, err
		}
		body = append(body, piece[framing:framing+data]...)
		if data > 0 {
			d.took(data)
		}
		p = p[framing+data:]
	}
	return body, d, p, nil
}

func TestChunks(t *testing.T) {
	const in = "3\r\nabc\r\n00A ;x\r\n"
	if _, _, _, err := decodeChunks([]byte(in), 100); err != errChunk {
		t.Error("space behind the size:", err)
	}
	whole := "3\r\nabc\r\n00A;x=\"y\"\r\n0123456789\r\n0\r\nA: b\r\nC:d\r\n\r\nrest"
	for size := 1; size <= len(whole); size++ {
		body, d, rest, err := decodeChunks([]byte(whole), size)
		if err != nil || d.state != chunkDone || string(body) != "abc0123456789" || string(rest) != "rest" {
			t.Fatalf("in pieces of %d: %q, %q, %v", size, body, rest, err)
		}
		h, err := d.trailerFields()
		if err != nil {
			t.Fatal(err)
		}
		a, _ := h.get("a")
		c, _ := h.get("c")
		if a != "b" || c != "d" {
			t.Errorf("trailer %q", h.raw)
		}
	}
}

func TestChunksRoundTrip(t *testing.T) {
	var coded []byte
	var want []byte
	for n := 1; n < 3000; n = n*3 + 1 {
		data := bytes.Repeat([]byte{byte('a' + n%26)}, n)
		want = append(want, data...)
		coded = append(append(appendChunkSize(coded, n), data...), chunkAfter...)
	}
	coded = append(coded, chunkLast...)
	got, d, rest, err := decodeChunks(coded, 1000)
	if err != nil || d.state != chunkDone || len(rest) > 0 || !bytes.Equal(got, want) {
		t.Errorf("%v, state %d, rest %q, equal %v", err, d.state, rest, bytes.Equal(got, want))
	}
}

// Framing that outweighs the data by far is refused, chunks of one byte are not.
func TestChunkOverhead(t *testing.T) {
	tiny := []byte(strings.Repeat("1\r\na\r\n", 100_000) + chunkLast)
	if body, d, _, err := decodeChunks(tiny, 4096); err != nil || d.state != chunkDone || len(body) != 100_000 {
		t.Errorf("tiny chunks: %d bytes, %v", len(body), err)
	}
	extensions := []byte(strings.Repeat("1;"+strings.Repeat("x", 100)+"\r\na\r\n", 1000))
	if _, _, _, err := decodeChunks(extensions, 4096); err != errChunk {
		t.Error("extensions:", err)
	}
	trailer := []byte("0\r\n" + strings.Repeat("a: b\r\n", 2000) + "\r\n")
	if _, _, _, err := decodeChunks(trailer, 1000); err == nil {
		t.Error("a trailer of 12 KB was taken")
	}
}

func TestForbiddenTrailers(t *testing.T) {
	for _, line := range []string{"Content-Length: 3", "transfer-encoding: chunked", "Host: x", "a b: c", "a", " a: b", ": x", "a: \x01"} {
		_, d, _, err := decodeChunks([]byte("0\r\n"+line+"\r\n\r\n"), 100)
		if err == nil {
			_, err = d.trailerFields()
		}
		var r *refusal
		if !errors.As(err, &r) || r.status != 400 {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestReplyFields(t *testing.T) {
	var f replyFields
	for _, err := range []error{f.add("A", "b"), f.add("Set-Cookie", "1"), f.add("set-cookie", "2"), f.set("a", "c"), f.add("Content-Type", "t"),
		f.add("Content-Length", "12"), f.add("Connection", "keep-alive, Close"), f.add("X", "a\tb\xff")} {
		if err != nil {
			t.Error(err)
		}
	}
	if got := string(f.lines); got != "Set-Cookie: 1\r\nset-cookie: 2\r\na: c\r\nContent-Type: t\r\nX: a\tb\xff\r\n" {
		t.Errorf("%q", got)
	}
	if f.flags != setType|setLength|setClose || f.length != 12 {
		t.Errorf("flags %b, length %d", f.flags, f.length)
	}
	if !f.has("SET-COOKIE") || f.has("Set") {
		t.Error("has is wrong")
	}
	f.del("Set-Cookie")
	if f.has("Set-Cookie") || !f.has("a") || !f.has("x") {
		t.Errorf("after del: %q", f.lines)
	}
	before := string(f.lines)
	for _, c := range [][2]string{{"", "x"}, {"a b", "x"}, {"a:", "x"}, {"a\r\nb", "x"}, {"a", "x\r\nSet-Cookie: y"}, {"a", "x\ny"}, {"a", "x\ry"}, {"a", "\x00"},
		{"Content-Length", "x"}, {"Content-Length", "-1"}, {"Transfer-Encoding", "chunked"}, {"Connection", "foo"}} {
		if err := f.add(c[0], c[1]); !errors.Is(err, errReplyField) {
			t.Errorf("%q: %q: %v", c[0], c[1], err)
		}
	}
	if string(f.lines) != before {
		t.Errorf("a refused field was added: %q", f.lines)
	}
}

func BenchmarkParse(b *testing.B) {
	for _, c := range []struct{ name, head string }{{"minimal", minimalHead}, {"browser", browserHead}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var h head
			p := []byte(c.head)
			for b.Loop() {
				h.parse(p)
			}
		})
	}
}

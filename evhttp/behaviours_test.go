// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/evchan/evchan"
)

// behaviours lists what libevent's own tests check of its HTTP server, by their numbers in group Q, and
// of its client, in group R, with the tests here. Where we do something else on purpose, note says so.
var behaviours = []struct{ id, what, tests, note string }{
	{"Q1", "a head in pieces, a second port, an absolute target", "TestParsePieces TestHostilePieces TestAdopted TestTarget", ""},
	{"Q2", "space behind the version", "TestHostileServer", "400"},
	{"Q3", "a malformed first line gives 400", "TestHostileServer", ""},
	{"Q4", "a raw space in the target", "TestHostileServer", "400"},
	{"Q5", "an empty request, or an early close, gives no reply", "TestEarlyClose", ""},
	{"Q6", "methods that are not allowed, and ones that the server does not know", "TestMethods TestReplies", "405 with Allow; all methods are known"},
	{"Q7", "the methods of WebDAV", "TestMethods", ""},
	{"Q8", "virtual hosts", "TestHosts TestTarget", ""},
	{"Q9", "values on several lines", "TestHostileServer", "400"},
	{"Q10", "line ends in a reply's fields are refused", "TestReplyFields", "folding is refused, too"},
	{"Q11", "a negative length is refused", "TestHostileServer", ""},
	{"Q12", "limits of head and body, expectations", "TestMaxHead TestBody TestExpect", "431 for the head"},
	{"Q13", "a client that uploads too much reads the 413", "TestRefusedUpload TestCurlStreams", ""},
	{"Q14", "an incomplete head: closed at its end, or after the timeout", "TestTimeouts TestTrickle TestEarlyClose", "the timeout gives 408"},
	{"Q15", "replies in chunks and of fixed length, over one connection", "TestReplies TestLikeNetHTTP", ""},
	{"Q16", "uploads in chunks; malformed sizes", "TestBody TestChunks TestHostileServer", ""},
	{"Q17", "the client vanishes during a reply in chunks", "TestVanish", ""},
	{"Q18", "completion after the reply was sent", "TestDone", ""},
	{"Q19", "HEAD with a body is one request", "TestHeadWithBody", "the connection is kept"},
	{"Q20", "an empty reply has Date and Content-Length: 0", "TestHello TestReplies", ""},
	{"Q21", "new connections can be refused", "TestOnAccept", ""},
	{"Q22", "too many connections give 503", "TestMaxConns", ""},
	{"Q23", "error pages of the program", "TestErrorPage", ""},
	{"Q24", "timeouts for reading and writing are apart", "TestTimeouts TestWriteTimeout TestSlowProgram", ""},
	{"Q25", "a path that is registered twice", "", "paths are not registered: the program looks at Path"},
	{"Q26", "TLS on one port, plain text on another", "TestTLSAndPlain", ""},
	{"R1", "several requests on one connection; with close it reconnects", "TestClientWhole TestClientStress", ""},
	{"R2", "an idle connection that the server has closed", "TestClientResend", ""},
	{"R3", "cancel before connecting and while waiting", "TestClientCancel", "a Response with ErrCancelled comes"},
	{"R4", "cancel while the body comes", "TestClientCancel", ""},
	{"R5", "the body is drained as it comes", "TestClientStreaming", ""},
	{"R6", "an address that cannot be reached", "TestClientRefused", "a Response with Err comes"},
	{"R7", "retries with a delay that doubles", "TestClientRetries", ""},
	{"R8", "timeouts for connecting, reading and writing are apart", "TestClientTimeouts", ""},
	{"R9", "the connection is released after its last request", "TestClientQueue", "by CloseIdle, or after IdleTimeout"},
	{"R10", "a request outlives its callback", "", "messages are the receiver's"},
	{"R11", "the family of addresses", "TestClientTLS", "ClientConfig.Address"},
	{"R12", "a stream that is connected already; Unix sockets", "TestClientAdopt TestClientPrograms", ""},
	{"R13", "URIs are parsed", "", "package net/url"},
	{"R14", "URIs are put together", "", "package net/url"},
	{"R15", "queries are parsed", "", "package net/url"},
	{"R16", "percent encoding", "", "package net/url"},
}

func TestBehaviours(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	have := make(map[string]bool)
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)`).FindAllStringSubmatch(string(src), -1) {
			have[m[1]] = true
		}
	}
	for _, b := range behaviours {
		if b.tests == "" && b.note == "" {
			t.Errorf("%s has neither tests nor a reason why not", b.id)
		}
		for name := range strings.FieldsSeq(b.tests) {
			if !have[name] {
				t.Errorf("%s: there is no %s", b.id, name)
			}
		}
	}
}

// A client that sends nothing, or a part of a head, and closes.
func TestEarlyClose(t *testing.T) {
	srv := start(t, nil, each(t, func(r *Request) { t.Errorf("%v", r) }))
	for _, in := range []string{"", "GET", get11[:len(get11)-2], "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc"} {
		if got := converse(t, srv.addr, in); got != "" {
			t.Errorf("%q: %q", in, got)
		}
	}
}

// A client vanishes while a reply in chunks, or a stream of events, is sent.
func TestVanish(t *testing.T) {
	replying, gone := make(chan *Request, 1), make(chan *Gone, 1)
	srv := start(t, nil, func(ev evchan.Event) {
		switch ev := ev.(type) {
		case *Request:
			ev.Start(200)
			ev.Write([]byte("first"))
			replying <- ev
		case *Gone:
			gone <- ev
		}
	})
	c := dial(t, srv.addr)
	io.WriteString(c, get11)
	r := <-replying
	if _, err := bufio.NewReader(c).ReadString('f'); err != nil {
		t.Fatal(err)
	}
	c.SetLinger(0)
	c.Close()
	if m := <-gone; m.Request != r {
		t.Errorf("%v", m)
	}
	if _, err := r.Write([]byte("second")); err == nil {
		t.Error("Write does not say that the client has gone")
	}
	if err := r.Finish(); err == nil {
		t.Error("Finish does not say that the client has gone")
	}
}

func TestHeadWithBody(t *testing.T) {
	srv := start(t, nil, each(t, func(r *Request) { r.ReplyString(200, r.Method()) }))
	c := dial(t, srv.addr)
	fmt.Fprintf(c, "HEAD / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n%s%s", strings.Repeat(get11, 10000)[:100_000], get11)
	br := bufio.NewReader(c)
	readReply(t, br, "HEAD")
	if _, body := readReply(t, br, "GET"); body != "GET" {
		t.Error(body)
	}
}

// Every seventh connection is refused.
func TestOnAccept(t *testing.T) {
	var n atomic.Int32
	accept := func(s *evchan.Stream) bool { return n.Add(1)%7 != 0 }
	srv := start(t, &Config{OnAccept: accept}, each(t, func(r *Request) { r.ReplyString(200, "ok") }))
	for i := 1; i <= 14; i++ {
		c, err := dialAddr(srv.addr)
		if err == nil {
			io.WriteString(c, get11)
			_, err = io.ReadFull(c, make([]byte, 1))
			c.Close()
		} // else the reset has come early
		if (err == nil) != (i%7 != 0) {
			t.Errorf("connection %d: %v", i, err)
		}
	}
}

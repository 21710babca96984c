// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
)

const sampleKey = "dGhlIHNhbXBsZSBub25jZQ==" // of RFC 6455, section 1.3

// TestHandshake sends requests, and looks at the answers. Each runs through Accept, and through
// AcceptHTTP in a handler.
func TestHandshake(t *testing.T) {
	good := "GET / HTTP/1.1\nHost: h.example\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Key: " + sampleKey + "\nSec-WebSocket-Version: 13\n"
	swap := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	deflated := "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	for _, c := range []struct {
		name, request string
		status        int
		field, value  string // of the answer
	}{
		{"good", good, 101, "Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
		{"its Upgrade", good, 101, "Upgrade", "websocket"},
		{"lists", swap("Connection: Upgrade", "Connection: keep-alive, Upgrade"), 101, "Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
		{"other letters", strings.NewReplacer("websocket", "WebSocket", "Connection: Upgrade", "Connection: upgrade").Replace(good), 101, "", ""},
		{"plain request", "GET / HTTP/1.1\nHost: h.example\n", 400, "", ""},
		{"POST", swap("GET / HTTP/1.1\n", "POST / HTTP/1.1\nContent-Length: 0\n"), 405, "Allow", "GET"},
		{"HTTP/1.0", swap("HTTP/1.1", "HTTP/1.0"), 400, "", ""},
		{"no Upgrade", swap("Upgrade: websocket\n", ""), 400, "", ""},
		{"another protocol", swap("websocket", "h2c"), 400, "", ""},
		{"no Connection", swap("Connection: Upgrade\n", ""), 400, "", ""},
		{"Connection without Upgrade", swap("Connection: Upgrade", "Connection: close"), 400, "", ""},
		{"no version", swap("Sec-WebSocket-Version: 13\n", ""), 426, "Sec-WebSocket-Version", "13"},
		{"an old version", swap("Version: 13", "Version: 8"), 426, "Sec-WebSocket-Version", "13"},
		{"no key", swap("Sec-WebSocket-Key: "+sampleKey+"\n", ""), 400, "", ""},
		{"a short key", swap(sampleKey, "c2hvcnQ="), 400, "", ""},
		{"a key that is not base64", swap(sampleKey, "dGhlIHNhbXBsZSBub25jZ!=="), 400, "", ""},
		{"two keys", good + "Sec-WebSocket-Key: " + sampleKey + "\n", 400, "", ""},

		{"the same origin", good + "Origin: http://h.example\n", 101, "", ""},
		{"the same origin, other letters", good + "Origin: https://H.example\n", 101, "", ""},
		{"another origin", good + "Origin: http://evil.example\n", 403, "", ""},
		{"an origin that begins alike", good + "Origin: http://h.example.evil.example\n", 403, "", ""},
		{"another port", good + "Origin: http://h.example:8080\n", 403, "", ""},
		{"null", good + "Origin: null\n", 403, "", ""},
		{"two origins", good + "Origin: http://h.example\nOrigin: http://h.example\n", 403, "", ""},
		{"an allowed origin", good + "Origin: https://friend.example\n", 101, "", ""},
		{"an allowed subdomain", good + "Origin: https://a.b.wild.example\n", 101, "", ""},
		{"not the domain of subdomains", good + "Origin: https://wild.example\n", 403, "", ""},
		{"not a subdomain", good + "Origin: https://evilwild.example\n", 403, "", ""},

		{"subprotocols", good + "Sec-WebSocket-Protocol: x, chat.v1\nSec-WebSocket-Protocol: chat.v2\n", 101, "Sec-WebSocket-Protocol", "chat.v2"},
		{"no subprotocol that is spoken", good + "Sec-WebSocket-Protocol: x\n", 101, "Sec-WebSocket-Protocol", ""},
		{"no subprotocol", good, 101, "Sec-WebSocket-Protocol", ""},

		{"no extension", good, 101, "Sec-WebSocket-Extensions", ""},
		{"an unknown extension", good + "Sec-WebSocket-Extensions: x-zip; a=b\n", 101, "Sec-WebSocket-Extensions", ""},
		{"deflate", good + "Sec-WebSocket-Extensions: permessage-deflate\n", 101, "Sec-WebSocket-Extensions", deflated},
		{"deflate of browsers", good + "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\n", 101, "Sec-WebSocket-Extensions", deflated},
		{"all parameters", good + "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=9; server_max_window_bits=\"10\"; server_no_context_takeover; client_no_context_takeover\n",
			101, "Sec-WebSocket-Extensions", deflated + "; server_max_window_bits=10"},
		{"the second offer", good + "Sec-WebSocket-Extensions: permessage-deflate; unknown, permessage-deflate; server_max_window_bits=15\n", 101, "Sec-WebSocket-Extensions", deflated + "; server_max_window_bits=15"},
		{"a window of 16", good + "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=16\n", 101, "Sec-WebSocket-Extensions", ""},
		{"a window of 7", good + "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=7\n", 101, "Sec-WebSocket-Extensions", ""},
		{"a window of 09", good + "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=09\n", 101, "Sec-WebSocket-Extensions", ""},
		{"a window without bits", good + "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits\n", 101, "Sec-WebSocket-Extensions", ""},
		{"a parameter twice", good + "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; server_no_context_takeover\n", 101, "Sec-WebSocket-Extensions", ""},
		{"a value where none belongs", good + "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover=1\n", 101, "Sec-WebSocket-Extensions", ""},
	} {
		conf := &Config{Subprotocols: []string{"chat.v2", "chat.v1"}, Compress: true, Origins: []string{"friend.example", "*.wild.example"}}
		for _, handler := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", c.name, handler), func(t *testing.T) {
				loop := newLoop(t, "")
				srv, err := evhttp.Listen(loop, "tcp", "127.0.0.1:0", nil)
				if err != nil {
					t.Fatal(err)
				}
				client, err := loop.Dial("tcp", srv.Listeners()[0].Addr().String(), nil)
				if err != nil {
					t.Fatal(err)
				}
				client.WriteString(strings.ReplaceAll(c.request, "\n", "\r\n") + "\r\n")
				var conn *Conn
				var acceptErr error
				asked := false
				for until := time.Now().Add(patience); client.Input().Index(headEnd, 0) < 0; {
					ev, ok := loop.Poll(time.Until(until))
					if !ok {
						t.Fatal("no reply has come")
					}
					req, ok := ev.(*evhttp.Request)
					if !ok {
						continue
					}
					asked = true
					if !handler {
						conn, acceptErr = Accept(req, conf)
						continue
					}
					req.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						conn, acceptErr = AcceptHTTP(loop, w, r, conf)
					}))
				}
				if !asked {
					t.Fatal("no request has come")
				}
				if (acceptErr == nil) != (c.status == 101) || (conn == nil) != (acceptErr != nil) {
					t.Errorf("Accept: %v, %v", conn, acceptErr)
				}
				if he, ok := acceptErr.(*HandshakeError); acceptErr != nil && (!ok || he.Status != c.status) {
					t.Errorf("the error is %v, want status %d", acceptErr, c.status)
				}
				resp, err := http.ReadResponse(bufio.NewReader(client.Input()), &http.Request{Method: "GET"})
				if err != nil {
					t.Fatal(err)
				}
				if resp.StatusCode != c.status {
					t.Errorf("status %d, want %d", resp.StatusCode, c.status)
				}
				if c.field != "" && resp.Header.Get(c.field) != c.value {
					t.Errorf("%s is %q, want %q", c.field, resp.Header.Get(c.field), c.value)
				}
			})
		}
	}
}

// TestEarlyFrames sends frames together with the request.
func TestEarlyFrames(t *testing.T) {
	for _, path := range []string{"", "net"} {
		url := serveEcho(t, nil, nil)
		c, err := net.Dial("tcp", strings.Trim(strings.TrimPrefix(url, "ws://"), "/"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		fmt.Fprintf(c, "GET /%s HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n%s%s",
			path, sampleKey, frame(fin|opText, "early"), closing(1000, ""))
		r := bufio.NewReader(c)
		if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 101 {
			t.Fatal(resp, err)
		}
		w := new(wire)
		for {
			b, err := r.ReadByte()
			if err != nil {
				break
			}
			w.out = append(w.out, b)
		}
		if got := w.sent(t); got != "text early, close 1000" {
			t.Errorf("%q: sent %s", path, got)
		}
	}
}

// TestDialErrors has what Dial refuses at once.
func TestDialErrors(t *testing.T) {
	loop := newLoop(t, "memory")
	for _, url := range []string{"http://h/", "h", "ws://", "ws:///x", "ws://h/#f", "ws://h:x/", "://", "ws://h%00/"} {
		if c, err := Dial(loop, url, nil); err == nil {
			t.Errorf("%q: %v", url, c)
		}
	}
	for _, h := range []http.Header{{"Upgrade": {"x"}}, {"Sec-WebSocket-Key": {"x"}}, {"A": {"b\r\nc: d"}}, {"A b": {"c"}}, {"Host": {"a\r\nb"}}} {
		if c, err := Dial(loop, "ws://127.0.0.1/", &DialConfig{Header: h}); err == nil {
			t.Errorf("%v: %v", h, c)
		}
	}
	for _, conf := range []*Config{{Slow: 7}, {Slow: -1}, {Subprotocols: []string{"a b"}}, {Subprotocols: []string{""}}} {
		if c, err := Dial(loop, "ws://127.0.0.1/", &DialConfig{Config: conf}); err == nil {
			t.Errorf("%+v: %v", conf, c)
		}
	}
	if _, err := Dial(nil, "ws://127.0.0.1/", nil); err == nil {
		t.Error("a nil loop is taken")
	}
}

// TestReplies has servers answer what a client must not take.
func TestReplies(t *testing.T) {
	good := "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Accept: KEY\n"
	swap := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	ext := "Sec-WebSocket-Extensions: permessage-deflate; "
	for _, c := range []struct{ name, reply, told string }{
		{"good", good, "opened"},
		{"lists and letters", swap("Connection: Upgrade", "connection: x, uPgrade"), "opened"},
		{"compression", good + ext + "server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10\n", "opened"},
		{"a subprotocol", good + "Sec-WebSocket-Protocol: b\n", "opened"},
		{"another status", "HTTP/1.1 403 Forbidden\nContent-Length: 0\n", "closed 1006: evws: the server has refused (status 403)"},
		{"a redirect", "HTTP/1.1 302 Found\nLocation: /x\n", "closed 1006: evws: the server has refused (status 302)"},
		{"no Upgrade", swap("Upgrade: websocket\n", ""), "closed 1006: evws: the server has not changed to WebSocket (status 101)"},
		{"another key", swap("KEY", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "closed 1006: evws: Sec-WebSocket-Accept is wrong (status 101)"},
		{"no key", swap("Sec-WebSocket-Accept: KEY\n", ""), "closed 1006: evws: Sec-WebSocket-Accept is wrong (status 101)"},
		{"an extension of its own", good + "Sec-WebSocket-Extensions: x\n", "closed 1006: evws: the server wants extensions that were not offered (status 101)"},
		{"context takeover", good + ext + "client_no_context_takeover\n", "closed 1006: evws: the server wants extensions that were not offered (status 101)"},
		{"a client's window", good + ext + "server_no_context_takeover; client_max_window_bits=9\n", "closed 1006: evws: the server wants extensions that were not offered (status 101)"},
		{"a subprotocol of its own", good + "Sec-WebSocket-Protocol: x\n", "closed 1006: evws: the server has chosen a subprotocol that was not offered (status 101)"},
		{"two subprotocols", good + "Sec-WebSocket-Protocol: a, b\n", "closed 1006: evws: the server has chosen several subprotocols (status 101)"},
		{"not HTTP", "SSH-2.0-x\n", "closed 1006: evws: the reply is not HTTP: malformed HTTP response \"SSH-2.0-x\""},
		{"too long", "HTTP/1.1 101 x\nA: " + strings.Repeat("a", maxReply) + "\n", "closed 1006: evws: the head of the reply is too long"},
		{"the end", "", "closed 1006: evws: the server has closed the connection before it has replied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			loop := newLoop(t, "")
			ln, err := loop.Listen("tcp", "127.0.0.1:0", nil)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := Dial(loop, "ws://"+ln.Addr().String()+"/a?b", &DialConfig{
				Config: &Config{Compress: true, Subprotocols: []string{"a", "b"}},
				Header: http.Header{"Host": {"h.example"}, "X-Y": {"z"}},
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := conn.SendText("x"); err != ErrNotOpen {
				t.Errorf("Send: %v", err)
			}
			told := ""
			for until := time.Now().Add(patience); told == ""; {
				ev, ok := loop.Poll(time.Until(until))
				if !ok {
					t.Fatal("nothing comes")
				}
				switch ev := ev.(type) {
				case *Opened, *Closed:
					told = describe(ev)
				case evchan.Readable:
					s := ev.Stream
					if c.reply == "" {
						s.Close()
						break
					}
					p, _ := s.Input().Peek(s.Input().Len())
					if !strings.HasSuffix(string(p), "\r\n\r\n") {
						break
					}
					req, err := http.ReadRequest(bufio.NewReader(s.Input()))
					if err != nil {
						t.Fatal(err)
					}
					if req.Host != "h.example" || req.RequestURI != "/a?b" || req.Header.Get("X-Y") != "z" {
						t.Errorf("the request is %v", req)
					}
					reply := strings.Replace(c.reply, "KEY", acceptKey(req.Header.Get("Sec-WebSocket-Key")), 1)
					s.WriteString(strings.ReplaceAll(reply, "\n", "\r\n") + "\r\n")
				}
			}
			if told != c.told {
				t.Errorf("told %s\nwant %s", told, c.told)
			}
			if told == "opened" {
				if p := conn.Subprotocol(); (p != "") != (c.name == "a subprotocol") {
					t.Errorf("subprotocol %q", p)
				}
				if conn.Compressed() != (c.name == "compression") {
					t.Errorf("compressed: %v", conn.Compressed())
				}
				conn.Abort()
			}
			waitDone(t, loop, conn.Stream())
		})
	}
}

// TestDialFails connects to a port where nobody listens, and to a server that says nothing.
func TestDialFails(t *testing.T) {
	loop := newLoop(t, "")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "ws://" + ln.Addr().String()
	silent, err := Dial(loop, url, &DialConfig{Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ev, _ := loop.Poll(patience)
	if c, ok := ev.(*Closed); !ok || c.Conn != silent || c.Code != Abnormal || !isTimeout(c.Err) {
		t.Errorf("a silent server: %v", ev)
	}
	waitDone(t, loop, silent.Stream())
	ln.Close()
	nobody, err := Dial(loop, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	ev, _ = loop.Poll(patience)
	var oe *net.OpError
	if c, ok := ev.(*Closed); !ok || c.Conn != nobody || !errors.As(c.Err, &oe) {
		t.Errorf("nobody listens: %v", ev)
	}
	closed, err := Dial(loop, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(Normal, ""); err != nil {
		t.Fatal(err)
	}
	ev, _ = loop.Poll(patience)
	if c, ok := ev.(*Closed); !ok || c.Conn != closed || c.Code != Abnormal {
		t.Errorf("closed at once: %v", ev)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
	"github.com/evchan/evchan/evtls"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
)

// serveEcho runs a server that sends back what it gets, until the test is over. It returns its
// URL. Each request for /net goes through a handler of net/http.
func serveEcho(t *testing.T, conf *Config, lc *evchan.ListenConfig) string {
	t.Helper()
	loop := newLoop(t, "")
	srv, err := evhttp.Listen(loop, "tcp", "127.0.0.1:0", &evhttp.Config{Listen: lc})
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "a=b")
		AcceptHTTP(loop, w, r, conf)
	})
	go func() {
		defer close(over)
		for ev := range loop.All() {
			switch ev := ev.(type) {
			case *evhttp.Request:
				if ev.Path() == "/net" {
					ev.Go(handler)
				} else {
					ev.Set("Set-Cookie", "a=b")
					Accept(ev, conf)
				}
			default:
				echo(t, ev)
			}
		}
	}()
	t.Cleanup(func() { loop.Close(); <-over })
	return "ws://" + srv.Listeners()[0].Addr().String() + "/"
}

func echo(t *testing.T, ev evchan.Event) {
	if m, ok := ev.(*Message); ok {
		if err := m.Conn.Send(m.Type, m.Data); err != nil {
			t.Error(err)
		}
	}
}

// bodies are what is sent there and back.
func bodies() []string {
	return []string{"", "a", "hello", strings.Repeat("x", 125), strings.Repeat("y", 126), strings.Repeat("hello κόσμε ", 1000),
		strings.Repeat("z", 65535), strings.Repeat("0123456789abcdef", 60000)}
}

func TestGorillaClient(t *testing.T) {
	t.Parallel()
	for _, compress := range []bool{false, true} {
		url := serveEcho(t, &Config{Compress: compress, Subprotocols: []string{"b", "c"}}, nil)
		for _, path := range []string{"", "net"} {
			d := gorilla.Dialer{EnableCompression: compress, Subprotocols: []string{"a", "c", "b"}}
			c, resp, err := d.Dial(url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if c.Subprotocol() != "b" {
				t.Errorf("subprotocol %q", c.Subprotocol())
			}
			if got := resp.Header.Get("Set-Cookie"); got != "a=b" {
				t.Errorf("Set-Cookie %q", got)
			}
			if got := strings.Contains(resp.Header.Get("Sec-Websocket-Extensions"), "permessage-deflate"); got != compress {
				t.Errorf("compression: %v, want %v", got, compress)
			}
			c.SetReadDeadline(time.Now().Add(patience))
			for _, body := range bodies() {
				for typ := gorilla.TextMessage; typ <= gorilla.BinaryMessage; typ++ {
					if err := c.WriteMessage(typ, []byte(body)); err != nil {
						t.Fatal(err)
					}
					gotType, got, err := c.ReadMessage()
					if err != nil || gotType != typ || string(got) != body {
						t.Fatalf("%d bytes: got type %d, %d bytes, %v", len(body), gotType, len(got), err)
					}
				}
			}
			c.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(4001, "enough"), time.Now().Add(patience))
			if _, _, err := c.ReadMessage(); !gorilla.IsCloseError(err, 4001) {
				t.Errorf("the end: %v", err)
			}
		}
	}
}

func TestCoderClient(t *testing.T) {
	for _, mode := range []coder.CompressionMode{coder.CompressionDisabled, coder.CompressionNoContextTakeover, coder.CompressionContextTakeover} {
		url := serveEcho(t, &Config{Compress: true, Subprotocols: []string{"b"}}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		c, _, err := coder.Dial(ctx, url, &coder.DialOptions{CompressionMode: mode, Subprotocols: []string{"b"}, CompressionThreshold: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		c.SetReadLimit(-1)
		for _, body := range bodies() {
			if err := c.Write(ctx, coder.MessageText, []byte(body)); err != nil {
				t.Fatal(err)
			}
			typ, got, err := c.Read(ctx)
			if err != nil || typ != coder.MessageText || string(got) != body {
				t.Fatalf("mode %v, %d bytes: got %v, %d bytes, %v", mode, len(body), typ, len(got), err)
			}
		}
		if err := c.Close(coder.StatusNormalClosure, "bye"); err != nil {
			t.Error(err)
		}
	}
}

// ask has a client send the bodies to an echo server, one after the other, and close.
func ask(t *testing.T, loop *evchan.Loop, c *Conn) {
	t.Helper()
	list := bodies()
	var closed *Closed
	for until := time.Now().Add(patience); closed == nil; {
		ev, ok := loop.Poll(time.Until(until))
		if !ok {
			t.Fatal("nothing comes any more")
		}
		switch ev := ev.(type) {
		case *Opened:
			if ev.Conn != c {
				t.Fatal("Opened of another")
			}
			c.SendText(list[0])
		case *Message:
			if ev.Type != Text || string(ev.Data) != list[0] {
				t.Fatalf("got %v, want %d bytes", ev, len(list[0]))
			}
			if list = list[1:]; len(list) > 0 {
				if err := c.SendText(list[0]); err != nil {
					t.Fatal(err)
				}
			} else if err := c.Close(4002, "done"); err != nil {
				t.Fatal(err)
			}
		case *Closed:
			closed = ev
		}
	}
	if closed.Code != 4002 || closed.Err != nil || closed.Conn != c {
		t.Errorf("%v", closed)
	}
}

// waitDone makes the loop's turns until s is released.
func waitDone(t *testing.T, loop *evchan.Loop, s *evchan.Stream) {
	t.Helper()
	for until := time.Now().Add(patience); ; {
		select {
		case <-s.Done():
			return
		default:
		}
		if ev, ok := loop.Poll(20 * time.Millisecond); ok {
			if other, _ := ev.Source().(*evchan.Stream); other == s {
				t.Errorf("%v after Closed", ev)
			} else if _, ok := ev.(evchan.EOF); ok {
				other.Close() // the test's server
			}
		}
		if time.Now().After(until) {
			t.Fatal("the stream is not released")
		}
	}
}

func TestServersOfOthers(t *testing.T) {
	t.Parallel()
	up := gorilla.Upgrader{EnableCompression: true, Subprotocols: []string{"b"}}
	mux := http.NewServeMux()
	mux.HandleFunc("/gorilla", func(w http.ResponseWriter, r *http.Request) {
		c, err := up.Upgrade(w, r, http.Header{"X-Cookie": {r.Header.Get("Cookie")}})
		if err != nil {
			return
		}
		defer c.Close()
		for {
			typ, p, err := c.ReadMessage()
			if err != nil {
				return
			}
			c.WriteMessage(typ, p)
		}
	})
	mux.HandleFunc("/coder", func(w http.ResponseWriter, r *http.Request) {
		c, err := coder.Accept(w, r, &coder.AcceptOptions{CompressionMode: coder.CompressionContextTakeover, Subprotocols: []string{"b"}, CompressionThreshold: 1})
		if err != nil {
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(-1)
		for {
			typ, p, err := c.Read(r.Context())
			if err != nil {
				return
			}
			c.Write(r.Context(), typ, p)
		}
	})
	plain, secret := httptest.NewServer(mux), httptest.NewTLSServer(mux)
	defer plain.Close()
	defer secret.Close()
	pool := x509.NewCertPool()
	pool.AddCert(secret.Certificate())
	for _, base := range []string{plain.URL, secret.URL} {
		for _, path := range []string{"/gorilla", "/coder"} {
			for _, compress := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s%s/%v", base[:5], path, compress), func(t *testing.T) {
					loop := newLoop(t, "")
					c, err := Dial(loop, "ws"+strings.TrimPrefix(base, "http")+path, &DialConfig{
						Config: &Config{Compress: compress, Subprotocols: []string{"a", "b"}, Data: 7},
						Header: http.Header{"Cookie": {"a=b"}},
						TLS:    &tls.Config{RootCAs: pool, ServerName: "example.com"},
					})
					if err != nil {
						t.Fatal(err)
					}
					askAndEnd(t, loop, c)
					if c.Subprotocol() != "b" || c.Compressed() != compress || c.Data != 7 {
						t.Errorf("subprotocol %q, compressed %v, data %v", c.Subprotocol(), c.Compressed(), c.Data)
					}
				})
			}
		}
	}
}

func askAndEnd(t *testing.T, loop *evchan.Loop, c *Conn) {
	t.Helper()
	ask(t, loop, c)
	waitDone(t, loop, c.Stream())
}

// TestBothOurs connects both sides of this package, by TLS as well.
func TestBothOurs(t *testing.T) {
	cert := newCertificate(t)
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	for _, secret := range []bool{false, true} {
		var lc *evchan.ListenConfig
		if secret {
			lc = &evchan.ListenConfig{Over: evtls.Over(&tls.Config{Certificates: []tls.Certificate{cert}}, nil)}
		}
		for _, takeover := range []bool{false, true} {
			url := serveEcho(t, &Config{Compress: true, ContextTakeover: takeover}, lc)
			if secret {
				url = "wss" + strings.TrimPrefix(url, "ws")
			}
			loop := newLoop(t, "")
			c, err := Dial(loop, url, &DialConfig{Config: &Config{Compress: true, ContextTakeover: takeover}, TLS: &tls.Config{RootCAs: pool}})
			if err != nil {
				t.Fatal(err)
			}
			askAndEnd(t, loop, c)
		}
	}
}

// newCertificate returns a certificate for 127.0.0.1.
func newCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{{127, 0, 0, 1}}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// TestNetHTTPServer gives connections of http.Server to a loop.
func TestNetHTTPServer(t *testing.T) {
	loop := newLoop(t, "")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		AcceptHTTP(loop, w, r, &Config{Compress: true})
	}))
	defer srv.Close()
	over := make(chan struct{})
	go func() {
		defer close(over)
		for ev := range loop.All() {
			echo(t, ev)
		}
	}()
	defer func() { loop.Close(); <-over }()
	c, _, err := (&gorilla.Dialer{EnableCompression: true}).Dial("ws"+strings.TrimPrefix(srv.URL, "http"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(patience))
	for _, body := range bodies() {
		c.WriteMessage(gorilla.TextMessage, []byte(body))
		if _, got, err := c.ReadMessage(); err != nil || !bytes.Equal(got, []byte(body)) {
			t.Fatalf("%d bytes: got %d, %v", len(body), len(got), err)
		}
	}

	secret := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := AcceptHTTP(loop, w, r, nil); err != evchan.ErrUnsupported {
			t.Errorf("over TLS: %v", err)
		}
	}))
	defer secret.Close()
	_, resp, err := (&gorilla.Dialer{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}).Dial("wss"+strings.TrimPrefix(secret.URL, "https"), nil)
	if err == nil || resp == nil || resp.StatusCode != 501 {
		t.Errorf("over TLS: %v", err)
	}
}

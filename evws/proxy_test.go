// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evtls"
)

// serveProxy runs an HTTP proxy that knows CONNECT, until the test is over. It refuses clients
// that do not give a password.
func serveProxy(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	serve := func(c net.Conn) {
		defer c.Close()
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			t.Error(err)
			return
		}
		if req.Method != "CONNECT" || req.Header.Get("Proxy-Authorization") != "Basic dXNlcjpwYXNz" {
			io.WriteString(c, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
			return
		}
		to, err := net.Dial("tcp", req.RequestURI)
		if err != nil {
			t.Error(err)
			return
		}
		defer to.Close()
		io.WriteString(c, "HTTP/1.1 200 Connected\r\n\r\n")
		var both sync.WaitGroup
		both.Go(func() { io.Copy(to, c); to.(*net.TCPConn).CloseWrite() })
		both.Go(func() { io.Copy(c, to); c.(*net.TCPConn).CloseWrite() })
		both.Wait()
	}
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { serve(c) })
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

// TestProxy connects through a proxy, by TLS as well.
func TestProxy(t *testing.T) {
	proxy := serveProxy(t)
	cert := newCertificate(t)
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	for _, secret := range []bool{false, true} {
		for _, password := range []string{"pass", "wrong"} {
			t.Run(fmt.Sprintf("%v/%s", secret, password), func(t *testing.T) {
				var lc *evchan.ListenConfig
				if secret {
					lc = &evchan.ListenConfig{Over: evtls.Over(&tls.Config{Certificates: []tls.Certificate{cert}}, nil)}
				}
				to := serveEcho(t, nil, lc)
				if secret {
					to = "wss" + strings.TrimPrefix(to, "ws")
				}
				loop := newLoop(t, "")
				var asked string
				c, err := Dial(loop, to, &DialConfig{
					TLS: &tls.Config{RootCAs: pool},
					Proxy: func(r *http.Request) (*url.URL, error) {
						asked = r.URL.Scheme
						return url.Parse("http://user:" + password + "@" + proxy)
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				if want := map[bool]string{false: "http", true: "https"}[secret]; asked != want {
					t.Errorf("the proxy is for %q, want %q", asked, want)
				}
				if password == "pass" {
					askAndEnd(t, loop, c)
					return
				}
				ev, _ := loop.Poll(patience)
				if got := fmt.Sprint(describe(ev)); got != "closed 1006: evws: the proxy has refused (status 407)" {
					t.Errorf("told %s", got)
				}
				waitDone(t, loop, c.Stream())
			})
		}
	}
	for _, bad := range []string{"https://proxy/", "socks5://proxy/", "http:///"} {
		_, err := Dial(newLoop(t, ""), "ws://127.0.0.1/", &DialConfig{Proxy: func(*http.Request) (*url.URL, error) { return url.Parse(bad) }})
		if err == nil {
			t.Errorf("the proxy %s is taken", bad)
		}
	}
}

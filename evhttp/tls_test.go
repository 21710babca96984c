// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evtls"
)

// tlsServer returns the configuration of a server with a certificate, and a client that trusts it.
func tlsServer(t testing.TB, protocols ...string) (*tls.Config, *http.Client) {
	std := httptest.NewUnstartedServer(http.NotFoundHandler())
	std.EnableHTTP2 = true
	std.StartTLS()
	defer std.Close()
	client := std.Client()
	transport := client.Transport.(*http.Transport).Clone()
	transport.ForceAttemptHTTP2 = len(protocols) > 0 && protocols[0] == "h2"
	transport.TLSClientConfig.NextProtos = protocols
	t.Cleanup(transport.CloseIdleConnections)
	return &tls.Config{Certificates: std.TLS.Certificates, NextProtos: protocols}, &http.Client{Transport: transport}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	data := bytes.Repeat([]byte("0123456789"), 100_000)
	os.WriteFile(filepath.Join(dir, "big.bin"), data, 0o644)
	files := http.FileServer(http.Dir(dir))
	conf, client := tlsServer(t)
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			srv := startWay(t, way, &Config{
				Listen:   &evchan.ListenConfig{Over: evtls.Over(conf, nil)},
				TLSState: evtls.State,
				MaxBody:  2 << 20,
			}, each(t, func(r *Request) {
				switch r.Path() {
				case "/echo":
					r.ReplyBuffer(200, r.Body())
				case "/go":
					r.Go(http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
						fmt.Fprint(w, hr.TLS.HandshakeComplete, hr.TLS.ServerName)
					}))
				default:
					r.Serve(files)
				}
			}))
			url := "https://" + srv.addr
			get := func(method, path string, body io.Reader) string {
				req, err := http.NewRequest(method, url+path, body)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				p, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				return string(p)
			}
			for range 3 {
				if got := get("POST", "/echo", bytes.NewReader(data)); got != string(data) {
					t.Errorf("%d bytes", len(got))
				}
				if got := get("GET", "/go", nil); !strings.HasPrefix(got, "true") {
					t.Error(got)
				}
				if got := get("GET", "/big.bin", nil); got != string(data) {
					t.Errorf("%d bytes", len(got))
				}
			}
			if n := srv.Conns(); n < 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// One server with TLS on one address and plain text on another.
func TestTLSAndPlain(t *testing.T) {
	conf, client := tlsServer(t)
	srv := start(t, &Config{TLSState: evtls.State}, each(t, func(r *Request) {
		hr, err := r.HTTP()
		if err != nil {
			t.Error(err)
		}
		r.ReplyString(200, fmt.Sprint(hr.TLS != nil))
	}))
	ln, err := srv.Listen(srv.loop, "tcp", "127.0.0.1:0", &evchan.ListenConfig{Over: evtls.Over(conf, nil)})
	if err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{"http://" + srv.addr: "false", "https://" + ln.Addr().String(): "true"} {
		resp, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		p, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(p) != want {
			t.Errorf("%s: %s", url, p)
		}
	}
}

// A client that speaks HTTP/2 is served by net/http, others by evhttp, on one address.
func TestHTTP2(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto, " ", r.TLS != nil) })
	conf, client := tlsServer(t, "h2", "http/1.1")
	_, old := tlsServer(t)
	old.Transport.(*http.Transport).TLSClientConfig = client.Transport.(*http.Transport).TLSClientConfig.Clone()
	old.Transport.(*http.Transport).TLSClientConfig.NextProtos = []string{"http/1.1"}
	drained := make(chan bool, 1)
	srv := start(t, &Config{
		Handler:  h,
		HTTP2:    &http.Server{Handler: h},
		TLSState: evtls.State,
		Listen:   &evchan.ListenConfig{Over: evtls.Over(conf, &evtls.Options{Stream: &evchan.StreamConfig{Paused: evchan.Read}})},
	}, func(ev evchan.Event) {
		if _, ok := ev.(*Drained); ok {
			drained <- true
		}
	})
	for client, want := range map[*http.Client]string{client: "HTTP/2.0 true", old: "HTTP/1.1 true"} {
		for range 2 {
			resp, err := client.Get("https://" + srv.addr)
			if err != nil {
				t.Fatal(err)
			}
			p, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(p) != want {
				t.Errorf("%q, want %q", p, want)
			}
		}
	}
	srv.Drain()
	<-drained
}

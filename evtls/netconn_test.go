// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtls

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/evchan/evchan"
)

// A connListener is a net.Listener of connections that come from elsewhere.
type connListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *connListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *connListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *connListener) Addr() net.Addr { return &net.TCPAddr{} }

// TestHTTP2: net/http serves HTTP/2 on streams that the loop has accepted.
func TestHTTP2(t *testing.T) {
	p := newPump(t, nil)
	sc := serverConfig(0)
	sc.NextProtos = []string{"h2", "http/1.1"}
	ln := p.listen(sc, &Options{Stream: &evchan.StreamConfig{Paused: evchan.Read}})
	nl := &connListener{conns: make(chan net.Conn, 10), done: make(chan struct{})}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Proto)
	})}
	go server.Serve(nl)
	defer server.Close()
	p.on = func(ev evchan.Event) {
		a, ok := ev.(evchan.Accepted)
		if !ok {
			t.Errorf("unexpected %v", ev)
			return
		}
		for range 3 {
			p.loop.Poll(time.Millisecond) // the request comes, and must be left where it is
		}
		c, err := a.Stream.NetConn()
		if err != nil {
			t.Error(err)
			return
		}
		if _, ok := c.(*tls.Conn); !ok {
			t.Errorf("it is a %T", c)
		}
		nl.conns <- c
	}
	for _, h2 := range []bool{true, false} {
		cc := clientConfig(0)
		transport := &http.Transport{TLSClientConfig: cc, ForceAttemptHTTP2: h2}
		client := &http.Client{Transport: transport, Timeout: patience}
		want := "HTTP/1.1"
		if h2 {
			want = "HTTP/2.0"
		}
		p.async(want, func() error {
			defer transport.CloseIdleConnections()
			r, err := client.Get("https://" + ln.Addr().String() + "/")
			if err != nil {
				return err
			}
			defer r.Body.Close()
			return readAll(r.Body, want)
		})
	}
}

// TestNetConn: a net.Conn of either side, with and without input that was decrypted before.
func TestNetConn(t *testing.T) {
	versions(t, func(t *testing.T, v uint16) {
		for _, early := range []string{"", "early"} {
			p := newPump(t, nil)
			c, s := p.pair(clientConfig(v), serverConfig(v))
			p.untilSaid(c, "Connected")
			p.untilSaid(s, "Connected")
			if early != "" {
				c.WriteString(early)
				p.keep = true
				p.untilSaid(s, "Readable")
			}
			sn, err := s.NetConn()
			must(t, err)
			defer sn.Close()
			if _, ok := sn.(*tls.Conn); ok != (early == "") {
				t.Errorf("with %q, it is a %T", early, sn)
			}
			if state := sn.(interface{ ConnectionState() tls.ConnectionState }).ConnectionState(); state.Version != v {
				t.Error(state.Version)
			}
			cn, err := c.NetConn()
			must(t, err)
			defer cn.Close()
			want := pattern(100 << 10)
			go func() {
				io.WriteString(cn, want)
				cn.(*tls.Conn).CloseWrite()
			}()
			must(t, readAll(sn, early+want))
			go func() {
				io.WriteString(sn, want)
				sn.Close()
			}()
			must(t, readAll(cn, want))
		}
	})
}

// TestNetConnEarlyEnds: the deadline and Close hold for input that was decrypted before.
func TestNetConnEarlyEnds(t *testing.T) {
	p := newPump(t, nil)
	c, s := p.pair(clientConfig(0), serverConfig(0))
	c.WriteString("early")
	p.keep = true
	p.untilSaid(s, "Readable")
	sn, err := s.NetConn()
	must(t, err)
	must(t, sn.SetReadDeadline(time.Now().Add(-time.Second)))
	if _, err := sn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	must(t, sn.SetDeadline(time.Time{}))
	if n, err := sn.Read(make([]byte, 2)); n != 2 || err != nil {
		t.Error(n, err)
	}
	sn.Close()
	if _, err := sn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// TestNetConnHalfClosed: what the stream has heard and said of its end holds for the net.Conn.
func TestNetConnHalfClosed(t *testing.T) {
	p := newPump(t, nil)
	c, s := p.pair(clientConfig(0), serverConfig(0))
	p.untilSaid(s, "Connected")
	c.CloseWrite()
	p.untilSaid(s, "EOF")
	sn, err := s.NetConn()
	must(t, err)
	if n, err := sn.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Error(n, err)
	}
	io.WriteString(sn, "bye")
	sn.Close()
	p.untilSaid(c, "EOF")
	if p.text(c) != "bye" {
		t.Errorf("%q", p.text(c))
	}
	c.Close()
}

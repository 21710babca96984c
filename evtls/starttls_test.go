// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtls

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/evchan/evchan"
)

// A startConn sends its prefix together with what is written first, and expects its reply before
// what is read first.
type startConn struct {
	net.Conn
	r             *bufio.Reader
	prefix, reply string
}

func (c *startConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(append([]byte(c.prefix), p...))
	n -= len(c.prefix)
	c.prefix = ""
	return n, err
}

func (c *startConn) Read(p []byte) (int, error) {
	if c.reply != "" {
		line, err := c.r.ReadString('\n')
		if err != nil || line != c.reply {
			return 0, fmt.Errorf("%q, %v", line, err)
		}
		c.reply = ""
	}
	return c.r.Read(p)
}

// TestStartTLS: TLS begins in the middle of a conversation, and the ClientHello comes in one piece
// with what was before.
func TestStartTLS(t *testing.T) {
	versions(t, func(t *testing.T, v uint16) {
		p := newPump(t, nil)
		p.keep = true
		ln, err := p.loop.Listen("tcp", "127.0.0.1:0", nil)
		must(t, err)
		said := ""
		p.on = func(ev evchan.Event) {
			r, ok := ev.(evchan.Readable)
			if !ok {
				return
			}
			for {
				line, ok := r.Stream.Input().ReadLine(evchan.LFOrCRLF)
				if !ok {
					return
				}
				said += string(line) + " "
				if string(line) == "STARTTLS" {
					r.Stream.WriteString("220 go\n")
					if _, err := Server(r.Stream, serverConfig(v), nil); err != nil {
						t.Error(err)
					}
					return // the rest belongs to the handshake
				}
				_, secret := State(r.Stream)
				fmt.Fprintf(r.Stream, "%s %v\n", line, secret)
			}
		}
		p.async("the client", func() error {
			raw, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				return err
			}
			defer raw.Close()
			r := bufio.NewReader(raw)
			io.WriteString(raw, "EHLO\n")
			if line, err := r.ReadString('\n'); line != "EHLO false\n" {
				return fmt.Errorf("%q, %v", line, err)
			}
			c := tls.Client(&startConn{Conn: raw, r: r, prefix: "STARTTLS\r\n", reply: "220 go\n"}, clientConfig(v))
			if _, err := io.WriteString(c, "MAIL\n"); err != nil {
				return err
			}
			if line, err := bufio.NewReader(c).ReadString('\n'); line != "MAIL true\n" {
				return fmt.Errorf("%q, %v", line, err)
			}
			return c.Close()
		})
		if said != "EHLO STARTTLS MAIL " {
			t.Errorf("%q", said)
		}
	})
}

// TestStartTLSInjection: plain text that follows STARTTLS is not taken for what came encrypted.
func TestStartTLSInjection(t *testing.T) {
	p := newPump(t, nil)
	a, b := p.loop.Pipe(nil, nil)
	a.WriteString("STARTTLS\nRSET\n")
	p.keep = true
	p.untilSaid(b, "Readable")
	b.Input().ReadLine(evchan.LF)
	s, err := Server(b, serverConfig(0), nil)
	must(t, err)
	p.untilSaid(s, "Closed")
	if n := s.Input().Len(); n > 0 {
		t.Errorf("%d bytes were told", n)
	}
}

// TestLayered: TLS below another filter, and TLS in TLS.
func TestLayered(t *testing.T) {
	p := newPump(t, nil)
	c, s := p.pair(clientConfig(0), serverConfig(0))
	var err error
	for range 2 {
		c, err = Client(c, clientConfig(0), nil)
		must(t, err)
		s, err = Server(s, serverConfig(0), nil)
		must(t, err)
	}
	want := pattern(200 << 10)
	c.WriteString(want)
	c.CloseWrite()
	p.untilSaid(s, "EOF")
	if p.text(s) != want {
		t.Errorf("%d bytes", len(p.text(s)))
	}
	if said := p.said[c]; len(said) == 0 || said[0] != "Connected" {
		t.Error(said)
	}
	s.Close()
	p.untilSaid(c, "EOF")
	c.Close()
	p.until("the end", func() bool { return done(c.Done()) && done(s.Done()) })
}

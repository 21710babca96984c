// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evchan/evchan"
)

// TestExchange: a megabyte each way, after what was written before the handshake, and a half-close.
func TestExchange(t *testing.T) {
	versions(t, func(t *testing.T, v uint16) {
		p := newPump(t, nil)
		c, s := p.pair(clientConfig(v), serverConfig(v))
		if _, ok := State(c); ok {
			t.Error("there is a state before the handshake")
		}
		want := pattern(1 << 20)
		c.WriteString(want[:100])
		p.untilSaid(c, "Connected")
		p.untilSaid(s, "Connected")
		c.WriteString(want[100:])
		c.CloseWrite()
		p.untilSaid(s, "EOF")
		if p.text(s) != want {
			t.Errorf("the server has got %d bytes", len(p.text(s)))
		}
		s.WriteString(want)
		s.Close()
		p.untilSaid(c, "EOF")
		if p.text(c) != want {
			t.Errorf("the client has got %d bytes", len(p.text(c)))
		}
		for _, stream := range []*evchan.Stream{c, s} {
			if said := p.said[stream]; said[0] != "Connected" {
				t.Errorf("the first message is %v", said)
			}
			state, ok := State(stream)
			if !ok || state.Version != v {
				t.Errorf("the state is %v, %v", state.Version, ok)
			}
		}
		c.Close()
		p.until("the end", func() bool { return done(c.Done()) && done(s.Done()) })
		if c.Err() != nil || s.Err() != nil {
			t.Error(c.Err(), s.Err())
		}
	})
}

// TestGo: clients and servers of package net, over sockets.
func TestGo(t *testing.T) {
	versions(t, func(t *testing.T, v uint16) {
		want := pattern(1 << 20)
		t.Run("Client", func(t *testing.T) {
			p := newPump(t, nil)
			ln := p.listen(serverConfig(v), nil)
			p.on = func(ev evchan.Event) {
				switch ev := ev.(type) {
				case evchan.Readable:
					io.Copy(ev.Stream, ev.Stream)
				case evchan.EOF:
					ev.Stream.Close()
				}
			}
			p.async("the client", func() error {
				c, err := tls.Dial("tcp", ln.Addr().String(), clientConfig(v))
				if err != nil {
					return err
				}
				defer c.Close()
				go func() {
					io.WriteString(c, want)
					c.CloseWrite()
				}()
				return readAll(c, want)
			})
		})
		t.Run("Server", func(t *testing.T) {
			ln, err := tls.Listen("tcp", "127.0.0.1:0", serverConfig(v))
			must(t, err)
			defer ln.Close()
			go func() {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				io.Copy(c, c)
			}()
			p := newPump(t, nil)
			c, err := Dial(p.loop, "tcp", ln.Addr().String(), nil, clientConfig(v))
			must(t, err)
			c.WriteString(want)
			c.CloseWrite()
			p.untilSaid(c, "EOF")
			if p.text(c) != want || p.said[c][0] != "Connected" {
				t.Errorf("%d bytes have come back; %v", len(p.text(c)), p.said[c])
			}
			c.Close()
		})
	})
}

// TestDialName: Dial verifies the name in the address.
func TestDialName(t *testing.T) {
	p := newPump(t, nil)
	ln := p.listen(serverConfig(0), nil)
	c, err := Dial(p.loop, "tcp", ln.Addr().String(), nil, &tls.Config{RootCAs: newAuthority().pool})
	must(t, err)
	p.untilSaid(c, "Connected") // the certificate has the address
	state, _ := State(c)
	if state.ServerName != "127.0.0.1" && state.ServerName != "" {
		t.Error(state.ServerName)
	}
	other, err := Dial(p.loop, "tcp", ln.Addr().String(), &evchan.DialConfig{Data: 7}, &tls.Config{RootCAs: newAuthority().pool, ServerName: "another.example"})
	must(t, err)
	p.untilSaid(other, "Closed")
	if host := new(x509.HostnameError); !errors.As(other.Err(), host) || other.Data != 7 {
		t.Error(other.Err(), other.Data)
	}
}

// TestFails: handshakes that must fail, on which side they do, and what the other side hears.
func TestFails(t *testing.T) {
	ca := newAuthority()
	expired := ca.issue(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	wrongName := ca.issue(func(c *x509.Certificate) { c.DNSNames = []string{"other.example"} })
	versions(t, func(t *testing.T, v uint16) {
		for _, test := range []struct {
			name           string
			change         func(client, server *tls.Config)
			client, server string // parts of the errors
		}{
			{"WrongName", func(_, s *tls.Config) { s.Certificates = []tls.Certificate{wrongName} }, "not " + serverName, "bad certificate"},
			{"Expired", func(_, s *tls.Config) { s.Certificates = []tls.Certificate{expired} }, "expired", "bad certificate"},
			{"UnknownCA", func(c, _ *tls.Config) { c.RootCAs = x509.NewCertPool() }, "unknown authority", "bad certificate"},
			{"NoClientCertificate", func(_, s *tls.Config) {
				s.ClientAuth, s.ClientCAs = tls.RequireAndVerifyClientCert, ca.pool
			}, "remote error: tls:", "didn't provide a certificate"},
			{"BadClientCertificate", func(c, s *tls.Config) {
				s.ClientAuth, s.ClientCAs = tls.RequireAndVerifyClientCert, ca.pool
				c.Certificates = []tls.Certificate{expired}
				c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &expired, nil }
			}, "remote error: tls:", "expired"},
			{"Version", func(c, s *tls.Config) {
				c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
				s.MinVersion, s.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
			}, "protocol version", "unsupported versions"},
			{"Protocol", func(c, s *tls.Config) {
				c.NextProtos, s.NextProtos = []string{"a"}, []string{"b"}
			}, "no application protocol", "unsupported application protocols"},
			{"Verify", func(c, _ *tls.Config) {
				c.VerifyConnection = func(tls.ConnectionState) error { return errors.New("not as I like it") }
			}, "not as I like it", "bad certificate"},
		} {
			t.Run(test.name, func(t *testing.T) {
				p := newPump(t, nil)
				cc, sc := clientConfig(v), serverConfig(v)
				test.change(cc, sc)
				c, s := p.pair(cc, sc)
				c.WriteString("for nobody") // and must not reach anybody
				p.untilSaid(c, "Closed")
				p.untilSaid(s, "Closed")
				for _, side := range []struct {
					stream *evchan.Stream
					want   string
				}{{c, test.client}, {s, test.server}} {
					if err := side.stream.Err(); err == nil || !strings.Contains(err.Error(), side.want) {
						t.Errorf("%v: want %q", err, side.want)
					}
				}
				if slices.Contains(p.said[s], "Connected") || p.text(s) != "" {
					t.Errorf("the server was told %v, %q", p.said[s], p.text(s))
				}
				if p.saw(c, "Connected") && v == tls.VersionTLS12 {
					t.Error(p.said[c])
				}
			})
		}
	})
}

// TestRefusedConfigs: what cannot work is refused at once.
func TestRefusedConfigs(t *testing.T) {
	p := newPump(t, nil)
	a, _ := p.loop.Pipe(nil, nil)
	for _, c := range []*tls.Config{nil, {}, {ServerName: "a", Renegotiation: tls.RenegotiateFreelyAsClient}} {
		if _, err := Client(a, c, nil); err == nil {
			t.Error("Client takes it")
		}
	}
	for _, c := range []*tls.Config{nil, {}} {
		if _, err := Server(a, c, nil); err == nil {
			t.Error("Server takes it")
		}
	}
	if _, err := Client(nil, clientConfig(0), nil); err == nil {
		t.Error("Client takes a nil stream")
	}
	a.Close()
	if _, err := Client(a, clientConfig(0), nil); err != evchan.ErrClosed {
		t.Error(err)
	}
	if _, ok := State(a); ok {
		t.Error("a plain stream has a state")
	}
	if _, ok := State(nil); ok {
		t.Error("a nil stream has a state")
	}
}

// TestAgreed: ALPN, SNI, client certificates and resumption.
func TestAgreed(t *testing.T) {
	versions(t, func(t *testing.T, v uint16) {
		p := newPump(t, nil)
		cc, sc := clientConfig(v), serverConfig(v)
		cc.NextProtos, sc.NextProtos = []string{"other", "echo"}, []string{"echo"}
		cc.Certificates = []tls.Certificate{goodCert()}
		sc.ClientAuth, sc.ClientCAs = tls.RequireAndVerifyClientCert, newAuthority().pool
		cc.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		for round := range 2 {
			c, s := p.pair(cc, sc)
			p.untilSaid(c, "Connected")
			p.untilSaid(s, "Connected")
			s.WriteString("x") // with the tickets
			p.untilText(c, "x")
			for _, stream := range []*evchan.Stream{c, s} {
				state, ok := State(stream)
				if !ok || state.NegotiatedProtocol != "echo" || state.ServerName != serverName || len(state.PeerCertificates) != 1 || state.DidResume != (round == 1) {
					t.Errorf("round %d: %q, %q, %d certificates, resumed %v", round, state.NegotiatedProtocol, state.ServerName, len(state.PeerCertificates), state.DidResume)
				}
			}
			c.Close()
			s.Close()
		}
	})
}

// TestTruncated: an end without close_notify is no end of input, wherever it comes.
func TestTruncated(t *testing.T) {
	versions(t, func(t *testing.T, v uint16) {
		for _, half := range []bool{false, true} {
			name := "BetweenRecords"
			if half {
				name = "WithinRecord"
			}
			t.Run(name, func(t *testing.T) {
				p := newPump(t, nil)
				ln := p.listen(serverConfig(v), nil)
				p.async("the client", func() error {
					raw, err := net.Dial("tcp", ln.Addr().String())
					if err != nil {
						return err
					}
					defer raw.Close()
					cut := &cutConn{Conn: raw}
					c := tls.Client(cut, clientConfig(v))
					if _, err := io.WriteString(c, "whole"); err != nil {
						return err
					}
					if cut.drop = half; half {
						io.WriteString(c, "cut")
					}
					raw.(*net.TCPConn).CloseWrite()
					io.Copy(io.Discard, raw) // to close with unread input would be a reset
					return nil
				})
				var s *evchan.Stream
				p.until("the end", func() bool {
					for s = range p.said {
						return p.saw(s, "Closed")
					}
					return false
				})
				if !errors.Is(s.Err(), io.ErrUnexpectedEOF) || p.text(s) != "whole" || p.saw(s, "EOF") {
					t.Errorf("%v, %q, %v", s.Err(), p.text(s), p.said[s])
				}
			})
		}
	})
}

// TestBadRecord: a record that was changed on its way ends the stream, and the peer is told why.
func TestBadRecord(t *testing.T) {
	versions(t, func(t *testing.T, v uint16) {
		p := newPump(t, nil)
		ln := p.listen(serverConfig(v), nil)
		p.async("the client", func() error {
			raw, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				return err
			}
			defer raw.Close()
			c := tls.Client(raw, clientConfig(v))
			if _, err := io.WriteString(c, "good"); err != nil {
				return err
			}
			if _, err := raw.Write([]byte("\x17\x03\x03\x00\x20" + strings.Repeat("x", 32))); err != nil {
				return err
			}
			if _, err = io.Copy(io.Discard, c); err == nil || !strings.Contains(err.Error(), "remote error: tls: bad record MAC") {
				return fmt.Errorf("it was told %w", err)
			}
			return nil
		})
		var s *evchan.Stream
		p.until("the end", func() bool {
			for s = range p.said {
				return p.saw(s, "Closed")
			}
			return false
		})
		if s.Err() == nil || !strings.Contains(s.Err().Error(), "local error: tls: bad record MAC") || p.text(s) != "good" {
			t.Errorf("%v, %q", s.Err(), p.text(s))
		}
		p.until("the release", func() bool { return done(s.Done()) })
	})
}

// A cutConn sends only the first half of what is written while drop is set.
type cutConn struct {
	net.Conn
	drop bool
}

func (c *cutConn) Write(p []byte) (int, error) {
	if !c.drop {
		return c.Conn.Write(p)
	}
	_, err := c.Conn.Write(p[:len(p)/2])
	return len(p), err
}

// A byteConn sends each byte by itself.
type byteConn struct{ net.Conn }

func (c byteConn) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// TestSingleBytes: the client's handshake and records come in pieces of one byte.
func TestSingleBytes(t *testing.T) {
	versions(t, func(t *testing.T, v uint16) {
		p := newPump(t, nil)
		ln := p.listen(serverConfig(v), nil)
		p.on = func(ev evchan.Event) {
			switch ev := ev.(type) {
			case evchan.Readable:
				io.Copy(ev.Stream, ev.Stream)
			case evchan.EOF:
				ev.Stream.Close()
			}
		}
		want := pattern(1000)
		p.async("the client", func() error {
			raw, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				return err
			}
			defer raw.Close()
			c := tls.Client(byteConn{raw}, clientConfig(v))
			if _, err := io.WriteString(c, want); err != nil {
				return err
			}
			if err := c.CloseWrite(); err != nil {
				return err
			}
			return readAll(c, want)
		})
	})
}

// TestCloseDuringHandshake: the peer hears of it at once, also where the handshake is stuck.
func TestCloseDuringHandshake(t *testing.T) {
	for _, abort := range []bool{false, true} {
		p := newPump(t, nil)
		a, b := p.loop.Pipe(nil, nil)
		c, err := Client(a, clientConfig(0), nil)
		must(t, err)
		p.untilSaid(b, "Readable") // the ClientHello
		if abort {
			c.Abort()
			p.untilSaid(b, "Closed")
		} else {
			c.Close()
			p.untilSaid(b, "EOF")
			b.Close()
		}
		p.until("the end", func() bool { return done(c.Done()) && done(b.Done()) })
	}
}

// TestCloseSends: what was written before Close in mid-handshake is sent.
func TestCloseSends(t *testing.T) {
	versions(t, func(t *testing.T, v uint16) {
		p := newPump(t, nil)
		c, s := p.pair(clientConfig(v), serverConfig(v))
		c.WriteString("hello")
		c.Close()
		p.untilSaid(s, "EOF")
		if p.text(s) != "hello" || len(p.said[c]) != 0 {
			t.Errorf("%q; the client was told %v", p.text(s), p.said[c])
		}
		s.Close()
		p.until("the end", func() bool { return done(c.Done()) && done(s.Done()) })
		if c.Lost() > 0 {
			t.Error(c.Err())
		}
	})
}

// TestMoveTo moves a stream to another loop at every moment of its handshake.
func TestMoveTo(t *testing.T) {
	versions(t, func(t *testing.T, v uint16) {
		for steps := range 12 {
			p, q := newPump(t, nil), newPump(t, nil)
			c, s := p.pair(clientConfig(v), serverConfig(v))
			c.WriteString("hello")
			for range steps {
				p.once(0)
			}
			must(t, s.MoveTo(q.loop))
			answered := false
			p.until("the reply", func() bool {
				q.once(time.Millisecond)
				if q.text(s)+p.text(s) == "hello" && !answered {
					answered = true
					s.WriteString("bye")
				}
				return p.text(c) == "bye"
			})
			c.Abort()
			s.Abort()
		}
	})
}

// TestIdleHasNoGoroutine: streams whose handshake is over have no goroutines.
func TestIdleHasNoGoroutine(t *testing.T) {
	p := newPump(t, nil)
	before := runtime.NumGoroutine()
	var all []*evchan.Stream
	for range 20 {
		c, s := p.pair(clientConfig(0), serverConfig(0))
		all = append(all, c, s)
	}
	for _, s := range all {
		p.untilSaid(s, "Connected")
	}
	p.until("the end of the goroutines", func() bool { return runtime.NumGoroutine() <= before })
}

// TestReadMarks: the input keeps to its mark, and eight times as much arrives, each way.
func TestReadMarks(t *testing.T) {
	const mark = 5000
	versions(t, func(t *testing.T, v uint16) {
		p := newPump(t, nil)
		c, s := p.pair(clientConfig(v), serverConfig(v))
		for _, stream := range []*evchan.Stream{c, s} {
			stream.SetReadMarks(1, mark)
			stream.WriteString(pattern(8 * mark))
			stream.CloseWrite()
		}
		p.on = func(ev evchan.Event) {
			if n := ev.Source().(*evchan.Stream).Input().Len(); n > mark {
				t.Errorf("the input has %d bytes", n)
			}
		}
		for _, stream := range []*evchan.Stream{c, s} {
			p.untilSaid(stream, "EOF")
			if p.text(stream) != pattern(8*mark) {
				t.Errorf("%d bytes", len(p.text(stream)))
			}
		}
	})
}

// TestSilentServer: a client whose server says nothing costs nothing.
func TestSilentServer(t *testing.T) {
	p := newPump(t, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	c, err := Dial(p.loop, "tcp", ln.Addr().String(), nil, clientConfig(0))
	must(t, err)
	far, err := ln.Accept()
	must(t, err)
	defer far.Close()
	p.async("the hello", func() error {
		_, err := far.Read(make([]byte, 1000))
		return err
	})
	for p.once(0) {
	}
	before := p.loop.Stats().Turns
	p.once(100 * time.Millisecond)
	if n := p.loop.Stats().Turns - before; n > 20 {
		t.Errorf("the loop has made %d turns", n)
	}
	c.Abort()
}

// TestSendFile sends a file by TLS.
func TestSendFile(t *testing.T) {
	versions(t, func(t *testing.T, v uint16) {
		p := newPump(t, nil)
		c, s := p.pair(clientConfig(v), serverConfig(v))
		want := pattern(1 << 20)
		name := t.TempDir() + "/file"
		must(t, writeFile(name, want))
		f, err := os.Open(name)
		must(t, err)
		must(t, c.SendFile(f, 0, int64(len(want)), func() { f.Close() }))
		c.CloseWrite()
		p.untilSaid(s, "EOF")
		if p.text(s) != want {
			t.Errorf("%d bytes", len(p.text(s)))
		}
	})
}

// TestEvents: clients come and go, some in the middle of their handshakes, while the server
// receives over a channel.
func TestEvents(t *testing.T) {
	loop, err := evchan.New(&evchan.Config{Linger: time.Second})
	must(t, err)
	defer loop.Close()
	opts := &Options{Pending: 8}
	ln, err := loop.Listen("tcp", "127.0.0.1:0", &evchan.ListenConfig{Over: Over(serverConfig(0), opts)})
	must(t, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		for ev := range loop.Events() {
			switch ev := ev.(type) {
			case evchan.Readable:
				io.Copy(ev.Stream, ev.Stream)
			case evchan.EOF:
				ev.Stream.Close()
			}
		}
	}()
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			for j := range 10 {
				raw, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				raw.SetDeadline(time.Now().Add(patience))
				conn := net.Conn(raw)
				if (i+j)%4 == 0 {
					conn = &lossyConn{Conn: raw, left: 1 + (i*10+j)*7%900}
				}
				c := tls.Client(conn, clientConfig(0))
				want := pattern(1 + i*j*100)
				go func() {
					io.WriteString(c, want)
					c.CloseWrite()
				}()
				if err := readAll(c, want); err != nil && conn == net.Conn(raw) {
					t.Error(err)
				}
				raw.Close()
			}
		})
	}
	group.Wait()
	loop.Close()
	<-served
}

// TestShutdown: Shutdown sends close_notify, and waits neither for clients that stay nor for those
// in the middle of their handshake.
func TestShutdown(t *testing.T) {
	loop, err := evchan.New(nil)
	must(t, err)
	defer loop.Close()
	ln, err := loop.Listen("tcp", "127.0.0.1:0", &evchan.ListenConfig{Over: Over(serverConfig(0), nil)})
	must(t, err)
	accepted := make(chan *evchan.Stream, 10)
	served := make(chan struct{})
	go func() {
		defer close(served)
		for ev := range loop.All() {
			switch ev := ev.(type) {
			case evchan.Accepted:
				accepted <- ev.Stream
			case evchan.Readable:
				io.Copy(ev.Stream, ev.Stream)
			}
		}
	}()
	silent, err := net.Dial("tcp", ln.Addr().String())
	must(t, err)
	defer silent.Close()
	silent.Write(hello(t)[:50])
	c, err := tls.Dial("tcp", ln.Addr().String(), clientConfig(0))
	must(t, err)
	defer c.Close()
	io.WriteString(c, "hello")
	_, err = io.ReadFull(c, make([]byte, 5))
	must(t, err)
	<-accepted
	ended := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		ended <- err
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := loop.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != io.EOF {
		t.Errorf("the client reads %v", err)
	}
	if _, err := io.Copy(io.Discard, silent); err != nil {
		t.Logf("the silent client reads %v", err)
	}
	<-served
}

// TestLoopClose: handshakes of all stages end with the loop, and their goroutines, too.
func TestLoopClose(t *testing.T) {
	p := newPump(t, nil)
	sc := serverConfig(0)
	entered, gate := make(chan struct{}, 10), make(chan struct{})
	sc.Certificates = nil
	sc.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		entered <- struct{}{}
		<-gate
		c := goodCert()
		return &c, nil
	}
	opts := &Options{Pending: 1}
	for range 3 { // one blocks, and two wait for their turn
		a, b := p.loop.Pipe(nil, nil)
		_, err := Client(a, clientConfig(0), nil)
		must(t, err)
		_, err = Server(b, sc, opts)
		must(t, err)
	}
	p.until("the callback", func() bool { return len(entered) > 0 })
	for range 100 {
		p.once(0)
	}
	p.loop.Close()
	close(gate)
	for end := time.Now().Add(patience); ; runtime.Gosched() {
		opts.servers.mu.Lock()
		n, waiting := opts.servers.n, opts.servers.waiting.Len()
		opts.servers.mu.Unlock()
		if n == 0 && waiting == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d handshakes run, and %d wait", n, waiting)
		}
	}
	if len(entered) != 1 {
		t.Errorf("%d callbacks were called", len(entered))
	}
}

// TestGroup: a listener of several loops, with TLS.
func TestGroup(t *testing.T) {
	g, err := evchan.NewGroup(&evchan.GroupConfig{Loops: 3, Balance: evchan.RoundRobin, Grace: patience})
	must(t, err)
	ln, err := g.Listen("tcp", "127.0.0.1:0", &evchan.ListenConfig{Over: Over(serverConfig(0), nil)})
	must(t, err)
	served := make(chan error, 1)
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		served <- g.Run(ctx, func(l *evchan.Loop) error {
			accepted := make(map[*evchan.Stream]bool)
			for ev := range l.All() {
				switch ev := ev.(type) {
				case evchan.Accepted:
					accepted[ev.Stream] = true
				case evchan.Readable:
					if _, ok := State(ev.Stream); !ok || !accepted[ev.Stream] {
						t.Errorf("%v of a stream that was not accepted", ev)
					}
					io.Copy(ev.Stream, ev.Stream)
				case evchan.EOF:
					ev.Stream.Close()
				}
			}
			return l.Err()
		})
	}()
	var clients sync.WaitGroup
	for range 30 {
		clients.Go(func() {
			c, err := tls.Dial("tcp", ln.Addr().String(), clientConfig(0))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			io.WriteString(c, "hello")
			c.CloseWrite()
			if err := readAll(c, "hello"); err != nil {
				t.Error(err)
			}
		})
	}
	clients.Wait()
	stop()
	if err := <-served; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A lossyConn ends the connection when left bytes were written.
type lossyConn struct {
	net.Conn
	left int
}

func (c *lossyConn) Write(p []byte) (int, error) {
	if len(p) > c.left {
		c.Conn.Write(p[:c.left])
		c.Conn.Close()
		return 0, net.ErrClosed
	}
	c.left -= len(p)
	return c.Conn.Write(p)
}

// TestDeadlineError: what a handshake that takes too long ends with.
func TestDeadlineError(t *testing.T) {
	if !errors.Is(errHandshakeTimeout, os.ErrDeadlineExceeded) {
		t.Error("it is no os.ErrDeadlineExceeded")
	}
	if e := (&net.OpError{Op: "decode", Err: errHandshakeTimeout}); !e.Timeout() {
		t.Error("it is no timeout")
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"
)

func TestNetConn(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"InputComesFirst": func(t *testing.T, l *Loop) {
			needNetConn(t)
			for _, way := range []string{"Read", "WriteTo"} {
				s, far := connectedPair(t, l)
				send(t, far, "early ")
				nextOf(t, l, s)
				s.Input() // part of it taken, part not
				send(t, far, "and ")
				c, err := s.NetConn()
				if err != nil {
					t.Fatal(err)
				}
				send(t, far, "late")
				far.CloseWrite()
				var got bytes.Buffer
				if way == "Read" {
					_, err = got.ReadFrom(struct{ io.Reader }{c})
				} else {
					_, err = c.(io.WriterTo).WriteTo(&got)
				}
				if got.String() != "early and late" || err != nil {
					t.Errorf("%s: got %q, %v", way, got.String(), err)
				}
				c.Write([]byte("reply"))
				c.(interface{ CloseWrite() error }).CloseWrite()
				if p, err := io.ReadAll(far); string(p) != "reply" || err != nil {
					t.Errorf("%s: the peer got %q, %v", way, p, err)
				}
				c.Close()
				noMessage(t, l)
				if n := l.Stats().Sources; n != 0 {
					t.Errorf("%d live sources", n)
				}
				if _, err := s.Write(nil); err != ErrClosed {
					t.Errorf("the stream lives: %v", err)
				}
			}
		},
		"Deadline": func(t *testing.T, l *Loop) {
			needNetConn(t)
			s, _ := connectedPair(t, l)
			c, err := s.NetConn()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, ok := c.(*net.TCPConn); !ok {
				t.Errorf("it is a %T", c)
			}
			c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read gives %v", err)
			}
		},
		"Refused": func(t *testing.T, l *Loop) {
			s, _ := connectedPair(t, l)
			for s.Queued() == 0 {
				s.Write(make([]byte, 4<<20))
			}
			if _, err := s.NetConn(); err != ErrWouldBlock {
				t.Errorf("with unsent output it gives %v", err)
			}
			s.Abort()
			if _, err := s.NetConn(); err != ErrClosed {
				t.Errorf("after the end it gives %v", err)
			}
			for _, fd := range plainFDs(t) {
				p, err := l.WrapFD(fd, nil)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := p.NetConn(); !errors.Is(err, ErrUnsupported) {
					t.Errorf("of a pipe it gives %v", err)
				}
			}
		},
		"HTTP": testNetConnHTTP,
		"NetListener": func(t *testing.T, l *Loop) {
			needNetConn(t)
			for _, network := range networks {
				ln := listen(t, l, network, nil)
				nl, err := ln.NetListener()
				if err != nil {
					t.Fatal(err)
				}
				go func() {
					if c, err := nl.Accept(); err == nil {
						io.WriteString(c, "hello")
						c.Close()
					}
				}()
				c, err := net.Dial(network, nl.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				if p, err := io.ReadAll(c); string(p) != "hello" || err != nil {
					t.Errorf("got %q, %v", p, err)
				}
				c.Close()
				nl.Close()
				if network == "unix" {
					if _, err := os.Stat(ln.Addr().String()); !errors.Is(err, os.ErrNotExist) {
						t.Errorf("the file is still there: %v", err)
					}
				}
			}
		},
	})
}

// oneConn is a net.Listener for connections that others have accepted.
type oneConn struct {
	conns chan net.Conn
	addr  net.Addr
}

func (o *oneConn) Addr() net.Addr { return o.addr }
func (o *oneConn) Close() error   { return nil }
func (o *oneConn) Accept() (net.Conn, error) {
	if c, ok := <-o.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

// testNetConnHTTP has net/http serve connections that the loop has accepted, and
// of which it has read the first bytes.
func testNetConnHTTP(t *testing.T, l *Loop) {
	needNetConn(t)
	ln := listen(t, l, "tcp", nil)
	o := &oneConn{make(chan net.Conn, 10), ln.Addr()}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "you asked for ", r.URL.Path)
	})}
	go srv.Serve(o)
	serve(t, l, func(ev Event) {
		if ev, ok := ev.(Readable); ok {
			if c, err := ev.Stream.NetConn(); err != nil {
				t.Error(err)
			} else {
				o.conns <- c
			}
		}
	})
	tr := &http.Transport{}
	client := &http.Client{Transport: tr, Timeout: 10 * time.Second}
	for i := range 5 { // keep-alive
		r, err := client.Get(fmt.Sprintf("http://%s/%d", ln.Addr(), i))
		if err != nil {
			t.Fatal(err)
		}
		p, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if string(p) != fmt.Sprintf("you asked for /%d", i) {
			t.Errorf("got %q", p)
		}
	}
	tr.CloseIdleConnections()
	close(o.conns)
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// The net.Conn of a Pipe and of a filter, beside what the module conntest does.
func TestNetConnInMemory(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Pipe": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			b.Write([]byte("abcdef"))
			nextOf(t, l, a)
			a.Input().Discard(1)
			b.Write([]byte("ghi"))
			c := netConn(t, l, a)
			if n := l.Stats().Sources; n != 1 {
				t.Errorf("%d sources are left", n)
			}
			b.CloseWrite()
			for b.out.queue.n > 0 {
				l.Poll(time.Millisecond)
			}
			l.Poll(0)
			if got, err := io.ReadAll(c); string(got) != "bcdefghi" || err != nil {
				t.Errorf("read %q, %v", got, err)
			}
			fmt.Fprint(c, "reply")
			closeWrite(t, c)
			if _, err := c.Write([]byte("x")); !errors.Is(err, ePIPE) {
				t.Errorf("writing after CloseWrite: %v", err)
			}
			for _, want := range []Event{Readable{b}, EOF{b}} {
				if ev := nextOf(t, l, b); ev != want {
					t.Errorf("received %v, want %v", ev, want)
				}
			}
			c.Close()
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("reading after Close: %v", err)
			}
			b.Close()
			waitReleased(t, l)
		},
		"PipeReset": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			c := netConn(t, l, a)
			b.Abort()
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, eCONNRESET) {
				t.Errorf("reading: %v", err)
			}
			if _, err := c.Write(make([]byte, 1)); !errors.Is(err, ePIPE) {
				t.Errorf("writing: %v", err)
			}
			c.Close()
		},
		"PipeDeadline": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			c := netConn(t, l, a)
			c.SetDeadline(time.Now().Add(time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("reading: %v", err)
			}
			n, err := 0, error(nil)
			for err == nil { // b's loop does not run
				var k int
				k, err = c.Write(make([]byte, 1000))
				n += k
			}
			var e net.Error
			if !errors.As(err, &e) || !e.Timeout() {
				t.Errorf("writing: %v", err)
			}
			c.SetDeadline(time.Time{})
			if _, err := b.Write([]byte("x")); err != nil {
				t.Error(err)
			}
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Error(err)
			}
			c.Close()
			b.Abort()
		},
		"FilterInput": func(t *testing.T, l *Loop) {
			needNetConn(t)
			// What is decoded and unread, what is left undecoded, and what
			// the stream under it has not given yet come in order.
			s, far := connectedPair(t, l)
			f := &frameFilter{t: t}
			up := filterOn(t, s, f)
			send(t, far, "HELLO\x00\x03abc\x00\x05de")
			nextOf(t, l, up)
			if _, err := s.NetConn(); err == nil {
				t.Error("NetConn from under a filter")
			}
			up.Input().Discard(1)
			send(t, far, "fgh\x00\x01i\x00")
			c := netConn(t, l, up)
			if n := l.Stats().Sources; n != 0 {
				t.Errorf("%d sources are left", n)
			}
			send(t, far, "\x02jk\x00\x00")
			far.CloseWrite()
			if got, err := io.ReadAll(c); string(got) != "bcdefghijk" || err != nil {
				t.Errorf("read %q, %v", got, err)
			}
			fmt.Fprint(c, "reply")
			closeWrite(t, c)
			if got, err := io.ReadAll(far); string(got) != "HELLO\x00\x05reply\x00\x00" || err != nil {
				t.Errorf("the peer got %q, %v", got, err)
			}
			if _, err := c.Write([]byte("x")); err == nil {
				t.Error("writing after CloseWrite")
			}
			c.Close()
			if f.closed.Load() != 1 {
				t.Errorf("the filter was closed %d times", f.closed.Load())
			}
		},
		"FilterHeldBack": func(t *testing.T, l *Loop) {
			needNetConn(t)
			// What Encode has left goes out when the handshake is over.
			s, far := connectedPair(t, l)
			up := filterOn(t, s, &frameFilter{t: t})
			up.Write([]byte("early"))
			c := netConn(t, l, up)
			fmt.Fprint(c, "late")
			send(t, far, "HELLO\x00\x01!")
			if n, err := c.Read(make([]byte, 10)); n != 1 || err != nil {
				t.Errorf("read %d bytes, %v", n, err)
			}
			c.Close()
			if got, err := io.ReadAll(far); string(got) != "HELLO\x00\x09earlylate\x00\x00" || err != nil {
				t.Errorf("the peer got %q, %v", got, err)
			}
		},
		"FilterError": func(t *testing.T, l *Loop) {
			needNetConn(t)
			s, far := connectedPair(t, l)
			c := netConn(t, l, filterOn(t, s, &frameFilter{t: t}))
			send(t, far, "GOODBYE")
			for range 2 {
				if _, err := c.Read(make([]byte, 10)); !errors.Is(err, errFrame) {
					t.Errorf("reading: %v", err)
				}
			}
			c.Close()
		},
		"FilterUnsent": func(t *testing.T, l *Loop) {
			needNetConn(t)
			s, far := connectedPair(t, l)
			up := filterOn(t, filterOn(t, s, xorFilter(1)), xorFilter(1))
			want := pattern(8 << 20)
			up.Write(want)
			for s.Queued() == 0 {
				l.Poll(time.Millisecond)
			}
			if _, err := up.NetConn(); err != ErrWouldBlock {
				t.Errorf("NetConn with unsent output: %v", err)
			}
			got := make(chan int)
			go func() {
				n, _ := io.Copy(io.Discard, far)
				got <- int(n)
			}()
			var c net.Conn
			for c == nil {
				if ev := nextOf(t, l, up); ev != Event(Drained{up}) {
					t.Fatalf("unexpected %v", ev)
				}
				var err error
				if c, err = up.NetConn(); err != nil && err != ErrWouldBlock {
					t.Fatal(err)
				}
			}
			c.Close()
			if n := <-got; n != len(want) {
				t.Errorf("%d bytes were sent, want %d", n, len(want))
			}
		},
		"TLS": func(t *testing.T, l *Loop) {
			needNetConn(t)
			// crypto/tls on a socket, on a pipe, and on filters.
			s, far := connectedPair(t, l)
			testTLS(t, netConn(t, l, s), far)
			a, b := l.Pipe(nil, nil)
			testTLS(t, netConn(t, l, a), netConn(t, l, b))
			a, b = filtered(t, l, &frameFilter{t: t}, &frameFilter{t: t})
			testTLS(t, netConn(t, l, a), netConn(t, l, b))
		},
	})
}

// selfSigned returns a server's configuration and that of a client who trusts it.
func selfSigned(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"evchan.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{RootCAs: roots, ServerName: "evchan.test"}
}

// testTLS has a server on a echo what a client on b sends.
func testTLS(t *testing.T, a, b net.Conn) {
	t.Helper()
	sconf, cconf := selfSigned(t)
	failed := make(chan error, 1)
	go func() {
		c := tls.Server(a, sconf)
		_, err := io.Copy(c, c)
		c.CloseWrite()
		failed <- err
	}()
	c := tls.Client(b, cconf)
	want := pattern(300 << 10)
	go func() {
		c.Write(want)
		c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != string(want) {
		t.Errorf("%d other bytes have come back: %v", len(got), err)
	}
	if err := <-failed; err != nil {
		t.Error(err)
	}
	c.Close()
	a.Close()
}

// TestNetConnUnixEarly: what had arrived comes first, by Read and by WriteTo.
func TestNetConnUnixEarly(t *testing.T) {
	needNetConn(t)
	if !slices.Contains(networks, "unix") {
		t.Skip("there are no Unix sockets here")
	}
	for name, read := range map[string]func(net.Conn) ([]byte, error){
		"Read": func(c net.Conn) (all []byte, err error) {
			for p := make([]byte, 3); err == nil; {
				var n int
				n, err = c.Read(p)
				all = append(all, p[:n]...)
			}
			if err == io.EOF {
				err = nil
			}
			return all, err
		},
		"WriteTo": func(c net.Conn) ([]byte, error) {
			var b Buffer
			_, err := c.(io.WriterTo).WriteTo(&b)
			return b.Next(b.Len()), err
		},
	} {
		l := dialLoop(t, "")
		ln := listen(t, l, "unix", nil)
		far := dial(t, ln)
		send(t, far, "early ")
		ev, _ := l.Poll(10 * time.Second)
		s := ev.(Accepted).Stream
		if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
			t.Fatalf("unexpected %v", ev)
		}
		c, err := s.NetConn()
		must(t, err)
		defer c.Close()
		send(t, far, "and late")
		far.Close()
		if got, err := read(c); err != nil || string(got) != "early and late" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// earlyConn returns the net.Conn of a stream of which all input, "early", is unread, and
// its peer.
func earlyConn(t *testing.T, l *Loop) (net.Conn, *net.TCPConn) {
	t.Helper()
	s, far := connectedPair(t, l)
	send(t, far, "early")
	for s.in.held.Load() < 5 {
		nextOf(t, l, s)
	}
	c, err := s.NetConn()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, far
}

// TestNetConnEarlyEnds: input that had arrived before is not read after the deadline and
// after Close either.
func TestNetConnEarlyEnds(t *testing.T) {
	needNetConn(t)
	l := dialLoop(t, "")
	reads := map[string]func(net.Conn) (int64, error){
		"Read": func(c net.Conn) (int64, error) {
			n, err := c.Read(make([]byte, 2))
			return int64(n), err
		},
		"WriteTo": func(c net.Conn) (int64, error) { return c.(io.WriterTo).WriteTo(io.Discard) },
	}
	for name, read := range reads {
		c, far := earlyConn(t, l)
		for _, set := range []func(time.Time) error{c.SetDeadline, c.SetReadDeadline} {
			must(t, set(time.Unix(1, 0)))
			var op *net.OpError
			if n, err := read(c); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &op) || op.Op != "read" || op.Addr == nil {
				t.Errorf("%s after the deadline gives %d, %v", name, n, err)
			}
		}
		must(t, c.SetReadDeadline(time.Time{}))
		if n, err := c.Read(make([]byte, 2)); n != 2 || err != nil {
			t.Errorf("%s: without a deadline, Read gives %d, %v", name, n, err)
		}
		c.Close()
		if n, err := read(c); n != 0 || !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s after Close gives %d, %v", name, n, err)
		}
		far.Close()
	}
}

// TestNetConnReset: what NetConn makes of a stream whose peer has reset it, which the
// loop has not seen, has the addresses, as what package net accepts has. So has a
// net.Conn with a filter, whose methods fail and do not panic.
func TestNetConnReset(t *testing.T) {
	needNetConn(t)
	l := dialLoop(t, "")
	for _, filtered := range []bool{false, true} {
		ln := listen(t, l, "tcp", nil)
		far, err := net.Dial("tcp", ln.Addr().String())
		must(t, err)
		ev, ok := l.Poll(testPatience)
		if !ok {
			t.Fatal("nothing was accepted")
		}
		s := ev.(Accepted).Stream
		if filtered {
			s = filterOn(t, s, new(plainFilter))
			noMessage(t, l)
		}
		local := far.RemoteAddr().String()
		far.(*net.TCPConn).SetLinger(0)
		far.Close()
		c, err := s.NetConn()
		if filtered && errors.Is(err, eCONNRESET) {
			continue // NetConn has given the filter what had arrived
		} else if err != nil {
			t.Fatal(err)
		}
		if a := c.RemoteAddr(); a == nil || a.String() != far.LocalAddr().String() {
			t.Errorf("filtered %v: the peer is %v, want %v", filtered, a, far.LocalAddr())
		}
		if a := c.LocalAddr(); a == nil || a.String() != local {
			t.Errorf("filtered %v: the local address is %v, want %v", filtered, a, local)
		}
		for _, call := range []func([]byte) (int, error){c.Read, c.Write} {
			if n, err := call(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("filtered %v: it gives %d, %v", filtered, n, err)
			}
		}
		c.Close()
		ln.Close()
	}
}

// TestNetConnWrapped: what NetConn gives can be wrapped again, with the input that was
// unread then and with what the net.Conn has left of it. If Wrap fails, it is as it was.
func TestNetConnWrapped(t *testing.T) {
	needNetConn(t)
	l := dialLoop(t, "")
	bad := RateLimit{ReadRate: 1}
	for _, read := range []int{0, 2, 5} {
		c, far := earlyConn(t, l)
		if _, err := io.ReadFull(c, make([]byte, read)); err != nil {
			t.Fatal(err)
		}
		remote := c.RemoteAddr().String()
		if _, err := l.Wrap(c, &StreamConfig{RateLimit: &bad}); err == nil {
			t.Fatal("Wrap with a bad limit succeeds")
		}
		s, err := l.Wrap(c, &StreamConfig{Input: []byte("before,")})
		must(t, err)
		send(t, far, ",late")
		far.CloseWrite()
		for nextOf(t, l, s) != Event(EOF{s}) {
		}
		want := "before," + "early"[read:] + ",late"
		if got := string(s.Input().Next(100)); got != want {
			t.Errorf("the stream has read %q, want %q", got, want)
		}
		if a := s.RemoteAddr().String(); a != remote {
			t.Errorf("the peer is %s, was %s", a, remote)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read of the net.Conn gives %v", err)
		}
		s.Close()
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtls

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evchan/evchan"
)

// hello returns the first record of a client.
func hello(t testing.TB) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	go tls.Client(b, clientConfig(0)).Handshake()
	p := make([]byte, 16<<10)
	n, err := a.Read(p)
	must(t, err)
	return p[:n]
}

// TestHandshakeTimeout: a client that goes on as far as it says, and no further, is cut off. No
// message tells of it, since it was never accepted.
func TestHandshakeTimeout(t *testing.T) {
	first := hello(t)
	for _, test := range []struct {
		name string
		say  []byte
	}{
		{"Silent", nil},
		{"HalfHeader", first[:3]},
		{"HalfHello", first[:len(first)/2]},
		{"Hello", first},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newPump(t, nil)
			ln := p.listen(serverConfig(0), &Options{HandshakeTimeout: 50 * time.Millisecond})
			p.on = func(ev evchan.Event) { t.Errorf("unexpected %v", ev) }
			p.async("the end of the connection", func() error {
				c, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					return err
				}
				defer c.Close()
				if _, err := c.Write(test.say); err != nil {
					return err
				}
				io.Copy(io.Discard, c)
				return nil
			})
			p.until("the release", func() bool { return p.loop.Stats().Sources == 1 })
		})
	}
	t.Run("Client", func(t *testing.T) {
		t.Parallel()
		p := newPump(t, nil)
		a, _ := p.loop.Pipe(nil, nil)
		c, err := Client(a, clientConfig(0), &Options{HandshakeTimeout: 50 * time.Millisecond})
		must(t, err)
		p.untilSaid(c, "Closed")
		timeout, ok := c.Err().(net.Error)
		if !errors.Is(c.Err(), os.ErrDeadlineExceeded) || !ok || !timeout.Timeout() {
			t.Error(c.Err())
		}
	})
	t.Run("None", func(t *testing.T) {
		t.Parallel()
		if d := (&Options{HandshakeTimeout: -1}).timeout(); d != 0 {
			t.Error(d)
		}
		if d := new(Options).timeout(); d != 10*time.Second {
			t.Error(d)
		}
	})
}

// TestSilentClients: a thousand clients that say nothing, or half of a hello, delay nobody, and
// have no goroutines.
func TestSilentClients(t *testing.T) {
	crowd := 1000
	if testing.Short() {
		crowd = 100
	}
	p := newPump(t, nil)
	ln := p.listen(serverConfig(0), nil)
	p.on = func(ev evchan.Event) {
		if r, ok := ev.(evchan.Readable); ok {
			io.Copy(r.Stream, r.Stream)
		}
	}
	half := hello(t)
	half = half[:len(half)/2]
	var silent []net.Conn
	defer func() {
		for _, c := range silent {
			c.Close()
		}
	}()
	p.async("the crowd", func() error {
		for i := range crowd {
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				return err
			}
			silent = append(silent, c)
			if i%2 == 0 {
				c.Write(half)
			}
		}
		return nil
	})
	before := runtime.NumGoroutine()
	if before > 100 {
		t.Errorf("%d goroutines", before)
	}
	p.async("the client that speaks", func() error {
		c, err := tls.Dial("tcp", ln.Addr().String(), clientConfig(0))
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(c, "hello"); err != nil {
			return err
		}
		_, err = io.ReadFull(c, make([]byte, 5))
		return err
	})
}

// TestPending: no more handshakes than allowed have a goroutine. Those that wait come later, and
// those that have ended meanwhile are left out.
func TestPending(t *testing.T) {
	p := newPump(t, nil)
	sc := serverConfig(0)
	gate := make(chan struct{})
	var mu sync.Mutex
	running, most := 0, 0
	sc.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		<-gate
		mu.Lock()
		running--
		mu.Unlock()
		c := goodCert()
		return &c, nil
	}
	sc.Certificates = nil
	opts := &Options{Pending: 2}
	var all []*evchan.Stream
	for range 10 {
		a, b := p.loop.Pipe(nil, nil)
		c, err := Client(a, clientConfig(0), nil)
		must(t, err)
		s, err := Server(b, sc, opts)
		must(t, err)
		all = append(all, c, s)
	}
	p.until("two of them", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return running == 2
	})
	p.until("the others", func() bool {
		opts.servers.mu.Lock()
		defer opts.servers.mu.Unlock()
		return opts.servers.waiting.Len() == 8
	})
	// Two of those that wait end: one by its client, one by itself.
	ended := 0
	for i := 1; i < len(all) && ended < 2; i += 2 {
		f := all[i].By().(*filter)
		f.hs.mu.Lock()
		waits := f.hs.wants && !f.hs.starts
		f.hs.mu.Unlock()
		if waits {
			all[i-ended].Abort()
			ended++
		}
	}
	p.until("those that have ended to be forgotten", func() bool {
		opts.servers.mu.Lock()
		defer opts.servers.mu.Unlock()
		return opts.servers.waiting.Len() == 6
	})
	close(gate)
	p.until("all", func() bool {
		for i := 1; i < len(all); i += 2 {
			if !p.saw(all[i], "Connected") && !p.saw(all[i], "Closed") && !done(all[i].Done()) {
				return false
			}
		}
		return true
	})
	if most > 2 {
		t.Errorf("%d at once", most)
	}
	p.until("the end of all", func() bool {
		opts.servers.mu.Lock()
		defer opts.servers.mu.Unlock()
		return opts.servers.n == 0
	})
}

// TestCallbacks: a callback that blocks, panics or exits.
func TestCallbacks(t *testing.T) {
	get := func(sc *tls.Config, f func()) {
		sc.Certificates = nil
		sc.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			f()
			c := goodCert()
			return &c, nil
		}
	}
	t.Run("Blocks", func(t *testing.T) {
		// More of them than may compute at once. Neither the loop nor other handshakes wait.
		p := newPump(t, nil)
		sc := serverConfig(0)
		gate := make(chan struct{})
		get(sc, func() { <-gate })
		var stuck []*evchan.Stream
		for range 3 * cap(slots) {
			_, s := p.pair(clientConfig(0), sc)
			stuck = append(stuck, s)
		}
		c, s := p.pair(clientConfig(0), serverConfig(0))
		c.WriteString("hello")
		p.untilText(s, "hello")
		for _, s := range stuck {
			if len(p.said[s]) > 0 {
				t.Error(p.said[s])
			}
		}
		close(gate)
		for _, s := range stuck {
			p.untilSaid(s, "Connected")
		}
	})
	t.Run("Cancelled", func(t *testing.T) {
		// The context that it has been given ends with the stream.
		p := newPump(t, nil)
		sc := serverConfig(0)
		entered, left := make(chan struct{}), make(chan error, 1)
		sc.Certificates = nil
		sc.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			close(entered)
			<-h.Context().Done()
			left <- h.Context().Err()
			return nil, h.Context().Err()
		}
		c, s := p.pair(clientConfig(0), sc)
		p.until("the callback", func() bool { return done(entered) })
		s.Abort()
		p.async("the end of the callback", func() error {
			if err := <-left; err != context.Canceled {
				return err
			}
			return nil
		})
		p.untilSaid(c, "Closed")
	})
	for name, f := range map[string]func(){
		"Panics": func() { panic("no such certificate") },
		"Exits":  runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			p := newPump(t, nil)
			sc := serverConfig(0)
			get(sc, f)
			c, s := p.pair(clientConfig(0), sc)
			p.untilSaid(s, "Closed")
			p.untilSaid(c, "Closed")
			if err := s.Err(); err == nil || !strings.Contains(err.Error(), "panicked: no such certificate") && !strings.Contains(err.Error(), "Goexit") {
				t.Error(err)
			}
			c, s = p.pair(clientConfig(0), serverConfig(0)) // the slots are all there
			p.untilSaid(s, "Connected")
			p.untilSaid(c, "Connected")
		})
	}
	t.Run("EndsMeanwhile", func(t *testing.T) {
		// The client leaves while a callback blocks: what the callback decides comes first.
		p := newPump(t, nil)
		sc := serverConfig(0)
		entered, gate := make(chan struct{}), make(chan struct{})
		sc.Certificates = nil
		sc.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			close(entered)
			<-gate
			return nil, errors.New("no certificate today")
		}
		c, s := p.pair(clientConfig(0), sc)
		p.until("the callback", func() bool { return done(entered) })
		c.Abort()
		for range 10 {
			p.once(0)
		}
		if len(p.said[s]) > 0 {
			t.Error(p.said[s])
		}
		close(gate)
		p.untilSaid(s, "Closed")
		if err := s.Err(); err == nil || !strings.Contains(err.Error(), "no certificate today") {
			t.Error(err)
		}
	})
}

// TestStateMeanwhile: State does not wait for a handshake.
func TestStateMeanwhile(t *testing.T) {
	p := newPump(t, nil)
	sc := serverConfig(0)
	entered, gate := make(chan struct{}), make(chan struct{})
	sc.VerifyConnection = func(tls.ConnectionState) error {
		close(entered)
		<-gate
		return nil
	}
	_, s := p.pair(clientConfig(0), sc)
	p.until("the callback", func() bool { return done(entered) })
	if _, ok := State(s); ok {
		t.Error("there is a state")
	}
	if _, err := s.NetConn(); err != evchan.ErrWouldBlock {
		t.Errorf("NetConn gives %v", err)
	}
	close(gate)
	p.untilSaid(s, "Connected")
	if _, ok := State(s); !ok {
		t.Error("there is no state")
	}
}

// TestGarbage: what is no TLS is refused, and the peer is told.
func TestGarbage(t *testing.T) {
	for _, say := range []string{"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\xff\xff" + strings.Repeat("x", 100), "\x16\x03\x01\x00\x05hello"} {
		p := newPump(t, nil)
		a, b := p.loop.Pipe(nil, nil)
		s, err := Server(b, serverConfig(0), nil)
		must(t, err)
		a.WriteString(say)
		p.untilSaid(s, "Closed")
		p.untilSaid(a, "EOF")
		if s.Err() == nil || !strings.Contains(s.Err().Error(), "tls: ") {
			t.Errorf("%.10q: %v", say, s.Err())
		}
	}
}

// TestFailed: a mailbox is told of the handshakes that fail, and of no others.
func TestFailed(t *testing.T) {
	p := newPump(t, nil)
	box := p.loop.Mailbox(10)
	var failed []*HandshakeFailed
	p.on = func(ev evchan.Event) {
		if e, ok := ev.(*HandshakeFailed); ok {
			failed = append(failed, e)
		}
	}
	ln := p.listen(serverConfig(0), &Options{Failed: box, HandshakeTimeout: 100 * time.Millisecond})
	addr := ln.Addr().String()
	for _, test := range []struct {
		name   string
		client func(c net.Conn) error
		want   string
	}{
		{"Good", func(c net.Conn) error { return tls.Client(c, clientConfig(0)).Handshake() }, ""},
		{"Refuses", func(c net.Conn) error {
			cc := clientConfig(0)
			cc.ServerName = "other.example"
			tls.Client(c, cc).Handshake()
			return nil
		}, "remote error: tls: bad certificate"},
		{"Leaves", func(c net.Conn) error { return nil }, "unexpected EOF"},
		{"Silent", func(c net.Conn) error {
			io.Copy(io.Discard, c)
			return nil
		}, "too long"},
		{"Garbage", func(c net.Conn) error {
			io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
			io.Copy(io.Discard, c)
			return nil
		}, "first record does not look like a TLS handshake"},
	} {
		failed = nil
		var from string
		p.async(test.name, func() error {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return err
			}
			defer c.Close()
			from = c.LocalAddr().String()
			if err := test.client(c); err != nil {
				return err
			}
			return c.(*net.TCPConn).CloseWrite()
		})
		p.until("the release", func() bool { return p.loop.Stats().Sources <= 2 || test.want == "" })
		p.until("the message", func() bool { return len(failed) > 0 || test.want == "" })
		if test.want == "" {
			if len(failed) > 0 {
				t.Errorf("%s: %v", test.name, failed)
			}
			for s := range p.said {
				p.untilSaid(s, "Closed")
			}
			continue
		}
		if len(failed) != 1 || !strings.Contains(failed[0].Err.Error(), test.want) || failed[0].RemoteAddr.String() != from || !strings.Contains(failed[0].String(), test.want) {
			t.Errorf("%s: %v from %v; want %q", test.name, failed, from, test.want)
		}
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build linux

// Package servers checks that all servers do what the benchmark expects of them.
package servers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// limit is when a server that does not answer has failed. It is generous, since
// the machine may be busy.
const limit = 20 * time.Second

// A program is one executable.
type program struct {
	name string
	c    string   // the C file, or "" for the Go package of that name
	libs []string // what to link it with
}

// A server is a program with its arguments, and what it is known to be unable to do.
type server struct {
	name        string
	program     *program
	args        []string
	noHalfClose string // why output after the peer's end of input may be lost
	noPressure  string // why it reads more than it can write
	listeners   int    // sockets it has while nobody is connected, if not 1
	echoOnly    bool   // it can do nothing else
}

const (
	netpollHalfClose = "netpoll takes the peer's end of input for the end of the connection"
	gnetHalfClose    = "gnet takes the peer's end of input for the end of the connection"
	gnetPressure     = "gnet reads whatever arrives, however much is unread"
	nbioHalfClose    = "nbio takes the peer's end of input for the end of the connection"
	nbioPressure     = "nbio reads whatever arrives, however much is unread"
	netpollPressure  = "netpoll reads whatever arrives, however much is unread"
)

var (
	rawepoll = &program{name: "rawepoll", c: "rawepoll/rawepoll.c"}
	libevent = &program{name: "libevent", c: "libevent/libevent.c", libs: []string{"-levent"}}
	libuv    = &program{name: "libuv", c: "libuv/libuv.c", libs: []string{"-luv"}}
	std      = &program{name: "std"}
	netpoll  = &program{name: "netpoll"}
	gnet     = &program{name: "gnet"}
	nbio     = &program{name: "nbio"}
	evchan   = &program{name: "evchan"}
)

var servers = []server{
	{name: "rawepoll", program: rawepoll},
	{name: "std", program: std},
	{name: "netpoll", program: netpoll, noHalfClose: netpollHalfClose, noPressure: netpollPressure, listeners: 2},
	{name: "netpoll-2", program: netpoll, args: []string{"-pollers", "2"}, noHalfClose: netpollHalfClose, noPressure: netpollPressure, listeners: 2},
	{name: "gnet", program: gnet, noHalfClose: gnetHalfClose, noPressure: gnetPressure, echoOnly: true},
	{name: "gnet-multicore", program: gnet, args: []string{"-loops", "0"}, noHalfClose: gnetHalfClose, noPressure: gnetPressure, echoOnly: true},
	{name: "nbio", program: nbio, noHalfClose: nbioHalfClose, noPressure: nbioPressure, echoOnly: true},
	{name: "nbio-et", program: nbio, args: []string{"-mode", "et"}, noHalfClose: nbioHalfClose, noPressure: nbioPressure, echoOnly: true},
	{name: "nbio-oneshot", program: nbio, args: []string{"-mode", "oneshot"}, noHalfClose: nbioHalfClose, noPressure: nbioPressure, echoOnly: true},
	{name: "libevent", program: libevent},
	{name: "libuv", program: libuv},
	{name: "evchan-all", program: evchan, args: []string{"-mode", "all"}},
	{name: "evchan-batches", program: evchan, args: []string{"-mode", "batches"}},
	{name: "evchan-events", program: evchan, args: []string{"-mode", "events"}},
	{name: "evchan-netconn", program: evchan, args: []string{"-mode", "netconn"}},
}

func TestServers(t *testing.T) {
	bin := t.TempDir()
	built := make(map[*program]string) // why a program could not be built, or ""
	for _, s := range servers {
		if _, ok := built[s.program]; !ok {
			built[s.program] = s.program.build(t, bin)
		}
	}
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			if why := built[s.program]; why != "" {
				t.Skip(why)
			}
			t.Parallel() // they wait most of the time
			t.Run("echo", func(t *testing.T) { testEcho(t, s, bin) })
			if s.echoOnly {
				return
			}
			t.Run("sink", func(t *testing.T) { testSink(t, s, bin) })
			t.Run("source", func(t *testing.T) { testSource(t, s, bin) })
			t.Run("proxy", func(t *testing.T) { testProxy(t, s, bin) })
		})
	}
}

// build returns why p cannot be built here, or "". A program that should build
// and does not, or with warnings, fails the test.
func (p *program) build(t *testing.T, bin string) string {
	out := filepath.Join(bin, p.name)
	if p.c == "" {
		if said, err := exec.Command("go", "build", "-o", out, "./"+p.name).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		return ""
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		return "no gcc: " + err.Error()
	}
	for _, lib := range p.libs {
		probe := exec.Command("gcc", "-x", "c", "-o", os.DevNull, "-", lib)
		probe.Stdin = strings.NewReader("int main(void) { return 0; }")
		if said, err := probe.CombinedOutput(); err != nil {
			return fmt.Sprintf("nothing to link with %s: %s", lib, said)
		}
	}
	args := append([]string{"-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", out, p.c}, p.libs...)
	if said, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	return ""
}

// A running server is killed when its test ends.
type running struct {
	addr string
	pid  int
}

func start(t *testing.T, s server, bin, work string, args ...string) running {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	args = append(append([]string{"-listen", addr, "-work", work}, args...), s.args...)
	cmd := exec.Command(filepath.Join(bin, s.program.name), args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		select {
		case <-ended:
			t.Errorf("the server ended by itself: %v", cmd.ProcessState)
		default:
			cmd.Process.Kill()
			<-ended
		}
		if said.Len() > 0 && t.Failed() {
			t.Logf("the server: %s", &said)
		}
	})
	r := running{addr, cmd.Process.Pid}
	eventually(t, "the server to accept", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return r
}

// eventually asks until ok, which another process has to bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(time.Millisecond) // there is nothing to wait for
	}
}

func (r running) dial(t *testing.T) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(limit))
	return c.(*net.TCPConn)
}

// idle checks that in the end the server has closed all connections.
func (r running) idle(t *testing.T, s server) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", r.pid)
	eventually(t, "all connections to be closed", func() bool {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, e := range entries {
			if to, _ := os.Readlink(filepath.Join(dir, e.Name())); strings.HasPrefix(to, "socket:") {
				n++
			}
		}
		return n == max(1, s.listeners)
	})
}

// random returns n random bytes, the same for the same seed.
func random(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	r.Read(b)
	return b
}

// exchange sends data while it reads, and checks that it comes back. Last, one
// side closes: that of the server only after the end of input if half is true.
func exchange(c *net.TCPConn, data []byte, half bool) error {
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(data)
		if err == nil && half {
			err = c.CloseWrite()
		}
		sent <- err
	}()
	got := make([]byte, len(data))
	if n, err := io.ReadFull(c, got); err != nil {
		return fmt.Errorf("after %d bytes of %d: %w", n, len(data), err)
	}
	if !bytes.Equal(got, data) {
		return errors.New("other bytes than were sent")
	}
	if err := <-sent; err != nil {
		return err
	}
	if half {
		if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			return fmt.Errorf("%d bytes and %v at the end, want io.EOF", n, err)
		}
	}
	return c.Close()
}

// testEchoing checks a server, or a proxy of one, that echoes.
func testEchoing(t *testing.T, s server, r running) {
	t.Run("large", func(t *testing.T) {
		if err := exchange(r.dial(t), random(1<<20, 1), false); err != nil {
			t.Error(err)
		}
	})
	t.Run("half-close", func(t *testing.T) {
		if s.noHalfClose != "" {
			t.Skip(s.noHalfClose)
		}
		for _, size := range []int{0, 1, 100, 1 << 16, 1 << 20} {
			for range 10 {
				if err := exchange(r.dial(t), random(size, 2), true); err != nil {
					t.Fatalf("%d bytes: %v", size, err)
				}
			}
		}
	})
	// The peer sends all it can, and its end, before it reads anything.
	t.Run("slow reader", func(t *testing.T) {
		c := r.dial(t)
		testPressure(t, s, c, c)
	})
	t.Run("churn", func(t *testing.T) {
		for range 300 {
			if err := exchange(r.dial(t), random(100, 4), false); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("50 connections", func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range uint64(50) {
			c := r.dial(t)
			wg.Go(func() {
				for j := range uint64(20) {
					data := random(1+rand.IntN(20_000), 100*i+j)
					if _, err := c.Write(data); err != nil {
						t.Error(err)
						return
					}
					got := make([]byte, len(data))
					if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, data) {
						t.Errorf("connection %d, message %d: %v, or other bytes than were sent", i, j, err)
						return
					}
				}
				c.Close()
			})
		}
		wg.Wait()
	})
	t.Run("killed clients", func(t *testing.T) { kill(t, r, random(1<<18, 5)) })
	r.idle(t, s)
	if err := exchange(r.dial(t), random(1<<16, 6), false); err != nil {
		t.Error("after all: ", err)
	}
}

// kill makes connections, sends data on them that stays without effect where
// the server has no room for an answer, and resets them.
func kill(t *testing.T, r running, data []byte) {
	for i := range 20 {
		c := r.dial(t)
		if i%2 == 0 {
			if _, err := c.Write(data); err != nil {
				t.Fatal(err)
			}
		}
		c.SetLinger(0)
		c.Close()
	}
}

// stuck sends from data again and again until nothing is taken for a while, and
// returns how many bytes were taken. It gives up at max.
func stuck(c *net.TCPConn, data []byte, max int) int {
	sent := 0
	for sent < max {
		c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := c.Write(data[sent%len(data):])
		sent += n
		if err != nil && n == 0 {
			break
		}
	}
	c.SetWriteDeadline(time.Now().Add(limit))
	return sent
}

// enough is more than two connections' sockets hold in their buffers.
const enough = 256 << 20

// testPressure checks that the server stops reading what it cannot write. to is
// the connection that the bytes come out of.
func testPressure(t *testing.T, s server, c, to *net.TCPConn) {
	if s.noPressure != "" {
		t.Skip(s.noPressure)
	}
	data := random(1<<20, 7)
	sent := stuck(c, data, enough)
	if sent >= enough {
		t.Fatalf("%d bytes were taken that nobody reads", sent)
	}
	t.Logf("%d KiB were taken", sent>>10)
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	to.SetReadDeadline(time.Now().Add(limit))
	b := make([]byte, len(data))
	for got := 0; ; {
		n, err := to.Read(b[:len(data)-got%len(data)])
		if !bytes.Equal(b[:n], data[got%len(data):][:n]) {
			t.Fatalf("other bytes than were sent at %d", got)
		}
		got += n
		if err == io.EOF && got == sent {
			return
		}
		if err != nil {
			t.Fatalf("after %d bytes of %d: %v", got, sent, err)
		}
	}
}

func testEcho(t *testing.T, s server, bin string) {
	r := start(t, s, bin, "echo")
	testEchoing(t, s, r)
}

func testSink(t *testing.T, s server, bin string) {
	r := start(t, s, bin, "sink")
	var wg sync.WaitGroup
	for range 50 {
		c := r.dial(t)
		wg.Go(func() {
			if _, err := c.Write(make([]byte, 1<<20)); err != nil {
				t.Error(err)
				return
			}
			if err := c.CloseWrite(); err != nil {
				t.Error(err)
				return
			}
			if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("%d bytes and %v at the end, want io.EOF", n, err)
			}
		})
	}
	wg.Wait()
	kill(t, r, make([]byte, 1<<16))
	r.idle(t, s)
}

func testSource(t *testing.T, s server, bin string) {
	r := start(t, s, bin, "source")
	var wg sync.WaitGroup
	for i := range 50 {
		c := r.dial(t)
		wg.Go(func() {
			defer c.Close()
			b := make([]byte, 10_000+i)
			for at := uint64(0); at < 1<<20; {
				n, err := c.Read(b)
				for _, x := range b[:n] {
					if want := byte(at%65536*7 + at%65536/251); x != want {
						t.Errorf("byte %d is %d, want %d", at, x, want)
						return
					}
					at++
				}
				if err != nil {
					t.Errorf("after %d bytes: %v", at, err)
					return
				}
			}
		})
	}
	wg.Wait()
	for range 20 {
		c := r.dial(t)
		if _, err := io.ReadFull(c, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		c.SetLinger(0)
		c.Close()
	}
	r.idle(t, s)
}

// listen returns a listener for a backend, and its address.
func listen(t *testing.T) (net.Listener, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln, ln.Addr().String()
}

// accept returns the next connection of a backend.
func accept(t *testing.T, ln net.Listener) *net.TCPConn {
	t.Helper()
	ln.(*net.TCPListener).SetDeadline(time.Now().Add(limit))
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(limit))
	return c.(*net.TCPConn)
}

func testProxy(t *testing.T, s server, bin string) {
	t.Run("echo", func(t *testing.T) {
		ln, addr := listen(t)
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					io.Copy(c, c)
				}()
			}
		}()
		testEchoing(t, s, start(t, s, bin, "proxy", "-backend", addr))
	})

	// The backend is the test itself.
	ln, addr := listen(t)
	r := start(t, s, bin, "proxy", "-backend", addr)
	pair := func(t *testing.T) (c, b *net.TCPConn) {
		t.Helper()
		c = r.dial(t)
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		for {
			b = accept(t, ln)
			if n, err := b.Read(make([]byte, 1)); n == 1 {
				return c, b
			} else if err != io.EOF {
				t.Fatal(err)
			}
			b.Close() // start's own
		}
	}
	t.Run("back-pressure", func(t *testing.T) {
		c, b := pair(t)
		testPressure(t, s, c, b)
	})
	t.Run("back-pressure from the backend", func(t *testing.T) {
		c, b := pair(t)
		testPressure(t, s, b, c)
	})
	t.Run("backend ends first", func(t *testing.T) {
		c, b := pair(t)
		if _, err := b.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if err := b.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		if s.noHalfClose != "" {
			t.Skip(s.noHalfClose)
		}
		if _, err := c.Write([]byte("bye")); err != nil {
			t.Fatal(err)
		}
		c.Close()
		if got, err := io.ReadAll(b); string(got) != "bye" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
	})
	t.Run("killed backend", func(t *testing.T) {
		c, b := pair(t)
		b.SetLinger(0)
		b.Close()
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil || os.IsTimeout(err) {
			t.Errorf("%d bytes and %v, want an end", n, err)
		}
	})
	t.Run("killed client", func(t *testing.T) {
		c, b := pair(t)
		c.SetLinger(0)
		c.Close()
		if n, err := b.Read(make([]byte, 1)); n > 0 || err == nil || os.IsTimeout(err) {
			t.Errorf("%d bytes and %v, want an end", n, err)
		}
	})
	t.Run("no backend", func(t *testing.T) {
		ln.Close()
		for range 10 {
			c, err := net.Dial("tcp", r.addr)
			if errors.Is(err, syscall.ECONNRESET) {
				continue // that quick
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(limit))
			if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil || os.IsTimeout(err) {
				t.Errorf("%d bytes and %v, want an end", n, err)
			}
		}
	})
}

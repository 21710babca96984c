// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDial(t *testing.T) {
	for _, method := range socketMethods() {
		t.Run(method, func(t *testing.T) {
			t.Run("Connected", func(t *testing.T) { testDialConnected(t, method) })
			t.Run("Refused", func(t *testing.T) { testDialRefused(t, method) })
			t.Run("CloseGivesUp", func(t *testing.T) { testDialCloseGivesUp(t, method) })
			t.Run("SecondAddress", func(t *testing.T) { testDialSecondAddress(t, method) })
		})
	}
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"HostNames":      testHostNames,
		"ConnectedFirst": testConnectedFirst,
	})
}

func testDialConnected(t *testing.T, method string) {
	for _, network := range networks {
		address := "127.0.0.1:0"
		if network == "unix" {
			address = filepath.Join(tempDir(t), "s")
		}
		ln, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		go serveOnce(ln)

		l := dialLoop(t, method)
		s, err := l.Dial(network, ln.Addr().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		// What is written before it is connected is sent then, and so is the end.
		if n, err := s.Write([]byte("early")); n != 5 || err != nil {
			t.Fatalf("Write gives %d, %v", n, err)
		}
		s.CloseWrite()
		if ev, ok := nextOf(t, l, s).(Connected); !ok || ev.Stream != s {
			t.Fatalf("first message is not Connected")
		}
		if got := s.RemoteAddr(); got.String() != ln.Addr().String() {
			t.Errorf("RemoteAddr is %v; want %v", got, ln.Addr())
		}
		// Drained comes too, in either order, if it was not connected by then.
		seen := make(map[string]bool)
		ev := nextOf(t, l, s)
		for ; ev != Event(EOF{s}); ev = nextOf(t, l, s) {
			seen[kindNames[ev.kind()]] = true
		}
		if delete(seen, "Drained"); !seen["Readable"] || len(seen) != 1 {
			t.Errorf("between Connected and EOF came %v", seen)
		}
		if p := string(s.Input().Next(100)); p != "early" {
			t.Errorf("got %q back", p)
		}
		s.Close()
	}
}

func testDialRefused(t *testing.T, method string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	l := dialLoop(t, method)
	s, err := l.Dial("tcp", ln.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Write([]byte("lost"))
	if _, ok := nextOf(t, l, s).(Closed); !ok {
		t.Fatal("first message is not Closed")
	}
	var op *net.OpError
	if err := s.Err(); !errors.Is(err, eCONNREFUSED) || !errors.As(err, &op) || op.Op != "dial" {
		t.Errorf("Err is %v", err)
	}
	if _, err := s.Write([]byte("x")); !errors.Is(err, eCONNREFUSED) {
		t.Errorf("Write gives %v afterwards", err)
	}
	if ev, ok := l.Poll(0); ok {
		t.Errorf("got %v after Closed", ev)
	}
	if n := l.Stats().Sources; n != 0 {
		t.Errorf("%d live sources are left", n)
	}
}

func testDialCloseGivesUp(t *testing.T, method string) {
	for _, end := range []string{"Stream.Close", "Loop.Close", "Timeout"} {
		l := dialLoop(t, method)
		gaveUp := make(chan struct{}, 1)
		conf := &DialConfig{Resolver: stuckResolver(gaveUp)}
		if end == "Timeout" {
			conf.Timeout = 10 * time.Millisecond
		}
		s, err := l.Dial("tcp", "stuck.example:1", conf)
		if err != nil {
			t.Fatal(err)
		}
		switch end {
		case "Stream.Close":
			s.Close()
			if n := l.Stats().Sources; n != 0 {
				t.Errorf("%d live sources are left", n)
			}
		case "Loop.Close":
			l.Close()
		case "Timeout":
			if _, ok := nextOf(t, l, s).(Closed); !ok {
				t.Error("first message is not Closed")
			}
			var ne net.Error
			if err := s.Err(); !errors.As(err, &ne) || !ne.Timeout() {
				t.Errorf("Err is %v; want a timeout", err)
			} else if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v is not os.ErrDeadlineExceeded", err)
			}
		}
		<-gaveUp
	}
}

// libevent stops at the first address; every one is to be tried.
func testDialSecondAddress(t *testing.T, method string) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go serveOnce(ln)
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	l := dialLoop(t, method)
	// localhost has ::1 first where it has both; nobody listens there.
	s, err := l.Dial("tcp", net.JoinHostPort("localhost", port), nil)
	if err != nil {
		t.Fatal(err)
	}
	if ev := nextOf(t, l, s); ev != Event(Connected{s}) {
		t.Fatalf("got %v", ev)
	}
	s.Abort()
}

func TestDialBadArguments(t *testing.T) {
	l := dialLoop(t, "")
	for _, c := range []struct {
		network, address string
		conf             *DialConfig
	}{
		{"udp", "127.0.0.1:1", nil},
		{"", "127.0.0.1:1", nil},
		{"tcp", "127.0.0.1", nil},
		{"tcp", "", nil},
		{"unix", "", nil},
		{"tcp", "127.0.0.1:1", &DialConfig{LocalAddr: &net.UnixAddr{}}},
		{"unix", "/x", &DialConfig{LocalAddr: &net.TCPAddr{}}},
	} {
		if s, err := l.Dial(c.network, c.address, c.conf); err == nil {
			t.Errorf("Dial(%q, %q, %v) gives %v", c.network, c.address, c.conf, s)
		}
	}
	l.Close()
	if _, err := l.Dial("tcp", "127.0.0.1:1", nil); err != ErrClosed {
		t.Errorf("on a closed loop it gives %v", err)
	}
}

// testHostNames connects by address and by name, and by a name that nobody knows.
func testHostNames(t *testing.T, l *Loop) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	for _, host := range []string{"127.0.0.1", "localhost"} {
		s, err := l.Dial("tcp", net.JoinHostPort(host, port), nil)
		if err != nil {
			t.Fatal(err)
		}
		if ev := nextOf(t, l, s); ev != Event(Connected{s}) {
			t.Errorf("%s: %v, %v", host, ev, s.Err())
		}
		s.Abort()
	}
	refuses := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no server to ask")
	}}
	s, err := l.Dial("tcp", "nobody.example:"+port, &DialConfig{Resolver: refuses})
	if err != nil {
		t.Fatal(err)
	}
	if ev := nextOf(t, l, s); ev != Event(Closed{s}) {
		t.Errorf("unexpected %v", ev)
	}
	var dns *net.DNSError
	if !errors.As(s.Err(), &dns) || !strings.HasPrefix(dns.Name, "nobody.example") {
		t.Errorf("Err is %v", s.Err())
	}
	noMessage(t, l)
}

// Connected comes first: before a Drained because of new marks, and before a
// TimedOut.
func testConnectedFirst(t *testing.T, l *Loop) {
	for _, what := range []string{"Drained", "TimedOut"} {
		s, err := l.Dial("tcp", "slow.example:1", &DialConfig{Resolver: stuckResolver(nil), Timeout: -1})
		if err != nil {
			t.Fatal(err)
		}
		s.Write([]byte("early"))
		if what == "Drained" {
			s.SetWriteMarks(10, 0)
		} else {
			s.SetIdleTimeouts(time.Microsecond, time.Microsecond)
		}
		if ev, ok := l.Poll(5 * time.Millisecond); ok {
			t.Errorf("%v before Connected", ev)
		}
		s.Close()
	}

	// Once it is connected they come.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s, err := l.Dial("tcp", ln.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Write([]byte("early"))
	s.SetWriteMarks(10, 0)
	s.SetIdleTimeouts(time.Millisecond, 0)
	if ev := nextOf(t, l, s); ev != Event(Connected{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	for ev := nextOf(t, l, s); ev != Event(TimedOut{s}); ev = nextOf(t, l, s) {
		if ev != Event(Drained{s}) {
			t.Fatalf("unexpected %v", ev)
		}
	}
	s.Abort()
}

// TestFailedDialSaysWhere: the messages of a stream that could not be connected name what was
// dialled.
func TestFailedDialSaysWhere(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := ln.Addr().String()
	ln.Close()
	l := socketLoop(t)
	for _, address := range []string{address, "no.such.host.invalid:80"} {
		s, err := l.Dial("tcp", address, nil)
		must(t, err)
		if got := s.String(); got != "stream to "+address {
			t.Errorf("it is %q", got)
		}
		if ev := nextOf(t, l, s); ev != (Closed{s}) || !strings.Contains(fmt.Sprint(ev), address) {
			t.Errorf("received %v", ev)
		}
	}
}

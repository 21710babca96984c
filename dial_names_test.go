// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// testNames are names for Dial. A host that is not in it is never answered.
type testNames struct {
	addrs map[string][]string // no addresses: an error
	late  bool                // the answer comes from another goroutine

	mu        sync.Mutex
	cancelled []string
	pending   map[string]func([]netip.Addr, error)
}

func (n *testNames) LookupHost(network, host string, done func([]netip.Addr, error)) func() {
	list, ok := n.addrs[host]
	var addrs []netip.Addr
	for _, s := range list {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	var err error
	if len(addrs) == 0 {
		err = &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	switch {
	case !ok:
		n.mu.Lock()
		if n.pending == nil {
			n.pending = make(map[string]func([]netip.Addr, error))
		}
		n.pending[host] = done
		n.mu.Unlock()
	case n.late:
		go done(addrs, err)
	default:
		done(addrs, err)
	}
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.cancelled = append(n.cancelled, host)
	}
}

// listenTCP listens on address and returns the port.
func listenTCP(t *testing.T, l *Loop, address string) (port int) {
	t.Helper()
	ln, err := l.Listen("tcp", address, nil)
	if err != nil {
		t.Skipf("this system cannot listen on %s: %v", address, err)
	}
	return ln.Addr().(*net.TCPAddr).Port
}

// dialEvents receives until the dialled stream s has told how it went, and returns Connected or
// Closed.
func dialEvents(t *testing.T, l *Loop, s *Stream) Event {
	t.Helper()
	for {
		ev, ok := l.Poll(20 * time.Second)
		if !ok {
			t.Fatal("neither connected nor closed")
		}
		switch e := ev.(type) {
		case Connected:
			if e.Stream == s {
				return ev
			}
		case Closed:
			if e.Stream == s {
				return ev
			}
		}
	}
}

func TestDialNames(t *testing.T) {
	for _, method := range socketMethods() {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s late %v", method, late), func(t *testing.T) { testDialNames(t, method, late) })
		}
	}
}

func testDialNames(t *testing.T, method string, late bool) {
	l := dialLoop(t, method)
	names := &testNames{late: late, addrs: map[string][]string{
		"one":     {"127.0.0.1"},
		"mapped":  {"::ffff:127.0.0.1"},
		"second":  {"127.0.0.77", "127.0.0.1"}, // nobody listens on the first
		"refused": {"127.0.0.77", "127.0.0.78"},
		"ipv6":    {"::1"},
		"none":    {},
	}}
	port := listenTCP(t, l, "127.0.0.1:0")
	for _, tt := range []struct {
		network, host string
		fails         error // nil: connected
	}{
		{"tcp", "one", nil},
		{"tcp4", "one", nil},
		{"tcp6", "one", errNoAddress},
		{"tcp", "mapped", nil},
		{"tcp", "second", nil},
		{"tcp", "refused", eCONNREFUSED},
		{"tcp4", "ipv6", errNoAddress},
		{"tcp", "none", errAny},
		{"tcp", "127.0.0.1", nil},
		{"tcp4", "", nil},
	} {
		s, err := l.Dial(tt.network, net.JoinHostPort(tt.host, fmt.Sprint(port)), &DialConfig{Names: names})
		if err != nil {
			t.Fatal(err)
		}
		s.WriteString("before it is connected") // fails if the attempt has failed already
		_, connected := dialEvents(t, l, s).(Connected)
		if connected != (tt.fails == nil) {
			t.Errorf("%s %s: connected %v: %v", tt.network, tt.host, connected, s.Err())
		}
		var op *net.OpError
		if !connected && (!errors.As(s.Err(), &op) || op.Op != "dial" || tt.fails != errAny && !errors.Is(op, tt.fails)) {
			t.Errorf("%s %s: %v", tt.network, tt.host, s.Err())
		}
		if connected && s.RemoteAddr().(*net.TCPAddr).Port != port {
			t.Errorf("%s: connected to %v", tt.host, s.RemoteAddr())
		}
		s.Close()
	}
}

var errAny = errors.New("any error")

// Bad arguments are told at once.
func TestDialNamesErrors(t *testing.T) {
	l := dialLoop(t, "")
	conf := &DialConfig{Names: &testNames{}}
	for _, address := range []string{"host", "host:nonsense", "host:70000"} {
		if _, err := l.Dial("tcp", address, conf); err == nil {
			t.Errorf("%s: no error", address)
		}
	}
	l.Close()
	if _, err := l.Dial("tcp", "host:1", conf); err != ErrClosed {
		t.Errorf("on a closed loop: %v", err)
	}
}

// Close cancels the look-up, and the time limit ends it.
func TestDialNamesEnds(t *testing.T) {
	needSockets(t)
	l := dialLoop(t, "")
	names := &testNames{}
	s, err := l.Dial("tcp", "closed:1", &DialConfig{Names: names})
	must(t, err)
	must(t, s.Close())
	limited, err := l.Dial("tcp", "limited:1", &DialConfig{Names: names, Timeout: time.Millisecond})
	must(t, err)
	if _, ok := dialEvents(t, l, limited).(Closed); !ok || !errors.Is(limited.Err(), os.ErrDeadlineExceeded) {
		t.Errorf("at the time limit: %v", limited.Err())
	}
	other := dialLoop(t, "")
	waits, err := l.Dial("tcp", "waits:1", &DialConfig{Names: names})
	must(t, err)
	if err := waits.MoveTo(other); err == nil {
		t.Error("MoveTo while it is being connected: no error")
	}
	l.Close()
	names.mu.Lock()
	defer names.mu.Unlock()
	slices.Sort(names.cancelled)
	if got := fmt.Sprint(names.cancelled); got != "[closed limited waits]" {
		t.Errorf("cancelled: %s", got)
	}
	for _, done := range names.pending {
		done([]netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil) // too late: nothing happens
	}
}

// A connection that the loop has made carries data, half-closes, and has the settings.
func TestDialNamesTransfer(t *testing.T) {
	l := dialLoop(t, "")
	port := listenTCP(t, l, "127.0.0.1:0")
	s, err := l.Dial("tcp", fmt.Sprintf("one:%d", port), &DialConfig{
		Names:     &testNames{addrs: map[string][]string{"one": {"127.0.0.1"}}},
		LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)},
	})
	must(t, err)
	s.WriteString("hello")
	must(t, s.CloseWrite())
	got := ""
	for ev := range l.All() {
		switch ev := ev.(type) {
		case EOF:
			if ev.Stream == s {
				got = string(s.Input().Bytes())
				l.Break()
			} else {
				ev.Stream.Input().WriteTo(ev.Stream)
				ev.Stream.Close()
			}
		case Closed:
			t.Fatal(ev.Stream.Err())
		}
	}
	if got != "hello" {
		t.Errorf("got %q", got)
	}
	s.Close()
}

func TestRaceOrder(t *testing.T) {
	for _, tt := range []struct {
		network, addrs, want string
		local                net.Addr
	}{
		{"tcp", "2001:db8::1 2001:db8::2 192.0.2.1 192.0.2.2", "[2001:db8::1 192.0.2.1 2001:db8::2 192.0.2.2]", nil},
		{"tcp", "192.0.2.1 192.0.2.2 192.0.2.3 2001:db8::1", "[192.0.2.1 2001:db8::1 192.0.2.2 192.0.2.3]", nil},
		{"tcp4", "2001:db8::1 192.0.2.1", "[192.0.2.1]", nil},
		{"tcp6", "2001:db8::1 192.0.2.1", "[2001:db8::1]", nil},
		{"tcp", "2001:db8::1 192.0.2.1", "[192.0.2.1]", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}},
		{"tcp", "2001:db8::1 192.0.2.1", "[2001:db8::1 192.0.2.1]", &net.TCPAddr{Port: 1}},
		{"tcp", "", "[]", nil},
	} {
		var addrs []netip.Addr
		for _, s := range strings.Fields(tt.addrs) {
			addrs = append(addrs, netip.MustParseAddr(s))
		}
		if got := fmt.Sprint(raceOrder(addrs, tt.network, tt.local)); got != tt.want {
			t.Errorf("%s %s: got %s, want %s", tt.network, tt.addrs, got, tt.want)
		}
	}
}

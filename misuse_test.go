// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evchan

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestBadInput checks that whatever is wrong with an argument gives an error
// that says so, and leaves nothing behind.
func TestBadInput(t *testing.T) {
	l := dialLoop(t, Methods()[0])
	dir, err := os.Open(tempDir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	a, _ := socketPair(t)
	w, err := l.Watch(uintptr(a), Read)
	if err != nil {
		t.Fatal(err)
	}
	closedFD, err := dupFD(a)
	if err != nil {
		t.Fatal(err)
	}
	closeFD(closedFD)
	_, closedErr := l.Watch(uintptr(closedFD), Read) // before the number is used again
	watch := func(fd uintptr, i What) error {
		v, err := l.Watch(fd, i)
		if err == nil {
			err = v.Arm(0)
		}
		return err
	}
	listen := func(network, address string, c *ListenConfig) error {
		_, err := l.Listen(network, address, c)
		return err
	}
	newLoop := func(c Config) error {
		c.IgnoreEnv = true
		k, err := New(&c)
		if err == nil {
			k.Close()
		}
		return err
	}
	wrap := func(c net.Conn) error { _, err := l.Wrap(c); return err }

	for _, c := range []struct {
		name string
		err  error
		is   error  // if not nil, what the error must be
		says string // what it must mention
	}{
		{"negative descriptor", watch(^uintptr(0), Read), syscall.EBADF, "-1"},
		{"closed descriptor", closedErr, syscall.EBADF, itoa(int(closedFD))},
		{"absurd descriptor", watch(1<<30, Read), syscall.EBADF, "1073741824"},
		{"directory", watch(dir.Fd(), Read), errNotWatched, "descriptor"},
		{"no interest", watch(uintptr(a), 0), nil, "Read, Write"},
		{"only modes", watch(uintptr(a), Edge|Persist), nil, "Read, Write"},
		{"Timeout as interest", watch(uintptr(a), Read|Timeout), nil, "Timeout"},
		{"negative time limit", w.Arm(-1), nil, "negative"},
		{"negative SetTimeout", w.SetTimeout(-1), nil, "negative"},
		{"SetTimeout unarmed", w.SetTimeout(1), nil, "not armed"},
		{"priority below", w.SetPriority(-1), nil, "priority -1"},
		{"priority above", w.SetPriority(1), nil, "Priorities"},
		{"unknown method", newLoop(Config{Method: "quantum"}), ErrUnsupported, "quantum"},
		{"avoided all", newLoop(Config{Avoid: Methods()}), ErrUnsupported, "avoided"},
		{"impossible features", newLoop(Config{Require: FeatureEdge | FeatureAnyFD}), ErrUnsupported, "FeatureAnyFD"},
		{"negative priorities", newLoop(Config{Priorities: -1}), nil, "Priorities"},
		{"too many priorities", newLoop(Config{Priorities: 257}), nil, "256"},
		{"port in use", listen("tcp", taken.Addr().String(), nil), syscall.EADDRINUSE, taken.Addr().String()},
		{"bad network", listen("udp", "127.0.0.1:0", nil), net.UnknownNetworkError("udp"), "udp"},
		{"bad port", listen("tcp", "127.0.0.1:99999", nil), nil, "99999"},
		{"no port", listen("tcp", "127.0.0.1", nil), nil, "missing port"},
		{"O7UnixReusePort", listen("unix", "/nowhere", &ListenConfig{ReusePort: true}), ErrUnsupported, "ReusePort"},
		{"O7LongUnixPath", listen("unix", strings.Repeat("x", 200), nil), nil, "unix"},
		{"negative backlog", listen("tcp", "127.0.0.1:0", &ListenConfig{Backlog: -1}), nil, "Backlog"},
		{"Wrap nil", wrap(nil), nil, "nil"},
		{"Wrap tls", wrap(tls.Client(nil, nil)), ErrUnsupported, "tls.Conn"},
		{"Wrap udp", wrap(new(net.UDPConn)), ErrUnsupported, "UDPConn"},
		{"WatchConn nil", func() error { _, err := l.WatchConn(nil, Read); return err }(), nil, "nil"},
		{"WrapListener nil", func() error { _, err := l.WrapListener(nil); return err }(), nil, "nil"},
	} {
		switch {
		case c.err == nil:
			t.Errorf("%s: no error", c.name)
		case c.is != nil && !errors.Is(c.err, c.is):
			t.Errorf("%s: %v is not %v", c.name, c.err, c.is)
		case !strings.Contains(c.err.Error(), c.says):
			t.Errorf("%s: %q does not mention %q", c.name, c.err, c.says)
		}
	}
	if n := l.Stats().Sources; n != 0 {
		t.Errorf("%d live sources are left", n)
	}
}

// TestUseAfterClose uses each kind of source after it was closed, in a loop that
// goes on.
func TestUseAfterClose(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){"U": func(t *testing.T, l *Loop) {
		a, _ := socketPair(t)
		w := armed(t, l, a, Write|Persist, time.Hour)
		tr, tm := l.Trigger(), l.Every(time.Millisecond)
		sig, _ := l.Signal(userSignal)
		s, far := connectedPair(t, l)
		ln, err := l.Listen("tcp", "127.0.0.1:0", nil)
		if err != nil {
			t.Fatal(err)
		}
		send(t, far, "unread")
		far.CloseWrite()
		for range 2 {
			for _, src := range []Source{w, tr, tm, sig, s, ln} {
				if err := src.Close(); err != nil {
					t.Errorf("Close gives %v", err)
				}
			}
		}
		tr.Fire()
		tm.Reset(0)
		w.Activate(Read)
		ln.Resume()
		s.Resume(Read | Write)
		s.SetReadMarks(1, 2)
		s.SetWriteMarks(1, 2)
		s.SetIdleTimeouts(1, 1)
		if err := w.Arm(0); err != ErrClosed {
			t.Errorf("Arm gives %v", err)
		}
		if err := w.SetTimeout(1); err != ErrClosed {
			t.Errorf("SetTimeout gives %v", err)
		}
		if _, err := s.Write([]byte("x")); err != ErrClosed {
			t.Errorf("Write gives %v", err)
		}
		if _, err := s.Read(make([]byte, 1)); err != ErrClosed {
			t.Errorf("Read gives %v", err)
		}
		s.Output().WriteString("x")
		if err := s.Flush(); err != ErrClosed {
			t.Errorf("Flush gives %v", err)
		}
		if n, err := s.WriteTo(s); n != 0 || err != nil {
			t.Errorf("WriteTo gives %d, %v", n, err)
		}
		if _, err := ln.File(); err != ErrClosed {
			t.Errorf("File gives %v", err)
		}
		if tr.Take()+tm.Take()+sig.Take() != 0 || w.Take() != 0 || w.Pending() != 0 {
			t.Error("a closed source has something to take")
		}
		far.Close()
		for until := time.Now().Add(10 * time.Second); l.Stats().Sources > 0 && time.Now().Before(until); {
			if ev, ok := l.Poll(time.Millisecond); ok {
				t.Errorf("unexpected %v", ev)
			}
		}
		var dump bytes.Buffer
		if err := l.Dump(&dump); err != nil || dump.Len() > 0 {
			t.Errorf("still there:\n%s%v", dump.String(), err)
		}
	}})
}

// TestA33A34A35Config checks the choice of the method.
func TestA33A34A35Config(t *testing.T) {
	if len(Methods()) < 2 {
		t.Skip("there is but one method here")
	}
	best := Methods()[0]
	get := func(c *Config) string {
		t.Helper()
		l, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Method()
	}
	t.Setenv("EVCHAN_METHOD", "")
	t.Setenv("EVCHAN_AVOID", "")
	if got := get(nil); got != best {
		t.Errorf("nil: %s", got)
	}
	if got := get(&Config{Avoid: []string{best}}); got == best {
		t.Error("A33: the method was not avoided")
	}
	if got := get(&Config{Require: FeatureAnyFD}); got != "poll" {
		t.Errorf("A34: %s", got)
	}
	t.Setenv("EVCHAN_AVOID", "x,"+best)
	if got := get(nil); got == best {
		t.Error("A35: EVCHAN_AVOID has no effect")
	}
	if got := get(&Config{IgnoreEnv: true}); got != best {
		t.Error("A35: IgnoreEnv has no effect")
	}
	t.Setenv("EVCHAN_AVOID", "")
	t.Setenv("EVCHAN_METHOD", "poll")
	if got := get(nil); got != "poll" {
		t.Error("EVCHAN_METHOD has no effect")
	}
	if got := get(&Config{Method: best}); got != best {
		t.Error("EVCHAN_METHOD beats Config.Method")
	}
	t.Setenv("EVCHAN_METHOD", "quantum")
	if _, err := New(nil); err == nil {
		t.Error("an unknown EVCHAN_METHOD gives no error")
	}
}

// TestA25T13Dump: each live source is visited once, with its state in words
// that a program can read.
func TestA25T13Dump(t *testing.T) {
	l := dialLoop(t, "")
	a, b := socketPair(t)
	w := armed(t, l, a, Read|Persist, time.Hour)
	write(t, b, "x")
	l.Every(time.Minute)
	l.After(time.Hour).Stop() // not live
	l.Trigger()               // neither
	tr := l.Trigger()
	tr.Fire()
	sig, _ := l.Signal(userSignal)
	s, _ := connectedPair(t, l)
	ln, err := l.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	l.turn(time.Second)
	seen := make(map[Source]int)
	for src := range l.Sources() {
		seen[src]++
	}
	for _, src := range []Source{w, tr, sig, s, ln} {
		if seen[src] != 1 {
			t.Errorf("%v was visited %d times", src, seen[src])
		}
	}
	if len(seen) != 6 {
		t.Errorf("%d sources were visited; want 6", len(seen))
	}
	var dump bytes.Buffer
	if err := l.Dump(&dump); err != nil {
		t.Fatal(err)
	}
	lines := make(map[string]map[string]string)
	for line := range strings.Lines(dump.String()) {
		words := strings.Fields(line)
		values := make(map[string]string)
		for _, word := range words[1:] {
			key, value, ok := strings.Cut(word, "=")
			if !ok || values[key] != "" {
				t.Errorf("cannot read %q", line)
			}
			values[key] = value
		}
		lines[words[0]] = values
	}
	for _, c := range []struct{ kind, key, want string }{
		{"watch", "fd", itoa(int(a))},
		{"watch", "pending", "Ready"},
		{"watch", "interest", "Read|Persist"},
		{"watch", "result", "Read"},
		{"watch", "timeout", "1h0m0s"},
		{"timer", "period", "1m0s"},
		{"timer", "pending", "-"},
		{"trigger", "pending", "Fired"},
		{"trigger", "count", "1"},
		{"signal", "prio", "0"},
		{"stream", "state", "open"},
		{"stream", "in", "0"},
		{"stream", "remote", s.RemoteAddr().String()},
		{"listener", "addr", ln.Addr().String()},
	} {
		if got := lines[c.kind][c.key]; got != c.want {
			t.Errorf("%s: %s=%s; want %s", c.kind, c.key, got, c.want)
		}
	}
	if l.Stats().Queue != 2 {
		t.Errorf("Stats: %+v", l.Stats())
	}
	if tr.Take() != 1 || w.Take() != Read {
		t.Error("Dump has taken something")
	}
}

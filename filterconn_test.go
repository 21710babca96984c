// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// TestFilterConnPanics: a panic of a filter on a net.Conn goes on in the method that
// was called. The net.Conn can be closed all the same, and its peer hears of it.
func TestFilterConnPanics(t *testing.T) {
	l := dialLoop(t, "")
	for _, f := range []panicFilter{{decode: true}, {encode: true}, {close: true}, {encode: true, close: true}} {
		s, far := l.Pipe(nil, nil)
		up, err := s.Filter(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		l.Poll(0)
		c, err := up.NetConn()
		if err != nil {
			t.Fatal(err)
		}
		panics := func(f func()) (v any) {
			defer func() { v = recover() }()
			f()
			return nil
		}
		far.Write([]byte("x"))
		l.Poll(0)
		if v := panics(func() { c.Read(make([]byte, 1)) }); (v != nil) != f.decode {
			t.Errorf("%+v: Read has panicked with %v", f, v)
		}
		if v := panics(func() { c.Write([]byte("x")) }); (v != nil) != f.encode {
			t.Errorf("%+v: Write has panicked with %v", f, v)
		}
		if v := panics(func() { c.Close() }); (v != nil) != (f.encode || f.close) {
			t.Errorf("%+v: Close has panicked with %v", f, v)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%+v: after Close, Write gives %v", f, err)
		}
		for {
			ev, ok := l.Poll(10 * time.Second)
			if !ok {
				t.Fatalf("%+v: the peer does not hear of the end", f)
			}
			if ev == (EOF{far}) || ev == (Closed{far}) {
				break
			}
		}
		far.Close()
	}
}

// TestFilterConnDeadline: what NetConn makes of a filtered stream has a deadline for both
// directions. A Write after it sends nothing, and all is well again without it.
func TestFilterConnDeadline(t *testing.T) {
	conf, err := (&Config{IgnoreEnv: true}).complete()
	must(t, err)
	l := newLoop(conf, newFakePoller())
	defer l.Close()
	s, peer := l.Pipe(nil, nil)
	up, err := s.Filter(xorFilter(1), nil)
	must(t, err)
	c, err := up.NetConn()
	must(t, err)
	defer c.Close()
	far, err := peer.NetConn()
	must(t, err)
	defer far.Close()

	p := make([]byte, 10)
	for name, set := range map[string]func(time.Time) error{"SetDeadline": c.SetDeadline, "SetWriteDeadline": c.SetWriteDeadline} {
		must(t, set(time.Unix(1, 0)))
		n, err := c.Write([]byte("late"))
		var timeout net.Error
		if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("Write after %s: %d, %v", name, n, err)
		}
		if name == "SetDeadline" {
			if n, err := c.Read(p); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read after %s: %d, %v", name, n, err)
			}
		}
		must(t, set(time.Time{}))
	}
	go func() {
		c.Write([]byte("@BC"))
		far.Write([]byte("EFG"))
	}()
	for from, want := range map[net.Conn]string{far: "ACB", c: "DGF"} {
		n, err := from.Read(p)
		if err != nil || string(p[:n]) != want {
			t.Errorf("Read: %q, %v; want %q", p[:n], err, want)
		}
	}
}

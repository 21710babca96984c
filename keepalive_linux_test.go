// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"context"
	"errors"
	"math"
	"net"
	"reflect"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A sockOptions is what the kernel says of a TCP socket.
type sockOptions struct{ noDelay, keepAlive, idle, interval, count int }

func optionsOf(t *testing.T, fd sysFD) (o sockOptions) {
	t.Helper()
	for _, x := range []struct {
		to          *int
		level, name int
	}{
		{&o.noDelay, unix.IPPROTO_TCP, unix.TCP_NODELAY},
		{&o.keepAlive, unix.SOL_SOCKET, unix.SO_KEEPALIVE},
		{&o.idle, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
		{&o.interval, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
		{&o.count, unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
	} {
		var err error
		*x.to, err = unix.GetsockoptInt(fd, x.level, x.name)
		must(t, err)
	}
	return o
}

// untouched is what a new socket has.
func untouched(t *testing.T) sockOptions {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, err)
	defer unix.Close(fd)
	return optionsOf(t, fd)
}

// keepAliveCases are durations and configurations, and what they mean.
var keepAliveCases = []struct {
	d    time.Duration
	c    net.KeepAliveConfig
	want sockOptions // -1: as a new socket has it
}{
	{0, net.KeepAliveConfig{}, sockOptions{1, 1, 15, 15, 9}},
	{20 * time.Second, net.KeepAliveConfig{}, sockOptions{1, 1, 20, 20, 9}},
	{time.Nanosecond, net.KeepAliveConfig{}, sockOptions{1, 1, 1, 1, 9}},
	{24 * time.Hour, net.KeepAliveConfig{}, sockOptions{1, 1, 32767, 32767, 9}},
	{math.MaxInt64, net.KeepAliveConfig{}, sockOptions{1, 1, 32767, 32767, 9}},
	{-1, net.KeepAliveConfig{}, sockOptions{1, 0, -1, -1, -1}},
	{-1, net.KeepAliveConfig{Enable: true}, sockOptions{1, 1, 15, 15, 9}},
	{time.Hour, net.KeepAliveConfig{Enable: true, Idle: 7 * time.Second, Interval: 8 * time.Second, Count: 3}, sockOptions{1, 1, 7, 8, 3}},
	{0, net.KeepAliveConfig{Enable: true, Idle: -1, Interval: -1, Count: -1}, sockOptions{1, 1, -1, -1, -1}},
	{0, net.KeepAliveConfig{Enable: true, Idle: math.MaxInt64, Interval: math.MaxInt64, Count: math.MaxInt}, sockOptions{1, 1, 32767, 32767, 127}},
	{0, net.KeepAliveConfig{Idle: time.Second}, sockOptions{1, 1, 15, 15, 9}}, // not enabled
}

// TestKeepAlive asks the kernel for the options of accepted and dialled streams.
func TestKeepAlive(t *testing.T) {
	l := dialLoop(t, "")
	fresh := untouched(t)
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer nl.Close()
	for _, c := range keepAliveCases {
		want := c.want
		for _, x := range []struct {
			to   *int
			from int
		}{{&want.idle, fresh.idle}, {&want.interval, fresh.interval}, {&want.count, fresh.count}} {
			if *x.to < 0 {
				*x.to = x.from
			}
		}
		ln := listen(t, l, "tcp", &ListenConfig{KeepAlive: c.d, KeepAliveConfig: c.c})
		dial(t, ln)
		s := acceptOne(t, l)
		if got := optionsOf(t, s.sock.fd); got != want {
			t.Errorf("Listen with %v, %+v gives %v; want %v", c.d, c.c, got, want)
		}
		s.Abort()
		s, err := l.Dial("tcp", nl.Addr().String(), &DialConfig{KeepAlive: c.d, KeepAliveConfig: c.c})
		must(t, err)
		if ev := nextOf(t, l, s); ev != (Connected{s}) {
			t.Fatalf("received %v", ev)
		}
		if got := optionsOf(t, s.sock.fd); got != want {
			t.Errorf("Dial with %v, %+v gives %v; want %v", c.d, c.c, got, want)
		}
		s.Abort()
		ln.Close()
	}
}

// TestWrapListenerKeepsOptions: what the caller has set at the socket stays, unless the
// configuration names it.
func TestWrapListenerKeepsOptions(t *testing.T) {
	l := dialLoop(t, "")
	fresh := untouched(t)
	for _, c := range []struct {
		set  bool // by the caller: keep-alive with 77, 88, 5, and TCP_NODELAY
		conf *ListenConfig
		want sockOptions
	}{
		{false, nil, fresh},
		{false, &ListenConfig{MaxStreams: 3}, fresh},
		{true, nil, sockOptions{1, 1, 77, 88, 5}},
		{true, &ListenConfig{Delay: true, Backlog: 7}, sockOptions{1, 1, 77, 88, 5}},
		{true, &ListenConfig{KeepAlive: time.Minute}, sockOptions{1, 1, 60, 60, 9}},
		{true, &ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: -1, Interval: time.Second, Count: -1}}, sockOptions{1, 1, 77, 1, 5}},
		{true, &ListenConfig{KeepAlive: -1}, sockOptions{1, 0, 77, 88, 5}},
	} {
		lc := net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, raw syscall.RawConn) error {
			return raw.Control(func(fd uintptr) {
				if c.set {
					unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
					setKeepAlive(sysFD(fd), net.KeepAliveConfig{Enable: true, Idle: 77 * time.Second, Interval: 88 * time.Second, Count: 5})
				}
			})
		}}
		nl, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
		must(t, err)
		ln, err := l.WrapListener(nl, c.conf)
		must(t, err)
		dial(t, ln)
		s := acceptOne(t, l)
		if got := optionsOf(t, s.sock.fd); got != c.want {
			t.Errorf("set %v, %+v: %v; want %v", c.set, c.conf, got, c.want)
		}
		s.Abort()
		ln.Close()
	}
}

// TestKeepAliveOptions compares the table with the headers of this system, and checks the
// sums of those that cannot be run here.
func TestKeepAliveOptions(t *testing.T) {
	c := net.KeepAliveConfig{Enable: true, Idle: 1500 * time.Millisecond, Interval: 2 * time.Second, Count: 3}
	for goos, want := range map[string][]keepAliveOption{
		"linux":   {{unix.TCP_KEEPIDLE, 2}, {unix.TCP_KEEPINTVL, 2}, {unix.TCP_KEEPCNT, 3}},
		"openbsd": nil,
		"solaris": {{0x16, 1500}, {0x17, 6000}},
	} {
		if got := keepAliveOptions(goos, c); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v; want %v", goos, got, want)
		}
	}
}

// TestControl: the functions of ListenConfig and DialConfig are called with the socket, before
// it is bound or connected, and their errors are told.
func TestControl(t *testing.T) {
	l := dialLoop(t, "")
	calls := make(chan string, 10)
	mark := func(network, address string, c syscall.RawConn) error {
		calls <- network + " " + address
		var err error
		if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, 1) }); e != nil {
			return e
		}
		return err
	}
	errMine := errors.New("not this one")
	refuse := func(string, string, syscall.RawConn) error { return errMine }
	ln := listen(t, l, "tcp", &ListenConfig{Control: mark, ReusePort: true})
	if got := <-calls; got != "tcp4 127.0.0.1:0" {
		t.Errorf("called with %s", got)
	}
	if n, err := unix.GetsockoptInt(ln.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT); n != 1 || err != nil {
		t.Errorf("SO_REUSEPORT is %d, %v", n, err)
	}
	if _, err := l.Listen("tcp", "127.0.0.1:0", &ListenConfig{Control: refuse}); !errors.Is(err, errMine) {
		t.Errorf("Listen gives %v", err)
	}
	s, err := l.Dial("tcp", ln.Addr().String(), &DialConfig{Control: mark})
	must(t, err)
	nextOf(t, l, s)
	if got := <-calls; got != "tcp4 "+ln.Addr().String() {
		t.Errorf("called with %s", got)
	}
	if s, err = l.Dial("tcp", ln.Addr().String(), &DialConfig{Control: refuse}); err != nil {
		t.Fatal(err)
	}
	if ev := nextOf(t, l, s); ev != (Closed{s}) || !errors.Is(s.Err(), errMine) {
		t.Errorf("received %v, Err is %v", ev, s.Err())
	}
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer nl.Close()
	for _, c := range []*ListenConfig{{Control: mark}, {ReusePort: true}} {
		if _, err := l.WrapListener(nl, c); err == nil {
			t.Errorf("WrapListener takes %+v", c)
		}
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evchan

import (
	"maps"
	"net"
	"syscall"
	"testing"
	"time"
)

// tcpOptions returns the options of c that net.FileConn changes.
func tcpOptions(t *testing.T, c *net.TCPConn) map[sockOption]int {
	t.Helper()
	raw, err := c.SyscallConn()
	must(t, err)
	values := make(map[sockOption]int)
	must(t, raw.Control(func(fd uintptr) {
		for _, o := range append(keepAliveTimes(),
			sockOption{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE},
			sockOption{syscall.IPPROTO_TCP, syscall.TCP_NODELAY}) {
			if values[o], err = sysGetOption(sysFD(fd), o); err != nil {
				t.Errorf("%v: %v", o, err)
			}
		}
	}))
	return values
}

// TestNetConnOptions: the net.Conn has the options that the stream's socket had.
func TestNetConnOptions(t *testing.T) {
	needNetConn(t)
	l := dialLoop(t, "")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	for _, on := range []bool{false, true} {
		conn, err := net.Dial("tcp", ln.Addr().String())
		must(t, err)
		near := conn.(*net.TCPConn)
		must(t, near.SetNoDelay(on))
		must(t, near.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 61 * time.Second, Interval: 62 * time.Second, Count: 3}))
		must(t, near.SetKeepAlive(on))
		want := tcpOptions(t, near)
		s, err := l.Wrap(near, nil)
		must(t, err)
		c, err := s.NetConn()
		must(t, err)
		if got := tcpOptions(t, c.(*net.TCPConn)); !maps.Equal(got, want) {
			t.Errorf("the options are %v; they were %v", got, want)
		}
		c.Close()
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evchan

import (
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"slices"
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

// TestNetConnUnixEarlyReads: all ways to read from a Unix socket give first what was read before.
func TestNetConnUnixEarlyReads(t *testing.T) {
	needNetConn(t)
	if !slices.Contains(networks, "unix") {
		t.Skip("there are no Unix sockets here")
	}
	l := dialLoop(t, "")
	for name, read := range map[string]func(net.Conn, []byte) (int, error){
		"Read": net.Conn.Read,
		"ReadFrom": func(c net.Conn, p []byte) (int, error) {
			n, _, err := c.(interface {
				ReadFrom([]byte) (int, net.Addr, error)
			}).ReadFrom(p)
			return n, err
		},
		"ReadFromUnix": func(c net.Conn, p []byte) (int, error) {
			n, _, err := c.(interface {
				ReadFromUnix([]byte) (int, *net.UnixAddr, error)
			}).ReadFromUnix(p)
			return n, err
		},
		"ReadMsgUnix": func(c net.Conn, p []byte) (int, error) {
			n, _, _, _, err := c.(interface {
				ReadMsgUnix(p, oob []byte) (n, oobn, flags int, addr *net.UnixAddr, err error)
			}).ReadMsgUnix(p, nil)
			return n, err
		},
	} {
		ln := listen(t, l, "unix", nil)
		far, err := net.Dial("unix", ln.Addr().String())
		must(t, err)
		defer far.Close()
		_, err = far.Write([]byte("early"))
		must(t, err)
		var s *Stream
		for s == nil || s.in.held.Load() < 5 {
			ev, ok := l.Poll(testPatience)
			if !ok {
				t.Fatal("nothing has arrived")
			}
			s = ev.Source().(*Stream)
		}
		c, err := s.NetConn()
		must(t, err)
		defer c.Close()
		must(t, c.SetReadDeadline(time.Unix(1, 0)))
		p := make([]byte, 10)
		if n, err := read(c, p); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s after the deadline gives %d, %v", name, n, err)
		}
		must(t, c.SetDeadline(time.Time{}))
		_, err = far.Write([]byte("late"))
		must(t, err)
		for _, want := range []string{"early", "late"} {
			if n, err := read(c, p); err != nil || string(p[:n]) != want {
				t.Errorf("%s gives %q, %v; want %q", name, p[:n], err, want)
			}
		}
		if c.RemoteAddr() == nil {
			t.Errorf("%s: no remote address", name)
		}
		ln.Close()
	}
}

// TestNetConnFinished: what NetConn makes of a stream whose writing half was closed while it
// was paused has told the peer.
func TestNetConnFinished(t *testing.T) {
	needNetConn(t)
	l := dialLoop(t, "")
	s, far := connectedPair(t, l)
	s.Pause(Write)
	must(t, s.CloseWrite())
	c, err := s.NetConn()
	must(t, err)
	defer c.Close()
	if n, err := far.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the peer reads %d, %v", n, err)
	}
	if _, err := c.Write([]byte("x")); err == nil {
		t.Error("it can be written to")
	}
}

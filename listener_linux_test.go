// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestListenOptions asks the kernel for what ListenConfig has set.
func TestListenOptions(t *testing.T) {
	l := dialLoop(t, "")
	ln := listen(t, l, "tcp", &ListenConfig{Backlog: 7, DeferAccept: 1500 * time.Millisecond})
	info, err := unix.GetsockoptTCPInfo(ln.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	must(t, err)
	if info.Sacked != 7 { // of a listening socket: the backlog
		t.Errorf("the backlog is %d", info.Sacked)
	}
	// The kernel counts retransmissions, and rounds up.
	seconds, err := unix.GetsockoptInt(ln.fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT)
	if err != nil || seconds < 2 {
		t.Errorf("DeferAccept is %d s, %v", seconds, err)
	}
	// A client that says nothing is not accepted, one that does is.
	silent, talking := dial(t, ln), dial(t, ln)
	send(t, talking, "x")
	ev, ok := l.Poll(10 * time.Second)
	accepted, is := ev.(Accepted)
	if !ok || !is || accepted.Stream.RemoteAddr().String() != talking.LocalAddr().String() {
		t.Fatalf("got %v; %v talks and %v does not", ev, talking.LocalAddr(), silent.LocalAddr())
	}
}

// TestListenOptionsFail: an option that the kernel refuses is an error that names the
// call.
func TestListenOptionsFail(t *testing.T) {
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	defer w.Close()
	for _, c := range []struct {
		conf ListenConfig
		call string
	}{
		{ListenConfig{Backlog: 1}, "listen"},
		{ListenConfig{}, "setsockopt"},
		{ListenConfig{Delay: true}, "setsockopt"},
		{ListenConfig{Delay: true, KeepAlive: -1, DeferAccept: time.Second}, "setsockopt"},
	} {
		ln := &Listener{fd: sysFD(r.Fd()), conf: c.conf, addr: &net.TCPAddr{}}
		var call *os.SyscallError
		if err := ln.setOptions(); !errors.Is(err, syscall.ENOTSOCK) || !errors.As(err, &call) || call.Syscall != c.call {
			t.Errorf("%+v: %v", c.conf, err)
		}
	}
}

// TestTransient: what has become of one connection is no failure of the listener.
func TestTransient(t *testing.T) {
	for err, want := range map[error]bool{
		syscall.ECONNABORTED: true, syscall.EPROTO: true, syscall.EHOSTUNREACH: true, syscall.EPERM: true,
		syscall.EMFILE: false, syscall.ENFILE: false, syscall.ENOMEM: false, syscall.ENOBUFS: false, syscall.EINVAL: false, syscall.EBADF: false,
	} {
		if transient(err) != want {
			t.Errorf("%v: %v", err, !want)
		}
	}
}

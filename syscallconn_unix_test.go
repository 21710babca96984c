// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSyscallConn: Control has the descriptor, which stays open while its function runs, and
// the function may use the stream.
func TestSyscallConn(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"stream": func(t *testing.T, l *Loop) {
			s, far := connectedPair(t, l)
			raw, err := s.SyscallConn()
			must(t, err)
			var fd int
			must(t, raw.Control(func(d uintptr) {
				fd = int(d)
				s.Queued()
				if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 0); err != nil {
					t.Error(err)
				}
				s.Abort()
				if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
					t.Errorf("it was closed meanwhile: %v", err)
				}
				raw.Control(func(uintptr) { t.Error("called after the end") })
			}))
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != syscall.EBADF {
				t.Errorf("it is still open: %v", err)
			}
			far.SetReadDeadline(time.Now().Add(testPatience))
			if _, err := far.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the peer reads %v", err)
			}
			if err := raw.Control(func(uintptr) {}); err != ErrClosed {
				t.Errorf("Control after the end gives %v", err)
			}
			if _, err := s.SyscallConn(); err != ErrClosed {
				t.Errorf("SyscallConn after the end gives %v", err)
			}
		},
		"panic": func(t *testing.T, l *Loop) {
			s, _ := connectedPair(t, l)
			raw, err := s.SyscallConn()
			must(t, err)
			fd := s.sock.fd
			mustPanic(t, func() { raw.Control(func(uintptr) { panic("x") }) })
			s.Abort()
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != syscall.EBADF {
				t.Errorf("it is still open: %v", err)
			}
		},
		"NetConn meanwhile": func(t *testing.T, l *Loop) {
			s, far := connectedPair(t, l)
			raw, err := s.SyscallConn()
			must(t, err)
			var c net.Conn
			must(t, raw.Control(func(uintptr) { c = netConn(t, l, s) }))
			send(t, far, "x")
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Error(err)
			}
			c.Close()
		},
		"listener": func(t *testing.T, l *Loop) {
			ln := listen(t, l, "tcp", nil)
			raw, err := ln.SyscallConn()
			must(t, err)
			var fd int
			must(t, raw.Control(func(d uintptr) {
				fd = int(d)
				ln.Close()
				if n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || n != 1 {
					t.Errorf("it was closed meanwhile: %d, %v", n, err)
				}
			}))
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != syscall.EBADF {
				t.Errorf("it is still open: %v", err)
			}
			if err := raw.Control(func(uintptr) {}); err != ErrClosed {
				t.Errorf("Control after the end gives %v", err)
			}
			if _, err := ln.SyscallConn(); err != ErrClosed {
				t.Errorf("SyscallConn after the end gives %v", err)
			}
		},
		"others": func(t *testing.T, l *Loop) {
			a, _ := l.Pipe(nil, nil)
			up, err := a.Filter(xorFilter(0), nil)
			must(t, err)
			dialling, err := l.Dial("tcp", "no.such.host.invalid:1", nil)
			must(t, err)
			for s, want := range map[*Stream]error{a: ErrUnsupported, up: ErrUnsupported, dialling: ErrWouldBlock} {
				if _, err := s.SyscallConn(); !errors.Is(err, want) {
					t.Errorf("%v: %v; want %v", s, err, want)
				}
			}
			r, w := pipeFDs(t)
			defer closeFD(sysFD(w))
			s, err := l.WrapFD(r, nil)
			must(t, err)
			raw, err := s.SyscallConn()
			must(t, err)
			for name, err := range map[string]error{"nil": raw.Control(nil), "Read": raw.Read(nil), "Write": raw.Write(nil)} {
				if err == nil {
					t.Errorf("%s gives no error", name)
				}
			}
			must(t, raw.Control(func(fd uintptr) {
				if fd != r {
					t.Errorf("it is %d; want %d", fd, r)
				}
			}))
		},
	})
}

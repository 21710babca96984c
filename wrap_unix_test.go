// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestWrapFD(t *testing.T) {
	tests := map[string]func(*testing.T, *Loop){
		"Pipe":        testWrapPipe,
		"BrokenPipe":  testWrapBrokenPipe,
		"SocketPair":  testWrapSocketPair,
		"File":        testWrapFile,
		"Refused":     testWrapRefused,
		"ResetAtEOF":  testResetAfterEOF,
		"WrongSocket": testWrapDatagram,
	}
	for _, method := range socketMethods() {
		for name, test := range tests {
			t.Run(method+"/"+name, func(t *testing.T) { test(t, dialLoop(t, method)) })
		}
	}
}

func testWrapPipe(t *testing.T, l *Loop) {
	rfd, wfd := pipeFDs(t)
	r, err := l.WrapFD(rfd, nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := l.WrapFD(wfd, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.CloseWrite(); err != ErrUnsupported {
		t.Errorf("CloseWrite gives %v", err)
	}
	// More than the pipe holds: the rest is sent by the loop, also after Close.
	const total = 1 << 20
	if n, err := w.Write(make([]byte, total)); n != total || err != nil {
		t.Fatalf("Write gives %d, %v", n, err)
	}
	w.Close()
	got := 0
	for {
		ev := nextOf(t, l, r)
		got += r.Input().Discard(total)
		if ev == Event(EOF{r}) {
			break
		}
	}
	if got != total {
		t.Errorf("got %d bytes of %d", got, total)
	}
	r.Close()
	noMessage(t, l)
	if n := l.Stats().Sources; n != 0 {
		t.Errorf("%d live sources are left", n)
	}
}

func testWrapBrokenPipe(t *testing.T, l *Loop) {
	rfd, wfd := pipeFDs(t)
	w, err := l.WrapFD(wfd, nil)
	if err != nil {
		t.Fatal(err)
	}
	noMessage(t, l)
	syscall.Close(int(rfd))
	if ev := nextOf(t, l, w); ev != Event(Closed{w}) {
		t.Fatalf("unexpected %v", ev)
	}
	if !errors.Is(w.Err(), syscall.EPIPE) {
		t.Errorf("Err is %v", w.Err())
	}
	if _, err := w.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("Write gives %v", err)
	}
}

func testWrapSocketPair(t *testing.T, l *Loop) {
	p, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, err := l.WrapFD(uintptr(p[0]), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.WrapFD(uintptr(p[1]), nil)
	if err != nil {
		t.Fatal(err)
	}
	a.Write([]byte("ping"))
	a.CloseWrite()
	nextOf(t, l, b)
	io.Copy(b, b)
	if ev := nextOf(t, l, b); ev != Event(EOF{b}) {
		t.Fatalf("unexpected %v", ev)
	}
	b.Close()
	nextOf(t, l, a)
	if p := string(a.Input().Next(10)); p != "ping" {
		t.Errorf("got %q", p)
	}
	if ev := nextOf(t, l, a); ev != Event(EOF{a}) {
		t.Fatalf("unexpected %v", ev)
	}
	a.Close()
}

func testWrapFile(t *testing.T, l *Loop) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	s, err := l.WrapFile(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Close() // the stream has a descriptor of its own
	w.WriteString("x")
	if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	s.Close()
}

func testWrapRefused(t *testing.T, l *Loop) {
	if _, err := l.WrapFD(^uintptr(0), nil); !errors.Is(err, syscall.EBADF) {
		t.Errorf("WrapFD(-1) gives %v", err)
	}
	if _, err := l.WrapFile(nil, nil); err == nil {
		t.Error("WrapFile(nil) gives no error")
	}
	if l.Method() != "epoll" {
		return // poll takes files on disk
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := l.WrapFile(f, nil); !errors.Is(err, syscall.EPERM) || !strings.Contains(err.Error(), f.Name()) {
		t.Errorf("WrapFile of a file on disk gives %v", err)
	}
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.WrapFD(uintptr(fd), nil); !errors.Is(err, syscall.EPERM) {
		t.Errorf("WrapFD of a file on disk gives %v", err)
	}
	if err := syscall.Close(fd); err != nil {
		t.Errorf("the descriptor is not the caller's any more: %v", err)
	}
	if n := l.Stats().Sources; n != 0 {
		t.Errorf("%d live sources are left", n)
	}
}

func testWrapDatagram(t *testing.T, l *Loop) {
	p, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(p[0])
	defer syscall.Close(p[1])
	if _, err := l.WrapFD(uintptr(p[0]), nil); !errors.Is(err, ErrUnsupported) {
		t.Errorf("WrapFD of a datagram socket gives %v", err)
	}
}

// A reset is told also after the end of input.
func testResetAfterEOF(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	far.CloseWrite()
	if ev := nextOf(t, l, s); ev != Event(EOF{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	far.SetLinger(0)
	far.Close()
	// The kernel has told of the end of input; that the peer is gone shows when
	// something is written.
	until := time.Now().Add(10 * time.Second)
	for {
		if _, err := s.Write([]byte("x")); err != nil && !errors.Is(err, net.ErrClosed) {
			break
		}
		if ev, ok := l.Poll(time.Millisecond); ok && ev == Event(Closed{s}) {
			break
		}
		if time.Now().After(until) {
			t.Fatal("the reset was not seen")
		}
	}
	if err := s.Err(); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("Err is %v", err)
	}
}

// TestWrapOfOthers: a closed loop, or a closed connection, gives an error, and what was
// to be taken over stays with its owner.
func TestWrapOfOthers(t *testing.T) {
	l := dialLoop(t, "")
	ln := listen(t, l, "tcp", nil)
	open := func() (net.Conn, net.Listener, net.PacketConn) {
		nc, err := net.Dial("tcp", ln.Addr().String())
		must(t, err)
		nl, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
		must(t, err)
		return nc, nl, pc
	}
	try := func(l *Loop, nc net.Conn, nl net.Listener, pc net.PacketConn, want error) {
		t.Helper()
		if _, err := l.Wrap(nc, nil); !errors.Is(err, want) {
			t.Errorf("Wrap: %v", err)
		}
		if _, err := l.WrapListener(nl, nil); !errors.Is(err, want) {
			t.Errorf("WrapListener: %v", err)
		}
		if _, err := l.WrapPacketConn(pc); !errors.Is(err, want) {
			t.Errorf("WrapPacketConn: %v", err)
		}
	}
	nc, nl, pc := open()
	nc.Close()
	nl.Close()
	pc.Close()
	sources := l.Stats().Sources
	try(l, nc, nl, pc, net.ErrClosed)
	if n := l.Stats().Sources; n != sources {
		t.Errorf("%d sources, were %d", n, sources)
	}

	nc, nl, pc = open()
	closed := dialLoop(t, "")
	closed.Close()
	try(closed, nc, nl, pc, ErrClosed)
	for name, err := range map[string]error{"conn": nc.Close(), "listener": nl.Close(), "packet conn": pc.Close()} {
		if err != nil {
			t.Errorf("closing the %s: %v", name, err)
		}
	}
}

// TestWrapRefuses: what cannot be a stream is refused, in words that say why, and stays the
// caller's.
func TestWrapRefuses(t *testing.T) {
	l := socketLoop(t)
	check := func(what string, err error, want ...string) {
		t.Helper()
		if !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s gives %v", what, err)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s gives %v, without %q", what, err, w)
			}
		}
	}
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer nl.Close()
	f, err := nl.(*net.TCPListener).File()
	must(t, err)
	defer f.Close()
	_, err = l.WrapFile(f, nil)
	check("WrapFile of a listening socket", err, "listening", "WrapListener")
	_, err = l.WrapFD(f.Fd(), nil)
	check("WrapFD of a listening socket", err, "listening", "WrapListener")
	_, err = l.Wrap(struct{ net.Conn }{}, nil)
	check("Wrap of something else", err, "net.TCPConn", "net.UnixConn")
	_, err = l.WrapListener(struct{ net.Listener }{}, nil)
	check("WrapListener of something else", err, "net.TCPListener", "net.UnixListener")
	if l.Method() != "epoll" {
		return // others take files on disk
	}
	for _, name := range []string{os.DevNull, tempFile(t, []byte("x")).Name()} {
		f, err := os.Open(name)
		must(t, err)
		defer f.Close()
		_, err = l.WrapFile(f, nil)
		check("WrapFile of "+name, err, "epoll", name)
		_, err = l.WrapFD(f.Fd(), nil)
		check("WrapFD of "+name, err, "epoll")
		_, err = l.Watch(f.Fd(), Read)
		check("Watch of "+name, err, "epoll")
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"io"
	"math"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/windows"
)

func TestPortable(t *testing.T) {
	op := &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("wsarecv", windows.WSAETIMEDOUT)}
	err := portable(op)
	if !errors.Is(err, syscall.ETIMEDOUT) || !errors.Is(err, windows.WSAETIMEDOUT) || errors.Is(err, syscall.ECONNRESET) {
		t.Error("the wrong number")
	}
	if ne, ok := err.(net.Error); !ok || !ne.Timeout() {
		t.Errorf("%v is no timeout", err)
	}
	if err.Error() != op.Error() || op.Err.(*os.SyscallError).Err != error(windows.WSAETIMEDOUT) {
		t.Errorf("it says %q, or the original was changed", err)
	}
	for _, same := range []error{nil, io.EOF, windows.ERROR_FILE_NOT_FOUND} {
		if got := portable(same); got != same {
			t.Errorf("%v becomes %v", same, got)
		}
	}
	if !errors.Is(portable(windows.WSAEACCES), os.ErrPermission) {
		t.Error("WSAEACCES is not ErrPermission")
	}
}

// TestOnlySockets: what is no socket gives ErrUnsupported and stays the caller's.
func TestOnlySockets(t *testing.T) {
	l := dialLoop(t, "")
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	defer w.Close()
	f, err := os.Open(os.Args[0])
	must(t, err)
	defer f.Close()
	for name, file := range map[string]*os.File{"pipe": r, "pipe's end": w, "file": f} {
		fd := file.Fd()
		if _, err := l.Watch(fd, Read); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: Watch gives %v", name, err)
		}
		if _, err := l.WatchConn(file, Read); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: WatchConn gives %v", name, err)
		}
		if _, err := l.WrapFD(fd, nil); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: WrapFD gives %v", name, err)
		}
		if _, err := l.WrapFile(file, nil); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), file.Name()) {
			t.Errorf("%s: WrapFile gives %v", name, err)
		}
	}
	if _, err := w.WriteString("x"); err != nil {
		t.Error(err)
	}
	if _, err := l.WrapFD(^uintptr(0), nil); !errors.Is(err, syscall.EBADF) {
		t.Errorf("WrapFD(-1) gives %v", err)
	}
	udp, err := windows.WSASocket(windows.AF_INET, windows.SOCK_DGRAM, windows.IPPROTO_UDP, nil, 0, windows.WSA_FLAG_NO_HANDLE_INHERIT)
	must(t, err)
	defer windows.Closesocket(udp)
	if _, err := l.WrapFD(uintptr(udp), nil); !errors.Is(err, ErrUnsupported) {
		t.Errorf("WrapFD of a datagram socket gives %v", err)
	}
	if n := l.Stats().Sources; n != 0 {
		t.Errorf("%d live sources are left", n)
	}
}

func TestWrapFDSocket(t *testing.T) {
	l := dialLoop(t, "")
	a, b := tcpStreams(t, l)
	if a.LocalAddr().String() != b.RemoteAddr().String() || a.RemoteAddr().String() != b.LocalAddr().String() {
		t.Errorf("addresses %v %v, %v %v", a.LocalAddr(), a.RemoteAddr(), b.LocalAddr(), b.RemoteAddr())
	}
	a.Write([]byte("ping"))
	a.CloseWrite()
	nextOf(t, l, b)
	io.Copy(b, b)
	if ev := nextOf(t, l, b); ev != Event(EOF{b}) {
		t.Fatalf("unexpected %v", ev)
	}
	b.Close()
	for {
		ev, ok := l.Poll(testPatience)
		if !ok || ev.Source() != Source(a) {
			t.Fatalf("unexpected %v", ev)
		}
		if ev == Event(EOF{a}) {
			break
		}
	}
	if p := string(a.Input().Next(10)); p != "ping" {
		t.Errorf("got %q", p)
	}
	a.Close()
}

// TestAbortIsReset: Abort resets the connection, and the other end's stream sees that.
func TestAbortIsReset(t *testing.T) {
	l := dialLoop(t, "")
	a, b := tcpStreams(t, l)
	noMessage(t, l)
	a.Write([]byte("dropped, or not"))
	a.Abort()
	for ev := nextOf(t, l, b); ev != Event(Closed{b}); ev = nextOf(t, l, b) {
		if ev != Event(Readable{b}) {
			t.Fatalf("unexpected %v", ev)
		}
	}
	if !errors.Is(b.Err(), syscall.ECONNRESET) || !errors.Is(b.Err(), windows.WSAECONNRESET) {
		t.Errorf("Err is %v", b.Err())
	}
}

// TestNetConnFails: where a socket cannot be given back, the stream goes on.
func TestNetConnFails(t *testing.T) {
	if !onWine() {
		t.Skip("it does not fail here; see TestNetConn")
	}
	l := dialLoop(t, "")
	s, far := connectedPair(t, l)
	if _, err := s.NetConn(); err == nil {
		t.Fatal("it does not fail on this Wine; needNetConn can go")
	}
	s.Write([]byte("ping"))
	p := make([]byte, 4)
	if _, err := io.ReadFull(far, p); string(p) != "ping" || err != nil {
		t.Errorf("the peer got %q, %v", p, err)
	}
	send(t, far, "pong")
	if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
		t.Errorf("unexpected %v", ev)
	}
	s.Abort()

	ln := listen(t, l, "tcp", nil)
	if _, err := ln.NetListener(); err == nil {
		t.Fatal("NetListener does not fail")
	}
	dial(t, ln)
	acceptOne(t, l).Abort()
}

// TestTwoThousand has 2,000 sockets in one loop, both ends of 1,000 connections, which
// takes many helper handles. A byte goes to and fro between each two.
func TestTwoThousand(t *testing.T) {
	pairs := 1000
	if testing.Short() {
		pairs = 100
	}
	const rounds = 3
	l := dialLoop(t, "")
	hops := make(map[*Stream]int)
	for range pairs {
		fa, fb := tcpPair(t)
		a, err := l.WrapFD(fa, nil)
		must(t, err)
		_, err = l.WrapFD(fb, nil)
		must(t, err)
		a.Write([]byte("x"))
	}
	if n := len(l.poller.(*afdPoller).groups); n < 2*pairs/afdGroupSize {
		t.Errorf("%d helper handles", n)
	}
	for left := 2 * pairs; left > 0; {
		ev, ok := l.Poll(testPatience)
		if !ok {
			t.Fatalf("%d streams have not had their turns", left)
		}
		r, ok := ev.(Readable)
		if !ok {
			t.Fatalf("unexpected %v", ev)
		}
		if n, err := io.Copy(r.Stream, r.Stream); n != 1 || err != nil {
			t.Fatalf("copied %d, %v", n, err)
		}
		if hops[r.Stream]++; hops[r.Stream] == rounds {
			left--
		}
	}
	for s := range l.Sources() {
		s.(*Stream).Abort()
	}
	if n := l.Stats().Sources; n != 0 {
		t.Errorf("%d live sources are left", n)
	}
}

// TestSendsPieces: no call gives the system more than it should hold, and all arrives
// nevertheless.
func TestSendsPieces(t *testing.T) {
	a, _ := socketPair(t)
	whole := pattern(8 * maxSend)
	must(t, windows.SetsockoptInt(windows.Handle(a), windows.SOL_SOCKET, windows.SO_SNDBUF, len(whole)))
	if n, err := sysSend(a, whole); n > maxSend || err != nil {
		t.Errorf("sent %d bytes, %v", n, err)
	}
	b := NewBuffer(whole)
	b.Append(whole, nil)
	a, _ = socketPair(t)
	must(t, windows.SetsockoptInt(windows.Handle(a), windows.SOL_SOCKET, windows.SO_SNDBUF, len(whole)))
	if n, err := sysWriteChain(a, b.head, math.MaxInt, true); n > maxSend || err != nil {
		t.Errorf("sent %d bytes of a chain, %v", n, err)
	}

	l := dialLoop(t, "")
	s, far := connectedPair(t, l)
	got := drain(far)
	if n, err := s.Write(whole); n != len(whole) || err != nil {
		t.Errorf("wrote %d bytes, %v", n, err)
	}
	s.Close()
	waitReleased(t, l)
	if n := <-got; n != len(whole) {
		t.Errorf("%d bytes have arrived", n)
	}
}

func TestAcceptedOptions(t *testing.T) {
	l := dialLoop(t, "")
	for _, c := range []struct {
		conf               *ListenConfig
		noDelay, keepAlive bool
	}{
		{nil, true, true},
		{&ListenConfig{Delay: true, KeepAlive: time.Minute}, false, true},
		{&ListenConfig{KeepAlive: -1}, true, false},
	} {
		dial(t, listen(t, l, "tcp", c.conf))
		s := acceptOne(t, l)
		for _, o := range []struct {
			level, name int
			want        bool
		}{
			{windows.IPPROTO_TCP, windows.TCP_NODELAY, c.noDelay},
			{windows.SOL_SOCKET, windows.SO_KEEPALIVE, c.keepAlive},
		} {
			if got, err := windows.GetsockoptInt(windows.Handle(s.sock.fd), o.level, o.name); (got != 0) != o.want || err != nil {
				t.Errorf("%+v: option %d is %d, %v", c.conf, o.name, got, err)
			}
		}
		s.Abort()
	}
}

func TestLoopLeaksNoHandle(t *testing.T) {
	leakless(t, func() {
		l, err := New(nil)
		must(t, err)
		defer l.Close()
		ln, err := l.Listen("tcp", "127.0.0.1:0", nil)
		must(t, err)
		const conns = 10
		for k := range conns {
			s, err := l.Dial("tcp", ln.Addr().String(), nil)
			must(t, err)
			s.Write([]byte("x"))
			if k%2 == 0 {
				s.CloseWrite()
			}
		}
		ended := 0
		for ended < conns {
			ev, ok := l.Poll(testPatience)
			if !ok {
				t.Fatal("nothing happens any more")
			}
			switch ev := ev.(type) {
			case Readable:
				io.Copy(ev.Stream, ev.Stream)
				if ev.Stream.Listener() == nil {
					ended++
				}
			case EOF:
				ev.Stream.Close()
			}
		}
		// The loop is closed with some of them open.
	})
}

// TestWakesFromEverywhere: what others ask of a loop that waits is done at once.
func TestWakesFromEverywhere(t *testing.T) {
	l := dialLoop(t, "")
	s, far := connectedPair(t, l)
	tr := l.Trigger()
	const each = 100
	go func() {
		for range each {
			yield()
			tr.Fire()
			yield()
			s.Write([]byte("x"))
			yield()
			l.After(time.Microsecond)
		}
	}()
	got := drain(far)
	fires, ticks := 0, 0
	for ev := range l.All() {
		switch ev := ev.(type) {
		case Fired:
			fires += tr.Take()
		case Tick:
			ticks += ev.Timer.Take()
		default:
			t.Errorf("unexpected %v", ev)
		}
		if fires == each && ticks == each {
			break
		}
	}
	s.Close()
	waitReleased(t, l)
	if n := <-got; n != each {
		t.Errorf("%d bytes of %d", n, each)
	}
}

// TestListenerReset: a connection that was reset before it was accepted may appear or
// not (see onlyUnaccepted); the listener has the next one all the same.
func TestListenerReset(t *testing.T) {
	l := dialLoop(t, "")
	ln, err := l.Listen("tcp", "127.0.0.1:0", &ListenConfig{Paused: true})
	must(t, err)
	for range 3 {
		c, err := net.Dial("tcp", ln.Addr().String())
		must(t, err)
		must(t, c.(*net.TCPConn).SetLinger(0))
		must(t, c.Close())
	}
	good := dial(t, ln)
	ln.Resume()
	resets := 0
	for acceptOne(t, l).RemoteAddr().String() != good.LocalAddr().String() {
		resets++
	}
	t.Logf("of 3 connections that were reset, %d were accepted", resets)
}

// tcpStreams returns two streams of l that are connected by TCP.
func tcpStreams(t *testing.T, l *Loop) (a, b *Stream) {
	t.Helper()
	fa, fb := tcpPair(t)
	a, err := l.WrapFD(fa, nil)
	must(t, err)
	b, err = l.WrapFD(fb, nil)
	must(t, err)
	return a, b
}

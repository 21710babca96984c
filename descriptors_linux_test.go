// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

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

	"golang.org/x/sys/unix"
)

// TestNoDescriptors: without descriptors every call that needs one says so, and whatever
// it was about to take over is as it was. It runs in a process of its own.
func TestNoDescriptors(t *testing.T) {
	inChild(t, "TestNoDescriptorsChild", "EVCHAN_NO_DESCRIPTORS=1")
}

func TestNoDescriptorsChild(t *testing.T) {
	if os.Getenv("EVCHAN_NO_DESCRIPTORS") == "" {
		t.Skip("it is run by TestNoDescriptors")
	}
	l := dialLoop(t, "")
	s, far := connectedPair(t, l)
	ln := listen(t, l, "tcp", nil)
	udp := listenPacket(t, l, "udp4")
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer nl.Close()
	npc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	must(t, err)
	defer npc.Close()
	nc, err := net.Dial("tcp", ln.Addr().String())
	must(t, err)
	defer nc.Close()
	sources := l.Stats().Sources

	// All numbers below the limit are taken.
	var old syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old))
	limit := old
	limit.Cur = uint64(openDescriptors() + 10)
	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old)
	var taken []int
	give := func(n int) {
		for _, fd := range taken[len(taken)-n:] {
			unix.Close(fd)
		}
		taken = taken[:len(taken)-n]
	}
	for {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
		if err == unix.EMFILE {
			break
		}
		must(t, err)
		taken = append(taken, fd)
	}
	defer func() { give(len(taken)) }()
	closeIt := func(c io.Closer, err error) error {
		if err == nil {
			c.Close()
		}
		return err
	}
	for name, call := range map[string]func() error{
		"Listener.File":     func() error { f, err := ln.File(); return closeIt(f, err) },
		"NetListener":       func() error { nl, err := ln.NetListener(); return closeIt(nl, err) },
		"NetConn":           func() error { c, err := s.NetConn(); return closeIt(c, err) },
		"PacketConn.File":   func() error { f, err := udp.File(); return closeIt(f, err) },
		"Wrap":              func() error { s, err := l.Wrap(nc); return closeIt(s, err) },
		"WrapListener":      func() error { ln, err := l.WrapListener(nl); return closeIt(ln, err) },
		"WrapPacketConn":    func() error { c, err := l.WrapPacketConn(npc); return closeIt(c, err) },
		"WrapFile":          func() error { s, err := l.WrapFile(os.Stdin); return closeIt(s, err) },
		"Listen":            func() error { ln, err := l.Listen("tcp", "127.0.0.1:0", nil); return closeIt(ln, err) },
		"ListenPacket":      func() error { c, err := l.ListenPacket("udp4", "127.0.0.1:0"); return closeIt(c, err) },
		"New epoll":         func() error { l, err := New(&Config{IgnoreEnv: true, Method: "epoll"}); return closeIt(l, err) },
		"New poll":          func() error { l, err := New(&Config{IgnoreEnv: true, Method: "poll"}); return closeIt(l, err) },
		"New, whatever":     func() error { l, err := New(&Config{IgnoreEnv: true}); return closeIt(l, err) },
		"a pipe for kqueue": func() error { p, err := newKqueue(&scriptQueue{}, false); return closeIt(closerFunc(p), err) },
	} {
		if err := call(); !errors.Is(err, syscall.EMFILE) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := l.Stats().Sources; n != sources {
		t.Errorf("%d sources, were %d", n, sources)
	}

	// Where two are needed, one does not do, and none is left open.
	give(1)
	for _, method := range []string{"poll", "poll", "epoll", "epoll"} {
		if _, err := New(&Config{IgnoreEnv: true, Method: method}); !errors.Is(err, syscall.EMFILE) {
			t.Errorf("New with one descriptor, %s: %v", method, err)
		}
	}
	give(1)
	e, err := New(&Config{IgnoreEnv: true, Method: "epoll"})
	if err != nil {
		t.Fatalf("epoll needs two descriptors: %v", err)
	}
	// The timer that it would like to have beside it is done without.
	if _, ok := e.Poll(time.Millisecond); ok {
		t.Error("received something")
	}
	e.Close()

	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old))
	ln.Close()
	for name, err := range map[string]error{
		"Wrap":           func() error { c, err := l.Wrap(nc); return closeIt(c, err) }(),
		"WrapListener":   func() error { c, err := l.WrapListener(nl); return closeIt(c, err) }(),
		"WrapPacketConn": func() error { c, err := l.WrapPacketConn(npc); return closeIt(c, err) }(),
	} {
		if err != nil {
			t.Errorf("%s afterwards: %v", name, err)
		}
	}
	send(t, far, "hello")
	if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
		t.Errorf("unexpected %v", ev)
	}
	c, err := s.NetConn()
	must(t, err)
	defer c.Close()
	p := make([]byte, 10)
	if n, err := c.Read(p); err != nil || string(p[:n]) != "hello" {
		t.Errorf("read %q, %v", p[:n], err)
	}
}

// closerFunc makes an io.Closer of what may be a nil poller.
func closerFunc(p poller) io.Closer { return pollerCloser{p} }

type pollerCloser struct{ poller }

func (c pollerCloser) Close() error { return c.close() }

// TestAddFails: where the kernel does not take a descriptor, the call that brought it
// fails with the method's name, and nothing is left of it.
func TestAddFails(t *testing.T) {
	conf, err := (&Config{IgnoreEnv: true}).complete()
	must(t, err)
	real, err := openPollSet()
	must(t, err)
	p := &failingPoller{poller: real, wakes: make(chan error)}
	l := newLoop(conf, p)
	defer l.Close()
	other := dialLoop(t, "")
	moving, _ := connectedPair(t, other)
	ready := listen(t, l, "tcp", nil)
	ready.Pause() // what it accepted would be one more source
	path := filepath.Join(t.TempDir(), "socket")
	sources := l.Stats().Sources
	p.adds = syscall.ENOMEM

	nc, err := net.Dial("tcp", ready.Addr().String())
	must(t, err)
	defer nc.Close()
	var pipe [2]sysFD
	must(t, openPipe(&pipe))
	defer func() { // WrapFD has not taken it
		must(t, unix.Close(pipe[0]))
		must(t, unix.Close(pipe[1]))
	}()
	for name, call := range map[string]func() error{
		"Listen":       func() error { _, err := l.Listen("unix", path, nil); return err },
		"ListenPacket": func() error { _, err := l.ListenPacket("udp4", "127.0.0.1:0"); return err },
		"WrapFD":       func() error { _, err := l.WrapFD(uintptr(pipe[0])); return err },
		"MoveTo":       func() error { return moving.MoveTo(l) },
		"Watch": func() error {
			w, err := l.Watch(uintptr(pipe[1]), Write)
			if err == nil {
				defer w.Close()
				err = w.Arm(0)
			}
			return err
		},
		"Dial": func() error {
			s, err := l.Dial("tcp", ready.Addr().String(), nil)
			must(t, err)
			ev := nextOf(t, l, s)
			if ev == Event(Connected{s}) { // which it was
				ev = nextOf(t, l, s)
			}
			if ev != Event(Closed{s}) {
				t.Errorf("Dial: unexpected %v", ev)
			}
			return s.Err()
		},
	} {
		if err := call(); !errors.Is(err, syscall.ENOMEM) || !strings.Contains(err.Error(), "poll") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket of Listen is left")
	}
	if ev, ok := l.Poll(0); ok && ev != Event(Closed{moving}) { // unless Dial's Poll has had it
		t.Errorf("unexpected %v", ev)
	}
	if n := l.Stats().Sources; n != sources {
		t.Errorf("%d sources, were %d", n, sources)
	}
}

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
		if _, err := l.Wrap(nc); !errors.Is(err, want) {
			t.Errorf("Wrap: %v", err)
		}
		if _, err := l.WrapListener(nl); !errors.Is(err, want) {
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

// TestNetConnUnixEarly: what had arrived comes first, by Read and by WriteTo.
func TestNetConnUnixEarly(t *testing.T) {
	for name, read := range map[string]func(net.Conn) ([]byte, error){
		"Read": func(c net.Conn) (all []byte, err error) {
			for p := make([]byte, 3); err == nil; {
				var n int
				n, err = c.Read(p)
				all = append(all, p[:n]...)
			}
			if err == io.EOF {
				err = nil
			}
			return all, err
		},
		"WriteTo": func(c net.Conn) ([]byte, error) {
			var b Buffer
			_, err := c.(io.WriterTo).WriteTo(&b)
			return b.Next(b.Len()), err
		},
	} {
		l := dialLoop(t, "")
		ln := listen(t, l, "unix", nil)
		far := dial(t, ln)
		send(t, far, "early ")
		ev, _ := l.Poll(10 * time.Second)
		s := ev.(Accepted).Stream
		if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
			t.Fatalf("unexpected %v", ev)
		}
		c, err := s.NetConn()
		must(t, err)
		defer c.Close()
		send(t, far, "and late")
		far.Close()
		if got, err := read(c); err != nil || string(got) != "early and late" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

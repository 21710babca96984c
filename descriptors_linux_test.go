// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNoDescriptors: without descriptors every call that needs one says so, and whatever
// it was about to take over is as it was. It runs in a process of its own.
func TestNoDescriptors(t *testing.T) {
	runChild(t, "TestNoDescriptorsChild")
}

func TestNoDescriptorsChild(t *testing.T) {
	childArgs(t)
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
		"Wrap":              func() error { s, err := l.Wrap(nc, nil); return closeIt(s, err) },
		"WrapListener":      func() error { ln, err := l.WrapListener(nl, nil); return closeIt(ln, err) },
		"WrapPacketConn":    func() error { c, err := l.WrapPacketConn(npc); return closeIt(c, err) },
		"WrapFile":          func() error { s, err := l.WrapFile(os.Stdin, nil); return closeIt(s, err) },
		"Listen":            func() error { ln, err := l.Listen("tcp", "127.0.0.1:0", nil); return closeIt(ln, err) },
		"ListenPacket":      func() error { c, err := l.ListenPacket("udp4", "127.0.0.1:0", nil); return closeIt(c, err) },
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
		"Wrap":           func() error { c, err := l.Wrap(nc, nil); return closeIt(c, err) }(),
		"WrapListener":   func() error { c, err := l.WrapListener(nl, nil); return closeIt(c, err) }(),
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
		"ListenPacket": func() error { _, err := l.ListenPacket("udp4", "127.0.0.1:0", nil); return err },
		"WrapFD":       func() error { _, err := l.WrapFD(uintptr(pipe[0]), nil); return err },
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
	for ev, ok := l.Poll(0); ok; ev, ok = l.Poll(0) { // unless Dial's Poll has had them
		if ev != Event(Moved{moving}) && ev != Event(Closed{moving}) {
			t.Errorf("unexpected %v", ev)
		}
	}
	if n := l.Stats().Sources; n != sources {
		t.Errorf("%d sources, were %d", n, sources)
	}
}

// TestDescriptorLimit: a process without descriptors left has one
// AcceptFailed, does not spin, and accepts all that wait when it can again. It
// runs in a process of its own.
func TestDescriptorLimit(t *testing.T) {
	t.Parallel()
	for _, method := range socketMethods() {
		t.Run(method, func(t *testing.T) {
			runChild(t, "TestDescriptorLimitChild", method)
		})
	}
}

func TestDescriptorLimitChild(t *testing.T) {
	method := childArgs(t)[0]
	l := dialLoop(t, method)
	ln := listen(t, l, "tcp", nil)
	l.Poll(0)
	// Clients connect before the limit falls; the kernel holds them.
	ln.Pause()
	var clients []net.Conn
	for range 20 {
		clients = append(clients, dial(t, ln))
	}
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	limit := old
	limit.Cur = uint64(openDescriptors() + 3)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	ln.Resume()
	debug.SetGCPercent(-1) // the collector's work is not what is measured
	accepted, failed := 0, 0
	count := func(d time.Duration) {
		for until := time.Now().Add(d); time.Now().Before(until) && accepted < len(clients); {
			switch ev, _ := l.Poll(time.Until(until)); ev.(type) {
			case Accepted:
				accepted++
			case AcceptFailed:
				failed++
			}
		}
	}
	turns := l.Stats().Turns
	before := cpuTime(t)
	const lasts = time.Second
	count(lasts)
	if used := cpuTime(t) - before; used > lasts/100 {
		t.Errorf("%v of CPU time in %v at the limit", used, lasts)
	} else {
		t.Logf("%v of CPU time in %v at the limit", used, lasts)
	}
	if accepted == 0 || accepted == len(clients) || failed != 1 || !errors.Is(ln.Err(), syscall.EMFILE) {
		t.Errorf("at the limit: %d accepted, %d AcceptFailed, Err %v", accepted, failed, ln.Err())
	}
	// It tries again after 5 ms, 10 ms, 20 ms, and so on.
	if n := l.Stats().Turns - turns; n > 50 {
		t.Errorf("%d turns in %v at the limit", n, lasts)
	}
	// Nor can it dial: that fails with the same error, which is not the resolver's.
	s, err := l.Dial("tcp", ln.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var dns *net.DNSError
	if ev := nextOf(t, l, s); ev != Event(Closed{s}) || !errors.Is(s.Err(), syscall.EMFILE) || errors.As(s.Err(), &dns) {
		t.Errorf("Dial at the limit: %v, %v", ev, s.Err())
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	count(10 * time.Second)
	if accepted != len(clients) || failed != 1 || ln.Err() != nil {
		t.Errorf("after it: %d accepted, %d AcceptFailed, Err %v", accepted, failed, ln.Err())
	}
	for _, c := range clients { // the right ones: all can be talked to
		send(t, c, "x")
	}
	talking := make(map[*Stream]bool)
	for len(talking) < len(clients) {
		ev, ok := l.Poll(10 * time.Second)
		if !ok {
			t.Fatalf("%d of %d clients were heard", len(talking), len(clients))
		}
		if ev, is := ev.(Readable); is {
			talking[ev.Stream] = true
		}
	}
}

// cpuTime returns how much CPU time the process has used.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestMoreThanDescriptors has more clients than a server, in a process of its own, has
// descriptors for. With ListenConfig.MaxStreams it never comes to that limit, without it
// it has AcceptFailed, and rests; and everybody is answered in the end.
func TestMoreThanDescriptors(t *testing.T) {
	for _, method := range socketMethods() {
		for _, max := range []int{0, 10} {
			t.Run(fmt.Sprintf("%s/MaxStreams=%d", method, max), func(t *testing.T) {
				t.Parallel()
				testMoreThanDescriptors(t, method, max)
			})
		}
	}
}

func testMoreThanDescriptors(t *testing.T, method string, max int) {
	c := startChild(t, "TestMoreThanDescriptorsChild", method, strconv.Itoa(max))
	var addr string
	var served int // by the server at once
	c.scan(t, "addr %s room %d", &addr, &served)
	if max > 0 {
		served = max
	}

	const clients = 100
	answered := make(chan error, clients)
	leave := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range clients {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			want := fmt.Sprintf("client %d\n", i)
			_, err := io.WriteString(conn, want)
			if err == nil {
				var line string
				if line, err = bufio.NewReader(conn).ReadString('\n'); line != want && err == nil {
					err = fmt.Errorf("it got %q; want %q", line, want)
				}
			}
			answered <- err
			<-leave
		})
	}
	left := false
	defer func() {
		if !left {
			close(leave)
		}
	}()
	fmt.Fprintln(c.in, "go")
	hear := func(n int) {
		t.Helper()
		for range n {
			if err := <-answered; err != nil {
				t.Fatal(err)
			}
		}
	}
	count := func() (turns, failed, accepted int) {
		t.Helper()
		fmt.Fprintln(c.in, "count")
		c.scan(t, "turns %d failed %d accepted %d", &turns, &failed, &accepted)
		return turns, failed, accepted
	}
	hear(served)
	turns, failed, accepted := count()
	if accepted != served {
		t.Errorf("%d were accepted; want %d", accepted, served)
	}
	for n := 0; n < 20; n++ { // while nobody leaves it tries now and then
		time.Sleep(5 * time.Millisecond)
		again, f, _ := count()
		failed = f
		if again-turns > 50 {
			t.Fatalf("%d turns at the limit", again-turns)
		}
	}
	close(leave)
	left = true
	hear(clients - served)
	wg.Wait()
	turns, f, accepted := count()
	if want := 1; (max > 0 && f != 0) || max == 0 && (failed != want || f < want) {
		t.Errorf("%d AcceptFailed, and later %d", failed, f)
	}
	if accepted != clients || turns > 20*clients {
		t.Errorf("%d accepted, %d turns", accepted, turns)
	}
	c.wait(t)
}

func TestMoreThanDescriptorsChild(t *testing.T) {
	args := childArgs(t)
	method := args[0]
	max, err := strconv.Atoi(args[1])
	must(t, err)
	l := dialLoop(t, method)
	ln := listen(t, l, "tcp", &ListenConfig{Paused: true, MaxStreams: max})
	var failed, accepted atomic.Int64
	// What the package, and the runtime, open with their first use is open after this.
	warm := l.After(time.Microsecond)
	nextOfAny(t, l, warm)
	limit := syscall.Rlimit{Cur: uint64(openDescriptors() + 20)}
	limit.Max = limit.Cur
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	var room []int
	for {
		fd, err := sysDup(0, 0)
		if err != nil {
			break
		}
		room = append(room, fd)
	}
	for _, fd := range room {
		closeFD(fd)
	}
	fmt.Printf("addr %s room %d\n", ln.Addr(), len(room))
	serve(t, l, func(ev Event) {
		switch ev := ev.(type) {
		case Accepted:
			accepted.Add(1)
		case AcceptFailed:
			failed.Add(1)
			if !errors.Is(ev.Listener.Err(), syscall.EMFILE) {
				t.Errorf("AcceptFailed: %v", ev.Listener.Err())
			}
		case Closed:
			t.Errorf("Closed: %v", ev.Stream.Err())
		default:
			echo(ev)
		}
	})
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "go":
			ln.Resume()
		case "count":
			fmt.Printf("turns %d failed %d accepted %d\n", l.Stats().Turns, failed.Load(), accepted.Load())
		}
	}
}

// nextOfAny waits for a message of src.
func nextOfAny(t *testing.T, l *Loop, src Source) {
	t.Helper()
	for {
		ev, ok := l.Poll(10 * time.Second)
		if !ok {
			t.Fatal("no message in time")
		}
		if ev.Source() == src {
			return
		}
	}
}

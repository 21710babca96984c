// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// countFDs returns how many descriptors the process has open.
func countFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(entries)
}

func TestPollerLeaksNoDescriptor(t *testing.T) {
	for _, m := range kernelMethods() {
		t.Run(m.name, func(t *testing.T) {
			before := countFDs(t)
			for range 10 {
				p, err := m.open()
				must(t, err)
				_, err = p.wait(nil, time.Microsecond) // With all that a wait may open.
				must(t, err)
				done := make(chan struct{})
				go func() {
					defer close(done)
					for {
						if _, err := p.wait(nil, time.Hour); err != nil {
							return
						}
					}
				}()
				yield()
				must(t, p.close())
				<-done
			}
			if after := countFDs(t); after > before { // other tests may have let some go
				t.Errorf("%d descriptors are open, were %d", after, before)
			}
		})
	}
}

// countedEpoll returns an epoll that counts how often it looks.
func countedEpoll(t *testing.T) (e *epoll, looks *int) {
	t.Helper()
	p, err := openEpoll()
	must(t, err)
	t.Cleanup(func() { p.close() })
	e, looks = p.(*epoll), new(int)
	e.tryFunc = func(fd uintptr) bool {
		*looks++
		return e.try(fd)
	}
	return e, looks
}

func TestEpollIdleMakesNoWakeups(t *testing.T) {
	e, looks := countedEpoll(t)
	_, err := e.wait(nil, 30*time.Millisecond)
	must(t, err)
	if *looks != 2 {
		t.Errorf("looked %d times, want once before and once after the park", *looks)
	}
}

func TestEpollKeepsEarlierAlarm(t *testing.T) {
	e, looks := countedEpoll(t)
	wake := func(d time.Duration) {
		must(t, e.wake())
		_, err := e.wait(nil, d)
		must(t, err)
		expectNone(t, e)
	}
	park := func(d time.Duration) {
		t.Helper()
		time.AfterFunc(time.Millisecond, func() { e.wake() })
		_, err := e.wait(nil, d)
		must(t, err)
	}
	wake(time.Minute) // Does not park.
	if !e.alarm.IsZero() {
		t.Error("alarm set without a park")
	}
	park(time.Hour)
	first := e.alarm
	for range 3 {
		park(2 * time.Hour)
	}
	if e.alarm != first {
		t.Error("alarm set although an earlier one was to come")
	}
	park(time.Minute)
	if !e.alarm.Before(first) {
		t.Error("alarm not set although it was to come too late")
	}
	// One that is passed over by a longer wait ends it once.
	*looks = 0
	park(20 * time.Millisecond)
	_, err := e.wait(nil, time.Hour)
	must(t, err)
	if e.alarm.After(time.Now()) {
		t.Error("the alarm has not gone off")
	}
	if *looks != 3 { // Each before it parks, the second when the alarm has gone off.
		t.Errorf("looked %d times in two waits, want 3", *looks)
	}
}

// TestEpollGate watches the gate as the runtime does: it tells of what is ready while
// somebody is parked, and not while the loop is busy.
func TestEpollGate(t *testing.T) {
	p, n := openTestMethod(kernelMethods()[0], newTestNet())(t)
	e := p.(*epoll)
	watcher, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	must(t, err)
	defer unix.Close(watcher)
	must(t, unix.EpollCtl(watcher, unix.EPOLL_CTL_ADD, e.gate, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET}))
	told := func() bool {
		n, err := epollWait(watcher, make([]unix.EpollEvent, 1))
		must(t, err)
		return n > 0
	}

	a, b := n.pair(t)
	must(t, p.add(a, testToken(1), Read|Edge))
	expectReady := func(wait time.Duration) {
		t.Helper()
		got, err := p.wait(nil, wait)
		must(t, err)
		if len(got) != 1 || got[0].what&Read == 0 {
			t.Fatalf("reported %v", got)
		}
	}
	for range 2 {
		expectBlocks(t, p)
		told()
		n.write(t, b)
		if !told() {
			t.Error("the runtime is not told where somebody may be parked")
		}
		expectReady(-1) // finds it without a park
		told()
		n.write(t, b)
		if told() {
			t.Error("the runtime is told although nobody is parked")
		}
		expectReady(0)
		n.write(t, b)
		if told() {
			t.Error("the runtime is told after a wait that did not park")
		}
		expectReady(-1)
	}
}

// TestEpollGateLosesNothing has something come while the gate is opened and shut.
func TestEpollGateLosesNothing(t *testing.T) {
	p, n := openTestMethod(kernelMethods()[0], newTestNet())(t)
	a, b := n.pair(t)
	must(t, p.add(a, testToken(1), Read|Edge))
	step := make(chan struct{})
	go func() {
		for range step {
			yield()
			n.write(t, b)
		}
	}()
	defer close(step)
	for i := range 3000 {
		step <- struct{}{}
		found := 0
		for range rand.IntN(4) {
			got, err := p.wait(nil, 0)
			must(t, err)
			found += len(got)
		}
		for found == 0 {
			got, err := p.wait(nil, testPatience)
			must(t, err)
			if found += len(got); found == 0 {
				t.Fatalf("round %d: what has come is not reported", i)
			}
		}
		n.drain(t, a)
	}
}

func TestEpollResultsGrow(t *testing.T) {
	const count = 2*epollMinResults + 1
	p, n := openTestMethod(kernelMethods()[0], newTestNet())(t)
	for k := range count {
		a, _ := n.pair(t)
		must(t, p.add(a, testToken(k), Write))
	}
	for _, want := range []int{epollMinResults, 2 * epollMinResults, count, count} {
		got, err := p.wait(nil, -1)
		must(t, err)
		if len(got) != want {
			t.Errorf("%d reported, want %d", len(got), want)
		}
	}
}

// TestEpollWithoutDescriptors checks that a timed wait ends although there is
// none left for the timer.
func TestEpollWithoutDescriptors(t *testing.T) {
	p, err := openEpoll()
	must(t, err)
	defer p.close()
	var lim syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim))
	low := lim
	low.Cur = 3
	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low))
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim)
	for range 2 {
		expectBlocks(t, p)
	}
	if fd := p.(*epoll).tfd; fd != noFD {
		t.Errorf("got descriptor %d for the timer", fd)
	}
	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim))
	expectBlocks(t, p)
	if p.(*epoll).tfd == noFD {
		t.Error("no descriptor for the timer although there are some")
	}
}

// tcpPair returns the two ends of a connection over the loopback interface.
func tcpPair(t *testing.T) (a, b *os.File) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	must(t, err)
	defer c.Close()
	d, err := ln.Accept()
	must(t, err)
	defer d.Close()
	a, err = c.(*net.TCPConn).File()
	must(t, err)
	t.Cleanup(func() { a.Close() })
	b, err = d.(*net.TCPConn).File()
	must(t, err)
	t.Cleanup(func() { b.Close() })
	return a, b
}

// TestPollerTCP checks the early close of a real connection, and its reset.
func TestPollerTCP(t *testing.T) {
	eachMethod(t, func(t *testing.T, p poller, n *sysNet) {
		a, b := tcpPair(t)
		must(t, p.add(sysFD(a.Fd()), testToken(1), EarlyClose))
		expectNone(t, p)
		n.write(t, sysFD(b.Fd()))
		expectNone(t, p)
		n.shutdown(t, sysFD(b.Fd()))
		expectReady(t, p, ready{testToken(1), EarlyClose})
		must(t, p.remove(sysFD(a.Fd())))

		a, b = tcpPair(t)
		must(t, p.add(sysFD(a.Fd()), testToken(2), Read))
		must(t, unix.SetsockoptLinger(sysFD(b.Fd()), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
		must(t, b.Close()) // With no time to linger: a reset.
		expectReady(t, p, ready{testToken(2), Read | hangup})
	})
}

// errorQueueSocket returns a UDP socket whose error queue is not empty and stays so, and
// the address that it has.
func errorQueueSocket(t *testing.T) (fd sysFD, addr net.Addr) {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	defer c.Close()
	gone, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	gone.Close()
	fd, err = takeFD(c)
	must(t, err)
	t.Cleanup(func() { closeFD(fd) })
	must(t, unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1))
	sa := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: gone.LocalAddr().(*net.UDPAddr).Port}
	must(t, unix.Sendto(fd, []byte("x"), 0, sa)) // the port is closed: the kernel answers at once
	if _, _, err := unix.Recvfrom(fd, make([]byte, 1), 0); err != unix.ECONNREFUSED {
		t.Skip("no error was reported: ", err)
	}
	return fd, c.LocalAddr()
}

// TestErrorQueue has sockets with an error queue that nobody reads, which the kernel reports
// in every wait, although there is nothing to read otherwise. The loop must not turn all the
// time, and must hear of datagrams all the same.
func TestErrorQueue(t *testing.T) {
	const most = 200 // turns in 200 ms; it was tens of thousands
	quiet := func(t *testing.T, l *Loop, received func(Event)) {
		t.Helper()
		before := l.Stats().Turns
		for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); {
			if ev, ok := l.Poll(max(0, time.Until(end))); ok {
				received(ev)
			}
		}
		if n := l.Stats().Turns - before; n > most {
			t.Errorf("%d turns", n)
		}
	}
	send := func(t *testing.T, to net.Addr) {
		t.Helper()
		c, err := net.Dial("udp4", to.String())
		must(t, err)
		defer c.Close()
		_, err = c.Write([]byte("hello"))
		must(t, err)
	}
	watched := func(interest What) func(*testing.T, *Loop) {
		return func(t *testing.T, l *Loop) {
			fd, addr := errorQueueSocket(t)
			w := armed(t, l, fd, interest, 0)
			got := false
			take := func(ev Event) {
				w.Take()
				if n, _, err := unix.Recvfrom(fd, make([]byte, 10), unix.MSG_DONTWAIT); err == nil && n == 5 {
					got = true
				}
				if interest&Persist == 0 {
					must(t, w.Arm(0))
				}
			}
			for range 2 {
				quiet(t, l, take)
				send(t, addr)
				for got = false; !got; {
					ev, ok := l.Poll(10 * time.Second)
					if !ok {
						t.Fatal("the datagram was not reported")
					}
					take(ev)
				}
			}
		}
	}
	saved := testMethods
	testMethods = nil // other systems have no error queue
	defer func() { testMethods = saved }()
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Watch":   watched(Read),
		"Persist": watched(Read | Persist),
		"Edge":    watched(Read | Persist | Edge),
		"TwoWatches": func(t *testing.T, l *Loop) {
			fd, _ := errorQueueSocket(t)
			v, w := armed(t, l, fd, Read|Persist, 0), armed(t, l, fd, EarlyClose|Persist, 0)
			quiet(t, l, func(Event) { v.Take(); w.Take() })
		},
		"PacketConn": func(t *testing.T, l *Loop) {
			fd, addr := errorQueueSocket(t)
			f := os.NewFile(uintptr(dupOrFail(t, fd)), "udp") // which closes it
			c, err := net.FilePacketConn(f)
			must(t, err)
			must(t, f.Close())
			p, err := l.WrapPacketConn(c)
			must(t, err)
			buf := make([]byte, 10)
			for range 2 {
				quiet(t, l, func(Event) { p.ReadFrom(buf) })
				send(t, addr)
				for n := 0; n != 5; {
					if _, ok := l.Poll(10 * time.Second); !ok {
						t.Fatal("the datagram was not reported")
					}
					n, _, _ = p.ReadFrom(buf)
				}
			}
		},
	})
}

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
	for _, m := range methods() {
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
	p, n := openTestMethod(methods()[0], newTestNet())(t)
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
	p, n := openTestMethod(methods()[0], newTestNet())(t)
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
	p, n := openTestMethod(methods()[0], newTestNet())(t)
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

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// openAFDTest returns an afdPoller that is closed with the test.
func openAFDTest(t *testing.T) *afdPoller {
	t.Helper()
	p, err := openAFD()
	must(t, err)
	t.Cleanup(func() { p.close() })
	return p.(*afdPoller)
}

// TestPollerTCP: the end of what the peer sends is seen where no input is unread.
func TestPollerTCP(t *testing.T) {
	p, n := openAFDTest(t), newTestNet()
	for k, mode := range []What{0, Edge} {
		a, b := n.pair(t)
		must(t, p.add(a, testToken(k), EarlyClose|mode))
		expectNone(t, p)
		n.shutdown(t, b)
		expectReady(t, p, ready{testToken(k), EarlyClose})
		if mode == Edge {
			expectNone(t, p)
		}
		must(t, p.remove(a))
	}
	expectNone(t, p)
}

func TestPollerClosedWhileWatched(t *testing.T) {
	for _, i := range []What{Read, Read | Write | Edge, 0} {
		p, n := openAFDTest(t), newTestNet()
		a, _ := n.pair(t)
		tok := testToken(1)
		must(t, p.add(a, tok, i))
		if i&Write != 0 {
			expectReady(t, p, ready{tok, Write})
		}
		expectNone(t, p) // It is in flight.
		n.close(t, a)
		expectReady(t, p, ready{tok, i&whatPolled | hangup})
		expectNone(t, p)
		expectBlocks(t, p)
		must(t, p.arm(a, tok, i)) // Now it cannot even be asked for.
		expectReady(t, p, ready{tok, i&whatPolled | hangup})
		expectNone(t, p)
		must(t, p.remove(a))
	}
}

// TestPollerAccept: a connection to accept is something to read.
func TestPollerAccept(t *testing.T) {
	p := openAFDTest(t)
	ln := newTestSocket(t)
	defer windows.Closesocket(ln)
	must(t, setNonblock(sysFD(ln)))
	must(t, windows.Bind(ln, &windows.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(t, windows.Listen(ln, 5))
	must(t, p.add(sysFD(ln), testToken(1), Read|Edge))
	expectNone(t, p)
	sa, err := windows.Getsockname(ln)
	must(t, err)
	for range 3 {
		c := newTestSocket(t)
		must(t, windows.Connect(c, sa))
		expectReady(t, p, ready{testToken(1), Read})
		fd, from, err := sysAccept(sysFD(ln))
		must(t, err)
		if got := from.addrPort(); !got.Addr().IsLoopback() || got.Port() == 0 {
			t.Errorf("accepted from %v", got)
		}
		if _, _, err := sysAccept(sysFD(ln)); err != syscall.EAGAIN {
			t.Errorf("accept of nothing gives %v", err)
		}
		must(t, p.arm(sysFD(ln), testToken(1), Read|Edge))
		expectNone(t, p)
		resetSocket(fd)
		resetSocket(sysFD(c))
	}
}

// TestPollerConnect: room to write, or a hangup, tells how an attempt has ended.
func TestPollerConnect(t *testing.T) {
	p := openAFDTest(t)
	ln := newTestSocket(t)
	must(t, windows.Bind(ln, &windows.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	sa, err := windows.Getsockname(ln)
	must(t, err)
	connect := func() sysFD {
		c := newTestSocket(t)
		t.Cleanup(func() { resetSocket(sysFD(c)) })
		must(t, setNonblock(sysFD(c)))
		if err := windows.Connect(c, sa); err != windows.WSAEWOULDBLOCK {
			t.Logf("connect gives %v", err)
		}
		must(t, p.add(sysFD(c), testToken(1), Write|Edge))
		return sysFD(c)
	}
	refused := connect()
	expectReady(t, p, ready{testToken(1), Write | hangup})
	if err := (&sock{fd: refused}).failure(); err != windows.WSAECONNREFUSED {
		t.Errorf("the failure is %v", err)
	}
	must(t, p.remove(refused))
	must(t, windows.Listen(ln, 1))
	defer windows.Closesocket(ln)
	connected := connect()
	expectReady(t, p, ready{testToken(1), Write})
	must(t, p.remove(connected))
}

// TestPollerOfOthers polls a socket that belongs to the runtime's completion port,
// with package net reading from it all the time.
func TestPollerOfOthers(t *testing.T) {
	p := openAFDTest(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	must(t, err)
	defer c.Close()
	far, err := ln.Accept()
	must(t, err)
	defer far.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) { err = p.add(fd, testToken(1), Write) }))
	must(t, err)
	for range 20 {
		_, err := far.Write([]byte("x"))
		must(t, err)
		expectReady(t, p, ready{testToken(1), Write})
		_, err = c.Read(make([]byte, 1))
		must(t, err)
	}
	must(t, raw.Control(func(fd uintptr) { err = p.arm(fd, testToken(2), Read|Edge) }))
	must(t, err)
	expectNone(t, p)
	_, err = far.Write([]byte("x"))
	must(t, err)
	expectReady(t, p, ready{testToken(2), Read})
}

func TestPollerRefusesOthers(t *testing.T) {
	p := openAFDTest(t)
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	defer w.Close()
	f, err := os.Open(os.Args[0])
	must(t, err)
	defer f.Close()
	for _, fd := range []uintptr{r.Fd(), w.Fd(), f.Fd()} {
		if err := p.add(fd, testToken(1), Read); err != ErrUnsupported {
			t.Errorf("add gives %v", err)
		}
	}
	if err := p.add(noFD, testToken(1), Read); err != syscall.EBADF {
		t.Errorf("add of no descriptor gives %v", err)
	}
	if len(p.socks) != 0 || p.groups[0].n != 0 {
		t.Error("something is left")
	}
}

// checkGroups checks the helper handles' bookkeeping: full ones first, each with as
// many sockets as it counts, and no more than one that has none.
func (p *afdPoller) checkGroups(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	count, empty := make(map[*afdGroup]int), 0
	for _, s := range p.socks {
		count[s.group]++
	}
	for op := p.flying; op != nil; op = op.next {
		if op.leaves != nil {
			count[op.leaves]++
		}
	}
	for k, g := range p.groups {
		if g.at != k || g.n != count[g] || (g.n == afdGroupSize) != (k < p.full) {
			t.Fatalf("group %d of %d, %d full: at=%d, n=%d, has %d", k, len(p.groups), p.full, g.at, g.n, count[g])
		}
		if g.n == 0 {
			empty++
		}
		delete(count, g)
	}
	if len(count) > 0 || empty > 1 {
		t.Fatalf("%d groups are missing, %d are empty", len(count), empty)
	}
}

func TestPollerGroups(t *testing.T) {
	p, n := openAFDTest(t), newTestNet()
	var fds []sysFD
	r := rand.New(rand.NewPCG(1, 2))
	for k := range 100 {
		a, b := n.pair(t)
		fds = append(fds, a, b)
		must(t, p.add(a, testToken(2*k), Read))
		must(t, p.add(b, testToken(2*k+1), Read))
		p.checkGroups(t)
	}
	if got := len(p.groups); got != (200+afdGroupSize-1)/afdGroupSize {
		t.Errorf("%d groups", got)
	}
	expectNone(t, p) // All are in flight now.
	for len(fds) > 0 {
		k := r.IntN(len(fds))
		must(t, p.remove(fds[k]))
		fds = slices.Delete(fds, k, k+1)
		if k%3 == 0 {
			expectNone(t, p) // Takes what was cancelled.
		}
		p.checkGroups(t)
	}
	for p.flying != nil {
		expectNone(t, p)
	}
	p.checkGroups(t)
	if len(p.groups) != 1 {
		t.Errorf("%d groups are left", len(p.groups))
	}
}

// TestPollerGivesBack checks that close leaves nothing with the kernel, and that the
// memory of an operation is used again rather than piling up.
func TestPollerGivesBack(t *testing.T) {
	p, n := openAFDTest(t), newTestNet()
	a, b := n.pair(t)
	must(t, p.add(a, testToken(1), Read|Edge))
	must(t, p.add(b, testToken(2), Read))
	for range 100 {
		must(t, p.arm(a, testToken(1), Write|Edge))
		expectReady(t, p, ready{testToken(1), Write})
		must(t, p.arm(a, testToken(1), Read|Edge))
		expectNone(t, p)
	}
	ops := 0
	for op := p.idle; op != nil; op = op.next {
		ops++
	}
	for op := p.flying; op != nil; op = op.next {
		ops++
	}
	if ops > 10 {
		t.Errorf("%d operations were made", ops)
	}
	if p.flying == nil {
		t.Error("nothing is in flight")
	}
	must(t, p.close())
	if p.flying != nil {
		t.Error("something is in flight still")
	}
	if _, open := afdPollers.Load(p); open {
		t.Error("it is kept for ever")
	}
}

// TestPollerWaitsAllocateNothing covers what a loop in its steady state does.
func TestPollerWaitsAllocateNothing(t *testing.T) {
	p, n := openAFDTest(t), newTestNet()
	a, b := n.pair(t)
	got, buf := make([]ready, 0, 10), make([]byte, 1)
	wait := func(d time.Duration) {
		var err error
		got, err = p.wait(got[:0], d)
		must(t, err)
	}
	must(t, p.add(a, testToken(1), Read))
	for name, f := range map[string]func(){
		"poll":  func() { wait(0) },
		"alarm": func() { wait(10 * time.Microsecond) },
		"wake":  func() { p.wake(); wait(-1) },
		"ready": func() { sysSend(b, buf); wait(-1); sysRecv(a, buf) },
		"arm":   func() { p.arm(a, testToken(1), Read|Write); wait(0); p.arm(a, testToken(1), Read); wait(0) },
	} {
		f()
		if avg := testing.AllocsPerRun(100, f); avg != 0 {
			t.Errorf("%s: %v allocations", name, avg)
		}
	}
}

// handles returns how many handles of files, which sockets and helper handles are, and
// of completion ports the process has open. Those of threads, and what comes with them,
// are the runtime's affair.
func handles(t *testing.T) (n int) {
	t.Helper()
	query := modntdll.NewProc("NtQueryObject")
	const typeInformation = 2
	// Numbers are multiples of 4, the lowest that is free.
	for last, h := uintptr(0), uintptr(4); h < last+4*1000; h += 4 {
		var info struct {
			name windows.NTUnicodeString // comes first
			room [1024]byte
		}
		status, _, _ := query.Call(h, typeInformation, uintptr(unsafe.Pointer(&info)), unsafe.Sizeof(info), 0)
		if status != 0 {
			continue
		}
		last = h
		if name := info.name.String(); name == "File" || name == "IoCompletion" {
			n++
		}
	}
	return n
}

func TestPollerLeaksNoHandle(t *testing.T) {
	round := func() {
		p, err := openAFD()
		must(t, err)
		for k := range 50 { // More than one group.
			a, b := tcpPair(t)
			must(t, p.add(a, testToken(2*k), Read|Write|Edge))
			must(t, p.add(b, testToken(2*k+1), Read))
			expectReady(t, p, ready{testToken(2 * k), Write})
			if k%2 == 0 {
				must(t, p.remove(a))
			}
			defer resetSocket(a)
			defer resetSocket(b)
			if k%2 == 0 {
				must(t, p.remove(b))
			}
		}
		must(t, p.close())
	}
	leakless(t, round)
}

// leakless runs round often and checks that no handle is left.
func leakless(t *testing.T, round func()) {
	t.Helper()
	round()
	time.Sleep(time.Millisecond) // The runtime's own port comes with its first timer.
	before := handles(t)
	if before == 0 {
		t.Fatal("no handle is seen")
	}
	for range 20 {
		round()
	}
	var after int
	for until := time.Now().Add(testPatience); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		runtime.GC() // what was dropped is closed
		if after = handles(t); after <= before {
			return
		}
	}
	t.Errorf("%d handles before, %d after", before, after)
}

// FuzzAFD has AFD give any result to any poll, also of what was changed meanwhile, and
// holds what is reported against the contract in poller.go. Nothing is asked of the
// system. Each step is an operation with its arguments.
func FuzzAFD(f *testing.F) {
	const step = 8
	f.Add([]byte{0, byte(Read | Write), 0, 0, 0, 0, 0, 0, 2, 0, 1, afdReceive | afdSend, 0, 0, 0, 0, 2, 0, 1, afdAbort, 0, 0, 0, 0})
	f.Add([]byte{0, byte(Read | Write | EarlyClose | Edge), 0, 0, 0, 0, 0, 0, 2, 0, 1, afdDisconnect, 0, 0, 0, 0, 2, 0, 1, afdSend, 0, 0, 0, 0})
	f.Add([]byte{0, byte(EarlyClose), 0, 0, 0, 0, 0, 0, 2, 0, 1, afdLocalClose, 0, 0, 0, 0, 0, byte(EarlyClose), 0, 0, 0, 0, 0, 0, 2, 1, 1, 0, 0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 2, 3, 1, 255, 255, 0, 0, 0, 2, 0, 1, 255, 255, 0, 0, 0})
	f.Add([]byte{0, byte(Read), 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, afdReceive, 0, 0, 0, 0, 2, 2, 1, 255, 1, 0, 0, 0})
	f.Add([]byte{0, byte(Read | Edge), 0, 0, 0, 0, 0, 0, 2, 0, 1, 255, 1, 0, 0, 0, 2, 0, 1, 255, 1, 0, 0, 0, 2, 0, 0, 255, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		for w := range whatPolled + 1 {
			if got := afdWhat(afdEvents(w)); got&w != w || got&^w&^(Read|EarlyClose) != 0 {
				t.Fatalf("%v has become %v", w, got)
			}
		}
		p := &afdPoller{socks: make(map[sysFD]*afdSock)}
		s := &afdSock{fd: 1, mute: true}
		// fly makes the poll that a wait would, as pollLocked does.
		fly := func() *afdOp {
			op := &afdOp{sock: s, asked: afdEvents(s.left), next: p.flying}
			op.pin.Pin(op)
			if op.next != nil {
				op.next.prev = op
			}
			s.op, p.flying = op, op
			return op
		}
		var told What // since s was asked for
		for steps := 0; len(script) >= step && steps < 100; steps++ {
			a := script[:step]
			script = script[step:]
			switch a[0] % 3 {
			case 0: // arm
				s.tok, s.i, s.mute = testToken(steps), What(a[1])&(whatPolled|Edge|urgent), false
				s.left, told = s.i&whatPolled, 0
			case 1: // remove and add
				s.mute = true
				if s.op != nil {
					s.op.sock = nil
				}
				s = &afdSock{fd: 1, tok: testToken(steps), i: What(a[1]) & (whatPolled | Edge | urgent)}
				s.left, told = s.i&whatPolled, 0
			case 2: // a poll completes
				op := s.op
				if op == nil {
					if s.mute {
						break
					}
					op = fly()
				}
				op.info.count = uint32(a[2] & 1)
				op.info.events = uint32(a[3]) | uint32(a[4])<<8 | uint32(a[5])<<24
				op.iosb.Status = [...]windows.NTStatus{windows.STATUS_SUCCESS, windows.STATUS_CANCELLED,
					windows.STATUS_INVALID_HANDLE, windows.STATUS_INSUFFICIENT_RESOURCES}[a[1]&3]
				if a[6]&1 != 0 { // as cancelLocked does, while it is under way
					op.sock, s.op = nil, nil
				}
				wanted := op.sock == s
				r, ok := p.completeLocked(op)
				if ok && (!wanted || r.tok != s.tok) {
					t.Fatalf("%v of a poll that was cancelled", r)
				}
				if p.idle != op || op.sock != nil || op.prev != nil || s.op == op {
					t.Fatal("what was polled with is not free")
				}
				if !ok {
					break
				}
				switch {
				case r.what == 0, r.what&^(s.i&whatPolled|hangup) != 0:
					t.Fatalf("%v of %v", r.what, s.i)
				case r.what&hangup != 0 && r.what&whatPolled != s.i&whatPolled:
					t.Fatalf("%v without all of %v", r.what, s.i)
				case r.what&hangup == 0 && s.i&Edge != 0 && told&r.what != 0:
					t.Fatalf("%v again", r.what)
				}
				if told |= r.what; told&hangup != 0 && (s.i&Edge != 0 || s.i&whatPolled == 0) && !s.mute {
					t.Fatal("a hangup will be told again")
				}
			}
		}
	})
}

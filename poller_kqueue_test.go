// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build linux

package evchan

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPollerKqueuePipe is for the systems without user events.
func TestPollerKqueuePipe(t *testing.T) {
	m := method{"kqueue", kqueueFeatures, openModelKqueue(false)}
	testPoller(t, openTestMethod(m, newTestNet()))
}

// A hookedQueue is a kernelQueue that a test has a hand in.
type hookedQueue struct {
	kernelQueue
	refuse func(kevent) error // asked before each change
	before func() error       // called before each wait; what it returns the call fails with
	after  func()             // called when the kernel has given its events, and before they are looked at
}

func (h *hookedQueue) kevent(changes, events []kevent, d time.Duration) (int, error) {
	for _, c := range changes {
		if h.refuse != nil {
			if err := h.refuse(c); err != nil {
				return 0, err
			}
		}
	}
	if len(events) == 0 {
		return h.kernelQueue.kevent(changes, nil, 0)
	}
	if h.before != nil {
		if err := h.before(); err != nil {
			return 0, err
		}
	}
	n, err := h.kernelQueue.kevent(changes, events, d)
	if h.after != nil {
		h.after()
	}
	return n, err
}

func openHookedKqueue(t *testing.T) (*kqueue, *hookedQueue, *sysNet) {
	t.Helper()
	q, err := newModelQueue(true)
	must(t, err)
	h := &hookedQueue{kernelQueue: q}
	p, err := newKqueue(h, true)
	must(t, err)
	t.Cleanup(func() { p.close() })
	return p.(*kqueue), h, newTestNet().(*sysNet)
}

// TestKqueueGenerations has a descriptor closed, opened and registered again
// while a wait has taken the end of the earlier one, but not looked at it.
func TestKqueueGenerations(t *testing.T) {
	p, h, n := openHookedKqueue(t)
	a, b := n.pair(t)
	c, d := n.pair(t)
	must(t, p.add(a, testToken(1), Read|Write|EarlyClose|Edge))
	expectReady(t, p, ready{testToken(1), Write})
	n.close(t, b)
	h.after = func() {
		h.after = nil
		must(t, p.remove(a))
		must(t, unix.Dup3(c, a, unix.O_CLOEXEC))
		must(t, p.add(a, testToken(2), Read|Write|EarlyClose|Edge))
	}
	got, err := p.wait(nil, -1)
	must(t, err)
	if len(got) > 0 {
		t.Errorf("the new one got %v of the old one's", got)
	}
	expectReady(t, p, ready{testToken(2), Write})
	expectNone(t, p)

	// An end that is its own gets through, although it was asked for meanwhile.
	n.close(t, d)
	h.after = func() {
		h.after = nil
		must(t, p.arm(a, testToken(3), Read|Write|EarlyClose|Edge))
	}
	expectReady(t, p, ready{testToken(3), Read | Write | EarlyClose | hangup})
	expectNone(t, p)
}

// TestKqueueBrokenPipe has a pipe lose its reader while a wait is in progress in which
// the writing end was registered. The kernel says so, but does not add the filter
// again that would have to confirm it.
func TestKqueueBrokenPipe(t *testing.T) {
	for _, i := range []What{Write, Write | Edge, Read | Write | EarlyClose, 0} {
		p, h, n := openHookedKqueue(t)
		var pipe [2]sysFD
		must(t, openPipe(&pipe))
		r, w := pipe[0], pipe[1]
		defer unix.Close(w)
		n.fill(t, w)
		must(t, p.add(w, testToken(1), Edge))
		h.before = func() error {
			h.before = nil
			must(t, p.arm(w, testToken(2), i))
			return unix.Close(r)
		}
		got, err := p.wait(nil, -1)
		must(t, err)
		if len(got) == 0 {
			expectReady(t, p, ready{testToken(2), i&whatPolled | hangup})
		}
		must(t, p.arm(w, testToken(3), i))
		expectReady(t, p, ready{testToken(3), i&whatPolled | hangup})
		must(t, p.remove(w))
	}
}

// TestKqueueRemovedMeanwhile has events on the way that nobody wants any more.
func TestKqueueRemovedMeanwhile(t *testing.T) {
	p, h, n := openHookedKqueue(t)
	a, b := n.pair(t)
	n.write(t, b)
	for _, change := range []func(){
		func() { must(t, p.remove(a)) },
		func() { must(t, p.arm(a, testToken(1), Read)) },
	} {
		must(t, p.add(a, testToken(1), Read|Write))
		h.after = change
		got, err := p.wait(nil, -1)
		must(t, err)
		for _, r := range got {
			if r.what != Read {
				t.Errorf("got %v", got)
			}
		}
		h.after = nil
	}
	expectReady(t, p, ready{testToken(1), Read})
}

// TestKqueueErrors checks which failures of the call are none, and that others
// are reported.
func TestKqueueErrors(t *testing.T) {
	p, h, n := openHookedKqueue(t)
	a, _ := n.pair(t)
	must(t, p.add(a, testToken(1), Write))
	for err, want := range map[error]error{
		unix.EINTR:     nil,
		unix.ETIMEDOUT: nil,
		unix.ENOMEM:    unix.ENOMEM,
	} {
		h.before = func() error { return err }
		got, err := p.wait(nil, -1)
		if len(got) > 0 || err != want {
			t.Errorf("got %v, %v; want %v", got, err, want)
		}
	}
	h.before = nil
	expectReady(t, p, ready{testToken(1), Write})

	h.refuse = func(kevent) error { return unix.EINTR } // although it has been made
	h.kernelQueue.kevent([]kevent{{ident: a, filter: kfWrite, flags: evDelete}}, nil, 0)
	must(t, p.remove(a))
	h.refuse = func(kevent) error { return unix.ENOMEM }
	for _, i := range []What{0, Read, Write, Read | Write} {
		if err := p.add(a, testToken(1), i); err != unix.ENOMEM {
			t.Errorf("add for %v: %v", i, err)
		}
	}
	h.refuse = nil
	if err := p.arm(a, testToken(1), Read); err != unix.ENOENT {
		t.Errorf("arm after add has failed: %v", err)
	}
	expectNone(t, p)

	q, err := newModelQueue(false)
	must(t, err)
	if _, err := newKqueue(q, true); err != unix.EINVAL {
		t.Errorf("opened without user events: %v", err)
	}
}

// TestKqueueOneDirection has a filter refused, as some systems do for some
// descriptors.
func TestKqueueOneDirection(t *testing.T) {
	for _, c := range []struct {
		name    string
		refused kfilter
		err     error
		i       What
		want    What // once the other end is closed; 0: add fails
	}{
		{"HangupOnly", kfWrite, unix.EINVAL, 0, hangup},
		{"HangupOnlyWrite", kfRead, unix.EINVAL, 0, hangup},
		{"Read", kfWrite, unix.EINVAL, Read, Read | hangup},
		{"Write", kfRead, unix.EINVAL, Write, Write | hangup},
		{"Both", kfWrite, unix.EINVAL, Read | Write, 0},
		{"BothEdge", kfRead, unix.EINVAL, Read | Write | Edge, 0},
		{"ClosedPipe", kfWrite, unix.EPIPE, Read | Write, Read | Write | hangup},
		{"ClosedPipeWrite", kfWrite, unix.EPIPE, Write, Write | hangup},
		{"ClosedPipeEdge", kfWrite, unix.EPIPE, Read | Write | Edge, Read | Write | hangup},
		{"ClosedPipeNetBSD", kfWrite, unix.EBADF, Read | Write | EarlyClose, Read | Write | EarlyClose | hangup},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, h, n := openHookedKqueue(t)
			a, b := n.pair(t)
			h.refuse = func(k kevent) error {
				if k.filter == c.refused && k.flags&evAdd != 0 {
					return c.err
				}
				return nil
			}
			err := p.add(a, testToken(1), c.i)
			if c.want == 0 {
				if err != unix.EPERM { // what add says of a descriptor that it cannot watch
					t.Errorf("got %v, want %v", err, unix.EPERM)
				}
				n.write(t, b)
				expectBlocks(t, p)
				h.refuse = nil
				if err := p.remove(a); err != unix.ENOENT {
					t.Errorf("remove after add has failed: %v", err)
				}
				return
			}
			must(t, err)
			_, err = p.wait(nil, 0) // it may be writable
			must(t, err)
			n.close(t, b)
			times := 1
			if c.i&Edge == 0 && c.i != 0 {
				times = 3
			}
			for range times {
				expectReady(t, p, ready{testToken(1), c.want})
			}
			if times == 1 {
				expectNone(t, p)
			}
			must(t, p.remove(a))
		})
	}
}

// TestKqueueOneReport checks that what a descriptor is ready for comes in one
// report.
func TestKqueueOneReport(t *testing.T) {
	p, _, n := openHookedKqueue(t)
	var want []ready
	for k := range 3 {
		a, b := n.pair(t)
		n.write(t, b)
		must(t, p.add(a, testToken(k), Read|Write))
		want = append(want, ready{testToken(k), Read | Write})
	}
	for range 3 {
		got, err := p.wait(nil, -1)
		must(t, err)
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

// TestKqueueUrgent checks that with urgent bytes asked for a short read is not taken
// for the end of the input: the kernel does not report those bytes.
func TestKqueueUrgent(t *testing.T) {
	p, _, n := openHookedKqueue(t)
	a, b := n.pair(t)
	for _, i := range []What{Read | Edge, Read | Edge | urgent, streamInterest} {
		must(t, p.add(a, testToken(1), i))
		_, err := p.wait(nil, 0) // it may be writable
		must(t, err)
		for range 2 {
			n.write(t, b)
			got, err := p.wait(nil, -1)
			must(t, err)
			if len(got) != 1 || got[0].what&^Write != i&(Read|urgent) {
				t.Errorf("for %v got %v", i, got)
			}
		}
		n.drain(t, a)
	}
}

func TestKqueueEventsGrow(t *testing.T) {
	const count = 2*kqueueMinEvents + 1
	p, _, n := openHookedKqueue(t)
	for k := range count {
		a, _ := n.pair(t)
		must(t, p.add(a, testToken(k), Write))
	}
	for _, want := range []int{kqueueMinEvents, 2 * kqueueMinEvents, count, count} {
		got, err := p.wait(nil, -1)
		must(t, err)
		if len(got) != want {
			t.Errorf("%d reported, want %d", len(got), want)
		}
	}
}

// TestKqueueLongWait checks that no more is asked of the kernel than it takes.
func TestKqueueLongWait(t *testing.T) {
	p, _, n := openHookedKqueue(t)
	p.q = maxWaitQueue{p.q, t}
	a, _ := n.pair(t)
	must(t, p.add(a, testToken(1), Write))
	for _, d := range []time.Duration{-1, 1<<63 - 1} {
		_, err := p.wait(nil, d)
		must(t, err)
	}
}

type maxWaitQueue struct {
	kernelQueue
	t *testing.T
}

func (m maxWaitQueue) kevent(changes, events []kevent, d time.Duration) (int, error) {
	if d > 24*time.Hour {
		m.t.Errorf("asked to wait for %v", d)
	}
	return m.kernelQueue.kevent(changes, events, d)
}

// ---- The model ----

func openModel(t *testing.T) *modelQueue {
	t.Helper()
	q, err := newModelQueue(true)
	must(t, err)
	t.Cleanup(q.close)
	return q
}

// change makes a change, which must give the error want.
func (q *modelQueue) change(t *testing.T, fd int, f kfilter, flags uint32, want error) {
	t.Helper()
	_, err := q.kevent([]kevent{{ident: fd, filter: f, flags: flags}}, nil, 0)
	if err != want {
		t.Errorf("change %#x of %d: %v, want %v", flags, fd, err, want)
	}
}

// expect takes what is pending now, at most max events, and compares.
func (q *modelQueue) expect(t *testing.T, max int, want ...kevent) {
	t.Helper()
	events := make([]kevent, max)
	n, err := q.kevent(nil, events, 0)
	must(t, err)
	if !slices.Equal(events[:n], want) {
		t.Errorf("got %+v\nwant %+v", events[:n], want)
	}
}

func TestModelQueue(t *testing.T) {
	for name, test := range map[string]func(*testing.T, *modelQueue, *sysNet){
		"Level":       testModelLevel,
		"Clear":       testModelClear,
		"AddAgain":    testModelAddAgain,
		"Missing":     testModelMissing,
		"ErrorEvents": testModelErrorEvents,
		"Close":       testModelClose,
		"Bounded":     testModelBounded,
		"Ends":        testModelEnds,
		"Reset":       testModelReset,
		"LeavesError": testModelLeavesError,
		"Listener":    testModelListener,
		"Pipe":        testModelPipe,
		"File":        testModelFile,
		"User":        testModelUser,
		"Timeout":     testModelTimeout,
	} {
		t.Run(name, func(t *testing.T) { test(t, openModel(t), newTestNet().(*sysNet)) })
	}
}

func testModelLevel(t *testing.T, q *modelQueue, n *sysNet) {
	a, b := n.pair(t)
	q.change(t, a, kfRead, evAdd, nil)
	q.expect(t, 4)
	n.write(t, b)
	n.write(t, b)
	for range 2 {
		q.expect(t, 4, kevent{ident: a, filter: kfRead, data: 2})
	}
	n.drain(t, a)
	q.expect(t, 4)
	n.write(t, b)
	q.expect(t, 4, kevent{ident: a, filter: kfRead, data: 1})
}

func testModelClear(t *testing.T, q *modelQueue, n *sysNet) {
	a, b := n.pair(t)
	n.write(t, b)
	q.change(t, a, kfRead, evAdd|evClear, nil)
	q.expect(t, 4, kevent{ident: a, filter: kfRead, flags: evClear, data: 1})
	q.expect(t, 4)
	n.write(t, b)
	q.expect(t, 4, kevent{ident: a, filter: kfRead, flags: evClear, data: 2})
	q.expect(t, 4)
	// What is over when it would be reported is not.
	n.write(t, b)
	n.drain(t, a)
	q.expect(t, 4)
}

func testModelAddAgain(t *testing.T, q *modelQueue, n *sysNet) {
	a, b := n.pair(t)
	n.write(t, b)
	q.change(t, a, kfRead, evAdd|evClear, nil)
	q.change(t, a, kfRead, evAdd|evClear, nil)
	q.expect(t, 4, kevent{ident: a, filter: kfRead, flags: evClear, data: 1})
	// It is looked at afresh, and EV_CLEAR stays.
	q.change(t, a, kfRead, evAdd, nil)
	q.expect(t, 4, kevent{ident: a, filter: kfRead, flags: evClear, data: 1})
	q.expect(t, 4)
	q.change(t, a, kfRead, evDelete, nil)
	q.change(t, a, kfRead, evDelete, unix.ENOENT)
}

func testModelMissing(t *testing.T, q *modelQueue, n *sysNet) {
	a, _ := n.pair(t)
	q.change(t, a, kfRead, evDelete, unix.ENOENT)
	q.change(t, a, kfRead, 0, unix.ENOENT)
	q.change(t, 0, kfUser, evDelete, unix.ENOENT)
	q.change(t, 0, kfUser, 0, unix.ENOENT)
	q.change(t, 1<<30, kfRead, evAdd, unix.EBADF)
	q.change(t, -1, kfRead, evDelete, unix.EBADF)
	// Those before one that fails are made.
	if _, err := q.kevent([]kevent{
		{ident: a, filter: kfWrite, flags: evAdd},
		{ident: a, filter: kfRead, flags: evDelete},
		{ident: a, filter: kfWrite, flags: evDelete},
	}, nil, 0); err != unix.ENOENT {
		t.Error(err)
	}
	q.change(t, a, kfWrite, evDelete, nil)
}

func testModelErrorEvents(t *testing.T, q *modelQueue, n *sysNet) {
	a, _ := n.pair(t)
	events := make([]kevent, 2)
	k, err := q.kevent([]kevent{
		{ident: a, filter: kfRead, flags: evDelete},
		{ident: a, filter: kfWrite, flags: evAdd}, // pending at once
	}, events, -1)
	must(t, err)
	if want := []kevent{{ident: a, filter: kfRead, flags: evError, data: int64(unix.ENOENT)}}; !slices.Equal(events[:k], want) {
		t.Errorf("got %+v, want %+v", events[:k], want)
	}
	if k, err = q.kevent(nil, events, -1); k != 1 || err != nil || events[0].filter != kfWrite {
		t.Errorf("then got %+v, %v", events[:k], err)
	}
}

func testModelClose(t *testing.T, q *modelQueue, n *sysNet) {
	a, b := n.pair(t)
	n.write(t, b)
	q.change(t, a, kfRead, evAdd, nil)
	q.change(t, a, kfWrite, evAdd, nil)
	n.close(t, a)
	q.expect(t, 4)
	dupTo(t, b, a)
	defer unix.Close(a)
	q.expect(t, 4)
	q.change(t, a, kfWrite, evDelete, unix.ENOENT)
}

func testModelBounded(t *testing.T, q *modelQueue, n *sysNet) {
	var fds []int
	for range 5 {
		a, b := n.pair(t)
		n.write(t, b)
		q.change(t, a, kfRead, evAdd|evClear, nil)
		fds = append(fds, a)
	}
	event := func(k int) kevent { return kevent{ident: fds[k], filter: kfRead, flags: evClear, data: 1} }
	q.expect(t, 2, event(0), event(1))
	q.expect(t, 2, event(2), event(3))
	q.expect(t, 2, event(4))
	q.expect(t, 2)
	// Level-triggered ones go to the end of the queue.
	for _, fd := range fds {
		q.change(t, fd, kfRead, evDelete, nil)
		q.change(t, fd, kfRead, evAdd, nil)
	}
	event = func(k int) kevent { return kevent{ident: fds[k], filter: kfRead, data: 1} }
	q.expect(t, 3, event(0), event(1), event(2))
	q.expect(t, 3, event(3), event(4), event(0))
	q.expect(t, 9, event(1), event(2), event(3), event(4), event(0))
}

func testModelEnds(t *testing.T, q *modelQueue, n *sysNet) {
	a, b := n.pair(t)
	q.change(t, a, kfRead, evAdd, nil)
	n.write(t, b)
	n.shutdown(t, b)
	q.expect(t, 4, kevent{ident: a, filter: kfRead, flags: evEOF, data: 1}) // with data still there
	n.drain(t, a)
	q.expect(t, 4, kevent{ident: a, filter: kfRead, flags: evEOF})
	q.change(t, a, kfRead, evDelete, nil)

	q.change(t, a, kfWrite, evAdd|evClear, nil)
	events := make([]kevent, 1)
	if k, err := q.kevent(nil, events, 0); k != 1 || err != nil || events[0].flags != evClear || events[0].data <= 0 {
		t.Errorf("got %+v, %v; want room to write", events[:k], err)
	}
	q.expect(t, 4)
	n.shutdown(t, a) // one's own end counts
	q.expect(t, 4, kevent{ident: a, filter: kfWrite, flags: evClear | evEOF})
	q.expect(t, 4)
}

func testModelReset(t *testing.T, q *modelQueue, n *sysNet) {
	a, b := tcpPair(t)
	fd := int(a.Fd())
	must(t, unix.SetNonblock(fd, true))
	q.change(t, fd, kfRead, evAdd|evClear, nil)
	must(t, unix.SetsockoptLinger(int(b.Fd()), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	must(t, b.Close())
	events := make([]kevent, 1)
	k, err := q.kevent(nil, events, testPatience)
	must(t, err)
	if k != 1 || events[0].flags != evClear|evEOF || events[0].fflags == 0 {
		t.Errorf("got %+v", events[:k])
	}
	q.change(t, fd, kfWrite, evAdd, nil)
	if k, err := q.kevent(nil, events, 0); k != 1 || err != nil || events[0].flags != evEOF || events[0].fflags == 0 {
		t.Errorf("got %+v, %v", events[:k], err)
	}
	// The model has left the error to its owner.
	if n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); n != int(unix.ECONNRESET) || err != nil {
		t.Errorf("SO_ERROR is %v, %v", unix.Errno(n), err)
	}
}

func testModelListener(t *testing.T, q *modelQueue, n *sysNet) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	must(t, err)
	defer unix.Close(fd)
	addr := &unix.SockaddrUnix{Name: filepath.Join(t.TempDir(), "s")}
	must(t, unix.Bind(fd, addr))
	must(t, unix.Listen(fd, 5))
	q.change(t, fd, kfRead, evAdd|evClear, nil)
	q.change(t, fd, kfWrite, evAdd|evClear, nil) // never holds
	q.expect(t, 4)
	c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(c)
	must(t, unix.Connect(c, addr))
	q.expect(t, 4, kevent{ident: fd, filter: kfRead, flags: evClear, data: 1})
	q.expect(t, 4)
}

func testModelPipe(t *testing.T, q *modelQueue, n *sysNet) {
	var pipe [2]int
	must(t, openPipe(&pipe))
	defer unix.Close(pipe[0])
	q.change(t, pipe[0], kfRead, evAdd, nil)
	q.expect(t, 4)
	n.write(t, pipe[1])
	q.expect(t, 4, kevent{ident: pipe[0], filter: kfRead, data: 1})
	must(t, unix.Close(pipe[1]))
	q.expect(t, 4, kevent{ident: pipe[0], filter: kfRead, flags: evEOF, data: 1})
	q.change(t, pipe[0], kfWrite, evAdd, unix.EPIPE)
	q.change(t, pipe[0], kfWrite, evDelete, unix.ENOENT)
}

func testModelFile(t *testing.T, q *modelQueue, n *sysNet) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	must(t, err)
	defer f.Close()
	fd := int(f.Fd())
	q.change(t, fd, kfWrite, evAdd, unix.EINVAL)
	_, err = f.WriteString("abc")
	must(t, err)
	q.change(t, fd, kfRead, evAdd, nil)
	q.expect(t, 4)
	_, err = f.Seek(1, 0)
	must(t, err)
	q.change(t, fd, kfRead, evAdd, nil)
	q.expect(t, 4, kevent{ident: fd, filter: kfRead, data: 2})
}

func testModelUser(t *testing.T, q *modelQueue, n *sysNet) {
	trigger := func(flags uint32) {
		_, err := q.kevent([]kevent{{ident: 7, filter: kfUser, flags: flags, fflags: noteTrigger}}, nil, 0)
		must(t, err)
	}
	q.change(t, 7, kfUser, evAdd|evClear, nil)
	q.expect(t, 4)
	trigger(0)
	trigger(0)
	q.expect(t, 4, kevent{ident: 7, filter: kfUser, flags: evClear})
	q.expect(t, 4)
	trigger(evClear) // undoes itself
	q.expect(t, 4)
	q.change(t, 7, kfUser, evDelete, nil)
	q.userEvents = false
	q.change(t, 7, kfUser, evAdd, unix.EINVAL)
}

func testModelTimeout(t *testing.T, q *modelQueue, n *sysNet) {
	const d = 3 * time.Millisecond
	events := make([]kevent, 1)
	start := time.Now()
	for {
		k, err := q.kevent(nil, events, d)
		if errors.Is(err, unix.EINTR) {
			start = time.Now() // a signal has ended the wait
			continue
		}
		must(t, err)
		if k != 0 {
			t.Errorf("got %+v", events)
		}
		break
	}
	if time.Since(start) < d {
		t.Errorf("returned after %v", time.Since(start))
	}
}

// testModelLeavesError: the model does not take an error of the socket that has come since it
// has looked for one. It would be lost to the reader.
func testModelLeavesError(t *testing.T, _ *modelQueue, _ *sysNet) {
	l := dialLoop(t, "")
	s, far := connectedPair(t, l)
	must(t, far.SetLinger(0))
	must(t, far.Close())
	for pollNow(s.sock.fd, unix.POLLIN)&unix.POLLERR == 0 {
		runtime.Gosched()
	}
	if cannotSend(s.sock.fd) {
		t.Error("a reset connection was shut down")
	}
	if _, err := unix.Read(s.sock.fd, make([]byte, 1)); err != unix.ECONNRESET {
		t.Errorf("Read gives %v", err)
	}
}

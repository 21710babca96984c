// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// TestStreamOrder is about what comes when, where TestModel has found it to be
// otherwise.
func TestStreamOrder(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"NothingAfterClosed": testNothingAfterClosed,
		"UnblockAfterClosed": testUnblockAfterClosed,
		"UnblockBelowMark":   testUnblockBelowMark,
		"BelowMarkOnce":      testBelowMarkOnce,
		"EOFAfterClosed":     testEOFAfterClosed,
		"ConnectedFirst":     testConnectedFirst,
		"SendFileOfNothing":  testSendFileOfNothing,
		"ReleaseAtClose":     testReleaseAtClose,
	})
	onMethods(t, Config{Linger: time.Hour}, map[string]func(*testing.T, *Loop){
		"U9BothClose":           testBothClose,
		"U9CloseReadsAndWrites": testCloseReadsAndWrites,
	})
}

// reset has far reset its connection, and returns when s has sent Closed.
func reset(t *testing.T, l *Loop, s *Stream, far *net.TCPConn) {
	t.Helper()
	far.SetLinger(0)
	far.Close()
	if ev := nextOf(t, l, s); ev != Event(Closed{s}) {
		t.Fatalf("unexpected %v", ev)
	}
}

// Closed is the last message, whatever is called then.
func testNothingAfterClosed(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	send(t, far, "last words")
	nextOf(t, l, s)
	reset(t, l, s, far)
	s.Pause(Read | Write)
	s.Resume(Read | Write)
	noMessage(t, l)
	s.SetReadMarks(1, 5)
	s.SetIdleTimeouts(1, 1)
	s.Input().Discard(5)
	s.SetPriority(0)
	noMessage(t, l)
	if p := string(s.Input().Next(100)); p != "words" {
		t.Errorf("got %q", p)
	}
}

// A stream that waits until its destination has drained is not told so after
// its Closed.
func testUnblockAfterClosed(t *testing.T, l *Loop) {
	src, from := connectedPair(t, l)
	dst, to := connectedPair(t, l)
	dst.SetWriteMarks(0, 1)
	dst.Pause(Write)
	dst.Write([]byte("x"))
	send(t, from, "never passed on")
	nextOf(t, l, src)
	if _, err := io.Copy(dst, src); err != ErrFull {
		t.Fatalf("io.Copy gives %v", err)
	}
	reset(t, l, src, from)
	dst.Resume(Write)
	if ev, _ := l.Poll(10 * time.Second); ev != Event(Drained{dst}) {
		t.Fatalf("unexpected %v", ev)
	}
	noMessage(t, l)
	to.Close()
}

// What WriteTo has left is told again once its destination has drained, however
// little it is, and the EOF behind it comes.
func testUnblockBelowMark(t *testing.T, l *Loop) {
	for _, paused := range []bool{false, true} {
		src, from := connectedPair(t, l)
		dst, to := connectedPair(t, l)
		src.SetReadMarks(5, 0)
		dst.SetWriteMarks(0, 1)
		dst.Pause(Write)
		dst.Write([]byte("x"))
		send(t, from, "abcdefg")
		nextOf(t, l, src)
		if _, err := io.Copy(dst, src); err != ErrFull {
			t.Fatalf("io.Copy gives %v", err)
		}
		src.Input().Discard(4)
		if paused {
			src.Pause(Read)
		}
		from.CloseWrite()
		noMessage(t, l)
		dst.Resume(Write)
		if paused {
			if ev, _ := l.Poll(10 * time.Second); ev != Event(Drained{dst}) {
				t.Fatalf("unexpected %v", ev)
			}
			noMessage(t, l)
			src.Resume(Read)
		}
		if ev, _ := l.Poll(10 * time.Second); ev != Event(Readable{src}) {
			t.Fatalf("paused %v: unexpected %v", paused, ev)
		}
		if !paused {
			if ev, _ := l.Poll(10 * time.Second); ev != Event(Drained{dst}) {
				t.Fatalf("unexpected %v", ev)
			}
		}
		if n, err := io.Copy(dst, src); n != 3 || err != nil {
			t.Fatalf("io.Copy gives %d, %v", n, err)
		}
		if ev, _ := l.Poll(10 * time.Second); ev != Event(EOF{src}) {
			t.Fatalf("unexpected %v", ev)
		}
		src.Abort()
		dst.Abort()
		to.Close()
	}
}

// The mark counts again once that was told, or consumed before.
func testBelowMarkOnce(t *testing.T, l *Loop) {
	for _, told := range []bool{false, true} {
		src, from := connectedPair(t, l)
		dst, _ := connectedPair(t, l)
		src.SetReadMarks(5, 0)
		dst.SetWriteMarks(0, 1)
		dst.Pause(Write)
		dst.Write([]byte("x"))
		send(t, from, "abcdefg")
		nextOf(t, l, src)
		if _, err := io.Copy(dst, src); err != ErrFull {
			t.Fatalf("io.Copy gives %v", err)
		}
		src.Input().Discard(4)
		dst.Resume(Write)
		if told {
			nextOf(t, l, src)
		}
		src.Input().Discard(3)
		nextOf(t, l, dst)
		send(t, from, "hij")
		noMessage(t, l)
		send(t, from, "kl")
		nextOf(t, l, src)
		src.Abort()
		dst.Abort()
	}
}

// Nor is an EOF that was held back sent after it.
func testEOFAfterClosed(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	send(t, far, "x")
	far.CloseWrite()
	nextOf(t, l, s)
	for read := false; !read; {
		l.turn(10 * time.Millisecond)
		l.mu.Lock()
		src, bit := l.next(&l.own)
		if src != nil {
			l.unpop(src, bit) // it has been read, and is not received
		}
		read = s.pend&msgEOF != 0
		l.unlock()
	}
	s.Pause(Read) // takes the EOF back
	far.SetLinger(0)
	far.Close()
	for until := time.Now().Add(10 * time.Second); ; {
		s.Write([]byte("is anybody there"))
		if ev, ok := l.Poll(time.Millisecond); ok {
			if ev != Event(Closed{s}) {
				t.Fatalf("unexpected %v", ev)
			}
			break
		}
		if time.Now().After(until) {
			t.Fatal("no Closed")
		}
	}
	s.Resume(Read)
	noMessage(t, l)
	s.Input().Discard(1)
	noMessage(t, l)
}

// Connected comes first: before a Drained because of new marks, and before a
// TimedOut.
func testConnectedFirst(t *testing.T, l *Loop) {
	for _, what := range []string{"Drained", "TimedOut"} {
		s, err := l.Dial("tcp", "slow.example:1", &DialConfig{Resolver: stuckResolver(nil), Timeout: -1})
		if err != nil {
			t.Fatal(err)
		}
		s.Write([]byte("early"))
		if what == "Drained" {
			s.SetWriteMarks(10, 0)
		} else {
			s.SetIdleTimeouts(time.Microsecond, time.Microsecond)
		}
		if ev, ok := l.Poll(5 * time.Millisecond); ok {
			t.Errorf("%v before Connected", ev)
		}
		s.Close()
	}

	// Once it is connected they come.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s, err := l.Dial("tcp", ln.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Write([]byte("early"))
	s.SetWriteMarks(10, 0)
	s.SetIdleTimeouts(time.Millisecond, 0)
	if ev := nextOf(t, l, s); ev != Event(Connected{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	for ev := nextOf(t, l, s); ev != Event(TimedOut{s}); ev = nextOf(t, l, s) {
		if ev != Event(Drained{s}) {
			t.Fatalf("unexpected %v", ev)
		}
	}
	s.Abort()
}

// Two streams that close with much unsent output, of which neither reads any
// more, get rid of it all the same.
func testBothClose(t *testing.T, l *Loop) {
	const total = 8 << 20
	a, b := l.Pipe()
	ln := listen(t, l, "tcp", nil)
	c := dial(t, ln)
	d := acceptOne(t, l)
	ln.Close()
	e, err := l.Wrap(c)
	if err != nil {
		t.Fatal(err)
	}
	all := []*Stream{a, b, d, e}
	for _, s := range all {
		if _, err := s.Write(make([]byte, total)); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range all {
		s.Close()
	}
	waitReleased(t, l)
}

// A stream that is closed takes what the peer sends even before its own output is
// sent: the peer may be one that reads only once it has written.
func testCloseReadsAndWrites(t *testing.T, l *Loop) {
	const total = 16 << 20
	s, far := connectedPair(t, l)
	s.Write(make([]byte, total))
	s.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if n, err := far.Write(make([]byte, total)); n != total || err != nil {
			t.Errorf("the peer's Write gives %d, %v", n, err)
		}
		far.CloseWrite()
		if n, err := io.Copy(io.Discard, far); n != total || err != nil {
			t.Errorf("the peer got %d bytes of %d, %v", n, total, err)
		}
	}()
	waitReleased(t, l)
	<-done
}

// What a closing end of a pipe discards is released without a lock, as
// everything is.
func testReleaseAtClose(t *testing.T, l *Loop) {
	a, b := l.Pipe()
	calls := 0
	a.Output().Append(make([]byte, 1000), func() {
		calls++
		a.Queued()
		b.Queued()
	})
	if err := a.Flush(); err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	go func() {
		b.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Fatal("Close does not return")
	}
	if calls != 1 {
		t.Errorf("released %d times", calls)
	}
}

func testSendFileOfNothing(t *testing.T, l *Loop) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, _ := connectedPair(t, l)
	calls := 0
	release := func() { calls++ }
	if err := s.SendFile(f, 0, 0, release); err != nil || calls != 1 {
		t.Errorf("SendFile of no bytes gives %v, and releases %d times", err, calls)
	}
	s.Abort()
	if err := s.SendFile(f, 0, 0, release); err != ErrClosed || calls != 1 {
		t.Errorf("after the end it gives %v, and has released %d times", err, calls)
	}
}

// TestAcceptFailedTakenBack: an AcceptFailed that is not true any more is not
// received.
func TestAcceptFailedTakenBack(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){"O2": func(t *testing.T, l *Loop) {
		ln := listen(t, l, "tcp", nil)
		ln.mu.Lock()
		ln.failed(l, os.NewSyscallError("accept", syscall.EMFILE))
		ln.mu.Unlock()
		dial(t, ln)
		for until := time.Now().Add(10 * time.Second); ln.Err() != nil; {
			l.turn(time.Millisecond)
			if time.Now().After(until) {
				t.Fatal("it does not accept again")
			}
		}
		if ev, ok := l.Poll(10 * time.Second); !ok || ev.kind() != kindAccepted {
			t.Errorf("got %v", ev)
		}

		// Nobody waits any more when it works again: the next failure is news.
		ln.mu.Lock()
		ln.failed(l, os.NewSyscallError("accept", syscall.EMFILE))
		ln.mu.Unlock()
		for until := time.Now().Add(10 * time.Second); ln.Err() != nil; {
			l.turn(time.Millisecond)
			if time.Now().After(until) {
				t.Fatal("the failure is never over")
			}
		}
		ln.mu.Lock()
		ln.failed(l, os.NewSyscallError("accept", syscall.EMFILE))
		ln.mu.Unlock()
		if ev, ok := l.Poll(10 * time.Second); !ok || ev != Event(AcceptFailed{ln}) {
			t.Errorf("got %v", ev)
		}
	}})
}

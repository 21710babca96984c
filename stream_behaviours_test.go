// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestStreamBehaviours has what libevent's own tests check of bufferevents and
// listeners and what no other test here does.
func TestStreamBehaviours(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"L1Whole":           testL1,
		"L3OpenBothWays":    testL3,
		"L4FinishedFlush":   testL4,
		"L9NoSpinning":      testL9,
		"L9Closing":         testL9Closing,
		"L15TwoClients":     testL15,
		"L21FrozenInput":    testL21,
		"L23HostNames":      testL23,
		"O6PauseElsewhere":  testO6,
		"U10AfterTheOutput": testU10,
	})
	onMethods(t, Config{ExitOnEmpty: true}, map[string]func(*testing.T, *Loop){"O1PausedEndsLoop": testO1})
}

// testL1 sends 8333 bytes from one stream to another.
func testL1(t *testing.T, l *Loop) {
	a, b := streamPair(t, l)
	a.Pause(Write) // so that they are queued, and Drained owed
	a.Write(pattern(8333))
	noMessage(t, l)
	a.Resume(Write)
	drained := false
	for !drained || b.Input().Len() < 8333 {
		switch ev, _ := l.Poll(10 * time.Second); ev {
		case Drained{a}:
			if n := a.Queued(); n != 0 || drained {
				t.Errorf("Drained with %d bytes queued, or again", n)
			}
			drained = true
		case Readable{b}:
		default:
			t.Fatalf("unexpected %v", ev)
		}
	}
	if !bytes.Equal(b.Input().Next(10000), pattern(8333)) {
		t.Error("other bytes have arrived")
	}
	noMessage(t, l)
}

// testL3: libevent's streams read only once they are enabled; here both
// directions are on from the start, and Paused tells which are not.
func testL3(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	for _, what := range []What{0, Read, Write, Read | Write} {
		s.Pause(what)
		if got := s.Paused(); got != what {
			t.Errorf("Paused is %v after Pause(%v)", got, what)
		}
		s.Resume(Read | Write)
		if got := s.Paused(); got != 0 {
			t.Errorf("Paused is %v after Resume", got)
		}
	}
	send(t, far, "x")
	if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
		t.Errorf("unexpected %v", ev)
	}
}

// testL4: what is finished at one end arrives at the other, and then the end.
func testL4(t *testing.T, l *Loop) {
	for _, name := range []string{"pipe", "socket"} {
		a, b := l.Pipe()
		if name == "socket" {
			a, b = streamPair(t, l)
		}
		if err := a.Flush(); err != nil { // of nothing
			t.Error(err)
		}
		a.Output().WriteString("all of it")
		noMessage(t, l)
		if err := a.Flush(); err != nil {
			t.Error(err)
		}
		a.CloseWrite()
		for _, want := range []Event{Readable{b}, EOF{b}} {
			if ev, _ := l.Poll(10 * time.Second); ev != want {
				t.Fatalf("%s: got %v; want %v", name, ev, want)
			}
		}
		if p := string(b.Input().Next(100)); p != "all of it" || !b.AtEOF() {
			t.Errorf("%s: got %q", name, p)
		}
		a.Abort()
		b.Abort()
	}
}

// testL9: a stream whose output is sent has the kernel report nothing more.
func testL9(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	got := drain(far)
	const total = 8 << 20
	s.Write(make([]byte, total))
	for s.Queued() > 0 {
		l.Poll(time.Second)
	}
	noMessage(t, l)
	turns := l.Stats().Turns
	if ev, ok := l.Poll(20 * time.Millisecond); ok {
		t.Errorf("unexpected %v", ev)
	}
	// One wait; the peer's window may have opened in between, and a poll may end
	// a little early.
	if n := l.Stats().Turns - turns; n > 5 {
		t.Errorf("%d turns of an idle loop", n)
	}
	s.Abort()
	<-got
}

// testL9Closing: nor does it of one that is being closed, whose peer has finished, and
// takes nothing.
func testL9Closing(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	must(t, far.CloseWrite())
	if ev := nextOf(t, l, s); ev != Event(EOF{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	s.Write(make([]byte, 16<<20))
	noMessage(t, l)
	s.Close()
	noMessage(t, l)
	turns := l.Stats().Turns
	if ev, ok := l.Poll(20 * time.Millisecond); ok {
		t.Errorf("unexpected %v", ev)
	}
	if n := l.Stats().Turns - turns; n > 5 {
		t.Errorf("%d turns of an idle loop", n)
	}
	if s.Queued() == 0 {
		t.Error("nothing is unsent")
	}
}

// testL15 has two streams connect to a listener of their own loop.
func testL15(t *testing.T, l *Loop) {
	const text = "a text that comes in two parts"
	ln := listen(t, l, "tcp", nil)
	order := make(map[*Stream][]eventKind)
	for range 2 {
		s, err := l.Dial("tcp", ln.Addr().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		order[s] = nil
	}
	got := 0
	for got < 2 {
		ev, ok := l.Poll(10 * time.Second)
		if !ok {
			t.Fatal("nothing more comes")
		}
		s := ev.Source().(*Stream)
		if s.Listener() == ln {
			switch ev.(type) {
			case Accepted:
				s.Write([]byte(text[:10]))
				s.Write([]byte(text[10:]))
				s.CloseWrite()
			case EOF:
				s.Close()
			}
			continue
		}
		order[s] = append(order[s], ev.kind())
		if _, ok := ev.(EOF); ok {
			if p := string(s.Input().Next(100)); p != text {
				t.Errorf("got %q", p)
			}
			s.Close()
			got++
		}
	}
	for s, kinds := range order {
		n := len(kinds)
		if n < 3 || kinds[0] != kindConnected || kinds[1] != kindReadable || kinds[n-1] != kindEOF {
			t.Errorf("%s has sent %v", s.label(), kinds)
		}
	}
}

// testL21: reading from an input that is frozen gives an error, and harms nothing.
func testL21(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	send(t, far, "frozen")
	nextOf(t, l, s)
	s.Input().Freeze(true, false)
	if n, err := s.Read(make([]byte, 10)); n != 0 || err != ErrFrozen {
		t.Errorf("Read gives %d, %v", n, err)
	}
	if n, err := s.WriteTo(io.Discard); n != 0 || err != ErrFrozen {
		t.Errorf("WriteTo gives %d, %v", n, err)
	}
	if n, err := io.Copy(s, s); n != 0 || err != ErrFrozen {
		t.Errorf("io.Copy gives %d, %v", n, err)
	}
	s.Input().Freeze(true, true) // the loop reads all the same
	send(t, far, " and more")
	if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	s.Input().Freeze(false, false)
	if p := string(s.Input().Next(100)); p != "frozen and more" {
		t.Errorf("got %q", p)
	}
}

// testL23 connects by address and by name, and by a name that nobody knows.
func testL23(t *testing.T, l *Loop) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	for _, host := range []string{"127.0.0.1", "localhost"} {
		s, err := l.Dial("tcp", net.JoinHostPort(host, port), nil)
		if err != nil {
			t.Fatal(err)
		}
		if ev := nextOf(t, l, s); ev != Event(Connected{s}) {
			t.Errorf("%s: %v, %v", host, ev, s.Err())
		}
		s.Abort()
	}
	refuses := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no server to ask")
	}}
	s, err := l.Dial("tcp", "nobody.example:"+port, &DialConfig{Resolver: refuses})
	if err != nil {
		t.Fatal(err)
	}
	if ev := nextOf(t, l, s); ev != Event(Closed{s}) {
		t.Errorf("unexpected %v", ev)
	}
	var dns *net.DNSError
	if !errors.As(s.Err(), &dns) || !strings.HasPrefix(dns.Name, "nobody.example") {
		t.Errorf("Err is %v", s.Err())
	}
	noMessage(t, l)
}

// testO1: paused listeners keep no loop alive.
func testO1(t *testing.T, l *Loop) {
	a, b := listen(t, l, "tcp", nil), listen(t, l, networks[len(networks)-1], nil)
	dial(t, a)
	dial(t, b)
	n := 0
	for ev := range l.All() {
		s := ev.(Accepted).Stream
		s.Listener().Pause()
		s.Abort()
		n++
	}
	if n != 2 {
		t.Errorf("%d streams were accepted", n)
	}
}

// testO6 pauses and resumes a listener from other goroutines while it accepts
// and fails.
func testO6(t *testing.T, l *Loop) {
	ln := listen(t, l, "tcp", nil)
	accepted := make(chan bool, 1)
	serve(t, l, func(ev Event) {
		switch ev := ev.(type) {
		case Accepted:
			ev.Stream.Close()
			select {
			case accepted <- true:
			default:
			}
		case AcceptFailed:
			ev.Listener.Pause()
			ev.Listener.Resume()
		}
	})
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					ln.Resume()
					return
				default:
				}
				ln.Pause()
				ln.Err()
				ln.Resume()
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			ln.mu.Lock()
			ln.failed(l, os.NewSyscallError("accept", syscall.EMFILE))
			ln.mu.Unlock()
		}
	})
	for range 50 {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	close(stop)
	wg.Wait()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	select {
	case <-accepted:
	case <-time.After(10 * time.Second):
		t.Error("it accepts nothing any more")
	}
}

// testU10: the end comes after the output, which is sent after CloseWrite has
// returned, and Output that was never flushed is not sent.
func testU10(t *testing.T, l *Loop) {
	const total = 4 << 20
	a, b := streamPair(t, l)
	a.Write(make([]byte, total))
	a.Output().WriteString("never flushed")
	a.CloseWrite()
	if err := a.CloseWrite(); err != nil {
		t.Errorf("the second CloseWrite gives %v", err)
	}
	if err := a.Flush(); !errors.Is(err, ePIPE) {
		t.Errorf("Flush gives %v", err)
	}
	got := 0
	for ev := Event(nil); ev != Event(EOF{b}); {
		ev, _ = l.Poll(10 * time.Second)
		if ev == nil {
			t.Fatalf("nothing comes after %d bytes", got)
		}
		got += b.Input().Discard(total)
	}
	if got != total {
		t.Errorf("%d bytes have arrived, want %d", got, total)
	}
	// The other direction is still open.
	fmt.Fprint(b, "reply")
	b.Close()
	for ev := Event(nil); ev != Event(EOF{a}); {
		if ev, _ = l.Poll(10 * time.Second); ev == nil {
			t.Fatal("no EOF")
		}
	}
	if p := string(a.Input().Next(100)); p != "reply" {
		t.Errorf("got %q", p)
	}
	a.Close()
	waitReleased(t, l)
}

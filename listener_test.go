// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestListener(t *testing.T) {
	onMethods(t, Config{Priorities: 3}, map[string]func(*testing.T, *Loop){
		"RandomPorts": func(t *testing.T, l *Loop) {
			a, b := listen(t, l, "tcp", nil), listen(t, l, "tcp", nil)
			if a.Addr().String() == b.Addr().String() {
				t.Error("two listeners have one address")
			}
			for _, ln := range []*Listener{a, b} {
				dial(t, ln)
				if s := acceptOne(t, l); s.Listener() != ln {
					t.Error("accepted by the other listener")
				} else {
					s.Abort()
				}
			}
			a.Pause()
			b.Pause()
			if n := l.Stats().Sources; n != 0 {
				t.Errorf("%d live sources with both paused", n)
			}
		},
		"Inherits": func(t *testing.T, l *Loop) {
			ln := listen(t, l, "tcp", &ListenConfig{MaxInput: 4})
			ln.SetPriority(2)
			c := make(chan Event, 1)
			ln.Notify(c)
			conn := dial(t, ln)
			l.turn(10 * time.Second)
			s := (<-c).(Accepted).Stream
			if s.Priority() != 2 {
				t.Errorf("priority %d", s.Priority())
			}
			send(t, conn, "12345678")
			l.turn(10 * time.Second)
			if ev := <-c; ev != Event(Readable{s}) || s.Input().Len() != 4 || !s.InputFull() {
				t.Errorf("%v with %d bytes", ev, s.Input().Len())
			}
		},
		"Networks": func(t *testing.T, l *Loop) {
			for _, c := range []struct{ network, address string }{
				{"tcp", "127.0.0.1:0"}, {"tcp4", "127.0.0.1:0"}, {"tcp", "localhost:0"}, {"tcp6", "[::1]:0"}, {"tcp", ":0"},
			} {
				ln, err := l.Listen(c.network, c.address, nil)
				if c.network == "tcp6" && err != nil {
					t.Logf("no IPv6 here: %v", err)
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				conn := dial(t, ln)
				s := acceptOne(t, l)
				if got, want := s.RemoteAddr().String(), conn.LocalAddr().String(); got != want {
					t.Errorf("RemoteAddr is %s; want %s", got, want)
				}
				s.Abort()
				ln.Close()
				again, err := l.Listen(c.network, ln.Addr().String(), nil)
				if err != nil {
					t.Errorf("the address cannot be used again: %v", err)
				} else {
					again.Close()
				}
			}
		},
		"UnixFileIsRemoved": func(t *testing.T, l *Loop) {
			if !slices.Contains(networks, "unix") {
				t.Skip("there are no unix sockets here")
			}
			ln := listen(t, l, "unix", nil)
			path := ln.Addr().String()
			if _, err := os.Stat(path); err != nil {
				t.Error(err)
			}
			ln.Close()
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the file is still there: %v", err)
			}
		},
		"ReusePort": func(t *testing.T, l *Loop) {
			a, err := l.Listen("tcp", "127.0.0.1:0", &ListenConfig{ReusePort: true})
			if errors.Is(err, ErrUnsupported) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Listen("tcp", a.Addr().String(), &ListenConfig{ReusePort: true}); err != nil {
				t.Error(err)
			}
		},
		"Paused": func(t *testing.T, l *Loop) {
			ln := listen(t, l, "tcp", &ListenConfig{Paused: true})
			dial(t, ln)
			noMessage(t, l)
			ln.Resume()
			acceptOne(t, l)
			ln.Pause()
			dial(t, ln)
			noMessage(t, l)
			ln.Resume()
			acceptOne(t, l)
		},
		"MaxPending": func(t *testing.T, l *Loop) {
			ln := listen(t, l, "tcp", &ListenConfig{MaxPending: 3})
			for range 10 {
				dial(t, ln)
			}
			for range 5 {
				l.turn(time.Millisecond)
			}
			if n := l.Stats().Queue; n != 3 {
				t.Errorf("%d Accepted wait to be received; want 3", n)
			}
			for range 10 {
				acceptOne(t, l)
			}
			noMessage(t, l)
		},
		"MaxStreams":         testMaxStreams,
		"MaxStreamsMoved":    testMaxStreamsMoved,
		"MaxStreamsFilter":   testMaxStreamsFilter,
		"MaxStreamsNegative": testMaxStreamsNegative,
		"MarksOfZero":        testMarksOfZero,
		"PauseElsewhere":     testPauseElsewhere,
		"StreamSettings": func(t *testing.T, l *Loop) {
			g, _ := l.RateGroup(RateLimit{ReadRate: 1 << 20, ReadBurst: 1 << 20, Tick: time.Second})
			limit := &RateLimit{ReadRate: 1 << 20, ReadBurst: 1 << 20, Tick: time.Second}
			ln := listen(t, l, "tcp", &ListenConfig{ReadLow: 3, WriteLow: 100, MaxInput: 2, MaxOutput: 50,
				ReadIdle: time.Millisecond, WriteIdle: time.Hour, Lifetime: time.Hour, RateLimit: limit, RateGroup: g})
			limit.Tick = 0 // a copy was made
			c := dial(t, ln)
			s := acceptOne(t, l)
			if lim := *s.limits.Load(); lim != (limits{3, 3, 100, 101, 2, 50}) {
				t.Errorf("the marks are %+v", lim)
			}
			if x := s.extra.shares; x[ownShare].group.limit.Tick != time.Second || x[groupShare].group != g || g.members != 1 {
				t.Errorf("the limits are %v", x)
			}
			if ev := nextOf(t, l, s); ev != Event(TimedOut{s}) {
				t.Errorf("unexpected %v", ev)
			}
			if left := time.Duration(s.extra.ends - l.clock()); left <= 0 || left > time.Hour {
				t.Errorf("%v of its lifetime are left", left)
			}
			s.Abort()
			if g.members != 0 {
				t.Error("it is still a member of the group")
			}
			c.Close()
			other := dialLoop(t, l.Method())
			defer other.Close()
			for _, c := range []ListenConfig{{RateLimit: &RateLimit{ReadRate: -1}}} {
				if ln, err := other.Listen("tcp", "127.0.0.1:0", &c); err == nil {
					t.Errorf("%+v: no error", c)
					ln.Close()
				}
			}
		},
		"CloseInRange": func(t *testing.T, l *Loop) {
			ln := listen(t, l, "tcp", nil)
			c := dial(t, ln)
			dial(t, ln)
			s := acceptOne(t, l)
			ln.Close()
			s.Close()
			c.Close()
			s = acceptOne(t, l) // had been accepted before
			s.Abort()
			waitReleased(t, l)
		},
		"WrapListener": func(t *testing.T, l *Loop) {
			nl, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ln, err := l.WrapListener(nl, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := nl.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the net.Listener lives: %v", err)
			}
			dial(t, ln)
			acceptOne(t, l)
			f, err := ln.File()
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		},
		"WrapKillsConn": func(t *testing.T, l *Loop) {
			ln := listen(t, l, "tcp", nil)
			c := dial(t, ln)
			peer := acceptOne(t, l)
			s, err := l.Wrap(c, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the net.Conn lives: %v", err)
			}
			s.Write([]byte("y"))
			nextOf(t, l, peer)
			if p := string(peer.Input().Next(10)); p != "y" {
				t.Errorf("got %q", p)
			}
		},
	})
	onMethods(t, Config{ExitOnEmpty: true}, map[string]func(*testing.T, *Loop){"PausedEndsLoop": testPausedEndsLoop})
}

// streamsOf returns how many streams ln says are open.
func streamsOf(t *testing.T, l *Loop, ln *Listener) int {
	t.Helper()
	return int(ln.division.streams.Load())
}

// While there are as many streams as may be, no more are accepted; each that ends,
// in whatever way, lets one in.
func testMaxStreams(t *testing.T, l *Loop) {
	const most = 3
	ln := listen(t, l, "tcp", &ListenConfig{MaxStreams: most})
	ways := map[string]func(s *Stream, c net.Conn){
		"Abort": func(s *Stream, c net.Conn) { s.Abort() },
		"Close": func(s *Stream, c net.Conn) {
			s.Close() // still open: the peer has not finished
			noMessage(t, l)
			c.Close()
		},
		"EOF": func(s *Stream, c net.Conn) {
			c.Close()
			if ev := nextOf(t, l, s); ev != Event(EOF{s}) {
				t.Errorf("unexpected %v", ev)
			}
			s.Close()
		},
		"reset": func(s *Stream, c net.Conn) {
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
			if ev := nextOf(t, l, s); ev != Event(Closed{s}) {
				t.Errorf("unexpected %v", ev)
			}
		},
	}
	var conns []net.Conn
	for range most + len(ways) {
		conns = append(conns, dial(t, ln))
	}
	of := func(s *Stream) net.Conn {
		i := slices.IndexFunc(conns, func(c net.Conn) bool { return c.LocalAddr().String() == s.RemoteAddr().String() })
		return conns[i]
	}
	var open []*Stream
	for range most {
		open = append(open, acceptOne(t, l))
	}
	noMessage(t, l)
	if n := streamsOf(t, l, ln); n != most {
		t.Errorf("%d streams are open; want %d", n, most)
	}
	if d := ln.dump(); !strings.Contains(d, "state=full") || !strings.Contains(d, "streams=3") {
		t.Errorf("Dump says %s", d)
	}
	turns := l.Stats().Turns
	l.Poll(10 * time.Millisecond)
	if n := l.Stats().Turns - turns; n > 5 {
		t.Errorf("%d turns with connections that may not be accepted", n)
	}
	for name, end := range ways {
		end(open[0], of(open[0]))
		open = append(open[1:], acceptOne(t, l))
		if n := streamsOf(t, l, ln); n != most {
			t.Errorf("%s: %d streams are open; want %d", name, n, most)
		}
		noMessage(t, l)
	}
	ln.Close()
	for _, s := range open {
		s.Abort()
	}
	waitReleased(t, l)
}

// A stream counts in whichever loop it is, and there without delay.
func testMaxStreamsMoved(t *testing.T, l *Loop) {
	other := dialLoop(t, l.Method())
	ln := listen(t, l, "tcp", &ListenConfig{MaxStreams: 1})
	dial(t, ln)
	dial(t, ln)
	for range 2 {
		s := acceptOne(t, l)
		if err := s.MoveTo(other); err != nil {
			t.Fatal(err)
		}
		noMessage(t, l)
		s.Abort()
	}
	dial(t, ln)
	s := acceptOne(t, l)
	if err := s.MoveTo(other); err != nil {
		t.Fatal(err)
	}
	other.Close()
	dial(t, ln)
	acceptOne(t, l)
	l.Close() // with one open
}

// A stream and the filter on it are one.
func testMaxStreamsFilter(t *testing.T, l *Loop) {
	ln := listen(t, l, "tcp", &ListenConfig{MaxStreams: 2})
	for range 3 {
		dial(t, ln)
	}
	s := acceptOne(t, l)
	up := filterOn(t, s, xorFilter(1))
	acceptOne(t, l).Pause(Read)
	noMessage(t, l)
	up.Abort()
	acceptOne(t, l)
	if n := streamsOf(t, l, ln); n != 2 {
		t.Errorf("%d streams are open; want 2", n)
	}
}

func testMaxStreamsNegative(t *testing.T, l *Loop) {
	ln := listen(t, l, "tcp", &ListenConfig{MaxStreams: -1, MaxPending: -1})
	for range 3 {
		dial(t, ln)
		acceptOne(t, l)
	}
	if n := streamsOf(t, l, ln); n != 0 {
		t.Errorf("%d streams were counted", n)
	}
}

// TestRoundsLeaveNothing opens and closes many connections in every way, and leaves no
// descriptor.
func TestRoundsLeaveNothing(t *testing.T) {
	rounds := 1000
	if raceEnabled || testing.Short() {
		rounds = 200
	}
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){"EveryWay": func(t *testing.T, l *Loop) {
		ln := listen(t, l, "tcp", nil)
		l.Poll(time.Microsecond) // what a timed wait needs is there then
		before := openDescriptors()
		serve(t, l, func(ev Event) {
			switch ev := ev.(type) {
			case Readable:
				switch p := ev.Stream.Input(); p.Next(1)[0] {
				case 'c':
					ev.Stream.Close()
				case 'a':
					ev.Stream.Abort()
				case 'w':
					ev.Stream.Write([]byte("bye"))
					ev.Stream.CloseWrite()
				}
			case EOF:
				ev.Stream.Close()
			}
		})
		for i := range rounds {
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			switch i % 5 {
			case 0:
				io.WriteString(c, "c")
				io.Copy(io.Discard, c)
			case 1:
				io.WriteString(c, "a")
				io.Copy(io.Discard, c)
			case 2:
				io.WriteString(c, "w")
				io.Copy(io.Discard, c)
			case 3:
				c.(*net.TCPConn).SetLinger(0)
			}
			c.Close()
		}
		for until := time.Now().Add(10 * time.Second); openDescriptors() > before || l.Stats().Sources > 1; {
			if time.Now().After(until) {
				t.Fatalf("%d descriptors are open, were %d; %d live sources", openDescriptors(), before, l.Stats().Sources)
			}
			time.Sleep(time.Millisecond)
		}
	}})
}

// testMarksOfZero: a high mark of 0 is the one that the stream began with.
func testMarksOfZero(t *testing.T, l *Loop) {
	const limit = 1000
	dial(t, listen(t, l, "tcp", &ListenConfig{MaxInput: limit, MaxOutput: limit}))
	s := acceptOne(t, l)
	s.SetReadMarks(5, 2*limit)
	s.SetReadMarks(5, 0)
	s.SetWriteMarks(10, 2*limit)
	s.SetWriteMarks(10, 0)
	if lim := s.limits.Load(); lim.readHigh != limit || lim.writeHigh != limit {
		t.Errorf("the marks are %+v", *lim)
	}
	s.Pause(Write)
	s.Write(make([]byte, limit))
	if _, err := s.Write([]byte{0}); err != ErrFull {
		t.Errorf("Write gives %v", err)
	}
}

// TestAcceptFailedTakenBack: an AcceptFailed that is not true any more is not
// received.
func TestAcceptFailedTakenBack(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){"BeforeReceipt": func(t *testing.T, l *Loop) {
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

// testPausedEndsLoop: paused listeners keep no loop alive.
func testPausedEndsLoop(t *testing.T, l *Loop) {
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

// testPauseElsewhere pauses and resumes a listener from other goroutines while it accepts
// and fails.
func testPauseElsewhere(t *testing.T, l *Loop) {
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

// TestLocalAddrOfAnyAddr: the address of an accepted stream is the same after its end, whoever
// has ended it, and whether it was asked for before or not.
func TestLocalAddrOfAnyAddr(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "0.0.0.0:0", ":0"} {
		l := socketLoop(t)
		ln, err := l.Listen("tcp", address, nil)
		must(t, err)
		_, port, _ := net.SplitHostPort(ln.Addr().String())
		for _, asked := range []bool{false, true} {
			for name, end := range map[string]func(*Stream, net.Conn){
				"Close":  func(s *Stream, c net.Conn) { c.Close(); s.Close() },
				"Abort":  func(s *Stream, c net.Conn) { s.Abort() },
				"Closed": func(s *Stream, c net.Conn) { c.(*net.TCPConn).SetLinger(0); c.Close() },
			} {
				c, err := net.Dial("tcp", "127.0.0.1:"+port)
				must(t, err)
				defer c.Close()
				s := acceptOne(t, l)
				want := c.RemoteAddr().String()
				if asked {
					if got := s.LocalAddr().String(); got != want {
						t.Errorf("%s: the address is %s; want %s", address, got, want)
					}
				}
				end(s, c)
				for !letGo(s) {
					l.Poll(time.Millisecond)
				}
				if got := s.LocalAddr().String(); got != want {
					t.Errorf("%s, %s, asked %v: then the address is %s; want %s", address, name, asked, got, want)
				}
			}
		}
	}
}

// letGo reports whether s has let its descriptor go.
func letGo(s *Stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone()
}

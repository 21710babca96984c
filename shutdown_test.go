// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build linux || darwin || freebsd || netbsd

// Only these systems tell what a peer has acknowledged. On the others Shutdown waits up to
// Config.Linger for peers that keep their end open.

package evchan

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The loops of most of these tests have a Linger of an hour. So a Shutdown that waits for
// it does not end in time.

// mustShutdown calls Shutdown, which must lose nothing, and wait neither for Linger nor for
// the end of its context.
func mustShutdown(t *testing.T, l *Loop) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testPatience)
	defer cancel()
	if err := l.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown gives %v", err)
	}
	if ctx.Err() != nil {
		t.Error("Shutdown waits")
		l.Dump(t.Output())
	}
	select {
	case <-l.Done():
	default:
		t.Error("the loop is open after Shutdown")
	}
}

// wantDone waits until s is released.
func wantDone(t *testing.T, s *Stream) {
	t.Helper()
	wantClosed(t, s, s.Done())
}

// wantClosed waits until done, which s.Done has returned, is closed.
func wantClosed(t *testing.T, s *Stream, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(testPatience):
		t.Errorf("Done of %v is not closed", s)
		s.Loop().Dump(t.Output())
	}
}

// shutdownForms are the ways to call Shutdown, each with a loop that runs as it must.
var shutdownForms = map[string]func(l *Loop, shutdown func()){
	"NothingRuns": func(l *Loop, shutdown func()) { shutdown() },
	"All":         func(l *Loop, shutdown func()) { shutdownElsewhere(l, ranges["All"], shutdown) },
	"Events":      func(l *Loop, shutdown func()) { shutdownElsewhere(l, ranges["Events"], shutdown) },
	"Batches":     func(l *Loop, shutdown func()) { shutdownElsewhere(l, ranges["Batches"], shutdown) },
	"AllBody":     func(l *Loop, shutdown func()) { shutdownInBody(l, ranges["All"], shutdown) },
	"EventsBody":  func(l *Loop, shutdown func()) { shutdownInBody(l, ranges["Events"], shutdown) },
	"BatchesBody": func(l *Loop, shutdown func()) { shutdownInBody(l, ranges["Batches"], shutdown) },
	"Unreceived":  func(l *Loop, shutdown func()) { l.Events(); l.Trigger().Fire(); shutdown() },
}

// shutdownElsewhere calls shutdown while another goroutine receives.
func shutdownElsewhere(l *Loop, receive func(*Loop, func(Event)), shutdown func()) {
	var wg sync.WaitGroup
	wg.Go(func() { receive(l, func(Event) {}) })
	shutdown()
	wg.Wait()
}

// shutdownInBody calls shutdown in the body of a range. If no message comes, it is called
// after the range.
func shutdownInBody(l *Loop, receive func(*Loop, func(Event)), shutdown func()) {
	tr := l.Trigger()
	tr.Fire()
	receive(l, func(ev Event) {
		if ev == Event(Fired{tr}) {
			shutdown()
		}
	})
}

// TestShutdownForms sends much to a slow peer, in each form.
func TestShutdownForms(t *testing.T) {
	const total = 4 << 20
	tests := make(map[string]func(*testing.T, *Loop))
	for name, form := range shutdownForms {
		tests[name] = func(t *testing.T, l *Loop) {
			s, far := connectedPair(t, l)
			_, idle := connectedPair(t, l)
			if _, err := s.Write(make([]byte, total)); err != nil {
				t.Fatal(err)
			}
			got := drain(far)
			form(l, func() { mustShutdown(t, l) })
			if n := <-got; n != total || s.Lost() != 0 || s.Err() != nil {
				t.Errorf("the peer has %d bytes; %d are lost: %v", n, s.Lost(), s.Err())
			}
			if _, err := idle.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the idle peer gets %v", err)
			}
			wantDone(t, s)
		}
	}
	onMethods(t, Config{Linger: time.Hour}, tests)
}

// TestShutdownIdle: peers that have all that was written, and merely keep their end open,
// do not delay Shutdown.
func TestShutdownIdle(t *testing.T) {
	states := map[string]func(*testing.T, *Loop, *Stream, *net.TCPConn){
		"Fresh": func(t *testing.T, l *Loop, s *Stream, far *net.TCPConn) {},
		"HasReply": func(t *testing.T, l *Loop, s *Stream, far *net.TCPConn) {
			s.Write([]byte("a reply that the peer has not read"))
		},
		"UnreadInput": func(t *testing.T, l *Loop, s *Stream, far *net.TCPConn) {
			send(t, far, "x")
			if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
				t.Errorf("unexpected %v", ev)
			}
		},
		"Paused":     func(t *testing.T, l *Loop, s *Stream, far *net.TCPConn) { s.Pause(Read | Write) },
		"Closed":     func(t *testing.T, l *Loop, s *Stream, far *net.TCPConn) { s.Close(); noMessage(t, l) },
		"HalfClosed": func(t *testing.T, l *Loop, s *Stream, far *net.TCPConn) { must(t, s.CloseWrite()) },
		"PeerHalfClosed": func(t *testing.T, l *Loop, s *Stream, far *net.TCPConn) {
			must(t, far.CloseWrite())
		},
		"Lifetime": func(t *testing.T, l *Loop, s *Stream, far *net.TCPConn) { s.SetLifetime(time.Hour) },
		"Filter":   func(t *testing.T, l *Loop, s *Stream, far *net.TCPConn) { filterOn(t, s, xorFilter(1)) },
		"Filters": func(t *testing.T, l *Loop, s *Stream, far *net.TCPConn) {
			up := filterOn(t, filterOn(t, s, xorFilter(1)), xorFilter(2))
			up.Write([]byte("x"))
		},
		"FilterClosed": func(t *testing.T, l *Loop, s *Stream, far *net.TCPConn) {
			filterOn(t, s, xorFilter(1)).Close()
			noMessage(t, l)
		},
		"Sending": func(t *testing.T, l *Loop, s *Stream, far *net.TCPConn) {
			go func() {
				for p := make([]byte, 64<<10); ; {
					if _, err := far.Write(p); err != nil {
						return
					}
				}
			}()
		},
	}
	tests := make(map[string]func(*testing.T, *Loop))
	for name, state := range states {
		tests[name] = func(t *testing.T, l *Loop) {
			s, far := connectedPair(t, l)
			state(t, l, s, far)
			mustShutdown(t, l)
			wantDone(t, s)
			if n, turns := s.Lost(), l.Stats().Turns; n != 0 || name != "Sending" && turns > 100 {
				t.Errorf("%d bytes are lost, after %d turns", n, turns)
			}
		}
	}
	tests["Pipe"] = func(t *testing.T, l *Loop) {
		a, b := l.Pipe(nil, nil)
		c := netConn(t, l, b)
		defer c.Close()
		mustShutdown(t, l)
		wantDone(t, a)
	}
	tests["Unix"] = func(t *testing.T, l *Loop) {
		a, b := streamPair(t, l)
		must(t, b.MoveTo(dialLoop(t, "")))
		mustShutdown(t, l)
		wantDone(t, a)
		b.Abort()
	}
	tests["Many"] = func(t *testing.T, l *Loop) {
		for range 50 {
			s, _ := connectedPair(t, l)
			s.Write([]byte("hello"))
		}
		mustShutdown(t, l)
	}
	tests["Nothing"] = func(t *testing.T, l *Loop) {
		l.After(time.Hour)
		listen(t, l, "tcp", nil)
		mustShutdown(t, l)
		if err := l.Shutdown(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the second Shutdown gives %v", err)
		}
	}
	onMethods(t, Config{Linger: time.Hour}, tests)
}

// TestShutdownBusy: clients dial in all the time, from before Shutdown to its end.
func TestShutdownBusy(t *testing.T) {
	rounds := 50
	if testing.Short() {
		rounds = 10
	}
	tests := make(map[string]func(*testing.T, *Loop))
	for _, form := range []string{"All", "Events", "Batches"} {
		tests[form] = func(t *testing.T, l *Loop) {
			conf := l.conf
			for i := range rounds {
				l, err := New(&conf)
				must(t, err)
				testShutdownBusy(t, l, ranges[form], i%2 == 0)
				l.Close()
				if t.Failed() {
					t.Fatalf("in round %d", i)
				}
			}
		}
	}
	onMethods(t, Config{Linger: time.Hour}, tests)
}

// testShutdownBusy calls Shutdown of a server whose clients dial in, in the body of its
// range or elsewhere.
func testShutdownBusy(t *testing.T, l *Loop, receive func(*Loop, func(Event)), body bool) {
	ln := listen(t, l, "tcp", nil)
	addr := ln.Addr().String()
	var clients sync.WaitGroup
	for range 3 {
		clients.Go(func() {
			for p := make([]byte, 5); ; {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					return
				}
				_, err = c.Write([]byte("hello"))
				if err == nil {
					io.ReadFull(c, p)
				}
				c.Close()
			}
		})
	}
	enough := make(chan struct{})
	var server sync.WaitGroup
	server.Go(func() {
		n := 0
		receive(l, func(ev Event) {
			if n++; n == 20 {
				close(enough)
				if body {
					mustShutdown(t, l)
				}
			}
			echo(ev)
		})
	})
	<-enough
	if !body {
		mustShutdown(t, l)
	}
	server.Wait()
	clients.Wait()
	if n := l.Stats().Sources; n != 0 {
		t.Errorf("%d sources are live", n)
	}
}

// TestShutdownDials: a Dial that is in the midst, at its look-up or behind it, ends with
// Shutdown.
func TestShutdownDials(t *testing.T) {
	gaveUp := make(chan struct{}, 1)
	tests := make(map[string]func(*testing.T, *Loop))
	for name, form := range shutdownForms {
		tests["Connects/"+name] = func(t *testing.T, l *Loop) {
			s, _ := dialEcho(t, l)
			form(l, func() { mustShutdown(t, l) })
			wantDone(t, s)
		}
		tests["LooksUp/"+name] = func(t *testing.T, l *Loop) {
			s, err := l.Dial("tcp", "name.invalid:1", &DialConfig{Resolver: stuckResolver(gaveUp), Timeout: time.Hour})
			must(t, err)
			up := filterOn(t, s, xorFilter(1))
			form(l, func() { mustShutdown(t, l) })
			wantDone(t, up)
		}
	}
	onMethods(t, Config{Linger: time.Hour}, tests)
}

// TestShutdownMeanwhile: streams that are made while Shutdown waits are closed as well, and
// nothing is accepted.
func TestShutdownMeanwhile(t *testing.T) {
	tests := make(map[string]func(*testing.T, *Loop))
	for name, form := range shutdownForms {
		tests[name] = func(t *testing.T, l *Loop) {
			const total = 16 << 20
			slow, far := connectedPair(t, l)
			slow.Write(make([]byte, total))
			if slow.Queued() == 0 {
				t.Skip("the system has taken all of it at once")
			}
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			defer ln.Close()
			var others sync.WaitGroup
			others.Go(func() {
				for !l.draining.Load() {
					runtime.Gosched()
				}
				if _, err := l.Listen("tcp", "127.0.0.1:0", nil); err != ErrClosed {
					t.Errorf("Listen gives %v", err)
				}
				dialled, err := l.Dial("tcp", ln.Addr().String(), nil)
				if err != nil {
					t.Error(err)
					return
				}
				near, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				wrapped, err := l.Wrap(near, nil)
				if err != nil {
					t.Error(err)
					return
				}
				a, b := l.Pipe(nil, nil)
				for _, s := range []*Stream{dialled, wrapped, a, b} {
					wantDone(t, s)
				}
				if n := <-drain(far); n != total {
					t.Errorf("the peer has %d bytes", n)
				}
			})
			form(l, func() { mustShutdown(t, l) })
			others.Wait()
		}
	}
	onMethods(t, Config{Linger: time.Hour}, tests)
}

// TestShutdownContext: a peer that never reads, and a context that ends.
func TestShutdownContext(t *testing.T) {
	tests := make(map[string]func(*testing.T, *Loop))
	for name, form := range shutdownForms {
		tests[name] = func(t *testing.T, l *Loop) {
			s, _ := connectedPair(t, l)
			s.Write(make([]byte, 16<<20))
			queued := s.Queued()
			if queued == 0 {
				t.Skip("the system has taken all of it at once")
			}
			form(l, func() {
				ctx, cancel := context.WithCancel(t.Context())
				go func() {
					for !l.draining.Load() {
						runtime.Gosched()
					}
					cancel()
				}()
				if err := l.Shutdown(ctx); err != context.Canceled {
					t.Errorf("Shutdown gives %v", err)
				}
			})
			wantDone(t, s)
			if n := s.Lost(); n == 0 || n > queued || s.Err() == nil {
				t.Errorf("%d bytes are lost, of %d: %v", n, queued, s.Err())
			}
		}
	}
	onMethods(t, Config{Linger: time.Hour}, tests)
}

// TestShutdownLoses: Shutdown says that output is lost, if a peer takes nothing for Linger,
// or is gone.
func TestShutdownLoses(t *testing.T) {
	tests := make(map[string]func(*testing.T, *Loop))
	for name, meanwhile := range map[string]func(*Stream, *net.TCPConn){
		"Linger": func(s *Stream, far *net.TCPConn) {},
		"Reset": func(s *Stream, far *net.TCPConn) {
			far.SetLinger(0)
			far.Close()
		},
		"Abort": func(s *Stream, far *net.TCPConn) { s.Abort() },
	} {
		tests[name] = func(t *testing.T, l *Loop) {
			s, far := connectedPair(t, l)
			s.Write(make([]byte, 16<<20))
			if s.Queued() == 0 {
				t.Skip("the system has taken all of it at once")
			}
			go func() {
				for !l.draining.Load() {
					runtime.Gosched()
				}
				meanwhile(s, far)
			}()
			err := l.Shutdown(t.Context())
			if err == nil || !strings.Contains(err.Error(), "lost") || s.Lost() == 0 {
				t.Errorf("Shutdown gives %v; %d bytes are lost", err, s.Lost())
			}
		}
	}
	onMethods(t, Config{Linger: 20 * time.Millisecond}, tests)
}

// TestShutdownFromRelease calls Shutdown in a release function, which the loop's turn or a
// method calls.
func TestShutdownFromRelease(t *testing.T) {
	const total = 8 << 20
	tests := make(map[string]func(*testing.T, *Loop))
	for name, receive := range ranges {
		for what, on := range map[string]func(*testing.T, *Stream) *Stream{
			"Stream": func(_ *testing.T, s *Stream) *Stream { return s },
			"Filter": func(t *testing.T, s *Stream) *Stream { return filterOn(t, s, new(plainFilter)) },
			"Encode": func(t *testing.T, s *Stream) *Stream { return filterOn(t, s, xorFilter(1)) }, // which consumes
		} {
			tests[name+"/"+what] = func(t *testing.T, l *Loop) {
				s, far := connectedPair(t, l)
				up := on(t, s)
				_, idle := connectedPair(t, l)
				var calls atomic.Int32
				up.Output().Append(make([]byte, total), func() {
					calls.Add(1)
					mustShutdown(t, l)
				})
				must(t, up.Flush())
				got := drain(far)
				receive(l, func(Event) {})
				if n := <-got; n != total || calls.Load() != 1 {
					t.Errorf("the peer has %d bytes, after %d calls", n, calls.Load())
				}
				wantDone(t, up)
				io.Copy(io.Discard, idle) // returns
			}
		}
		tests[name+"/Decode"] = func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			up := filterOn(t, b, xorFilter(1))
			calls := 0
			a.Output().Append(make([]byte, 10), func() {
				calls++
				mustShutdown(t, l)
			})
			must(t, a.Flush())
			receive(l, func(Event) {})
			if calls != 1 {
				t.Errorf("%d calls", calls)
			}
			wantDone(t, up)
		}
		tests[name+"/Method"] = func(t *testing.T, l *Loop) {
			s, far := connectedPair(t, l)
			tr := l.Trigger()
			tr.Fire()
			calls := 0
			receive(l, func(ev Event) {
				if ev == Event(Fired{tr}) {
					s.Output().Append(make([]byte, 10), func() {
						calls++
						mustShutdown(t, l)
					})
					s.Flush()
				}
			})
			if n := <-drain(far); n != 10 || calls != 1 {
				t.Errorf("the peer has %d bytes, after %d calls", n, calls)
			}
		}
	}
	onMethods(t, Config{Linger: time.Hour}, tests)
}

// An ending is a way in which a stream ends.
type ending struct {
	end  func(*testing.T, *Loop, *Stream, *net.TCPConn) // the stream has output that the peer does not read
	lost bool                                           // output is lost
	err  error                                          // what Err is; nil: see lost
}

var endings = map[string]ending{
	"CloseAndRead": {end: func(t *testing.T, l *Loop, s *Stream, far *net.TCPConn) {
		s.Close()
		drain(far)
	}},
	"Close": {lost: true, err: os.ErrDeadlineExceeded, end: func(t *testing.T, l *Loop, s *Stream, far *net.TCPConn) {
		s.Close()
	}},
	"Abort": {lost: true, end: func(t *testing.T, l *Loop, s *Stream, far *net.TCPConn) {
		s.Abort()
	}},
	"CloseThenAbort": {lost: true, end: func(t *testing.T, l *Loop, s *Stream, far *net.TCPConn) {
		s.Close()
		s.Abort()
	}},
	"Reset": {lost: true, err: eCONNRESET, end: func(t *testing.T, l *Loop, s *Stream, far *net.TCPConn) {
		far.SetLinger(0)
		far.Close()
	}},
	"Lifetime": {lost: true, err: os.ErrDeadlineExceeded, end: func(t *testing.T, l *Loop, s *Stream, far *net.TCPConn) {
		s.SetLifetime(time.Millisecond)
	}},
	"LoopClosed": {lost: true, end: func(t *testing.T, l *Loop, s *Stream, far *net.TCPConn) {
		l.Close()
	}},
}

// TestDoneAndLost: for each way of ending, Done is closed, and Lost and Err say whether
// output was lost.
func TestDoneAndLost(t *testing.T) {
	tests := make(map[string]func(*testing.T, *Loop))
	for name, e := range endings {
		for what, on := range map[string]func(*testing.T, *Stream) *Stream{
			"Stream":  func(_ *testing.T, s *Stream) *Stream { return s },
			"Filter":  func(t *testing.T, s *Stream) *Stream { return filterOn(t, s, new(plainFilter)) },
			"Filters": func(t *testing.T, s *Stream) *Stream { return filterOn(t, filterOn(t, s, xorFilter(1)), xorFilter(2)) },
		} {
			tests[name+"/"+what] = func(t *testing.T, l *Loop) {
				s, far := connectedPair(t, l)
				up := on(t, s)
				if _, err := up.Write(make([]byte, 16<<20)); err != nil {
					t.Fatal(err)
				}
				l.Poll(0)
				queued := up.Queued()
				if queued == 0 {
					t.Fatal("all was sent at once")
				}
				early, under := up.Done(), s.Done()
				select {
				case <-early:
					t.Error("Done is closed while the stream is open")
				default:
				}
				if n := up.Lost(); n != 0 {
					t.Errorf("%d bytes are lost while the stream is open", n)
				}
				serve(t, l, func(Event) {})
				e.end(t, l, up, far)
				wantClosed(t, up, early)
				wantClosed(t, s, under)
				wantDone(t, up)
				lost, err := up.Lost(), up.Err()
				if e.lost != (lost > 0) || lost > queued {
					t.Errorf("%d bytes are lost, of %d", lost, queued)
				}
				if e.lost != (err != nil) || e.err != nil && !errors.Is(err, e.err) {
					t.Errorf("Err is %v", err)
				}
			}
		}
	}
	onMethods(t, Config{Linger: 50 * time.Millisecond, MaxOutput: 32 << 20}, tests)
}

// TestDoneNetConn: NetConn ends a stream, and those under it, with nothing lost.
func TestDoneNetConn(t *testing.T) {
	tests := make(map[string]func(*testing.T, *Loop))
	for what, on := range map[string]func(*testing.T, *Stream) *Stream{
		"Stream":  func(_ *testing.T, s *Stream) *Stream { return s },
		"Filter":  func(t *testing.T, s *Stream) *Stream { return filterOn(t, s, new(plainFilter)) },
		"Filters": func(t *testing.T, s *Stream) *Stream { return filterOn(t, filterOn(t, s, xorFilter(1)), xorFilter(2)) },
	} {
		tests[what] = func(t *testing.T, l *Loop) {
			s, _ := connectedPair(t, l)
			up := on(t, s)
			early, under := up.Done(), s.Done()
			c := netConn(t, l, up)
			defer c.Close()
			wantClosed(t, up, early)
			wantClosed(t, s, under)
			wantDone(t, up)
			if n, err := up.Lost(), up.Err(); n != 0 || err != nil {
				t.Errorf("%d bytes are lost: %v", n, err)
			}
		}
	}
	tests["Pipe"] = func(t *testing.T, l *Loop) {
		a, b := l.Pipe(nil, nil)
		early := a.Done()
		c := netConn(t, l, a)
		defer c.Close()
		wantClosed(t, a, early)
		b.Abort()
		wantDone(t, b)
	}
	onMethods(t, Config{}, tests)
}

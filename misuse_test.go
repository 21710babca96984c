// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evchan

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"iter"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestBadInput checks that whatever is wrong with an argument gives an error
// that says so, and leaves nothing behind.
func TestBadInput(t *testing.T) {
	l := dialLoop(t, Methods()[0])
	dir, err := os.Open(tempDir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	a, _ := socketPair(t)
	w, err := l.Watch(uintptr(a), Read)
	if err != nil {
		t.Fatal(err)
	}
	closedFD, err := dupFD(a)
	if err != nil {
		t.Fatal(err)
	}
	closeFD(closedFD)
	_, closedErr := l.Watch(uintptr(closedFD), Read) // before the number is used again
	watch := func(fd uintptr, i What) error {
		v, err := l.Watch(fd, i)
		if err == nil {
			err = v.Arm(0)
		}
		return err
	}
	listen := func(network, address string, c *ListenConfig) error {
		_, err := l.Listen(network, address, c)
		return err
	}
	newLoop := func(c Config) error {
		c.IgnoreEnv = true
		k, err := New(&c)
		if err == nil {
			k.Close()
		}
		return err
	}
	wrap := func(c net.Conn) error { _, err := l.Wrap(c, nil); return err }

	for _, c := range []struct {
		name string
		err  error
		is   error  // if not nil, what the error must be
		says string // what it must mention
	}{
		{"negative descriptor", watch(^uintptr(0), Read), syscall.EBADF, "-1"},
		{"closed descriptor", closedErr, syscall.EBADF, itoa(int(closedFD))},
		{"absurd descriptor", watch(1<<30, Read), syscall.EBADF, "1073741824"},
		{"directory", watch(dir.Fd(), Read), errNotWatched, "descriptor"},
		{"no interest", watch(uintptr(a), 0), nil, "Read, Write"},
		{"only modes", watch(uintptr(a), Edge|Persist), nil, "Read, Write"},
		{"Timeout as interest", watch(uintptr(a), Read|Timeout), nil, "Timeout"},
		{"negative time limit", w.Arm(-1), nil, "negative"},
		{"negative SetTimeout", w.SetTimeout(-1), nil, "negative"},
		{"SetTimeout unarmed", w.SetTimeout(1), nil, "not armed"},
		{"priority below", w.SetPriority(-1), nil, "priority -1"},
		{"priority above", w.SetPriority(1), nil, "Priorities"},
		{"unknown method", newLoop(Config{Method: "quantum"}), ErrUnsupported, "quantum"},
		{"avoided all", newLoop(Config{Avoid: Methods()}), ErrUnsupported, "avoided"},
		{"impossible features", newLoop(Config{Require: FeatureEdge | FeatureAnyFD}), ErrUnsupported, "FeatureAnyFD"},
		{"negative priorities", newLoop(Config{Priorities: -1}), nil, "Priorities"},
		{"too many priorities", newLoop(Config{Priorities: 257}), nil, "256"},
		{"port in use", listen("tcp", taken.Addr().String(), nil), syscall.EADDRINUSE, taken.Addr().String()},
		{"bad network", listen("udp", "127.0.0.1:0", nil), net.UnknownNetworkError("udp"), "udp"},
		{"bad port", listen("tcp", "127.0.0.1:99999", nil), nil, "99999"},
		{"no port", listen("tcp", "127.0.0.1", nil), nil, "missing port"},
		{"UnixReusePort", listen("unix", "/nowhere", &ListenConfig{ReusePort: true}), ErrUnsupported, "ReusePort"},
		{"LongUnixPath", listen("unix", strings.Repeat("x", 200), nil), nil, "unix"},
		{"negative backlog", listen("tcp", "127.0.0.1:0", &ListenConfig{Backlog: -1}), nil, "Backlog"},
		{"Wrap nil", wrap(nil), nil, "nil"},
		{"Wrap tls", wrap(tls.Client(nil, nil)), ErrUnsupported, "tls.Conn"},
		{"Wrap udp", wrap(new(net.UDPConn)), ErrUnsupported, "UDPConn"},
		{"WatchConn nil", func() error { _, err := l.WatchConn(nil, Read); return err }(), nil, "nil"},
		{"WrapListener nil", func() error { _, err := l.WrapListener(nil, nil); return err }(), nil, "nil"},
	} {
		switch {
		case c.err == nil:
			t.Errorf("%s: no error", c.name)
		case c.is != nil && !errors.Is(c.err, c.is):
			t.Errorf("%s: %v is not %v", c.name, c.err, c.is)
		case !strings.Contains(c.err.Error(), c.says):
			t.Errorf("%s: %q does not mention %q", c.name, c.err, c.says)
		}
	}
	if n := l.Stats().Sources; n != 0 {
		t.Errorf("%d live sources are left", n)
	}
}

// TestUseAfterClose uses each kind of source after it was closed, in a loop that
// goes on.
func TestUseAfterClose(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){"AllSources": func(t *testing.T, l *Loop) {
		a, _ := socketPair(t)
		w := armed(t, l, a, Write|Persist, time.Hour)
		tr, tm := l.Trigger(), l.Every(time.Millisecond)
		sig, _ := l.Signal(userSignal)
		s, far := connectedPair(t, l)
		ln, err := l.Listen("tcp", "127.0.0.1:0", nil)
		if err != nil {
			t.Fatal(err)
		}
		send(t, far, "unread")
		far.CloseWrite()
		for range 2 {
			for _, src := range []Source{w, tr, tm, sig, s, ln} {
				if err := src.Close(); err != nil {
					t.Errorf("Close gives %v", err)
				}
			}
		}
		tr.Fire()
		tm.Reset(0)
		w.Activate(Read)
		ln.Resume()
		s.Resume(Read | Write)
		s.SetReadMarks(1, 2)
		s.SetWriteMarks(1, 2)
		s.SetIdleTimeouts(1, 1)
		if err := w.Arm(0); err != ErrClosed {
			t.Errorf("Arm gives %v", err)
		}
		if err := w.SetTimeout(1); err != ErrClosed {
			t.Errorf("SetTimeout gives %v", err)
		}
		if _, err := s.Write([]byte("x")); err != ErrClosed {
			t.Errorf("Write gives %v", err)
		}
		if _, err := s.Read(make([]byte, 1)); err != ErrClosed {
			t.Errorf("Read gives %v", err)
		}
		s.Output().WriteString("x")
		if err := s.Flush(); err != ErrClosed {
			t.Errorf("Flush gives %v", err)
		}
		if n, err := s.WriteTo(s); n != 0 || err != nil {
			t.Errorf("WriteTo gives %d, %v", n, err)
		}
		if _, err := ln.File(); err != ErrClosed {
			t.Errorf("File gives %v", err)
		}
		if tr.Take()+tm.Take()+sig.Take() != 0 || w.Take() != 0 || w.Pending() != 0 {
			t.Error("a closed source has something to take")
		}
		far.Close()
		for until := time.Now().Add(10 * time.Second); l.Stats().Sources > 0 && time.Now().Before(until); {
			if ev, ok := l.Poll(time.Millisecond); ok {
				t.Errorf("unexpected %v", ev)
			}
		}
		var dump bytes.Buffer
		if err := l.Dump(&dump); err != nil || dump.Len() > 0 {
			t.Errorf("still there:\n%s%v", dump.String(), err)
		}
	}})
}

// TestNilArguments checks that a nil, typed or not, gives an error that says so.
func TestNilArguments(t *testing.T) {
	l := dialLoop(t, "")
	s, _ := l.Pipe(nil, nil)
	for name, f := range map[string]func() error{
		"Wrap TCPConn":       func() error { _, err := l.Wrap((*net.TCPConn)(nil), nil); return err },
		"Wrap UnixConn":      func() error { _, err := l.Wrap((*net.UnixConn)(nil), nil); return err },
		"WrapListener TCP":   func() error { _, err := l.WrapListener((*net.TCPListener)(nil), nil); return err },
		"WrapListener Unix":  func() error { _, err := l.WrapListener((*net.UnixListener)(nil), nil); return err },
		"WrapFile":           func() error { _, err := l.WrapFile(nil, nil); return err },
		"WatchConn nil File": func() error { _, err := l.WatchConn((*os.File)(nil), Read); return err },
		"Wrap zero TCPConn":  func() error { _, err := l.Wrap(new(net.TCPConn), nil); return err },
		"Wrap zero UnixConn": func() error { _, err := l.Wrap(new(net.UnixConn), nil); return err },
		"Filter":             func() error { _, err := s.Filter(nil, nil); return err },
		"MoveTo":             func() error { return s.MoveTo(nil) },
	} {
		if f() == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := New(nil); err != nil {
		t.Error(err)
	}
}

// TestZeroBatch: a zero Batch is empty, as a receive from a closed channel gives
// one.
func TestZeroBatch(t *testing.T) {
	for ev := range (Batch{}).All() {
		t.Errorf("a zero Batch has %v", ev)
	}
	l := dialLoop(t, "")
	c := l.Batches()
	l.Close()
	for range c {
	}
	for ev := range (<-c).All() {
		t.Errorf("a closed channel has given %v", ev)
	}
}

// TestZeroValues calls each method of zero values of what must be made by a
// constructor, with zero arguments, and then Close, as a deferred call would. They may
// panic, but not wait for ever.
func TestZeroValues(t *testing.T) {
	for _, zero := range []func() any{
		func() any { return new(Loop) },
		func() any { return new(Stream) },
		func() any { return new(Listener) },
		func() any { return new(PacketConn) },
		func() any { return new(Watch) },
		func() any { return new(Timer) },
		func() any { return new(SignalWatch) },
		func() any { return new(Trigger) },
		func() any { return new(RateGroup) },
	} {
		typ := reflect.TypeOf(zero())
		for i := range typ.NumMethod() {
			v := reflect.ValueOf(zero())
			m := typ.Method(i)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				callZero(t, v, m.Name)
				callZero(t, v, "Close")
			}()
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				t.Errorf("%v.%s of the zero value, or Close after it, waits for ever", typ, m.Name)
			}
		}
	}
}

// callZero calls a method of v with zero arguments, if it has it, and ranges over what
// that returns.
func callZero(t *testing.T, v reflect.Value, name string) {
	f := v.MethodByName(name)
	if !f.IsValid() {
		return
	}
	defer func() { recover() }()
	var args []reflect.Value
	for i := range f.Type().NumIn() {
		args = append(args, reflect.Zero(f.Type().In(i)))
	}
	for _, r := range f.Call(args) {
		switch r := r.Interface().(type) {
		case iter.Seq[Event]:
			for range r {
			}
		case <-chan Event:
			<-r
		case <-chan Batch:
			<-r
		case *os.File:
			if r != nil {
				r.Close()
				t.Errorf("%v.%s of the zero value gives a file", v.Type(), name)
			}
		}
	}
}

// TestZeroBuffer: a zero Buffer works.
func TestZeroBuffer(t *testing.T) {
	var a, b Buffer
	if n := a.Len() + len(a.Next(1)) + a.Discard(1); n != 0 {
		t.Errorf("a zero Buffer has %d bytes", n)
	}
	if _, err := a.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("Read of a zero Buffer gives %v", err)
	}
	a.WriteString("ab")
	if err := b.AppendBuffer(&a); err != nil || a.Len() != 0 || string(b.Next(2)) != "ab" {
		t.Errorf("AppendBuffer to a zero Buffer gives %v", err)
	}
}

// TestRateLimitAfterEnd: SetRateLimit says that the stream is over, whatever the
// limit.
func TestRateLimitAfterEnd(t *testing.T) {
	l := dialLoop(t, "")
	s, _ := l.Pipe(nil, nil)
	if err := s.SetRateLimit(nil); err != nil {
		t.Error(err)
	}
	s.Abort()
	if err := s.SetRateLimit(nil); err != ErrClosed {
		t.Errorf("after the end SetRateLimit(nil) gives %v", err)
	}
	if err := s.SetRateLimit(&RateLimit{ReadRate: 1000, ReadBurst: 1000, Tick: time.Second}); err != ErrClosed {
		t.Errorf("after the end SetRateLimit gives %v", err)
	}
}

// TestLeaveRange ends the range over All in ways in which no range should end, and
// checks that the loop is as usable as before, and can be closed.
func TestLeaveRange(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Goexit": func(t *testing.T, l *Loop) {
			l.Trigger().Fire()
			tr := l.Trigger()
			tr.Fire()
			done := make(chan struct{})
			go func() {
				defer close(done)
				for range l.All() {
					runtime.Goexit()
				}
			}()
			<-done
			if ev, ok := l.Poll(0); !ok || ev != (Fired{tr}) {
				t.Errorf("the loop goes on with %v", ev)
			}
		},
		"Close": func(t *testing.T, l *Loop) {
			l.Trigger().Fire()
			l.Trigger().Fire()
			n := 0
			for range l.All() {
				n++
				for range 2 {
					if err := l.Close(); err != nil {
						t.Errorf("Close gives %v", err)
					}
				}
			}
			if n != 1 || l.Err() != nil {
				t.Errorf("%d messages, then %v", n, l.Err())
			}
			for ev := range l.All() {
				t.Errorf("a closed loop sends %v", ev)
			}
		},
	})
}

// TestPanicOverBatch panics over a batch: what is left comes with the next one.
func TestPanicOverBatch(t *testing.T) {
	l := dialLoop(t, "")
	trs := []*Trigger{l.Trigger(), l.Trigger()}
	for _, tr := range trs {
		tr.Fire()
	}
	n := 0
	for b := range l.Batches() {
		func() {
			defer func() { recover() }()
			for range b.All() {
				if n++; n == len(trs) {
					l.Close()
				}
				panic("mine")
			}
		}()
	}
	if n != len(trs) {
		t.Errorf("%d messages were received; want %d", n, len(trs))
	}
}

// TestWriteDuringClose writes from many goroutines while the stream is closed: each
// Write takes all, or says that it is over.
func TestWriteDuringClose(t *testing.T) {
	l := dialLoop(t, "")
	s, far := l.Pipe(nil, nil)
	p := make([]byte, 100)
	var wg sync.WaitGroup
	first := make(chan struct{}, 8)
	for range cap(first) {
		wg.Go(func() {
			for begun := false; ; begun = true {
				n, err := s.Write(p)
				if !begun {
					first <- struct{}{}
				}
				switch {
				case err == nil && n == len(p), err == ErrFull && n == 0:
				case err == ErrClosed && n == 0:
					return
				default:
					t.Errorf("Write gives %d, %v", n, err)
					return
				}
			}
		})
	}
	for range cap(first) {
		<-first
	}
	s.Close()
	s.Close()
	wg.Wait()
	far.Abort()
}

// TestReleasePanics: a release function may panic. The call that removes the
// last byte panics then, and everything else goes on.
func TestReleasePanics(t *testing.T) {
	calls := 0
	release := func() { calls++; panic("mine") }
	panics := func(what string, f func()) {
		t.Helper()
		defer func() {
			if v := recover(); v != "mine" {
				t.Errorf("%s: the panic was %v", what, v)
			}
		}()
		f()
	}
	f, err := os.Create(filepath.Join(tempDir(t), "empty"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b Buffer
	b.AppendFile(f, 0, 10, release)
	b.WriteString("after")
	panics("a read that fails, and Reset", func() {
		if _, err := b.Read(make([]byte, 1)); err != io.ErrUnexpectedEOF {
			t.Errorf("Read gives %v", err)
		}
		b.Reset()
	})
	b.WriteString("x")
	if string(b.Next(10)) != "x" || calls != 1 {
		t.Errorf("the Buffer is out of order, after %d calls", calls)
	}

	l := dialLoop(t, "")
	s, far := l.Pipe(nil, nil)
	s.Output().Append([]byte("x"), release)
	s.Output().Append([]byte("y"), release)
	s.Flush()
	if ev, _ := l.Poll(10 * time.Second); ev != (Readable{far}) {
		t.Fatalf("received %v", ev)
	}
	in := far.Input()
	panics("Discard", func() { in.Discard(2) })
	s.Write([]byte("z"))
	if ev, _ := l.Poll(10 * time.Second); ev != (Readable{far}) {
		t.Fatalf("received %v", ev)
	}
	if p := far.Input().Next(10); string(p) != "z" || calls != 3 {
		t.Errorf("received %q after %d calls", p, calls)
	}
}

// TestReleaseExits: a release function may call runtime.Goexit, whatever has released its
// bytes. That ends the receiver or the loop's own goroutine, and the loop can be used on.
func TestReleaseExits(t *testing.T) {
	exit := func() { runtime.Goexit() }
	cases := map[string]func(*testing.T, *Loop) *Stream{ // return the stream whose messages go on
		"Read": func(t *testing.T, l *Loop) *Stream { // finds a reset, while output is unsent
			s, far := connectedPair(t, l)
			s.Pause(Write)
			for range 3 {
				s.Output().Append(make([]byte, 10), exit)
			}
			must(t, s.Flush())
			must(t, far.SetLinger(0))
			must(t, far.Close())
			return s
		},
		"Decode": func(t *testing.T, l *Loop) *Stream {
			a, b := l.Pipe(nil, nil)
			for range 3 {
				a.Output().Append(make([]byte, 10), exit)
			}
			must(t, a.Flush())
			up := filterOn(t, b, xorFilter(1))
			a.Close()
			return up
		},
		"Encode": func(t *testing.T, l *Loop) *Stream {
			a, b := l.Pipe(nil, nil)
			up := filterOn(t, a, xorFilter(1))
			for range 3 {
				up.Output().Append(make([]byte, 10), exit)
			}
			must(t, up.Flush())
			must(t, up.CloseWrite())
			t.Cleanup(func() {
				if err := up.Err(); err != nil && strings.Contains(err.Error(), "Goexit") {
					t.Error(err)
				}
			})
			return b
		},
	}
	tests := make(map[string]func(*testing.T, *Loop))
	for way, receive := range ranges {
		for name, begin := range cases {
			tests[way+"/"+name] = func(t *testing.T, l *Loop) {
				s := begin(t, l)
				var last Event
				for !l.isClosed() { // again if the receiver was ended
					done := make(chan struct{})
					go func() {
						defer close(done)
						receive(l, func(ev Event) {
							switch ev.(type) {
							case EOF, Closed:
								if last = ev; ev.Source() == s {
									l.Close()
								}
							}
						})
					}()
					select {
					case <-done:
					case <-time.After(testPatience):
						l.Dump(t.Output())
						t.Fatalf("the last message is %v", last)
					}
				}
				if _, failed := last.(Closed); failed != (name == "Read") {
					t.Errorf("the last message is %v, with %v", last, s.Err())
				}
			}
		}
	}
	onMethods(t, Config{}, tests)
}

// TestReceiverStops stops receiving: nobody waits for it.
func TestReceiverStops(t *testing.T) {
	l := dialLoop(t, "")
	tr := l.Trigger()
	tr.Fire()
	for range l.Events() {
		break
	}
	for range 3 {
		tr.Fire()
	}
	s, _ := l.Pipe(nil, nil)
	s.Notify(make(chan Event)) // from which nobody receives
	s.Write([]byte("x"))
	s.Close()
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evchan

import (
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
	"testing"
	"time"
)

// TestCarelessNil checks that a nil, typed or not, gives an error that says so.
func TestCarelessNil(t *testing.T) {
	l := dialLoop(t, "")
	s, _ := l.Pipe()
	for name, f := range map[string]func() error{
		"Wrap TCPConn":       func() error { _, err := l.Wrap((*net.TCPConn)(nil)); return err },
		"Wrap UnixConn":      func() error { _, err := l.Wrap((*net.UnixConn)(nil)); return err },
		"WrapListener TCP":   func() error { _, err := l.WrapListener((*net.TCPListener)(nil)); return err },
		"WrapListener Unix":  func() error { _, err := l.WrapListener((*net.UnixListener)(nil)); return err },
		"WrapFile":           func() error { _, err := l.WrapFile(nil); return err },
		"WatchConn nil File": func() error { _, err := l.WatchConn((*os.File)(nil), Read); return err },
		"Wrap zero TCPConn":  func() error { _, err := l.Wrap(new(net.TCPConn)); return err },
		"Wrap zero UnixConn": func() error { _, err := l.Wrap(new(net.UnixConn)); return err },
		"Filter":             func() error { _, err := s.Filter(nil); return err },
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

// TestCarelessZero: a zero Batch is empty, as a receive from a closed channel gives
// one.
func TestCarelessZero(t *testing.T) {
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

// TestCarelessZeroValues calls each method of zero values of what must be made by a
// constructor, with zero arguments, and then Close, as a deferred call would. They may
// panic, but not wait for ever.
func TestCarelessZeroValues(t *testing.T) {
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

// TestCarelessRateLimit: SetRateLimit says that the stream is over, whatever the
// limit.
func TestCarelessRateLimit(t *testing.T) {
	l := dialLoop(t, "")
	s, _ := l.Pipe()
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

// TestCarelessBody ends the range over All in ways in which no range should end, and
// checks that the loop is as usable as before, and can be closed.
func TestCarelessBody(t *testing.T) {
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

// TestCarelessBatchBody panics over a batch: what is left comes with the next one.
func TestCarelessBatchBody(t *testing.T) {
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

// TestCarelessWriters writes from many goroutines while the stream is closed: each
// Write takes all, or says that it is over.
func TestCarelessWriters(t *testing.T) {
	l := dialLoop(t, "")
	s, far := l.Pipe()
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

// A panicFilter panics in Decode or Encode when it sees what it shall panic at, and in
// Close.
type panicFilter struct{ decode, encode, close bool }

func (f panicFilter) Close() error {
	if f.close {
		panic("in Close")
	}
	return nil
}

func (f panicFilter) Decode(in, plain, _ *Buffer, _ bool) error {
	if f.decode {
		panic("in Decode")
	}
	return plain.AppendBuffer(in)
}

func (f panicFilter) Encode(plain, out *Buffer, _ bool) error {
	if f.encode && plain.Len() > 0 {
		panic("in Encode")
	}
	return out.AppendBuffer(plain)
}

// TestCarelessFilter: a panic of a filter ends its stream, and nothing else.
func TestCarelessFilter(t *testing.T) {
	for _, c := range []struct {
		f    panicFilter
		says string
	}{
		{panicFilter{decode: true}, "in Decode"},
		{panicFilter{encode: true}, "in Encode"},
	} {
		l := dialLoop(t, "")
		s, far := l.Pipe()
		up, err := s.Filter(c.f)
		if err != nil {
			t.Fatal(err)
		}
		far.Write([]byte("x"))
		up.Write([]byte("y"))
		for ev := range l.All() {
			if ev == (Closed{up}) {
				break
			}
		}
		if err := up.Err(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("the stream has ended with %v; want %q", err, c.says)
		}
		tr := l.Trigger()
		tr.Fire()
		for ev := range l.All() {
			if ev == (Fired{tr}) {
				break
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestCarelessFilterClose: a panic of a filter's Close is told by Err, and disturbs
// nobody.
func TestCarelessFilterClose(t *testing.T) {
	l := dialLoop(t, "")
	s, far := l.Pipe()
	up, err := s.Filter(panicFilter{close: true})
	if err != nil {
		t.Fatal(err)
	}
	up.Close()
	for ev := range l.All() {
		if ev != (EOF{far}) {
			t.Errorf("received %v", ev)
		}
		break
	}
	far.Close()
	for range 100 {
		l.Poll(0)
	}
	if err := up.Err(); err == nil || !strings.Contains(err.Error(), "in Close") {
		t.Errorf("the stream has ended with %v", err)
	}
	if n := l.Stats().Sources; n != 0 {
		t.Errorf("%d sources are left", n)
	}
}

// TestCarelessFilterConn: a panic of a filter on a net.Conn goes on in the method that
// was called. The net.Conn can be closed all the same, and its peer hears of it.
func TestCarelessFilterConn(t *testing.T) {
	l := dialLoop(t, "")
	for _, f := range []panicFilter{{decode: true}, {encode: true}, {close: true}, {encode: true, close: true}} {
		s, far := l.Pipe()
		up, err := s.Filter(f)
		if err != nil {
			t.Fatal(err)
		}
		l.Poll(0)
		c, err := up.NetConn()
		if err != nil {
			t.Fatal(err)
		}
		panics := func(f func()) (v any) {
			defer func() { v = recover() }()
			f()
			return nil
		}
		far.Write([]byte("x"))
		l.Poll(0)
		if v := panics(func() { c.Read(make([]byte, 1)) }); (v != nil) != f.decode {
			t.Errorf("%+v: Read has panicked with %v", f, v)
		}
		if v := panics(func() { c.Write([]byte("x")) }); (v != nil) != f.encode {
			t.Errorf("%+v: Write has panicked with %v", f, v)
		}
		if v := panics(func() { c.Close() }); (v != nil) != (f.encode || f.close) {
			t.Errorf("%+v: Close has panicked with %v", f, v)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%+v: after Close, Write gives %v", f, err)
		}
		for {
			ev, ok := l.Poll(10 * time.Second)
			if !ok {
				t.Fatalf("%+v: the peer does not hear of the end", f)
			}
			if ev == (EOF{far}) || ev == (Closed{far}) {
				break
			}
		}
		far.Close()
	}
}

// TestCarelessRelease: a release function may panic. That goes on in whoever lets the
// last byte go, and all else is in order.
func TestCarelessRelease(t *testing.T) {
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
	s, far := l.Pipe()
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

// TestCarelessReceiver stops receiving: nobody waits for it.
func TestCarelessReceiver(t *testing.T) {
	l := dialLoop(t, "")
	tr := l.Trigger()
	tr.Fire()
	for range l.Events() {
		break
	}
	for range 3 {
		tr.Fire()
	}
	s, _ := l.Pipe()
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

// TestCarelessDescriptor gives WrapFD a descriptor that is being watched.
func TestCarelessDescriptor(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){"twice": func(t *testing.T, l *Loop) {
		a, _ := socketPair(t)
		armed(t, l, a, Read|Persist, 0)
		armed(t, l, a, Read|Persist, 0) // two watches may be
		if _, err := l.WrapFD(uintptr(a)); err == nil || !strings.Contains(err.Error(), "watched") {
			t.Errorf("WrapFD of a watched descriptor gives %v", err)
		}
	}})
}

// TestCarelessOwn gives WrapFD and Watch a descriptor that one of the loop's own sources
// has: they say so, and the source goes on. Once that has ended the number is free.
func TestCarelessOwn(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){"own": func(t *testing.T, l *Loop) {
		a, b := socketPair(t)
		fd, err := dupFD(a)
		if err != nil {
			t.Fatal(err)
		}
		early, err := l.Watch(uintptr(fd), Read) // which is armed when it is too late
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.WrapFD(uintptr(fd))
		if err != nil {
			t.Fatal(err)
		}
		ln, err := l.Listen("tcp", "127.0.0.1:0", nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := l.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		check := func(what string, err error) {
			t.Helper()
			if err == nil || !strings.Contains(err.Error(), "of this loop") {
				t.Errorf("%s gives %v", what, err)
			}
		}
		own := map[string]sysFD{"stream": fd, "listener": ln.fd, "packet connection": c.fd}
		for kind, fd := range own {
			_, err := l.WrapFD(uintptr(fd))
			check("WrapFD of that of a "+kind, err)
			_, err = l.Watch(uintptr(fd), Read)
			check("Watch of that of a "+kind, err)
		}
		check("Arm", early.Arm(0))
		write(t, b, "x")
		if ev, _ := l.Poll(10 * time.Second); ev != (Readable{s}) {
			t.Fatalf("received %v", ev)
		}
		s.Abort()
		ln.Close()
		c.Close()
		for kind, fd := range own {
			if l.taken.has(fd) {
				t.Errorf("the descriptor of the %s is still taken", kind)
			}
		}
	}})
}

// TestCarelessWrapListener: if WrapListener fails, the listener is as it was.
func TestCarelessWrapListener(t *testing.T) {
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer nl.Close()
	l := dialLoop(t, "")
	l.poller = refusingPoller{l.poller}
	if _, err := l.WrapListener(nl); !errors.Is(err, errRefused) {
		t.Fatalf("WrapListener gives %v", err)
	}
	go func() {
		if c, err := net.Dial("tcp", nl.Addr().String()); err == nil {
			c.Close()
		}
	}()
	c, err := nl.Accept()
	if err != nil {
		t.Fatalf("the listener is of no use any more: %v", err)
	}
	c.Close()
}

var errRefused = errors.New("refused")

// A refusingPoller takes no descriptors.
type refusingPoller struct{ poller }

func (refusingPoller) add(sysFD, token, What) error { return errRefused }

// TestEveryEvent asks messages of all types for their source and their text.
func TestEveryEvent(t *testing.T) {
	l := dialLoop(t, "")
	s, _ := l.Pipe()
	ln, err := l.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := l.Signal(userSignal)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ev   Event
		src  Source
		says string
	}{
		{Accepted{s}, s, "Accepted stream pipe"},
		{TimedOut{s}, s, "TimedOut stream pipe"},
		{Closed{s}, s, "Closed stream pipe"},
		{AcceptFailed{ln}, ln, "AcceptFailed " + ln.label()},
		{Signaled{sig}, sig, "Signaled " + sig.label()},
	} {
		if c.ev.Source() != c.src || c.ev.String() != c.says {
			t.Errorf("%v is of %v", c.ev, c.ev.Source())
		}
	}
}

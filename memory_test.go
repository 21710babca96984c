// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// memoryPair returns both ends of a connection in memory whose first messages were received.
func memoryPair(t *testing.T, dialling, accepting *Loop, listen *ListenConfig, dial *DialConfig) (a, b *Stream) {
	t.Helper()
	ln, err := accepting.Listen("memory", "", listen)
	must(t, err)
	defer ln.Close()
	a, err = dialling.Dial("memory", ln.Addr().String(), dial)
	must(t, err)
	if ev, _ := dialling.Poll(testPatience); ev != Event(Connected{a}) {
		t.Fatalf("unexpected %v", ev)
	}
	ev, _ := accepting.Poll(testPatience)
	accepted, ok := ev.(Accepted)
	if !ok {
		t.Fatalf("unexpected %v", ev)
	}
	return a, accepted.Stream
}

// expectMessages receives these messages, and no more, in this order.
func expectMessages(t *testing.T, l *Loop, want ...Event) {
	t.Helper()
	for _, want := range want {
		if ev, _ := l.Poll(testPatience); ev != want {
			t.Fatalf("got %v; want %v", ev, want)
		}
	}
	noMessage(t, l)
}

func TestMemoryNetwork(t *testing.T) {
	onAllMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Echo":          testMemoryEcho,
		"Addresses":     testMemoryAddresses,
		"Names":         testMemoryNames,
		"Refused":       testMemoryRefused,
		"Backlog":       testMemoryBacklog,
		"BeforeAccept":  testMemoryBeforeAccept,
		"ListenerEnds":  testMemoryListenerEnds,
		"HalfClose":     testMemoryHalfClose,
		"Reset":         testMemoryReset,
		"Settings":      testMemorySettings,
		"MaxPending":    testMemoryMaxPending,
		"MaxStreams":    testMemoryMaxStreams,
		"MoveTo":        testMemoryMoveTo,
		"Filter":        testMemoryFilter,
		"Over":          testMemoryOver,
		"Group":         testMemoryGroup,
		"NetConn":       testMemoryNetConn,
		"NetListener":   testMemoryNetListener,
		"NoDescriptors": testMemoryNoDescriptors,
		"Shutdown":      testMemoryShutdown,
		"LoopCloses":    testMemoryLoopCloses,
		"ManyAtOnce":    testMemoryManyAtOnce,
		"Goroutines":    testMemoryGoroutines,
	})
}

// other returns another loop of l's method.
func other(t *testing.T, l *Loop) *Loop { return dialLoop(t, l.Method()) }

// A message of several writes, more than the two ends hold between them, comes back whole.
func testMemoryEcho(t *testing.T, l *Loop) {
	a, b := memoryPair(t, l, l, nil, nil)
	want := pattern(1 << 20)
	a.Write(want)
	a.CloseWrite()
	var got bytes.Buffer
	for ended := false; !ended; {
		switch ev, _ := l.Poll(testPatience); ev {
		case Readable{b}:
			if _, err := io.Copy(b, b); err != nil && err != ErrFull {
				t.Fatal(err)
			}
		case EOF{b}:
			b.Close()
		case Readable{a}:
			a.WriteTo(&got)
		case EOF{a}:
			ended = true
		case Drained{a}, Drained{b}:
		default:
			t.Fatalf("unexpected %v", ev)
		}
	}
	a.Close()
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%d other bytes have come back", got.Len())
	}
	waitReleased(t, l)
}

func testMemoryAddresses(t *testing.T, l *Loop) {
	ln, err := l.Listen("memory", "chat", nil)
	must(t, err)
	if ln.Addr().Network() != "memory" || ln.Addr().String() != "chat" {
		t.Errorf("listens on %v", ln.Addr())
	}
	for i := 1; i <= 2; i++ {
		a, err := l.Dial("memory", "chat", nil)
		must(t, err)
		b := (*Stream)(nil)
		for b == nil {
			if ev, ok := (<-pollc(l)).(Accepted); ok {
				b = ev.Stream
			}
		}
		name := fmt.Sprint("chat#", i)
		if a.LocalAddr().String() != name || b.RemoteAddr().String() != name || a.RemoteAddr() != ln.Addr() || b.LocalAddr() != ln.Addr() {
			t.Errorf("from %v to %v, and from %v to %v", a.LocalAddr(), a.RemoteAddr(), b.LocalAddr(), b.RemoteAddr())
		}
		if b.Listener() != ln || b.label() != "stream "+name {
			t.Errorf("%s was accepted by %v", b.label(), b.Listener())
		}
		var dump strings.Builder
		l.Dump(&dump)
		if !strings.Contains(dump.String(), "addr=chat ") || !strings.Contains(dump.String(), "remote="+name) || strings.Contains(dump.String(), "fd=") {
			t.Errorf("dumped\n%s", &dump)
		}
		a.Abort()
		b.Abort()
		if b.RemoteAddr().String() != name {
			t.Error("the address has gone with the stream")
		}
	}
}

// pollc returns the next message on a channel.
func pollc(l *Loop) <-chan Event {
	c := make(chan Event, 1)
	ev, _ := l.Poll(testPatience)
	c <- ev
	return c
}

func testMemoryNames(t *testing.T, l *Loop) {
	ln, err := l.Listen("memory", "taken", nil)
	must(t, err)
	_, err = other(t, l).Listen("memory", "taken", nil)
	if op, ok := err.(*net.OpError); !ok || !errors.Is(err, eADDRINUSE) || op.Addr.String() != "taken" {
		t.Errorf("a second listener: %v", err)
	}
	ln.Close()
	ln.Close()
	again, err := other(t, l).Listen("memory", "taken", nil)
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	again.Loop().Close()
	paused, err := l.Listen("memory", "taken", &ListenConfig{Paused: true})
	if err != nil {
		t.Fatalf("after the other loop's Close: %v", err)
	}
	x, err := l.Listen("memory", "", nil)
	must(t, err)
	y, err := l.Listen("memory", "", nil)
	must(t, err)
	if x.Addr().String() == y.Addr().String() || x.Addr().String() == "" {
		t.Errorf("chose %v and %v", x.Addr(), y.Addr())
	}
	l.Close()
	if _, err := l.Listen("memory", "taken", nil); err != ErrClosed {
		t.Errorf("on a closed loop: %v", err)
	}
	if memoryNames.byName[paused.Addr().String()] != nil {
		t.Error("a paused listener has kept its name")
	}
}

func testMemoryRefused(t *testing.T, l *Loop) {
	s, err := l.Dial("memory", "nobody", &DialConfig{Data: "mine"})
	must(t, err)
	s.Write([]byte("lost"))
	expectMessages(t, l, Closed{s})
	op, ok := s.Err().(*net.OpError)
	if !ok || !errors.Is(s.Err(), eCONNREFUSED) || op.Op != "dial" || op.Net != "memory" || op.Addr.String() != "nobody" {
		t.Errorf("refused with %v", s.Err())
	}
	if s.Data != "mine" || s.label() != "stream to nobody" {
		t.Errorf("it is %s with %v", s.label(), s.Data)
	}
	if _, err := s.NetConn(); !errors.Is(err, eCONNREFUSED) {
		t.Errorf("NetConn: %v", err)
	}
	waitReleased(t, l)
}

func testMemoryBacklog(t *testing.T, l *Loop) {
	ln, err := l.Listen("memory", "", &ListenConfig{Backlog: 2, Paused: true})
	must(t, err)
	clients := other(t, l)
	dial := func(want string) {
		t.Helper()
		s, err := clients.Dial("memory", ln.Addr().String(), nil)
		must(t, err)
		ev, _ := clients.Poll(testPatience)
		if got, _, _ := strings.Cut(ev.String(), " "); got != want || want == "Closed" && !errors.Is(s.Err(), eCONNREFUSED) {
			t.Errorf("%v: %v", ev, s.Err())
		}
	}
	dial("Connected")
	dial("Connected")
	dial("Closed")
	ln.Resume()
	for range 2 {
		if ev, _ := l.Poll(testPatience); ev == nil || ev.(Accepted).Stream.Listener() != ln {
			t.Fatalf("unexpected %v", ev)
		}
	}
	dial("Connected")
}

// What was sent, and the end, arrive although the connection was accepted later.
func testMemoryBeforeAccept(t *testing.T, l *Loop) {
	ln, err := l.Listen("memory", "", &ListenConfig{Paused: true})
	must(t, err)
	a, err := l.Dial("memory", ln.Addr().String(), nil)
	must(t, err)
	a.Write([]byte("early"))
	a.CloseWrite()
	gone, err := l.Dial("memory", ln.Addr().String(), nil)
	must(t, err)
	gone.Write([]byte("x"))
	gone.Abort()
	expectMessages(t, l, Connected{a})
	ln.Resume()
	got := make(map[string]string)
	for range 6 {
		ev, _ := l.Poll(testPatience)
		name, _, _ := strings.Cut(ev.String(), " ")
		s := ev.Source().(*Stream)
		from := strings.TrimPrefix(s.RemoteAddr().String(), ln.Addr().String())
		got[from] += name + " "
		if name == "EOF" || name == "Closed" {
			got[from] += string(s.Input().Next(10))
		}
	}
	noMessage(t, l)
	if got["#1"] != "Accepted Readable EOF early" || got["#2"] != "Accepted Readable Closed x" {
		t.Errorf("received %q", got)
	}
}

// Connections that were not accepted are reset when the listener is closed.
func testMemoryListenerEnds(t *testing.T, l *Loop) {
	ln, err := l.Listen("memory", "", &ListenConfig{Paused: true})
	must(t, err)
	a, err := l.Dial("memory", ln.Addr().String(), nil)
	must(t, err)
	a.Write([]byte("unread"))
	expectMessages(t, l, Connected{a})
	ln.Close()
	expectMessages(t, l, Closed{a})
	if !errors.Is(a.Err(), eCONNRESET) {
		t.Error(a.Err())
	}
	b, err := l.Dial("memory", ln.Addr().String(), nil)
	must(t, err)
	expectMessages(t, l, Closed{b})
}

func testMemoryHalfClose(t *testing.T, l *Loop) {
	a, b := memoryPair(t, l, l, nil, nil)
	a.Write([]byte("question"))
	must(t, a.CloseWrite())
	expectMessages(t, l, Readable{b}, EOF{b})
	if got := string(b.Input().Next(100)); got != "question" {
		t.Errorf("received %q", got)
	}
	b.Write([]byte("answer"))
	expectMessages(t, l, Readable{a})
	if _, err := a.Write([]byte("more")); !errors.Is(err, ePIPE) {
		t.Errorf("after CloseWrite: %v", err)
	}
	b.Close()
	expectMessages(t, l, EOF{a})
	a.Close()
	waitReleased(t, l)
}

func testMemoryReset(t *testing.T, l *Loop) {
	to := other(t, l)
	a, b := memoryPair(t, l, to, nil, nil)
	b.Pause(Read)
	a.Write([]byte("last"))
	a.Abort()
	expectMessages(t, to, Closed{b}) // although it is paused
	if got := string(b.Input().Next(100)); got != "last" {
		t.Errorf("received %q", got)
	}
	op, ok := b.Err().(*net.OpError)
	if !ok || !errors.Is(op, eCONNRESET) || op.Net != "memory" || op.Addr != b.RemoteAddr() {
		t.Error(b.Err())
	}
}

func testMemorySettings(t *testing.T, l *Loop) {
	private := make(chan Event, 10)
	limit := &RateLimit{ReadRate: 1000, ReadBurst: 1000, WriteRate: 1000, WriteBurst: 1000, Tick: time.Millisecond}
	a, b := memoryPair(t, l, l, &ListenConfig{Data: "served", ReadLow: 3, MaxInput: 5, KeepAlive: time.Second, Delay: true},
		&DialConfig{Data: "dialled", WriteLow: 7, Paused: Read, RateLimit: limit, Timeout: time.Second})
	if a.Data != "dialled" || b.Data != "served" || a.Paused() != Read {
		t.Error("the settings are others")
	}
	if ra, rb := a.limits.Load(), b.limits.Load(); ra.writeLow != 7 || rb.readLow != 3 || rb.readHigh != 5 {
		t.Error("the marks are others")
	}
	ln, err := l.Listen("memory", "", &ListenConfig{Notify: private})
	must(t, err)
	s, err := l.Dial("memory", ln.Addr().String(), &DialConfig{Notify: private})
	must(t, err)
	expectMessages(t, l)
	for range 2 {
		switch ev := (<-private).(type) {
		case Connected:
			if ev.Stream != s {
				t.Errorf("unexpected %v", ev)
			}
		case Accepted:
		default:
			t.Errorf("unexpected %v", ev)
		}
	}
	control := func(string, string, syscall.RawConn) error { return nil }
	for what, err := range map[string]error{
		"ReusePort": second(l.Listen("memory", "x", &ListenConfig{ReusePort: true})),
		"Control":   second(l.Listen("memory", "x", &ListenConfig{Control: control})),
		"LocalAddr": second(l.Dial("memory", "x", &DialConfig{LocalAddr: &net.TCPAddr{}})),
		"dial":      second(l.Dial("memory", "x", &DialConfig{Control: control})),
		"File":      second(ln.File()),
		"listener":  second(ln.SyscallConn()),
		"stream":    second(a.SyscallConn()),
	} {
		if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "descriptor") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := l.Dial("memory", "", nil); err == nil || !strings.Contains(err.Error(), "empty address") {
		t.Errorf("Dial of no name: %v", err)
	}
}

// second returns the error.
func second[T any](_ T, err error) error { return err }

func testMemoryMaxPending(t *testing.T, l *Loop) {
	ln, err := l.Listen("memory", "", &ListenConfig{MaxPending: 2})
	must(t, err)
	clients := other(t, l)
	for range 5 {
		_, err := clients.Dial("memory", ln.Addr().String(), nil)
		must(t, err)
	}
	l.turn(0)
	if n := len(ln.virtual.(*memoryListener).backlog); n != 3 {
		t.Errorf("%d connections wait with the listener, want 3", n)
	}
	for range 5 {
		if ev, _ := l.Poll(testPatience); ev == nil {
			t.Fatal("nothing was accepted")
		}
	}
	noMessage(t, l)
}

func testMemoryMaxStreams(t *testing.T, l *Loop) {
	ln, err := l.Listen("memory", "", &ListenConfig{MaxStreams: 1})
	must(t, err)
	clients := other(t, l)
	for range 3 {
		_, err := clients.Dial("memory", ln.Addr().String(), nil)
		must(t, err)
	}
	for range 3 {
		ev, _ := l.Poll(testPatience)
		noMessage(t, l)
		ev.(Accepted).Stream.Abort()
	}
}

// Both ends move, to a loop with sockets or without, and bytes are neither lost nor reordered.
func testMemoryMoveTo(t *testing.T, l *Loop) {
	a, b := memoryPair(t, l, l, nil, nil)
	for _, method := range Methods() {
		to := dialLoop(t, method)
		b.Write([]byte("one "))
		a.Write([]byte("two "))
		must(t, a.MoveTo(to))
		nextOf(t, to, a)
		must(t, b.MoveTo(to))
		nextOf(t, to, b)
		must(t, b.MoveTo(l))
		must(t, a.MoveTo(l))
	}
	for s, word := range map[*Stream]string{a: "one ", b: "two "} {
		got, want := "", strings.Repeat(word, len(Methods()))
		for got += string(s.Input().Next(1000)); len(got) < len(want); got += string(s.Input().Next(1000)) {
			nextOf(t, l, s)
		}
		if got != want {
			t.Errorf("received %q", got)
		}
	}
	if !l.memoryOnly() {
		s, _ := connectedPair(t, l)
		if err := s.MoveTo(dialLoop(t, "memory")); !errors.Is(err, ErrUnsupported) {
			t.Errorf("a socket moves to memory: %v", err)
		}
		if _, err := s.Write([]byte("x")); err != nil || s.Loop() != l {
			t.Error("it is not as it was")
		}
	}
}

func testMemoryFilter(t *testing.T, l *Loop) {
	a, b := memoryPair(t, l, other(t, l), nil, nil)
	to := b.Loop()
	up, err := a.Filter(new(plainFilter), nil)
	must(t, err)
	down, err := b.Filter(new(plainFilter), nil)
	must(t, err)
	up.Write([]byte("through both"))
	up.CloseWrite()
	l.Poll(0)
	expectMessages(t, to, Readable{down}, EOF{down})
	if got := string(down.Input().Next(100)); got != "through both" {
		t.Errorf("received %q", got)
	}
	if down.RemoteAddr() != b.RemoteAddr() || down.Listener() == nil {
		t.Error("the filter's stream has other addresses")
	}
}

// Over puts a filter on both ends before Accepted and Connected, and what it writes first is
// sent.
func testMemoryOver(t *testing.T, l *Loop) {
	over := func(s *Stream) (*Stream, error) { return s.Filter(new(plainFilter), nil) }
	a, b := memoryPair(t, l, l, &ListenConfig{Over: over}, &DialConfig{Over: over, Data: "dialled"})
	if a.Under() == nil || b.Under() == nil || a.Data != "dialled" {
		t.Fatal("there is no filter")
	}
	a.Write([]byte("hello"))
	expectMessages(t, l, Readable{b})
	refused, err := l.Dial("memory", "nobody", &DialConfig{Over: over})
	must(t, err)
	expectMessages(t, l, Closed{refused})
	if !errors.Is(refused.Err(), eCONNREFUSED) {
		t.Error(refused.Err())
	}
	failed := errors.New("not over this one")
	if _, err := l.Dial("memory", b.RemoteAddr().String(), &DialConfig{Over: func(*Stream) (*Stream, error) { return nil, failed }}); err != failed {
		t.Errorf("Over has failed: %v", err)
	}
}

// The loops of a group share a listener in memory.
func testMemoryGroup(t *testing.T, l *Loop) {
	g, err := NewGroup(&GroupConfig{Loops: 3, Balance: RoundRobin, Config: Config{Method: l.Method(), IgnoreEnv: true}})
	must(t, err)
	defer g.Close()
	ln, err := g.Listen("memory", "", nil)
	must(t, err)
	for range 6 {
		s, err := l.Dial("memory", ln.Addr().String(), nil)
		must(t, err)
		defer s.Abort()
	}
	g.Loops()[0].turn(0)
	for _, l := range g.Loops() {
		for range 2 {
			if ev, _ := l.Poll(testPatience); ev == nil || ev.(Accepted).Stream.Listener() != ln {
				t.Fatalf("unexpected %v", ev)
			}
		}
		noMessage(t, l)
	}
	kernel, err := NewGroup(&GroupConfig{Loops: 1, Balance: KernelPort, Config: Config{Method: l.Method(), IgnoreEnv: true}})
	must(t, err)
	defer kernel.Close()
	if _, err := kernel.Listen("memory", "", nil); !errors.Is(err, ErrUnsupported) {
		t.Errorf("KernelPort: %v", err)
	}
}

func testMemoryNetConn(t *testing.T, l *Loop) {
	ln, err := l.Listen("memory", "", nil)
	must(t, err)
	s, err := l.Dial("memory", ln.Addr().String(), nil)
	must(t, err)
	c, err := s.NetConn() // at once: it is connected
	must(t, err)
	ev, _ := l.Poll(testPatience)
	b := ev.(Accepted).Stream
	b.Write([]byte("hello"))
	p := make([]byte, 10)
	if n, err := c.Read(p); err != nil || string(p[:n]) != "hello" {
		t.Errorf("read %q, %v", p[:n], err)
	}
	if c.LocalAddr() != b.RemoteAddr() || c.RemoteAddr() != ln.Addr() {
		t.Errorf("from %v to %v", c.LocalAddr(), c.RemoteAddr())
	}
	c.SetReadDeadline(time.Now().Add(-1))
	_, err = c.Read(p)
	if op, ok := err.(*net.OpError); !ok || !errors.Is(err, os.ErrDeadlineExceeded) || op.Net != "memory" {
		t.Errorf("after the deadline: %v", err)
	}
	c.Close()
	expectMessages(t, l, EOF{b})
	b.Close()
}

func testMemoryNetListener(t *testing.T, l *Loop) {
	ln, err := l.Listen("memory", "served", nil)
	must(t, err)
	ln.Pause()
	early, err := l.Dial("memory", "served", nil)
	must(t, err)
	early.Write([]byte("early"))
	nl, err := ln.NetListener()
	must(t, err)
	if _, err := ln.NetListener(); err != ErrClosed {
		t.Errorf("NetListener again: %v", err)
	}
	if nl.Addr() != ln.Addr() {
		t.Errorf("listens on %v", nl.Addr())
	}
	c, err := nl.Accept()
	must(t, err)
	p := make([]byte, 10)
	if n, err := c.Read(p); err != nil || string(p[:n]) != "early" {
		t.Errorf("read %q, %v", p[:n], err)
	}
	c.Close()
	accepted := make(chan error)
	go func() {
		for {
			c, err := nl.Accept()
			accepted <- err
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	late, err := l.Dial("memory", "served", nil)
	must(t, err)
	must(t, <-accepted)
	must(t, nl.Close())
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept of a closed listener: %v", err)
	}
	if err := nl.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Close again: %v", err)
	}
	expectMessages(t, l, Connected{early}, Connected{late}, EOF{early}, EOF{late})
	if again, err := l.Listen("memory", "served", nil); err != nil {
		t.Error(err)
	} else {
		again.Close()
	}
}

// What needs a descriptor says that the method has none.
func testMemoryNoDescriptors(t *testing.T, l *Loop) {
	if !l.memoryOnly() {
		return // all of this works
	}
	for what, err := range map[string]error{
		"Listen":       second(l.Listen("tcp", "127.0.0.1:0", nil)),
		"Dial":         second(l.Dial("tcp", "localhost:1", nil)),
		"ListenPacket": second(l.ListenPacket("udp", "127.0.0.1:0", nil)),
		"Watch":        second(l.Watch(0, Read)),
	} {
		if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "the method memory has no descriptors") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := l.Dial("tcp", "no port", nil); err == nil || errors.Is(err, ErrUnsupported) {
		t.Errorf("a bad address: %v", err)
	}
}

func testMemoryShutdown(t *testing.T, l *Loop) {
	to := other(t, l)
	a, b := memoryPair(t, l, to, nil, nil)
	var got bytes.Buffer
	done := make(chan error)
	b.Write(pattern(300 << 10)) // more than lies between the two
	go func() { done <- to.Shutdown(t.Context()) }()
	for ended := false; !ended; {
		switch ev, _ := l.Poll(testPatience); ev {
		case Readable{a}:
			a.WriteTo(&got)
		case EOF{a}:
			ended = true
		default:
			t.Fatalf("unexpected %v", ev)
		}
	}
	a.Close()
	if err := <-done; err != nil || !bytes.Equal(got.Bytes(), pattern(300<<10)) {
		t.Errorf("%v; received %d bytes", err, got.Len())
	}
}

// When a loop is closed, its peers hear of it.
func testMemoryLoopCloses(t *testing.T, l *Loop) {
	to := other(t, l)
	a, _ := memoryPair(t, l, to, nil, nil)
	full, _ := memoryPair(t, l, to, nil, nil)
	full.Pause(Read)
	to.Close()
	expectMessages(t, l, EOF{a})
	if _, err := a.Write([]byte("x")); !errors.Is(err, ePIPE) {
		t.Errorf("write to nobody: %v", err)
	}
	expectMessages(t, l, Closed{a})
	full.Resume(Read)
	expectMessages(t, l, EOF{full})
	s, err := to.Dial("memory", "x", nil)
	if err != ErrClosed || s != nil {
		t.Errorf("Dial on a closed loop: %v, %v", s, err)
	}
}

// A loop of the method memory lets the bubble's time pass while it waits, in every way of
// receiving.
func TestMemoryVirtualTime(t *testing.T) {
	for form, receive := range ranges {
		t.Run(form, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := dialLoop(t, "memory")
				began := time.Now()
				ticks := 0
				l.Every(time.Minute)
				receive(l, func(Event) {
					if ticks++; ticks == 60 {
						l.Close()
					}
				})
				if d := time.Since(began); ticks != 60 || d != time.Hour {
					t.Errorf("%d ticks in %v", ticks, d)
				}
			})
		})
	}
}

// The method is chosen only where it is asked for, or alone.
func TestMemoryChosen(t *testing.T) {
	all := Methods()
	if all[len(all)-1] != "memory" {
		t.Errorf("the methods are %q", all)
	}
	l, err := New(&Config{IgnoreEnv: true, Avoid: socketMethods()})
	switch {
	case len(all) == 1 && err != nil:
		t.Error(err)
	case len(all) > 1 && !errors.Is(err, ErrUnsupported):
		t.Errorf("without the others: %v", err)
	}
	if err == nil {
		l.Close()
	}
	l, err = New(&Config{IgnoreEnv: true, Method: "memory", Require: FeatureEdge})
	must(t, err)
	defer l.Close()
	if l.Method() != "memory" || l.String() != "loop memory" {
		t.Errorf("it is %v", l)
	}
}

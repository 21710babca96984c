// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bufio"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestCallsReturn calls everything that a receiver may call, from eight goroutines
// at once, with messages unread and nobody to read them: all calls return.
func TestCallsReturn(t *testing.T) {
	tests := make(map[string]func(*testing.T, *Loop))
	for form, start := range map[string]func(*Loop){
		"Events":     func(l *Loop) { l.Events() },
		"Batches":    func(l *Loop) { l.Batches() },
		"NotRunning": func(*Loop) {},
	} {
		tests["Unread/"+form] = func(t *testing.T, l *Loop) {
			start(l)
			testCallsReturn(t, l)
		}
	}
	tests["InsideAll"] = func(t *testing.T, l *Loop) {
		l.Trigger().Fire()
		for range l.All() {
			testCallsReturn(t, l)
			break
		}
	}
	tests["InsideEvents"] = func(t *testing.T, l *Loop) {
		l.Trigger().Fire()
		for range l.Events() {
			testCallsReturn(t, l)
			l.Break()
		}
	}
	onMethods(t, Config{Priorities: 2}, tests)
}

func testCallsReturn(t *testing.T, l *Loop) {
	full := make(chan Event) // nobody receives from it
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				callEverything(t, l, full)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		buf := make([]byte, 1<<20)
		t.Fatalf("some calls do not return:\n%s", buf[:runtime.Stack(buf, true)])
	}
}

func callEverything(t *testing.T, l *Loop, full chan Event) {
	tr, tm := l.Trigger(), l.Every(time.Millisecond)
	w, err := l.Watch(anyDescriptor(t), Read|Persist)
	if err != nil {
		t.Error(err)
		return
	}
	ln, err := l.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Error(err)
		return
	}
	sig, err := l.Signal(someSignal)
	if err != nil {
		t.Error(err)
		return
	}
	pc, err := l.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Error(err)
		return
	}
	s, err := l.Dial("tcp", ln.Addr().String(), nil)
	if err != nil {
		t.Error(err)
		return
	}
	sources := []Source{tr, tm, w, ln, pc, sig, s}
	for _, route := range []chan<- Event{nil, full} {
		for _, src := range sources {
			src.Notify(route)
			src.SetPriority(0)
			src.Priority()
		}
		tr.Fire()
		tm.Reset(0)
		w.Arm(time.Millisecond)
		w.Activate(Read)
		s.Write([]byte("x"))
		s.Pause(Read | Write)
		s.Resume(Read | Write)
		s.SetIdleTimeouts(time.Millisecond, time.Millisecond)
		s.SetLifetime(time.Millisecond)
		ln.Pause()
		ln.Resume()
		pc.WriteTo([]byte("x"), pc.LocalAddr())
		pc.WriteTo([]byte("y"), pc.LocalAddr())
		pc.ReadFrom(make([]byte, 1))
		pc.Pause()
		pc.Resume()
		tr.Take()
		tm.Take()
		tm.Stop()
		w.Take()
		w.Disarm()
		sig.Take()
		l.Stats()
		l.Now()
		l.Continue()
		l.Dump(io.Discard)
		for src := range l.Sources() {
			src.Loop()
		}
		if c, err := net.Dial("tcp", ln.Addr().String()); err == nil {
			if s, err := l.Wrap(c); err == nil {
				s.Close()
			}
		}
	}
	s.CloseWrite()
	for _, src := range sources {
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}
	s.Abort()
}

// TestWriteFromMany (U7): what one Write sends is not mixed with another's.
func TestWriteFromMany(t *testing.T) {
	const writers, writes, size = 8, 50, 5000
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){"U7": func(t *testing.T, l *Loop) {
		s, far := connectedPair(t, l)
		l.Events()
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				p := make([]byte, size)
				for j := range p {
					p[j] = byte('a' + i)
				}
				for range writes {
					if n, err := s.Write(p); n != size || err != nil {
						t.Errorf("Write gives %d, %v", n, err)
						return
					}
				}
			})
		}
		buf := make([]byte, size)
		for range writers * writes {
			if _, err := io.ReadFull(far, buf); err != nil {
				t.Fatal(err)
			}
			for _, c := range buf {
				if c != buf[0] {
					t.Fatalf("a piece of %c has %c in it", buf[0], c)
				}
			}
		}
		wg.Wait()
	}})
}

// TestCopyAndWrite has streams copied to one while goroutines write to it, and its
// peer reads in small pieces: each Write arrives in one piece, what was copied in
// order, and all of it is counted.
func TestCopyAndWrite(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Echo":  func(t *testing.T, l *Loop) { testCopyAndWrite(t, l, true) },
		"Proxy": func(t *testing.T, l *Loop) { testCopyAndWrite(t, l, false) },
	})
}

func testCopyAndWrite(t *testing.T, l *Loop, echo bool) {
	dst, to := connectedPair(t, l)
	src, from := dst, to
	if !echo {
		src, from = connectedPair(t, l)
	}
	to.SetReadBuffer(128 << 10)
	dst.SetWriteMarks(0, 256<<10)
	const writers, writes, copied = 3, 400, 1 << 20
	go func() { // bytes from 128 up, one after the other
		r := rand.New(rand.NewPCG(1, 2))
		p := make([]byte, 3<<10)
		for i := 0; i < copied; {
			n := min(1+r.IntN(len(p)), copied-i)
			for k := range n {
				p[k] = byte(128 | (i + k))
			}
			from.Write(p[:n])
			i += n
		}
	}()
	var sent atomic.Int64
	var wg sync.WaitGroup
	for id := range writers {
		wg.Go(func() { // frames of bytes below 128: who, length, and a count
			r := rand.New(rand.NewPCG(3, uint64(id)))
			for range writes {
				n := r.IntN(3 << 10)
				p := []byte{byte(id), byte(n >> 7), byte(n & 127)}
				for k := range n {
					p = append(p, byte(k&127))
				}
				for {
					if _, err := dst.Write(p); err == nil {
						break
					} else if err != ErrFull {
						return // the test has failed
					}
					runtime.Gosched()
				}
				sent.Add(int64(len(p)))
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		in := bufio.NewReaderSize(to, 1500)
		next := func() byte {
			c, err := in.ReadByte()
			if err != nil {
				t.Error(err)
				runtime.Goexit()
			}
			return c
		}
		for i, frames := 0, 0; i < copied || frames < writers*writes; {
			c := next()
			if c >= 128 {
				if c != byte(128|i) {
					t.Errorf("byte %d that was copied is %d", i, c)
					return
				}
				i++
				continue
			}
			n := int(next())<<7 | int(next())
			for k := range n {
				if c := next(); c != byte(k&127) {
					t.Errorf("byte %d of %d of a Write is %d", k, n, c)
					return
				}
			}
			frames++
		}
	}()
	for over := false; !over; {
		select {
		case <-done:
			over = true
		default:
		}
		if ev, ok := l.Poll(10 * time.Millisecond); ok && ev == Event(Readable{src}) {
			if _, err := io.Copy(dst, src); err != nil && err != ErrFull {
				t.Fatal(err)
			}
		}
	}
	if t.Failed() {
		dst.Abort()
	}
	wg.Wait()
	if held, st := src.held.Load(), l.Stats(); held != 0 || st.BytesIn != copied || st.BytesOut != uint64(copied+sent.Load()) {
		t.Errorf("%d bytes are held, %d were read, %d sent; want 0, %d and %d", held, st.BytesIn, st.BytesOut, copied, copied+sent.Load())
	}
}

// TestNotify checks the routes to channels of the user's.
func TestNotify(t *testing.T) {
	receive := func(t *testing.T, c <-chan Event, want Event) {
		t.Helper()
		select {
		case ev := <-c:
			if ev != want {
				t.Fatalf("got %v; want %v", ev, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("got nothing; want %v", want)
		}
	}
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"FullStallsNobody": func(t *testing.T, l *Loop) {
			stuck, free := make(chan Event), make(chan Event, 1)
			a, b, c := l.Trigger(), l.Trigger(), l.Trigger()
			a.Notify(stuck)
			b.Notify(free)
			for range 100 {
				a.Fire()
				b.Fire()
				c.Fire()
				receive(t, free, Fired{b})
				receive(t, l.Events(), Fired{c})
				b.Take()
				c.Take()
			}
			receive(t, stuck, Fired{a})
			if n := a.Take(); n != 100 {
				t.Errorf("Take is %d; want 100", n)
			}
			select {
			case ev := <-stuck:
				t.Errorf("unexpected %v", ev)
			default:
			}
		},
		"TakesAlong": func(t *testing.T, l *Loop) {
			a, c := l.Trigger(), make(chan Event)
			a.Fire()
			a.Notify(c) // before it was delivered anywhere
			receive(t, c, Fired{a})
			a.Fire()
			a.Notify(nil)
			if ev, ok := l.Poll(0); !ok || ev != Event(Fired{a}) {
				t.Errorf("Poll gives %v", ev)
			}
		},
		"SharedKeepsPriority": func(t *testing.T, l *Loop) {
			c := make(chan Event)
			a, b := l.Trigger(), l.Trigger()
			a.Notify(c)
			b.Notify(c)
			a.Fire()
			b.Fire()
			receive(t, c, Fired{a})
			receive(t, c, Fired{b})
			l.mu.Lock()
			n := len(l.routes)
			l.mu.Unlock()
			if n > 1 {
				t.Errorf("%d routes to one channel", n)
			}
		},
		"UserCloses": func(t *testing.T, l *Loop) {
			c := make(chan Event)
			a, b := l.Trigger(), l.Trigger()
			a.Notify(c)
			b.Notify(c)
			close(c)
			a.Fire()
			b.Fire()
			got := make(map[Event]bool)
			for range 2 {
				ev, ok := l.Poll(10 * time.Second)
				if !ok {
					t.Fatal("the messages are lost")
				}
				got[ev] = true
			}
			if !got[Fired{a}] || !got[Fired{b}] {
				t.Errorf("got %v", got)
			}
			a.Fire() // goes the loop's own way from now on
			if ev, ok := l.Poll(0); !ok || ev != Event(Fired{a}) {
				t.Errorf("got %v", ev)
			}
		},
		"RouteIsForgotten": func(t *testing.T, l *Loop) {
			c := make(chan Event, 1)
			a := l.Trigger()
			a.Notify(c)
			a.Fire()
			<-c
			for {
				l.mu.Lock()
				n := len(l.routes)
				l.mu.Unlock()
				if n == 0 {
					break
				}
				runtime.Gosched()
			}
		},
		"ServedWhileNobodyReceivesEvents": func(t *testing.T, l *Loop) {
			l.Events()
			l.Trigger().Fire() // unread for ever
			c := make(chan Event)
			tm := l.Every(time.Millisecond)
			tm.Notify(c)
			for range 3 {
				receive(t, c, Tick{tm})
			}
		},
	})
}

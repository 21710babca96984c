// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// upper answers each line in upper case.
func upper(ev Event) {
	var s *Stream
	switch ev := ev.(type) {
	case Readable:
		s = ev.Stream
	case EOF:
		defer ev.Stream.Close()
		s = ev.Stream
	default:
		return
	}
	for line := range s.Input().Lines(LF) {
		s.Output().Write(bytes.ToUpper(line))
		s.Output().WriteByte('\n')
	}
	s.Flush()
}

// TestFiveHundred has 500 clients send lines that are cut at random places; each
// gets exactly its own lines back. One more never reads, and harms nobody.
func TestFiveHundred(t *testing.T) {
	clients := 500
	if testing.Short() || raceEnabled {
		clients = 100
	}
	onMethods(t, Config{MaxOutput: 1 << 20}, map[string]func(*testing.T, *Loop){"Lines": func(t *testing.T, l *Loop) {
		ln := listen(t, l, "tcp", nil)
		var fullest atomic.Int64
		serve(t, l, func(ev Event) {
			upper(ev)
			if s, ok := ev.Source().(*Stream); ok {
				fullest.Store(max(fullest.Load(), int64(s.Queued())))
			}
		})

		stuck := dial(t, ln)
		go func() {
			for {
				if _, err := stuck.Write(bytes.Repeat([]byte("never read\n"), 1000)); err != nil {
					return
				}
			}
		}()

		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				c, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(60 * time.Second))
				r := rand.New(rand.NewPCG(1, uint64(i)))
				var out bytes.Buffer
				for j := range 20 {
					fmt.Fprintf(&out, "client %d, line %d %s\n", i, j, bytes.Repeat([]byte("x"), r.IntN(200)))
				}
				want := bytes.ToUpper(out.Bytes())
				go func() {
					for out.Len() > 0 {
						c.Write(out.Next(1 + r.IntN(100)))
					}
					c.(*net.TCPConn).CloseWrite()
				}()
				got, err := io.ReadAll(bufio.NewReader(c))
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("client %d: %d bytes back, want %d; %v", i, len(got), len(want), err)
				}
			})
		}
		wg.Wait()
		if n := fullest.Load(); n > 1<<20+defaultMaxInput*2 {
			t.Errorf("a stream has held %d bytes of output", n)
		}
	}})
}

// TestEcho sends a lot through DESIGN's echo, to clients that read late.
func TestEcho(t *testing.T) {
	const total = 8 << 20
	for _, network := range networks {
		onMethods(t, Config{MaxOutput: 128 << 10}, map[string]func(*testing.T, *Loop){network: func(t *testing.T, l *Loop) {
			ln := listen(t, l, network, nil)
			serve(t, l, echo)
			c := dial(t, ln)
			payload := pattern(total)
			sent := make(chan error, 1)
			go func() {
				_, err := c.Write(payload)
				if err == nil {
					err = c.(interface{ CloseWrite() error }).CloseWrite()
				}
				sent <- err
			}()
			got, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(got, payload) {
				t.Errorf("got %d bytes of %d, %v", len(got), total, err)
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
		}})
	}
}

func TestStream(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"MessageOrder":      testMessageOrder,
		"ReadableTakenBack": testReadableTakenBack,
		"Addresses":         testAddresses,
		"IdleHoldsNothing":  testIdleHoldsNothing,
		"NobodyReceives":    testNobodyReceives,
		"PauseRead":         testPauseRead,
		"ArrivesWhole":      testWhole,
		"OpenBothWays":      testPausedTells,
		"NoSpinning":        testNoSpinning,
		"TwoClients":        testTwoClients,
	})
}

func testMessageOrder(t *testing.T, l *Loop) {
	ln := listen(t, l, "tcp", nil)
	c := dial(t, ln)
	send(t, c, "all at once")
	c.(*net.TCPConn).CloseWrite()
	time.Sleep(time.Millisecond) // likely, not needed: all has arrived before the loop looks
	var s *Stream
	for i, want := range []eventKind{kindAccepted, kindReadable, kindEOF} {
		ev, ok := l.Poll(10 * time.Second)
		if !ok || ev.kind() != want {
			t.Fatalf("message %d is %v", i, ev)
		}
		s = ev.Source().(*Stream)
	}
	if s.Listener() != ln || s.AtEOF() {
		t.Error("wrong listener, or at EOF with unread input")
	}
	p := make([]byte, 100)
	if n, err := s.Read(p); string(p[:n]) != "all at once" || err != nil {
		t.Errorf("Read gives %q, %v", p[:n], err)
	}
	if n, err := s.Read(p); n != 0 || err != io.EOF || !s.AtEOF() {
		t.Errorf("Read gives %d, %v at the end", n, err)
	}
	s.Close()
	ln.Close()
	if n := l.Stats().Sources; n != 0 {
		t.Errorf("%d live sources; a stream at EOF with nothing to send is released by Close", n)
	}
}

// A Readable, or Drained, that is no longer true is not received.
func testReadableTakenBack(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	c := l.Events()
	send(t, far, "x")
	for !s.offeredNow() {
		time.Sleep(time.Millisecond)
	}
	s.Input().Discard(1)
	select {
	case ev := <-c:
		t.Errorf("received %v without input", ev)
	default:
	}
	l.Break()
}

func testAddresses(t *testing.T, l *Loop) {
	for _, network := range networks {
		ln := listen(t, l, network, nil)
		c := dial(t, ln)
		ev, _ := l.Poll(10 * time.Second)
		s := ev.(Accepted).Stream
		check := func(when string) {
			t.Helper()
			if got, want := fmt.Sprint(s.LocalAddr()), fmt.Sprint(c.RemoteAddr()); got != want {
				t.Errorf("%s %s: LocalAddr is %q; want %q", network, when, got, want)
			}
			if got, want := s.RemoteAddr().String(), c.LocalAddr().String(); network == "tcp" && got != want {
				t.Errorf("%s %s: RemoteAddr is %q; want %q", network, when, got, want)
			}
		}
		check("open")
		s.Abort()
		check("ended")
		ln.Close()
	}
}

func testIdleHoldsNothing(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	send(t, far, "ping")
	nextOf(t, l, s)
	s.WriteTo(s)
	io.ReadFull(far, make([]byte, 4))
	if s.in.unread.head != nil || s.in.taken != nil || s.out.queue.head != nil || s.extra.spent != nil {
		t.Error("an idle stream holds memory")
	}
}

// A receiver that does not receive costs neither memory nor messages.
func testNobodyReceives(t *testing.T, l *Loop) {
	const streams, each = 20, 1 << 20
	l.Events()
	var all []*Stream
	want := pattern(each)
	for range streams {
		s, far := connectedPair(t, l)
		all = append(all, s)
		go func() {
			far.Write(want)
			far.CloseWrite()
		}()
	}
	time.Sleep(20 * time.Millisecond) // in which much could pile up
	if st := l.Stats(); st.Queue > streams || st.BytesIn > streams*defaultMaxInput {
		t.Errorf("%d sources are queued, %d bytes were read", st.Queue, st.BytesIn)
	}
	got := make(map[*Stream][]byte)
	for open := streams; open > 0; {
		switch ev := (<-l.Events()).(type) {
		case Readable:
			in := ev.Stream.Input()
			got[ev.Stream] = append(got[ev.Stream], in.Next(in.Len())...)
		case EOF:
			open--
		default:
			t.Fatalf("unexpected %v", ev)
		}
	}
	for _, s := range all {
		if p := append(got[s], s.Input().Next(each)...); !bytes.Equal(p, want) {
			t.Errorf("a stream got %d bytes of %d", len(p), each)
		}
	}
}

func testPauseRead(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	send(t, far, "one")
	for s.Input().Len() < 3 {
		nextOf(t, l, s)
	}
	// What was read but not received is taken back, and told again.
	send(t, far, "two")
	for s.in.held.Load() < 6 {
		l.turn(time.Second)
		l.mu.Lock()
		if src, bit := l.next(&l.own); src != nil {
			l.unpop(src, bit)
		}
		l.unlock()
	}
	s.Pause(Read)
	if got := s.Paused(); got != Read {
		t.Errorf("Paused is %v", got)
	}
	send(t, far, "three")
	noMessage(t, l)
	s.Resume(Read)
	if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	for s.Input().Len() < len("onetwothree") {
		nextOf(t, l, s)
	}
	if p := string(s.Input().Next(100)); p != "onetwothree" {
		t.Errorf("got %q", p)
	}
}

// testWhole sends 8333 bytes from one stream to another.
func testWhole(t *testing.T, l *Loop) {
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

// testPausedTells: libevent's streams read only once they are enabled; here both
// directions are on from the start, and Paused tells which are not.
func testPausedTells(t *testing.T, l *Loop) {
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

// testNoSpinning: a stream whose output is sent has the kernel report nothing more.
func testNoSpinning(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	got := drain(far)
	const total = 8 << 20
	s.Write(make([]byte, total))
	for s.Queued() > 0 {
		l.Poll(time.Second)
	}
	idles(t, l)
	s.Abort()
	<-got
}

// testTwoClients has two streams connect to a listener of their own loop.
func testTwoClients(t *testing.T, l *Loop) {
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

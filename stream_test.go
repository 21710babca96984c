// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
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
		"MessageOrder":        testMessageOrder,
		"InputLimit":          testInputLimit,
		"U8OutputLimit":       testOutputLimit,
		"ReadableTakenBack":   testReadableTakenBack,
		"BackPressure":        testBackPressure,
		"U9CloseFlushes":      testCloseFlushes,
		"CloseKeepsTheReply":  testCloseKeepsReply,
		"AbortResets":         testAbortResets,
		"U10HalfClose":        testHalfClose,
		"PeerGone":            testPeerGone,
		"ResetWhileFull":      testResetWhileFull,
		"BytesBeforeClosed":   testBytesBeforeClosed,
		"ReleaseWithoutLocks": testReleaseWithoutLocks,
		"Addresses":           testAddresses,
		"ReadFrom":            testReadFrom,
		"IdleHoldsNothing":    testIdleHoldsNothing,
		"U2NobodyReceives":    testNobodyReceives,
	})
	onMethods(t, Config{Linger: 10 * time.Millisecond}, map[string]func(*testing.T, *Loop){
		"LingerEnds": func(t *testing.T, l *Loop) {
			s, far := connectedPair(t, l)
			for s.Queued() == 0 {
				s.Write(make([]byte, 4<<20)) // the peer does not read
			}
			s.Close()
			waitReleased(t, l)
			_ = far
		},
	})
	onMethods(t, Config{Linger: -1}, map[string]func(*testing.T, *Loop){
		"NoLinger": func(t *testing.T, l *Loop) {
			s, _ := connectedPair(t, l)
			for s.Queued() == 0 {
				s.Write(make([]byte, 4<<20))
			}
			s.Close()
			if n := l.Stats().Sources; n != 0 {
				t.Errorf("%d live sources after Close", n)
			}
		},
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

func testInputLimit(t *testing.T, l *Loop) {
	const limit = 1000
	s, far := connectedPair(t, l)
	s.SetReadMarks(0, limit)
	go far.Write(make([]byte, 10*limit))
	got := 0
	for got+s.Input().Len() < 10*limit {
		if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
			t.Fatalf("unexpected %v", ev)
		}
		n := s.Input().Len()
		if n > limit {
			t.Fatalf("%d bytes are held", n)
		}
		if n == limit {
			if !s.InputFull() {
				t.Error("InputFull is false at the limit")
			}
			noMessage(t, l)
		}
		got += s.Input().Discard(1 + n/2) // frees some room; reading resumes by itself
	}
	s.Input().Discard(limit)
	if _, err := s.Read(make([]byte, 1)); err != ErrWouldBlock {
		t.Errorf("Read of nothing gives %v", err)
	}
}

func testOutputLimit(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	const limit = 1 << 20
	s.SetWriteMarks(0, limit)
	piece := make([]byte, 64<<10)
	total := 0
	for {
		n, err := s.Write(piece)
		total += n
		if err == ErrFull {
			if n != 0 || s.Queued() < limit || s.Queued() >= limit+len(piece) {
				t.Errorf("ErrFull with %d bytes queued, %d taken", s.Queued(), n)
			}
			break
		}
		if err != nil || n != len(piece) {
			t.Fatalf("Write gives %d, %v", n, err)
		}
	}
	s.Output().Write(piece)
	if err := s.Flush(); err != ErrFull || s.Output().Len() != len(piece) {
		t.Errorf("Flush gives %v, Output has %d bytes", err, s.Output().Len())
	}
	got := drain(far)
	if ev := nextOf(t, l, s); ev != Event(Drained{s}) || s.Queued() != 0 {
		t.Fatalf("unexpected %v", ev)
	}
	if err := s.Flush(); err != nil {
		t.Error(err)
	}
	total += len(piece)
	s.Close()
	waitReleased(t, l)
	if n := <-got; n != total {
		t.Errorf("the peer got %d bytes of %d", n, total)
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

// A slow destination holds up the source, not the memory, and EOF comes last.
func testBackPressure(t *testing.T, l *Loop) {
	const total, limit = 24 << 20, 64 << 10 // more than the kernel's buffers hold
	src, from := connectedPair(t, l)
	dst, to := connectedPair(t, l)
	dst.SetWriteMarks(0, limit)
	payload := pattern(total)
	go func() {
		from.Write(payload)
		from.CloseWrite()
	}()
	var got []byte
	done := make(chan struct{})
	begin := make(chan struct{})
	go func() {
		defer close(done)
		<-begin
		got, _ = io.ReadAll(to)
		to.Close()
	}()
	full, begun := 0, false
	for {
		patience := 50 * time.Millisecond
		if begun {
			patience = 30 * time.Second
		}
		ev, ok := l.Poll(patience)
		if !ok {
			if begun {
				t.Fatal("it does not go on")
			}
			if full == 0 {
				continue // the peer is slow
			}
			begun = true
			close(begin) // now that nothing moves any more
			continue
		}
		switch ev {
		case Readable{src}:
			if _, err := io.Copy(dst, src); err == ErrFull {
				full++
			} else if err != nil {
				t.Fatal(err)
			}
			if n := dst.Queued(); n > limit+defaultMaxInput+fillBudget {
				t.Fatalf("%d bytes are queued", n)
			}
			continue
		case EOF{src}:
			if src.held.Load() != 0 {
				t.Error("EOF before the input was consumed")
			}
			dst.CloseWrite()
			src.Close()
			continue
		case Drained{dst}:
			continue
		case EOF{dst}:
			dst.Close()
		default:
			t.Fatalf("unexpected %v", ev)
		}
		break
	}
	<-done
	if !bytes.Equal(got, payload) {
		t.Errorf("%d bytes of %d have arrived", len(got), total)
	}
	if full == 0 {
		t.Error("the destination was never full")
	}
}

func testCloseFlushes(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	const total = 8 << 20
	s.Write(make([]byte, total))
	got := drain(far)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Write([]byte("x")); err != ErrClosed {
		t.Errorf("Write gives %v", err)
	}
	waitReleased(t, l)
	if n := <-got; n != total {
		t.Errorf("the peer got %d bytes of %d", n, total)
	}
}

// Unread input does not destroy the reply that is on its way.
func testCloseKeepsReply(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	send(t, far, "a request that nobody reads")
	s.Write([]byte("the reply"))
	s.Close()
	go far.Write(make([]byte, 1<<20)) // and still more
	reply := make([]byte, 100)
	n, err := io.ReadFull(far, reply[:9])
	if string(reply[:n]) != "the reply" || err != nil {
		t.Errorf("the peer got %q, %v", reply[:n], err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if n, err := far.Read(reply); n != 0 || err != io.EOF {
			t.Errorf("then it got %d bytes, %v", n, err)
		}
		far.Close()
	}()
	waitReleased(t, l)
	<-done
}

func testAbortResets(t *testing.T, l *Loop) {
	needReset(t)
	s, far := connectedPair(t, l)
	s.Write(make([]byte, 8<<20))
	s.Abort()
	if n := l.Stats().Sources; n != 0 {
		t.Errorf("%d live sources after Abort", n)
	}
	if _, err := io.Copy(io.Discard, far); !errors.Is(err, eCONNRESET) {
		t.Errorf("the peer sees %v", err)
	}
}

func testHalfClose(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	const total = 4 << 20
	s.Write(make([]byte, total))
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("x")); !errors.Is(err, ePIPE) {
		t.Errorf("Write gives %v after CloseWrite", err)
	}
	go func() {
		n, err := io.Copy(io.Discard, far)
		fmt.Fprintf(far, "%d %v", n, err)
		far.Close()
	}()
	for ev := Event(nil); ev != Event(EOF{s}); ev = nextOf(t, l, s) {
	}
	if p := string(s.Input().Next(100)); p != fmt.Sprintf("%d <nil>", total) {
		t.Errorf("the peer says %q", p)
	}
	s.Close()
}

func testPeerGone(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	far.SetLinger(0)
	far.Close()
	if ev := nextOf(t, l, s); ev != Event(Closed{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	var op *net.OpError
	var sys *os.SyscallError
	if err := s.Err(); !errors.Is(err, eCONNRESET) || !errors.As(err, &op) || !errors.As(err, &sys) || op.Net != "tcp" {
		t.Errorf("Err is %v", s.Err())
	}
	if _, err := s.Write([]byte("x")); err != s.Err() {
		t.Errorf("Write gives %v", err)
	}
	if _, err := s.Read(make([]byte, 1)); err != s.Err() {
		t.Errorf("Read gives %v", err)
	}
	if n := l.Stats().Sources; n != 0 {
		t.Errorf("%d live sources after Closed", n)
	}
	if s.Close() != nil || s.Abort() != nil {
		t.Error("Close after Closed gives an error")
	}
}

func testResetWhileFull(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	s.SetReadMarks(0, 10)
	send(t, far, "0123456789 and more")
	if ev := nextOf(t, l, s); ev != Event(Readable{s}) || !s.InputFull() {
		t.Fatalf("unexpected %v", ev)
	}
	noMessage(t, l)
	far.SetLinger(0)
	far.Close()
	for ev := nextOf(t, l, s); ev != Event(Closed{s}); ev = nextOf(t, l, s) {
		if ev != Event(Readable{s}) {
			t.Fatalf("unexpected %v", ev)
		}
	}
	if p := string(s.Input().Next(100)); p[:10] != "0123456789" {
		t.Errorf("got %q", p)
	}
}

func testBytesBeforeClosed(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	send(t, far, "last words")
	if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	far.SetLinger(0)
	far.Close()
	if ev := nextOf(t, l, s); ev != Event(Closed{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	if p := string(s.Input().Next(100)); p != "last words" {
		t.Errorf("got %q", p)
	}
}

// A release function may call the stream and the loop.
func testReleaseWithoutLocks(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	var calls atomic.Int32
	release := func() {
		calls.Add(1)
		s.Queued()
		s.Write([]byte("from the release function"))
		l.Stats()
		l.Trigger().Fire()
	}
	s.Output().Append(make([]byte, 8<<20), release)
	s.Output().Append([]byte("small"), release)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	drain(far)
	for calls.Load() < 2 {
		if _, ok := l.Poll(10 * time.Second); !ok {
			t.Fatal("the memory is not released")
		}
	}
	s.Output().Append([]byte("dropped"), func() { calls.Add(1); s.Close() })
	s.Pause(Write)
	s.Flush()
	s.Abort()
	if n := calls.Load(); n != 3 {
		t.Errorf("%d calls of release functions", n)
	}
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

func testReadFrom(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	s.SetWriteMarks(0, 100<<10)
	got := drain(far)
	var total int64
	src := bytes.NewReader(make([]byte, 4<<20))
	for src.Len() > 0 {
		n, err := s.ReadFrom(src)
		if total += n; err != nil && err != ErrFull {
			t.Fatal(err)
		}
		if err == ErrFull {
			nextOf(t, l, s)
		}
	}
	s.Close()
	waitReleased(t, l)
	if n := <-got; n != 4<<20 || total != 4<<20 {
		t.Errorf("ReadFrom counts %d, the peer got %d bytes", total, n)
	}
}

func testIdleHoldsNothing(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	send(t, far, "ping")
	nextOf(t, l, s)
	s.WriteTo(s)
	io.ReadFull(far, make([]byte, 4))
	if s.inbox.head != nil || s.in != nil || s.out.head != nil || s.extra.spent != nil {
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

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestStreamWrite(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"OutputLimit":         testOutputLimit,
		"BackPressure":        testBackPressure,
		"ReadFrom":            testReadFrom,
		"ReleaseWithoutLocks": testReleaseWithoutLocks,
		"WriteLowMark":        testWriteLowMark,
		"PauseWrite":          testPauseWrite,
		"UnblockAfterClosed":  testUnblockAfterClosed,
		"UnblockBelowMark":    testUnblockBelowMark,
		"BelowMarkOnce":       testBelowMarkOnce,
		"SendFileOfNothing":   testSendFileOfNothing,
		"FinishedFlush":       testFinishedFlush,
	})
}

// TestWriteFromMany: what one Write sends is not mixed with another's.
func TestWriteFromMany(t *testing.T) {
	const writers, writes, size = 8, 50, 5000
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){"WritesStayWhole": func(t *testing.T, l *Loop) {
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
	if held, st := src.in.held.Load(), l.Stats(); held != 0 || st.BytesIn != copied || st.BytesOut != uint64(copied+sent.Load()) {
		t.Errorf("%d bytes are held, %d were read, %d sent; want 0, %d and %d", held, st.BytesIn, st.BytesOut, copied, copied+sent.Load())
	}
}

// A breakingPipe takes a number of bytes, in small pieces, and then fails.
type breakingPipe struct {
	transport
	left int
}

func (p *breakingPipe) write(b []byte) (int, error) {
	if p.left == 0 {
		return 0, eCONNRESET
	}
	n := min(len(b), p.left, 10)
	p.left -= n
	return n, nil
}

func (p *breakingPipe) flush(out *chain, limit int) (int, *chunk, error) {
	n, err := p.write(make([]byte, min(out.n, limit)))
	if n > 0 {
		freeChain(out.cut(n))
	}
	return n, nil, err
}

func TestWriteFailsInTheMiddle(t *testing.T) {
	inBubble(t, Config{}, map[string]func(*testing.T, *Loop){
		"": func(t *testing.T, l *Loop) {
			for before, rooms := range map[int][]int{0: {0, 5, 10, 13}, 7: {0, 5, 10}} { // before: bytes that waited already
				for _, room := range rooms {
					a, b := l.Pipe(nil, nil)
					a.mu.Lock()
					a.extra.transport = &breakingPipe{a.extra.transport, room}
					a.out.queue.add(make([]byte, before))
					a.mu.Unlock()
					n, err := a.Write(make([]byte, 100))
					if want := max(room-before, 0); n != want || !errors.Is(err, eCONNRESET) {
						t.Errorf("Write with room for %d after %d gives %d, %v; want %d", room, before, n, err, want)
					}
					if n, err := a.Write(make([]byte, 100)); n != 0 || !errors.Is(err, eCONNRESET) {
						t.Errorf("another Write gives %d, %v", n, err)
					}
					b.Abort()
				}
			}
		},
	})
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
			if src.in.held.Load() != 0 {
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

func testWriteLowMark(t *testing.T, l *Loop) {
	const low = 100 << 10
	s, far := connectedPair(t, l)
	s.SetWriteMarks(low, 0)
	s.Write(make([]byte, 8<<20))
	if s.Queued() <= low {
		t.Skip("the kernel has taken it all")
	}
	noMessage(t, l)
	go io.Copy(io.Discard, far)
	if ev := nextOf(t, l, s); ev != Event(Drained{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	if n := s.Queued(); n > low {
		t.Errorf("Drained with %d bytes queued", n)
	}
}

func testPauseWrite(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	s.Pause(Write)
	s.Write([]byte("held"))
	s.CloseWrite()
	if n := s.Queued(); n != 4 {
		t.Errorf("%d bytes are queued", n)
	}
	noMessage(t, l)
	s.Resume(Write)
	if p, err := io.ReadAll(far); string(p) != "held" || err != nil {
		t.Errorf("the peer got %q, %v", p, err)
	}
	if ev := nextOf(t, l, s); ev != Event(Drained{s}) {
		t.Errorf("unexpected %v", ev)
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

// refusedBelowMark returns a stream that is to tell of 5 bytes and more, has 3, and
// whose output dst, which is full and paused, has refused. It receives from from.
func refusedBelowMark(t *testing.T, l *Loop) (src *Stream, from *net.TCPConn, dst *Stream) {
	t.Helper()
	src, from = connectedPair(t, l)
	dst, _ = connectedPair(t, l)
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
	return src, from, dst
}

// What WriteTo has left is told again once its destination has drained, however
// little it is, and the EOF behind it comes.
func testUnblockBelowMark(t *testing.T, l *Loop) {
	for _, paused := range []bool{false, true} {
		src, from, dst := refusedBelowMark(t, l)
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
	}
}

// The mark counts again once that was told, or consumed before.
func testBelowMarkOnce(t *testing.T, l *Loop) {
	for _, told := range []bool{false, true} {
		src, from, dst := refusedBelowMark(t, l)
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

func testSendFileOfNothing(t *testing.T, l *Loop) {
	f := tempFile(t, nil)
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

// testFinishedFlush: what is finished at one end arrives at the other, and then the end.
func testFinishedFlush(t *testing.T, l *Loop) {
	for _, name := range []string{"pipe", "socket"} {
		a, b := l.Pipe(nil, nil)
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

// TestBlockedAgain: a stream that has found its destination full, and then was consumed while
// that still had output, is told again the next time.
func TestBlockedAgain(t *testing.T) {
	l := dialLoop(t, "")
	from, src := l.Pipe(nil, nil)
	dst, to := l.Pipe(nil, nil)
	to.Pause(Read)
	fill := func() {
		t.Helper()
		dst.SetWriteMarks(0, 100)
		stuff(t, dst)
		from.Write([]byte("abc"))
		if ev, _ := l.Poll(testPatience); ev != Event(Readable{src}) {
			t.Fatalf("received %v", ev)
		}
		if _, err := io.Copy(dst, src); err != ErrFull {
			t.Fatalf("Copy gives %v", err)
		}
	}
	drain := func() (readable bool) {
		to.Resume(Read)
		for dst.Queued() > 0 || !readable {
			ev, ok := l.Poll(100 * time.Millisecond)
			if !ok {
				break
			}
			readable = readable || ev == Event(Readable{src})
			to.Input().Discard(to.Input().Len())
		}
		to.Pause(Read)
		return readable
	}
	fill()
	dst.SetWriteMarks(0, 1000)
	if _, err := io.Copy(dst, src); err != nil {
		t.Fatalf("Copy gives %v", err)
	}
	if drain() {
		t.Error("Readable of what was consumed")
	}
	fill()
	if !drain() {
		t.Error("no Readable of what was refused")
	}
}

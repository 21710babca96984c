// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"
)

func TestStreamClose(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"CloseFlushes":       testCloseFlushes,
		"CloseKeepsTheReply": testCloseKeepsReply,
		"AbortResets":        testAbortResets,
		"HalfClose":          testHalfClose,
		"PeerGone":           testPeerGone,
		"ResetWhileFull":     testResetWhileFull,
		"BytesBeforeClosed":  testBytesBeforeClosed,
		"NothingAfterClosed": testNothingAfterClosed,
		"ReleaseAtClose":     testReleaseAtClose,
		"PausedSeesReset":    testPausedSeesReset,
		"ClosingRests":       testClosingRests,
		"EndAfterOutput":     testEndAfterOutput,
	})
	onMethods(t, Config{Linger: time.Hour}, map[string]func(*testing.T, *Loop){
		"BothClose":           testBothClose,
		"CloseReadsAndWrites": testCloseReadsAndWrites,
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

// TestReset has the system reset connections whose listener is closed before it has
// accepted them, which is a reset and nothing else on Wine, too.
func TestReset(t *testing.T) {
	tests := make(map[string]func(*testing.T, *Loop))
	for name, before := range map[string]func(*testing.T, *Loop, *Stream){
		"Idle": func(t *testing.T, l *Loop, s *Stream) {},
		"Waiting": func(t *testing.T, l *Loop, s *Stream) {
			noMessage(t, l)
		},
		"Paused": func(t *testing.T, l *Loop, s *Stream) {
			s.Pause(Read)
			noMessage(t, l)
		},
		"OutputWaits": func(t *testing.T, l *Loop, s *Stream) {
			for s.Queued() == 0 {
				s.Write(make([]byte, 1<<20))
			}
			noMessage(t, l)
		},
		"HalfClosed": func(t *testing.T, l *Loop, s *Stream) {
			s.CloseWrite()
			noMessage(t, l)
		},
	} {
		tests[name] = func(t *testing.T, l *Loop) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			defer ln.Close()
			c, err := net.Dial("tcp", ln.Addr().String())
			must(t, err)
			s, err := l.Wrap(c, nil)
			must(t, err)
			before(t, l, s)
			ln.Close()
			if ev := nextOf(t, l, s); ev != Event(Closed{s}) {
				t.Fatalf("unexpected %v", ev)
			}
			var op *net.OpError
			var sys *os.SyscallError
			if err := s.Err(); !errors.Is(err, eCONNRESET) || !errors.As(err, &op) || !errors.As(err, &sys) {
				t.Errorf("Err is %v", err)
			}
			if n := l.Stats().Sources; n != 0 {
				t.Errorf("%d live sources after Closed", n)
			}
			noMessage(t, l)
		}
	}
	onMethods(t, Config{}, tests)
}

// TestResetIsNoEnd: a reset that comes between the poller's report and the read, or the
// write, is told as what it is. The kernel tells it once; a second read finds an end of
// input, and a second write a broken pipe.
func TestResetIsNoEnd(t *testing.T) {
	reset := func(c *net.TCPConn) {
		c.SetLinger(0)
		c.Close()
	}
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Read": func(t *testing.T, l *Loop) {
			if runtime.GOOS == "windows" {
				t.Skip("on Wine, which looks at the socket itself, a read after a reset finds an end")
			}
			s, far := connectedPair(t, l)
			s.SetReadMarks(0, 10)
			send(t, far, "0123456789")
			if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
				t.Fatalf("unexpected %v", ev)
			}
			reset(far)
			s.Input().Discard(10) // so it reads on, without having asked the poller
			if ev := nextOf(t, l, s); ev != Event(Closed{s}) || !errors.Is(s.Err(), eCONNRESET) {
				t.Errorf("%v; Err is %v", ev, s.Err())
			}
		},
		"Write": func(t *testing.T, l *Loop) {
			s, far := connectedPair(t, l)
			reset(far)
			if _, err := s.Write([]byte("x")); !errors.Is(err, eCONNRESET) {
				t.Errorf("Write gives %v", err)
			}
		},
		"WriteTo": func(t *testing.T, l *Loop) {
			from, first := connectedPair(t, l)
			to, second := connectedPair(t, l)
			send(t, first, "x")
			if ev := nextOf(t, l, from); ev != Event(Readable{from}) {
				t.Fatalf("unexpected %v", ev)
			}
			reset(second)
			if _, err := from.WriteTo(to); !errors.Is(err, eCONNRESET) {
				t.Errorf("WriteTo gives %v", err)
			}
		},
	})
}

// A slowEnd is a transport that fails when it is written to, and whose close takes as
// long as it takes the loop to make some turns, or to end.
type slowEnd struct {
	l    *Loop
	over chan struct{} // closed when the range has ended
}

func (slowEnd) fill(*chain, int) (int, bool, error)    { return 0, false, eAGAIN }
func (slowEnd) write([]byte) (int, error)              { return 0, eCONNRESET }
func (slowEnd) flush(*chain, int) (int, *chunk, error) { return 0, nil, eCONNRESET }
func (slowEnd) failure() error                         { return nil }
func (slowEnd) closeWrite() error                      { return nil }
func (slowEnd) halfCloses() bool                       { return true }

func (e slowEnd) close(bool) {
	for until := e.l.Stats().Turns + 3; e.l.Stats().Turns < until; runtime.Gosched() {
		select {
		case <-e.over:
			return
		default:
			e.l.poller.wake()
		}
	}
}

// TestEmptyWithClosed: a loop is not empty as long as the Closed of its last stream has
// not been received, whichever goroutine has met with the failure.
func TestEmptyWithClosed(t *testing.T) {
	for form, receive := range ranges {
		for how, fail := range map[string]func(*Stream){
			"Write": func(s *Stream) { s.Write([]byte("x")) },
			"Flush": func(s *Stream) { s.Output().WriteString("x"); s.Flush() },
			"Close": func(s *Stream) {
				s.Pause(Write)
				s.Write([]byte("x"))
				s.Close() // there will be no message
			},
		} {
			t.Run(form+"/"+how, func(t *testing.T) {
				l, err := New(&Config{IgnoreEnv: true, ExitOnEmpty: true})
				if err != nil {
					t.Skip(err)
				}
				defer l.Close()
				over := make(chan struct{})
				s := l.newStream(noFD)
				s.more().transport = slowEnd{l, over}
				l.mu.Lock()
				l.streams.Add(1)
				l.enqueue(&s.source, msgConnected)
				l.unlock()
				closed := 0
				done := make(chan struct{})
				receive(l, func(ev Event) {
					switch ev {
					case Connected{s}:
						go func() {
							defer close(done)
							fail(s)
						}()
					case Closed{s}:
						closed++
					default:
						t.Errorf("received %v", ev)
					}
				})
				close(over)
				<-done
				want := 1
				if how == "Close" {
					want = 0
				}
				if closed != want {
					t.Errorf("%d messages said that the stream has ended; want %d", closed, want)
				}
			})
		}
	}
}

// A peer that does not get all that was written does not get a clean end either.
func TestDroppedOutputResets(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows may take all output at once")
	}
	tests := make(map[string]func(*testing.T, *Loop))
	for name, end := range map[string]func(*testing.T, *Loop, *Stream){
		"Linger": func(t *testing.T, l *Loop, s *Stream) {
			s.Close()
			waitReleased(t, l)
		},
		"LoopClosed": func(t *testing.T, l *Loop, s *Stream) { l.Close() },
		"FilterLinger": func(t *testing.T, l *Loop, s *Stream) {
			filterOn(t, s, xorFilter(0)).Close()
			waitReleased(t, l)
		},
	} {
		tests[name] = func(t *testing.T, l *Loop) {
			s, c := connectedPair(t, l)
			s.Write(pattern(16 << 20))
			if s.Queued() == 0 {
				t.Fatal("all was sent at once")
			}
			end(t, l, s)
			if _, err := io.Copy(io.Discard, c); !errors.Is(err, eCONNRESET) {
				t.Errorf("the peer has got %v", err)
			}
		}
	}
	onMethods(t, Config{Linger: 10 * time.Millisecond}, tests)
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

// reset has far reset its connection, and returns when s has sent Closed.
func reset(t *testing.T, l *Loop, s *Stream, far *net.TCPConn) {
	t.Helper()
	far.SetLinger(0)
	far.Close()
	if ev := nextOf(t, l, s); ev != Event(Closed{s}) {
		t.Fatalf("unexpected %v", ev)
	}
}

// Closed is the last message, whatever is called then.
func testNothingAfterClosed(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	send(t, far, "last words")
	nextOf(t, l, s)
	reset(t, l, s, far)
	s.Pause(Read | Write)
	s.Resume(Read | Write)
	noMessage(t, l)
	s.SetReadMarks(1, 5)
	s.SetIdleTimeouts(1, 1)
	s.Input().Discard(5)
	s.SetPriority(0)
	noMessage(t, l)
	if p := string(s.Input().Next(100)); p != "words" {
		t.Errorf("got %q", p)
	}
}

// Two streams that close with much unsent output, of which neither reads any
// more, get rid of it all the same.
func testBothClose(t *testing.T, l *Loop) {
	const total = 8 << 20
	a, b := l.Pipe(nil, nil)
	ln := listen(t, l, "tcp", nil)
	c := dial(t, ln)
	d := acceptOne(t, l)
	ln.Close()
	e, err := l.Wrap(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := []*Stream{a, b, d, e}
	for _, s := range all {
		if _, err := s.Write(make([]byte, total)); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range all {
		s.Close()
	}
	waitReleased(t, l)
}

// A stream that is closed takes what the peer sends even before its own output is
// sent: the peer may be one that reads only once it has written.
func testCloseReadsAndWrites(t *testing.T, l *Loop) {
	const total = 16 << 20
	s, far := connectedPair(t, l)
	s.Write(make([]byte, total))
	s.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if n, err := far.Write(make([]byte, total)); n != total || err != nil {
			t.Errorf("the peer's Write gives %d, %v", n, err)
		}
		far.CloseWrite()
		if n, err := io.Copy(io.Discard, far); n != total || err != nil {
			t.Errorf("the peer got %d bytes of %d, %v", n, total, err)
		}
	}()
	waitReleased(t, l)
	<-done
}

// What a closing end of a pipe discards is released without a lock, as
// everything is.
func testReleaseAtClose(t *testing.T, l *Loop) {
	a, b := l.Pipe(nil, nil)
	calls := 0
	a.Output().Append(make([]byte, 1000), func() {
		calls++
		a.Queued()
		b.Queued()
	})
	if err := a.Flush(); err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	go func() {
		b.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Fatal("Close does not return")
	}
	if calls != 1 {
		t.Errorf("released %d times", calls)
	}
}

// testClosingRests: nor does it of one that is being closed, whose peer has finished, and
// takes nothing.
func testClosingRests(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	must(t, far.CloseWrite())
	if ev := nextOf(t, l, s); ev != Event(EOF{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	s.Write(make([]byte, 16<<20))
	noMessage(t, l)
	s.Close()
	idles(t, l)
	if s.Queued() == 0 {
		t.Error("nothing is unsent")
	}
}

// testEndAfterOutput: the end comes after the output, which is sent after CloseWrite has
// returned, and Output that was never flushed is not sent.
func testEndAfterOutput(t *testing.T, l *Loop) {
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

func testPausedSeesReset(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	s.Pause(Read)
	send(t, far, "last words")
	far.SetLinger(0)
	far.Close()
	if ev := nextOf(t, l, s); ev != Event(Closed{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	if !errors.Is(s.Err(), eCONNRESET) {
		t.Errorf("Err is %v", s.Err())
	}
}

// TestDone checks that what Done returns is closed with the last of all that belongs to the
// stream, whoever ends it.
func TestDone(t *testing.T) {
	onMethods(t, Config{Linger: time.Hour}, map[string]func(*testing.T, *Loop){
		"NetConn": func(t *testing.T, l *Loop) {
			needNetConn(t)
			// NetConn has the locks of all of them.
			s, far := connectedPair(t, l)
			up := filterOn(t, filterOn(t, s, xorFilter(1)), xorFilter(2))
			noMessage(t, l)
			done := up.Done()
			netConn(t, l, up).Close()
			<-done
			<-up.Done()
			far.Close()
		},
		"UntilLowerEnds": func(t *testing.T, l *Loop) {
			s, far := connectedPair(t, l)
			up := filterOn(t, s, xorFilter(1))
			before := up.Done()
			noMessage(t, l)
			up.Abort()
			after := up.Done()
			far.Close()
			for _, done := range []<-chan struct{}{before, after} {
				for waits := true; waits; {
					select {
					case <-done:
						waits = false
					default:
						l.Poll(time.Millisecond)
					}
				}
			}
			if !s.gone() {
				t.Error("the stream below is there")
			}
		},
		"LoopClosed": func(t *testing.T, l *Loop) {
			s, far := connectedPair(t, l)
			up := filterOn(t, s, xorFilter(1))
			done := up.Done()
			l.Close()
			<-done
			far.Close()
		},
	})
}

// When a stream fails, all that has been received is there, but a peer that goes on sending
// meanwhile does not keep it from ending.
func TestFailReadsNotForEver(t *testing.T) {
	l := dialLoop(t, "")
	s, _ := l.Pipe(nil, nil)
	s.extra.transport = endlessInput{s.extra.transport}
	f := tempFile(t, []byte("x"))
	must(t, s.Output().AppendFile(f, 0, 1, nil))
	must(t, os.Truncate(f.Name(), 0))
	if err := s.Flush(); err == nil {
		t.Fatal("a file that is too short was sent")
	}
	if n := int(s.in.held.Load()); n < failBudget || n > failBudget+fillBudget {
		t.Errorf("%d bytes were read", n)
	}
	s.Input().Reset()
}

// An endlessInput always has more.
type endlessInput struct{ transport }

var endlessBytes = make([]byte, fillBudget)

func (endlessInput) fill(in *chain, limit int) (int, bool, error) {
	c := newChunk(0)
	c.buf, c.w, c.mem = endlessBytes, len(endlessBytes), newMemory()
	in.push(c)
	return len(endlessBytes), true, nil
}

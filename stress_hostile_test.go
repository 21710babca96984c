// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// This file has peers that mean harm, over real sockets. While they are at it,
// somebody else must be served; what they cost is counted, in bytes and in turns of
// the loop; and nothing may be left of them, although they hold on to their ends.

var hostileScale = flag.Int("hostile.scale", 1, "how many times as many connections and segments the hostile peers have")

const (
	siegeLine   = 4 << 10  // the longest line, and MaxInput
	siegeOutput = 64 << 10 // MaxOutput
)

// A siege is a server that sends lines back, its attackers, and a friend.
type siege struct {
	t           *testing.T
	l           *Loop
	ln          *Listener // for the attackers
	descriptors int       // that were open before
	friend      net.Conn
	heard       *bufio.Reader
	rounds      int // that the friend has made

	mu    sync.Mutex
	conns []net.Conn // of the attackers

	accepted, failed, timedOut, tooLong, outlived, broken atomic.Int64
	open                                                  atomic.Int64 // the most streams of ln's that were open at once
	most                                                  atomic.Int64 // the most memory that a stream's buffers had
}

// newSiege returns a siege that has not begun. The friend is connected through a
// listener of its own.
func newSiege(t *testing.T, l *Loop, conf ListenConfig) *siege {
	t.Helper()
	conf.MaxInput, conf.MaxOutput = siegeLine, siegeOutput
	g := &siege{t: t, l: l, descriptors: openDescriptors(), ln: listen(t, l, "tcp", &conf)}
	friends := listen(t, l, "tcp", nil)
	serve(t, l, g.handle)
	g.friend = dial(t, friends)
	g.heard = bufio.NewReader(g.friend)
	g.roundTrip(g.friend, g.heard)
	friends.Close()
	return g
}

func (g *siege) handle(ev Event) {
	switch ev := ev.(type) {
	case Accepted:
		if ev.Stream.Listener() == g.ln {
			g.accepted.Add(1)
			raise(&g.open, int(g.ln.division.streams.Load()))
		}
	case Readable:
		g.answer(ev.Stream)
	case Drained:
		g.answer(ev.Stream)
	case EOF:
		ev.Stream.Data = "last"
		g.answer(ev.Stream)
	case TimedOut:
		g.timedOut.Add(1)
		ev.Stream.Abort()
	case Closed:
		if errors.Is(ev.Stream.Err(), os.ErrDeadlineExceeded) {
			g.outlived.Add(1)
		} else {
			g.broken.Add(1)
		}
	case AcceptFailed:
		g.failed.Add(1)
	}
}

// answer sends back the lines of s, as far as it takes them. Some lines mean more.
func (g *siege) answer(s *Stream) {
	if s.Data == "deaf" || s.Flush() != nil {
		return
	}
	in, out := s.Input(), s.Output()
	for line := range in.Lines(LF) {
		switch string(line) {
		case "fin":
			s.CloseWrite()
		case "bye":
			s.Close()
		case "deaf":
			s.Data = "deaf"
		default:
			out.Write(line)
			out.WriteByte('\n')
		}
	}
	raise(&g.most, bufferMemory(s))
	switch {
	case s.Flush() == ErrFull:
		// Drained comes.
	case s.Data == "last":
		s.Close()
	case in.Len() >= siegeLine:
		g.tooLong.Add(1)
		s.Abort()
	}
	raise(&g.most, bufferMemory(s))
}

// bufferMemory returns the size of the memory that the buffers of s have. Of a stream that
// has failed it is 0: what the kernel held then is read as a whole, and the size of its
// receive buffer bounds that.
func bufferMemory(s *Stream) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone() {
		return 0
	}
	chains := []chain{s.in.unread, s.out.queue}
	for _, b := range []*Buffer{s.in.taken, s.out.pieces} {
		if b != nil {
			chains = append(chains, b.chain)
		}
	}
	for _, q := range chains {
		for c := q.head; c != nil; c = c.next {
			n += len(c.buf)
		}
	}
	return n
}

// raise makes n the value of a, if it is greater.
func raise(a *atomic.Int64, n int) {
	for old := a.Load(); int64(n) > old && !a.CompareAndSwap(old, int64(n)); old = a.Load() {
	}
}

// roundTrip says something to the server and hears it.
func (g *siege) roundTrip(c net.Conn, heard *bufio.Reader) {
	g.t.Helper()
	g.rounds++
	want := fmt.Sprintf("round %d\n", g.rounds)
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, want); err != nil {
		g.t.Fatal("a friend is not served: ", err)
	}
	if line, err := heard.ReadString('\n'); err != nil || line != want {
		g.t.Fatalf("a friend is not served: %q, %v", line, err)
	}
}

// dial connects an attacker, who does not let go before the end.
func (g *siege) dial() *net.TCPConn {
	c, err := net.Dial("tcp", g.ln.Addr().String())
	if err != nil {
		if !errors.Is(err, eCONNRESET) { // the server may have been so fast
			g.t.Error(err)
		}
		return new(net.TCPConn) // on which all calls fail
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns = append(g.conns, c)
	return c.(*net.TCPConn)
}

// attack runs f n times at once, and meanwhile has the friend talk to the server.
func (g *siege) attack(n int, f func(i int, c *net.TCPConn)) {
	g.t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i, g.dial()) })
	}
	over := make(chan struct{})
	go func() {
		wg.Wait()
		close(over)
	}()
	defer func() {
		if g.t.Failed() {
			g.letGo()
		}
		<-over
	}()
	for rounds, until := 0, time.Now().Add(30*time.Second); ; rounds++ {
		if time.Now().After(until) {
			var b bytes.Buffer
			g.l.Dump(&b)
			g.t.Fatalf("attackers are still at it\n%s", b.String()[:min(b.Len(), 4000)])
		}
		g.roundTrip(g.friend, g.heard)
		select {
		case <-over:
			if rounds >= 20 {
				return
			}
		default:
		}
	}
}

func (g *siege) letGo() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.conns {
		c.Close()
	}
	g.conns = nil
}

// over checks that nothing is left of the attackers.
func (g *siege) over() {
	g.t.Helper()
	wait := func(what string, done func() bool) {
		g.t.Helper()
		for until := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
			if time.Now().After(until) {
				var b bytes.Buffer
				g.l.Dump(&b)
				g.t.Fatalf("%s\n%s", what, b.String()[:min(b.Len(), 4000)])
			}
		}
	}
	wait("attackers are left", func() bool { return g.l.Stats().Sources == 2 })
	g.roundTrip(g.friend, g.heard)
	g.friend.Close()
	wait("the friend is left", func() bool { return g.l.Stats().Sources == 1 })
	g.l.mu.Lock()
	streams, timers := g.ln.division.streams.Load(), g.l.timers.len()
	g.l.mu.Unlock()
	if streams != 0 || timers != 0 {
		g.t.Errorf("%d streams are counted, %d timers run", streams, timers)
	}
	if n := g.failed.Load(); n != 0 {
		g.t.Errorf("%d AcceptFailed: %v", n, g.ln.Err())
	}
	// Chunks have sizes four times one another, and there is one in each place that is
	// not full.
	if n, most := g.most.Load(), int64(4*(siegeLine+siegeOutput)+3*classSize(streamClass)); n > most {
		g.t.Errorf("the buffers of a stream had %d bytes; want at most %d", n, most)
	}
	g.letGo()
	g.l.Close()
	wait("descriptors are left", func() bool { return openDescriptors() <= g.descriptors })
	st := g.l.Stats()
	g.t.Logf("%d accepted, %d timed out, %d too long, %d outlived, %d broken, %d at once; %d rounds of the friend; buffers of %d bytes; %d turns",
		g.accepted.Load(), g.timedOut.Load(), g.tooLong.Load(), g.outlived.Load(), g.broken.Load(), g.open.Load(), g.rounds, g.most.Load(), st.Turns)
}

// turns checks that the loop has not made more turns than the friend, the attackers
// and n things that they have done account for.
func (g *siege) turns(n int) {
	g.t.Helper()
	most := uint64(4*(g.rounds+n) + 20*int(g.accepted.Load()) + 100)
	if turns := g.l.Stats().Turns; turns > most {
		g.t.Errorf("%d turns; want at most %d", turns, most)
	}
}

// want checks a count.
func (g *siege) want(what string, n *atomic.Int64, want int) {
	g.t.Helper()
	if got := n.Load(); got != int64(want) {
		g.t.Errorf("%s: %d; want %d", what, got, want)
	}
}

// untilGone reads what comes until the server ends the connection.
func untilGone(c net.Conn) { io.Copy(io.Discard, c) }

// flood writes, and no line end, until the server ends the connection.
func flood(c net.Conn) {
	for p := make([]byte, 1<<10); ; {
		if _, err := c.Write(p); err != nil {
			return
		}
	}
}

// few is how many attackers there are.
func few(n int) int {
	if runtime.GOOS == "windows" {
		n = max(n/4, 1) // under Wine each message costs a millisecond
	}
	return n * *hostileScale
}

func TestHostile(t *testing.T) {
	onMethods(t, Config{Linger: 50 * time.Millisecond}, map[string]func(*testing.T, *Loop){
		"Silent":       testHostileSilent,
		"Trickle":      testHostileTrickle,
		"NeverReads":   testHostileNeverReads,
		"NoLineEnd":    testHostileNoLineEnd,
		"Deaf":         testHostileDeaf,
		"HalfOpen":     testHostileHalfOpen,
		"TinySegments": testHostileTinySegments,
		"TinyReads":    testHostileTinyReads,
		"Resets":       testHostileResets,
		"Connects":     testHostileConnects,
	})
}

// Those who say nothing are found by the idle timeout.
func testHostileSilent(t *testing.T, l *Loop) {
	g := newSiege(t, l, ListenConfig{MaxStreams: 1000, ReadIdle: 30 * time.Millisecond})
	n := few(40)
	g.attack(n, func(i int, c *net.TCPConn) {
		if i%2 == 0 {
			c.Write([]byte("half a line"))
		}
		untilGone(c)
	})
	g.over()
	g.want("timed out", &g.timedOut, n)
	g.turns(n)
}

// Those who say a byte now and then are found by their age.
func testHostileTrickle(t *testing.T, l *Loop) {
	g := newSiege(t, l, ListenConfig{MaxStreams: 1000, ReadIdle: time.Hour, Lifetime: 100 * time.Millisecond})
	n := few(40)
	var sent atomic.Int64
	g.attack(n, func(_ int, c *net.TCPConn) {
		for {
			if _, err := c.Write([]byte("x")); err != nil {
				return
			}
			sent.Add(1)
			time.Sleep(2 * time.Millisecond)
		}
	})
	g.over()
	g.want("outlived", &g.outlived, n)
	g.turns(int(sent.Load()))
}

// Those who ask all the time and never read an answer are not read from any more, and
// are found by the write timeout.
func testHostileNeverReads(t *testing.T, l *Loop) {
	g := newSiege(t, l, ListenConfig{MaxStreams: 1000, ReadIdle: time.Hour, WriteIdle: 50 * time.Millisecond})
	n := few(8)
	line := append(bytes.Repeat([]byte("x"), 1000), '\n')
	g.attack(n, func(_ int, c *net.TCPConn) {
		// Or many of them take more memory than the system lets sockets have.
		c.SetReadBuffer(64 << 10)
		c.SetWriteBuffer(64 << 10)
		for {
			if _, err := c.Write(line); err != nil {
				return
			}
		}
	})
	g.over()
	g.want("timed out", &g.timedOut, n)
}

// A line that never ends fills the input, and no more than that.
func testHostileNoLineEnd(t *testing.T, l *Loop) {
	g := newSiege(t, l, ListenConfig{MaxStreams: 1000})
	n := few(40)
	g.attack(n, func(_ int, c *net.TCPConn) { flood(c) })
	g.over()
	g.want("too long", &g.tooLong, n)
	g.turns(8 * n)
}

// If the server does not look at a full input it costs nothing, and ends with the
// stream's lifetime, although full inputs do not time out.
func testHostileDeaf(t *testing.T, l *Loop) {
	g := newSiege(t, l, ListenConfig{MaxStreams: 1000, Lifetime: 200 * time.Millisecond})
	n := few(20)
	g.attack(n, func(_ int, c *net.TCPConn) {
		c.Write([]byte("deaf\n"))
		flood(c)
	})
	g.over()
	g.want("outlived", &g.outlived, n)
	g.turns(8 * n)
}

// Those who finish and do not let go, or do not finish, lose their streams all the
// same.
func testHostileHalfOpen(t *testing.T, l *Loop) {
	g := newSiege(t, l, ListenConfig{MaxStreams: 1000, ReadIdle: 50 * time.Millisecond})
	n := few(15)
	g.attack(3*n, func(i int, c *net.TCPConn) {
		switch i % 3 {
		case 0: // the server closes at EOF
			c.CloseWrite()
		case 1: // the server closes, and waits no longer than Linger
			c.Write([]byte("bye\n"))
		case 2: // the server finishes; then the client is idle
			c.Write([]byte("fin\n"))
		}
		untilGone(c)
	})
	g.over()
	if got := g.timedOut.Load(); got < int64(n) { // maybe more: clients that are slow to speak
		t.Errorf("timed out: %d; want %d", got, n)
	}
}

// Segments of a byte each cost a message each at most, and all arrive.
func testHostileTinySegments(t *testing.T, l *Loop) {
	g := newSiege(t, l, ListenConfig{MaxStreams: 1000, ReadIdle: time.Hour, WriteIdle: time.Hour})
	segments := few(4000)
	const conns, line = 3, 50
	g.attack(conns, func(_ int, c *net.TCPConn) {
		var got bytes.Buffer
		read := make(chan error, 1)
		go func() {
			_, err := got.ReadFrom(c)
			read <- err
		}()
		text := append(bytes.Repeat([]byte("x"), line-1), '\n')
		for i := range segments {
			if _, err := c.Write(text[i%line : i%line+1]); err != nil {
				t.Error(err)
				break
			}
		}
		c.CloseWrite()
		if err := <-read; err != nil {
			t.Error(err)
		}
		if want := bytes.Repeat(text, segments/line); !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%d bytes came back; want %d", got.Len(), len(want))
		}
	})
	g.over()
	g.turns(conns * segments)
}

// Bytes that are read one by one do not get memory one by one.
func testHostileTinyReads(t *testing.T, l *Loop) {
	const size = 2000
	ln := listen(t, l, "tcp", &ListenConfig{MaxInput: size})
	c := dial(t, ln)
	s := acceptOne(t, l)
	for n := 1; n <= size; n++ {
		send(t, c, "x")
		if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
			t.Fatalf("unexpected %v", ev)
		}
		if n%2 == 0 {
			s.Input() // which takes it out of the inbox
		}
	}
	if !s.InputFull() || s.Input().Len() != size {
		t.Errorf("full: %v, %d bytes", s.InputFull(), s.Input().Len())
	}
	if n := bufferMemory(s); n > 4*size {
		t.Errorf("%d bytes have %d of memory", size, n)
	}
	s.Abort()
}

// A reset is the end in every state.
func testHostileResets(t *testing.T, l *Loop) {
	g := newSiege(t, l, ListenConfig{MaxStreams: 20, ReadIdle: time.Hour, WriteIdle: time.Hour, Lifetime: time.Hour})
	ways := []func(c *net.TCPConn){
		func(c *net.TCPConn) {},
		func(c *net.TCPConn) { c.Write([]byte("half a line")) },
		func(c *net.TCPConn) { c.Write([]byte("a line\n")) },
		func(c *net.TCPConn) { // the server has unsent answers
			c.SetReadBuffer(4 << 10)
			line := append(bytes.Repeat([]byte("x"), 1000), '\n')
			for range 1000 {
				c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
				c.Write(line)
			}
		},
		func(c *net.TCPConn) { // the server is full
			c.Write([]byte("deaf\n"))
			c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
			c.Write(make([]byte, 1<<20))
		},
		func(c *net.TCPConn) { c.CloseWrite() },
		func(c *net.TCPConn) {
			c.Write([]byte("fin\n"))
			untilGone(c)
		},
		func(c *net.TCPConn) {
			c.Write([]byte("bye\n"))
			untilGone(c)
		},
	}
	n := few(8)
	g.attack(n*len(ways), func(i int, c *net.TCPConn) {
		ways[i%len(ways)](c)
		c.SetLinger(0)
		c.Close()
	})
	g.over()
}

// As many connects as can be, some of which hold on: no more streams than may be are
// open, and new friends have their turn.
func testHostileConnects(t *testing.T, l *Loop) {
	const most = 16
	g := newSiege(t, l, ListenConfig{MaxStreams: most, ReadIdle: 20 * time.Millisecond})
	connects, began := few(100), time.Now()
	const clients = 8
	var all atomic.Int64
	g.attack(clients, func(_ int, c *net.TCPConn) {
		for i := range connects {
			c.SetLinger(0) // or the client's ports run out
			switch i % 10 {
			case 0: // holds on until it has timed out
				c.Write([]byte("half a line"))
				untilGone(c)
			case 1:
				c.Write([]byte("bye\n"))
			case 2:
				c.CloseWrite()
			}
			c.Close()
			all.Add(1)
			conn, err := net.Dial("tcp", g.ln.Addr().String())
			for errors.Is(err, eCONNRESET) { // the server has not waited any longer
				conn, err = net.Dial("tcp", g.ln.Addr().String())
			}
			if err != nil {
				t.Error(err)
				return
			}
			c = conn.(*net.TCPConn)
		}
		c.Close()
	})
	g.want("connections", &all, clients*connects)
	t.Logf("%.0f connects a minute", float64(all.Load())/time.Since(began).Minutes())
	for range 5 {
		c := g.dial()
		g.roundTrip(c, bufio.NewReader(c))
	}
	if n := g.open.Load(); n > most {
		t.Errorf("%d streams were open at once", n)
	}
	g.over()
}

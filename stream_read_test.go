// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestStreamRead(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"InputLimit":     testInputLimit,
		"ReadMarks":      testReadMarks,
		"PauseHoldsEOF":  testPauseHoldsEOF,
		"FrozenInput":    testFrozenInput,
		"EOFAfterClosed": testEOFAfterClosed,
	})
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

func testReadMarks(t *testing.T, l *Loop) {
	const total = 65000
	s, far := connectedPair(t, l)
	s.SetReadMarks(10, 20)
	go func() {
		far.Write(make([]byte, total))
		far.CloseWrite()
	}()
	got := 0
	for {
		switch ev := nextOf(t, l, s).(type) {
		case Readable:
			n := s.Input().Len()
			if n < 10 || n > 20 {
				t.Fatalf("Readable with %d bytes", n)
			}
			got += s.Input().Discard(n)
		case EOF:
			got += s.Input().Discard(total)
			if got != total {
				t.Errorf("got %d bytes of %d", got, total)
			}
			return
		default:
			t.Fatalf("unexpected %v", ev)
		}
	}
}

func testPauseHoldsEOF(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	s.Pause(Read)
	send(t, far, "last")
	far.CloseWrite()
	noMessage(t, l)
	s.Resume(Read)
	if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	if ev := nextOf(t, l, s); ev != Event(EOF{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	if p := string(s.Input().Next(100)); p != "last" {
		t.Errorf("got %q", p)
	}
}

// testFrozenInput: reading from an input that is frozen gives an error, and harms nothing.
func testFrozenInput(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	send(t, far, "frozen")
	nextOf(t, l, s)
	s.Input().Freeze(true, false)
	if n, err := s.Read(make([]byte, 10)); n != 0 || err != ErrFrozen {
		t.Errorf("Read gives %d, %v", n, err)
	}
	if n, err := s.WriteTo(io.Discard); n != 0 || err != ErrFrozen {
		t.Errorf("WriteTo gives %d, %v", n, err)
	}
	if n, err := io.Copy(s, s); n != 0 || err != ErrFrozen {
		t.Errorf("io.Copy gives %d, %v", n, err)
	}
	s.Input().Freeze(true, true) // the loop reads all the same
	send(t, far, " and more")
	if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	s.Input().Freeze(false, false)
	if p := string(s.Input().Next(100)); p != "frozen and more" {
		t.Errorf("got %q", p)
	}
}

// Nor is an EOF that was held back sent after it.
func testEOFAfterClosed(t *testing.T, l *Loop) {
	s, far := connectedPair(t, l)
	send(t, far, "x")
	far.CloseWrite()
	nextOf(t, l, s)
	for read := false; !read; {
		l.turn(10 * time.Millisecond)
		l.mu.Lock()
		src, bit := l.next(&l.own)
		if src != nil {
			l.unpop(src, bit) // it has been read, and is not received
		}
		read = s.pend&msgEOF != 0
		l.unlock()
	}
	s.Pause(Read) // takes the EOF back
	far.SetLinger(0)
	far.Close()
	for until := time.Now().Add(10 * time.Second); ; {
		s.Write([]byte("is anybody there"))
		if ev, ok := l.Poll(time.Millisecond); ok {
			if ev != Event(Closed{s}) {
				t.Fatalf("unexpected %v", ev)
			}
			break
		}
		if time.Now().After(until) {
			t.Fatal("no Closed")
		}
	}
	s.Resume(Read)
	noMessage(t, l)
	s.Input().Discard(1)
	noMessage(t, l)
}

// TestBufferTellsItsStream checks that what leaves a stream's input, and what is put
// into it, is counted, whichever call does it, and that what the package itself moves is
// not.
func TestBufferTellsItsStream(t *testing.T) {
	l, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := l.newStream(noFD)
	s.life = lifeClosing // sends nothing
	b := pieces("abc\n", "defgh", "ijklmnop")
	b.stream = s
	s.in.held.Store(int64(b.Len()))
	same := func(call string) {
		t.Helper()
		if held := int(s.in.held.Load()); held != b.Len() {
			t.Fatalf("after %s the stream holds %d bytes, its input has %d", call, held, b.Len())
		}
	}
	f := tempFile(t, []byte("file"))
	calls := []struct {
		name string
		call func()
	}{
		{"ReadByte", func() { b.ReadByte() }},
		{"Read", func() { b.Read(make([]byte, 1)) }},
		{"ReadLine", func() { b.ReadLine(LF) }},
		{"Next", func() { b.Next(2) }},
		{"Discard", func() { b.Discard(1) }},
		{"MoveN of", func() { new(Buffer).MoveN(b, 1) }},
		{"Peek", func() { b.Peek(2) }},
		{"Write", func() { b.Write([]byte("x")) }},
		{"Write to where a slice was", func() { b.Next(b.Len()); b.Write([]byte("x")) }},
		{"WriteString", func() { b.WriteString("x") }},
		{"WriteByte", func() { b.WriteByte('x') }},
		{"ReadFrom", func() { b.ReadFrom(strings.NewReader("abc")) }},
		{"Prepend", func() { b.Prepend([]byte("x")) }},
		{"Prepend of nothing", func() { b.Prepend(nil) }},
		{"Append", func() { b.Append([]byte("x"), nil) }},
		{"AppendFile", func() { b.AppendFile(f, 0, 4, nil) }},
		{"AppendBuffer", func() { b.AppendBuffer(pieces("a", "b")) }},
		{"PrependBuffer", func() { b.PrependBuffer(pieces("a", "b")) }},
		{"MoveN to", func() { b.MoveN(pieces("abc", "b"), 2) }},
		{"Share", func() { b.Share(pieces("abc", "b")) }},
		{"Commit", func() { b.Reserve(10); b.Commit(3) }},
		{"OnChange", func() { b.OnChange(func(int, int) {}); b.Discard(1); b.Write([]byte("x")); b.OnChange(nil) }},
		{"WriteTo", func() { b.WriteTo(io.Discard) }},
		{"Write after that", func() { b.Write([]byte("x")) }},
		{"Reset", func() { b.Reset() }},
	}
	for _, c := range calls {
		c.call()
		same(c.name)
	}
	b.Write([]byte("abc"))
	b.add([]byte("x"))
	freeChain(b.cut(2))
	if got := s.in.held.Load(); got != 3 {
		t.Errorf("what the package has moved itself was counted: %d, want 3", got)
	}
}

// TestStreamInputPutBack checks that what a receiver puts back into the input counts as
// input: the stream says that it is at its end when that was consumed, and not before.
func TestStreamInputPutBack(t *testing.T) {
	l, err := New(&Config{MaxInput: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, far := connectedPair(t, l)
	send(t, far, "ab")
	if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
		t.Fatal(ev)
	}
	in := s.Input()
	in.Next(2)
	in.Prepend([]byte("abcd"))
	if n := s.in.held.Load(); n != 4 || !s.InputFull() {
		t.Errorf("%d bytes are held of 4, full: %v", n, s.InputFull())
	}
	in.Discard(2)
	if ev := nextOf(t, l, s); ev != Event(Readable{s}) { // for what was left
		t.Fatal(ev)
	}
	far.CloseWrite()
	if ev := nextOf(t, l, s); ev != Event(EOF{s}) {
		t.Fatal(ev)
	}
	if s.AtEOF() {
		t.Error("AtEOF, and two bytes are left")
	}
	in.Discard(1)
	in.Prepend([]byte("x"))
	in.Discard(1)
	if s.AtEOF() {
		t.Error("AtEOF, and one byte is left")
	}
	in.Discard(1)
	if !s.AtEOF() || s.InputFull() {
		t.Errorf("AtEOF %v, InputFull %v after all was consumed", s.AtEOF(), s.InputFull())
	}
}

// TestStreamInputMemory checks that input which the consumer leaves where it is takes at
// most twice as much memory as it has bytes, and one chunk, however small the pieces are
// that it comes in.
func TestStreamInputMemory(t *testing.T) {
	const limit = 256 << 10
	l, err := New(&Config{MaxInput: limit})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	random := rand.New(rand.NewPCG(1, 2))
	for name, sizes := range map[string][]int{
		"257":    {257},
		"512":    {512},
		"513":    {513},
		"1025":   {1025},
		"2049":   {2049},
		"4097":   {4097},
		"16385":  {16385},
		"32769":  {32769},
		"mixed":  {1, 1025, 3072, 16385, 1, 4097, 12288},
		"random": nil,
	} {
		t.Run(name, func(t *testing.T) {
			s, far := connectedPair(t, l)
			defer s.Close()
			for i := 0; ; i++ {
				n := 1 << random.IntN(16)
				if sizes != nil {
					n = sizes[i%len(sizes)]
				}
				held := s.Input().Len()
				if memory := bufferMemory(s); memory > 2*held+classSize(streamClass) {
					t.Fatalf("%d bytes of memory for %d", memory, held)
				}
				if held+n > limit {
					break
				}
				send(t, far, strings.Repeat("x", n))
				for s.Input().Len() < held+n {
					if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
						t.Fatal(ev)
					}
				}
			}
		})
	}
}

// A Readable for new bytes is not taken for one that was sent for what a call has left: that
// one is taken back when bytes are put back, and is not sent twice.
func TestReadableForNewBytes(t *testing.T) {
	settle := func(t *testing.T, s *Stream) {
		t.Helper()
		for until := time.Now().Add(10 * time.Second); !s.offeredNow(); yield() {
			if time.Now().After(until) {
				t.Fatal("nothing is offered")
			}
		}
	}
	stale := map[string]func(s *Stream){ // take back a Readable for what is left
		"Consumed": func(s *Stream) { s.Input().Discard(6) },
		"Paused":   func(s *Stream) { s.Pause(Read); s.Input().Discard(6); s.Resume(Read) },
		"Marks":    func(s *Stream) { s.SetReadMarks(7, 0); s.Input().Discard(6); s.SetReadMarks(1, 0) },
	}
	tests := make(map[string]func(*testing.T, *Loop))
	for name, consume := range stale {
		begin := func(t *testing.T, l *Loop) (*Stream, <-chan Event) {
			s, far := connectedPair(t, l)
			events := l.Events()
			send(t, far, "0123456789")
			if ev := <-events; ev != Event(Readable{s}) {
				t.Fatalf("unexpected %v", ev)
			}
			s.Input().Discard(4)
			settle(t, s)
			consume(s)
			send(t, far, "new")
			settle(t, s)
			return s, events
		}
		tests[name+"PutBack"] = func(t *testing.T, l *Loop) {
			s, events := begin(t, l)
			s.Input().Prepend([]byte("9"))
			if ev := <-events; ev != Event(Readable{s}) {
				t.Fatalf("unexpected %v", ev)
			}
			expect(t, s.Input(), "9new")
		}
		tests[name+"Again"] = func(t *testing.T, l *Loop) {
			s, events := begin(t, l)
			<-events
			s.Input().Discard(1)
			if ev := <-events; ev != Event(Readable{s}) {
				t.Fatalf("unexpected %v", ev)
			}
			expect(t, s.Input(), "ew")
		}
	}
	onMethods(t, Config{}, tests)
}

// TestReadablePutBack: a Readable that was sent for what a call had left is taken back if the
// receiver puts bytes back: it has looked at the rest.
func TestReadablePutBack(t *testing.T) {
	l := dialLoop(t, "")
	a, b := l.Pipe(nil, nil)
	a.Write([]byte("abc"))
	if ev, _ := l.Poll(testPatience); ev != Event(Readable{b}) {
		t.Fatalf("received %v", ev)
	}
	in := b.Input()
	in.Next(1)
	must(t, in.Prepend([]byte("a")))
	if ev, ok := l.Poll(0); ok {
		t.Errorf("received %v", ev)
	}
	in.Next(1)
	if ev, _ := l.Poll(testPatience); ev != Event(Readable{b}) {
		t.Errorf("received %v", ev)
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"testing"
	"time"
)

// Whether the output is full is found out without a walk over the queue, unless something
// was sent or added since the last walk: a peer that pipelines requests for small files
// would have it found out at each Write.
func TestFullWithoutWalking(t *testing.T) {
	l, err := New(&Config{IgnoreEnv: true})
	must(t, err)
	defer l.Close()
	f := tempFile(t, []byte("file"))
	s, _ := l.Pipe(nil, nil)
	s.SetWriteMarks(0, 100)
	s.Pause(Write)
	for range 50 {
		must(t, s.SendFile(f, 0, 4, nil))
		if _, err := s.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	full := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.full()
	}
	s.extra.counted = countedOutput{} // so that it counts again
	if full() {
		t.Fatal("50 of 100 bytes are in memory, and the output is full")
	}
	s.mu.Lock()
	q := s.out.queue
	s.out.queue = chain{n: q.n + 49} // without chunks a walk finds nothing
	s.mu.Unlock()
	if full() || s.extra.counted.memory != 50 {
		t.Error("99 of 100 bytes are in memory; it took a walk, or was full")
	}
	s.mu.Lock()
	s.out.queue = q
	s.out.queue.add(make([]byte, 50))
	s.mu.Unlock()
	if !full() {
		t.Error("100 of 100 bytes are in memory, and the output is not full")
	}
	s.mu.Lock()
	q = s.out.queue
	s.out.queue = chain{n: q.n}
	s.mu.Unlock()
	if !full() {
		t.Error("a walk was made over an output that was full, and nothing was sent")
	}
	s.mu.Lock()
	s.out.queue = q
	s.mu.Unlock()
}

// A source that waits for a full destination is kept by nobody once it has ended, and many
// that come and go do not make the destination's list grow.
func TestBlockedSourcesAreForgotten(t *testing.T) {
	l, err := New(&Config{IgnoreEnv: true, MaxOutput: 1})
	must(t, err)
	defer l.Close()
	dst, _ := l.Pipe(nil, nil)
	dst.Pause(Write)
	dst.Write(make([]byte, 10))
	for i := range 1002 {
		a, b := l.Pipe(nil, nil)
		a.Write([]byte("x"))
		if ev, _ := l.Poll(time.Minute); ev != Event(Readable{b}) {
			t.Fatal(ev)
		}
		if _, err := b.WriteTo(dst); err != ErrFull {
			t.Fatal(err)
		}
		if _, err := b.WriteTo(dst); err != ErrFull { // again changes nothing
			t.Fatal(err)
		}
		switch i % 3 {
		case 0:
			b.Close()
		case 1:
			b.Abort()
		}
		a.Abort()
		if i%3 == 2 { // it ends by itself, and nobody closes it
			ev, _ := l.Poll(time.Minute)
			if ev == Event(Readable{b}) {
				ev, _ = l.Poll(time.Minute)
			}
			if ev != Event(Closed{b}) {
				t.Fatal(ev)
			}
			if _, err := b.WriteTo(dst); err != ErrFull { // what is left has to go another way
				t.Fatal(err)
			}
		}
	}
	if len(l.blocked) > 0 || cap(dst.extra.waiters) > 8 {
		t.Errorf("%d sources are kept, and there is room for %d", len(l.blocked), cap(dst.extra.waiters))
	}
}

// One large output does not hold up a turn: what is sent for a stream in one turn, and for
// all together, has a limit.
func TestOutputBudget(t *testing.T) {
	l, err := New(&Config{IgnoreEnv: true})
	must(t, err)
	defer l.Close()
	const streams = 10
	var far []*Stream
	for range streams {
		a, b := l.Pipe(nil, nil)
		a.extra.transport = endlessPipe{a.extra.transport}
		a.Pause(Write)
		for range 8 {
			a.Write(make([]byte, flushBudget))
		}
		far = append(far, b)
		a.Resume(Write) // sends flushBudget at once
	}
	before := l.Stats()
	turns := 0
	for {
		if _, ok := l.Poll(0); ok {
			continue
		}
		st := l.Stats()
		if n := st.BytesOut - before.BytesOut; n > uint64(st.Turns-before.Turns)*(turnBudget+flushBudget) {
			t.Fatalf("%d bytes were sent in %d turns", n, st.Turns-before.Turns)
		}
		if st.BytesOut == streams*8*flushBudget {
			break
		}
		if turns++; turns > 1000 {
			t.Fatalf("%d bytes were sent in %d turns", st.BytesOut, turns)
		}
	}
	for _, s := range far {
		s.Abort()
	}
}

// An endlessPipe takes whatever it is given.
type endlessPipe struct{ transport }

func (endlessPipe) flush(out *chain, limit int) (int, *chunk, error) {
	n := min(out.n, limit)
	return n, out.cut(n), nil
}

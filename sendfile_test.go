// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSendFile(t *testing.T) {
	name := filepath.Join(tempDir(t), "f")
	content := pattern(3 << 20)
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	onMethods(t, Config{MaxOutput: 64 << 10}, map[string]func(*testing.T, *Loop){
		"Whole": func(t *testing.T, l *Loop) {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			s, far := connectedPair(t, l)
			s.Write([]byte("head "))
			released := make(chan struct{})
			if err := s.SendFile(f, 10, int64(len(content))-10, func() { f.Close(); close(released) }); err != nil {
				t.Fatal(err)
			}
			if n, err := s.Write([]byte(" tail")); n != 5 || err != nil {
				t.Errorf("the file counts against MaxOutput: %d, %v", n, err)
			}
			s.Close()
			got := make(chan []byte)
			go func() {
				p, _ := io.ReadAll(far)
				far.Close()
				got <- p
			}()
			waitReleased(t, l)
			want := append(append([]byte("head "), content[10:]...), " tail"...)
			if p := <-got; !bytes.Equal(p, want) {
				t.Errorf("the peer got %d bytes of %d", len(p), len(want))
			}
			<-released
		},
		"Truncated": func(t *testing.T, l *Loop) {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			s, far := connectedPair(t, l)
			go io.Copy(io.Discard, far)
			released := make(chan struct{})
			s.SendFile(f, 0, int64(len(content))+1, func() { f.Close(); close(released) })
			if ev := nextOf(t, l, s); ev != Event(Closed{s}) || !errors.Is(s.Err(), io.ErrUnexpectedEOF) {
				t.Errorf("%v, %v", ev, s.Err())
			}
			<-released
		},
		"Dropped": func(t *testing.T, l *Loop) {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			s, _ := connectedPair(t, l)
			s.Pause(Write)
			calls := 0
			s.SendFile(f, 0, 100, func() { calls++ })
			s.Abort()
			if calls != 1 {
				t.Errorf("released %d times", calls)
			}
			if err := s.SendFile(f, 0, 1, func() { calls++ }); err != ErrClosed || calls != 1 {
				t.Errorf("after the end it gives %v, and releases", err)
			}
			if err := s.SendFile(f, -1, 1, nil); err == nil {
				t.Error("a negative offset gives no error")
			}
		},
	})
}

// What is queued is never more than an int can count, whatever it consists of.
func TestStreamOutputExceedsInt(t *testing.T) {
	l, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, _ := connectedPair(t, l)
	src, far := connectedPair(t, l)
	send(t, far, "to be copied")
	if ev := nextOf(t, l, src); ev != Event(Readable{src}) {
		t.Fatal(ev)
	}
	f := tempFile(t, []byte("short"))
	s.Pause(Write)

	const queued = math.MaxInt - 5
	var first, others counter
	if err := s.SendFile(f, 0, queued, first.release); err != nil {
		t.Fatal(err)
	}
	r := strings.NewReader("from a reader")
	for name, call := range map[string]func() (int64, error){
		"SendFile":            func() (int64, error) { return 0, s.SendFile(f, 0, 6, others.release) },
		"SendFile of as much": func() (int64, error) { return 0, s.SendFile(f, 0, queued, others.release) },
		"Write":               func() (int64, error) { n, err := s.Write([]byte("eleven")); return int64(n), err },
		"ReadFrom":            func() (int64, error) { return s.ReadFrom(r) },
		"Flush": func() (int64, error) {
			s.Output().Write([]byte("ab"))
			s.Output().Append(make([]byte, 9), nil)
			return 0, s.Flush()
		},
		"WriteTo": func() (int64, error) { return src.WriteTo(s) },
	} {
		if n, err := call(); n != 0 || err != ErrFull {
			t.Errorf("%s gives %d, %v", name, n, err)
		}
		if n := s.Queued(); n != queued {
			t.Fatalf("after %s there are %d bytes queued", name, n)
		}
	}
	if r.Len() != 13 || s.Output().Len() != 11 || src.Input().Len() != 12 {
		t.Errorf("left are %d, %d, %d bytes", r.Len(), s.Output().Len(), src.Input().Len())
	}
	if n, err := s.Write([]byte("five!")); n != 5 || err != nil {
		t.Errorf("Write of what an int can just count gives %d, %v", n, err)
	}
	first.want(t, 0, "while it is queued")
	s.Abort()
	first.want(t, 1, "after Abort")
	others.want(t, 0, "for calls that failed")
}

// What a receiver puts into the input leaves room for what the stream reads.
func TestStreamInputExceedsInt(t *testing.T) {
	l, err := New(&Config{MaxInput: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, far := connectedPair(t, l)
	f := tempFile(t, []byte("short"))
	in := s.Input()
	if err := in.AppendFile(f, 0, math.MaxInt/2, nil); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		in.AppendFile(f, 0, math.MaxInt/2, nil), in.AppendFile(f, 0, 1, nil), in.WriteByte('x'), in.Prepend([]byte("x")),
	} {
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("more was taken: %v", err)
		}
	}
	if n := in.Len(); n != math.MaxInt/2 {
		t.Fatalf("%d bytes", n)
	}
	send(t, far, "abc")
	if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
		t.Fatal(ev)
	}
	if n := s.Input().Len(); n != math.MaxInt/2+3 {
		t.Errorf("%d bytes of input", n)
	}
	in.Discard(math.MaxInt / 2)
	expect(t, in, "abc")
}

// TestSendFileRefuses: what cannot be read at an offset is refused by the call, which does not
// call release, and the stream goes on.
func TestSendFileRefuses(t *testing.T) {
	l := socketLoop(t)
	s, _ := l.Pipe(nil, nil)
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	defer w.Close()
	closed := tempFile(t, []byte("abc"))
	closed.Close()
	for name, c := range map[string]struct {
		f    *os.File
		want error
	}{"pipe": {r, ErrUnsupported}, "closed": {closed, os.ErrClosed}, "nil": {nil, os.ErrInvalid}} {
		for _, n := range []int64{0, 3} {
			err := s.SendFile(c.f, 0, n, func() { t.Errorf("%s: released", name) })
			if !errors.Is(err, c.want) || c.f != nil && !strings.Contains(err.Error(), c.f.Name()) {
				t.Errorf("SendFile of %d bytes of %s gives %v", n, name, err)
			}
			if err := s.Output().AppendFile(c.f, 0, n, func() { t.Errorf("%s: released", name) }); !errors.Is(err, c.want) {
				t.Errorf("AppendFile of %d bytes of %s gives %v", n, name, err)
			}
		}
	}
	if s.Queued() != 0 || s.Output().Len() != 0 || s.Err() != nil {
		t.Errorf("%d bytes are queued, Err is %v", s.Queued(), s.Err())
	}
}

// TestSendFileOfClosed: a file that is closed while it is being sent is what Err names.
func TestSendFileOfClosed(t *testing.T) {
	l := socketLoop(t)
	s, far := connectedPair(t, l)
	f := tempFile(t, pattern(16<<20))
	must(t, s.SendFile(f, 0, 16<<20, nil))
	f.Close()
	drain(far)
	for ev := nextOf(t, l, s); ev != (Closed{s}); ev = nextOf(t, l, s) {
	}
	if err := s.Err(); !errors.Is(err, os.ErrClosed) || !strings.Contains(err.Error(), f.Name()) {
		t.Errorf("Err is %v", err)
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"sync/atomic"
	"testing"
	"time"
)

// A xorFilter changes each byte, by itself.
type xorFilter byte

func (f xorFilter) apply(from, to *Buffer) error {
	for from.Len() > 0 {
		p, err := from.Peek(min(from.Len(), 1000))
		if err != nil {
			return err
		}
		q := bytes.Clone(p)
		for i := range q {
			q[i] ^= byte(f)
		}
		to.Write(q)
		from.Discard(len(q))
	}
	return nil
}

func (f xorFilter) Decode(in, plain, _ *Buffer, _ bool) error { return f.apply(in, plain) }
func (f xorFilter) Encode(plain, out *Buffer, _ bool) error   { return f.apply(plain, out) }

// A frameFilter begins with a greeting, which it waits for from the peer before
// it sends anything, then sends frames, and ends with an empty frame.
type frameFilter struct {
	t                        *testing.T
	greeted, welcomed, ended bool
	closed                   atomic.Int32
}

var errFrame = errors.New("bad frame")

func (f *frameFilter) Decode(in, plain, out *Buffer, eof bool) error {
	if f.closed.Load() > 0 {
		f.t.Error("Decode after Close")
	}
	if !f.welcomed {
		hello, err := in.Peek(5)
		if err != nil {
			return nil
		}
		if string(hello) != "HELLO" {
			return errFrame
		}
		in.Discard(5)
		f.welcomed = true
	}
	for {
		size, err := in.Peek(2)
		if err != nil {
			break
		}
		n := int(binary.BigEndian.Uint16(size))
		if n == 0 {
			f.ended = true
		}
		if in.Len() < 2+n {
			break
		}
		in.Discard(2)
		plain.MoveN(in, n)
	}
	if eof && !f.ended {
		return io.ErrUnexpectedEOF
	}
	return nil
}

func (f *frameFilter) Encode(plain, out *Buffer, fin bool) error {
	if f.closed.Load() > 0 {
		f.t.Error("Encode after Close")
	}
	if !f.greeted {
		f.greeted = true
		out.WriteString("HELLO")
	}
	if !f.welcomed {
		return nil
	}
	for plain.Len() > 0 {
		n := min(plain.Len(), 1000)
		out.Write(binary.BigEndian.AppendUint16(nil, uint16(n)))
		out.MoveN(plain, n)
	}
	if fin {
		out.Write([]byte{0, 0})
	}
	return nil
}

func (f *frameFilter) Close() error {
	f.closed.Add(1)
	return nil
}

// A busyFilter is a frameFilter that is busy again and again, and whose last frame is the end of
// its input.
type busyFilter struct {
	frameFilter
	up    *Stream
	calls int
}

// busy reports whether this call is one at which the filter is busy, and asks for the next.
func (f *busyFilter) busy(every int) bool {
	f.calls++
	if f.up == nil || f.calls%every != 0 {
		return false
	}
	f.up.Again()
	return true
}

func (f *busyFilter) Decode(in, plain, out *Buffer, eof bool) error {
	if f.busy(3) {
		return ErrWouldBlock
	}
	err := f.frameFilter.Decode(in, plain, out, eof)
	if err == nil && f.ended {
		err = io.EOF
	}
	return err
}

func (f *busyFilter) Encode(plain, out *Buffer, fin bool) error {
	if (fin || plain.Len() > 0) && f.busy(4) {
		return ErrWouldBlock
	}
	return f.frameFilter.Encode(plain, out, fin)
}

// A gzipFilter compresses what is sent as one file, and the other way round. What
// is written is sent at once.
type gzipFilter struct {
	in, plain *Buffer
	eof       bool
	next      func() (error, bool)
	stop      func()
	w         *gzip.Writer
}

func (f *gzipFilter) Decode(in, plain, _ *Buffer, eof bool) error {
	f.in, f.plain, f.eof = in, plain, eof
	if f.next == nil {
		f.next, f.stop = iter.Pull(func(yield func(error) bool) {
			// Each time that there is nothing more to read, it yields.
			r, err := gzip.NewReader(readFunc(func(p []byte) (int, error) {
				for f.in.Len() == 0 {
					if f.eof {
						return 0, io.EOF
					}
					if !yield(nil) {
						return 0, io.ErrClosedPipe
					}
				}
				return f.in.Read(p)
			}))
			for err == nil {
				_, err = io.CopyN(writeFunc(func(p []byte) (int, error) { return f.plain.Write(p) }), r, 1000)
			}
			if err == io.EOF {
				err = nil
			}
			yield(err)
		})
	}
	err, _ := f.next()
	return err
}

func (f *gzipFilter) Encode(plain, out *Buffer, fin bool) error {
	if f.w == nil {
		f.w = gzip.NewWriter(nil)
		f.w.Reset(out)
	}
	if _, err := plain.WriteTo(f.w); err != nil {
		return err
	}
	if fin {
		return f.w.Close()
	}
	return f.w.Flush()
}

func (f *gzipFilter) Close() error {
	if f.stop != nil {
		f.stop()
	}
	return nil
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

type writeFunc func([]byte) (int, error)

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }

// filtered returns a pipe with a filter on both ends.
func filtered(t *testing.T, l *Loop, f, g Filter) (*Stream, *Stream) {
	t.Helper()
	a, b := l.Pipe(nil, nil)
	return filterOn(t, a, f), filterOn(t, b, g)
}

func filterOn(t *testing.T, s *Stream, f Filter) *Stream {
	t.Helper()
	up, err := s.Filter(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	return up
}

// exchange sends pattern(n) from a to b, half-closes, and sends as much back. It
// returns how many messages there were.
func exchange(t *testing.T, l *Loop, a, b *Stream, n int) {
	t.Helper()
	rest := map[*Stream][]byte{a: pattern(n), b: pattern(n)}
	got := map[*Stream]*Buffer{a: new(Buffer), b: new(Buffer)}
	write := func(s *Stream) {
		for len(rest[s]) > 0 {
			k, err := s.Write(rest[s][:min(len(rest[s]), 3000)])
			rest[s] = rest[s][k:]
			if err == ErrFull {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := s.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	write(a)
	for !(a.AtEOF() && b.AtEOF()) {
		ev, ok := l.Poll(20 * time.Second)
		if !ok {
			l.Dump(t.Output())
			t.Fatalf("it does not go on after %d and %d bytes", got[b].Len(), got[a].Len())
		}
		switch s := ev.Source().(*Stream); ev.(type) {
		case Readable:
			got[s].AppendBuffer(s.Input())
		case Drained:
			write(s)
		case EOF:
			if s == b {
				write(b)
			}
		default:
			t.Fatalf("unexpected %v: %v", ev, s.Err())
		}
	}
	for _, s := range []*Stream{a, b} {
		if all, _ := got[s].Peek(got[s].Len()); !bytes.Equal(all, pattern(n)) {
			t.Errorf("%d bytes have arrived, which are others or too few; want %d", len(all), n)
		}
	}
}

// A plainFilter changes nothing. It counts how often it was closed.
type plainFilter struct{ closed atomic.Int32 }

func (f *plainFilter) Decode(in, plain, _ *Buffer, _ bool) error { return plain.AppendBuffer(in) }
func (f *plainFilter) Encode(plain, out *Buffer, _ bool) error   { return out.AppendBuffer(plain) }
func (f *plainFilter) Close() error                              { f.closed.Add(1); return nil }

// A slowFilter encodes ten bytes at a time, and has a word for the end.
type slowFilter struct{ plainFilter }

func (f *slowFilter) Encode(plain, out *Buffer, fin bool) error {
	if _, err := out.MoveN(plain, 10); err != nil {
		return err
	}
	if fin && plain.Len() == 0 {
		out.WriteString("end")
	}
	return nil
}

// stuck returns a pipe whose first end has more output than the other one, which
// is paused, takes.
func stuck(l *Loop) (a, b *Stream) {
	a, b = l.Pipe(nil, nil)
	b.Pause(Read)
	a.Write(make([]byte, 200<<10))
	return a, b
}

// turns has the loop do what there is to do now.
func turns(t *testing.T, l *Loop) {
	t.Helper()
	for range 10 {
		noMessage(t, l)
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bufio"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

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

func (p *breakingPipe) flush(out *chain) (int, *chunk, error) {
	n, err := p.write(make([]byte, out.n))
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
					a, b := l.Pipe()
					a.mu.Lock()
					a.extra.transport = &breakingPipe{a.extra.transport, room}
					a.out.add(make([]byte, before))
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

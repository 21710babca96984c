// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestFilterConnPanics: a panic of a filter on a net.Conn goes on in the method that
// was called. The net.Conn can be closed all the same, and its peer hears of it.
func TestFilterConnPanics(t *testing.T) {
	l := dialLoop(t, "")
	for _, f := range []panicFilter{{decode: true}, {encode: true}, {close: true}, {encode: true, close: true}} {
		s, far := l.Pipe(nil, nil)
		up, err := s.Filter(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		l.Poll(0)
		c, err := up.NetConn()
		if err != nil {
			t.Fatal(err)
		}
		panics := func(f func()) (v any) {
			defer func() { v = recover() }()
			f()
			return nil
		}
		far.Write([]byte("x"))
		l.Poll(0)
		if v := panics(func() { c.Read(make([]byte, 1)) }); (v != nil) != f.decode {
			t.Errorf("%+v: Read has panicked with %v", f, v)
		}
		if v := panics(func() { c.Write([]byte("x")) }); (v != nil) != f.encode {
			t.Errorf("%+v: Write has panicked with %v", f, v)
		}
		if v := panics(func() { c.Close() }); (v != nil) != (f.encode || f.close) {
			t.Errorf("%+v: Close has panicked with %v", f, v)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%+v: after Close, Write gives %v", f, err)
		}
		for {
			ev, ok := l.Poll(10 * time.Second)
			if !ok {
				t.Fatalf("%+v: the peer does not hear of the end", f)
			}
			if ev == (EOF{far}) || ev == (Closed{far}) {
				break
			}
		}
		far.Close()
	}
}

// TestFilterConnDeadline: what NetConn makes of a filtered stream has a deadline for both
// directions. A Write after it sends nothing, and all is well again without it.
func TestFilterConnDeadline(t *testing.T) {
	conf, err := (&Config{IgnoreEnv: true}).complete()
	must(t, err)
	l := newLoop(conf, memoryMethod(t))
	defer l.Close()
	s, peer := l.Pipe(nil, nil)
	up, err := s.Filter(xorFilter(1), nil)
	must(t, err)
	c, err := up.NetConn()
	must(t, err)
	defer c.Close()
	far, err := peer.NetConn()
	must(t, err)
	defer far.Close()

	p := make([]byte, 10)
	for name, set := range map[string]func(time.Time) error{"SetDeadline": c.SetDeadline, "SetWriteDeadline": c.SetWriteDeadline} {
		must(t, set(time.Unix(1, 0)))
		n, err := c.Write([]byte("late"))
		var timeout net.Error
		if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("Write after %s: %d, %v", name, n, err)
		}
		if name == "SetDeadline" {
			if n, err := c.Read(p); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read after %s: %d, %v", name, n, err)
			}
		}
		must(t, set(time.Time{}))
	}
	go func() {
		c.Write([]byte("@BC"))
		far.Write([]byte("EFG"))
	}()
	for from, want := range map[net.Conn]string{far: "ACB", c: "DGF"} {
		n, err := from.Read(p)
		if err != nil || string(p[:n]) != want {
			t.Errorf("Read: %q, %v; want %q", p[:n], err, want)
		}
	}
}

// A pongFilter answers each byte with 15, and counts its answers.
type pongFilter struct {
	plainFilter
	pongs atomic.Int64
}

func (f *pongFilter) Decode(in, plain, out *Buffer, eof bool) error {
	for range in.Len() {
		out.WriteString("0123456789abcde")
	}
	f.pongs.Add(15 * int64(in.Len()))
	in.Discard(in.Len())
	return nil
}

// A heldFilter encodes nothing until it has decoded something.
type heldFilter struct {
	plainFilter
	open bool
}

func (f *heldFilter) Decode(in, plain, _ *Buffer, _ bool) error {
	f.open = f.open || in.Len() > 0
	return plain.AppendBuffer(in)
}

func (f *heldFilter) Encode(plain, out *Buffer, _ bool) error {
	if !f.open {
		return nil
	}
	return out.AppendBuffer(plain)
}

// filterConns returns both ends of a pipe as net.Conns, the first one with f.
func filterConns(t *testing.T, l *Loop, f Filter) (c, far net.Conn) {
	t.Helper()
	a, b := l.Pipe(nil, nil)
	c, err := filterOn(t, a, f).NetConn()
	must(t, err)
	far, err = b.NetConn()
	must(t, err)
	t.Cleanup(func() { // also if the test has failed, or the bubble would not end
		c.Close()
		far.Close()
	})
	return c, far
}

// TestFilterConnBounded: neither answers that the peer does not read, nor what is written
// before Encode takes it, pile up without bound; and all of it arrives in the end.
func TestFilterConnBounded(t *testing.T) {
	inBubble(t, Config{MaxOutput: 64 << 10}, map[string]func(*testing.T, *Loop){
		"Answers": func(t *testing.T, l *Loop) {
			f := new(pongFilter)
			c, far := filterConns(t, l, f)
			const pings = 1 << 20
			go func() {
				far.Write(make([]byte, pings))
				far.(interface{ CloseWrite() error }).CloseWrite()
			}()
			written := make(chan bool)
			go func() {
				c.Write(make([]byte, 1<<20)) // which the peer does not read either
				close(written)
			}()
			done := make(chan error)
			go func() {
				_, err := c.Read(make([]byte, 1))
				done <- err
			}()
			synctest.Wait()
			// Some are on their way, some are being sent, and one Decode has added more.
			if n, most := f.pongs.Load(), int64(pipeRoom+2*filterRoom+2*15*filterPiece); n > most {
				t.Errorf("%d bytes of answers were made; want %d at the most", n, most)
			}
			c.SetReadDeadline(time.Now().Add(time.Second))
			if err := <-done; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read gives %v", err)
			}
			c.SetReadDeadline(time.Time{})
			go func() {
				_, err := c.Read(make([]byte, 1))
				<-written
				c.Close() // sends the last ones first
				done <- err
			}()
			got, err := io.ReadAll(far)
			if len(got) != 15*pings+1<<20 || err != nil {
				t.Errorf("%d bytes have arrived, want %d; %v", len(got), 15*pings+1<<20, err)
			}
			if err := <-done; err != io.EOF {
				t.Errorf("Read gives %v", err)
			}
		},
		"AnswersToNobody": func(t *testing.T, l *Loop) {
			// The peer has closed its end: what it has sent is read all the same.
			f := new(pongFilter)
			c, far := filterConns(t, l, f)
			far.Write(make([]byte, 60<<10))
			far.Close()
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("Read gives %v", err)
			}
			if n, err := c.Write([]byte("x")); n != 0 || err == nil {
				t.Errorf("Write gives %d, %v", n, err)
			}
		},
		"CloseWhileFull": func(t *testing.T, l *Loop) {
			c, far := filterConns(t, l, new(pongFilter))
			go far.Write(make([]byte, 1<<20))
			done := make(chan error)
			go func() {
				_, err := c.Read(make([]byte, 1))
				done <- err
			}()
			synctest.Wait()
			c.Close()
			if err := <-done; !errors.Is(err, net.ErrClosed) {
				t.Errorf("Read gives %v", err)
			}
		},
		"HeldBack": func(t *testing.T, l *Loop) {
			c, far := filterConns(t, l, new(heldFilter))
			c.SetWriteDeadline(time.Now().Add(time.Second))
			n, err := c.Write(make([]byte, 1<<20))
			if n > 64<<10+filterPiece || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Write gives %d, %v", n, err)
			}
			c.SetWriteDeadline(time.Time{})
			go func() {
				c.Write(make([]byte, 1<<20-n))
				c.Close()
			}()
			go c.Read(make([]byte, 1))
			far.Write([]byte("go"))
			if got, err := io.ReadAll(far); len(got) != 1<<20 || err != nil {
				t.Errorf("%d bytes have arrived; %v", len(got), err)
			}
		},
	})
}

// TestFilterConnCounts: what was not sent does not count as written.
func TestFilterConnCounts(t *testing.T) {
	inBubble(t, Config{}, map[string]func(*testing.T, *Loop){
		"None": func(t *testing.T, l *Loop) {
			c, far := filterConns(t, l, new(plainFilter))
			far.Close()
			for range 2 {
				if n, err := c.Write(make([]byte, 100)); n != 0 || !errors.Is(err, ePIPE) {
					t.Errorf("Write gives %d, %v", n, err)
				}
			}
		},
		"Some": func(t *testing.T, l *Loop) {
			c, far := filterConns(t, l, new(plainFilter))
			go func() {
				synctest.Wait() // Write waits for room
				far.Close()
			}()
			const most = pipeRoom
			if n, err := c.Write(make([]byte, most+1000)); n != most || !errors.Is(err, ePIPE) {
				t.Errorf("Write gives %d, %v; want %d", n, err, most)
			}
		},
		"Later": func(t *testing.T, l *Loop) {
			// What was encoded when the deadline came is sent by the next Write.
			c, far := filterConns(t, l, new(plainFilter))
			c.SetWriteDeadline(time.Now().Add(time.Second))
			n, err := c.Write(make([]byte, 200<<10))
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Write gives %d, %v", n, err)
			}
			c.SetWriteDeadline(time.Time{})
			go func() {
				c.Write(make([]byte, 10))
				c.Close()
			}()
			if got, err := io.ReadAll(far); len(got) != n+10 || err != nil {
				t.Errorf("%d bytes have arrived, %d were written; %v", len(got), n+10, err)
			}
		},
	})
}

// TestFilterConnEnds: what was decoded is not read after the deadline and after Close, and a
// net.Conn without addresses below does no harm.
func TestFilterConnEnds(t *testing.T) {
	inBubble(t, Config{}, map[string]func(*testing.T, *Loop){"": func(t *testing.T, l *Loop) {
		a, far := l.Pipe(nil, nil)
		c := net.Conn(newFilterConn(nowhere{newPipeConn(a.transport().(*pipeEnd), new(Buffer))}, new(plainFilter), 1<<10, 1<<10))
		far.Write([]byte("abc"))
		l.Poll(0)
		if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Fatalf("Read gives %d, %v", n, err)
		}
		c.SetReadDeadline(time.Unix(1, 0))
		if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after the deadline Read gives %d, %v", n, err)
		}
		c.SetReadDeadline(time.Time{})
		c.Close()
		if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close Read gives %d, %v", n, err)
		}
		if err := c.Close(); !errors.Is(err, net.ErrClosed) || err.Error() == "" {
			t.Errorf("Close gives %v", err)
		}
	}})
}

// A nowhere is a connection without addresses, as that of a socket whose peer has reset it.
type nowhere struct{ net.Conn }

func (nowhere) LocalAddr() net.Addr  { return nil }
func (nowhere) RemoteAddr() net.Addr { return nil }

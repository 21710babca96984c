// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func TestPipeConn(t *testing.T) {
	inBubble(t, Config{}, map[string]func(*testing.T, *Loop){
		"Released": func(t *testing.T, l *Loop) {
			// Close lets go of what was not read.
			for _, read := range []bool{false, true} {
				a, b := l.Pipe(nil, nil)
				released := 0
				a.Output().Append([]byte("abc"), func() { released++ })
				a.Flush()
				if read {
					l.Poll(-1)
				}
				c, err := b.NetConn()
				if err != nil {
					t.Fatal(err)
				}
				c.Close()
				if released != 1 {
					t.Errorf("read %v: released %d times", read, released)
				}
				a.Abort()
			}
		},
		"CloseWriteStopsWrite": func(t *testing.T, l *Loop) {
			// What comes after the end would be lost.
			a, b := l.Pipe(nil, nil)
			c, err := b.NetConn()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			a.Pause(Read)
			wrote := make(chan int)
			go func() {
				n, err := c.Write(make([]byte, 1<<20))
				if !errors.Is(err, ePIPE) {
					t.Errorf("Write gives %v", err)
				}
				wrote <- n
			}()
			synctest.Wait() // until it is stuck
			c.(interface{ CloseWrite() error }).CloseWrite()
			a.Resume(Read)
			got := 0
			for {
				ev, ok := l.Poll(time.Second)
				if !ok {
					t.Fatalf("no end after %d bytes", got)
				}
				got += a.Input().Discard(1 << 20)
				if ev == Event(EOF{a}) {
					break
				}
			}
			if n := <-wrote; n != got {
				t.Errorf("%d bytes were written, %d have arrived", n, got)
			}
			if n, err := c.Write([]byte("x")); n != 0 || !errors.Is(err, ePIPE) {
				t.Errorf("another Write gives %d, %v", n, err)
			}
		},
		"CloseWriteWhilePaused": func(t *testing.T, l *Loop) {
			// NetConn passes the end on that was still to be told.
			a, b := l.Pipe(nil, nil)
			b.Pause(Write)
			b.CloseWrite()
			c, err := b.NetConn()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write([]byte("x")); !errors.Is(err, ePIPE) {
				t.Errorf("Write gives %v", err)
			}
			if ev, _ := l.Poll(time.Second); ev != Event(EOF{a}) {
				t.Errorf("unexpected %v", ev)
			}
		},
	})
}

// TestPipeConnClosed: errors of a closed net.Conn in memory are io.ErrClosedPipe to errors.Is,
// as those of net.Pipe, and also what they are of a socket.
func TestPipeConnClosed(t *testing.T) {
	for n := range 3 {
		conns := func() (net.Conn, net.Conn) {
			l := dialLoop(t, "")
			a, b := l.Pipe(nil, nil)
			x, err := stacked(t, a, n).NetConn()
			must(t, err)
			y, err := b.NetConn()
			must(t, err)
			return x, y
		}
		x, y := conns()
		must(t, y.Close())
		if _, err := x.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) || !errors.Is(err, ePIPE) {
			t.Errorf("with %d filters, Write to a closed end gives %v", n, err)
		}
		x.Close()
		for op, call := range map[string]func([]byte) (int, error){"Read": x.Read, "Write": x.Write} {
			if _, err := call([]byte("x")); !errors.Is(err, io.ErrClosedPipe) || !errors.Is(err, net.ErrClosed) {
				t.Errorf("with %d filters, %s after Close gives %v", n, op, err)
			}
		}
	}
}

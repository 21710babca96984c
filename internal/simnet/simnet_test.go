// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package simnet_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/internal/simnet"
)

// newLoop returns a loop on n, closed with the test, which fails if n has found something.
func newLoop(t *testing.T, n *simnet.Net) *evchan.Loop {
	t.Helper()
	l, err := evchan.New(&evchan.Config{Method: n.Method()})
	if err != nil {
		t.Fatal(err)
	}
	n.Streams = l.Dump
	t.Cleanup(func() {
		l.Close()
		if err := n.Err(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bubble runs f in a bubble, for many seeds.
func bubble(t *testing.T, seeds uint64, f func(t *testing.T, seed uint64)) {
	for seed := range seeds {
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, seed) })
		}) {
			return
		}
	}
}

// echo sends back what comes, until the loop is closed.
func echo(l *evchan.Loop) {
	for ev := range l.Events() {
		switch ev := ev.(type) {
		case evchan.Readable:
			io.Copy(ev.Stream, ev.Stream)
		case evchan.EOF:
			ev.Stream.Close()
		}
	}
}

func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i ^ i>>8)
	}
	return p
}

// With faults that lose nothing, every byte comes back to every client.
func TestEcho(t *testing.T) {
	var counts simnet.Count
	bubble(t, 100, func(t *testing.T, seed uint64) {
		n := simnet.New(seed, simnet.Harmless(seed))
		l := newLoop(t, n)
		ln, err := l.Listen("tcp", "127.0.0.1:80", nil)
		must(t, err)
		go echo(l)
		var clients sync.WaitGroup
		for i := range 3 {
			clients.Go(func() {
				c, err := n.Dial("tcp", ln.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				want := pattern(1000 << i)
				go func() {
					c.Write(want)
					c.CloseWrite()
				}()
				if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes have come back, %v", len(got), err)
				}
			})
		}
		clients.Wait()
		must(t, l.Shutdown(t.Context()))
		n.Mu.Lock()
		counts.Add(&n.Counts)
		n.Mu.Unlock()
	})
	for k := range counts {
		switch k := simnet.Fault(k); k {
		case simnet.ReadError, simnet.WriteError, simnet.NoBufs, simnet.RefusedAdd, simnet.Aborted, simnet.Pipe, simnet.Reset, simnet.Shutdown:
		case simnet.HangupOnly, simnet.TwoWakes: // not on Windows; only if the loop is woken while it turns
		default:
			if counts[k] == 0 {
				t.Errorf("there was no fault %q", k)
			}
		}
	}
}

// With all faults, each client gets a beginning of what it has sent, and whoever has lost
// something was told.
func TestAllFaults(t *testing.T) {
	bubble(t, 100, func(t *testing.T, seed uint64) {
		n := simnet.New(seed, simnet.Random(seed))
		l := newLoop(t, n)
		ln, err := l.Listen("tcp", ":80", nil)
		must(t, err)
		go echo(l)
		var clients sync.WaitGroup
		for range 5 {
			clients.Go(func() {
				c, err := n.Dial("tcp", ln.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				want := pattern(3000)
				go func() {
					c.Write(want)
					c.CloseWrite()
				}()
				got, err := io.ReadAll(c)
				if !bytes.HasPrefix(want, got) {
					t.Errorf("%d other bytes have come back", len(got))
				}
				if (err != nil || len(got) != len(want)) && !c.Lossy() {
					t.Errorf("%d bytes have come back, %v", len(got), err)
				}
			})
		}
		clients.Wait()
		l.Close()
	})
}

// What the loop dials is accepted by the test.
func TestLoopDials(t *testing.T) {
	bubble(t, 20, func(t *testing.T, seed uint64) {
		n := simnet.New(seed, simnet.Harmless(seed))
		l := newLoop(t, n)
		server, err := n.Listen("tcp", "localhost:0")
		must(t, err)
		served := make(chan error)
		go func() {
			c, err := server.Accept()
			if err == nil {
				_, err = io.Copy(c, c)
			}
			c.Close()
			served <- err
		}()
		s, err := l.Dial("tcp", server.Addr().String(), nil)
		must(t, err)
		s.Write(pattern(5000))
		s.CloseWrite()
		var got bytes.Buffer
		first := ""
		for ended := false; !ended; {
			ev, ok := l.Poll(time.Hour)
			if !ok {
				t.Fatal("nothing happens")
			}
			if first == "" {
				first, _, _ = strings.Cut(ev.String(), " ")
			}
			switch ev.(type) {
			case evchan.Readable:
				s.WriteTo(&got)
			case evchan.EOF:
				ended = true
			}
		}
		s.Close()
		if err := <-served; err != nil || first != "Connected" || !bytes.Equal(got.Bytes(), pattern(5000)) {
			t.Errorf("%v; first %s, %d bytes", err, first, got.Len())
		}
		if a, ok := s.RemoteAddr().(*net.TCPAddr); !ok || a.String() != server.Addr().String() {
			t.Errorf("connected to %v", s.RemoteAddr())
		}
		must(t, server.Close())
		refused, err := l.Dial("tcp", server.Addr().String(), nil)
		must(t, err)
		if ev, _ := l.Poll(time.Hour); ev != evchan.Event(evchan.Closed{Stream: refused}) || !errors.Is(refused.Err(), syscall.ECONNREFUSED) {
			t.Errorf("%v: %v", ev, refused.Err())
		}
	})
}

// connected returns both ends of a connection without faults.
func connected(t *testing.T, n *simnet.Net, l *evchan.Loop) (*evchan.Stream, *simnet.Conn) {
	t.Helper()
	ln, err := l.Listen("tcp", ":0", nil)
	must(t, err)
	defer ln.Close()
	c, err := n.Dial("tcp", ln.Addr().String())
	must(t, err)
	ev, _ := l.Poll(time.Hour)
	a, ok := ev.(evchan.Accepted)
	if !ok {
		t.Fatalf("unexpected %v", ev)
	}
	return a.Stream, c
}

// The test controls when bytes arrive, how much the network holds, and how a connection ends.
func TestControl(t *testing.T) {
	for name, test := range map[string]func(*testing.T, *simnet.Net, *evchan.Loop){
		"Delay": func(t *testing.T, n *simnet.Net, l *evchan.Loop) {
			s, c := connected(t, n, l)
			began := time.Now()
			c.SetDelay(time.Minute)
			c.Write([]byte("late"))
			c.CloseWrite()
			for _, want := range []evchan.Event{evchan.Readable{Stream: s}, evchan.EOF{Stream: s}} {
				if ev, _ := l.Poll(-1); ev != want || time.Since(began) != time.Minute {
					t.Errorf("%v after %v", ev, time.Since(began))
				}
			}
			if got := string(s.Input().Next(10)); got != "late" {
				t.Errorf("received %q", got)
			}
			s.Close()
			c.Close()
		},
		"Reset": func(t *testing.T, n *simnet.Net, l *evchan.Loop) {
			s, c := connected(t, n, l)
			c.Reset()
			if ev, _ := l.Poll(time.Hour); ev != evchan.Event(evchan.Closed{Stream: s}) || !errors.Is(s.Err(), syscall.ECONNRESET) {
				t.Errorf("%v: %v", ev, s.Err())
			}
			if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		},
		"Abort": func(t *testing.T, n *simnet.Net, l *evchan.Loop) {
			s, c := connected(t, n, l)
			go func() {
				time.Sleep(time.Second)
				s.Abort()
			}()
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Error(err)
			}
			c.Close()
		},
		"SlowReader": func(t *testing.T, n *simnet.Net, l *evchan.Loop) {
			s, c := connected(t, n, l)
			c.SetRoom(100, 100)
			s.Write(pattern(1000))
			if s.Queued() != 900 {
				t.Errorf("%d bytes are queued", s.Queued())
			}
			go io.CopyN(io.Discard, c, 1000)
			if ev, _ := l.Poll(time.Hour); ev != evchan.Event(evchan.Drained{Stream: s}) {
				t.Errorf("unexpected %v", ev)
			}
			s.Abort()
			c.Close()
		},
		"SlowLoop": func(t *testing.T, n *simnet.Net, l *evchan.Loop) {
			s, c := connected(t, n, l)
			c.SetRoom(100, 100)
			s.Pause(evchan.Read)
			c.SetWriteDeadline(time.Now().Add(time.Second))
			if k, err := c.Write(pattern(1000)); k != 100 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("wrote %d: %v", k, err)
			}
			s.Abort()
			c.Close()
		},
		"Deadline": func(t *testing.T, n *simnet.Net, l *evchan.Loop) {
			s, c := connected(t, n, l)
			began := time.Now()
			c.SetReadDeadline(began.Add(time.Minute))
			_, err := c.Read(make([]byte, 1))
			var timeout net.Error
			if !errors.As(err, &timeout) || !timeout.Timeout() || time.Since(began) != time.Minute {
				t.Errorf("%v after %v", err, time.Since(began))
			}
			s.Abort()
			c.Close()
		},
		"Names": func(t *testing.T, n *simnet.Net, l *evchan.Loop) {
			ln, err := l.Listen("unix", "/run/x", nil)
			must(t, err)
			if ln.Addr().Network() != "unix" || ln.Addr().String() != "/run/x" {
				t.Errorf("listens on %v", ln.Addr())
			}
			if _, err := l.Listen("unix", "/run/x", nil); !errors.Is(err, syscall.EADDRINUSE) {
				t.Error(err)
			}
			if _, err := ln.File(); !errors.Is(err, evchan.ErrUnsupported) {
				t.Error(err)
			}
			early, err := n.Dial("unix", "/run/x")
			must(t, err)
			ln.Close()
			if _, err := early.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("not accepted: %v", err)
			}
			early.Close()
			if _, err := n.Dial("unix", "/run/x"); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := simnet.New(1, simnet.Rates{})
				test(t, n, newLoop(t, n))
			})
		})
	}
}

// A process without descriptors accepts when it has some again.
func TestNoFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(1, simnet.Rates{simnet.NoFiles: 1})
		l := newLoop(t, n)
		ln, err := l.Listen("tcp", ":80", nil)
		must(t, err)
		c, err := n.Dial("tcp", ":80")
		must(t, err)
		if ev, _ := l.Poll(time.Hour); ev != evchan.Event(evchan.AcceptFailed{Listener: ln}) || !errors.Is(ln.Err(), syscall.EMFILE) {
			t.Fatalf("unexpected %v: %v", ev, ln.Err())
		}
		if ev, ok := l.Poll(time.Minute); ok {
			t.Fatalf("unexpected %v", ev)
		}
		n.Mu.Lock()
		n.Rates[simnet.NoFiles] = 0
		n.Mu.Unlock()
		ev, _ := l.Poll(time.Hour)
		a, ok := ev.(evchan.Accepted)
		if !ok {
			t.Fatalf("unexpected %v", ev)
		}
		a.Stream.Abort()
		c.Close()
	})
}

// A program that does not import simnet has none of it, nor of what puts it under a loop.
func TestNotLinked(t *testing.T) {
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("there is no go command: ", err)
	}
	program := filepath.Join(t.TempDir(), "rot13")
	if out, err := exec.Command(tool, "build", "-o", program, "../../examples/rot13").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	symbols, err := exec.Command(tool, "tool", "nm", program).Output()
	must(t, err)
	if !bytes.Contains(symbols, []byte("evchan.(*Loop).Dial")) && !bytes.Contains(symbols, []byte("evchan.(*Loop).turn")) {
		t.Fatal("these are no symbols of the program")
	}
	for _, name := range []string{"simnet", "kernelPoller", "kernelConn", "kernelListener", "NewPoller"} {
		if bytes.Contains(symbols, []byte(name)) {
			t.Errorf("%s is linked", name)
		}
	}
}

// A name that no network has is no method.
func TestMethodOfNothing(t *testing.T) {
	if _, err := evchan.New(&evchan.Config{Method: "simnet 0"}); !errors.Is(err, evchan.ErrUnsupported) {
		t.Errorf("a network that does not exist: %v", err)
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestBlockingDescriptors has another holder of each descriptor make it blocking, which
// must not hold up the loop, whether there is something to do for it or not.
func TestBlockingDescriptors(t *testing.T) {
	// stillTurns fails if the loop does not come to a timer.
	stillTurns := func(t *testing.T, l *Loop) {
		t.Helper()
		timer := l.After(time.Millisecond)
		fired := make(chan bool)
		go func() {
			for {
				ev, ok := l.Poll(testPatience)
				if ev == (Tick{timer}) || !ok {
					fired <- ok
					return
				}
			}
		}()
		select {
		case ok := <-fired:
			if !ok {
				t.Fatal("the timer does not fire")
			}
		case <-time.After(testPatience):
			panic("the loop is blocked")
		}
	}
	block := func(t *testing.T, fd sysFD) {
		t.Helper()
		dup, err := dupFD(fd)
		must(t, err)
		defer closeFD(dup)
		must(t, syscall.SetNonblock(dup, false)) // of the open file, whatever its number
	}
	readTwice := func(t *testing.T, l *Loop, s *Stream) {
		t.Helper()
		for range 2 { // a read that finds nothing
			s.Pause(Read)
			s.Resume(Read)
			stillTurns(t, l)
		}
	}
	// sendAll checks that whole arrives at r, of which nothing is read before the loop has
	// found out that there is no room.
	sendAll := func(t *testing.T, l *Loop, s *Stream, r io.Reader, whole []byte) {
		t.Helper()
		stillTurns(t, l)
		if s.Queued() == 0 {
			t.Fatal("it was all sent at once")
		}
		got := make(chan []byte)
		go func() {
			p := make([]byte, len(whole))
			io.ReadFull(r, p)
			got <- p
		}()
		for s.Queued() > 0 {
			l.Poll(time.Millisecond)
		}
		if !bytes.Equal(<-got, whole) {
			t.Error("something else has arrived")
		}
	}
	onMethods(t, Config{MaxOutput: 64 << 20}, map[string]func(*testing.T, *Loop){
		"read": func(t *testing.T, l *Loop) {
			fd, far := socketPair(t)
			dup, err := dupFD(fd)
			must(t, err)
			s, err := l.WrapFD(uintptr(dup), nil)
			must(t, err)
			block(t, fd)
			readTwice(t, l, s)
			write(t, far, "x")
			if ev := nextOf(t, l, s); ev != (Readable{s}) {
				t.Errorf("received %v", ev)
			}
		},
		"write": func(t *testing.T, l *Loop) {
			s, far := connectedPair(t, l)
			block(t, s.sock.fd)
			whole := pattern(16 << 20)
			s.Write(whole)
			sendAll(t, l, s, far, whole)
		},
		"write pieces": func(t *testing.T, l *Loop) {
			s, far := connectedPair(t, l)
			block(t, s.sock.fd)
			whole := pattern(16 << 20)
			for p := whole; len(p) > 0; p = p[64<<10:] {
				s.Output().Append(p[:64<<10], nil)
			}
			must(t, s.Flush())
			sendAll(t, l, s, far, whole)
		},
		"file": func(t *testing.T, l *Loop) {
			s, far := connectedPair(t, l)
			block(t, s.sock.fd)
			whole := pattern(16 << 20)
			must(t, s.SendFile(tempFile(t, whole), 0, int64(len(whole)), nil))
			sendAll(t, l, s, far, whole)
		},
		"accept": func(t *testing.T, l *Loop) {
			ln := listen(t, l, "tcp", nil)
			block(t, ln.fd)
			ln.Pause()
			ln.Resume()
			stillTurns(t, l)
			for range 2 {
				dial(t, ln)
				acceptOne(t, l).Abort()
				stillTurns(t, l)
			}
		},
		"pipe read": func(t *testing.T, l *Loop) {
			r, w, err := os.Pipe()
			must(t, err)
			defer r.Close()
			defer w.Close()
			s, err := l.WrapFile(r, nil)
			must(t, err)
			block(t, s.sock.fd)
			readTwice(t, l, s)
			w.Write([]byte("x"))
			if ev := nextOf(t, l, s); ev != (Readable{s}) {
				t.Errorf("received %v", ev)
			}
			w.Close()
			for ev := nextOf(t, l, s); ev != (EOF{s}); ev = nextOf(t, l, s) {
			}
		},
		"pipe write": func(t *testing.T, l *Loop) {
			r, w, err := os.Pipe()
			must(t, err)
			defer r.Close()
			s, err := l.WrapFile(w, nil)
			must(t, err)
			w.Close()
			block(t, s.sock.fd)
			whole := pattern(1 << 20)
			s.Write(whole)
			sendAll(t, l, s, r, whole)
		},
		"pipe write pieces": func(t *testing.T, l *Loop) {
			r, w, err := os.Pipe()
			must(t, err)
			defer r.Close()
			s, err := l.WrapFile(w, nil)
			must(t, err)
			w.Close()
			block(t, s.sock.fd)
			whole := pattern(1 << 20)
			for p := whole; len(p) > 0; p = p[64<<10:] {
				s.Output().Append(p[:64<<10], nil)
			}
			must(t, s.Flush())
			sendAll(t, l, s, r, whole)
		},
	})
}

// TestLingerOfOthers wraps sockets with a linger time, with which close(2) would wait for the
// peer, and streams that are accepted inherit it.
func TestLingerOfOthers(t *testing.T) {
	hasLinger := func(t *testing.T, fd sysFD) bool {
		t.Helper()
		linger, err := unix.GetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER)
		must(t, err)
		return linger.Onoff != 0
	}
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"stream": func(t *testing.T, l *Loop) {
			for name, wrap := range map[string]func(fd sysFD) (*Stream, error){
				"WrapFD": func(fd sysFD) (*Stream, error) {
					dup, err := dupFD(fd)
					must(t, err)
					return l.WrapFD(uintptr(dup), nil)
				},
				"WrapFile": func(fd sysFD) (*Stream, error) {
					dup, err := dupFD(fd)
					must(t, err)
					f := os.NewFile(uintptr(dup), "socket")
					defer f.Close()
					return l.WrapFile(f, nil)
				},
			} {
				fd, _ := socketPair(t)
				must(t, syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1, Linger: 5}))
				s, err := wrap(fd)
				must(t, err)
				if hasLinger(t, s.sock.fd) {
					t.Errorf("%s leaves SO_LINGER", name)
				}
				s.Abort()
			}
			nl, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			defer nl.Close()
			c, err := net.Dial("tcp", nl.Addr().String())
			must(t, err)
			must(t, c.(*net.TCPConn).SetLinger(5))
			s, err := l.Wrap(c, nil)
			must(t, err)
			if hasLinger(t, s.sock.fd) {
				t.Error("Wrap leaves SO_LINGER")
			}
		},
		"listener": func(t *testing.T, l *Loop) {
			nl, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			raw, err := nl.(*net.TCPListener).SyscallConn()
			must(t, err)
			raw.Control(func(fd uintptr) {
				err = syscall.SetsockoptLinger(sysFD(fd), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1, Linger: 5})
			})
			must(t, err)
			ln, err := l.WrapListener(nl, nil)
			must(t, err)
			dial(t, ln)
			if hasLinger(t, acceptOne(t, l).sock.fd) {
				t.Error("WrapListener leaves SO_LINGER")
			}
		},
		"refused": func(t *testing.T, l *Loop) {
			l.poller = refusingPoller{l.poller}
			fd, _ := socketPair(t)
			must(t, syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1, Linger: 5}))
			if _, err := l.WrapFD(uintptr(fd), nil); err == nil {
				t.Fatal("it was not refused")
			}
			if !hasLinger(t, fd) {
				t.Error("SO_LINGER of what was not wrapped is another one")
			}
		},
	})
}

// TestFIFOWithoutWriter resumes reading of a FIFO that no writer has opened yet: to read it
// gives 0 bytes, which is not its end.
func TestFIFOWithoutWriter(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){"fifo": func(t *testing.T, l *Loop) {
		name := filepath.Join(t.TempDir(), "fifo")
		must(t, unix.Mkfifo(name, 0o600))
		fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		must(t, err)
		s, err := l.WrapFD(uintptr(fd), nil)
		must(t, err)
		for range 3 {
			s.Pause(Read)
			s.Resume(Read)
			noMessage(t, l)
		}
		w, err := os.OpenFile(name, os.O_WRONLY, 0)
		must(t, err)
		s.Pause(Read)
		s.Resume(Read)
		noMessage(t, l)
		w.Write([]byte("x"))
		if ev := nextOf(t, l, s); ev != (Readable{s}) {
			t.Fatalf("received %v", ev)
		}
		w.Close()
		if ev := nextOf(t, l, s); ev != (EOF{s}) {
			t.Fatalf("received %v", ev)
		}
	}})
}

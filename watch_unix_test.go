// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestWatchDup is what needs descriptors with a second name.
func TestWatchDup(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"PeerCloses": func(t *testing.T, l *Loop) {
			a, c := socketPair(t)
			b, _ := syscall.Dup(c)
			syscall.Close(c)
			unix.Dup2(a, c) // for the clean-up; b is the peer's only descriptor
			for {
				if _, err := syscall.Write(a, make([]byte, 4096)); err != nil {
					break
				}
			}
			r, w := armed(t, l, a, Read, 0), armed(t, l, a, Write, 0)
			noMessage(t, l)
			syscall.Close(b)
			takes(t, l, r, Read)
			takes(t, l, w, Write)
		},
		"DupAndReuse": func(t *testing.T, l *Loop) {
			a, b := socketPair(t)
			c, err := syscall.Dup(a)
			if err != nil {
				t.Fatal(err)
			}
			v, w := armed(t, l, a, Read, 0), armed(t, l, c, Read, 0)
			w.Disarm()
			syscall.Close(c)
			if err := unix.Dup2(a, c); err != nil {
				t.Fatal(err)
			}
			defer syscall.Close(c)
			again := armed(t, l, c, Write, 0)
			write(t, b, "x")
			got := make(map[Event]bool)
			for range 2 {
				ev, _ := l.Poll(time.Second)
				got[ev] = true
			}
			if !got[Ready{v}] || !got[Ready{again}] {
				t.Errorf("got %v", got)
			}
		},
		"ReusedNumberWithoutDisarm": func(t *testing.T, l *Loop) {
			// Against the rules, but it must not lose the new watch for ever.
			a, b := socketPair(t)
			w := armed(t, l, a, Read, 0)
			c, d := socketPair(t)
			unix.Dup2(c, a)
			if err := w.Arm(0); err != nil {
				t.Fatal(err)
			}
			v := armed(t, l, a, Read|Write, 0)
			_ = v
			write(t, d, "x")
			_ = b
			if _, ok := l.Poll(time.Second); !ok {
				t.Error("nothing was reported of the new descriptor")
			}
		},
	})
}

// streamAs returns a stream of l with the number fd, which is free, and its peer.
func streamAs(t *testing.T, l *Loop, fd sysFD) (s *Stream, peer sysFD) {
	t.Helper()
	a, b := socketPair(t)
	if a != fd {
		if err := unix.Dup2(a, fd); err != nil {
			t.Fatal(err)
		}
		closeFD(a)
	}
	s, err := l.wrapFD(fd, &streamSetup{limits: &l.limits}) // as it would be accepted, so without WrapFD's question whether fd is watched
	if err != nil {
		t.Fatal(err)
	}
	return s, b
}

// hears fails unless s receives what is sent.
func hears(t *testing.T, l *Loop, s *Stream, peer sysFD, what string) {
	t.Helper()
	write(t, peer, "x")
	for ev, ok := l.Poll(10 * time.Second); ev != Event(Readable{s}); ev, ok = l.Poll(10 * time.Second) {
		if !ok {
			t.Fatalf("after %s the stream is told nothing", what)
		}
	}
	s.Input().Reset()
}

// TestWatchNumberUsedAgain closes a watched descriptor whose number a stream gets.
// Nothing that the loop does for the watch may change what the poller knows of the stream.
func TestWatchNumberUsedAgain(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Fired": func(t *testing.T, l *Loop) {
			for _, end := range []func(*Watch) error{(*Watch).Disarm, (*Watch).Close} {
				a, b := socketPair(t)
				w := armed(t, l, a, Read, 0)
				write(t, b, "x")
				takes(t, l, w, Read)
				closeFD(a)
				s, peer := streamAs(t, l, a)
				if err := end(w); err != nil {
					t.Error(err)
				}
				hears(t, l, s, peer, "Disarm")
				s.Abort()
			}
		},
		"Armed": func(t *testing.T, l *Loop) { // against the rules
			a, _ := socketPair(t)
			w := armed(t, l, a, Read|Persist, 0)
			closeFD(a)
			s, peer := streamAs(t, l, a)
			if err := w.Arm(0); err == nil {
				t.Error("the descriptor of a stream is watched")
			}
			hears(t, l, s, peer, "Arm")
			w.desc.task()
			hears(t, l, s, peer, "a task")
			w.Disarm()
			hears(t, l, s, peer, "Disarm")
		},
		"Unwanted": func(t *testing.T, l *Loop) {
			// The loop learns from the poller that no watch wants anything any more.
			a, b := socketPair(t)
			w := armed(t, l, a, Read, 0)
			write(t, b, "x")
			takes(t, l, w, Read)
			closeFD(a)
			s, peer := streamAs(t, l, a)
			w.desc.task()
			hears(t, l, s, peer, "a task")
			w.Disarm()
			hears(t, l, s, peer, "Disarm")
		},
		"Meanwhile": func(t *testing.T, l *Loop) {
			for range 200 {
				a, b := socketPair(t)
				w := armed(t, l, a, Read, 0)
				write(t, b, "x")
				takes(t, l, w, Read)
				closeFD(a)
				done := make(chan struct{})
				go func() {
					w.Close()
					close(done)
				}()
				s, peer := streamAs(t, l, a)
				<-done
				hears(t, l, s, peer, "Close")
				s.Abort()
				closeFD(b)
				closeFD(peer)
			}
		},
		"Watch": func(t *testing.T, l *Loop) {
			a, _ := socketPair(t)
			w := armed(t, l, a, Read, 0) // against the rules
			c, d := socketPair(t)
			if err := unix.Dup2(c, a); err != nil {
				t.Fatal(err)
			}
			v := armed(t, l, a, Read, 0)
			w.Disarm()
			write(t, d, "x")
			takes(t, l, v, Read)
		},
		"WrapFD": func(t *testing.T, l *Loop) {
			// A watch that has fired is not armed any more.
			a, b := socketPair(t)
			w := armed(t, l, a, Read, 0)
			if s, err := l.WrapFD(uintptr(a), nil); err == nil {
				t.Errorf("a descriptor with an armed watch gives %v", s)
			}
			write(t, b, "x")
			takes(t, l, w, Read)
			s, err := l.WrapFD(uintptr(a), nil)
			if err != nil {
				t.Fatal(err)
			}
			w.Close()
			hears(t, l, s, b, "Close")
		},
	})
}

// TestWatchNumberTooLarge has numbers that a system call would cut to the 32 bits of a
// descriptor that is open.
func TestWatchNumberTooLarge(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) == 4 {
		t.Skip("a uintptr has 32 bits")
	}
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Cut": func(t *testing.T, l *Loop) {
			a, _ := socketPair(t)
			for _, high := range []uint64{1 << 32, 1 << 33, 1 << 63, 1<<64 - 1<<32} {
				fd := uintptr(high | uint64(a))
				if _, err := l.Watch(fd, Read); !errors.Is(err, syscall.EBADF) {
					t.Errorf("Watch(%#x): %v", fd, err)
				}
				if _, err := l.WrapFD(fd, nil); !errors.Is(err, syscall.EBADF) {
					t.Errorf("WrapFD(%#x): %v", fd, err)
				}
			}
		},
	})
}

// TestWatchFile watches, and wraps, files on disk and devices that are always ready, as
// standard input often is. A method that cannot watch them says so.
func TestWatchFile(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Errors": func(t *testing.T, l *Loop) {
			plain, err := os.Create(filepath.Join(t.TempDir(), "file"))
			if err != nil {
				t.Fatal(err)
			}
			defer plain.Close()
			null, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			defer null.Close()
			for _, f := range []*os.File{plain, null} {
				for name, call := range map[string]func() (Source, error){
					"Watch":     func() (Source, error) { return l.Watch(f.Fd(), Read) },
					"WatchConn": func() (Source, error) { return l.WatchConn(f, Read) },
					"WrapFD":    func() (Source, error) { return l.WrapFD(f.Fd(), nil) },
					"WrapFile":  func() (Source, error) { return l.WrapFile(f, nil) },
				} {
					s, err := call()
					switch {
					case err == nil && l.Features()&FeatureAnyFD == 0 && f == plain:
						t.Errorf("%s of %s gives %v", name, f.Name(), s)
					case err != nil && (l.Features()&FeatureAnyFD != 0 || !errors.Is(err, ErrUnsupported)):
						t.Errorf("%s of %s: %v", name, f.Name(), err)
					case err != nil:
						t.Log(err)
					}
					if st, ok := s.(*Stream); ok && st != nil && name == "WrapFD" {
						return // it owns the descriptor now
					}
				}
			}
		},
	})
}

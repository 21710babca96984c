// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestShortReads: of some descriptors a read gives less than there is.
func TestShortReads(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Terminal": func(t *testing.T, l *Loop) {
			master, tty := openTerminal(t)
			s, err := l.WrapFile(tty)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := master.WriteString("one\ntwo\nthree\n"); err != nil {
				t.Fatal(err)
			}
			for s.Input().Len() < len("one\ntwo\nthree\n") {
				if _, ok := l.Poll(10 * time.Second); !ok {
					t.Fatalf("nothing comes after %d bytes", s.Input().Len())
				}
			}
			s.Abort()
		},
		"UrgentByte": func(t *testing.T, l *Loop) {
			s, far := connectedPair(t, l)
			raw, err := far.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			s.Pause(Read)
			send(t, far, "before")
			raw.Write(func(fd uintptr) bool {
				err = syscall.Sendto(int(fd), []byte("!"), syscall.MSG_OOB, nil)
				return !errors.Is(err, syscall.EAGAIN)
			})
			if err != nil {
				t.Fatal(err)
			}
			send(t, far, "after")
			noMessage(t, l)
			s.Resume(Read)
			for s.Input().Len() < len("beforeafter") {
				if _, ok := l.Poll(5 * time.Second); !ok {
					t.Fatalf("nothing comes after %d bytes", s.Input().Len())
				}
			}
			if p := string(s.Input().Next(100)); p != "beforeafter" {
				t.Errorf("got %q", p)
			}
		},
	})
}

// openTerminal returns both ends of a pseudo-terminal (pty(7)).
func openTerminal(t *testing.T) (master, tty *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminal to be had: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return master, tty
}

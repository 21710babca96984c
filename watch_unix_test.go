// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"syscall"
	"testing"
	"time"

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

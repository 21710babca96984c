// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// A failingPoller fails on demand, as kernels do that are short of memory.
type failingPoller struct {
	poller
	wakes chan error // what waits fail with; empty: they do not
	adds  error      // what add fails with; nil: it does not
}

func (p *failingPoller) wait(dst []ready, d time.Duration) ([]ready, error) {
	select {
	case err := <-p.wakes:
		return dst, err
	default:
	}
	return p.poller.wait(dst, d)
}

func (p *failingPoller) add(fd sysFD, tok token, i What) error {
	if p.adds != nil {
		return p.adds
	}
	return p.poller.add(fd, tok, i)
}

// TestWaitFails: a failure of the kernel's ends the loop, in every form of it, and Err
// tells it. All that was open is closed.
func TestWaitFails(t *testing.T) {
	errKernel := errors.New("no memory")
	drain := map[string]func(*Loop){
		"All": func(l *Loop) {
			for range l.All() {
			}
		},
		"Poll": func(l *Loop) {
			for !l.isClosed() {
				l.Poll(-1)
			}
		},
		"Events": func(l *Loop) {
			for range l.Events() {
			}
		},
		"Batches": func(l *Loop) {
			for b := range l.Batches() {
				for range b.All() {
				}
			}
		},
	}
	for name, drain := range drain {
		t.Run(name, func(t *testing.T) {
			conf, err := (&Config{IgnoreEnv: true}).complete()
			must(t, err)
			p := &failingPoller{poller: newFakePoller(), wakes: make(chan error, 1)}
			l := newLoop(conf, p)
			defer l.Close()
			a, b := l.Pipe()
			timer, trigger := l.Every(time.Hour), l.Trigger()
			p.wakes <- errKernel
			trigger.Fire()
			drain(l)
			if err := l.Err(); !errors.Is(err, errKernel) || !strings.HasPrefix(err.Error(), "evchan: fake: ") {
				t.Errorf("Err is %v", err)
			}
			if l.Exited() || l.Broke() {
				t.Errorf("Exited is %v, Broke %v", l.Exited(), l.Broke())
			}
			for _, s := range []*Stream{a, b} {
				if _, err := s.Write([]byte("x")); !errors.Is(err, ErrClosed) {
					t.Errorf("Write: %v", err)
				}
			}
			if timer.Stop() || l.Stats().Sources != 0 {
				t.Errorf("%d sources are left", l.Stats().Sources)
			}
			if err := l.Close(); err != nil || !errors.Is(l.Err(), errKernel) {
				t.Errorf("Close: %v; Err is %v", err, l.Err())
			}
		})
	}
}

// TestFilterConnDeadline: what NetConn makes of a filtered stream has a deadline for both
// directions. A Write after it sends nothing, and all is well again without it.
func TestFilterConnDeadline(t *testing.T) {
	conf, err := (&Config{IgnoreEnv: true}).complete()
	must(t, err)
	l := newLoop(conf, newFakePoller())
	defer l.Close()
	s, peer := l.Pipe()
	up, err := s.Filter(xorFilter(1))
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

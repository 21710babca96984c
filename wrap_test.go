// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evchan

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// TestWrapFDOfWatched gives WrapFD a descriptor that is being watched.
func TestWrapFDOfWatched(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){"twice": func(t *testing.T, l *Loop) {
		a, _ := socketPair(t)
		armed(t, l, a, Read|Persist, 0)
		armed(t, l, a, Read|Persist, 0) // two watches may be
		if _, err := l.WrapFD(uintptr(a), nil); err == nil || !strings.Contains(err.Error(), "watched") {
			t.Errorf("WrapFD of a watched descriptor gives %v", err)
		}
	}})
}

// TestDescriptorOfOwnSource gives WrapFD and Watch a descriptor that one of the loop's own sources
// has: they say so, and the source goes on. Once that has ended the number is free.
func TestDescriptorOfOwnSource(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){"own": func(t *testing.T, l *Loop) {
		a, b := socketPair(t)
		fd, err := dupFD(a)
		if err != nil {
			t.Fatal(err)
		}
		early, err := l.Watch(uintptr(fd), Read) // which is armed when it is too late
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.WrapFD(uintptr(fd), nil)
		if err != nil {
			t.Fatal(err)
		}
		ln, err := l.Listen("tcp", "127.0.0.1:0", nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := l.ListenPacket("udp", "127.0.0.1:0", nil)
		if err != nil {
			t.Fatal(err)
		}
		check := func(what string, err error) {
			t.Helper()
			if err == nil || !strings.Contains(err.Error(), "of this loop") {
				t.Errorf("%s gives %v", what, err)
			}
		}
		own := map[string]sysFD{"stream": fd, "listener": ln.fd, "packet connection": c.fd}
		for kind, fd := range own {
			_, err := l.WrapFD(uintptr(fd), nil)
			check("WrapFD of that of a "+kind, err)
			_, err = l.Watch(uintptr(fd), Read)
			check("Watch of that of a "+kind, err)
		}
		check("Arm", early.Arm(0))
		write(t, b, "x")
		if ev, _ := l.Poll(10 * time.Second); ev != (Readable{s}) {
			t.Fatalf("received %v", ev)
		}
		s.Abort()
		ln.Close()
		c.Close()
		for kind, fd := range own {
			if l.taken.has(fd) {
				t.Errorf("the descriptor of the %s is still taken", kind)
			}
		}
	}})
}

// TestWrapListenerFails: if WrapListener fails, the listener is as it was.
func TestWrapListenerFails(t *testing.T) {
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer nl.Close()
	l := dialLoop(t, "")
	l.poller = refusingPoller{l.poller}
	if _, err := l.WrapListener(nl, nil); !errors.Is(err, errRefused) {
		t.Fatalf("WrapListener gives %v", err)
	}
	go func() {
		if c, err := net.Dial("tcp", nl.Addr().String()); err == nil {
			c.Close()
		}
	}()
	c, err := nl.Accept()
	if err != nil {
		t.Fatalf("the listener is of no use any more: %v", err)
	}
	c.Close()
}

var errRefused = errors.New("refused")

// A refusingPoller takes no descriptors.
type refusingPoller struct{ poller }

func (refusingPoller) add(sysFD, token, What) error { return errRefused }

// TestWrapRefusedEarly: where Wrap fails, what NetConn has made of a stream with unread
// input still reads that first.
func TestWrapRefusedEarly(t *testing.T) {
	needNetConn(t)
	l, refusing := dialLoop(t, ""), dialLoop(t, "")
	refusing.poller = refusingPoller{refusing.poller}
	for _, conf := range []*StreamConfig{nil, {Input: []byte("before,")}} {
		c, far := earlyConn(t, l)
		if _, err := refusing.Wrap(c, conf); !errors.Is(err, errRefused) {
			t.Fatalf("Wrap gives %v", err)
		}
		send(t, far, ",late")
		far.CloseWrite()
		if got, err := io.ReadAll(c); string(got) != "early,late" || err != nil {
			t.Errorf("the net.Conn reads %q, %v", got, err)
		}
		if conf != nil && string(conf.Input) != "before," {
			t.Errorf("the caller's input is %q", conf.Input)
		}
	}
}

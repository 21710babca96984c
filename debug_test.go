// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"io"
	"log"
	"strings"
	"testing"
)

// debugLoop returns a loop of EVCHAN_DEBUG=value, and what it finds.
func debugLoop(t *testing.T, value string) (*Loop, <-chan Finding) {
	t.Setenv("EVCHAN_DEBUG", value)
	l, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	if l.debug == nil {
		t.Fatal("EVCHAN_DEBUG has no effect")
	}
	before := log.Writer()
	log.SetOutput(io.Discard)
	t.Cleanup(func() {
		l.Close()
		log.SetOutput(before)
	})
	found := make(chan Finding, 16)
	l.Observe(&Observer{Found: func(f Finding) { found <- f }})
	return l, found
}

func wantFinding(t *testing.T, found <-chan Finding, kind string, src Source) Finding {
	t.Helper()
	f := <-found
	if f.Kind != kind || f.Source != src {
		t.Fatalf("found %v of %v, want %s", f, f.Source, kind)
	}
	return f
}

func TestDebugEnv(t *testing.T) {
	for value, ok := range map[string]bool{"": true, "0": true, "1": true, "5ms": true, "x": false, "-1s": false} {
		t.Setenv("EVCHAN_DEBUG", value)
		l, err := New(nil)
		if (err == nil) != ok {
			t.Errorf("EVCHAN_DEBUG=%q gives %v", value, err)
		}
		if err == nil {
			if on := l.debug != nil; on != (value != "" && value != "0") {
				t.Errorf("EVCHAN_DEBUG=%q: finding is %v", value, on)
			}
			l.Close()
		}
	}
}

// A slow receiver is found, with its stack, while it is slow.
func TestDebugSlow(t *testing.T) {
	l, found := debugLoop(t, "1ms")
	tr := l.Trigger()
	tr.Fire()
	for range l.All() {
		if f := wantFinding(t, found, "slow", tr); !strings.Contains(f.Stack, "TestDebugSlow") {
			t.Errorf("the stack is %q", f.Stack)
		}
		break
	}
}

func TestDebugUnclosed(t *testing.T) {
	l, found := debugLoop(t, "1h")
	s, far := connectedPair(t, l)
	far.Close()
	if ev := nextOf(t, l, s); ev != Event(EOF{s}) {
		t.Fatalf("unexpected %v", ev)
	}
	l.Close()
	wantFinding(t, found, "unclosed", s)
}

// Input that nobody reads at the limit is found.
func TestDebugUnread(t *testing.T) {
	l, found := debugLoop(t, "1ms")
	s, far := connectedPair(t, l)
	s.SetReadMarks(1, 10)
	far.Write(bytes.Repeat([]byte("x"), 100))
	for range l.All() {
		if s.InputFull() {
			break
		}
	}
	for f := range found {
		if f.Kind == "unread" {
			if f.Source != Source(s) {
				t.Errorf("found %v", f)
			}
			break
		}
	}
}

func TestDebugUnflushed(t *testing.T) {
	l, found := debugLoop(t, "1h")
	s, _ := connectedPair(t, l)
	s.Output().WriteString("kept")
	s.Flush()
	s.Output().WriteString("lost")
	s.Close()
	wantFinding(t, found, "unflushed", s)
	if len(found) > 0 {
		t.Errorf("found %v too", <-found)
	}
}

func TestDebugShared(t *testing.T) {
	l, found := debugLoop(t, "1h")
	s, _ := connectedPair(t, l)
	s.Output().WriteString("lost")
	closed := make(chan struct{})
	go func() {
		s.Close()
		close(closed)
	}()
	<-closed
	wantFinding(t, found, "shared", s)
}

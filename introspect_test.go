// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evchan

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// TestDump: each live source is visited once, with its state in words
// that a program can read.
func TestDump(t *testing.T) {
	l := dialLoop(t, "")
	a, b := socketPair(t)
	w := armed(t, l, a, Read|Persist, time.Hour)
	write(t, b, "x")
	l.Every(time.Minute)
	l.After(time.Hour).Stop() // not live
	l.Trigger()               // neither
	tr := l.Trigger()
	tr.Fire()
	sig, _ := l.Signal(userSignal)
	s, _ := connectedPair(t, l)
	ln, err := l.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	l.turn(time.Second)
	seen := make(map[Source]int)
	for src := range l.Sources() {
		seen[src]++
	}
	for _, src := range []Source{w, tr, sig, s, ln} {
		if seen[src] != 1 {
			t.Errorf("%v was visited %d times", src, seen[src])
		}
	}
	if len(seen) != 6 {
		t.Errorf("%d sources were visited; want 6", len(seen))
	}
	var dump bytes.Buffer
	if err := l.Dump(&dump); err != nil {
		t.Fatal(err)
	}
	lines := make(map[string]map[string]string)
	for line := range strings.Lines(dump.String()) {
		words := strings.Fields(line)
		values := make(map[string]string)
		for _, word := range words[1:] {
			key, value, ok := strings.Cut(word, "=")
			if !ok || values[key] != "" {
				t.Errorf("cannot read %q", line)
			}
			values[key] = value
		}
		lines[words[0]] = values
	}
	for _, c := range []struct{ kind, key, want string }{
		{"watch", "fd", itoa(int(a))},
		{"watch", "pending", "Ready"},
		{"watch", "interest", "Read|Persist"},
		{"watch", "result", "Read"},
		{"watch", "timeout", "1h0m0s"},
		{"timer", "period", "1m0s"},
		{"timer", "pending", "-"},
		{"trigger", "pending", "Fired"},
		{"trigger", "count", "1"},
		{"signal", "prio", "0"},
		{"stream", "state", "open"},
		{"stream", "in", "0"},
		{"stream", "remote", s.RemoteAddr().String()},
		{"listener", "addr", ln.Addr().String()},
	} {
		if got := lines[c.kind][c.key]; got != c.want {
			t.Errorf("%s: %s=%s; want %s", c.kind, c.key, got, c.want)
		}
	}
	if l.Stats().Queue != 2 {
		t.Errorf("Stats: %+v", l.Stats())
	}
	if tr.Take() != 1 || w.Take() != Read {
		t.Error("Dump has taken something")
	}
}

// DumpSource returns what Dump writes.
func TestDumpSource(t *testing.T) {
	l := dialLoop(t, "")
	tr := l.Trigger()
	tr.Fire()
	var all strings.Builder
	if err := l.Dump(&all); err != nil {
		t.Fatal(err)
	}
	if one := DumpSource(tr) + "\n"; one != all.String() {
		t.Errorf("%q and %q", one, all.String())
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A short run, with everything in it, finds nothing wrong.
func TestRun(t *testing.T) {
	var out strings.Builder
	name := filepath.Join(t.TempDir(), "memory.svg")
	ok := run(config{time: 2 * time.Second, round: time.Second, conns: 40, seed: 1, plot: name}, &out, nil)
	t.Log(out.String())
	if !ok {
		t.Error("something went wrong")
	}
	if svg, err := os.ReadFile(name); err != nil || !strings.Contains(string(svg), "polyline") {
		t.Errorf("%v: %.100q", err, svg)
	}
}

// The summary says what went wrong, and how to try it again.
func TestFault(t *testing.T) {
	var out strings.Builder
	if run(config{time: time.Second, methods: []string{"none"}, conns: 1, seed: 7}, &out, nil) {
		t.Error("a method that does not exist is no fault")
	}
	if s := out.String(); !strings.Contains(s, "-seed 7") || !strings.Contains(s, "no method") {
		t.Errorf("the summary is %s", s)
	}
}

// grown ignores what happens at the beginning, and single values.
func TestGrown(t *testing.T) {
	flat := []float64{1, 2, 9, 9, 8, 9, 9, 9}
	if b, a := grown(flat); b != 9 || a != 9 {
		t.Errorf("medians %v and %v; want 9 and 9", b, a)
	}
}

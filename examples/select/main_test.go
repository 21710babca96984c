// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package main

import (
	"context"
	"strings"
	"testing"
	"time"
)

// A watcher cancels when it has seen the last line.
type watcher struct {
	strings.Builder
	cancel func()
}

func (w *watcher) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "line 6") {
		w.cancel()
	}
	return w.Builder.Write(p)
}

// All lines are printed, though two arrive with one Readable.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w := &watcher{cancel: cancel}
	if err := run(ctx, w, 10*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for l := range strings.Lines(w.String()) {
		if text, ok := strings.CutPrefix(l, "private: "); ok {
			lines = append(lines, strings.TrimSpace(text))
		}
	}
	const want = `"line 1" "line 2" "line 3" "line 4" "line 5" "line 6"`
	if got := strings.Join(lines, " "); got != want {
		t.Errorf("printed %s; want %s", got, want)
	}
}

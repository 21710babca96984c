// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"testing"
)

// TestEveryEvent asks messages of all types for their source and their text.
func TestEveryEvent(t *testing.T) {
	l := socketLoop(t)
	s, _ := l.Pipe(nil, nil)
	ln, err := l.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := l.Signal(userSignal)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ev   Event
		src  Source
		says string
	}{
		{Accepted{s}, s, "Accepted stream pipe"},
		{TimedOut{s}, s, "TimedOut stream pipe"},
		{Closed{s}, s, "Closed stream pipe"},
		{AcceptFailed{ln}, ln, "AcceptFailed " + ln.label()},
		{Signaled{sig}, sig, "Signaled " + sig.label()},
	} {
		if c.ev.Source() != c.src || c.ev.String() != c.says {
			t.Errorf("%v is of %v", c.ev, c.ev.Source())
		}
	}
}

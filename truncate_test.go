// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"errors"
	"io"
	"syscall"
	"testing"
	"time"
)

// A peer that does not get all that was written does not get a clean end either.
func TestDroppedOutputResets(t *testing.T) {
	tests := make(map[string]func(*testing.T, *Loop))
	for name, end := range map[string]func(*testing.T, *Loop, *Stream){
		"Linger": func(t *testing.T, l *Loop, s *Stream) {
			s.Close()
			waitReleased(t, l)
		},
		"LoopClosed": func(t *testing.T, l *Loop, s *Stream) { l.Close() },
		"FilterLinger": func(t *testing.T, l *Loop, s *Stream) {
			filterOn(t, s, xorFilter(0)).Close()
			waitReleased(t, l)
		},
	} {
		tests[name] = func(t *testing.T, l *Loop) {
			s, c := connectedPair(t, l)
			s.Write(pattern(16 << 20))
			if s.Queued() == 0 {
				t.Fatal("all was sent at once")
			}
			end(t, l, s)
			if _, err := io.Copy(io.Discard, c); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the peer has got %v", err)
			}
		}
	}
	onMethods(t, Config{Linger: 10 * time.Millisecond}, tests)
}

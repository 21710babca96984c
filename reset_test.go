// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"net"
	"os"
	"testing"
)

// TestReset has the system reset connections whose listener is closed before it has
// accepted them, which is a reset and nothing else on Wine, too.
func TestReset(t *testing.T) {
	tests := make(map[string]func(*testing.T, *Loop))
	for name, before := range map[string]func(*testing.T, *Loop, *Stream){
		"Idle": func(t *testing.T, l *Loop, s *Stream) {},
		"Waiting": func(t *testing.T, l *Loop, s *Stream) {
			noMessage(t, l)
		},
		"Paused": func(t *testing.T, l *Loop, s *Stream) {
			s.Pause(Read)
			noMessage(t, l)
		},
		"OutputWaits": func(t *testing.T, l *Loop, s *Stream) {
			for s.Queued() == 0 {
				s.Write(make([]byte, 1<<20))
			}
			noMessage(t, l)
		},
		"HalfClosed": func(t *testing.T, l *Loop, s *Stream) {
			s.CloseWrite()
			noMessage(t, l)
		},
	} {
		tests[name] = func(t *testing.T, l *Loop) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			defer ln.Close()
			c, err := net.Dial("tcp", ln.Addr().String())
			must(t, err)
			s, err := l.Wrap(c)
			must(t, err)
			before(t, l, s)
			ln.Close()
			if ev := nextOf(t, l, s); ev != Event(Closed{s}) {
				t.Fatalf("unexpected %v", ev)
			}
			var op *net.OpError
			var sys *os.SyscallError
			if err := s.Err(); !errors.Is(err, eCONNRESET) || !errors.As(err, &op) || !errors.As(err, &sys) {
				t.Errorf("Err is %v", err)
			}
			if n := l.Stats().Sources; n != 0 {
				t.Errorf("%d live sources after Closed", n)
			}
			noMessage(t, l)
		}
	}
	onMethods(t, Config{}, tests)
}

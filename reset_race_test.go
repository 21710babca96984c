// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"net"
	"runtime"
	"testing"
)

// TestResetIsNoEnd: a reset that comes between the poller's report and the read, or the
// write, is told as what it is. The kernel tells it once; a second read finds an end of
// input, and a second write a broken pipe.
func TestResetIsNoEnd(t *testing.T) {
	reset := func(c *net.TCPConn) {
		c.SetLinger(0)
		c.Close()
	}
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Read": func(t *testing.T, l *Loop) {
			if runtime.GOOS == "windows" {
				t.Skip("on Wine, which looks at the socket itself, a read after a reset finds an end")
			}
			s, far := connectedPair(t, l)
			s.SetReadMarks(0, 10)
			send(t, far, "0123456789")
			if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
				t.Fatalf("unexpected %v", ev)
			}
			reset(far)
			s.Input().Discard(10) // so it reads on, without having asked the poller
			if ev := nextOf(t, l, s); ev != Event(Closed{s}) || !errors.Is(s.Err(), eCONNRESET) {
				t.Errorf("%v; Err is %v", ev, s.Err())
			}
		},
		"Write": func(t *testing.T, l *Loop) {
			s, far := connectedPair(t, l)
			reset(far)
			if _, err := s.Write([]byte("x")); !errors.Is(err, eCONNRESET) {
				t.Errorf("Write gives %v", err)
			}
		},
		"WriteTo": func(t *testing.T, l *Loop) {
			from, first := connectedPair(t, l)
			to, second := connectedPair(t, l)
			send(t, first, "x")
			if ev := nextOf(t, l, from); ev != Event(Readable{from}) {
				t.Fatalf("unexpected %v", ev)
			}
			reset(second)
			if _, err := from.WriteTo(to); !errors.Is(err, eCONNRESET) {
				t.Errorf("WriteTo gives %v", err)
			}
		},
	})
}

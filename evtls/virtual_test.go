// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtls

import (
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evchan/evchan"
)

// TestVirtualTime: without a kernel, a handshake succeeds in no time, and one that does not progress
// ends exactly when it must.
func TestVirtualTime(t *testing.T) {
	cc, sc := clientConfig(0), serverConfig(0) // certificates of the real time; bubbles begin in 2000
	now := time.Now()
	cc.Time, sc.Time = func() time.Time { return now }, func() time.Time { return now }
	synctest.Test(t, func(t *testing.T) {
		loop, err := evchan.New(&evchan.Config{Method: "memory"})
		must(t, err)
		defer loop.Close()
		_, err = loop.Listen("memory", "server", &evchan.ListenConfig{Over: Over(sc, nil)})
		must(t, err)
		began := time.Now()
		next := func(s *evchan.Stream, within time.Duration) evchan.Event {
			t.Helper()
			for {
				ev, ok := loop.Poll(within)
				if !ok {
					return nil
				}
				if s == nil || ev.Source() == evchan.Source(s) {
					return ev
				}
			}
		}

		client, err := Dial(loop, "memory", "server", nil, cc)
		must(t, err)
		client.WriteString("hello")
		if ev := next(client, time.Hour); ev != evchan.Event(evchan.Connected{Stream: client}) {
			t.Fatalf("unexpected %v: %v", ev, client.Err())
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("the handshake has taken %v", d)
		}

		silent, err := loop.Dial("memory", "server", nil)
		must(t, err)
		if ev := next(silent, time.Second); ev != evchan.Event(evchan.Connected{Stream: silent}) {
			t.Fatalf("unexpected %v", ev)
		}
		if ev := next(silent, 20*time.Second); ev != evchan.Event(evchan.EOF{Stream: silent}) {
			t.Fatalf("unexpected %v", ev)
		}
		if d := time.Since(began); d != defaultHandshakeTimeout {
			t.Errorf("it was cut off after %v", d)
		}

		ln, err := loop.Listen("memory", "nobody", nil)
		must(t, err)
		waiting, err := Dial(loop, "memory", "nobody", nil, cc)
		must(t, err)
		if ev := next(waiting, time.Minute); ev != evchan.Event(evchan.Closed{Stream: waiting}) || !errors.Is(waiting.Err(), os.ErrDeadlineExceeded) {
			t.Errorf("unexpected %v: %v", ev, waiting.Err())
		}
		if d := time.Since(began); d != 2*defaultHandshakeTimeout {
			t.Errorf("it has ended after %v", d)
		}
		ln.Close()
	})
}

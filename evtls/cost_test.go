// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !race

package evtls

// The race detector allocates, so this file is left out with it.

import (
	"io"
	"testing"
)

// TestAllocations: in a steady echo, only crypto/tls allocates: twice for each record that it
// reads.
func TestAllocations(t *testing.T) {
	versions(t, func(t *testing.T, v uint16) {
		p := newPump(t, nil)
		c, s := p.pair(clientConfig(v), serverConfig(v))
		p.untilSaid(c, "Connected")
		p.untilSaid(s, "Connected")
		message := []byte("hello")
		buf := make([]byte, 100)
		round := func() {
			c.Write(message)
			for back := 0; back < len(message); {
				ev, ok := p.loop.Poll(patience)
				if !ok {
					t.Fatal("nothing comes")
				}
				switch ev.Source() {
				case s:
					io.Copy(s, s)
				case c:
					n, _ := c.Read(buf)
					back += n
				}
			}
		}
		for range 10 {
			round()
		}
		if n := testing.AllocsPerRun(1000, round); n > 4 {
			t.Errorf("%v allocations for a message and its reply", n)
		}
	})
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !race

package evws

import (
	"strings"
	"testing"

	"github.com/evchan/evchan"
)

// TestAllocations counts what a message costs: one piece of memory if it is received, none if it
// is sent.
func TestAllocations(t *testing.T) {
	for _, client := range []bool{false, true} {
		w := newWire(t, nil, client)
		text := []byte(strings.Repeat("x", 100))
		m := Prepare(Text, text)
		w.peer.SetLayer(layerFunc(func(src evchan.Source, ev evchan.Event) evchan.Event {
			in := src.(*evchan.Stream).Input()
			in.Discard(in.Len())
			return nil
		}))
		if got := testing.AllocsPerRun(200, func() {
			w.conn.Send(Text, text)
			w.conn.SendPrepared(m)
			for range 3 {
				w.loop.Poll(0)
			}
		}); got > 0 {
			t.Errorf("client %v: Send allocates %v times", client, got)
		}
	}
	w := newWire(t, nil, false)
	in := frame(fin|opText, "hello, this is a message of usual length")
	if got := testing.AllocsPerRun(200, func() {
		w.peer.Write(in)
		for range 3 {
			w.loop.Poll(0)
		}
	}); got > 1 {
		t.Errorf("a message that is received allocates %v times", got)
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"sync"
	"testing"
)

// Retract may come while another goroutine posts: then the message stays posted, or is taken
// back, and the mailbox counts right.
func TestRetractDuringPost(t *testing.T) {
	l := dialLoop(t, "")
	boxes := []*Mailbox{l.Mailbox(10), l.Mailbox(10)}
	ev := &note{}
	for i := range 2000 {
		box, posted := boxes[i%2], make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			close(posted)
			if err := box.Post(ev); err != nil {
				t.Error(err)
			}
		})
		retracted := false
		wg.Go(func() {
			<-posted
			for range 20 {
				if ev.Retract() {
					retracted = true
				}
			}
		})
		wg.Wait()
		if !retracted && !ev.Retract() {
			t.Fatal("the message is not in the mailbox")
		}
		if n := boxes[0].Len() + boxes[1].Len(); n != 0 {
			t.Fatalf("%d messages are left", n)
		}
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import "testing"

// The loop is closed between the moment at which a receiver takes a message from the channel, and
// the one at which the feeder notes that: it takes the message out of a mailbox that is empty.
func TestMailboxReceivedWhileLoopCloses(t *testing.T) {
	l, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	m := l.Mailbox(0)
	if err := m.Post(&note{}); err != nil {
		t.Fatal(err)
	}
	l.Close()
	l.lock()
	m.received(msgSingle)
	l.unlock()
	if n := m.Len(); n != 0 {
		t.Errorf("%d messages", n)
	}
}

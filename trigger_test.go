// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"testing"
)

// TestFireCoalesces fires and activates while the message is being offered: what
// has happened before it is received does not bring another one.
func TestFireCoalesces(t *testing.T) {
	l, err := New(&Config{IgnoreEnv: true})
	must(t, err)
	defer l.Close()
	c := l.Events()
	tr := l.Trigger()
	fd, _ := socketPair(t)
	w, err := l.Watch(uintptr(fd), Read) // never armed
	must(t, err)
	for name, tt := range map[string]struct {
		s    *source
		fire func()
	}{
		"Fire":     {&tr.source, tr.Fire},
		"Activate": {&w.source, func() { w.Activate(Read) }},
	} {
		for range 2000 {
			tt.fire()
			for offered := false; !offered; {
				l.mu.Lock()
				offered = tt.s.offered
				l.mu.Unlock()
			}
			tt.fire()
			<-c
			tt.s.lockAndWithdraw()
			again := tt.s.pend != 0
			l.unlock()
			if again {
				t.Fatalf("%s: a second message comes", name)
			}
		}
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtls

import (
	"container/list"
	"runtime"
	"sync"
	"time"
)

// turns bounds how many handshakes have a goroutine at once: the others wait. Servers and clients
// do not wait for each other, because the peer of one may be the other.
type turns struct {
	mu      sync.Mutex // guards the following, and the fields place of the handshakes
	n       int        // handshakes that have a goroutine
	waiting list.List  // those that wait, in order
}

// turns returns those that handshakes of the client, or of the server, count for.
func (o *Options) turns(client bool) *turns {
	if o.Pending == 0 {
		o = &defaults
	}
	if client {
		return &o.clients
	}
	return &o.servers
}

// take reports whether h may start at once. Otherwise start is called when it is its turn. The
// caller holds h.mu.
func (t *turns) take(h *handshake) bool {
	limit := h.filter.opts.Pending
	if limit == 0 {
		limit = defaultPending
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if limit > 0 && t.n >= limit {
		h.place = t.waiting.PushBack(h)
		return false
	}
	t.n++
	return true
}

// done is called when a goroutine ends. It starts another one, if one waits. The caller holds the
// mu of no handshake.
func (t *turns) done() {
	for h := t.next(); h != nil; h = t.next() {
		if h.start() {
			return
		}
	}
}

// next takes the first handshake that waits. If none does, it counts one goroutine less, and
// returns nil.
func (t *turns) next() *handshake {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := t.waiting.Front()
	if first == nil {
		t.n--
		return nil
	}
	h := t.waiting.Remove(first).(*handshake)
	h.place = nil
	return h
}

// leave is called when h is over: it does not wait any more. The caller holds h.mu.
func (t *turns) leave(h *handshake) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h.place != nil {
		t.waiting.Remove(h.place)
		h.place = nil
	}
}

// slots bounds how many handshakes of the process compute at once, so that a crowd of them does
// not take the processors from the loops.
var slots = make(chan struct{}, 2*runtime.GOMAXPROCS(0))

// maxHold is how long a handshake keeps its slot while it runs. After that it is taken to be
// blocked, in a callback of the tls.Config for example, and goes on without. Arbitrary; much
// longer than what a handshake computes at a time.
const maxHold = 20 * time.Millisecond

// takeSlot waits for a slot. The returned function gives it back.
func takeSlot() (give func()) {
	slots <- struct{}{}
	once := sync.OnceFunc(func() { <-slots })
	timer := time.AfterFunc(maxHold, once)
	return func() {
		timer.Stop()
		once()
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"net"
	"sync"
)

// A netMemoryListener is the net.Listener that NetListener returns for a listener in memory. It
// needs no loop.
type netMemoryListener struct {
	memory *memoryListener // never changes
	closed chan struct{}   // closed by Close
	once   sync.Once       // for Close

	mu         sync.Mutex // locked by Accept: one waits at a time
	connection waiter     // of Accept
}

var _ net.Listener = (*netMemoryListener)(nil)

// netMemoryListener returns what takes over the connections to ln; nil if ln is not in memory,
// or closed.
func (ln *Listener) netMemoryListener() net.Listener {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	m, ok := ln.virtual.(*memoryListener)
	if !ok {
		return nil
	}
	nl := &netMemoryListener{memory: m, closed: make(chan struct{}), connection: newWaiter()}
	if !nl.memory.handOver(ln, nl) {
		return nil
	}
	return nl
}

// arrived implements memoryAcceptor.
func (nl *netMemoryListener) arrived() { nl.connection.wake() }

func (nl *netMemoryListener) Accept() (net.Conn, error) {
	nl.mu.Lock()
	defer nl.mu.Unlock()
	for err := nl.connection.check(nl.closed); ; err = nl.connection.wait(nl.closed) {
		if err != nil {
			return nil, &net.OpError{Op: "accept", Net: "memory", Addr: nl.Addr(), Err: err}
		}
		if e, err := nl.memory.next(); err == nil {
			return newPipeConn(e, new(Buffer)), nil
		}
	}
}

func (nl *netMemoryListener) Close() error {
	first := false
	nl.once.Do(func() {
		close(nl.closed)
		first = true
	})
	if !first {
		return &net.OpError{Op: "close", Net: "memory", Addr: nl.Addr(), Err: net.ErrClosed}
	}
	nl.memory.close(nl)
	return nil
}

func (nl *netMemoryListener) Addr() net.Addr { return nl.memory.addr }

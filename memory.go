// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"fmt"
	"net"
	"os"
	"sync"
)

// The network "memory" connects what is in one process, without a kernel. A connection is a
// pipe, whose ends the two loops have. What a kernel would have of a listener is a
// memoryListener: its name, and the connections that wait to be accepted.

// memoryBacklog is how many connections wait to be accepted, at most, if ListenConfig.Backlog
// is 0. Arbitrary, but what Linux has.
const memoryBacklog = 4096

// errInMemory is what there is instead of a descriptor.
var errInMemory = fmt.Errorf("it is in memory and has no descriptor: %w", ErrUnsupported)

// memoryNames has the listeners in memory of this process, by their names.
var memoryNames struct {
	mu     sync.Mutex // guards the following; no other lock is taken while it is held
	byName map[string]*memoryListener
	last   int // the number in the last name that was chosen
}

// A memoryAddr is the address of a listener in memory, or of one end of a connection: the
// listener's name, or for the end that has dialled, that and a number.
type memoryAddr string

var _ net.Addr = memoryAddr("")

func (memoryAddr) Network() string  { return "memory" }
func (a memoryAddr) String() string { return string(a) }

// A memoryListener has the connections to a name that were not accepted.
type memoryListener struct {
	addr  memoryAddr // never changes
	limit int        // of backlog; never changes

	mu      sync.Mutex     // guards the following; locked before the loops' mu, with no pipe's mu held
	owner   memoryAcceptor // nil: closed
	backlog []*pipeEnd
	dialled int // connections so far
}

// A memoryAcceptor accepts the connections of a memoryListener.
type memoryAcceptor interface {
	arrived() // a connection is in the backlog; called with no lock held but a stream's mu
}

// listenName returns a listener with the name, or with one that is free if name is "".
func listenName(name string, limit int, owner memoryAcceptor) (*memoryListener, error) {
	n := &memoryNames
	n.mu.Lock()
	defer n.mu.Unlock()
	for name == "" {
		n.last++
		if free := fmt.Sprintf("@%d", n.last); n.byName[free] == nil {
			name = free
		}
	}
	if n.byName[name] != nil {
		return nil, os.NewSyscallError("bind", eADDRINUSE)
	}
	if n.byName == nil {
		n.byName = make(map[string]*memoryListener)
	}
	m := &memoryListener{addr: memoryAddr(name), limit: limit, owner: owner}
	n.byName[name] = m
	return m, nil
}

// connectName returns the near end of a new connection to the name. The far end waits to be
// accepted.
func connectName(name string) (*pipeEnd, error) {
	memoryNames.mu.Lock()
	m := memoryNames.byName[name]
	memoryNames.mu.Unlock()
	if m == nil {
		return nil, eCONNREFUSED
	}
	m.mu.Lock()
	owner := m.owner
	if owner == nil || len(m.backlog) >= m.limit {
		m.mu.Unlock()
		return nil, eCONNREFUSED
	}
	m.dialled++
	p := newPipe(memoryAddr(fmt.Sprintf("%s#%d", name, m.dialled)), m.addr)
	m.backlog = append(m.backlog, &p.ends[1])
	m.mu.Unlock()
	owner.arrived()
	return &p.ends[0], nil
}

// next returns the end of the connection that has waited longest, or EAGAIN.
func (m *memoryListener) next() (*pipeEnd, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.backlog) == 0 {
		return nil, eAGAIN
	}
	e := m.backlog[0]
	m.backlog[0] = nil
	if m.backlog = m.backlog[1:]; len(m.backlog) == 0 {
		m.backlog = nil
	}
	return e, nil
}

// handOver makes to the owner. If the owner was not from, it does nothing and returns false.
func (m *memoryListener) handOver(from, to memoryAcceptor) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.owner != from {
		return false
	}
	m.owner = to
	return true
}

// close frees the name, and resets the connections that were not accepted, if by is the owner.
func (m *memoryListener) close(by memoryAcceptor) {
	if !m.handOver(by, nil) {
		return
	}
	memoryNames.mu.Lock()
	delete(memoryNames.byName, string(m.addr))
	memoryNames.mu.Unlock()
	for e, err := m.next(); err == nil; e, err = m.next() {
		e.close(true)
	}
}

// listenMemory is Listen on the network memory, for the loops of d, of which l accepts.
func (d *division) listenMemory(l *Loop, name string, c *ListenConfig) (*Listener, error) {
	if c.ReusePort || c.Control != nil {
		return nil, fmt.Errorf("evchan: ListenConfig.ReusePort or Control of a listener: %w", errInMemory)
	}
	limit := c.Backlog
	if limit == 0 {
		limit = memoryBacklog
	}
	ln := d.add(l, nil, c, false)
	ln.mu.Lock() // so that task waits until ln is open
	m, err := listenName(name, limit, ln)
	if err != nil {
		ln.mu.Unlock()
		return nil, &net.OpError{Op: "listen", Net: "memory", Addr: memoryAddr(name), Err: err}
	}
	return ln.openVirtual(m)
}

var _ memoryAcceptor = (*Listener)(nil)

// arrived implements memoryAcceptor.
func (ln *Listener) arrived() {
	l := ln.lockLoop()
	defer l.unlock()
	if !l.closed {
		ln.ready(Read)
	}
}

var _ virtualListener = (*memoryListener)(nil)

func (m *memoryListener) fd() sysFD             { return noFD }
func (m *memoryListener) address() net.Addr     { return m.addr }
func (m *memoryListener) closeFor(ln *Listener) { m.close(ln) }

// accept returns a stream of the connection that has waited longest.
func (m *memoryListener) accept(l *Loop) (*Stream, error) {
	e, err := m.next()
	if err != nil {
		return nil, err
	}
	s := l.newStream(noFD)
	s.mu.Lock()
	e.give(s)
	s.mu.Unlock()
	return s, nil
}

// connectMemory connects s, for which d has stood so far, to the listener with the name. After
// that s has sent what was written before, and Connected or Closed is sent.
func (s *Stream) connectMemory(d *dialing, name string) {
	defer d.cancel()
	s.mu.Lock()
	defer s.unlockInTurn()
	if s.transport() != d {
		return // Over has closed it
	}
	e, err := connectName(name)
	if err != nil {
		s.more().err = &net.OpError{Op: "dial", Net: "memory", Addr: memoryAddr(name), Err: os.NewSyscallError("connect", err)}
		s.release(false, msgClosed)
		return
	}
	e.give(s)
	s.announce(msgConnected | s.attached(d.fin))
	e.attach()
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"net"
	"sync"
)

// pipeRoom is how many bytes each direction of a Pipe holds between its two streams.
// What the streams hold is not counted.
const pipeRoom = 64 << 10

// Pipe returns two streams that are connected in memory: what is written to one
// arrives at the other. They behave as two ends of a socket connection do, with marks,
// half-close and the same order of messages, and each holds as much as any stream.
//
// They send no first message, and bytes move only while the loop runs. If the loop is
// closed, both are closed. a and b are the configurations of the two; if one is not valid,
// Pipe panics.
func (l *Loop) Pipe(a, b *StreamConfig) (*Stream, *Stream) {
	p := newPipe(pipeAddr{}, pipeAddr{})
	var ends [2]*Stream
	for i, conf := range [...]*StreamConfig{a, b} {
		u, err := l.setup(conf)
		if err != nil {
			panic(err.Error())
		}
		s := l.newStream(noFD)
		s.mu.Lock()
		defer s.unlock()
		p.ends[i].give(s)
		p.ends[i].attached = true // nothing can have happened before s is published
		s.setupLocked(u)
		ends[i] = s
	}
	l.lock()
	defer l.unlock()
	for _, s := range ends {
		if l.closed {
			s.life = lifeClosed
			s.extra.leave(l)
			continue
		}
		s.publish(l, 0)
	}
	return ends[0], ends[1]
}

// A pipe connects two ends in memory: of [Loop.Pipe], or of a connection of the network
// "memory". The ends may be in different loops, or in none.
type pipe struct {
	mu   sync.Mutex // guards the ends; locked after the streams' mu, before the loops'
	ends [2]pipeEnd
}

// newPipe returns a pipe whose ends have these addresses. Nobody has the ends yet.
func newPipe(a, b net.Addr) *pipe {
	p := new(pipe)
	p.ends[0] = pipeEnd{pipe: p, peer: &p.ends[1], local: a, remote: b}
	p.ends[1] = pipeEnd{pipe: p, peer: &p.ends[0], local: b, remote: a}
	return p
}

// A pipeEnd is one end of a pipe. It belongs to a stream, whose transport it is, or to a
// pipeConn, or to nobody, as long as the connection was not accepted.
type pipeEnd struct {
	pipe          *pipe     // never changes
	peer          *pipeEnd  // never changes
	local, remote net.Addr  // never change
	stream        *Stream   // nil: no stream has it yet
	attached      bool      // stream hears what happens
	conn          *pipeConn // nil: no net.Conn was made of it
	in            chain     // what the peer has written
	eof           bool      // the peer writes no more
	reset         bool      // the peer has dropped output
	closed        bool      // this end is closed
	short         bool      // peer.in was full when this end wrote: it waits for room
}

var _ transport = (*pipeEnd)(nil)

// give makes e the transport of s, which the loop does not know yet. Caller holds s.mu.
func (e *pipeEnd) give(s *Stream) {
	x := s.more()
	x.transport, x.local, x.remote = e, e.local, e.remote
	e.pipe.mu.Lock()
	e.stream = s
	e.pipe.mu.Unlock()
}

// attach tells the stream, which the loop knows from now on, what has happened already, and
// then whatever happens. Caller holds the stream's mu.
func (e *pipeEnd) attach() {
	e.pipe.mu.Lock()
	e.attached = true
	var what What
	if e.in.n > 0 {
		what |= Read
	}
	if e.eof {
		what |= Read | EarlyClose
	}
	if e.reset {
		what |= hangup
	}
	e.pipe.mu.Unlock()
	if what != 0 {
		e.tell(what)
	}
}

func (e *pipeEnd) fill(in *chain, limit int) (n int, full bool, err error) {
	e.pipe.mu.Lock()
	if n = min(limit, e.in.n); n > 0 {
		in.moveN(&e.in, n)
	}
	more, eof, reset := e.in.n > 0, e.eof, e.reset
	wake := n > 0 && e.peer.short
	if wake {
		e.peer.short = false
	}
	e.pipe.mu.Unlock()
	if wake {
		e.peer.tell(Write)
	}
	switch {
	case n > 0:
		return n, more || eof || reset, nil
	case reset:
		return 0, false, eCONNRESET
	case eof:
		return 0, false, nil
	}
	return 0, false, eAGAIN
}

func (e *pipeEnd) write(p []byte) (n int, err error) {
	return e.send(len(p), func(n int) { e.peer.in.add(p[:n]) })
}

func (e *pipeEnd) flush(out *chain, limit int) (n int, spent *chunk, err error) {
	for out.n > 0 && n < limit && err == nil {
		// A file is read here, so that an error ends the end that sends it.
		c := out.head
		if c.isFile() {
			var d *chunk
			if d, err = out.loadSome(nil, c); err != nil {
				break
			}
			if c.size() == 0 {
				out.unlinkAfter(d)
				c.next = spent
				spent = c
			}
		}
		var k int
		k, err = e.send(min(out.beforeFile(pipeRoom), limit-n), func(n int) { e.peer.in.moveN(out, n) })
		n += k
	}
	if err == eAGAIN {
		err = nil
	}
	return n, spent, err
}

// send calls move with the number of bytes, at most n, for which peer.in has room.
func (e *pipeEnd) send(n int, move func(n int)) (int, error) {
	e.pipe.mu.Lock()
	if e.peer.closed || e.peer.eof {
		e.pipe.mu.Unlock()
		return 0, ePIPE
	}
	room := pipeRoom - e.peer.in.n
	e.short = n > room
	n = min(n, room)
	if n > 0 {
		move(n)
	}
	e.pipe.mu.Unlock()
	if n == 0 {
		return 0, eAGAIN
	}
	e.peer.tell(Read)
	return n, nil
}

func (e *pipeEnd) closeWrite() error {
	e.pipe.mu.Lock()
	e.peer.eof = true
	e.pipe.mu.Unlock()
	e.peer.tell(Read | EarlyClose)
	return nil
}

func (e *pipeEnd) failure() error {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	if e.reset {
		return eCONNRESET
	}
	return nil
}

func (e *pipeEnd) halfCloses() bool { return true }

func (e *pipeEnd) close(reset bool) {
	e.pipe.mu.Lock()
	e.closed = true
	unread := e.in.detach()
	e.peer.eof = true
	e.peer.reset = reset
	s := e.stream
	if e.conn != nil {
		s = nil
	}
	e.pipe.mu.Unlock()
	if s == nil {
		freeChain(unread)
	} else {
		s.spend(unread)
	}
	what := Read | EarlyClose
	if reset {
		what |= hangup
	}
	e.peer.tell(what | Write) // the peer's writes fail from now on
}

// tell reports what to the stream or net.Conn, as the poller does for a socket. An end that
// nobody has yet is asked later: see attach.
func (e *pipeEnd) tell(what What) {
	e.pipe.mu.Lock()
	conn, s := e.conn, e.stream
	if !e.attached {
		s = nil
	}
	e.pipe.mu.Unlock()
	if conn != nil {
		conn.tell(what)
		return
	}
	if s == nil {
		return
	}
	l := s.lockLoop()
	defer l.unlock()
	if !s.gone() && !l.closed {
		s.ready(what)
	}
}

// pipeAddr is the address of both ends of a pipe of Loop.Pipe.
type pipeAddr struct{}

var _ net.Addr = pipeAddr{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// unread returns how many bytes the peer has not taken yet.
func (e *pipeEnd) unread() int {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	return e.peer.in.n
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"net"
	"sync"
)

// pipeRoom is how many bytes each direction of a Pipe holds between its two
// streams, beside what the streams hold themselves.
const pipeRoom = 64 << 10

// Pipe returns two streams that are connected in memory: what is written to one
// arrives at the other, as over a socket, with marks, half-close, and messages
// of the same order. They send no first message, and move bytes only while
// something runs the loop. On a closed loop both are closed.
//
// Each end belongs to the loop like any stream, and holds as much as one.
func (l *Loop) Pipe() (*Stream, *Stream) {
	p := new(pipe)
	var ends [2]*Stream
	for i := range ends {
		s := l.newStream(noFD)
		p.ends[i] = pipeEnd{pipe: p, stream: s, peer: &p.ends[1-i]}
		x := s.more()
		x.transport = &p.ends[i]
		x.local, x.remote = pipeAddr{}, pipeAddr{}
		ends[i] = s
	}
	l.lock()
	defer l.unlock()
	for _, s := range ends {
		if l.closed {
			s.life = lifeClosed
			continue
		}
		l.streams++
		l.refresh(&s.source)
	}
	return ends[0], ends[1]
}

// A pipe connects two streams in memory.
type pipe struct {
	mu   sync.Mutex // guards the ends; taken after the streams' mu, before the loop's
	ends [2]pipeEnd
}

// A pipeEnd is the transport of one of a pipe's streams.
type pipeEnd struct {
	pipe   *pipe     // never changes
	stream *Stream   // never changes
	peer   *pipeEnd  // never changes
	conn   *pipeConn // that NetConn has made of it; nil: it is still the stream's
	in     chain     // what the peer has written
	eof    bool      // the peer writes no more
	reset  bool      // the peer has dropped what it had
	closed bool      // this end is closed
	short  bool      // this end could not write all it had
}

var _ transport = (*pipeEnd)(nil)

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

func (e *pipeEnd) flush(out *chain) (n int, spent *chunk, err error) {
	for out.n > 0 && err == nil {
		// A file is read on this side, which ends if that fails.
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
		k, err = e.send(out.beforeFile(pipeRoom), func(n int) { e.peer.in.moveN(out, n) })
		n += k
	}
	if err == eAGAIN {
		err = nil
	}
	return n, spent, err
}

// send has move put as many of n bytes as there is room for into the peer's
// buffer.
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
	isConn := e.conn != nil
	e.pipe.mu.Unlock()
	if isConn {
		freeChain(unread)
	} else {
		e.stream.spend(unread)
	}
	what := Read | EarlyClose
	if reset {
		what |= hangup
	}
	e.peer.tell(what | Write) // a write of the peer's fails from now on
}

// tell is what the poller does for a socket.
func (e *pipeEnd) tell(what What) {
	e.pipe.mu.Lock()
	conn := e.conn
	e.pipe.mu.Unlock()
	if conn != nil {
		conn.tell(what)
		return
	}
	l := e.stream.lockLoop()
	defer l.unlock()
	if !e.stream.gone() && !l.closed {
		e.stream.ready(what)
	}
}

// A pipeAddr is the address of both ends of a Pipe.
type pipeAddr struct{}

var _ net.Addr = pipeAddr{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

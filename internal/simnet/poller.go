// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package simnet

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/evchan/evchan/internal/seam"
)

// A Poller is a poller made of channels: in a bubble, a goroutine in its Wait is durably
// blocked. Its descriptors are made by Open; Raise and Lower say what they are ready for. The
// methods that a seam.Kernel has as well do what it says.
type Poller struct {
	Wakec   chan struct{} // holds a wake that is not consumed
	Changec chan struct{} // holds a reason to look again
	Donec   chan struct{} // closed by Close

	mu     sync.Mutex // guards the following
	fds    map[int]*pollFD
	last   int // descriptors are not used again
	closed bool
}

// A pollFD is a descriptor of a Poller.
type pollFD struct {
	ready seam.What // what it is ready for, with Hangup
	news  seam.What // what of it has not been reported; counts for Edge

	watched bool
	tok     seam.Token
	i       seam.What
}

func NewPoller() *Poller {
	return &Poller{
		Wakec:   make(chan struct{}, 1),
		Changec: make(chan struct{}, 1),
		Donec:   make(chan struct{}),
		fds:     make(map[int]*pollFD),
		last:    1000, // unlike a real one
	}
}

// ErrUnknown is what there is where a kernel would have an error number.
var ErrUnknown = errors.New("simnet: no such descriptor or registration")

// Open returns a new descriptor that is ready for nothing.
func (p *Poller) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	p.fds[p.last] = &pollFD{}
	return p.last
}

// Know makes fd, which Open has not made, a descriptor.
func (p *Poller) Know(fd int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fds[fd] == nil {
		p.fds[fd] = &pollFD{}
	}
}

// Shut closes fd, which ends its registration.
func (p *Poller) Shut(fd int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.fds, fd)
}

// Raise makes fd ready for the conditions in w, and news of them even if it was ready before.
// Hangup brings all conditions with it.
func (p *Poller) Raise(fd int, w seam.What) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.fds[fd]
	if f == nil {
		return // closed
	}
	f.ready |= w
	f.news |= w
	p.Stir()
}

// Lower makes fd ready for the conditions in w no more.
func (p *Poller) Lower(fd int, w seam.What) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.fds[fd]; f != nil {
		f.ready &^= w
		f.news &^= w
	}
}

// Stir has a wait look again.
func (p *Poller) Stir() {
	select {
	case p.Changec <- struct{}{}:
	default: // there is a reason already
	}
}

func (p *Poller) Add(fd int, tok seam.Token, i seam.What) error { return p.ask(fd, tok, i, true) }
func (p *Poller) Arm(fd int, tok seam.Token, i seam.What) error { return p.ask(fd, tok, i, false) }

func (p *Poller) ask(fd int, tok seam.Token, i seam.What, add bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	f := p.fds[fd]
	if f == nil || !f.watched && !add {
		return ErrUnknown
	}
	f.watched, f.tok, f.i = true, tok, i
	f.news = f.ready
	p.Stir()
	return nil
}

func (p *Poller) Remove(fd int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	f := p.fds[fd]
	if f == nil || !f.watched {
		return ErrUnknown
	}
	f.watched = false
	return nil
}

// Registered reports whether tok is the token with which fd is watched.
func (p *Poller) Registered(fd int, tok seam.Token) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.fds[fd]
	return f != nil && f.tok == tok
}

func (p *Poller) Wait(dst []seam.Ready, d time.Duration) ([]seam.Ready, error) {
	var timeout <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timeout = t.C
	}
	for {
		n := len(dst)
		dst, err := p.Collect(dst)
		if err != nil || len(dst) > n || d == 0 {
			return dst, err
		}
		select {
		case <-p.Changec:
		case <-p.Wakec:
			return p.Collect(dst)
		case <-timeout:
			return dst, nil
		case <-p.Donec:
			return dst, os.ErrClosed
		}
	}
}

// Collect is Wait without waiting.
func (p *Poller) Collect(dst []seam.Ready) ([]seam.Ready, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return dst, os.ErrClosed
	}
	for _, f := range p.fds {
		if !f.watched {
			continue
		}
		now := f.ready
		if f.i&seam.Edge != 0 || f.i&seam.Polled == 0 {
			now = f.news
		}
		if now&seam.Hangup != 0 {
			now |= f.i & seam.Polled
		}
		if w := now & (f.i&seam.Polled | seam.Hangup); w != 0 {
			f.news &^= w
			dst = append(dst, seam.Ready{Tok: f.tok, What: w})
		}
	}
	return dst, nil
}

func (p *Poller) Wake() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	select {
	case p.Wakec <- struct{}{}:
	default: // there is one under way
	}
	return nil
}

func (p *Poller) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		close(p.Donec)
	}
	return nil
}

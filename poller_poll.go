// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const pollFeatures = FeatureAnyFD | pollEarlyClose

// A pollSet is the poller over poll(2).
//
// The goroutine in wait blocks in the system call, with a copy of the table.
// So whoever changes the table ends the call: what was added must be looked at,
// and what was removed must be let go, since the kernel holds on to an open
// file as long as somebody polls it.
type pollSet struct {
	// woken is set by wake and cleared by the wait that consumes it; there is a
	// byte in the pipe, or about to be, if and only if it is set.
	woken atomic.Bool

	mu      sync.Mutex    // guards following
	index   map[sysFD]int // where in regs a descriptor is
	regs    []pollReg     // in no order
	changed bool          // since wait made its copy
	waiting bool          // a wait that may block is between its copy and its results
	closed  bool
	pipe    [2]sysFD // reading and writing end; open until closed and not waiting
	one     [1]byte  // what goes through the pipe

	// The goroutine in wait owns the rest: the copy. fds has one element more
	// than toks, the pipe's, at its end.
	fds  []unix.PollFd
	toks []token
}

// A pollReg is a registration.
type pollReg struct {
	fd   sysFD
	tok  token
	i    What // what was asked for, with Edge
	left What // the conditions of i still to be reported
	mute bool // not polled at all until asked anew
}

func openPollSet() (poller, error) {
	p := &pollSet{index: make(map[sysFD]int), changed: true}
	if err := openPipe(&p.pipe); err != nil {
		return nil, err
	}
	return p, nil
}

// openPipe makes a pipe that blocks nobody and that no child process inherits.
// (Not every system has pipe2.)
func openPipe(pipe *[2]sysFD) error {
	syscall.ForkLock.RLock()
	err := unix.Pipe(pipe[:])
	if err == nil {
		unix.CloseOnExec(pipe[0])
		unix.CloseOnExec(pipe[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return err
	}
	for _, fd := range pipe {
		if err := unix.SetNonblock(fd, true); err != nil {
			unix.Close(pipe[0])
			unix.Close(pipe[1])
			return err
		}
	}
	return nil
}

func (p *pollSet) name() string      { return "poll" }
func (p *pollSet) features() Feature { return pollFeatures }

func (p *pollSet) add(fd sysFD, tok token, i What) error {
	// poll itself would take any number and say POLLNVAL.
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	k, ok := p.index[fd]
	if !ok {
		k = len(p.regs)
		p.regs = append(p.regs, pollReg{})
		p.index[fd] = k
	}
	p.regs[k] = pollReg{fd: fd, tok: tok, i: i, left: i & whatPolled}
	return p.changeLocked()
}

func (p *pollSet) arm(fd sysFD, tok token, i What) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	k, ok := p.index[fd]
	if !ok {
		return unix.ENOENT
	}
	p.regs[k] = pollReg{fd: fd, tok: tok, i: i, left: i & whatPolled}
	return p.changeLocked()
}

func (p *pollSet) remove(fd sysFD) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	k, ok := p.index[fd]
	if !ok {
		return unix.ENOENT
	}
	delete(p.index, fd)
	last := len(p.regs) - 1
	if k != last {
		p.regs[k] = p.regs[last]
		p.index[p.regs[k].fd] = k
	}
	p.regs = p.regs[:last]
	return p.changeLocked()
}

// changeLocked makes a wait in progress return, so that the next one sees what
// has changed.
func (p *pollSet) changeLocked() error {
	p.changed = true
	if !p.waiting {
		return nil
	}
	return p.wakeLocked()
}

func (p *pollSet) wait(dst []ready, d time.Duration) ([]ready, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return dst, os.ErrClosed
	}
	p.copyLocked()
	fds := p.fds
	if d == 0 {
		// Without the pipe: the wake is for a wait that blocks. Nor has anybody
		// to end this one.
		fds = fds[:len(p.toks)]
	} else {
		p.waiting = true
	}
	p.mu.Unlock()

	n, err := pollFDs(fds, d)
	if err == unix.EINTR || err == unix.EAGAIN {
		n, err = 0, nil // early, with nothing
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	waited := p.waiting
	p.waiting = false
	if p.closed {
		if waited {
			p.closePipeLocked()
		}
		return dst, os.ErrClosed
	}
	if n <= 0 || err != nil {
		return dst, err
	}
	if waited && fds[len(fds)-1].Revents != 0 {
		n--
		// The byte goes before the flag: a wake that comes between does
		// nothing, which is right because this wait is about to return. In the
		// other order its byte might go with its flag left set.
		unix.Read(p.pipe[0], p.one[:])
		p.woken.Store(false)
	}
	for j := range p.toks {
		if n == 0 {
			break
		}
		if f := &fds[j]; f.Revents != 0 {
			n--
			if r, ok := p.reportLocked(f, p.toks[j]); ok {
				dst = append(dst, r)
			}
		}
	}
	return dst, nil
}

// copyLocked brings the copy up to date.
func (p *pollSet) copyLocked() {
	if !p.changed {
		return
	}
	p.changed = false
	p.fds, p.toks = p.fds[:0], p.toks[:0]
	for j := range p.regs {
		r := &p.regs[j]
		if r.mute {
			continue
		}
		p.fds = append(p.fds, unix.PollFd{Fd: int32(r.fd), Events: pollEvents(r.left)})
		p.toks = append(p.toks, r.tok)
	}
	p.fds = append(p.fds, unix.PollFd{Fd: int32(p.pipe[0]), Events: unix.POLLIN})
}

// reportLocked turns a result into a report, unless it is of a registration
// that is no more, or of a condition that is no longer asked for.
func (p *pollSet) reportLocked(f *unix.PollFd, tok token) (r ready, ok bool) {
	k, ok := p.index[sysFD(f.Fd)]
	if !ok || p.regs[k].tok != tok {
		return r, false
	}
	reg := &p.regs[k]
	w := pollWhat(f.Revents) & reg.left
	if f.Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0 {
		w = reg.i&whatPolled | hangup
	}
	if w == 0 {
		return r, false
	}
	if reg.i&Edge != 0 {
		reg.left &^= w
		p.changed = true
	}
	// The system reports a hangup again and again, asked or not. That is as it
	// should be for a level-triggered condition only, and never for a
	// descriptor that was closed while watched.
	if w&hangup != 0 && (reg.i&Edge != 0 || reg.i&whatPolled == 0) || f.Revents&unix.POLLNVAL != 0 {
		reg.mute = true
		p.changed = true
	}
	return ready{tok, w}, true
}

// wake writes a byte to the pipe.
func (p *pollSet) wake() error {
	if p.woken.Load() {
		return nil // there is one under way
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	return p.wakeLocked()
}

func (p *pollSet) wakeLocked() error {
	if !p.woken.CompareAndSwap(false, true) {
		return nil // there is one under way
	}
	for {
		_, err := unix.Write(p.pipe[1], p.one[:])
		if err != unix.EINTR {
			return err
		}
	}
}

func (p *pollSet) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	if p.waiting {
		return p.wakeLocked() // the wait closes the pipe
	}
	p.closePipeLocked()
	return nil
}

func (p *pollSet) closePipeLocked() {
	unix.Close(p.pipe[0])
	unix.Close(p.pipe[1])
}

// pollEvents returns what poll calls the conditions in w.
func pollEvents(w What) (events pollBits) {
	if w&Read != 0 {
		events |= unix.POLLIN
	}
	if w&Write != 0 {
		events |= unix.POLLOUT
	}
	if w&EarlyClose != 0 {
		events |= pollRDHUP
	}
	return events
}

// pollWhat is the reverse of pollEvents.
func pollWhat(events pollBits) (w What) {
	if events&unix.POLLIN != 0 {
		w |= Read
	}
	if events&unix.POLLOUT != 0 {
		w |= Write
	}
	if events&pollRDHUP != 0 {
		w |= EarlyClose
	}
	return w
}

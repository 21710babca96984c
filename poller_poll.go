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
// The goroutine in wait blocks in the system call, with a copy of the table. So each
// change of the table ends the call: a descriptor that was added must be polled, and
// one that was removed must not be, since the kernel keeps an open file as long as a
// poll of it is in progress.
type pollSet struct {
	// woken is set by wake and cleared by the wait that consumes it. It is set if
	// and only if a byte is in the pipe or is about to be written.
	woken atomic.Bool

	mu      sync.Mutex    // guards following
	index   map[sysFD]int // position in regs, by descriptor
	regs    []pollReg     // in no order
	changed bool          // since wait made its copy
	resume  time.Time     // when a registration that is not polled for now is to be polled again; zero: there is none
	waiting bool          // a wait that may block is between its copy and its results
	closed  bool
	pipe    [2]sysFD // reading and writing end; open until closed and not waiting
	one     [1]byte  // scratch: the byte for the pipe

	// The goroutine in wait owns the rest, the copy of the table. fds has one element
	// more than toks at its end: the pipe.
	fds  []unix.PollFd
	toks []token
}

// A pollReg is a registration.
type pollReg struct {
	fd   sysFD
	tok  token
	i    What // what was asked for, with Edge
	left What // the conditions of i that are still to be reported
	mute bool // not polled until it is added or armed again

	// With Edge, an error that lasts (see errorOnly) is reported again after each arm.
	// So that arm, EAGAIN and arm do not follow one another all the time, the third
	// report in a row is put off, and so are those that follow.
	errors int       // how many reports in a row had errorOnly
	resume time.Time // not polled until then; zero: polled
}

func openPollSet() (poller, error) {
	p := &pollSet{index: make(map[sysFD]int), changed: true}
	if err := openPipe(&p.pipe); err != nil {
		return nil, err
	}
	return p, nil
}

// openPipe makes a non-blocking pipe that child processes do not inherit. (Not every
// system has pipe2.)
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
	// poll itself accepts any number, and reports POLLNVAL.
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
	r := pollReg{fd: fd, tok: tok, i: i, left: i & whatPolled, errors: p.regs[k].errors}
	if i&Edge != 0 && r.errors > 1 {
		r.resume = time.Now().Add(errorPause)
	}
	p.regs[k] = r
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
	return p.dropLocked(k)
}

func (p *pollSet) removeIf(fd sysFD, tok token) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	k, ok := p.index[fd]
	if !ok || p.regs[k].tok != tok {
		return unix.ENOENT
	}
	return p.dropLocked(k)
}

// dropLocked ends the registration at k in regs.
func (p *pollSet) dropLocked(k int) error {
	delete(p.index, p.regs[k].fd)
	last := len(p.regs) - 1
	if k != last {
		p.regs[k] = p.regs[last]
		p.index[p.regs[k].fd] = k
	}
	p.regs = p.regs[:last]
	return p.changeLocked()
}

// changeLocked makes a wait in progress return, so that the next one copies the changed
// table.
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
	d = p.copyLocked(d)
	fds := p.fds
	if d == 0 {
		// Without the pipe: a wake is for a wait that blocks, and this one need not be
		// ended.
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
		// Take the byte before clearing the flag: a wake between the two does nothing,
		// which is right because this wait is about to return. In the other order the
		// byte of that wake could be taken and its flag stay set.
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

// copyLocked copies the table if it has changed, or if a registration is to be polled again.
// It returns how long a wait of d may last.
func (p *pollSet) copyLocked(d time.Duration) time.Duration {
	if !p.changed && p.resume.IsZero() {
		return d
	}
	now := time.Now()
	if p.changed || !now.Before(p.resume) {
		p.changed = false
		p.copyTableLocked(now)
	}
	if p.resume.IsZero() {
		return d
	}
	rest := p.resume.Sub(now)
	if d < 0 {
		return rest
	}
	return min(d, rest)
}

func (p *pollSet) copyTableLocked(now time.Time) {
	p.resume = time.Time{}
	p.fds, p.toks = p.fds[:0], p.toks[:0]
	for j := range p.regs {
		r := &p.regs[j]
		if r.mute {
			continue
		}
		if !r.resume.IsZero() {
			if now.Before(r.resume) {
				if p.resume.IsZero() || r.resume.Before(p.resume) {
					p.resume = r.resume
				}
				continue
			}
			r.resume = time.Time{}
		}
		p.fds = append(p.fds, unix.PollFd{Fd: int32(r.fd), Events: pollEvents(r.left)})
		p.toks = append(p.toks, r.tok)
	}
	p.fds = append(p.fds, unix.PollFd{Fd: int32(p.pipe[0]), Events: unix.POLLIN})
}

// reportLocked makes a report of a result of poll. It returns false if the registration
// has ended meanwhile, or the conditions are not asked for any more.
func (p *pollSet) reportLocked(f *unix.PollFd, tok token) (r ready, ok bool) {
	k, ok := p.index[sysFD(f.Fd)]
	if !ok || p.regs[k].tok != tok {
		return r, false
	}
	reg := &p.regs[k]
	w := pollWhat(f.Revents) & reg.left
	if f.Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0 {
		asked := reg.i & whatPolled
		if w == 0 && asked != 0 && f.Revents&(unix.POLLHUP|unix.POLLNVAL) == 0 {
			w = errorOnly
		}
		w |= asked | hangup
	}
	if w&errorOnly != 0 {
		reg.errors++
	} else {
		reg.errors = 0
	}
	if w == 0 {
		return r, false
	}
	if reg.i&Edge != 0 {
		reg.left &^= w
		p.changed = true
	}
	// The system reports a hangup with every call, whether or not it was asked for.
	// That is right for level-triggered conditions only, and never for a descriptor
	// that was closed while it was watched.
	if w&hangup != 0 && (reg.i&Edge != 0 || reg.i&whatPolled == 0) || f.Revents&unix.POLLNVAL != 0 {
		reg.mute = true
		p.changed = true
	}
	return ready{tok, w}, true
}

// wake writes a byte to the pipe.
func (p *pollSet) wake() error {
	if p.woken.Load() {
		return nil // another wake is in progress
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
		return nil // another wake is in progress
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

// pollEvents returns the conditions in w as bits of poll(2).
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

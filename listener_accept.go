// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"net"
	"os"
	"time"
)

const (
	defaultMaxPending = 128

	acceptBatch = 64 // connections accepted in one turn; arbitrary

	minAcceptDelay = 5 * time.Millisecond // before the first retry; it doubles up to the maximum; both arbitrary
	maxAcceptDelay = time.Second
)

// ready is called when there are connections. Caller holds the loop's lock, for expired too.
func (ln *Listener) ready(What) { ln.Loop().assign(ln) }

// expired is called when it is time to try again after a failure.
func (ln *Listener) expired(int64) { ln.Loop().assign(ln) }

// task accepts connections until there are no more, a limit is reached or a batch is full.
func (ln *Listener) task() {
	for range acceptBatch {
		s, to, again := ln.acceptOne()
		switch {
		case s != nil && to.loop == ln.Loop():
			again = ln.putOver(s, to.setup)
		case s != nil:
			to.loop.lock()
			to.loop.assign(&overTask{listener: ln, stream: s, setup: to.setup})
			to.loop.unlock()
		}
		if !again {
			return
		}
	}
	l := ln.lockLoop()
	l.assign(ln) // the kernel may hold more
	l.unlock()
}

// acceptOne accepts a connection, and reports whether there may be another one. It returns a
// stream, and the loop that has got it, if that has to get one on top of it, by Over.
func (ln *Listener) acceptOne() (under *Stream, to *recipient, again bool) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.fd == noFD && ln.virtual == nil {
		return nil, nil, false
	}
	l := ln.lockLoop()
	wait := ln.paused != 0 || ln.life != lifeOpen || ln.retry.running() || l.closed
	route, prio := ln.route.Load(), ln.prio
	l.unlock()
	if wait || !ln.reserve() {
		return nil, nil, false
	}
	var s *Stream
	var err error
	if ln.virtual == nil {
		s, err = ln.accept(l)
	} else if s, err = ln.virtual.accept(l); err == nil {
		ln.configure(s)
	}
	if err != nil {
		ln.parted() // what was reserved
	}
	switch {
	case err == nil:
		ln.recovered()
		to = ln.choose(s)
		to.get(s, route, prio)
		setup, first := to.setup, msgAccepted
		if to.under != nil {
			setup, first = to.under, 0
		} else {
			to.await(s)
		}
		if err := s.open(setup, first, true); err != nil {
			if first != 0 {
				to.waiting.Add(-1)
			}
			ln.parted()
			ln.failed(l, err)
			return nil, nil, false
		}
		if first == 0 {
			return s, to, true
		}
	case err == eAGAIN:
		ln.recovered()
		if !l.edge && ln.fd != noFD {
			l.lock()
			tok := l.token(ln)
			l.unlock()
			l.poller.arm(ln.fd, tok, Read|Edge)
		}
		return nil, nil, false
	case transient(err):
		// Only this connection has failed.
	default:
		ln.failed(l, os.NewSyscallError("accept", portable(err)))
		return nil, nil, false
	}
	return nil, nil, true
}

// recovered notes that accepting works, and takes back an AcceptFailed that is no longer
// true.
func (ln *Listener) recovered() {
	l := ln.lockAndWithdraw()
	defer l.unlock()
	if ln.failing {
		ln.failing, ln.err, ln.delay = false, nil, 0
		l.retract(&ln.source, msgSingle)
	}
}

// failed sets the time of the next attempt, and sends AcceptFailed if the attempt before
// had not failed. Caller holds ln.mu.
func (ln *Listener) failed(l *Loop, err error) {
	now := l.clock()
	l.lock()
	defer l.unlock()
	if ln.life != lifeOpen || l.closed {
		return
	}
	ln.err = &net.OpError{Op: "accept", Net: ln.addr.Network(), Addr: ln.addr, Err: err}
	ln.delay = min(max(2*ln.delay, minAcceptDelay), maxAcceptDelay)
	l.startTimer(&ln.retry, now, ln.delay)
	if !ln.failing {
		ln.failing = true
		l.enqueue(&ln.source, msgSingle)
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// A Watch sends a [Ready] when something happens to a descriptor that is not
// the package's own: a pipe, a terminal, a device, a socket of another library.
// It is to descriptors what libevent's struct event is. It is made by [Loop.Watch] or
// [Loop.WatchConn]; a zero one is of no use.
//
// A watch does nothing until it is armed. Armed, it sends one message, or with
// Persist one after each turn of the loop in which one of its conditions holds.
// Take tells which. Where one message can be received late, over a channel, it
// is a hint: the condition may be over by then. For exactly one message for each
// condition, arm a watch without Persist again after having read or written.
//
// With Edge, and a method that has FeatureEdge, a message is sent for new
// readiness only: read or write until that would block. Without the feature
// Edge makes no difference.
//
// There can be several watches of one descriptor, all with Edge or all without.
type Watch struct {
	source

	// Data is for the user; the package does not touch it.
	Data any

	fd       sysFD        // never changes
	interest What         // never changes
	conn     syscall.Conn // keeps the owner of fd reachable; nil: the user does

	// The loop's mu guards the following.

	result  What          // has happened since the last Take
	desc    *descriptor   // of fd, made for it or used by it before; in use if it stands in Loop.watched
	armed   bool          // waits for its conditions
	timeout time.Duration // time limit; 0: none
	limit   timerNode     // running: armed and timeout > 0
}

// A descriptor is what the loop knows of a descriptor on which there are armed
// watches.
//
// Without Edge, the poller reports a condition again and again as long as it
// lasts. It is told at once when a watch wants more, but of a watch that wants
// nothing for now (its message has not been received yet, or it has sent its only
// one) only when it reports something that nobody wants: most often the watch
// is armed again before that happens, and two system calls are saved.
type descriptor struct {
	reg registration

	loop *Loop
	fd   sysFD

	// The loop's mu guards the following. To change asked, Loop.watchMu is held
	// as well, from before the poller is told until after.

	watches []*Watch  // those that are armed, and perhaps some that were
	only    [1]*Watch // has room for watches where there is one, as there mostly is
	asked   What      // what the poller was asked for
	known   bool      // the poller was asked for something; goes with asked
	hung    bool      // it has reported a hangup, after which it may have stopped
}

func newDescriptor(l *Loop, fd sysFD) *descriptor {
	d := &descriptor{loop: l, fd: fd}
	d.watches = d.only[:0]
	return d
}

// Watch returns a watch of fd for the conditions in interest: at least one of
// Read, Write and EarlyClose, with Edge and Persist as wanted. It is not armed
// yet.
//
// The descriptor stays the caller's. It should be non-blocking, and must not be
// closed as long as it is watched. To watch a net.Conn or an os.File, use
// WatchConn: os.File.Fd makes the descriptor blocking.
//
// It returns an error for what is not an open descriptor, or is one that the
// method cannot watch (a file on disk, with epoll), or is that of one of the loop's
// streams, listeners or packet connections, for a bad interest, and ErrClosed on a
// closed loop.
func (l *Loop) Watch(fd uintptr, interest What) (*Watch, error) {
	return l.watch(fd, interest, nil)
}

// WatchConn is Watch for the descriptor of a net.Conn, an os.File or the like,
// which the watch keeps from being collected as garbage. It must not be closed
// as long as it is watched.
func (l *Loop) WatchConn(conn syscall.Conn, interest What) (*Watch, error) {
	if conn == nil {
		return nil, errors.New("evchan: WatchConn of nil")
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("evchan: watch: %w", err)
	}
	var w *Watch
	var watchErr error
	if err := raw.Control(func(fd uintptr) { w, watchErr = l.watch(fd, interest, conn) }); err != nil {
		return nil, fmt.Errorf("evchan: watch: %w", err)
	}
	return w, watchErr
}

func (l *Loop) watch(fd uintptr, interest What, conn syscall.Conn) (*Watch, error) {
	if interest&whatPolled == 0 {
		return nil, fmt.Errorf("evchan: interest %v has none of Read, Write and EarlyClose", interest)
	}
	if bad := interest &^ (whatPolled | Edge | Persist); bad != 0 {
		return nil, fmt.Errorf("evchan: interest %v: %v is nothing to watch for", interest, bad)
	}
	sysfd := sysFD(fd)
	w := &Watch{fd: sysfd, interest: interest, conn: conn}
	w.init(l, w)
	w.limit.owner = w
	l.watchMu.Lock()
	defer l.watchMu.Unlock()
	l.lock()
	if l.closed || l.watched[sysfd] != nil || l.taken.has(sysfd) {
		defer l.unlock()
		switch {
		case l.closed:
			return nil, ErrClosed
		case l.taken.has(sysfd):
			return nil, errTaken("watch", sysfd)
		}
		return w, nil
	}
	// Ask the poller whether it can, so that Arm need not fail.
	w.desc = newDescriptor(l, sysfd)
	tok := l.register(w.desc, noFD)
	l.unlock()
	err := l.poller.add(sysfd, tok, 0)
	if err == nil {
		l.poller.remove(sysfd)
	}
	l.lock()
	l.unregister(w.desc, noFD)
	l.unlock()
	if err != nil {
		return nil, fmt.Errorf("evchan: watch descriptor %d: %w", int(fd), os.NewSyscallError(l.Method(), err))
	}
	return w, nil
}

// FD returns the descriptor.
func (w *Watch) FD() uintptr { return uintptr(w.fd) }

// Interest returns the interest that the watch was made with.
func (w *Watch) Interest() What { return w.interest }

// Arm makes the watch wait for its conditions; with a timeout that is positive
// also for that time to pass, counted from this call and, with Persist, again
// from each message. Arming an armed watch sets its time limit anew. It is
// libevent's event_add.
//
// It returns an error if the kernel refuses the descriptor, if other watches of
// it differ in Edge, if it has become that of one of the loop's streams, or if timeout
// is negative, and ErrClosed after Close.
func (w *Watch) Arm(timeout time.Duration) error {
	if timeout < 0 {
		return errTimeLimit(timeout)
	}
	l := w.Loop()
	now := l.clock()
	l.watchMu.Lock()
	defer l.watchMu.Unlock()
	w.lockAndWithdraw()
	if w.ended || l.closed {
		l.unlock()
		return ErrClosed
	}
	d, err := l.attach(w)
	if err != nil {
		l.unlock()
		return err
	}
	w.armed = true
	w.setTimeout(l, now, timeout)
	l.refresh(&w.source)
	err = l.ask(d, d.hung || w.edge(l))
	if err != nil {
		w.disarm(l)
		l.trim(d)
		l.unlock()
		return fmt.Errorf("evchan: arm watch of descriptor %d: %w", int(w.fd), os.NewSyscallError(l.Method(), err))
	}
	l.unlock()
	return nil
}

// errTaken says that fd is the loop's own.
func errTaken(what string, fd sysFD) error {
	return fmt.Errorf("evchan: %s descriptor %d: it is that of a stream, a listener or a packet connection of this loop: use its messages, or a duplicate of it", what, int(fd))
}

func errTimeLimit(d time.Duration) error {
	return fmt.Errorf("evchan: negative time limit %v", d)
}

// edge reports whether w is edge-triggered. Where the method cannot do that,
// nothing is.
func (w *Watch) edge(l *Loop) bool { return w.interest&Edge != 0 && l.edge }

// attach enters w with its descriptor. Loop.watchMu and mu are held.
func (l *Loop) attach(w *Watch) (*descriptor, error) {
	if l.taken.has(w.fd) {
		return nil, errTaken("arm watch of", w.fd)
	}
	d := l.watched[w.fd]
	if d == nil {
		if d = w.desc; d == nil {
			d = newDescriptor(l, w.fd)
		}
		l.register(d, noFD)
		l.watched[w.fd] = d
	}
	w.desc = d
	kept := d.watches[:0]
	for _, o := range d.watches {
		if o.armed && o != w {
			kept = append(kept, o)
		}
	}
	clear(d.watches[len(kept):])
	d.watches = kept
	if len(kept) > 0 && kept[0].edge(l) != w.edge(l) {
		return nil, fmt.Errorf("evchan: descriptor %d is watched with and without Edge", int(w.fd))
	}
	d.watches = append(kept, w)
	return d, nil
}

// wanted returns what the poller should report of d. The loop's mu is held.
func (d *descriptor) wanted() What {
	var want What
	for _, w := range d.watches {
		if w.armed {
			want |= w.interest & whatPolled
			if w.edge(d.loop) {
				want |= Edge
			} else if w.unreceived() != 0 {
				want &^= w.result // and not again before that is received
			}
		}
	}
	return want
}

// ask tells the poller if more is wanted of d than it was asked for, or in any
// case. Loop.watchMu and mu are held; mu is let go meanwhile.
func (l *Loop) ask(d *descriptor, always bool) error {
	want := d.wanted()
	if want&whatPolled&^d.asked == 0 && !always {
		return nil
	}
	known := d.known
	d.asked, d.known, d.hung = want, true, false
	tok := l.token(d)
	l.unlock()
	err := error(eNOENT)
	if known {
		err = l.poller.arm(d.fd, tok, want)
	}
	if errors.Is(err, eNOENT) { // also if the number was closed and opened again
		err = l.poller.add(d.fd, tok, want)
	}
	l.lock()
	return err
}

// trim lets the poller forget what nobody wants of d any more: at once if no
// watch of it is armed. Loop.watchMu and mu are held; mu is let go meanwhile.
func (l *Loop) trim(d *descriptor) {
	for _, w := range d.watches {
		if w.armed {
			return
		}
	}
	if l.watched[d.fd] != d {
		return
	}
	delete(l.watched, d.fd)
	l.unregister(d, noFD)
	known := d.known
	// A watch may arm it again.
	d.asked, d.known, d.hung = 0, false, false
	clear(d.watches)
	d.watches = d.watches[:0]
	if !known {
		return
	}
	l.unlock()
	l.poller.remove(d.fd) // it may have gone with the descriptor already
	l.lock()
}

// disarm is Disarm but for the poller. The loop is locked for an edit.
func (w *Watch) disarm(l *Loop) {
	w.armed = false
	w.result = 0
	l.timers.stop(&w.limit)
	l.retract(&w.source, msgSingle)
}

// Disarm makes the watch wait no longer, and takes back a Ready that has not
// been received. It is libevent's event_del. Its error is nil.
func (w *Watch) Disarm() error { return w.end(false) }

// Close disarms the watch for good. The descriptor stays open.
func (w *Watch) Close() error { return w.end(true) }

func (w *Watch) end(ended bool) error {
	l := w.Loop()
	l.watchMu.Lock()
	defer l.watchMu.Unlock()
	w.lockAndWithdraw()
	defer l.unlock()
	w.ended = w.ended || ended
	w.disarm(l)
	if d := l.watched[w.fd]; d != nil && !l.closed {
		l.trim(d)
	}
	return nil
}

// SetTimeout sets the time limit of an armed watch anew, counted from this call;
// 0 removes it. It is an error if timeout is negative or the watch is not armed.
func (w *Watch) SetTimeout(timeout time.Duration) error {
	if timeout < 0 {
		return errTimeLimit(timeout)
	}
	now := w.Loop().clock()
	l := w.lockLoop()
	defer l.unlock()
	if w.ended || l.closed {
		return ErrClosed
	}
	if !w.armed {
		return errors.New("evchan: SetTimeout on a watch that is not armed")
	}
	w.setTimeout(l, now, timeout)
	return nil
}

func (w *Watch) setTimeout(l *Loop, now int64, timeout time.Duration) {
	w.timeout = timeout
	if timeout > 0 {
		l.startTimer(&w.limit, now, timeout)
	} else {
		l.timers.stop(&w.limit)
	}
}

// Activate makes the watch send a Ready as if what had happened, armed or not:
// some of Read, Write, EarlyClose and Timeout. All that is not received yet
// is put together into one message. It is libevent's event_active. Unlike what the
// kernel reports, it does not disarm a watch without Persist. It does nothing
// after Close.
func (w *Watch) Activate(what What) {
	l := w.lockAndWithdraw()
	defer l.unlock()
	if what &= whatHappens; what == 0 || w.ended || l.closed {
		return
	}
	w.result |= what
	l.enqueue(&w.source, msgSingle)
}

// Take returns what has happened since the last Take: some of Read, Write,
// EarlyClose and Timeout. A Ready that has not been received is taken back.
func (w *Watch) Take() What {
	l := w.lockAndWithdraw()
	defer l.unlock()
	what := w.result
	w.result = 0
	pending := w.pend != 0
	l.retract(&w.source, msgSingle)
	if pending {
		w.received(msgSingle)
	}
	return what
}

// Pending returns the conditions that the watch waits for, if it is armed
// (Timeout among them if there is a time limit), and those that have happened
// since the last Take. It is libevent's event_pending, and changes nothing.
func (w *Watch) Pending() What {
	l := w.lockLoop()
	defer l.unlock()
	what := w.result
	if w.armed {
		what |= w.interest & whatPolled
	}
	if w.limit.running() {
		what |= Timeout
	}
	return what
}

// fire is called by the loop's turn when something has happened to w. The loop's
// mu is held.
func (w *Watch) fire(l *Loop, what What, now int64) {
	w.result |= what
	if w.interest&Persist == 0 {
		w.armed = false
		l.timers.stop(&w.limit)
	} else if w.timeout > 0 {
		l.startTimer(&w.limit, now, w.timeout)
	}
	l.enqueue(&w.source, msgSingle)
	l.refresh(&w.source)
}

// expired is called when the time limit has passed. The loop's mu is held.
func (w *Watch) expired(now int64) { w.fire(w.Loop(), Timeout, now) }

// ready is told what the poller has reported.
func (d *descriptor) ready(what What) {
	l := d.loop
	now := l.turnClock
	if what&hangup != 0 {
		d.hung = true
	}
	wanted := false
	for _, w := range d.watches {
		got := what & w.interest & whatPolled
		if got == 0 && what&hangup != 0 {
			got = w.interest & whatPolled
		}
		if !w.armed || got == 0 {
			continue
		}
		if w.unreceived() == 0 || got&^w.result != 0 || w.edge(l) {
			wanted = true
		}
		if w.limit.running() && w.limit.when <= now {
			got |= Timeout // both in one message
		}
		w.fire(l, got, now)
	}
	if !wanted {
		l.assign(d)
	}
}

func (d *descriptor) registration() *registration { return &d.reg }

// task brings what the poller is asked for into line with what is wanted.
func (d *descriptor) task() {
	l := d.loop
	l.watchMu.Lock()
	defer l.watchMu.Unlock()
	l.lock()
	defer l.unlock()
	if l.watched[d.fd] != d || l.closed {
		return
	}
	l.trim(d)
	if l.watched[d.fd] == d && d.wanted() != d.asked {
		l.ask(d, true) // an error will come again when the watch is armed
	}
}

func (w *Watch) event(pending) Event { return Ready{w} }
func (w *Watch) alive() bool         { return w.armed }
func (w *Watch) label() string       { return "watch fd=" + itoa(int(w.fd)) + " " + w.interest.String() }

// received makes sure that a condition that lasts is reported again.
func (w *Watch) received(pending) {
	l := w.Loop()
	if d := l.watched[w.fd]; d != nil && w.armed && !d.hung && w.interest&whatPolled&^d.asked != 0 {
		l.assign(d)
	}
}

func (w *Watch) abandon() {
	l := w.lockLoop()
	w.armed, w.ended = false, true
	l.timers.stop(&w.limit)
	l.unlock()
}

func (w *Watch) dump() string {
	l := w.lockLoop()
	defer l.unlock()
	s := "watch " + w.words() + " fd=" + itoa(int(w.fd)) + " interest=" + w.interest.String() + " result=" + w.result.String()
	if w.armed {
		s += " state=armed"
	} else {
		s += " state=idle"
	}
	if w.timeout > 0 && w.limit.running() {
		s += " timeout=" + w.timeout.String() + " due=" + time.Duration(w.limit.when-l.clock()).String()
	}
	return s
}

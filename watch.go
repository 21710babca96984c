// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"syscall"
	"time"
)

// A Watch sends a [Ready] when a descriptor can be read or written that does not belong
// to the package: a pipe, a terminal, a device, a socket of another library. It must be
// made by [Loop.Watch] or [Loop.WatchConn].
//
// A watch does nothing until it is armed. Without Persist, an armed watch sends one
// message, and is not armed any more. With Persist, it stays armed and sends one after
// each turn of the loop in which one of its conditions holds. Take returns which ones
// held.
//
// A message is a hint: if it is received late, from a channel, its condition may be
// over. To get exactly one message for each condition, use no Persist, and arm the
// watch again after you have read or written.
//
// With Edge, if the loop's method has FeatureEdge, messages are sent for new readiness
// only: read or write until the call returns EAGAIN. Without the feature, Edge makes no
// difference.
//
// An error of the descriptor counts as all conditions. An error that lasts although nothing
// can be read or written, as when the error queue of a socket is not empty (on Linux, see
// IP_RECVERR in ip(7)), is reported about 100 times a second, and other conditions up to 10
// ms late. Read the queue, with recvmsg and MSG_ERRQUEUE.
//
// A descriptor can have several watches, all with Edge or all without.
//
// A Watch is what libevent calls an event of a descriptor (struct event).
type Watch struct {
	source

	// Data is for the user; the package does not touch it.
	Data any

	fd       sysFD        // never changes
	interest What         // never changes
	conn     syscall.Conn // keeps the owner of fd reachable; nil: the user does

	// The loop's mu guards the following.

	result  What          // what has happened since the last Take
	desc    *descriptor   // that w was armed with last, or was made for it; in use if it stands in Loop.watched
	armed   bool          // waits for its conditions
	told    bool          // a Ready was sent that is not received yet
	wants   What          // what it adds to desc.wanting
	timeout time.Duration // time limit; 0: none
	limit   timerNode     // running: armed and timeout > 0

	next, prev *Watch // in desc's list, while armed
}

// A descriptor is the loop's state of a descriptor that has armed watches.
//
// Without Edge, the poller reports a condition in every turn as long as it lasts. When
// a watch wants more conditions, the poller is told at once. When a watch wants less
// (its message is not received yet, or it has sent its only one), the poller is told
// only after it has reported something that no watch wants. Mostly the watch is armed
// again before that, which saves two system calls.
type descriptor struct {
	reg registration

	loop *Loop
	fd   sysFD

	// The loop's mu guards the following. To change asked, Loop.watchMu is held
	// as well, from before the poller is told until after.

	first, last *Watch    // list of the armed watches, in the order in which they were armed
	wanting     [3]int32  // how many of them want Read, Write and EarlyClose to be reported
	asked       What      // what the poller was asked for
	known       bool      // the poller was asked for something; changes with asked
	hung        bool      // the poller has reported a hangup, and may report nothing more
	errors      int       // how many reports in a row had errorOnly
	pause       timerNode // running: the poller is asked for nothing, see ready
}

func newDescriptor(l *Loop, fd sysFD) *descriptor {
	d := &descriptor{loop: l, fd: fd}
	d.pause.owner = d
	return d
}

// Watch returns a watch of fd, not armed yet, for the conditions in interest: at least
// one of Read, Write and EarlyClose, and optionally Edge and Persist.
//
// The descriptor still belongs to the caller. It should be non-blocking. Do not close
// it while it is watched. To watch a net.Conn or an os.File, use WatchConn: the method
// os.File.Fd makes the descriptor blocking.
//
// It returns ErrClosed on a closed loop, and an error if
//   - interest has no condition, or something that cannot be watched for,
//   - fd is not an open descriptor,
//   - fd belongs to one of the loop's streams, listeners or packet connections, or
//   - the method cannot watch fd (with epoll, a file on disk).
func (l *Loop) Watch(fd uintptr, interest What) (*Watch, error) {
	return l.watch(fd, interest, nil)
}

// WatchConn is Watch for the descriptor of a net.Conn, an os.File or the like. The watch
// keeps conn reachable, so that no finalizer closes it. Do not close conn while it is
// watched.
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
	if !isFD(fd) {
		return nil, fmt.Errorf("evchan: watch descriptor %d: %w", int(fd), eBADF)
	}
	sysfd := sysFD(fd)
	w := &Watch{fd: sysfd, interest: interest, conn: conn}
	w.init(l, w)
	w.limit.owner = w
	l.watchMu.Lock()
	defer l.watchMu.Unlock()
	l.lock()
	armed := !l.closed && l.armedLocked(sysfd)
	switch {
	case l.closed:
		l.unlock()
		return nil, ErrClosed
	case l.taken.has(sysfd):
		l.unlock()
		return nil, errTaken("watch", sysfd)
	case armed:
		// Ask the poller again: if the descriptor was closed while watched and its number
		// used again, the poller does not know the new one.
		err := l.askLocked(l.watched[sysfd], true)
		l.unlock()
		if err != nil {
			return nil, l.errWatch("watch", sysfd, err)
		}
		return w, nil
	}
	// Try the poller now, so that Watch fails rather than Arm.
	w.desc = newDescriptor(l, sysfd)
	tok := l.register(w.desc, noFD)
	l.unlock()
	err := l.poller.add(sysfd, tok, 0)
	if err == nil {
		l.poller.removeIf(sysfd, tok)
	}
	l.lock()
	l.unregister(w.desc, noFD)
	if err != nil && l.closed {
		err = ErrClosed
	}
	l.unlock()
	if err != nil {
		return nil, l.errWatch("watch", sysfd, err)
	}
	return w, nil
}

// isFD reports whether fd can be a descriptor. System calls of Unix take its lower 32 bits,
// which may be those of another one.
func isFD(fd uintptr) bool { return runtime.GOOS == "windows" || fd <= math.MaxInt32 }

// errWatch returns the error that the poller has refused fd with err.
func (l *Loop) errWatch(what string, fd sysFD, err error) error {
	if err == ErrClosed {
		return err
	}
	return fmt.Errorf("evchan: %s descriptor %d: %w", what, int(fd), l.watchError(err))
}

// armedLocked reports whether a watch of fd is armed. If none is, the poller forgets fd.
// Caller holds l.watchMu and l.mu; l.mu is unlocked during the system call.
func (l *Loop) armedLocked(fd sysFD) bool {
	d := l.watched[fd]
	if d == nil {
		return false
	}
	l.trimLocked(d)
	return l.watched[fd] == d
}

// hasArmedWatch is armedLocked for a caller that holds no lock.
func (l *Loop) hasArmedWatch(fd sysFD) bool {
	l.watchMu.Lock()
	defer l.watchMu.Unlock()
	l.lock()
	defer l.unlock()
	return !l.closed && l.armedLocked(fd)
}

// FD returns the descriptor.
func (w *Watch) FD() uintptr { return uintptr(w.fd) }

// Interest returns the interest that the watch was made with.
func (w *Watch) Interest() What { return w.interest }

// Arm makes the watch wait for its conditions and, if timeout is positive, for that
// time to pass. The time counts from this call and, with Persist, again from each
// message. If the watch is armed, Arm replaces its time limit. Arm is libevent's
// event_add.
//
// It returns ErrClosed after Close, and an error if
//   - timeout is negative,
//   - other armed watches of the descriptor differ in Edge,
//   - the descriptor now belongs to one of the loop's streams, or
//   - the kernel refuses the descriptor. With epoll it does, with EINVAL, if 100 loops have
//     armed watches of the same open file.
func (w *Watch) Arm(timeout time.Duration) error {
	if timeout < 0 {
		return errTimeLimit(timeout)
	}
	l := w.Loop()
	now := l.clock()
	l.watchMu.Lock()
	defer l.watchMu.Unlock()
	w.lockAndWithdraw()
	if w.life != lifeOpen || l.closed {
		l.unlock()
		return ErrClosed
	}
	d, err := l.attachLocked(w)
	if err != nil {
		l.unlock()
		return err
	}
	w.setArmedLocked(true)
	w.setTimeoutLocked(l, now, 0)
	w.timeout = timeout
	err = l.askLocked(d, d.hung || w.edge(l))
	if err == nil && l.closed {
		err = ErrClosed
	}
	if err != nil {
		w.disarmLocked(l)
		l.trimLocked(d)
		l.unlock()
		return l.errWatch("arm watch of", w.fd, err)
	}
	if w.armed { // a condition has not come true yet, or w persists
		w.setTimeoutLocked(l, now, timeout)
	}
	l.refresh(&w.source)
	l.unlock()
	return nil
}

// errTaken returns the error that fd belongs to a source of the loop.
func errTaken(what string, fd sysFD) error {
	return fmt.Errorf("evchan: %s descriptor %d: it is that of a stream, a listener or a packet connection of this loop: use its messages, or a duplicate of it", what, int(fd))
}

func errTimeLimit(d time.Duration) error {
	return fmt.Errorf("evchan: negative time limit %v", d)
}

// edge reports whether w is edge-triggered: it has Edge, and l's method has FeatureEdge.
func (w *Watch) edge(l *Loop) bool { return w.interest&Edge != 0 && l.edge }

// attachLocked returns the descriptor of w, entered in Loop.watched. Caller holds l.watchMu
// and l.mu.
func (l *Loop) attachLocked(w *Watch) (*descriptor, error) {
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
	w.setArmedLocked(false) // it goes to the end of the list
	w.desc = d
	if d.first != nil && d.first.edge(l) != w.edge(l) {
		return nil, fmt.Errorf("evchan: descriptor %d is watched with and without Edge", int(w.fd))
	}
	return d, nil
}

// setArmedLocked enters w at the end of its descriptor's list, or takes it out. Caller holds
// the loop's mu.
func (w *Watch) setArmedLocked(armed bool) {
	d := w.desc
	if w.armed == armed {
		return
	}
	w.armed = armed
	if armed {
		w.prev = d.last
		if d.last != nil {
			d.last.next = w
		} else {
			d.first = w
		}
		d.last = w
	} else {
		if w.prev != nil {
			w.prev.next = w.next
		} else {
			d.first = w.next
		}
		if w.next != nil {
			w.next.prev = w.prev
		} else {
			d.last = w.prev
		}
		w.next, w.prev = nil, nil
	}
	w.recountLocked()
}

// recountLocked is called when armed, told or result has changed. It corrects what w wants
// to be reported: its conditions, without those that it tells already in a Ready that is
// not received yet. Caller holds the loop's mu.
func (w *Watch) recountLocked() {
	var wants What
	if w.armed {
		wants = w.interest & whatPolled
		if w.told && !w.edge(w.desc.loop) {
			wants &^= w.result
		}
	}
	changed := wants ^ w.wants
	if changed == 0 {
		return
	}
	w.wants = wants
	for i, bit := range [...]What{Read, Write, EarlyClose} {
		if changed&bit == 0 {
			continue
		}
		if wants&bit != 0 {
			w.desc.wanting[i]++
		} else {
			w.desc.wanting[i]--
		}
	}
}

// wantedLocked returns what the poller should report of d. Caller holds the loop's mu.
func (d *descriptor) wantedLocked() What {
	if d.first == nil || d.pause.running() {
		return 0
	}
	var want What
	for i, bit := range [...]What{Read, Write, EarlyClose} {
		if d.wanting[i] > 0 {
			want |= bit
		}
	}
	if d.first.edge(d.loop) {
		want |= Edge
	}
	return want
}

// askLocked tells the poller what is wanted of d, if that is more than it was asked for,
// or if always is set. Caller holds l.watchMu and l.mu; l.mu is unlocked during the
// system call.
func (l *Loop) askLocked(d *descriptor, always bool) error {
	want := d.wantedLocked()
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
	if errors.Is(err, eNOENT) { // also if the descriptor was closed and its number reused
		err = l.poller.add(d.fd, tok, want)
	}
	l.lock()
	if err != nil && l.closed {
		err = ErrClosed
	}
	return err
}

// trimLocked ends the loop's interest in d if none of its watches is armed: it removes
// d from the loop and from the poller. Caller holds l.watchMu and l.mu; l.mu is unlocked
// during the system call.
func (l *Loop) trimLocked(d *descriptor) {
	if d.first != nil || l.watched[d.fd] != d {
		return
	}
	delete(l.watched, d.fd)
	tok := l.token(d)
	l.unregister(d, noFD)
	known := d.known
	// A watch may arm it again.
	d.asked, d.known, d.hung = 0, false, false
	if !known {
		return
	}
	l.unlock()
	l.poller.removeIf(d.fd, tok) // fails if the descriptor was closed, which is fine
	l.lock()
}

// disarmLocked is Disarm without its last part, telling the poller. Caller has locked the
// loop with edit.
func (w *Watch) disarmLocked(l *Loop) {
	w.setArmedLocked(false)
	w.result, w.told = 0, false
	l.timers.stop(&w.limit)
	l.retract(&w.source, msgSingle)
}

// Disarm ends the waiting, and takes back a Ready that has not been received. The watch
// can be armed again. Disarm is libevent's event_del. It returns nil.
func (w *Watch) Disarm() error { return w.disarm(false) }

// Close disarms the watch for good. The descriptor stays open.
func (w *Watch) Close() error { return w.disarm(true) }

func (w *Watch) disarm(ended bool) error {
	l := w.Loop()
	var end ender
	defer func() { callEnd(end, &w.source) }()
	l.watchMu.Lock()
	defer l.watchMu.Unlock()
	w.lockAndWithdraw()
	defer l.unlock()
	w.disarmLocked(l)
	if ended {
		w.life = lifeClosed
		end = l.retractAll(&w.source)
	}
	if d := l.watched[w.fd]; d != nil && !l.closed {
		l.trimLocked(d)
	}
	return nil
}

// SetTimeout replaces the time limit of an armed watch; the time counts from this call.
// 0 removes the limit. It returns an error if timeout is negative or the watch is not
// armed.
func (w *Watch) SetTimeout(timeout time.Duration) error {
	if timeout < 0 {
		return errTimeLimit(timeout)
	}
	now := w.Loop().clock()
	l := w.lockLoop()
	defer l.unlock()
	if w.life != lifeOpen || l.closed {
		return ErrClosed
	}
	if !w.armed {
		return errors.New("evchan: SetTimeout on a watch that is not armed")
	}
	w.setTimeoutLocked(l, now, timeout)
	return nil
}

func (w *Watch) setTimeoutLocked(l *Loop, now int64, timeout time.Duration) {
	w.timeout = timeout
	if timeout > 0 {
		l.startTimer(&w.limit, now, timeout)
	} else {
		l.timers.stop(&w.limit)
	}
}

// Activate makes the watch send a Ready as if the conditions in what held: some of Read,
// Write, EarlyClose and Timeout. The watch need not be armed, and is not disarmed. What
// is not received yet is merged into one message. Activate is libevent's event_active.
// It does nothing after Close.
func (w *Watch) Activate(what What) {
	l := w.lockAndWithdraw()
	defer l.unlock()
	if what &= whatHappens; what == 0 || w.life != lifeOpen || l.closed {
		return
	}
	w.result |= what
	w.tellLocked(l)
}

// tellLocked sends a Ready. Caller holds l.mu.
func (w *Watch) tellLocked(l *Loop) {
	w.told = true
	l.enqueue(&w.source, msgSingle)
	w.recountLocked()
}

// Take returns what has happened since the last Take: some of Read, Write, EarlyClose and
// Timeout. It takes back a Ready that has not been received.
func (w *Watch) Take() What {
	l := w.lockAndWithdraw()
	defer l.unlock()
	what := w.result
	w.result = 0
	pending := w.pend&msgSingle != 0
	l.retract(&w.source, msgSingle)
	if pending {
		w.received(msgSingle)
	}
	return what
}

// Pending returns what has happened since the last Take and, if the watch is armed, the
// conditions that it waits for (with a time limit, Timeout is one of them). It changes
// nothing. Pending is libevent's event_pending.
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

// fireLocked adds what to the result and sends a Ready. The loop's turn calls it. Caller
// holds l.mu.
func (w *Watch) fireLocked(l *Loop, what What, now int64) {
	w.result |= what
	if w.interest&Persist == 0 {
		w.setArmedLocked(false)
		l.timers.stop(&w.limit)
	} else if w.timeout > 0 {
		l.startTimer(&w.limit, now, w.timeout)
	}
	w.tellLocked(l)
	l.refresh(&w.source)
}

// expired is called when the time limit has passed. Caller holds the loop's mu.
func (w *Watch) expired(now int64) { w.fireLocked(w.Loop(), Timeout, now) }

// ready implements pollable: it gives the report to the watches that want it.
//
// An error can last although there is nothing to read or write, and the owner of the
// descriptor may not know what to do about it. After two such reports in a row the poller
// is asked for nothing for a while, so that the loop does not turn all the time.
func (d *descriptor) ready(what What) {
	l := d.loop
	now := l.turnClock
	if what&hangup != 0 {
		d.hung = true
	}
	if what&errorOnly == 0 {
		d.errors = 0
	} else if d.errors++; d.errors > 1 && d.asked&Edge == 0 {
		l.startTimer(&d.pause, now, errorPause)
	}
	wanted := false
	for w, next := d.first, (*Watch)(nil); w != nil; w = next {
		next = w.next
		got := what & w.interest & whatPolled
		if got == 0 && what&hangup != 0 {
			got = w.interest & whatPolled
		}
		if got == 0 {
			continue
		}
		if !w.told || got&^w.result != 0 || w.edge(l) {
			wanted = true
		}
		if w.limit.running() && w.limit.when <= now {
			got |= Timeout // both in one message
		}
		w.fireLocked(l, got, now)
	}
	if !wanted || d.pause.running() {
		l.assign(d)
	}
}

// expired is called when the pause is over. Caller holds the loop's mu.
func (d *descriptor) expired(int64) { d.loop.assign(d) }

func (d *descriptor) registration() *registration { return &d.reg }

// task asks the poller for what is wanted of d, no more and no less.
func (d *descriptor) task() {
	l := d.loop
	l.watchMu.Lock()
	defer l.watchMu.Unlock()
	l.lock()
	defer l.unlock()
	if l.watched[d.fd] != d || l.closed {
		return
	}
	l.trimLocked(d)
	if l.watched[d.fd] == d && d.wantedLocked() != d.asked && !l.taken.has(d.fd) {
		if err := l.askLocked(d, true); err != nil && !l.closed && !errors.Is(err, eBADF) {
			// The kernel is short of memory, for example: try again. (If the descriptor was
			// closed, nobody may wait for it any more.)
			d.asked = 0
			l.startTimer(&d.pause, l.clock(), errorPause)
		}
	}
}

func (w *Watch) event(pending) Event { return Ready{w} }
func (w *Watch) alive() bool         { return w.armed }
func (w *Watch) label() string       { return "watch fd=" + itoa(int(w.fd)) + " " + w.interest.String() }

// received makes sure that the poller reports a condition again that still holds.
func (w *Watch) received(pending) {
	l := w.Loop()
	w.told = false
	w.recountLocked()
	if d := l.watched[w.fd]; d != nil && w.armed && !d.hung && w.interest&whatPolled&^d.asked != 0 {
		l.assign(d)
	}
}

func (w *Watch) abandon() {
	l := w.lockLoop()
	w.setArmedLocked(false)
	w.life = lifeClosed
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

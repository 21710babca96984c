// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// methods returns what can be had here, best first.
func methods() []method {
	return append([]method{
		{"epoll", epollFeatures, openEpoll},
		{"poll", pollFeatures, openPollSet},
	}, testMethods...)
}

// testMethods are set by the tests, before anything else: methods of other
// systems, over a model of their kernel.
var testMethods []method

const epollFeatures = FeatureEdge | FeatureO1 | FeatureEarlyClose

// How many results one wait takes: to begin with, and how far the array grows
// when waits fill it. Both are arbitrary.
const (
	epollMinResults = 128
	epollMaxResults = 4096
)

// An epoll is the poller over epoll(7).
//
// Its descriptor is itself watched by the runtime's own poller. A goroutine
// that waits parks as in any read of package net, and holds neither a thread
// nor a processor. All system calls here are raw, since none can block: the
// scheduler need not know of them.
//
// Between the two is a gate, an epoll set with nothing in it but ours, which is
// what the runtime watches. A wait that finds something without parking shuts the gate,
// and the next that parks opens it. Else the runtime, where a thread of it waits for a
// timer or for another connection, would be woken by each event, find nobody who waits
// for it, and sleep again.
//
// The runtime's timers are good to a millisecond, so that a timed wait is ended
// by a timer descriptor inside the epoll set. It is edge-triggered: nobody
// needs to read it.
type epoll struct {
	file *os.File        // the gate's descriptor, as the runtime's poller has it
	rc   syscall.RawConn // file's
	set  *os.File        // epfd; a file, so that it is closed where a loop is dropped without Close

	// woken is set by wake and cleared by the wait that consumes it. See wake.
	woken atomic.Bool

	mu   sync.RWMutex // held for reading while epfd, gate or tfd are in use, for writing to close them
	epfd int          // guarded by mu; noFD when closed
	gate int          // never changes; open as long as epfd is
	tfd  int          // guarded by mu; noFD until first needed; set by the goroutine in wait

	askedMu sync.Mutex // guards following
	asked   []What     // conditions asked for, by slot: the kernel does not mask a hangup

	// The goroutine in wait owns the rest.
	tryFunc func(uintptr) bool // e.try, made once so that a wait does not allocate
	events  []unix.EpollEvent
	n       int           // what the last epoll_wait left in events
	err     error         // or its failure
	limit   time.Duration // of this wait; 0 when the timer has been seen to
	shut    bool          // the gate is, see epoll
	parked  bool          // this wait has
	alarm   time.Time     // when tfd goes off or has gone off
	spare   *time.Timer   // stands in for tfd when descriptors are short
}

// timerToken is the registration of tfd.
var timerToken = token{^uint32(0), ^uint32(0)}

func openEpoll() (poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	e := &epoll{
		set:    os.NewFile(uintptr(fd), "epoll"),
		epfd:   fd,
		tfd:    noFD,
		events: make([]unix.EpollEvent, epollMinResults),
	}
	e.tryFunc = e.try
	if err := e.openGate(); err != nil {
		e.set.Close()
		return nil, err
	}
	return e, nil
}

// openGate makes the gate, open, and has the runtime watch it.
func (e *epoll) openGate() error {
	gate, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	// os.NewFile hands to the runtime's poller only what does not block. An
	// epoll descriptor is never read, so the flag means nothing else.
	err = unix.SetNonblock(gate, true)
	if err == nil {
		err = unix.EpollCtl(gate, unix.EPOLL_CTL_ADD, e.epfd, &unix.EpollEvent{Events: unix.EPOLLIN})
	}
	if err != nil {
		unix.Close(gate)
		return err
	}
	e.gate = gate
	e.file = os.NewFile(uintptr(gate), "epoll gate")
	e.rc, err = e.file.SyscallConn()
	if err == nil {
		// NewFile does not say whether the runtime took it. This does.
		err = e.file.SetReadDeadline(time.Time{})
	}
	if err != nil {
		e.file.Close()
	}
	return err
}

func (e *epoll) name() string      { return "epoll" }
func (e *epoll) features() Feature { return epollFeatures }

func (e *epoll) add(fd sysFD, tok token, i What) error {
	err := e.ctl(unix.EPOLL_CTL_ADD, fd, tok, i)
	if err == unix.EEXIST {
		err = e.ctl(unix.EPOLL_CTL_MOD, fd, tok, i)
	}
	return err
}

// arm relies on EPOLL_CTL_MOD looking at the readiness afresh.
func (e *epoll) arm(fd sysFD, tok token, i What) error {
	return e.ctl(unix.EPOLL_CTL_MOD, fd, tok, i)
}

func (e *epoll) remove(fd sysFD) error {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.epfd == noFD {
		return os.ErrClosed
	}
	return unix.EpollCtl(e.epfd, unix.EPOLL_CTL_DEL, fd, nil)
}

// ctl adds or changes a registration.
func (e *epoll) ctl(op int, fd sysFD, tok token, i What) error {
	ev := unix.EpollEvent{Fd: int32(tok.slot), Pad: int32(tok.gen)}
	if i&Read != 0 {
		ev.Events |= unix.EPOLLIN
	}
	if i&Write != 0 {
		ev.Events |= unix.EPOLLOUT
	}
	if i&EarlyClose != 0 {
		ev.Events |= unix.EPOLLRDHUP
	}
	if i&urgent != 0 {
		ev.Events |= unix.EPOLLPRI
	}
	// The kernel always reports a hangup. Without a condition asked for, the
	// edge trigger keeps it from being reported for ever.
	if i&Edge != 0 || i&whatPolled == 0 {
		ev.Events |= unix.EPOLLET
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.epfd == noFD {
		return os.ErrClosed
	}
	e.setAsked(tok.slot, i&whatPolled) // first, so that no report can find an older one
	return unix.EpollCtl(e.epfd, op, fd, &ev)
}

func (e *epoll) setAsked(slot uint32, i What) {
	e.askedMu.Lock()
	defer e.askedMu.Unlock()
	if n := int(slot) + 1 - len(e.asked); n > 0 {
		e.asked = append(e.asked, make([]What, n)...)
	}
	e.asked[slot] = i
}

func (e *epoll) wait(dst []ready, d time.Duration) ([]ready, error) {
	e.n, e.err, e.parked = 0, nil, false
	if d == 0 {
		e.poll()
		return e.collect(dst)
	}
	e.limit = d
	err := e.rc.Read(e.tryFunc)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// Woken. The deadline goes before the flag: a wake that comes between
		// does nothing, which is right because this wait is about to return.
		// In the other order its deadline would be lost with its flag left set,
		// and so would every later wake.
		e.file.SetReadDeadline(time.Time{})
		e.woken.Store(false)
		// A poller that is woken all the time must report readiness all the same.
		e.poll()
		err = nil
	}
	if err != nil {
		return dst, err // closed
	}
	return e.collect(dst)
}

// wake sets the flag and then a deadline in the past, which ends the park of
// the goroutine in wait or, if there is none, prevents the next.
//
// Of several wakes at once only the one that sets the flag goes on. Until wait
// has seen the deadline pass it clears neither flag nor deadline, so there is
// never more than one setting the deadline, and none that is cleared unseen. A
// wait that does not park leaves both as they are: that costs the next one an
// early return, and meanwhile wakes cost next to nothing.
func (e *epoll) wake() error {
	if e.woken.Load() || !e.woken.CompareAndSwap(false, true) {
		return nil // there is one under way
	}
	return e.file.SetReadDeadline(time.Unix(1, 0)) // arbitrary, long ago
}

func (e *epoll) close() error {
	if !e.disown() {
		return nil
	}
	// The runtime ends the park of a wait in progress, and Close waits until
	// that has left the file. It may need mu on its way, so mu is not held here.
	return e.file.Close()
}

// disown takes the descriptors away from everybody but a wait in progress. It
// reports whether that was still to do.
func (e *epoll) disown() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.epfd == noFD {
		return false
	}
	e.set.Close()
	e.epfd = noFD
	if e.tfd != noFD {
		unix.Close(e.tfd)
		e.tfd = noFD
	}
	return true
}

// poll takes what is ready now into events.
func (e *epoll) poll() {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.epfd == noFD {
		e.err = os.ErrClosed
		return
	}
	e.n, e.err = epollWait(e.epfd, e.events)
}

// try is called by rc.Read with the gate's descriptor in use, once before it parks and
// once each time that the runtime's poller has seen something. It reports
// whether the wait is over. What becomes ready after it has looked ends the
// park at once.
func (e *epoll) try(uintptr) bool {
	e.poll()
	if e.n == 0 && e.err == nil && e.shut {
		if e.err = e.setGate(true); e.err == nil {
			e.poll() // opening it tells nobody of what is there already
		}
	}
	if e.n > 0 || e.err != nil {
		return true
	}
	e.parked = true
	if e.limit > 0 {
		e.setAlarm(e.limit)
		e.limit = 0
	}
	return false
}

// setGate opens or shuts the gate. It does nothing when that was done, or when e is closed.
func (e *epoll) setGate(open bool) error {
	if e.shut == !open {
		return nil
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.epfd == noFD {
		return nil
	}
	var ev unix.EpollEvent
	if open {
		ev.Events = unix.EPOLLIN
	}
	err := unix.EpollCtl(e.gate, unix.EPOLL_CTL_MOD, e.epfd, &ev)
	if err == nil {
		e.shut = !open
	}
	return err
}

// collect appends the last results to dst.
func (e *epoll) collect(dst []ready) ([]ready, error) {
	if e.err != nil {
		return dst, e.err
	}
	if e.n > 0 && !e.parked {
		e.setGate(false) // if that fails it stays open, which does no harm
	}
	for i := range e.events[:e.n] {
		ev := &e.events[i]
		tok := token{uint32(ev.Fd), uint32(ev.Pad)}
		if tok == timerToken {
			continue // It has ended the wait, that is all.
		}
		var w What
		if ev.Events&unix.EPOLLIN != 0 {
			w |= Read
		}
		if ev.Events&unix.EPOLLOUT != 0 {
			w |= Write
		}
		if ev.Events&unix.EPOLLRDHUP != 0 {
			w |= EarlyClose
		}
		if ev.Events&unix.EPOLLPRI != 0 {
			w |= urgent
		}
		if ev.Events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
			e.askedMu.Lock()
			w |= e.asked[tok.slot] | hangup
			e.askedMu.Unlock()
		}
		dst = append(dst, ready{tok, w})
	}
	if e.n == len(e.events) && e.n < epollMaxResults {
		e.events = make([]unix.EpollEvent, 2*e.n)
	}
	return dst, nil
}

// alarmSlack is how much later than asked a wait may end to spare setting the
// timer again: 50 µs, the kernel's own default for waits (PR_SET_TIMERSLACK in prctl(2)).
const alarmSlack = 50 * time.Microsecond

// setAlarm sees to it that the wait ends in d. An earlier alarm that is still
// to come stays: it ends one wait early, once, and a deadline that moves back
// with every wait costs no system call.
func (e *epoll) setAlarm(d time.Duration) {
	d = min(d, 1<<30*time.Second) // what every platform's itimerspec can hold
	now := time.Now()
	at := now.Add(d)
	if e.alarm.After(now) && !e.alarm.After(at.Add(alarmSlack)) {
		return
	}

	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.epfd == noFD {
		return // being closed, which ends the wait
	}
	if e.tfd == noFD {
		if err := e.openTimer(); err != nil {
			e.spareAlarm(d)
			return
		}
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	if err := unix.TimerfdSettime(e.tfd, 0, &spec, nil); err != nil {
		panic("evchan: BUG: timerfd_settime: " + err.Error()) // the arguments were wrong
	}
	e.alarm = at
}

// openTimer makes tfd. mu is held for reading.
func (e *epoll) openTimer() error {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return err
	}
	ev := unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLET,
		Fd:     int32(timerToken.slot),
		Pad:    int32(timerToken.gen),
	}
	if err := unix.EpollCtl(e.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		unix.Close(fd)
		return err
	}
	e.tfd = fd
	return nil
}

// spareAlarm does for setAlarm when there is no descriptor to be had, which
// must not end a loop that waits for some to be closed. A wake too many, when
// the wait has ended before, does no harm.
func (e *epoll) spareAlarm(d time.Duration) {
	if e.spare == nil {
		e.spare = time.AfterFunc(d, func() { e.wake() })
		return
	}
	e.spare.Reset(d)
}

// epollWait takes what is ready on epfd without blocking.
func epollWait(epfd int, events []unix.EpollEvent) (int, error) {
	for {
		// epoll_pwait, since not every architecture has epoll_wait.
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd),
			uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR: // it does not sleep, so this is not expected
		default:
			return 0, errno
		}
	}
}

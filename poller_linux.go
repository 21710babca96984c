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

// kernelMethods returns the methods that ask this system's kernel, best first.
func kernelMethods() []method {
	return append([]method{
		{"epoll", epollFeatures, openEpoll},
		{"poll", pollFeatures, openPollSet},
	}, testMethods...)
}

// testMethods are methods of other systems over a model of their kernel. The tests
// set it before anything else.
var testMethods []method

const epollFeatures = FeatureEdge | FeatureO1 | FeatureEarlyClose

// How many results one wait takes: at first, and at most. The array doubles when a
// wait has filled it. Both numbers are arbitrary.
const (
	epollMinResults = 128
	epollMaxResults = 4096
)

// An epoll is the poller over epoll(7).
//
// The runtime's own poller watches the set, so a goroutine in wait parks as in a read
// of package net: it holds neither a thread nor a processor. No system call here
// blocks, so all are raw: the scheduler need not know of them.
//
// Between the runtime's poller and the set is the gate: an epoll set that contains only
// ours. The runtime watches the gate. A wait that finds something without parking shuts
// the gate, and the next wait that parks opens it. Without the gate, each event would
// wake a thread of the runtime that waits for a timer or another connection, although
// no goroutine waits for the event.
//
// The nesting of epoll sets in one another is limited by the kernel; with the gate at
// most 100 loops can watch one descriptor or share one listening socket.
//
// The runtime's timers are good to a millisecond only, so a timer descriptor inside
// the set ends a timed wait. It is edge-triggered and never needs to be read.
type epoll struct {
	file *os.File        // the gate's descriptor, registered with the runtime's poller
	rc   syscall.RawConn // file's
	set  *os.File        // epfd; a file, so that its finalizer closes it if the loop is dropped without Close

	// woken is set by wake and cleared by the wait that consumes it. See wake.
	woken atomic.Bool

	mu   sync.RWMutex // read-locked while epfd, gate or tfd are in use, write-locked to close them
	epfd int          // guarded by mu; noFD when closed
	gate int          // never changes; open as long as epfd is
	tfd  int          // guarded by mu; noFD until first needed; set by the goroutine in wait

	askedMu sync.Mutex // guards following
	asked   []What     // conditions asked for, by slot; needed for a hangup, which the kernel does not mask
	tokens  []token    // by descriptor, as last given to add or arm; for removeIf

	// The goroutine in wait owns the rest.
	tryFunc func(uintptr) bool // e.try, made once so that a wait does not allocate
	events  []unix.EpollEvent
	n       int           // number of events that the last epoll_wait returned
	err     error         // its error
	limit   time.Duration // of this wait; 0 once tfd is set
	shut    bool          // the gate is shut, see epoll
	parked  bool          // this wait has parked
	alarm   time.Time     // when tfd expires or has expired
	spare   *time.Timer   // replaces tfd when no descriptor is free
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

// openGate makes the gate, which is open at first, and has the runtime watch it.
func (e *epoll) openGate() error {
	gate, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	// os.NewFile registers only non-blocking descriptors with the runtime's poller. An
	// epoll descriptor is never read, so the flag has no other effect.
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
		// NewFile does not tell whether the runtime registered it; this call does.
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

// arm relies on EPOLL_CTL_MOD, which checks readiness again.
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

// removeIf holds askedMu during the system call, so that an add of another descriptor with
// the same number, which sets the token first, comes before the check or after the call.
func (e *epoll) removeIf(fd sysFD, tok token) error {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.epfd == noFD {
		return os.ErrClosed
	}
	e.askedMu.Lock()
	defer e.askedMu.Unlock()
	if fd < 0 || fd >= len(e.tokens) || e.tokens[fd] != tok {
		return unix.ENOENT
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
	// The kernel always reports a hangup. If no condition is asked for, EPOLLET makes
	// it report that once only.
	if i&Edge != 0 || i&whatPolled == 0 {
		ev.Events |= unix.EPOLLET
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.epfd == noFD {
		return os.ErrClosed
	}
	// Before the system call, so that a report finds it.
	e.askedMu.Lock()
	e.setAskedLocked(tok.slot, i&whatPolled)
	e.setTokenLocked(fd, tok)
	e.askedMu.Unlock()
	return unix.EpollCtl(e.epfd, op, fd, &ev)
}

func (e *epoll) setAskedLocked(slot uint32, i What) {
	if n := int(slot) + 1 - len(e.asked); n > 0 {
		e.asked = append(e.asked, make([]What, n)...)
	}
	e.asked[slot] = i
}

// setTokenLocked does nothing if fd is not a descriptor: the table must not grow because of
// a wrong number.
func (e *epoll) setTokenLocked(fd sysFD, tok token) {
	if fd >= len(e.tokens) {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			return
		}
		e.tokens = append(e.tokens, make([]token, fd+1-len(e.tokens))...)
	}
	if fd >= 0 {
		e.tokens[fd] = tok
	}
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
		// Woken. Clear the deadline before the flag: a wake between the two does
		// nothing, which is right because this wait is about to return. In the other
		// order the deadline of that wake would be cleared and its flag stay set, so
		// that no later wake would do anything.
		e.file.SetReadDeadline(time.Time{})
		e.woken.Store(false)
		// Report readiness also if every wait is woken.
		e.poll()
		err = nil
	}
	if err != nil {
		return dst, err // closed
	}
	return e.collect(dst)
}

// wake sets the flag woken and then a read deadline in the past. The deadline ends the
// park of the goroutine in wait; if none is parked, the next wait does not park.
//
// Of several concurrent wakes only the one that sets the flag sets the deadline. wait
// clears both only after it has seen the deadline pass, so no deadline is cleared
// unseen. A wait that does not park leaves both as they are: the next one returns
// early, and until then a wake costs one atomic load.
func (e *epoll) wake() error {
	if e.woken.Load() || !e.woken.CompareAndSwap(false, true) {
		return nil // another wake is in progress
	}
	return e.file.SetReadDeadline(time.Unix(1, 0)) // arbitrary, long ago
}

func (e *epoll) close() error {
	if !e.disown() {
		return nil
	}
	// Close makes the runtime end the park of a wait in progress, and waits until that
	// wait no longer uses the file. The wait may need mu, so mu is not held here.
	return e.file.Close()
}

// disown closes all descriptors but the gate, which a wait in progress may be using.
// It reports false if that was done before.
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

// poll fills events with what is ready now.
func (e *epoll) poll() {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.epfd == noFD {
		e.err = os.ErrClosed
		return
	}
	e.n, e.err = epollWait(e.epfd, e.events)
}

// try reports whether the wait is over. rc.Read calls it before it parks, and each time
// that the runtime's poller has reported the gate. It keeps the gate's descriptor open
// meanwhile. What becomes ready after the call ends the park at once.
func (e *epoll) try(uintptr) bool {
	e.poll()
	if e.n == 0 && e.err == nil && e.shut {
		if e.err = e.setGate(true); e.err == nil {
			e.poll() // opening it reports nothing that was ready before
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

// setGate opens or shuts the gate. It does nothing if the gate is so already, or e is closed.
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
		e.setGate(false) // if that fails the gate stays open, which costs wakeups only
	}
	for i := range e.events[:e.n] {
		ev := &e.events[i]
		tok := token{uint32(ev.Fd), uint32(ev.Pad)}
		if tok == timerToken {
			continue // its only purpose was to end the wait
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
			asked := e.asked[tok.slot]
			e.askedMu.Unlock()
			if w == 0 && asked != 0 && ev.Events&unix.EPOLLHUP == 0 {
				w = errorOnly
			}
			w |= asked | hangup
		}
		dst = append(dst, ready{tok, w})
	}
	if e.n == len(e.events) && e.n < epollMaxResults {
		e.events = make([]unix.EpollEvent, 2*e.n)
	}
	return dst, nil
}

// epollAlarmSlack is how much later than asked a wait may end, where that saves the
// system call that sets the timer: 50 µs, the kernel's default for waits
// (PR_SET_TIMERSLACK in prctl(2)).
const epollAlarmSlack = 50 * time.Microsecond

// setAlarm sets the timer that ends the wait after d. If it is set to an earlier time
// that is not over, it stays: one wait ends early, but no system call is needed where
// each wait has a later deadline than the one before.
func (e *epoll) setAlarm(d time.Duration) {
	d = min(d, 1<<30*time.Second) // what every platform's itimerspec can hold
	now := time.Now()
	at := now.Add(d)
	if e.alarm.After(now) && !e.alarm.After(at.Add(epollAlarmSlack)) {
		return
	}

	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.epfd == noFD {
		return // close is in progress and ends the wait
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

// openTimer makes tfd. Caller has read-locked e.mu.
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

// spareAlarm replaces setAlarm when no descriptor is free: the loop must go on, since it
// may be waiting for descriptors to be closed. If the wait ends earlier, a later wait
// returns early, which is harmless.
func (e *epoll) spareAlarm(d time.Duration) {
	if e.spare == nil {
		e.spare = time.AfterFunc(d, func() { e.wake() })
		return
	}
	e.spare.Reset(d)
}

// epollWait fills events with what is ready on epfd, without blocking, and returns how
// many there are.
func epollWait(epfd int, events []unix.EpollEvent) (int, error) {
	for {
		// epoll_pwait, since not every architecture has epoll_wait.
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd),
			uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR: // not expected, since the call does not sleep; try again
		default:
			return 0, errno
		}
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build darwin || dragonfly || freebsd || netbsd || openbsd || linux

package evchan

import (
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// This file is the whole logic of the method kqueue, over a seam that is one
// system call wide. kqueue_bsd.go puts the real call behind it. On Linux
// nothing refers to this file but the tests, which put a model of the call
// behind it (kqueue_model_test.go); programs do not contain it there.

// A kernelQueue is a kernel event queue: what kqueue(2) returns.
type kernelQueue interface {
	// kevent is kevent(2): it makes the changes, and then takes what is pending
	// into events. It waits for that for ever if d < 0, not at all if d == 0,
	// else for about d. Without room for events it returns at once, and fails if
	// a change fails; those that follow are not made then.
	//
	// Calls with and without room for events may be under way at the same time,
	// but one only of each.
	kevent(changes, events []kevent, d time.Duration) (int, error)

	// close releases the queue. No other call may be under way.
	close()
}

// A kevent is struct kevent, in a form that all systems share. What is left out
// is not used: udata could say which registration an event is from, but in Go
// it is a pointer on most systems, and a number in it a trap for the garbage
// collector.
type kevent struct {
	ident  int // the descriptor
	filter kfilter
	flags  uint32
	fflags uint32
	data   int64
}

// A kfilter is a filter, which the systems number differently.
type kfilter int8

const (
	kfRead  kfilter = iota // EVFILT_READ
	kfWrite                // EVFILT_WRITE
	kfUser                 // EVFILT_USER
)

// The flags have one value on all systems, see kqueue_bsd.go.
const (
	evAdd       = 0x0001
	evDelete    = 0x0002
	evClear     = 0x0020
	evError     = 0x4000
	evEOF       = 0x8000
	noteTrigger = 0x01000000
)

const kqueueFeatures = FeatureEdge | FeatureO1 | FeatureEarlyClose

// How many events one call takes: to begin with, and how far the array grows
// when calls fill it. Both are arbitrary.
const (
	kqueueMinEvents = 128
	kqueueMaxEvents = 4096
)

// kqueueMaxWait is the longest wait that is asked for. Darwin takes only so many
// seconds, and OpenBSD makes a day of more. Ending early is allowed.
const kqueueMaxWait = 24 * time.Hour

// A kqueue is the poller over kqueue(2).
//
// The goroutine in wait blocks in the system call. It cannot park in the
// runtime's own poller, as with epoll: that asks of each descriptor whether it
// can be read and whether it can be written, and a kernel queue refuses the
// second question (EINVAL).
//
// Read and Write are each a filter of the kernel's. EarlyClose is EVFILT_READ
// with EV_EOF. What is asked for with Edge, or not asked for at all but needed to
// notice a hangup, has EV_CLEAR. A filter is changed by deleting and adding it
// anew: what adding one that is there does to its flags, and whether it reports
// again what it has reported, differs between systems.
//
// A hangup is EV_EOF of both filters, since each alone may be a half-close. So
// once one of them has ended, the other is asked for as well. An error of the
// socket (in fflags) ends both.
//
// Not every descriptor fits: a regular file counts as readable up to its end
// only and cannot be watched for writing, so add refuses it. On macOS
// named pipes do not tell that the last writer has gone, and terminals may be
// refused.
type kqueue struct {
	q    kernelQueue
	pipe [2]sysFD // reading and writing end, for waking; noFD: a user event does that

	// woken is set by wake and cleared by the wait that consumes it. See wake.
	woken atomic.Bool

	mu      sync.Mutex  // guards following; calls that make changes are made under it
	regs    []kqueueReg // by descriptor
	round   uint64      // counts the waits
	waiting bool        // one is between its beginning and its results
	closed  bool        // q is closed at once, or by the wait in progress
	changes [2]kevent   // scratch
	one     [1]byte     // what goes through the pipe

	// The goroutine in wait owns the rest.
	events []kevent
	taken  bool // the wake was taken by a wait that did not block, and is for the next that does
}

// A kqueueReg is a registration.
type kqueueReg struct {
	tok   token
	i     What // what was asked for, with Edge
	state kqueueState

	// What the wait in progress takes may still be from an earlier
	// registration of the descriptor if this one was made meanwhile.
	made uint64 // the number of the wait in progress then; 0: there was none

	told uint64 // the number of the wait that has reported it last
	at   int    // where in that wait's results
}

// A kqueueState is what the kernel was asked for and has said.
type kqueueState uint8

// Those of EVFILT_WRITE are one bit to the left of those of EVFILT_READ.
const (
	kqRead       kqueueState = 1 << iota // EVFILT_READ is there
	kqWrite                              // EVFILT_WRITE is there
	kqReadLevel                          // it is, or will be, without EV_CLEAR
	kqWriteLevel                         // it is, or will be, without EV_CLEAR
	kqReadEnded                          // nothing will arrive any more
	kqWriteEnded                         // nothing can be sent any more

	kqFilters = kqRead | kqWrite // none: not registered
	kqEnded   = kqReadEnded | kqWriteEnded
)

// newKqueue returns a poller over q, which it owns from then on, also if it
// fails. It is woken by a user event if the system has those, else by a pipe.
func newKqueue(q kernelQueue, userEvents bool) (poller, error) {
	p := &kqueue{
		q:      q,
		pipe:   [2]sysFD{noFD, noFD},
		events: make([]kevent, kqueueMinEvents),
	}
	waker := kevent{filter: kfUser, flags: evAdd | evClear}
	if !userEvents {
		if err := openPipe(&p.pipe); err != nil {
			q.close()
			return nil, err
		}
		waker = kevent{ident: p.pipe[0], filter: kfRead, flags: evAdd}
	}
	if err := p.makeChanges(waker); err != nil {
		p.release()
		return nil, err
	}
	return p, nil
}

func (p *kqueue) name() string      { return "kqueue" }
func (p *kqueue) features() Feature { return kqueueFeatures }

func (p *kqueue) add(fd sysFD, tok token, i What) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR:
		return unix.EPERM
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	if r := p.regLocked(fd); r != nil {
		p.dropLocked(fd, r) // it may have gone with the descriptor
	}
	return p.registerLocked(fd, tok, i)
}

func (p *kqueue) arm(fd sysFD, tok token, i What) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	r := p.regLocked(fd)
	if r == nil {
		return unix.ENOENT
	}
	if err := p.dropLocked(fd, r); err != nil {
		return err
	}
	return p.registerLocked(fd, tok, i)
}

func (p *kqueue) remove(fd sysFD) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	r := p.regLocked(fd)
	if r == nil {
		return unix.ENOENT
	}
	return p.dropLocked(fd, r)
}

// regLocked returns the registration of fd, or nil.
func (p *kqueue) regLocked(fd sysFD) *kqueueReg {
	if fd < 0 || fd >= len(p.regs) || p.regs[fd].state&kqFilters == 0 {
		return nil
	}
	return &p.regs[fd]
}

// registerLocked adds the filters that i needs of fd, which has none.
func (p *kqueue) registerLocked(fd sysFD, tok token, i What) error {
	r := kqueueReg{tok: tok, i: i}
	if p.waiting {
		r.made = p.round
	}
	// EVFILT_READ cannot be asked for the end alone: EarlyClose without Read must
	// not make the kernel report again and again bytes that nobody wants.
	if i&(Read|Edge) == Read {
		r.state |= kqReadLevel
	}
	if i&(Write|Edge) == Write {
		r.state |= kqWriteLevel
	}
	if i&(Read|EarlyClose) != 0 && i&Write != 0 && p.makeChanges(r.adding(fd, kfRead), r.adding(fd, kfWrite)) == nil {
		r.state |= kqFilters
	} else if err := p.askEachLocked(fd, &r); err != nil {
		return err
	}
	if n := fd + 1 - len(p.regs); n > 0 {
		p.regs = slices.Grow(p.regs, n)[:fd+1]
	}
	p.regs[fd] = r
	return nil
}

// askEachLocked adds the filters that r needs one by one.
func (p *kqueue) askEachLocked(fd sysFD, r *kqueueReg) error {
	// For a hangup only, one filter will do if the other is refused.
	hangupOnly := r.i&whatPolled == 0
	var err error
	if hangupOnly || r.i&(Read|EarlyClose) != 0 {
		err = p.askLocked(fd, r, kfRead)
		if err != nil && !hangupOnly {
			return err
		}
	}
	if !hangupOnly && r.i&Write == 0 {
		return nil
	}
	switch writeErr := p.askLocked(fd, r, kfWrite); {
	case writeErr == nil || hangupOnly && err == nil:
		return nil
	case writeErr == unix.EPIPE || writeErr == unix.EBADF:
		return p.brokenLocked(fd, r) // EBADF is NetBSD's word for it
	default:
		p.dropLocked(fd, r)
		return writeErr
	}
}

// brokenLocked is called when the filter for writing is refused to a pipe without its
// other end. The other filter still works, and tells that it has ended.
func (p *kqueue) brokenLocked(fd sysFD, r *kqueueReg) error {
	r.state |= kqWriteEnded
	if r.i&Edge == 0 {
		r.state |= kqReadLevel
	}
	return p.askLocked(fd, r, kfRead)
}

// dropLocked deletes the filters of fd.
func (p *kqueue) dropLocked(fd sysFD, r *kqueueReg) error {
	read := kevent{ident: fd, filter: kfRead, flags: evDelete}
	write := kevent{ident: fd, filter: kfWrite, flags: evDelete}
	filters := r.state & kqFilters
	r.state = 0
	switch filters {
	case kqRead:
		return p.makeChanges(read)
	case kqWrite:
		return p.makeChanges(write)
	}
	return p.makeChanges(read, write)
}

// askLocked adds a filter of fd, or adds it anew.
func (p *kqueue) askLocked(fd sysFD, r *kqueueReg, f kfilter) error {
	if r.state&(kqRead<<f) != 0 {
		r.state &^= kqRead << f
		p.makeChanges(kevent{ident: fd, filter: f, flags: evDelete})
	}
	err := p.makeChanges(r.adding(fd, f))
	if err == nil {
		r.state |= kqRead << f
	}
	return err
}

// adding returns the change that adds a filter of fd.
func (r *kqueueReg) adding(fd sysFD, f kfilter) kevent {
	ev := kevent{ident: fd, filter: f, flags: evAdd | evClear}
	if r.state&(kqReadLevel<<f) != 0 {
		ev.flags = evAdd
	}
	return ev
}

// makeChanges makes changes. mu is held.
func (p *kqueue) makeChanges(changes ...kevent) error {
	_, err := p.q.kevent(p.changes[:copy(p.changes[:], changes)], nil, 0)
	if err == unix.EINTR {
		err = nil // the changes have been made, says the manual
	}
	return err
}

func (p *kqueue) wait(dst []ready, d time.Duration) ([]ready, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return dst, os.ErrClosed
	}
	p.round++
	p.waiting = true
	p.mu.Unlock()

	blocks := d != 0
	if p.taken {
		d = 0
	}
	n, err := p.q.kevent(nil, p.events, min(d, kqueueMaxWait))
	if err == unix.EINTR || err == unix.ETIMEDOUT { // early, with nothing; Darwin has been seen to give the latter
		n, err = 0, nil
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = false
	if p.closed {
		p.release()
		return dst, os.ErrClosed
	}
	if err != nil {
		return dst, err
	}
	for i := range p.events[:n] {
		dst = p.collectLocked(dst, &p.events[i])
	}
	if n == len(p.events) && n < kqueueMaxEvents {
		p.events = make([]kevent, 2*n)
	}
	if blocks && p.taken {
		p.taken = false
		if p.pipe[0] != noFD {
			unix.Read(p.pipe[0], p.one[:])
		}
		p.woken.Store(false)
	}
	return dst, nil
}

// collectLocked appends what ev reports to dst.
func (p *kqueue) collectLocked(dst []ready, ev *kevent) []ready {
	if ev.filter == kfUser || ev.ident == p.pipe[0] {
		p.taken = true
		return dst
	}
	r := p.regLocked(ev.ident)
	if r == nil {
		return dst // removed meanwhile
	}
	if ev.flags&evEOF == 0 {
		r.state &^= kqReadEnded << ev.filter // a named pipe can be opened again
	} else if r.made == p.round {
		// It may be another connection that has ended. Readiness would do no
		// harm if it were, but an end must be true.
		if p.askLocked(ev.ident, r, ev.filter) != nil && ev.filter == kfWrite {
			p.brokenLocked(ev.ident, r)
		}
		return dst
	} else if r.state&(kqReadEnded<<ev.filter) == 0 {
		r.state |= kqReadEnded << ev.filter
		p.endedLocked(ev.ident, r, ev.filter)
	}

	what := r.i & Write
	if ev.filter == kfRead {
		// A read stops before urgent bytes. Some systems tell of them, by a filter
		// of its own (EVFILT_EXCEPT with NOTE_OOB: macOS, OpenBSD, DragonFly BSD),
		// others do not. Whoever asks for them is told each time that there may be
		// some, and so reads until nothing is left.
		what = r.i & (Read | urgent)
		if r.state&kqReadEnded != 0 {
			what |= r.i & EarlyClose
		}
	}
	if r.state&kqEnded == kqEnded {
		what = r.i&whatPolled | hangup
	}
	switch {
	case what == 0:
	case r.told == p.round:
		dst[r.at].what |= what
	default:
		r.told, r.at = p.round, len(dst)
		dst = append(dst, ready{r.tok, what})
	}
	return dst
}

// endedLocked is called when a filter of fd has reported EV_EOF for the first
// time. It sees to it that the other direction's end is noticed as well.
func (p *kqueue) endedLocked(fd sysFD, r *kqueueReg, f kfilter) {
	if f == kfRead && r.i&(EarlyClose|Edge) == EarlyClose && r.state&kqReadLevel == 0 {
		r.state |= kqReadLevel // this lasts
		p.askLocked(fd, r, kfRead)
	}
	other, oneWay := kfWrite, unix.O_RDONLY
	if f == kfWrite {
		other, oneWay = kfRead, unix.O_WRONLY
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err == nil && flags&unix.O_ACCMODE == oneWay {
		r.state |= kqReadEnded << other // there is none
		return
	}
	if r.state&(kqRead<<other) == 0 && p.askLocked(fd, r, other) != nil {
		r.state |= kqReadEnded << other // a pipe without its other end
	}
}

// wake triggers the user event, or writes a byte to the pipe.
//
// Of several wakes at once only the one that sets the flag does so. A wait that
// does not block may take the event nevertheless. Then the next that blocks
// does not, so that the flag is up as long as a wake is on its way.
func (p *kqueue) wake() error {
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

func (p *kqueue) wakeLocked() error {
	if !p.woken.CompareAndSwap(false, true) {
		return nil // there is one under way
	}
	if p.pipe[1] == noFD {
		// No other flags: EV_CLEAR here would undo the trigger.
		return p.makeChanges(kevent{filter: kfUser, fflags: noteTrigger})
	}
	for {
		_, err := unix.Write(p.pipe[1], p.one[:])
		if err != unix.EINTR {
			return err
		}
	}
}

func (p *kqueue) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	if p.waiting {
		return p.wakeLocked() // the wait releases the rest
	}
	p.release()
	return nil
}

// release closes the queue and the pipe. Nobody else uses them any more.
func (p *kqueue) release() {
	p.q.close()
	if p.pipe[0] != noFD {
		unix.Close(p.pipe[0])
		unix.Close(p.pipe[1])
	}
}

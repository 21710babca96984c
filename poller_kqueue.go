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

// This file has the whole logic of the method kqueue. It makes its system calls through
// the interface kernelQueue, which poller_bsd.go implements with the real call. On
// Linux only the tests use this file, with a model of the call
// (testutil_kqueue_test.go); the linker drops it from programs.

// A kernelQueue is a kernel event queue, as kqueue(2) returns it.
type kernelQueue interface {
	// kevent is kevent(2): it makes the changes, and then takes pending events into
	// events. If there are none it waits: without limit if d < 0, not at all if
	// d == 0, else for about d.
	//
	// If len(events) is 0 it returns at once. Then it fails at the first change that
	// fails, and does not make those that follow.
	//
	// One call with room for events and one without may run at the same time.
	kevent(changes, events []kevent, d time.Duration) (int, error)

	// close releases the queue. No other call may be in progress.
	close()
}

// A kevent is struct kevent in a form that all systems share, without the fields that
// are not used. Among those is udata. It could tell which registration an event
// belongs to, but in Go it is a pointer on most systems, and the garbage collector
// does not allow numbers in pointers.
type kevent struct {
	ident  int // the descriptor
	filter kfilter
	flags  uint32
	fflags uint32
	data   int64
}

// A kfilter is a filter. The systems have different numbers for them.
type kfilter int8

const (
	kfRead  kfilter = iota // EVFILT_READ
	kfWrite                // EVFILT_WRITE
	kfUser                 // EVFILT_USER
)

// The flags have the same values on all systems, see poller_bsd.go.
const (
	evAdd       = 0x0001
	evDelete    = 0x0002
	evClear     = 0x0020
	evError     = 0x4000
	evEOF       = 0x8000
	noteTrigger = 0x01000000
)

const kqueueFeatures = FeatureEdge | FeatureO1 | FeatureEarlyClose

// How many events one call takes: at first, and at most. The array doubles when a call
// has filled it. Both numbers are arbitrary.
const (
	kqueueMinEvents = 128
	kqueueMaxEvents = 4096
)

// kqueueMaxWait is the longest wait of one call. macOS limits the seconds, and OpenBSD
// reduces more than a day to a day. Ending early is allowed.
const kqueueMaxWait = 24 * time.Hour

// A kqueue is the poller over kqueue(2).
//
// The goroutine in wait blocks in the system call. It cannot park in the runtime's own
// poller, as it does with epoll: the runtime asks for both reading and writing of each
// descriptor, and a kernel queue refuses the filter for writing (EINVAL).
//
// Read and Write have a filter of the kernel each. EarlyClose is EVFILT_READ with
// EV_EOF. A filter has EV_CLEAR if it was asked for with Edge, or if it is only needed
// to notice a hangup. To change a filter, it is deleted and added again: the systems
// differ in what adding an existing filter does to its flags, and in whether it then
// reports again what it has reported before.
//
// A hangup is EV_EOF of both filters, since each alone may be a half-close. So when
// one of them reports EV_EOF, the other is added as well. An error of the socket (in
// fflags) ends both.
//
// A regular file counts as readable up to its end only and cannot be watched for
// writing, so add refuses it. On macOS named pipes do not tell that the last writer
// has gone, and terminals may be refused.
type kqueue struct {
	q    kernelQueue
	pipe [2]sysFD // for wakes: reading and writing end; noFD: a user event is used

	// woken is set by wake and cleared by the wait that consumes it. See wake.
	woken atomic.Bool

	mu      sync.Mutex  // guards following; held during calls that make changes
	regs    []kqueueReg // by descriptor
	round   uint64      // number of the current or last wait
	waiting bool        // a wait is between its beginning and its results
	closed  bool        // if waiting, the wait closes q, else it is closed
	changes [2]kevent   // scratch
	one     [1]byte     // scratch: the byte for the pipe

	// The goroutine in wait owns the rest.
	events []kevent
	taken  bool // a wait that did not block has taken the wake; the next that blocks consumes it
}

// A kqueueReg is a registration.
type kqueueReg struct {
	tok   token
	i     What // what was asked for, with Edge
	state kqueueState

	// made is the number of the wait that was in progress when this registration was
	// made; 0: none was. The results of that wait may still be of an earlier
	// registration of the descriptor.
	made uint64

	told uint64 // number of the wait that reported it last
	at   int    // position in that wait's results
}

// A kqueueState says which filters the kernel has, and what they have reported.
type kqueueState uint8

// The bits of EVFILT_WRITE are one to the left of those of EVFILT_READ.
const (
	kqRead       kqueueState = 1 << iota // EVFILT_READ is there
	kqWrite                              // EVFILT_WRITE is there
	kqReadLevel                          // it is, or will be, without EV_CLEAR
	kqWriteLevel                         // it is, or will be, without EV_CLEAR
	kqReadEnded                          // input has ended
	kqWriteEnded                         // no output is possible any more

	kqFilters = kqRead | kqWrite // none: not registered
	kqEnded   = kqReadEnded | kqWriteEnded
)

// newKqueue returns a poller over q. It owns q from then on, also if it fails. wake uses
// a user event if the system has them, else a pipe.
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
		p.dropLocked(fd, r) // fails if the descriptor was closed since, which is fine
	}
	err := p.registerLocked(fd, tok, i)
	if err == unix.EINVAL || err == unix.ENODEV || err == unix.EOPNOTSUPP || err == unix.ENOTSUP {
		err = unix.EPERM // a device that has no such filter
	}
	return err
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

func (p *kqueue) removeIf(fd sysFD, tok token) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	r := p.regLocked(fd)
	if r == nil || r.tok != tok {
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

// registerLocked adds the filters that i needs to fd, which has none.
func (p *kqueue) registerLocked(fd sysFD, tok token, i What) error {
	r := kqueueReg{tok: tok, i: i}
	if p.waiting {
		r.made = p.round
	}
	// No filter reports the end of input alone. So for EarlyClose without Read,
	// EVFILT_READ has EV_CLEAR: else every call would report bytes that were not asked
	// for.
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
		return p.brokenLocked(fd, r) // NetBSD says EBADF
	default:
		p.dropLocked(fd, r)
		return writeErr
	}
}

// brokenLocked is called when the kernel refuses the filter for writing because fd is a
// pipe whose other end is closed. The filter for reading still works, and reports the
// end.
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

// askLocked adds a filter to fd. If it exists it is deleted first.
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

// adding returns the change that adds a filter to fd.
func (r *kqueueReg) adding(fd sysFD, f kfilter) kevent {
	ev := kevent{ident: fd, filter: f, flags: evAdd | evClear}
	if r.state&(kqReadLevel<<f) != 0 {
		ev.flags = evAdd
	}
	return ev
}

// makeChanges makes changes. Caller holds p.mu, or is newKqueue.
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
	if err == unix.EINTR || err == unix.ETIMEDOUT { // early, with nothing; macOS has been seen to return ETIMEDOUT
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
		// The event may be of an earlier registration. Spurious readiness is allowed,
		// but an end must be true. So add the filter again, which reports it if it is.
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
		// A read stops before urgent bytes. Some systems report these by a filter of
		// its own (EVFILT_EXCEPT with NOTE_OOB: macOS, OpenBSD, DragonFly BSD), others
		// do not report them. So urgent is reported each time that it was asked for,
		// and the stream reads until nothing is left.
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

// endedLocked is called when a filter of fd has reported EV_EOF for the first time. It
// makes sure that the end of the other direction is noticed as well.
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
		r.state |= kqReadEnded << other // the other direction does not exist
		return
	}
	if r.state&(kqRead<<other) == 0 && p.askLocked(fd, r, other) != nil {
		r.state |= kqReadEnded << other // a pipe whose other end is closed
	}
}

// wake triggers the user event, or writes a byte to the pipe.
//
// Of several concurrent wakes only the one that sets the flag woken does so. A wait that
// does not block may take the event. Then it sets taken, the next wait with d != 0
// returns at once, and only that clears the flag.
func (p *kqueue) wake() error {
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

func (p *kqueue) wakeLocked() error {
	if !p.woken.CompareAndSwap(false, true) {
		return nil // another wake is in progress
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

// release closes the queue and the pipe. No other call may be in progress.
func (p *kqueue) release() {
	p.q.close()
	if p.pipe[0] != noFD {
		unix.Close(p.pipe[0])
		unix.Close(p.pipe[1])
	}
}

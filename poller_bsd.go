// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package evchan

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file puts the real system call behind the seam of poller_kqueue.go. It
// converts and does nothing else: none of it can be run by the tests on Linux.
// What differs between the systems is in kqueue_darwin.go and so on.

// methods returns what can be had here, best first.
func methods() []method {
	return []method{
		{"kqueue", kqueueFeatures, openKqueue},
		{"poll", pollFeatures, openPollSet},
	}
}

// A sysQueue is the kernel's queue.
type sysQueue struct {
	fd      int
	changes [2]unix.Kevent_t // scratch
	events  []unix.Kevent_t  // scratch
}

// sysFilters are the system's numbers of the filters.
var sysFilters = [...]int{
	kfRead:  unix.EVFILT_READ,
	kfWrite: unix.EVFILT_WRITE,
	kfUser:  sysFilterUser,
}

func openKqueue() (poller, error) {
	// A process that is forked does not inherit the queue, but exec without fork
	// would keep it open.
	syscall.ForkLock.RLock()
	fd, err := unix.Kqueue()
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, err
	}
	return newKqueue(&sysQueue{fd: fd}, sysUserEvents)
}

func (q *sysQueue) kevent(changes, events []kevent, d time.Duration) (int, error) {
	for i, c := range changes {
		k := &q.changes[i]
		*k = unix.Kevent_t{}
		unix.SetKevent(k, c.ident, sysFilters[c.filter], int(c.flags))
		k.Fflags = c.fflags
	}
	if len(events) == 0 {
		return unix.Kevent(q.fd, q.changes[:len(changes)], nil, nil)
	}

	if len(q.events) < len(events) {
		q.events = make([]unix.Kevent_t, len(events))
	}
	var limit *unix.Timespec // none
	if d >= 0 {
		ts := unix.NsecToTimespec(int64(d))
		limit = &ts
	}
	n, err := unix.Kevent(q.fd, q.changes[:len(changes)], q.events[:len(events)], limit)
	if err != nil {
		return 0, err
	}
	for i := range q.events[:n] {
		k := &q.events[i]
		ev := kevent{ident: int(k.Ident), flags: uint32(k.Flags), fflags: k.Fflags, data: k.Data}
		switch int(k.Filter) {
		case unix.EVFILT_READ:
			ev.filter = kfRead
		case unix.EVFILT_WRITE:
			ev.filter = kfWrite
		default:
			ev.filter = kfUser // there is no other
		}
		events[i] = ev
	}
	return n, nil
}

func (q *sysQueue) close() { unix.Close(q.fd) }

// The flags, the order of the fields, and the sizes of those that they must fit in,
// are the same on all systems. An index that is not 0 does not compile.
var (
	_ = [1]struct{}{}[evAdd-unix.EV_ADD]
	_ = [1]struct{}{}[evDelete-unix.EV_DELETE]
	_ = [1]struct{}{}[evClear-unix.EV_CLEAR]
	_ = [1]struct{}{}[evError-unix.EV_ERROR]
	_ = [1]struct{}{}[evEOF-unix.EV_EOF]

	_ = [1]struct{}{}[unsafe.Sizeof(unix.Kevent_t{}.Ident)-unsafe.Sizeof(uintptr(0))]
	_ = [1]struct{}{}[unsafe.Sizeof(unix.Kevent_t{}.Flags)-unsafe.Sizeof(unix.Kevent_t{}.Filter)]
	_ = [1]struct{}{}[unsafe.Sizeof(unix.Kevent_t{}.Fflags)-4]
	_ = [1]struct{}{}[unsafe.Sizeof(unix.Kevent_t{}.Data)-8]
	_ = [1]struct{}{}[unsafe.Sizeof(unix.Kevent_t{}.Udata)-unsafe.Sizeof(uintptr(0))]

	// From one field to the next there is no gap but before or after Data, where the
	// files of the systems say so.
	_ = [1]struct{}{}[unsafe.Offsetof(unix.Kevent_t{}.Ident)]
	_ = [1]struct{}{}[unsafe.Offsetof(unix.Kevent_t{}.Filter)-unsafe.Sizeof(unix.Kevent_t{}.Ident)]
	_ = [1]struct{}{}[unsafe.Offsetof(unix.Kevent_t{}.Flags)-unsafe.Offsetof(unix.Kevent_t{}.Filter)-unsafe.Sizeof(unix.Kevent_t{}.Filter)]
	_ = [1]struct{}{}[unsafe.Offsetof(unix.Kevent_t{}.Fflags)-unsafe.Offsetof(unix.Kevent_t{}.Flags)-unsafe.Sizeof(unix.Kevent_t{}.Flags)]
	_ = [1]struct{}{}[unsafe.Offsetof(unix.Kevent_t{}.Udata)-unsafe.Offsetof(unix.Kevent_t{}.Data)-unsafe.Sizeof(unix.Kevent_t{}.Data)]
)

// What the files of the systems assert the sizes with.
const (
	sizeofKevent = int(unsafe.Sizeof(unix.Kevent_t{}))
	offsetofData = int(unsafe.Offsetof(unix.Kevent_t{}.Data))
	lp64         = int(unsafe.Sizeof(uintptr(0))) / 8 // 1 on 64-bit systems, else 0
)

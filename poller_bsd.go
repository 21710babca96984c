// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package evchan

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// This file implements the interface kernelQueue of poller_kqueue.go with the real
// system call. It only converts, since the tests on Linux cannot run it. What differs
// between the systems is in poller_darwin.go, poller_freebsd.go and so on. What is assumed
// about structures and flags is checked in the test files of the same names.

// kernelMethods returns the methods that ask this system's kernel, best first.
func kernelMethods() []method {
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

// sysFilters has the system's number of each filter.
var sysFilters = [...]int{
	kfRead:  unix.EVFILT_READ,
	kfWrite: unix.EVFILT_WRITE,
	kfUser:  sysFilterUser,
}

func openKqueue() (poller, error) {
	// A forked process does not inherit the queue. An exec without fork would keep it
	// open, so it is marked close-on-exec.
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
			ev.filter = kfUser // no other filter is used
		}
		events[i] = ev
	}
	return n, nil
}

func (q *sysQueue) close() { unix.Close(q.fd) }

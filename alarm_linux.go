// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A kernelAlarm is an alarm by a timerfd, which a goroutine reads in an ordinary system call:
// it occupies a thread. See newAlarm for the reason.
type kernelAlarm struct {
	mu      sync.Mutex // guards following
	fd      int        // noFD when the goroutine has ended
	stopped bool
}

// newKernelAlarm returns an alarm that calls f, or nil if no descriptor is free.
func newKernelAlarm(f func() time.Duration) alarm {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC)
	if err != nil {
		return nil
	}
	a := &kernelAlarm{fd: fd}
	go a.run(f)
	return a
}

// run waits for the timer and calls f, until stop.
func (a *kernelAlarm) run(f func() time.Duration) {
	fd := a.fd
	var expired [8]byte
	for {
		_, err := unix.Read(fd, expired[:])
		if err == unix.EINTR {
			continue
		}
		if a.end(err != nil) {
			return
		}
		if d := f(); d > 0 {
			a.set(d)
		}
	}
}

// end closes the descriptor if the alarm was stopped or has failed, and reports whether that
// is so.
func (a *kernelAlarm) end(failed bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped || failed {
		unix.Close(a.fd)
		a.fd = noFD
		return true
	}
	return false
}

func (a *kernelAlarm) set(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fd != noFD {
		unix.TimerfdSettime(a.fd, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}, nil)
	}
}

func (a *kernelAlarm) stop() {
	a.mu.Lock()
	a.stopped = true
	a.mu.Unlock()
	a.set(1) // ends the wait of run
}

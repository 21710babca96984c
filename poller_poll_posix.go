// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix && !linux

package evchan

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// poll(2) has no early close in POSIX. EarlyClose then comes with a hangup only.
const (
	pollEarlyClose = 0
	pollRDHUP      = 0
)

// pollFDs is poll(2) with a limit as in poller.wait, here rounded up to the
// millisecond: a timer that is a little early would make the loop turn idly.
func pollFDs(fds []unix.PollFd, d time.Duration) (int, error) {
	if d < 0 {
		return unix.Poll(fds, -1)
	}
	ms := d / time.Millisecond
	if d%time.Millisecond != 0 {
		ms++
	}
	return unix.Poll(fds, int(min(ms, math.MaxInt32)))
}

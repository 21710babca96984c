// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	pollEarlyClose = FeatureEarlyClose
	pollRDHUP      = unix.POLLRDHUP
)

// pollFDs is poll(2) with a limit as in poller.wait, here to the nanosecond.
func pollFDs(fds []unix.PollFd, d time.Duration) (int, error) {
	if d < 0 {
		return unix.Ppoll(fds, nil, nil)
	}
	d = min(d, 1<<30*time.Second) // what every platform's timespec can hold
	ts := unix.NsecToTimespec(int64(d))
	return unix.Ppoll(fds, &ts, nil)
}

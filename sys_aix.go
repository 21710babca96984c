// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// pollBits is the type of the conditions in a unix.PollFd.
type pollBits = uint16

// dontWait has a call on a socket return EAGAIN rather than wait, even if another holder
// of the socket has made it blocking.
const dontWait = unix.MSG_NONBLOCK

// sysDup returns a duplicate of fd that is closed by exec, with the lowest free number
// that is at least least. AIX needs two calls.
func sysDup(fd, least sysFD) (sysFD, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, least)
	if err == nil {
		unix.CloseOnExec(dup)
	}
	return dup, err
}

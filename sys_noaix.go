// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix && !aix

package evchan

import "golang.org/x/sys/unix"

// pollBits is the type of the conditions in a unix.PollFd.
type pollBits = int16

// dontWait has a call on a socket return EAGAIN rather than wait, even if another holder
// of the socket has made it blocking.
const dontWait = unix.MSG_DONTWAIT

// sysDup returns a duplicate of fd that is closed by exec, with the lowest free number
// that is at least least.
func sysDup(fd, least sysFD) (sysFD, error) {
	return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, least)
}

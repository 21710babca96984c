// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import "golang.org/x/sys/unix"

const (
	sysUserEvents = true
	sysFilterUser = unix.EVFILT_USER
)

// sysUnacked returns how many bytes that were written to the socket fd its peer has not
// acknowledged: FIONWRITE, see sys/filio.h. -1: it cannot be told.
func sysUnacked(fd sysFD) int {
	n, err := unix.IoctlGetInt(fd, 0x40046677)
	if err != nil {
		return -1
	}
	return n
}

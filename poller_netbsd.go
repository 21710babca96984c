// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import "golang.org/x/sys/unix"

// golang.org/x/sys/unix has no user events for NetBSD, where they are recent. A
// pipe is used instead.
const (
	sysUserEvents = false
	sysFilterUser = 0 // never used
)

// sysUnacked returns how many bytes that were written to the socket fd its peer has not
// acknowledged: FIONWRITE, see sys/filio.h. -1: it cannot be told.
func sysUnacked(fd sysFD) int {
	n, err := unix.IoctlGetInt(fd, 0x40046679)
	if err != nil {
		return -1
	}
	return n
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import "golang.org/x/sys/unix"

const (
	sysUserEvents = true
	sysFilterUser = unix.EVFILT_USER
)

// sysUnacked returns how many bytes that were written to the socket fd its peer has not
// acknowledged: SO_NWRITE, see sys/socket.h. -1: it cannot be told.
func sysUnacked(fd sysFD) int {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NWRITE)
	if err != nil {
		return -1
	}
	return n
}

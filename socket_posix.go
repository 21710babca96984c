// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix && !linux

package evchan

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// sysAccept accepts a connection as a non-blocking socket.
func sysAccept(fd sysFD) (sysFD, unix.Sockaddr, error) {
	// A process that is started between the two calls would inherit the socket.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	nfd, sa, err := unix.Accept(fd)
	if err != nil {
		return noFD, nil, err
	}
	unix.CloseOnExec(nfd)
	if err := unix.SetNonblock(nfd, true); err != nil {
		unix.Close(nfd)
		return noFD, nil, err
	}
	return nfd, sa, nil
}

// setKeepAlive has the kernel ask an idle peer whether it is still there, at
// the system's own times.
func setKeepAlive(fd sysFD, seconds int) error {
	return syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1)
}

// setDeferAccept does nothing: the option is Linux's.
func setDeferAccept(sysFD, int) error { return nil }

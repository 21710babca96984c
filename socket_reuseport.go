// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix && !solaris && !illumos && !aix

package evchan

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// setReusePort lets several sockets have the address of fd, which is not bound yet. On
// FreeBSD SO_REUSEPORT gives all connections to one of them; the option that divides them is
// SO_REUSEPORT_LB, since version 12.
func setReusePort(fd sysFD) error {
	option := unix.SO_REUSEPORT
	if runtime.GOOS == "freebsd" {
		option = 0x10000
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1)
}

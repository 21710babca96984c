// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix && !linux

package evchan

import "golang.org/x/sys/unix"

// sysWrite writes p, which is not empty, to fd once.
func sysWrite(fd sysFD, p []byte) (int, error) {
	for {
		n, err := unix.Write(fd, p)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// sysRead reads once from the socket fd to p, which is not empty.
func sysRead(fd sysFD, p []byte) (int, error) {
	for {
		n, err := unix.Read(fd, p)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// sysRecv is sysRead for a socket.
func sysRecv(fd sysFD, p []byte) (int, error) { return sysRead(fd, p) }

// sysSend writes p, which is not empty, to the socket fd once.
func sysSend(fd sysFD, p []byte) (int, error) { return sysWrite(fd, p) }

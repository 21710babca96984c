// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix && !linux && !darwin && !openbsd

package evchan

import "golang.org/x/sys/unix"

// sysRead reads once from fd to p. It has no use for a second piece, for want of
// readv.
func sysRead(fd sysFD, p, _ []byte) (int, error) {
	for {
		n, err := unix.Read(fd, p)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// sysWriteChain writes c to fd once, and not what follows it, for want of writev.
func sysWriteChain(fd sysFD, c *chunk) (int, error) {
	return sysWrite(fd, c.buf[c.r:c.w])
}

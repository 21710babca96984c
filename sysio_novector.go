// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix && !linux && !darwin && !openbsd

package evchan

// sysWriteChain writes c to fd once. It does not write what follows: x/sys has no writev here.
func sysWriteChain(fd sysFD, c *chunk, limit int, socket bool) (int, error) {
	p := c.buf[c.r : c.r+min(c.size(), limit)]
	if socket {
		return sysSend(fd, p)
	}
	return sysWrite(fd, p)
}

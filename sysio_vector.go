// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build darwin || openbsd

package evchan

import "golang.org/x/sys/unix"

// sysWriteChain writes c and the chunks that follow it, up to the first file, to fd once.
func sysWriteChain(fd sysFD, c *chunk, limit int, socket bool) (int, error) {
	if !socket && mayBlock(fd) {
		return sysWrite(fd, c.buf[c.r:c.r+min(c.size(), limit)])
	}
	x := vectorPool.Get().(*vector)
	count := 0
	for limit = min(limit, maxWrite); c != nil && count < maxVector && limit > 0 && !c.isFile(); c = c.next {
		p := c.buf[c.r : c.r+min(c.size(), limit)]
		x.array[count] = p
		count++
		limit -= len(p)
	}
	defer func() {
		clear(x.array[:count])
		vectorPool.Put(x)
	}()
	for {
		var n int
		var err error
		if socket {
			n, err = unix.SendmsgBuffers(fd, x.array[:count], nil, nil, dontWait)
		} else {
			n, err = unix.Writev(fd, x.array[:count])
		}
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build darwin || freebsd || dragonfly

package evchan

import (
	"os"

	"golang.org/x/sys/unix"
)

// maxSendFile is the most that one call sends: arbitrary.
const maxSendFile = 1 << 30

// sysSendFile sends up to n bytes of f that begin at off to fd once. If it has sent some
// when fd takes no more or a signal comes, that is a success.
func sysSendFile(fd sysFD, f *os.File, off int64, n int) (sent int, err error) {
	if mayBlock(fd) {
		return 0, ErrUnsupported // the caller reads the file, and writes what it has read
	}
	rc, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	n = min(n, maxSendFile)
	if e := rc.Control(func(in uintptr) {
		for {
			sent, err = unix.Sendfile(fd, int(in), &off, n)
			if sent > 0 && (err == unix.EAGAIN || err == unix.EINTR) {
				err = nil
			}
			if err != unix.EINTR {
				return
			}
		}
	}); e != nil {
		return 0, &os.PathError{Op: "read", Path: f.Name(), Err: os.ErrClosed}
	}
	switch err {
	case unix.ENOTSOCK, unix.EOPNOTSUPP, unix.ENOSYS:
		err = ErrUnsupported // fd is no socket, or f no plain file
	}
	return max(sent, 0), err
}

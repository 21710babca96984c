// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"os"

	"golang.org/x/sys/unix"
)

// canInherit reports whether a process can pass sockets to one that it starts.
const canInherit = true

// inheritedFile returns the descriptor fd, which further processes do not inherit.
func inheritedFile(fd int) *os.File {
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "inherited")
}

// setNonblocking makes f, and all duplicates of its descriptor, non-blocking again.
func setNonblocking(f *os.File) {
	if raw, err := f.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.SetNonblock(int(fd), true) })
	}
}

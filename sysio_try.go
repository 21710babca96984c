// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build (unix || windows) && !linux

package evchan

// tryRecv reads once from the socket fd to p, which is not empty, and returns how
// many bytes, as an int, or -1 and why that failed.
func tryRecv(fd sysFD, p []byte) (uintptr, sysErrno) { return try(sysRecv(fd, p)) }

// trySend is tryRecv's counterpart.
func trySend(fd sysFD, p []byte) (uintptr, sysErrno) { return try(sysSend(fd, p)) }

func try(n int, err error) (uintptr, sysErrno) {
	if err != nil {
		return ^uintptr(0), err.(sysErrno)
	}
	return uintptr(n), 0
}

// sysUnread reports whether the socket fd has something to be read although a read has
// said EAGAIN. That is not known to happen.
func sysUnread(sysFD) bool { return false }

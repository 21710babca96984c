// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build (unix || windows) && !linux

package evchan

// tryRecv reads once from the socket fd to p, which is not empty, and returns how
// many bytes, or -1 if that failed; sysRecv tells why.
func tryRecv(fd sysFD, p []byte) int {
	n, err := sysRecv(fd, p)
	if err != nil {
		return -1
	}
	return n
}

// trySend is tryRecv's counterpart.
func trySend(fd sysFD, p []byte) int {
	n, err := sysSend(fd, p)
	if err != nil {
		return -1
	}
	return n
}

// sysUnread reports whether the socket fd has something to be read although a read has
// said EAGAIN. That is not known to happen.
func sysUnread(sysFD) bool { return false }

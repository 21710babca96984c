// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !plan9

package evchan

import "syscall"

// Files for all systems use these names where package syscall has other names on
// Plan 9, or none.

type (
	sysErrno  = syscall.Errno
	sysSignal = syscall.Signal
)

const (
	eADDRINUSE   = syscall.EADDRINUSE
	eAGAIN       = syscall.EAGAIN
	eBADF        = syscall.EBADF
	eCONNREFUSED = syscall.ECONNREFUSED
	eCONNRESET   = syscall.ECONNRESET
	eINTR        = syscall.EINTR
	eNOBUFS      = syscall.ENOBUFS
	eNOENT       = syscall.ENOENT
	eNOTCONN     = syscall.ENOTCONN
	ePIPE        = syscall.EPIPE
)

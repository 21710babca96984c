// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !plan9

package evchan

import "syscall"

// What package syscall calls otherwise on Plan 9, or lacks there, has these names
// in the files that all systems share. So the package compiles everywhere.

type (
	sysErrno  = syscall.Errno
	sysSignal = syscall.Signal
)

const (
	eAGAIN       = syscall.EAGAIN
	eCONNREFUSED = syscall.ECONNREFUSED
	eCONNRESET   = syscall.ECONNRESET
	eINTR        = syscall.EINTR
	eNOENT       = syscall.ENOENT
	eNOTCONN     = syscall.ENOTCONN
	ePIPE        = syscall.EPIPE
)

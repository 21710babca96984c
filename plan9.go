// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build plan9

package evchan

import (
	"os"
	"syscall"
)

// Plan 9 has strings for errors and signals, not numbers. The system never returns the
// ones here; the streams in memory do.

type sysErrno = syscall.ErrorString

const (
	eADDRINUSE   = sysErrno("address already in use")
	eAGAIN       = sysErrno("would block")
	eBADF        = sysErrno("bad descriptor")
	eCONNREFUSED = sysErrno("connection refused")
	eCONNRESET   = sysErrno("connection reset")
	eINTR        = sysErrno("interrupted")
	eNOBUFS      = sysErrno("no buffer space available")
	eNOENT       = sysErrno("no such entry")
	eNOTCONN     = sysErrno("not connected")
	ePIPE        = sysErrno("broken pipe")
)

// A sysSignal stands in for the type of signals, of which there are none here.
type sysSignal int

func (sysSignal) Signal()        {}
func (sysSignal) String() string { return "no signal" }

const maxSignal = 0

func catchable(sysSignal) bool { return false }

func signalName(sig os.Signal) string { return quote(sig.String()) }

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"os"
	"syscall"
)

const userSignal = syscall.SIGUSR1

var badSignals = []os.Signal{nil, syscall.Signal(0), syscall.Signal(-1), syscall.Signal(1000), syscall.SIGKILL, syscall.SIGSTOP}

func raiseSignal() error { return syscall.Kill(syscall.Getpid(), userSignal) }

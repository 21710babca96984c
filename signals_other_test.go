// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !unix && !windows

package evchan

import (
	"os"
	"syscall"
)

const userSignal = syscall.SIGINT

var badSignals = []os.Signal{nil, sysSignal(0), sysSignal(200)}

func raiseSignal() error { return ErrUnsupported }

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

const userSignal = syscall.SIGINT

var badSignals = []os.Signal{nil, syscall.Signal(0), syscall.Signal(1000), syscall.SIGKILL}

// raiseSignal presses Ctrl-C. As that goes to all processes that share the console,
// it is done only if somebody says that there are none but this one.
func raiseSignal() error {
	if os.Getenv("EVCHAN_OWN_CONSOLE") == "" {
		return fmt.Errorf("Ctrl-C goes to the whole console (EVCHAN_OWN_CONSOLE is not set): %w", ErrUnsupported)
	}
	return windows.GenerateConsoleCtrlEvent(windows.CTRL_C_EVENT, 0)
}

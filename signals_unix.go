// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSignal is at least the highest signal of every Unix. os/signal ignores numbers that
// the system lacks.
const maxSignal = 64

// catchable reports whether a handler can be set for sig (sigaction(2)).
func catchable(sig syscall.Signal) bool {
	return sig != syscall.SIGKILL && sig != syscall.SIGSTOP
}

// signalName returns the name of sig, such as SIGHUP; if it has none, its number.
func signalName(sig os.Signal) string {
	n, _ := sig.(syscall.Signal)
	if name := unix.SignalName(n); name != "" {
		return name
	}
	return itoa(int(n))
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !unix && !plan9

package evchan

import (
	"os"
	"syscall"
)

// maxSignal is the highest signal that package syscall names on systems without real
// signals.
const maxSignal = 15

// catchable reports whether os/signal can deliver sig.
func catchable(sig sysSignal) bool {
	return sig == syscall.SIGINT || sig == syscall.SIGTERM
}

// signalName returns sig's own name, quoted.
func signalName(sig os.Signal) string { return quote(sig.String()) }

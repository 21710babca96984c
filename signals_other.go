// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !unix && !plan9

package evchan

import (
	"os"
	"syscall"
)

// maxSignal is the highest that package syscall names where there are no
// signals proper.
const maxSignal = 15

// catchable reports whether os/signal can deliver sig.
func catchable(sig sysSignal) bool {
	return sig == syscall.SIGINT || sig == syscall.SIGTERM
}

// signalName returns what sig calls itself.
func signalName(sig os.Signal) string { return quote(sig.String()) }

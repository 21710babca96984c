// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !unix && !windows

package evchan

import (
	"os"
	"syscall"
	"testing"
)

// networks are those of streams that the system has.
var networks []string

// tempDir returns a directory that is removed when the test ends.
func tempDir(t testing.TB) string { return t.TempDir() }

// anyDescriptor returns a descriptor on which nothing happens.
func anyDescriptor(t *testing.T) uintptr {
	t.Skip("no loop can be made here, so nothing can be watched")
	return 0
}

// A loop cannot be made here, so these skip the tests that need one.
func needReset(t *testing.T)   { t.Skip("there is no loop here") }
func needNetConn(t *testing.T) { t.Skip("there is no loop here") }
func needNetUDP(t *testing.T)  { t.Skip("there is no loop here") }

func socketPair(t testing.TB) (a, b sysFD) {
	t.Skip("there is no loop here")
	return noFD, noFD
}

// plainFDs returns nothing: no descriptor can be a stream.
func plainFDs(*testing.T) []uintptr { return nil }

// errNotWatched is what watching gives for what cannot be watched.
var errNotWatched = ErrUnsupported

const userSignal = syscall.SIGINT

var badSignals = []os.Signal{nil, sysSignal(0), sysSignal(200)}

func raiseSignal() error { return ErrUnsupported }

// Without a method there are no descriptors to test with, only fakes.

func testRoom() int { return 1 << 20 }

func newTestNet() testNet { return nil }

func addPackets(*exactTest, *Loop) {}

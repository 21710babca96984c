// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !unix && !windows

package evchan

import "testing"

// networks are those of streams that the system has.
var networks []string

// tempDir returns a directory that is removed when the test ends.
func tempDir(t testing.TB) string { return t.TempDir() }

// anyDescriptor returns a descriptor on which nothing happens.
func anyDescriptor(t *testing.T) uintptr {
	t.Skip("no loop can be made here, so nothing can be watched")
	return 0
}

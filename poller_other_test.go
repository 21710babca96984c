// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !unix && !windows

package evchan

// Without a method there are no descriptors to test with, only fakes.

func testRoom() int { return 1 << 20 }

func newTestNet() testNet { return nil }

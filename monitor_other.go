// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !linux

package evchan

// wakeMonitor has nothing to do: all system calls here are ordinary ones.
func wakeMonitor() {}

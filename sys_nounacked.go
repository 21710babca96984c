// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !linux && !darwin && !freebsd && !netbsd

package evchan

// sysUnacked returns -1: the system does not tell what the peer of a socket has acknowledged.
func sysUnacked(sysFD) int { return -1 }

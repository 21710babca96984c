// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !unix

package evchan

// A sysFD is a descriptor in the form that the system's calls take.
type sysFD = uintptr

// noFD is never a valid descriptor.
const noFD = ^sysFD(0)

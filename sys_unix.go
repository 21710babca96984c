// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

// A sysFD is a descriptor in the form that the system's calls take.
type sysFD = int

// noFD is never a valid descriptor.
const noFD sysFD = -1

// portable returns err as programs for any system know it.
func portable(err error) error { return err }

// hangupIsReset tells that an end of input which comes with a hangup is none.
const hangupIsReset = false

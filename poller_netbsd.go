// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

// golang.org/x/sys/unix has no user events for NetBSD, where they are recent. A
// pipe is used instead.
const (
	sysUserEvents = false
	sysFilterUser = 0 // never used
)

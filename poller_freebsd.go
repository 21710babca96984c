// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import "golang.org/x/sys/unix"

const (
	sysUserEvents = true
	sysFilterUser = unix.EVFILT_USER
)

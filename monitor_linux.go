// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import "syscall"

// wakeMonitor makes an ordinary system call, one of which the scheduler is told.
func wakeMonitor() { syscall.Syscall(syscall.SYS_GETPID, 0, 0, 0) }

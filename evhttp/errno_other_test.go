// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !plan9 && !windows

package evhttp

import "syscall"

// The errors of a connection that is refused, and of one that is reset; nil: the system has none.
var connRefused, connReset error = syscall.ECONNREFUSED, syscall.ECONNRESET

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import "golang.org/x/sys/windows"

var connRefused, connReset error = windows.WSAECONNREFUSED, windows.WSAECONNRESET

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix && !linux && !darwin && !freebsd && !dragonfly

package evchan

import "os"

// sysSendFile is not supported here.
func sysSendFile(sysFD, *os.File, int64, int) (int, error) {
	return 0, ErrUnsupported
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !linux

package evchan

import "time"

// newKernelAlarm returns nil: there is none here.
func newKernelAlarm(func() time.Duration) alarm { return nil }

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !unix

package evchan

import "os"

const canInherit = false

func inheritedFile(int) *os.File { return nil }
func setNonblocking(*os.File)    {}

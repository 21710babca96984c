// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !unix

package main

import "time"

// cpu returns 0: this system does not say how much CPU time the program has used.
func cpu() time.Duration { return 0 }

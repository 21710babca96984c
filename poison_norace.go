// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !race

package evchan

// poison overwrites recycled memory under the race detector only.
func poison([]byte) {}

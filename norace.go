// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !race

package evchan

// raceEnabled reports whether the race detector is on.
const raceEnabled = false

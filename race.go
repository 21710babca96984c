// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build race

package evchan

// raceEnabled tells whether the race detector is at work.
const raceEnabled = true

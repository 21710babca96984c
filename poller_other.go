// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !unix && !windows

package evchan

// methods returns what can be had here, best first: nothing so far.
func methods() []method { return nil }

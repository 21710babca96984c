// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !unix

package evchan

// addPackets adds nothing: there are no packet connections here.
func addPackets(*exactTest, *Loop) {}

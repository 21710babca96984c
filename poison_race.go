// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build race

package evchan

// poison overwrites memory that is about to be used again, so that a slice of
// it that was kept too long shows itself.
func poison(p []byte) {
	for i := range p {
		p[i] = 0xdb
	}
}

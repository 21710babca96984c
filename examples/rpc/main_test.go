// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package main

import "testing"

// The demonstration ends well.
func TestDemo(t *testing.T) {
	if err := run("", "", true); err != nil {
		t.Fatal(err)
	}
}

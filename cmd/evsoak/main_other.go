// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !unix

// Evsoak exercises the library for a long time. It runs on Unix only, since it needs
// Unix sockets, pipes and signals.
package main

import (
	"fmt"
	"os"
	"runtime"
)

func main() {
	fmt.Fprintf(os.Stderr, "evsoak: does not run on %s: it needs Unix\n", runtime.GOOS)
	os.Exit(2)
}

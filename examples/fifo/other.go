// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !unix

// Fifo reads a named pipe with a Watch, on systems that have named pipes.
package main

import "log"

func main() {
	log.Fatal("fifo: this system has no named pipes that a loop can watch")
}

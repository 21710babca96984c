// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !unix

// Restart is a server that is replaced by a new version of itself, on systems where a process can
// pass sockets to one that it starts.
package main

import "log"

func main() {
	log.Fatal("restart: on this system a process cannot pass sockets to another one")
}

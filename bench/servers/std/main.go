// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Std is a server on package net: a goroutine a connection, two for a proxy's.
package main

import (
	"log"

	"github.com/evchan/evchan/bench/servers/internal/blocking"
	"github.com/evchan/evchan/bench/servers/internal/peer"
)

func main() {
	o := peer.Parse()
	ln := o.NewListener()
	for {
		c, err := ln.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go blocking.Serve(c, o)
	}
}

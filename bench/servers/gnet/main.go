// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build linux

// Gnet is an echo server on github.com/panjf2000/gnet: event loops that call OnTraffic.
package main

import (
	"flag"
	"log"

	"github.com/evchan/evchan/bench/servers/internal/peer"
	"github.com/panjf2000/gnet/v2"
)

type server struct{ gnet.BuiltinEventEngine }

func (*server) OnTraffic(c gnet.Conn) gnet.Action {
	p, err := c.Next(-1)
	if err != nil {
		return gnet.Close
	}
	if _, err := c.Write(p); err != nil {
		return gnet.Close
	}
	return gnet.None
}

func main() {
	loops := flag.Int("loops", 1, "event loops; 0: one for each CPU (multicore)")
	o := peer.Parse()
	if o.Work != "echo" {
		log.Fatal("this server can only echo")
	}
	options := []gnet.Option{gnet.WithTCPNoDelay(gnet.TCPNoDelay), gnet.WithReuseAddr(true)}
	if *loops == 0 {
		options = append(options, gnet.WithMulticore(true))
	} else {
		options = append(options, gnet.WithNumEventLoop(*loops))
	}
	log.Fatal(gnet.Run(&server{}, "tcp://"+o.Listen, options...))
}

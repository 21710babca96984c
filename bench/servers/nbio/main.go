// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build linux

// Nbio is an echo server on github.com/lesismal/nbio: pollers that call OnData.
package main

import (
	"flag"
	"log"
	"net"

	"github.com/evchan/evchan/bench/servers/internal/peer"
	"github.com/lesismal/nbio"
	"github.com/lesismal/nbio/logging"
)

func main() {
	mode := flag.String("mode", "lt", "lt: level-triggered, its default; et: edge-triggered; oneshot: edge-triggered and one shot")
	pollers := flag.Int("pollers", 1, "pollers, each a goroutine")
	o := peer.Parse()
	if o.Work != "echo" {
		log.Fatal("this server can only echo")
	}
	logging.SetLevel(logging.LevelError)
	conf := nbio.Config{
		Network: "tcp",
		Addrs:   []string{o.Listen},
		NPoller: *pollers,
		Listen:  func(_, _ string) (net.Listener, error) { return o.NewListener(), nil },
	}
	switch *mode {
	case "lt":
	case "et":
		conf.EpollMod = nbio.EPOLLET
	case "oneshot":
		conf.EpollMod = nbio.EPOLLET
		conf.EPOLLONESHOT = nbio.EPOLLONESHOT
	default:
		log.Fatalf("no mode %q", *mode)
	}
	engine := nbio.NewEngine(conf)
	// Write sends what the kernel takes, and copies the rest.
	engine.OnData(func(c *nbio.Conn, p []byte) { c.Write(p) })
	if err := engine.Start(); err != nil {
		log.Fatal(err)
	}
	select {}
}

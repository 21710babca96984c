// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Package blocking serves connections of package net, each on the goroutine
// that calls.
package blocking

import (
	"io"
	"log"
	"net"
	"sync"

	"github.com/evchan/evchan/bench/servers/internal/peer"
)

// A conn is a *net.TCPConn, or has one inside.
type conn interface {
	net.Conn
	CloseWrite() error
}

// Serve does o's work on c and closes it.
func Serve(c net.Conn, o peer.Options) {
	defer c.Close()
	switch o.Work {
	case "echo":
		echo(c)
	case "sink":
		sink(c)
	case "source":
		source(c)
	case "proxy":
		proxy(c.(conn), o.Backend)
	}
}

func echo(c net.Conn) {
	b := make([]byte, 4096)
	for {
		n, err := c.Read(b)
		if err != nil {
			return
		}
		if _, err := c.Write(b[:n]); err != nil {
			return
		}
	}
}

// sink does not use io.Copy and io.Discard, which would read 8 KiB at a time.
func sink(c net.Conn) {
	b := make([]byte, 64<<10)
	for {
		if _, err := c.Read(b); err != nil {
			return
		}
	}
}

func source(c net.Conn) {
	for {
		if _, err := c.Write(peer.Pattern); err != nil {
			return
		}
	}
}

func proxy(c conn, backend string) {
	d := net.Dialer{KeepAlive: -1}
	d.SetMultipathTCP(false)
	b, err := d.Dial("tcp", backend)
	if err != nil {
		log.Print(err)
		return
	}
	defer b.Close()
	var wg sync.WaitGroup
	wg.Go(func() { pass(b.(conn), c) })
	pass(c, b.(conn))
	wg.Wait()
}

// pass copies one way. Between two TCP sockets io.Copy splices on Linux: the
// bytes stay in the kernel. No other server here does that.
func pass(dst, src conn) {
	if _, err := io.Copy(dst, src); err != nil {
		// The other direction has to end as well.
		dst.Close()
		src.Close()
		return
	}
	dst.CloseWrite()
}

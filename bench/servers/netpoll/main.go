// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build linux

// Netpoll is a server on github.com/cloudwego/netpoll: pollers read into
// buffers without end, and goroutines of a pool work on them.
package main

import (
	"context"
	"flag"
	"log"
	"time"

	"github.com/cloudwego/netpoll"
	"github.com/evchan/evchan/bench/servers/internal/peer"
)

func main() {
	pollers := flag.Int("pollers", 1, "pollers, each a goroutine that holds a thread")
	o := peer.Parse()
	if err := netpoll.Configure(netpoll.Config{PollerNum: *pollers}); err != nil {
		log.Fatal(err)
	}
	var onRequest netpoll.OnRequest
	var onConnect netpoll.OnConnect
	switch o.Work {
	case "echo":
		onRequest = func(_ context.Context, c netpoll.Connection) error { return pass(c, c) }
	case "sink":
		onRequest = sink
	case "source":
		onConnect = source
	case "proxy":
		onConnect = func(ctx context.Context, c netpoll.Connection) context.Context { return dial(ctx, c, o.Backend) }
		onRequest = toBackend
	}
	loop, err := netpoll.NewEventLoop(onRequest, netpoll.WithOnConnect(onConnect))
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(loop.Serve(o.NewListener()))
}

// pass writes to dst what has arrived from src, without copying it if it is
// more than 4 KiB, and waits until it was sent.
func pass(dst, src netpoll.Connection) error {
	r, w := src.Reader(), dst.Writer()
	defer r.Release()
	p, err := r.Next(r.Len())
	if err != nil {
		return err
	}
	if _, err := w.WriteBinary(p); err != nil {
		return err
	}
	return w.Flush()
}

func sink(_ context.Context, c netpoll.Connection) error {
	r := c.Reader()
	defer r.Release()
	return r.Skip(r.Len())
}

func source(ctx context.Context, c netpoll.Connection) context.Context {
	defer c.Close()
	for {
		if _, err := c.Writer().WriteBinary(peer.Pattern); err != nil {
			return ctx
		}
		if err := c.Writer().Flush(); err != nil {
			return ctx
		}
	}
}

type backendKey struct{}

// dial connects c to its backend. Requests come after it has returned. Either
// connection closes the other once what it had received was passed on.
func dial(ctx context.Context, c netpoll.Connection, address string) context.Context {
	b, err := netpoll.DialConnection("tcp", address, 10*time.Second)
	if err != nil {
		log.Print(err)
		c.Close()
		return ctx
	}
	c.AddCloseCallback(func(netpoll.Connection) error { return b.Close() })
	b.AddCloseCallback(func(netpoll.Connection) error { return c.Close() })
	b.SetOnRequest(func(_ context.Context, b netpoll.Connection) error { return pass(c, b) })
	if !b.IsActive() { // it has ended before it had callbacks
		c.Close()
	}
	return context.WithValue(ctx, backendKey{}, b)
}

func toBackend(ctx context.Context, c netpoll.Connection) error {
	return pass(ctx.Value(backendKey{}).(netpoll.Connection), c)
}

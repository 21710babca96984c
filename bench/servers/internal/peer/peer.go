// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Package peer has what the servers in Go share: the command line, the listener,
// and what a source sends.
package peer

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"slices"
)

// Options are what every server is told.
type Options struct {
	Listen  string
	Work    string // echo, sink, source or proxy
	Backend string // where a proxy connects to
}

// Parse parses the command line, whatever other flags there are.
func Parse() Options {
	var o Options
	flag.StringVar(&o.Listen, "listen", "", "listen on `address`")
	flag.StringVar(&o.Work, "work", "echo", "what to do: echo, sink, source or proxy")
	flag.StringVar(&o.Backend, "backend", "", "what a proxy connects to")
	flag.Parse()
	works := []string{"echo", "sink", "source", "proxy"}
	if flag.NArg() > 0 || o.Listen == "" || !slices.Contains(works, o.Work) || o.Work == "proxy" && o.Backend == "" {
		fmt.Fprintln(os.Stderr, "a server needs -listen and a known -work, and a proxy -backend")
		flag.Usage()
		os.Exit(2)
	}
	return o
}

// NewListener listens on a plain TCP socket: no MPTCP, and no keep-alives on what it
// accepts, since the servers in C have neither.
func (o Options) NewListener() net.Listener {
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), "tcp", o.Listen)
	if err != nil {
		log.Fatal(err)
	}
	return ln
}

// Pattern is what a source sends, again and again.
var Pattern = func() []byte {
	b := make([]byte, 1<<16)
	for i := range b {
		b[i] = byte(i*7 + i/251)
	}
	return b
}()

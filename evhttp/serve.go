// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"net"
	"net/http"

	"github.com/evchan/evchan"
)

// Serve answers what comes in on a listener of package net by a handler, as http.Serve does: on
// a loop of its own, which runs on the calling goroutine, and on goroutines of a pool for the
// handler. It takes the listener over, and returns when the kernel fails. To end it, or to set
// anything, make the loop yourself and use [New] with Config.Handler.
//
// If h is nil, http.DefaultServeMux answers.
func Serve(l net.Listener, h http.Handler) error {
	return serveOn(l, h, func(*evchan.Loop) {})
}

// serveOn is Serve that tells its loop.
func serveOn(l net.Listener, h http.Handler, tell func(*evchan.Loop)) error {
	if h == nil {
		h = http.DefaultServeMux
	}
	loop, err := evchan.New(nil)
	if err != nil {
		return err
	}
	defer loop.Close()
	srv := New(&Config{Handler: h, CancelOnEOF: true})
	ln, err := loop.WrapListener(l, srv.ListenConfig(nil))
	if err != nil {
		return err
	}
	srv.Own(ln)
	tell(loop)
	for range loop.All() {
		// The handler gets everything.
	}
	return loop.Err()
}

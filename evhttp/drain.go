// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import "github.com/evchan/evchan"

// Drained says that after [Server.Drain] no connection is left: all requests were answered, and
// the system has got all replies.
type Drained struct {
	evchan.Custom
	Server *Server
}

// Drain ends the server without hurting a request. It returns at once. From then on the server
//
//   - accepts no more connections,
//   - closes those that are idle,
//   - closes the others after the reply to the request that is under way.
//
// [Drained] follows when no connection is left, on the loop of the server's first listener (of
// the loop that is given to [Server.DrainTo], otherwise). A client that takes its time delays
// it as long as the timeouts allow; [evchan.Loop.Close] does not wait.
//
// A stream that Upgrade or Hijack has returned is the program's and is not waited for.
func (srv *Server) Drain() {
	srv.mu.Lock()
	var loop *evchan.Loop
	if len(srv.listeners) > 0 {
		loop = srv.listeners[0].Loop()
	}
	srv.mu.Unlock()
	srv.DrainTo(loop)
}

// DrainTo is Drain for a server that serves streams of Adopt only: Drained comes on loop. If
// loop is nil, there is no message.
func (srv *Server) DrainTo(loop *evchan.Loop) {
	if srv.draining.Swap(true) {
		return
	}
	srv.mu.Lock()
	if loop != nil {
		srv.drained = loop.Mailbox(0)
		srv.drained.Expect(1) // so that the loop is not empty before
	}
	listeners := srv.listeners
	conns := make([]*conn, 0, srv.nconns)
	for c := srv.conns; c != nil; c = c.next {
		conns = append(conns, c)
	}
	if srv.conf.HTTP2 != nil {
		srv.http2 = true
		srv.drainHTTP2(func() {
			srv.mu.Lock()
			defer srv.mu.Unlock()
			srv.http2 = false
			srv.tellDrainedLocked()
		})
	}
	srv.tellDrainedLocked()
	srv.mu.Unlock()
	for _, ln := range listeners {
		ln.Close()
	}
	for _, c := range conns {
		c.s.Again()
	}
}

// tellDrainedLocked posts Drained if it is time. The caller holds srv.mu.
func (srv *Server) tellDrainedLocked() {
	if srv.nconns == 0 && !srv.http2 && srv.drained != nil {
		srv.drained.Post(&Drained{Server: srv})
		srv.drained = nil
	}
}

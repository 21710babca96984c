// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evchan/evchan"
)

// A Server turns what arrives on connections into requests. Make it with [Listen] or [New].
// All methods are safe for concurrent use.
type Server struct {
	conf  Config
	allow string // the field Allow, if not all methods are
	date  dateCache
	pool  pool
	std   *http.Server // for http.ServerContextKey
	made  time.Time

	draining   atomic.Bool
	intercepts atomic.Pointer[[]intercept] // never changed, but replaced; the longest prefix first

	mu        sync.Mutex // guards following; not locked while a conn's mu is wanted
	listeners []*evchan.Listener
	conns     *conn // a list
	nconns    int
	sweeper   *time.Timer     // runs if and only if there are connections; nil if IdleTimeout is negative
	http2     bool            // Config.HTTP2 is being shut down
	drained   *evchan.Mailbox // for Drained; nil: Drain was not called, or Drained is posted
}

// A Listenable is what a server can listen on: an *evchan.Loop or an *evchan.Group.
type Listenable interface {
	Listen(network, address string, conf *evchan.ListenConfig) (*evchan.Listener, error)
}

// Listen returns a server that listens on an address, as [evchan.Loop.Listen] takes it. Its
// requests are messages of the loop, or of the loops of the group, from then on. conf may be
// nil.
func Listen(on Listenable, network, address string, conf *Config) (*Server, error) {
	srv := New(conf)
	if _, err := srv.Listen(on, network, address, nil); err != nil {
		return nil, err
	}
	return srv, nil
}

// New returns a server that serves nothing yet: see [Server.Listen], [Server.ListenConfig]
// and [Server.Adopt]. conf may be nil.
func New(conf *Config) *Server {
	srv := &Server{conf: conf.withDefaults(), made: time.Now()}
	srv.allow = strings.Join(srv.conf.Methods, ", ")
	srv.std = &http.Server{Handler: srv.conf.Handler, MaxHeaderBytes: srv.conf.MaxHead}
	srv.pool.limit, srv.pool.maxWaiting = srv.conf.MaxWorkers, srv.conf.MaxWaiting
	return srv
}

// Listen makes the server listen on one more address. conf replaces Config.Listen for it,
// unless it is nil.
func (srv *Server) Listen(on Listenable, network, address string, conf *evchan.ListenConfig) (*evchan.Listener, error) {
	ln, err := on.Listen(network, address, srv.ListenConfig(conf))
	if err != nil {
		return nil, err
	}
	srv.Own(ln)
	return ln, nil
}

// ListenConfig returns a copy of conf (nil: of Config.Listen) in which what the server needs is
// set. It is for listeners that the program makes itself, with [evchan.Loop.WrapListener] for
// example. Tell the server of them with [Server.Own].
func (srv *Server) ListenConfig(conf *evchan.ListenConfig) *evchan.ListenConfig {
	var c evchan.ListenConfig
	switch {
	case conf != nil:
		c = *conf
	case srv.conf.Listen != nil:
		c = *srv.conf.Listen
	}
	c.Layer = srv
	c.MaxOutput = -1               // the server has a limit of its own
	c.ReadIdle, c.WriteIdle = 0, 0 // and timeouts
	return &c
}

// Own adds a listener to those that Listeners returns and Drain closes.
func (srv *Server) Own(ln *evchan.Listener) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	srv.listeners = append(srv.listeners, ln)
}

// Listeners returns the server's listeners, also those that are closed.
func (srv *Server) Listeners() []*evchan.Listener {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return append([]*evchan.Listener(nil), srv.listeners...)
}

// Adopt serves the stream s, which the program has made in another way. The stream sends no
// other messages than the server's from then on. Its MaxOutput should be negative.
func (srv *Server) Adopt(s *evchan.Stream) error {
	c := srv.newConn(s)
	if err := s.SetLayer(c); err != nil {
		srv.remove(c)
		return err
	}
	return nil
}

// Conns returns how many connections the server has.
func (srv *Server) Conns() int {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return srv.nconns
}

// Next is for package evchan: it makes the server the Layer of a new connection.
func (srv *Server) Next(src evchan.Source, ev evchan.Event) evchan.Event {
	s, ok := src.(*evchan.Stream)
	if !ok || ev == nil {
		return nil
	}
	if f := srv.conf.OnAccept; f != nil && !f(s) {
		s.Abort()
		return nil
	}
	if limit := srv.conf.MaxConns; limit > 0 && srv.Conns() >= limit {
		s.Write(srv.appendRefusal(nil, errBusy))
		s.Close()
		return nil
	}
	if srv.handOver(s) {
		return nil
	}
	c := srv.newConn(s)
	if err := s.SetLayer(c); err != nil {
		srv.remove(c)
	}
	return nil
}

// newConn returns the connection of s, which counts from then on.
func (srv *Server) newConn(s *evchan.Stream) *conn {
	c := &conn{srv: srv, s: s}
	c.mu.Lock()
	c.watch(srv.conf.HeadTimeout)
	c.mu.Unlock()
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.conns != nil {
		srv.conns.prev = c
	}
	c.next = srv.conns
	srv.conns = c
	srv.nconns++
	srv.startSweeping()
	return c
}

// remove notes that c has ended, or is the server's no longer.
func (srv *Server) remove(c *conn) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if c.removed {
		return
	}
	c.removed = true
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		srv.conns = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.next, c.prev = nil, nil
	srv.nconns--
	srv.tellDrainedLocked()
}

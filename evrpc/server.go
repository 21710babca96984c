// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evrpc

import (
	"fmt"
	"strings"
	"sync"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
	"github.com/evchan/evchan/evrpc/evtag"
)

// A Server answers RPCs on an HTTP server. It takes the requests whose path begins with "/.rpc.";
// all others are messages of the HTTP server as before. Its methods are safe for concurrent use.
type Server struct {
	hookList // AddHook

	http *evhttp.Server

	mu      sync.RWMutex // guards following
	methods map[string]method
}

// A method decodes the request of a call, and returns the message for it.
type method func(*call) (evchan.Event, error)

// NewServer returns a server of RPCs on h. Register the RPCs before h listens: a request for one that is not
// registered is answered with 404.
//
// Requests of RPCs are received whole, also if h has evhttp.Config.Streaming or Handler. They may be as long as
// Config.MaxBody; if that is no limit because other requests are streamed, 1 MiB.
func NewServer(h *evhttp.Server) *Server {
	srv := &Server{http: h, methods: make(map[string]method)}
	h.Intercept(prefix, srv.next)
	return srv
}

// New returns a server of RPCs on an HTTP server of its own, which answers all other requests with 404. So the calls
// are the only messages, besides [evhttp.Gone] and [evhttp.Drained]. conf may be nil. After Register, have
// it listen: srv.HTTP().Listen(loop, "tcp", address, nil).
func New(conf *evhttp.Config) *Server {
	h := evhttp.New(conf)
	h.Intercept("", func(r *evhttp.Request) evchan.Event {
		r.Error(404)
		return nil
	})
	return NewServer(h)
}

// HTTP returns the HTTP server.
func (srv *Server) HTTP() *evhttp.Server { return srv.http }

// Register makes the server take calls of the RPC with that name. A call is received as a *Call[Req, Rep].
// Req and Rep are structs that package evtag can decode and encode. The name may have letters, digits and the
// characters -._~; it is the one that libevent's EVRPC_REGISTER is given. If several RPCs have the same types, [Call.Name] tells
// them apart.
//
// Register returns an error if the name is taken or cannot be one, or the types cannot be messages.
func Register[Req, Rep any](srv *Server, name string) error {
	if !validName(name) {
		return fmt.Errorf("evrpc: no RPC can have the name %q", name)
	}
	if err := evtag.Check((*Req)(nil)); err != nil {
		return err
	}
	if err := evtag.Check((*Rep)(nil)); err != nil {
		return err
	}
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.methods[name] != nil {
		return fmt.Errorf("evrpc: the RPC %s is registered already", name)
	}
	srv.methods[name] = func(c *call) (evchan.Event, error) {
		m := &Call[Req, Rep]{c: c}
		return m, evtag.Unmarshal(c.x.Body, &m.Request)
	}
	return nil
}

// Unregister undoes Register, and returns false if there is no such RPC. Calls that were received can still be
// answered.
func (srv *Server) Unregister(name string) bool {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	_, ok := srv.methods[name]
	delete(srv.methods, name)
	return ok
}

func (srv *Server) method(name string) method {
	srv.mu.RLock()
	defer srv.mu.RUnlock()
	return srv.methods[name]
}

// next returns the message for a request, or nil after it has answered it, or if hooks have paused the call.
// Then it is called again.
func (srv *Server) next(r *evhttp.Request) evchan.Event {
	c, ok := r.Data.(*call)
	if ok {
		return c.take()
	}
	name := strings.TrimPrefix(r.Path(), prefix)
	m := srv.method(name)
	switch {
	case m == nil:
		r.Error(404)
		return nil
	case r.Method() != "POST" || r.Body().Len() == 0:
		r.Error(503)
		return nil
	}
	c = &call{srv: srv, http: r, decode: m, arriving: true}
	r.Data = c
	c.x = Exchange{Name: name, Body: r.Body().Bytes(), side: c}
	c.x.run(srv.of(Input), c.arrived)
	return c.take()
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evtls"
)

// The way of a call:
//
//	Do -> route -> clientHost.schedule -> clientConn.start -> clientConn.receive -> Response, Body
//	        ^              ^                                        |
//	        |              +--- a connection that died, unanswered -+
//	        +------------------ a redirect -------------------------+
//
// One lock guards all of a client, with its hosts, connections and calls. What may call back into
// the client, as Close of a stream does, is put off until the lock is free (see unlock).

// A Client makes requests of HTTP/1.1 on a loop. Its methods may be called on any goroutine.
//
//	cl := evhttp.NewClient(loop, nil)
//	req, err := http.NewRequest("GET", "https://example.org/", nil)
//	cl.Do(&evhttp.Call{Request: req})
//	for ev := range loop.All() {
//		switch ev := ev.(type) {
//		case *evhttp.Response:
//			if ev.Err == nil {
//				fmt.Println(ev.Status, ev.Body.Len())
//			}
//		}
//	}
//
// Connections are kept and used again. They do not keep the loop from being empty; calls do.
type Client struct {
	loop *evchan.Loop
	conf ClientConfig
	tls  evtls.Options

	mu     sync.Mutex // guards the following
	hosts  map[hostKey]*clientHost
	boxes  map[chan<- evchan.Event]*clientBox
	calls  map[*Call]struct{}
	closed bool
	todo   []clientTodo
}

// A clientTodo is what unlock does without the lock.
type clientTodo struct {
	s     *evchan.Stream // to be closed, or nil
	abort bool           // reset it rather
	f     func()         // to be called, or nil
}

// NewClient returns a client whose connections and messages belong to loop. The configuration is
// copied; nil means the defaults.
func NewClient(loop *evchan.Loop, conf *ClientConfig) *Client {
	return &Client{
		loop:  loop,
		conf:  conf.withDefaults(),
		tls:   evtls.Options{HandshakeTimeout: -1},
		hosts: make(map[hostKey]*clientHost),
		boxes: make(map[chan<- evchan.Event]*clientBox),
		calls: make(map[*Call]struct{}),
	}
}

// Loop returns the loop of the client.
func (cl *Client) Loop() *evchan.Loop { return cl.loop }

// ClientStats says what a client has at the moment.
type ClientStats struct {
	Calls   int // that were not answered in full
	Waiting int // of these, for a connection
	Conns   int // also those that are being made
	Idle    int // of these, without a call
}

// Stats returns what the client has at the moment.
func (cl *Client) Stats() ClientStats {
	cl.mu.Lock()
	defer cl.unlock()
	st := ClientStats{Calls: len(cl.calls)}
	for _, h := range cl.hosts {
		st.Waiting += len(h.waiting)
		st.Conns += h.nconns
		st.Idle += len(h.idle)
	}
	return st
}

// Adopt gives the client a stream that the program has made, as a connection to the host of u that
// has no call: the next call to that host uses it. For https, TLS must be on it already. The stream
// belongs to the client then. It must be of the client's loop, and under no filter.
func (cl *Client) Adopt(u *url.URL, s *evchan.Stream) error {
	r := &http.Request{URL: u}
	if err := checkRequest(r); err != nil {
		return requestError(err)
	}
	cl.mu.Lock()
	defer cl.unlock()
	if cl.closed {
		return evchan.ErrClosed
	}
	h, err := cl.host(r)
	if err != nil {
		return requestError(err)
	}
	k := &clientConn{cl: cl, host: h, s: s, flags: connUp}
	h.nconns++
	if err := s.SetLayer(k); err != nil {
		k.forget()
		return err
	}
	k.inBackground()
	s.SetIdleTimeouts(0, max(cl.conf.WriteTimeout, 0))
	k.release()
	return nil
}

// CloseIdle closes the connections that have no call.
func (cl *Client) CloseIdle() {
	cl.mu.Lock()
	defer cl.unlock()
	cl.closeIdleLocked()
}

func (cl *Client) closeIdleLocked() {
	for _, h := range cl.hosts {
		for len(h.idle) > 0 {
			h.idle[len(h.idle)-1].drop(false)
		}
	}
}

// Close ends all calls with evchan.ErrClosed, and closes all connections. Do fails from then on.
func (cl *Client) Close() error {
	cl.mu.Lock()
	defer cl.unlock()
	cl.closed = true
	for c := range cl.calls {
		c.fail(evchan.ErrClosed)
	}
	cl.closeIdleLocked()
	return nil
}

// unlock lets go of mu, and then does what was put off.
func (cl *Client) unlock() {
	for {
		todo := cl.todo
		cl.todo = nil
		cl.mu.Unlock()
		for _, t := range todo {
			switch {
			case t.f != nil:
				t.f()
			case t.abort:
				t.s.Abort()
			default:
				t.s.Close()
			}
		}
		if len(todo) == 0 {
			return
		}
		cl.mu.Lock()
	}
}

// wait waits on cond, whose lock is mu, after what was put off is done. Then something may have
// changed already, and it returns at once. The caller holds mu.
func (cl *Client) wait(cond *sync.Cond) {
	if len(cl.todo) > 0 {
		cl.unlock()
		cl.mu.Lock()
		return
	}
	cond.Wait()
}

// later calls f without the lock. The caller holds mu.
func (cl *Client) later(f func()) { cl.todo = append(cl.todo, clientTodo{f: f}) }

// A hostKey says what can share connections.
type hostKey struct {
	secure bool   // https
	addr   string // host:port of the URL; for http by a proxy, ""
	proxy  string // its URL, or ""
}

// A clientHost has the connections to one host, and the calls that wait for one.
type clientHost struct {
	cl    *Client
	key   hostKey
	proxy *url.URL    // or nil
	name  string      // of the host, for TLS
	tls   *tls.Config // or nil

	// The client's mu guards the following.

	idle    []*clientConn // the one that was used last is used first
	nconns  int
	waiting []*Call
	timer   *evchan.Timer // for QueueTimeout; nil: not made yet
	asking  bool          // schedule is running
	again   bool          // it must look once more
}

// hostPort returns the host of u with its port.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		if port = "80"; u.Scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// host returns the clientHost for a request. The caller holds mu.
func (cl *Client) host(r *http.Request) (*clientHost, error) {
	key := hostKey{secure: r.URL.Scheme == "https", addr: hostPort(r.URL)}
	var proxy *url.URL
	if cl.conf.Proxy != nil {
		var err error
		if proxy, err = cl.conf.Proxy(r); err != nil {
			return nil, err
		}
	}
	if proxy != nil {
		if proxy.Scheme != "http" && proxy.Scheme != "https" {
			return nil, errProxyKind
		}
		key.proxy = proxy.String()
		if !key.secure {
			key.addr = ""
		}
	}
	if h := cl.hosts[key]; h != nil {
		return h, nil
	}
	h := &clientHost{cl: cl, key: key, proxy: proxy, name: r.URL.Hostname()}
	if key.secure {
		h.tls = cl.tlsConfig(h.name)
	}
	cl.hosts[key] = h
	return h, nil
}

// tlsConfig returns the configuration for a server of that name.
func (cl *Client) tlsConfig(name string) *tls.Config {
	conf := cl.conf.TLS.Clone()
	conf.NextProtos = nil
	if conf.ServerName == "" {
		conf.ServerName = name
	}
	return conf
}

// enqueue has the call wait for a connection. The caller holds mu.
func (h *clientHost) enqueue(c *Call) {
	c.phase, c.host = PhaseQueue, h
	if limit := h.cl.conf.MaxWaiting; limit > 0 && len(h.waiting) >= limit && len(h.idle) == 0 && h.nconns >= h.cl.conf.MaxConns {
		c.fail(evchan.ErrFull)
		return
	}
	if h.cl.conf.QueueTimeout > 0 {
		c.queued = time.Now()
	}
	h.waiting = append(h.waiting, c)
	h.schedule()
	if len(h.waiting) == 1 && h.waiting[0] == c && h.cl.conf.QueueTimeout > 0 {
		h.startTimer(h.cl.conf.QueueTimeout)
	}
}

// schedule gives connections to the calls that wait, as far as there are some. The caller holds mu.
func (h *clientHost) schedule() {
	if h.asking {
		h.again = true // a call that fails at once frees its connection
		return
	}
	h.asking = true
	for {
		h.again = false
		for len(h.waiting) > 0 {
			n := len(h.idle)
			if n == 0 && h.nconns >= h.cl.conf.MaxConns {
				break
			}
			c := h.waiting[0]
			h.waiting[0] = nil
			h.waiting = h.waiting[1:]
			if n == 0 {
				h.dial(c)
				continue
			}
			conn := h.idle[n-1]
			h.idle[n-1] = nil
			h.idle = h.idle[:n-1]
			conn.flags &^= connIdle
			conn.start(c)
		}
		if !h.again {
			break
		}
	}
	h.asking = false
	if len(h.waiting) == 0 && h.nconns == 0 {
		h.stopTimer()
		delete(h.cl.hosts, h.key)
	}
}

// dial makes a connection for c. The caller holds mu.
func (h *clientHost) dial(c *Call) {
	cl := h.cl
	c.phase = PhaseConnect
	conn := &clientConn{cl: cl, host: h, call: c}
	c.conn = conn
	h.nconns++
	network, address := "tcp", h.key.addr
	if h.proxy != nil {
		address = hostPort(h.proxy)
	}
	if cl.conf.Address != nil {
		network, address = cl.conf.Address(address)
	}
	dial := *cl.conf.Dial
	dial.Layer = conn
	switch {
	case h.proxy == nil && h.key.secure:
		dial.Over = evtls.Over(h.tls, &cl.tls)
	case h.proxy != nil && h.proxy.Scheme == "https":
		dial.Over = evtls.Over(cl.tlsConfig(h.proxy.Hostname()), &cl.tls)
	}
	s, err := cl.loop.Dial(network, address, &dial)
	if err != nil {
		conn.flags |= connDead
		h.nconns--
		c.conn = nil
		c.failIn(PhaseConnect, err)
		return
	}
	conn.s = s
	conn.inBackground()
	conn.watch(cl.conf.ConnectTimeout)
}

// startTimer has the queue looked at after d. The caller holds mu.
func (h *clientHost) startTimer(d time.Duration) {
	h.timer = h.cl.startTimer(h.timer, d, h.expire)
}

func (h *clientHost) stopTimer() {
	if h.timer != nil {
		h.timer.Stop()
	}
}

// expire ends the calls that have waited for too long. It is called without the lock.
func (h *clientHost) expire() {
	h.cl.mu.Lock()
	defer h.cl.unlock()
	limit := h.cl.conf.QueueTimeout
	for len(h.waiting) > 0 {
		c := h.waiting[0]
		if left := limit - time.Since(c.queued); left > 0 {
			h.startTimer(left)
			return
		}
		c.fail(errDeadline)
	}
}

// A callTimer calls a function instead of sending Tick.
type callTimer func()

// Next is for package evchan.
func (f callTimer) Next(_ evchan.Source, ev evchan.Event) evchan.Event {
	if ev != nil {
		f()
	}
	return nil
}

// startTimer starts t, which is made if it is nil, to call f after d.
func (cl *Client) startTimer(t *evchan.Timer, d time.Duration, f func()) *evchan.Timer {
	if t == nil {
		t = cl.loop.After(time.Hour) // it must not ring before it has its layer
		t.SetLayer(callTimer(f))
		t.SetBackground(true)
	}
	t.Reset(d)
	return t
}

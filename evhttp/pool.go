// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"log"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Go has h answer the request on a goroutine of the server's pool. h may wait: reading the body
// waits for the client, and so does writing when MaxOutput bytes are unsent. The loop goes on
// meanwhile. See Config.MaxWorkers.
//
// A panic of h is logged and ends the connection, as with http.Server.
func (r *Request) Go(h http.Handler) {
	c := r.conn
	c.mu.Lock()
	if r.phase != unanswered || r.has(flagBlocking) {
		c.mu.Unlock()
		return
	}
	r.block()
	made := r.extra.made
	c.mu.Unlock()
	// Over a channel, the next Body may have been made already.
	if made != nil && made.Retract() {
		c.mu.Lock()
		r.body.AppendBuffer(&made.Data)
		c.mu.Unlock()
	}
	if !c.srv.pool.do(job{r, h}) {
		r.Error(http.StatusServiceUnavailable)
	}
}

// A job is a request with the handler that answers it.
type job struct {
	r *Request
	h http.Handler
}

// run does the job, and then those of the same connection that have arrived meanwhile, if the
// server has a Handler. It reports whether the handler has taken the connection over.
func (j job) run() (hijacked bool) {
	c := j.r.conn
	for {
		if j.r.serve(j.h, false) {
			return true
		}
		if c.srv.conf.Handler == nil {
			return false
		}
		r := c.following()
		if r == nil {
			return false
		}
		j = job{r, c.srv.conf.Handler}
	}
}

// following returns the next request of a server with a Handler, for the goroutine that has
// answered the one before.
func (c *conn) following() *Request {
	c.mu.Lock()
	defer c.unlock()
	if c.req != nil || c.has(flagDead) {
		return nil
	}
	c.flags &^= flagWaiting
	for {
		r := c.take()
		if r == nil {
			c.s.Flush() // what WriteLater has taken
			return nil
		}
		if c.refusesMethod(r) {
			continue
		}
		if r.has(flagHeld) { // Intercept wants it
			c.todo |= doAgain
			return nil
		}
		r.block()
		c.flags |= flagWaiting
		return r
	}
}

// A pool has goroutines that answer requests. They keep the stacks that they have grown, so they
// are used again; one that has nothing to do for a second or two ends.
type pool struct {
	limit, maxWaiting int

	mu      sync.Mutex // guards the following
	running int        // goroutines, also idle ones
	idle    []chan job // the one that was used last is used first
	least   int        // the least len(idle) since the last sweep
	sweeper *time.Timer
	waiting []job
}

// do has a goroutine do j, as soon as there is one. It returns false if too many jobs wait.
func (p *pool) do(j job) bool {
	p.mu.Lock()
	switch n := len(p.idle); {
	case n > 0:
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.least = min(p.least, n-1)
		p.mu.Unlock()
		c <- j
	case p.running < p.limit:
		p.running++
		p.mu.Unlock()
		go p.work(j)
	case p.maxWaiting > 0 && len(p.waiting) >= p.maxWaiting:
		p.mu.Unlock()
		return false
	default:
		p.waiting = append(p.waiting, j)
		p.mu.Unlock()
	}
	return true
}

// work does j and what comes after it.
func (p *pool) work(j job) {
	hijacked := false
	defer func() { // also in the case of runtime.Goexit
		if !hijacked {
			p.leave()
		}
	}()
	c := make(chan job, 1)
	for ok := true; ok; {
		if hijacked = j.run(); hijacked {
			return
		}
		j = job{}
		if j, ok = p.next(c); !ok {
			j, ok = <-c
		}
	}
}

// leave notes that a goroutine is the pool's no longer: it ends, or its handler has taken a
// connection over, which may last.
func (p *pool) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
	if len(p.waiting) > 0 && p.running < p.limit {
		p.running++
		go p.work(p.nextWaiting())
	}
}

// nextWaiting returns the job that has waited for longest. The caller holds mu.
func (p *pool) nextWaiting() job {
	j := p.waiting[0]
	p.waiting[0] = job{}
	p.waiting = p.waiting[1:]
	return j
}

const sweepInterval = time.Second

// next returns a job that waits. If there is none, the goroutine with the channel c is idle.
func (p *pool) next(c chan job) (job, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) > 0 {
		return p.nextWaiting(), true
	}
	p.idle = append(p.idle, c)
	if p.sweeper == nil {
		p.least = 0
		p.sweeper = time.AfterFunc(sweepInterval, p.sweep)
	}
	return job{}, false
}

// sweep ends the goroutines that were idle all the time since the last sweep.
func (p *pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.idle[:p.least] {
		close(c)
	}
	p.idle = slices.Delete(p.idle, 0, p.least)
	p.least = len(p.idle)
	if len(p.idle) == 0 {
		p.sweeper = nil
		return
	}
	p.sweeper = time.AfterFunc(sweepInterval, p.sweep)
}

func (srv *Server) logf(format string, args ...any) {
	if srv.conf.ErrorLog != nil {
		srv.conf.ErrorLog.Printf(format, args...)
	} else {
		log.Printf(format, args...)
	}
}

// logPanic logs a panic of a handler, as net/http does.
func (srv *Server) logPanic(r *Request, v any) {
	if v == http.ErrAbortHandler {
		return
	}
	stack := make([]byte, 64<<10)
	stack = stack[:runtime.Stack(stack, false)]
	srv.logf("evhttp: panic serving %v: %v\n%s", r.RemoteAddr(), v, stack)
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evrpc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evrpc/evtag"
)

// A PoolConfig sets up a Pool. A nil PoolConfig and zero values mean the defaults. NewPool copies it.
type PoolConfig struct {
	// Timeout is how long a call may take, counted from the moment when it has a connection and has passed
	// the output hooks, so without the time that it waits for calls before it. It includes the
	// time for connecting. 0 means 50 seconds; if negative, there is no limit.
	Timeout time.Duration

	// MaxReply is the length of the longest encoded answer, in bytes; 0 means 1 MiB; if negative, there is
	// no limit.
	MaxReply int

	// Retries is how often connecting is tried again for a call; 0 means not at all; if negative,
	// until Timeout. A call that has been written to a connection is not tried again, since the server may have
	// executed it: see Resend.
	Retries int

	// RetryDelay is how long the first retry waits. Each further one waits twice as long, but at
	// most an hour. 0 means 2 seconds.
	RetryDelay time.Duration

	// IdleTimeout is how long a connection may have no call before the pool closes it; 0 means one minute; if
	// negative, it is kept as long as the server keeps it. If it is shorter than the server's idle timeout, no
	// call is sent just when the server closes the connection.
	IdleTimeout time.Duration

	// Resend says that the server may execute a call twice. Then a call is sent again, over a new
	// connection, if it was sent over one that had served calls before and has ended without a byte of an
	// answer: most often the server had closed that while it was idle. If it is false, such a call ends
	// with an error.
	Resend bool

	// Dial has the settings of the connections: Timeout for connecting, for example. nil means the defaults.
	// Layer and MaxOutput are set by the pool.
	Dial *evchan.DialConfig
}

// maxRetryDelay bounds the doubled RetryDelay.
const maxRetryDelay = time.Hour

// withDefaults returns a copy of c, which may be nil, with its defaults.
func (c *PoolConfig) withDefaults() PoolConfig {
	var conf PoolConfig
	if c != nil {
		conf = *c
	}
	if conf.Timeout == 0 {
		conf.Timeout = 50 * time.Second
	}
	if conf.MaxReply == 0 {
		conf.MaxReply = 1 << 20
	}
	if conf.MaxReply < 0 {
		conf.MaxReply = math.MaxInt
	}
	if conf.IdleTimeout == 0 {
		conf.IdleTimeout = time.Minute
	}
	if conf.RetryDelay <= 0 {
		conf.RetryDelay = 2 * time.Second
	}
	var dial evchan.DialConfig
	if conf.Dial != nil {
		dial = *conf.Dial
	}
	dial.MaxOutput = -1 // a request is one call's, and has been taken already
	conf.Dial = &dial
	return conf
}

// A Pool makes calls over a set of connections, which the calls share. A call is sent over the first connection
// that is idle; if none is, it waits. Each connection has one call at a time. It is made when it is first
// needed, kept for a while, and made again when it is needed again.
//
// The methods are safe for concurrent use.
type Pool struct {
	hookList // AddHook

	loop *evchan.Loop
	conf PoolConfig
	box  *evchan.Mailbox // sends the Replies

	mu     sync.Mutex // guards following; not locked while a hook or a method that may call End runs
	conns  []*Conn
	queue  []*Reply // calls that wait for a connection
	todo   []func() // what unlock does without the lock
	closed bool
}

// NewPool returns a pool without connections, whose Replies are messages of the loop. conf may
// be nil.
func NewPool(loop *evchan.Loop, conf *PoolConfig) *Pool {
	return &Pool{loop: loop, conf: conf.withDefaults(), box: loop.Mailbox(0)}
}

// Source returns the source of the pool's Replies, for SetPriority and Notify. A Reply with a Notify of its own has a
// source of its own, with the priority that this one has when the call is made.
func (p *Pool) Source() evchan.Source { return p.box }

// A Reply is a call of a Pool, and the message that says how it has ended: each call ends with exactly one.
// The exported fields except Err are the caller's, until Do, and again when the message was received.
type Reply struct {
	evchan.Custom

	// Name is the name of the RPC.
	Name string

	// Request is what is sent: a struct, or a pointer to one, that evtag.Marshal can encode. It
	// is encoded by Do, and not used afterwards.
	Request any

	// Reply points to the struct that the answer is decoded into. It has the answer if Err is nil; otherwise what it has
	// does not matter.
	Reply any

	// Data is for you. The package does not use it.
	Data any

	// Notify is where the message is sent; nil means where the pool's others are: see Pool.Source.
	Notify chan<- evchan.Event

	// Err says why there is no answer, and is nil if there is one. It is set before the message
	// is received, and is one of:
	//
	//   - os.ErrDeadlineExceeded: PoolConfig.Timeout is over;
	//   - a *StatusError: the server has answered with an error;
	//   - an *evtag.Error: the answer cannot be decoded;
	//   - ErrProtocol, ErrTooLarge: it is no response, or too long a one;
	//   - io.ErrUnexpectedEOF: the server has closed the connection before its answer, or within it;
	//   - what Stream.Err says: the connection could not be made, or was reset;
	//   - ErrNoConnection, ErrTerminated, ErrCanceled, evchan.ErrClosed;
	//   - an error of evtag.Marshal or evtag.Check, for what cannot be encoded or decoded.
	//
	// Use errors.Is and errors.As.
	Err error

	pool *Pool
	box  *evchan.Mailbox // sends the message
	x    *Exchange       // a new one for each call
	sent fieldList       // what hooks add to the head of the request

	// The pool's mu guards the following.

	state callState
	conn  *Conn     // that has taken the call, or nil
	resp  *response // the answer, once it is there
	addr  net.Addr  // the server's, once it is known

	ctx    context.Context // for hooks; nil: none has asked for it
	cancel context.CancelFunc
}

type callState uint8

const (
	callNew      callState = iota
	callWaiting            // in the pool's queue
	callHeld               // a connection has taken it, and output hooks run
	callRunning            // on its way, or being tried again
	callAnswered           // the answer is there, and input hooks run
	callEnded              // the message is sent
)

// String returns the name of the RPC, and the error if there is one.
func (r *Reply) String() string {
	if r.Err != nil {
		return fmt.Sprintf("Reply %s: %v", r.Name, r.Err)
	}
	return "Reply " + r.Name
}

// Value returns what a hook has kept for the call with [Exchange.SetValue], or nil.
func (r *Reply) Value(key any) any {
	if r.x == nil {
		return nil
	}
	return r.x.Value(key)
}

// Header returns the value of a field in the head of the HTTP response, or "" if there is none.
func (r *Reply) Header(name string) string { return r.header(name) }

// Peer returns the address of the server, or nil if there was no connection.
func (r *Reply) Peer() net.Addr { return r.peer() }

// context, peer, header and setHeader are for hooks: Reply is the side of its Exchange.
func (r *Reply) context() context.Context {
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	if r.ctx == nil {
		r.ctx, r.cancel = context.WithCancel(context.Background())
		if r.state == callEnded {
			r.cancel()
		}
	}
	return r.ctx
}

func (r *Reply) peer() net.Addr {
	if r.pool == nil {
		return nil
	}
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	return r.addr
}

func (r *Reply) header(name string) string {
	if r.pool == nil {
		return ""
	}
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	if r.resp == nil {
		return ""
	}
	return r.resp.get(name)
}

func (r *Reply) setHeader(name, value string) { r.sent.set(name, value) }

// Call calls the RPC of that name with the request, and returns at once. The returned Reply is the message that is
// received when the call has ended; then what rep points to has the answer, unless Err says why not. See
// [Reply] for what req and rep can be.
func (p *Pool) Call(name string, req, rep any) *Reply {
	r := &Reply{Name: name, Request: req, Reply: rep}
	p.Do(r)
	return r
}

// Do makes the call that r describes, and returns at once. r is received when the call
// has ended, whatever the reason. Then it may be used for another call. Do panics if r is still on its way.
func (p *Pool) Do(r *Reply) {
	if r.pool != nil {
		r.pool.mu.Lock()
		busy := r.state != callNew && r.state != callEnded
		r.pool.mu.Unlock()
		if busy {
			panic("evrpc: Do of a call that has not ended")
		}
	}
	body, err := encodeCall(r)
	box := p.box
	if r.Notify != nil {
		box = p.loop.Mailbox(0)
		box.SetPriority(p.box.Priority())
		box.Notify(r.Notify)
	}
	box.Expect(1)

	p.mu.Lock()
	defer p.unlock()
	r.Err, r.pool, r.box, r.sent = nil, p, box, fieldList{}
	r.x = &Exchange{Name: r.Name, Body: body, side: r}
	r.state, r.conn, r.resp, r.addr = callWaiting, nil, nil, nil
	r.ctx, r.cancel = nil, nil
	switch {
	case err != nil:
	case p.closed:
		err = evchan.ErrClosed
	case len(p.conns) == 0:
		err = ErrNoConnection
	}
	if err != nil {
		p.end(r, err)
		return
	}
	p.queue = append(p.queue, r)
	p.schedule()
}

// encodeCall checks what the caller has given, and returns the encoded request.
func encodeCall(r *Reply) ([]byte, error) {
	if !validName(r.Name) {
		return nil, fmt.Errorf("evrpc: no RPC can have the name %q", r.Name)
	}
	if v := reflect.ValueOf(r.Reply); v.Kind() != reflect.Pointer || v.IsNil() {
		return nil, errors.New("evrpc: Reply is no pointer to a struct")
	}
	if err := evtag.Check(r.Reply); err != nil {
		return nil, err
	}
	return evtag.Marshal(nil, r.Request)
}

// Cancel ends the call with ErrCanceled, unless it has ended. If it was sent, its connection is closed; the
// server may have executed it. Any goroutine may call Cancel.
func (r *Reply) Cancel() {
	p := r.pool
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.unlock()
	switch r.state {
	case callWaiting:
		p.queue = slices.DeleteFunc(p.queue, func(q *Reply) bool { return q == r })
		p.end(r, ErrCanceled)
	case callHeld, callRunning:
		r.conn.fail(ErrCanceled)
	}
}

// Add adds a connection to a server: network and address are those of [evchan.Loop.Dial]. It is
// made when a call needs it. To have several connections to one server, call Add several times.
func (p *Pool) Add(network, address string) *Conn {
	c := &Conn{pool: p, network: network, address: address}
	p.mu.Lock()
	defer p.unlock()
	if p.closed {
		c.removed = true
		return c
	}
	p.conns = append(p.conns, c)
	p.schedule()
	return c
}

// Close ends all calls with evchan.ErrClosed and closes all connections. It does not close the
// source of the Replies: all calls still get theirs.
func (p *Pool) Close() error {
	p.mu.Lock()
	defer p.unlock()
	p.closed = true
	for _, r := range p.queue {
		p.end(r, evchan.ErrClosed)
	}
	p.queue = nil
	for _, c := range p.conns {
		c.removed = true
		if c.call != nil {
			c.fail(evchan.ErrClosed)
		} else {
			c.drop()
		}
	}
	p.conns = nil
	return nil
}

// schedule gives calls that wait to idle connections. The caller holds mu.
func (p *Pool) schedule() {
	for _, c := range p.conns {
		if len(p.queue) == 0 {
			return
		}
		if c.call == nil {
			r := p.queue[0]
			p.queue[0] = nil
			p.queue = p.queue[1:]
			c.take(r)
		}
	}
}

// end sends the message. The caller holds mu.
func (p *Pool) end(r *Reply, err error) {
	r.state = callEnded
	r.conn = nil
	r.Err = err
	if r.cancel != nil {
		r.cancel()
	}
	box := r.box
	p.later(func() { box.Post(r) }) // an error: the loop or its user has closed the mailbox
}

// later has unlock call f without the lock. The caller holds mu.
func (p *Pool) later(f func()) { p.todo = append(p.todo, f) }

// unlock lets go of mu, and does what was put off.
func (p *Pool) unlock() {
	todo := p.todo
	p.todo = nil
	p.mu.Unlock()
	for _, f := range todo {
		f()
	}
}

// answered ends a call whose response is complete. It is called without mu.
func (p *Pool) answered(r *Reply) {
	r.x.Body = r.resp.body.Bytes()
	r.x.run(p.of(Input), func(ok bool) {
		var err error
		switch {
		case !ok:
			err = ErrTerminated
		case r.resp.status != 200:
			err = &StatusError{r.resp.status, string(r.x.Body[:min(len(r.x.Body), maxStatusText)])}
		default:
			err = evtag.Unmarshal(r.x.Body, r.Reply)
		}
		p.mu.Lock()
		defer p.unlock()
		p.end(r, err)
	})
}

// maxStatusText is the length of the longest StatusError.Text, in bytes. It is arbitrary.
const maxStatusText = 1024

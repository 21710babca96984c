// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evrpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
)

// A Hook looks at the messages that a server or a pool receives and sends: for authentication,
// compression or statistics. It must not block. A hook that has to wait for something
// returns Pause, and whatever it waits for calls [Exchange.Resume].
//
// Hooks are called one after another, in the order in which they were added.
// An input hook is called on the goroutine that delivers messages; an output hook on the
// goroutine that replies or calls; after a Resume, on the goroutine of that.
type Hook func(*Exchange) Verdict

// A Verdict is what a Hook decides.
type Verdict uint8

const (
	Continue  Verdict = iota // go on with the next hook, and then with the call
	Pause                    // go on when Resume is called
	Terminate                // end the call: a server answers with 503, a pool says ErrTerminated
)

// A Direction says which messages a Hook is for.
type Direction uint8

const (
	Input  Direction = iota // requests that a server receives, answers that a pool receives
	Output                  // answers that a server sends, requests that a pool sends
)

// An Exchange is a call as hooks see it. The same one is given to the hooks for both
// directions. While a hook runs, and while it has paused the call, the exchange belongs to the hook.
type Exchange struct {
	// Name is the name of the RPC.
	Name string

	// Body is the encoded message. A hook may change it, or replace it.
	Body []byte

	side side

	mu      sync.Mutex // guards following
	hooks   []*Hook    // to call
	next    int        // the one to call next
	state   hookState
	verdict Verdict    // of Resume, in hookResumed
	done    func(bool) // called after the last hook; false: Terminate
	values  map[any]any
}

// A side is what is different for a server and a pool.
type side interface {
	context() context.Context
	peer() net.Addr
	header(name string) string
	setHeader(name, value string)
}

type hookState uint8

const (
	hookIdle    hookState = iota
	hookRunning           // the hook before next was called and has not returned
	hookPaused            // it has returned Pause
	hookResumed           // Resume was called before it has returned
)

// Context returns a context that ends when the call has ended, so that what a hook has begun for a call that it has
// paused need not go on when the client has left, or the call has taken too long.
func (x *Exchange) Context() context.Context { return x.side.context() }

// Peer returns the address of the other end, or nil if it is not known: if the connection does not exist yet.
func (x *Exchange) Peer() net.Addr { return x.side.peer() }

// Header returns the value of a field in the head of the HTTP message that was received: the request, at a
// server; the response, in an input hook of a pool. It is empty if there is none.
func (x *Exchange) Header(name string) string { return x.side.header(name) }

// SetHeader sets a field in the head of the HTTP message that will be sent: the response, at a
// server; the request, in an output hook of a pool. It returns an error if the name or the value has characters that cannot
// be sent, and for the fields that HTTP itself needs: Host, Connection, Content-Length, Transfer-Encoding.
func (x *Exchange) SetHeader(name, value string) error {
	if !validField(name, value) {
		return errors.New("evrpc: the field of a head has characters that it cannot have")
	}
	switch strings.ToLower(name) {
	case "host", "connection", "content-length", "transfer-encoding":
		return fmt.Errorf("evrpc: a hook cannot set the field %s", name)
	}
	x.side.setHeader(name, value)
	return nil
}

// SetValue keeps a value for later hooks of the call, and for the receiver: see [Call.Value] and [Reply.Value].
func (x *Exchange) SetValue(key, value any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.values == nil {
		x.values = make(map[any]any)
	}
	x.values[key] = value
}

// Value returns what SetValue has kept under the key, or nil.
func (x *Exchange) Value(key any) any {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.values[key]
}

// Resume goes on with a call that a hook has paused, with the next hook. v is Continue
// or Terminate. Any goroutine may call it, also before the hook has returned. It returns false if no hook has paused
// the call, or Resume was called before.
func (x *Exchange) Resume(v Verdict) bool {
	x.mu.Lock()
	switch x.state {
	case hookRunning:
		x.state, x.verdict = hookResumed, v
		x.mu.Unlock()
		return true
	case hookPaused:
		x.state = hookIdle
		x.mu.Unlock()
		x.proceed(v)
		return true
	}
	x.mu.Unlock()
	return false
}

// run calls hooks, and then done, at once or when the last one is resumed.
func (x *Exchange) run(hooks []*Hook, done func(ok bool)) {
	x.hooks, x.next, x.done = hooks, 0, done
	x.proceed(Continue)
}

// proceed goes on after a hook that has decided v.
func (x *Exchange) proceed(v Verdict) {
	for v == Continue && x.next < len(x.hooks) {
		x.setState(hookRunning)
		x.next++
		v = (*x.hooks[x.next-1])(x)
		if v == Pause {
			x.mu.Lock()
			if x.state == hookRunning {
				x.state = hookPaused
				x.mu.Unlock()
				return
			}
			v = x.verdict
			x.mu.Unlock()
		}
		x.setState(hookIdle)
	}
	x.done(v == Continue)
}

func (x *Exchange) setState(s hookState) {
	x.mu.Lock()
	x.state = s
	x.mu.Unlock()
}

// hookList has the hooks of a server or a pool. The slices are replaced, never changed.
type hookList struct {
	mu  sync.Mutex
	all [2][]*Hook
}

// AddHook adds a hook, and returns a function that removes it. Calls that are under way
// are not affected by either.
func (l *hookList) AddHook(d Direction, h Hook) (remove func()) {
	if h == nil || d > Output {
		panic("evrpc: AddHook of no hook, or for no direction")
	}
	p := &h
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all[d] = append(slices.Clone(l.all[d]), p)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all[d] = slices.DeleteFunc(slices.Clone(l.all[d]), func(q *Hook) bool { return p == q })
	}
}

// of returns the hooks for a direction.
func (l *hookList) of(d Direction) []*Hook {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all[d]
}

// validField reports whether a field can be sent in a head.
func validField(name, value string) bool {
	const separators = "()<>@,;:\\\"/[]?={}"
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(separators, c) >= 0 {
			return false
		}
	}
	for _, c := range []byte(value) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return name != ""
}

// validName reports whether an RPC may have that name: letters, digits and -._~ need no encoding in a path.
func validName(name string) bool {
	for _, c := range []byte(name) {
		if !(c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0) {
			return false
		}
	}
	return name != ""
}

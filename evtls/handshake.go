// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtls

import (
	"container/list"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/evchan/evchan"
)

// A handshake is one that is not over. The loop gives it what has arrived and takes what is to be
// sent, by step. Its goroutine is in crypto/tls, which reads and writes by read and write. It
// runs from start to the end of the handshake.
type handshake struct {
	filter *filter // never changes

	give  func()        // lets another handshake compute; the goroutine owns it
	place *list.Element // among those that wait for their turn; nil: it does not wait; turns.mu guards it

	mu      sync.Mutex
	cond    sync.Cond     // for read; mu guards the following
	in, out evchan.Buffer // what has arrived and was not read; what is to be sent
	eof     bool          // nothing more will arrive
	began   bool          // step was called; the timer runs
	wants   bool          // it has asked for its turn, or started
	starts  bool          // the goroutine was started
	waits   bool          // read waits
	over    bool          // err is the result
	err     error
	timer   *time.Timer        // for Options.HandshakeTimeout; nil: none
	cancel  context.CancelFunc // ends the context that callbacks get; nil before start
}

// handshakeRoom is how many bytes a handshake holds that it has not read.
const handshakeRoom = 64 << 10

func newHandshake(f *filter) *handshake {
	h := &handshake{filter: f}
	h.cond.L = &h.mu
	f.wire.hs = h
	return h
}

// step gives the handshake what has arrived, in, and appends to out what is to be sent. in is nil
// if there is nothing new to tell. If the handshake is not over, step returns ErrWouldBlock while
// it computes, and nil while it waits for its peer or for its turn.
func (h *handshake) step(in, out *evchan.Buffer, eof bool) (over bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	out.AppendBuffer(&h.out)
	if h.over {
		return true, h.err
	}
	h.begin()
	if in != nil {
		if room := handshakeRoom - h.in.Len(); room > 0 {
			h.in.MoveN(in, room)
		}
		h.eof = eof && in.Len() == 0
		h.cond.Signal()
	}
	if !h.wants && h.ready() {
		h.wants = true
		if h.filter.turns.take(h) {
			h.startLocked()
		}
	}
	if h.busy() {
		return false, evchan.ErrWouldBlock
	}
	return false, nil
}

// begin starts the timer. The caller holds h.mu.
func (h *handshake) begin() {
	if h.began {
		return
	}
	h.began = true
	if d := h.filter.opts.timeout(); d > 0 {
		h.timer = time.AfterFunc(d, func() {
			h.end(errHandshakeTimeout)
			h.filter.ask()
		})
	}
}

// ready reports whether it makes sense to start: a client can begin, and a server can if it has
// a complete record, or something that is no record of a handshake. The caller holds h.mu.
func (h *handshake) ready() bool {
	if h.filter.client {
		return true
	}
	const (
		header        = 5
		handshakeType = 22
	)
	p, _ := h.in.Peek(header)
	switch {
	case len(p) > 0 && p[0] != handshakeType:
		return true // crypto/tls says what is wrong
	case len(p) < header:
		return false
	}
	n := int(binary.BigEndian.Uint16(p[3:]))
	return n > maxRecord || h.in.Len() >= header+n
}

// busy reports whether the goroutine computes, or is about to. The caller holds h.mu.
func (h *handshake) busy() bool {
	return h.starts && !(h.waits && h.idle())
}

// start starts the goroutine, after the handshake has waited for its turn. It returns false if the
// handshake is over.
func (h *handshake) start() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.over {
		h.startLocked()
	}
	return h.starts
}

func (h *handshake) startLocked() {
	h.starts = true
	var ctx context.Context
	ctx, h.cancel = context.WithCancel(context.Background())
	go h.run(ctx)
}

// run is the goroutine.
func (h *handshake) run(ctx context.Context) {
	err := errors.New("evtls: the handshake has called runtime.Goexit")
	h.give = takeSlot()
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("evtls: the handshake has panicked: %v", v)
		}
		h.give()
		h.filter.turns.done()
		h.end(err)
		h.filter.ask()
	}()
	if err = h.filter.tls.HandshakeContext(ctx); err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
}

// end ends the handshake with err as its result, unless it is over already. The goroutine may go
// on for a while.
func (h *handshake) end(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return
	}
	h.over, h.err = true, err
	if h.timer != nil {
		h.timer.Stop()
	}
	if h.cancel != nil {
		h.cancel()
	}
	if h.wants && !h.starts {
		h.filter.turns.leave(h)
	}
	h.cond.Signal()
}

// rest returns what the handshake has not read; nil if that is nothing. The handshake is over.
func (h *handshake) rest() *evchan.Buffer {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.in.Len() == 0 {
		return nil
	}
	rest := new(evchan.Buffer)
	rest.AppendBuffer(&h.in)
	return rest
}

// read is the Read of the net.Conn under crypto/tls. While it waits, others may compute.
func (h *handshake) read(p []byte) (int, error) {
	if h.mustWait() {
		h.give()
		h.filter.ask() // to send what was written, and because nothing computes any more
		h.wait()
		h.give = takeSlot()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.over:
		return 0, net.ErrClosed
	case h.in.Len() > 0:
		return h.in.Read(p)
	}
	return 0, io.EOF
}

// idle reports whether there is nothing for read to return. The caller holds h.mu.
func (h *handshake) idle() bool { return !h.over && h.in.Len() == 0 && !h.eof }

func (h *handshake) mustWait() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waits = h.idle()
	return h.waits
}

func (h *handshake) wait() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.idle() {
		h.cond.Wait()
	}
	h.waits = false
}

// write is the Write of the net.Conn under crypto/tls.
func (h *handshake) write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return 0, net.ErrClosed
	}
	return h.out.Write(p)
}

// errHandshakeTimeout is os.ErrDeadlineExceeded with a text of its own.
var errHandshakeTimeout error = timeoutError{}

type timeoutError struct{}

var _ net.Error = timeoutError{}

func (timeoutError) Error() string   { return "evtls: the handshake has taken too long" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }
func (timeoutError) Unwrap() error   { return os.ErrDeadlineExceeded }

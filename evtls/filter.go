// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtls

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/evchan/evchan"
)

// A filter is TLS as an evchan.Filter. The loop calls its methods, one at a time.
type filter struct {
	opts   *Options
	turns  *turns // that the handshake counts for
	client bool
	tls    *tls.Conn // belongs to the handshake's goroutine as long as hs is not nil
	wire   *wire

	upper     atomic.Pointer[evchan.Stream] // the TLS stream; nil until Filter has returned it
	asking    atomic.Bool                   // ask was called
	open      atomic.Bool                   // the handshake has succeeded
	reluctant atomic.Bool                   // reading was paused from the beginning, so decrypt nothing yet

	hs  *handshake // nil once it is over
	err error      // what has ended it; later calls return it again
	fin bool       // close_notify was sent
}

func newFilter(s *evchan.Stream, config *tls.Config, opts *Options, client bool) *filter {
	f := &filter{opts: opts, turns: opts.turns(client), client: client, wire: &wire{lower: s}}
	if client {
		f.tls = tls.Client(f.wire, config)
	} else {
		f.tls = tls.Server(f.wire, config)
	}
	f.hs = newHandshake(f)
	return f
}

// Opened implements the optional method of evchan.Filter.
func (f *filter) Opened() bool { return f.open.Load() }

// state is State. During the handshake crypto/tls would not answer before its end.
func (f *filter) state() (tls.ConnectionState, bool) {
	if !f.open.Load() {
		return tls.ConnectionState{}, false
	}
	return f.tls.ConnectionState(), true
}

// ask has the loop call Decode and Encode. It may be called from any goroutine.
func (f *filter) ask() {
	f.asking.Store(true)
	if up := f.upper.Load(); up != nil {
		up.Again()
	}
}

// Decode implements evchan.Filter.
func (f *filter) Decode(in, plain, out *evchan.Buffer, eof bool) error {
	if f.err != nil {
		return f.err
	}
	if f.hs != nil {
		if err := f.shake(in, out, eof); err != nil || f.hs != nil {
			return err
		}
	}
	if f.reluctant.Load() && !f.mustDecode(eof) {
		return nil
	}
	f.wire.in, f.wire.out, f.wire.eof = in, out, eof
	err := f.decode(in, plain)
	f.wire.in, f.wire.out = nil, nil
	if err != io.EOF {
		f.err = err
	}
	return err
}

// mustDecode reports whether input must be decrypted though reading was paused from the
// beginning.
func (f *filter) mustDecode(eof bool) bool {
	up := f.upper.Load()
	if up == nil {
		return false // Again follows
	}
	if up.Paused()&evchan.Read == 0 {
		f.reluctant.Store(false)
		return true
	}
	return eof || f.wire.lower.InputFull() || f.wire.lower.Err() != nil
}

// maxRecord is how many bytes a record may have.
const maxRecord = 16 << 10

func (f *filter) decode(in, plain *evchan.Buffer) error {
	for {
		n, err := f.tls.Read(plain.Reserve(min(max(in.Len(), 512), maxRecord)))
		plain.Commit(n) // also with an error, see undocumented.go
		switch {
		case err == nil:
		case errors.Is(err, errNoInput):
			return nil
		case err == io.EOF && f.wire.toldEOF:
			return io.ErrUnexpectedEOF
		default:
			return err // io.EOF for close_notify
		}
	}
}

// Encode implements evchan.Filter.
func (f *filter) Encode(plain, out *evchan.Buffer, fin bool) error {
	if f.err != nil {
		return nil // Decode has said so: what it has told the peer is the last
	}
	if f.hs != nil {
		if err := f.shake(nil, out, false); f.err != nil {
			return err
		}
	}
	if f.hs != nil {
		return evchan.ErrWouldBlock // what was written waits, and the end of it, too
	}
	f.wire.out = out
	f.err = f.encode(plain, fin)
	f.wire.out = nil
	return f.err
}

func (f *filter) encode(plain *evchan.Buffer, fin bool) error {
	for n := 0; plain.Len() > 0; plain.Discard(n) {
		p, err := plain.Peek(min(plain.Len(), maxRecord))
		if len(p) == 0 {
			return err // of a file that cannot be read
		}
		if n, err = f.tls.Write(p); err != nil {
			return err
		}
	}
	if fin && !f.fin {
		f.fin = true
		err := f.tls.CloseWrite()
		f.wire.mute = true // crypto/tls would answer a KeyUpdate even now
		return err
	}
	return nil
}

// shake takes the handshake as far as it goes. It returns ErrWouldBlock if it is computing. f.hs
// is nil if it is over.
func (f *filter) shake(in, out *evchan.Buffer, eof bool) error {
	hs := f.hs
	over, err := hs.step(in, out, eof)
	if !over {
		return err
	}
	f.hs, f.err = nil, err
	if err == nil {
		f.wire.leave(hs) // otherwise the goroutine may still be there
		f.open.Store(true)
	}
	return err
}

// Close implements io.Closer. It is called once, after everything else, perhaps during the
// handshake.
func (f *filter) Close() error {
	if f.hs != nil {
		f.hs.end(net.ErrClosed)
	}
	if !f.open.Load() {
		f.tellFailed()
	}
	return nil
}

// NetConn implements the optional method of evchan.Filter.
func (f *filter) NetConn(lower net.Conn, early *evchan.Buffer) net.Conn {
	f.wire.conn = lower
	if early.Len() == 0 {
		return f.tls
	}
	return &earlyConn{Conn: f.tls, early: early}
}

// timeout returns how long the handshake may take; 0: without limit.
func (o *Options) timeout() time.Duration {
	switch {
	case o.HandshakeTimeout == 0:
		return defaultHandshakeTimeout
	case o.HandshakeTimeout < 0:
		return 0
	}
	return o.HandshakeTimeout
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"context"
	"errors"
	"net"
)

// This file is about listeners and connections that are no sockets of the kernel: those in
// memory (memory.go), and those of tests (seam.go).

// A virtualNetwork is a poller that has its own sockets, which the kernel does not know.
type virtualNetwork interface {
	poller
	listen(network, address string) (virtualListener, error)
	dial(ctx context.Context, network, address string) (transport, error)
	give(s *Stream, t transport) // makes t, which dial has returned, the transport of s; the caller holds s.mu
}

// A virtualListener stands for a listening socket that the kernel does not know.
type virtualListener interface {
	fd() sysFD // for the poller; noFD: it reports by itself
	address() net.Addr
	accept(l *Loop) (*Stream, error) // an error as of accept(2)
	closeFor(ln *Listener)
}

// listenVirtual is Listen with a poller that has its own sockets.
func (d *division) listenVirtual(p virtualNetwork, network, address string, c *ListenConfig) (*Listener, error) {
	v, err := p.listen(network, address)
	if err != nil {
		return nil, err
	}
	ln := d.add(d.recipients[0].loop, nil, c, false)
	ln.mu.Lock()
	return ln.openVirtual(v)
}

// openVirtual makes v what ln accepts from, and opens ln. Caller holds ln.mu, which openVirtual
// unlocks.
func (ln *Listener) openVirtual(v virtualListener) (*Listener, error) {
	ln.addr, ln.virtual, ln.fd = v.address(), v, v.fd()
	err := ln.openLocked()
	ln.mu.Unlock()
	if err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// dialVirtual is dial with a poller that has its own sockets.
func (s *Stream) dialVirtual(ctx context.Context, d *dialing, p virtualNetwork, network, address string) {
	if d.dialer.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.dialer.Timeout)
		defer cancel()
	}
	t, err := p.dial(ctx, network, address)
	s.mu.Lock()
	defer s.unlockInTurn()
	switch {
	case s.transport() != d: // the stream was closed meanwhile
		if err == nil {
			t.close(false)
		}
	case err != nil:
		if errors.Is(err, context.DeadlineExceeded) {
			err = deadlineError{err}
		}
		s.more().err = &net.OpError{Op: "dial", Net: network, Err: err}
		s.release(false, msgClosed)
	default:
		p.give(s, t)
		s.announce(msgConnected | s.attached(d.fin))
	}
}

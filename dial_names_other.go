// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !unix

package evchan

import (
	"context"
	"net"
	"net/netip"
	"syscall"
)

// A dialAttempt connects to an address. Here package net does it, on a goroutine.
type dialAttempt struct {
	r      *dialRace
	to     netip.AddrPort
	fd     sysFD
	cancel context.CancelFunc

	over bool // end was called; the mu of the stream guards it
}

// begin starts the goroutine. The caller holds the mu of the stream.
func (a *dialAttempt) begin(*Loop) error {
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	go a.dial(ctx)
	return nil
}

// dial is the goroutine.
func (a *dialAttempt) dial(ctx context.Context) {
	defer a.cancel()
	d := a.r.d.dialer
	conn, err := d.DialContext(ctx, a.r.network, a.to.String())
	fd := noFD
	if err == nil {
		defer conn.Close()
		if t, ok := conn.(*net.TCPConn); ok && a.r.d.delay {
			t.SetNoDelay(false)
		}
		fd, err = takeFD(conn.(syscall.Conn))
	}
	s := a.r.s
	s.mu.Lock()
	defer s.unlockInTurn()
	if a.over {
		if err == nil {
			closeFD(fd)
		}
		return
	}
	a.fd = fd
	if op, ok := err.(*net.OpError); ok {
		err = op.Err
	}
	a.r.ended(a, portable(err))
}

// end gives the attempt up. The caller holds the mu of the stream.
func (a *dialAttempt) end(closes bool) {
	if a.over {
		return
	}
	a.over = true
	a.cancel()
}

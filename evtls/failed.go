// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtls

import (
	"cmp"
	"fmt"
	"net"

	"github.com/evchan/evchan"
)

// A HandshakeFailed says that a stream has ended before its handshake was over. Options.Failed
// asks for these messages.
type HandshakeFailed struct {
	evchan.Custom
	RemoteAddr net.Addr // of the peer; nil if it was never known
	Err        error    // why; net.ErrClosed if the stream was closed by this side
}

// String says what has happened.
func (e *HandshakeFailed) String() string {
	if e.RemoteAddr == nil {
		return fmt.Sprintf("HandshakeFailed: %v", e.Err)
	}
	return fmt.Sprintf("HandshakeFailed with %v: %v", e.RemoteAddr, e.Err)
}

// tellFailed tells Options.Failed that the handshake of f has failed. If the mailbox is full, the
// message is dropped.
func (f *filter) tellFailed() {
	box := f.opts.Failed
	if box == nil {
		return
	}
	err := f.err
	if up := f.upper.Load(); up != nil {
		err = cmp.Or(err, up.Err())
	}
	box.Post(&HandshakeFailed{RemoteAddr: f.wire.lower.RemoteAddr(), Err: cmp.Or(err, f.wire.lower.Err(), net.ErrClosed)})
}

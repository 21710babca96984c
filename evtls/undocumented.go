// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtls

import (
	"net"

	"github.com/evchan/evchan"
)

// This file lists what the package relies on and the documentation of crypto/tls does not
// promise. TestUndocumented checks each point, so that a release of Go that changes one fails
// there first.
//
//  1. If the net.Conn under a tls.Conn returns a temporary net.Error from Read, the Read of the
//     tls.Conn returns that error and loses nothing: a later Read goes on in the middle of the
//     record. So the loop can call Read whenever bytes have come. (A handshake cannot go on after
//     any error. So it has a goroutine.)
//  2. Read may return bytes together with an error: if a record is complete and the next one, an
//     alert, is not.
//  3. After the handshake, Write calls the net.Conn's Write and never its Read, and returns when
//     all is written. Read answers a KeyUpdate by Write.
//  4. Read returns io.EOF for close_notify, and also if the net.Conn ends between two records. So
//     wire.toldEOF notes which it was.
//  5. CloseWrite writes close_notify, after which Read still works.
//  6. If the net.Conn goes on after that, in another goroutine for example, so does the tls.Conn:
//     it keeps no error of the first kind.

// errNoInput is what Read of the net.Conn returns if nothing has come.
var errNoInput = evchan.ErrWouldBlock.(net.Error)

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"net"
)

// Errors that the package returns as they are. Test for them with errors.Is.
var (
	// ErrClosed means that the Loop, or whatever the call was made on, has
	// been closed. errors.Is(ErrClosed, net.ErrClosed) is true.
	ErrClosed error = &wrapError{"evchan: use of a closed source", net.ErrClosed}

	// ErrWouldBlock means that there is nothing to be had now and that a
	// message will come when there is; for the writes of a PacketConn none
	// comes. It is a temporary net.Error.
	ErrWouldBlock error = wouldBlockError{}

	// ErrFull means that so much output is unsent that no more is taken. The
	// call that returned it has taken nothing.
	ErrFull = errors.New("evchan: too much unsent output")

	// ErrFrozen means that the end of the Buffer that the call would have
	// changed is frozen. The Buffer is as it was.
	ErrFrozen = errors.New("evchan: buffer is frozen")

	// ErrUnsupported means that the system, the method of the loop or the kind
	// of descriptor cannot do what was asked.
	// errors.Is(ErrUnsupported, errors.ErrUnsupported) is true.
	ErrUnsupported error = &wrapError{"evchan: not supported", errors.ErrUnsupported}
)

// A wrapError has a text of its own and is another error all the same.
type wrapError struct {
	text string
	err  error
}

func (e *wrapError) Error() string { return e.text }
func (e *wrapError) Unwrap() error { return e.err }

// A wouldBlockError is ErrWouldBlock.
type wouldBlockError struct{}

var _ net.Error = wouldBlockError{}

func (wouldBlockError) Error() string   { return "evchan: operation would block" }
func (wouldBlockError) Timeout() bool   { return false }
func (wouldBlockError) Temporary() bool { return true }

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"net"
)

// Errors that the package returns without wrapping them. Test for them with
// errors.Is.
var (
	// ErrClosed means that the Loop or the source of the call has been closed.
	// errors.Is(ErrClosed, net.ErrClosed) is true.
	ErrClosed error = &wrapError{"evchan: use of a closed source", net.ErrClosed}

	// ErrWouldBlock means that there is nothing to receive now. A message will
	// come when there is. A write of a PacketConn returns it when the kernel has
	// no room; then no message comes. It is a temporary net.Error.
	ErrWouldBlock error = wouldBlockError{}

	// ErrFull means that too much output is unsent. The call that returned it
	// has taken nothing.
	ErrFull = errors.New("evchan: too much unsent output")

	// ErrFrozen means that the call would have changed an end of a Buffer that
	// is frozen. The Buffer is unchanged.
	ErrFrozen = errors.New("evchan: buffer is frozen")

	// ErrTooLarge means that a Buffer would have more bytes than an int can
	// count, or that so many bytes cannot be allocated in one piece. The Buffer
	// is unchanged.
	ErrTooLarge = errors.New("evchan: buffer too large")

	// ErrUnsupported means that the system, the loop's method or the kind of
	// descriptor cannot do what the call asked for.
	// errors.Is(ErrUnsupported, errors.ErrUnsupported) is true.
	ErrUnsupported error = &wrapError{"evchan: not supported", errors.ErrUnsupported}
)

// A wrapError is err with a text of its own.
type wrapError struct {
	text string
	err  error
}

func (e *wrapError) Error() string { return e.text }
func (e *wrapError) Unwrap() error { return e.err }

// A wouldBlockError is the type of ErrWouldBlock.
type wouldBlockError struct{}

var _ net.Error = wouldBlockError{}

func (wouldBlockError) Error() string   { return "evchan: operation would block" }
func (wouldBlockError) Timeout() bool   { return false }
func (wouldBlockError) Temporary() bool { return true }

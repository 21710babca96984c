// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"context"
	"errors"
	"os"
)

// A CallError is why a call has failed, and how far it had come. Test the reason with errors.Is:
//
//	os.ErrDeadlineExceeded   a timeout; Phase says which
//	syscall.ECONNREFUSED     nobody listens there; other errors of connecting are a *net.OpError too
//	ErrBadResponse           what has come is no response
//	ErrTooLong               the head is longer than MaxHead, or the body than MaxBody
//	ErrCancelled             Call.Cancel was called
//	context.Canceled         the context of the request has ended, or its cause says so
//	io.ErrUnexpectedEOF      the connection has ended in the middle of the response, or before it
//	evchan.ErrClosed         the client or its loop was closed
//	evchan.ErrFull           too many calls wait for a connection
type CallError struct {
	Phase Phase
	Err   error
}

// Error returns the phase and the reason.
func (e *CallError) Error() string { return "evhttp: " + e.Phase.String() + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *CallError) Unwrap() error { return e.Err }

// Timeout reports whether the reason is a timeout, as net.Error has it.
func (e *CallError) Timeout() bool {
	return errors.Is(e.Err, os.ErrDeadlineExceeded) || errors.Is(e.Err, context.DeadlineExceeded)
}

// Temporary is there so that a CallError is a net.Error. It returns what Timeout returns.
func (e *CallError) Temporary() bool { return e.Timeout() }

// A Phase is how far a call has come.
type Phase uint8

// The phases of a call.
const (
	PhaseRequest Phase = iota // the request itself is not valid
	PhaseQueue                // it waits for a connection
	PhaseConnect              // name, connection, proxy and TLS
	PhaseSend                 // the request is being sent
	PhaseHead                 // the response is awaited
	PhaseBody                 // the body of the response is awaited
)

// String returns the phase in words.
func (p Phase) String() string {
	switch p {
	case PhaseRequest:
		return "checking the request"
	case PhaseQueue:
		return "waiting for a connection"
	case PhaseConnect:
		return "connecting"
	case PhaseSend:
		return "sending the request"
	case PhaseHead:
		return "waiting for the response"
	}
	return "receiving the body"
}

var (
	// ErrCancelled means that Call.Cancel was called.
	ErrCancelled = errors.New("evhttp: the call was cancelled")

	// ErrTooLong means that a response is longer than a limit.
	ErrTooLong = errors.New("evhttp: the response is too long")

	errUsed      = errors.New("evhttp: a Call is for one request")
	errNotUpload = errors.New("evhttp: the call's Upload is false, or it is finished")
	errNoUpgrade = errors.New("evhttp: the response has no stream to give away")
	errProxyKind = errors.New("evhttp: the proxy's URL must have the scheme http or https")
	errWrongSize = errors.New("evhttp: the body of the request has not the length that ContentLength says")
	errInterims  = badResponse("too many responses 1xx")
)

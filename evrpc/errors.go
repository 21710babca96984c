// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evrpc

import (
	"errors"
	"fmt"
)

// Errors of calls; test for them with errors.Is. See [Reply.Err] for all that a call can fail with.
var (
	// ErrNoConnection: the pool has no connection.
	ErrNoConnection = errors.New("evrpc: the pool has no connection")

	// ErrTerminated: a hook has returned Terminate.
	ErrTerminated = errors.New("evrpc: a hook has ended the call")

	// ErrCanceled: Reply.Cancel was called.
	ErrCanceled = errors.New("evrpc: the call was cancelled")

	// ErrProtocol: what has answered does not speak HTTP, or what this package does not understand.
	ErrProtocol = errors.New("evrpc: malformed response")

	// ErrTooLarge: the answer is longer than PoolConfig.MaxReply.
	ErrTooLarge = errors.New("evrpc: the answer is too long")

	// ErrDone: the call was answered before.
	ErrDone = errors.New("evrpc: the call was answered")
)

// A StatusError is the error of a call that the server has answered with another status
// than 200: 503 if the server could not answer it, 404 if it has no RPC of that name.
type StatusError struct {
	Status int
	Text   string // what the server has sent as the body, at most 1024 bytes
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("evrpc: the server has answered with status %d", e.Status)
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"errors"
	"io"
	"os"
)

var (
	// ErrDone means that the request has been answered, or handed on, already.
	ErrDone = errors.New("evhttp: the request was answered already")

	// ErrGone means that the request is over without the program's reply: most often, because
	// the client has left. [Request.Err] tells more.
	ErrGone = errors.New("evhttp: the request is over")
)

// A goneError is an ErrGone with its reason.
type goneError struct{ reason error }

func (e goneError) Error() string {
	if e.reason == nil {
		return ErrGone.Error()
	}
	return ErrGone.Error() + ": " + e.reason.Error()
}

func (e goneError) Is(target error) bool { return target == ErrGone }
func (e goneError) Unwrap() error        { return e.reason }

// errTimeout is the reason if the client took nothing of a reply for too long.
var errTimeout = goneError{os.ErrDeadlineExceeded}

// errCut is the error of a body that has ended too soon.
var errCut = io.ErrUnexpectedEOF

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !unix

package evhttp

import (
	"errors"
	"os"
)

// duplicate returns another file for what f has open, which it opens again.
func duplicate(f *os.File) (*os.File, error) {
	dup, err := os.Open(f.Name())
	if err != nil {
		return nil, err
	}
	a, err1 := f.Stat()
	b, err2 := dup.Stat()
	if err := errors.Join(err1, err2); err != nil || !os.SameFile(a, b) {
		dup.Close()
		return nil, errors.Join(err, errors.ErrUnsupported) // the name means another file by now
	}
	return dup, nil
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !unix

package evhttp

import (
	"errors"
	"os"
)

// duplicate is not available here: files are read into memory, a piece at a time.
func duplicate(*os.File) (*os.File, error) { return nil, errors.ErrUnsupported }

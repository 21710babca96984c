// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !unix && !windows

package evchan

// readFD needs system calls that there are not.
func (b *Buffer) readFD(fd sysFD, limit int) (n int, full bool, err error) {
	return 0, false, ErrUnsupported
}

// writeFD needs system calls that there are not.
func (b *Buffer) writeFD(fd sysFD, socket bool) (n int, spent *chunk, err error) {
	return 0, nil, ErrUnsupported
}

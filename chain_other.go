// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !unix && !windows

package evchan

// fill needs system calls that there are not.
func (k *sock) fill(in *chain, limit int) (n int, full bool, err error) {
	return 0, false, ErrUnsupported
}

// flush needs system calls that there are not.
func (k *sock) flush(out *chain) (n int, spent *chunk, err error) {
	return 0, nil, ErrUnsupported
}

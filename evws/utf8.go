// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import "unicode/utf8"

// validSoFar returns how many bytes of p are whole characters of UTF-8. What follows them is the
// beginning of one, at most three bytes. If p cannot become valid by more bytes, ok is false.
func validSoFar(p []byte) (n int, ok bool) {
	n = len(p)
	for i := 1; i <= min(utf8.UTFMax-1, len(p)); i++ {
		if at := len(p) - i; utf8.RuneStart(p[at]) {
			if !utf8.FullRune(p[at:]) {
				n = at
			}
			break
		}
	}
	return n, utf8.Valid(p[:n])
}

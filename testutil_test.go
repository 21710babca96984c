// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

// offeredNow reports whether a message of s waits to be received.
func (s *source) offeredNow() bool {
	l := s.lock()
	defer l.mu.Unlock()
	return s.offered
}

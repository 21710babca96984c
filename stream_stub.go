// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

// Stream stands in for the real one until there is one.
type Stream struct{ taken int }

func (s *Stream) consumed(n int) { s.taken += n }

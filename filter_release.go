// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

// deferReleases has the release functions of q's bytes called after the loop's turn if the
// filter releases them in Decode, Encode or Close: they may do what these methods must not,
// such as to call Shutdown or runtime.Goexit. q is what the filter is about to get. The caller
// owns q, or holds the lock that guards it.
func (x *filtering) deferReleases(q *chain) {
	for c := q.head; c != nil; c = c.next {
		if m := c.mem; m != nil && m.release != nil {
			kept := newChunk(0) // refers to m, as c did
			kept.mem = m
			c.mem = newMemory()
			c.mem.file, c.mem.off = m.file, m.off
			c.mem.release = func() { x.free(kept) }
		}
	}
}

// free frees c, after the turn if the filter is being called.
func (x *filtering) free(c *chunk) {
	if x.calling.Load() {
		x.upper.Loop().releaseLater(c)
	} else {
		freeChain(c)
	}
}

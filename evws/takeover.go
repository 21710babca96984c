// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

// maxSentBefore is how much of what was sent before StatelessDeflate can refer to.
const maxSentBefore = 8 << 10

// A takeover is what a connection keeps from one compressed message to the next (context takeover,
// RFC 7692 section 7.1.1): the end of what was sent, to which the next message may refer, and that of
// what was received, to which the peer's next one may.
type takeover struct {
	sent     []byte // at most maxSentBefore bytes. The mu of the Conn guards it
	received []byte // at most 1<<maxWindow bytes. Only the layer uses it

	keepsSent, keepsReceived bool // they do not change
}

// beginTakeover has the connection keep what was agreed on. It is called before anything is sent or
// received.
func (c *Conn) beginTakeover(sent, received bool) {
	if sent || received {
		c.rare = &rare{takeover: takeover{keepsSent: sent, keepsReceived: received}}
	}
}

// sentBeforeLocked returns what the next message may refer to.
func (c *Conn) sentBeforeLocked() []byte {
	if c.rare == nil {
		return nil
	}
	return c.rare.sent
}

// keepSentLocked keeps the end of p, which was sent compressed.
func (c *Conn) keepSentLocked(p []byte) {
	if c.rare != nil && c.rare.keepsSent {
		c.rare.sent = keepEnd(c.rare.sent, p, maxSentBefore)
	}
}

// keepEnd returns the last bytes of kept and p, at most limit. It reuses kept.
func keepEnd(kept, p []byte, limit int) []byte {
	if len(p) >= limit {
		return append(kept[:0], p[len(p)-limit:]...)
	}
	if over := len(kept) + len(p) - limit; over > 0 {
		kept = kept[:copy(kept, kept[over:])]
	}
	return append(kept, p...)
}

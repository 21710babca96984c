// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import "time"

// A cache keeps replies until their time is over. If they become too many, those that were not
// used for the longest time go first. The resolver's lock guards it.
type cache struct {
	limit          int // bytes
	minTTL, maxTTL time.Duration
	maxNegative    time.Duration
	stale          time.Duration // how long after its end a reply may still serve if no server answers
	size           int           // bytes of all entries
	entries        map[question]*cacheEntry
	recent         cacheEntry // ring: next is what was used last, prev what was not used for the longest time
	hits, misses   uint64
	evicted        uint64
}

// A cacheEntry is a reply in the cache.
type cacheEntry struct {
	q          question
	reply      *reply
	added, end time.Time
	size       int
	uses       int // since it was added

	prev, next *cacheEntry
}

func (c *cache) init() {
	c.entries = make(map[question]*cacheEntry)
	c.recent.prev, c.recent.next = &c.recent, &c.recent
}

// ttl returns how long a reply may be kept; 0: not at all.
func (c *cache) ttl(r *reply) time.Duration {
	if !r.cacheable {
		return 0
	}
	d := time.Duration(r.ttl) * time.Second
	if r.negative() {
		return min(d, c.maxNegative)
	}
	// A server that says 0 wants that its answer is used once.
	if d == 0 {
		return 0
	}
	return min(max(d, c.minTTL), c.maxTTL)
}

// add keeps r as the answer to q, in place of an older one.
func (c *cache) add(q question, r *reply, now time.Time) {
	ttl := c.ttl(r)
	if ttl <= 0 {
		return
	}
	e := &cacheEntry{q: q, reply: r, added: now, end: now.Add(ttl), size: r.size()}
	if e.size > c.limit {
		return
	}
	if old := c.entries[q]; old != nil {
		c.drop(old)
	}
	c.entries[q] = e
	c.size += e.size
	c.use(e)
	for c.size > c.limit {
		c.drop(c.recent.prev)
		c.evicted++
	}
}

// get returns the reply to q, nil if there is none that is still good.
func (c *cache) get(q question, now time.Time) *cacheEntry {
	e := c.entries[q]
	if e == nil || !now.Before(e.end) {
		if e != nil && !now.Before(e.end.Add(c.stale)) {
			c.drop(e)
		}
		c.misses++
		return nil
	}
	c.hits++
	e.uses++
	c.unlink(e)
	c.use(e)
	return e
}

// getStale returns a reply to q whose time is over, but not for long (RFC 8767).
func (c *cache) getStale(q question, now time.Time) *cacheEntry {
	if e := c.entries[q]; e != nil && now.Before(e.end.Add(c.stale)) {
		return e
	}
	return nil
}

// ending reports whether e is asked for often and near its end, so that it is worth asking
// again before.
func (e *cacheEntry) ending(now time.Time) bool {
	const often, tenths = 2, 10 // arbitrary
	return e.uses >= often && e.end.Sub(now) < e.end.Sub(e.added)/tenths
}

func (c *cache) flush() {
	clear(c.entries)
	c.size = 0
	c.recent.prev, c.recent.next = &c.recent, &c.recent
}

// drop takes e out of the cache.
func (c *cache) drop(e *cacheEntry) {
	delete(c.entries, e.q)
	c.size -= e.size
	c.unlink(e)
}

func (c *cache) use(e *cacheEntry) {
	e.prev, e.next = &c.recent, c.recent.next
	e.prev.next, e.next.prev = e, e
}

func (c *cache) unlink(e *cacheEntry) {
	e.prev.next, e.next.prev = e.next, e.prev
}

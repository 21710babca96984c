// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"sync"
	"time"
)

// A ratePool has the tokens of a RateGroup whose members are on several loops. Each of these
// loops has a RateGroup of its own, a branch. A branch draws tokens from the pool when its members
// ask, at most once in a tick, and puts back what no member of it waits for. So no loop waits for
// another one, and none is woken because of another's tick.
//
// A token is in the pool, or out: in a branch, or granted to a member there. level+out never
// exceeds the burst, so all branches together use no more than the limit allows.
type ratePool struct {
	mu       sync.Mutex // taken below the loops' locks; guards the following
	limit    RateLimit
	branches map[*Loop]*RateGroup
	first    *RateGroup // the one of branches that Loop.RateGroup has returned; never changes
	dirs     [2]poolBucket
	epoch    time.Time // when tick 0 began
	tick     int64     // the last tick for which the buckets were filled
}

// A poolBucket has the tokens for one direction.
type poolBucket struct {
	rate  int
	burst int64
	level int64 // negative after Charge
	out   int64
	rest  uint64
}

// A ratePart is what a pool knows of a branch. The pool's mu guards it.
type ratePart struct {
	gone  bool     // its loop was closed, and the pool has taken the tokens back
	out   [2]int64 // tokens that it has; the sums of all are the out of the poolBuckets
	wants [2]bool  // members wait
	tick  [2]int64 // when it last drew, plus one; 0: it may draw in this tick
}

// on returns the branch of g on the loop l. The caller holds the lock of no loop.
func (g *RateGroup) on(l *Loop) *RateGroup {
	if g.loop == l {
		return g
	}
	p := g.shared()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.prune()
	b := p.branches[l]
	if b == nil {
		b = &RateGroup{loop: l, round: 1}
		b.timer.owner = b
		b.set(p.limit)
		b.began, b.tick = int64(p.epoch.Sub(l.epoch)), p.tick
		b.pool.Store(p)
		p.branches[l] = b
	}
	return b
}

// shared returns the pool of g, and makes it of g's own buckets if there is none.
func (g *RateGroup) shared() *ratePool {
	l := g.loop
	now := l.clock()
	l.lock()
	defer l.unlock()
	if p := g.pool.Load(); p != nil {
		return p
	}
	g.refill(now)
	p := &ratePool{
		limit:    g.limit,
		branches: map[*Loop]*RateGroup{l: g},
		first:    g,
		epoch:    l.epoch.Add(time.Duration(g.began)),
		tick:     g.tick,
	}
	for dir := range g.dirs {
		b := &g.dirs[dir]
		p.dirs[dir] = poolBucket{rate: b.rate, burst: b.burst, level: b.level, out: b.granted, rest: b.rest}
		g.draw.out[dir] = b.granted
		b.level = 0
		if b.waiting > 0 {
			l.assign(g) // to draw
		}
	}
	g.pool.Store(p)
	return p
}

// prune drops the branches of closed loops, and takes back the tokens that they have. The branch
// that Loop.RateGroup has returned stays, without tokens: SetLimit and others are called on it. The
// caller holds p.mu.
func (p *ratePool) prune() {
	for l, g := range p.branches {
		select {
		case <-l.done:
		default:
			continue
		}
		if g != p.first {
			delete(p.branches, l)
		}
		if g.draw.gone {
			continue
		}
		g.draw.gone, g.draw.wants = true, [2]bool{}
		for dir := range p.dirs {
			p.dirs[dir].out -= g.draw.out[dir]
			p.dirs[dir].level += g.draw.out[dir]
			g.draw.out[dir] = 0
		}
	}
}

// fill fills the buckets for the ticks that have begun since the last time. The caller holds p.mu.
func (p *ratePool) fill() {
	per := int64(p.limit.Tick)
	tick := int64(time.Since(p.epoch)) / per
	if tick <= p.tick {
		return
	}
	elapsed := (tick - p.tick) * per
	p.tick = tick
	for dir := range p.dirs {
		b := &p.dirs[dir]
		if b.rate == 0 {
			continue
		}
		n, rest := inflow(b.rate, elapsed, b.rest)
		if room := b.burst - b.out - b.level; n > room {
			n, rest = room, 0
		}
		b.level, b.rest = b.level+n, rest
	}
}

// drawInto gives g its part: an even division among the branches that want tokens and have not
// drawn in this tick. The caller holds the lock of g's loop.
func (p *ratePool) drawInto(g *RateGroup, dir int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.prune()
	if g.draw.gone {
		return
	}
	p.fill()
	g.draw.wants[dir] = true
	defer func() { g.draw.wants[dir] = g.dirs[dir].waiting > 0 }()
	b := &p.dirs[dir]
	if g.draw.tick[dir] == p.tick+1 || b.level <= 0 {
		return
	}
	sharers := int64(0)
	for _, o := range p.branches {
		if o.draw.wants[dir] && o.draw.tick[dir] != p.tick+1 {
			sharers++
		}
	}
	n := min(max(b.level/sharers, min(rateMinShare, b.burst)), b.level)
	g.draw.tick[dir] = p.tick + 1
	b.level -= n
	b.out += n
	g.draw.out[dir] += n
	g.dirs[dir].level += n
}

// want notes that a member of g waits.
func (p *ratePool) want(g *RateGroup, dir int) {
	p.mu.Lock()
	g.draw.wants[dir] = !g.draw.gone
	p.mu.Unlock()
}

// used notes that n tokens that g had were used.
func (p *ratePool) used(g *RateGroup, dir int, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !g.draw.gone {
		p.dirs[dir].out -= n
		g.draw.out[dir] -= n
	}
}

// putBack puts what no member waits for back into the pool, if there is one. The caller holds the
// loop's lock.
func (g *RateGroup) putBack(dir int) {
	p := g.pool.Load()
	b := &g.dirs[dir]
	if p == nil || b.waiting > 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	g.draw.wants[dir] = false
	p.take(g, dir)
}

// take takes the tokens of g that were not granted. The caller holds p.mu and the lock of g's
// loop.
func (p *ratePool) take(g *RateGroup, dir int) {
	b := &g.dirs[dir]
	if b.level <= 0 {
		return
	}
	if !g.draw.gone {
		p.dirs[dir].level += b.level
		p.dirs[dir].out -= b.level
		g.draw.out[dir] -= b.level
	}
	b.level = 0
	g.draw.tick[dir] = 0
}

// all returns the branches.
func (p *ratePool) all() (all []*RateGroup) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range p.branches {
		all = append(all, g)
	}
	return all
}

// charge is RateGroup.Charge.
func (p *ratePool) charge(bytes [2]int) {
	p.mu.Lock()
	p.fill()
	for dir, n := range bytes {
		if b := &p.dirs[dir]; b.rate != 0 {
			n := min(max(int64(n), -2*rateMaxTokens), 2*rateMaxTokens)
			b.level = max(min(b.level-n, b.burst-b.out), -rateMaxTokens)
		}
	}
	p.mu.Unlock()
}

// setLimit is RateGroup.SetLimit of a limit that is valid.
func (p *ratePool) setLimit(limit RateLimit) {
	all := p.all()
	for _, g := range all { // what they have comes back, as far as it was not granted
		g.loop.lock()
		p.mu.Lock()
		for dir := range g.dirs {
			p.take(g, dir)
		}
		p.mu.Unlock()
		g.loop.unlock()
	}
	p.mu.Lock()
	p.fill()
	p.limit = limit
	p.epoch, p.tick = time.Now(), 0
	rates, bursts := [...]int{limit.ReadRate, limit.WriteRate}, [...]int{limit.ReadBurst, limit.WriteBurst}
	for dir := range p.dirs {
		b := &p.dirs[dir]
		b.rate, b.burst = rates[dir], min(int64(bursts[dir]), rateMaxTokens)
		b.level = min(b.level, b.burst-b.out)
	}
	epoch := p.epoch
	p.mu.Unlock()
	for _, g := range all {
		l := g.loop
		l.lock()
		g.set(limit)
		g.began, g.tick = int64(epoch.Sub(l.epoch)), 0
		p.mu.Lock()
		g.draw.tick = [2]int64{}
		p.mu.Unlock()
		l.timers.stop(&g.timer)
		if g.dirs[dirRead].waiting > 0 || g.dirs[dirWrite].waiting > 0 {
			l.assign(g)
		}
		l.unlock()
	}
}

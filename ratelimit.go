// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"time"
)

// This file is about how fast a stream reads and writes: token buckets, of its
// own and shared with others.

// A RateLimit bounds how fast bytes are read and written, with a token bucket
// for each direction: every Tick it gets what the rate brings in that time, up
// to the burst, and what is read or written is taken from it. So no span of time
// sees more than the burst and what the rate brings, to the byte, and a
// direction that always has something to do gets the rate, to the byte.
//
// A direction whose rate and burst are both 0 has no limit. This is 1 MB a second
// for writing:
//
//	RateLimit{WriteRate: 1e6, WriteBurst: 1e5, Tick: 100 * time.Millisecond}
type RateLimit struct {
	ReadRate   int           // bytes a second; at least 1
	ReadBurst  int           // bytes that may be saved up; at least what the rate brings in a Tick
	WriteRate  int           // as ReadRate, for writing
	WriteBurst int           // as ReadBurst, for writing
	Tick       time.Duration // how often the buckets are filled; more than 0, at most 2,147,483 seconds
}

// maxTick is as long as libevent's ev_token_bucket_cfg_new has it.
const maxTick = math.MaxInt32 / 1000 * time.Second

// check returns what is wrong with r.
func (r RateLimit) check() error {
	if r.Tick <= 0 || r.Tick > maxTick {
		return fmt.Errorf("evchan: RateLimit.Tick is %v, which is not more than 0 and at most %v", r.Tick, maxTick)
	}
	if r == (RateLimit{Tick: r.Tick}) {
		return errors.New("evchan: RateLimit limits neither reading nor writing")
	}
	for _, d := range [...]struct {
		name        string
		rate, burst int
	}{{"Read", r.ReadRate, r.ReadBurst}, {"Write", r.WriteRate, r.WriteBurst}} {
		if d.rate == 0 && d.burst == 0 {
			continue
		}
		if d.rate < 1 {
			return fmt.Errorf("evchan: RateLimit.%sRate is %d, less than 1", d.name, d.rate)
		}
		if n, _ := inflow(d.rate, int64(r.Tick), 0); d.burst < 1 || n > d.burst {
			return fmt.Errorf("evchan: RateLimit.%sBurst is %d, less than the %d that the rate brings in a Tick", d.name, d.burst, n)
		}
	}
	return nil
}

// inflow returns how many bytes the rate brings in the given nanoseconds, with
// rest, the billionths of a byte that were left over before, and what is left
// over now.
func inflow(rate int, elapsed int64, rest uint64) (n int, left uint64) {
	hi, lo := bits.Mul64(uint64(rate), uint64(elapsed))
	lo, carry := bits.Add64(lo, rest, 0)
	hi += carry
	if hi >= uint64(time.Second) {
		return math.MaxInt, 0
	}
	q, left := bits.Div64(hi, lo, uint64(time.Second))
	return int(min(q, math.MaxInt)), left
}

// A RateGroup is a rate limit that streams of one loop share, evenly if they
// have all enough to do. Streams that want less leave the rest to the others.
// It is made by [Loop.RateGroup], and needs no closing; a zero one is of no use.
type RateGroup struct {
	loop *Loop // never changes
	reg  registration

	// The loop's mu guards the following.

	limit   RateLimit
	members int
	dirs    [2]bucket // reading, writing
	began   int64     // when the ticks began, on the loop's clock
	tick    int64     // the last one for which the buckets were filled
	timer   timerNode // running: a member waits for the next tick
	round   uint64    // counts the ticks in which something was dealt out
}

// A bucket is what a RateGroup has for one direction. The loop's mu guards it.
type bucket struct {
	rate, burst int      // 0: no limit
	level       int      // tokens: bytes that may pass; less than 0 after Charge
	granted     int      // tokens that members have and have not used; with level no more than burst
	rest        uint64   // of the inflow: billionths of a byte
	waiting     []*share // who wants tokens, first come first served
}

// A share is a stream's part in a RateGroup. The loop's mu guards it.
type share struct {
	group   *RateGroup
	stream  *Stream
	granted [2]int    // tokens that were taken from the bucket's level for this stream and not used yet
	waiting [2]bool   // stands in the bucket's queue
	served  [2]uint64 // the round in which it last got something
}

// maxTokens bounds what a bucket holds, and owes, so that no sum overflows.
const maxTokens = math.MaxInt / 4

// leastShare is how many tokens a member gets at a time, at the least, unless the
// bucket would run over otherwise, so that members of a large group do not read byte
// by byte. Arbitrary; libevent has the same default.
const leastShare = 64

// RateGroup returns a limit that streams of l can share, with SetRateGroup. It
// returns an error if the limit makes no sense.
func (l *Loop) RateGroup(limit RateLimit) (*RateGroup, error) {
	if err := limit.check(); err != nil {
		return nil, err
	}
	return l.newRateGroup(limit), nil
}

func (l *Loop) newRateGroup(limit RateLimit) *RateGroup {
	g := &RateGroup{loop: l, began: l.clock(), round: 1}
	g.timer.owner = g
	g.set(limit)
	for dir := range g.dirs {
		b := &g.dirs[dir]
		b.level, _ = inflow(b.rate, int64(limit.Tick), 0) // not a whole burst at once
	}
	return g
}

// copyTo returns a group of another loop with the same limit, and the same left of
// it. The loop's mu is held.
func (g *RateGroup) copyTo(l *Loop) *RateGroup {
	g.settle(g.loop.clock())
	c := l.newRateGroup(g.limit)
	c.members = 1
	for dir, b := range g.dirs {
		c.dirs[dir].level, c.dirs[dir].rest = b.level, b.rest
	}
	return c
}

// set replaces the limit. The loop's mu is held, or nobody knows g yet.
func (g *RateGroup) set(limit RateLimit) {
	g.limit = limit
	for dir, d := range [...]bucket{{rate: limit.ReadRate, burst: limit.ReadBurst}, {rate: limit.WriteRate, burst: limit.WriteBurst}} {
		b := &g.dirs[dir]
		b.rate, b.burst = d.rate, min(d.burst, maxTokens)
		b.level = min(b.level, b.burst-b.granted)
	}
}

// Limit returns the limit.
func (g *RateGroup) Limit() RateLimit {
	g.loop.lock()
	defer g.loop.unlock()
	return g.limit
}

// SetLimit replaces the limit. What was saved up stays, up to the new burst. It
// returns an error, and changes nothing, if the limit makes no sense.
func (g *RateGroup) SetLimit(limit RateLimit) error {
	if err := limit.check(); err != nil {
		return err
	}
	l := g.loop
	now := l.clock()
	l.lock()
	defer l.unlock()
	g.settle(now)
	g.set(limit)
	g.began, g.tick = now, 0
	l.timers.stop(&g.timer)
	if g.dirs[dirRead].waiting != nil || g.dirs[dirWrite].waiting != nil {
		l.assign(g)
	}
	return nil
}

// Charge takes bytes from the group as if they had been read and written by a
// member: those of a connection that is none of the loop's, say. The group may run
// into debt by that. Negative numbers give bytes back, up to the burst. It is
// libevent's bufferevent_rate_limit_group_decrement_read and _write.
func (g *RateGroup) Charge(read, written int) {
	l := g.loop
	now := l.clock()
	l.lock()
	defer l.unlock()
	g.refill(now)
	for dir, n := range [...]int{read, written} {
		if b := &g.dirs[dir]; b.rate != 0 {
			n = min(max(n, -2*maxTokens), 2*maxTokens)
			b.level = max(min(b.level-n, b.burst-b.granted), -maxTokens)
			if n < 0 && b.waiting != nil {
				l.assign(g)
			}
		}
	}
}

// refill gives the buckets what has come since they were last filled. The
// loop's mu is held.
func (g *RateGroup) refill(now int64) {
	per := int64(g.limit.Tick)
	tick := (now - g.began) / per
	if tick <= g.tick {
		return
	}
	elapsed := (tick - g.tick) * per
	g.tick = tick
	g.round++
	for dir := range g.dirs {
		g.dirs[dir].fill(elapsed)
	}
}

// settle gives the buckets what has come until now, in the middle of a tick as
// well. New ticks are to begin now. The loop's mu is held.
func (g *RateGroup) settle(now int64) {
	g.refill(now)
	for dir := range g.dirs {
		g.dirs[dir].fill(now - g.began - g.tick*int64(g.limit.Tick))
	}
}

// fill gives b what the rate brings in that many nanoseconds.
func (b *bucket) fill(elapsed int64) {
	if b.rate == 0 {
		return
	}
	n, rest := inflow(b.rate, elapsed, b.rest)
	if room := b.burst - b.granted - b.level; n > room {
		n, rest = room, 0
	}
	b.level, b.rest = b.level+n, rest
}

// ask returns how many bytes m's stream may move now; 0 means that it will be
// told when it may. The loop's mu is held.
func (g *RateGroup) ask(m *share, dir int, now int64) int {
	b := &g.dirs[dir]
	if b.rate == 0 {
		return math.MaxInt
	}
	g.refill(now) // before anything that was granted is used, or it could be had twice
	switch {
	case m.granted[dir] > 0:
		return m.granted[dir]
	case m.waiting[dir]:
		return 0
	}
	if g.members == 1 && b.level > 0 {
		b.grant(m, dir, b.level)
		return m.granted[dir]
	}
	m.waiting[dir] = true
	b.waiting = append(b.waiting, m)
	g.await(b, now)
	return 0
}

// grant gives m some of b's tokens, all of which it has used before.
func (b *bucket) grant(m *share, dir, n int) {
	m.granted[dir] = n
	b.granted += n
	b.level -= n
}

// portions returns into how many portions of a fair size the tokens of b can be
// divided. The loop's mu is held.
func (g *RateGroup) portions(b *bucket) int {
	if b.level <= 0 {
		return 0
	}
	if g.members == 1 {
		return 1
	}
	if n := b.level / min(leastShare, b.burst); n > 0 {
		return n
	}
	if n, _ := inflow(b.rate, int64(g.limit.Tick), b.rest); n > b.burst-b.granted-b.level {
		return 1 // what there is would be lost in the next tick
	}
	return 0
}

// await sees to it that those who wait in b are served: in the next turn, so that
// others who want something by then get as much, or in the next tick. The loop's
// mu is held.
func (g *RateGroup) await(b *bucket, now int64) {
	l := g.loop
	if g.portions(b) > 0 {
		l.assign(g)
	} else if !g.timer.running() {
		next := g.began + (g.tick+1)*int64(g.limit.Tick)
		l.startTimer(&g.timer, now, time.Duration(max(next-now, 0)))
	}
}

// expired is called when a tick has begun for which a member waits. The loop's
// mu is held.
func (g *RateGroup) expired(now int64) { g.deal(now) }

// ready is never called: the poller does not know g.
func (g *RateGroup) ready(What) {}

// task serves those who wait.
func (g *RateGroup) task() {
	l := g.loop
	now := l.clock()
	l.lock()
	defer l.unlock()
	g.deal(now)
}

func (g *RateGroup) registration() *registration { return &g.reg }

// deal gives tokens to those who wait. Whoever has not got any since the last
// tick goes first, and gets no more than if all members wanted some; then the
// others divide the rest. The loop's mu is held.
func (g *RateGroup) deal(now int64) {
	g.refill(now)
	for dir := range g.dirs {
		b := &g.dirs[dir]
		if len(b.waiting) == 0 {
			continue
		}
		if b.rate == 0 { // it is not limited any more
			for _, m := range b.waiting {
				m.waiting[dir] = false
				m.stream.mayMove(dir)
			}
			b.waiting = nil
			continue
		}
		sharers := g.members
		late := !slices.ContainsFunc(b.waiting, func(m *share) bool { return m.served[dir] != g.round })
		if late {
			sharers = len(b.waiting)
		}
		portions := min(g.portions(b), sharers)
		b.waiting = slices.DeleteFunc(b.waiting, func(m *share) bool {
			if portions == 0 || !late && m.served[dir] == g.round {
				return false
			}
			b.grant(m, dir, b.level/portions)
			portions--
			m.served[dir] = g.round
			m.waiting[dir] = false
			m.stream.mayMove(dir)
			return true
		})
		if len(b.waiting) > 0 {
			g.await(b, now)
		}
	}
	g.calm()
}

// calm stops the timer if nobody waits for it. The loop's mu is held.
func (g *RateGroup) calm() {
	if len(g.dirs[dirRead].waiting) == 0 && len(g.dirs[dirWrite].waiting) == 0 {
		g.loop.timers.stop(&g.timer)
	}
}

// giveBack puts what m has not used back. The loop's mu is held.
func (g *RateGroup) giveBack(m *share, dir int) {
	if n := m.granted[dir]; n > 0 {
		b := &g.dirs[dir]
		m.granted[dir] = 0
		b.granted -= n
		b.level += n
		if len(b.waiting) > 0 && g.portions(b) > 0 {
			g.loop.assign(g)
		}
	}
}

// leave ends m's part in the group. The loop's mu is held.
func (g *RateGroup) leave(m *share) {
	for dir := range g.dirs {
		g.quit(m, dir)
	}
	g.members--
}

// quit puts back what m has not used, and has it wait for no more. The loop's mu
// is held.
func (g *RateGroup) quit(m *share, dir int) {
	g.giveBack(m, dir)
	if m.waiting[dir] {
		m.waiting[dir] = false
		b := &g.dirs[dir]
		b.waiting = slices.DeleteFunc(b.waiting, func(w *share) bool { return w == m })
		g.calm()
	}
}

// The limits of a stream: its own and its group's.
const (
	ownShare = iota
	groupShare
)

// SetRateLimit bounds how fast the stream reads and writes; nil means that
// nothing does, apart from its RateGroup. A direction that waits for its rate
// is not idle (see SetIdleTimeouts). If there was a limit, what was saved up stays,
// up to the new burst. It returns an error if the limit makes no sense, and
// ErrClosed after the end.
func (s *Stream) SetRateLimit(limit *RateLimit) error {
	if limit == nil {
		return s.setShare(ownShare, func(*Loop) (*RateGroup, error) { return nil, nil })
	}
	if err := limit.check(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.extra != nil && s.extra.shares[ownShare] != nil {
		defer s.mu.Unlock()
		return s.extra.shares[ownShare].group.SetLimit(*limit)
	}
	s.mu.Unlock()
	return s.setShare(ownShare, func(l *Loop) (*RateGroup, error) { return l.newRateGroup(*limit), nil })
}

// SetRateGroup makes the stream a member of g, whose limit it shares with the
// other members from then on; nil means of none. It returns an error if g is not
// of the stream's loop.
func (s *Stream) SetRateGroup(g *RateGroup) error {
	return s.setShare(groupShare, func(l *Loop) (*RateGroup, error) {
		if g != nil && g.loop != l {
			return nil, errGroup
		}
		return g, nil
	})
}

var errGroup = errors.New("evchan: the RateGroup is another loop's")

// setShare replaces one of the stream's limits by what group returns.
func (s *Stream) setShare(which int, group func(*Loop) (*RateGroup, error)) error {
	s.mu.Lock()
	defer s.unlock()
	if s.gone() {
		return ErrClosed
	}
	g, err := group(s.Loop())
	if err != nil {
		return err
	}
	x := s.more()
	l := s.lockLoop()
	defer l.unlock()
	if old := x.shares[which]; old != nil {
		old.group.leave(old)
		x.shares[which] = nil
		// It may go on at once, under the new limit.
		s.mayMove(dirRead)
		s.mayMove(dirWrite)
	}
	if g != nil {
		x.shares[which] = &share{group: g, stream: s}
		g.members++
	}
	return nil
}

// mayMove has s read, or write, what waits. The loop's mu is held.
func (s *Stream) mayMove(dir int) {
	l := s.Loop()
	if dir == dirRead && !s.life.closed() {
		l.enqueue(&s.source, workRead)
	} else if dir == dirWrite {
		l.assign(s)
	}
}

// quota returns how many of n bytes may be moved now. If none, s goes on by
// itself when it may. mu is held.
func (s *Stream) quota(dir, n int) int {
	if s.extra == nil {
		return n
	}
	return s.ask(dir, n)
}

// ask is quota of a stream that may have limits.
func (s *Stream) ask(dir, n int) int {
	if s.extra.shares == [2]*share{} {
		return n
	}
	l := s.Loop()
	now := l.clock()
	l.lock()
	defer l.unlock()
	for _, m := range s.extra.shares {
		if m != nil && n > 0 {
			n = min(n, m.group.ask(m, dir, now))
		}
	}
	return n
}

// moved counts n bytes against the stream's limits, and as a sign of life. mu is
// held.
func (s *Stream) moved(dir, n int) {
	if s.extra != nil {
		s.extra.moved(dir, n)
	}
}

func (x *streamExtra) moved(dir, n int) {
	l := x.stream.Loop()
	if x.idle != nil {
		x.idle.last[dir] = l.clock()
	}
	if x.shares == [2]*share{} {
		return
	}
	l.lock()
	defer l.unlock()
	for _, m := range x.shares {
		if m != nil {
			used := min(n, m.granted[dir]) // less than n if there is no limit any more
			m.granted[dir] -= used
			m.group.dirs[dir].granted -= used
		}
	}
}

// waive gives back what of the stream's quota was not used. mu is held.
func (s *Stream) waive(dir int) {
	if s.extra != nil {
		s.extra.yield(dir, (*RateGroup).giveBack)
	}
}

// forgo is waive of a stream that will not move anything more in that direction.
// mu is held.
func (s *Stream) forgo(dir int) {
	if s.extra != nil {
		s.extra.yield(dir, (*RateGroup).quit)
	}
}

// yield calls how for each of x's limits.
func (x *streamExtra) yield(dir int, how func(*RateGroup, *share, int)) {
	if x.shares == [2]*share{} {
		return
	}
	l := x.stream.lockLoop()
	defer l.unlock()
	for _, m := range x.shares {
		if m != nil {
			how(m.group, m, dir)
		}
	}
}

// throttled reports whether a direction waits for its rate. The loop's mu is
// held.
func (x *streamExtra) throttled(dir int) bool {
	return slices.ContainsFunc(x.shares[:], func(m *share) bool {
		return m != nil && (m.waiting[dir] || m.granted[dir] > 0)
	})
}

// leaveShares ends the stream's part in all limits. The loop's mu is held.
func (x *streamExtra) leaveShares() {
	for i, m := range x.shares {
		if m != nil {
			m.group.leave(m)
			x.shares[i] = nil
		}
	}
}

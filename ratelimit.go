// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"
)

// This file limits how fast streams read and write, with token buckets: a stream's own,
// and those that it shares with others.

// A RateLimit limits how many bytes are read and written, with a token bucket for each
// direction. Every Tick the bucket gets the rate's bytes for that time, up to the burst;
// each byte that is read or written takes one out. So in any span of time at most the
// burst and the rate's bytes for that time pass, and a direction that always has
// something to do gets exactly the rate.
//
// A direction whose rate and burst are both 0 has no limit. This limits writing to 1 MB
// a second:
//
//	RateLimit{WriteRate: 1e6, WriteBurst: 1e5}
type RateLimit struct {
	ReadRate   int           // bytes a second; at least 1
	ReadBurst  int           // the most bytes that may be saved up; at least the rate's bytes for a Tick
	WriteRate  int           // as ReadRate, for writing
	WriteBurst int           // as ReadBurst, for writing
	Tick       time.Duration // how often the buckets are filled; 1 ms to 2,147,483 s; 0: 100 ms
}

const (
	rateMinTick     = time.Millisecond                   // arbitrary: with shorter ones a loop would do little else
	rateMaxTick     = math.MaxInt32 / 1000 * time.Second // as libevent's ev_token_bucket_cfg_new has it
	rateDefaultTick = 100 * time.Millisecond
)

// check sets the Tick to its default if it is 0, and returns what is wrong with r.
func (r *RateLimit) check() error {
	if r.Tick == 0 {
		r.Tick = rateDefaultTick
	}
	if r.Tick < rateMinTick || r.Tick > rateMaxTick {
		return fmt.Errorf("evchan: RateLimit.Tick is %v, not in the range from %v to %v", r.Tick, rateMinTick, rateMaxTick)
	}
	if *r == (RateLimit{Tick: r.Tick}) {
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
		if n, _ := inflow(d.rate, int64(r.Tick), 0); d.burst < 1 || n > int64(d.burst) {
			return fmt.Errorf("evchan: RateLimit.%sBurst is %d, less than the %d that the rate brings in a Tick", d.name, d.burst, n)
		}
	}
	return nil
}

// inflow returns how many bytes the rate brings in elapsed nanoseconds. rest is the
// fraction of a byte, in billionths, that was left over before; left is what is left
// over now.
func inflow(rate int, elapsed int64, rest uint64) (n int64, left uint64) {
	hi, lo := bits.Mul64(uint64(rate), uint64(elapsed))
	lo, carry := bits.Add64(lo, rest, 0)
	hi += carry
	if hi >= uint64(time.Second) {
		return math.MaxInt64, 0
	}
	q, left := bits.Div64(hi, lo, uint64(time.Second))
	return int64(min(q, math.MaxInt64)), left
}

// A RateGroup is a rate limit that streams share. If all of them have enough to do, each gets
// the same part. What one does not use, the others get.
//
// The streams may belong to several loops. The limit holds exactly for all of them together.
// Each loop gets a part of it at the beginning of a tick; what the loop does not use is divided
// again.
//
// [Loop.RateGroup] makes a RateGroup; a zero RateGroup cannot be used. It needs no Close.
type RateGroup struct {
	loop *Loop // never changes
	reg  registration
	pool atomic.Pointer[ratePool] // what the branches on several loops share; nil: there is one; set with the loop's mu held
	draw ratePart                 // what the pool knows of this branch

	// The loop's mu guards the following.

	limit   RateLimit
	members int
	dirs    [2]bucket // reading, writing
	began   int64     // when tick 0 began, on the loop's clock
	tick    int64     // the last tick for which the buckets were filled
	timer   timerNode // running: a member waits for the next tick
	round   uint64    // counts the refills; deal serves members without tokens in this round first
}

// A bucket holds a RateGroup's tokens for one direction. A token is a byte that may
// pass. The loop's mu guards it.
type bucket struct {
	rate    int    // 0: no limit
	burst   int64  // at most rateMaxTokens
	level   int64  // tokens that nobody has; negative after Charge
	granted int64  // tokens that members have and have not used; level+granted <= burst
	rest    uint64 // the fraction of a token, in billionths

	// Members that want tokens, first come first served.
	waiting int        // how many they are
	first   shareQueue // those that have got none in this round
	again   shareQueue // those that have, and want more
}

// A share is a stream's membership in a RateGroup. The loop's mu guards it.
type share struct {
	group   *RateGroup
	stream  *Stream
	granted [2]int64  // tokens that the stream has got and not used
	waiting [2]bool   // stands in one of the bucket's queues
	served  [2]uint64 // the round in which it last got tokens

	next, prev [2]*share // in the queue
}

// A shareQueue is a list of shares that wait for tokens of one direction.
type shareQueue struct{ head, tail *share }

// push adds m at the end.
func (q *shareQueue) push(m *share, dir int) {
	m.next[dir], m.prev[dir] = nil, q.tail
	if q.tail == nil {
		q.head = m
	} else {
		q.tail.next[dir] = m
	}
	q.tail = m
}

// remove takes out m, wherever it stands.
func (q *shareQueue) remove(m *share, dir int) {
	if m.prev[dir] == nil {
		q.head = m.next[dir]
	} else {
		m.prev[dir].next[dir] = m.next[dir]
	}
	if m.next[dir] == nil {
		q.tail = m.prev[dir]
	} else {
		m.next[dir].prev[dir] = m.prev[dir]
	}
	m.next[dir], m.prev[dir] = nil, nil
}

// splice moves all of r to the end of q.
func (q *shareQueue) splice(r *shareQueue, dir int) {
	switch {
	case r.head == nil:
		return
	case q.head == nil:
		q.head = r.head
	default:
		q.tail.next[dir], r.head.prev[dir] = r.head, q.tail
	}
	q.tail = r.tail
	*r = shareQueue{}
}

// rateMaxTokens limits a bucket's level and debt, so that no sum overflows.
const rateMaxTokens = math.MaxInt64 / 4

// rateMinShare is the smallest number of tokens that a member gets at a time, so that
// members of a large group do not read byte by byte. It gets fewer only where tokens
// would be lost otherwise. Arbitrary; libevent has the same default.
const rateMinShare = 64

// RateGroup returns a limit that streams can share, those of other loops too; see
// [Stream.SetRateGroup]. It
// returns an error if the limit is not valid.
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
		n, _ := inflow(b.rate, int64(limit.Tick), 0) // begin with one tick's, not with the burst
		b.level = min(n, b.burst)
	}
	return g
}

// copyTo returns a group of the loop l with the same limit and the same tokens. Caller
// holds g.loop.mu.
func (g *RateGroup) copyTo(l *Loop) *RateGroup {
	g.settle(g.loop.clock())
	c := l.newRateGroup(g.limit)
	c.members = 1
	for dir, b := range g.dirs {
		c.dirs[dir].level, c.dirs[dir].rest = b.level, b.rest
	}
	return c
}

// set replaces the limit. Caller holds the loop's mu, or has just made g.
func (g *RateGroup) set(limit RateLimit) {
	g.limit = limit
	rates, bursts := [...]int{limit.ReadRate, limit.WriteRate}, [...]int{limit.ReadBurst, limit.WriteBurst}
	for dir := range g.dirs {
		b := &g.dirs[dir]
		b.rate, b.burst = rates[dir], min(int64(bursts[dir]), rateMaxTokens)
		b.level = min(b.level, b.burst-b.granted)
	}
}

// Limit returns the limit.
func (g *RateGroup) Limit() RateLimit {
	g.loop.lock()
	defer g.loop.unlock()
	return g.limit
}

// SetLimit replaces the limit. What was saved up stays, up to the new burst. If the
// limit is not valid, SetLimit changes nothing and returns an error.
func (g *RateGroup) SetLimit(limit RateLimit) error {
	if err := limit.check(); err != nil {
		return err
	}
	if p := g.pool.Load(); p != nil {
		p.setLimit(limit)
		return nil
	}
	l := g.loop
	now := l.clock()
	l.lock()
	defer l.unlock()
	g.settle(now)
	g.set(limit)
	g.began, g.tick = now, 0
	l.timers.stop(&g.timer)
	if g.dirs[dirRead].waiting > 0 || g.dirs[dirWrite].waiting > 0 {
		l.assign(g)
	}
	return nil
}

// Charge takes bytes out of the group's buckets as if a member had read and written
// them: for a connection that is not a stream of the loop, for example. The group can go
// into debt, and then its members wait longer. Negative numbers give bytes back, up to
// the burst. It corresponds to libevent's bufferevent_rate_limit_group_decrement_read
// and _write.
func (g *RateGroup) Charge(read, written int) {
	if p := g.pool.Load(); p != nil {
		p.charge([2]int{read, written})
		return
	}
	l := g.loop
	now := l.clock()
	l.lock()
	defer l.unlock()
	g.refill(now)
	for dir, n := range [...]int{read, written} {
		if b := &g.dirs[dir]; b.rate != 0 {
			n := min(max(int64(n), -2*rateMaxTokens), 2*rateMaxTokens)
			b.level = max(min(b.level-n, b.burst-b.granted), -rateMaxTokens)
			if n < 0 && b.waiting > 0 {
				l.assign(g)
			}
		}
	}
}

// refill fills the buckets for the ticks that have begun since the last refill. Caller
// holds the loop's mu.
func (g *RateGroup) refill(now int64) {
	per := int64(g.limit.Tick)
	tick := (now - g.began) / per
	if tick <= g.tick {
		return
	}
	elapsed := (tick - g.tick) * per
	g.tick = tick
	g.round++
	p := g.pool.Load()
	for dir := range g.dirs {
		b := &g.dirs[dir]
		if p == nil {
			b.fill(elapsed)
		} else if b.waiting > 0 {
			p.drawInto(g, dir)
		}
		b.first.splice(&b.again, dir)
	}
}

// settle fills the buckets up to now, in the middle of a tick. The caller begins new
// ticks now, and holds the loop's mu.
func (g *RateGroup) settle(now int64) {
	g.refill(now)
	for dir := range g.dirs {
		g.dirs[dir].fill(now - g.began - g.tick*int64(g.limit.Tick))
	}
}

// fill adds what the rate brings in elapsed nanoseconds, up to the burst.
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

// ask returns how many bytes m's stream may move now. After 0, mayMove is called when
// it may. Caller holds the loop's mu.
func (g *RateGroup) ask(m *share, dir int, now int64) int {
	b := &g.dirs[dir]
	if b.rate == 0 {
		return math.MaxInt
	}
	g.refill(now) // before granted tokens are used, or the bucket would get them twice
	switch {
	case m.granted[dir] > 0:
		return int(min(m.granted[dir], math.MaxInt))
	case m.waiting[dir]:
		return 0
	}
	if p := g.pool.Load(); p != nil && b.level <= 0 {
		p.drawInto(g, dir)
	}
	if g.members == 1 && b.level > 0 {
		b.grant(m, dir, b.level)
		return int(min(m.granted[dir], math.MaxInt))
	}
	m.waiting[dir] = true
	b.waiting++
	g.queue(m, dir).push(m, dir)
	if p := g.pool.Load(); p != nil {
		p.want(g, dir)
	}
	g.arrange(b, now)
	return 0
}

// queue returns the queue in which m stands if it waits. Caller holds the loop's mu.
func (g *RateGroup) queue(m *share, dir int) *shareQueue {
	if m.served[dir] == g.round {
		return &g.dirs[dir].again
	}
	return &g.dirs[dir].first
}

// unqueue makes m, which waits, wait no more. Caller holds the loop's mu.
func (g *RateGroup) unqueue(m *share, dir int) {
	g.queue(m, dir).remove(m, dir)
	g.dirs[dir].waiting--
	m.waiting[dir] = false
}

// grant gives n of b's tokens to m, which has used all that it had.
func (b *bucket) grant(m *share, dir int, n int64) {
	m.granted[dir] = n
	b.granted += n
	b.level -= n
}

// portions returns into how many portions of a useful size the tokens of b can be
// divided. Caller holds the loop's mu.
func (g *RateGroup) portions(b *bucket) int {
	if b.level <= 0 {
		return 0
	}
	if g.members == 1 {
		return 1
	}
	if n := b.level / min(rateMinShare, b.burst); n > 0 {
		return int(min(n, math.MaxInt))
	}
	if n, _ := inflow(b.rate, int64(g.limit.Tick), b.rest); n > b.burst-b.granted-b.level {
		return 1 // the next tick would exceed the burst: use them now
	}
	return 0
}

// arrange makes the loop call deal for the members that wait in b: in the next turn if
// there are tokens, so that members that ask before it share them, or at the next tick.
// Caller holds the loop's mu.
func (g *RateGroup) arrange(b *bucket, now int64) {
	l := g.loop
	if g.portions(b) > 0 {
		l.assign(g)
	} else if !g.timer.running() {
		next := g.began + (g.tick+1)*int64(g.limit.Tick)
		l.startTimer(&g.timer, now, time.Duration(max(next-now, 0)))
	}
}

// expired is called when a tick begins for which a member waits. Caller holds the
// loop's mu.
func (g *RateGroup) expired(now int64) { g.deal(now) }

// ready is never called: the poller does not know g.
func (g *RateGroup) ready(What) {}

// task gives tokens to the members that wait.
func (g *RateGroup) task() {
	l := g.loop
	now := l.clock()
	l.lock()
	defer l.unlock()
	g.deal(now)
}

func (g *RateGroup) registration() *registration { return &g.reg }

// deal gives tokens to the members that wait. Members that have got none in this round
// come first, and each gets at most its part of an even division among all members.
// When all that wait have got some, they divide the rest. Caller holds the loop's mu.
func (g *RateGroup) deal(now int64) {
	g.refill(now)
	for dir := range g.dirs {
		b := &g.dirs[dir]
		if b.rate == 0 { // SetLimit has removed the limit
			b.first.splice(&b.again, dir)
			for m := b.first.head; m != nil; m = b.first.head {
				b.first.remove(m, dir)
				m.waiting[dir] = false
				m.stream.mayMove(dir)
			}
			b.waiting = 0
			continue
		}
		queue, sharers := &b.first, g.members
		if queue.head == nil {
			queue, sharers = &b.again, b.waiting
		}
		for portions := min(g.portions(b), sharers); portions > 0 && queue.head != nil; portions-- {
			m := queue.head
			g.unqueue(m, dir)
			b.grant(m, dir, b.level/int64(portions))
			m.served[dir] = g.round
			m.stream.mayMove(dir)
		}
		if b.waiting > 0 {
			g.arrange(b, now)
		}
		g.putBack(dir)
	}
	g.stopIfIdle()
}

// stopIfIdle stops the timer if no member waits. Caller holds the loop's mu.
func (g *RateGroup) stopIfIdle() {
	if g.dirs[dirRead].waiting == 0 && g.dirs[dirWrite].waiting == 0 {
		g.loop.timers.stop(&g.timer)
	}
}

// giveBack puts the tokens that m has not used back into the bucket. Caller holds the
// loop's mu.
func (g *RateGroup) giveBack(m *share, dir int) {
	if n := m.granted[dir]; n > 0 {
		b := &g.dirs[dir]
		m.granted[dir] = 0
		b.granted -= n
		b.level += n
		if b.waiting > 0 && g.portions(b) > 0 {
			g.loop.assign(g)
		}
		g.putBack(dir)
	}
}

// leave ends m's membership. Caller holds the loop's mu.
func (g *RateGroup) leave(m *share) {
	for dir := range g.dirs {
		g.quit(m, dir)
	}
	g.members--
}

// quit puts the tokens that m has not used back, and takes m out of the queue. Caller
// holds the loop's mu.
func (g *RateGroup) quit(m *share, dir int) {
	g.giveBack(m, dir)
	if m.waiting[dir] {
		g.unqueue(m, dir)
		g.putBack(dir)
		g.stopIfIdle()
	}
}

// A stream has up to two limits: indices of streamExtra.shares.
const (
	ownShare = iota
	groupShare
)

// SetRateLimit limits how fast the stream reads and writes; nil removes the limit, but
// not the one of its RateGroup. If there was a limit, what was saved up stays, up to the
// new burst. A direction that waits for its rate is not idle (see SetIdleTimeouts). It
// returns an error if the limit is not valid, and ErrClosed after the end.
func (s *Stream) SetRateLimit(limit *RateLimit) error {
	if limit == nil {
		return s.setShare(ownShare, func(*Loop) (*RateGroup, error) { return nil, nil })
	}
	r := *limit
	if err := r.check(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.extra != nil && s.extra.shares[ownShare] != nil {
		defer s.mu.Unlock()
		return s.extra.shares[ownShare].group.SetLimit(r)
	}
	s.mu.Unlock()
	return s.setShare(ownShare, func(l *Loop) (*RateGroup, error) { return l.newRateGroup(r), nil })
}

// SetRateGroup makes the stream a member of g: it shares g's limit with the other members
// from then on, whatever loops they are of. nil makes it a member of no group. SetRateGroup
// returns ErrClosed after the end.
func (s *Stream) SetRateGroup(g *RateGroup) error {
	return s.setShare(groupShare, func(l *Loop) (*RateGroup, error) {
		if g == nil {
			return nil, nil
		}
		return g.on(l), nil
	})
}

// setShare replaces one of the stream's limits, which is an index of shares, by what
// group returns.
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

// mayMove makes s go on reading or writing. Caller holds the loop's mu.
func (s *Stream) mayMove(dir int) {
	l := s.Loop()
	if dir == dirRead && !s.life.closed() {
		l.enqueue(&s.source, workRead)
	} else if dir == dirWrite {
		l.assign(s)
	}
}

// quota returns how many of n bytes may be read or written now. After 0, mayMove is
// called when s may go on. Caller holds s.mu.
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

// moved counts n bytes that were read or written: against the limits, and as activity
// for the idle timeouts. Caller holds s.mu.
func (s *Stream) moved(dir, n int) {
	if s.extra != nil {
		s.extra.moved(dir, n)
	}
}

func (x *streamExtra) moved(dir, n int) {
	l := x.stream.Loop()
	if dir == dirWrite {
		x.sent += n
		if x.lingerEnds != 0 {
			x.movedAt = l.clock()
		}
	}
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
			used := min(int64(n), m.granted[dir]) // less than n if the limit was removed
			m.granted[dir] -= used
			m.group.dirs[dir].granted -= used
			if p := m.group.pool.Load(); p != nil {
				p.used(m.group, dir, used)
			}
		}
	}
}

// waive gives back the tokens that s has not used. Caller holds s.mu.
func (s *Stream) waive(dir int) {
	if s.extra != nil {
		s.extra.eachShare(dir, (*RateGroup).giveBack)
	}
}

// forgo is waive for a direction in which s will move nothing more. Caller holds s.mu.
func (s *Stream) forgo(dir int) {
	if s.extra != nil {
		s.extra.eachShare(dir, (*RateGroup).quit)
	}
}

// eachShare calls do for each of x's limits.
func (x *streamExtra) eachShare(dir int, do func(*RateGroup, *share, int)) {
	if x.shares == [2]*share{} {
		return
	}
	l := x.stream.lockLoop()
	defer l.unlock()
	for _, m := range x.shares {
		if m != nil {
			do(m.group, m, dir)
		}
	}
}

// throttled reports whether a direction waits for its rate. Caller holds the loop's mu.
func (x *streamExtra) throttled(dir int) bool {
	return slices.ContainsFunc(x.shares[:], func(m *share) bool {
		return m != nil && (m.waiting[dir] || m.granted[dir] > 0)
	})
}

// leaveShares ends the stream's membership in all limits. Caller holds the loop's mu.
func (x *streamExtra) leaveShares() {
	for i, m := range x.shares {
		if m != nil {
			m.group.leave(m)
			x.shares[i] = nil
		}
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import "math"

// maxRebalance is how many streams one call of Rebalance moves: a loop is not held up for longer
// than about a millisecond. Arbitrary.
const maxRebalance = 100

// Rebalance moves idle streams away from loop, one of the group's, if it is busier than others.
// Each goes to the least busy loop at that time, with [Stream.MoveTo]: its first message there is
// [Moved], and it takes its layer and the streams under its filters along. Rebalance returns how
// many it has moved, at most 100.
//
// New connections are divided by Balance when they come. But those of one loop may last longer
// than those of another one. So have each loop call Rebalance now and then:
//
//	tick := loop.Every(time.Second)
//	for ev := range loop.All() {
//		switch ev := ev.(type) {
//		case evchan.Tick:
//			if ev.Timer == tick {
//				g.Rebalance(loop)
//			}
//
// A loop is as busy as it has streams, which is what LeastStreams counts too. Rebalance ends when
// no loop that takes streams has at least two fewer, or when loop has no idle stream left.
//
// A stream is idle if it is open in both directions, its loop has nothing to tell or to do for it,
// no input waits to be read, and no output waits to be sent. What Notify has given to a channel, a
// stream that is being connected, and one that NetConn has taken are not idle.
//
// Like MoveTo for each of the streams, Rebalance may be called only by the goroutine that receives
// loop's messages. A stream belongs to it until it has moved. So do not use Rebalance if other
// goroutines read the streams of the loop. And in the body of a range, finish with the stream of
// the message first: it may be one that moves.
//
// With SourceHash, Rebalance moves nothing, since the connections of an address stay together. It
// panics if loop is not of the group.
func (g *Group) Rebalance(loop *Loop) (moved int) {
	if loop == nil || loop.member >= len(g.loops) || g.loops[loop.member] != loop {
		panic("evchan: Rebalance of a loop that is not of the group")
	}
	if g.balance == SourceHash || g.leastBusy(loop) == nil {
		return 0
	}
	for src := range loop.Sources() {
		s, ok := src.(*Stream)
		if !ok || !s.idle(loop) {
			continue
		}
		to := g.leastBusy(loop)
		if to == nil || moved == maxRebalance {
			break
		}
		if s.MoveTo(to) == nil {
			moved++
		}
	}
	return moved
}

// leastBusy returns the loop with the fewest streams, if it has at least two fewer than from; else
// nil.
func (g *Group) leastBusy(from *Loop) (least *Loop) {
	fewest := int64(math.MaxInt64)
	for _, l := range g.loops {
		if n := l.streams.Load(); n < fewest && !l.draining.Load() && !l.isClosed() {
			least, fewest = l, n
		}
	}
	if fewest > from.streams.Load()-2 {
		return nil
	}
	return least
}

// idle reports whether s is idle, for Rebalance.
func (s *Stream) idle(l *Loop) bool {
	if s.Queued() > 0 || s.in.held.Load() > 0 {
		return false
	}
	s.mu.Lock()
	defer s.unlock()
	if s.gone() || s.connecting() || s.in.eof || s.out.fin != finNone {
		return false
	}
	at := s.lockLoop()
	defer at.unlock()
	return at == l && s.route.Load() == &l.own && s.life == lifeOpen && !s.filtered && !s.queued && !s.busy && s.pend == 0 &&
		(s.layer == nil || s.layer.made == nil && !s.layer.asking)
}

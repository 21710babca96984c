// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import "time"

// A StreamConfig has the settings with which a stream begins. They hold before the stream
// sends its first message. A nil StreamConfig and zero values mean the defaults. The
// StreamConfig is copied.
//
// It is for Wrap, WrapFD, WrapFile, Pipe and Filter. [ListenConfig] and [DialConfig] have
// fields of the same names.
type StreamConfig struct {
	// Data is what Stream.Data begins with.
	Data any

	// Notify is the channel to which the stream sends its messages (see [Source]). nil
	// means the loop's own way; Filter then takes over the one of the stream below.
	Notify chan<- Event

	// Paused are the directions, some of Read and Write, that are paused until
	// [Stream.Resume].
	Paused What

	// MaxInput and MaxOutput replace those of Config. 0 means those of Config. If negative,
	// there is no limit.
	MaxInput, MaxOutput int

	// ReadLow and WriteLow are the low marks (see [Stream.SetReadMarks] and
	// [Stream.SetWriteMarks]).
	ReadLow, WriteLow int

	// ReadIdle and WriteIdle are the idle timeouts (see [Stream.SetIdleTimeouts]). 0 means
	// none; Filter then takes over those of the stream below.
	ReadIdle, WriteIdle time.Duration

	// Lifetime is how long the stream may live (see [Stream.SetLifetime]). 0 means for ever.
	Lifetime time.Duration

	// RateLimit is the stream's own limit. nil means none.
	RateLimit *RateLimit

	// RateGroup is the limit that the stream shares with others. nil means none.
	RateGroup *RateGroup

	// Layer turns the stream's messages into others, from the first one on. One Layer may serve
	// many streams, and call SetLayer in its first Next to give each one of its own. nil means
	// none.
	Layer Layer

	// Input has bytes that were read from the connection before, as http.Hijacker gives
	// them. They come before everything that the stream reads. The stream owns the slice
	// from then on. If there is an error, the slice is still yours.
	Input []byte
}

// A streamSetup is a StreamConfig that was checked, for streams of one loop. It never
// changes.
type streamSetup struct {
	StreamConfig
	limits *limits
	held   bool    // the stream sends nothing until putOver was called
	rest   *Buffer // more input, which comes after Input; nil: none
}

// setup checks c, which may be nil, and returns it with the limits filled in.
func (l *Loop) setup(c *StreamConfig) (*streamSetup, error) {
	if c == nil {
		return &streamSetup{limits: &l.limits}, nil
	}
	u := &streamSetup{StreamConfig: *c}
	u.Paused &= Read | Write
	if c.RateLimit != nil {
		limit := *c.RateLimit
		if err := limit.check(); err != nil {
			return nil, err
		}
		u.RateLimit = &limit
	}
	if c.RateGroup != nil {
		u.RateGroup = c.RateGroup.on(l)
	}
	u.limits = l.limits.with(c.MaxInput, c.MaxOutput).above(c.ReadLow, c.WriteLow)
	return u, nil
}

// setupLocked gives s its settings. Every way of making a stream calls it, before the loop
// knows s. The caller holds s.mu, and keeps it until s is published, because timers run from
// here on.
func (s *Stream) setupLocked(u *streamSetup) {
	s.Data = u.Data
	s.limits.Store(u.limits)
	s.paused = directions(u.Paused)
	if n := len(u.Input); n > 0 {
		c := newChunk(0)
		c.buf, c.w, c.mem = u.Input[:n:n], n, newMemory()
		s.in.unread.push(c)
		s.in.held.Store(int64(n))
	}
	if u.rest != nil {
		u.rest.invalidate()
		s.in.held.Add(int64(u.rest.n))
		s.in.unread.splice(&u.rest.chain)
	}
	if u.Notify == nil && u.ReadIdle <= 0 && u.WriteIdle <= 0 && u.Lifetime <= 0 && u.RateLimit == nil && u.RateGroup == nil && u.Layer == nil {
		return // the most frequent case
	}
	l := s.Loop()
	l.lock()
	if u.Notify != nil {
		s.route.Store(l.routeTo(u.Notify))
	}
	if u.Layer != nil {
		l.giveLayer(&s.source, u.Layer)
		s.in.set(flagQuiet)
	}
	if u.RateLimit != nil {
		s.more().join(ownShare, l.newRateGroup(*u.RateLimit))
	}
	if u.RateGroup != nil {
		s.more().join(groupShare, u.RateGroup)
	}
	l.unlock()
	if u.ReadIdle > 0 || u.WriteIdle > 0 {
		s.setIdle(u.ReadIdle, u.WriteIdle)
	}
	if u.Lifetime > 0 {
		s.setLifetime(u.Lifetime)
	}
}

// join makes x's stream a member of g. which is an index of shares. The caller holds the loop's
// lock.
func (x *streamExtra) join(which int, g *RateGroup) {
	x.shares[which] = &share{group: g, stream: x.stream}
	g.members++
}

// open gives s, which the loop does not know yet, its settings, makes the poller report on its
// descriptor, or its end of a pipe tell what happens, and publishes it with first as its first message. If open fails, s was never
// visible to others, and open closes its transport if close is true.
func (s *Stream) open(u *streamSetup, first pending, close bool) error {
	s.mu.Lock()
	defer s.unlock()
	s.setupLocked(u)
	l := s.Loop()
	l.lock()
	if l.closed {
		s.discard(l, close)
		return ErrClosed
	}
	if e, ok := s.transport().(*pipeEnd); ok {
		s.publish(l, first)
		l.unlock()
		e.attach()
		return nil
	}
	s.busy = true // so that enqueue only notes what the poller reports before s is published
	tok := l.register(s, s.sock.fd)
	l.unlock()
	err := l.poller.add(s.sock.fd, tok, streamInterest)
	l.lock()
	if l.closed {
		err = ErrClosed
	} else if err != nil {
		err = l.watchError(err)
	}
	if err != nil {
		l.unregister(s, s.sock.fd)
		s.discard(l, close)
		return err
	}
	s.busy = u.held
	s.publish(l, first)
	l.unlock()
	return nil
}

// publish makes s, which is complete, visible to others and live, with first as its first
// message. The caller holds s.mu and l's lock, and l is not closed.
func (s *Stream) publish(l *Loop, first pending) {
	if s.in.held.Load() > 0 {
		first |= msgReadable
	}
	l.streams.Add(1)
	l.refresh(&s.source)
	l.enqueue(&s.source, s.confirm(first))
	if l.draining.Load() {
		l.assign(s) // its task closes it
	}
}

// discard ends s, which was not published, and closes its transport if close is true. The
// caller holds s.mu, and l's lock, which discard unlocks.
func (s *Stream) discard(l *Loop, close bool) {
	t := s.transport()
	s.life = lifeClosed
	if s.extra != nil {
		s.extra.leave(l)
	}
	l.unlock()
	if close {
		t.close(false)
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import "errors"

// This file is about Over of ListenConfig and DialConfig, which puts a stream on top of
// another one before anything is told.

// putOver calls over for s, which nobody else knows yet, and gives the stream that over has put
// on top what of u over has not set. After an error s is closed.
func (s *Stream) putOver(over func(*Stream) (*Stream, error), u *streamSetup) (up *Stream, err error) {
	done := false
	defer func() {
		if !done { // or over has panicked
			s.Abort()
		}
	}()
	up, err = over(s)
	if err == nil && (up == nil || up.bottom() != s) {
		err = errors.New("evchan: Over has returned a stream that is not on top of the one that it was called with")
	}
	if err != nil {
		return nil, err
	}
	up.mu.Lock()
	defer up.mu.Unlock()
	if up.Data == nil {
		up.Data = u.Data
	}
	if l := up.Loop(); up.limits.Load() == &l.limits {
		up.limits.Store(u.limits)
	}
	done = true
	return up, nil
}

// An overTask calls Over in a turn of the loop that a Group has chosen for the stream, so that no
// task of the filter runs meanwhile.
type overTask struct {
	reg      registration
	listener *Listener
	stream   *Stream
	setup    *streamSetup
}

func (o *overTask) registration() *registration { return &o.reg }
func (o *overTask) ready(What)                  {} // is never called: the poller does not know o
func (o *overTask) task()                       { o.listener.putOver(o.stream, o.setup) }

// putOver calls Over for s, which was accepted and is held, and reports whether it has succeeded.
// u is the setup of the stream on top. It is called in a turn of the loop of s.
func (ln *Listener) putOver(s *Stream, u *streamSetup) bool {
	defer s.handOver(0) // it is held no longer
	up, err := s.putOver(ln.conf.Over, u)
	if err != nil {
		ln.mu.Lock()
		ln.failed(ln.Loop(), err)
		ln.mu.Unlock()
		return false
	}
	x := up.madeBy()
	l := up.lockLoop()
	defer l.unlock()
	switch {
	case x == nil:
		ln.admit(l, up)
	case x.open.Load():
		x.accepting = true
		x.tellOpen(l)
	default:
		x.accepting = true
	}
	return true
}

// bottom returns the stream at the bottom of those that s is on top of, which is s if it is on
// top of none.
func (s *Stream) bottom() *Stream {
	for {
		under := s.Under()
		if under == nil {
			return s
		}
		s = under
	}
}

// below returns the part of u that is for the stream under the one that Over makes.
func (u *streamSetup) below(l *Loop) *streamSetup {
	return &streamSetup{
		StreamConfig: StreamConfig{
			Notify:    u.Notify,
			Paused:    u.Paused,
			ReadIdle:  u.ReadIdle,
			WriteIdle: u.WriteIdle,
			Lifetime:  u.Lifetime,
			RateLimit: u.RateLimit,
			RateGroup: u.RateGroup,
		},
		limits: &l.limits,
	}
}

// admit has s, which ln has accepted or is on top of such a stream, send Accepted. Caller holds
// l.mu, and l is the loop of s.
func (ln *Listener) admit(l *Loop, s *Stream) {
	if s.life != lifeOpen {
		return
	}
	if ln.conf.Over != nil {
		s.giveLayer(l, ln.conf.Layer) // which hears of the stream from now on
	}
	if t := ln.division.recipient(l); t != nil {
		t.await(s)
	}
	l.enqueue(&s.source, s.confirm(msgAccepted))
}

// giveLayer gives s layer, unless that is nil or s has one. Caller holds l.mu, and l is the loop
// of s.
func (s *Stream) giveLayer(l *Loop, layer Layer) {
	if layer != nil && s.layer == nil {
		l.giveLayer(&s.source, layer)
		s.in.set(flagQuiet)
	}
}

// unaccepted reports whether Over has made s for a listener, and its Accepted was not sent.
// Caller holds s.mu and the loop's lock.
func (s *Stream) unaccepted() bool {
	if s.extra == nil {
		return false
	}
	x, ok := s.extra.transport.(*filtering)
	return ok && x.accepting
}

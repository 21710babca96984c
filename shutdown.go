// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"context"
	"errors"
	"fmt"
)

// Shutdown ends the loop gracefully. It closes all listeners, and then all streams, also
// those that are made meanwhile. It waits until all output is sent and the peers' systems have
// received it, but not for peers that only keep their end open. Then it does what Close does.
// From the beginning of Shutdown on, Listen returns ErrClosed.
//
// Shutdown returns nil if no output was lost. If ctx ends first, it closes the loop at once,
// and returns ctx.Err() if output was lost. Otherwise, if output was lost, it returns an error
// that says how much: a peer took nothing for Config.Linger or was gone, or Abort was called.
// If the loop is closed already, it returns ErrClosed.
//
// If no other goroutine makes the loop's turns, Shutdown makes them itself. So it may be
// called from anywhere, also in the body of a range and in a release function.
//
// To finish requests that are under way, call Listener.Close, finish them, and then call
// Shutdown. If a signal such as Ctrl-C is the reason, close its SignalWatch first: then a
// second Ctrl-C ends the program at once, as its user expects. Example GracefulShutdown does
// both.
func (l *Loop) Shutdown(ctx context.Context) error {
	if ctx == nil {
		return errors.New("evchan: Shutdown with a nil context")
	}
	l.lock()
	if l.closed {
		l.unlock()
		return ErrClosed
	}
	l.draining.Store(true)
	l.unlock()
	for s := range l.Sources() {
		if ln, ok := s.(*Listener); ok {
			ln.Close()
		}
	}
	// The tasks of the streams close them, also of those that are made later.
	l.lock()
	for _, s := range l.allLive() {
		if s, ok := s.owner.(*Stream); ok {
			l.assign(s)
		}
	}
	l.unlock()
	stop := context.AfterFunc(ctx, func() { l.poller.wake() })
	defer stop()
	for quiet := l.whenQuiet(); quiet != nil && ctx.Err() == nil; quiet = l.whenQuiet() {
		select {
		case <-quiet:
		case <-l.done:
		case <-ctx.Done():
		case l.turnc <- struct{}{}: // no other goroutine makes a turn
			func() {
				defer l.callReleases()
				defer func() { <-l.turnc }()
				if ctx.Err() == nil {
					l.turnHoldingToken(-1, false)
				}
			}()
			l.serveLayers(true)
		}
	}
	l.Close()
	l.lock()
	lost := l.lost
	l.unlock()
	switch {
	case lost == 0:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("evchan: Shutdown: %d bytes of output were lost", lost)
}

// noteLost counts n bytes of output as lost, for Shutdown. The caller holds l.mu.
func (l *Loop) noteLost(n int) {
	if l.draining.Load() {
		l.lost += n
	}
}

// noteLostLocking is noteLost for a caller that does not hold l.mu.
func (l *Loop) noteLostLocking(n int) {
	if n > 0 {
		l.lock()
		l.noteLost(n)
		l.unlock()
	}
}

// whenQuiet returns a channel that is closed when all streams are released. It returns nil if
// they are already, or if the loop is closed.
func (l *Loop) whenQuiet() <-chan struct{} {
	l.lock()
	defer l.unlock()
	if l.closed || l.streams.Load() == 0 {
		return nil
	}
	if l.quiet == nil {
		l.quiet = make(chan struct{})
	}
	return l.quiet
}

// streamReleased notes that a stream was released or moved away. The caller holds l.mu.
func (l *Loop) streamReleased() {
	if l.streams.Add(-1) == 0 && l.quiet != nil {
		close(l.quiet)
		l.quiet = nil
		l.wakePoller = true // it may be Shutdown that waits for the kernel
	}
}

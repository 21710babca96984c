// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"fmt"
	"log"
	"runtime/debug"
)

// A Layer turns the messages of a source into messages of its own: the bytes of a stream into
// lines, requests or frames, for example. So what a protocol has to say arrives in the same
// range as everything else, in the loop's order, with its priorities and Notify channels.
// SetLayer gives a source its layer; StreamConfig, ListenConfig and DialConfig have a field for
// it, so that the layer hears of the stream's first message.
//
//	type lines struct{}
//
//	func (lines) Next(src evchan.Source, ev evchan.Event) evchan.Event {
//		s := src.(*evchan.Stream)
//		if line, ok := s.Input().ReadLine(evchan.LFOrCRLF); ok {
//			return &Line{Text: string(line)} // Line embeds Custom
//		}
//		switch ev.(type) {
//		case evchan.Readable:
//			return nil // the line is not complete
//		case evchan.Stopping:
//			s.Close()
//			return nil
//		}
//		return ev
//	}
//
// Package evframe has layers for lines and frames.
//
// # Order
//
// When a message that Next has returned was received or retracted, the loop calls
// Next(src, nil) once, before it tells the layer of anything else. So a layer need not make more
// than one message of what it is told: it is asked for the rest. Calls of Again add one
// Next(src, nil), even while the one that follows a message is still to come. A source sends at
// most 16 messages in a row, and then goes to the end of its lane.
//
// Next runs at delivery, on the goroutine that delivers:
//
//   - with All, Poll and Batch.All, the receiver itself;
//   - otherwise, a goroutine of the loop;
//   - once Shutdown was called, perhaps another goroutine that makes the loop's turns, such as
//     the caller of Shutdown.
//
// Over a channel, Next(src, nil) runs while the receiver still has the message before. So:
//
//   - Input and Output of a stream belong to its layer, until SetLayer(nil).
//   - A message owns what it shows. [Buffer.MoveN] moves bytes to it without copying them.
//   - A layer that must stop at some point, at an upgrade for example, returns nil from then on
//     until [Source].Again: for the Next(src, nil) that follows its message, and for every
//     later call.
//
// What a layer has returned stays true until it is received: it is taken back only by your
// Close or Abort of the source, and by [Custom.Retract]. So a layer that ends a stream with a
// message returns that message first, and closes the stream at the next call of Next. Until the
// message is received, Filter and NetConn return ErrWouldBlock. MoveTo takes the layer and the
// message along. Once Filter was called on a stream, its layer hears only of the end, by End.
//
// # Input
//
// If a message is incomplete, the layer leaves its bytes in the input. It is told Readable when
// more have arrived, but not for what a call has left. When the input has reached its limit,
// Next is told Readable, and InputFull returns true: then the layer ends a stream whose message
// is too long for it.
//
// # Shutdown
//
// A stream without a layer is closed by Shutdown. If it has one, Next is told [Stopping], and
// Shutdown waits until the layer has closed the stream, or its context ends. So a layer that has
// nothing to finish calls Close at once. Stopping is told even while a message of the layer waits
// to be received; in that case, what Next returns for it is dropped.
//
// # The end
//
// If a layer has a method End(Source), the loop calls it once, after the last Next, however the
// source has ended: by Close or Abort, by NetConn, with the loop, or by the peer. In the last case
// End comes when Next has returned nil after Closed; then only a call of Again makes the loop
// call Next once more. End may be called by Close itself, if Next is not running. It is not
// called for a layer that SetLayer has replaced. The loop keeps a source whose layer has an
// End until the source has ended.
//
// If Next panics, its source ends: a stream sends Closed, and its Err has the panic's text and
// the stack. Another source is closed, and package log reports the panic. If Next calls
// runtime.Goexit, the same happens, and the goroutine ends: see [Filter].
type Layer interface {
	// Next turns ev into the message that src sends instead: a message of the layer's own,
	// ev itself, or nil for nothing. Once the message was received, Next is called with a
	// nil ev for more, until it returns nil. Again has it called with a nil ev as well.
	//
	// Next is called with no lock held, and never twice at once for one source. It may call
	// every method that does not wait, including Close of the source and SetLayer.
	Next(src Source, ev Event) Event
}

// maxLayerRow bounds how many messages of a layer come in a row before it is the turn of
// others of the lane. Arbitrary.
const maxLayerRow = 16

// A layering is what a source with a layer has. The loop's lock guards it.
type layering struct {
	layer    Layer   // nil: SetLayer(nil) was called while made was not received or Next was running
	made     Event   // what Next has returned and was not received; nil: nothing
	custom   *Custom // of made; nil: it has none
	row      int     // messages in a row
	asking   bool    // Next is running
	stopping bool    // Stopping was enqueued
	endDue   bool    // the source has ended while Next was running
}

// An ender is a layer that is told the end of its source.
type ender interface{ End(Source) }

// madeCustom returns the Custom of the message that was made and not received, if any.
func (x *layering) madeCustom() *Custom {
	if x == nil {
		return nil
	}
	return x.custom
}

// forget drops the message that was made, since it was received or taken back.
func (x *layering) forget() {
	if x.custom != nil {
		x.custom.release()
	}
	x.made, x.custom = nil, nil
}

// SetLayer has layer turn the source's messages into others from now on. nil means that the
// source sends its own messages again.
//
// The new layer, or the receiver, is told again what has happened to a stream: Readable if
// there is input, EOF, Closed; and Packets if datagrams wait. A Next that is running finishes
// as the old layer's. What the old layer has made and was not received is received first.
//
// SetLayer returns ErrClosed after Close, and an error if the source is under a filter. Any
// goroutine may call it, a layer in its Next among them.
func (s *source) SetLayer(layer Layer) error {
	l := s.lockAndWithdraw()
	defer l.unlock()
	return l.setLayer(s, layer)
}

// setLayer is SetLayer for a caller that holds the loop's lock and has withdrawn the offer.
func (l *Loop) setLayer(s *source, layer Layer) error {
	switch {
	case s.life.closed() || l.closed:
		return ErrClosed
	case s.filtered:
		return errors.New("evchan: SetLayer of a stream that is under a filter: set it on the one on top")
	}
	l.giveLayer(s, layer)
	s.pend &^= workAsk
	if s.queued && s.pend == 0 {
		s.route.Load().remove(s)
	}
	l.refresh(s)
	return nil
}

// giveLayer has layer be the layer of s. The caller holds l.mu.
func (l *Loop) giveLayer(s *source, layer Layer) {
	if _, ok := layer.(ender); ok {
		if l.enders == nil {
			l.enders = make(map[*source]struct{})
		}
		l.enders[s] = struct{}{}
	} else {
		delete(l.enders, s)
	}
	switch {
	case s.layer != nil:
		s.layer.layer, s.layer.stopping = layer, false
		if layer == nil && s.layer.made == nil && !s.layer.asking {
			s.layer = nil
		}
	case layer != nil:
		s.layer = &layering{layer: layer}
	}
}

// layered reports whether s has a layer. The caller holds the loop's lock.
func (s *source) layered() bool { return s.layer != nil && s.layer.layer != nil }

// Again has the source's layer called with a nil message, in the source's turn in the queue.
// Any goroutine may call it: one that has finished something that the layer will tell of, for
// example. Several calls count as one. A call within Next takes effect at the end of the lane.
// Again does nothing if there is no layer, and after Close; it works after Closed.
func (s *source) Again() {
	l := s.lockLoop()
	defer l.unlock()
	if s.layered() && !s.life.closed() && !s.filtered {
		l.enqueue(s, workAgain)
	}
}

// consult asks the layer of s, which next has taken out of its lane, for a message. It returns
// true if there is one: then s belongs to r, is in no lane, and has msgMade pending. Otherwise
// it has put s back if s has more to do. If feeds is true, the caller is r's feeder. The caller
// holds l.mu, which is let go meanwhile.
func (l *Loop) consult(r *route, s *source, feeds bool) bool {
	var ev Event
	var bit pending
	if ask := s.pend & workAsk; ask != 0 {
		s.pend &^= ask & -ask // workMore comes first
	} else {
		told := s.owner.confirm(s.pend & msgMask)
		s.pend = s.pend&^msgMask | told
		if told == 0 {
			l.drop(s, 0)
			return false
		}
		bit = told & -told
		s.pend &^= bit
		ev = s.owner.event(bit)
		if bit != msgAccepted { // it counts for MaxPending until Next returns
			s.owner.received(bit)
		}
	}
	return l.ask(r, s, bit, ev, feeds)
}

// ask calls Next of the layer of s, which is in no lane, with ev, the message of bit. If feeds is
// true, the caller is r's feeder. It returns what consult returns. The caller holds l.mu, which is
// let go meanwhile.
func (l *Loop) ask(r *route, s *source, bit pending, ev Event, feeds bool) bool {
	layer := s.layer.layer
	s.busy, s.layer.asking = true, true
	r.busy++
	l.left--
	l.unlock()

	finished := false
	defer func() {
		if !finished { // Next has called runtime.Goexit
			l.consulted(r, s, bit, nil, errLayerExited)
			l.unlock()
			if feeds {
				go l.feed(r)
			}
		}
	}()
	made, err := callNext(layer, s, ev)
	finished = true
	return l.consulted(r, s, bit, made, err)
}

var errLayerExited = errors.New("evchan: the Layer has called runtime.Goexit")

// callNext calls layer's Next. It turns a panic into an error.
func callNext(layer Layer, s *source, ev Event) (made Event, err error) {
	defer func() {
		if v := recover(); v != nil {
			made, err = nil, fmt.Errorf("evchan: the Layer has panicked: %v\n\n%s", v, debug.Stack())
		}
	}()
	made = layer.Next(s.owner, ev)
	if made == nil {
		return nil, nil
	}
	c, err := customOf(made)
	if err == nil && c != nil {
		err = c.claim(s, made)
	}
	if err != nil {
		return nil, fmt.Errorf("evchan: Layer.Next has returned a %T that cannot be sent: %w", made, err)
	}
	return made, nil
}

// consulted ends consult, whose Next has returned made for the message of bit, or has failed
// with err. It takes l.mu, and returns what consult returns.
func (l *Loop) consulted(r *route, s *source, bit pending, made Event, err error) bool {
	at := s.lockLoop() // not l, if s was moved meanwhile
	x := s.layer
	s.busy, x.asking = false, false
	if bit == msgAccepted {
		s.owner.received(bit)
	}
	if made != nil && x.made != nil { // of Stopping, see serveStopping
		if c, _ := customOf(made); c != nil {
			c.release()
		}
	} else if made != nil {
		x.made = made
		x.custom, _ = customOf(made)
		if s.life.closed() || at.closed {
			x.forget()
		} else {
			s.pend |= msgMade
		}
	}
	var end ender
	switch {
	case x.endDue, err != nil, s.life == lifeFailed && s.pend&^workRead == 0 && x.layer != nil:
		end, _ = x.layer.(ender)
		if _, ok := at.enders[s]; !ok {
			end = nil
		}
		delete(at.enders, s)
	}
	if err != nil {
		x.layer = nil
		s.pend &^= workAsk | msgStopping
	}
	if x.layer == nil && x.made == nil {
		s.pend &^= workAsk
		s.layer = nil
	}
	if s.pend&msgMade != 0 && s.pend&msgStopping != 0 {
		at.stopping = append(at.stopping, s)
		at.wakePoller = true
	}
	here := at == l && !at.closed && s.pend&msgMade != 0
	switch {
	case here:
	case s.pend == 0 || at.closed:
		at.refresh(s)
	case at.exitDue && s.pend&^workAsk != 0:
		at.unpop(s, 0) // what was pending at Exit is still delivered
	case !s.queued:
		at.push(s)
	}
	if !here && s.layer != nil {
		x.row = 0
	}
	if end != nil || err != nil || at != l {
		at.unlock()
		callEnd(end, s)
		if err != nil {
			s.owner.layerFailed(err)
		}
		l.lock()
	}
	r.busy--
	return here
}

// tookMade notes that the message that s's layer has made was received, and has the layer asked
// for more. The caller holds l.mu.
func (l *Loop) tookMade(s *source) {
	x := s.layer
	x.forget()
	switch {
	case x.layer == nil:
		s.layer = nil
	case !s.filtered && !s.life.closed():
		s.pend |= workMore
	}
}

// retractMade takes back the message that s's layer has made, whose Custom is c, and has the
// layer asked for the next one. The caller has withdrawn the offer of s, and holds l.mu.
func (l *Loop) retractMade(s *source, c *Custom) bool {
	if s.layer.madeCustom() != c {
		return false
	}
	s.layer.forget()
	if s.layer.layer == nil {
		s.layer = nil
	} else if !s.filtered {
		l.enqueue(s, workMore)
	}
	l.retract(s, msgMade)
	return true
}

// retractAll takes back all messages of s, those of its layer too, because s was closed. It
// returns the layer if the caller has to call its End, with no lock held. If Next is running,
// End is called when that has returned. The caller has withdrawn the offer of s, and holds l.mu.
func (l *Loop) retractAll(s *source) ender {
	if s.layer != nil {
		s.layer.forget()
	}
	l.retract(s, ^pending(0))
	return l.takeEnder(s)
}

// takeEnder is retractAll without taking anything back.
func (l *Loop) takeEnder(s *source) ender {
	if _, ok := l.enders[s]; !ok {
		return nil
	}
	if s.layer.asking {
		s.layer.endDue = true
		return nil
	}
	delete(l.enders, s)
	end, _ := s.layer.layer.(ender)
	return end
}

// unlockEnding is retractAll and unlock, and then calls End of the layer.
func (l *Loop) unlockEnding(s *source) {
	end := l.retractAll(s)
	l.unlock()
	callEnd(end, s)
}

// callEnd calls End of a layer of s, if end is not nil. The caller holds no lock.
func callEnd(end ender, s *source) {
	if end != nil {
		end.End(s.owner)
	}
}

// takeEnders returns the sources whose layers have to be told that the loop was closed. The
// caller holds l.mu.
func (l *Loop) takeEnders() map[*source]ender {
	ends := make(map[*source]ender)
	for s := range l.enders {
		if end := l.takeEnder(s); end != nil {
			ends[s] = end
		}
	}
	return ends
}

// layerFailed ends the source because its layer has failed with err.
func (s *source) layerFailed(err error) {
	log.Printf("%s is closed: %v", s.owner.label(), err)
	s.owner.Close()
}

// serveStopping tells Stopping to the layers of the sources in l.stopping that have a message
// waiting. Otherwise a Shutdown in the body of a range would wait for its own receiver. The caller
// holds no lock.
func (l *Loop) serveStopping() {
	l.lock()
	sources := l.stopping
	l.stopping = nil
	l.unlock()
	defer func() {
		if len(sources) > 0 { // Next has called runtime.Goexit: the others are told in the next turn
			l.lock()
			l.stopping = append(l.stopping, sources...)
			l.wakePoller = true
			l.unlock()
		}
	}()
	for len(sources) > 0 {
		s := sources[0]
		sources = sources[1:]
		at := s.lockAndWithdraw()
		const both = msgMade | msgStopping
		if at == l && s.queued && s.layered() && s.pend&both == both {
			r := s.route.Load()
			r.remove(s)
			s.pend &^= msgStopping
			if l.ask(r, s, msgStopping, s.owner.event(msgStopping), false) {
				l.unpop(s, 0)
			}
		}
		at.unlock()
	}
}

// serveLayers asks the layers of the sources that stand in queues whose receivers may be the ones
// that have called Shutdown, or may wait for it: those of feeders and, if own is true, the loop's
// own. What the layers make stays in the queue. The caller holds no lock.
func (l *Loop) serveLayers(own bool) {
	l.lock()
	finished := false
	defer func() {
		if !finished { // Next has called runtime.Goexit, and ask has let go of the lock: the others are asked in the next turn
			l.lock()
			l.layerWork, l.feederWork, l.wakePoller = l.layerWork || own, true, true
		}
		l.unlock()
	}()
	l.feederWork = false
	var queued []*source
	collect := func(r *route) {
		for _, q := range r.lanes {
			for s := q.head; s != nil; s = s.next {
				if s.layered() {
					queued = append(queued, s)
				}
			}
		}
	}
	if own {
		l.layerWork = false
	}
	if own || l.own.fed {
		collect(&l.own)
	}
	for _, r := range l.routes {
		collect(r)
	}
	for _, s := range queued {
		for s.queued && s.Loop() == l && s.pend&msgMade == 0 && !l.closed {
			r := s.route.Load()
			r.remove(s)
			if s.layered() && s.pend&(msgMask|workAsk) != 0 {
				if l.consult(r, s, false) {
					l.unpop(s, 0)
				}
				break // again in the next turn
			}
			if !l.prepareSource(r, s) {
				break
			}
			l.unpop(s, 0)
		}
	}
	finished = true
}

// hasMade reports whether s has a message of its layer that was not received. The caller does
// not hold the loop's lock.
func (s *source) hasMade() bool {
	l := s.lockAndWithdraw()
	defer l.unlock()
	return s.pend&msgMade != 0
}

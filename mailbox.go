// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"context"
	"errors"
	"math"

	"golang.org/x/sync/semaphore"
)

// A Mailbox brings messages of your own into the loop: any goroutine posts them, and they are
// received in the order in which they were posted, each exactly once, with the mailbox's
// priority and by its Notify channel. See [Custom] for what can be posted.
//
// A mailbox is made by [Loop.Mailbox]; the zero Mailbox is not usable. It need not be closed.
// It keeps the loop from being empty (see Config.ExitOnEmpty) while it has messages that were
// not received, and while more are expected (see Expect).
//
// In the queue, a mailbox stands like any other source: once one of its messages was received,
// it goes to the end of its lane.
type Mailbox struct {
	source

	// Data is for you. The package does not use it.
	Data any

	room *semaphore.Weighted // what is left of the limit; nil: no limit

	// The loop's lock guards the following.

	head, tail *Custom
	n          int
	expected   int // how many messages Expect still waits for
}

// Mailbox returns a new mailbox. limit is the number of messages at which Post returns
// ErrFull: those that were posted and not received. 0 means no limit, and so do negative
// values. On a closed loop, Post returns ErrClosed.
func (l *Loop) Mailbox(limit int) *Mailbox {
	m := new(Mailbox)
	m.init(l, m)
	if limit > 0 {
		m.room = semaphore.NewWeighted(int64(limit))
	}
	return m
}

// Post sends ev, which is a pointer to a struct that embeds [Custom]. It never waits. Any
// goroutine may call it, the receiver among them. Until ev is received, it belongs to the
// mailbox. A message that was received may be posted again at once.
//
// Post returns
//   - ErrFull, if the mailbox has as many messages as its limit;
//   - ErrClosed, after Close and on a closed loop;
//   - an error, if ev is nil, embeds no Custom, or was sent and not received yet.
//
// Then ev was not sent, and is still yours.
func (m *Mailbox) Post(ev Event) error {
	if m.room != nil && !m.room.TryAcquire(1) {
		if m.isClosed() {
			return ErrClosed
		}
		return ErrFull
	}
	return m.post(ev)
}

// Send is Post that waits while the mailbox is full. It returns ctx.Err() if ctx ends before
// there is room. Goroutines that wait are served in the order in which they came.
//
// Send is for goroutines that produce messages. The receiver must not call it: it would wait
// for itself.
func (m *Mailbox) Send(ctx context.Context, ev Event) error {
	if ctx == nil {
		return errors.New("evchan: Send with a nil context")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.room != nil {
		// When the mailbox is closed, each waiting goroutine gets room, and passes it on.
		if err := m.room.Acquire(ctx, 1); err != nil {
			return err
		}
	}
	return m.post(ev)
}

// post is Post of a message that there is room for.
func (m *Mailbox) post(ev Event) error {
	c, err := customOf(ev)
	switch {
	case err != nil:
	case c == nil:
		err = errNotCustom
	default:
		err = c.claim(&m.source, ev)
	}
	if err != nil {
		m.free(1)
		return err
	}
	l := m.lockLoop()
	defer l.unlock()
	if m.life != lifeOpen || l.closed {
		c.release()
		m.free(1)
		return ErrClosed
	}
	l.seq++
	c.seq = l.seq
	if m.tail == nil {
		m.head = c
	} else {
		m.tail.next, c.prev = c, m.tail
	}
	m.tail = c
	c.in.Store(m)
	m.n++
	m.expected = max(m.expected-1, 0)
	if m.n == 1 { // otherwise the message before makes the queue go on with this one
		l.enqueue(&m.source, msgSingle)
	}
	return nil
}

// free gives back the room of n messages.
func (m *Mailbox) free(n int) {
	if m.room != nil && n > 0 {
		m.room.Release(int64(n))
	}
}

// isClosed reports whether Post returns ErrClosed.
func (m *Mailbox) isClosed() bool {
	l := m.lockLoop()
	defer l.unlock()
	return m.life != lifeOpen || l.closed
}

// Expect says that n more messages will be posted. Until they are, the mailbox keeps the loop
// from being empty (see Config.ExitOnEmpty), as it does while it has messages. So a program
// calls Expect(1), starts a goroutine that posts its result, and the loop waits for that. A
// negative n takes expectations back.
func (m *Mailbox) Expect(n int) {
	l := m.lockLoop()
	defer l.unlock()
	if m.life != lifeOpen || l.closed {
		return
	}
	if n > 0 && m.expected > math.MaxInt-n {
		m.expected = math.MaxInt
	} else {
		m.expected = max(m.expected+n, 0)
	}
	l.refresh(&m.source)
}

// Len returns how many messages were posted and not received.
func (m *Mailbox) Len() int {
	l := m.lockAndWithdraw() // a feeder may have sent one and not noted it yet
	defer l.unlock()
	return m.n
}

// Close ends the mailbox, and takes back the messages that were not received: they may be
// posted elsewhere. Goroutines that wait in Send get ErrClosed.
func (m *Mailbox) Close() error {
	l := m.lockAndWithdraw()
	m.life = lifeClosed
	m.emptyLocked()
	l.unlockEnding(&m.source)
	return nil
}

// emptyLocked takes back all messages. The caller holds the loop's lock.
func (m *Mailbox) emptyLocked() {
	for c := m.head; c != nil; {
		next := c.next
		c.next, c.prev = nil, nil
		c.in.Store(nil)
		c.release()
		c = next
	}
	m.free(m.n)
	m.head, m.tail, m.n, m.expected = nil, nil, 0, 0
}

// remove takes c out of the list. The caller holds the loop's lock.
func (m *Mailbox) remove(c *Custom) {
	if c.prev == nil {
		m.head = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		m.tail = c.prev
	} else {
		c.next.prev = c.prev
	}
	c.next, c.prev = nil, nil
	c.in.Store(nil)
	m.n--
	c.release()
	m.free(1)
}

// retractLocked takes c back, which is in m. The caller has withdrawn m's offer, and holds
// l's lock.
func (m *Mailbox) retractLocked(l *Loop, c *Custom) {
	m.remove(c)
	if m.n == 0 {
		l.retract(&m.source, msgSingle)
	}
}

func (m *Mailbox) event(pending) Event { return m.head.self }

// received takes the first message out of the list. If there are more, the source goes on to
// be pending.
func (m *Mailbox) received(pending) {
	if m.head == nil {
		return // the loop was closed while a receiver took the message
	}
	m.remove(m.head)
	if m.n > 0 {
		m.pend |= msgSingle
	}
}

func (m *Mailbox) alive() bool { return m.life == lifeOpen && m.expected > 0 }

func (m *Mailbox) abandon() {
	l := m.lockLoop()
	defer l.unlock()
	m.life = lifeClosed
	m.emptyLocked()
}

func (m *Mailbox) label() string { return "mailbox" }

func (m *Mailbox) dump() string {
	l := m.lockLoop()
	defer l.unlock()
	d := "mailbox " + m.words() + " len=" + itoa(m.n)
	if m.expected > 0 {
		d += " expected=" + itoa(m.expected)
	}
	return d
}

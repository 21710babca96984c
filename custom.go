// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
)

// Custom makes messages of your own. Embed it in a struct, and a pointer to that struct is an
// [Event]:
//
//	type JobDone struct {
//		evchan.Custom
//		ID int
//	}
//	...
//	box := loop.Mailbox(0)
//	go func() {
//		work()
//		box.Post(&JobDone{ID: 7})
//	}()
//	for ev := range loop.Events() {
//		switch ev := ev.(type) {
//		case *JobDone:
//			log.Print(ev.ID, " is done")
//		}
//	}
//
// There are two ways to send such a message: [Mailbox.Post], and a [Layer] that returns it.
// It is then received as all messages are, by All, Events and so on. A message is sent once at
// a time. Once it was received, it may be sent again, which allocates nothing.
//
// The zero Custom is ready for use. A Custom must not be copied after its message was sent.
// The methods may be called by the goroutine that sends the message, and by the one that has
// received it; Retract is safe for concurrent use.
type Custom struct {
	sent atomic.Bool            // sent, and not yet received
	from atomic.Pointer[source] // that sends it or has sent it last; nil: none; set by the goroutine that has set sent
	self Event                  // what c is embedded in; set with from

	// In a mailbox. The lock of the mailbox's loop guards these, and changes of in.
	in         atomic.Pointer[Mailbox] // nil: in none. claim comes before, without that lock
	next, prev *Custom
	seq        uint64 // of Loop.seq, when it was posted
}

// Errors of Post.
var (
	errNoMessage = errors.New("evchan: the message is nil")
	errNotCustom = errors.New("evchan: the message does not embed Custom, so it cannot be sent")
	errSent      = errors.New("evchan: the message was sent already, and not yet received")
)

// Source returns the mailbox that the message was last posted to, or the source whose layer
// has made it. Before that, it returns nil.
func (c *Custom) Source() Source {
	if s := c.from.Load(); s != nil {
		return s.owner
	}
	return nil
}

// String returns the name of the message's type, with its package, and describes its source.
// Define a String method of your own to say more.
func (c *Custom) String() string {
	if s := c.from.Load(); s != nil {
		return fmt.Sprintf("%T %s", c.self, s.owner.label())
	}
	return "message that was not sent"
}

// Retract takes the message back if it was sent and not yet received, and reports whether it
// was. A message that lies in a buffered channel of Notify has been received. The layer that
// has made the message is asked for its next one.
func (c *Custom) Retract() bool {
	s := c.from.Load()
	if s == nil {
		return false
	}
	l := s.lockAndWithdraw()
	defer l.unlock()
	if m, ok := s.owner.(*Mailbox); ok && c.in.Load() == m {
		m.retractLocked(l, c)
		return true
	}
	return l.retractMade(s, c)
}

func (c *Custom) kind() eventKind { return kindCustom }

// custom leads from an event to the Custom that it embeds.
func (c *Custom) custom() *Custom { return c }

// customOf returns the Custom that ev embeds, or nil if it embeds none. It returns an error
// if ev is nil or a nil pointer.
func customOf(ev Event) (*Custom, error) {
	if ev == nil {
		return nil, errNoMessage
	}
	e, ok := ev.(interface{ custom() *Custom })
	if !ok {
		return nil, nil
	}
	if v := reflect.ValueOf(ev); v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, errNoMessage
	}
	return e.custom(), nil
}

// claim notes that s sends ev, whose Custom is c. It returns an error if ev was sent already
// and not received. The caller holds no lock.
func (c *Custom) claim(s *source, ev Event) error {
	if !c.sent.CompareAndSwap(false, true) {
		// It may have been received, and the feeder has not noted that yet.
		if from := c.from.Load(); from != nil {
			from.lockAndWithdraw().unlock()
		}
		if !c.sent.CompareAndSwap(false, true) {
			return errSent
		}
	}
	c.from.Store(s)
	c.self = ev
	return nil
}

// release notes that the message was received or taken back.
func (c *Custom) release() { c.sent.Store(false) }

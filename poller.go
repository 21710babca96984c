// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"strings"
	"time"
)

// A poller reports which descriptors are ready. Each method has one file, with
// the same functions in the same order: epoll (poller_linux.go), kqueue
// (poller_kqueue.go), poll (poller_poll.go) and afd (poller_windows.go).
//
// All methods but wait may be called from any goroutine at any time, also
// while another goroutine is inside wait, and take effect for that wait. After
// close every one of them fails. Errors are the system's, unwrapped.
//
// Conditions are some of Read, Write and EarlyClose. Of what is reported,
// readiness may be spurious: it may be over by the time it is looked at.
//
// urgent may be asked for along with them. Then it is reported when there are urgent
// bytes or, by a method that cannot tell, with every Read: with Edge, that a read has
// given less than was asked for does not mean that there is no more. A method without
// FeatureEdge takes no notice of it: after such a read arm tells.
type poller interface {
	// name returns the method's name, as in Config.Method.
	name() string

	// features returns what the method can do.
	features() Feature

	// add starts to monitor fd for the conditions in i: level-triggered, or
	// edge-triggered with Edge.
	//
	// Level-triggered: a condition is reported by every wait as long as it
	// lasts. Edge-triggered: it is reported when it begins, which includes what
	// is there at the time of add, and when it is renewed; others that last may
	// be reported along with it. A method without
	// FeatureEdge reports an edge-triggered condition once and then no more
	// until arm asks for it, so a user calls arm when an operation has
	// returned EAGAIN.
	//
	// With no condition in i only a hangup is reported, and that once, as if
	// Edge were given: nobody could do anything about a lasting one.
	//
	// A registration of the same fd that is still there is replaced. The kernel
	// may keep one for a descriptor that was closed without remove, where
	// another descriptor refers to the same open file.
	//
	// It fails for what is not a descriptor, and with EPERM, or ErrUnsupported on
	// Windows, for one that the method cannot monitor (see FeatureAnyFD).
	add(fd sysFD, tok token, i What) error

	// arm changes what is asked of fd, and its token, and asks anew: what is
	// ready now is reported (again). It fails with ENOENT if fd is not monitored.
	arm(fd sysFD, tok token, i What) error

	// remove stops monitoring fd. It must be called before fd is closed.
	// Reports already returned by wait are the caller's to drop, by their
	// tokens; later waits return none, except for one in progress which may
	// have taken its results before. It fails with ENOENT if fd is not monitored.
	remove(fd sysFD) error

	// wait appends what is ready to dst and returns it. It blocks until
	// something is or until about d has passed, for ever if d < 0 and not at
	// all if d == 0. It may return early with nothing. It is called by one
	// goroutine at a time.
	//
	// A wait that returns with something may leave a wake to the next one, or
	// consume it: the caller looks after every wait that blocked for whatever
	// others may have wanted of it.
	wait(dst []ready, d time.Duration) ([]ready, error)

	// wake makes a wait that blocks (d != 0) return, the one in progress or else
	// the next. Wakes coalesce: those before that wait returns count as one.
	wake() error

	// close releases all. A wait in progress returns, with an error or with
	// nothing. Calls after the first do nothing.
	close() error
}

// A token names a registration. The poller does not interpret it, except that
// slots are small numbers in dense use, so that it may keep a table of them.
// The slot 1<<32-1 is reserved for the poller.
type token struct {
	slot uint32 // index of the source
	gen  uint32 // tells a registration from an earlier holder of the slot
}

// A ready is one report of a poller.
//
// What is some of Read, Write, EarlyClose and urgent, as far as they were asked
// for, and hangup. A hangup (the descriptor has failed, or both its directions are
// over, or it is closed) comes with all conditions that were asked for, and
// alone if there were none.
type ready struct {
	tok  token
	what What
}

// triggers are the conditions that a poller knows.
const triggers = Read | Write | EarlyClose

// A method is a way of polling that this platform has.
type method struct {
	name     string
	features Feature
	open     func() (poller, error)
}

// What is a set of conditions. As an interest it says what to watch for: some
// of Read, Write and EarlyClose, and the modes Edge and Persist. As a result
// it says what happened: some of Read, Write, EarlyClose and Timeout.
type What uint8

const (
	Read       What = 1 << iota // input, an end of input, or a connection to accept
	Write                       // room for output
	EarlyClose                  // the peer has finished sending or is gone, whatever is still unread
	Timeout                     // the time limit of an armed Watch or of an idle Stream has passed
	Edge                        // report new readiness only, not readiness that lasts
	Persist                     // stay armed after a message

	// hangup accompanies Read and Write in what a poller reports: the
	// descriptor has failed or both its directions are over, whatever was asked.
	hangup

	// urgent asks for, and says, that there are urgent bytes (tcp(7)): a read
	// stops before them though there is more.
	urgent
)

// conditions are the members of What that can happen.
const conditions = Read | Write | EarlyClose | Timeout

// String returns the names of the members of w joined by "|", or "0".
func (w What) String() string {
	if w == 0 {
		return "0"
	}
	var names []string
	for i, name := range [...]string{"Read", "Write", "EarlyClose", "Timeout", "Edge", "Persist", "hangup", "urgent"} {
		if w&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "|")
}

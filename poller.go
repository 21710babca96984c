// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"strings"
	"time"
)

// A poller reports which descriptors are ready. Each method has one file, with
// the same functions in the same order: epoll (poller_linux.go), kqueue
// (poller_kqueue.go), poll (poller_poll.go) and afd (poller_windows.go). The method
// memory (poller_memory.go) has no descriptors: it only waits and wakes.
//
// All methods but wait may be called from any goroutine at any time. If a wait is in
// progress, they take effect for it. After close all of them fail. Errors are the
// system's, unwrapped.
//
// Conditions are some of Read, Write and EarlyClose. A reported condition may be over
// by the time that the descriptor is used.
//
// urgent may be asked for along with conditions. It is reported when there are urgent
// bytes; a method that cannot tell reports it with every Read. It means that with Edge
// a short read does not prove that nothing is left. A method without FeatureEdge
// ignores urgent: call arm after a short read, and it reports what is left.
type poller interface {
	// name returns the method's name, as in Config.Method.
	name() string

	// features returns what the method can do.
	features() Feature

	// add starts to monitor fd for the conditions in i: level-triggered, or
	// edge-triggered with Edge.
	//
	// Level-triggered: every wait reports a condition as long as it lasts.
	//
	// Edge-triggered: a condition is reported if it holds at the time of add, when
	// it begins, and when it is renewed. Other conditions that last may be reported
	// with it. A method without FeatureEdge reports an edge-triggered condition once,
	// and again only after arm: call arm when an operation has returned EAGAIN.
	//
	// Without a condition in i, only a hangup is reported, once.
	//
	// add replaces an existing registration of fd. There may be one although the
	// descriptor was closed: the kernel keeps it if it was not removed and another
	// descriptor refers to the same open file.
	//
	// It fails if fd is not a descriptor. If the method cannot monitor fd (see
	// FeatureAnyFD), it fails with EPERM, on Windows with ErrUnsupported.
	add(fd sysFD, tok token, i What) error

	// arm replaces the conditions and the token of fd. Conditions that hold now are
	// reported, also if they were reported before. It fails with ENOENT if fd is not
	// monitored.
	arm(fd sysFD, tok token, i What) error

	// remove stops monitoring fd. Call it before fd is closed. A wait in progress may
	// still report fd, later waits do not; the caller drops late reports by their
	// tokens. It fails with ENOENT if fd is not monitored.
	remove(fd sysFD) error

	// removeIf is remove, if tok is the token of fd; else it does nothing and fails with
	// ENOENT. It is for a caller that does not own fd: if fd was closed meanwhile and its
	// number used again, the new registration stays.
	removeIf(fd sysFD, tok token) error

	// wait appends what is ready to dst and returns it. It blocks until
	// something is ready or about d has passed: without limit if d < 0, and not at
	// all if d == 0. It may return early with nothing. It is called by one
	// goroutine at a time.
	//
	// A wait that returns reports may also consume a wake, or leave it to the next
	// wait. So after every wait with d != 0 the caller checks everything for which it
	// may have been woken.
	wait(dst []ready, d time.Duration) ([]ready, error)

	// wake ends the wait in progress if it has d != 0, else the next one that has.
	// All wakes before that wait returns count as one.
	wake() error

	// close releases all descriptors and memory. A wait in progress returns, with an
	// error or with nothing. Calls after the first do nothing.
	close() error
}

// A token identifies a registration. Slots are small numbers, so a poller may keep
// a table of them; otherwise it does not interpret tokens. The slot 1<<32-1 is
// reserved for the poller.
type token struct {
	slot uint32 // index of the source
	gen  uint32 // generation of the slot: differs from that of its earlier sources
}

// A ready is one report of a poller.
//
// What is some of Read, Write, EarlyClose and urgent, if they were asked for, and
// hangup. A hangup means that the descriptor has failed, both its directions have
// ended, or it is closed. It comes with all conditions that were asked for; if there
// were none, alone.
//
// errorOnly comes with a hangup that the system has reported because of an error, while
// none of the conditions that were asked for holds. The error may last although the descriptor is in use: on
// Linux, as long as a socket's error queue is not empty (IP_RECVERR in ip(7)).
type ready struct {
	tok  token
	what What
}

// whatPolled has the conditions that a poller reports.
const whatPolled = Read | Write | EarlyClose

// A method is a polling mechanism of this system.
type method struct {
	name     string
	features Feature
	open     func() (poller, error)
}

// methods returns the methods of this system, best first. The last one is memory.
func methods() []method {
	return append(kernelMethods(), method{"memory", memoryFeatures, openMemory})
}

// What is a set of conditions. As an interest it says what to watch for: some
// of Read, Write and EarlyClose, and the modes Edge and Persist. As a result
// it says what happened: some of Read, Write, EarlyClose and Timeout.
type What uint32

const (
	Read       What = 1 << iota // input, an end of input, or a connection to accept
	Write                       // room for output
	EarlyClose                  // the peer has finished sending or is gone, whatever is still unread
	Timeout                     // the time limit of an armed Watch or of an idle Stream has passed
	Edge                        // report new readiness only, not readiness that lasts
	Persist                     // stay armed after a message

	// hangup: the descriptor has failed, or both its directions have ended. A poller
	// reports it whether or not it was asked for. See ready.
	hangup

	// urgent: there are urgent bytes (tcp(7)), so a read may stop although more
	// input is there. See poller.
	urgent

	// errorOnly: there is an error, and nothing else. See ready.
	errorOnly
)

// errorPause is how long an error that lasts is not asked for again: long enough to cost
// little, short enough not to delay much input that comes in the meantime. Arbitrary.
const errorPause = 10 * time.Millisecond

// whatHappens has the members of What that a result can have.
const whatHappens = whatPolled | Timeout

// String returns the names of the members of w joined by "|", or "0".
func (w What) String() string {
	if w == 0 {
		return "0"
	}
	var names []string
	for i, name := range [...]string{"Read", "Write", "EarlyClose", "Timeout", "Edge", "Persist", "hangup", "urgent", "errorOnly"} {
		if w&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "|")
}

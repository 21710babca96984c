// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"fmt"
	"io"
	"iter"
	"reflect"
	"strconv"
)

// Sources returns an iterator over the sources that are live when the range begins,
// each once, in no particular order. A source is live if it can send a message
// without another call of yours:
//
//   - a running timer, an armed watch, a signal watch;
//   - a listener or packet connection that is not paused;
//   - a stream that is open or closing;
//   - any source with a message that was not received yet.
func (l *Loop) Sources() iter.Seq[Source] {
	return func(yield func(Source) bool) {
		l.lock()
		live := l.allLive()
		l.unlock()
		for _, s := range live {
			if !yield(s.owner) {
				return
			}
		}
	}
}

// Dump writes one line for each live source, which people and programs can read: the kind, and
// then words of the form key=value. Words are separated by spaces; a value that has spaces is
// quoted as in Go. These words come in lines of every kind:
//
//	prio=LANE       the priority
//	pending=NAMES   the messages that were not received yet, "-" if none
//	layer=TYPE      the layer, if there is one
//	background      after SetBackground(true)
//	fd=NUMBER       the descriptor, if the source has one
//
// The other keys depend on the kind. Dump receives no message and changes nothing. It returns
// the first error of w.
func (l *Loop) Dump(w io.Writer) error {
	for s := range l.Sources() {
		if _, err := io.WriteString(w, s.(owner).dump()+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// Stats are counts of what a loop has done since New.
type Stats struct {
	Turns    uint64            // turns of the loop
	Polls    uint64            // how often the kernel was asked what is ready: once a turn
	Wakeups  uint64            // polls that were allowed to wait
	Messages map[string]uint64 // messages received, by the name of their type; with the package for those that embed Custom
	BytesIn  uint64            // bytes that streams and packet connections have read
	BytesOut uint64            // bytes that they have written to the kernel
	Sources  int               // live sources at present
	Queue    int               // sources that wait in the loop's own queue at present
	Lanes    []int             // the same by priority
	Timers   int               // running timers at present
}

// Stats returns counts of what the loop has done so far.
func (l *Loop) Stats() Stats {
	l.lock()
	defer l.unlock()
	st := Stats{
		Turns:    l.turns,
		Polls:    l.turns,
		Wakeups:  l.wakeups,
		Messages: make(map[string]uint64),
		BytesIn:  l.bytesIn.Load(),
		BytesOut: l.bytesOut.Load(),
		Sources:  l.sources(),
		Queue:    l.own.n,
		Lanes:    make([]int, len(l.own.lanes)),
		Timers:   l.timers.n,
	}
	for i := range l.own.lanes {
		st.Lanes[i] = l.own.lanes[i].n
	}
	for t, n := range l.customs {
		st.Messages[t.String()] = *n
	}
	for kind, n := range l.messages {
		if n > 0 && eventKind(kind) != kindCustom {
			st.Messages[kindNames[kind]] = n
		}
	}
	return st
}

// words returns the words of Dump that all sources have. Caller holds the loop's mu.
func (s *source) words() string {
	names := ""
	unreceived := s.unreceived()
	for bit := msgMade; bit <= msgSingle; bit <<= 1 {
		if unreceived&bit != 0 {
			if names != "" {
				names += ","
			}
			names += typeName(s.message(bit))
		}
	}
	if names == "" {
		names = "-"
	}
	words := "prio=" + itoa(int(s.prio)) + " pending=" + names
	if s.layered() {
		words += " layer=" + quote(fmt.Sprintf("%T", s.layer.layer))
	}
	if s.background {
		words += " background"
	}
	return words
}

// typeName returns the name of ev's type, with its package if it is not of this package.
func typeName(ev Event) string {
	if kind := ev.kind(); kind != kindCustom {
		return kindNames[kind]
	}
	return reflect.TypeOf(ev).String()
}

func itoa(n int) string { return strconv.Itoa(n) }

// quote returns s, quoted as in Go if it could not be read back otherwise.
func quote(s string) string {
	if q := strconv.Quote(s); q != `"`+s+`"` || s == "" || containsSpace(s) {
		return q
	}
	return s
}

func containsSpace(s string) bool {
	for _, c := range s {
		if c == ' ' {
			return true
		}
	}
	return false
}

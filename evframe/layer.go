// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evframe

import (
	"errors"
	"io"
	"math"

	"github.com/evchan/evchan"
)

// ErrTooLong is the reason of an [Error] for a line or a frame that is longer than the limit.
// AppendFrame and the like return it for what the peer would refuse for that reason.
var ErrTooLong = errors.New("evframe: longer than the limit")

// defaultLimit is the limit of lines and frames where the configuration has none.
const defaultLimit = 64 << 10

// limitOf returns the limit that the field of a configuration stands for.
func limitOf(field int) int {
	switch {
	case field == 0:
		return defaultLimit
	case field < 0:
		return math.MaxInt / 2
	}
	return field
}

// A parser takes messages from the input of one stream.
type parser interface {
	// next takes the first message from in. If that is not complete, it returns nil, and how
	// many bytes it needs at least to go on. An error ends the stream's messages.
	next(in *evchan.Buffer) (m evchan.Event, need int, err error)

	// skipHead removes from in, which has an incomplete message, what is not part of that.
	skipHead(in *evchan.Buffer)
}

// install gives src a layer of its own, in the first Next of a layer that serves many
// streams, and returns what is sent instead of ev.
func install(p parser, step bool, src evchan.Source, ev evchan.Event) evchan.Event {
	if _, ok := src.(*evchan.Stream); !ok {
		return ev // not a source of bytes
	}
	src.SetLayer(&layer{parser: p, step: step})
	switch ev.(type) {
	case evchan.Readable, evchan.EOF, evchan.Closed, evchan.Stopping:
		return nil // the new layer is told again
	}
	return ev
}

// A layer makes messages of one stream's input.
type layer struct {
	parser  parser
	step    bool // stop after each message, until Again
	stopped bool // a message was made, and Again was not called yet
	asked   bool // Next has returned a message: a nil one will come for more
	raised  bool // the input's limit was raised, for a message that is longer
	failed  bool // an Error was made: the rest of the input is dropped
	eof     bool // EOF was told, and is sent once the messages before are made
	closed  bool // Closed was told, the same way
}

// Next makes the next message.
func (x *layer) Next(src evchan.Source, ev evchan.Event) evchan.Event {
	s := src.(*evchan.Stream)
	switch ev.(type) {
	case nil:
		if x.asked {
			x.asked = false
		} else {
			x.stopped = false // Again was called
		}
	case evchan.Readable:
	case evchan.EOF:
		x.eof = true
	case evchan.Closed:
		x.closed = true
	case evchan.Stopping:
		s.Close() // as Shutdown does with streams that have no layer
		return nil
	default:
		x.asked = true
		return ev
	}
	made := x.make(s)
	x.asked = made != nil
	return made
}

// make returns the next message if there is one and it is time for it.
func (x *layer) make(s *evchan.Stream) evchan.Event {
	if x.stopped || s.OutputFull() { // Again or Drained will come
		return nil
	}
	in := s.Input()
	if !x.failed {
		m, need, err := x.parser.next(in)
		switch {
		case m != nil:
			x.stopped = x.step
			x.lower(s)
			return m
		case err != nil:
			return x.fail(err)
		case x.eof && in.Len() > 0:
			x.parser.skipHead(in)
			e := x.fail(io.ErrUnexpectedEOF)
			e.take(in, in.Len(), nil)
			return e
		}
		x.raise(s, need)
	}
	if x.failed {
		in.Discard(in.Len())
		x.lower(s)
	}
	switch {
	case x.eof:
		x.eof = false
		return evchan.EOF{Stream: s}
	case x.closed:
		x.closed = false
		return evchan.Closed{Stream: s}
	}
	return nil
}

// fail returns the Error that ends the messages.
func (x *layer) fail(err error) *Error {
	x.failed = true
	return &Error{Err: err}
}

// raise lets the stream read need bytes, if its limit is less. They are not allocated before
// they have come.
func (x *layer) raise(s *evchan.Stream, need int) {
	if s.InputFull() && s.Input().Len() < need {
		s.SetReadMarks(1, need)
		x.raised = true
	}
}

// lower undoes raise.
func (x *layer) lower(s *evchan.Stream) {
	if x.raised {
		s.SetReadMarks(1, 0)
		x.raised = false
	}
}

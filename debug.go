// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"fmt"
	"log"
	"os"
	"runtime"
	"sync"
	"time"
)

// A Finding is a probable mistake of the program that EVCHAN_DEBUG has found.
type Finding struct {
	Kind   string // "slow", "unclosed", "unread", "unflushed" or "shared"
	Source Source // whose message or call it is about
	Text   string // for people to read
	Stack  string // of the goroutine, "" if it says nothing
}

// String returns the text and, if there is one, the stack.
func (f Finding) String() string {
	if f.Stack == "" {
		return f.Kind + ": " + f.Text
	}
	return f.Kind + ": " + f.Text + "\n" + f.Stack
}

// A debugging finds mistakes, for a loop that New has made while EVCHAN_DEBUG was set.
type debugging struct {
	slow time.Duration // how long a receiver may take for a message

	mu      sync.Mutex
	outputs map[*Stream]string // streams whose Output was called and not flushed; by which goroutine
	stalled map[*Stream]bool   // streams that were found with full input
}

// defaultSlow is how long a receiver may take for a message with EVCHAN_DEBUG=1.
const defaultSlow = 100 * time.Millisecond

// newDebugging returns what EVCHAN_DEBUG asks for: nil if it is empty or "0".
func newDebugging(value string) (*debugging, error) {
	d := &debugging{slow: defaultSlow, outputs: make(map[*Stream]string), stalled: make(map[*Stream]bool)}
	switch value {
	case "", "0":
		return nil, nil
	case "1":
		return d, nil
	}
	slow, err := time.ParseDuration(value)
	if err != nil || slow <= 0 {
		return nil, fmt.Errorf("evchan: EVCHAN_DEBUG is %q, neither 1 nor a duration", value)
	}
	d.slow = slow
	return d, nil
}

// report writes f to the log, and tells the observers. The caller holds no lock.
func (l *Loop) report(f Finding) {
	log.Print("evchan: EVCHAN_DEBUG: ", f)
	if o := l.observed.Load(); o != nil {
		for _, o := range o.observers {
			if o.Found != nil {
				o.Found(f)
			}
		}
	}
}

// watch begins to watch the receiver of ev. The result is called when the receiver has
// finished.
func (d *debugging) watch(l *Loop, ev Event) func() {
	src, typ, id := ev.Source(), typeName(ev), goroutine()
	t := time.AfterFunc(d.slow, func() {
		l.report(Finding{
			Kind:   "slow",
			Source: src,
			Text:   fmt.Sprintf("the receiver takes more than %v for %s of %v", d.slow, typ, src),
			Stack:  stackOf(id),
		})
	})
	return func() {
		t.Stop()
		if s, ok := src.(*Stream); ok {
			d.checkInput(l, s)
		}
	}
}

// checkInput looks whether the input of s is full and stays so. Then the stream reads nothing
// any more, and sends no Readable.
func (d *debugging) checkInput(l *Loop, s *Stream) {
	held := s.in.held.Load()
	if !s.InputFull() {
		return
	}
	d.mu.Lock()
	known := d.stalled[s]
	d.stalled[s] = true
	d.mu.Unlock()
	if known {
		return
	}
	time.AfterFunc(10*d.slow, func() {
		d.mu.Lock()
		delete(d.stalled, s)
		d.mu.Unlock()
		m := s.lockLoop()
		waits := s.life != lifeOpen || s.paused.has(Read) || s.in.waits&waitBlocked != 0 || s.filtered
		m.unlock()
		if !waits && s.InputFull() && s.in.held.Load() == held {
			l.report(Finding{
				Kind:   "unread",
				Source: s,
				Text:   fmt.Sprintf("the input of %v is full, with %d bytes, and nobody has read any of it for %v: no more messages come", s, held, 10*d.slow),
			})
		}
	})
}

// usesOutput notes that the calling goroutine has called Output of s.
func (d *debugging) usesOutput(s *Stream) {
	id := goroutine()
	d.mu.Lock()
	d.outputs[s] = id
	d.mu.Unlock()
}

// flushed notes that Output of s was flushed.
func (d *debugging) flushed(s *Stream) {
	d.mu.Lock()
	delete(d.outputs, s)
	d.mu.Unlock()
}

// closes looks whether the close of s loses what lies in Output.
func (d *debugging) closes(l *Loop, s *Stream) {
	id := goroutine()
	d.mu.Lock()
	user, used := d.outputs[s]
	delete(d.outputs, s)
	d.mu.Unlock()
	switch {
	case !used:
	case user != id:
		l.report(Finding{
			Kind:   "shared",
			Source: s,
			Text:   fmt.Sprintf("goroutine %s closes %v, whose Output goroutine %s has called and not flushed", id, s, user),
			Stack:  stackOf(id),
		})
	case s.out.pieces != nil && s.out.pieces.Len() > 0:
		l.report(Finding{
			Kind:   "unflushed",
			Source: s,
			Text:   fmt.Sprintf("the close of %v drops %d bytes of Output that were not flushed", s, s.out.pieces.Len()),
			Stack:  stackOf(id),
		})
	}
}

// ends looks for streams that were not closed, when the loop is closed. The caller holds no
// lock.
func (d *debugging) ends(l *Loop) {
	for src := range l.Sources() {
		s, ok := src.(*Stream)
		if !ok {
			continue
		}
		m := s.lockLoop()
		open := s.life == lifeOpen && s.in.has(flagQuiet) && !s.layered() && !s.filtered && s.unreceived()&msgEOF == 0
		m.unlock()
		s.mu.Lock()
		open = open && s.in.eof
		s.mu.Unlock()
		if open {
			l.report(Finding{
				Kind:   "unclosed",
				Source: s,
				Text:   fmt.Sprintf("%v has told of EOF and was not closed before its loop", s),
			})
		}
	}
}

// goroutine returns the number of the calling goroutine, as stacks show it.
func goroutine() string {
	buf := make([]byte, 64)
	fields := bytes.Fields(buf[:runtime.Stack(buf, false)])
	return string(fields[1])
}

// stackOf returns the stack of the goroutine with the number id, "" if it has ended.
func stackOf(id string) string {
	buf := make([]byte, 1<<20)
	for stack := range bytes.SplitSeq(buf[:runtime.Stack(buf, true)], []byte("\n\n")) {
		if bytes.HasPrefix(stack, []byte("goroutine "+id+" ")) {
			return string(stack)
		}
	}
	return ""
}

// debugFromEnv returns what the environment asks for.
func (c *Config) debugFromEnv() (*debugging, error) {
	if c.IgnoreEnv {
		return nil, nil
	}
	return newDebugging(os.Getenv("EVCHAN_DEBUG"))
}

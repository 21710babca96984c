// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzOrder runs any script as TestOrder does, on a method that its first byte
// chooses. A line that makes no sense is passed over, and so are the messages that it
// expects: each ">" receives one, if there is one, and what is received has to be true,
// in the order of the lanes, and of a source that still sends messages.
func FuzzOrder(f *testing.F) {
	files, err := filepath.Glob("testdata/order/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatal("there are no scripts: ", err)
	}
	for i, file := range files {
		text, err := os.ReadFile(file)
		must(f, err)
		f.Add(byte(i), string(text))
	}
	f.Fuzz(func(t *testing.T, method byte, text string) {
		methods := Methods()
		z := &orderFuzz{script: newScript(t, methods[int(method)%len(methods)]), known: make(map[Source]*orderSource)}
		defer z.close()
		lines := 0
		for line := range strings.Lines(text) {
			line, _, _ = strings.Cut(line, "#")
			words := strings.Fields(line)
			if len(words) == 0 {
				continue
			}
			if lines++; lines > 60 {
				break
			}
			if via, ok := strings.CutSuffix(words[0], ">"); ok {
				z.receive(via, words[1:])
			} else if z.sensible(words) {
				z.do(words)
			}
		}
		for range 20 { // a watch may be ready for ever
			if !z.receive("", nil) {
				break
			}
		}
	})
}

// An orderFuzz is a script, and what is known of its sources.
type orderFuzz struct {
	*script
	known   map[Source]*orderSource
	sockets int // connections made so far
	clock   int // counts what puts a trigger into its lane
}

// An orderSource is what is known of a source.
type orderSource struct {
	name   string
	quiet  bool // sends nothing more, by our will
	ended  bool // Closed was received
	eof    bool // EOF was received
	fired  int  // the clock when it became pending; triggers only, 0: it is not
	route  string
	began  bool // its first message was received
	accept bool // which is Accepted
}

// close ends connections without leaving the system something to remember for minutes.
func (z *orderFuzz) close() {
	for _, c := range z.conns {
		c.SetLinger(0)
		c.Close()
	}
	for _, s := range z.sources {
		if s, ok := s.(*Stream); ok {
			s.Abort()
		}
	}
}

// sensible reports whether a line can be run without waiting for anything.
func (z *orderFuzz) sensible(words []string) bool {
	switch words[0] {
	case "settle", "drain": // they wait
		return false
	case "loop":
		if len(words) > 1 && (len(words[1]) > 1 || len(z.known) > 0) { // sources stay with their loop
			return false
		}
	case "conns", "wrap", "dial":
		if z.sockets++; z.sockets > 3 {
			return false
		}
	case "trigger", "after", "every", "listen", "watch", "pipe": // names are not used again
		n := 2
		if words[0] == "pipe" {
			n = 3
		}
		for _, name := range words[1:min(n, len(words))] {
			if z.sources[name] != nil {
				return false
			}
		}
		if words[0] == "pipe" && len(words) > 2 && words[1] == words[2] {
			return false
		}
	case "send", "reset!", "shut":
		if len(words) > 1 && z.conns[words[1]] == nil {
			return false
		}
	case "writemuch":
		if len(words) > 2 && len(words[2]) > 7 {
			return false
		}
	}
	if (words[0] == "conns" || words[0] == "wrap" || words[0] == "dial") && len(words) > 1 {
		for _, name := range words[1:] {
			if z.sources[name] != nil && words[0] != "dial" || z.conns[name] != nil {
				return false
			}
		}
	}
	return len(z.sources) < 20
}

// do runs a command, which may fail, and notes what it means.
func (z *orderFuzz) do(words []string) {
	command := scriptCommands[words[0]]
	if command == nil {
		return
	}
	lane := -1
	if len(words) > 1 && z.sources[words[1]] != nil {
		lane = z.sources[words[1]].Priority()
	}
	failed := func() (failed bool) {
		defer func() { failed = recover() != nil }()
		command(z.script, words[1:])
		return
	}()
	for name, src := range z.sources {
		if z.known[src] == nil {
			z.known[src] = &orderSource{name: name}
		}
	}
	if len(words) < 2 || z.sources[words[1]] == nil {
		return
	}
	s := z.known[z.sources[words[1]]]
	if failed && words[0] != "take" { // which compares, afterwards
		return
	}
	z.clock++
	switch words[0] {
	case "close", "abort", "disarm", "stop":
		if z.conns[words[1]] == nil || words[0] != "close" {
			s.quiet, s.fired = true, 0
		}
	case "arm", "reset":
		if _, ok := z.sources[words[1]].(*Stream); !ok {
			s.quiet = false
		}
	case "fire":
		if s.fired == 0 && !s.quiet {
			s.fired = z.clock
		}
	case "take":
		s.fired = 0
	case "prio":
		if s.fired != 0 && z.sources[words[1]].Priority() != lane {
			s.fired = z.clock // to the end of its lane
		}
	case "notify":
		if len(words) > 2 {
			if route := strings.TrimPrefix(words[2], "-"); route != s.route {
				s.route = route
				if s.fired != 0 {
					s.fired = z.clock
				}
			}
		}
	}
}

// receive receives a message, if there is one, and reports whether there was.
func (z *orderFuzz) receive(via string, want []string) bool {
	ev, ok := z.l.Poll(0)
	if via != "" && via != "-" && !ok && len(z.chans) < 5 {
		select {
		case ev = <-z.channel(via):
		default:
		}
		ok = ev != nil
	} else {
		via = ""
	}
	if !ok {
		return false
	}
	src := ev.Source()
	s := z.known[src]
	if s == nil {
		if _, ok := ev.(Accepted); !ok {
			z.t.Fatalf("%v of what is not known", ev)
		}
		s = &orderSource{accept: true}
		if len(want) > 1 && z.sources[want[1]] == nil {
			s.name = want[1]
			z.sources[s.name] = src
		}
		s.route = via // it is its listener's
		z.known[src] = s
	}
	if s.quiet || s.ended {
		z.t.Fatalf("%v after its end", ev)
	}
	if s.route != via && !s.accept {
		z.t.Fatalf("%v by way of %q, not %q", ev, via, s.route)
	}
	// Triggers are pending from Fire on: those more urgent go first, and within the lane
	// those that were fired earlier.
	for other, o := range z.known {
		if o.fired != 0 && via == "" && o.route == "" && (other.Priority() < src.Priority() ||
			other.Priority() == src.Priority() && s.fired != 0 && o.fired < s.fired) {
			z.t.Fatalf("%v while %s is pending in lane %d", ev, o.name, other.Priority())
		}
	}
	first := !s.began
	s.began = true
	switch ev := ev.(type) {
	case Accepted:
		if !first {
			z.t.Fatalf("%v again", ev)
		}
	case Readable:
		in := ev.Stream.Input().Len()
		if in == 0 || in < ev.Stream.limits.Load().readLow && !ev.Stream.InputFull() && !ev.Stream.AtEOF() {
			z.t.Fatalf("%v with %d bytes", ev, in)
		}
		if ev.Stream.Paused()&Read != 0 {
			z.t.Fatalf("%v, which is paused", ev)
		}
	case Drained:
		if q := ev.Stream.Queued(); q > ev.Stream.limits.Load().writeLow {
			z.t.Fatalf("%v with %d bytes queued", ev, q)
		}
	case EOF:
		if s.eof || !ev.Stream.AtEOF() && ev.Stream.Input().Len() == 0 || ev.Stream.Paused()&Read != 0 {
			z.t.Fatalf("%v, again %v, paused %v", ev, s.eof, ev.Stream.Paused())
		}
		s.eof = true
	case Closed:
		s.ended = true
	case TimedOut:
		if ev.Stream.TimedOut() == 0 || ev.Stream.TimedOut()&^ev.Stream.Paused() != 0 {
			z.t.Fatalf("%v: %v of %v", ev, ev.Stream.TimedOut(), ev.Stream.Paused())
		}
	case Ready:
		if ev.Watch.Take() == 0 {
			z.t.Fatalf("%v of nothing", ev)
		}
	case Tick:
		if ev.Timer.Take() == 0 {
			z.t.Fatalf("%v of nothing", ev)
		}
	case Fired:
		if s.fired == 0 || ev.Trigger.Take() == 0 {
			z.t.Fatalf("%v of nothing", ev)
		}
		s.fired = 0
	}
	return true
}

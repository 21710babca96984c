// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestOrder runs the scripts in testdata/order, on every method. Each line is a
// command with its arguments, or, after ">", a message that is to be received next, or
// "none". "#" begins a comment. A line that begins with "[afd,poll]" is for those
// methods alone, with "[!poll]" for all but that.
func TestOrder(t *testing.T) {
	files, err := filepath.Glob("testdata/order/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no scripts: ", err)
	}
	for _, method := range Methods() {
		for _, file := range files {
			if method == "memory" && strings.HasSuffix(file, "watches.txt") {
				continue // it has no descriptors to watch
			}
			t.Run(method+"/"+strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
				runScript(t, method, file)
			})
		}
	}
}

// A script is one that is being run.
type script struct {
	t       *testing.T
	l       *Loop
	sources map[string]Source
	conns   map[string]scriptConn // the far ends, and what is watched
	chans   map[string]chan Event
}

// A scriptConn is a *net.TCPConn, or a net.Conn in memory if the method has no sockets.
type scriptConn interface {
	net.Conn
	CloseWrite() error
}

// network returns the network of the script's connections.
func (s *script) network() (network, address string) {
	if s.l.memoryOnly() {
		return "memory", ""
	}
	return "tcp", "127.0.0.1:0"
}

// scriptCommands do what their names say. They fail with a panic, like that of
// an index that is out of range where an argument is missing.
var scriptCommands = map[string]func(*script, []string){
	// The loop: loop priorities
	"loop": func(s *script, a []string) {
		l, err := New(&Config{Method: s.l.Method(), IgnoreEnv: true, Priorities: number(a[0])})
		s.check(err)
		s.t.Cleanup(func() { l.Close() })
		s.l = l
	},
	"settle": func(s *script, _ []string) { // queue all that has happened
		for range 4 {
			s.l.turn(2 * time.Millisecond)
		}
	},
	"prio":   func(s *script, a []string) { s.check(s.source(a[0]).SetPriority(number(a[1]))) },
	"notify": func(s *script, a []string) { s.source(a[0]).Notify(s.channel(a[1])) },
	"close": func(s *script, a []string) {
		if c := s.conns[a[0]]; c != nil {
			s.check(c.Close())
		} else {
			s.check(s.source(a[0]).Close())
		}
	},

	// Triggers, timers, watches.
	"trigger": func(s *script, a []string) { s.sources[a[0]] = s.l.Trigger() },
	"fire":    func(s *script, a []string) { s.source(a[0]).(*Trigger).Fire() },
	"after":   func(s *script, a []string) { s.sources[a[0]] = s.l.After(duration(a[1])) },
	"every":   func(s *script, a []string) { s.sources[a[0]] = s.l.Every(duration(a[1])) },
	"stop":    func(s *script, a []string) { s.source(a[0]).(*Timer).Stop() },
	"reset":   func(s *script, a []string) { s.source(a[0]).(*Timer).Reset(duration(a[1])) },
	"conns": func(s *script, a []string) { // two ends of a connection
		ln, err := netListen(s.network())
		s.check(err)
		defer ln.Close()
		s.dial(a[0], ln.Addr())
		c, err := ln.Accept()
		s.check(err)
		s.t.Cleanup(func() { c.Close() })
		s.conns[a[1]] = c.(scriptConn)
	},
	"watch": func(s *script, a []string) {
		interest := What(0)
		for _, name := range a[2:] {
			interest |= map[string]What{"read": Read, "write": Write, "persist": Persist, "edge": Edge}[name]
		}
		w, err := s.l.WatchConn(s.conns[a[1]].(syscall.Conn), interest)
		s.check(err)
		s.sources[a[0]] = w
		s.check(w.Arm(0))
	},
	"arm":    func(s *script, a []string) { s.check(s.source(a[0]).(*Watch).Arm(0)) },
	"disarm": func(s *script, a []string) { s.check(s.source(a[0]).(*Watch).Disarm()) },
	"take": func(s *script, a []string) {
		got := ""
		switch src := s.source(a[0]).(type) {
		case *Trigger:
			got = itoa(src.Take())
		case *Timer:
			got = itoa(src.Take())
		case *Watch:
			got = src.Take().String()
		}
		if got != a[1] {
			panic("took " + got)
		}
	},

	// Mailboxes, and layers: "tag" makes a message of each one, with its name in lower case;
	// "lines" makes one of each line; "none" ends that.
	"mailbox": func(s *script, a []string) { s.sources[a[0]] = s.l.Mailbox(number(a[1])) },
	"post":    func(s *script, a []string) { s.check(s.source(a[0]).(*Mailbox).Post(&note{text: a[1]})) },
	"layer": func(s *script, a []string) {
		layer := map[string]Layer{"tag": tagLayer("my"), "lines": lineLayer(), "none": nil}[a[1]]
		if _, ok := s.source(a[0]).(*Stream); !ok && a[1] == "lines" {
			panic("lines of what is not a stream")
		}
		s.check(s.source(a[0]).SetLayer(layer))
	},
	"again": func(s *script, a []string) { s.source(a[0]).Again() },

	// Streams.
	"pipe": func(s *script, a []string) { s.sources[a[0]], s.sources[a[1]] = s.l.Pipe(nil, nil) },
	"wrap": func(s *script, a []string) { // stream on a connection to the far end
		if s.l.memoryOnly() {
			st, far := s.l.Pipe(nil, nil)
			c, err := far.NetConn()
			s.check(err)
			s.t.Cleanup(func() { c.Close() })
			s.sources[a[0]], s.conns[a[1]] = st, c.(scriptConn)
			return
		}
		st, c := connectedPair(s.t, s.l)
		s.sources[a[0]], s.conns[a[1]] = st, c
	},
	"listen": func(s *script, a []string) {
		network, address := s.network()
		ln, err := s.l.Listen(network, address, nil)
		s.check(err)
		s.sources[a[0]] = ln
	},
	"dial":  func(s *script, a []string) { s.dial(a[0], s.source(a[1]).(*Listener).Addr()) },
	"send":  func(s *script, a []string) { s.write(s.conns[a[0]].Write([]byte(a[1]))) },
	"shut":  func(s *script, a []string) { s.check(s.conns[a[0]].CloseWrite()) },
	"write": func(s *script, a []string) { s.write(s.stream(a[0]).Write([]byte(a[1]))) },
	"lines": func(s *script, a []string) { // the words, a line each
		s.write(s.stream(a[0]).Write([]byte(strings.Join(a[1:], "\n") + "\n")))
	},
	"writemuch":  func(s *script, a []string) { s.write(s.stream(a[0]).Write(make([]byte, number(a[1])))) },
	"closewrite": func(s *script, a []string) { s.check(s.stream(a[0]).CloseWrite()) },
	"abort":      func(s *script, a []string) { s.check(s.stream(a[0]).Abort()) },
	"pause":      func(s *script, a []string) { s.stream(a[0]).Pause(Read) },
	"resume":     func(s *script, a []string) { s.stream(a[0]).Resume(Read) },
	"readmarks":  func(s *script, a []string) { s.stream(a[0]).SetReadMarks(number(a[1]), number(a[2])) },
	"idle":       func(s *script, a []string) { s.stream(a[0]).SetIdleTimeouts(duration(a[1]), 0) },
	"read": func(s *script, a []string) { // exactly that, of what has arrived
		p := s.stream(a[0]).Input().Next(len(a[1]))
		if string(p) != a[1] {
			panic(fmt.Sprintf("read %q", p))
		}
	},
	"reset!": func(s *script, a []string) {
		s.check(resetConn(s.conns[a[0]]))
	},
	"drain": func(s *script, a []string) { drain(s.conns[a[0]]) },
}

func number(a string) int {
	n, err := strconv.Atoi(a)
	if err != nil {
		panic(err)
	}
	return n
}

func duration(a string) time.Duration {
	d, err := time.ParseDuration(a)
	if err != nil {
		panic(err)
	}
	return d
}

func (s *script) check(err error) {
	if err != nil {
		panic(err)
	}
}

func (s *script) write(_ int, err error) { s.check(err) }

func (s *script) source(name string) Source {
	src := s.sources[name]
	if src == nil {
		panic("there is no " + name)
	}
	return src
}

func (s *script) stream(name string) *Stream { return s.source(name).(*Stream) }

func (s *script) channel(name string) chan Event {
	if name == "-" {
		return nil
	}
	if s.chans[name] == nil {
		s.chans[name] = make(chan Event)
	}
	return s.chans[name]
}

func (s *script) dial(name string, addr net.Addr) {
	c, err := netDial(addr.Network(), addr.String())
	s.check(err)
	s.t.Cleanup(func() { c.Close() })
	s.conns[name] = c.(scriptConn)
}

// expect receives one message, from the loop or, if via is not empty, that channel.
func (s *script) expect(via string, want []string) {
	if want[0] == "none" {
		for range 4 {
			if ev, ok := s.l.Poll(2 * time.Millisecond); ok {
				panic("received " + s.name(ev))
			}
		}
		return
	}
	var ev Event
	if via == "" {
		ev, _ = s.l.Poll(10 * time.Second)
	} else {
		for until := time.Now().Add(10 * time.Second); ev == nil && time.Now().Before(until); {
			if other, ok := s.l.Poll(time.Millisecond); ok {
				panic("received " + s.name(other) + " by the loop's own way")
			}
			select {
			case ev = <-s.channel(via):
			default:
			}
		}
	}
	if ev == nil {
		panic("received nothing")
	}
	if len(want) > 1 && s.sources[want[1]] == nil {
		s.sources[want[1]] = ev.Source() // Accepted brings a new one
	}
	if got := s.name(ev); got != strings.Join(want, " ") {
		panic("received " + got)
	}
}

// name returns the message in a script's words.
func (s *script) name(ev Event) string {
	kind, _, _ := strings.Cut(ev.String(), " ")
	for name, src := range s.sources {
		if src == ev.Source() {
			return kind + " " + name
		}
	}
	return kind + " of something else"
}

func newScript(t *testing.T, method string) *script {
	return &script{t: t, l: dialLoop(t, method), sources: make(map[string]Source),
		conns: make(map[string]scriptConn), chans: make(map[string]chan Event)}
}

func runScript(t *testing.T, method, file string) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := newScript(t, method)
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if rest, ok := strings.CutPrefix(line, "["); ok {
			list, command, _ := strings.Cut(rest, "]")
			names, except := strings.CutPrefix(list, "!")
			if slices.Contains(strings.Split(names, ","), method) == except {
				continue
			}
			line = command
		}
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Fatalf("%s:%d: %s: %v", file, n, strings.TrimSpace(line), p)
				}
			}()
			if via, ok := strings.CutSuffix(words[0], ">"); ok {
				s.expect(via, words[1:])
				return
			}
			command := scriptCommands[words[0]]
			if command == nil {
				panic("there is no such command")
			}
			command(s, words[1:])
		}()
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

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
	fired  int  // the clock when it became pending; whatPolled only, 0: it is not
	route  string
	began  bool // its first message was received
	accept bool // which is Accepted

	layered bool     // has had a layer: in which order its messages come is not known
	posted  []string // to a mailbox, and not received
}

// close ends connections without leaving the system something to remember for minutes.
func (z *orderFuzz) close() {
	for _, c := range z.conns {
		resetConn(c)
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
	case "trigger", "after", "every", "listen", "watch", "pipe", "mailbox": // names are not used again
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
		if s.fired == 0 && !s.quiet && !s.layered {
			s.fired = z.clock
		}
	case "post":
		s.posted = append(s.posted, words[2])
	case "layer": // what has happened is told again
		s.layered, s.fired, s.eof, s.ended = true, 0, false, false
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
	case *note:
		if _, ok := src.(*Mailbox); ok && !s.layered {
			if len(s.posted) == 0 || s.posted[0] != ev.text {
				z.t.Fatalf("%v of %q", ev, s.posted)
			}
			s.posted = s.posted[1:]
		} else if !s.layered {
			z.t.Fatalf("%v of a source without a layer", ev)
		}
	case Fired:
		if s.fired == 0 && !s.layered || ev.Trigger.Take() == 0 {
			z.t.Fatalf("%v of nothing", ev)
		}
		s.fired = 0
	}
	return true
}

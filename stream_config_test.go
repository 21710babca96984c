// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evchan

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A made is a stream and how to make its peer say something; say is nil if it cannot.
type made struct {
	s   *Stream
	say func(string)
}

// ways are the ways of making a stream that take a StreamConfig, or its fields.
var ways = map[string]func(*testing.T, *Loop, *StreamConfig) made{
	"Pipe": func(t *testing.T, l *Loop, c *StreamConfig) made {
		s, peer := l.Pipe(c, nil)
		return made{s, func(p string) { peer.Write([]byte(p)) }}
	},
	"Wrap": func(t *testing.T, l *Loop, c *StreamConfig) made {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		defer ln.Close()
		far, err := net.Dial("tcp", ln.Addr().String())
		must(t, err)
		t.Cleanup(func() { far.Close() })
		near, err := ln.Accept()
		must(t, err)
		s, err := l.Wrap(near, c)
		must(t, err)
		return made{s, func(p string) { send(t, far, p) }}
	},
	"WrapFD": func(t *testing.T, l *Loop, c *StreamConfig) made {
		near, far := socketPair(t)
		fd, err := dupFD(near)
		must(t, err)
		s, err := l.WrapFD(uintptr(fd), c)
		must(t, err)
		return made{s, func(p string) { write(t, far, p) }}
	},
	"Filter": func(t *testing.T, l *Loop, c *StreamConfig) made {
		s, peer := l.Pipe(nil, nil)
		up, err := s.Filter(xorFilter(0), c)
		must(t, err)
		return made{up, func(p string) { peer.Write([]byte(p)) }}
	},
	"Listen": func(t *testing.T, l *Loop, c *StreamConfig) made {
		ln := listen(t, l, "tcp", &ListenConfig{Data: c.Data, Notify: c.Notify, MaxInput: c.MaxInput, MaxOutput: c.MaxOutput, ReadLow: c.ReadLow, WriteLow: c.WriteLow,
			ReadIdle: c.ReadIdle, WriteIdle: c.WriteIdle, Lifetime: c.Lifetime, RateLimit: c.RateLimit, RateGroup: c.RateGroup})
		if ln.Data != c.Data {
			t.Errorf("the listener's Data is %v", ln.Data)
		}
		far := dial(t, ln)
		for until := time.Now().Add(testPatience); time.Now().Before(until); l.Poll(time.Millisecond) {
			for s := range l.Sources() {
				if s, ok := s.(*Stream); ok {
					return made{s, func(p string) { send(t, far, p) }}
				}
			}
		}
		t.Fatal("nothing was accepted")
		return made{}
	},
	"Dial": func(t *testing.T, l *Loop, c *StreamConfig) made {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		t.Cleanup(func() { ln.Close() })
		s, err := l.Dial("tcp", ln.Addr().String(), &DialConfig{Data: c.Data, Notify: c.Notify, Paused: c.Paused, MaxInput: c.MaxInput, MaxOutput: c.MaxOutput,
			ReadLow: c.ReadLow, WriteLow: c.WriteLow, ReadIdle: c.ReadIdle, WriteIdle: c.WriteIdle, Lifetime: c.Lifetime, RateLimit: c.RateLimit, RateGroup: c.RateGroup})
		must(t, err)
		far, err := ln.Accept()
		must(t, err)
		t.Cleanup(func() { far.Close() })
		return made{s, func(p string) { send(t, far, p) }}
	},
}

// TestStreamConfig makes a stream in every way, and checks that it has its settings when its
// first message is received.
func TestStreamConfig(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
				"settings": func(t *testing.T, l *Loop) {
					g, err := l.RateGroup(RateLimit{ReadRate: 1e6, ReadBurst: 1e6, Tick: time.Millisecond})
					must(t, err)
					ch := make(chan Event)
					x := way(t, l, &StreamConfig{Data: "mine", Notify: ch, MaxInput: 100, MaxOutput: 200, ReadLow: 3, WriteLow: 5, ReadIdle: time.Hour, WriteIdle: 2 * time.Hour,
						Lifetime: 3 * time.Hour, RateLimit: &RateLimit{WriteRate: 1e6, WriteBurst: 1e6, Tick: time.Millisecond}, RateGroup: g})
					x.say("abcd")
					stop := make(chan struct{})
					turns := make(chan struct{})
					go func() {
						defer close(turns)
						for ok := false; !ok; {
							l.Poll(time.Millisecond) // makes the turns; the messages go to ch
							select {
							case <-stop:
								ok = true
							default:
							}
						}
					}()
					select {
					case ev := <-ch:
						if ev.Source() != Source(x.s) {
							t.Errorf("received %v", ev)
						}
					case <-time.After(testPatience):
						t.Error("no message on the channel")
					}
					close(stop)
					<-turns
					if x.s.Data != "mine" {
						t.Errorf("Data is %v", x.s.Data)
					}
					if lim := *x.s.limits.Load(); lim != (limits{3, 100, 5, 200, 100, 200}) {
						t.Errorf("the limits are %v", lim)
					}
					x.s.mu.Lock()
					defer x.s.mu.Unlock()
					e := x.s.extra
					if e.idle == nil || e.idle.after != [2]time.Duration{time.Hour, 2 * time.Hour} {
						t.Errorf("the idle timeouts are %v", e.idle)
					}
					if e.ends == 0 || !e.linger.running() {
						t.Error("it has no lifetime")
					}
					if e.shares[ownShare] == nil || e.shares[groupShare] == nil || e.shares[groupShare].group != g || g.members != 1 {
						t.Errorf("its rate limits are %v", e.shares)
					}
				},
				"lifetime": func(t *testing.T, l *Loop) {
					x := way(t, l, &StreamConfig{Lifetime: time.Nanosecond})
					for {
						switch ev := nextOf(t, l, x.s).(type) {
						case Accepted, Connected:
						case Closed:
							if !errors.Is(x.s.Err(), os.ErrDeadlineExceeded) {
								t.Errorf("it has ended with %v", x.s.Err())
							}
							return
						default:
							t.Fatalf("received %v", ev)
						}
					}
				},
				"idle": func(t *testing.T, l *Loop) {
					x := way(t, l, &StreamConfig{ReadIdle: time.Nanosecond})
					for first := true; ; first = false {
						switch ev := nextOf(t, l, x.s).(type) {
						case Accepted, Connected:
							if !first {
								t.Fatalf("received %v late", ev)
							}
						case TimedOut:
							return
						default:
							t.Fatalf("received %v", ev)
						}
					}
				},
				"errors": func(t *testing.T, l *Loop) {
					bad := &StreamConfig{RateLimit: &RateLimit{}}
					for what, err := range refused(t, l, bad) {
						if err == nil || !strings.HasPrefix(err.Error(), "evchan: ") {
							t.Errorf("%s gives %v", what, err)
						}
					}
					mustPanic(t, func() { l.Pipe(bad, nil) })
					mustPanic(t, func() { l.Pipe(nil, bad) })
				},
			})
		})
	}
}

// refused returns the errors of all ways that return one, for a configuration that is not
// valid. What they were given is as before.
func refused(t *testing.T, l *Loop, c *StreamConfig) map[string]error {
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer nl.Close()
	go func() {
		if c, err := nl.Accept(); err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	nc, err := net.Dial("tcp", nl.Addr().String())
	must(t, err)
	defer nc.Close()
	fd, _ := socketPair(t)
	a, _ := l.Pipe(nil, nil)
	defer a.Abort()
	errs := make(map[string]error)
	_, errs["Wrap"] = l.Wrap(nc, c)
	_, errs["WrapFD"] = l.WrapFD(uintptr(fd), c)
	_, errs["Filter"] = a.Filter(xorFilter(0), c)
	_, errs["Listen"] = l.Listen("tcp", "127.0.0.1:0", &ListenConfig{RateLimit: c.RateLimit, RateGroup: c.RateGroup})
	_, errs["WrapListener"] = l.WrapListener(nl, &ListenConfig{RateLimit: c.RateLimit, RateGroup: c.RateGroup})
	_, errs["Dial"] = l.Dial("tcp", nl.Addr().String(), &DialConfig{RateLimit: c.RateLimit, RateGroup: c.RateGroup})
	send(t, nc, "x")
	if _, err := io.ReadFull(nc, make([]byte, 1)); err != nil {
		t.Errorf("the connection that was not wrapped: %v", err)
	}
	if _, err := a.Write([]byte("x")); err != nil {
		t.Errorf("the stream that got no filter: %v", err)
	}
	return errs
}

// TestStreamConfigInput gives streams bytes that were read before, and pauses them.
func TestStreamConfigInput(t *testing.T) {
	for name, way := range ways {
		if name == "Listen" || name == "Dial" {
			continue // nobody can have read before
		}
		t.Run(name, func(t *testing.T) {
			onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
				"first": func(t *testing.T, l *Loop) {
					x := way(t, l, &StreamConfig{Input: []byte("early ")})
					if ev := nextOf(t, l, x.s); ev != (Readable{x.s}) {
						t.Fatalf("received %v", ev)
					}
					x.say("late")
					for x.s.Input().Len() < len("early late") {
						nextOf(t, l, x.s)
					}
					if got := string(x.s.Input().Next(100)); got != "early late" {
						t.Errorf("read %q", got)
					}
				},
				"below the mark": func(t *testing.T, l *Loop) {
					x := way(t, l, &StreamConfig{Input: []byte("ab"), ReadLow: 3})
					noMessage(t, l)
					x.say("c")
					nextOf(t, l, x.s)
					if got := string(x.s.Input().Next(100)); got != "abc" {
						t.Errorf("read %q", got)
					}
				},
				"more than the limit": func(t *testing.T, l *Loop) {
					x := way(t, l, &StreamConfig{Input: []byte("abcdef"), MaxInput: 3, ReadIdle: time.Nanosecond})
					x.say("gh")
					if ev := nextOf(t, l, x.s); ev != (Readable{x.s}) || !x.s.InputFull() {
						t.Fatalf("received %v, InputFull is %v", ev, x.s.InputFull())
					}
					noMessage(t, l) // not even TimedOut
					x.s.SetIdleTimeouts(0, 0)
					got := ""
					for len(got) < 8 {
						if got += string(x.s.Input().Next(100)); len(got) < 8 {
							nextOf(t, l, x.s)
						}
					}
					if got != "abcdefgh" {
						t.Errorf("read %q", got)
					}
				},
				"paused": func(t *testing.T, l *Loop) {
					x := way(t, l, &StreamConfig{Input: []byte("a"), Paused: Read | Write | Persist})
					x.say("b")
					noMessage(t, l)
					if p := x.s.Paused(); p != Read|Write {
						t.Errorf("paused are %v", p)
					}
					x.s.Resume(Read)
					nextOf(t, l, x.s)
				},
			})
		})
	}
}

// TestFilterConfig checks what a stream on top takes over from the one below.
func TestFilterConfig(t *testing.T) {
	l := socketLoop(t)
	ch := make(chan Event)
	low, _ := l.Pipe(&StreamConfig{Data: 1, Notify: ch, Paused: Read, ReadIdle: time.Hour, WriteIdle: time.Hour}, nil)
	up, err := low.Filter(xorFilter(0), &StreamConfig{Data: 2, Paused: Write, WriteIdle: time.Minute})
	must(t, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	if up.Data != 2 || low.Data != 1 || up.paused != directions(Read|Write) || up.route.Load() != low.route.Load() || up.extra.idle.after != [2]time.Duration{time.Hour, time.Minute} {
		t.Errorf("Data %v and %v, paused %v, same channel %v, timeouts %v", low.Data, up.Data, up.paused, up.route.Load() == low.route.Load(), up.extra.idle.after)
	}
}

// A slowPoller gives others time before it adds a descriptor, and after it.
type slowPoller struct{ poller }

func (p slowPoller) add(fd sysFD, tok token, i What) error {
	yield()
	defer yield()
	return p.poller.add(fd, tok, i)
}

// A askedPoller calls hook before each add, and fails if that does.
type askedPoller struct {
	poller
	hook func() error
}

func (p askedPoller) add(fd sysFD, tok token, i What) error {
	if err := p.hook(); err != nil {
		return err
	}
	return p.poller.add(fd, tok, i)
}

// dialSelf returns a connection to a listener that does not accept it.
func dialSelf(t *testing.T) *net.TCPConn {
	t.Helper()
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { nl.Close() })
	c, err := net.Dial("tcp", nl.Addr().String())
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// TestSourcesNotVisibleEarly: while the poller is asked for the first time, Sources does not
// return the new source, nor if the poller refuses it.
func TestSourcesNotVisibleEarly(t *testing.T) {
	for name, make := range map[string]func(*testing.T, *Loop) (Source, error){
		"Listen": func(_ *testing.T, l *Loop) (Source, error) { return l.Listen("tcp", "127.0.0.1:0", nil) },
		"WrapListener": func(t *testing.T, l *Loop) (Source, error) {
			nl, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			t.Cleanup(func() { nl.Close() })
			return l.WrapListener(nl, nil)
		},
		"ListenPacket": func(_ *testing.T, l *Loop) (Source, error) { return l.ListenPacket("udp", "127.0.0.1:0", nil) },
		"WrapPacketConn": func(t *testing.T, l *Loop) (Source, error) {
			needNetUDP(t)
			c, err := net.ListenPacket("udp", "127.0.0.1:0")
			must(t, err)
			t.Cleanup(func() { c.Close() })
			return l.WrapPacketConn(c)
		},
		"Wrap": func(t *testing.T, l *Loop) (Source, error) {
			return l.Wrap(dialSelf(t), nil)
		},
		"Arm": func(t *testing.T, l *Loop) (Source, error) {
			w, err := l.WatchConn(dialSelf(t), Read)
			if err != nil {
				return nil, err
			}
			return w, w.Arm(time.Nanosecond)
		},
	} {
		onMethods(t, Config{}, map[string]func(*testing.T, *Loop){name: func(t *testing.T, l *Loop) {
			asked, refuses := 0, errors.New("refused")
			var answer error
			l.poller = askedPoller{l.poller, func() error {
				asked++
				if ev, ok := l.Poll(0); ok {
					t.Errorf("received %v", ev)
				}
				for s := range l.Sources() {
					t.Errorf("%v is visible", s)
				}
				if name == "Arm" && asked == 1 {
					return nil // of Watch
				}
				return answer
			}}
			answer = refuses
			if _, err := make(t, l); !errors.Is(err, refuses) {
				t.Errorf("the error is %v", err)
			}
			if ev, ok := l.Poll(0); ok {
				t.Errorf("received %v", ev)
			}
			answer = nil
			if s, err := make(t, l); err != nil {
				t.Error(err)
			} else {
				s.Close()
			}
			if asked < 2 {
				t.Errorf("the poller was asked %d times", asked)
			}
		}})
	}
}

// TestSourcesComplete makes sources in all ways while others look at whatever Sources
// returns, and abort it: nothing is visible before it is complete (for the race detector), no
// message of a stream is received once its Abort has returned, and no source meets a descriptor
// that is another's by now.
func TestSourcesComplete(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){"race": func(t *testing.T, l *Loop) {
		l.poller = slowPoller{l.poller}
		var (
			polls    atomic.Int64 // the calls of Poll that have begun
			aborted  sync.Map     // from a stream to the last Poll that had begun when its Abort returned
			working  sync.WaitGroup
			watching sync.WaitGroup
			done     = make(chan struct{})
		)
		const rounds = 150
		work := func(f func()) {
			working.Go(func() {
				for range rounds {
					f()
				}
			})
		}
		watch := func(f func(Source)) {
			watching.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					for s := range l.Sources() {
						f(s)
					}
				}
			})
		}
		server := listen(t, l, "tcp", &ListenConfig{MaxPending: -1})
		work(func() {
			ln, err := l.Listen("tcp", "127.0.0.1:0", nil)
			must(t, err)
			ln.Close()
			ln, err = l.Listen("tcp", "127.0.0.1:0", nil)
			must(t, err)
			ln.Close()
		})
		work(func() {
			s, err := l.Dial("tcp", server.Addr().String(), &DialConfig{Data: "dialled"})
			must(t, err)
			s.Write([]byte("x"))
		})
		work(func() {
			c, err := net.Dial("tcp", server.Addr().String())
			if err != nil {
				return // it was aborted that fast
			}
			if s, err := l.Wrap(c, &StreamConfig{Data: "wrapped", Input: []byte("x")}); err != nil {
				t.Error(err)
				c.Close()
			} else {
				s.Close()
			}
		})
		work(func() {
			a, b := l.Pipe(&StreamConfig{Data: "pipe"}, nil)
			up, err := a.Filter(xorFilter(0), nil)
			if err == nil {
				up.Close()
			}
			b.Close()
		})
		watch(func(s Source) {
			switch s := s.(type) {
			case *Listener:
				s.Addr()
				if f, err := s.File(); err == nil {
					f.Close()
				}
			case *Stream:
				s.LocalAddr()
				s.RemoteAddr()
			}
			_ = fmt.Sprint(s)
		})
		watch(func(s Source) {
			switch s := s.(type) {
			case *Listener:
				if s != server {
					s.Close()
				}
			case *Stream:
				if s.Listener() != nil || s.Data == "dialled" {
					s.Abort()
					aborted.LoadOrStore(s, polls.Load())
				}
			}
			runtime.Gosched()
		})
		watching.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					l.Dump(io.Discard)
				}
			}
		})
		go func() {
			working.Wait()
			close(done)
		}()
		received := 0
		for over := false; !over; {
			n := polls.Add(1)
			ev, ok := l.Poll(time.Millisecond)
			if ok {
				received++
				if at, dead := aborted.Load(ev.Source()); dead && at.(int64) < n {
					t.Errorf("received %v after Abort had returned", ev)
				}
			}
			select {
			case <-done:
				over = true
			default:
			}
		}
		watching.Wait()
		t.Log(received, "messages")
	}})
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A note is a message of the tests' layers.
type note struct {
	Custom
	text string
}

func (m *note) String() string { return m.text }

// A layerFunc is a layer that notes its End.
type layerFunc struct {
	next func(src Source, ev Event) Event
	ends int
}

func (f *layerFunc) Next(src Source, ev Event) Event { return f.next(src, ev) }
func (f *layerFunc) End(Source)                      { f.ends++ }

// lineLayer makes lines of a stream's input, and passes everything else on but Readable.
func lineLayer() *layerFunc {
	return &layerFunc{next: func(src Source, ev Event) Event {
		if line, ok := src.(*Stream).Input().ReadLine(LFOrCRLF); ok {
			return &note{text: string(line)}
		}
		if _, ok := ev.(Readable); ok {
			return nil
		}
		return ev
	}}
}

// received receives n messages from l, as text.
func received(t *testing.T, l *Loop, n int) string {
	t.Helper()
	var texts []string
	for range n {
		ev, ok := l.Poll(10 * time.Second)
		if !ok {
			t.Fatalf("no message in time, after %q", texts)
		}
		text := ev.String()
		if ev.kind() != kindCustom {
			text = kindNames[ev.kind()]
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, " ")
}

func TestLayerLines(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Lines": func(t *testing.T, l *Loop) {
			s, c := connectedPair(t, l)
			lines := lineLayer()
			must(t, s.SetLayer(lines))
			send(t, c, "a\nb\nc\nrest")
			if got := received(t, l, 3); got != "a b c" {
				t.Errorf("received %q", got)
			}
			noMessage(t, l)
			send(t, c, "\n")
			c.CloseWrite()
			if got := received(t, l, 2); got != "rest EOF" {
				t.Errorf("received %q", got)
			}
			if lines.ends != 0 {
				t.Error("End has come too early")
			}
			s.Close()
			if lines.ends != 1 {
				t.Errorf("%d times End", lines.ends)
			}
			c.Close()
			waitReleased(t, l)
		},
		"PeerEnds": func(t *testing.T, l *Loop) {
			s, c := connectedPair(t, l)
			lines := lineLayer()
			must(t, s.SetLayer(lines))
			send(t, c, "a\n")
			c.SetLinger(0)
			if got := received(t, l, 1); got != "a" {
				t.Errorf("received %q", got)
			}
			c.Close()
			if got := received(t, l, 1); got != "Closed" {
				t.Errorf("received %q", got)
			}
			noMessage(t, l)
			if lines.ends != 1 {
				t.Errorf("%d times End", lines.ends)
			}
			// Again works after Closed.
			again := 0
			lines.next = func(_ Source, ev Event) Event { again++; return nil }
			s.Again()
			noMessage(t, l)
			s.Close()
			s.Again()
			noMessage(t, l)
			if again != 1 || lines.ends != 1 {
				t.Errorf("asked %d times, %d times End", again, lines.ends)
			}
		},
		"Replaced": func(t *testing.T, l *Loop) {
			s, c := connectedPair(t, l)
			must(t, s.SetLayer(&layerFunc{next: func(Source, Event) Event { return nil }}))
			send(t, c, "a\nb\n")
			c.CloseWrite()
			for s.in.held.Load() == 0 {
				l.Poll(time.Millisecond)
			}
			noMessage(t, l)
			must(t, s.SetLayer(lineLayer()))
			if got := received(t, l, 3); got != "a b EOF" {
				t.Errorf("received %q", got)
			}
			must(t, s.SetLayer(nil))
			if got := received(t, l, 1); got != "EOF" {
				t.Errorf("received %q", got)
			}
			s.Close()
			if err := s.SetLayer(nil); err != ErrClosed {
				t.Error(err)
			}
			c.Close()
		},
		"Endless": func(t *testing.T, l *Loop) {
			// A layer that never stops starves neither timers nor others.
			s, _ := connectedPair(t, l)
			must(t, s.SetLayer(&layerFunc{next: func(src Source, ev Event) Event {
				src.Again()
				return nil
			}}))
			s.Again()
			o, _ := connectedPair(t, l)
			m := new(note)
			must(t, o.SetLayer(&layerFunc{next: func(Source, Event) Event { return m }}))
			o.Again()
			l.After(time.Millisecond)
			for ticks, box := 0, l.Mailbox(0); ticks < 3; {
				ev, _ := l.Poll(10 * time.Second)
				switch ev := ev.(type) {
				case Tick:
					ticks++
					must(t, box.Post(new(note)))
				case *note:
					if ev.Source() == Source(box) {
						ticks++
						l.After(0)
					}
				}
			}
			s.Abort()
			o.Abort()
		},
	})
}

// A layer that stops after each message can tell Again from the question for more, also if Again
// comes first.
func TestLayerStops(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Again": func(t *testing.T, l *Loop) {
			box := l.Mailbox(0)
			asked := 0
			must(t, box.SetLayer(&layerFunc{next: func(Source, Event) Event {
				if asked++; asked%2 == 0 {
					return nil // the question that follows each message
				}
				return &note{text: fmt.Sprint(asked)}
			}}))
			box.Again()
			for _, want := range []string{"1", "3", "5"} {
				if got := received(t, l, 1); got != want {
					t.Fatalf("received %q, want %q", got, want)
				}
				box.Again()
				box.Again() // counts as one
			}
			if got := received(t, l, 1); got != "7" {
				t.Fatalf("received %q", got)
			}
			noMessage(t, l)
			if asked != 8 {
				t.Errorf("asked %d times", asked)
			}
		},
	})
}

// What a layer has made is taken back by Close and Retract only.
func TestLayerRetraction(t *testing.T) {
	l := dialLoop(t, "")
	events := l.Events()
	tm := l.After(time.Hour)
	n := 0
	must(t, tm.SetLayer(&layerFunc{next: func(_ Source, ev Event) Event {
		if n++; n > 100 {
			return nil
		}
		return &note{text: fmt.Sprint(n)}
	}}))
	tm.Again()
	if ev := <-events; ev.String() != "1" {
		t.Fatal(ev)
	}
	for { // until the next one is on offer
		l.lock()
		offered := tm.offered
		l.unlock()
		if offered {
			break
		}
		runtime.Gosched()
	}
	tm.Stop() // is no reason
	l.lock()
	m := tm.layer.custom
	l.unlock()
	if !m.Retract() || m.Retract() {
		t.Error("Retract did not take it back once")
	}
	if ev := <-events; ev.String() != "3" {
		t.Fatal(ev)
	}
	tm.Close()
	select {
	case ev := <-events:
		t.Errorf("received %v after Close", ev)
	case <-time.After(10 * time.Millisecond):
	}
}

// A panic in Next ends the source, and the stack is told.
func TestLayerPanic(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Panic": func(t *testing.T, l *Loop) {
			s, c := connectedPair(t, l)
			f := &layerFunc{next: func(Source, Event) Event { panic("oops") }}
			must(t, s.SetLayer(f))
			send(t, c, "a")
			if got := received(t, l, 1); got != "Closed" || f.ends != 1 {
				t.Errorf("received %q, %d times End", got, f.ends)
			}
			if err := s.Err(); err == nil || !strings.Contains(err.Error(), "oops") || !strings.Contains(err.Error(), "layer_test.go") {
				t.Error(err)
			}
		},
		"Goexit": func(t *testing.T, l *Loop) {
			s, c := connectedPair(t, l)
			must(t, s.SetLayer(&layerFunc{next: func(Source, Event) Event { runtime.Goexit(); return nil }}))
			send(t, c, "a")
			done := make(chan struct{})
			go func() {
				defer close(done)
				for range l.All() {
				}
			}()
			<-done
			if got := received(t, l, 1); got != "Closed" {
				t.Errorf("received %q", got)
			}
		},
		"GoexitFeeder": func(t *testing.T, l *Loop) {
			s, c := connectedPair(t, l)
			must(t, s.SetLayer(&layerFunc{next: func(Source, Event) Event { runtime.Goexit(); return nil }}))
			send(t, c, "a")
			if ev := <-l.Events(); ev != Event(Closed{s}) {
				t.Errorf("received %v", ev)
			}
		},
	})
}

// Shutdown tells layers, waits for them, and serves them itself if nobody else does.
func TestLayerStopping(t *testing.T) {
	l := dialLoop(t, "")
	a, b := l.Pipe(nil, nil)
	told := 0
	late := make(chan struct{})
	must(t, a.SetLayer(&layerFunc{next: func(src Source, ev Event) Event {
		switch ev.(type) {
		case Stopping:
			told++
			go func() {
				<-late
				src.Again()
			}()
		case nil:
			src.(*Stream).Write([]byte("bye"))
			src.Close()
		}
		return nil
	}}))
	time.AfterFunc(20*time.Millisecond, func() { close(late) })
	must(t, l.Shutdown(context.Background()))
	if told != 1 {
		t.Errorf("told %d times", told)
	}
	if got, err := io.ReadAll(b); string(got) != "bye" && err != ErrClosed {
		t.Errorf("%q, %v", got, err)
	}
}

// A message moves with its stream; Filter and NetConn wait for it.
func TestLayerMoves(t *testing.T) {
	l, to := dialLoop(t, ""), dialLoop(t, "")
	events := l.Events()
	a, b := l.Pipe(&StreamConfig{Layer: lineLayer()}, nil)
	b.Write([]byte("a\nb\n"))
	if ev := <-events; ev.String() != "a" {
		t.Fatal(ev)
	}
	for {
		l.lock()
		ready := a.pend&msgMade != 0 || a.offered
		l.unlock()
		if ready {
			break
		}
		runtime.Gosched()
	}
	a.Pause(Write)
	a.SetIdleTimeouts(time.Hour, time.Hour)
	if _, err := a.Filter(new(plainFilter), nil); err != ErrWouldBlock {
		t.Errorf("Filter: %v", err)
	}
	if p, d := a.Paused(), a.extra.idle.after; p != Write || d != [2]time.Duration{time.Hour, time.Hour} {
		t.Errorf("after Filter, %v are paused, and the idle timeouts are %v", p, d)
	}
	if _, err := a.NetConn(); err != ErrWouldBlock {
		t.Errorf("NetConn: %v", err)
	}
	must(t, a.MoveTo(to))
	if got := received(t, to, 2); got != "b Moved" {
		t.Errorf("received %q", got)
	}
	b.Write([]byte("c\n"))
	if got := received(t, to, 1); got != "c" {
		t.Errorf("received %q", got)
	}
	a.Abort()
	b.Abort()
}

func TestMailbox(t *testing.T) {
	l := dialLoop(t, "")
	box := l.Mailbox(2)
	m := []*note{{text: "0"}, {text: "1"}, {text: "2"}}
	if m[0].Source() != nil || m[0].Retract() {
		t.Error("a message that was not sent")
	}
	must(t, box.Post(m[0]))
	if err := box.Post(m[0]); err == nil || box.Len() != 1 {
		t.Error("posted twice")
	}
	must(t, box.Post(m[1]))
	if err := box.Post(m[2]); err != ErrFull {
		t.Error(err)
	}
	for name, ev := range map[string]Event{"nil": nil, "nil pointer": (*note)(nil), "no Custom": Tick{}} {
		if err := box.Post(ev); err == nil {
			t.Errorf("Post of %s", name)
		}
	}
	sent := make(chan error)
	go func() { sent <- box.Send(t.Context(), m[2]) }()
	if got := received(t, l, 1); got != "0" || m[0].Source() != Source(box) {
		t.Error(got)
	}
	must(t, <-sent)
	if !m[1].Retract() || m[1].Retract() || box.Len() != 1 {
		t.Error("Retract")
	}
	if got := received(t, l, 1); got != "2" {
		t.Error(got)
	}
	must(t, box.Post(m[0]))
	must(t, box.Post(m[1]))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := box.Send(ctx, m[2]); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	go func() { sent <- box.Send(t.Context(), m[2]) }()
	box.Close()
	if err := <-sent; err != ErrClosed {
		t.Error(err)
	}
	if err := box.Post(m[0]); err != ErrClosed {
		t.Error(err)
	}
	other := l.Mailbox(0)
	must(t, other.Post(m[0])) // it was taken back
	if got := received(t, l, 1); got != "0" {
		t.Error(got)
	}
}

// A message may be posted again as soon as it was received, over a channel too.
func TestMailboxRepost(t *testing.T) {
	l := dialLoop(t, "")
	box := l.Mailbox(0)
	ev := &note{}
	must(t, box.Post(ev))
	for range 1000 {
		got := <-l.Events()
		must(t, box.Post(got))
	}
	if n := l.Stats().Messages["*evchan.note"]; n < 999 {
		t.Errorf("%d messages were counted", n)
	}
}

func TestMailboxAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	l := dialLoop(t, "")
	box := l.Mailbox(1)
	ev := &note{}
	if n := testing.AllocsPerRun(100, func() {
		must(t, box.Post(ev))
		l.Poll(-1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Expect and SetBackground say what keeps the loop from being empty.
func TestMailboxExpect(t *testing.T) {
	l, err := New(&Config{ExitOnEmpty: true})
	must(t, err)
	defer l.Close()
	box := l.Mailbox(0)
	box.Expect(1)
	background := l.Every(time.Hour)
	background.SetBackground(true)
	go box.Post(&note{text: "result"})
	n := 0
	for ev := range l.All() {
		n++
		if ev.String() != "result" {
			t.Error(ev)
		}
	}
	if n != 1 {
		t.Errorf("%d messages", n)
	}
}

// Exit delivers what was posted before, and nothing that was posted later.
func TestMailboxExit(t *testing.T) {
	l := dialLoop(t, "")
	box := l.Mailbox(0)
	for i := range 5 {
		must(t, box.Post(&note{text: fmt.Sprint(i)}))
	}
	l.Exit(0)
	n := 0
	for range l.All() {
		n++
		must(t, box.Post(&note{text: "later"}))
	}
	if n != 5 || box.Len() != 5 {
		t.Errorf("%d messages, %d left", n, box.Len())
	}
}

func TestWriteLater(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Together": func(t *testing.T, l *Loop) {
			s, c := connectedPair(t, l)
			before := s.Loop().Stats().BytesOut
			for range 10 {
				if n, err := s.WriteLater([]byte("ab")); n != 2 || err != nil {
					t.Fatal(n, err)
				}
			}
			if n := l.Stats().BytesOut - before; n != 0 || s.Queued() != 20 {
				t.Errorf("%d bytes were sent already", n)
			}
			l.turn(0)
			if n := l.Stats().BytesOut - before; n != 20 || s.Queued() != 0 {
				t.Errorf("%d bytes were sent", n)
			}
			s.WriteLater([]byte("cd"))
			s.Write([]byte("ef"))
			s.WriteLater([]byte("gh"))
			s.Close()
			got, err := io.ReadAll(c)
			if want := strings.Repeat("ab", 10) + "cdefgh"; err != nil || string(got) != want {
				t.Errorf("%q, %v", got, err)
			}
			c.Close()
			waitReleased(t, l)
		},
	})
}

// A stream that the poller has reported again, without a reason, when it failed: its layer hears of
// the end all the same.
func TestLayerEndAfterReport(t *testing.T) {
	l, err := New(nil)
	must(t, err)
	defer l.Close()
	a, _ := l.Pipe(nil, nil)
	layer := &layerFunc{next: func(Source, Event) Event { return nil }}
	must(t, a.SetLayer(layer))
	l.Poll(0)
	a.mu.Lock()
	a.fail("read", errors.New("on purpose"), 0)
	a.unlock()
	l.lock()
	l.enqueue(&a.source, workRead)
	l.unlock()
	for range 3 {
		l.Poll(0)
	}
	if layer.ends != 1 {
		t.Errorf("%d times End", layer.ends)
	}
}

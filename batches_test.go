// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"context"
	"iter"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A spyPoller calls before each wait.
type spyPoller struct {
	poller
	waiting func(d time.Duration)
}

func (p *spyPoller) wait(dst []ready, d time.Duration) ([]ready, error) {
	p.waiting(d)
	return p.poller.wait(dst, d)
}

// nobodyRanges reports whether no goroutine ranges over a batch.
func (l *Loop) nobodyRanges() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ranging == 0
}

// TestBatchTurns: the receiver makes the turns while it ranges over a batch, and does not
// wait for the kernel there.
func TestBatchTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf, err := (&Config{IgnoreEnv: true}).complete()
		must(t, err)
		p := &spyPoller{poller: newFakePoller()}
		l := newLoop(conf, p)
		defer l.Close()
		var turns, waits atomic.Int32 // of ranges
		p.waiting = func(d time.Duration) {
			if !strings.Contains(string(debug.Stack()), ").rangeBatch(") {
				return
			}
			if turns.Add(1); d != 0 {
				waits.Add(1)
			}
		}
		const messages = 1000
		l.After(time.Second)
		n := 0
		for b := range l.Batches() {
			for range b.All() {
				if n++; n == messages {
					l.Close()
				}
				l.After(0) // takes a turn
			}
		}
		if n := turns.Load(); n < messages/2 {
			t.Errorf("%d turns by the receiver for %d messages", n, messages)
		}
		if n := waits.Load(); n != 0 {
			t.Errorf("%d of these could wait", n)
		}
	})
}

// TestBatchEnds: a range over a batch ends after MaxBatch messages, also if there are more.
func TestBatchEnds(t *testing.T) {
	inBubble(t, Config{MaxBatch: 3}, map[string]func(*testing.T, *Loop){
		"MaxBatch": func(t *testing.T, l *Loop) {
			tr := l.Trigger()
			tr.Fire()
			for range 10 {
				n := 0
				for range (<-l.Batches()).All() {
					n++
					tr.Fire()
				}
				if n != 3 {
					t.Fatalf("%d messages in a batch; want 3", n)
				}
			}
		},
	})
}

// TestBatchAway: whatever the receivers of batches do instead of ranging, the loop goes on.
func TestBatchAway(t *testing.T) {
	// ticks fails t unless a Tick is received on c.
	ticks := func(t *testing.T, c <-chan Event) {
		t.Helper()
		select {
		case <-c:
		case <-time.After(time.Minute):
			t.Error("the loop does not go on")
		}
	}
	// notified returns a channel on which a Tick comes soon.
	notified := func(l *Loop) <-chan Event {
		c := make(chan Event)
		l.After(time.Millisecond).Notify(c)
		return c
	}
	inBubble(t, Config{}, map[string]func(*testing.T, *Loop){
		"NotReceived": func(t *testing.T, l *Loop) {
			l.Trigger().Fire()
			l.Batches()
			ticks(t, notified(l))
			ticks(t, notified(l))
		},
		"NotRangedOver": func(t *testing.T, l *Loop) {
			l.Trigger().Fire()
			<-l.Batches()
			ticks(t, notified(l))
		},
		"InTheBody": func(t *testing.T, l *Loop) {
			l.Trigger().Fire()
			for range (<-l.Batches()).All() {
				ticks(t, notified(l))
				ticks(t, notified(l))
			}
		},
		"RangeNeverEnds": func(t *testing.T, l *Loop) {
			l.Trigger().Fire()
			next, stop := iter.Pull((<-l.Batches()).All())
			defer stop()
			next()
			for range 3 {
				tm := l.After(time.Second)
				for n := 0; n == 0; {
					for ev := range (<-l.Batches()).All() {
						if n++; ev != Event(Tick{tm}) {
							t.Errorf("got %v", ev)
						}
					}
				}
			}
		},
		// The messages of a batch that was dropped come with the next one, however often
		// and however late that happens.
		"Dropped": func(t *testing.T, l *Loop) {
			tr := l.Trigger()
			tr.Fire()
			for i := range 10 {
				<-l.Batches()
				time.Sleep(time.Duration(i) * time.Minute)
			}
			for n := 0; n == 0; {
				for ev := range (<-l.Batches()).All() {
					if n++; ev != Event(Fired{tr}) {
						t.Errorf("got %v", ev)
					}
				}
			}
			tr.Fire()
			<-l.Batches()
			tr.Take() // the batch is empty now
			time.Sleep(time.Hour)
			tr.Fire()
			<-l.Batches()
			<-l.Batches()
		},
		// A batch that was empty when it was received, and is dropped.
		"DroppedEmpty": func(t *testing.T, l *Loop) {
			tr := l.Trigger()
			tr.Fire()
			c := l.Batches()
			tr.Take()
			tr.Fire()
			<-c
			<-c
		},
		"OneOfTwo": func(t *testing.T, l *Loop) {
			tr := l.Trigger()
			tr.Fire()
			var first sync.WaitGroup
			first.Go(func() {
				for b := range l.Batches() {
					for range b.All() {
						<-l.Done() // has to do
					}
				}
			})
			synctest.Wait()
			for range 100 {
				tr.Fire()
				for n := 0; n == 0; {
					for range (<-l.Batches()).All() {
						n++
					}
				}
			}
			l.Close()
			first.Wait()
		},
	})
}

// TestBatchEndInBody: what ends the loop ends it at once, also if the body of the range waits
// for that.
func TestBatchEndInBody(t *testing.T) {
	ends := map[string]func(*Loop, *Trigger){
		"Break":       func(l *Loop, _ *Trigger) { l.Break() },
		"Exit":        func(l *Loop, _ *Trigger) { l.Exit(0) },
		"ExitLater":   func(l *Loop, _ *Trigger) { l.Exit(time.Second) },
		"ExitOnEmpty": func(_ *Loop, tr *Trigger) { tr.Close() },
		"Close":       func(l *Loop, _ *Trigger) { l.Close() },
		"Shutdown":    func(l *Loop, _ *Trigger) { l.Shutdown(context.Background()) },
	}
	tests := make(map[string]func(*testing.T, *Loop))
	for name, end := range ends {
		tests[name] = func(t *testing.T, l *Loop) {
			tr := l.Trigger()
			tr.Fire()
			n := 0
			for b := range l.Batches() {
				for range b.All() {
					n++
					began := time.Now()
					end(l, tr)
					select {
					case <-l.Done():
					case <-time.After(time.Minute):
						t.Error("the loop does not end")
						l.Close()
					}
					if d := time.Since(began); name != "ExitLater" && d != 0 {
						t.Errorf("the loop has ended after %v", d)
					}
				}
			}
			if n != 1 {
				t.Errorf("%d messages; want 1", n)
			}
		}
	}
	inBubble(t, Config{ExitOnEmpty: true}, tests)
}

// TestBatchExit: after Exit, what was in the queue is received, and nothing else.
func TestBatchExit(t *testing.T) {
	onMethods(t, Config{MaxBatch: 2}, map[string]func(*testing.T, *Loop){
		"": func(t *testing.T, l *Loop) {
			trs := make(map[Source]bool)
			for range 7 {
				tr := l.Trigger()
				trs[tr] = true
				tr.Fire()
			}
			c := l.Batches()
			l.Exit(0)
			l.Trigger().Fire() // too late
			for b := range c {
				for ev := range b.All() {
					if !trs[ev.Source()] {
						t.Errorf("unexpected %v", ev)
					}
					delete(trs, ev.Source())
				}
			}
			if len(trs) != 0 || !l.Exited() {
				t.Errorf("%d messages are missing; Exited is %v", len(trs), l.Exited())
			}
		},
	})
}

// TestBatchGoexit: a receiver that ends within a range holds nothing up.
func TestBatchGoexit(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Body": func(t *testing.T, l *Loop) {
			for range 2 {
				l.Trigger().Fire()
			}
			for range 2 {
				var wg sync.WaitGroup
				n := 0
				wg.Go(func() {
					for b := range l.Batches() {
						for range b.All() {
							n++
							runtime.Goexit()
						}
					}
				})
				wg.Wait()
				if n != 1 {
					t.Errorf("%d messages; want 1", n)
				}
			}
			if !l.nobodyRanges() {
				t.Error("the range has not ended")
			}
		},
	})
}

// TestBatchUrgent: what becomes urgent while the receiver makes the turns overtakes the rest of
// the batch, after Continue at once.
func TestBatchUrgent(t *testing.T) {
	inBubble(t, Config{Priorities: 2}, map[string]func(*testing.T, *Loop){
		"": func(t *testing.T, l *Loop) {
			urgent := l.After(time.Second)
			urgent.SetPriority(0)
			n := 0
			for b := range l.Batches() {
				for ev := range b.All() {
					l.mu.Lock()
					standing := l.standing
					l.mu.Unlock()
					switch {
					case n == 0 && !standing: // its turn may not have ended yet
						urgent.Reset(0)
						continue
					case n == 0:
						for range 3 {
							tr := l.Trigger()
							tr.SetPriority(1)
							tr.Fire()
						}
						urgent.Reset(0)
						l.Continue()
					case (n == 1) != (ev.Source() == Source(urgent)):
						t.Errorf("message %d is %v", n, ev)
					}
					if n++; n == 5 {
						l.Close()
					}
				}
			}
			if n != 5 {
				t.Errorf("%d messages; want 5", n)
			}
		},
	})
}

// TestBatchesTooEarly: a call that panics, since the loop is running, changes nothing.
func TestBatchesTooEarly(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"": func(t *testing.T, l *Loop) {
			tr := l.Trigger()
			tr.Fire()
			for range l.All() {
				mustPanic(t, func() { l.Batches() })
				break
			}
			tr.Fire()
			for b := range l.Batches() {
				for range b.All() {
					l.Close()
				}
			}
		},
	})
}

// TestBatchIdle: when all was received, nothing runs any more.
func TestBatchIdle(t *testing.T) {
	inBubble(t, Config{}, map[string]func(*testing.T, *Loop){
		"": func(t *testing.T, l *Loop) {
			tr := l.Trigger()
			for range 3 {
				tr.Fire()
				for n := 0; n == 0; {
					for range (<-l.Batches()).All() {
						n++
					}
				}
			}
			time.Sleep(time.Second)
			synctest.Wait()
			turns := l.Stats().Turns
			time.Sleep(time.Hour)
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.patience != 0 || l.turns != turns || l.attended || len(l.batchesc) != 0 {
				t.Errorf("patience %v, %d turns, attended %v, %d batches", l.patience, l.turns-turns, l.attended, len(l.batchesc))
			}
		},
	})
}

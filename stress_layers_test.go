// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A stressLayer makes a note of each byte, and checks what a Layer is promised.
type stressLayer struct {
	t       *testing.T
	running atomic.Bool
	ended   atomic.Bool
}

func (x *stressLayer) Next(src Source, ev Event) Event {
	if x.running.Swap(true) {
		x.t.Error("Next is running twice")
	}
	defer x.running.Store(false)
	if x.ended.Load() {
		x.t.Error("Next after End")
	}
	if s, ok := src.(*Stream); ok {
		var p [1]byte
		if n, _ := s.Input().Read(p[:]); n > 0 {
			return &note{text: string(p[:])}
		}
		switch ev.(type) {
		case EOF, Closed:
			s.Close()
		}
		return nil
	}
	return ev
}

func (x *stressLayer) End(Source) {
	if x.running.Load() || x.ended.Swap(true) {
		x.t.Error("End while Next is running, or for the second time")
	}
}

// Mailboxes and streams with layers are used from several goroutines at once: by Post, Retract,
// Again, SetLayer, MoveTo and Close. Each message that was posted is received or retracted, once,
// and each layer that was not replaced is told the end, once.
func TestStressLayers(t *testing.T) {
	receive := map[string]func(l *Loop, do func(Event)){
		"All": func(l *Loop, do func(Event)) {
			for ev := range l.All() {
				do(ev)
			}
		},
		"Events": func(l *Loop, do func(Event)) {
			for ev := range l.Events() {
				do(ev)
			}
		},
		"Batches": func(l *Loop, do func(Event)) {
			for b := range l.Batches() {
				for ev := range b.All() {
					do(ev)
				}
			}
		},
	}
	for way, receive := range receive {
		for _, notify := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", way, notify), func(t *testing.T) {
				stressLayers(t, receive, notify)
			})
		}
	}
}

// stressLayers has two loops, which receive ranges over. If notify is true, most messages come to a
// channel with a buffer instead.
func stressLayers(t *testing.T, receive func(*Loop, func(Event)), notify bool) {
	rounds := 60
	if testing.Short() {
		rounds = 15
	}
	var loops []*Loop
	for range 2 {
		l, err := New(&Config{Priorities: 3})
		must(t, err)
		defer l.Close()
		loops = append(loops, l)
	}
	var posted, got, retracted atomic.Int64
	do := func(ev Event) {
		if n, ok := ev.(*note); ok && n.text == "" {
			got.Add(1)
		}
	}
	var receivers sync.WaitGroup
	var notes chan Event
	if notify {
		notes = make(chan Event, 3)
		receivers.Go(func() {
			for ev := range notes {
				do(ev)
			}
		})
	}
	var running sync.WaitGroup
	for _, l := range loops {
		running.Go(func() { receive(l, do) })
	}
	var boxes []*Mailbox
	for _, l := range loops {
		box := l.Mailbox(8)
		box.Notify(notes)
		must(t, box.SetLayer(&stressLayer{t: t}))
		boxes = append(boxes, box)
	}

	var work sync.WaitGroup
	for range 3 { // posts, and retracts some
		work.Go(func() {
			for i := range rounds * 20 {
				ev := new(note)
				if boxes[i%2].Send(t.Context(), ev) == nil {
					posted.Add(1)
					if i%3 == 0 && ev.Retract() {
						retracted.Add(1)
					}
				}
				boxes[i%2].Again()
			}
		})
	}
	for g := range 3 { // streams with layers
		work.Go(func() {
			for i := range rounds {
				layers := []*stressLayer{{t: t}}
				from, to := loops[(g+i)%2], loops[(g+i+1)%2]
				s, peer := from.Pipe(&StreamConfig{Layer: layers[0], Notify: notes}, nil)
				peer.SetLayer(new(dropLayer))
				var users sync.WaitGroup
				users.Go(func() {
					for range 40 {
						peer.WriteString("x")
						s.Again()
					}
				})
				users.Go(func() {
					for n := range 6 {
						s.SetPriority(n % 3)
						s.Again()
						yield()
					}
				})
				replaced := g == 1
				if replaced {
					users.Go(func() {
						yield()
						x := &stressLayer{t: t}
						if s.SetLayer(x) == nil {
							layers = append(layers, x)
						}
					})
				}
				if g == 2 {
					users.Go(func() { s.MoveTo(to) })
				}
				if rand.IntN(2) == 0 {
					users.Go(func() { s.Close() })
				}
				users.Wait()
				s.Close()
				peer.Abort()
				last := layers[len(layers)-1]
				for until := time.Now().Add(testPatience); !last.ended.Load(); yield() {
					if time.Now().After(until) {
						t.Error("no End")
						return
					}
				}
			}
		})
	}
	work.Wait()
	for until := time.Now().Add(testPatience); got.Load()+retracted.Load() != posted.Load(); yield() {
		if time.Now().After(until) {
			t.Errorf("%d were posted, %d received, %d retracted", posted.Load(), got.Load(), retracted.Load())
			break
		}
	}
	for _, l := range loops {
		l.Close()
	}
	running.Wait()
	if notify {
		close(notes)
	}
	receivers.Wait()
	for _, box := range boxes {
		if n := box.Len(); n != 0 {
			t.Errorf("%d messages are left", n)
		}
	}
}

// A dropLayer drops input.
type dropLayer struct{}

func (dropLayer) Next(src Source, ev Event) Event {
	src.(*Stream).Input().Reset()
	return nil
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestPriority(t *testing.T) {
	inBubble(t, Config{Priorities: 3}, map[string]func(*testing.T, *Loop){
		"StartsInTheMiddle": func(t *testing.T, l *Loop) {
			if p := l.Trigger().Priority(); p != 1 {
				t.Errorf("priority %d of 3", p)
			}
		},
		"Alternate": func(t *testing.T, l *Loop) {
			a, b := l.Trigger(), l.Trigger()
			a.Fire()
			b.Fire()
			for i := range 100 {
				want := [2]*Trigger{a, b}[i%2]
				if ev, ok := l.Poll(0); !ok || ev != Event(Fired{want}) {
					t.Fatalf("message %d is not the other one's", i)
				}
				want.Fire()
			}
		},
		"UrgentFirst": func(t *testing.T, l *Loop) {
			a, b, c := l.Trigger(), l.Trigger(), l.Trigger()
			a.Fire()
			b.Fire()
			l.Poll(0)
			c.SetPriority(0)
			c.Fire()
			if ev, _ := l.Poll(0); ev != Event(Fired{c}) {
				t.Errorf("got %v", ev)
			}
			if ev, _ := l.Poll(0); ev != Event(Fired{b}) {
				t.Errorf("got %v", ev)
			}
		},
		"Strict": func(t *testing.T, l *Loop) {
			urgent, other := l.Trigger(), l.Trigger()
			urgent.SetPriority(0)
			other.SetPriority(2)
			other.Fire()
			urgent.Fire()
			for range 1000 { // more than a batch
				if ev, _ := l.Poll(0); ev != Event(Fired{urgent}) {
					t.Fatalf("got %v", ev)
				}
				urgent.Fire()
			}
			urgent.Take()
			if ev, _ := l.Poll(0); ev != Event(Fired{other}) {
				t.Fatalf("got %v", ev)
			}
		},
		"SetPriorityMovesWhatWaits": func(t *testing.T, l *Loop) {
			a, b := l.Trigger(), l.Trigger()
			a.Fire()
			b.Fire()
			b.SetPriority(0)
			if ev, _ := l.Poll(0); ev != Event(Fired{b}) {
				t.Errorf("got %v", ev)
			}
		},
	})
	inBubble(t, Config{MaxBatch: 16}, map[string]func(*testing.T, *Loop){
		"TimerAmongProducers": func(t *testing.T, l *Loop) {
			tr := l.Trigger()
			tr.Fire()
			tm := l.After(time.Second)
			began := time.Now()
			for ev := range l.All() {
				if ev == Event(Tick{tm}) {
					break
				}
				time.Sleep(10 * time.Millisecond)
				tr.Fire()
				if time.Since(began) > 1200*time.Millisecond { // and a batch
					t.Fatal("the timer is held up by what is always ready")
				}
			}
		},
	})
}

var (
	exactTime = flag.Duration("exact.time", 200*time.Millisecond, "how long each form of TestExact runs")
	exactSeed = flag.Uint64("exact.seed", 0, "seed of TestExact; 0: by the clock")
)

// A subject is a source under test. The test makes one call of it at a time, so
// it knows when there can be no message.
type subject struct {
	mu      sync.Mutex
	source  Source
	poke    func() // gives it something to say
	retract func() // takes that back

	silent atomic.Uint64 // the time since when it has nothing to say; 0: it may have
	pokes  atomic.Uint64 // times it was given something to say, counted before
	heard  atomic.Uint64 // messages received
	often  uint64        // how many messages there may be for each time
}

// An exactTest provides the time, a count that each look increases.
type exactTest struct {
	*testing.T
	clock    atomic.Uint64
	subjects map[Source]*subject
	received atomic.Uint64
	fires    atomic.Uint64
	taken    atomic.Uint64
}

func (x *exactTest) now() uint64 { return x.clock.Add(1) }

// hear checks a message that was received by a call that began at began.
func (x *exactTest) hear(began uint64, ev Event) {
	x.received.Add(1)
	s := x.subjects[ev.Source()]
	if s == nil {
		return
	}
	if since := s.silent.Load(); since != 0 && since < began {
		x.Errorf("%v was received at %d, but has nothing to say since %d", ev, began, since)
	}
	if heard := s.heard.Add(1); heard > s.often*s.pokes.Load() {
		x.Errorf("%v was received %d times, more often than there was reason", ev, heard)
	}
}

// newExactTest returns a test of l with a number of subjects of each kind.
func newExactTest(t *testing.T, l *Loop) *exactTest {
	x := &exactTest{T: t, subjects: make(map[Source]*subject)}
	for range 6 {
		tr := l.Trigger()
		x.add(tr,
			func() { x.fires.Add(1); tr.Fire() },
			func() { x.taken.Add(uint64(tr.Take())) })

		tm := l.After(time.Hour)
		x.add(tm, func() { tm.Reset(0) }, func() { tm.Stop() })

		w, err := l.Watch(anyDescriptor(t), Read)
		if err != nil {
			t.Fatal(err)
		}
		x.add(w, func() { w.Activate(Read) }, func() { w.Disarm() })
	}
	addPackets(x, l)
	return x
}

func (x *exactTest) add(src Source, poke, retract func()) *subject {
	s := &subject{source: src, poke: poke, retract: retract, often: 1}
	s.silent.Store(x.now())
	x.subjects[src] = s
	return s
}

// act does something to a subject, at random.
func (x *exactTest) act(r *rand.Rand, s *subject, routes []chan Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.IntN(10) {
	case 0, 1, 2, 3, 4:
		s.silent.Store(0)
		s.pokes.Add(1)
		s.poke()
	case 5, 6, 7:
		s.retract()
		s.silent.Store(x.now())
	case 8:
		if err := s.source.SetPriority(r.IntN(3)); err != nil {
			x.Error(err)
		}
	case 9:
		if i := r.IntN(len(routes) + 2); i < len(routes) {
			s.source.Notify(routes[i])
		} else {
			s.source.Notify(nil)
		}
	}
}

// receive makes the loop run in the given form until it ends, with n
// receivers, which are busy now and then.
func (x *exactTest) receive(l *Loop, form string, n int) {
	busy := func(i int) {
		for range i % 4 {
			runtime.Gosched()
		}
	}
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			i := 0
			switch form {
			case "All":
				began := x.now()
				for ev := range l.All() {
					x.hear(began, ev)
					i++
					busy(i)
					began = x.now()
				}
			case "Poll":
				for {
					began := x.now()
					ev, ok := l.Poll(-1)
					if !ok {
						return
					}
					x.hear(began, ev)
					i++
					busy(i)
				}
			case "Events":
				for {
					began := x.now()
					ev, ok := <-l.Events()
					if !ok {
						return
					}
					x.hear(began, ev)
					i++
					busy(i)
				}
			case "Batches":
				for b := range l.Batches() {
					began := x.now()
					for ev := range b.All() {
						x.hear(began, ev)
						i++
						busy(i)
						began = x.now()
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestExact does things to sources at random while their messages are received,
// and checks of each message that it was true when it was received.
func TestExact(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		form      string
		receivers int
	}{
		{"All", 1}, {"Poll", 1}, {"Events", 1}, {"Events", 2}, {"Batches", 1}, {"Batches", 2},
	} {
		for _, method := range socketMethods() {
			t.Run(fmt.Sprintf("%s/%s%d", method, c.form, c.receivers), func(t *testing.T) {
				testExact(t, method, c.form, c.receivers)
			})
		}
	}
}

func testExact(t *testing.T, method, form string, receivers int) {
	seed := *exactSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-exact.seed=%d", seed)
	l, err := New(&Config{Method: method, IgnoreEnv: true, Priorities: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	x := newExactTest(t, l)
	var all []*subject
	for _, s := range x.subjects {
		all = append(all, s)
	}

	routes := []chan Event{make(chan Event), make(chan Event)}
	stop := make(chan struct{})
	var others sync.WaitGroup
	for _, c := range routes {
		others.Go(func() {
			for {
				began := x.now()
				select {
				case ev := <-c:
					x.hear(began, ev)
				case <-stop:
					return
				}
			}
		})
	}
	end := time.Now().Add(*exactTime)
	var workers sync.WaitGroup
	for i := range 3 {
		workers.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for time.Now().Before(end) {
				for range 16 {
					x.act(r, all[r.IntN(len(all))], routes)
				}
				runtime.Gosched()
			}
		})
	}
	go func() {
		workers.Wait()
		close(stop)
		l.Close()
	}()
	x.receive(l, form, receivers)
	others.Wait()

	for src, s := range x.subjects {
		if tr, ok := src.(*Trigger); ok {
			x.taken.Add(uint64(tr.Take()))
		}
		_ = s
	}
	if fires, taken := x.fires.Load(), x.taken.Load(); fires != taken {
		t.Errorf("Fire was called %d times, but Take counts %d", fires, taken)
	}
	if x.received.Load() == 0 {
		t.Error("no message was received")
	}
}

// TestRetraction does one thing at a time, with the message being offered on the
// channel of Events, and then receives without waiting.
func TestRetraction(t *testing.T) {
	l, err := New(&Config{IgnoreEnv: true, Priorities: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := l.Events()
	// offered waits until a message of s is being offered.
	offered := func(s *source) {
		for {
			l.mu.Lock()
			ok := s.offered
			l.mu.Unlock()
			if ok {
				return
			}
			runtime.Gosched()
		}
	}
	none := func(what string) {
		t.Helper()
		select {
		case ev := <-c:
			t.Errorf("after %s came %v", what, ev)
		default:
		}
	}
	must := func(want Event) {
		t.Helper()
		select {
		case ev := <-c:
			if ev != want {
				t.Errorf("got %v; want %v", ev, want)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("got nothing; want %v", want)
		}
	}

	tr := l.Trigger()
	for range 200 {
		tr.Fire()
		offered(&tr.source)
		if n := tr.Take(); n != 1 {
			t.Fatalf("Take is %d", n)
		}
		none("Take")
	}

	tm := l.After(0)
	offered(&tm.source)
	if !tm.Stop() {
		t.Error("Stop of a timer whose Tick was not received is false")
	}
	none("Stop")
	tm.Reset(0)
	offered(&tm.source)
	tm.Reset(time.Hour)
	none("Reset")
	tm.Stop()

	// What is more urgent overtakes what is being offered, at once.
	urgent := l.Trigger()
	urgent.SetPriority(0)
	for range 200 {
		tr.Fire()
		offered(&tr.source)
		urgent.Fire()
		must(Fired{urgent})
		must(Fired{tr})
	}

	// So does what has become more urgent, and what is being offered may become less so.
	other := l.Trigger()
	for range 200 {
		tr.Fire()
		offered(&tr.source)
		other.Fire()
		if err := tr.SetPriority(2); err != nil {
			t.Fatal(err)
		}
		must(Fired{other})
		must(Fired{tr})
		tr.SetPriority(1)
	}

	// What comes while a message is being offered is one with it; what comes once
	// it has been received is another one.
	tr.Take()
	for range 200 {
		tr.Fire()
		offered(&tr.source)
		tr.Fire()
		must(Fired{tr})
		for settled := false; !settled; runtime.Gosched() {
			l.mu.Lock()
			settled = !tr.offered && !tr.queued
			if settled && tr.unreceived() != 0 {
				t.Error("two messages for what came before the first was received")
			}
			l.mu.Unlock()
			select {
			case ev := <-c:
				t.Fatalf("unexpected %v", ev)
			default:
			}
		}
		if n := tr.Take(); n != 2 {
			t.Fatalf("Take is %d", n)
		}
	}

	// Notify takes what is being offered along.
	private := make(chan Event, 1)
	tr.Fire()
	offered(&tr.source)
	tr.Notify(private)
	none("Notify")
	if ev := <-private; ev != Event(Fired{tr}) {
		t.Errorf("got %v on the private channel", ev)
	}
	tr.Notify(nil)

	tr.Fire()
	offered(&tr.source)
	tr.Close()
	none("Close")
}

// TestReadableWhileSent empties a stream at the moment its Readable is about to be
// sent on a channel: what has consumed does not return before that was sent, so
// after that no Readable is received.
func TestReadableWhileSent(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){"": func(t *testing.T, l *Loop) {
		s, far := connectedPair(t, l)
		send(t, far, "hello")
		var src *source
		var bit pending
		for src == nil {
			l.turn(time.Second)
			l.mu.Lock()
			if src, bit = l.next(&l.own); src == nil {
				l.unlock()
			}
		}
		if src != &s.source || bit != msgReadable || !l.vouch(src, bit) {
			l.unlock()
			t.Fatalf("got message %#x, or it is not true", bit)
		}
		var done atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			s.Read(make([]byte, 10))
			done.Store(true)
		})
		for s.in.held.Load() > 0 {
			runtime.Gosched()
		}
		for range 1000 {
			runtime.Gosched()
		}
		if done.Load() {
			t.Error("Read has returned while Readable is being sent")
		}
		src.owner.unhold(bit)
		l.unpop(src, bit)
		l.unlock()
		wg.Wait()
		l.mu.Lock()
		if l.vouch(src, msgReadable) { // had it not been taken back
			t.Error("a Readable with nothing there may be sent")
		}
		l.unlock()
		noMessage(t, l)
	}})
}

// TestFavoursInTurn: two streams that are consumed by turns, each when the other has
// something, must not keep a third one waiting.
func TestFavoursInTurn(t *testing.T) {
	inBubble(t, Config{MaxInput: 100}, map[string]func(*testing.T, *Loop){
		"": func(t *testing.T, l *Loop) {
			a, b := l.Pipe(nil, nil)
			c, d := l.Pipe(nil, nil)
			a.Write(pattern(pipeRoom))
			c.Write(pattern(pipeRoom))
			e, f := l.Pipe(nil, nil)
			for n := 0; ; n++ {
				ev, _ := l.Poll(-1)
				switch ev {
				case Readable{b}:
					d.Input().Discard(100)
				case Readable{d}:
					b.Input().Discard(100)
				case Readable{f}:
					return
				default:
					t.Fatalf("unexpected %v", ev)
				}
				if n == 10 {
					e.Write([]byte("x"))
				}
				if n > 10+3*maxFrontRequeues {
					t.Fatalf("it has not come after %d messages", n)
				}
			}
		},
	})
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// A posting is a message of TestMailboxModel: the n-th of a poster. Its poster owns it, but while
// it is sent.
type posting struct {
	Custom
	poster, n int
	got       atomic.Bool // was received
}

// Many goroutines post into a few mailboxes, by Post and Send, and retract some of what they have
// posted, while others change priorities and channels, and close a mailbox. Each message is
// received once or was retracted, never both, and those of one poster come in their order.
func TestMailboxModel(t *testing.T) {
	for name, receive := range ranges {
		t.Run(name, func(t *testing.T) { testMailboxModel(t, receive) })
	}
}

func testMailboxModel(t *testing.T, receive func(*Loop, func(Event))) {
	const (
		posters = 4 // each posts into one mailbox, so that its order is known
		each    = 2000
	)
	l, err := New(&Config{Priorities: 3})
	must(t, err)
	defer l.Close()
	boxes := []*Mailbox{l.Mailbox(0), l.Mailbox(5)}

	// What is received, by whichever way. A lock is enough for the order only if a message is
	// noted before the next one of its mailbox is received: so one goroutine receives at a time.
	var mu sync.Mutex
	var last [posters]int
	var count int
	hear := func(ev Event) {
		m, ok := ev.(*posting)
		if !ok {
			t.Errorf("received %v", ev)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		count++
		if m.got.Swap(true) {
			t.Errorf("%d of %d was received twice", m.n, m.poster)
		}
		if m.n <= last[m.poster] {
			t.Errorf("%d of %d was received after %d", m.n, m.poster, last[m.poster])
		}
		last[m.poster] = m.n
	}
	var receivers, senders, others sync.WaitGroup
	receivers.Go(func() { receive(l, hear) })

	retracted := make([]int, posters)
	for i := range posters {
		senders.Go(func() {
			box := boxes[i%2]
			for n := 1; n <= each; n++ {
				m := &posting{poster: i, n: n}
				var err error
				if i < 2 {
					err = box.Send(t.Context(), m)
				} else {
					for err = box.Post(m); err == ErrFull; err = box.Post(m) {
						runtime.Gosched()
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
				if rand.IntN(4) == 0 && m.Retract() {
					retracted[i]++
					if m.got.Load() {
						t.Errorf("%d of %d was retracted after it was received", n, i)
					}
					m.got.Store(true) // to be received now would be wrong
				}
			}
		})
	}
	done := make(chan struct{})
	others.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				box := boxes[rand.IntN(2)]
				must(t, box.SetPriority(rand.IntN(3)))
				box.Len()
				box.Expect(1)
				box.Expect(-1)
				yield()
			}
		}
	})
	senders.Wait()
	close(done)
	others.Wait()
	want := posters * each
	for _, n := range retracted {
		want -= n
	}
	for { // until all is received
		mu.Lock()
		n := count
		mu.Unlock()
		if n >= want && boxes[0].Len()+boxes[1].Len() == 0 {
			break
		}
		runtime.Gosched()
	}
	l.Close()
	receivers.Wait()
	if count != want {
		t.Errorf("%d messages were received; want %d", count, want)
	}
}

// Close gives all messages back, and lets those go on that wait in Send.
func TestMailboxClose(t *testing.T) {
	l := dialLoop(t, "")
	events := l.Events()
	for range 100 {
		box := l.Mailbox(2)
		messages := []*note{{text: "a"}, {text: "b"}}
		for _, m := range messages {
			must(t, box.Post(m))
		}
		sent := make(chan error)
		for range 3 {
			go func() { sent <- box.Send(t.Context(), new(note)) }()
		}
		yield()
		box.Close()
		for range 3 {
			if err := <-sent; err != ErrClosed {
				t.Fatal(err)
			}
		}
		other := l.Mailbox(0)
		for _, m := range messages {
			must(t, other.Post(m))
			if ev := <-events; ev != Event(m) {
				t.Fatalf("received %v", ev)
			}
		}
	}
}

// The loop is closed between the moment at which a receiver takes a message from the channel, and
// the one at which the feeder notes that: it takes the message out of a mailbox that is empty.
func TestMailboxReceivedWhileLoopCloses(t *testing.T) {
	l, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	m := l.Mailbox(0)
	if err := m.Post(&note{}); err != nil {
		t.Fatal(err)
	}
	l.Close()
	l.lock()
	m.received(msgSingle)
	l.unlock()
	if n := m.Len(); n != 0 {
		t.Errorf("%d messages", n)
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The tests of this file and of sim_ratelimit_test.go run loops, streams and timers for
// an hour and more of virtual time, beside a model that says what has to come, and
// when, to the nanosecond.

// empty fails unless nothing is left of what a loop has had.
func empty(t *testing.T, l *Loop) {
	t.Helper()
	l.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timers.len() != 0 || l.sources() != 0 || l.streams.Load() != 0 || len(l.work) != 0 || len(l.routes) != 0 {
		t.Errorf("left on a closed loop: %d timers, %d live sources, %d streams, %d tasks, %d routes",
			l.timers.len(), l.sources(), l.streams.Load(), len(l.work), len(l.routes))
	}
	for i := range l.regs.n {
		if r := l.regs.at(i); r.who != nil {
			t.Errorf("registered on a closed loop: %T", r.who)
		}
	}
}

// An idleModel is what must become of a stream with idle timeouts at one end of a
// Pipe, whose other end does what the test says. Times are on the loop's clock.
type idleModel struct {
	s, peer *Stream
	hold    bool // the consumer leaves the input

	after    [2]time.Duration
	last     [2]time.Duration
	paused   What
	timedOut What

	high         int // of the stream's input
	held, coming int // bytes of its input, and those on the way
	fin, eof     bool
	out, onWay   int // bytes of its output, and those on the way
	room         int // how many bytes the peer takes
}

// settle moves what can be moved at now.
func (m *idleModel) settle(now time.Duration) {
	if m.paused&Read == 0 && !m.eof {
		full := m.held >= m.high
		for !full && m.coming > 0 {
			n := min(m.high-m.held, m.coming)
			m.held, m.coming = m.held+n, m.coming-n
			m.last[dirRead] = now
			if full = m.held >= m.high; full && !m.hold {
				m.held, full = 0, false
			}
		}
		if !m.hold {
			m.held = 0
		}
		m.eof = m.fin && m.coming == 0 && m.held < m.high
	}
	for {
		n := min(m.room, m.onWay)
		m.onWay, m.room = m.onWay-n, m.room-n
		k := 0
		if m.paused&Write == 0 {
			k = min(m.out, pipeRoom-m.onWay)
		}
		m.onWay, m.out = m.onWay+k, m.out-k
		if k > 0 {
			m.last[dirWrite] = now
		}
		if n == 0 && k == 0 {
			return
		}
	}
}

// deadline returns when a direction is idle too long; the result is false if that
// does not happen by itself.
func (m *idleModel) deadline(dir int) (time.Duration, bool) {
	switch {
	case m.after[dir] == 0,
		dir == dirRead && (m.paused&Read != 0 || m.held >= m.high || m.eof),
		dir == dirWrite && (m.paused&Write != 0 || m.out == 0):
		return 0, false
	}
	return m.last[dir] + m.after[dir], true
}

// expire pauses what is idle too long at now, and returns it.
func (m *idleModel) expire(now time.Duration) (what What) {
	for dir, bit := range []What{Read, Write} {
		if d, ok := m.deadline(dir); ok && d <= now {
			what |= bit
		}
	}
	m.paused |= what
	m.timedOut |= what
	return what
}

// act does something at random to the stream, and to the model.
func (m *idleModel) act(t *testing.T, r *rand.Rand, now time.Duration) {
	bit := []What{Read, Write, Read | Write}[r.IntN(3)]
	switch k := r.IntN(100); {
	case k < 30: // the peer writes
		if m.fin {
			return
		}
		n := 1 + r.IntN(2*m.high)
		m.peer.Write(make([]byte, n))
		m.coming += n
	case k < 45: // the peer reads
		n := []int{1, 1000, pipeRoom}[r.IntN(3)]
		m.room += n
		m.peer.SetReadMarks(1, int(m.peer.in.held.Load())+m.room)
	case k < 60:
		n := []int{1, 1000, pipeRoom}[r.IntN(3)]
		if m.out > 1<<20 {
			return
		}
		var got int
		var err error
		if r.IntN(2) == 0 {
			got, err = m.s.Write(make([]byte, n))
		} else {
			m.s.Output().Write(make([]byte, n))
			got, err = n, m.s.Flush()
		}
		if got != n || err != nil {
			t.Fatalf("writing %d bytes: %d, %v", n, got, err)
		}
		if m.out == 0 {
			m.last[dirWrite] = now // from here on it waits, if it has to
		}
		m.out += n
	case k < 70: // the consumer begins or ends to leave the input where it is
		if m.hold = !m.hold; !m.hold {
			if m.held >= m.high {
				m.last[dirRead] = now
			}
			m.held = 0
			m.s.Input().Discard(1 << 30)
		}
	case k < 80:
		m.s.Pause(bit)
		m.paused |= bit
	case k < 95:
		m.s.Resume(bit)
		for dir, b := range []What{Read, Write} {
			if bit&m.paused&b != 0 {
				m.last[dir] = now
			}
		}
		m.paused &^= bit
		m.timedOut &^= bit
	case k < 99:
		m.setTimeouts(r, now)
	default:
		m.peer.CloseWrite()
		m.fin = true
	}
	m.settle(now)
}

func (m *idleModel) setTimeouts(r *rand.Rand, now time.Duration) {
	for dir := range m.after {
		m.after[dir] = []time.Duration{0, 1, time.Millisecond, time.Second, time.Minute, time.Minute + 1, 10 * time.Minute}[r.IntN(7)]
		m.last[dir] = now
	}
	m.s.SetIdleTimeouts(m.after[dirRead], m.after[dirWrite])
}

// when returns the time of the next act: often just before or after a deadline, or at
// it, when the timeout comes first.
func (m *idleModel) when(r *rand.Rand, now time.Duration) time.Duration {
	if d, ok := m.deadline(r.IntN(2)); ok && r.IntN(3) > 0 {
		return max(now, d+time.Duration(r.IntN(3)-1))
	}
	return now + time.Duration(r.Int64N(int64([]time.Duration{time.Millisecond, time.Second, 2 * time.Minute}[r.IntN(3)])))
}

// TestWorldOfIdleStreams runs many streams, with timers among them, each of which is
// used at random and at awkward moments.
func TestWorldOfIdleStreams(t *testing.T) {
	tests := make(map[string]func(*testing.T, *Loop))
	for seed := range uint64(2) {
		tests[fmt.Sprint("Seed", seed)] = func(t *testing.T, l *Loop) { testIdleWorld(t, l, seed) }
	}
	inBubble(t, Config{}, tests)
}

func testIdleWorld(t *testing.T, l *Loop, seed uint64) {
	const (
		streams = 100
		lasts   = time.Hour
	)
	r := rand.New(rand.NewPCG(seed, 1))
	models := make([]*idleModel, streams)
	acts := make([]time.Duration, streams)
	for i := range models {
		m := new(idleModel)
		m.s, m.peer = l.Pipe(nil, nil)
		m.s.Data = m
		m.high = 1 + r.IntN(200)
		m.s.SetReadMarks(1, m.high)
		m.peer.Pause(Read)
		m.peer.SetReadMarks(1, 1) // see act
		m.peer.Resume(Read)
		m.room = 1
		m.setTimeouts(r, 0)
		models[i] = m
		acts[i] = m.when(r, 0)
	}
	// Some timers, whose moments and counts are known.
	ticks := make(map[*Timer]int)
	for i := range 20 {
		ticks[l.Every(time.Duration(1+i)*time.Minute+time.Duration(i))] = 0
	}
	timeouts, done := 0, 0
	for now := time.Duration(0); now < lasts; {
		i := slices.Index(acts, slices.Min(acts))
		next := min(acts[i], lasts)
		for {
			ev, ok := l.Poll(next - now)
			now = time.Duration(l.clock())
			if !ok {
				break
			}
			switch ev := ev.(type) {
			case TimedOut:
				m := ev.Stream.Data.(*idleModel)
				if what := m.expire(now); what == 0 || m.s.TimedOut() != m.timedOut || m.s.Paused() != m.paused {
					t.Fatalf("%v: stream %d has timed out: %v, paused %v; want %v, %v", now,
						slices.Index(models, m), m.s.TimedOut(), m.s.Paused(), m.timedOut, m.paused)
				}
				timeouts++
			case Readable:
				if m, ok := ev.Stream.Data.(*idleModel); ok && !m.hold {
					ev.Stream.Input().Discard(1 << 30)
				}
			case Tick:
				n := ev.Timer.Take()
				if ticks[ev.Timer] += n; n != 1 || now != time.Duration(ticks[ev.Timer])*ev.Timer.period {
					t.Fatalf("%v: %v, %d times", now, ev, n)
				}
			case Drained, EOF:
			default:
				t.Fatalf("unexpected %v", ev)
			}
		}
		if now != next {
			t.Fatalf("it is %v; want %v", now, next)
		}
		for j, m := range models {
			if what := m.expire(now); what != 0 {
				t.Fatalf("%v: stream %d has not timed out: %v", now, j, what)
			}
		}
		if now < lasts {
			m := models[i]
			m.act(t, r, now)
			acts[i] = m.when(r, now)
			done++
		}
	}
	for tm, n := range ticks {
		if want := int(lasts / tm.period); n != want {
			t.Errorf("%v: %d times; want %d", tm.label(), n, want)
		}
	}
	t.Logf("%d acts, %d timeouts, %d turns", done, timeouts, l.Stats().Turns)
	empty(t, l)
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"errors"
	"io"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// FuzzStream does to the two ends of a Pipe what a script says, three bytes a step: an
// operation, its end and kind, and a number. It compares with a model what arrives
// and which messages come. The first byte says which filter the ends are under.
func FuzzStream(f *testing.F) {
	for _, filter := range []byte{0, 1, 2, 128} {
		all := []byte{filter}
		for op := range byte(len(streamOps)) {
			all = append(all, 0, 0, 200, op, 0, 40, op, 1, 90, 1, 1, 5)
			f.Add([]byte{filter, 0, 0, 200, 0, 1, 100, op, 1, 1, op, 0, 40, 0, 0, 255, 1, 1, 0, 0, 1, 9})
		}
		f.Add(all)
		f.Add(append([]byte{filter}, bytes.Repeat([]byte{0, 0, 255, 0, 1, 250, 1, 0, 30, 3, 1, 20}, 40)...))
	}
	conf, err := (&Config{IgnoreEnv: true, MaxInput: 5000, MaxOutput: 4000, Priorities: 2}).complete()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		synctest.Test(t, func(t *testing.T) {
			l := newLoop(conf, memoryMethod(t))
			defer l.Close()
			z := newStreamFuzz(t, l, script)
			if len(script) > 0 {
				script = script[1:]
			}
			for steps := 0; len(script) >= 3 && steps < 300; steps++ {
				op := streamOps[int(script[0])%len(streamOps)]
				op(z, &z.ends[script[1]&1], script[1]>>1, int(script[2]))
				script = script[3:]
			}
			z.finish()
		})
	})
}

// A streamFuzz is a Pipe and the model of it.
type streamFuzz struct {
	t    *testing.T
	l    *Loop
	ends [2]fuzzEnd
}

// A fuzzEnd is what is known of one end.
type fuzzEnd struct {
	s         *Stream
	peer      *fuzzEnd
	sent, got int // bytes of fuzzData
	out       int // bytes of them that are in Output
	shut      bool
	closed    bool // by Close or Abort
	endOfFile bool // EOF was received
	ended     bool // Closed was received
}

func newStreamFuzz(t *testing.T, l *Loop, script []byte) *streamFuzz {
	z := &streamFuzz{t: t, l: l}
	z.ends[0].s, z.ends[1].s = l.Pipe(nil, nil)
	for i := range z.ends {
		e := &z.ends[i]
		e.peer = &z.ends[1-i]
		if len(script) > 0 && script[0]%3 > 0 {
			var f Filter = xorFilter(7)
			if script[0]%3 == 2 {
				f = &frameFilter{t: t, greeted: true, welcomed: true} // without greetings, which CloseWrite may overtake
			}
			busy := &busyFilter{frameFilter: frameFilter{t: t, greeted: true, welcomed: true}}
			if script[0] >= 128 {
				f = busy
			}
			s, err := e.s.Filter(f, nil)
			if err != nil {
				t.Fatal(err)
			}
			busy.up = s
			e.s = s
		}
		e.s.Data = e
	}
	return z
}

// streamOps are what a script may do.
var streamOps = []func(z *streamFuzz, e *fuzzEnd, kind byte, n int){
	func(z *streamFuzz, e *fuzzEnd, kind byte, n int) { z.write(e, kind, n*20) },
	func(z *streamFuzz, e *fuzzEnd, kind byte, n int) { z.poll(0) },
	func(z *streamFuzz, e *fuzzEnd, kind byte, n int) { z.poll(time.Duration(n) * time.Millisecond) },
	func(z *streamFuzz, e *fuzzEnd, kind byte, n int) { z.read(e, kind, n*20) },
	func(z *streamFuzz, e *fuzzEnd, kind byte, n int) { // CloseWrite
		if err := e.s.CloseWrite(); err != nil && !e.over() {
			z.t.Fatalf("CloseWrite: %v", err)
		}
		e.shut = true
	},
	func(z *streamFuzz, e *fuzzEnd, kind byte, n int) { // Close, Abort: seldom, for they are the end
		switch n {
		case 40, 41:
			e.s.Close()
			e.closed = true
		case 90:
			e.s.Abort()
			e.closed = true
		}
	},
	func(z *streamFuzz, e *fuzzEnd, kind byte, n int) { e.s.Pause(What(n) & (Read | Write)) },
	func(z *streamFuzz, e *fuzzEnd, kind byte, n int) { e.s.Resume(What(n) & (Read | Write)) },
	func(z *streamFuzz, e *fuzzEnd, kind byte, n int) { e.s.SetReadMarks(n*int(kind&31), n*16) },
	func(z *streamFuzz, e *fuzzEnd, kind byte, n int) { e.s.SetWriteMarks(n*int(kind&31), n*16) },
	func(z *streamFuzz, e *fuzzEnd, kind byte, n int) { // SetRateLimit
		if n == 0 {
			e.s.SetRateLimit(nil)
			return
		}
		limit := RateLimit{Tick: time.Duration(1+kind&31) * time.Millisecond}
		if n&1 != 0 {
			limit.ReadRate, limit.ReadBurst = n*100, n*10
		}
		if n&2 != 0 || n&1 == 0 {
			limit.WriteRate, limit.WriteBurst = n*100, n*10
		}
		if err := e.s.SetRateLimit(&limit); err != nil && !e.over() && limit.check() == nil {
			z.t.Fatal(err)
		}
	},
	func(z *streamFuzz, e *fuzzEnd, kind byte, n int) {
		e.s.SetIdleTimeouts(time.Duration(n)*time.Millisecond, time.Duration(kind)*time.Millisecond)
	},
	func(z *streamFuzz, e *fuzzEnd, kind byte, n int) { e.s.SetPriority(n & 1) },
	func(z *streamFuzz, e *fuzzEnd, kind byte, n int) { // Output
		if p := e.next(n * 20); !e.shut {
			e.s.Output().Write(p)
			e.out += len(p)
		}
	},
	func(z *streamFuzz, e *fuzzEnd, kind byte, n int) { z.flush(e) },
}

// over reports whether the end may fail by now.
func (e *fuzzEnd) over() bool { return e.closed || e.ended || e.s.gone() }

// next returns what is to be written next; less than n bytes towards the end.
func (e *fuzzEnd) next(n int) []byte {
	at := e.sent + e.out
	return fuzzData[at:min(at+n, len(fuzzData))]
}

// took checks the result of what was to send n bytes, with so many queued before.
func (z *streamFuzz) took(e *fuzzEnd, queued, n, took int, err error) {
	switch full := queued >= e.s.limits.Load().writeHigh; {
	case e.over():
		if err == nil && n > 0 && e.closed {
			z.t.Fatal("a closed stream takes output")
		}
	case e.shut:
		if !errors.Is(err, ePIPE) {
			z.t.Fatalf("after CloseWrite: %v", err)
		}
	case full != (err == ErrFull) || err != nil && !full || err == nil && took != n || err != nil && took != 0:
		z.t.Fatalf("%d of %d bytes, %v, with %d queued and a mark of %d", took, n, err, queued, e.s.limits.Load().writeHigh)
	}
	e.sent += took
}

func (z *streamFuzz) write(e *fuzzEnd, kind byte, n int) {
	if e.out > 0 { // its bytes come first
		z.flush(e)
		return
	}
	p := e.next(n)
	if len(p) == 0 {
		return
	}
	queued := e.s.Queued()
	n, err := 0, error(nil)
	if kind&1 == 0 {
		n, err = e.s.Write(p)
	} else {
		src := NewBuffer(slices.Clone(p))
		n, err = func() (int, error) { n, err := e.s.ReadFrom(io.LimitReader(src, int64(len(p)))); return int(n), err }()
		if kept := src.Len(); n+kept != len(p) && !e.over() && !e.shut {
			z.t.Fatalf("ReadFrom: %d bytes were taken of %d, and %d are left", n, len(p), kept)
		}
		if err == ErrFull && n > 0 || err == nil && n == len(p) { // it has taken some; Queued tells no more
			e.sent += n
			return
		}
	}
	z.took(e, queued, len(p), n, err)
}

func (z *streamFuzz) flush(e *fuzzEnd) {
	if e.out == 0 {
		return
	}
	queued := e.s.Queued()
	err := e.s.Flush()
	n := e.out - e.s.Output().Len()
	if err != nil && !e.over() && !errors.Is(err, ePIPE) && n != 0 {
		z.t.Fatalf("Flush: %v, and %d bytes are gone", err, n)
	}
	if err != nil {
		n = 0
	}
	z.took(e, queued, e.out, n, err)
	if err != ErrFull {
		e.s.Output().Reset()
		e.out = 0
	}
}

// arrived checks that p is what comes next.
func (z *streamFuzz) arrived(e *fuzzEnd, p []byte) {
	if e.got+len(p) > e.peer.sent || !bytes.Equal(p, fuzzData[e.got:e.got+len(p)]) {
		z.t.Fatalf("%d bytes arrive after %d; %d were sent", len(p), e.got, e.peer.sent)
	}
	e.got += len(p)
}

func (z *streamFuzz) read(e *fuzzEnd, kind byte, n int) {
	switch kind % 4 {
	case 0:
		p := make([]byte, n+1)
		k, err := e.s.Read(p)
		z.arrived(e, p[:k])
		switch {
		case k == 0 && err == nil, k > 0 && err != nil:
			z.t.Fatalf("Read: %d, %v", k, err)
		case err == io.EOF && !e.over() && (!e.peer.shut && !e.peer.closed || e.got != e.peer.sent && !e.peer.closed):
			z.t.Fatalf("Read: io.EOF after %d of %d bytes", e.got, e.peer.sent)
		}
	case 1:
		z.arrived(e, e.s.Input().Next(n))
	case 2:
		in := e.s.Input()
		for p := range in.Segments() {
			z.arrived(e, p)
		}
		in.Discard(math.MaxInt)
	case 3:
		var b bytes.Buffer
		k, err := e.s.WriteTo(&b)
		z.arrived(e, b.Bytes())
		if int(k) != b.Len() || err != nil && !e.over() {
			z.t.Fatalf("WriteTo: %d instead of %d, %v", k, b.Len(), err)
		}
	}
}

// poll receives a message, if one comes in d.
func (z *streamFuzz) poll(d time.Duration) bool {
	ev, ok := z.l.Poll(d)
	if !ok {
		return false
	}
	e := ev.Source().(*Stream).Data.(*fuzzEnd)
	if e.closed || e.ended {
		z.t.Fatalf("%v after the end", ev)
	}
	paused := e.s.Paused()
	switch ev.(type) {
	case Readable:
		if e.s.Input().Len() < max(1, min(e.s.limits.Load().readLow, e.peer.sent-e.got)) || paused&Read != 0 {
			z.t.Fatalf("Readable with %d bytes, mark %d, paused %v", e.s.Input().Len(), e.s.limits.Load().readLow, paused)
		}
	case Drained:
		if q := e.s.Queued(); q > e.s.limits.Load().writeLow {
			z.t.Fatalf("Drained with %d bytes queued, mark %d", q, e.s.limits.Load().writeLow)
		}
	case EOF:
		if e.endOfFile || !e.peer.shut && !e.peer.closed || paused&Read != 0 {
			z.t.Fatalf("EOF, again %v, CloseWrite %v, paused %v", e.endOfFile, e.peer.shut, paused)
		}
		e.endOfFile = true
	case TimedOut:
		if e.s.TimedOut() == 0 || e.s.TimedOut()&^paused != 0 {
			z.t.Fatalf("TimedOut %v, paused %v", e.s.TimedOut(), paused)
		}
	case Closed:
		if !e.peer.closed {
			z.t.Fatalf("Closed: %v", e.s.Err())
		}
		e.ended = true
	default:
		z.t.Fatalf("unexpected %v", ev)
	}
	return true
}

// finish lets everything go on and checks that all arrives.
func (z *streamFuzz) finish() {
	for i := range z.ends {
		e := &z.ends[i]
		e.s.SetReadMarks(0, 0)
		e.s.SetWriteMarks(0, 0)
		e.s.SetRateLimit(nil)
		e.s.SetIdleTimeouts(0, 0)
		e.s.Resume(Read | Write)
	}
	for more := true; more; {
		for i := range z.ends {
			z.read(&z.ends[i], 2, 0)
		}
		more = z.poll(time.Hour)
	}
	for i := range z.ends {
		e := &z.ends[i]
		if e.closed || e.peer.closed {
			continue
		}
		if e.got != e.peer.sent || e.endOfFile != e.peer.shut || e.s.Queued() != 0 || e.ended {
			z.t.Fatalf("end %d: %d bytes of %d, EOF %v, CloseWrite %v, %d queued, Closed %v",
				i, e.got, e.peer.sent, e.endOfFile, e.peer.shut, e.s.Queued(), e.ended)
		}
	}
	for i := range z.ends {
		z.ends[i].s.Close()
		z.ends[i].closed = true
	}
	if ev, ok := z.l.Poll(time.Hour); ok {
		z.t.Fatalf("%v after Close", ev)
	}
	if n := z.l.Stats().Sources; n != 0 {
		z.t.Fatalf("%d sources are left", n)
	}
}

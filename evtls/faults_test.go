// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtls

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evchan/evchan"
)

// faultSeeds returns how many seeds TestFaults tries. EVTLS_SEEDS sets it.
func faultSeeds() int {
	if n, err := strconv.Atoi(os.Getenv("EVTLS_SEEDS")); err == nil {
		return n
	}
	if testing.Short() {
		return 100
	}
	return 300
}

// A chaos is a filter below TLS, which passes on what arrives late and in pieces, and does
// something worse to it once.
type chaos struct {
	r      *rand.Rand
	fault  string // "": nothing
	at     int    // the byte at which the fault is
	seen   int    // bytes passed on
	did    bool   // the fault was there
	again  bool   // it has asked for another call
	stream atomic.Pointer[evchan.Stream]
}

var errChaos = errors.New("the connection was reset")

func (c *chaos) Decode(in, plain, _ *evchan.Buffer, eof bool) error {
	c.again = false
	if in.Len() > 0 && c.r.IntN(4) == 0 { // late
		return c.later()
	}
	n := 0
	if in.Len() > 0 {
		n = 1 + c.r.IntN(min(in.Len(), []int{1, 10, 100, 1 << 20}[c.r.IntN(4)]))
	}
	if c.fault != "" && !c.did && c.seen+n >= c.at {
		k := max(min(c.at-c.seen, n), 0)
		plain.MoveN(in, k)
		c.seen += k
		c.did = true
		switch c.fault {
		case "cut":
			return io.EOF
		case "reset":
			return errChaos
		case "flip":
			if b, err := in.ReadByte(); err == nil {
				plain.WriteByte(b ^ 1<<c.r.IntN(8))
				c.seen++
			} else {
				c.did = false
			}
		case "double":
			p, _ := in.Peek(1 + c.r.IntN(100))
			c.did = len(p) > 0
			plain.Write(p)
		case "drop":
			c.did = in.Discard(1+c.r.IntN(100)) > 0
		}
	} else {
		plain.MoveN(in, n)
		c.seen += n
	}
	if in.Len() > 0 {
		return c.later()
	}
	return nil
}

// later has the loop call Decode again.
func (c *chaos) later() error {
	c.again = true
	if s := c.stream.Load(); s != nil {
		s.Again()
	}
	return evchan.ErrWouldBlock
}

func (c *chaos) Encode(plain, out *evchan.Buffer, _ bool) error { return out.AppendBuffer(plain) }

// TestFaults: whatever happens to the bytes on their way, each side is told a beginning of what
// the other one has written, and EOF only after all of it.
func TestFaults(t *testing.T) {
	for seed := range uint64(faultSeeds()) {
		testFaults(t, seed)
		if t.Failed() {
			return
		}
	}
}

func testFaults(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	loop, err := evchan.New(nil)
	must(t, err)
	defer loop.Close()
	v := []uint16{tls.VersionTLS12, tls.VersionTLS13}[r.IntN(2)]
	a, b := loop.Pipe(nil, nil)

	type end struct {
		stream *evchan.Stream
		chaos  *chaos
		writes string // what it writes
		got    strings.Builder
		said   string
		closed bool // it has called CloseWrite or Close
	}
	var ends [2]*end
	for i, lower := range []*evchan.Stream{a, b} {
		e := &end{chaos: &chaos{r: rand.New(rand.NewPCG(seed, uint64(2+i)))}, writes: pattern(r.IntN(1 + []int{10, 1000, 50000}[r.IntN(3)]))}
		if r.IntN(2) == 0 {
			e.chaos.fault = []string{"cut", "reset", "flip", "double", "drop"}[r.IntN(5)]
			e.chaos.at = r.IntN([]int{10, 300, 2000, 20000}[r.IntN(4)])
		}
		s, err := lower.Filter(e.chaos, nil)
		must(t, err)
		e.chaos.stream.Store(s)
		s.Again()
		if i == 0 {
			e.stream, err = Client(s, clientConfig(v), nil)
		} else {
			e.stream, err = Server(s, serverConfig(v), nil)
		}
		must(t, err)
		ends[i] = e
	}
	name := fmt.Sprintf("seed %d: %q at %d, %q at %d", seed, ends[0].chaos.fault, ends[0].chaos.at, ends[1].chaos.fault, ends[1].chaos.at)

	// idle reports whether nothing will happen any more.
	idle := func() bool {
		for _, e := range ends {
			if f := e.stream.By().(*filter); f.hs != nil {
				f.hs.mu.Lock()
				busy := f.hs.busy() || f.hs.over
				f.hs.mu.Unlock()
				if busy && !done(e.stream.Done()) {
					return false
				}
			}
			if e.chaos.again && !done(e.stream.Done()) {
				return false
			}
		}
		return true
	}
	quiet := 0
	for limit := time.Now().Add(patience); quiet < 10; {
		if time.Now().After(limit) {
			loop.Dump(t.Output())
			t.Errorf("%s: it does not end", name)
			return
		}
		wait := time.Duration(0)
		if ends[0].stream.By().(*filter).hs != nil || ends[1].stream.By().(*filter).hs != nil {
			wait = time.Millisecond // a handshake's goroutine may be about to say something
		}
		ev, ok := loop.Poll(wait)
		if !ok {
			if quiet++; !idle() {
				quiet = 0
			}
			continue
		}
		quiet = 0
		s := ev.Source().(*evchan.Stream)
		e, other := ends[0], ends[1]
		if s == other.stream {
			e, other = other, e
		}
		if s != e.stream {
			t.Errorf("%s: unexpected %v", name, ev)
			return
		}
		e.said += fmt.Sprintf(" %T", ev)
		switch ev.(type) {
		case evchan.Connected:
			s.WriteString(e.writes)
			s.CloseWrite()
			e.closed = true
		case evchan.Readable, evchan.EOF, evchan.Closed:
			s.Input().WriteTo(&e.got)
			got := e.got.String()
			if !strings.HasPrefix(other.writes, got) {
				t.Errorf("%s: %d bytes were told that were not written", name, len(got))
			}
			if _, ok := ev.(evchan.EOF); ok && (got != other.writes || !other.closed) {
				t.Errorf("%s: an end after %d of %d bytes", name, len(got), len(other.writes))
			}
		}
	}
	for i, e := range ends {
		other := ends[1-i]
		if !e.chaos.did && !other.chaos.did && (!strings.Contains(e.said, "EOF") || strings.Contains(e.said, "Closed")) {
			t.Errorf("%s: without a fault, end %d was told%s: %v", name, i, e.said, e.stream.Err())
		}
		if !strings.Contains(e.said, "Connected") && e.got.Len() > 0 {
			t.Errorf("%s: bytes before Connected: %s", name, e.said)
		}
	}
	for _, e := range ends {
		e.stream.Abort()
	}
}

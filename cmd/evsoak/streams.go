// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/evchan/evchan"
)

// An echoServer serves an exchange.
type echoServer struct {
	r    *rand.Rand
	rude bool // resets the connection from time to time
}

func (e *echoServer) handle(n *node, ev evchan.Event) {
	switch ev := ev.(type) {
	case evchan.Readable:
		if e.rude && e.r.IntN(8) == 0 {
			ev.Stream.Abort()
			return
		}
		if _, err := io.Copy(ev.Stream, ev.Stream); err != nil && ev.Stream.Err() == nil && !errors.Is(err, evchan.ErrFull) && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
			n.w.fault("echo: %v", err)
		}
		if e.r.IntN(200) == 0 {
			n.move(ev.Stream, e.r)
		}
	case evchan.EOF:
		ev.Stream.Close()
	}
}

// move moves a stream to another loop.
func (n *node) move(s *evchan.Stream, r *rand.Rand) {
	to := n.w.nodes[r.IntN(len(n.w.nodes))].loop
	if err := s.MoveTo(to); err != nil && s.Err() == nil && !errors.Is(err, evchan.ErrClosed) {
		n.w.fault("MoveTo: %v", err)
	}
	n.w.moves.Add(1)
}

// A proxyEnd passes on what arrives to the other stream of the proxy.
type proxyEnd struct{ other *evchan.Stream }

// proxyTo returns what a proxy does with a stream that n has accepted: it dials t.
func (n *node) proxyTo(t target) func(*evchan.Stream) {
	return func(in *evchan.Stream) {
		out, err := n.loop.Dial(t.network, t.address, &evchan.DialConfig{MaxOutput: 64 << 10})
		if err != nil {
			n.w.fault("Dial: %v", err)
			in.Abort()
			return
		}
		in.Data, out.Data = &proxyEnd{out}, &proxyEnd{in}
	}
}

func (p *proxyEnd) handle(_ *node, ev evchan.Event) {
	switch ev := ev.(type) {
	case evchan.Readable:
		io.Copy(p.other, ev.Stream)
	case evchan.EOF:
		p.other.CloseWrite()
		if p.other.AtEOF() {
			p.other.Close()
			ev.Stream.Close()
		}
	case evchan.Closed:
		p.other.Abort()
	}
}

// An xorFilter changes each byte by XOR with itself.
type xorFilter byte

func (f xorFilter) apply(from, to *evchan.Buffer) error {
	for from.Len() > 0 {
		p := from.Next(1000)
		q := to.Reserve(len(p))
		for i, x := range p {
			q[i] = x ^ byte(f)
		}
		if err := to.Commit(len(p)); err != nil {
			return err
		}
	}
	return nil
}

func (f xorFilter) Decode(in, plain, _ *evchan.Buffer, _ bool) error { return f.apply(in, plain) }
func (f xorFilter) Encode(plain, out *evchan.Buffer, _ bool) error   { return f.apply(plain, out) }

// An exchange is a client of an echoServer: it sends, and checks what comes back.
type exchange struct {
	checker
	home   *node
	r      *rand.Rand
	what   string
	total  int  // bytes to be sent
	sent   int  // so far
	window int  // how many bytes sent may be ahead of got
	reset  int  // the exchange aborts after so many bytes; 0: it does not
	rude   bool // the server may reset the connection
	slow   bool
	moves  bool
	plain  bool // the stream becomes a net.Conn
	shut   bool // CloseWrite was called
	done   bool
}

// exchange starts an exchange with t.
func (n *node) exchange(t target, rude bool) {
	r := n.newRand()
	x := &exchange{home: n, r: r, rude: rude, total: 1 + r.IntN(1<<(8+r.IntN(13))), window: 1 + r.IntN(1<<(8+r.IntN(11)))}
	x.checker = checker{content: n.w.content, rep: n.w.report, key: r.IntN(period)}
	s, err := n.loop.Dial(t.network, t.address, nil)
	if err == nil && t.xor {
		s, err = s.Filter(xorFilter(0x5a), nil)
	}
	if err != nil {
		n.w.fault("Dial: %v", err)
		return
	}
	n.begin()
	n.w.conns.Add(1)
	s.Data = x
	switch r.IntN(10) {
	case 0:
		x.slow = true
		x.total = min(x.total, 256<<10)
	case 1:
		x.reset = 1 + r.IntN(x.total)
	case 2:
		x.moves = true
	case 3:
		rate := 500_000 + r.IntN(1_000_000)
		x.total = min(x.total, 500_000)
		limit := &evchan.RateLimit{ReadRate: rate, ReadBurst: rate / 10, WriteRate: rate, WriteBurst: rate / 10, Tick: 10 * time.Millisecond}
		if err := s.SetRateLimit(limit); err != nil {
			n.w.fault("SetRateLimit: %v", err)
		}
	case 4:
		s.SetIdleTimeouts(time.Duration(1+r.IntN(20))*time.Millisecond, 0)
	case 5:
		s.SetReadMarks(0, 1+r.IntN(4<<10))
		s.SetWriteMarks(r.IntN(1<<10), 1+r.IntN(8<<10))
	case 6:
		x.plain = true
		x.total = min(x.total, 256<<10)
	case 7:
		s.SetPriority(r.IntN(3))
	}
	x.what = fmt.Sprintf("exchange of %d bytes with %v, window %d, reset at %d, slow %v, moves %v, net.Conn %v",
		x.total, t, x.window, x.reset, x.slow, x.moves, x.plain)
}

func (x *exchange) fault(format string, args ...any) {
	x.home.w.fault("%s: after %d sent and %d received: %s", x.what, x.sent, x.got, fmt.Sprintf(format, args...))
}

func (x *exchange) finish() {
	if !x.done {
		x.done = true
		x.home.end()
	}
}

func (x *exchange) handle(n *node, ev evchan.Event) {
	if x.done {
		x.fault("a message after the end: %v", ev)
		return
	}
	s := ev.Source().(*evchan.Stream)
	switch ev.(type) {
	case evchan.Connected:
		if x.plain {
			x.netConn(s)
			return
		}
		x.fill(s)
	case evchan.Readable:
		if !x.consume(s) {
			return
		}
		if x.slow && x.r.IntN(2) == 0 {
			s.Pause(evchan.Read)
			t := n.loop.After(time.Duration(x.r.IntN(20)) * time.Millisecond)
			t.Data = resumer{s}
		}
		x.fill(s)
		if x.moves && x.r.IntN(4) == 0 {
			n.move(s, x.r)
		}
	case evchan.Drained:
		x.fill(s)
	case evchan.TimedOut:
		n.w.timeouts.Add(1)
		s.Resume(s.TimedOut())
	case evchan.EOF:
		if x.got != x.total {
			if !x.rude {
				x.fault("EOF")
			}
			s.Abort()
		}
		s.Close()
		x.finish()
	case evchan.Closed:
		n.w.resets.Add(1)
		if !x.rude {
			x.fault("Closed: %v", s.Err())
		}
		x.finish()
	}
}

// consume reads and checks what has arrived, in a way that it chooses at random. It
// reports false if it has ended the stream.
func (x *exchange) consume(s *evchan.Stream) bool {
	var err error
	switch x.r.IntN(4) {
	case 0:
		_, err = s.WriteTo(x)
	case 1:
		for {
			var p [3000]byte
			var n int
			if n, err = s.Read(p[:]); err != nil {
				break
			}
			if _, err = x.Write(p[:n]); err != nil {
				break
			}
		}
		if errors.Is(err, evchan.ErrWouldBlock) || err == io.EOF || s.Err() != nil {
			err = nil
		}
	case 2:
		in := s.Input()
		for in.Len() > 0 && err == nil {
			_, err = x.Write(in.Next(1 + x.r.IntN(5000)))
		}
	case 3:
		in := s.Input()
		for p := range in.Segments() {
			if _, err = x.Write(p); err != nil {
				break
			}
		}
		in.Discard(in.Len())
	}
	if err != nil && s.Err() == nil {
		x.fault("%v", err)
		s.Abort()
		x.finish()
		return false
	}
	if x.reset > 0 && x.got >= x.reset {
		s.Abort()
		x.home.w.resets.Add(1)
		x.finish()
		return false
	}
	return true
}

// fill sends as much as the window allows, in ways that it chooses at random.
func (x *exchange) fill(s *evchan.Stream) {
	for x.sent < x.total && x.sent-x.got < x.window {
		k := min(1+x.r.IntN(1<<(4+x.r.IntN(12))), x.total-x.sent, period)
		p := x.content.at(x.key+x.sent, k)
		var err error
		switch x.r.IntN(12) {
		case 0:
			err = s.SendFile(x.content.file, int64((x.key+x.sent)%period), int64(k), nil)
		case 1:
			cut := x.r.IntN(k + 1)
			out := s.Output()
			out.Write(p[:cut])
			out.Append(p[cut:], nil)
			if err = s.Flush(); err != nil {
				out.Reset()
			}
		default:
			_, err = s.Write(p)
		}
		if errors.Is(err, evchan.ErrFull) {
			return // Drained says when to go on
		}
		if err != nil {
			if s.Err() == nil && !x.rude {
				x.fault("writing: %v", err)
			}
			return // Closed will come
		}
		x.sent += k
	}
	if x.sent == x.total && !x.shut {
		x.shut = true
		if err := s.CloseWrite(); err != nil && s.Err() == nil && !x.rude {
			x.fault("CloseWrite: %v", err)
		}
	}
}

// netConn turns the stream into a net.Conn, and goes on with that on a goroutine.
func (x *exchange) netConn(s *evchan.Stream) {
	c, err := s.NetConn()
	if err != nil {
		if !x.rude {
			x.fault("NetConn: %v", err)
		}
		s.Abort()
		x.finish()
		return
	}
	x.home.w.helpers.Go(func() {
		defer x.finish()
		defer c.Close()
		c.SetDeadline(time.Now().Add(stallAfter))
		x.home.w.helpers.Go(func() {
			for at := 0; at < x.total; {
				n, err := c.Write(x.content.at(x.key+at, min(x.total-at, period)))
				if at += n; err != nil {
					return // the reader sees it as well
				}
			}
			c.(interface{ CloseWrite() error }).CloseWrite()
		})
		if _, err := io.Copy(&x.checker, c); (err != nil || x.got != x.total) && !x.rude {
			x.fault("net.Conn: %v", err)
		}
	})
}

// A resumer resumes a paused stream at a Tick.
type resumer struct{ s *evchan.Stream }

func (r resumer) handle(*node, evchan.Event) { r.s.Resume(evchan.Read) }

// A refusal is a Dial to a port on which nothing listens.
type refusal struct{ home *node }

func (n *node) refusal() {
	s, err := n.loop.Dial("tcp", "127.0.0.1:1", nil)
	if err != nil {
		n.w.fault("Dial: %v", err)
		return
	}
	n.begin()
	s.Data = refusal{n}
}

func (f refusal) handle(n *node, ev evchan.Event) {
	s := ev.Source().(*evchan.Stream)
	if _, ok := ev.(evchan.Closed); !ok || !errors.Is(s.Err(), syscall.ECONNREFUSED) {
		n.w.fault("dialled a port that refuses: %v", ev)
	}
	s.Close()
	n.w.refused.Add(1)
	f.home.end()
}

// A churn is a connection that is closed as soon as it is made, or before.
type churn struct{ home *node }

func (n *node) churn(t target) {
	s, err := n.loop.Dial(t.network, t.address, nil)
	if err != nil {
		n.w.fault("Dial: %v", err)
		return
	}
	n.w.conns.Add(1)
	switch n.r.IntN(4) {
	case 0:
		s.Close()
	case 1:
		s.Write([]byte("never read"))
		s.Abort()
	default:
		n.begin()
		s.Data = churn{n}
	}
}

func (c churn) handle(n *node, ev evchan.Event) {
	s := ev.Source().(*evchan.Stream)
	if _, ok := ev.(evchan.Connected); !ok {
		n.w.fault("connecting: %v", ev)
	}
	s.Close()
	c.home.end()
}

// An idler sends nothing, and times out.
type idler struct{ home *node }

func (n *node) idler(t target) {
	s, err := n.loop.Dial(t.network, t.address, nil)
	if err != nil {
		n.w.fault("Dial: %v", err)
		return
	}
	n.begin()
	n.w.conns.Add(1)
	s.Data = idler{n}
	s.SetIdleTimeouts(time.Duration(1+n.r.IntN(100))*time.Millisecond, 0)
}

func (i idler) handle(n *node, ev evchan.Event) {
	s := ev.Source().(*evchan.Stream)
	switch ev.(type) {
	case evchan.Connected:
		return
	case evchan.TimedOut:
		n.w.timeouts.Add(1)
		if s.TimedOut() != evchan.Read {
			n.w.fault("timed out: %v", s.TimedOut())
		}
	default:
		n.w.fault("an idle stream: %v, %v", ev, s.Err())
	}
	s.Close()
	i.home.end()
}

// A pipePair is an exchange over a Pipe, whose other end is an echo.
func (n *node) pipePair() {
	a, b := n.loop.Pipe(nil, nil)
	r := n.newRand()
	b.Data = &echoServer{r: r}
	x := &exchange{home: n, r: n.newRand(), what: "exchange over a Pipe", total: 1 + r.IntN(1<<18), window: 1 + r.IntN(1<<16)}
	x.checker = checker{content: n.w.content, rep: n.w.report, key: r.IntN(period)}
	n.begin()
	a.Data = x
	x.fill(a)
}

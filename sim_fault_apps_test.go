// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evchan

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
)

// ---- The programs ----

var faultApps = []struct {
	name string
	open func(*faultRun)
	do   func(*faultRun, *faultEnd)
}{
	{"echo", (*faultRun).openEcho, (*faultRun).pass},
	{"proxy", (*faultRun).openProxy, (*faultRun).pass},
	{"store", (*faultRun).openStore, (*faultRun).store},
	{"chat", (*faultRun).openChat, (*faultRun).chat},
}

// content returns up to limit bytes.
func (x *faultRun) content(limit int) []byte {
	limit = min(limit, 50*min(x.l.conf.MaxInput, x.l.conf.MaxOutput)) // or it would take long
	k := x.r.IntN(limit+1) >> x.r.IntN(8)
	at := x.r.IntN(modelPeriod)
	return modelContent()[at : at+k]
}

// connect makes a connection of g whose peer sends data, on the lane to; it
// returns nil if the poller does not take it.
func (x *faultRun) connect(g *faultGroup, data []byte, to, from *faultLane, plain bool) *faultEnd {
	n := x.n
	n.Mu.Lock()
	c := &faultConn{n: n, g: g, data: data, to: to, from: from, resetAt: -1, closeAt: -1, lazy: 1 + n.R.IntN(3)}
	c.Socket = n.NewSocket(c, pipeAddr{}, pipeAddr{})
	c.Plain = plain
	switch n.R.IntN(12) {
	case 0:
		c.resetAt = n.R.IntN(len(data) + 1)
	case 1:
		c.closeAt = n.R.IntN(len(data) + 1)
	}
	x.conns = append(x.conns, c)
	n.Mu.Unlock()
	s := x.l.newStream(noFD)
	s.virtual(&kernelConn{conn: c.Socket})
	e := &faultEnd{s: s, c: c, g: g}
	setup := &streamSetup{StreamConfig: StreamConfig{Data: e}, limits: &x.l.limits}
	first := msgAccepted
	if x.filter != 0 {
		first = 0
		e.started = true
	}
	if err := s.open(setup, first, true); err != nil {
		x.cut(g)
		return nil
	}
	if x.filter != 0 {
		up, err := s.Filter(xorFilter(x.filter), nil)
		if err != nil { // it was reset already
			x.cut(g)
			s.Abort()
			return nil
		}
		e.s = up
		up.Data = e
	}
	x.ends = append(x.ends, e)
	if x.group != nil && x.r.IntN(2) == 0 {
		e.s.SetRateGroup(x.group)
	}
	return e
}

func (x *faultRun) openEcho() {
	if len(x.ends) == 0 && x.coming == 0 {
		x.coming = x.r.IntN(3)
		if x.r.IntN(4) == 0 {
			x.filter = byte(x.r.IntN(256))
		}
	}
	lane := new(faultLane)
	if e := x.connect(new(faultGroup), x.content(8<<10), lane, lane, x.filter == 0 && x.r.IntN(4) == 0); e != nil {
		e.other = e
	}
}

// pair returns two streams, and has each pass on to the other what comes.
func (x *faultRun) pair(there, back []byte) (a, b *faultEnd) {
	g := new(faultGroup)
	up, down := new(faultLane), new(faultLane)
	a = x.connect(g, there, up, down, false)
	b = x.connect(g, back, down, up, false)
	if a != nil && b != nil {
		a.other, b.other = b, a
		return a, b
	}
	for _, e := range []*faultEnd{a, b} {
		if e != nil {
			e.other = e // whatever: there is nobody to pass it on to
			x.abort(e)
		}
	}
	return nil, nil
}

func (x *faultRun) openProxy() {
	if len(x.ends) == 0 {
		x.coming = x.r.IntN(2)
	}
	x.pair(x.content(8<<10), x.content(8<<10))
}

func (x *faultRun) close(e *faultEnd) {
	e.closed = true
	e.s.Close()
}

func (x *faultRun) abort(e *faultEnd) {
	x.cut(e.g)
	e.closed = true
	e.s.Abort()
}

// over reports whether nothing more comes of e, or goes to it.
func (e *faultEnd) over() bool { return e.closed || e.ended }

// pass passes on what has come.
func (x *faultRun) pass(e *faultEnd) {
	if e.over() || e.other.over() || e.finished {
		return
	}
	if !x.move(e) || !e.eof || !e.s.AtEOF() {
		return
	}
	x.passed(e)
}

// passed is called once all that will ever come has been passed on.
func (x *faultRun) passed(e *faultEnd) {
	e.finished = true
	dst := e.other
	switch {
	case e == dst:
		x.close(e)
	case dst.finished:
		x.close(e)
		x.close(dst)
	default:
		if err := dst.s.CloseWrite(); err != nil {
			x.wrote(dst, err)
		}
	}
}

// wrote checks what a write to e has returned.
func (x *faultRun) wrote(e *faultEnd, err error) bool {
	if err == nil {
		return true
	}
	if err != ErrFull && !x.isCut(e.g) {
		x.fail("the stream %d: writing gives %v", e.c.ID, err)
	}
	return false
}

// move moves what has come to where it goes. It reports whether that was all.
func (x *faultRun) move(e *faultEnd) bool {
	src, dst := e.s, e.other.s
	switch x.style {
	case 0:
		_, err := io.Copy(dst, src)
		return x.wrote(e.other, err)
	case 1:
		var buf [300]byte
		for {
			if len(e.spill) == 0 {
				n, err := src.Read(buf[:1+x.r.IntN(len(buf))])
				if err != nil {
					return true
				}
				e.spill = append(e.spill, buf[:n]...)
			}
			n, err := dst.Write(e.spill)
			if !x.wrote(e.other, err) {
				return false
			}
			e.spill = e.spill[n:]
		}
	}
	out := dst.Output()
	if err := out.AppendBuffer(src.Input()); err != nil {
		x.fail("%v", err)
	}
	return x.wrote(e.other, dst.Flush())
}

func (x *faultRun) openStore() {
	if a, b := x.pair(x.content(8<<10), x.content(1<<10)); a != nil {
		b.s.Pause(Write)
		b.again = x.r.IntN(2) == 0 // what goes the other way is passed on at once
	}
}

// store keeps what comes until it is all there, and only then sends it. What b
// does not take at once is kept here.
func (x *faultRun) store(e *faultEnd) {
	if e.over() || e.other.over() || e.finished {
		return
	}
	dst := e.other.s
	if !e.eof {
		if !e.again {
			if _, err := io.Copy(dst, e.s); !x.wrote(e.other, err) {
				e.again = true
			} else {
				return
			}
		} else if !e.s.InputFull() && x.r.IntN(2) == 0 {
			return // there may be more
		}
		e.spill = e.s.Input().appendTo(e.spill)
		return
	}
	dst.Resume(Write)
	e.spill = e.s.Input().appendTo(e.spill)
	for len(e.spill) > 0 {
		n, err := dst.Write(e.spill[:min(len(e.spill), 1+x.r.IntN(500))])
		if !x.wrote(e.other, err) {
			return
		}
		e.spill = e.spill[n:]
	}
	x.passed(e)
}

// appendTo moves all of b behind p.
func (b *Buffer) appendTo(p []byte) []byte {
	p = append(p, make([]byte, b.Len())...)
	b.Read(p[len(p)-b.Len():])
	return p
}

func (x *faultRun) openChat() {
	if len(x.ends) == 0 {
		x.coming = 1 + x.r.IntN(3)
		x.lines = true
	}
	var data []byte
	for range x.r.IntN(12) {
		data = fmt.Appendf(data, "%d says %s\n", len(x.ends), strings.Repeat("bla ", x.r.IntN(20)))
	}
	if e := x.connect(new(faultGroup), data, new(faultLane), new(faultLane), false); e != nil {
		e.other = e
	}
}

// chat tells all what one has said.
func (x *faultRun) chat(e *faultEnd) {
	if e.over() {
		return
	}
	for line := range e.s.Input().Lines(LF) {
		got := e.lineGot
		e.lineGot += len(line) + 1
		if e.lineGot > len(e.c.data) || !bytes.Equal(line, e.c.data[got:e.lineGot-1]) {
			x.fail("the stream %d has received %q, and not what was said after %d bytes", e.c.ID, line, got)
			return
		}
		for _, to := range x.ends {
			if !to.over() {
				x.say(to, line)
			}
		}
		if e.over() { // it did not take what it said itself
			return
		}
	}
	if e.eof {
		if !x.isCut(e.g) && e.lineGot != len(e.c.data) {
			x.fail("the stream %d has ended after %d bytes of %d", e.c.ID, e.lineGot, len(e.c.data))
		}
		x.n.Mu.Lock()
		e.c.from.whole = true
		x.n.Mu.Unlock()
		x.close(e)
	}
}

// say writes a line to e. If it takes no more, the line is left out, or e turned
// out.
func (x *faultRun) say(e *faultEnd, line []byte) {
	p := append(slices.Clone(line), '\n')
	x.n.Mu.Lock()
	lane := e.c.from
	had := len(lane.sent)
	lane.sent = append(lane.sent, p...)
	x.n.Mu.Unlock()
	var err error
	if x.r.IntN(2) == 0 {
		_, err = e.s.Write(p)
	} else {
		out := e.s.Output()
		x.releases[0]++
		out.Append(p, func() {
			x.n.Mu.Lock()
			x.releases[1]++
			x.n.Mu.Unlock()
		})
		if err = e.s.Flush(); err != nil {
			out.Reset()
		}
	}
	if x.wrote(e, err) {
		return
	}
	if err == ErrFull {
		x.n.Mu.Lock()
		lane.sent = lane.sent[:had]
		x.n.Mu.Unlock()
		if x.r.IntN(4) == 0 {
			x.abort(e)
		}
	}
}

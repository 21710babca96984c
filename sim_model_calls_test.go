// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"io"
	"math/rand/v2"
	"time"
)

// A modelCall is one thing done to a stream. The caller holds the group's mu.
type modelCall struct {
	*modelStream
	m *modelTest
	r *rand.Rand
}

func (c *modelCall) size(limit int) int {
	n := c.r.IntN(limit)
	return n >> c.r.IntN(16) // most are small
}

func (c *modelCall) directions() What { return []What{Read, Write, Read | Write}[c.r.IntN(3)] }

func (c *modelCall) timeout() time.Duration {
	return []time.Duration{0, time.Millisecond, 5 * time.Millisecond, time.Hour}[c.r.IntN(4)]
}

// wrote takes note of n bytes of output.
func (c *modelCall) wrote(n int) {
	c.out.sent.Add(int64(n))
	c.spokeAt = c.m.now()
	if c.out.sent.Load() > modelTotal {
		c.closeWrite()
	}
}

// failedWrite checks an error of a write, before which there were queued bytes
// of output. The stream's Closed may not have been received yet.
func (c *modelCall) failedWrite(what string, queued int, err error) {
	switch {
	case err == ErrFull:
		if queued < c.writeHigh {
			c.g.fail("%s gives ErrFull with %d bytes queued of %d", what, queued, c.writeHigh)
		}
	case !c.g.cut.Load():
		c.g.fail("%s gives %v", what, err)
	}
}

func (c *modelCall) write() {
	if c.finished {
		return
	}
	if !c.unsent() {
		return
	}
	p := c.out.next(0, c.size(modelPeriod))
	queued := c.s.Queued()
	n, err := c.s.Write(p)
	if err != nil {
		if n != 0 && (err == ErrFull || n < 0 || n > len(p)) {
			c.g.fail("Write of %d gives %d, %v", len(p), n, err)
		}
		c.failedWrite("Write", queued, err)
		c.out.sent.Add(int64(n))
		return
	}
	if n != len(p) {
		c.g.fail("Write of %d gives %d", len(p), n)
	}
	if after := c.s.Queued(); after > c.writeHigh-1+len(p) && n > 0 && !c.files {
		c.g.fail("%d bytes are queued after a Write of %d; the mark is %d", after, len(p), c.writeHigh)
	}
	c.wrote(n)
}

// unsent flushes what stands in Output, or drops it: other writes would overtake
// it. It reports whether more may be written.
func (c *modelCall) unsent() bool {
	if !c.flush() {
		c.s.Output().Reset()
	}
	return !c.finished
}

func (c *modelCall) output() {
	if c.finished {
		return
	}
	b := c.s.Output()
	p := c.out.next(b.Len(), c.size(modelPeriod/4))
	switch c.r.IntN(3) {
	case 0:
		b.Write(p)
	case 1:
		c.m.given.Add(1)
		b.Append(p, func() {
			c.m.called.Add(1)
			c.s.Queued() // takes the lock
		})
	case 2:
		other := new(Buffer)
		other.Write(p)
		b.AppendBuffer(other)
	}
}

// flush sends what is in Output and reports whether nothing is left there.
func (c *modelCall) flush() bool {
	n, queued := c.s.Output().Len(), c.s.Queued()
	if n == 0 {
		return true
	}
	if c.finished {
		return false
	}
	if err := c.s.Flush(); err != nil {
		c.failedWrite("Flush", queued, err)
		left := c.s.Output().Len()
		if err == ErrFull && left != n {
			c.g.fail("Flush gives ErrFull, and %d bytes of %d are left", left, n)
		}
		c.out.sent.Add(int64(n - left)) // at the most
		return false
	}
	c.wrote(n)
	return true
}

// A modelReader gives the bytes of a lane in pieces.
type modelReader struct {
	lane *modelLane
	pos  int64
	n    int // bytes left
	r    *rand.Rand
	err  error // at the end
}

func (r *modelReader) Read(p []byte) (int, error) {
	if r.n == 0 {
		return 0, r.err
	}
	n := copy(p, r.lane.at(r.pos, min(r.n, 1+r.r.IntN(8<<10))))
	r.pos += int64(n)
	r.n -= n
	return n, nil
}

func (c *modelCall) readFrom() {
	if c.finished {
		return
	}
	if !c.unsent() {
		return
	}
	queued := c.s.Queued()
	src := &modelReader{lane: c.out, pos: c.out.sent.Load(), n: c.size(modelPeriod), r: c.r, err: io.EOF}
	if c.r.IntN(2) == 0 {
		src.err = ErrWouldBlock
	}
	size := src.n
	n, err := c.s.ReadFrom(src)
	if int(n) != size-src.n {
		c.g.fail("ReadFrom gives %d, %v, and %d bytes were read", n, err, size-src.n)
	}
	switch {
	case err == nil && src.err == io.EOF, err == ErrWouldBlock && src.err == err:
		if src.n > 0 {
			c.g.fail("ReadFrom gives %v with %d bytes left", err, src.n)
		}
	case err == ErrFull && n > 0:
	default:
		c.failedWrite("ReadFrom", queued, err)
	}
	c.wrote(int(n))
}

func (c *modelCall) sendFile() {
	if c.finished {
		return
	}
	if !c.unsent() {
		return
	}
	n := c.size(modelPeriod)
	c.m.given.Add(1)
	c.files = true
	if err := c.s.SendFile(c.m.file, c.out.offset(c.out.sent.Load()), int64(n), func() { c.m.called.Add(1) }); err != nil {
		c.m.given.Add(-1)
		c.failedWrite("SendFile", 0, err)
		return
	}
	c.wrote(n)
}

// consume takes input: all of it if the test is ending.
func (c *modelCall) consume() {
	if c.done || c.in == nil && c.to == nil {
		return
	}
	c.checkInput()
	if c.to != nil {
		c.pass()
		return
	}
	defer func() { c.tookAt = c.m.now() }()
	take := func(p []byte) {
		if _, err := c.in.Write(p); err != nil {
			c.g.fail("%v", err)
		}
	}
	for all := c.m.isEnding() || c.endOfFile; ; {
		b := c.s.Input()
		n := c.size(modelPeriod)
		switch c.r.IntN(6) {
		case 0:
			p := make([]byte, n)
			n, err := c.s.Read(p)
			take(p[:n])
			if n > 0 && err != nil || err != nil && err != ErrWouldBlock && err != io.EOF && !c.g.cut.Load() {
				c.g.fail("Read gives %d, %v", n, err)
			}
		case 1:
			take(b.Next(n))
		case 2:
			before, left := c.in.got, b.Len()
			k, err := c.s.WriteTo(c.in)
			if err != nil {
				c.g.fail("WriteTo gives %d, %v", k, err)
			}
			if c.in.got-before != k || int(k) < left {
				c.g.fail("WriteTo gives %d, and wrote %d", k, c.in.got-before)
			}
		case 3:
			var other Buffer
			k, err := other.MoveN(b, n)
			if err != nil {
				c.g.fail("MoveN gives %d, %v", k, err)
			}
			other.WriteTo(c.in)
		case 4:
			k := 0
			for p := range b.Segments() {
				take(p)
				k += len(p)
			}
			b.Discard(k)
		case 5:
			if line, ok := b.ReadLine(LF); ok {
				take(line)
				take([]byte{'\n'})
			}
		}
		if !all || b.Len() == 0 {
			return
		}
	}
}

// checkInput checks that no more is held than may be.
func (c *modelCall) checkInput() {
	if n := c.s.Input().Len(); n > c.highest && !c.g.cut.Load() {
		c.g.fail("%d bytes of input are held; the mark is %d", n, c.highest)
	}
}

// pass passes the input on to another stream.
func (c *modelCall) pass() {
	src, dst := c.s, c.to.s
	defer func() { c.tookAt, c.to.spokeAt = c.m.now(), c.m.now() }()
	if c.to.done || c.to.finished {
		return
	}
	to := &modelCall{c.to, c.m, c.r}
	sendOut := func() bool {
		queued := dst.Queued()
		err := dst.Flush()
		if err != nil {
			to.failedWrite("Flush", queued, err)
		}
		return err == nil
	}
	if dst.Output().Len() > 0 && !sendOut() {
		return // goes on at Drained
	}
	queued := dst.Queued()
	var err error
	switch c.r.IntN(5) {
	case 0:
		_, err = io.Copy(dst, src)
	case 1:
		_, err = src.WriteTo(dst)
	case 2:
		_, err = dst.ReadFrom(src)
	case 3:
		dst.Output().AppendBuffer(src.Input())
		sendOut()
	case 4:
		dst.Output().MoveN(src.Input(), c.size(64<<10))
		sendOut()
		if c.m.isEnding() || c.endOfFile {
			queued = dst.Queued()
			_, err = io.Copy(dst, src)
		}
	}
	if err != nil {
		to.failedWrite("io.Copy", queued, err)
		c.again = true
	}
	c.passEnd()
}

// passEnd passes the end on, once all that came before it has been passed on.
func (c *modelCall) passEnd() {
	dst := c.to
	if !c.endOfFile || c.done || dst.finished || dst.done || c.s.Input().Len() > 0 || dst.s.Output().Len() > 0 {
		return
	}
	c.g.note("the end is passed on")
	dst.finished = true
	if err := dst.s.CloseWrite(); err != nil && !c.g.cut.Load() {
		c.g.fail("CloseWrite gives %v", err)
	}
	if c.finished && dst.endOfFile {
		c.close()
		(&modelCall{dst, c.m, c.r}).close()
	}
}

func (c *modelCall) closeWrite() {
	if c.finished || c.out == nil {
		return
	}
	c.finished = true
	c.out.whole.Store(true)
	if err := c.s.CloseWrite(); err != nil && !c.g.cut.Load() {
		c.g.fail("CloseWrite gives %v", err)
	}
}

func (c *modelCall) close() {
	if c.done {
		return
	}
	if c.out != nil {
		c.finished = true
		c.out.whole.Store(true)
	}
	c.giveUp()
	if err := c.s.Close(); err != nil {
		c.g.fail("Close gives %v", err)
	}
	c.over()
}

// giveUp takes note of it if the stream is not connected yet, in which case
// closing it drops everything.
func (c *modelCall) giveUp() {
	c.s.mu.Lock()
	connecting := c.s.connecting()
	c.s.mu.Unlock()
	if connecting {
		c.g.cut.Store(true)
		if c.unborn != nil {
			c.unborn()
			c.unborn = nil
		}
	}
}

func (c *modelCall) abort() {
	if c.done {
		return
	}
	c.g.cut.Store(true)
	c.giveUp()
	c.s.Abort()
	c.over()
}

// over takes note that the stream is closed.
func (c *modelCall) over() {
	c.closedAt = c.m.now()
	c.tookAt, c.spokeAt = c.closedAt, c.closedAt
	c.done = true
	c.s.Output().Reset()
	c.s.Input().Reset()
	for _, o := range []*modelStream{c.to, c.from} {
		if o != nil && !o.done && c.g.cut.Load() {
			c.g.note("the other one is aborted")
			(&modelCall{o, c.m, c.r}).abort()
		}
	}
	c.g.ended()
}

func (c *modelCall) pause(what What) {
	c.s.Pause(what)
	for dir, bit := range [...]What{Read, Write} {
		if what&bit != 0 && c.pausedAt[dir] == 0 {
			c.pausedAt[dir] = c.m.now()
		}
	}
	if got := c.s.Paused(); got&what != what {
		c.g.fail("Paused is %v after Pause(%v)", got, what)
	}
}

func (c *modelCall) resume(what What) {
	for dir, bit := range [...]What{Read, Write} {
		if what&bit != 0 {
			c.pausedAt[dir] = 0
		}
	}
	c.again = true
	c.s.Resume(what)
}

func (c *modelCall) readMarks(low, high int) {
	c.s.SetReadMarks(low, high)
	if high == 0 {
		high = c.s.Loop().conf.MaxInput
	}
	c.low, c.high = max(low, 1), max(low, high, 1)
	c.highest = max(c.highest, c.high)
	c.tookAt = c.m.now()
}

func (c *modelCall) writeMarks(low, high int) {
	c.s.SetWriteMarks(low, high)
	if high == 0 {
		high = c.s.Loop().conf.MaxOutput
	}
	c.writeLow, c.writeHigh = low, max(high, low+1)
	c.spokeAt = c.m.now()
}

func (c *modelCall) notify(via int) {
	if via < len(c.m.routes) {
		c.s.Notify(c.m.routes[via])
	} else {
		c.s.Notify(nil)
	}
	c.via, c.routedAt = via, c.m.now()
}

// moveTo moves the stream to one of the loops, which makes it forget Notify.
func (c *modelCall) moveTo() {
	to := c.m.loops[c.r.IntN(2)]
	if moves := c.s.Loop() != to; c.s.MoveTo(to) == nil && moves {
		c.via, c.routedAt = len(c.m.routes), c.m.now()
		c.again = true
	}
}

// look calls what only looks.
func (c *modelCall) look() {
	c.s.Paused()
	c.s.TimedOut()
	c.s.LocalAddr()
	c.s.RemoteAddr()
	c.s.InputFull()
	if c.s.AtEOF() && c.s.Input().Len() > 0 {
		c.g.fail("AtEOF with unread input")
	}
	if err := c.s.Err(); err != nil && !c.g.cut.Load() {
		c.g.fail("Err is %v", err)
	}
	l := c.s.Loop()
	l.Stats()
	if c.r.IntN(50) == 0 {
		l.Dump(io.Discard)
		for range l.Sources() {
		}
	}
}

// settle lets the stream come to an end by itself.
func (c *modelCall) settle() {
	if c.done {
		return
	}
	c.g.note("settle")
	c.s.SetIdleTimeouts(0, 0)
	c.s.SetRateLimit(nil)
	c.readMarks(0, 0)
	c.writeMarks(0, 0)
	c.resume(Read | Write)
	c.consume()
	c.windUp()
}

// rateLimit sets a limit that is not too low for the test to end, or none.
func (c *modelCall) rateLimit() {
	if c.r.IntN(3) == 0 {
		c.s.SetRateLimit(nil)
		return
	}
	n := 64<<10 + c.size(4<<20)
	limit := &RateLimit{ReadRate: n, ReadBurst: n, Tick: time.Duration(1+c.r.IntN(10)) * time.Millisecond}
	if c.r.IntN(2) == 0 {
		limit.WriteRate, limit.WriteBurst = 2*n, 2*n
	}
	if err := c.s.SetRateLimit(limit); err != nil && err != ErrClosed {
		c.g.fail("SetRateLimit gives %v", err)
	}
}

// windUp finishes sending if the test is ending.
func (c *modelCall) windUp() {
	switch {
	case c.done:
	case c.to != nil:
		c.passEnd()
	case c.m.isEnding() && c.flush():
		c.closeWrite()
		fallthrough
	default:
		if c.endOfFile && c.finished {
			c.close()
		}
	}
}

// check checks that the message may have been received. Between that and now
// others may have been at the stream, so only what was so before began counts.
func (c *modelCall) check(began uint64, ev Event, via int) {
	before := func(at uint64) bool { return at != 0 && at < began }
	if before(c.closedAt) {
		c.g.fail("%v after Close at %d", ev, c.closedAt)
	}
	if before(c.routedAt) && via != c.via {
		c.g.fail("%v was received from %d; Notify has said %d at %d", ev, via, c.via, c.routedAt)
	}
	k := rank(ev)
	for higher := k + 1; higher < len(c.heardAt); higher++ {
		_, isReadable := ev.(Readable)
		if before(c.heardAt[higher]) && !(higher == 2 && (!isReadable || c.again)) {
			c.g.fail("%v out of order: rank %d was at %d", ev, higher, c.heardAt[higher])
		}
	}
	if k != 1 && c.heardAt[k] != 0 {
		c.g.fail("%v for the second time", ev)
	}
	c.heardAt[k] = c.m.now()

	switch ev.(type) {
	case Readable:
		if before(c.pausedAt[0]) {
			c.g.fail("%v while paused since %d", ev, c.pausedAt[0])
		}
		if n := c.s.Input().Len(); c.tookAt < began && n < c.low && n < c.high && (n == 0 || !c.again) {
			c.g.fail("%v with %d bytes; the marks are %d and %d", ev, n, c.low, c.high)
		}
	case EOF:
		if before(c.pausedAt[0]) {
			c.g.fail("%v while paused since %d", ev, c.pausedAt[0])
		}
	case Drained:
		if before(c.pausedAt[1]) {
			c.g.fail("%v while paused since %d", ev, c.pausedAt[1])
		}
		if n := c.s.Queued(); c.spokeAt < began && n > c.writeLow {
			c.g.fail("%v with %d bytes queued; the mark is %d", ev, n, c.writeLow)
		}
	case Closed:
		if !c.g.cut.Load() {
			c.g.fail("%v without reason: %v", ev, c.s.Err())
		}
		if c.s.Err() == nil {
			c.g.fail("%v, and Err is nil", ev)
		}
	}
}

// react does what a program might do about a message.
func (c *modelCall) react(ev Event) {
	lazy := !c.m.isEnding() && c.r.IntN(4) == 0
	switch ev.(type) {
	case Readable:
		if !lazy {
			c.consume()
		}
	case Drained:
		if c.from != nil {
			(&modelCall{c.from, c.m, c.r}).consume()
		} else if !lazy && !c.m.isEnding() {
			c.write()
		}
	case TimedOut:
		if !lazy {
			c.resume(c.s.TimedOut())
		}
	case EOF:
		c.endOfFile = true
		c.consume()
		if c.to == nil {
			if err := c.in.end(); err != nil && !c.g.cut.Load() {
				c.g.fail("EOF: %v", err)
			}
			if !c.s.AtEOF() {
				c.g.fail("not AtEOF after EOF")
			}
			if !lazy {
				c.write()
			}
			if c.r.IntN(2) == 0 || c.finished {
				c.close()
				return
			}
			// It goes on sending.
		}
	case Closed:
		c.s.Output().Reset()
		if c.in != nil {
			c.endOfFile = true
			c.consume()
		}
		// A program may still call things.
		for range 3 {
			c.resume(Read | Write)
			c.pause(Read)
			c.resume(Read)
		}
		c.over()
		c.closedAt = 0 // Close was not called
		return
	}
	c.windUp()
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"cmp"
	"errors"
	"fmt"
	"io"
)

// task moves the bytes that can be moved.
func (x *filtering) task() {
	defer x.retire()
	x.working.Lock()
	defer x.working.Unlock() // also if the filter calls runtime.Goexit
	x.work(true)
}

// work is task for a caller that holds x.working. If read is false, it only sends.
func (x *filtering) work(read bool) {
	x.calling.Store(true)
	defer x.calling.Store(false)
	if x.asked.Swap(false) {
		x.decode, x.encode = true, true
	}
	x.lower.mu.Lock()
	gone := x.lower.gone() // then decode up to the end, even without room
	late := x.lower.overdue()
	ready := !x.lower.unopened()
	x.lower.mu.Unlock()
	x.mu.Lock()
	read = read && !x.failed && (x.closing && !x.encoded || !x.closing && (x.plain.n < filterRoom || gone))
	late = late && x.closing
	done := x.done
	x.done = done || late
	unused := x.closing && !x.open.Load() && !x.wrote // and will never be
	x.mu.Unlock()
	if late {
		x.lower.close(true, false)
	}
	if done || late || !ready && x.opener != nil && !unused && !gone {
		return
	}

	plain := &x.fresh
	var err error
	over, opens, finished := false, false, false
	defer func() {
		if !finished { // the filter has called runtime.Goexit
			if x.exited != "" {
				err = x.upper.opError(x.exited, errExited)
				x.exited = ""
			}
			x.schedule()
		}
		x.publish(plain, err, opens, over)
	}()
	derr := x.deliver()
	clear := x.answer.n == 0 // lower has room
	if clear {
		x.answered = 0
	}
	// Decode even if lower is full: two peers that both stop decoding while their
	// lower streams are full would wait for each other.
	if read && x.answered < filterRoom {
		had := x.answer.n
		err = x.callLower(plain)
		x.answered += x.answer.n - had
	}
	x.mu.Lock()
	more := x.out.n > 0 || x.fin || x.encode || !x.open.Load()
	if clear {
		x.deferReleases(&x.out)
		x.sending.chain.splice(&x.out)
	}
	x.inside = max(x.inside, x.sending.n+x.answer.n)
	fin, closing := x.fin, x.closing
	x.mu.Unlock()
	again := false // Encode has made progress, and has not finished
	if err == nil && clear && !unused && !x.encoded && !x.broken && (more || !x.begun || x.sending.n > 0) {
		x.begun, x.encode = true, false
		left, owed := x.sending.n, x.answer.n
		x.broken = true // unless it returns nil
		err = x.callEncode(fin)
		if x.stalled = err == ErrWouldBlock; x.stalled {
			err = nil
		}
		if err != nil {
			err = x.upper.opError("encode", err)
		}
		x.broken = err != nil
		x.encoded = fin && x.sending.n == 0 && !x.stalled
		again = err == nil && fin && !x.encoded && (x.sending.n < left || x.answer.n > owed)
	}
	x.mu.Lock()
	x.inside = x.sending.n + x.answer.n // what deliver moves counts twice until publish
	x.mu.Unlock()
	if derr == nil {
		derr = x.deliver()
	}
	if err == nil && !x.busy {
		err = derr
	}
	if ready && !x.open.Load() {
		if opens = x.callOpened(); !opens && x.decoded && err == nil {
			err = x.upper.opError("decode", fmt.Errorf("the input has ended before the filter was open: %w", io.ErrUnexpectedEOF))
		}
	}
	if x.encoded && !x.finSent && x.answer.n == 0 {
		x.finSent = true
		x.lower.CloseWrite()
	}
	over = closing && (x.finSent || x.broken || unused || err != nil || derr != nil ||
		!again && (x.failed || clear && x.answer.n == 0 && !x.stalled) || x.upper.Loop().conf.Linger < 0)
	if over {
		x.mu.Lock()
		cut := x.broken || x.out.n+x.sending.n > 0
		x.mu.Unlock()
		if x.answer.n > 0 && derr == nil {
			x.lower.writeLast(&x.answer) // it may tell the peer why
		}
		if cut && x.open.Load() {
			x.lower.Abort() // the peer must not take what it has got for all there was
		} else {
			x.lower.Close()
		}
	} else if again || !clear && x.answer.n == 0 {
		x.schedule()
	}
	finished = true
}

// tell gives x the message bits of the stream under it. Caller holds l.mu.
func (l *Loop) tell(x *filtering, bits pending) {
	if bits&msgConnected != 0 && x.opener == nil {
		x.tellOpen(l)
	}
	if bits&msgTimedOut != 0 && !x.accepting {
		l.enqueue(&x.upper.source, x.upper.confirm(msgTimedOut))
	}
	if bits != 0 {
		if bits&^(msgConnected|msgDrained|msgTimedOut) != 0 {
			x.look.Store(true)
		}
		l.assign(x)
	}
}

// deliver writes the answer to lower. If lower is full, its Drained calls the task
// again. If lower has ended, deliver drops the answer, and returns why.
func (x *filtering) deliver() error {
	if x.answer.n == 0 {
		return x.mute
	}
	if x.mute == nil {
		if _, err := x.lower.writeBuffer(&x.answer, nil); err != nil && err != ErrFull {
			x.mute = err
		}
	}
	if x.mute != nil {
		x.mu.Lock()
		x.lost += x.answer.n
		x.mu.Unlock()
		x.answer.Discard(x.answer.n)
	}
	return x.mute
}

// callLower reads into lower's input, and calls Decode if there is more than last time. After
// the end of the input, it drops what it reads.
func (x *filtering) callLower(plain *Buffer) error {
	s := x.lower
	s.mu.Lock()
	var bits pending
	if x.look.Swap(false) {
		bits = s.fill()
	}
	x.deferReleases(&s.in.unread)
	eof := s.in.eof
	gone := s.gone()
	reason := s.why()
	s.unlockInTurn()
	if bits&workRead != 0 {
		x.look.Store(true)
		x.schedule()
	}
	in := s.Input()
	had := in.n
	switch {
	case x.decoded:
		in.Discard(in.n)
		if gone && reason != nil {
			return reason
		}
		return nil
	case had > x.left || eof || x.decode:
		x.decode = false
		err := x.callDecode(in, plain, eof)
		x.left = in.n
		x.busy = err == ErrWouldBlock
		switch {
		case x.busy:
		case err == io.EOF:
			x.decoded = true
			in.Discard(in.n)
		case err != nil:
			return x.upper.opError("decode", err)
		case eof:
			x.decoded = true
		case in.n == had && s.InputFull():
			return x.upper.opError("decode", fmt.Errorf("%d bytes, which make no sense yet: %w", had, ErrFull))
		}
	}
	if gone && !x.decoded && !x.busy {
		return cmp.Or(reason, ErrClosed)
	}
	return nil
}

// callDecode, callEncode, callOpened and callClose call the filter. They turn a panic into an
// error, because the loop's turn must go on for the other sources. After runtime.Goexit
// they cannot return: they set x.exited, for the deferred functions of their callers.
func (x *filtering) callDecode(in, plain *Buffer, eof bool) (err error) {
	x.exited = "decode"
	defer x.called(&err)
	err = x.filter.Decode(in, plain, &x.answer, eof)
	x.exited = ""
	return err
}

func (x *filtering) callEncode(fin bool) (err error) {
	x.exited = "encode"
	defer x.called(&err)
	err = x.filter.Encode(&x.sending, &x.answer, fin)
	x.exited = ""
	return err
}

// callClose ignores what Close returns.
func (x *filtering) callClose() (err error) {
	x.exited = "close"
	defer x.called(&err)
	if c, ok := x.filter.(io.Closer); ok {
		c.Close()
	}
	x.exited = ""
	return nil
}

// called recovers from a panic and stores it in *err. Callers defer it.
func (x *filtering) called(err *error) {
	if v := recover(); v != nil {
		x.exited = ""
		*err = fmt.Errorf("evchan: the Filter has panicked: %v", v)
	}
}

var errExited = errors.New("evchan: the Filter has called runtime.Goexit")

// schedule makes the loop call the task in its next turn.
func (x *filtering) schedule() {
	l := x.upper.lockLoop()
	l.assign(x)
	l.unlock()
}

// publish gives the results of a task to upper: decoded bytes, the end, an error, room. If
// opens is true, upper can be used from now on.
func (x *filtering) publish(plain *Buffer, err error, opens, done bool) {
	if opens {
		x.opens()
	}
	x.mu.Lock()
	what := What(0)
	if plain.n > 0 && !x.closing {
		plain.invalidate()
		x.plain.splice(&plain.chain)
		what |= Read
	}
	if x.decoded && !x.eof {
		x.eof = true
		what |= Read | EarlyClose
	}
	if err != nil && x.err == nil {
		x.err = err
		x.failed = true
		what |= Read | Write | hangup
	}
	if x.short && x.out.n < filterRoom {
		x.short = false
		what |= Write
	}
	x.inside = x.sending.n + x.answer.n
	x.lower.mu.Lock()
	below := x.lower.output()
	x.lower.mu.Unlock()
	owed := x.owed && x.out.n == 0 && x.answer.n == 0 && below == 0
	x.owed = x.owed && !owed
	x.done = x.done || done
	stuck := below > 0 && x.stuckBelow() || x.out.n > 0 || x.inside > 0
	began := stuck && !x.stuck
	x.stuck = stuck
	x.mu.Unlock()
	if owed {
		l := x.upper.lockAndWithdraw()
		l.enqueue(&x.upper.source, x.upper.confirm(msgDrained))
		l.unlock()
	}
	if began || x.watched.Load() {
		x.upper.outputMoved(began)
	}
	plain.invalidate()
	x.upper.Loop().releaseLater(plain.chain.detach())
	plain.Reset()
	if what != 0 {
		x.tell(what)
	}
}

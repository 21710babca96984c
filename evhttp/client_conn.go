// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"errors"
	"io"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evtls"
)

// A clientConn is a connection of a Client. It is the Layer of its stream, and lets none of the
// stream's messages through. The client's mu guards it.
type clientConn struct {
	cl   *Client
	host *clientHost
	s    *evchan.Stream
	call *Call // under way, or nil

	timer    *evchan.Timer // nil: not made yet
	rings    time.Time     // when timer expires; zero: it does not run
	deadline time.Time     // of what the connection waits for; zero: none

	err     error // why the stream has ended, with connGone
	left    int64 // of a body with a length; of a body that is skipped, how much still may be
	dec     chunkDecoder
	scanned int // bytes of the input that are no complete head
	interim int // responses 1xx to the request
	served  int // requests that were answered
	kind    bodyKind
	flags   connState
}

type connState uint16

const (
	connUp      connState = 1 << iota // connected, with proxy and TLS
	connIdle                          // in host.idle
	connTunnel                        // waits for what the proxy says to CONNECT
	connHolds                         // the body waits for 100 Continue
	connSkip                          // the rest of a body is dropped
	connLast                          // is not used again
	connEOF                           // nothing more will arrive
	connGone                          // the stream has failed or is closed
	connGiven                         // the stream is the program's, as soon as it takes it
	connDead                          // was given up
	connStopped                       // the loop's Shutdown waits
)

func (k *clientConn) has(f connState) bool { return k.flags&f != 0 }

// inBackground has the stream not keep the loop from being empty: calls do.
func (k *clientConn) inBackground() {
	for s := k.s; s != nil; s = s.Under() {
		s.SetBackground(true)
	}
}

// Next is for package evchan.
func (k *clientConn) Next(src evchan.Source, ev evchan.Event) evchan.Event {
	k.cl.mu.Lock()
	defer k.cl.unlock()
	if k.has(connDead|connGiven) || src != evchan.Source(k.s) {
		if _, ok := ev.(evchan.Stopping); ok && k.has(connGiven) {
			k.drop(false)
		}
		return nil
	}
	switch ev := ev.(type) {
	case nil:
	case evchan.Connected:
		k.connected()
	case evchan.Readable:
		k.receive()
	case evchan.Drained:
		if k.call != nil {
			k.call.room()
		}
	case evchan.EOF:
		k.flags |= connEOF
		if k.has(connTunnel) || k.has(connUp) {
			k.receive()
		}
	case evchan.Closed:
		k.lost(k.s.Err())
	case evchan.TimedOut:
		if ev.Stream.TimedOut()&evchan.Write == 0 {
			k.s.Resume(evchan.Read) // a timeout of the program's; ours are enough
		} else if c := k.call; c != nil && c.resp == nil {
			c.failIn(PhaseSend, errDeadline)
		} else {
			k.dropWith(errDeadline)
		}
	case evchan.Stopping:
		k.flags |= connStopped | connLast
		if k.call == nil {
			k.drop(false)
		}
	}
	return nil
}

// End is for package evchan: the stream has ended, whoever has ended it.
func (k *clientConn) End(src evchan.Source) {
	k.cl.mu.Lock()
	defer k.cl.unlock()
	if k.has(connDead) || src != evchan.Source(k.s) {
		return
	}
	if k.has(connGiven) {
		k.drop(false)
	} else if !k.has(connGone) {
		k.lost(or(k.s.Err(), evchan.ErrClosed))
	}
}

// connected is called when the stream is open.
func (k *clientConn) connected() {
	h := k.host
	if k.has(connUp) {
		return // of Adopt
	}
	if h.proxy != nil && h.key.secure && !k.has(connTunnel) {
		k.flags |= connTunnel
		k.s.Write(appendConnect(nil, h))
		return // the deadline stays
	}
	k.flags |= connUp
	k.flags &^= connTunnel
	k.unwatch()
	if c := k.call; c != nil {
		k.start(c)
	} else {
		k.release()
	}
}

// tunnelled takes what the proxy says to CONNECT.
func (k *clientConn) tunnelled() {
	var h responseHead
	size, err := k.parse(&h)
	if err == nil && size == 0 {
		return
	}
	if err == nil && h.status/100 == 1 {
		k.s.Input().Discard(size)
		return
	}
	if err == nil && h.status/100 != 2 {
		err = errors.New("the proxy refuses: " + h.raw[len("HTTP/1.1 "):h.target.to])
	}
	if err != nil {
		k.connectFailed(err)
		return
	}
	k.s.Input().Discard(size)
	lower := k.s
	if err := lower.SetLayer(nil); err != nil {
		k.connectFailed(err)
		return
	}
	opts := evtls.Options{HandshakeTimeout: -1, Stream: &evchan.StreamConfig{
		Layer:     k,
		MaxInput:  k.cl.conf.Dial.MaxInput,
		MaxOutput: k.cl.conf.Dial.MaxOutput,
		WriteIdle: k.cl.conf.Dial.WriteIdle,
	}}
	s, err := evtls.Client(lower, k.host.tls, &opts)
	if err != nil {
		k.connectFailed(err)
		return
	}
	k.s = s
	k.inBackground()
}

// start sends the request of c.
func (k *clientConn) start(c *Call) {
	k.call, c.conn = c, k
	k.interim, k.scanned = 0, 0
	k.unwatch()
	c.phase = PhaseSend
	c.flags &^= callGzip
	q := scratch.Get().(*[]byte)
	p := c.appendRequest(*q)
	if c.waitsForContinue() {
		k.flags |= connHolds
		k.s.Write(p) // an error: the layer hears of it as well
		freeScratch(q, p)
		k.watch(k.cl.conf.ContinueTimeout)
		return
	}
	const joined = 4 << 10 // bodies that are sent with the head
	if len(c.body) <= joined {
		p = append(p, c.body...)
		k.s.Write(p)
	} else {
		k.s.WriteLater(p)
		k.s.Write(c.body)
	}
	freeScratch(q, p)
	k.sendRest()
}

// sendBody sends the body, which has waited for 100 Continue.
func (k *clientConn) sendBody() {
	k.flags &^= connHolds
	if len(k.call.body) > 0 {
		k.s.Write(k.call.body)
	}
	k.sendRest()
}

// sendRest has the body of the request sent that is not in memory.
func (k *clientConn) sendRest() {
	c := k.call
	switch {
	case c.pump != nil:
		c.flags |= callSending
		k.watch(k.cl.conf.HeadTimeout)
		if !c.has(callPumping) {
			c.flags |= callPumping
			c.newCond()
			go c.pumpBody(c.pump)
		} else {
			c.cond.Broadcast()
		}
	case c.Upload && !c.has(callNoBody):
		c.flags |= callSending | callWantsRoom
		k.watch(k.cl.conf.HeadTimeout)
		c.room()
	default:
		c.flags |= callSent
		k.sent()
	}
}

// sent is called when all of the request was written.
func (k *clientConn) sent() {
	c := k.call
	if c.resp == nil {
		c.phase = PhaseHead
		k.watch(k.cl.conf.HeadTimeout)
	}
}

// gone reports whether nothing more comes than what is in the input.
func (k *clientConn) gone() bool { return k.has(connEOF | connGone) }

// receive takes what has arrived.
func (k *clientConn) receive() {
	c := k.call
	switch {
	case k.has(connDead):
	case k.has(connSkip):
		k.skip()
	case k.has(connTunnel):
		if k.call != nil {
			k.tunnelled()
		}
	case c == nil:
		if k.has(connIdle) && (k.gone() || k.s.Input().Len() > 0) {
			k.drop(false)
		}
	case c.resp == nil:
		k.receiveHead()
	default:
		k.receiveBody()
	}
}

// parse returns the length of the head of a response that has arrived, or 0 if it has not.
func (k *clientConn) parse(h *responseHead) (int, error) {
	in := k.s.Input()
	n := in.Len()
	limit := k.cl.conf.MaxHead
	if n > 0 && n < 2*k.scanned && n <= limit && !k.gone() && in.Index(headEnd, max(0, k.scanned-3)) < 0 {
		return 0, nil // still not complete: to parse it again each time would cost the square of its length
	}
	p, _ := in.Peek(min(n, maxHead))
	size, err := h.parse(p)
	switch {
	case err == errMore && (n > limit || k.s.InputFull()), size > limit:
		return 0, ErrTooLong
	case err == errMore && k.gone():
		return 0, or(k.err, io.ErrUnexpectedEOF)
	case err == errMore:
		k.scanned = n
		return 0, nil
	case err != nil:
		return 0, err
	}
	k.scanned = 0
	h.raw = string(p[:size])
	return size, nil
}

// receiveHead takes the head of the response, if it is there.
func (k *clientConn) receiveHead() {
	const maxInterim = 16 // responses 1xx; arbitrary
	c := k.call
	for {
		resp := &Response{Call: c}
		size, err := k.parse(&resp.head)
		if err != nil {
			if k.mayResend() {
				k.resend()
			} else {
				c.failIn(PhaseHead, err)
			}
			return
		}
		if size == 0 {
			return
		}
		k.s.Input().Discard(size)
		status := resp.head.status
		if status/100 != 1 || status == 101 {
			k.answer(resp)
			return
		}
		if k.interim++; k.interim > maxInterim {
			c.failIn(PhaseHead, errInterims)
			return
		}
		c.tellInterim(&resp.head)
		if k.has(connHolds) && status == 100 {
			k.sendBody()
		}
	}
}

// mayResend reports whether the request, to which nothing has come back, is to be sent again: it is
// idempotent, and the connection was used before, so that the server may just have closed it.
func (k *clientConn) mayResend() bool {
	return k.gone() && k.served > 0 && k.interim == 0 && k.s.Input().Len() == 0 && k.call.isIdempotent()
}

// resend has the request sent over another connection.
func (k *clientConn) resend() {
	c := k.call
	k.call, c.conn = nil, nil
	c.flags &^= callSending | callSent
	k.drop(true)
	c.host.front(c)
}

// answer is called when the head of the response is there.
func (k *clientConn) answer(resp *Response) {
	c := k.call
	h := &resp.head
	k.unwatch()
	k.served++
	k.kind, k.left, k.dec = h.kind(method(c.req)), h.length, chunkDecoder{}
	if !h.keepAlive() || c.req.Close || hasToken(c.req.Header["Connection"], "close") || k.kind == bodyToEOF ||
		k.has(connHolds) || !c.has(callSent) {
		k.flags |= connLast
	}
	k.flags &^= connHolds
	resp.Status, resp.Request = h.status, c.req
	c.takeCookies(resp)
	if next := c.redirect(resp); next != nil {
		k.call, c.conn = nil, nil
		k.flags |= connSkip
		k.skip() // first, so that the connection may be used again at once
		c.follow(next)
		return
	}
	c.resp, c.phase = resp, PhaseBody
	if h.status == 101 || method(c.req) == "CONNECT" && h.status/100 == 2 {
		k.flags |= connGiven
		k.call, c.conn = nil, nil
		resp.conn, resp.Complete = k, true
		c.end()
		c.tell(resp)
		return
	}
	if !c.Streaming && c.rt == nil && k.kind == bodyLength && c.maxBody() >= 0 && k.left > c.maxBody() {
		c.resp = nil
		c.fail(ErrTooLong)
		return
	}
	k.firstOfBody()
}

// firstOfBody takes what has come with the head, and sends a response with Streaming.
func (k *clientConn) firstOfBody() {
	c := k.call
	if !c.Streaming && c.rt == nil {
		k.receiveBody()
		return
	}
	ended, err := k.pull(&c.resp.Body, maxPiece)
	if err != nil && c.resp.Body.Len() == 0 {
		c.resp = nil
		c.fail(err)
		return
	}
	if ended {
		c.resp.Complete = true
		k.detach()
		c.end()
		c.tell(c.resp)
		k.release()
		return
	}
	if c.rt == nil {
		c.flags |= callUnreceived
	}
	k.watch(k.cl.conf.BodyTimeout)
	c.tell(c.resp)
}

// detach takes the call off the connection.
func (k *clientConn) detach() {
	k.call.conn = nil
	k.call = nil
}

// receiveBody takes what has arrived of the body.
func (k *clientConn) receiveBody() {
	c := k.call
	switch {
	case c.rt != nil:
		k.watch(k.cl.conf.BodyTimeout)
		c.rt.cond.Broadcast() // it takes the body itself
	case !c.Streaming:
		k.receiveWhole()
	case !c.has(callUnreceived | callPaused):
		k.receivePiece()
	}
}

// receiveWhole takes what has arrived of a body that is sent when all of it is there.
func (k *clientConn) receiveWhole() {
	c := k.call
	resp, limit := c.resp, c.maxBody()
	ended, err := k.pull(&resp.Body, limit+1)
	if err == nil && int64(resp.Body.Len()) > limit {
		err = ErrTooLong
	}
	if err == nil && ended && c.has(callGzip) {
		err = resp.gunzip(limit)
	}
	switch {
	case err != nil:
		c.resp = nil
		c.fail(err)
	case ended:
		resp.Complete = true
		k.detach()
		c.end()
		c.tell(resp)
		k.release()
	default:
		k.watch(k.cl.conf.BodyTimeout)
	}
}

// receivePiece sends what has arrived of a body with Streaming. The next piece is made when this one
// was received.
func (k *clientConn) receivePiece() {
	c := k.call
	m := &Body{Response: c.resp}
	ended, err := k.pull(&m.Data, maxPiece)
	switch {
	case err != nil:
		if m.Data.Len() > 0 {
			c.tell(m)
		}
		c.fail(err)
	case ended:
		m.Last = true
		k.detach()
		c.end()
		c.tell(m)
		k.release()
	case m.Data.Len() > 0:
		c.flags |= callUnreceived
		k.watch(k.cl.conf.BodyTimeout)
		c.tell(m)
	}
}

// pull moves what has come of the body to b, until b has limit bytes, and reports whether that was
// all of the body.
func (k *clientConn) pull(b *evchan.Buffer, limit int64) (ended bool, err error) {
	return k.pullFrom(k.s.Input(), b, limit)
}

// pullFrom is pull from in.
func (k *clientConn) pullFrom(in, b *evchan.Buffer, limit int64) (ended bool, err error) {
	switch k.kind {
	case bodyNone:
		return true, nil
	case bodyLength:
		n, _ := b.MoveN(in, int(min(k.left, max(limit-int64(b.Len()), 0), int64(in.Len()))))
		if k.left -= int64(n); k.left == 0 {
			return true, nil
		}
	case bodyToEOF:
		b.MoveN(in, int(min(max(limit-int64(b.Len()), 0), int64(in.Len()))))
		if k.has(connEOF) && in.Len() == 0 {
			return true, nil
		}
	case bodyChunks:
		if _, err := k.dec.pull(in, b, limit); err != nil {
			return false, badChunks(err)
		}
		if k.dec.state == chunkDone {
			trailer, err := k.dec.trailerFields()
			if err != nil {
				return false, badChunks(err)
			}
			if k.call != nil {
				k.call.resp.trailer = trailer
			}
			return true, nil
		}
	}
	if k.gone() && in.Len() == 0 {
		return false, or(k.err, io.ErrUnexpectedEOF)
	}
	return false, nil
}

func badChunks(err error) error {
	if refused, ok := err.(*refusal); ok {
		return badResponse(refused.text)
	}
	return err
}

// skip drops the rest of a body that nobody wants.
func (k *clientConn) skip() {
	var dropped evchan.Buffer
	if k.kind == bodyToEOF || k.kind == bodyLength && k.left > maxSkip {
		k.drop(true)
		return
	}
	ended, err := k.pull(&dropped, maxSkip)
	switch {
	case err != nil, dropped.Len() >= maxSkip:
		k.drop(true)
	case ended:
		k.flags &^= connSkip
		k.release()
	default:
		k.watch(min(k.cl.conf.BodyTimeout, time.Second))
	}
}

// release has the connection, which has no call, take the next one, or be idle.
func (k *clientConn) release() {
	h := k.host
	k.unwatch()
	if k.has(connLast|connDead) || k.gone() || k.s.Input().Len() > 0 || k.cl.closed ||
		len(h.waiting) == 0 && len(h.idle) >= k.cl.conf.MaxIdle {
		k.drop(false)
		return
	}
	k.flags |= connIdle
	h.idle = append(h.idle, k)
	h.schedule()
	if k.has(connIdle) {
		k.watch(k.cl.conf.IdleTimeout)
	}
}

// drop gives up the connection, which has no call. If abort is true, the stream is reset.
func (k *clientConn) drop(abort bool) {
	if k.has(connDead) {
		return
	}
	k.forget()
	k.cl.todo = append(k.cl.todo, clientTodo{s: k.s, abort: abort})
	k.host.schedule()
}

// forget notes that the connection is the host's no longer.
func (k *clientConn) forget() {
	h := k.host
	k.flags |= connDead
	if k.timer != nil {
		k.timer.Close()
	}
	if k.has(connIdle) {
		for i, other := range h.idle {
			if other == k {
				h.idle = append(h.idle[:i], h.idle[i+1:]...)
				break
			}
		}
	}
	h.nconns--
}

// dropWith gives up the connection. Its call fails with err, if it has one.
func (k *clientConn) dropWith(err error) {
	if k.call != nil {
		k.call.fail(err)
	} else {
		k.drop(true)
	}
}

// lost notes that the stream has failed or was closed.
func (k *clientConn) lost(err error) {
	k.flags |= connGone
	k.err = or(err, io.ErrUnexpectedEOF)
	switch c := k.call; {
	case !k.has(connUp):
		k.connectFailed(k.err)
	case c == nil:
		k.drop(false)
	case k.has(connEOF) && c.resp != nil && k.kind == bodyToEOF:
		k.receive()
	default:
		k.receive()
		if k.call == c && c.rt == nil && !c.has(callUnreceived|callPaused) {
			k.dropWith(k.err)
		}
	}
}

// connectFailed ends the attempt to connect. The call tries again, or fails.
func (k *clientConn) connectFailed(err error) {
	c := k.call
	k.call = nil
	if c == nil {
		k.drop(true)
		return
	}
	c.conn = nil
	conf := &k.cl.conf
	if c.tries >= conf.Retries {
		c.failIn(PhaseConnect, err)
		k.drop(true)
		return
	}
	delay := min(conf.RetryDelay<<min(c.tries, 20), time.Hour)
	c.tries++
	k.drop(true)
	if c.retry == nil {
		c.retry = k.cl.loop.After(delay)
		c.retry.SetLayer(retryTimer{c})
		c.retry.SetBackground(true)
	} else {
		c.retry.Reset(delay)
	}
}

// A retryTimer is the layer of the timer of a call that is to connect again.
type retryTimer struct{ c *Call }

// Next is for package evchan.
func (r retryTimer) Next(_ evchan.Source, ev evchan.Event) evchan.Event {
	if _, ok := ev.(evchan.Tick); ok {
		r.c.tryAgain()
	}
	return nil
}

// End is for package evchan: the call is over, or the loop is closed.
func (r retryTimer) End(evchan.Source) { r.c.cancel(evchan.ErrClosed) }

// tryAgain is called without the lock.
func (c *Call) tryAgain() {
	c.cl.mu.Lock()
	defer c.cl.unlock()
	if !c.has(callOver) && c.conn == nil {
		c.route()
	}
}

// watch bounds the time for what the connection waits for. A timer that runs goes on if it rings
// before that: then it is started again (see expired), so that most requests start none.
func (k *clientConn) watch(d time.Duration) {
	if d <= 0 {
		k.deadline = time.Time{}
		return
	}
	k.deadline = time.Now().Add(d)
	if k.rings.IsZero() || k.rings.After(k.deadline) {
		k.rings = k.deadline
		k.timer = k.cl.startTimer(k.timer, d, k.expired)
	}
}

// unwatch undoes watch.
func (k *clientConn) unwatch() { k.deadline = time.Time{} }

// expired is called without the lock when the timer rings.
func (k *clientConn) expired() {
	k.cl.mu.Lock()
	defer k.cl.unlock()
	now := time.Now()
	if k.has(connDead|connGiven) || now.Before(k.rings) {
		return
	}
	k.rings = time.Time{}
	if k.deadline.IsZero() {
		return
	}
	if left := k.deadline.Sub(now); left > 0 {
		k.watch(left)
		return
	}
	c := k.call
	switch {
	case c == nil:
		k.drop(k.has(connSkip))
	case !k.has(connUp):
		k.connectFailed(errDeadline)
	case k.has(connHolds):
		k.sendBody()
	case c.resp == nil && (!c.has(callSent) || k.s.Queued() > 0):
		k.watch(k.cl.conf.HeadTimeout) // WriteTimeout counts
	case c.resp != nil && (c.has(callUnreceived|callPaused) || k.s.Input().Len() > 0):
		k.watch(k.cl.conf.BodyTimeout) // it is the program that takes its time
	default:
		c.fail(errDeadline)
	}
}

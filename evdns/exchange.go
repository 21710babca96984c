// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"errors"
	"net"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Texts and kinds of the errors are those of package net.
var (
	errNotFound  = &net.DNSError{Err: "no such host", IsNotFound: true}
	errTimeout   = &net.DNSError{Err: "i/o timeout", IsTimeout: true, IsTemporary: true}
	errServfail  = &net.DNSError{Err: "server misbehaving", IsTemporary: true}
	errRefused   = &net.DNSError{Err: "server misbehaving"}
	errLame      = &net.DNSError{Err: "lame referral"}
	errUnmarshal = &net.DNSError{Err: "cannot unmarshal DNS message"}
	errTruncated = &net.DNSError{Err: "truncated answer"}
	errNoServer  = &net.DNSError{Err: "no answer from DNS server"}
)

// An ask is a question, and how it is to be asked. Equal asks are under way once: others join.
type ask struct {
	question
	tcp       bool // by TCP only
	truncated bool // a truncated answer will do
}

// An exchange is a question that is under way, or that waits for its turn. Once it is
// answered, it tells the parts of queries that wait for it. The resolver's lock guards it.
type exchange struct {
	r       *Resolver
	ask     ask
	waiters []*part

	prev, next *exchange // in Resolver.waiting
	queued     bool      // is there
	running    bool      // counts for MaxInflight
	done       bool

	// What has been tried.
	first   int    // index of the server that was asked first
	tries   int    // how often it was sent, apart from repetitions in another form
	bad     uint64 // servers, by index, whose answer was no use
	err     *net.DNSError
	noMix   bool // the server has changed the case of letters
	noEDNS  bool // the server has not understood EDNS
	byTCP   bool // the answer was truncated
	redial  bool // the connection was closed by the server while it was unused
	probing *nameserver

	// What was sent last.
	alarm  alarm
	server *nameserver
	sock   *udpSocket // nil: by TCP
	conn   *tcpConn   // nil: by UDP
	id     uint16
	query  []byte
}

func newExchange(r *Resolver, a ask) *exchange {
	x := &exchange{r: r, ask: a}
	x.alarm.owner = x
	if r.set.rotate && len(r.servers) > 0 {
		x.first = int(r.rotor) % len(r.servers)
		r.rotor++
	}
	return x
}

// attempt sends the question to the next server. If there is none left, the exchange ends.
func (x *exchange) attempt(now time.Time) {
	for {
		s := x.pick()
		if s == nil {
			if x.err == nil {
				x.err = errNoServer
			}
			x.r.finish(x, nil, x.err, now)
			return
		}
		x.tries++
		if x.send(s, now) {
			return
		}
	}
}

// pick returns the server to ask next; nil if all have been asked often enough.
func (x *exchange) pick() *nameserver {
	if x.probing != nil {
		if x.tries > 0 {
			return nil
		}
		return x.probing
	}
	all := x.r.servers
	n := len(all)
	if n == 0 || x.tries >= n*x.r.set.Attempts {
		return nil
	}
	var down *nameserver
	for i := range n {
		s := all[(x.first+x.tries+i)%n]
		switch {
		case x.bad&(1<<s.index) != 0:
		case !s.down:
			return s
		case down == nil:
			down = s
		}
	}
	return down
}

// send sends the question to s and sets the alarm. It returns false if that is not possible.
func (x *exchange) send(s *nameserver, now time.Time) bool {
	set := &x.r.set
	x.server = s
	s.forget(now)
	round := 0
	if n := len(x.r.servers); n > 0 && x.tries > 0 {
		round = (x.tries - 1) / n
	}
	form := queryForm{udpSize: set.udpSize, mix: !set.KeepCase && !x.noMix && !s.noMix, trustAD: set.trustAD, pad: s.tls}
	if x.noEDNS || s.noEDNS {
		form.udpSize = 0
	}
	var err error
	if x.byTCP || x.ask.tcp || set.UseTCP || s.tcp {
		form.mix = false // an answer by TCP cannot be forged so easily
		err = s.sendTCP(x, form)
	} else {
		if round > 0 {
			form.udpSize = 0 // perhaps it is EDNS that gets lost
		}
		err = s.sendUDP(x, form)
	}
	if err != nil {
		x.failed(s, err)
		return false
	}
	x.r.asked++
	x.r.alarms.set(&x.alarm, now.Add(set.Timeout<<min(round, 4)))
	return true
}

// failed notes that s cannot be asked.
func (x *exchange) failed(s *nameserver, err error) {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		x.err = withServer(errTimeout, s)
		return
	}
	x.err = &net.DNSError{Err: err.Error(), Server: s.addr.String(), IsTemporary: true}
}

// again sends the question to the same server in another form, which is no new attempt.
func (x *exchange) again(now time.Time) {
	if !x.send(x.server, now) {
		x.attempt(now)
	}
}

// detach forgets what was sent: an answer to it is none any more.
func (x *exchange) detach() {
	if x.sock != nil {
		x.sock.forget(x)
	}
	if x.conn != nil {
		x.conn.forget(x)
	}
	x.r.alarms.stop(&x.alarm)
}

// expired is called when no answer has come in time.
func (x *exchange) expired(now time.Time) {
	s, conn := x.server, x.conn
	x.detach()
	x.err, x.server = withServer(errTimeout, s), nil
	s.timedOut(now)
	if conn != nil {
		conn.silent(now)
	}
	if !x.done {
		x.attempt(now)
	}
}

// answered is called with a message that matches what was sent. It is owned.
func (x *exchange) answered(msg []byte, now time.Time) {
	s := x.server
	byTCP := x.conn != nil
	x.detach()
	s.works()
	edns := x.query[11] != 0
	unmixCase(msg)
	rep, err := parseReply(msg, x.ask.question)
	if err != nil {
		x.unusable(errUnmarshal, now)
		return
	}
	rep.server = s.addr
	const badVersion = 16
	switch {
	case rep.truncated && !byTCP && !x.ask.truncated && !x.r.set.IgnoreTruncation:
		x.byTCP = true
		x.again(now)
		return
	case edns && (rep.rcode == dnsmessage.RCodeFormatError || rep.rcode == badVersion ||
		rep.rcode == dnsmessage.RCodeNotImplemented && !rep.edns):
		if !rep.edns {
			s.noEDNS = true
			s.learnt(now)
		}
		x.noEDNS = true
		x.again(now)
		return
	case x.probing != nil:
		x.r.finish(x, rep, nil, now)
		return
	}
	switch rep.rcode {
	case dnsmessage.RCodeSuccess:
		if rep.found == 0 {
			if rep.truncated {
				x.r.finish(x, rep, withServer(errTruncated, s), now)
				return
			}
			if rep.referral || !rep.authoritative && !rep.recursable && !rep.edns {
				x.unusable(errLame, now)
				return
			}
			x.r.finish(x, rep, withServer(errNotFound, s), now)
			return
		}
		x.r.finish(x, rep, nil, now)
	case dnsmessage.RCodeNameError:
		x.r.finish(x, rep, withServer(errNotFound, s), now)
	case dnsmessage.RCodeServerFailure:
		x.unusable(errServfail, now)
	default:
		x.unusable(errRefused, now)
	}
}

// folded is called with a message that would match if the case of letters did not count.
func (x *exchange) folded(now time.Time) {
	const often = 3 // arbitrary
	s := x.server
	x.detach()
	s.learnt(now)
	if s.folds++; s.folds >= often {
		s.noMix = true
	}
	x.noMix = true
	x.again(now)
}

// unusable notes that the server's answer is no use, and asks another one.
func (x *exchange) unusable(err *net.DNSError, now time.Time) {
	x.err = withServer(err, x.server)
	x.bad |= 1 << x.server.index
	x.attempt(now)
}

// refused is called when the kernel has reported that the server cannot be reached.
func (x *exchange) refused(err error, now time.Time) {
	x.failed(x.server, err)
	x.attempt(now)
}

func withServer(err *net.DNSError, s *nameserver) *net.DNSError {
	e := *err
	e.Server = s.addr.String()
	return &e
}

// ask has a question answered for w: the answer comes from the cache, with one that is under way
// already, or from a server. w.finish may be called before ask returns.
func (r *Resolver) ask(a ask, w *part, noCache bool, now time.Time) {
	if !noCache {
		if e := r.cache.get(a.question, now); e != nil {
			if e.ending(now) && !r.set.NoPrefetch && r.underway[a] == nil {
				r.start(newExchange(r, a), now)
			}
			var err *net.DNSError
			if e.reply.negative() {
				err = errNotFound
			}
			w.finish(e.reply, err, e, now)
			return
		}
	}
	if x := r.underway[a]; x != nil {
		w.exchange = x
		x.waiters = append(x.waiters, w)
		return
	}
	x := newExchange(r, a)
	x.waiters = append(x.waiters, w)
	w.exchange = x
	r.start(x, now)
}

// start begins with x, or puts it behind those that wait for their turn.
func (r *Resolver) start(x *exchange, now time.Time) {
	r.underway[x.ask] = x
	r.waiting.push(x)
	r.startWaiting(now)
}

// startWaiting begins with those that wait, as many as may be under way.
func (r *Resolver) startWaiting(now time.Time) {
	if r.starting { // the loop below goes on
		return
	}
	r.starting = true
	for r.inflight < r.set.MaxInflight && !r.suspended && r.waiting.head != nil {
		x := r.waiting.head
		r.waiting.remove(x)
		x.running = true
		r.inflight++
		x.attempt(now)
	}
	r.starting = false
}

// finish ends x, and tells its waiters. rep may be nil if err is not.
func (r *Resolver) finish(x *exchange, rep *reply, err *net.DNSError, now time.Time) {
	x.done = true
	x.detach()
	if x.probing != nil {
		x.probing.probed(rep != nil, now)
		return
	}
	if x.running {
		x.running = false
		r.inflight--
	}
	if r.underway[x.ask] == x {
		delete(r.underway, x.ask)
	}
	var stale *cacheEntry
	if rep != nil {
		r.cache.add(x.ask.question, rep, now)
	} else if stale = r.cache.getStale(x.ask.question, now); stale != nil {
		rep, err = stale.reply, nil
		if rep.negative() {
			err = errNotFound
		}
	}
	for _, w := range x.waiters {
		w.exchange = nil
		w.finish(rep, err, stale, now)
	}
	x.waiters = nil
	r.startWaiting(now)
	r.idleIfUnused(now)
}

// leave takes w out of the waiters of x. If none is left, x is forgotten.
func (x *exchange) leave(w *part, now time.Time) {
	w.exchange = nil
	for i, o := range x.waiters {
		if o == w {
			x.waiters = append(x.waiters[:i], x.waiters[i+1:]...)
			break
		}
	}
	if len(x.waiters) > 0 || x.done {
		return
	}
	r := x.r
	x.done = true
	x.detach()
	r.waiting.remove(x)
	if r.underway[x.ask] == x {
		delete(r.underway, x.ask)
	}
	if x.running {
		x.running = false
		r.inflight--
		r.startWaiting(now)
	}
	r.idleIfUnused(now)
}

// A fifo has the exchanges that wait for their turn.
type fifo struct{ head, tail *exchange }

func (f *fifo) push(x *exchange) {
	x.queued, x.prev = true, f.tail
	if f.tail == nil {
		f.head = x
	} else {
		f.tail.next = x
	}
	f.tail = x
}

// remove takes x out, if it is in f.
func (f *fifo) remove(x *exchange) {
	if !x.queued {
		return
	}
	if x.prev == nil {
		f.head = x.next
	} else {
		x.prev.next = x.next
	}
	if x.next == nil {
		f.tail = x.prev
	} else {
		x.next.prev = x.prev
	}
	x.queued, x.prev, x.next = false, nil, nil
}

var errClosing = errors.New("evdns: the connection is closing")

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/evchan/evchan"
	"golang.org/x/net/dns/dnsmessage"
)

// A QueryConfig sets up a [Query]. A nil QueryConfig and zero values mean the defaults. It is
// copied.
type QueryConfig struct {
	// Data is Query.Data.
	Data any

	// Notify is the channel to which the answer is sent, as Notify of a source sends
	// messages; nil means the loop's own way. The loop never closes it and never waits for it.
	Notify chan<- evchan.Event

	// NoSearch leaves the search list out: the name is asked as it is.
	NoSearch bool

	// NoCache asks servers even if the cache has the answer. What they answer is kept.
	NoCache bool

	// UseTCP asks by TCP, whatever Config says.
	UseTCP bool

	// IgnoreTruncation takes what a truncated answer has, whatever Config says.
	IgnoreTruncation bool
}

// A Query is what was asked of a [Resolver]. Its answer arrives as one [Answer], unless Close
// is called before.
//
// Its methods are safe for concurrent use.
type Query struct {
	// Data is for the user; the package does not touch it.
	Data any

	// What was asked; they do not change. Host is as the caller has given it, Addr that of
	// LookupAddr. Type and Class are those of Query; zero for look-ups.
	Host  string
	Addr  netip.Addr
	Type  dnsmessage.Type
	Class dnsmessage.Class

	r       *Resolver
	conf    QueryConfig
	network string                    // of Lookup: "ip", "ip4" or "ip6"
	done    func([]netip.Addr, error) // of LookupHost, in place of a message; else nil

	// The resolver's lock guards the following.

	state      queryState
	names      []string // that are still to be asked
	name       string   // that is being asked
	parts      [2]part  // A and AAAA, or one question
	alarm      alarm    // how long one family waits for the other
	err        *net.DNSError
	prev, next *Query // in Resolver.open
	starting   bool
	answer     Answer
}

type queryState int

const (
	queryOpen     queryState = iota
	queryAnswered            // the answer was posted
	queryClosed
)

// A part of a query is one question of it.
type part struct {
	query    *Query
	exchange *exchange // nil: none under way
	used     bool
	done     bool
	reply    *reply
	err      *net.DNSError
	cached   *cacheEntry // where reply comes from; nil: from a server
	before   []*reply    // that have led to the name of reply, each with nothing but aliases
}

// An Answer is the message with which a [Query] ends. Its fields do not change.
type Answer struct {
	evchan.Custom

	// Query is what was asked.
	Query *Query

	// Err tells why there is no answer: a *net.DNSError with the fields as package net sets
	// them. IsNotFound says that there is no such name, or nothing of that kind; RCode
	// tells which. If the resolver was closed, the error is also net.ErrClosed.
	Err error

	// Addrs are the addresses that Lookup was for, in the order in which to try them
	// (RFC 6724). Names are the names that LookupAddr was for, with a final dot unless the
	// hosts file has them without.
	Addrs []netip.Addr
	Names []string

	// CanonicalName is the name that has the records, with a final dot: what was asked, or
	// what it is an alias of. For Lookup it has the domain of the search list.
	CanonicalName string

	// TTL is how long the answer may be used. For one that there is nothing, it is how long that
	// holds; then 0 means that the server has not told.
	TTL time.Duration

	// RCode is what the server has answered.
	RCode dnsmessage.RCode

	// Authoritative, Truncated and AuthenticData are flags of the server's answer.
	Authoritative, Truncated, AuthenticData bool

	// Server is the server that has answered; the zero AddrPort if none was asked, since
	// the hosts file or the name itself have told.
	Server netip.AddrPort

	// Cached says that the answer comes from the cache. Stale says that it is older than
	// its time, and that no server has answered now.
	Cached, Stale bool

	reply  *reply
	before []*reply // see part
	age    time.Duration
}

// Records returns the records that answer the question, with the CNAMEs that lead to them.
// Their TTL is what is left of it. There are none for an answer of the hosts file. For a
// Lookup they are those of the first family that was found.
func (a *Answer) Records() []dnsmessage.Resource {
	if a.reply == nil {
		return nil
	}
	var all []dnsmessage.Resource
	for _, rep := range a.before {
		all = append(all, rep.records(0)...)
	}
	return append(all, a.reply.records(uint32(a.age/time.Second))...)
}

// Message returns the server's whole message, nil if there is none. It must not be modified.
// Records has what of it can be believed.
func (a *Answer) Message() []byte {
	if a.reply == nil {
		return nil
	}
	return a.reply.msg
}

// String describes the answer for people to read.
func (a *Answer) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "answer to %v", a.Query)
	switch {
	case a.Err != nil:
		fmt.Fprintf(&b, ": %v", a.Err)
	case a.Query.network != "":
		fmt.Fprintf(&b, ": %v", a.Addrs)
	case a.Query.Addr.IsValid():
		fmt.Fprintf(&b, ": %v", a.Names)
	}
	return b.String()
}

// String describes the query for people to read.
func (q *Query) String() string {
	switch {
	case q.network != "":
		return "lookup of " + q.Host
	case q.Addr.IsValid():
		return "lookup of " + q.Addr.String()
	}
	return "query of " + q.Host + " " + strings.TrimPrefix(q.Type.String(), "Type")
}

// Resolver returns the resolver that was asked.
func (q *Query) Resolver() *Resolver { return q.r }

// Close ends the query. Once it has returned, the answer is not received any more; one that
// lies in a buffered Notify channel has been received. Closing again returns nil. A query that
// was answered need not be closed.
func (q *Query) Close() error {
	r := q.r
	r.mu.Lock()
	defer r.unlock()
	switch q.state {
	case queryOpen:
		q.end(r.now())
		r.expect(q, -1)
	case queryAnswered:
		q.answer.Retract()
	}
	q.state = queryClosed
	return nil
}

// end forgets what q waits for. Its state changes next.
func (q *Query) end(now time.Time) {
	for i := range q.parts {
		if w := &q.parts[i]; w.exchange != nil {
			w.exchange.leave(w, now)
		}
	}
	q.r.alarms.stop(&q.alarm)
	q.prev.next, q.next.prev = q.next, q.prev
}

// post ends q with its answer.
func (q *Query) post(now time.Time) {
	q.end(now)
	q.state = queryAnswered
	q.answer.Query = q
	q.r.post(q)
}

// fail ends q with an error about the name that the caller has given. For an address it is the
// name that was asked, as package net does.
func (q *Query) fail(err *net.DNSError, now time.Time) {
	e := *err
	e.Name = q.Host
	switch {
	case q.Addr.IsValid() && q.name != "":
		e.Name = q.name
	case q.Addr.IsValid():
		e.Name = q.Addr.String()
	}
	q.answer.Err = &e
	q.post(now)
}

// begin asks the first name.
func (q *Query) begin(now time.Time) {
	if len(q.names) == 0 {
		q.failOrFiles(now)
		return
	}
	q.ask(now)
}

// ask asks the next of q.names.
func (q *Query) ask(now time.Time) {
	q.name, q.names = q.names[0], q.names[1:]
	var types [2]dnsmessage.Type
	class := dnsmessage.ClassINET
	switch {
	case q.network == "ip6":
		types[0] = dnsmessage.TypeAAAA
	case q.network == "ip":
		types[0], types[1] = dnsmessage.TypeA, dnsmessage.TypeAAAA
	case q.network == "ip4":
		types[0] = dnsmessage.TypeA
	case q.Addr.IsValid():
		types[0] = dnsmessage.TypePTR
	default:
		types[0], class = q.Type, q.Class
	}
	for i, t := range types {
		q.parts[i] = part{query: q, used: t != 0}
	}
	q.starting = true // an answer out of the cache may come before the other question is asked
	for i, t := range types {
		w := &q.parts[i]
		if !w.used || i == 1 && q.r.set.single && !q.parts[0].done {
			continue
		}
		q.askPart(w, question{q.name, t, class}, now)
	}
	q.starting = false
	q.step(now)
}

func (q *Query) askPart(w *part, question question, now time.Time) {
	q.r.ask(ask{question, q.conf.UseTCP, q.conf.IgnoreTruncation}, w, q.conf.NoCache, now)
}

// maxHops is how many questions a part asks because the answer was an alias only. Arbitrary.
const maxHops = 8

// finish is called when the part's question is answered, with the reply or an error or both.
func (w *part) finish(rep *reply, err *net.DNSError, cached *cacheEntry, now time.Time) {
	q := w.query
	if target := rep.elsewhere(); target != "" && len(w.before) < maxHops {
		w.before = append(w.before, rep)
		q.askPart(w, question{target, rep.q.typ, rep.q.class}, now)
		return
	}
	w.done, w.reply, w.err, w.cached = true, rep, err, cached
	if q.r.set.single && q.network == "ip" && w == &q.parts[0] && !q.starting {
		q.askPart(&q.parts[1], question{q.name, dnsmessage.TypeAAAA, dnsmessage.ClassINET}, now)
		if q.parts[1].done {
			return // it has called step
		}
	}
	q.step(now)
}

// step goes on once all questions about a name are answered.
func (q *Query) step(now time.Time) {
	if q.starting || q.state != queryOpen {
		return
	}
	a, b := &q.parts[0], &q.parts[1]
	if q.network == "ip" && a.done != b.done {
		if first := a.done && a.err == nil || b.done && b.err == nil; first && q.alarm.index == 0 {
			q.r.alarms.set(&q.alarm, now.Add(q.r.set.Skew))
		}
		return
	}
	if !a.done {
		return
	}
	q.conclude(now)
}

// expired is called when one family has waited long enough for the other.
func (q *Query) expired(now time.Time) { q.conclude(now) }

// conclude makes the answer of what is there, or goes on with the next name.
func (q *Query) conclude(now time.Time) {
	q.r.alarms.stop(&q.alarm)
	var good *part
	for i := range q.parts {
		w := &q.parts[i]
		switch {
		case !w.used:
		case !w.done:
			w.exchange.leave(w, now)
		case w.err == nil && good == nil:
			good = w
		case w.err != nil && (q.err == nil || q.name == rooted(lower(q.Host))):
			q.err = w.err
			q.describe(w, now)
		}
	}
	switch {
	case good != nil:
		q.answer.Err = nil
		q.succeed(good, now)
	case len(q.names) > 0:
		q.ask(now)
	default:
		q.failOrFiles(now)
	}
}

// describe puts what the reply of w says into the answer.
func (q *Query) describe(w *part, now time.Time) {
	a := &q.answer
	rep := w.reply
	a.reply = rep
	if rep == nil {
		*a = Answer{}
		return
	}
	a.RCode, a.CanonicalName, a.Server = rep.rcode, rep.canonical, rep.server
	a.Authoritative, a.Truncated, a.AuthenticData = rep.authoritative, rep.truncated, rep.authentic
	a.TTL, a.age, a.Cached, a.Stale = time.Duration(rep.ttl)*time.Second, 0, false, false
	if w.cached != nil {
		a.Cached = true
		a.age = now.Sub(w.cached.added)
		a.TTL = max(w.cached.end.Sub(now), 0)
		a.Stale = a.TTL == 0
	}
}

// succeed ends q with what was found.
func (q *Query) succeed(good *part, now time.Time) {
	q.describe(good, now)
	a := &q.answer
	a.before = good.before
	for _, rep := range good.before {
		a.TTL = min(a.TTL, time.Duration(rep.aliasTTL)*time.Second)
	}
	switch {
	case q.network != "":
		for i := range q.parts {
			if w := &q.parts[i]; w.done && w.err == nil {
				a.Addrs = append(a.Addrs, w.reply.addrs...)
				if w != good {
					q.merge(w, now)
				}
			}
		}
		q.r.sort(a.Addrs, now)
	case q.Addr.IsValid():
		for _, rr := range good.reply.records(0) {
			if p, ok := rr.Body.(*dnsmessage.PTRResource); ok {
				a.Names = append(a.Names, p.PTR.String())
			}
		}
	}
	q.post(now)
}

// merge takes the TTL and the flags of the other family into account.
func (q *Query) merge(w *part, now time.Time) {
	a := &q.answer
	ttl := time.Duration(w.reply.ttl) * time.Second
	if w.cached != nil {
		ttl = max(w.cached.end.Sub(now), 0)
		a.Stale = a.Stale || ttl == 0
	} else {
		a.Cached = false
	}
	a.TTL = min(a.TTL, ttl)
	for _, rep := range w.before {
		a.TTL = min(a.TTL, time.Duration(rep.aliasTTL)*time.Second)
	}
	a.AuthenticData = a.AuthenticData && w.reply.authentic
}

// failOrFiles ends q, for which DNS has no answer. Perhaps the hosts file has one.
func (q *Query) failOrFiles(now time.Time) {
	if q.r.sys.order == dnsFiles && q.fromFiles(now) {
		return
	}
	err := q.err
	if err == nil {
		err = errNotFound
	}
	q.fail(err, now)
}

// fromFiles answers q from the hosts file, if that has an answer.
func (q *Query) fromFiles(now time.Time) bool {
	if q.Addr.IsValid() {
		names := q.r.sys.hosts.lookupAddr(q.Addr)
		if len(names) == 0 {
			return false
		}
		q.answer = Answer{Names: slices.Clone(names)}
		q.post(now)
		return true
	}
	if q.network == "" {
		return false
	}
	addrs, canonical := q.r.sys.hosts.lookup(q.Host)
	if len(addrs) == 0 {
		return false
	}
	q.succeedWith(addrs, canonical, now)
	return true
}

// succeedWith ends q with those of addrs that are of the right family.
func (q *Query) succeedWith(addrs []netip.Addr, canonical string, now time.Time) {
	q.answer = Answer{CanonicalName: canonical}
	for _, a := range addrs {
		if q.network == "ip" || (q.network == "ip4") == a.Unmap().Is4() {
			q.answer.Addrs = append(q.answer.Addrs, a)
		}
	}
	if len(q.answer.Addrs) == 0 {
		q.fail(errFamily, now)
		return
	}
	q.r.sort(q.answer.Addrs, now)
	q.post(now)
}

var errFamily = &net.DNSError{Err: "no suitable address found", IsNotFound: true}

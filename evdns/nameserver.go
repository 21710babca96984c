// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"crypto/tls"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A nameserver is a server that the resolver asks. The resolver's lock guards it.
type nameserver struct {
	serverAddr
	r     *Resolver
	index int // in Resolver.servers

	timeouts int // questions in a row that it left unanswered
	down     bool
	gone     bool          // not among Resolver.servers any more
	probe    *exchange     // under way; nil: none
	interval time.Duration // until the next probe
	alarm    alarm         // the next probe

	noEDNS  bool      // it does not understand EDNS
	noMix   bool      // it does not return names as they were sent
	folds   int       // how often it did not
	relearn time.Time // when to try again whether that is still so

	sockets []*udpSocket
	conn    *tcpConn    // nil: none is open
	tlsConf *tls.Config // nil: not made yet
}

func newNameserver(r *Resolver, a serverAddr, index int) *nameserver {
	s := &nameserver{serverAddr: a, r: r, index: index}
	s.alarm.owner = s
	return s
}

// timedOut notes that s has not answered a question in time.
func (s *nameserver) timedOut(now time.Time) {
	s.timeouts++
	if s.timeouts < s.r.set.MaxTimeouts || s.down || s.gone {
		return
	}
	s.down = true
	s.interval = min(s.r.set.ProbeInterval, s.r.set.MaxProbeInterval)
	s.r.alarms.set(&s.alarm, now.Add(s.interval))
	if !s.r.anyUp() {
		return // there is nobody else to ask
	}
	// What it has not answered yet is worth asking others.
	s.r.reissue(s, now)
}

// relearnInterval is how long is believed what a server cannot do. Perhaps it was updated, or
// the answer that has told was forged.
const relearnInterval = time.Hour

// learnt is called when noEDNS, noMix or folds has changed.
func (s *nameserver) learnt(now time.Time) { s.relearn = now.Add(relearnInterval) }

// forget forgets what s cannot do, if that is due.
func (s *nameserver) forget(now time.Time) {
	if !s.relearn.IsZero() && now.After(s.relearn) {
		s.noEDNS, s.noMix, s.folds, s.relearn = false, false, 0, time.Time{}
	}
}

// works notes that s has answered.
func (s *nameserver) works() {
	s.timeouts = 0
	if s.down {
		s.down = false
		s.r.alarms.stop(&s.alarm)
	}
}

// expired is called when it is time to see whether s is up again.
func (s *nameserver) expired(now time.Time) {
	if !s.down || s.gone {
		return
	}
	// Every server has something to say about the root, even if it is that it refuses.
	x := newExchange(s.r, ask{question: question{".", dnsmessage.TypeNS, dnsmessage.ClassINET}})
	x.probing, s.probe = s, x
	x.attempt(now)
}

// probed is called when a probe was answered, or when it was not.
func (s *nameserver) probed(ok bool, now time.Time) {
	s.probe = nil
	if ok || !s.down || s.gone {
		return
	}
	s.interval = min(s.interval*time.Duration(s.r.set.ProbeBackoff), s.r.set.MaxProbeInterval)
	s.r.alarms.set(&s.alarm, now.Add(s.interval))
}

// close ends what s has open. The questions that it has not answered are not told.
func (s *nameserver) close() {
	s.gone = true
	s.r.alarms.stop(&s.alarm)
	if s.probe != nil {
		s.probe.done = true
		s.probe.detach()
		s.probe = nil
	}
	s.closeUnused()
	for len(s.sockets) > 0 {
		s.sockets[0].retire()
	}
	if s.conn != nil {
		s.conn.close()
	}
}

// closeUnused closes the sockets by which nothing was asked that is not answered.
func (s *nameserver) closeUnused() {
	for i := len(s.sockets) - 1; i >= 0; i-- {
		if len(s.sockets[i].pending) == 0 {
			s.sockets[i].retire()
		}
	}
}

// anyUp reports whether a server is up.
func (r *Resolver) anyUp() bool {
	for _, s := range r.servers {
		if !s.down {
			return true
		}
	}
	return false
}

// reissue asks other servers what s was asked and has not answered.
func (r *Resolver) reissue(s *nameserver, now time.Time) {
	var all []*exchange
	for _, x := range r.underway {
		if x.running && x.server == s {
			all = append(all, x)
		}
	}
	for _, x := range all {
		if x.done || x.server != s {
			continue
		}
		x.detach()
		if x.err == nil {
			x.err = withServer(errTimeout, s)
		}
		x.attempt(now)
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evtls"
)

// A tcpConn is a connection to a server. All questions to the server that go by TCP share it,
// and the answers may come in any order. It closes when it was unused for a while.
type tcpConn struct {
	server  *nameserver
	stream  *evchan.Stream
	pending map[uint16]*exchange
	heard   time.Time // when an answer came last
	used    bool      // an answer has come
	alarm   alarm     // set while nothing is pending
	closing bool      // the loop is in Shutdown: it ends once nothing is pending
	closed  bool
}

// sendTCP asks x by the connection to s, and connects if there is none.
func (s *nameserver) sendTCP(x *exchange, form queryForm) error {
	for {
		reused := s.conn != nil
		c, err := s.connection()
		if err != nil {
			return err
		}
		err = c.send(x, form)
		if err == nil || !reused {
			return err
		}
		// The server has closed the connection, and its last message has not been received
		// yet. That ends what is pending; this question goes by a new connection.
		s.conn = nil
	}
}

// send asks x by c.
func (c *tcpConn) send(x *exchange, form queryForm) error {
	for {
		x.id = uint16(rand.Uint32())
		if _, taken := c.pending[x.id]; !taken {
			break
		}
	}
	buf := appendQuery(make([]byte, 2, 2+plainUDP), x.id, x.ask.question, form)
	binary.BigEndian.PutUint16(buf, uint16(len(buf)-2))
	x.query = buf[2:]
	if _, err := c.stream.Write(buf); err != nil {
		return err
	}
	c.server.r.alarms.stop(&c.alarm)
	c.pending[x.id] = x
	x.conn = c
	return nil
}

// connection returns the open connection to s, or a new one.
func (s *nameserver) connection() (*tcpConn, error) {
	if s.conn != nil {
		return s.conn, nil
	}
	set := &s.r.set
	c := &tcpConn{server: s, pending: make(map[uint16]*exchange)}
	c.alarm.owner = c
	conf := &evchan.DialConfig{
		Timeout:  set.Timeout,
		Names:    s.r, // there is no name to look up: it has the loop connect, without a goroutine
		MaxInput: 2 * (maxMessage + 2),
		Layer:    c,
	}
	if set.LocalAddr.IsValid() {
		conf.LocalAddr = &net.TCPAddr{IP: set.LocalAddr.AsSlice(), Zone: set.LocalAddr.Zone()}
	}
	if s.tls {
		conf.Over = evtls.Over(s.tlsConfig(), nil)
	}
	stream, err := s.r.loop.Dial("tcp", s.addr.String(), conf)
	if err != nil {
		return nil, err
	}
	c.stream = stream
	stream.SetBackground(true)
	s.r.prioritize(stream)
	s.conn = c
	return c, nil
}

// tlsConfig returns the configuration for s.
func (s *nameserver) tlsConfig() *tls.Config {
	if s.tlsConf != nil {
		return s.tlsConf
	}
	s.tlsConf = &tls.Config{}
	if s.r.conf.TLS != nil {
		s.tlsConf = s.r.conf.TLS.Clone()
	}
	s.tlsConf.ServerName = s.name
	if s.tlsConf.ClientSessionCache == nil {
		s.tlsConf.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	return s.tlsConf
}

// forget drops x from what is pending.
func (c *tcpConn) forget(x *exchange) {
	delete(c.pending, x.id)
	x.conn = nil
	switch r := c.server.r; {
	case len(c.pending) > 0 || c.closed:
	case c.closing:
		c.close()
	default:
		r.alarms.set(&c.alarm, r.now().Add(r.set.TCPIdle))
	}
}

// expired is called when the connection was unused for a while.
func (c *tcpConn) expired(time.Time) { c.close() }

// silent is called when an answer has not come in time. If none at all have, the connection
// does not work.
func (c *tcpConn) silent(now time.Time) {
	if !c.closed && now.Sub(c.heard) >= c.server.r.set.Timeout {
		c.fail(errTimeout, now)
	}
}

// close ends the connection.
func (c *tcpConn) close() {
	if c.closed {
		return
	}
	c.closed = true
	c.server.r.alarms.stop(&c.alarm)
	if c.server.conn == c {
		c.server.conn = nil
	}
	if len(c.pending) == 0 {
		c.stream.Close()
	} else {
		c.stream.Abort()
	}
}

// fail ends the connection, and asks elsewhere what was not answered.
func (c *tcpConn) fail(err error, now time.Time) {
	all := make([]*exchange, 0, len(c.pending))
	for _, x := range c.pending {
		all = append(all, x)
	}
	c.close()
	for _, x := range all {
		x.detach()
	}
	for _, x := range all {
		switch {
		case x.done:
		case c.used && !x.redial && !x.server.gone:
			// The server had answered before. It has closed the connection, as it may at
			// any time (RFC 7766, section 6.2.3); that says nothing about the question.
			x.redial = true
			x.again(now)
		default:
			x.refused(err, now)
		}
	}
}

// Next is called with the messages of the stream. Nothing is passed on: the answers to
// queries are sent by mailboxes.
func (c *tcpConn) Next(_ evchan.Source, ev evchan.Event) evchan.Event {
	r := c.server.r
	r.mu.Lock()
	defer r.unlock()
	if c.closed {
		return nil
	}
	now := r.now()
	switch ev := ev.(type) {
	case evchan.Readable:
		c.read(now)
	case evchan.EOF:
		c.read(now)
		c.fail(io.ErrUnexpectedEOF, now)
	case evchan.Stopping:
		c.closing = true
		if c.server.conn == c {
			c.server.conn = nil
		}
		if len(c.pending) == 0 {
			c.close()
		}
	case evchan.Closed:
		err := ev.Stream.Err()
		if err == nil {
			err = errClosing
		}
		c.server.timedOut(now)
		c.fail(err, now)
	}
	return nil
}

// read takes the messages that have arrived in full.
func (c *tcpConn) read(now time.Time) {
	in := c.stream.Input()
	for !c.closed {
		head, err := in.Peek(2)
		if err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(head))
		if in.Len() < 2+n {
			return
		}
		in.Discard(2)
		msg := make([]byte, n)
		in.Read(msg)
		if n < headerSize {
			c.fail(errMalformed, now)
			return
		}
		c.heard = now
		x := c.pending[binary.BigEndian.Uint16(msg)]
		if x == nil {
			continue // its time was over
		}
		if matchReply(msg, x.query) == matchNone {
			continue
		}
		c.used = true
		x.answered(msg, now)
	}
}

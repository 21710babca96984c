// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/evchan/evchan"
	"golang.org/x/net/dns/dnsmessage"
)

// A udpServer is the layer of a UDP socket of a server: it makes Requests of datagrams.
type udpServer struct {
	s     *Server
	conn  *evchan.PacketConn
	at    netip.Addr   // that the socket is bound to; the zero Addr: to any
	tells bool         // the system says which address a datagram was sent to, and at does not
	buf   [maxUDP]byte // of Next
	queue []*Request   // of Next: that have arrived together, and were not received
	first int          // of queue

	mu     sync.Mutex // guards the following
	left   int        // how many requests are in queue: their replies are to come
	batch  []evchan.Datagram
	single [1]evchan.Datagram
	since  time.Time // when the first of batch was made
	out    []byte    // what batch points to
	limit  rateLimit
}

const (
	// maxBatch is how many replies are sent by one call, and how many requests are read at
	// once. evchan reads and sends as many by one system call on Linux.
	maxBatch = 16

	// maxBatchWait is how long a reply may wait for others that are made after it. Arbitrary.
	maxBatchWait = time.Millisecond
)

func (s *Server) listenUDP(on Network, network, address string) error {
	// Paused until Serve has made all of s.
	conn, err := on.ListenPacket(network, address, &evchan.PacketConfig{
		Data:       s,
		Notify:     s.conf.Notify,
		Layer:      (*socketLayer)(s),
		Paused:     true,
		ReusePort:  s.conf.ReusePort,
		ReadBuffer: s.conf.ReadBuffer, WriteBuffer: s.conf.WriteBuffer,
	})
	s.socket = conn
	return err
}

// A socketLayer is a server as the layer of sockets that have no udpServer yet. A group of
// loops has a socket for each loop.
type socketLayer Server

// Next gives the socket a layer of its own.
func (l *socketLayer) Next(src evchan.Source, _ evchan.Event) evchan.Event {
	s := (*Server)(l)
	u := &udpServer{s: s, conn: src.(*evchan.PacketConn), tells: true}
	if a, ok := u.conn.LocalAddr().(*net.UDPAddr); ok && !a.IP.IsUnspecified() {
		u.at, u.tells = a.AddrPort().Addr().Unmap(), false
	}
	s.mu.Lock()
	s.sockets = append(s.sockets, u)
	s.mu.Unlock()
	u.conn.SetLayer(u) // an error: it was closed
	return nil
}

// Next returns the next request.
func (u *udpServer) Next(evchan.Source, evchan.Event) evchan.Event {
	if u.first == len(u.queue) {
		u.fill()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.first == len(u.queue) {
		u.flushLocked()
		return nil
	}
	q := u.queue[u.first]
	u.queue[u.first] = nil
	u.first++
	u.left = len(u.queue) - u.first
	return q
}

// fill reads requests into u.queue, as many as wait, and at most maxBatch.
func (u *udpServer) fill() {
	const most = 64 // datagrams that are no requests, until others have their turn; arbitrary
	u.queue, u.first = u.queue[:0], 0
	for range most {
		n, from, to, err := u.read()
		if err == evchan.ErrWouldBlock || err == evchan.ErrClosed {
			return
		}
		if err != nil && err != io.ErrShortBuffer {
			continue // of an earlier reply
		}
		if q := u.request(u.buf[:n], from, to, err != nil); q != nil {
			if u.queue = append(u.queue, q); len(u.queue) == maxBatch {
				return
			}
		}
	}
}

func (u *udpServer) read() (n int, from netip.AddrPort, to netip.Addr, err error) {
	if u.tells {
		n, from, to, err = u.conn.ReadPacket(u.buf[:])
		if !isUnsupported(err) {
			return n, from, to, err
		}
		u.tells = false
	}
	n, from, err = u.conn.ReadFromAddrPort(u.buf[:])
	return n, from, u.at, err
}

// request returns the request in a datagram. It answers itself what is none.
func (u *udpServer) request(msg []byte, from netip.AddrPort, to netip.Addr, cut bool) *Request {
	if len(msg) < headerSize {
		return nil
	}
	q := &Request{Server: u.s, Network: "udp", From: from, To: to, socket: u}
	q.msg = append(q.space[:0], msg...)
	rcode, ok := q.parse()
	switch {
	case cut && rcode >= 0:
		rcode, ok = int(dnsmessage.RCodeFormatError), false
	case rcode < 0:
		return nil
	}
	if !ok {
		u.reply(q, dnsmessage.RCode(rcode))
		return nil
	}
	return q
}

// reply sends a reply. If other requests have arrived together with q and were not received yet,
// it waits for their replies.
func (u *udpServer) reply(q *Request, rcode dnsmessage.RCode) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	limit := plainUDP
	if q.UDPSize > 0 {
		limit = min(q.UDPSize, u.s.conf.UDPSize)
	}
	short := false
	if n := u.s.conf.RateLimit; n > 0 {
		switch u.limit.count(clientNet(q.From.Addr()), n, time.Now()) {
		case limitDrop:
			q.replied.Store(true)
			return errLimited
		case limitShort:
			short = true
		}
	}
	start := len(u.out)
	var err error
	if short {
		bare := Request{msg: q.msg, question: q.question, UDPSize: q.UDPSize}
		if u.out, err = bare.appendReply(u.out, rcode, limit); err == nil {
			u.out[start+2] |= bitTruncated
		}
	} else {
		u.out, err = q.appendReply(u.out, rcode, limit)
	}
	if err != nil {
		return err
	}
	if q.replied.Swap(true) {
		u.out = u.out[:start]
		return errReplied
	}
	msg := u.out[start:len(u.out):len(u.out)]
	from := q.To
	if !u.tells {
		from = netip.Addr{}
	}
	d := evchan.Datagram{Data: msg, Addr: q.From, From: from}
	if len(u.batch) == 0 {
		if u.left == 0 {
			u.out = u.out[:start]
			u.single[0] = d
			_, err = u.conn.WriteBatch(u.single[:])
			return err
		}
		u.since = time.Now()
	}
	u.batch = append(u.batch, d)
	if u.left == 0 || len(u.batch) >= maxBatch || time.Since(u.since) > maxBatchWait {
		u.flushLocked()
	}
	return nil
}

// flush sends the replies that wait.
func (u *udpServer) flush() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.flushLocked()
}

// flushLocked sends the replies that wait. What the kernel does not take is lost, as it might
// be on its way. Caller holds u.mu.
func (u *udpServer) flushLocked() {
	for b := u.batch; len(b) > 0; {
		n, err := u.conn.WriteBatch(b)
		if n == len(b) || err == evchan.ErrClosed {
			break
		}
		b = b[n+1:]
	}
	clear(u.batch)
	u.batch = u.batch[:0]
	u.out = u.out[:0]
}

// A rateLimit counts the replies that each network has got in this second.
type rateLimit struct {
	second int64
	counts map[netip.Addr]int
}

type limitResult int

const (
	limitSend  limitResult = iota
	limitShort             // tell the client to use TCP
	limitDrop
)

// maxLimited is how many networks are counted in a second. Others have no limit: there
// cannot be many replies for each.
const maxLimited = 1 << 16

func (l *rateLimit) count(net netip.Addr, most int, now time.Time) limitResult {
	if s := now.Unix(); s != l.second || l.counts == nil {
		l.second = s
		if l.counts == nil {
			l.counts = make(map[netip.Addr]int)
		}
		clear(l.counts)
	}
	n, known := l.counts[net]
	if !known && len(l.counts) >= maxLimited {
		return limitSend
	}
	n++
	l.counts[net] = n
	switch over := n - most; {
	case over <= 0:
		return limitSend
	case over%2 == 0:
		return limitShort
	}
	return limitDrop
}

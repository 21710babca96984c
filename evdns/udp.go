// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/evchan/evchan"
)

const (
	maxSockets = 16  // of one server; arbitrary
	maxUses    = 256 // questions by one socket; then another one, with another port, takes its place; arbitrary
)

// A udpSocket is one of the sockets by which a server is asked. Each has a port that the
// system has chosen at random. It is connected, so the kernel drops what comes from
// elsewhere.
type udpSocket struct {
	server  *nameserver
	conn    *evchan.PacketConn
	pending map[uint16]*exchange
	uses    int
	retired bool // it closes once nothing is pending
}

// sendUDP asks x by a socket of s chosen at random.
func (s *nameserver) sendUDP(x *exchange, form queryForm) error {
	k, err := s.socket()
	if err != nil {
		return err
	}
	x.id = k.freeID()
	x.query = appendQuery(x.query[:0], x.id, x.ask.question, form)
	_, err = k.conn.WriteToAddrPort(x.query, netip.AddrPort{})
	if err != nil && err != evchan.ErrWouldBlock {
		if len(k.pending) == 0 {
			k.retire()
		}
		return err
	}
	// If the kernel takes no more, the datagram is lost, as others are on their way.
	k.pending[x.id] = x
	x.sock = k
	if k.uses++; k.uses >= maxUses {
		k.retire()
	}
	return nil
}

// socket returns a socket for the next question: a new one until there are maxSockets.
func (s *nameserver) socket() (*udpSocket, error) {
	if len(s.sockets) >= maxSockets {
		return s.sockets[rand.IntN(len(s.sockets))], nil
	}
	k, err := s.newSocket()
	if err != nil && len(s.sockets) > 0 { // no descriptors left, perhaps
		return s.sockets[rand.IntN(len(s.sockets))], nil
	}
	return k, err
}

func (s *nameserver) newSocket() (*udpSocket, error) {
	set := &s.r.set
	var d net.Dialer
	if set.LocalAddr.IsValid() {
		d.LocalAddr = &net.UDPAddr{IP: set.LocalAddr.AsSlice(), Zone: set.LocalAddr.Zone()}
	}
	c, err := d.Dial("udp", s.addr.String()) // an IP address: nothing is looked up, and nothing sent
	if err != nil {
		return nil, err
	}
	u := c.(*net.UDPConn)
	if set.ReadBuffer > 0 {
		u.SetReadBuffer(set.ReadBuffer)
	}
	if set.WriteBuffer > 0 {
		u.SetWriteBuffer(set.WriteBuffer)
	}
	conn, err := s.r.loop.WrapPacketConn(u)
	if err != nil {
		u.Close()
		return nil, err
	}
	k := &udpSocket{server: s, conn: conn, pending: make(map[uint16]*exchange)}
	if err := conn.SetLayer(k); err != nil {
		conn.Close()
		return nil, err
	}
	conn.SetBackground(true)
	s.r.prioritize(conn)
	s.sockets = append(s.sockets, k)
	return k, nil
}

// freeID returns an id, at random, that no question has which is pending.
func (k *udpSocket) freeID() uint16 {
	for {
		id := uint16(rand.Uint32())
		if _, taken := k.pending[id]; !taken {
			return id
		}
	}
}

// forget drops x from what is pending.
func (k *udpSocket) forget(x *exchange) {
	delete(k.pending, x.id)
	x.sock = nil
	if k.retired && len(k.pending) == 0 {
		k.conn.Close()
	}
}

// retire takes k out of use. It is closed once all is answered.
func (k *udpSocket) retire() {
	if k.retired {
		return
	}
	k.retired = true
	all := k.server.sockets
	for i, o := range all {
		if o == k {
			last := len(all) - 1
			all[i], all[last] = all[last], nil
			k.server.sockets = all[:last]
			break
		}
	}
	if len(k.pending) == 0 {
		k.conn.Close()
	}
}

// Next is called when datagrams have arrived. Nothing is passed on: the answers to queries
// are sent by mailboxes.
func (k *udpSocket) Next(_ evchan.Source, ev evchan.Event) evchan.Event {
	if _, ok := ev.(evchan.Packets); !ok {
		return nil
	}
	r := k.server.r
	r.mu.Lock()
	defer r.unlock()
	now := r.now()
	const most = 64 // arbitrary; then others have their turn, and Packets comes again
	for range most {
		n, _, err := k.conn.ReadFromAddrPort(r.buf[:])
		switch {
		case err == nil:
			k.received(r.buf[:n], now)
		case err == io.ErrShortBuffer: // longer than what was asked for: forged
		case err == evchan.ErrWouldBlock || err == evchan.ErrClosed:
			return nil
		default:
			// That nobody listens there is reported once for all that was sent.
			k.server.timedOut(now)
			for _, x := range k.takeAll() {
				if !x.done {
					x.refused(err, now)
				}
			}
		}
	}
	return nil
}

// received looks whose answer msg is.
func (k *udpSocket) received(msg []byte, now time.Time) {
	if len(msg) < headerSize {
		return
	}
	x := k.pending[uint16(msg[0])<<8|uint16(msg[1])]
	if x == nil {
		return // late, or forged
	}
	m := matchReply(msg, x.query)
	switch {
	case m == matchNone:
	case m == matchFold && !x.noMix && !k.server.noMix:
		x.folded(now)
	default:
		x.answered(append([]byte(nil), msg...), now)
	}
}

// takeAll returns what is pending, and forgets it.
func (k *udpSocket) takeAll() []*exchange {
	all := make([]*exchange, 0, len(k.pending))
	for _, x := range k.pending {
		all = append(all, x)
	}
	for _, x := range all {
		x.detach()
	}
	return all
}

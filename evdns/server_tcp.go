// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"

	"github.com/evchan/evchan"
	"golang.org/x/net/dns/dnsmessage"
)

func isUnsupported(err error) bool { return err != nil && errors.Is(err, evchan.ErrUnsupported) }

func (s *Server) listenTCP(on Network, network, address string) error {
	ln, err := on.Listen(network, address, &evchan.ListenConfig{
		Data:       s,
		Notify:     s.conf.Notify,
		ReusePort:  s.conf.ReusePort,
		MaxStreams: max(s.conf.MaxClients, 0),
		MaxInput:   maxMessage + 2,
		MaxOutput:  16 * (maxMessage + 2),
		ReadIdle:   s.conf.TCPIdle,
		WriteIdle:  s.conf.TCPIdle,
		Over:       s.conf.Over,
		Layer:      (*clientLayer)(s),
		Paused:     true, // until Serve has made all of s
	})
	if err == nil {
		s.listener = ln
	}
	return err
}

// A clientLayer is a server as the layer of streams that have no tcpClient yet.
type clientLayer Server

// Next gives the stream a layer of its own.
func (l *clientLayer) Next(src evchan.Source, _ evchan.Event) evchan.Event {
	s := (*Server)(l)
	stream, ok := src.(*evchan.Stream)
	if !ok {
		return nil
	}
	c := &tcpClient{s: s, stream: stream}
	c.from, c.to = addrPort(stream.RemoteAddr()), addrPort(stream.LocalAddr()).Addr()
	if stream.SetLayer(c) != nil {
		return nil
	}
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.clients[c] = struct{}{}
	}
	s.mu.Unlock()
	if closed {
		stream.Abort()
	}
	return nil
}

// addrPort returns the address of a TCP connection; the zero AddrPort of any other.
func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

// A tcpClient is the layer of a connection: it makes Requests of what arrives.
type tcpClient struct {
	s      *Server
	stream *evchan.Stream
	from   netip.AddrPort
	to     netip.Addr

	mu      sync.Mutex // guards the following
	open    int        // requests without a reply
	stopped bool       // there are too many
	ended   bool       // no more requests are taken: the client has sent its last one, or the loop is in Shutdown
}

// Next returns the next request.
func (c *tcpClient) Next(_ evchan.Source, ev evchan.Event) evchan.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch ev.(type) {
	case evchan.EOF:
		c.ended = true
	case evchan.Stopping:
		c.ended = true
		c.stream.Input().Reset() // what is not taken yet is not answered
	case evchan.TimedOut:
		// A client that waits for replies may be silent.
		if c.open == 0 || c.stream.TimedOut()&evchan.Write != 0 {
			c.stream.Abort()
			return nil
		}
		c.stream.Resume(evchan.Read)
	case evchan.Closed:
		return nil
	}
	in := c.stream.Input()
	for {
		if c.stopped = c.open >= c.s.conf.Pipeline; c.stopped {
			return nil
		}
		head, err := in.Peek(2)
		if err != nil {
			break
		}
		n := int(binary.BigEndian.Uint16(head))
		if in.Len() < 2+n {
			break
		}
		in.Discard(2)
		q := &Request{Server: c.s, Network: "tcp", From: c.from, To: c.to, client: c}
		q.msg = q.space[:min(n, len(q.space))]
		if n > len(q.space) {
			q.msg = make([]byte, n)
		}
		in.Read(q.msg)
		if n < headerSize {
			c.stream.Abort()
			return nil
		}
		rcode, ok := q.parse()
		if ok {
			c.open++
			return q
		}
		if rcode < 0 || c.send(q, dnsmessage.RCode(rcode)) != nil {
			c.stream.Abort()
			return nil
		}
	}
	if c.ended && c.open == 0 {
		c.stream.Close()
	}
	return nil
}

// End is called when the connection has ended.
func (c *tcpClient) End(evchan.Source) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	delete(c.s.clients, c)
}

// reply sends the reply to q.
func (c *tcpClient) reply(q *Request, rcode dnsmessage.RCode) error {
	err := c.send(q, rcode)
	if q.replied.Load() && err != errReplied {
		c.settled()
	}
	return err
}

// send sends the reply to q. q counts as answered unless a record cannot be sent.
func (c *tcpClient) send(q *Request, rcode dnsmessage.RCode) error {
	buf, err := q.appendReply(make([]byte, 2, 2+plainUDP), rcode, maxMessage)
	if err != nil {
		return err
	}
	if q.replied.Swap(true) {
		return errReplied
	}
	binary.BigEndian.PutUint16(buf, uint16(len(buf)-2))
	_, err = c.stream.WriteLater(buf)
	if err == evchan.ErrFull { // it does not read what it asks for
		c.stream.Abort()
	}
	return err
}

// settled notes that one request less is open.
func (c *tcpClient) settled() {
	c.mu.Lock()
	c.open--
	again := c.stopped || c.ended && c.open == 0
	c.mu.Unlock()
	if again {
		c.stream.Again()
	}
}

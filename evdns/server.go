// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/evchan/evchan"
)

// A ServerConfig sets up a [Server]. A nil ServerConfig and zero values mean the defaults. It is
// copied.
type ServerConfig struct {
	// Data is Server.Data.
	Data any

	// Notify is where requests are sent, as Notify of a source does; nil means the loop's own
	// way.
	Notify chan<- evchan.Event

	// UDPSize is the longest reply by UDP, in bytes, to clients that take so much; 0 means
	// 1232, which needs no fragments. It is at least 512. Clients that do not use EDNS get 512
	// bytes.
	UDPSize int

	// ReusePort lets several servers share an address, see evchan.PacketConfig.
	ReusePort bool

	// ReadBuffer and WriteBuffer are how many bytes the kernel may hold for the UDP socket; 0
	// means the system's default.
	ReadBuffer, WriteBuffer int

	// RateLimit is how many replies by UDP a network of clients gets in a second (/24 of IPv4,
	// /56 of IPv6), so that the server is of little use for attacks with forged senders. Every
	// second reply above that is a short one, which tells a real client to use TCP; the others
	// are not sent. 0 means no limit.
	RateLimit int

	// MaxClients is how many TCP connections there may be; 0 means 128; if negative, there is no
	// limit. Others wait in the kernel.
	MaxClients int

	// Pipeline is how many requests of one TCP connection may be unanswered; 0 means 64. The
	// next ones wait.
	Pipeline int

	// TCPIdle is how long a TCP connection may be silent, or not take what it is sent,
	// until it is closed; 0 means 10 seconds.
	TCPIdle time.Duration

	// Over puts encryption on top of each TCP connection, as in evchan.ListenConfig: evtls.Over,
	// for example. The port of DNS over TLS is 853.
	Over func(*evchan.Stream) (*evchan.Stream, error)
}

// A Network makes listening sockets. A loop is one, and so is a group of loops: its requests
// are messages of all loops of the group.
type Network interface {
	Listen(network, address string, conf *evchan.ListenConfig) (*evchan.Listener, error)
	ListenPacket(network, address string, conf *evchan.PacketConfig) (*evchan.PacketConn, error)
}

// A Server answers questions of DNS: each arrives as a [Request]. It is made by [Serve].
//
// All methods are safe for concurrent use, and none of them waits.
type Server struct {
	// Data is for the user; the package does not touch it.
	Data any

	conf     ServerConfig
	socket   *evchan.PacketConn // nil: none
	listener *evchan.Listener   // nil: none

	mu      sync.Mutex // guards the following
	closed  bool
	sockets []*udpServer // of which requests have come
	clients map[*tcpClient]struct{}
}

// Serve returns a server on an address. The network is udp or tcp, with a 4 or a 6 behind it
// for one family; dns, dns4 and dns6 are both UDP and TCP. For port 0 the system chooses a
// port; with dns, it is the same for both.
func Serve(on Network, network, address string, conf *ServerConfig) (*Server, error) {
	if on == nil {
		return nil, errorf("no loop")
	}
	s := &Server{clients: make(map[*tcpClient]struct{})}
	if conf != nil {
		s.conf = *conf
	}
	s.Data = s.conf.Data
	s.conf.UDPSize = max(s.conf.UDPSize, 0)
	pick(&s.conf.UDPSize, 1232)
	s.conf.UDPSize = min(max(s.conf.UDPSize, plainUDP), maxMessage)
	pick(&s.conf.MaxClients, 128)
	pick(&s.conf.Pipeline, 64)
	pick(&s.conf.TCPIdle, 10*time.Second)
	if len(network) < 3 {
		return nil, net.UnknownNetworkError(network)
	}
	kind, family := network[:3], network[3:]
	if family != "" && family != "4" && family != "6" {
		return nil, net.UnknownNetworkError(network)
	}
	var err error
	switch kind {
	case "udp":
		err = s.listenUDP(on, network, address)
	case "tcp":
		err = s.listenTCP(on, network, address)
	case "dns":
		err = s.listenBoth(on, family, address)
	default:
		err = net.UnknownNetworkError(network)
	}
	if err != nil {
		return nil, err
	}
	if s.socket != nil {
		s.socket.Resume()
	}
	if s.listener != nil {
		s.listener.Resume()
	}
	return s, nil
}

// listenBoth listens on the same port of UDP and TCP.
func (s *Server) listenBoth(on Network, family, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	const tries = 10 // the port that the system has chosen for UDP may be taken for TCP; arbitrary
	for i := 0; ; i++ {
		if err := s.listenUDP(on, "udp"+family, address); err != nil {
			return err
		}
		_, chosen, _ := net.SplitHostPort(s.socket.LocalAddr().String())
		err := s.listenTCP(on, "tcp"+family, net.JoinHostPort(host, chosen))
		if err == nil {
			return nil
		}
		s.socket.Close()
		if port != "0" && port != "" || i == tries {
			return err
		}
	}
}

// Addr returns the server's address, of UDP if it serves both.
func (s *Server) Addr() net.Addr {
	if s.socket != nil {
		return s.socket.LocalAddr()
	}
	return s.listener.Addr()
}

// SetPriority sets the lane of the loop in which requests arrive. Connections that
// exist stay in theirs.
func (s *Server) SetPriority(p int) error {
	if s.socket != nil {
		if err := s.socket.SetPriority(p); err != nil {
			return err
		}
	}
	if s.listener != nil {
		return s.listener.SetPriority(p)
	}
	return nil
}

// Close ends the server. Requests that were not received are taken back. Those that were
// received and not answered cannot be answered any more by UDP; TCP connections
// close once what was replied is sent. Closing again returns nil.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	clients := s.clients
	s.clients = make(map[*tcpClient]struct{})
	sockets := s.sockets
	s.mu.Unlock()
	for _, u := range sockets {
		u.flush()
	}
	if s.socket != nil {
		s.socket.Close()
	}
	if s.listener != nil {
		s.listener.Close()
	}
	for c := range clients {
		c.stream.Close()
	}
	return nil
}

// clientNet returns the network that counts for RateLimit.
func clientNet(a netip.Addr) netip.Addr {
	bits := 24
	if a.Is6() {
		bits = 56
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return a
	}
	return p.Addr()
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"
)

// LocalAddr returns the stream's own address in the types of package net, or nil if
// it has none. It stays the same when the stream has ended.
func (s *Stream) LocalAddr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.extra != nil && s.extra.under != nil {
		return s.extra.under.LocalAddr()
	}
	if s.extra != nil && s.extra.local != nil {
		return s.extra.local
	}
	if !s.gone() {
		if a := s.sock.localAddr(); a != nil {
			s.more().local = a
			return a
		}
	}
	if s.listener != nil {
		return s.listener.Addr()
	}
	return nil
}

// keepLocalAddr keeps the address of an accepted stream, whose descriptor is about to be let
// go, if it is not its listener's. Caller holds s.mu.
func (s *Stream) keepLocalAddr() {
	if s.listener == nil || !s.listener.anyAddr || s.sock.fd == noFD || s.extra != nil && s.extra.local != nil {
		return
	}
	if a := s.sock.localAddr(); a != nil {
		s.more().local = a
	}
}

// RemoteAddr returns the peer's address in the types of package net, or nil if it
// has none. It stays the same when the stream has ended.
func (s *Stream) RemoteAddr() net.Addr {
	if s.remote.size != 0 {
		return s.remote.addr()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.remoteAddr()
}

// remoteAddr is RemoteAddr. Caller holds s.mu.
func (s *Stream) remoteAddr() net.Addr {
	switch {
	case s.remote.size != 0:
		return s.remote.addr()
	case s.extra != nil && s.extra.under != nil:
		return s.extra.under.RemoteAddr()
	case s.extra != nil && s.extra.remote != nil:
		return s.extra.remote
	case s.listener != nil && s.listener.addr.Network() == "unix":
		return &net.UnixAddr{Net: "unix"} // what package net returns for an unnamed peer
	}
	return nil
}

// opError wraps err, with which the operation op has failed, as package net would.
// Caller holds s.mu.
func (s *Stream) opError(op string, err error) error {
	switch e := err.(type) {
	case *net.OpError:
		return e // from the stream below
	case sysErrno:
		err = os.NewSyscallError(op, portable(e))
	}
	e := &net.OpError{Op: op, Net: "fd", Addr: s.remoteAddr(), Err: err}
	if e.Addr != nil {
		e.Net = e.Addr.Network()
	}
	if s.listener != nil {
		e.Source = s.listener.addr
	} else if s.extra != nil {
		e.Source = s.extra.local
	}
	return e
}

// addrString returns a.String(), or "-" if a is nil.
func addrString(a net.Addr) string {
	if a == nil {
		return "-"
	}
	return a.String()
}

// A peerAddr is the TCP address of an accepted stream's peer, in less memory than a
// net.Addr and without a pointer.
type peerAddr struct {
	ip   [16]byte
	zone uint32 // the index of the interface; 0: none
	port uint16
	size uint8 // bytes of ip in use: 4 or 16; 0: there is no address
}

// addr returns a as a *net.TCPAddr.
func (a peerAddr) addr() net.Addr { return net.TCPAddrFromAddrPort(a.addrPort()) }

// addrPort returns a as an AddrPort, the zero one if there is no address.
func (a peerAddr) addrPort() netip.AddrPort {
	switch a.size {
	case 4:
		return addrPort(netip.AddrFrom4([4]byte(a.ip[:4])), 0, a.port)
	case 16:
		return addrPort(netip.AddrFrom16(a.ip), a.zone, a.port)
	}
	return netip.AddrPort{}
}

// addrPort joins ip, the zone with that index if ip can have one, and port.
func addrPort(ip netip.Addr, zone uint32, port uint16) netip.AddrPort {
	ip = ip.Unmap()
	if zone != 0 && ip.Is6() {
		ip = ip.WithZone(zones.name(int(zone)))
	}
	return netip.AddrPortFrom(ip, port)
}

// hasZone reports whether ip is an IPv6 address that is good on one network only, which
// its zone names.
func hasZone(ip netip.Addr) bool {
	return ip.Is6() && (ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast() || ip.IsInterfaceLocalMulticast())
}

// zones translates the zones of IPv6 addresses, which are network interfaces, without
// asking the system for each datagram.
var zones zoneCache

// How long the interfaces are taken to be unchanged, and how long one that is not known
// is taken not to exist: a datagram must not cost a question to the system. Arbitrary.
const (
	zoneAge   = time.Minute
	zoneRetry = time.Second
)

// A zoneCache has the names and indexes of the network interfaces.
type zoneCache struct {
	mu      sync.Mutex // guards following
	asked   time.Time  // when the system was asked last
	names   map[int]string
	indexes map[string]int
}

// name returns the name of the interface with the given index, which is not 0; the
// index in digits if there is no such interface.
func (z *zoneCache) name(index int) string {
	z.mu.Lock()
	defer z.mu.Unlock()
	name, ok := z.names[index]
	if z.stale(ok) {
		z.refresh()
		name, ok = z.names[index]
	}
	if !ok {
		return itoa(index)
	}
	return name
}

// index returns the index of the interface with the given name, which may also be an
// index in digits. It returns false if name is neither.
func (z *zoneCache) index(name string) (int, bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	index, ok := z.indexes[name]
	if z.stale(ok) {
		z.refresh()
		index, ok = z.indexes[name]
	}
	if !ok {
		n, err := strconv.ParseUint(name, 10, 31)
		return int(n), err == nil
	}
	return index, true
}

// stale reports whether the system has to be asked about an interface that is known, or
// not. Caller holds z.mu.
func (z *zoneCache) stale(known bool) bool {
	age := time.Since(z.asked)
	return age > zoneAge || !known && age > zoneRetry
}

// refresh asks the system. If that fails, no interface is known. Caller holds z.mu.
func (z *zoneCache) refresh() {
	z.asked = time.Now()
	z.names, z.indexes = make(map[int]string), make(map[string]int)
	all, err := net.Interfaces()
	if err != nil {
		return
	}
	for _, i := range all {
		z.names[i.Index] = i.Name
		z.indexes[i.Name] = i.Index
	}
}

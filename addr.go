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

// LocalAddr returns the address of the stream's near end, as package net gives
// it; nil if it has none.
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
			return a
		}
	}
	if s.listener != nil {
		return s.listener.Addr()
	}
	return nil
}

// RemoteAddr returns the address of the stream's far end, as package net gives
// it; nil if it has none. It is still there after the end.
func (s *Stream) RemoteAddr() net.Addr {
	if s.remote.size != 0 {
		return s.remote.addr()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.remoteAddr()
}

// remoteAddr is RemoteAddr with mu held.
func (s *Stream) remoteAddr() net.Addr {
	switch {
	case s.remote.size != 0:
		return s.remote.addr()
	case s.extra != nil && s.extra.under != nil:
		return s.extra.under.RemoteAddr()
	case s.extra != nil && s.extra.remote != nil:
		return s.extra.remote
	case s.listener != nil && s.listener.addr.Network() == "unix":
		return &net.UnixAddr{Net: "unix"} // package net gives an unnamed peer so
	}
	return nil
}

// opError returns err, which the operation op has met with, as package net
// would return it. mu is held.
func (s *Stream) opError(op string, err error) error {
	switch e := err.(type) {
	case *net.OpError:
		return e // it comes from the stream below
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

// addrString returns what a calls itself, "-" for nil.
func addrString(a net.Addr) string {
	if a == nil {
		return "-"
	}
	return a.String()
}

// A peerAddr is the TCP address of an accepted stream's peer, small.
type peerAddr struct {
	ip   [16]byte
	zone uint32 // index of the interface; 0: none
	port uint16
	size uint8 // of the address: 4, 16; 0: there is none
}

// addr returns a as package net gives it.
func (a peerAddr) addr() net.Addr { return net.TCPAddrFromAddrPort(a.addrPort()) }

// addrPort returns a; the zero AddrPort if there is none.
func (a peerAddr) addrPort() netip.AddrPort {
	switch a.size {
	case 4:
		return addrPort(netip.AddrFrom4([4]byte(a.ip[:4])), 0, a.port)
	case 16:
		return addrPort(netip.AddrFrom16(a.ip), a.zone, a.port)
	}
	return netip.AddrPort{}
}

// addrPort returns an address, with the zone's name if it has one, and port.
func addrPort(ip netip.Addr, zone uint32, port uint16) netip.AddrPort {
	ip = ip.Unmap()
	if zone != 0 && ip.Is6() {
		ip = ip.WithZone(zones.name(int(zone)))
	}
	return netip.AddrPortFrom(ip, port)
}

// zones knows the zones of IPv6 addresses, which are the system's network
// interfaces, so that not every datagram asks the system for them.
var zones zoneCache

// zoneAge is how long the interfaces are believed to be as they were. Arbitrary.
const zoneAge = time.Minute

// A zoneCache remembers the names and numbers of network interfaces.
type zoneCache struct {
	mu      sync.Mutex // guards following
	asked   time.Time  // when the system was asked
	names   map[int]string
	indexes map[string]int
}

// name returns the name of the zone with the number index, which is not 0: the
// number in digits if there is no such interface.
func (z *zoneCache) name(index int) string {
	z.mu.Lock()
	defer z.mu.Unlock()
	name, ok := z.names[index]
	if !ok || time.Since(z.asked) > zoneAge {
		z.refresh()
		if name, ok = z.names[index]; !ok {
			return itoa(index)
		}
	}
	return name
}

// index returns the number of the zone, which may be a name or a number in
// digits. It returns false if it is neither.
func (z *zoneCache) index(name string) (int, bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	index, ok := z.indexes[name]
	if !ok || time.Since(z.asked) > zoneAge {
		z.refresh()
		if index, ok = z.indexes[name]; !ok {
			n, err := strconv.ParseUint(name, 10, 31)
			return int(n), err == nil
		}
	}
	return index, true
}

// refresh asks the system. If that fails, no interface is known. mu is held.
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

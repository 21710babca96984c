// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"net/netip"
	"os"
	"slices"
	"time"
)

// checkInterval is how often the system's files are looked at, at most. Package net does the
// same.
const checkInterval = 5 * time.Second

// A system is what the system's files say about names. The files are read again when
// they have changed. The resolver's lock guards it.
type system struct {
	resolvPath, hostsPath, switchPath string // "": not used

	checked time.Time
	states  [3]fileState

	resolv *resolvConf
	hosts  *hosts
	order  lookupOrder
	fresh  bool  // resolv is new since take was called last
	err    error // why resolvPath could not be read
}

// A fileState tells whether a file has changed.
type fileState struct {
	modified time.Time
	size     int64
}

func stateOf(path string) (s fileState) {
	if path == "" {
		return s
	}
	if fi, err := os.Stat(path); err == nil {
		s = fileState{fi.ModTime(), fi.Size()}
	}
	return s
}

// update reads the files again if they have changed and were not looked at for a while.
func (s *system) update(now time.Time) {
	if s.resolv != nil && (s.resolv.noReload || now.Sub(s.checked) < checkInterval) {
		return
	}
	s.checked = now
	states := [3]fileState{stateOf(s.resolvPath), stateOf(s.hostsPath), stateOf(s.switchPath)}
	if s.resolv == nil || states[0] != s.states[0] || s.resolvPath == "" {
		s.readResolv()
	}
	if s.hosts == nil || states[1] != s.states[1] {
		s.readHosts()
	}
	if states[1] != s.states[1] || states[2] != s.states[2] || s.fresh {
		s.readOrder()
	}
	s.states = states
}

func (s *system) readResolv() {
	old := s.resolv
	s.resolv, s.err = &resolvConf{ndots: -1}, nil
	if s.resolvPath == "" {
		s.resolv.servers = systemServers()
	} else if file, err := os.Open(s.resolvPath); err != nil {
		s.err = err
	} else {
		s.resolv = parseResolvConf(file)
		file.Close()
	}
	if len(s.resolv.search) == 0 {
		s.resolv.search = hostDomain()
	}
	s.fresh = s.fresh || old == nil || s.resolvPath != "" || !slices.Equal(old.servers, s.resolv.servers)
}

func (s *system) readHosts() {
	s.hosts = &hosts{}
	if s.hostsPath == "" {
		return
	}
	if file, err := os.Open(s.hostsPath); err == nil {
		s.hosts = parseHosts(file)
		file.Close()
	}
}

func (s *system) readOrder() {
	s.order = filesDNS
	if order, ok := orderOf(s.resolv.lookup, "file", "bind"); ok {
		s.order = order
	}
	if s.switchPath == "" {
		return
	}
	if file, err := os.Open(s.switchPath); err == nil {
		if order, ok := parseNSSwitch(file); ok {
			s.order = order
		}
		file.Close()
	}
}

// defaultServers are asked if neither the configuration nor the system names one.
var defaultServers = []netip.AddrPort{
	netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 53),
	netip.AddrPortFrom(netip.IPv6Loopback(), 53),
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"net"
	"strconv"
	"sync"
	"time"
)

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

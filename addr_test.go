// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"net"
	"strconv"
	"testing"
)

func TestZones(t *testing.T) {
	all, err := net.Interfaces()
	if err != nil || len(all) == 0 {
		t.Skip("no interfaces are known: ", err)
	}
	var z zoneCache
	for range 2 { // from the system, then from the cache
		for _, i := range all {
			if name := z.name(i.Index); name != i.Name {
				t.Errorf("%d is %s; want %s", i.Index, name, i.Name)
			}
			if n, ok := z.index(i.Name); !ok || n != i.Index {
				t.Errorf("%s is %d, %v; want %d", i.Name, n, ok, i.Index)
			}
		}
	}
	if name := z.name(1 << 30); name != "1073741824" {
		t.Errorf("an interface that is not there is %q", name)
	}
	if n, ok := z.index("1073741824"); n != 1<<30 || !ok {
		t.Errorf("a number is %d, %v", n, ok)
	}
	for _, name := range []string{"nosuchzone", "", "-1", "4294967296"} {
		if _, ok := z.index(name); ok {
			t.Errorf("%q is known", name)
		}
	}
	// The system is not asked about each of many that are not there.
	for range 2 {
		z.asked = z.asked.Add(-zoneRetry / 4)
		asked := z.asked
		if z.name(1<<30) == "" || z.asked != asked {
			t.Error("the system was asked again")
		}
	}
	// A renamed interface is found by its new name after zoneRetry, by its number after
	// zoneAge.
	z.asked = z.asked.Add(-zoneRetry)
	z.names[all[0].Index], z.indexes = "old", map[string]int{"old": all[0].Index}
	if n, ok := z.index(all[0].Name); !ok || n != all[0].Index {
		t.Errorf("a new name is %d, %v", n, ok)
	}
	z.names[all[0].Index] = "old"
	z.asked = z.asked.Add(-2 * zoneAge)
	if name := z.name(all[0].Index); name != all[0].Name {
		t.Errorf("it is still %q", name)
	}
}

// What LocalAddr has returned is what it returns when the stream has ended, also where the
// listener's address is not the stream's.
func TestLocalAddrStays(t *testing.T) {
	l, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ln, err := l.Listen("tcp", ":0", nil)
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for ev := range l.All() {
		a, ok := ev.(Accepted)
		if !ok {
			continue
		}
		before := a.Stream.LocalAddr()
		a.Stream.Abort()
		if after := a.Stream.LocalAddr(); before.String() != c.RemoteAddr().String() || after != before {
			t.Errorf("%v, then %v; the peer says %v", before, after, c.RemoteAddr())
		}
		break
	}
}

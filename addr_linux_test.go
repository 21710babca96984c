// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FuzzSockaddr takes any bytes and any length for a sockaddr of the kernel's, and what
// comes of it for the address of an answer.
func FuzzSockaddr(f *testing.F) {
	family := func(n uint16, rest ...byte) []byte { return append(binary.NativeEndian.AppendUint16(nil, n), rest...) }
	path := func(s string) []byte { return family(unix.AF_UNIX, []byte(s)...) }
	v6 := func(ip string, zone uint32) []byte {
		b := family(unix.AF_INET6, 0x1f, 0x90, 0, 0, 0, 0)
		a := netip.MustParseAddr(ip).As16()
		return binary.NativeEndian.AppendUint32(append(b, a[:]...), zone)
	}
	full := strings.Repeat("x", len(unix.RawSockaddrUnix{}.Path))
	for _, seed := range [][]byte{
		nil, family(unix.AF_INET), family(unix.AF_INET, 0, 80, 127, 0, 0, 1), family(unix.AF_INET, 0, 80, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0),
		v6("::1", 0), v6("fe80::1", 1), v6("fe80::1", 1<<31), v6("fe80::1", 1<<32-1), v6("::ffff:10.0.0.1", 1),
		path(""), path("\x00"), path("\x00abstract"), path("\x00a\x00b"), path("/run/x\x00"), path("/run/x\x00\x00y"), path("@\x00"),
		path(full), path(full[1:] + "\x00"), path("\x00" + full[1:]), family(1000, 1, 2, 3),
	} {
		f.Add(seed, uint32(len(seed)))
		f.Add(seed, uint32(len(seed)+1))
		f.Add(seed, uint32(1<<32-1))
	}

	six := &PacketConn{local: &net.UDPAddr{IP: net.IPv6loopback}, ipv6: true}
	four := &PacketConn{local: &net.UDPAddr{IP: net.IPv4zero}}
	uxgram := &PacketConn{local: &net.UnixAddr{Net: "unixgram"}}
	f.Fuzz(func(t *testing.T, raw []byte, size uint32) {
		var sa unix.RawSockaddrAny
		room := unsafe.Slice((*byte)(unsafe.Pointer(&sa)), unsafe.Sizeof(sa))
		raw = raw[:min(len(raw), int(size), len(room))]
		if copy(room, raw); len(raw) < 2 {
			size = 0 // the kernel gives a family or nothing
		}

		// IP, as it is in the bytes.
		var want netip.AddrPort
		var zone uint32
		port := binary.BigEndian.Uint16(room[2:])
		switch {
		case sa.Addr.Family == unix.AF_INET && size >= 16:
			want = netip.AddrPortFrom(netip.AddrFrom4([4]byte(room[4:])), port)
		case sa.Addr.Family == unix.AF_INET6 && size >= 28:
			ip := netip.AddrFrom16([16]byte(room[8:])).Unmap()
			if zone = binary.NativeEndian.Uint32(room[24:]); ip.Is4() {
				zone = 0
			}
			want = netip.AddrPortFrom(ip, port)
		}
		peer := peerOf((*unix.RawSockaddr)(unsafe.Pointer(&sa)), size)
		got := peer.addrPort()
		if (got.Addr().Zone() != "") != (zone != 0) || netip.AddrPortFrom(got.Addr().WithZone(""), got.Port()) != want {
			t.Fatalf("%x is %v; want %v, zone %d", raw, got, want, zone)
		}
		name := sockaddrName(&sa, size)
		if want.IsValid() {
			if name != "" {
				t.Fatalf("%x has the name %q", raw, name)
			}
			if a := peer.addr().(*net.TCPAddr); a.AddrPort() != got {
				t.Fatalf("%v is %v to package net", got, a)
			}
			socks := []*PacketConn{six}
			if want.Addr().Is4() {
				socks = append(socks, four)
			}
			for _, c := range socks {
				fuzzAnswer(t, c, got, zone)
			}
			return
		}

		// A name: to the first NUL or, if it begins with one, as long as the size says.
		long := raw[min(2, len(raw)):]
		long = append(bytes.Clone(long), make([]byte, max(0, min(int(size)-2, len(unix.RawSockaddrUnix{}.Path))-len(long)))...)
		long = long[:min(len(long), len(unix.RawSockaddrUnix{}.Path))]
		wantName := ""
		if size > 2 && sa.Addr.Family == unix.AF_UNIX {
			if long[0] == 0 {
				wantName = "@" + string(long[1:])
			} else {
				before, _, _ := bytes.Cut(long, []byte{0})
				wantName = string(before)
			}
		}
		if name != wantName {
			t.Fatalf("%x of %d bytes is %q, want %q", raw, size, name, wantName)
		}
		if name == "" {
			return
		}
		to, err := uxgram.netTarget(&net.UnixAddr{Name: name, Net: "unixgram"})
		must(t, err)
		var back unix.RawSockaddrAny
		n, err := putSockaddr(&back, &to)
		must(t, err)
		if again := sockaddrName(&back, n); again != name {
			t.Fatalf("%q has become %q", name, again)
		}
	})
}

// fuzzAnswer checks the sockaddr that c sends to a with.
func fuzzAnswer(t *testing.T, c *PacketConn, a netip.AddrPort, zone uint32) {
	to, err := c.target(a)
	if err != nil {
		if zone < 1<<31 || a == (netip.AddrPort{}) { // no interface has such a number
			t.Fatalf("no answer to %v: %v", a, err)
		}
		return
	}
	var sa unix.RawSockaddrAny
	n, err := putSockaddr(&sa, &to)
	must(t, err)
	p := unsafe.Slice((*byte)(unsafe.Pointer(&sa)), n)
	if port := binary.BigEndian.Uint16(p[2:]); port != a.Port() {
		t.Fatalf("%v: port %d", a, port)
	}
	ip, scope := a.Addr().WithZone(""), uint32(0)
	switch {
	case c.ipv6 && n == 28 && sa.Addr.Family == unix.AF_INET6:
		scope = binary.NativeEndian.Uint32(p[24:])
		if netip.AddrFrom16([16]byte(p[8:])).Unmap() != ip {
			t.Fatalf("%v: %x", a, p)
		}
	case !c.ipv6 && n == 16 && sa.Addr.Family == unix.AF_INET:
		if netip.AddrFrom4([4]byte(p[4:])) != ip {
			t.Fatalf("%v: %x", a, p)
		}
	default:
		t.Fatalf("%v: %x", a, p)
	}
	if scope != zone {
		t.Fatalf("%v: scope %d, want %d", a, scope, zone)
	}
}

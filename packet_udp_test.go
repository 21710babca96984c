// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ---- Where the kind of socket matters ----

func TestPacketConnUDP(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"BothFamilies":        testPacketFamilies,
		"BufferIsUsedAgain":   testPacketBufferAgain,
		"Zones":               testPacketZones,
		"StandardPeer":        testPacketStandardPeer,
		"Wrap":                testPacketWrap,
		"Connected":           testPacketConnected,
		"RefusedIsAttributed": testPacketRefused,
		"BadArguments":        testPacketBadArguments,
	})
	onMethods(t, Config{ExitOnEmpty: true}, map[string]func(*testing.T, *Loop){
		"LiveUntilPaused": testPacketLive,
	})
}

// A socket for both families returns IPv4 addresses in their IPv4 form, and sends to
// either form.
func testPacketFamilies(t *testing.T, l *Loop) {
	both, four := listenPacket(t, l, "udp"), listenPacket(t, l, "udp4")
	if !both.ipv6 {
		t.Skip("no IPv6 here")
	}
	six := listenPacket(t, l, "udp6")
	mapped := func(a netip.AddrPort) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
	}
	p := make([]byte, 9)
	for _, to := range []netip.AddrPort{localPort(four), mapped(localPort(four)), localPort(six)} {
		peer := four
		if to.Addr().Unmap().Is6() {
			peer = six
		}
		if _, err := both.WriteToAddrPort([]byte("1"), to); err != nil {
			t.Fatalf("to %v: %v", to, err)
		}
		nextPackets(t, l, peer)
		_, from, err := peer.ReadFromAddrPort(p)
		if err != nil || from.Port() != localPort(both).Port() {
			t.Errorf("from %v, %v", from, err)
		}
		if _, err := peer.WriteToAddrPort([]byte("2"), from); err != nil {
			t.Fatal(err)
		}
		nextPackets(t, l, both)
		if _, from, err := both.ReadFromAddrPort(p); err != nil || from != localPort(peer) {
			t.Errorf("from %v, %v; want %v", from, err, localPort(peer))
		}
	}
	if _, err := four.WriteToAddrPort([]byte("3"), mapped(localPort(both))); err != nil {
		t.Error(err)
	}
	nextPackets(t, l, both)
	// A UDPAddr without an IP address is this host, as in package net.
	if _, err := four.WriteTo([]byte("4"), &net.UDPAddr{Port: int(localPort(both).Port())}); err != nil {
		t.Error(err)
	}
	nextPackets(t, l, both)
	mustRead(t, both, "3")
	mustRead(t, both, "4")
}

// A connection that is closed with unread datagrams leaves a batch that the next
// connection can use.
func testPacketBufferAgain(t *testing.T, l *Loop) {
	for _, network := range []string{"udp4", "udp6"} {
		a, b := listenPacket(t, l, network), listenPacket(t, l, network)
		for i := range 9 {
			sendTo(t, a, b, fmt.Sprint(i))
		}
		nextPackets(t, l, b)
		for i := range map[string]int{"udp4": 2, "udp6": 9}[network] {
			if from := mustRead(t, b, fmt.Sprint(i)); from.String() != a.LocalAddr().String() {
				t.Errorf("from %v; want %v", from, a.LocalAddr())
			}
		}
		b.Close()
		a.Close()
	}
}

// Link-local addresses have the name of their interface as zone. To send, its number
// works as well.
func testPacketZones(t *testing.T, l *Loop) {
	local, index := linkLocal()
	if !local.IsValid() {
		t.Skip("no interface with a link-local address here")
	}
	a, err := l.ListenPacket("udp", netip.AddrPortFrom(local, 0).String(), nil)
	if err != nil {
		t.Skip("the address cannot be used: ", err)
	}
	to := a.LocalAddr().(*net.UDPAddr).AddrPort()
	p := make([]byte, 9)
	for _, zone := range []string{local.Zone(), itoa(index)} {
		if _, err := a.WriteToAddrPort([]byte("1"), netip.AddrPortFrom(to.Addr().WithZone(zone), to.Port())); err != nil {
			t.Fatal(err)
		}
		nextPackets(t, l, a)
		if _, from, err := a.ReadFromAddrPort(p); err != nil || from != to {
			t.Errorf("from %v, %v; want %v", from, err, to)
		}
	}
}

// Package net sends to and receives from a PacketConn.
func testPacketStandardPeer(t *testing.T, l *Loop) {
	c := listenPacket(t, l, "udp4")
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	p := make([]byte, 99)
	for _, data := range []string{"1", "", string(pattern(99))} {
		sendTo(t, pc, c, data)
		nextPackets(t, l, c)
		from := mustRead(t, c, data)
		if from.String() != pc.LocalAddr().String() {
			t.Errorf("from %v", from)
		}
		if n, err := c.WriteTo([]byte(data), from); n != len(data) || err != nil {
			t.Errorf("WriteTo gives %d, %v", n, err)
		}
		pc.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, from, err := pc.ReadFrom(p); err != nil || string(p[:n]) != data || from.String() != c.LocalAddr().String() {
			t.Errorf("the peer got %q from %v, %v", p[:n], from, err)
		}
	}
}

func testPacketWrap(t *testing.T, l *Loop) {
	path := filepath.Join(shortDir(t), "s")
	for network, address := range map[string]string{"udp": "127.0.0.1:0", "unixgram": path} {
		pc, err := net.ListenPacket(network, address)
		if err != nil {
			t.Fatal(err)
		}
		pc.WriteTo([]byte("early"), pc.LocalAddr())
		c, err := l.WrapPacketConn(pc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pc.WriteTo([]byte("x"), pc.LocalAddr()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the net.PacketConn still sends: %v", err)
		}
		nextPackets(t, l, c)
		mustRead(t, c, "early")
		c.Close()
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the file of a wrapped socket is not as package net leaves it: %v", err)
	}

	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	p, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	syscall.Close(p[1])
	f := os.NewFile(uintptr(p[0]), "stream")
	defer f.Close()
	stream, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if _, err := l.WrapPacketConn(stream.(net.PacketConn)); !errors.Is(err, ErrUnsupported) {
		t.Errorf("WrapPacketConn of a stream gives %v", err)
	}
	if _, err := l.WrapPacketConn(nil); err == nil {
		t.Error("WrapPacketConn of nil gives no error")
	}
	var none *net.UDPConn
	if _, err := l.WrapPacketConn(none); err == nil {
		t.Error("WrapPacketConn of a nil *net.UDPConn gives no error")
	}
	if n := l.Stats().Sources; n != 0 {
		t.Errorf("%d live sources are left", n)
	}
}

// dialPacket returns a packet connection that is connected to address.
func dialPacket(t *testing.T, l *Loop, network, address string) *PacketConn {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.WrapPacketConn(conn.(net.PacketConn))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testPacketConnected(t *testing.T, l *Loop) {
	for _, network := range []string{"udp4", "udp6", "unixgram"} {
		if network == "udp6" && !listenPacket(t, l, "udp").ipv6 {
			continue // no IPv6 here
		}
		server, other := listenPacket(t, l, network), listenPacket(t, l, network)
		c := dialPacket(t, l, network, server.LocalAddr().String())
		if c.RemoteAddr().String() != server.LocalAddr().String() || server.RemoteAddr() != nil {
			t.Errorf("RemoteAddr is %v and %v", c.RemoteAddr(), server.RemoteAddr())
		}
		if n, err := c.WriteTo([]byte("1"), nil); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if n, err := c.WriteToAddrPort([]byte("2"), netip.AddrPort{}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if n, err := c.WriteBatch([]Datagram{{Data: []byte("3")}, {}}); n != 2 || err != nil {
			t.Fatal(n, err)
		}
		nextPackets(t, l, server)
		from := mustRead(t, server, "1")
		mustRead(t, server, "2")
		mustRead(t, server, "3")
		mustRead(t, server, "")
		if _, err := c.WriteTo(nil, other.LocalAddr()); !errors.Is(err, net.ErrWriteToConnected) {
			t.Errorf("to another: %v", err)
		}
		if _, err := c.WriteTo(nil, server.LocalAddr()); !errors.Is(err, net.ErrWriteToConnected) {
			t.Errorf("to the peer by its name: %v", err)
		}
		if network == "unixgram" {
			if from != nil {
				t.Errorf("a sender without a name is %v", from)
			}
			continue
		}
		if from.String() != c.LocalAddr().String() {
			t.Errorf("from %v", from)
		}
		server.WriteTo([]byte("4"), from)
		nextPackets(t, l, c)
		if from := mustRead(t, c, "4"); from.String() != server.LocalAddr().String() {
			t.Errorf("from %v", from)
		}
	}
	noMessage(t, l)
}

// A refusal is an error of one call, and does not disturb the others.
func testPacketRefused(t *testing.T, l *Loop) {
	gone := listenPacket(t, l, "udp4")
	nobody := localPort(gone)
	gone.Close()
	refused := func(err error, op string) {
		t.Helper()
		var e *net.OpError
		var call *os.SyscallError
		if !errors.Is(err, syscall.ECONNREFUSED) || !errors.As(err, &e) || !errors.As(err, &call) || e.Op != op || e.Net != "udp" {
			t.Errorf("%s gives %v", op, err)
		}
	}

	// The kernel reports nothing to a socket that is not connected.
	a, b := listenPacket(t, l, "udp4"), listenPacket(t, l, "udp4")
	for range 3 {
		if _, err := a.WriteToAddrPort([]byte("x"), nobody); err != nil {
			t.Error(err)
		}
		sendTo(t, a, b, "1")
		nextPackets(t, l, b)
		mustRead(t, b, "1")
	}
	noMessage(t, l)
	mustBlock(t, a)

	if runtime.GOOS != "linux" {
		t.Log("whether a refusal comes at once is tested on Linux only")
		return
	}
	c := dialPacket(t, l, "udp4", nobody.String())
	for _, direct := range []bool{false, true} {
		c.direct = direct
		for range 3 {
			// The next write returns it and sends nothing; the one after that sends.
			if _, err := c.WriteTo([]byte("1"), nil); err != nil {
				t.Fatal(err)
			}
			_, err := c.WriteTo([]byte("2"), nil)
			refused(err, "write")
			// If no write comes, a Packets follows, and a read returns it.
			if _, err := c.WriteTo([]byte("3"), nil); err != nil {
				t.Fatal(err)
			}
			nextPackets(t, l, c)
			_, _, err = c.ReadFrom(make([]byte, 9))
			refused(err, "read")
			noMessage(t, l)
			mustBlock(t, c)
		}
	}

	// It does not hide datagrams.
	back, err := l.ListenPacket("udp4", nobody.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c.direct = false
	peer := c.LocalAddr().(*net.UDPAddr).AddrPort()
	for range 3 {
		for i := range 3 {
			if _, err := back.WriteToAddrPort([]byte(fmt.Sprint(i)), peer); err != nil {
				t.Fatal(err)
			}
		}
		back.Close()
		c.WriteTo([]byte("x"), nil)
		var got []string
		p := make([]byte, 9)
		for len(got) < 4 {
			nextPackets(t, l, c)
			for {
				n, _, err := c.ReadFrom(p)
				if err == ErrWouldBlock {
					break
				}
				if err != nil {
					refused(err, "read")
					got = append(got, "refused")
				} else {
					got = append(got, string(p[:n]))
				}
			}
		}
		if s := strings.ReplaceAll(strings.Join(got, " "), "refused", ""); len(got) != 4 || strings.Join(strings.Fields(s), "") != "012" {
			t.Errorf("got %q", got)
		}
		if back, err = l.ListenPacket("udp4", nobody.String(), nil); err != nil {
			t.Fatal(err)
		}
	}
}

func testPacketBadArguments(t *testing.T, l *Loop) {
	open := func(network, address string) error {
		c, err := l.ListenPacket(network, address, nil)
		if err == nil {
			c.Close()
		}
		return err
	}
	udp4, unixgram := listenPacket(t, l, "udp4"), listenPacket(t, l, "unixgram")
	taken := udp4.LocalAddr().String()
	port := func(c *PacketConn, addr string) error {
		var a netip.AddrPort
		if addr != "" {
			a = netip.MustParseAddrPort(addr)
		}
		_, err := c.WriteToAddrPort([]byte("x"), a)
		return err
	}
	to := func(c *PacketConn, a net.Addr) error { _, err := c.WriteTo([]byte("x"), a); return err }
	var nilUDP *net.UDPAddr
	var nilUnix *net.UnixAddr
	cases := []struct {
		name string
		err  error
		is   error  // if not nil, what the error must be
		says string // what it must mention
	}{
		{"bad network", open("tcp", "127.0.0.1:0"), net.UnknownNetworkError("tcp"), "tcp"},
		{"no network", open("", "127.0.0.1:0"), net.UnknownNetworkError(""), "listen"},
		{"unixpacket", open("unixpacket", "/nowhere"), net.UnknownNetworkError("unixpacket"), "unixpacket"},
		{"bad port", open("udp", "127.0.0.1:99999"), nil, "99999"},
		{"no port", open("udp", "127.0.0.1"), nil, "missing port"},
		{"port in use", open("udp4", taken), syscall.EADDRINUSE, taken},
		{"wrong family", open("udp4", "[::1]:0"), nil, "suitable"},
		{"long path", open("unixgram", strings.Repeat("x", 200)), syscall.EINVAL, "invalid argument"},
		{"zero AddrPort", port(udp4, ""), errNoTarget, "missing address"},
		{"AddrPort without address", func() error {
			_, err := udp4.WriteToAddrPort(nil, netip.AddrPortFrom(netip.Addr{}, 9))
			return err
		}(), nil, "port without an address"},
		{"IPv6 from udp4", port(udp4, "[::1]:9"), nil, "non-IPv4 address"},
		{"port 0", port(udp4, "127.0.0.1:0"), syscall.EINVAL, "127.0.0.1:0"},
		{"AddrPort to unixgram", port(unixgram, "127.0.0.1:9"), nil, "unixgram"},
		{"nil address", to(udp4, nil), errNoTarget, "missing address"},
		{"nil UDPAddr", to(udp4, nilUDP), errNoTarget, "missing address"},
		{"nil UnixAddr", to(unixgram, nilUnix), errNoTarget, "missing address"},
		{"empty UnixAddr", to(unixgram, &net.UnixAddr{Net: "unixgram"}), errNoTarget, "missing address"},
		{"TCPAddr", to(udp4, &net.TCPAddr{}), nil, "TCPAddr"},
		{"UnixAddr to udp", to(udp4, unixgram.LocalAddr()), nil, "udp"},
		{"UnixAddr of a stream", to(unixgram, &net.UnixAddr{Name: "/x", Net: "unix"}), nil, "unixgram"},
		{"UDPAddr to unixgram", to(unixgram, udp4.LocalAddr()), nil, "unixgram"},
		{"odd IP", to(udp4, &net.UDPAddr{IP: net.IP{1, 2, 3}, Port: 9}), nil, "without an address"},
		{"nobody there", to(unixgram, &net.UnixAddr{Name: "/nowhere", Net: "unixgram"}), syscall.ENOENT, "/nowhere"},
		{"long name", to(unixgram, &net.UnixAddr{Name: strings.Repeat("x", 200), Net: "unixgram"}), syscall.EINVAL, "xxx"},
	}
	if both := listenPacket(t, l, "udp"); both.ipv6 {
		udp6 := listenPacket(t, l, "udp6")
		cases = append(cases, []struct {
			name string
			err  error
			is   error
			says string
		}{
			{"no such zone", port(udp6, "[fe80::1%nosuchzone]:9"), nil, "zone"},
		}...)
		if wild, err := l.ListenPacket("udp6", ":0", nil); err == nil {
			cases = append(cases, []struct {
				name string
				err  error
				is   error
				says string
			}{
				{"IPv4 from udp6", port(wild, "127.0.0.1:9"), nil, "non-IPv6 address"},
				{"mapped from udp6", port(wild, "[::ffff:127.0.0.1]:9"), nil, "non-IPv6 address"},
			}...)
			wild.Close()
		}
		udp6.Close()
		both.Close()
	}
	for _, c := range cases {
		var op *net.OpError
		switch {
		case c.err == nil:
			t.Errorf("%s: no error", c.name)
		case !errors.As(c.err, &op):
			t.Errorf("%s: %v is no *net.OpError", c.name, c.err)
		case c.is != nil && !errors.Is(c.err, c.is):
			t.Errorf("%s: %v is not %v", c.name, c.err, c.is)
		case !strings.Contains(c.err.Error(), c.says):
			t.Errorf("%s: %q does not mention %q", c.name, c.err, c.says)
		}
	}
	udp4.Close()
	unixgram.Close()
	if n := l.Stats().Sources; n != 0 {
		t.Errorf("%d live sources are left", n)
	}
}

// A connection keeps the loop going, unless it is paused or closed.
func testPacketLive(t *testing.T, l *Loop) {
	a, b := listenPacket(t, l, "udp4"), listenPacket(t, l, "udp4")
	sendTo(t, a, b, "1")
	a.Pause()
	n := 0
	for ev := range l.All() {
		n++
		mustRead(t, ev.(Packets).Conn, "1")
		b.Pause()
	}
	if n != 1 {
		t.Errorf("%d messages", n)
	}
	b.Resume()
	sendTo(t, a, b, "2")
	for range l.All() {
		n++
		b.Close()
	}
	if n != 2 {
		t.Errorf("%d messages", n)
	}
}

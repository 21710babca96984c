// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/windows"
)

// Datagrams between two connections of the loop, since package net's sockets do not
// work under Wine. packet_test.go has the tests for the other systems.
func TestPacketConnWindows(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"udp4": func(t *testing.T, l *Loop) { testPackets(t, l, "udp4", "127.0.0.1:0") },
		"udp6": func(t *testing.T, l *Loop) { testPackets(t, l, "udp6", "[::1]:0") },
		"udp":  func(t *testing.T, l *Loop) { testPackets(t, l, "udp", ":0") },
		"unixgram": func(t *testing.T, l *Loop) {
			if _, err := l.ListenPacket("unixgram", "x", nil); !errors.Is(err, ErrUnsupported) {
				t.Errorf("the error is %v", err)
			}
		},
		// A wildcard of either family stands for both, as in package net.
		"udpAny4": func(t *testing.T, l *Loop) { testBothFamilies(t, l, "0.0.0.0:0") },
		"udpAny6": func(t *testing.T, l *Loop) { testBothFamilies(t, l, "[::]:0") },
		"Config": func(t *testing.T, l *Loop) {
			if _, err := l.ListenPacket("udp4", "127.0.0.1:0", &PacketConfig{ReusePort: true}); !errors.Is(err, ErrUnsupported) {
				t.Errorf("ReusePort gives %v", err)
			}
			mine := errors.New("mine")
			conf := &PacketConfig{Control: func(string, string, syscall.RawConn) error { return mine }}
			if _, err := l.ListenPacket("udp4", "127.0.0.1:0", conf); !errors.Is(err, mine) {
				t.Errorf("an error of Control gives %v", err)
			}
			broadcast := 0
			conf = &PacketConfig{Data: "mine", Broadcast: true, ReadBuffer: 20 << 10, WriteBuffer: 20 << 10}
			conf.Control = func(network, address string, raw syscall.RawConn) (err error) {
				if network != "udp4" || address != "127.0.0.1:0" {
					t.Errorf("Control is called with %s, %s", network, address)
				}
				if e := raw.Control(func(fd uintptr) {
					broadcast, err = windows.GetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_BROADCAST)
				}); e != nil {
					return e
				}
				return err
			}
			c, err := l.ListenPacket("udp4", "127.0.0.1:0", conf)
			must(t, err)
			if c.Data != "mine" || broadcast == 0 {
				t.Errorf("Data is %v, SO_BROADCAST %d", c.Data, broadcast)
			}
			wild, err := l.ListenPacket("udp4", ":0", nil)
			must(t, err)
			if _, _, _, err := wild.ReadPacket(nil); !errors.Is(err, ErrUnsupported) {
				t.Errorf("ReadPacket gives %v", err)
			}
			at := c.LocalAddr().(*net.UDPAddr).AddrPort()
			if _, err := wild.WritePacket([]byte("x"), at, at.Addr()); !errors.Is(err, ErrUnsupported) {
				t.Errorf("WritePacket gives %v", err)
			}
			if _, err := c.WritePacket([]byte("x"), at, at.Addr()); err != nil {
				t.Errorf("WritePacket from the address of the socket gives %v", err)
			}
			if ev, _ := l.Poll(10 * time.Second); ev != Event(Packets{c}) {
				t.Fatalf("unexpected %v", ev)
			}
			if n, from, to, err := c.ReadPacket(make([]byte, 9)); n != 1 || from != at || to != at.Addr() || err != nil {
				t.Errorf("ReadPacket gives %d, %v, %v, %v", n, from, to, err)
			}
		},
		"InUse": func(t *testing.T, l *Loop) {
			a, err := l.ListenPacket("udp4", "127.0.0.1:0", nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = l.ListenPacket("udp4", a.LocalAddr().String(), nil)
			var op *net.OpError
			if !errors.Is(err, syscall.EADDRINUSE) || !errors.As(err, &op) {
				t.Errorf("the error is %v", err)
			}
		},
	})
}

// testBothFamilies listens on the address with network udp, and expects a socket for
// both families, and an error if one of them is in use.
func testBothFamilies(t *testing.T, l *Loop, address string) {
	six, err := l.ListenPacket("udp6", "[::1]:0", nil)
	if err != nil {
		t.Skip("no IPv6 here: ", err)
	}
	six.Close()
	c, err := l.ListenPacket("udp", address, nil)
	must(t, err)
	if !c.ipv6 || c.ipv6Only {
		t.Errorf("on %v: ipv6=%v, ipv6Only=%v", c.LocalAddr(), c.ipv6, c.ipv6Only)
	}
	port := c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	c.Close()

	c, err = l.ListenPacket("udp6", net.JoinHostPort("::", itoa(int(port))), nil)
	must(t, err)
	if _, err := l.ListenPacket("udp", net.JoinHostPort("", itoa(int(port))), nil); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("where half of it is in use the error is %v", err)
	}
	c.Close()
}

func testPackets(t *testing.T, l *Loop, network, address string) {
	open := func() *PacketConn {
		c, err := l.ListenPacket(network, address, nil)
		if err != nil {
			if network == "udp6" {
				t.Skip("no IPv6 here: ", err)
			}
			t.Fatal(err)
		}
		return c
	}
	a, b := open(), open()
	to := b.LocalAddr().(*net.UDPAddr).AddrPort()
	if to.Addr().IsUnspecified() {
		to = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), to.Port())
	}
	expect := func() {
		t.Helper()
		if ev, _ := l.Poll(10 * time.Second); ev != Event(Packets{b}) {
			t.Fatalf("unexpected %v", ev)
		}
	}
	buf := make([]byte, 1000)
	if _, _, err := b.ReadFromAddrPort(buf); err != ErrWouldBlock {
		t.Errorf("reading nothing: %v", err)
	}
	for _, p := range [][]byte{[]byte("abc"), {}, pattern(1000), pattern(1001)} {
		if n, err := a.WriteToAddrPort(p, to); n != len(p) || err != nil {
			t.Fatalf("sent %d bytes, %v", n, err)
		}
		expect()
		n, from, err := b.ReadFromAddrPort(buf)
		if !bytes.Equal(buf[:n], p[:min(len(p), 1000)]) || from.Port() != uint16(a.LocalAddr().(*net.UDPAddr).Port) {
			t.Errorf("%d other bytes came from %v", n, from)
		}
		if cut := len(p) > 1000; err != nil && !(cut && err == io.ErrShortBuffer) || cut && err == nil {
			t.Errorf("reading %d bytes: %v", len(p), err)
		}
	}
	for i := range 100 {
		if _, err := a.WriteToAddrPort([]byte{byte(i)}, to); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < 100; {
		expect()
		for {
			n, _, err := b.ReadFromAddrPort(buf)
			if err == ErrWouldBlock {
				break
			}
			if n != 1 || err != nil || buf[0] != byte(i) {
				t.Fatalf("%d bytes, %v", n, err)
			}
			i++
		}
	}
	if _, err := a.WriteToAddrPort(make([]byte, math.MaxUint16), to); !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("sending too much: %v", err)
	}
	// That no socket listens at the destination is no error of a later call.
	gone := open()
	at := netip.AddrPortFrom(to.Addr(), uint16(gone.LocalAddr().(*net.UDPAddr).Port))
	gone.Close()
	for range 3 {
		if _, err := a.WriteToAddrPort([]byte("x"), at); err != nil {
			t.Errorf("sending to nobody: %v", err)
		}
		if _, _, err := a.ReadFromAddrPort(buf); err != ErrWouldBlock {
			t.Errorf("reading after that: %v", err)
		}
	}
	b.Close()
	a.Close()
	if _, err := a.WriteToAddrPort([]byte("x"), to); err != ErrClosed {
		t.Errorf("sending after Close: %v", err)
	}
}

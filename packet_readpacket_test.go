// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
)

// onSystemThatTells skips a test where datagrams' destinations are not told.
func onSystemThatTells(t *testing.T) {
	switch runtime.GOOS {
	case "linux", "freebsd", "openbsd", "darwin", "ios":
	default:
		t.Skip("the package does not know how this system tells where datagrams were sent to")
	}
}

// readPacket reads a datagram that must be there, after a Packets.
func readPacket(t *testing.T, l *Loop, c *PacketConn, want string) (from netip.AddrPort, to netip.Addr) {
	t.Helper()
	nextPackets(t, l, c)
	p := make([]byte, 100)
	n, from, to, err := c.ReadPacket(p)
	if err != nil || string(p[:n]) != want {
		t.Fatalf("read %q, %v; want %q", p[:n], err, want)
	}
	return from, to
}

// hostAddrs returns addresses of this host: several of IPv4 where all of 127.0.0.0/8 is.
func hostAddrs(ipv4, ipv6 bool) (addrs []netip.Addr) {
	for _, s := range []string{"127.0.0.1", "127.0.0.2", "127.7.8.9", "::1"} {
		a := netip.MustParseAddr(s)
		if a.Is4() && ipv4 || a.Is6() && ipv6 {
			if pc, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0))); err == nil {
				pc.Close()
				addrs = append(addrs, a)
			}
		}
	}
	return addrs
}

// ReadPacket tells where a datagram was sent to, and a reply comes from there.
func TestPacketConnReadPacket(t *testing.T) {
	onSystemThatTells(t)
	tests := make(map[string]func(*testing.T, *Loop))
	for _, network := range []string{"udp", "udp4", "udp6"} {
		for _, direct := range []bool{false, true} {
			tests[fmt.Sprintf("Any/%s/direct=%v", network, direct)] = func(t *testing.T, l *Loop) {
				c, err := l.ListenPacket(network, ":0", nil)
				if err != nil && network == "udp6" {
					t.Skip("no IPv6 here: ", err)
				}
				must(t, err)
				c.direct = c.direct || direct
				addrs := hostAddrs(!c.ipv6Only, c.ipv6)
				for i, at := range addrs {
					client := listenPacket(t, l, map[bool]string{true: "udp4", false: "udp6"}[at.Is4()])
					if network == "udp" && at.Is4() && runtime.GOOS == "darwin" {
						continue // not told to a socket of both families
					}
					sendToAddr := func(data string) {
						t.Helper()
						_, err := client.WriteToAddrPort([]byte(data), netip.AddrPortFrom(at, localPort(c).Port()))
						must(t, err)
					}
					sendToAddr("1")
					from, to := readPacket(t, l, c, "1")
					if to != at || from != localPort(client) {
						t.Errorf("from %v to %v; want %v and %v", from, to, localPort(client), at)
					}

					// From there, or another address of the family.
					replyFrom := []netip.Addr{to}
					for _, a := range addrs {
						if a.Is4() == to.Is4() {
							replyFrom = append(replyFrom, a)
						}
					}
					for _, a := range replyFrom {
						n, err := c.WritePacket([]byte("2"), from, a)
						if n != 1 || err != nil {
							t.Fatalf("WritePacket from %v gives %d, %v", a, n, err)
						}
						_, err = c.WriteBatch([]Datagram{{Data: []byte("3"), Addr: from, From: a}, {Data: []byte("4"), Addr: from}})
						must(t, err)
						for _, want := range []string{"2", "3"} {
							peer, to := readPacket(t, l, client, want)
							if peer != netip.AddrPortFrom(a, localPort(c).Port()) || to != localPort(client).Addr() {
								t.Errorf("the reply from %v comes from %v to %v", a, peer, to)
							}
						}
						readPacket(t, l, client, "4") // from the address that the system chooses
					}

					// What cannot be a source leaves it to the system.
					for _, a := range []string{"", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"} {
						var none netip.Addr
						if a != "" {
							if none = netip.MustParseAddr(a); none.Is4() != at.Is4() {
								continue
							}
						}
						if _, err := c.WritePacket([]byte("5"), from, none); err != nil {
							t.Errorf("from %q: %v", a, err)
							continue
						}
						readPacket(t, l, client, "5")
					}

					// A datagram that does not fit, and an empty one, have a destination as well.
					sendToAddr("long")
					nextPackets(t, l, c)
					if n, _, to, err := c.ReadPacket(make([]byte, 2)); n != 2 || to != at || err != io.ErrShortBuffer {
						t.Errorf("a long one gives %d, %v, %v", n, to, err)
					}
					sendToAddr("")
					if _, to := readPacket(t, l, c, ""); to != at {
						t.Errorf("an empty one was sent to %v", to)
					}
					// Other reads do not disturb.
					sendToAddr("6")
					sendToAddr("7")
					nextPackets(t, l, c)
					mustRead(t, c, "6")
					if _, to := readPacket(t, l, c, "7"); to != at {
						t.Errorf("the %d. was sent to %v", i, to)
					}
					if n, from, to, err := c.ReadPacket(make([]byte, 2)); n != 0 || from.IsValid() || to.IsValid() || err != ErrWouldBlock {
						t.Errorf("reading nothing gives %d, %v, %v, %v", n, from, to, err)
					}
				}
			}
		}
	}
	// A host that does not have the address refuses it.
	tests["NotLocal"] = func(t *testing.T, l *Loop) {
		c, err := l.ListenPacket("udp4", ":0", nil)
		must(t, err)
		to := localPort(listenPacket(t, l, "udp4"))
		_, err = c.WritePacket([]byte("x"), to, netip.MustParseAddr("192.0.2.1"))
		var op *net.OpError
		var call *os.SyscallError
		if !errors.As(err, &op) || !errors.As(err, &call) || op.Op != "write" || op.Addr.String() != to.String() {
			t.Errorf("WritePacket gives %v", err)
		}
		n, err := c.WriteBatch([]Datagram{{Addr: to}, {Addr: to, From: netip.MustParseAddr("192.0.2.1")}, {Addr: to}})
		if n != 1 || !errors.As(err, &call) {
			t.Errorf("WriteBatch gives %d, %v", n, err)
		}
	}
	tests["LinkLocal"] = func(t *testing.T, l *Loop) {
		local, _ := linkLocal()
		if !local.IsValid() {
			t.Skip("no interface with a link-local address here")
		}
		c, err := l.ListenPacket("udp6", ":0", nil)
		must(t, err)
		client, err := l.ListenPacket("udp6", netip.AddrPortFrom(local, 0).String(), nil)
		if err != nil {
			t.Skip("the address cannot be used: ", err)
		}
		_, err = client.WriteToAddrPort([]byte("1"), netip.AddrPortFrom(local, localPort(c).Port()))
		must(t, err)
		from, to := readPacket(t, l, c, "1")
		if to != local {
			t.Errorf("sent to %v; want %v", to, local)
		}
		_, err = c.WritePacket([]byte("2"), from, to)
		must(t, err)
		if from, _ := readPacket(t, l, client, "2"); from.Addr() != local {
			t.Errorf("the reply comes from %v", from)
		}
	}
	onMethods(t, Config{}, tests)
}

// TestPacketConnReadPacketBound: what works on all systems, on sockets with one address.
func TestPacketConnReadPacketBound(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Bound": func(t *testing.T, l *Loop) {
			for _, network := range []string{"udp4", "udp6"} {
				if network == "udp6" && len(hostAddrs(false, true)) == 0 {
					continue
				}
				a, b := listenPacket(t, l, network), listenPacket(t, l, network)
				_, err := a.WritePacket([]byte("1"), localPort(b), localPort(a).Addr())
				must(t, err)
				from, to := readPacket(t, l, b, "1")
				if from != localPort(a) || to != localPort(b).Addr() {
					t.Errorf("from %v to %v", from, to)
				}
				conn := dialPacket(t, l, network, localPort(a).String())
				_, err = conn.WritePacket([]byte("2"), netip.AddrPort{}, localPort(conn).Addr())
				must(t, err)
				from, _ = readPacket(t, l, a, "2")
				_, err = a.WritePacket([]byte("3"), from, netip.Addr{})
				must(t, err)
				if from, to := readPacket(t, l, conn, "3"); from != localPort(a) || to != localPort(conn).Addr() {
					t.Errorf("connected: from %v to %v", from, to)
				}
			}
		},
		"Unixgram": func(t *testing.T, l *Loop) {
			a, b := listenPacket(t, l, "unixgram"), listenPacket(t, l, "unixgram")
			sendTo(t, a, b, "1")
			if from, to := readPacket(t, l, b, "1"); from.IsValid() || to.IsValid() {
				t.Errorf("from %v to %v", from, to)
			}
			_, err := a.WriteBatch([]Datagram{{NetAddr: b.LocalAddr(), From: netip.MustParseAddr("127.0.0.1")}})
			var addr *net.AddrError
			if !errors.As(err, &addr) {
				t.Errorf("an IP address as source gives %v", err)
			}
		},
		"Errors": func(t *testing.T, l *Loop) {
			four, err := l.ListenPacket("udp4", ":0", nil)
			must(t, err)
			conns := []*PacketConn{four}
			if len(hostAddrs(false, true)) > 0 {
				six, err := l.ListenPacket("udp6", ":0", nil)
				must(t, err)
				both, err := l.ListenPacket("udp", ":0", nil)
				must(t, err)
				conns = append(conns, six, both)
			}
			to4, to6 := netip.MustParseAddrPort("127.0.0.1:9"), netip.MustParseAddrPort("[::1]:9")
			for i, c := range conns {
				for _, bad := range []struct {
					to   netip.AddrPort
					from string
				}{{to4, "::1"}, {to6, "127.0.0.1"}, {to6, "::ffff:127.0.0.1"}, {to6, "fe80::1%nosuchzone"}} {
					_, err := c.WritePacket(nil, bad.to, netip.MustParseAddr(bad.from))
					var op *net.OpError
					var addr *net.AddrError
					if !errors.As(err, &op) || !errors.As(err, &addr) || op.Addr.String() != bad.to.String() {
						t.Errorf("%d: to %v from %s gives %v", i, bad.to, bad.from, err)
					}
				}
				c.Close()
				if _, _, _, err := c.ReadPacket(nil); err != ErrClosed {
					t.Errorf("ReadPacket after Close gives %v", err)
				}
				if _, err := c.WritePacket(nil, to4, to6.Addr()); err != ErrClosed {
					t.Errorf("WritePacket after Close gives %v", err)
				}
			}
		},
		// A system that does not tell says so, and keeps the datagram.
		"Unsupported": func(t *testing.T, l *Loop) {
			c, err := l.ListenPacket("udp4", ":0", nil)
			must(t, err)
			c.told = false
			sendTo(t, listenPacket(t, l, "udp4"), c, "1")
			nextPackets(t, l, c)
			_, _, _, err = c.ReadPacket(make([]byte, 9))
			var op *net.OpError
			if !errors.Is(err, ErrUnsupported) || !errors.As(err, &op) || op.Op != "read" {
				t.Errorf("ReadPacket gives %v", err)
			}
			mustRead(t, c, "1")
		},
	})
}

// linkLocal returns a link-local address of this host, with its zone, and the zone's
// number; the zero Addr if there is none.
func linkLocal() (local netip.Addr, index int) {
	all, _ := net.Interfaces()
	for _, i := range all {
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			if a, err := netip.ParsePrefix(a.String()); err == nil && a.Addr().Is6() && a.Addr().IsLinkLocalUnicast() && i.Flags&net.FlagUp != 0 {
				local, index = a.Addr().WithZone(i.Name), i.Index
			}
		}
	}
	return local, index
}

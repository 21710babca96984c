// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// More datagrams than fit in a batch arrive in their order, in whatever portions they
// are read.
func testPacketManyInOrder(t *testing.T, l *Loop, open func() *PacketConn) {
	a, b := open(), open()
	count := 10_000
	if raceEnabled || testing.Short() {
		count = 2_000
	}
	p, q := make([]byte, 100), make([]byte, 8)
	sent, got, style := 0, 0, 0
	for got < count {
		// No more unread than the kernel holds.
		for sent < count && sent-got < 100 {
			binary.BigEndian.PutUint64(q, uint64(sent))
			addr := b.LocalAddr()
			if addr.Network() == "udp" {
				addr = net.UDPAddrFromAddrPort(localPort(b))
			}
			if _, err := a.WriteTo(q, addr); err == ErrWouldBlock {
				break // b is full, so there is something to read
			} else if err != nil {
				t.Fatal(err)
			}
			sent++
		}
		nextPackets(t, l, b)
		style = (style + 1) % 40
		for i := 0; i <= style; i++ { // up to more than a batch
			n, _, err := b.ReadFrom(p)
			if err == ErrWouldBlock {
				break
			}
			if err != nil || n != 8 || binary.BigEndian.Uint64(p) != uint64(got) {
				t.Fatalf("got %x, %v; want number %d", p[:n], err, got)
			}
			got++
		}
	}
	noMessage(t, l)
	if st := l.Stats(); st.BytesIn != uint64(8*count) || st.BytesOut != uint64(8*count) {
		t.Errorf("Stats: %+v", st)
	}
}

func testPacketWriteBatch(t *testing.T, l *Loop, open func() *PacketConn) {
	a, b := open(), open()
	unixgram := b.LocalAddr().Network() == "unixgram"
	good := Datagram{NetAddr: b.LocalAddr()}
	bad := Datagram{NetAddr: &net.UnixAddr{Name: "/nowhere/at/all", Net: "unixgram"}}
	badIs := error(syscall.ENOENT)
	if !unixgram {
		good = Datagram{Addr: localPort(b)}
		bad = Datagram{Addr: localPort(b), Data: make([]byte, 1<<20)}
		badIs = syscall.EMSGSIZE
	}
	// read reads what there must be.
	read := func(first, end int) {
		t.Helper()
		for first < end {
			nextPackets(t, l, b)
			for ; first < end; first++ {
				p := make([]byte, 9)
				n, _, err := b.ReadFrom(p)
				if err == ErrWouldBlock {
					break
				}
				if err != nil || string(p[:n]) != fmt.Sprint(first) {
					t.Fatalf("got %q, %v; want %d", p[:n], err, first)
				}
			}
		}
	}
	var ds []Datagram
	for i := range 50 {
		d := good
		d.Data = []byte(fmt.Sprint(i))
		ds = append(ds, d)
	}
	for sent := 0; sent < len(ds); {
		n, err := a.WriteBatch(ds[sent:])
		if err != nil && err != ErrWouldBlock || n == 0 || err == nil && n != len(ds)-sent {
			t.Fatalf("WriteBatch gives %d, %v", n, err)
		}
		read(sent, sent+n)
		sent += n
	}
	if n, err := a.WriteBatch(nil); n != 0 || err != nil {
		t.Errorf("an empty batch gives %d, %v", n, err)
	}

	// WriteBatch stops at the datagram that has an error, and sends all others.
	wrong := Datagram{Addr: netip.AddrPortFrom(netip.IPv6LinkLocalAllNodes().WithZone("nosuchzone"), 9)}
	for _, at := range []int{0, 3, 9} {
		for name, c := range map[string]struct {
			bad Datagram
			is  error
		}{"kernel": {bad, badIs}, "argument": {wrong, nil}, "missing": {Datagram{}, errNoTarget}} {
			ds := append([]Datagram(nil), ds[:10]...)
			ds[at] = c.bad
			n, err := a.WriteBatch(ds)
			var op *net.OpError
			if n != at || !errors.As(err, &op) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%s error at %d: WriteBatch gives %d, %v", name, at, n, err)
			}
			read(0, at)
			n, err = a.WriteBatch(ds[at+1:])
			if n != 9-at || err != nil {
				t.Errorf("%s error at %d: then WriteBatch gives %d, %v", name, at, n, err)
			}
			read(at+1, 10)
		}
	}
}

func testPacketWritesFromMany(t *testing.T, l *Loop, open func() *PacketConn) {
	a, b := open(), open()
	const writers, writes = 8, 200
	addr := b.LocalAddr()
	if addr.Network() == "udp" {
		addr = net.UDPAddrFromAddrPort(localPort(b))
	}
	var under atomic.Int32 // sent and not read: no more than the kernel holds
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for j := 0; j < writes; {
				if under.Load() > 100 {
					runtime.Gosched()
					continue
				}
				_, err := a.WriteTo([]byte{byte(i), byte(j)}, addr)
				switch err {
				case nil:
					under.Add(1)
					j++
				case ErrWouldBlock:
					runtime.Gosched()
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	next := make([]byte, writers)
	p := make([]byte, 9)
	for got := 0; got < writers*writes; {
		nextPackets(t, l, b)
		for {
			n, _, err := b.ReadFrom(p)
			if err == ErrWouldBlock {
				break
			}
			if err != nil || n != 2 || p[1] != next[p[0]] {
				t.Fatalf("got %x, %v", p[:n], err)
			}
			next[p[0]]++
			got++
			under.Add(-1)
		}
	}
	wg.Wait()
}

// TestPacketConnNoAllocations: sending and receiving a datagram allocates nothing.
func TestPacketConnNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	if runtime.GOOS != "linux" {
		t.Skip("the system's calls allocate")
	}
	tests := make(map[string]func(*testing.T, *Loop))
	for _, network := range []string{"udp", "udp4", "udp6", "udp4/direct", "udp/direct/addr", "udp/addr", "udp6/addr"} {
		tests[network] = func(t *testing.T, l *Loop) {
			name, withAddr := strings.CutSuffix(network, "/addr")
			name, direct := strings.CutSuffix(name, "/direct")
			a, b := listenPacket(t, l, name), listenPacket(t, l, name)
			a.direct, b.direct = direct, direct
			p, to := make([]byte, 64), localPort(b)
			ds := []Datagram{{Data: p, Addr: to}, {Data: p, Addr: to}, {Data: p, Addr: to, From: to.Addr()}}
			write := func() (int, error) { return a.WriteToAddrPort(p, to) }
			read := func() error { _, _, err := b.ReadFromAddrPort(p); return err }
			if withAddr {
				write = func() (int, error) { return a.WritePacket(p, to, to.Addr()) }
				read = func() error { _, _, _, err := b.ReadPacket(p); return err }
			}
			f := func() {
				if _, err := write(); err != nil {
					t.Fatal(err)
				}
				if n, err := a.WriteBatch(ds); n != len(ds) || err != nil {
					t.Fatal(n, err)
				}
				for n := 0; n < 1+len(ds); {
					if _, ok := l.Poll(-1); !ok {
						t.Fatal("no message")
					}
					for {
						err := read()
						if err == ErrWouldBlock {
							break
						}
						if err != nil {
							t.Fatal(err)
						}
						n++
					}
				}
			}
			f() // warms up
			if n := testing.AllocsPerRun(200, f); n != 0 {
				t.Errorf("%v allocations", n)
			}
		}
	}
	onMethods(t, Config{}, tests)
}

// BenchmarkPacketConn moves datagrams of 64 bytes over loopback, by 64.
//
//	batch    many a system call, both ways
//	single   one a system call to write, many to read
//	direct   one a system call, both ways
//	alone    bursts of one, so that each datagram costs a Packets and its own calls
//	net      package net, both ways, as a baseline
//
// read-ns is the part of the time that receiving a datagram takes, messages included.
func BenchmarkPacketConn(b *testing.B) {
	const size = 64
	for _, mode := range []string{"batch", "single", "direct", "alone"} {
		b.Run(mode, func(b *testing.B) {
			burst := 64
			if mode == "alone" {
				burst = 1
			}
			l, err := New(&Config{IgnoreEnv: true})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			src, dst := listenPacket(b, l, "udp4"), listenPacket(b, l, "udp4")
			dst.direct = dst.direct || mode == "direct"
			ds := make([]Datagram, burst)
			for i := range ds {
				ds[i] = Datagram{Data: make([]byte, size), Addr: localPort(dst)}
			}
			p := make([]byte, 2*size)
			b.ReportAllocs()
			var reading time.Duration
			for n := 0; n < b.N; n += burst {
				if mode == "batch" {
					if _, err := src.WriteBatch(ds); err != nil {
						b.Fatal(err)
					}
				} else {
					for _, d := range ds {
						if _, err := src.WriteToAddrPort(d.Data, d.Addr); err != nil {
							b.Fatal(err)
						}
					}
				}
				began := time.Now()
				for got := 0; got < burst; {
					if _, ok := l.Poll(10 * time.Second); !ok {
						b.Fatal("datagrams got lost")
					}
					for {
						_, _, err := dst.ReadFromAddrPort(p)
						if err == ErrWouldBlock {
							break
						}
						if err != nil {
							b.Fatal(err)
						}
						got++
					}
				}
				reading += time.Since(began)
			}
			b.ReportMetric(float64(reading.Nanoseconds())/float64(b.N), "read-ns")
		})
	}
	b.Run("net", func(b *testing.B) {
		const burst = 64
		var conns [2]*net.UDPConn
		for i := range conns {
			c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			conns[i] = c
		}
		to := conns[1].LocalAddr().(*net.UDPAddr).AddrPort()
		p := make([]byte, 2*size)
		b.ReportAllocs()
		var reading time.Duration
		for n := 0; n < b.N; n += burst {
			for range burst {
				if _, err := conns[0].WriteToUDPAddrPort(p[:size], to); err != nil {
					b.Fatal(err)
				}
			}
			began := time.Now()
			for range burst {
				if _, _, err := conns[1].ReadFromUDPAddrPort(p); err != nil {
					b.Fatal(err)
				}
			}
			reading += time.Since(began)
		}
		b.ReportMetric(float64(reading.Nanoseconds())/float64(b.N), "read-ns")
	})
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// A packetGroup is a group whose loops note what they get of each sender.
type packetGroup struct {
	g    *Group
	end  func()
	mu   sync.Mutex
	got  map[string][]uint32     // numbers, by the sender
	by   map[string]map[int]bool // loops, by the sender
	news chan struct{}
}

func servePackets(t *testing.T, g *Group) *packetGroup {
	x := &packetGroup{g: g, got: make(map[string][]uint32), by: make(map[string]map[int]bool), news: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- g.Run(ctx, func(l *Loop) error {
			buf := make([]byte, 100)
			for ev := range l.All() {
				ev, ok := ev.(Packets)
				if !ok {
					continue
				}
				for {
					n, from, err := ev.Conn.ReadFromAddrPort(buf)
					if err != nil {
						break
					}
					x.mu.Lock()
					key := from.String()
					x.got[key] = append(x.got[key], binary.BigEndian.Uint32(buf[:n]))
					if x.by[key] == nil {
						x.by[key] = make(map[int]bool)
					}
					x.by[key][slices.Index(g.Loops(), l)] = true
					x.mu.Unlock()
					ev.Conn.WriteToAddrPort(buf[:n], from)
				}
			}
			return nil
		})
	}()
	x.end = func() {
		cancel()
		must(t, <-done)
	}
	return x
}

// exchange has a client send n datagrams from one address, each when the one before was answered.
func exchangePackets(t *testing.T, addr net.Addr, from string, n int) string {
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("udp", addr.String())
	if err != nil {
		t.Error(err)
		return ""
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	buf := make([]byte, 100)
	const window = 4
	for i := range n + window {
		if i < n {
			c.Write(binary.BigEndian.AppendUint32(nil, uint32(i)))
		}
		if i < window {
			continue
		}
		k, err := c.Read(buf)
		if err != nil || binary.BigEndian.Uint32(buf[:k]) != uint32(i-window) {
			t.Errorf("answer %d is %x, %v", i-window, buf[:k], err)
			return ""
		}
	}
	return c.LocalAddr().String()
}

// One socket serves a group: each sender has one loop, and its datagrams come in their order.
func TestGroupPacketDivision(t *testing.T) {
	needNetUDP(t)
	needSockets(t)
	for _, kind := range []string{"SourceHash", "with ports", "wrapped"} {
		t.Run(kind, func(t *testing.T) {
			balance := LeastStreams
			if kind == "SourceHash" {
				balance = SourceHash
			}
			g := newGroup(t, 3, balance)
			var pc *PacketConn
			var err error
			switch kind {
			case "SourceHash":
				pc, err = g.ListenPacket("udp4", "127.0.0.1:0", nil)
			case "with ports":
				pc, err = g.listenDividing("udp4", "127.0.0.1:0", &PacketConfig{}, true)
			case "wrapped":
				var c net.PacketConn
				c, err = net.ListenPacket("udp4", "127.0.0.1:0")
				must(t, err)
				pc, err = g.WrapPacketConn(c)
			}
			must(t, err)
			x := servePackets(t, g)
			const clients, each = 30, 50
			var mu sync.Mutex
			var names []string
			var wg sync.WaitGroup
			for range clients {
				wg.Go(func() {
					name := exchangePackets(t, pc.LocalAddr(), "127.0.0.1", each)
					mu.Lock()
					defer mu.Unlock()
					names = append(names, name)
				})
			}
			wg.Wait()
			pc.Close()
			if n := g.Stats().Sources; n != 0 {
				t.Errorf("%d sources are left after Close", n)
			}
			x.end()
			loops := make(map[int]bool)
			for _, name := range names {
				if got := x.got[name]; len(got) != each || !slices.IsSorted(got) {
					t.Errorf("of %s came %d", name, got)
				}
				if len(x.by[name]) != 1 {
					t.Errorf("what %s has sent came to %d loops", name, len(x.by[name]))
				}
				for i := range x.by[name] {
					loops[i] = true
				}
			}
			if want := kind != "SourceHash"; len(loops) > 1 != want { // by chance, with 1 in 10^14
				t.Errorf("%d loops have got datagrams", len(loops))
			}
		})
	}
}

// A loop that does not read holds as much as the limit, in the order of arrival; the others go on.
func TestGroupPacketInboxFull(t *testing.T) {
	needNetUDP(t)
	needSockets(t)
	g := newGroup(t, 2, LeastStreams)
	const room = 10
	pc, err := g.listenDividing("udp4", "127.0.0.1:0", &PacketConfig{ReadBuffer: room * (4 + packetOverhead)}, true)
	must(t, err)
	// Two clients, one of each loop.
	var clients [2]*net.UDPConn
	for clients[0] == nil || clients[1] == nil {
		c, err := net.DialUDP("udp4", nil, pc.LocalAddr().(*net.UDPAddr))
		must(t, err)
		defer c.Close()
		i := slices.Index(pc.division.parts, pc.division.part(c.LocalAddr().(*net.UDPAddr).AddrPort()))
		clients[i] = c
	}
	read := func(l *Loop) (got string) {
		for {
			ev, ok := l.Poll(0)
			if !ok {
				return got
			}
			buf := make([]byte, 10)
			for {
				n, _, err := ev.(Packets).Conn.ReadFromAddrPort(buf)
				if err != nil {
					break
				}
				got += string(buf[:n]) + " "
			}
		}
	}
	want := ""
	for i := range 3 * room { // the second loop does not read
		fmt.Fprintf(clients[1], "%04d", i)
		fmt.Fprintf(clients[0], "%04d", i)
		if i < room {
			want += fmt.Sprintf("%04d ", i)
		}
		got := ""
		for got == "" {
			got = read(g.Loops()[0])
		}
		if got != fmt.Sprintf("%04d ", i) {
			t.Fatalf("the first loop has got %q", got)
		}
	}
	if got := read(g.Loops()[1]); got != want {
		t.Errorf("the second loop has got %q, want %q", got, want)
	}
	fmt.Fprint(clients[1], "more")
	got := ""
	for got == "" {
		read(g.Loops()[0])
		got = read(g.Loops()[1])
	}
	if got != "more " {
		t.Errorf("the second loop has got %q", got)
	}
	// Paused, it takes nothing from the kernel. The datagram comes after Resume.
	pc.Pause()
	fmt.Fprint(clients[1], "late")
	if got := read(g.Loops()[0]) + read(g.Loops()[1]); got != "" {
		t.Errorf("%q has come to paused connections", got)
	}
	pc.Resume()
	for got = ""; got == ""; {
		read(g.Loops()[0])
		got = read(g.Loops()[1])
	}
	if got != "late " {
		t.Errorf("after Resume %q has come", got)
	}
	// The rest is dropped with the loops.
	fmt.Fprint(clients[0], "lost")
	g.Loops()[0].Poll(time.Second)
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func testPacketTruncated(t *testing.T, l *Loop, open func() *PacketConn) {
	a, b := open(), open()
	for _, c := range []struct {
		size int
		want error
	}{{0, io.ErrShortBuffer}, {3, io.ErrShortBuffer}, {10, nil}, {11, nil}} {
		sendTo(t, a, b, "0123456789")
		sendTo(t, a, b, "next")
		nextPackets(t, l, b)
		p := make([]byte, c.size)
		n, from, err := b.ReadFrom(p)
		if n != min(c.size, 10) || err != c.want || string(p[:n]) != "0123456789"[:n] || from == nil {
			t.Errorf("with room for %d: %d, %v, %v", c.size, n, from, err)
		}
		mustRead(t, b, "next")
		mustBlock(t, b)
	}
}

func testPacketEmpty(t *testing.T, l *Loop, open func() *PacketConn) {
	a, b := open(), open()
	for _, p := range [][]byte{nil, {1}, nil} {
		sendTo(t, a, b, "")
		nextPackets(t, l, b)
		if n, from, err := b.ReadFrom(p); n != 0 || from == nil || err != nil {
			t.Errorf("an empty one gives %d, %v, %v", n, from, err)
		}
		mustBlock(t, b)
	}
	if st := l.Stats(); st.BytesIn != 0 || st.BytesOut != 0 {
		t.Errorf("Stats: %+v", st)
	}
}

func testPacketLargest(t *testing.T, l *Loop, open func() *PacketConn) {
	a, b := open(), open()
	size := 65507 // UDP over IPv4
	if b.LocalAddr().Network() == "unixgram" {
		size = 150_000
	}
	data := string(pattern(size))
	addr := b.LocalAddr()
	if addr.Network() == "udp" {
		addr = net.UDPAddrFromAddrPort(localPort(b))
	}
	if _, err := a.WriteTo([]byte(data), addr); err != nil {
		if errors.Is(err, syscall.EMSGSIZE) && runtime.GOOS != "linux" {
			t.Skip("the system's own limit is lower: ", err)
		}
		t.Fatal(err)
	}
	nextPackets(t, l, b)
	p := make([]byte, size+1)
	if n, _, err := b.ReadFrom(p); n != size || err != nil || string(p[:n]) != data {
		t.Errorf("got %d, %v", n, err)
	}
	n, err := a.WriteTo(make([]byte, 10<<20), addr)
	var op *net.OpError
	if n != 0 || !errors.Is(err, syscall.EMSGSIZE) || !errors.As(err, &op) || op.Op != "write" || op.Addr.String() != addr.String() {
		t.Errorf("one that is too large gives %d, %v", n, err)
	}
}

// A program that reads one datagram a message gets them all.
func testPacketOneRead(t *testing.T, l *Loop, open func() *PacketConn) {
	a, b := open(), open()
	const count = 9 // an unread queue of more than 10 blocks a unixgram sender on some systems
	for i := range count {
		sendTo(t, a, b, fmt.Sprint(i))
	}
	for i := range count {
		nextPackets(t, l, b)
		mustRead(t, b, fmt.Sprint(i))
	}
	noMessage(t, l)
	mustBlock(t, b)
}

// A Packets is not repeated while nothing is read.
func testPacketUnread(t *testing.T, l *Loop, open func() *PacketConn) {
	a, b := open(), open()
	sendTo(t, a, b, "1")
	sendTo(t, a, b, "2")
	nextPackets(t, l, b)
	noMessage(t, l)
	mustRead(t, b, "1")
	nextPackets(t, l, b)
	noMessage(t, l)
	mustRead(t, b, "2")
	noMessage(t, l)
	sendTo(t, a, b, "3")
	nextPackets(t, l, b)
	mustRead(t, b, "3")
}

func testPacketReadAll(t *testing.T, l *Loop, open func() *PacketConn) {
	a, b := open(), open()
	for range 20 {
		for i := range 5 {
			sendTo(t, a, b, fmt.Sprint(i))
		}
		nextPackets(t, l, b)
		for i := range 5 {
			p := make([]byte, 10)
			n, _, err := b.ReadFrom(p)
			if err == ErrWouldBlock {
				nextPackets(t, l, b) // the loopback was slower than this
				n, _, err = b.ReadFrom(p)
			}
			if string(p[:n]) != fmt.Sprint(i) || err != nil {
				t.Fatalf("read %q, %v; want %d", p[:n], err, i)
			}
		}
		noMessage(t, l)
	}
}

// A read need not wait for the first message.
func testPacketReadsFirst(t *testing.T, l *Loop, open func() *PacketConn) {
	a, b := open(), open()
	sendTo(t, a, b, "1")
	mustRead(t, b, "1")
	noMessage(t, l)
	mustBlock(t, b)
	sendTo(t, a, b, "2")
	nextPackets(t, l, b)
	mustRead(t, b, "2")
}

// A Packets that was not received is taken back by reading all, and by Close.
func testPacketTakenBack(t *testing.T, l *Loop, open func() *PacketConn) {
	a, b := open(), open()
	events := l.Events()
	for i := range 50 {
		sendTo(t, a, b, "1")
		sendTo(t, a, b, "2")
		for !b.offeredNow() {
			runtime.Gosched()
		}
		mustRead(t, b, "1")
		for !b.offeredNow() { // the rest is still there
			runtime.Gosched()
		}
		if i%5 == 4 {
			b.Pause()
		} else {
			mustRead(t, b, "2")
		}
		select {
		case ev := <-events:
			t.Fatalf("unexpected %v", ev)
		default:
		}
		if i%5 == 4 {
			b.Resume()
			if ev := <-events; ev != Event(Packets{b}) {
				t.Fatalf("unexpected %v", ev)
			}
			mustRead(t, b, "2")
		}
	}
	sendTo(t, a, b, "1")
	for !b.offeredNow() {
		runtime.Gosched()
	}
	b.Close()
	select {
	case ev := <-events:
		t.Fatalf("unexpected %v", ev)
	default:
	}
}

// Several goroutines receive from Events and read. Each datagram goes to one of them.
func testPacketReadsFromMany(t *testing.T, l *Loop, open func() *PacketConn) {
	a, b := open(), open()
	const readers, count = 4, 1000
	var got [count]atomic.Int32
	var read atomic.Int32
	var wg sync.WaitGroup
	done := make(chan struct{})
	for i := range readers {
		wg.Go(func() {
			p := make([]byte, 9)
			for {
				select {
				case <-done:
					return
				case <-l.Events():
				}
				for range 1 + 10*i {
					n, _, err := b.ReadFrom(p)
					if err == ErrWouldBlock {
						break
					}
					if err != nil || n != 2 {
						t.Error(n, err)
						break
					}
					got[binary.BigEndian.Uint16(p)].Add(1)
					if read.Add(1) == count {
						close(done)
					}
				}
			}
		})
	}
	addr := b.LocalAddr()
	if addr.Network() == "udp" {
		addr = net.UDPAddrFromAddrPort(localPort(b))
	}
	for i := 0; i < count; {
		if i-int(read.Load()) > 100 {
			runtime.Gosched()
			continue
		}
		_, err := a.WriteTo([]byte{byte(i >> 8), byte(i)}, addr)
		if err == ErrWouldBlock {
			runtime.Gosched()
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		i++
	}
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Errorf("%d of %d were read", read.Load(), count)
		close(done)
	}
	wg.Wait()
	for i := range got {
		if n := got[i].Load(); n != 1 {
			t.Errorf("number %d was read %d times", i, n)
		}
	}
}

// TestPacketConnSignals receives bursts while signals arrive all the time. A signal
// may end a recvmmsg early under an emulator that makes several system calls of it.
// Then the rest must not stay unread without a Packets.
func TestPacketConnSignals(t *testing.T) {
	onPackets(t, Config{}, map[string]func(*testing.T, *Loop, func() *PacketConn){
		"Bursts": func(t *testing.T, l *Loop, open func() *PacketConn) {
			a, b := open(), open()
			if b.LocalAddr().Network() == "unixgram" {
				t.Skip("datagrams are taken one by one")
			}
			done, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				for {
					select {
					case <-done:
						return
					default:
						syscall.Kill(syscall.Getpid(), syscall.SIGURG) // the runtime uses it itself, so it does no harm
					}
				}
			}()
			defer func() {
				close(done)
				<-stopped
			}()

			const rounds, burst = 100, maxPacketBatch - 1 // a full batch would be followed by another look anyway
			p := make([]byte, 8)
			for round := range rounds {
				for i := range burst {
					binary.BigEndian.PutUint64(p, uint64(round*burst+i))
					if _, err := a.WriteToAddrPort(p, localPort(b)); err != nil {
						t.Fatal(err)
					}
				}
				for i := 0; i < burst; {
					nextPackets(t, l, b)
					for ; i < burst; i++ {
						_, _, err := b.ReadFrom(p)
						if err == ErrWouldBlock {
							break
						}
						if got := binary.BigEndian.Uint64(p); err != nil || got != uint64(round*burst+i) {
							t.Fatalf("got number %d, %v; want %d", got, err, round*burst+i)
						}
					}
				}
			}
		},
	})
}

// TestPacketConnUnreadMemory: an unread datagram costs its connection about as much
// memory as it is long, not the 64 KiB that it could be.
func TestPacketConnUnreadMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("unread datagrams stay in the kernel")
	}
	if raceEnabled {
		t.Skip("the race detector drops what pools hold")
	}
	l := dialLoop(t, "")
	src := listenPacket(t, l, "udp4")
	for _, size := range []int{1, 1000, 9000, 60_000} {
		const count = 20
		conns := make([]*PacketConn, count)
		for i := range conns {
			conns[i] = listenPacket(t, l, "udp4")
		}
		heap := func() int {
			var st runtime.MemStats
			runtime.GC()
			runtime.GC() // empties the pools
			runtime.ReadMemStats(&st)
			return int(st.HeapAlloc)
		}
		before := heap()
		data := string(pattern(size))
		for _, c := range conns {
			sendTo(t, src, c, data)
			nextPackets(t, l, c)
		}
		if n := (heap() - before) / count; n > 4<<10+4*size {
			t.Errorf("an unread datagram of %d bytes holds %d", size, n)
		}
		for _, c := range conns {
			mustRead(t, c, data)
			mustBlock(t, c)
			c.Close()
		}
	}
}

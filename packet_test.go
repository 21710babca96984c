// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// listenPacket returns a packet connection on an address of its own.
func listenPacket(t testing.TB, l *Loop, network string) *PacketConn {
	t.Helper()
	address := map[string]string{"udp": ":0", "udp4": "127.0.0.1:0", "udp6": "[::1]:0"}[network]
	if network == "unixgram" {
		address = filepath.Join(shortDir(t), "s")
	}
	c, err := l.ListenPacket(network, address)
	if err != nil {
		if network == "udp6" {
			t.Skip("no IPv6 here: ", err)
		}
		t.Fatal(err)
	}
	return c
}

// shortDir returns a new directory whose name leaves room in a Unix socket's.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "p")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// localPort returns the address of c, on this host.
func localPort(c *PacketConn) netip.AddrPort {
	a := c.LocalAddr().(*net.UDPAddr).AddrPort()
	if a.Addr().IsUnspecified() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port())
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// sendTo sends a datagram to c from src, which may be of another kind of program.
func sendTo(t testing.TB, src interface {
	WriteTo([]byte, net.Addr) (int, error)
}, c *PacketConn, data string) {
	t.Helper()
	addr := c.LocalAddr()
	if _, ok := addr.(*net.UDPAddr); ok {
		addr = net.UDPAddrFromAddrPort(localPort(c))
	}
	if n, err := src.WriteTo([]byte(data), addr); n != len(data) || err != nil {
		t.Fatalf("sending %q gives %d, %v", data, n, err)
	}
}

// nextPackets waits for a Packets of c.
func nextPackets(t testing.TB, l *Loop, c *PacketConn) {
	t.Helper()
	ev, ok := l.Poll(10 * time.Second)
	if !ok || ev != Event(Packets{c}) {
		t.Fatalf("got %v; want a Packets", ev)
	}
}

// mustRead reads a datagram that has to be there.
func mustRead(t testing.TB, c *PacketConn, want string) net.Addr {
	t.Helper()
	p := make([]byte, 1<<16)
	n, from, err := c.ReadFrom(p)
	if err != nil || string(p[:n]) != want {
		t.Fatalf("read %q, %v; want %q", p[:min(n, 100)], err, want)
	}
	return from
}

// mustBlock checks that there is nothing to be read.
func mustBlock(t testing.TB, c *PacketConn) {
	t.Helper()
	if n, from, err := c.ReadFromAddrPort(make([]byte, 10)); n != 0 || from.IsValid() || err != ErrWouldBlock {
		t.Fatalf("read %d, %v, %v; want ErrWouldBlock", n, from, err)
	}
}

// packetNetworks are the networks that the tests of PacketConn run on. With
// "/direct", reads go to the kernel one by one, as they do on systems that have no
// better way.
var packetNetworks = []string{"udp", "udp4", "udp6", "unixgram", "udp4/direct"}

// onPackets runs each test on each method and network.
func onPackets(t *testing.T, conf Config, tests map[string]func(*testing.T, *Loop, func() *PacketConn)) {
	all := make(map[string]func(*testing.T, *Loop))
	for name, test := range tests {
		for _, network := range packetNetworks {
			all[name+"/"+network] = func(t *testing.T, l *Loop) {
				name, direct := strings.CutSuffix(network, "/direct")
				test(t, l, func() *PacketConn {
					c := listenPacket(t, l, name)
					c.direct = c.direct || direct
					return c
				})
			}
		}
	}
	onMethods(t, conf, all)
}

func TestPacketConn(t *testing.T) {
	onPackets(t, Config{Priorities: 2}, map[string]func(*testing.T, *Loop, func() *PacketConn){
		"PingPong":           testPacketPingPong,
		"SeveralSenders":     testPacketSenders,
		"TruncatedIsTold":    testPacketTruncated,
		"EmptyIsADatagram":   testPacketEmpty,
		"LargestFits":        testPacketLargest,
		"OneReadAMessage":    testPacketOneRead,
		"UnreadIsNoNews":     testPacketUnread,
		"ReadAllEndsIt":      testPacketReadAll,
		"ReadsBeforeMessage": testPacketReadsFirst,
		"TakenBack":          testPacketTakenBack,
		"PauseResume":        testPacketPause,
		"CloseWithUnread":    testPacketCloseUnread,
		"UseAfterClose":      testPacketAfterClose,
		"LoopCloses":         testPacketLoopCloses,
		"ManyInOrder":        testPacketManyInOrder,
		"WriteBatch":         testPacketWriteBatch,
		"WritesFromMany":     testPacketWritesFromMany,
		"ReadsFromMany":      testPacketReadsFromMany,
		"Notify":             testPacketNotify,
		"Priority":           testPacketPriority,
		"Introspection":      testPacketIntrospection,
		"File":               testPacketFile,
		"IdleHoldsNothing":   testPacketIdle,
	})
}

func testPacketPingPong(t *testing.T, l *Loop, open func() *PacketConn) {
	a, b := open(), open()
	for i := range 50 {
		ping, pong := fmt.Sprint("ping", i), fmt.Sprint("pong", i)
		sendTo(t, a, b, ping)
		nextPackets(t, l, b)
		from := mustRead(t, b, ping)
		mustBlock(t, b)
		if _, err := b.WriteTo([]byte(pong), from); err != nil {
			t.Fatal(err)
		}
		nextPackets(t, l, a)
		if from := mustRead(t, a, pong); from.Network() != b.LocalAddr().Network() {
			t.Errorf("from %v of %s", from, from.Network())
		}
		mustBlock(t, a)
	}
	noMessage(t, l)
}

func testPacketSenders(t *testing.T, l *Loop, open func() *PacketConn) {
	c := open()
	senders := make(map[string]*PacketConn)
	for i := range 5 {
		s := open()
		data := fmt.Sprint("from ", i)
		senders[data] = s
		sendTo(t, s, c, data)
	}
	nextPackets(t, l, c)
	p := make([]byte, 100)
	for range senders {
		n, from, err := c.ReadFrom(p)
		if err != nil {
			t.Fatal(err)
		}
		s := senders[string(p[:n])]
		want := s.LocalAddr().String()
		if _, ok := s.LocalAddr().(*net.UDPAddr); ok {
			want = localPort(s).String()
		}
		if from.String() != want {
			t.Errorf("%q comes from %v; want %s", p[:n], from, want)
		}
	}
	mustBlock(t, c)
}

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

// Whoever reads nothing is not told again and again.
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

func testPacketPause(t *testing.T, l *Loop, open func() *PacketConn) {
	a, b := open(), open()
	b.Pause()
	sendTo(t, a, b, "1")
	noMessage(t, l)
	b.Resume()
	nextPackets(t, l, b)
	mustRead(t, b, "1")
	b.Pause()
	sendTo(t, a, b, "2")
	sendTo(t, a, b, "3")
	noMessage(t, l)
	mustRead(t, b, "2") // reading works, if one wants to
	noMessage(t, l)
	b.Resume()
	nextPackets(t, l, b)
	mustRead(t, b, "3")
	noMessage(t, l)
	b.Pause()
	b.Resume()
	noMessage(t, l)
	sendTo(t, a, b, "4")
	nextPackets(t, l, b)
	b.Pause() // with something unread in memory
	b.Resume()
	nextPackets(t, l, b)
	mustRead(t, b, "4")
	noMessage(t, l)
}

func testPacketCloseUnread(t *testing.T, l *Loop, open func() *PacketConn) {
	before := openDescriptors()
	a, b := open(), open()
	for i := range 5 {
		sendTo(t, a, b, fmt.Sprint(i))
	}
	nextPackets(t, l, b)
	mustRead(t, b, "0")
	a.Close()
	b.Close()
	noMessage(t, l)
	if _, _, err := b.ReadFromAddrPort(make([]byte, 9)); err != ErrClosed {
		t.Errorf("a read gives %v", err)
	}
	if n := l.Stats().Sources; n != 0 {
		t.Errorf("%d live sources are left", n)
	}
	if n := openDescriptors(); n > before {
		t.Errorf("%d descriptors are open, were %d", n, before)
	}
}

// checkClosed checks that each method says that c is closed.
func checkClosed(t *testing.T, c *PacketConn) {
	t.Helper()
	p := make([]byte, 9)
	read := func(_ int, _ net.Addr, err error) error { return err }
	readPort := func(_ int, _ netip.AddrPort, err error) error { return err }
	write := func(_ int, err error) error { return err }
	to := netip.MustParseAddrPort("127.0.0.1:9")
	for name, err := range map[string]error{
		"ReadFrom":         read(c.ReadFrom(p)),
		"ReadFromAddrPort": readPort(c.ReadFromAddrPort(p)),
		"WriteTo":          write(c.WriteTo(p, c.LocalAddr())),
		"WriteTo nothing":  write(c.WriteTo(p, nil)),
		"WriteToAddrPort":  write(c.WriteToAddrPort(p, to)),
		"WriteBatch":       write(c.WriteBatch([]Datagram{{Data: p, NetAddr: c.LocalAddr()}})),
		"File":             func() error { _, err := c.File(); return err }(),
	} {
		if err != ErrClosed {
			t.Errorf("%s gives %v", name, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Errorf("Close gives %v", err)
	}
	c.Pause()
	c.Resume()
	c.SetPriority(0)
	c.Notify(nil)
	if c.LocalAddr() == nil || c.dump() == "" || (Packets{c}).String() == "" {
		t.Error("it does not answer")
	}
}

func testPacketAfterClose(t *testing.T, l *Loop, open func() *PacketConn) {
	c := open()
	path := ""
	if u, ok := c.LocalAddr().(*net.UnixAddr); ok {
		path = u.Name
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	c.Close()
	checkClosed(t, c)
	if path != "" {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the file is still there: %v", err)
		}
	}
	again, err := l.ListenPacket(c.LocalAddr().Network(), c.LocalAddr().String())
	if err != nil {
		t.Fatalf("the address cannot be used again: %v", err)
	}
	again.Close()
	noMessage(t, l)
	if n := l.Stats().Sources; n != 0 {
		t.Errorf("%d live sources are left", n)
	}
}

func testPacketLoopCloses(t *testing.T, l *Loop, open func() *PacketConn) {
	before := openDescriptors()
	a, b, c := open(), open(), open()
	sendTo(t, a, b, "x")
	nextPackets(t, l, b)
	c.Pause() // not live, but open
	l.Close()
	for _, c := range []*PacketConn{a, b, c} {
		checkClosed(t, c)
	}
	if n := openDescriptors(); n > before {
		t.Errorf("%d descriptors are open, were %d", n, before)
	}
	if _, err := l.ListenPacket("udp", ":0"); err != ErrClosed {
		t.Errorf("ListenPacket gives %v", err)
	}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	if _, err := l.WrapPacketConn(pc); err != ErrClosed {
		t.Errorf("WrapPacketConn gives %v", err)
	}
}

// More datagrams than a batch has come in their order, however they are read.
func testPacketManyInOrder(t *testing.T, l *Loop, open func() *PacketConn) {
	a, b := open(), open()
	count := 10_000
	if raceEnabled || testing.Short() {
		count = 2_000
	}
	p, q := make([]byte, 100), make([]byte, 8)
	sent, got, style := 0, 0, 0
	for got < count {
		// No more under way than the kernel holds.
		for sent < count && sent-got < 100 {
			binary.BigEndian.PutUint64(q, uint64(sent))
			addr := b.LocalAddr()
			if addr.Network() == "udp" {
				addr = net.UDPAddrFromAddrPort(localPort(b))
			}
			if _, err := a.WriteTo(q, addr); err == ErrWouldBlock {
				break // full at the other end; there is something to read then
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

	// An error is told with the datagram that it is about, and hides no other.
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

// Several goroutines that are told by Events read, and each datagram goes to
// one.
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

func testPacketNotify(t *testing.T, l *Loop, open func() *PacketConn) {
	a, b := open(), open()
	c := make(chan Event)
	b.Notify(c)
	l.Events()
	for range 20 {
		sendTo(t, a, b, "1")
		if ev := <-c; ev != Event(Packets{b}) {
			t.Fatalf("unexpected %v", ev)
		}
		mustRead(t, b, "1")
	}
	b.Notify(nil)
	sendTo(t, a, b, "2")
	if ev := <-l.Events(); ev != Event(Packets{b}) {
		t.Fatalf("unexpected %v", ev)
	}
}

func testPacketPriority(t *testing.T, l *Loop, open func() *PacketConn) {
	a, b := open(), open()
	b.SetPriority(0)
	tr := l.Trigger() // lane 1
	tr.Fire()
	sendTo(t, a, b, "1")
	l.turn(10 * time.Second)
	nextPackets(t, l, b)
	if ev, ok := l.Poll(0); !ok || ev != Event(Fired{tr}) {
		t.Errorf("got %v", ev)
	}
}

func testPacketIntrospection(t *testing.T, l *Loop, open func() *PacketConn) {
	a, b := open(), open()
	if b.Loop() != l || (Packets{b}).Source() != Source(b) {
		t.Error("it does not know where it belongs")
	}
	sendTo(t, a, b, "abc")
	l.turn(10 * time.Second)
	var dump bytes.Buffer
	if err := l.Dump(&dump); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"packetconn prio=1 pending=- state=open fd=", " local=" + quote(b.LocalAddr().String()) + " remote=-"} {
		if !strings.Contains(dump.String(), want) {
			t.Errorf("the dump has no %q:\n%s", want, dump.String())
		}
	}
	nextPackets(t, l, b)
	mustRead(t, b, "abc")
	if st := l.Stats(); st.Sources != 2 || st.Messages["Packets"] != 1 || st.BytesIn != 3 || st.BytesOut != 3 {
		t.Errorf("Stats: %+v", st)
	}
	a.Pause()
	b.Pause()
	if st := l.Stats(); st.Sources != 0 {
		t.Errorf("paused: %d live sources", st.Sources)
	}
	if s := (Packets{b}).String(); s != "Packets packetconn "+b.LocalAddr().String() {
		t.Errorf("String is %q", s)
	}
}

func testPacketFile(t *testing.T, l *Loop, open func() *PacketConn) {
	a, b := open(), open()
	f, err := b.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pc, err := net.FilePacketConn(f)
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	if err := pc.(interface{ SetReadBuffer(int) error }).SetReadBuffer(1 << 20); err != nil {
		t.Error(err)
	}
	sendTo(t, a, b, "1") // the socket is still non-blocking, and here
	nextPackets(t, l, b)
	mustRead(t, b, "1")
	mustBlock(t, b)
}

func testPacketIdle(t *testing.T, l *Loop, open func() *PacketConn) {
	a, b := open(), open()
	for range 3 {
		sendTo(t, a, b, "1")
		nextPackets(t, l, b)
		mustRead(t, b, "1")
		b.mu.Lock()
		if b.batch != nil {
			t.Error("an idle connection holds a buffer")
		}
		b.mu.Unlock()
		turns := l.Stats().Turns
		noMessage(t, l)
		if ev, ok := l.Poll(time.Millisecond); ok {
			t.Errorf("unexpected %v", ev)
		}
		if n := l.Stats().Turns - turns; n > 8 {
			t.Errorf("%d turns with nothing to do", n)
		}
	}
}

// addPackets adds packet connections to a test of exactness: read to the end,
// they have nothing to say. Unix sockets deliver before the sender returns, so that is
// certain. (The sockets have no large datagrams, so they can be read either way.)
func addPackets(x *exactTest, l *Loop) {
	for i := range 4 {
		a, b := listenPacket(x, l, "unixgram"), listenPacket(x, l, "unixgram")
		b.direct = i%2 == 0 || !packetBatches
		p := make([]byte, 9)
		s := x.add(b,
			func() { a.WriteTo([]byte("x"), b.LocalAddr()) }, // full at times, which is all right
			func() {
				b.more.Store(true) // there may be what the loop has not been told of yet
				for {
					if _, _, err := b.ReadFrom(p); err != nil {
						return // ErrWouldBlock, or the loop is closed
					}
				}
			})
		s.often = 2 // a report of the kernel may be late, and tell of what another has told of
	}
}

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

// A socket for both families gives IPv4 addresses as such, and sends to all forms.
func testPacketFamilies(t *testing.T, l *Loop) {
	both, four := listenPacket(t, l, "udp"), listenPacket(t, l, "udp4")
	if !both.six {
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
	// No address in a UDPAddr is this host, as with package net.
	if _, err := four.WriteTo([]byte("4"), &net.UDPAddr{Port: int(localPort(both).Port())}); err != nil {
		t.Error(err)
	}
	nextPackets(t, l, both)
	mustRead(t, both, "3")
	mustRead(t, both, "4")
}

// What one connection has left unread in a buffer does not concern the next to use
// it.
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

// Link-local addresses have the name of their interface as zone, and the number will
// do to send.
func testPacketZones(t *testing.T, l *Loop) {
	var local netip.Addr
	var index int
	all, _ := net.Interfaces()
	for _, i := range all {
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			if a, err := netip.ParsePrefix(a.String()); err == nil && a.Addr().Is6() && a.Addr().IsLinkLocalUnicast() && i.Flags&net.FlagUp != 0 {
				local, index = a.Addr().WithZone(i.Name), i.Index
			}
		}
	}
	if !local.IsValid() {
		t.Skip("no interface with a link-local address here")
	}
	a, err := l.ListenPacket("udp", netip.AddrPortFrom(local, 0).String())
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

// What package net sends and receives is the same.
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
			t.Errorf("the net.PacketConn lives: %v", err)
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
		if network == "udp6" && !listenPacket(t, l, "udp").six {
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

// A refusal is an error of the call that the kernel gives it to, and no more.
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

	// Of a socket that is not connected the kernel reports nothing.
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
			// The next write has it, and has sent nothing; the one after that has not.
			if _, err := c.WriteTo([]byte("1"), nil); err != nil {
				t.Fatal(err)
			}
			_, err := c.WriteTo([]byte("2"), nil)
			refused(err, "write")
			// A Packets tells of it where it is left to be read.
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

	// It hides no datagram.
	back, err := l.ListenPacket("udp4", nobody.String())
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
		if back, err = l.ListenPacket("udp4", nobody.String()); err != nil {
			t.Fatal(err)
		}
	}
}

func testPacketBadArguments(t *testing.T, l *Loop) {
	open := func(network, address string) error {
		c, err := l.ListenPacket(network, address)
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
	if both := listenPacket(t, l, "udp"); both.six {
		udp6 := listenPacket(t, l, "udp6")
		cases = append(cases, []struct {
			name string
			err  error
			is   error
			says string
		}{
			{"no such zone", port(udp6, "[fe80::1%nosuchzone]:9"), nil, "zone"},
		}...)
		if wild, err := l.ListenPacket("udp6", ":0"); err == nil {
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

// Nothing gets lost on a Unix socket: a sender whose peer is full is told.
func TestPacketConnUnixgram(t *testing.T) {
	count := 10_000
	if raceEnabled {
		count = 3_000
	}
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"NothingIsLost": func(t *testing.T, l *Loop) {
			a, b := listenPacket(t, l, "unixgram"), listenPacket(t, l, "unixgram")
			full := 0
			for ; full < 1e6; full++ {
				if _, err := a.WriteTo(binary.BigEndian.AppendUint64(nil, uint64(full)), b.LocalAddr()); err != nil {
					if err != ErrWouldBlock && !errors.Is(err, syscall.ENOBUFS) {
						t.Fatal(err)
					}
					break
				}
			}
			t.Logf("full with %d", full)
			var wg sync.WaitGroup
			wg.Go(func() {
				for i := full; i < count; {
					_, err := a.WriteTo(binary.BigEndian.AppendUint64(nil, uint64(i)), b.LocalAddr())
					switch {
					case err == nil:
						i++
					case err == ErrWouldBlock || errors.Is(err, syscall.ENOBUFS):
						runtime.Gosched()
					default:
						t.Error(err)
						return
					}
				}
			})
			p := make([]byte, 9)
			for i := 0; i < count; {
				select {
				case ev := <-l.Events():
					if ev != Event(Packets{b}) {
						t.Fatalf("unexpected %v", ev)
					}
				case <-time.After(10 * time.Second):
					t.Fatalf("%d of %d came", i, count)
				}
				for {
					n, _, err := b.ReadFrom(p)
					if err == ErrWouldBlock {
						break
					}
					if err != nil || n != 8 || binary.BigEndian.Uint64(p) != uint64(i) {
						t.Fatalf("got %x, %v; want %d", p[:n], err, i)
					}
					i++
				}
			}
			wg.Wait()
		},
		"AbstractNames": func(t *testing.T, l *Loop) {
			if runtime.GOOS != "linux" {
				t.Skip("names without a file are Linux's")
			}
			name := fmt.Sprint("@evchan-", os.Getpid(), "-", time.Now().UnixNano())
			a, err := l.ListenPacket("unixgram", name)
			if err != nil {
				t.Fatal(err)
			}
			b, err := l.ListenPacket("unixgram", name+strings.Repeat("x", 108-len(name))) // the longest there is
			if err != nil {
				t.Fatal(err)
			}
			sendTo(t, a, b, "1")
			nextPackets(t, l, b)
			if from := mustRead(t, b, "1"); from.String() != name {
				t.Errorf("from %v; want %s", from, name)
			}
			sendTo(t, b, a, "2")
			nextPackets(t, l, a)
			if from := mustRead(t, a, "2"); from.String() != b.LocalAddr().String() {
				t.Errorf("from %v; want %v", from, b.LocalAddr())
			}
		},
		"RefusedAndGone": func(t *testing.T, l *Loop) {
			a, b, c := listenPacket(t, l, "unixgram"), listenPacket(t, l, "unixgram"), listenPacket(t, l, "unixgram")
			b.path = "" // the file stays, with nobody behind it
			b.Close()
			_, err := a.WriteTo([]byte("x"), b.LocalAddr())
			var op *net.OpError
			if !errors.Is(err, syscall.ECONNREFUSED) || !errors.As(err, &op) || op.Op != "write" || op.Addr.String() != b.LocalAddr().String() {
				t.Errorf("to a socket that is closed: %v", err)
			}
			sendTo(t, a, c, "1") // which does not concern the others
			nextPackets(t, l, c)
			mustRead(t, c, "1")
			noMessage(t, l)
			mustBlock(t, a)
		},
	})
}

// TestPacketConnNoAllocations: a datagram costs no memory.
func TestPacketConnNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	if runtime.GOOS != "linux" {
		t.Skip("the system's calls allocate")
	}
	tests := make(map[string]func(*testing.T, *Loop))
	for _, network := range []string{"udp", "udp4", "udp6", "udp4/direct"} {
		tests[network] = func(t *testing.T, l *Loop) {
			name, direct := strings.CutSuffix(network, "/direct")
			a, b := listenPacket(t, l, name), listenPacket(t, l, name)
			a.direct, b.direct = direct, direct
			p, to := make([]byte, 64), localPort(b)
			ds := []Datagram{{Data: p, Addr: to}, {Data: p, Addr: to}, {Data: p, Addr: to}}
			f := func() {
				if _, err := a.WriteToAddrPort(p, to); err != nil {
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
						_, _, err := b.ReadFromAddrPort(p)
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

func TestZones(t *testing.T) {
	all, err := net.Interfaces()
	if err != nil || len(all) == 0 {
		t.Skip("no interfaces are known: ", err)
	}
	var z zoneCache
	for range 2 { // asked, then remembered
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
	// What was renamed is found by its new name, at once or after a while.
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

// BenchmarkPacketConn moves datagrams of 64 bytes over loopback, by 64.
//
//	batch    many a system call, both ways
//	single   one a system call to write, many to read
//	direct   one a system call, both ways
//	alone    one a burst, so that each has a Packets and calls of its own
//	net      package net, both ways, as a baseline
//
// read-ns is what of the time goes into receiving a datagram, messages included.
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

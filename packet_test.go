// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// listenPacket returns a packet connection on an unused address.
func listenPacket(t testing.TB, l *Loop, network string) *PacketConn {
	t.Helper()
	address := map[string]string{"udp": ":0", "udp4": "127.0.0.1:0", "udp6": "[::1]:0"}[network]
	if network == "unixgram" {
		address = filepath.Join(shortDir(t), "s")
	}
	c, err := l.ListenPacket(network, address, nil)
	if err != nil {
		if network == "udp6" {
			t.Skip("no IPv6 here: ", err)
		}
		t.Fatal(err)
	}
	return c
}

// shortDir returns a new directory with a name short enough for Unix sockets in it.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "p")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// localPort returns an address on this host that reaches c.
func localPort(c *PacketConn) netip.AddrPort {
	a := c.LocalAddr().(*net.UDPAddr).AddrPort()
	if a.Addr().IsUnspecified() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port())
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// sendTo sends a datagram to c from src, which may be a net.PacketConn as well.
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

// mustRead reads a datagram, which must be want, and returns its sender.
func mustRead(t testing.TB, c *PacketConn, want string) net.Addr {
	t.Helper()
	p := make([]byte, 1<<16)
	n, from, err := c.ReadFrom(p)
	if err != nil || string(p[:n]) != want {
		t.Fatalf("read %q, %v; want %q", p[:min(n, 100)], err, want)
	}
	return from
}

// mustBlock checks that no datagram waits.
func mustBlock(t testing.TB, c *PacketConn) {
	t.Helper()
	if n, from, err := c.ReadFromAddrPort(make([]byte, 10)); n != 0 || from.IsValid() || err != ErrWouldBlock {
		t.Fatalf("read %d, %v, %v; want ErrWouldBlock", n, from, err)
	}
}

// packetNetworks are the networks that the tests of PacketConn run on. With
// "/direct", each read asks the kernel, as on systems without recvmmsg.
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
		"CloseBeforeBatch":   testPacketCloseBatch,
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
		"SyscallConn":        testPacketSyscallConn,
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
	mustRead(t, b, "2") // reading still works
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

// checkClosed checks what the methods of a closed connection return.
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
		"SyscallConn":      func() error { _, err := c.SyscallConn(); return err }(),
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
	local := c.LocalAddr()
	path := ""
	if u, ok := c.LocalAddr().(*net.UnixAddr); ok {
		path = u.Name
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	c.Close()
	checkClosed(t, c)
	if c.LocalAddr() != local || c.RemoteAddr() != nil {
		t.Errorf("the addresses are %v and %v", c.LocalAddr(), c.RemoteAddr())
	}
	if path != "" {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the file is still there: %v", err)
		}
	}
	again, err := l.ListenPacket(c.LocalAddr().Network(), c.LocalAddr().String(), nil)
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
	if _, err := l.ListenPacket("udp", ":0", nil); err != ErrClosed {
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
		t.Error("Loop or Source gives another one")
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
	sendTo(t, a, b, "1") // the socket is still non-blocking, and b still receives
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

// addPackets adds packet connections to a test of exactness: after all datagrams were
// read, no Packets may be received. Unix sockets are used since they deliver before the
// sender returns. (Their datagrams are small here, so batches can hold them.)
func addPackets(x *exactTest, l *Loop) {
	for i := range 4 {
		a, b := listenPacket(x, l, "unixgram"), listenPacket(x, l, "unixgram")
		b.direct = i%2 == 0 || !packetBatches
		p := make([]byte, 9)
		s := x.add(b,
			func() { a.WriteTo([]byte("x"), b.LocalAddr()) }, // full at times, which is all right
			func() {
				b.more.Store(true) // the poller may not have reported the last ones yet
				for {
					if _, _, err := b.ReadFrom(p); err != nil {
						return // ErrWouldBlock, or the loop is closed
					}
				}
			})
		s.often = 2 // a late report may be of datagrams that an earlier one was of, too
	}
}

// The socket that Control gets stays open until its function has returned, which may use
// the connection, and close it.
func testPacketSyscallConn(t *testing.T, l *Loop, open func() *PacketConn) {
	before := openDescriptors()
	a, b := open(), open()
	raw, err := b.SyscallConn()
	must(t, err)
	works := func(fd uintptr) {
		t.Helper()
		if n, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_TYPE); n != syscall.SOCK_DGRAM || err != nil {
			t.Errorf("SO_TYPE is %d, %v", n, err)
		}
	}
	must(t, raw.Control(func(fd uintptr) {
		works(fd)
		sendTo(t, a, b, "1")
		nextPackets(t, l, b)
		must(t, raw.Control(works))
		mustRead(t, b, "1")
		b.Close()
		if _, _, err := b.ReadFrom(nil); err != ErrClosed {
			t.Errorf("reading after Close gives %v", err)
		}
		again := open() // has another number
		works(fd)
		if err := raw.Control(works); err != ErrClosed {
			t.Errorf("Control after Close gives %v", err)
		}
		again.Close()
	}))
	if err := raw.Control(works); err != ErrClosed {
		t.Errorf("Control after Close gives %v", err)
	}
	raw, err = a.SyscallConn()
	must(t, err)
	never := func(uintptr) bool { t.Error("it is called"); return true }
	if r, w := raw.Read(never), raw.Write(never); r != ErrUnsupported || w != ErrUnsupported {
		t.Errorf("Read and Write give %v, %v", r, w)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a panic of the function is lost")
			}
		}()
		raw.Control(func(uintptr) { panic("its own") })
	}()
	a.Close()
	if n := openDescriptors(); n > before {
		t.Errorf("%d descriptors are open, were %d", n, before)
	}

	// From many goroutines, with Close among them.
	c := open()
	raw, err = c.SyscallConn()
	must(t, err)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for raw.Control(works) == nil {
				runtime.Gosched()
			}
		})
	}
	c.Close()
	wg.Wait()
	if n := openDescriptors(); n > before {
		t.Errorf("%d descriptors are open, were %d", n, before)
	}
}

// A batch that was received before Close has no message of the connection after it, though
// its datagrams are unread.
func testPacketCloseBatch(t *testing.T, l *Loop, open func() *PacketConn) {
	a, b, c := open(), open(), open()
	batches := l.Batches()
	for range 20 {
		sendTo(t, a, b, "1")
		sendTo(t, a, b, "2")
		sendTo(t, a, c, "3")
		for got := false; !got; {
			batch := <-batches
			b.Close()
			for ev := range batch.All() {
				if ev != Event(Packets{c}) {
					t.Fatalf("unexpected %v", ev)
				}
				mustRead(t, c, "3")
				got = true
			}
		}
		b = open()
	}
}

// A connection that others find through Sources is complete: they may use and close it while
// it is being made. (The race detector is the one that sees more here.)
func TestPacketConnVisible(t *testing.T) {
	before := openDescriptors()
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Visible": func(t *testing.T, l *Loop) {
			done := make(chan struct{})
			var wg sync.WaitGroup
			for i := range 2 {
				wg.Go(func() {
					for n := i; ; n++ {
						select {
						case <-done:
							return
						default:
						}
						for s := range l.Sources() {
							c := s.(*PacketConn)
							if c.Data != "mine" {
								t.Errorf("Data is %v", c.Data)
							}
							if f, err := c.File(); err == nil {
								f.Close()
							} else if err != ErrClosed {
								t.Error(err)
							}
							c.ReadPacket(make([]byte, 1))
							c.WriteTo(nil, c.LocalAddr())
							if c.dump(); n%3 == 0 {
								c.Close()
							}
						}
					}
				})
			}
			for i := range 100 {
				network, address := "udp4", "127.0.0.1:0"
				if i%2 == 0 {
					network, address = "unixgram", filepath.Join(shortDir(t), "s")
				}
				c, err := l.ListenPacket(network, address, &PacketConfig{Data: "mine"})
				if err != nil {
					t.Error(err)
					break
				}
				c.Close()
			}
			// The loop is closed in the midst of it.
			wg.Go(func() { l.Close() })
			for {
				c, err := l.ListenPacket("udp4", "127.0.0.1:0", &PacketConfig{Data: "mine"})
				if err != nil {
					if err != ErrClosed {
						t.Errorf("ListenPacket gives %v", err)
					}
					break
				}
				c.Close()
			}
			close(done)
			wg.Wait()
		},
	})
	if n := openDescriptors(); n > before {
		t.Errorf("%d descriptors are open, were %d", n, before)
	}
}

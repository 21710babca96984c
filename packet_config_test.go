// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"errors"
	"math"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Datagrams come in all the time for an address while connections are made there. No
// message may be received before its connection has its Data, and none elsewhere than
// where PacketConfig says.
func TestPacketConfigFirst(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"First": func(t *testing.T, l *Loop) {
			free, err := l.ListenPacket("udp4", "127.0.0.1:0", &PacketConfig{ReusePort: true})
			if errors.Is(err, ErrUnsupported) {
				t.Skip(err)
			}
			must(t, err)
			to := localPort(free)
			free.Close()
			pc, err := net.ListenUDP("udp4", nil)
			must(t, err)
			defer pc.Close()
			var wg sync.WaitGroup
			defer wg.Wait()
			done := make(chan struct{})
			defer close(done)
			wg.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
						pc.WriteToUDPAddrPort([]byte("x"), to)
					}
				}
			})
			notify := make(chan Event)
			for i := range 100 {
				// The wait of method poll may hold on to the socket before for a moment.
				conf := &PacketConfig{Data: i, ReusePort: true}
				if i%2 == 0 {
					conf.Notify = notify
				}
				made := make(chan *PacketConn, 1)
				wg.Go(func() {
					defer close(made)
					c, err := l.ListenPacket("udp4", to.String(), conf)
					if err != nil {
						t.Error(err)
					}
					made <- c
				})
				var ev Event
				select {
				case ev = <-notify:
					if i%2 != 0 {
						t.Error("a message came where those of an earlier connection went")
					}
				case ev = <-l.Events():
					if i%2 == 0 {
						t.Error("a message came the loop's own way")
					}
				case <-time.After(10 * time.Second):
					t.Fatal("no message")
				}
				if data := ev.(Packets).Conn.Data; data != i {
					t.Fatalf("Data is %v; want %d", data, i)
				}
				c := <-made
				if c != ev.(Packets).Conn {
					t.Fatal("the message is of another connection")
				}
				c.Close()
			}
		},
	})
}

// TestPacketConfig: the other settings of a PacketConfig.
func TestPacketConfig(t *testing.T) {
	option := func(c *PacketConn, name int) int {
		t.Helper()
		f, err := c.File()
		must(t, err)
		defer f.Close()
		raw, err := f.SyscallConn()
		must(t, err)
		n, optErr := 0, error(nil)
		must(t, raw.Control(func(fd uintptr) { n, optErr = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, name) }))
		must(t, optErr)
		return n
	}
	listen := func(l *Loop, network, address string, conf *PacketConfig) *PacketConn {
		t.Helper()
		c, err := l.ListenPacket(network, address, conf)
		must(t, err)
		return c
	}
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Paused": func(t *testing.T, l *Loop) {
			c := listen(l, "udp4", "127.0.0.1:0", &PacketConfig{Paused: true})
			if st := l.Stats(); st.Sources != 0 {
				t.Errorf("%d sources are live", st.Sources)
			}
			sendTo(t, listenPacket(t, l, "udp4"), c, "1")
			noMessage(t, l)
			c.Resume()
			nextPackets(t, l, c)
			mustRead(t, c, "1")
		},
		"ReusePort": func(t *testing.T, l *Loop) {
			a, err := l.ListenPacket("udp4", "127.0.0.1:0", &PacketConfig{ReusePort: true})
			if errors.Is(err, ErrUnsupported) {
				t.Skip(err)
			}
			must(t, err)
			b := listen(l, "udp4", a.LocalAddr().String(), &PacketConfig{ReusePort: true})
			if _, err := l.ListenPacket("udp4", a.LocalAddr().String(), nil); !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("a third without ReusePort gives %v", err)
			}
			for range 20 {
				from := listenPacket(t, l, "udp4")
				sendTo(t, from, a, "x")
				ev, _ := l.Poll(10 * time.Second)
				c := ev.(Packets).Conn
				if c != a && c != b {
					t.Fatalf("unexpected %v", ev)
				}
				mustRead(t, c, "x")
			}
		},
		"Buffers": func(t *testing.T, l *Loop) {
			for _, network := range []string{"udp4", "unixgram"} {
				address := "127.0.0.1:0"
				if network == "unixgram" {
					address = filepath.Join(shortDir(t), "s")
				}
				c := listen(l, network, address, &PacketConfig{ReadBuffer: 20 << 10, WriteBuffer: 30 << 10})
				if r, w := option(c, syscall.SO_RCVBUF), option(c, syscall.SO_SNDBUF); r < 20<<10 || r > 40<<10 || w < 30<<10 || w > 60<<10 {
					t.Errorf("%s: the buffers are of %d and %d bytes", network, r, w)
				}
			}
			if math.MaxInt > math.MaxInt32 && runtime.GOOS == "linux" {
				large := math.MaxInt/2 + 1 // whose low 32 bits are 0
				c := listen(l, "udp4", "127.0.0.1:0", &PacketConfig{ReadBuffer: large, WriteBuffer: large})
				if r, w := option(c, syscall.SO_RCVBUF), option(c, syscall.SO_SNDBUF); r < 100<<10 || w < 100<<10 {
					t.Errorf("for %d the buffers are of %d and %d bytes", large, r, w)
				}
			}
		},
		"Broadcast": func(t *testing.T, l *Loop) {
			for _, on := range []bool{false, true} {
				c := listen(l, "udp", ":0", &PacketConfig{Broadcast: on})
				if n := option(c, syscall.SO_BROADCAST); (n != 0) != on {
					t.Errorf("with Broadcast=%v, SO_BROADCAST is %d", on, n)
				}
			}
		},
		"Control": func(t *testing.T, l *Loop) {
			for network, address := range map[string]string{"udp": "127.0.0.1:0", "udp4": "127.0.0.1:0", "unixgram": filepath.Join(shortDir(t), "s")} {
				calls := 0
				conf := &PacketConfig{ReadBuffer: 20 << 10, Control: func(net, addr string, raw syscall.RawConn) error {
					calls++
					if net != map[string]string{"udp": "udp4"}[network] && net != network || addr != address {
						t.Errorf("Control is called with %s, %s", net, addr)
					}
					var err error
					if e := raw.Control(func(fd uintptr) {
						err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 60<<10)
					}); e != nil {
						err = e
					}
					return err
				}}
				c := listen(l, network, address, conf)
				if n := option(c, syscall.SO_RCVBUF); calls != 1 || n < 60<<10 {
					t.Errorf("after %d calls of Control the buffer is of %d bytes", calls, n)
				}
				c.Close()
				mine := errors.New("mine")
				before := openDescriptors()
				conf.Control = func(_, _ string, _ syscall.RawConn) error { return mine }
				_, err := l.ListenPacket(network, address, conf)
				var op *net.OpError
				if !errors.Is(err, mine) || !errors.As(err, &op) || op.Op != "listen" {
					t.Errorf("an error of Control gives %v", err)
				}
				if n := openDescriptors(); n > before {
					t.Errorf("%d descriptors are open, were %d", n, before)
				}
			}
		},
		"BadArguments": func(t *testing.T, l *Loop) {
			for name, c := range map[string]struct {
				network string
				conf    PacketConfig
				is      error
			}{
				"ReadBuffer":  {"udp4", PacketConfig{ReadBuffer: -1}, nil},
				"WriteBuffer": {"udp4", PacketConfig{WriteBuffer: -1}, nil},
				"ReusePort":   {"unixgram", PacketConfig{ReusePort: true}, ErrUnsupported},
				"Broadcast":   {"unixgram", PacketConfig{Broadcast: true}, ErrUnsupported},
			} {
				_, err := l.ListenPacket(c.network, "127.0.0.1:0", &c.conf)
				if err == nil || c.is != nil && !errors.Is(err, c.is) {
					t.Errorf("%s gives %v", name, err)
				}
			}
		},
	})
}

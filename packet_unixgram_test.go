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
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// No datagram gets lost on a Unix socket: the sender gets an error while its peer is
// full.
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
					if err != ErrWouldBlock {
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
					case err == ErrWouldBlock:
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
			a, err := l.ListenPacket("unixgram", name, nil)
			if err != nil {
				t.Fatal(err)
			}
			b, err := l.ListenPacket("unixgram", name+strings.Repeat("x", 108-len(name)), nil) // the longest there is
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
			b.SetUnlinkOnClose(false) // the file stays, with no socket behind it
			b.Close()
			_, err := a.WriteTo([]byte("x"), b.LocalAddr())
			var op *net.OpError
			if !errors.Is(err, syscall.ECONNREFUSED) || !errors.As(err, &op) || op.Op != "write" || op.Addr.String() != b.LocalAddr().String() {
				t.Errorf("to a socket that is closed: %v", err)
			}
			sendTo(t, a, c, "1") // other destinations still work
			nextPackets(t, l, c)
			mustRead(t, c, "1")
			noMessage(t, l)
			mustBlock(t, a)
		},
	})
}

// TestPacketConnUnlink: whose file it is decides whether Close removes it.
func TestPacketConnUnlink(t *testing.T) {
	listen := func(l *Loop, name string) (*PacketConn, error) { return l.ListenPacket("unixgram", name, nil) }
	wrap := func(l *Loop, name string) (*PacketConn, error) {
		pc, err := net.ListenPacket("unixgram", name)
		if err != nil {
			return nil, err
		}
		return l.WrapPacketConn(pc)
	}
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Close": func(t *testing.T, l *Loop) {
			for _, c := range []struct {
				name    string
				open    func(*Loop, string) (*PacketConn, error)
				set     []bool
				removes bool
			}{
				{"listen", listen, nil, true},
				{"listen/false", listen, []bool{false}, false},
				{"listen/false/true", listen, []bool{false, true}, true},
				{"wrap", wrap, nil, false},
				{"wrap/true", wrap, []bool{true}, true},
				{"wrap/true/false", wrap, []bool{true, false}, false},
			} {
				path := filepath.Join(shortDir(t), "s")
				conn, err := c.open(l, path)
				must(t, err)
				for _, v := range c.set {
					conn.SetUnlinkOnClose(v)
				}
				conn.Close()
				if _, err := os.Stat(path); os.IsNotExist(err) != c.removes {
					t.Errorf("%s: after Close the file gives %v", c.name, err)
				}
				// Another process has a socket of that name now.
				os.Remove(path)
				other, err := net.ListenPacket("unixgram", path)
				must(t, err)
				conn.SetUnlinkOnClose(true)
				conn.Close()
				if _, err := os.Stat(path); err != nil {
					t.Errorf("%s: a second Close removes a file: %v", c.name, err)
				}
				other.Close()
			}
		},
		// A socket that was handed over can be sent to after the loop is closed.
		"HandOver": func(t *testing.T, l *Loop) {
			c := listenPacket(t, l, "unixgram")
			f, err := c.File()
			must(t, err)
			defer f.Close()
			c.SetUnlinkOnClose(false)
			l.Close()
			heir, err := net.FilePacketConn(f)
			must(t, err)
			defer heir.Close()
			if _, err := heir.WriteTo([]byte("x"), c.LocalAddr()); err != nil {
				t.Errorf("sending to it gives %v", err)
			}
		},
		"Others": func(t *testing.T, l *Loop) {
			udp := listenPacket(t, l, "udp4")
			udp.SetUnlinkOnClose(true) // has no file
			udp.Close()
			conn := dialPacket(t, l, "unixgram", listenPacket(t, l, "unixgram").LocalAddr().String())
			conn.SetUnlinkOnClose(true) // has no name
			conn.Close()
		},
	})
}

// TestPacketConnFull: whatever a system calls it, a full queue is ErrWouldBlock.
func TestPacketConnFull(t *testing.T) {
	c := listenPacket(t, dialLoop(t, ""), "unixgram")
	for _, errno := range []error{syscall.EAGAIN, syscall.ENOBUFS} {
		if err := c.sendError(errno, netip.AddrPort{}, c.LocalAddr()); err != ErrWouldBlock {
			t.Errorf("%v gives %v", errno, err)
		}
	}
}

// TestPacketConnBlocking: another holder of the socket has made it blocking. No call waits
// for all that.
func TestPacketConnBlocking(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Blocking": func(t *testing.T, l *Loop) {
			for _, network := range []string{"udp4", "unixgram"} {
				for _, direct := range []bool{false, true} {
					c, peer := listenPacket(t, l, network), listenPacket(t, l, network)
					c.direct = c.direct || direct
					f, err := c.File()
					must(t, err)
					defer f.Close()
					must(t, syscall.SetNonblock(int(f.Fd()), false))
					mustBlock(t, c) // asks the kernel
					sendTo(t, peer, c, "1")
					nextPackets(t, l, c)
					mustRead(t, c, "1")
					mustBlock(t, c)
					noMessage(t, l)
					if network == "unixgram" {
						for err = nil; err == nil; {
							_, err = c.WriteTo([]byte("x"), peer.LocalAddr())
						}
						if err != ErrWouldBlock {
							t.Errorf("a full peer gives %v", err)
						}
					} else if _, _, _, err := c.ReadPacket(nil); err != ErrWouldBlock {
						t.Errorf("ReadPacket gives %v", err)
					}
					c.Close()
					peer.Close()
				}
			}
		},
	})
}

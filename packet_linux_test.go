// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestPacketConnLongestPath answers a socket whose path leaves no room for the final
// NUL. Package net cannot make such a socket.
func TestPacketConnLongestPath(t *testing.T) {
	l := dialLoop(t, "")
	c := listenPacket(t, l, "unixgram")
	dir, err := os.MkdirTemp("", "evchan")
	must(t, err)
	defer os.RemoveAll(dir)
	sa := unix.RawSockaddrUnix{Family: unix.AF_UNIX}
	path := dir + string(filepath.Separator)
	if len(path) >= len(sa.Path) {
		t.Skip("the directory for temporary files has too long a name: ", dir)
	}
	path += strings.Repeat("x", len(sa.Path)-len(path))
	for i := range sa.Path {
		sa.Path[i] = int8(path[i])
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	if _, _, errno := syscall.Syscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&sa)), unix.SizeofSockaddrUnix); errno != 0 {
		t.Fatal(errno)
	}
	must(t, unix.Sendto(fd, []byte("question"), 0, &unix.SockaddrUnix{Name: c.LocalAddr().String()}))
	nextPackets(t, l, c)
	p := make([]byte, 20)
	_, from, err := c.ReadFrom(p)
	if err != nil || from == nil || from.String() != path {
		t.Fatalf("from %v, %v; want %v", from, err, path)
	}
	if _, err := c.WriteTo([]byte("answer"), from); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteBatch([]Datagram{{Data: []byte("again"), NetAddr: from}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"answer", "again"} {
		if n, err := unix.Read(fd, p); err != nil || string(p[:n]) != want {
			t.Errorf("got %q, %v; want %q", p[:n], err, want)
		}
	}
	_, err = c.WriteTo([]byte("x"), &net.UnixAddr{Name: path + "x", Net: "unixgram"})
	if err == nil {
		t.Error("a longer path can be sent to")
	}
}

// TestPacketConnVain: what the kernel reports for ever, and reading does not change, must
// not have the loop turn all the time, nor keep datagrams from being noticed.
func TestPacketConnVain(t *testing.T) {
	control := func(t *testing.T, c *PacketConn, f func(fd int) error) error {
		t.Helper()
		raw, err := c.SyscallConn()
		must(t, err)
		must(t, raw.Control(func(fd uintptr) { err = f(int(fd)) }))
		return err
	}
	const most = 100 // turns in 100 ms; it was more than ten thousand
	quiet := func(t *testing.T, l *Loop, c *PacketConn) {
		t.Helper()
		before := l.Stats().Turns
		for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); {
			if ev, ok := l.Poll(max(0, time.Until(end))); ok {
				t.Fatalf("unexpected %v", ev)
			}
		}
		if n := l.Stats().Turns - before; n > most {
			t.Errorf("%v: %d turns", c, n)
		}
	}
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"ErrorQueue": func(t *testing.T, l *Loop) {
			for _, direct := range []bool{false, true} {
				gone := listenPacket(t, l, "udp4")
				nobody := localPort(gone)
				gone.Close()
				a, c := listenPacket(t, l, "udp4"), listenPacket(t, l, "udp4")
				c.direct = direct
				must(t, control(t, c, func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1) }))
				_, err := c.WriteToAddrPort([]byte("x"), nobody)
				must(t, err)
				nextPackets(t, l, c)
				if _, _, err := c.ReadFrom(nil); !errors.Is(err, syscall.ECONNREFUSED) {
					t.Fatalf("reading gives %v", err)
				}
				for range 2 {
					quiet(t, l, c)
					sendTo(t, a, c, "1")
					nextPackets(t, l, c)
					mustRead(t, c, "1")
				}
				// Once the program has read the queue, all is as it was.
				must(t, control(t, c, func(fd int) error {
					_, _, _, _, err := unix.Recvmsg(fd, make([]byte, 10), nil, unix.MSG_ERRQUEUE)
					return err
				}))
				for range 10 {
					sendTo(t, a, c, "1")
					nextPackets(t, l, c)
					mustRead(t, c, "1")
				}
				c.Close()
				a.Close()
			}
		},
		"ShutDown": func(t *testing.T, l *Loop) {
			for _, network := range []string{"udp4", "unixgram"} {
				c := listenPacket(t, l, network)
				control(t, c, func(fd int) error { return unix.Shutdown(fd, unix.SHUT_RD) }) // fails, but does it
				quiet(t, l, c)
				c.Close() // while it waits
				noMessage(t, l)
			}
		},
	})
}

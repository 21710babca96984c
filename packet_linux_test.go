// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
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

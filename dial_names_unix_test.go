// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"
)

// An address that does not answer holds up the next one for a short time only.
func TestDialNamesRace(t *testing.T) {
	l := dialLoop(t, "")
	silent, err := net.Listen("tcp", "127.0.0.77:0")
	if err != nil {
		t.Skipf("this system cannot listen on 127.0.0.77: %v", err)
	}
	defer silent.Close()
	port := silent.Addr().(*net.TCPAddr).Port
	ln, err := l.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port), nil)
	if err != nil {
		t.Skipf("the port is taken: %v", err)
	}
	defer ln.Close()
	// Nobody accepts there, and there is room for few.
	raw, err := silent.(*net.TCPListener).SyscallConn()
	must(t, err)
	raw.Control(func(fd uintptr) { syscall.Listen(sysFD(fd), 0) })
	full := false
	for range 8 {
		c, err := net.DialTimeout("tcp", silent.Addr().String(), 50*time.Millisecond)
		if err != nil {
			full = true
			break
		}
		defer c.Close()
	}
	if !full {
		t.Skip("this system accepts more than it was told to")
	}
	controlled := 0
	s, err := l.Dial("tcp", fmt.Sprintf("race:%d", port), &DialConfig{
		Names:   &testNames{addrs: map[string][]string{"race": {"127.0.0.77", "127.0.0.1"}}},
		Control: func(string, string, syscall.RawConn) error { controlled++; return nil },
	})
	must(t, err)
	if _, ok := dialEvents(t, l, s).(Connected); !ok {
		t.Fatal(s.Err())
	}
	if got := s.RemoteAddr().(*net.TCPAddr).IP.String(); got != "127.0.0.1" || controlled != 2 {
		t.Errorf("connected to %s after %d attempts", got, controlled)
	}
}

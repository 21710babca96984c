// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// TestU12DescriptorLimit (O2, O3): a process without descriptors left has one
// AcceptFailed, does not spin, and accepts all that wait when it can again. It
// runs in a process of its own.
func TestU12DescriptorLimit(t *testing.T) {
	for _, method := range Methods() {
		t.Run(method, func(t *testing.T) {
			inChild(t, "TestDescriptorLimitChild", "EVCHAN_LIMIT_CHILD="+method)
		})
	}
}

func TestDescriptorLimitChild(t *testing.T) {
	method := os.Getenv("EVCHAN_LIMIT_CHILD")
	if method == "" {
		t.Skip("it is run by TestU12DescriptorLimit")
	}
	l := dialLoop(t, method)
	ln := listen(t, l, "tcp", nil)
	l.Poll(0)
	// Clients connect before the limit falls; the kernel holds them.
	ln.Pause()
	var clients []net.Conn
	for range 20 {
		clients = append(clients, dial(t, ln))
	}
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	limit := old
	limit.Cur = uint64(openDescriptors() + 3)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	ln.Resume()
	accepted, failed := 0, 0
	count := func(d time.Duration) {
		for until := time.Now().Add(d); time.Now().Before(until) && accepted < len(clients); {
			switch ev, _ := l.Poll(time.Until(until)); ev.(type) {
			case Accepted:
				accepted++
			case AcceptFailed:
				failed++
			}
		}
	}
	turns := l.Stats().Turns
	count(300 * time.Millisecond)
	if accepted == 0 || accepted == len(clients) || failed != 1 || !errors.Is(ln.Err(), syscall.EMFILE) {
		t.Errorf("at the limit: %d accepted, %d AcceptFailed, Err %v", accepted, failed, ln.Err())
	}
	if n := l.Stats().Turns - turns; n > 100 {
		t.Errorf("%d turns in 300 ms at the limit", n)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	count(10 * time.Second)
	if accepted != len(clients) || failed != 1 || ln.Err() != nil {
		t.Errorf("after it: %d accepted, %d AcceptFailed, Err %v", accepted, failed, ln.Err())
	}
}

// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestU12O2O3L23DescriptorLimit: a process without descriptors left has one
// AcceptFailed, does not spin, and accepts all that wait when it can again. It
// runs in a process of its own.
func TestU12O2O3L23DescriptorLimit(t *testing.T) {
	for _, method := range Methods() {
		cmd := exec.Command(os.Args[0], "-test.run=^TestDescriptorLimitChild$", "-test.v")
		cmd.Env = append(os.Environ(), "EVCHAN_LIMIT_CHILD="+method)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestDescriptorLimitChild") {
			t.Errorf("%s: %v\n%s", method, err, out)
		}
		for line := range strings.Lines(string(out)) {
			if _, said, ok := strings.Cut(line, "_test.go:"); ok {
				t.Logf("%s: %s", method, said)
			}
		}
	}
}

func TestDescriptorLimitChild(t *testing.T) {
	method := os.Getenv("EVCHAN_LIMIT_CHILD")
	if method == "" {
		t.Skip("it is run by TestU12O2O3L23DescriptorLimit")
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
	debug.SetGCPercent(-1) // the collector's work is not what is measured
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
	before := cpuTime(t)
	const lasts = time.Second
	count(lasts)
	if used := cpuTime(t) - before; used > lasts/100 {
		t.Errorf("%v of CPU time in %v at the limit", used, lasts)
	} else {
		t.Logf("%v of CPU time in %v at the limit", used, lasts)
	}
	if accepted == 0 || accepted == len(clients) || failed != 1 || !errors.Is(ln.Err(), syscall.EMFILE) {
		t.Errorf("at the limit: %d accepted, %d AcceptFailed, Err %v", accepted, failed, ln.Err())
	}
	// It tries again after 5 ms, 10 ms, 20 ms, and so on.
	if n := l.Stats().Turns - turns; n > 50 {
		t.Errorf("%d turns in %v at the limit", n, lasts)
	}
	// Nor can it dial: that fails with the same error, which is not the resolver's.
	s, err := l.Dial("tcp", ln.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var dns *net.DNSError
	if ev := nextOf(t, l, s); ev != Event(Closed{s}) || !errors.Is(s.Err(), syscall.EMFILE) || errors.As(s.Err(), &dns) {
		t.Errorf("Dial at the limit: %v, %v", ev, s.Err())
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	count(10 * time.Second)
	if accepted != len(clients) || failed != 1 || ln.Err() != nil {
		t.Errorf("after it: %d accepted, %d AcceptFailed, Err %v", accepted, failed, ln.Err())
	}
	for _, c := range clients { // the right ones: all can be talked to
		send(t, c, "x")
	}
	talking := make(map[*Stream]bool)
	for len(talking) < len(clients) {
		ev, ok := l.Poll(10 * time.Second)
		if !ok {
			t.Fatalf("%d of %d clients were heard", len(talking), len(clients))
		}
		if ev, is := ev.(Readable); is {
			talking[ev.Stream] = true
		}
	}
}

// cpuTime returns how much CPU time the process has used.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

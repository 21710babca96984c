// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestU12O2O3L23DescriptorLimit: a process without descriptors left has one
// AcceptFailed, does not spin, and accepts all that wait when it can again. It
// runs in a process of its own.
func TestU12O2O3L23DescriptorLimit(t *testing.T) {
	t.Parallel()
	for _, method := range Methods() {
		t.Run(method, func(t *testing.T) {
			inChild(t, "TestDescriptorLimitChild", "EVCHAN_LIMIT_CHILD="+method)
		})
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

// TestMoreThanDescriptors has more clients than a server, in a process of its own, has
// descriptors for. With ListenConfig.MaxStreams it never comes to that limit, without it
// it has AcceptFailed, and rests; and everybody is answered in the end.
func TestMoreThanDescriptors(t *testing.T) {
	for _, method := range Methods() {
		for _, max := range []int{0, 10} {
			t.Run(fmt.Sprintf("%s/MaxStreams=%d", method, max), func(t *testing.T) {
				t.Parallel()
				testMoreThanDescriptors(t, method, max)
			})
		}
	}
}

func testMoreThanDescriptors(t *testing.T, method string, max int) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestMoreThanDescriptorsChild$", "-test.v")
	cmd.Env = append(os.Environ(), fmt.Sprintf("EVCHAN_CROWD_CHILD=%s %d", method, max))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	err = cmd.Start()
	needExec(t, err)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var all []string
	say := func(format string, a ...any) { // has the child say something
		t.Helper()
		for lines.Scan() {
			all = append(all, lines.Text())
			if _, err := fmt.Sscanf(lines.Text(), format, a...); err == nil {
				return
			}
		}
		t.Fatalf("the child has ended: %v\n%s", lines.Err(), strings.Join(all, "\n"))
	}
	defer func() {
		in.Close()
		for lines.Scan() {
			all = append(all, lines.Text())
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v\n%s", err, strings.Join(all, "\n"))
		}
	}()
	var addr string
	var served int // by the server at once
	say("addr %s room %d", &addr, &served)
	if max > 0 {
		served = max
	}

	const clients = 100
	answered := make(chan error, clients)
	leave := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range clients {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer c.Close()
			c.SetDeadline(time.Now().Add(20 * time.Second))
			want := fmt.Sprintf("client %d\n", i)
			_, err := io.WriteString(c, want)
			if err == nil {
				var line string
				if line, err = bufio.NewReader(c).ReadString('\n'); line != want && err == nil {
					err = fmt.Errorf("it got %q; want %q", line, want)
				}
			}
			answered <- err
			<-leave
		})
	}
	left := false
	defer func() {
		if !left {
			close(leave)
		}
	}()
	fmt.Fprintln(in, "go")
	hear := func(n int) {
		t.Helper()
		for range n {
			if err := <-answered; err != nil {
				t.Fatal(err)
			}
		}
	}
	count := func() (turns, failed, accepted int) {
		t.Helper()
		fmt.Fprintln(in, "count")
		say("turns %d failed %d accepted %d", &turns, &failed, &accepted)
		return turns, failed, accepted
	}
	hear(served)
	turns, failed, accepted := count()
	if accepted != served {
		t.Errorf("%d were accepted; want %d", accepted, served)
	}
	for n := 0; n < 20; n++ { // while nobody leaves it tries now and then
		time.Sleep(5 * time.Millisecond)
		again, f, _ := count()
		failed = f
		if again-turns > 50 {
			t.Fatalf("%d turns at the limit", again-turns)
		}
	}
	close(leave)
	left = true
	hear(clients - served)
	wg.Wait()
	turns, f, accepted := count()
	if want := 1; (max > 0 && f != 0) || max == 0 && (failed != want || f < want) {
		t.Errorf("%d AcceptFailed, and later %d", failed, f)
	}
	if accepted != clients || turns > 20*clients {
		t.Errorf("%d accepted, %d turns", accepted, turns)
	}
}

func TestMoreThanDescriptorsChild(t *testing.T) {
	var method string
	var max int
	if _, err := fmt.Sscan(os.Getenv("EVCHAN_CROWD_CHILD"), &method, &max); err != nil {
		t.Skip("it is run by TestMoreThanDescriptors")
	}
	l := dialLoop(t, method)
	ln := listen(t, l, "tcp", &ListenConfig{Paused: true, MaxStreams: max})
	var failed, accepted atomic.Int64
	// What the package, and the runtime, open with their first use is open after this.
	warm := l.After(time.Microsecond)
	nextOfAny(t, l, warm)
	limit := syscall.Rlimit{Cur: uint64(openDescriptors() + 20)}
	limit.Max = limit.Cur
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	var room []int
	for {
		fd, err := sysDup(0, 0)
		if err != nil {
			break
		}
		room = append(room, fd)
	}
	for _, fd := range room {
		closeFD(fd)
	}
	fmt.Printf("addr %s room %d\n", ln.Addr(), len(room))
	serve(t, l, func(ev Event) {
		switch ev := ev.(type) {
		case Accepted:
			accepted.Add(1)
		case AcceptFailed:
			failed.Add(1)
			if !errors.Is(ev.Listener.Err(), syscall.EMFILE) {
				t.Errorf("AcceptFailed: %v", ev.Listener.Err())
			}
		case Closed:
			t.Errorf("Closed: %v", ev.Stream.Err())
		default:
			echo(ev)
		}
	})
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "go":
			ln.Resume()
		case "count":
			fmt.Printf("turns %d failed %d accepted %d\n", l.Stats().Turns, failed.Load(), accepted.Load())
		}
	}
}

// nextOfAny waits for a message of src.
func nextOfAny(t *testing.T, l *Loop, src Source) {
	t.Helper()
	for {
		ev, ok := l.Poll(10 * time.Second)
		if !ok {
			t.Fatal("no message in time")
		}
		if ev.Source() == src {
			return
		}
	}
}

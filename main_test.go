// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain fails if a test has left a goroutine or a descriptor behind.
func TestMain(m *testing.M) {
	// The runtime's own poller, and the goroutine of os/signal, come with their
	// first use and stay.
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	signal.Stop(c)
	flag.Parse()
	useModels()

	goroutines, descriptors := len(otherGoroutines()), openDescriptors()
	code := m.Run()
	fuzzing := flag.Lookup("test.fuzz").Value.String() != "" || flag.Lookup("test.fuzzworker").Value.String() == "true"
	if code == 0 && !fuzzing {
		if msg := leaks(goroutines, descriptors); msg != "" {
			fmt.Println(msg)
			code = 1
		}
	}
	os.Exit(code)
}

// leaks tells what there is more of than there was, once it does not become less
// any more.
func leaks(goroutines, descriptors int) string {
	var msg string
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		runtime.GC() // files that a test has dropped are closed
		left, open := otherGoroutines(), openDescriptors()
		switch {
		case len(left) > goroutines:
			msg = fmt.Sprintf("%d goroutines are left, were %d:\n\n%s", len(left), goroutines, strings.Join(left, "\n\n"))
		case open > descriptors:
			msg = fmt.Sprintf("%d descriptors are open, were %d:\n%s", open, descriptors, strings.Join(descriptorTargets(), "\n"))
		default:
			return ""
		}
	}
	return msg
}

// otherGoroutines returns the stacks of all goroutines but the calling one.
func otherGoroutines() []string {
	buf := make([]byte, 1<<20)
	stacks := strings.Split(strings.TrimSpace(string(buf[:runtime.Stack(buf, true)])), "\n\n")
	return slices.DeleteFunc(stacks[1:], func(s string) bool { return strings.Contains(s, "\nruntime.handleEvent(") }) // js has one now and then
}

// descriptorTargets returns what the descriptors are, as /proc tells it.
func descriptorTargets() (targets []string) {
	names, _ := os.ReadDir("/proc/self/fd")
	for _, name := range names {
		target, _ := os.Readlink("/proc/self/fd/" + name.Name())
		targets = append(targets, name.Name()+" "+target)
	}
	return targets
}

// openDescriptors returns how many descriptors are open, 0 if the system does not
// tell.
func openDescriptors() int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil || runtime.GOOS == "windows" { // Wine has /proc, but opens some for each thread
		return 0
	}
	return len(names)
}

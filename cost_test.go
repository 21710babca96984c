// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// TestNoAllocations: a message costs no memory, however it is received.
func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	check := func(t *testing.T, what string, f func()) {
		t.Helper()
		f() // warms up
		if n := testing.AllocsPerRun(200, f); n != 0 {
			t.Errorf("%s: %v allocations a message", what, n)
		}
	}
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Poll": func(t *testing.T, l *Loop) {
			tr := l.Trigger()
			check(t, "Trigger", func() {
				tr.Fire()
				l.Poll(0)
				tr.Take()
			})
			tm := l.After(time.Hour)
			check(t, "Timer", func() {
				tm.Reset(0)
				l.Poll(-1)
			})
		},
		"Watch": func(t *testing.T, l *Loop) {
			if l.Method() == "afd" {
				t.Skip("afd keeps what the kernel writes to while a poll is under way")
			}
			a, _ := socketPair(t)
			w, err := l.Watch(uintptr(a), Read)
			if err != nil {
				t.Fatal(err)
			}
			check(t, "Arm and Disarm", func() {
				w.Arm(time.Hour)
				w.Disarm()
			})
			x, err := l.Watch(uintptr(a), Write)
			if err != nil {
				t.Fatal(err)
			}
			check(t, "Arm and Disarm of two", func() {
				w.Arm(0)
				x.Arm(0)
				w.Disarm()
				x.Disarm()
			})
			check(t, "Ready", func() {
				x.Arm(0)
				if ev, ok := l.Poll(-1); !ok || ev != Event(Ready{x}) {
					t.Fatalf("unexpected %v", ev)
				}
				x.Take()
			})
		},
		"All": func(t *testing.T, l *Loop) {
			tr := l.Trigger()
			check(t, "Trigger", func() {
				tr.Fire()
				for range l.All() {
					break
				}
			})
		},
		"Events": func(t *testing.T, l *Loop) {
			tr, c := l.Trigger(), l.Events()
			check(t, "Trigger", func() {
				tr.Fire()
				<-c
			})
		},
		"Batches": func(t *testing.T, l *Loop) {
			tr, c := l.Trigger(), l.Batches()
			check(t, "Trigger", func() {
				tr.Fire()
				for n := 0; n == 0; {
					for range (<-c).All() {
						n++
					}
				}
			})
		},
		"Echo": func(t *testing.T, l *Loop) {
			s, far := connectedPair(t, l)
			p := make([]byte, 64)
			check(t, "echo", func() {
				far.Write(p)
				if ev, ok := l.Poll(-1); !ok || ev != Event(Readable{s}) {
					t.Fatalf("unexpected %v", ev)
				}
				s.WriteTo(s)
				io.ReadFull(far, p)
			})
		},
	})
}

// TestIdleLoop: a loop that has nothing to do does nothing. It runs in a
// process of its own, whose context switches can be counted.
func TestIdleLoop(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("context switches are counted through /proc")
	}
	for _, method := range socketMethods() {
		t.Run(method, func(t *testing.T) {
			runChild(t, "TestIdleLoopChild", method)
		})
	}
}

func TestIdleLoopChild(t *testing.T) {
	method := childArgs(t)[0]
	l, err := New(&Config{Method: method, IgnoreEnv: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 10_000 {
		l.After(time.Hour)
	}
	for range 500 { // each has two ends
		a, b := socketPair(t)
		for _, fd := range []sysFD{a, b} {
			dup, err := dupFD(fd)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.WrapFD(uintptr(dup), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	l.Events()
	runtime.GC()
	// The garbage collector's goroutines, and the runtime's monitor, go to rest.
	wait := 500 * time.Millisecond
	if s := os.Getenv("EVCHAN_IDLE_TIME"); s != "" {
		if wait, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(200 * time.Millisecond)
	before, turns := switches(t), l.Stats().Turns
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	mallocs := m.Mallocs
	time.Sleep(wait)
	runtime.ReadMemStats(&m)
	if n := m.Mallocs - mallocs; n > 20 {
		t.Errorf("%d allocations", n)
	}
	if n := l.Stats().Turns - turns; n != 0 {
		t.Errorf("%d turns", n)
	}
	// The test itself sleeps and stops the world, and on a busy machine the runtime
	// may take a while to come to rest.
	n := switches(t) - before
	for tries := 0; n > 50 && tries < 20; tries++ {
		before = switches(t)
		time.Sleep(wait)
		n = switches(t) - before
	}
	if n > 50 {
		t.Errorf("%d context switches in %v", n, wait)
	} else {
		t.Logf("%d context switches in %v", n, wait)
	}
}

// switches returns the context switches of the process's threads so far.
func switches(t *testing.T) int {
	t.Helper()
	n := 0
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		p, err := os.ReadFile("/proc/self/task/" + task.Name() + "/status")
		if err != nil {
			continue // the thread has ended
		}
		for line := range strings.Lines(string(p)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.HasSuffix(name, "voluntary_ctxt_switches") {
				k, err := strconv.Atoi(strings.TrimSpace(value))
				if err != nil {
					t.Fatal(err)
				}
				n += k
			}
		}
	}
	return n
}

// TestEchoCopiesNothing sends a megabyte from one stream to another by
// AppendBuffer and by io.Copy, and follows the memory: what was read is what is
// written. Only the small pieces between which copying is cheaper may move.
func TestEchoCopiesNothing(t *testing.T) {
	const total = 1 << 20
	l := dialLoop(t, "")
	src, from := connectedPair(t, l)
	dst, to := connectedPair(t, l)
	src.SetReadMarks(total, 2*total)
	payload := pattern(total)
	for _, way := range []string{"AppendBuffer", "io.Copy"} {
		dst.Pause(Write)
		go from.Write(payload)
		if ev := nextOf(t, l, src); ev != Event(Readable{src}) {
			t.Fatalf("unexpected %v", ev)
		}
		before := memoryOf(&src.Input().chain)
		switch way {
		case "AppendBuffer":
			if err := dst.Output().AppendBuffer(src.Input()); err != nil {
				t.Fatal(err)
			}
			if err := dst.Flush(); err != nil {
				t.Fatal(err)
			}
		case "io.Copy":
			if n, err := io.Copy(dst, src); n != total || err != nil {
				t.Fatalf("io.Copy gives %d, %v", n, err)
			}
		}
		dst.mu.Lock()
		after := memoryOf(&dst.out.queue)
		dst.mu.Unlock()
		same := 0
		for p, n := range after {
			if before[p] == n {
				same += n
			}
		}
		if same < total-2*smallCopy {
			t.Errorf("%s: %d bytes of %d lie where they were read", way, same, total)
		}

		got := make(chan []byte)
		go func() {
			p := make([]byte, total)
			io.ReadFull(to, p)
			got <- p
		}()
		dst.Resume(Write)
		if ev := nextOf(t, l, dst); ev != Event(Drained{dst}) || dst.Queued() > 0 {
			t.Fatalf("unexpected %v", ev)
		}
		if !bytes.Equal(<-got, payload) {
			t.Errorf("%s: other bytes have arrived", way)
		}
		noMessage(t, l)
	}
}

// memoryOf returns where the bytes of b lie, with their number.
func memoryOf(b *chain) map[*byte]int {
	m := make(map[*byte]int)
	for c := b.head; c != nil; c = c.next {
		m[unsafe.SliceData(c.buf[c.r:c.w])] = c.size()
	}
	return m
}

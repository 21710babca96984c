// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"fmt"
	"io"
	"sync"
	"testing"
	"time"
)

// Goroutines dial, write and close while the listener comes and goes, on loops that run.
func testMemoryManyAtOnce(t *testing.T, l *Loop) {
	served := make(chan int)
	name := "many " + l.Method()
	ln, err := l.Listen("memory", name, nil)
	must(t, err)
	go func() {
		n := 0
		for ev := range l.Events() {
			switch ev := ev.(type) {
			case Readable:
				io.Copy(ev.Stream, ev.Stream)
			case EOF:
				ev.Stream.Close()
				n++
			}
		}
		served <- n
	}()
	var clients sync.WaitGroup
	const each = 50
	for range 4 {
		clients.Go(func() {
			for i := range each {
				c, err := netDial("memory", name)
				if err != nil {
					t.Error(err)
					return
				}
				want := fmt.Sprint("hello ", i)
				io.WriteString(c, want)
				c.(interface{ CloseWrite() error }).CloseWrite()
				if got, err := io.ReadAll(c); err != nil || string(got) != want {
					t.Errorf("received %q, %v", got, err)
				}
				c.Close()
			}
		})
	}
	clients.Wait()
	ln.Close()
	must(t, l.Shutdown(t.Context()))
	if n := <-served; n != 4*each {
		t.Errorf("served %d clients", n)
	}
}

// Listeners, dialled streams and their closes race, and nothing is left behind.
func testMemoryGoroutines(t *testing.T, l *Loop) {
	to := other(t, l)
	for _, l := range []*Loop{l, to} {
		go func() {
			for ev := range l.Events() {
				if ev, ok := ev.(Readable); ok {
					ev.Stream.Input().Discard(1 << 20)
				}
			}
		}()
	}
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for range 100 {
				if ln, err := to.Listen("memory", "racy", nil); err == nil {
					ln.Close()
				}
			}
		})
		all.Go(func() {
			for range 100 {
				s, err := l.Dial("memory", "racy", nil)
				if err != nil {
					t.Error(err)
					return
				}
				s.Write([]byte("x"))
				s.Abort()
			}
		})
	}
	all.Wait()
	to.Close()
	l.Close()
	if memoryNames.byName["racy"] != nil {
		t.Error("the name is taken")
	}
	<-l.fedc
	<-to.fedc
}

// A turn, a message and an echo in memory allocate nothing.
func TestMemoryNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's instrumentation allocates")
	}
	l := dialLoop(t, "memory")
	a, b := memoryPair(t, l, l, nil, nil)
	p := make([]byte, 64)
	if n := testing.AllocsPerRun(200, func() {
		a.Write(p)
		for range 2 {
			ev, _ := l.Poll(time.Second)
			s := ev.(Readable).Stream
			if s == a {
				a.Read(p)
			} else {
				b.WriteTo(b)
			}
		}
	}); n != 0 {
		t.Errorf("an echo allocates %v times", n)
	}
}

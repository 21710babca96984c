// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	churnConns  = flag.Int("churn.conns", 400, "how many connections each round of TestChurn opens")
	churnRounds = flag.Int("churn.rounds", 2, "how many rounds TestChurn makes")
)

// churnReply is how much is sent to a client that reads it all, and to one that
// reads nothing.
const churnReply = 256 << 10

// churnWays are what becomes of a connection. The client sends the letter, which
// the server acts upon, and then does its own part.
var churnWays = map[byte]struct {
	serve  func(s *Stream)
	client func(c net.Conn) error
}{
	'f': { // the client finishes first; what it sent comes back
		serve: func(s *Stream) { io.Copy(s, s) },
		client: func(c net.Conn) error {
			io.WriteString(c, "and back")
			c.(interface{ CloseWrite() error }).CloseWrite()
			return churnRead(c, len("and back"))
		},
	},
	'h': { // the server finishes first
		serve: func(s *Stream) {
			s.Write([]byte("that is all"))
			s.CloseWrite()
		},
		client: func(c net.Conn) error { return churnRead(c, len("that is all")) },
	},
	'c': { // the server closes with unread input
		serve: func(s *Stream) { s.Close() },
		client: func(c net.Conn) error {
			io.WriteString(c, "which nobody reads")
			return churnRead(c, 0)
		},
	},
	'u': { // the server closes with unsent output
		serve: func(s *Stream) {
			s.Write(make([]byte, churnReply))
			s.Close()
		},
		client: func(c net.Conn) error { return churnRead(c, churnReply) },
	},
	'n': { // the client never reads
		serve: func(s *Stream) {
			s.Write(make([]byte, churnReply))
			s.Close()
		},
		client: func(c net.Conn) error { return nil },
	},
	'a': { // the server resets
		serve: func(s *Stream) {
			s.Write(make([]byte, churnReply))
			s.Abort()
		},
		client: func(c net.Conn) error {
			io.Copy(io.Discard, c)
			return nil
		},
	},
	'r': { // the client resets
		serve: func(s *Stream) { s.Write(make([]byte, churnReply)) },
		client: func(c net.Conn) error {
			if t, ok := c.(*net.TCPConn); ok {
				t.SetLinger(0)
			}
			return nil
		},
	},
	'b': { // both close at once
		serve:  func(s *Stream) { s.Close() },
		client: func(c net.Conn) error { return nil },
	},
	'k': { // nothing more happens: the client is killed, or the loop closed
		serve:  func(*Stream) {},
		client: nil,
	},
}

// churnRead reads c to the end, which must come after n bytes.
func churnRead(c net.Conn, n int) error {
	got, err := io.Copy(io.Discard, c)
	if err == nil && got != int64(n) {
		err = fmt.Errorf("%d bytes have come, want %d", got, n)
	}
	return err
}

// TestChurn opens, uses and closes connections in every way, and looks after
// each round whether anything is left of them.
func TestChurn(t *testing.T) {
	for _, method := range socketMethods() {
		t.Run(method, func(t *testing.T) {
			var heaps []uint64
			for round := range *churnRounds {
				began := time.Now()
				goroutines, descriptors := runtime.NumGoroutine(), openDescriptors()
				churn(t, method, round)
				if t.Failed() {
					return
				}
				for until := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
					g, d := runtime.NumGoroutine(), openDescriptors()
					if g <= goroutines && d <= descriptors {
						break
					}
					if time.Now().After(until) {
						t.Fatalf("round %d: %d goroutines, were %d; %d descriptors, were %d", round, g, goroutines, d, descriptors)
					}
				}
				runtime.GC() // twice, for the pools
				runtime.GC()
				var mem runtime.MemStats
				runtime.ReadMemStats(&mem)
				heaps = append(heaps, mem.HeapAlloc)
				t.Logf("round %d: %d connections in %.1f s; heap %d KiB, %d goroutines, %d descriptors, resident %s",
					round, *churnConns, time.Since(began).Seconds(), mem.HeapAlloc>>10, runtime.NumGoroutine(), openDescriptors(), procStatus("VmRSS"))
			}
			// Tables that the runtime and package net keep grow in the first round.
			if n := len(heaps); n > 1 && heaps[n-1] > heaps[0]+heaps[0]/4+256<<10 {
				t.Errorf("the heap has grown: %d", heaps)
			}
		})
	}
}

// procStatus returns a line of /proc/self/status; "unknown" where there is none.
func procStatus(name string) string {
	p, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(p)) {
		if key, value, ok := strings.Cut(line, ":"); ok && key == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// churn makes one round, on a loop of its own.
func churn(t *testing.T, method string, round int) {
	l, err := New(&Config{Method: method, IgnoreEnv: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var addrs []net.Addr
	// Each round has its own address, so that the client's ports do not run out.
	for _, network := range networks {
		address := "127.0.0." + strconv.Itoa(2+round%200) + ":0"
		if network == "unix" {
			address = filepath.Join(tempDir(t), "s")
		}
		ln, err := l.Listen(network, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, ln.Addr())
	}
	var held atomic.Int64
	over := make(chan struct{})
	go func() {
		defer close(over)
		for ev := range l.All() {
			switch ev := ev.(type) {
			case Readable:
				if ev.Stream.Listener() == nil { // it was dialed here
					ev.Stream.Input().Reset()
				} else if ev.Stream.Data == nil {
					way, _ := ev.Stream.Input().ReadByte()
					if way == 'k' {
						held.Add(1)
					}
					ev.Stream.Data = way
					churnWays[way].serve(ev.Stream)
				} else if ev.Stream.Data == byte('f') {
					io.Copy(ev.Stream, ev.Stream)
				}
			case EOF:
				ev.Stream.Close()
			case AcceptFailed:
				t.Errorf("%v: %v", ev, ev.Listener.Err())
			}
		}
	}()
	defer func() {
		l.Close()
		<-over
	}()

	var ways []byte
	for way, w := range churnWays {
		if w.client != nil {
			ways = append(ways, way)
		}
	}
	some := *churnConns / 10 // for each of the ways that are not the client's
	clients := startClients(t, some, addrs)
	var open []net.Conn
	for i := range some {
		addr := addrs[i%len(addrs)]
		c, err := net.Dial(addr.Network(), addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Write([]byte("k"))
		open = append(open, c)
	}

	// Streams of the loop itself, most of which give up before they are connected.
	for i := range some {
		addr := addrs[i%len(addrs)]
		s, err := l.Dial(addr.Network(), addr.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		s.Write([]byte("fine"))
		switch i / 2 % 3 {
		case 0:
			s.CloseWrite()
		case 1:
			s.Close()
		case 2:
			s.Abort()
		}
	}

	work := make(chan int)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for i := range work {
				addr, way := addrs[i%len(addrs)], ways[i/2%len(ways)]
				c, err := net.Dial(addr.Network(), addr.String())
				if err != nil {
					t.Error(err)
					continue
				}
				c.Write([]byte{way})
				if err := churnWays[way].client(c); err != nil {
					t.Errorf("%c, %s: %v", way, addr.Network(), err)
				}
				c.Close()
			}
		})
	}
	for i := range *churnConns - 3*some {
		work <- i
	}
	close(work)
	wg.Wait()

	live := func(want int, when string) {
		for until := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			n := l.Stats().Sources - len(addrs)
			if n == want {
				return
			}
			if time.Now().After(until) {
				var b strings.Builder
				l.Dump(&b)
				t.Fatalf("%s: %d streams are left, want %d\n%s", when, n, want, b.String()[:min(b.Len(), 4000)])
			}
		}
	}
	live(2*some, "with those that are held")
	if n := held.Load(); n != int64(2*some) {
		t.Errorf("%d are held, want %d", n, 2*some)
	}
	clients.kill()
	live(some, "after the client was killed")
	l.Close()
	for _, c := range open {
		if n, _ := io.Copy(io.Discard, c); n > 0 { // an end or an error
			t.Errorf("%d bytes have come out of a closed loop", n)
		}
	}
	n := 0
	for range l.Sources() {
		n++
	}
	if n > 0 {
		t.Errorf("a closed loop has %d sources", n)
	}
}

// startClients starts a process that opens count connections to the addresses in
// turn and holds them until it is killed.
func startClients(t *testing.T, count int, addrs []net.Addr) *child {
	args := []string{strconv.Itoa(count)}
	for _, a := range addrs {
		args = append(args, a.String())
	}
	c := startChild(t, "TestChurnChild", args...)
	c.scan(t, "ready")
	return c
}

func TestChurnChild(t *testing.T) {
	args := childArgs(t)
	count, err := strconv.Atoi(args[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := range count {
		c, err := net.Dial(networks[i%len(networks)], args[1+i%len(networks)])
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("k")); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Println("ready")
	select {} // until it is killed
}

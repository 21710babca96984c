// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Push is a server that holds any number of WebSockets and sends all of them the same message,
// again and again. It says what a connection costs, how long it took to accept all, and how long
// a broadcast takes.
//
//	go run ./evws/examples/push -listen 127.0.0.1:8080
//	go run ./evws/examples/push -load 127.0.0.1:8080 -conns 1000000
//
// The second one opens the connections, from as many addresses of 127.0.0.0/8 as their number needs
// (on Linux; other systems have one address there, and so 20,000 connections). Both need a limit of
// open files above the number. For a million on Linux, as root:
//
//	sysctl fs.nr_open=1100000 fs.file-max=3000000
//	ulimit -n 1100000
//
// The kernel needs several KB for each connection besides, for both of its ends. With -demo a few
// hundred are opened within one program, which then ends.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
	"github.com/evchan/evchan/evws"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("push: ")
	listen := flag.String("listen", "127.0.0.1:8080", "serve on `address`")
	every := flag.Duration("every", 5*time.Second, "send a message so often")
	size := flag.Int("size", 128, "bytes of the message")
	target := flag.String("load", "", "do not serve: open connections to `address`")
	conns := flag.Int("conns", 10000, "how many connections -load opens")
	demo := flag.Bool("demo", false, "serve 300 connections of its own, and end")
	flag.Parse()

	switch {
	case *target != "":
		load(*target, *conns, false)
	case *demo:
		serve("127.0.0.1:0", 50*time.Millisecond, *size, 300)
	default:
		serve(*listen, *every, *size, 0)
	}
}

// serve is the server. If demo is not 0, it opens so many connections to itself, and returns when
// all of them have got a message.
func serve(listen string, every time.Duration, size, demo int) {
	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	srv, err := evhttp.Listen(loop, "tcp", listen, nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := loop.Signal(os.Interrupt); err != nil {
		log.Fatal(err)
	}
	loop.Every(every)
	addr := srv.Listeners()[0].Addr().String()
	fmt.Println("serving ws://" + addr + "/")
	began, kernelBegan := resident(), kernel()
	if demo > 0 {
		go load(addr, demo, true)
	}

	conf := &evws.Config{Slow: evws.KeepNewest}
	clients := make(map[*evws.Conn]struct{})
	most := 0
	var first, last time.Time // when connections were accepted
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *evhttp.Request:
			if c, err := evws.Accept(ev, conf); err == nil {
				if last = time.Now(); len(clients) == 0 {
					first = last
				}
				clients[c] = struct{}{}
				most = max(most, len(clients))
			}
		case *evws.Closed:
			delete(clients, ev.Conn)
			if demo > 0 && most == demo && len(clients) == 0 {
				return
			}
		case evchan.Tick:
			ev.Timer.Take()
			start, used := time.Now(), cpu()
			m := evws.Prepare(evws.Text, bytes.Repeat([]byte("x"), size))
			for c := range clients {
				c.SendPrepared(m) // to one that is slow, the newest message, later
			}
			took, used := time.Since(start), cpu()-used
			if n := len(clients); n > 0 {
				fmt.Printf("%d connections, accepted in %v; %d bytes each, and %d of the kernel's; a broadcast took %v and %v of CPU, %v each\n",
					n, last.Sub(first).Round(time.Millisecond), (resident()-began)/int64(n), (kernel()-kernelBegan)/int64(n),
					took.Round(time.Microsecond), used.Round(time.Microsecond), took/time.Duration(n))
			}
		case evchan.Signaled:
			return
		}
	}
	log.Fatal(loop.Err())
}

// resident returns how much memory the program uses, without garbage: what is resident on Linux, and
// elsewhere what Go has from the system.
func resident() int64 {
	debug.FreeOSMemory()
	if text, err := os.ReadFile("/proc/self/statm"); err == nil {
		var size, pages int64
		if _, err := fmt.Sscan(string(text), &size, &pages); err == nil {
			return pages * int64(os.Getpagesize())
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys - m.HeapReleased)
}

// kernel returns how much memory the kernel uses for itself, for all programs: the slab on Linux, where
// sockets are, and 0 elsewhere. Both ends of a connection count.
func kernel() int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "Slab: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	return 0
}

// load opens connections, a hundred at once. With once, it closes each at its next message when all
// are open, and returns.
func load(addr string, conns int, once bool) {
	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	const (
		atOnce  = 100
		perAddr = 20000 // local ports of one address
	)
	next, open, opened, ended := 0, 0, false, 0
	dial := func() {
		if next == conns {
			return
		}
		dial := &evchan.DialConfig{}
		if conns > perAddr {
			i := next / perAddr
			dial.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, byte(1+i/250), byte(1+i%250))}
		}
		next++
		if _, err := evws.Dial(loop, "ws://"+addr+"/", &evws.DialConfig{Net: dial}); err != nil {
			log.Fatal(err)
		}
	}
	start := time.Now()
	for range atOnce {
		dial()
	}
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *evws.Opened:
			if open++; open == conns {
				opened = true
				fmt.Printf("%d connections are open after %v\n", conns, time.Since(start).Round(time.Millisecond))
			}
			dial()
		case *evws.Message:
			if once && opened {
				ev.Conn.Close(evws.Normal, "")
			}
		case *evws.Closed:
			if ev.Code != evws.Normal {
				log.Fatal(ev)
			}
			if ended++; ended == conns {
				return
			}
		}
	}
}
